//! Parents by id, and cycles of them.

use std::ops::Range;

use crate::columns::NONE;
use crate::join::builder::Builder;
use crate::join::forest;
use crate::join::microseconds::MICROSECOND;
use crate::join::repair::{Repair, RepairKind};
use crate::join::role::Role;
use crate::join::times::id_key;
use crate::numbers::u32_of;
use crate::threads;

/// What else the times and parents of spans tell while parents are looked up. Rows are in their order.
#[derive(Default)]
pub struct Seen {
    /// Those without a parent.
    pub tops: Vec<u32>,
    /// Those of them that name a parent that is not here.
    pub orphans: Vec<u32>,
    /// Those that end a µs after their parent.
    pub outlive: Vec<u32>,
    /// Some begin before their parent, so that there can be cycles.
    pub early: bool,
}

impl Seen {
    fn followed_by(mut self, mut others: Self) -> Self {
        self.tops.append(&mut others.tops);
        self.orphans.append(&mut others.orphans);
        self.outlive.append(&mut others.outlive);
        self.early |= others.early;
        self
    }
}

/// Finds the parent of every span, and which of them name one that is not here.
pub fn find(b: &mut Builder<'_>) -> Seen {
    let (index, spans, start, end) = (&b.index, &b.c.spans, &b.start[..], &b.end[..]);
    let find = |rows: Range<usize>, parent: &mut [u32]| {
        let mut seen = Seen::default();
        let ids = b.role[rows.clone()].iter().zip(&spans.parent_span_id[rows.clone()]);
        let times = start[rows.clone()].iter().zip(&end[rows.clone()]);
        let each = (u32_of(rows.start)..).zip(ids.zip(&spans.trace_id[rows])).zip(times);
        for (parent, ((row, ((&role, id), trace_id)), (&begins, &ends))) in parent.iter_mut().zip(each) {
            let named = role == Role::Unrelated && *id != [0; 8];
            let above = if named { index.row(trace_id, id) } else { NONE };
            // There is no row of the number that stands for none.
            if let (Some(&begun), Some(&ended)) = (start.get(above as usize), end.get(above as usize)) {
                // Of two that begin together the longer one is above, so nothing is above itself in this order.
                seen.early |= begun > begins || begun == begins && ended <= ends;
                if ends == ended + MICROSECOND {
                    seen.outlive.push(row);
                }
            } else {
                seen.tops.push(row);
                if named {
                    seen.orphans.push(row);
                }
            }
            *parent = above;
        }
        seen
    };
    let (parent, seen) = threads::written(b.role.len(), b.threads, threads::PART_SPANS, find);
    let seen = seen.into_iter().reduce(Seen::followed_by).unwrap_or_default();
    b.parent = parent;
    b.missing = vec![false; b.parent.len()];
    for &row in &seen.orphans {
        b.missing[row as usize] = true;
    }
    seen
}

/// Cuts cycles, see [`forest::cut_cycles`].
pub fn cut_cycles(b: &mut Builder<'_>, seen: &mut Seen) {
    if !seen.early {
        return;
    }
    let Builder { c, index, parent, start, repairs, .. } = b;
    let spans = &c.spans;
    let key = |row: u32| (start[row as usize], id_key(spans.span_id[row as usize]));
    let cut = forest::cut_cycles(parent, key);
    for &row in &cut {
        let before = index.find(&spans.trace_id[row as usize], &spans.parent_span_id[row as usize]);
        repairs.push(Repair::parent(RepairKind::Cycle, row, before.unwrap_or(NONE), NONE));
    }
    seen.tops.extend(cut);
    seen.tops.sort_unstable();
}
