//! What Kubernetes does with etcd: the operation of a call, in the classes of etcd's own coverage tests
//! (get, list, count, keys, optimistic put and delete, lease, compaction, health; etcd `tests/robustness/coverage`).
//!
//! Evidence, best first: etcd's own span inside the SERVER span (3.7 and later) tells key and options; the apiserver's
//! span around the call tells what it was for; the method alone leaves `range` and `txn`, which could be several.

use crate::columns::{Columns, NONE, ValueKind};
use crate::join::Joined;
use crate::join::span_kind::INTERNAL;

/// Methods that do one thing.
const BY_METHOD: [(&str, &str); 6] = [
    ("KV/Compact", "compaction"),
    ("Lease/LeaseGrant", "lease"),
    ("Maintenance/Status", "status"),
    ("Watch/Watch", "watch"),
    ("KV/RangeStream", "list"),
    ("KV/Range", "range"),
];

/// (Method, beginning of the apiserver's span around the call, operation); the first that fits.
const BY_CALLER: [(&str, &str, &str); 10] = [
    ("KV/Range", "List(", "list"),
    ("KV/Range", "cacher.getKeys", "keys"),
    ("KV/Range", "cacher", "get"),
    ("KV/Range", "Get", "get"),
    ("KV/Range", "GuaranteedUpdate", "get"),
    ("KV/Range", "Delete", "get"),
    ("KV/Range", "Create", "get"),
    ("KV/Txn", "Create", "optimistic_put"),
    ("KV/Txn", "GuaranteedUpdate", "optimistic_put"),
    ("KV/Txn", "Delete", "optimistic_delete"),
];

/// The key that the compactor writes, and the one that the health probe reads.
const COMPACTION_KEY: &str = "compact_rev_key";
const HEALTH_KEY: &str = "/health";

/// The operation of one call: `row` is its outer span, `method` the RPC's name without its package.
pub fn operation<'a>(joined: &Joined, row: u32, server: u32, method: &'a str) -> &'a str {
    let inside = inner_span(joined, server).and_then(|row| by_inner_span(&joined.columns, row));
    inside.or_else(|| by_caller(joined, row, method)).unwrap_or_else(|| by_method(method))
}

fn by_method(method: &str) -> &str {
    let known = BY_METHOD.iter().find(|(name, _)| *name == method);
    known.map_or(if method == "KV/Txn" { "txn" } else { method }, |(_, operation)| operation)
}

fn by_caller(joined: &Joined, row: u32, method: &str) -> Option<&'static str> {
    let caller = joined.parent[row as usize];
    if caller == NONE {
        return None;
    }
    let c = &joined.columns;
    let name = c.names.text(c.spans.name[caller as usize]);
    let known = BY_CALLER.iter().find(|(rpc, start, _)| *rpc == method && name.starts_with(start));
    known.map(|&(.., operation)| operation)
}

/// etcd's own span below its SERVER span.
pub fn inner_span(joined: &Joined, server: u32) -> Option<usize> {
    if server == NONE {
        return None;
    }
    let rows = joined.forest.subtree(server).iter().skip(1).map(|&row| row as usize);
    let child = |&row: &usize| joined.parent[row] == server && joined.columns.spans.kind[row] == INTERNAL;
    rows.take(1).find(child)
}

fn by_inner_span(c: &Columns, row: usize) -> Option<&'static str> {
    let text = |key: &str| c.span_text(row, c.keys.find(key.as_bytes())).unwrap_or_default();
    let is = |key: &str| {
        let found = c.keys.find(key.as_bytes()).and_then(|key| c.span_attributes.find(row, key));
        found.is_some_and(|at| {
            c.span_attributes.kind[at] == ValueKind::Bool && c.span_attributes.value[at] != 0
        })
    };
    let about = |key: &str| text("compare_first_key") == key || text("success_first_key") == key;
    match c.names.text(c.spans.name[row]) {
        "range" if text("range_begin").ends_with(HEALTH_KEY) => Some("health"),
        "range" if text("range_begin") == COMPACTION_KEY => Some("compaction"),
        "range" if is("count_only") => Some("count"),
        "range" if is("keys_only") => Some("keys"),
        "range" if text("range_end").is_empty() => Some("get"),
        "range" | "range_streaming" => Some("list"),
        "txn" if about(COMPACTION_KEY) => Some("compaction"),
        "txn" if text("success_first_type") == "put" => Some("optimistic_put"),
        "txn" if text("success_first_type") == "delete_range" => Some("optimistic_delete"),
        "txn" if text("success_first_type") == "range" => Some("get"),
        _ => None,
    }
}
