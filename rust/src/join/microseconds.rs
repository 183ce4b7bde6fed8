//! Times in whole µs: a span that was cut to µs may end before its children do, by one.
//!
//! ```text
//! ns   parent  1000 |----------------| 5900        µs   parent  1 |---------| 5 → 6
//!      child     1400 |-------------| 5800              child   1 |---------| 5        start 1, duration 4
//!      child        1900 |----------| 5900              child   1 |-----------| 6      start 1, duration 4.0 → 5
//! ```
//!
//! Start and duration are cut by themselves, so an end is early by less than two µs, and a child's is at most one µs
//! behind its parent's. Such parents are widened by one µs, up the tree. A start is never late.

use crate::columns::{Columns, NONE};
use crate::join::builder::Builder;
use crate::join::repair::{Change, Repair, RepairKind};
use crate::join::times::saturated;

/// So much a span may end after its parent, if both have times in whole µs.
pub const MICROSECOND: i64 = 1_000;

/// Widens the ends of parents whose children (`outlive`) end a µs later, where both have times in whole µs; one row each.
pub fn widen(b: &mut Builder<'_>, outlive: &[u32]) {
    let Builder { c, parent, end, repairs, .. } = b;
    let raw = |row: u32| saturated(c.spans.end_time_unix_nano[row as usize]);
    let mut widened = Vec::new();
    for &child in outlive.iter().filter(|&&child| is_whole(c, child)) {
        let mut at = parent[child as usize];
        while at != NONE && is_whole(c, at) && end[at as usize] == raw(at) {
            end[at as usize] = raw(at) + MICROSECOND;
            widened.push(at);
            let above = parent[at as usize];
            at = if above != NONE && raw(above) == raw(at) { above } else { NONE };
        }
    }
    widened.sort_unstable();
    repairs.extend(widened.into_iter().map(|row| Repair {
        kind: RepairKind::Microseconds,
        row,
        change: Change::End { before: raw(row), after: end[row as usize] },
    }));
}

fn is_whole(c: &Columns, row: u32) -> bool {
    const US: u64 = MICROSECOND as u64;
    let (start, end) = (c.spans.start_time_unix_nano[row as usize], c.spans.end_time_unix_nano[row as usize]);
    start != 0 && start % US == 0 && end % US == 0
}
