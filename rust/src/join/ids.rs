//! Ids: every span is entered under its own. Of several with one id, one takes further part.

use crate::columns::present;
use crate::join::builder::Builder;
use crate::join::duplicates::{self, Twin};
use crate::join::repair::{Change, Repair, RepairKind};
use crate::join::role::Role;
use crate::join::span_index::Index;

/// Fills the index. Sets aside what has no usable id, and all but one of those that share an id.
pub fn enter(b: &mut Builder<'_>) {
    const IDS: u8 = present::TRACE_ID | present::SPAN_ID;
    let (c, role) = (b.c, &mut b.role[..]);
    let spans = &c.spans;
    let mut index = Index::new(&spans.trace_id, &spans.span_id);
    let ids = spans.present.iter().zip(&spans.trace_id).zip(&spans.span_id);
    for (role, ((&present, trace_id), span_id)) in role.iter_mut().zip(ids) {
        if present & IDS != IDS || *span_id == [0; 8] || *trace_id == [0; 16] {
            *role = Role::InvalidId;
        }
    }
    let mut repeated = index.fill(|row| role[row] == Role::Unrelated, b.threads);
    b.index = index;
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
