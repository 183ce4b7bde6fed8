//! The traces: how many there are, and which `authentication` spans are alone in theirs.
//!
//! A span has the trace of its parent, so it is enough to look at the tops:
//!
//! ```text
//! trace 1   a ─── b ─── c        one top, and one below it: not alone
//! trace 2   d                    one top, and none below it: alone
//! trace 3   e     f ─── g        two tops
//! ```

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::present;
use crate::join::builder::Builder;
use crate::join::role::Role;
use crate::numbers::{u32_of, usize_of};
use crate::threads;

/// Tops for each thread at least.
const PART_TOPS: usize = 2048;

/// Counts them by all spans without a parent, while no span has one in another trace. What was set aside makes a trace,
/// but is no span of it.
pub fn count(b: &mut Builder<'_>, rows: &[u32]) {
    // Each thread counts the traces with its part of the hashes.
    let hashes = RandomState::default();
    let shards = threads::ranges(rows.len(), b.threads, PART_TOPS).len();
    let of_shard = |shard: usize| {
        let is_here = |id: &[u8; 16]| shards == 1 || usize_of(hashes.hash_one(id) >> 32) % shards == shard;
        count_shard(b, rows, rows.len() / shards, is_here)
    };
    let counted = threads::each((0..shards).collect(), b.threads, of_shard);
    b.traces = counted.iter().map(|&(traces, _)| traces).sum();
    let mut filters: Vec<u32> = counted.into_iter().flat_map(|(_, filters)| filters).collect();
    filters.sort_unstable();
    if !filters.is_empty() {
        let mut is_above = vec![false; b.parent.len()];
        for &above in &b.parent {
            // There is no row of the number that stands for none.
            if let Some(is_above) = is_above.get_mut(above as usize) {
                *is_above = true;
            }
        }
        filters.retain(|&row| !is_above[row as usize]);
    }
    b.lone_filters = filters;
}

/// How many traces have ids that are here, at most about as many as there is `room` for; and `authentication` spans that
/// are the only top of theirs.
fn count_shard(
    b: &Builder<'_>,
    rows: &[u32],
    room: usize,
    is_here: impl Fn(&[u8; 16]) -> bool,
) -> (u32, Vec<u32>) {
    let spans = &b.c.spans;
    let mut tops: HashMap<[u8; 16], u32, RandomState> =
        HashMap::with_capacity_and_hasher(room, RandomState::default());
    let mut filters = Vec::new();
    for &row in rows {
        let (at, id) = (row as usize, spans.trace_id[row as usize]);
        if spans.present[at] & present::TRACE_ID == 0 || id == [0; 16] || !is_here(&id) {
            continue;
        }
        let kept = b.role[at] == Role::Unrelated;
        *tops.entry(id).or_insert(0) += u32::from(kept);
        if kept && b.is_authentication(row) && b.is_parentless(row) {
            filters.push(row);
        }
    }
    filters.retain(|&row| tops[&spans.trace_id[row as usize]] == 1);
    (u32_of(tops.len()), filters)
}
