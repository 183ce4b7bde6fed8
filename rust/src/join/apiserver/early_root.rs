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

use crate::join::builder::Builder;
use crate::join::repair::RepairKind;

struct Child {
    root: u32,
    start: i64,
    end: i64,
    verb: bool,
}

/// Lets the request roots of `unanswered` (sorted) that ended early end with their handling.
pub fn extend(b: &mut Builder<'_>, unanswered: &[u32]) {
    if unanswered.is_empty() {
        return;
    }
    for (row, end) in extensions(b, unanswered) {
        b.extend(RepairKind::RootExtended, row, end);
    }
}

/// (root, end of its handling) of those that ended earlier.
fn extensions(b: &Builder<'_>, unanswered: &[u32]) -> Vec<(u32, i64)> {
    let mut is_unanswered = vec![false; b.parent.len()];
    for &row in unanswered {
        is_unanswered[row as usize] = true;
    }
    let of_handling = |row: u32| {
        let (at, root) = (row as usize, b.parent[row as usize]);
        // There is no row of the number that stands for none.
        let counts = is_unanswered.get(root as usize).is_some_and(|&is| is)
            && b.has_usable_times(row)
            && b.process(row) == b.process(root);
        counts.then(|| Child { root, start: b.start[at], end: b.end[at], verb: b.names.is_verb(b.c, at) })
    };
    let mut children: Vec<Child> = b.rows().filter_map(of_handling).collect();
    children.sort_unstable_by_key(|child| child.root);
    children.chunk_by(|a, b| a.root == b.root).filter_map(|children| extension(b, children)).collect()
}

fn extension(b: &Builder<'_>, children: &[Child]) -> Option<(u32, i64)> {
    let row = children.first()?.root;
    let over = children.iter().filter(|child| child.verb).map(|child| child.end).max().unwrap_or(i64::MAX);
    let waited_for = children.iter().filter(|child| child.verb || child.start < over);
    let end = waited_for.map(|child| child.end).max()?;
    (b.has_usable_times(row) && b.end[row as usize] < end).then_some((row, end))
}
