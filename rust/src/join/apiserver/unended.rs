//! Watches: kube-apiserver begins a `List` (up to 1.35), a `WatchServer.HandleHTTP` or a `WatchList` for them that it
//! never ends, so it is never sent, and what hangs on it names a parent that never arrives. That is normal.
//!
//! ```text
//! request (watch)  |=========================|        request (watch)  |=========================|
//! authorization     |=======================|    →    authorization     |=======================|
//!   List             (never sent)                       List(…) etcd3     |==|
//!     List(…) etcd3    |==|
//! ```

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::{Columns, NONE};
use crate::join::repair::{Change, Repair, RepairKind};
use crate::join::repair_context::RepairContext;
use crate::join::request_info;
use crate::join::request_keys::Keys;
use crate::join::span_kind::{INTERNAL, SERVER};

/// How the names begin of what hangs on the span that is not sent.
const INSIDE: [&str; 4] = ["List(", "cacher", "SerializeObject", "WatchServer"];

/// What a damaged trace has that such spans can be put under.
#[derive(Default)]
struct Trace {
    requests: Vec<u32>,
    authorization: Vec<u32>,
    of_watch: bool,
}

/// Puts spans of a watch whose parent never arrived under the innermost filter of the one request that contains them.
pub fn adopt(seen: RepairContext<'_>, orphans: &[u32], parent: &mut [u32]) -> Vec<Repair> {
    let c = seen.c;
    let inside: Vec<bool> =
        c.names.iter().map(|name| INSIDE.iter().any(|start| name.starts_with(start))).collect();
    let fits = |&row: &u32| {
        let at = row as usize;
        parent[at] == NONE
            && c.spans.kind[at] == INTERNAL
            && inside[c.spans.name[at] as usize]
            && seen.names.in_apiserver(c, at)
    };
    let orphans: Vec<u32> = orphans.iter().copied().filter(fits).collect();
    if orphans.is_empty() {
        return Vec::new();
    }
    let traces = look(seen, &orphans);
    let keys = Keys::new(c);
    let mut repairs = Vec::new();
    for row in orphans {
        let trace = &traces[&c.spans.trace_id[row as usize]];
        let contains = |outer: &&u32| {
            seen.process(**outer) == seen.process(row)
                && seen.times.start[**outer as usize] <= seen.times.start[row as usize]
                && seen.times.ended(row) <= seen.times.ended(**outer)
        };
        let mut requests = trace.requests.iter().filter(contains);
        let (Some(&request), None) = (requests.next(), requests.next()) else { continue };
        if trace.of_watch && trace.requests.len() == 1 || is_watch(c, &keys, request as usize) {
            let mut inner = trace.authorization.iter().filter(contains);
            let to = match (inner.next(), inner.next()) {
                (Some(&inner), None) if parent[inner as usize] != NONE => inner,
                _ => request,
            };
            parent[row as usize] = to;
            repairs.push(Repair { kind: RepairKind::UnendedParent, row, change: Change::Adopted(to) });
        }
    }
    repairs
}

/// The traces of these spans.
fn look(seen: RepairContext<'_>, orphans: &[u32]) -> HashMap<[u8; 16], Trace, RandomState> {
    let c = seen.c;
    let mut traces: HashMap<[u8; 16], Trace, RandomState> =
        orphans.iter().map(|&row| (c.spans.trace_id[row as usize], Trace::default())).collect();
    let authorization = c.names.find(b"authorization");
    for row in seen.rows(|row| matches!(c.spans.kind[row as usize], SERVER | INTERNAL)) {
        let at = row as usize;
        let Some(trace) = traces.get_mut(&c.spans.trace_id[at]) else { continue };
        if seen.is_request(row) {
            trace.requests.push(row);
        } else if Some(c.spans.name[at]) == authorization && seen.names.is_inner(c, at) {
            trace.authorization.push(row);
        }
        trace.of_watch |= seen.names.is_of_watch(c, at);
    }
    traces
}

fn is_watch(c: &Columns, keys: &Keys, row: usize) -> bool {
    let (method, target) = keys.asked(c, row);
    request_info::request_info(method, &target).verb == "watch"
}
