//! What a receiver looks at before it keeps a request: counts and limits, with nothing allocated by a number that the
//! sender wrote. Clean wire is passed on as it is; else what is over a limit is cut out, and counted.
//!
//! ```text
//! wire  ├─ resource_spans ────────────────────────────────┤    a walk that only skips and counts
//!          ├ scope ┤ ├ span ┤ ├ span ─────┤ ├ span ┤
//!                             ╳ bad id        ├╳ attribute 1025
//! edits    L                  C               L C D            lengths, cuts, dropped_*_count, in order of place
//! out   ├─ resource_spans ──────────────────┤                  the rest is copied
//! ```
//!
//! Malformed wire is an error of the whole request, as in the decoder. What is cut is not looked into.

use std::ops::Range;

use crate::error::{DecodeError, Result};
use crate::otlp::{Owner, Shape, check_entity_ref, plain_key_value, plain_value};
use crate::wire::Cursor;
use crate::wire::WireType::{Len, Varint};
use crate::words;

/// Cuts in one span, scope or resource that do not touch each other. One that needs more is not worth the memory.
const MAX_CUTS: u32 = 64;

/// The longest wire: places are kept in 32 bits, and the decoder's texts end there.
const MAX_WIRE: usize = (1 << 28) - 1;

/// How much of each a request may hold. What each limits is told in Python, in `receiver/limits.py`.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Limits {
    pub spans: u64,
    pub attributes: u32,
    pub events: u32,
    pub links: u32,
    pub value_bytes: usize,
    pub value_depth: u32,
    pub span_bytes: usize,
    pub columns_per_byte: u64,
    pub columns_free_bytes: u64,
}

/// Why something was cut. The names are those of `receiver/limits.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reason {
    Spans,
    Columns,
    SpanBytes,
    TraceId,
    SpanId,
    Utf8,
    Scattered,
    Attributes,
    Events,
    Links,
    ValueBytes,
    ValueDepth,
}

impl Reason {
    /// In the order of their numbers.
    pub const NAMES: [&'static str; 12] = [
        "spans",
        "columns",
        "span_bytes",
        "trace_id",
        "span_id",
        "utf8",
        "scattered",
        "attributes",
        "events",
        "links",
        "value_bytes",
        "value_depth",
    ];
}

/// Counts: spans that are kept, and what was cut, by [`Reason`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Spans that are in the wire that was passed on.
    pub accepted: u64,
    /// Spans, or parts of accepted spans, that are not.
    pub cut: [u64; Reason::NAMES.len()],
}

/// What came of a request.
#[derive(Debug)]
pub struct Screened {
    /// The wire without what was cut; None if nothing was.
    pub wire: Option<Vec<u8>>,
    /// The counts.
    pub tally: Tally,
}

/// Looks through one request.
///
/// Errors: malformed wire, or envelopes that need more memory for columns than the limit.
pub fn screen(wire: &[u8], limits: &Limits) -> Result<Screened> {
    if wire.len() > MAX_WIRE {
        return Err(DecodeError::new("a request below 256 MiB", format!("{} bytes", wire.len()), 0));
    }
    let mut screen = Screen {
        limits,
        room: limits
            .columns_free_bytes
            .saturating_add(limits.columns_per_byte.saturating_mul(wire.len() as u64)),
        edits: Vec::new(),
        state: State::default(),
        flaw: None,
        seen: Seen::default(),
        open: Vec::new(),
    };
    screen.request(Cursor::new(wire, 0))?;
    let Screen { edits, state, .. } = screen;
    let wire = if edits.is_empty() { None } else { Some(rewrite(wire, edits, state.delta)) };
    Ok(Screened { wire, tally: state.tally })
}

// ---- edits ---------------------------------------------------------------------------------------

/// What stands in place of `start..end`.
#[derive(Debug, Clone, Copy)]
struct Edit {
    start: u32,
    end: u32,
    value: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Cut,
    /// The length of the message around, as it is now.
    Length,
    /// A count of what was dropped, in this field; the last one counts.
    Dropped(u8),
}

fn rewrite(wire: &[u8], mut edits: Vec<Edit>, delta: i64) -> Vec<u8> {
    // A message's length is known at its end and stands at its start. Equals stay in order: inner counts first.
    edits.sort_by_key(|edit| edit.start);
    let mut out = Vec::with_capacity(wire.len().saturating_add_signed(delta as isize));
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(wire.get(at..edit.start as usize).unwrap_or_default());
        if let Kind::Dropped(field) = edit.kind {
            push_varint(&mut out, u64::from(field) << 3);
        }
        if edit.kind != Kind::Cut {
            push_varint(&mut out, edit.value.into());
        }
        at = edit.end as usize;
    }
    out.extend_from_slice(wire.get(at..).unwrap_or_default());
    out
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: u32) -> i64 {
    i64::from((32 - (value | 1).leading_zeros()).div_ceil(7))
}

// ---- the walk ------------------------------------------------------------------------------------

/// What a cut takes back.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    tally: Tally,
    /// Bytes of columns that the decoder will need, at most.
    columns: u64,
    /// How much longer the wire becomes.
    delta: i64,
    /// Cuts in this span, scope or resource.
    cuts: u32,
}

/// A message that is being walked: where its tag, length and payload start, where it ends, and how far edits went.
#[derive(Clone, Copy)]
struct Open {
    tag: usize,
    len: usize,
    payload: usize,
    end: usize,
    edits: usize,
    delta: i64,
}

/// Attributes of one owner so far.
#[derive(Default)]
struct Owned {
    kept: u32,
    cut: u32,
    /// `dropped_attributes_count`, as the sender has it.
    dropped: u32,
}

struct Screen<'a> {
    limits: &'a Limits,
    /// What `State::columns` may come to.
    room: u64,
    edits: Vec<Edit>,
    state: State,
    /// Why the span, or what surrounds spans, cannot be kept.
    flaw: Option<Reason>,
    seen: Seen<'a>,
    /// Values within one another; kept for its memory.
    open: Vec<(Cursor<'a>, Shape)>,
}

/// Bytes of columns, per row and per distinct text beside the text itself. Where the decoder does not give back what it
/// took too much, that is twice the size of a row.
mod bytes {
    pub const RESOURCE: u64 = 48;
    pub const SCOPE: u64 = 72;
    pub const SPAN: u64 = 112;
    pub const EVENT: u64 = 24;
    pub const LINK: u64 = 90;
    pub const ATTRIBUTE: u64 = 13;
    pub const RARE: u64 = 32;
    pub const TEXT: u64 = 64;
}

impl<'a> Screen<'a> {
    fn request(&mut self, mut cursor: Cursor<'a>) -> Result<()> {
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                (1, Len) => {
                    let (message, open) = self.open(tag, &mut cursor)?;
                    self.resource_spans(message, open).map_err(|e| e.within("resource_spans"))?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 0)?,
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn open(&mut self, tag: usize, outer: &mut Cursor<'a>) -> Result<(Cursor<'a>, Open)> {
        let len = outer.pos();
        let message = outer.message()?;
        let (edits, delta) = (self.edits.len(), self.state.delta);
        Ok((message, Open { tag, len, payload: message.pos(), end: outer.pos(), edits, delta }))
    }

    fn resource_spans(&mut self, mut cursor: Cursor<'a>, open: Open) -> Result<()> {
        let before = self.state;
        self.charge_envelope(bytes::RESOURCE, open)?;
        let (mut owned, mut flaw) = (Owned::default(), None);
        self.state.cuts = 0;
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                (1, Len) => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    self.resource(message, inner, &mut owned).map_err(|e| e.within("resource"))?;
                    flaw = flaw.or(self.flaw.take());
                }
                (2, Len) => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    let cuts = self.state.cuts;
                    self.scope_spans(message, inner).map_err(|e| e.within("scope_spans"))?;
                    self.state.cuts = cuts;
                }
                (3, Len) if !is_text(cursor.payload()?) => flaw = Some(Reason::Utf8),
                (3, Len) => {}
                (field, wire_type) => cursor.skip(field, wire_type, 1)?,
            }
        }
        self.close_envelope(open, before, flaw)
    }

    fn resource(&mut self, mut cursor: Cursor<'a>, open: Open, owned: &mut Owned) -> Result<()> {
        let cut_before = owned.cut;
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                (1, Len) => self.attribute(tag, &mut cursor, Owner::Resource, owned)?,
                (2, Varint) => owned.dropped = cursor.varint()? as u32,
                (3, Len) => {
                    self.state.columns += bytes::RARE;
                    self.entity_ref(cursor.message()?)?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 2)?,
            }
        }
        self.close_owner(2, open, owned, cut_before);
        self.check_envelope(open)
    }

    /// All its fields are text, and kept as they are.
    fn entity_ref(&mut self, message: Cursor<'a>) -> Result<()> {
        match check_entity_ref(message) {
            Err(error) if error.expected == "UTF-8 text" => {
                self.flaw = Some(Reason::Utf8);
                Ok(())
            }
            result => result.map_err(|e| e.within("entity_refs")),
        }
    }

    fn scope_spans(&mut self, mut cursor: Cursor<'a>, open: Open) -> Result<()> {
        let before = self.state;
        self.charge_envelope(bytes::SCOPE, open)?;
        let (mut owned, mut flaw) = (Owned::default(), None);
        self.state.cuts = 0;
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                (1, Len) => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    self.scope(message, inner, &mut owned).map_err(|e| e.within("scope"))?;
                    flaw = flaw.or(self.flaw.take());
                }
                (2, Len) => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    self.span_within_limits(message, inner).map_err(|e| e.within("spans"))?;
                }
                (3, Len) if !is_text(cursor.payload()?) => flaw = Some(Reason::Utf8),
                (3, Len) => {}
                (field, wire_type) => cursor.skip(field, wire_type, 2)?,
            }
        }
        self.close_envelope(open, before, flaw)
    }

    fn scope(&mut self, mut cursor: Cursor<'a>, open: Open, owned: &mut Owned) -> Result<()> {
        let cut_before = owned.cut;
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                (1, Len) => self.name(cursor.payload()?),
                (2, Len) => self.text(cursor.payload()?),
                (3, Len) => self.attribute(tag, &mut cursor, Owner::Scope, owned)?,
                (4, Varint) => owned.dropped = cursor.varint()? as u32,
                (field, wire_type) => cursor.skip(field, wire_type, 3)?,
            }
        }
        self.close_owner(4, open, owned, cut_before);
        self.check_envelope(open)
    }

    #[inline]
    fn span_within_limits(&mut self, message: Cursor<'a>, open: Open) -> Result<()> {
        let before = self.state;
        if before.tally.accepted >= self.limits.spans {
            self.reject(open, before, Reason::Spans);
            return Ok(());
        }
        if open.end - open.payload > self.limits.span_bytes {
            self.reject(open, before, Reason::SpanBytes);
            return Ok(());
        }
        self.flaw = None;
        self.state.columns += bytes::SPAN;
        self.state.cuts = 0;
        self.span(message, open)?;
        let crowded = (self.state.columns > self.room).then_some(Reason::Columns);
        match self.flaw.take().or(crowded) {
            Some(reason) => self.reject(open, before, reason),
            None => {
                self.state.tally.accepted += 1;
                self.close(open);
            }
        }
        self.state.cuts = before.cuts;
        Ok(())
    }

    fn span(&mut self, mut cursor: Cursor<'a>, open: Open) -> Result<()> {
        let (mut trace_id, mut span_id) = (false, false);
        let mut owned = Owned::default();
        let (mut events, mut links) = (Owned::default(), Owned::default());
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                (1, Len) => trace_id = is_id::<16>(cursor.payload().map_err(|e| e.within("trace_id"))?),
                (2, Len) => span_id = is_id::<8>(cursor.payload().map_err(|e| e.within("span_id"))?),
                (3, Len) => self.text(cursor.payload()?),
                (4, Len) if cursor.payload()?.len() != 8 => self.state.columns += bytes::RARE,
                (4, Len) => {}
                (5, Len) => self.name(cursor.payload().map_err(|e| e.within("name"))?),
                (9, Len) => self.attribute(tag, &mut cursor, Owner::Span, &mut owned)?,
                (10, Varint) => owned.dropped = cursor.varint()? as u32,
                (11, Len) => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    if self.keep(inner, &mut events, self.limits.events, Reason::Events) {
                        self.event(message, inner).map_err(|e| e.within("events"))?;
                    }
                }
                (12, Varint) => events.dropped = cursor.varint()? as u32,
                (13, Len) => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    if self.keep(inner, &mut links, self.limits.links, Reason::Links) {
                        self.link(message, inner).map_err(|e| e.within("links"))?;
                    }
                }
                (14, Varint) => links.dropped = cursor.varint()? as u32,
                (15, Len) => {
                    let message = cursor.message()?;
                    self.status(message).map_err(|e| e.within("status"))?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 3)?,
            }
        }
        if !trace_id {
            self.flaw = Some(Reason::TraceId);
        } else if !span_id {
            self.flaw = Some(Reason::SpanId);
        }
        if self.edits.len() > open.edits {
            self.note_dropped(10, open.end, &owned);
            self.note_dropped(12, open.end, &events);
            self.note_dropped(14, open.end, &links);
        }
        Ok(())
    }

    fn event(&mut self, mut cursor: Cursor<'a>, open: Open) -> Result<()> {
        let mut owned = Owned::default();
        self.state.columns += bytes::EVENT;
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                (2, Len) => self.name(cursor.payload()?),
                (3, Len) => self.attribute(tag, &mut cursor, Owner::Event, &mut owned)?,
                (4, Varint) => owned.dropped = cursor.varint()? as u32,
                (field, wire_type) => cursor.skip(field, wire_type, 4)?,
            }
        }
        self.close_owner(4, open, &owned, 0);
        Ok(())
    }

    fn link(&mut self, mut cursor: Cursor<'a>, open: Open) -> Result<()> {
        let mut owned = Owned::default();
        self.state.columns += bytes::LINK;
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                (1, Len) if cursor.payload()?.len() != 16 => self.state.columns += bytes::RARE,
                (2, Len) if cursor.payload()?.len() != 8 => self.state.columns += bytes::RARE,
                (1 | 2, Len) => {}
                (3, Len) => self.text(cursor.payload()?),
                (4, Len) => self.attribute(tag, &mut cursor, Owner::Link, &mut owned)?,
                (5, Varint) => owned.dropped = cursor.varint()? as u32,
                (field, wire_type) => cursor.skip(field, wire_type, 4)?,
            }
        }
        self.close_owner(5, open, &owned, 0);
        Ok(())
    }

    fn status(&mut self, mut cursor: Cursor<'a>) -> Result<()> {
        while !cursor.is_done() {
            match cursor.tag()? {
                (2, Len) => self.text(cursor.payload()?),
                (field, wire_type) => cursor.skip(field, wire_type, 4)?,
            }
        }
        Ok(())
    }

    // ---- texts and values ----

    #[inline(always)]
    fn text(&mut self, bytes: &[u8]) {
        if !is_text(bytes) {
            self.flaw = Some(Reason::Utf8);
        }
    }

    /// Text that the decoder keeps once for all its uses.
    #[inline(always)]
    fn name(&mut self, bytes: &'a [u8]) {
        let slot = self.seen.slot(bytes);
        if words::equal(slot, bytes) {
            return;
        }
        if bytes.len() <= Seen::LONGEST && is_text(bytes) {
            *slot = bytes;
        } else {
            self.text(bytes);
        }
        self.state.columns += bytes::TEXT + 2 * bytes.len() as u64;
    }

    /// One `KeyValue`: kept, or cut.
    #[inline(always)]
    fn attribute(
        &mut self,
        tag: usize,
        outer: &mut Cursor<'a>,
        owner: Owner,
        owned: &mut Owned,
    ) -> Result<()> {
        let message = outer.message()?;
        let end = outer.pos();
        if owned.kept >= self.limits.attributes {
            self.cut(tag..end, Reason::Attributes);
            owned.cut += 1;
            return Ok(());
        }
        self.state.columns += bytes::ATTRIBUTE;
        if let Some((key, value)) = plain_key_value(message.rest())
            && plain_value(value, end).is_some()
            && message.rest().len() <= self.limits.value_bytes
        {
            self.name(key);
            owned.kept += 1;
            return Ok(());
        }
        match self.key_value(message, owner.attribute_depth()).map_err(|e| e.within("attributes"))? {
            None => owned.kept += 1,
            Some(reason) => {
                self.state.columns -= bytes::ATTRIBUTE;
                self.cut(tag..end, reason);
                owned.cut += 1;
            }
        }
        Ok(())
    }

    /// Why a `KeyValue` must be cut, if it must. Its parts together are what is limited: repeated ones are merged.
    #[inline(never)]
    fn key_value(&mut self, mut cursor: Cursor<'a>, depth: u32) -> Result<Option<Reason>> {
        let (mut key, mut long) = (0, 0);
        while !cursor.is_done() {
            match cursor.tag()? {
                (1, Len) => {
                    let bytes = cursor.payload().map_err(|e| e.within("key"))?;
                    key += bytes.len();
                    if key > self.limits.value_bytes {
                        return Ok(Some(Reason::ValueBytes));
                    }
                    self.name(bytes);
                }
                (2, Len) => {
                    let message = cursor.message()?;
                    long += cursor.pos() - message.pos();
                    if long > self.limits.value_bytes {
                        return Ok(Some(Reason::ValueBytes));
                    }
                    if !self.value(message, depth).map_err(|e| e.within("value"))? {
                        return Ok(Some(Reason::ValueDepth));
                    }
                }
                (3, Varint) => {
                    self.state.columns += bytes::RARE;
                    cursor.varint()?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, depth)?,
            }
        }
        Ok(None)
    }

    /// Walks an `AnyValue`, with a stack instead of recursion. False if there is one that is too deep.
    fn value(&mut self, message: Cursor<'a>, depth: u32) -> Result<bool> {
        let mut levels = 1;
        self.open.clear();
        self.open.push((message, Shape::Any));
        loop {
            let below = depth + self.open.len() as u32;
            let Some((cursor, shape)) = self.open.last_mut() else { return Ok(true) };
            if cursor.is_done() {
                levels -= u32::from(*shape == Shape::Any);
                self.open.pop();
                continue;
            }
            let (field, wire_type) = cursor.tag()?;
            match (wire_type, shape.field(field)) {
                (Len, Some(Some(inner))) => {
                    let message = cursor.message()?;
                    levels += u32::from(inner == Shape::Any);
                    if levels > self.limits.value_depth {
                        return Ok(false);
                    }
                    self.open.push((message, inner));
                }
                (Len, Some(None)) => {
                    if !is_text(cursor.payload()?) {
                        self.flaw = Some(Reason::Utf8);
                    }
                }
                _ => cursor.skip(field, wire_type, below)?,
            }
        }
    }

    // ---- cutting ----

    /// One more event or link: kept and to be walked, or cut.
    #[inline(always)]
    fn keep(&mut self, open: Open, owned: &mut Owned, limit: u32, reason: Reason) -> bool {
        if owned.kept < limit {
            owned.kept += 1;
            return true;
        }
        self.cut(open.tag..open.end, reason);
        owned.cut += 1;
        false
    }

    #[cold]
    fn cut(&mut self, range: Range<usize>, reason: Reason) {
        self.state.tally.cut[reason as usize] += 1;
        if self.state.cuts >= MAX_CUTS {
            self.flaw = Some(Reason::Scattered);
        } else if self.remove(range) {
            self.state.cuts += 1;
        }
    }

    /// Removes these bytes; false if that only makes the last cut longer.
    fn remove(&mut self, range: Range<usize>) -> bool {
        let (start, end) = (range.start as u32, range.end as u32);
        self.state.delta -= i64::from(end - start);
        match self.edits.last_mut() {
            Some(last) if last.kind == Kind::Cut && last.end == start => {
                last.end = end;
                false
            }
            _ => {
                self.edits.push(Edit { start, end, value: 0, kind: Kind::Cut });
                true
            }
        }
    }

    /// Takes back all that was noted in a span, and cuts it.
    #[cold]
    fn reject(&mut self, open: Open, before: State, reason: Reason) {
        self.edits.truncate(open.edits);
        self.state = before;
        self.state.tally.cut[reason as usize] += 1;
        self.remove(open.tag..open.end);
    }

    /// Writes the length of a message anew if something in it was cut.
    #[inline(always)]
    fn close(&mut self, open: Open) {
        if self.edits.len() > open.edits {
            self.write_length(open);
        }
    }

    #[cold]
    fn write_length(&mut self, open: Open) {
        let inner = self.state.delta - open.delta;
        let value = ((open.end - open.payload) as i64 + inner) as u32;
        self.state.delta += varint_len(value) - (open.payload - open.len) as i64;
        let (start, end) = (open.len as u32, open.payload as u32);
        self.edits.push(Edit { start, end, value, kind: Kind::Length });
    }

    /// Ends an owner of attributes whose `dropped_attributes_count` is `field`.
    #[inline(always)]
    fn close_owner(&mut self, field: u8, open: Open, owned: &Owned, cut_before: u32) {
        if self.edits.len() > open.edits {
            if owned.cut > cut_before {
                self.note_dropped(field, open.end, owned);
            }
            self.write_length(open);
        }
    }

    /// Adds what was cut to what the sender dropped: where something is missing, the message says so.
    #[cold]
    fn note_dropped(&mut self, field: u8, at: usize, owned: &Owned) {
        if owned.cut > 0 {
            let (start, value) = (at as u32, owned.dropped.saturating_add(owned.cut));
            self.state.delta += 1 + varint_len(value);
            self.edits.push(Edit { start, end: start, value, kind: Kind::Dropped(field) });
        }
    }

    /// Ends a `ResourceSpans` or `ScopeSpans`: one with a flaw, or without a span that could be kept, is cut.
    fn close_envelope(&mut self, open: Open, before: State, flaw: Option<Reason>) -> Result<()> {
        let kept = self.state.tally.accepted - before.tally.accepted;
        if flaw.is_none() && (kept > 0 || self.edits.len() == open.edits) {
            self.close(open);
            return self.check_envelope(open);
        }
        self.edits.truncate(open.edits);
        let tally = self.state.tally;
        self.state = State { tally, ..before };
        self.state.tally.accepted -= kept;
        self.state.tally.cut[flaw.unwrap_or(Reason::Utf8) as usize] += kept;
        self.remove(open.tag..open.end);
        Ok(())
    }

    fn charge_envelope(&mut self, bytes: u64, open: Open) -> Result<()> {
        self.state.columns += bytes;
        self.check_envelope(open)
    }

    /// Spans that need too much memory are rejected one by one; what surrounds them cannot be.
    fn check_envelope(&self, open: Open) -> Result<()> {
        if self.state.columns <= self.room {
            return Ok(());
        }
        let expected = format!("resources and scopes that need at most {} bytes of columns", self.room);
        Err(DecodeError::new(expected, "more", open.tag))
    }
}

#[inline(always)]
fn is_text(bytes: &[u8]) -> bool {
    words::is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()
}

/// An id as the protocol asks for: of its length, and not all zero.
#[inline(always)]
fn is_id<const N: usize>(bytes: &[u8]) -> bool {
    <&[u8; N]>::try_from(bytes).is_ok_and(|id| *id != [0; N])
}

// ---- texts that come again -----------------------------------------------------------------------

/// Recent names and keys, all of them UTF-8, so that only new ones are looked at and charged. A collision charges one
/// too often; one that a rejected span brought first is charged too seldom, which comes to a few KiB at most.
struct Seen<'a>(Box<[&'a [u8]; Seen::SLOTS]>);

impl Default for Seen<'_> {
    fn default() -> Self {
        Self(Box::new([&[]; Seen::SLOTS]))
    }
}

impl<'a> Seen<'a> {
    const SLOTS: usize = 256;
    const LONGEST: usize = 256;

    /// Where a text is, if it was there lately.
    #[inline(always)]
    fn slot(&mut self, bytes: &[u8]) -> &mut &'a [u8] {
        let ends = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            (Some(a), Some(b)) => u32::from_le_bytes(*a) ^ u32::from_le_bytes(*b).rotate_left(13),
            _ => bytes.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte)),
        };
        let hash = (ends ^ bytes.len() as u32).wrapping_mul(0x9e37_79b1);
        &mut self.0[(hash >> 24) as usize]
    }
}

// ---- JSON ----------------------------------------------------------------------------------------

/// Where objects and arrays are deeper within one another than `limit`, if they are. The text need not be sound.
pub fn too_deep_json(text: &[u8], limit: u32) -> Option<usize> {
    let (mut depth, mut at) = (0u32, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return Some(at);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(text, at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that starts here ends: at its quote.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}
