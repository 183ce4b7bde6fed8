//! Cutting: what is removed, the lengths and counts that change with it, and what a cut takes back.

use std::ops::Range;

use super::edits::{Edit, EditKind, varint_len};
use super::{CutReason, MAX_CUTS, Open, Owned, Screen, State};
use crate::decode::fields::Field;
use crate::error::{DecodeError, Result};
use crate::numbers::u32_of;

impl Screen<'_> {
    /// One more event or link: kept and to be walked, or cut.
    #[inline(always)]
    pub(super) fn keep(&mut self, open: Open, owned: &mut Owned, limit: u32, reason: CutReason) -> bool {
        if owned.kept < limit {
            owned.kept += 1;
            return true;
        }
        self.cut(open.tag..open.end, reason);
        owned.cut += 1;
        false
    }

    #[cold]
    pub(super) fn cut(&mut self, range: Range<usize>, reason: CutReason) {
        self.state.tally.cut[reason as usize] += 1;
        if self.state.cuts >= MAX_CUTS {
            self.flaw = Some(CutReason::Scattered);
        } else if self.remove(range) {
            self.state.cuts += 1;
        }
    }

    /// Removes these bytes; false if that only makes the last cut longer.
    pub(super) fn remove(&mut self, range: Range<usize>) -> bool {
        let (start, end) = (u32_of(range.start), u32_of(range.end));
        self.state.delta -= range.len().cast_signed();
        match self.edits.last_mut() {
            Some(last) if last.kind == EditKind::Cut && last.end == start => {
                last.end = end;
                false
            }
            _ => {
                self.edits.push(Edit { start, end, value: 0, kind: EditKind::Cut });
                true
            }
        }
    }

    /// Takes back all that was noted in a span, and cuts it.
    #[cold]
    pub(super) fn reject(&mut self, open: Open, before: State, reason: CutReason) {
        self.edits.truncate(open.edits);
        self.state = before;
        self.state.tally.cut[reason as usize] += 1;
        self.remove(open.tag..open.end);
    }

    /// Writes the new length of a message if something in it was cut.
    #[inline(always)]
    pub(super) fn close(&mut self, open: Open) {
        if self.edits.len() > open.edits {
            self.write_length(open);
        }
    }

    #[cold]
    pub(super) fn write_length(&mut self, open: Open) {
        let inner = self.state.delta - open.delta;
        let (start, end) = (u32_of(open.len), u32_of(open.payload));
        let value = u32_of((open.end - open.payload).saturating_add_signed(inner));
        self.state.delta += varint_len(value) - (open.payload - open.len).cast_signed();
        self.edits.push(Edit { start, end, value, kind: EditKind::Length });
    }

    /// Ends an owner of attributes whose `dropped_attributes_count` is `field`.
    #[inline(always)]
    pub(super) fn close_owner(&mut self, field: Field, open: Open, owned: &Owned, cut_before: u32) {
        if self.edits.len() > open.edits {
            if owned.cut > cut_before {
                self.note_dropped(field, open.end, owned);
            }
            self.write_length(open);
        }
    }

    /// Adds what was cut to what the sender dropped: where something is missing, the message says so.
    #[cold]
    pub(super) fn note_dropped(&mut self, (field, _): Field, at: usize, owned: &Owned) {
        if owned.cut > 0 {
            let (start, value) = (u32_of(at), owned.dropped.saturating_add(owned.cut));
            self.state.delta += 1 + varint_len(value);
            self.edits.push(Edit { start, end: start, value, kind: EditKind::Dropped(field) });
        }
    }

    /// Ends a `ResourceSpans` or `ScopeSpans`: one with a flaw, or without a span that could be kept, is cut.
    pub(super) fn close_envelope(
        &mut self,
        open: Open,
        before: State,
        flaw: Option<CutReason>,
    ) -> Result<()> {
        let kept = self.state.tally.accepted - before.tally.accepted;
        if flaw.is_none() && (kept > 0 || self.edits.len() == open.edits) {
            self.close(open);
            return self.check_envelope(open);
        }
        self.edits.truncate(open.edits);
        let tally = self.state.tally;
        self.state = State { tally, ..before };
        self.state.tally.accepted -= kept;
        self.state.tally.cut[flaw.unwrap_or(CutReason::Utf8) as usize] += kept;
        self.remove(open.tag..open.end);
        Ok(())
    }

    pub(super) fn charge_envelope(&mut self, bytes: u64, open: Open) -> Result<()> {
        self.state.columns += bytes;
        self.check_envelope(open)
    }

    /// Spans that need too much memory are rejected one by one; what surrounds them cannot be.
    pub(super) fn check_envelope(&self, open: Open) -> Result<()> {
        if self.state.columns <= self.room {
            return Ok(());
        }
        let expected = format!("resources and scopes that need at most {} bytes of columns", self.room);
        Err(DecodeError::new(expected, "more", open.tag))
    }
}
