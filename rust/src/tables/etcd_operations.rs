//! What Kubernetes does with etcd: the operation of a call, in the classes of etcd's own coverage tests
//! (get, list, count, keys, optimistic put and delete, lease, compaction, health; etcd `tests/robustness/coverage`).
//!
//! Evidence, best first: etcd's own span inside the SERVER span (3.7 and later) has key and options; the apiserver's
//! span around the call shows its purpose; with the method alone, `range` and `txn` stay ambiguous.

use std::cell::RefCell;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

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

/// Tells operations: names of attributes are looked up once.
pub struct Operations<'a> {
    joined: &'a Joined,
    inner: Inner,
    /// Names of a call and of the span around it → the operation.
    known: RefCell<HashMap<(u32, u32), &'a str, RandomState>>,
}

/// Attributes of etcd's own spans.
struct Inner {
    range_begin: Option<u32>,
    range_end: Option<u32>,
    count_only: Option<u32>,
    keys_only: Option<u32>,
    compare_first_key: Option<u32>,
    success_first_key: Option<u32>,
    success_first_type: Option<u32>,
}

impl<'a> Operations<'a> {
    /// Knows the names.
    pub fn new(joined: &'a Joined) -> Self {
        let key = |name: &str| joined.columns.keys.find(name.as_bytes());
        let inner = Inner {
            range_begin: key("range_begin"),
            range_end: key("range_end"),
            count_only: key("count_only"),
            keys_only: key("keys_only"),
            compare_first_key: key("compare_first_key"),
            success_first_key: key("success_first_key"),
            success_first_type: key("success_first_type"),
        };
        Self { joined, inner, known: RefCell::default() }
    }

    /// The operation of one call: `row` is its outer span.
    pub fn of(&self, row: u32, server: u32) -> &'a str {
        let c = &self.joined.columns;
        let inside = inner_span(self.joined, server).and_then(|row| by_inner_span(c, row, &self.inner));
        inside.unwrap_or_else(|| self.by_names(row))
    }

    /// By the names of the call and of the span around it: those are few.
    fn by_names(&self, row: u32) -> &'a str {
        let (joined, name) = (self.joined, &self.joined.columns.spans.name);
        let above = joined.parent[row as usize];
        let pair = (name[row as usize], if above == NONE { NONE } else { name[above as usize] });
        self.known.borrow_mut().entry(pair).or_insert_with(|| {
            let method = method_of(&joined.columns, row);
            by_caller(joined, row, method).unwrap_or_else(|| by_method(method))
        })
    }
}

/// Service and method of a call, such as `KV/Txn`: `row` is its outer span.
pub fn method_of(c: &Columns, row: u32) -> &str {
    c.names.text(c.spans.name[row as usize]).trim_start_matches("etcdserverpb.")
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

fn by_inner_span(c: &Columns, row: usize, keys: &Inner) -> Option<&'static str> {
    let text = |key| c.span_text(row, key).unwrap_or_default();
    let is = |key: Option<u32>| {
        key.and_then(|key| c.span_attributes.find(row, key)).is_some_and(|at| {
            c.span_attributes.kind[at] == ValueKind::Bool && c.span_attributes.value[at] != 0
        })
    };
    let about = |key: &str| text(keys.compare_first_key) == key || text(keys.success_first_key) == key;
    match c.names.text(c.spans.name[row]) {
        "range" if text(keys.range_begin).ends_with(HEALTH_KEY) => Some("health"),
        "range" if text(keys.range_begin) == COMPACTION_KEY => Some("compaction"),
        "range" if is(keys.count_only) => Some("count"),
        "range" if is(keys.keys_only) => Some("keys"),
        "range" if text(keys.range_end).is_empty() => Some("get"),
        "range" | "range_streaming" => Some("list"),
        "txn" if about(COMPACTION_KEY) => Some("compaction"),
        "txn" => match text(keys.success_first_type) {
            "put" => Some("optimistic_put"),
            "delete_range" => Some("optimistic_delete"),
            "range" => Some("get"),
            _ => None,
        },
        _ => None,
    }
}
