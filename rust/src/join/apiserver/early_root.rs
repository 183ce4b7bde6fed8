//! 1.33: the request's SERVER span is ended right after the audit filter, and its handling goes on.
//!
//! ```text
//! request  |==|                             request  |=================|
//! Create       |==============|        →    Create       |==============|
//!   KV/Txn        |=======|                   KV/Txn        |=======|
//! detached                      |====|      detached                     |====|
//! ```
//!
//! Evidence: the SERVER span has its HTTP method but no status, which is known when the response is written, and spans of its process that
//! hang on it end after it. It then ends with the last of those. Detached, and not waited for, is what begins when
//! all verb spans are over; and what outlives the span that it hangs on, as in any version.

use crate::join::repair::{Change, Repair, RepairKind};
use crate::join::repair_context::{RepairContext, Times};

struct Child {
    root: u32,
    start: i64,
    end: i64,
    verb: bool,
}

/// Finds the request roots of `unanswered` (sorted) that ended early, and when their handling ended.
pub fn extensions(seen: RepairContext<'_>, unanswered: &[u32], rows: &[u32], parent: &[u32]) -> Vec<Repair> {
    if unanswered.is_empty() {
        return Vec::new();
    }
    let times = seen.times;
    let of_handling = |row: &u32| {
        let (at, root) = (*row as usize, parent[*row as usize]);
        let counts = unanswered.binary_search(&root).is_ok()
            && times.usable(*row)
            && seen.process(*row) == seen.process(root);
        counts.then(|| Child {
            root,
            start: times.start[at],
            end: times.end[at],
            verb: seen.names.is_verb(seen.c, at),
        })
    };
    let mut children: Vec<Child> = rows.iter().filter_map(of_handling).collect();
    children.sort_unstable_by_key(|child| child.root);
    children.chunk_by(|a, b| a.root == b.root).filter_map(|children| extension(children, times)).collect()
}

fn extension(children: &[Child], times: Times<'_>) -> Option<Repair> {
    let row = children.first()?.root;
    let over = children.iter().filter(|child| child.verb).map(|child| child.end).max().unwrap_or(i64::MAX);
    let waited_for = children.iter().filter(|child| child.verb || child.start < over);
    let (before, after) = (times.end[row as usize], waited_for.map(|child| child.end).max()?);
    let early = times.usable(row) && before < after;
    early.then_some(Repair { kind: RepairKind::RootExtended, row, change: Change::End { before, after } })
}
