//! The traces: how many there are, and which `authentication` spans are alone in theirs.
//!
//! A span has the trace of its parent, so it is enough to look at the tops:
//!
//! ```text
//! trace 1   a ─── b ─── c        one top, and one below it: not alone
//! trace 2   d                    one top, and none below it: alone
//! trace 3   e     f ─── g        two tops
//! ```

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::{NONE, present};
use crate::join::builder::Builder;
use crate::join::role::Role;
use crate::numbers::u32_of;

/// Counts them, while no span has a parent in another trace. What was set aside makes a trace, but is no span of it.
pub fn count(b: &mut Builder<'_>) {
    let spans = &b.c.spans;
    let most = b.parent.iter().filter(|&&above| above == NONE).count();
    let mut tops: HashMap<[u8; 16], u32, RandomState> =
        HashMap::with_capacity_and_hasher(most, RandomState::default());
    let mut filters = Vec::new();
    for (row, _) in (0..).zip(&b.parent).filter(|&(_, &above)| above == NONE) {
        let (at, id) = (row as usize, spans.trace_id[row as usize]);
        if spans.present[at] & present::TRACE_ID == 0 || id == [0; 16] {
            continue;
        }
        let kept = b.role[at] == Role::Unrelated;
        *tops.entry(id).or_insert(0) += u32::from(kept);
        if kept && b.is_authentication(row) && b.is_parentless(row) {
            filters.push(row);
        }
    }
    filters.retain(|&row| tops[&spans.trace_id[row as usize]] == 1);
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
    (b.traces, b.lone_filters) = (u32_of(tops.len()), filters);
}
