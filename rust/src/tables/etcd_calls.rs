//! The etcd calls of the apiserver: one row per CLIENT span, with what its SERVER span adds.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::ArrowError;

use crate::arrow;
use crate::columns::{Columns, NONE, TextRef};
use crate::join::Joined;
use crate::join::known_names::KnownNames;
use crate::join::role::Role;
use crate::tables::etcd_operations::operation;

/// gRPC's status codes by number.
const STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// One call.
#[derive(Debug, Clone, Copy)]
pub struct EtcdCall {
    /// The CLIENT span.
    pub client: u32,
    /// The SERVER span, or [`NONE`].
    pub server: u32,
}

/// All etcd calls that were not set aside as repeats, by start.
pub fn calls(joined: &Joined) -> Vec<EtcdCall> {
    let c = &joined.columns;
    let names = KnownNames::new(c);
    let mut server = vec![NONE; c.len()];
    for &(client, row) in &joined.rpc_pairs {
        server[client as usize] = row;
    }
    let kept = |&row: &u32| joined.forest.position[row as usize] != NONE;
    let mut calls: Vec<EtcdCall> = crate::join::etcd_calls(c, &names)
        .filter(kept)
        .map(|client| EtcdCall { client, server: server[client as usize] })
        .collect();
    calls.sort_by_key(|call| {
        let row = call.client as usize;
        (joined.start[row], c.spans.trace_id[row], c.spans.span_id[row])
    });
    calls
}

/// The status of a call as one of gRPC's names, whichever way the version wrote it.
pub fn status(c: &Columns, row: usize) -> Option<&'static str> {
    let number = c.keys.find(b"rpc.grpc.status_code").and_then(|key| c.span_attributes.int(row, Some(key)));
    if let Some(number) = number {
        return usize::try_from(number).ok().and_then(|number| STATUS.get(number)).copied();
    }
    let text = |key: &[u8]| c.span_text(row, c.keys.find(key));
    let written = text(b"rpc.response.status_code").or_else(|| text(b"rpc.grpc.status_code"))?;
    if let Ok(number) = written.parse::<usize>() {
        return STATUS.get(number).copied();
    }
    let plain = |text: &str| text.replace('_', "").replace("CANCELED", "CANCELLED");
    let written = plain(&written.to_uppercase());
    STATUS.iter().find(|name| plain(name) == written).copied()
}

/// Whether each call repeats the one before it: of the same method under the same span, begun when that had been
/// refused as UNAVAILABLE. Since 1.34 every attempt is a span of its own.
pub fn retries(joined: &Joined, calls: &[EtcdCall]) -> Vec<bool> {
    let c = &joined.columns;
    let above = |call: &EtcdCall| (joined.parent[call.client as usize], c.spans.name[call.client as usize]);
    let mut order: Vec<usize> = (0..calls.len()).filter(|&at| above(&calls[at]).0 != NONE).collect();
    order.sort_by_key(|&at| above(&calls[at])); // stable: calls come by start
    let mut retries = vec![false; calls.len()];
    for pair in order.windows(2).filter(|pair| above(&calls[pair[0]]) == above(&calls[pair[1]])) {
        let (first, next) = (calls[pair[0]].client as usize, calls[pair[1]].client as usize);
        retries[pair[1]] = joined.end[first] <= joined.start[next] && status(c, first) == Some("UNAVAILABLE");
    }
    retries
}

/// The key that a call is about: its caller's `key` attribute.
fn key_of(joined: &Joined, key: Option<u32>, client: u32) -> Option<TextRef> {
    let above = joined.parent[client as usize];
    if above == NONE { None } else { joined.columns.span_attributes.string(above as usize, key) }
}

fn length(joined: &Joined, row: u32) -> u64 {
    (joined.end[row as usize] - joined.start[row as usize]).max(0) as u64
}

/// The calls as a table.
pub fn table(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let c = &joined.columns;
    let calls = calls(joined);
    let key = c.keys.find(b"key");
    let request =
        |call: &EtcdCall| Some(joined.requests.of_row[call.client as usize]).filter(|&at| at != NONE);
    let server = |call: &EtcdCall| Some(call.server).filter(|&row| row != NONE);
    let name = |call: &EtcdCall| {
        c.names.text(c.spans.name[call.client as usize]).trim_start_matches("etcdserverpb.")
    };
    let operation = |call: &EtcdCall| operation(joined, call.client, call.server, name(call));
    let role = |call: &EtcdCall| Role::NAMES[joined.role[call.client as usize] as usize];
    let client_ns = |call: &EtcdCall| length(joined, call.client);
    let transport =
        |call: &EtcdCall| server(call).map(|row| client_ns(call) as i64 - length(joined, row) as i64);
    let between = |times: &[i64], from: u32, to: u32| times[to as usize] - times[from as usize];
    let send = |call: &EtcdCall| server(call).map(|row| between(&joined.start, call.client, row));
    let receive = |call: &EtcdCall| server(call).map(|row| between(&joined.end, row, call.client));
    let text = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
    arrow::named(vec![
        ("request", Arc::new(UInt32Array::from_iter(calls.iter().map(request))) as ArrayRef),
        ("role", text(calls.iter().map(role).collect())),
        ("trace_id", arrow::hex_column(calls.iter().map(|call| &c.spans.trace_id[call.client as usize][..]))),
        ("span_id", arrow::hex_column(calls.iter().map(|call| &c.spans.span_id[call.client as usize][..]))),
        ("method", text(calls.iter().map(name).collect())),
        ("operation", text(calls.iter().map(operation).collect())),
        ("key", arrow::strings_column(c, calls.iter().map(|call| key_of(joined, key, call.client)))?),
        (
            "status",
            Arc::new(StringArray::from_iter(calls.iter().map(|call| status(c, call.client as usize)))),
        ),
        (
            "start_unix_nano",
            Arc::new(Int64Array::from_iter_values(
                calls.iter().map(|call| joined.start[call.client as usize]),
            )),
        ),
        ("client_ns", Arc::new(UInt64Array::from_iter_values(calls.iter().map(client_ns)))),
        (
            "server_ns",
            Arc::new(UInt64Array::from_iter(
                calls.iter().map(|call| server(call).map(|row| length(joined, row))),
            )),
        ),
        ("transport_ns", Arc::new(Int64Array::from_iter(calls.iter().map(transport)))),
        ("send_ns", Arc::new(Int64Array::from_iter(calls.iter().map(send)))),
        ("receive_ns", Arc::new(Int64Array::from_iter(calls.iter().map(receive)))),
    ])
}
