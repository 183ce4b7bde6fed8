//! What is to be changed in a wire, in order of place, and the wire with the changes.

use crate::decode::write::push_varint;

/// What stands in place of `start..end`.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    pub start: u32,
    pub end: u32,
    pub value: u32,
    pub kind: EditKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditKind {
    /// Nothing.
    Cut,
    /// The length of the message around, as it is now.
    Length,
    /// A count of what was dropped, in this field; the last one counts.
    Dropped(u32),
}

/// The wire with these edits, which make it `delta` bytes longer.
pub fn rewrite(wire: &[u8], mut edits: Vec<Edit>, delta: isize) -> Vec<u8> {
    // A message's length is known at its end and stands at its start. Equals stay in order: inner counts first.
    edits.sort_by_key(|edit| edit.start);
    let mut out = Vec::with_capacity(wire.len().saturating_add_signed(delta));
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(wire.get(at..edit.start as usize).unwrap_or_default());
        if let EditKind::Dropped(field) = edit.kind {
            push_varint(&mut out, u64::from(field) << 3);
        }
        if edit.kind != EditKind::Cut {
            push_varint(&mut out, edit.value.into());
        }
        at = edit.end as usize;
    }
    out.extend_from_slice(wire.get(at..).unwrap_or_default());
    out
}

/// How many bytes a varint of this value has.
pub fn varint_len(value: u32) -> isize {
    ((32 - (value | 1).leading_zeros()).div_ceil(7) as usize).cast_signed()
}
