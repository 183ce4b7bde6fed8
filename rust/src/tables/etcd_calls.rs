//! The etcd calls of the apiserver: one row per CLIENT span, with what its SERVER span adds; and one per SERVER span
//! that hangs below another span of the apiserver, since servers built on its libraries send no CLIENT span.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::arrow;
use crate::columns::interner::Interner;
use crate::columns::{Columns, NONE, TextRef};
use crate::join::Joined;
use crate::join::role::Role;
use crate::numbers::u32_of;
use crate::tables::etcd_operations::{Operations, inner_span, method_of};

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

/// One call. One of its two spans can be missing, which is [`NONE`].
#[derive(Debug, Clone, Copy)]
pub struct EtcdCall {
    /// The CLIENT span.
    pub client: u32,
    /// The SERVER span.
    pub server: u32,
}

impl EtcdCall {
    /// The outer one of its spans: the CLIENT span if it is here.
    pub fn row(self) -> u32 {
        if self.client == NONE { self.server } else { self.client }
    }
}

/// All etcd calls that were not set aside as repeats, by start.
pub fn calls(joined: &Joined) -> Vec<EtcdCall> {
    let c = &joined.columns;
    let names = &joined.names;
    let mut server = vec![NONE; c.len()];
    for &(client, row) in &joined.rpc_pairs {
        server[client as usize] = row;
    }
    let call = |row: u32| {
        let (at, above) = (row as usize, joined.parent[row as usize]);
        if names.is_etcd_call(c, at) {
            return Some(EtcdCall { client: row, server: server[at] });
        }
        let alone = names.is_etcd_answer(c, at)
            && above != NONE
            && names.in_apiserver(c, above as usize)
            && !names.is_etcd_call(c, above as usize);
        alone.then_some(EtcdCall { client: NONE, server: row })
    };
    let in_tree = |&row: &u32| joined.forest.position[row as usize] != NONE;
    let calls = (0..u32_of(c.len())).filter_map(call).filter(|call| in_tree(&call.row()));
    let mut calls: Vec<(i64, EtcdCall)> =
        calls.map(|call| (joined.start[call.row() as usize], call)).collect();
    calls.sort_unstable_by_key(|&(start, _)| start);
    // Few begin at one time: only those are compared by the rest.
    for same in calls.chunk_by_mut(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
        same.sort_unstable_by_key(|(_, call)| {
            let row = call.row() as usize;
            (c.spans.trace_id[row], c.spans.span_id[row], row)
        });
    }
    calls.into_iter().map(|(_, call)| call).collect()
}

/// All etcd calls with their operations, for those who look at each several times.
pub struct Known {
    /// By start.
    pub calls: Vec<EtcdCall>,
    operation: Vec<u32>,
    words: Interner,
}

impl Known {
    /// Looks for them.
    pub fn new(joined: &Joined) -> Self {
        let (calls, operations) = (calls(joined), Operations::new(joined));
        let mut words = Interner::default();
        let of = |call: &EtcdCall| words.intern_str(operations.of(call.row(), call.server));
        Self { operation: calls.iter().map(of).collect(), calls, words }
    }

    /// What the call at a place was for.
    pub fn operation(&self, at: usize) -> &str {
        self.words.text(self.operation[at])
    }
}

/// Tells the status of calls: names of attributes are looked up once.
pub struct Statuses<'a> {
    columns: &'a Columns,
    grpc: Option<u32>,
    response: Option<u32>,
}

impl<'a> Statuses<'a> {
    /// Knows the names.
    pub fn new(columns: &'a Columns) -> Self {
        let key = |name: &str| columns.keys.find(name.as_bytes());
        Self { columns, grpc: key("rpc.grpc.status_code"), response: key("rpc.response.status_code") }
    }

    /// The status of a call as one of gRPC's names, whichever way the version wrote it.
    pub fn of(&self, row: usize) -> Option<&'static str> {
        let c = self.columns;
        if let Some(number) = c.span_attributes.int(row, self.grpc) {
            return usize::try_from(number).ok().and_then(|number| STATUS.get(number)).copied();
        }
        let written = c.span_text(row, self.response).or_else(|| c.span_text(row, self.grpc))?;
        if let Ok(number) = written.parse::<usize>() {
            return STATUS.get(number).copied();
        }
        if let Some(name) = STATUS.iter().find(|name| **name == written) {
            return Some(name);
        }
        let plain = |text: &str| text.replace('_', "").replace("CANCELED", "CANCELLED");
        let written = plain(&written.to_uppercase());
        STATUS.iter().find(|name| plain(name) == written).copied()
    }
}

/// Whether each call repeats the one before it: of the same method under the same span, begun when that had been
/// refused as UNAVAILABLE. Since 1.34 every attempt is a span of its own.
pub fn retries(joined: &Joined, calls: &[EtcdCall]) -> Vec<bool> {
    let (c, statuses) = (&joined.columns, Statuses::new(&joined.columns));
    let mut retries = vec![false; calls.len()];
    let refused = |call: &EtcdCall| statuses.of(call.row() as usize) == Some("UNAVAILABLE");
    let above = |call: &EtcdCall| (joined.parent[call.row() as usize], c.spans.name[call.row() as usize]);
    let around: HashSet<_, RandomState> =
        calls.iter().filter(|call| refused(call)).map(above).filter(|above| above.0 != NONE).collect();
    if around.is_empty() {
        return retries;
    }
    let mut order: Vec<usize> = (0..calls.len()).filter(|&at| around.contains(&above(&calls[at]))).collect();
    order.sort_by_key(|&at| above(&calls[at])); // stable: calls come by start
    for pair in order.windows(2).filter(|pair| above(&calls[pair[0]]) == above(&calls[pair[1]])) {
        let (first, next) = (&calls[pair[0]], &calls[pair[1]]);
        let is_later = joined.end[first.row() as usize] <= joined.start[next.row() as usize];
        retries[pair[1]] = is_later && refused(first);
    }
    retries
}

/// Attributes in which etcd's own spans name the key, the best first.
const INNER_KEYS: [&str; 4] = ["range_begin", "success_first_key", "compare_first_key", "key"];

/// The prefix of etcd's keys, unless a call shows another one.
const PREFIX: &str = "/registry";

/// Prefixes that are recognised, at most: one for each API server that stores objects here.
const PREFIXES: usize = 8;

/// The keys that some of the calls are about, without the storage prefix: their caller's `key` attribute, or what etcd's
/// own span says. The prefix is learned from all calls that have both.
pub fn keys(joined: &Joined, calls: &[EtcdCall], chosen: &[usize]) -> Vec<Option<TextRef>> {
    let c = &joined.columns;
    let key = c.keys.find(b"key");
    let inner = INNER_KEYS.map(|name| c.keys.find(name.as_bytes()));
    let outside = |call: &EtcdCall| {
        let above = joined.parent[call.row() as usize];
        if above == NONE { None } else { c.span_attributes.string(above as usize, key) }
    };
    let inside = |call: &EtcdCall| {
        let row = inner_span(joined, call.server)?;
        let texts = inner.iter().filter_map(|&key| c.span_attributes.string(row, key));
        texts.into_iter().find(|text| !text.is_empty())
    };
    let own: Vec<_> = chosen.iter().map(|&at| outside(&calls[at])).collect();
    if own.iter().all(Option::is_some) {
        return own;
    }
    let mut prefixes: Vec<&str> = Vec::new();
    for call in calls {
        if let Some(own) = outside(call)
            && let Some(whole) = inside(call)
            && let Some(prefix) = c.text(whole).strip_suffix(c.text(own))
            && c.text(own).starts_with('/')
            && prefixes.len() < PREFIXES
            && !prefixes.contains(&prefix)
        {
            prefixes.push(prefix);
        }
    }
    prefixes.push(PREFIX);
    prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
    let stripped = |whole: TextRef| {
        let (text, start) = (c.text(whole), whole.start());
        let prefix = prefixes
            .iter()
            .find(|prefix| text.strip_prefix(**prefix).is_some_and(|rest| rest.starts_with('/')));
        TextRef::new(start + prefix.map_or(0, |prefix| prefix.len()), start + whole.len()).unwrap_or(whole)
    };
    let of = |(own, &at): (Option<TextRef>, &usize)| own.or_else(|| inside(&calls[at]).map(stripped));
    own.into_iter().zip(chosen).map(of).collect()
}

/// The calls as a table.
pub fn table(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let c = &joined.columns;
    let calls = calls(joined);
    let all: Vec<usize> = (0..calls.len()).collect();
    let row = |call: &EtcdCall| call.row() as usize;
    let request =
        |call: &EtcdCall| Some(joined.requests.of_row[row(call)]).filter(|&at| at != NONE).map(i64::from);
    let client = |call: &EtcdCall| Some(call.client).filter(|&row| row != NONE);
    let server = |call: &EtcdCall| Some(call.server).filter(|&row| row != NONE);
    let name = |call: &EtcdCall| method_of(c, call.row());
    let (operations, statuses) = (Operations::new(joined), Statuses::new(c));
    let operation = |call: &EtcdCall| operations.of(call.row(), call.server);
    let role = |call: &EtcdCall| Role::NAMES[joined.role[row(call)] as usize];
    // Of two times, one of each side.
    let between =
        |call: &EtcdCall, of: fn(&Joined, u32, u32) -> i64| Some(of(joined, client(call)?, server(call)?));
    let transport = |call: &EtcdCall| {
        between(call, |j, client, server| j.took_ns(client).cast_signed() - j.took_ns(server).cast_signed())
    };
    let send = |call: &EtcdCall| {
        between(call, |j, client, server| j.start[server as usize] - j.start[client as usize])
    };
    let receive =
        |call: &EtcdCall| between(call, |j, client, server| j.end[client as usize] - j.end[server as usize]);
    let text = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
    arrow::named(vec![
        ("request", Arc::new(Int64Array::from_iter(calls.iter().map(request))) as ArrayRef),
        ("role", text(calls.iter().map(role).collect())),
        ("trace_id", arrow::hex_column(calls.iter().map(|call| Some(&c.spans.trace_id[row(call)][..])))),
        ("span_id", arrow::hex_column(calls.iter().map(|call| Some(&c.spans.span_id[row(call)][..])))),
        ("method", text(calls.iter().map(name).collect())),
        ("operation", text(calls.iter().map(operation).collect())),
        ("key", arrow::strings_column(c, keys(joined, &calls, &all).into_iter())?),
        ("status", Arc::new(StringArray::from_iter(calls.iter().map(|call| statuses.of(row(call)))))),
        (
            "start_unix_nano",
            Arc::new(Int64Array::from_iter_values(calls.iter().map(|call| joined.start[row(call)]))),
        ),
        ("start_time", arrow::instant_column(calls.iter().map(|call| Some(joined.start[row(call)])))),
        ("end_time", arrow::instant_column(calls.iter().map(|call| Some(joined.end[row(call)])))),
        (
            "client_ns",
            Arc::new(Int64Array::from_iter(
                calls.iter().map(|call| client(call).map(|row| joined.took_ns(row).cast_signed())),
            )),
        ),
        (
            "server_ns",
            Arc::new(Int64Array::from_iter(
                calls.iter().map(|call| server(call).map(|row| joined.took_ns(row).cast_signed())),
            )),
        ),
        ("transport_ns", Arc::new(Int64Array::from_iter(calls.iter().map(transport)))),
        ("send_ns", Arc::new(Int64Array::from_iter(calls.iter().map(send)))),
        ("receive_ns", Arc::new(Int64Array::from_iter(calls.iter().map(receive)))),
    ])
}

/// What calls asked for, if known: names of attributes are looked up once.
pub struct Asked<'a> {
    joined: &'a Joined,
    resource_version: Option<u32>,
    revision: Option<u32>,
    token: Option<u32>,
    at_most: Option<u32>,
}

impl<'a> Asked<'a> {
    /// Knows the names.
    pub fn new(joined: &'a Joined) -> Self {
        let key = |name: &str| joined.columns.keys.find(name.as_bytes());
        let (resource_version, revision) = (key("resourceVersion"), key("rev"));
        Self { joined, resource_version, revision, token: key("continue"), at_most: key("limit") }
    }

    /// The span around a call.
    fn above(&self, call: &EtcdCall) -> Option<usize> {
        Some(self.joined.parent[call.row() as usize]).filter(|&row| row != NONE).map(|row| row as usize)
    }

    /// A number in etcd's own span.
    fn inside(&self, call: &EtcdCall, key: Option<u32>) -> Option<i64> {
        key?;
        inner_span(self.joined, call.server).and_then(|row| self.joined.columns.span_attributes.int(row, key))
    }

    /// At which revision.
    pub fn revision(&self, call: &EtcdCall) -> Option<i64> {
        let outside =
            || self.joined.columns.span_text(self.above(call)?, self.resource_version)?.parse().ok();
        self.inside(call, self.revision).or_else(outside)
    }

    /// Whether it goes on with an earlier list.
    pub fn continued(&self, call: &EtcdCall) -> bool {
        let text = self.above(call).and_then(|row| self.joined.columns.span_text(row, self.token));
        text.is_some_and(|text| !text.is_empty())
    }

    /// How many objects at most.
    pub fn limit(&self, call: &EtcdCall) -> Option<i64> {
        let outside = || self.joined.columns.span_attributes.int(self.above(call)?, self.at_most);
        self.inside(call, self.at_most).or_else(outside)
    }
}

/// The same calls for findings: their spans, and what they asked for, if known. Small: no ids, no repeated text.
pub fn details(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let calls = calls(joined);
    let (all, retries) = ((0..calls.len()).collect::<Vec<_>>(), retries(joined, &calls));
    arrow::named(details_of(joined, &calls, &all, &retries)?)
}

/// The details of some of the calls: their places; and [`retries`] of all.
pub fn details_of(
    joined: &Joined,
    calls: &[EtcdCall],
    chosen: &[usize],
    retries: &[bool],
) -> Result<Vec<(&'static str, ArrayRef)>, ArrowError> {
    let c = &joined.columns;
    let (asked, operations) = (Asked::new(joined), Operations::new(joined));
    let each = || chosen.iter().map(|&at| &calls[at]);
    let text = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let some =
        |of: &dyn Fn(&EtcdCall) -> Option<i64>| Arc::new(Int64Array::from_iter(each().map(of))) as ArrayRef;
    let number =
        |of: &dyn Fn(&EtcdCall) -> i64| Arc::new(Int64Array::from_iter_values(each().map(of))) as ArrayRef;
    let server = |call: &EtcdCall| Some(call.server).filter(|&row| row != NONE);
    Ok(vec![
        ("span", number(&|call| i64::from(call.row()))),
        ("above", some(&|call| asked.above(call).map(|row| i64::from(u32_of(row))))),
        ("method", text(each().map(|call| method_of(c, call.row())).collect())),
        ("operation", text(each().map(|call| operations.of(call.row(), call.server)).collect())),
        ("key", arrow::strings_column(c, keys(joined, calls, chosen).into_iter())?),
        ("start_unix_nano", number(&|call| joined.start[call.row() as usize])),
        ("ns", number(&|call| joined.took_ns(call.row()).cast_signed())),
        ("retry", Arc::new(BooleanArray::from_iter(chosen.iter().map(|&at| Some(retries[at]))))),
        ("revision", some(&|call| asked.revision(call))),
        ("continued", Arc::new(BooleanArray::from_iter(each().map(|call| Some(asked.continued(call)))))),
        ("limit", some(&|call| asked.limit(call))),
        ("member", some(&|call| Some(i64::from(joined.processes.of(c, server(call)? as usize))))),
        ("begun_unix_nano", some(&|call| Some(joined.start[server(call)? as usize]))),
        ("served_ns", some(&|call| Some(joined.took_ns(server(call)?).cast_signed()))),
    ])
}
