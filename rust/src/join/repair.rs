//! What the join changed, one row per change. Raw values stay in the columns.

use crate::columns::{Columns, NONE};

/// A change that made a known shape usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repair {
    /// Which rule.
    pub kind: RepairKind,
    /// The span that was changed.
    pub row: u32,
    /// What of it.
    pub change: Change,
}

/// What a repair changed. Rows, or [`NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing of the span: it was set aside for this one, which has its id.
    Copy(u32),
    /// Its parent.
    Parent {
        /// The parent before.
        before: u32,
        /// The parent after.
        after: u32,
    },
    /// Its parent, which never arrived: this one took its place.
    Adopted(u32),
    /// Its end, in ns since the epoch.
    End {
        /// As sent.
        before: i64,
        /// Effective.
        after: i64,
    },
    /// This span, of another trace, is its prelude.
    Prelude(u32),
}

impl Repair {
    /// The span's parent changed.
    pub fn parent(kind: RepairKind, row: u32, before: u32, after: u32) -> Self {
        Self { kind, row, change: Change::Parent { before, after } }
    }

    /// The row that tells which request the repair happened in.
    pub fn seen_in(&self) -> u32 {
        match self.change {
            Change::Copy(kept) => kept,
            _ => self.row,
        }
    }

    /// Field, value before and value after, as text. A span of another trace is written `trace_id/span_id`.
    pub fn texts(&self, c: &Columns) -> (Option<&'static str>, Option<String>, Option<String>) {
        let at = self.row as usize;
        let name = |row: u32| (row != NONE).then(|| span_text(c, at, row as usize));
        match self.change {
            Change::Copy(_) => (None, None, None),
            Change::Parent { before, after } => (Some("parent_span_id"), name(before), name(after)),
            Change::Adopted(after) => {
                let sent = hex::encode(c.spans.parent_span_id[at]);
                (Some("parent_span_id"), Some(sent), name(after))
            }
            Change::End { before, after } => {
                (Some("end_time_unix_nano"), Some(before.to_string()), Some(after.to_string()))
            }
            Change::Prelude(above) => (Some("prelude"), None, name(above)),
        }
    }
}

fn span_text(c: &Columns, at: usize, other: usize) -> String {
    let span = hex::encode(c.spans.span_id[other]);
    if c.spans.trace_id[at] == c.spans.trace_id[other] {
        return span;
    }
    format!("{}/{span}", hex::encode(c.spans.trace_id[other]))
}

/// The rules, in the order in which they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RepairKind {
    /// An exact repeat was merged.
    Duplicate,
    /// The same id came with other content; the richer span stays.
    Conflict,
    /// A span was its own parent, or in a cycle of parents.
    Cycle,
    /// The parent never arrived; the span that a link names took its place.
    OrphanLink,
    /// The caller of an RPC never arrived; the one open call that it fits into took its place.
    OrphanRpc,
    /// The parent is a span that kube-apiserver never ends on watches; the request's innermost filter took its place.
    UnendedParent,
    /// A child of an `authentication` span that had ended moved to the request.
    AuthenticationChildren,
    /// `SerializeObject` beside its verb span moved under it.
    SerializeSibling,
    /// A webhook call beside the storage update that it happened in moved under it.
    WebhookSibling,
    /// The `authentication` span above a request became its prelude.
    Prelude,
    /// An `authentication` span in a trace of its own became the prelude of the one request that it fits.
    SplitAuthentication,
    /// A span with times in whole µs ends a µs later, with its last child.
    Microseconds,
    /// A request whose SERVER span was ended early lasts as long as its handling.
    RootExtended,
}

impl RepairKind {
    /// The names, in the order of the variants.
    pub const NAMES: [&'static str; 13] = [
        "duplicate",
        "conflict",
        "cycle",
        "orphan_link",
        "orphan_rpc",
        "unended_parent",
        "authentication_children",
        "serialize_sibling",
        "webhook_sibling",
        "prelude",
        "split_authentication",
        "microseconds",
        "root_extended",
    ];

    /// What was repaired was damage; otherwise a version's known shape, or a delivery that OTLP allows to repeat.
    pub fn is_damage(self) -> bool {
        matches!(self, Self::Conflict | Self::Cycle | Self::OrphanLink | Self::OrphanRpc)
    }
}
