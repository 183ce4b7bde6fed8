//! Clocks: measured by the calls between processes, and corrected by what they say.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::columns::NONE;
use crate::join::builder::Builder;
use crate::join::clock::{ClockOffset, Verdict};
use crate::join::times::LATEST;
use crate::threads;

/// Measures the offsets by all RPC pairs in trees, and moves the times of called processes by them.
pub fn correct_clocks(b: &mut Builder<'_>) {
    let order = &b.forest.order[..];
    let pairs = |part: Range<usize>| b.pair_rpcs(order[part].iter().copied());
    b.rpc_pairs = threads::together(threads::split(order.len(), b.threads, threads::PART_SPANS, pairs));
    let mut offsets = b.measure_clocks(&b.rpc_pairs, &[b.clocks.calls, b.clocks.adopted]);
    // Processes are numbered as they came; the order of their offsets is that of their identities.
    let identities =
        |offset: &ClockOffset| [offset.client, offset.server].map(|each| b.processes.identity(each));
    offsets.sort_by(|one, other| identities(one).cmp(&identities(other)));
    b.clock_offsets = offsets;
    shift_times(b);
}

/// Moves the times of called processes onto the clock of the process at the top of their tree.
/// All spans that one process spent on one call move together.
fn shift_times(b: &mut Builder<'_>) {
    let Builder { c, processes, clock_offsets, forest, parent, start, end, .. } = b;
    let moved: BTreeMap<(u32, u32), &ClockOffset> = clock_offsets
        .iter()
        .filter(|offset| matches!(offset.verdict, Verdict::Offset | Verdict::Drift))
        .map(|offset| ((offset.client, offset.server), offset))
        .collect();
    if moved.is_empty() {
        return;
    }
    let mut shift = vec![0i64; parent.len()];
    for &row in &forest.order {
        let (at, above) = (row as usize, parent[row as usize]);
        if above == NONE {
            continue;
        }
        let pair = (processes.of(c, above as usize), processes.of(c, at));
        // The caller's time as its own clock showed it: its own shift is taken off again.
        let called = start[above as usize].saturating_sub(shift[above as usize]);
        let own = moved.get(&pair).map_or(0, |offset| offset.at(called));
        shift[at] = shift[above as usize].saturating_sub(own);
        start[at] = start[at].saturating_add(shift[at]).clamp(0, LATEST);
        end[at] = end[at].saturating_add(shift[at]).clamp(0, LATEST);
    }
}
