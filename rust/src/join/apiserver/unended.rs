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
use crate::join::builder::Builder;
use crate::join::repair::RepairKind;
use crate::join::request_info;
use crate::join::request_keys::Keys;
use crate::join::span_kind::{INTERNAL, SERVER};
use crate::join::tops::Tops;

/// How the names begin of what hangs on the span that is not sent.
const INSIDE: [&str; 4] = ["List(", "cacher", "SerializeObject", "WatchServer"];

/// In a trace of more requests, or `authorization` spans, none is searched for the one that contains an orphan.
const SEARCHED: usize = 256;

/// What a damaged trace has that such spans can be put under.
#[derive(Default)]
struct Trace {
    requests: Vec<u32>,
    authorization: Vec<u32>,
    of_watch: bool,
}

/// Puts spans of a watch whose parent never arrived under the innermost filter of the one request that contains them.
pub fn adopt(b: &mut Builder<'_>, orphans: &[u32]) {
    let c = b.c;
    let inside: Vec<bool> =
        c.names.iter().map(|name| INSIDE.iter().any(|start| name.starts_with(start))).collect();
    let fits = |&row: &u32| {
        let at = row as usize;
        b.missing[at]
            && c.spans.kind[at] == INTERNAL
            && inside[c.spans.name[at] as usize]
            && b.names.in_apiserver(c, at)
    };
    let orphans: Vec<u32> = orphans.iter().copied().filter(fits).collect();
    if orphans.is_empty() {
        return;
    }
    let traces = look(b, &orphans);
    let (keys, mut tops) = (Keys::new(c), Tops::default());
    for row in orphans {
        let trace = &traces[&c.spans.trace_id[row as usize]];
        // A request can be below the span that waits for it: then both stay where they are.
        if let Some(to) = innermost(b, trace, &keys, row).filter(|&to| tops.of(&b.parent, to) != row) {
            b.adopt(RepairKind::UnendedParent, row, to);
        }
    }
}

/// The innermost filter of the one request that contains the row, if that is a watch.
fn innermost(b: &Builder<'_>, trace: &Trace, keys: &Keys, row: u32) -> Option<u32> {
    if trace.requests.len().max(trace.authorization.len()) > SEARCHED {
        return None;
    }
    let contains = |outer: &&u32| {
        b.process(**outer) == b.process(row)
            && b.start[**outer as usize] <= b.start[row as usize]
            && b.ended(row) <= b.ended(**outer)
    };
    let mut requests = trace.requests.iter().filter(contains);
    let (Some(&request), None) = (requests.next(), requests.next()) else { return None };
    let watches = trace.of_watch && trace.requests.len() == 1 || is_watch(b.c, keys, request as usize);
    let mut inner = trace.authorization.iter().filter(contains);
    watches.then(|| match (inner.next(), inner.next()) {
        (Some(&inner), None) if b.parent[inner as usize] != NONE => inner,
        _ => request,
    })
}

/// The traces of these spans.
fn look(b: &Builder<'_>, orphans: &[u32]) -> HashMap<[u8; 16], Trace, RandomState> {
    let c = b.c;
    let mut traces: HashMap<[u8; 16], Trace, RandomState> =
        orphans.iter().map(|&row| (c.spans.trace_id[row as usize], Trace::default())).collect();
    let authorization = c.names.find(b"authorization");
    for row in b.rows().filter(|&row| matches!(c.spans.kind[row as usize], SERVER | INTERNAL)) {
        let at = row as usize;
        let Some(trace) = traces.get_mut(&c.spans.trace_id[at]) else { continue };
        if b.is_request(row) {
            trace.requests.push(row);
        } else if Some(c.spans.name[at]) == authorization && b.names.is_inner(c, at) {
            trace.authorization.push(row);
        }
        trace.of_watch |= b.names.is_of_watch(c, at);
    }
    traces
}

fn is_watch(c: &Columns, keys: &Keys, row: usize) -> bool {
    let (method, target) = keys.asked(c, row);
    request_info::request_info(method, &target).verb == "watch"
}
