//! Parents by id, and cycles of them.

use std::ops::Range;

use crate::columns::NONE;
use crate::join::builder::Builder;
use crate::join::forest;
use crate::join::repair::{Repair, RepairKind};
use crate::join::role::Role;
use crate::join::times::id_key;
use crate::threads;

/// Spans for each thread at least.
const PART_SPANS: usize = 2048;

/// Finds the parent of every span, and which of them name one that is not here.
pub fn find(b: &mut Builder<'_>) {
    let (index, role, spans) = (&b.index, &b.role[..], &b.c.spans);
    let parent_of = |row: usize| {
        let id = &spans.parent_span_id[row];
        if role[row] != Role::Unrelated || *id == [0; 8] {
            return (NONE, false);
        }
        let parent = index.row(&spans.trace_id[row], id);
        (parent, parent == NONE)
    };
    let find = |rows: Range<usize>| rows.map(parent_of).unzip();
    let found: Vec<(Vec<u32>, Vec<bool>)> = threads::split(role.len(), b.threads, PART_SPANS, find);
    let (parent, missing): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    (b.parent, b.missing) = (threads::together(parent), threads::together(missing));
}

/// Cuts cycles, see [`forest::cut_cycles`].
pub fn cut_cycles(b: &mut Builder<'_>) {
    let Builder { c, index, parent, start, repairs, .. } = b;
    let spans = &c.spans;
    let key = |row: u32| (start[row as usize], id_key(spans.span_id[row as usize]));
    for row in forest::cut_cycles(parent, key) {
        let before = index.find(&spans.trace_id[row as usize], &spans.parent_span_id[row as usize]);
        repairs.push(Repair::parent(RepairKind::Cycle, row, before.unwrap_or(NONE), NONE));
    }
}
