//! Ids: every span is entered under its own. Of several with one id, one takes further part.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::columns::present;
use crate::join::builder::Builder;
use crate::join::duplicates::{self, Twin};
use crate::join::repair::{Change, Repair, RepairKind};
use crate::join::role::Role;
use crate::join::span_index::Index;

/// Fills the index. Sets aside what has no usable id, and all but one of those that share an id.
pub fn enter(b: &mut Builder<'_>) {
    const IDS: u8 = present::TRACE_ID | present::SPAN_ID;
    let spans = &b.c.spans;
    let is_valid = |row: usize| {
        spans.present[row] & IDS == IDS && spans.span_id[row] != [0; 8] && spans.trace_id[row] != [0; 16]
    };
    let some_are_not = AtomicBool::new(false);
    let usable = |row: usize| {
        let valid = is_valid(row);
        if !valid {
            some_are_not.store(true, Relaxed);
        }
        valid
    };
    b.index = Index::new(&spans.trace_id, &spans.span_id);
    let mut repeated = b.index.fill(usable, b.threads);
    if some_are_not.into_inner() {
        let invalid = b.role.iter_mut().enumerate().filter(|&(row, _)| !is_valid(row));
        invalid.for_each(|(_, role)| *role = Role::InvalidId);
    }
    repeated.sort_unstable();
    for same_id in repeated.chunk_by(|a, b| a.0 == b.0) {
        let mut rows: Vec<u32> = same_id.iter().map(|&(_, row)| row).collect();
        rows.push(same_id[0].0);
        keep_one(b, &mut rows);
    }
}

fn keep_one(b: &mut Builder<'_>, rows: &mut [u32]) {
    let stays = duplicates::judge(b.c, rows, |row, verdict, stays| {
        let (aside, kind) = match verdict {
            Twin::Duplicate => (Role::Duplicate, RepairKind::Duplicate),
            Twin::Conflict => (Role::Conflict, RepairKind::Conflict),
        };
        b.role[row as usize] = aside;
        b.repairs.push(Repair { kind, row, change: Change::Copy(stays) });
    });
    b.index.replace(stays);
}
