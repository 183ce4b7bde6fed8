//! Parents by id, and cycles of them.

use crate::columns::NONE;
use crate::join::builder::Builder;
use crate::join::forest;
use crate::join::repair::{Repair, RepairKind};
use crate::join::role::Role;
use crate::join::times::id_key;

/// Finds the parent of every span, and which of them name one that is not here.
pub fn find(b: &mut Builder<'_>) {
    let (index, role, spans) = (&b.index, &b.role[..], &b.c.spans);
    let mut missing = vec![false; role.len()];
    let parent_of = |row: usize| {
        let id = &spans.parent_span_id[row];
        if role[row] != Role::Unrelated || *id == [0; 8] {
            return NONE;
        }
        index.find(&spans.trace_id[row], id).unwrap_or_else(|| {
            missing[row] = true;
            NONE
        })
    };
    b.parent = (0..role.len()).map(parent_of).collect();
    b.missing = missing;
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
