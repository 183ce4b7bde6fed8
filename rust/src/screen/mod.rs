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

mod cutting;
mod depth;
mod edits;
mod limits;
mod recent_texts;
#[cfg(test)]
mod tests;
mod values;

use crate::columns::short_bytes;
use crate::decode::fields::{
    event, link, request, resource, resource_spans, scope, scope_spans, span, status,
};
use crate::decode::otlp::{Owner, Shape, check_entity_ref};
use crate::decode::wire::Cursor;
use crate::error::{DecodeError, ErrorKind, Result};
use edits::{Edit, rewrite};
use recent_texts::RecentTexts;

pub use depth::too_deep_json;
pub use limits::{CutCounts, CutReason, Limits};

/// Cuts in one span, scope or resource that do not touch each other. One that needs more is not worth the memory.
const MAX_CUTS: u32 = 64;

/// The longest wire: places are kept in 32 bits, and the decoder's texts end there.
const MAX_WIRE: usize = (1 << 28) - 1;

/// What came of a request.
#[derive(Debug)]
pub struct Screened {
    /// The wire without what was cut; None if nothing was.
    pub wire: Option<Vec<u8>>,
    /// The counts.
    pub tally: CutCounts,
}

/// Looks through one request.
///
/// Errors: malformed wire, or envelopes that need more memory for columns than the limit.
pub fn screen(wire: &[u8], limits: &Limits) -> Result<Screened> {
    if wire.len() > MAX_WIRE {
        return Err(DecodeError::new("a request below 256 MiB", format!("{} bytes", wire.len()), 0)
            .of(ErrorKind::Limit));
    }
    let mut screen = Screen {
        limits,
        room: limits
            .columns_free_bytes
            .saturating_add(limits.columns_per_byte.saturating_mul(wire.len() as u64)),
        edits: Vec::new(),
        state: State::default(),
        flaw: None,
        seen: RecentTexts::default(),
        open: Vec::new(),
    };
    screen.request(Cursor::new(wire, 0))?;
    let Screen { edits, state, .. } = screen;
    let wire = if edits.is_empty() { None } else { Some(rewrite(wire, edits, state.delta)) };
    Ok(Screened { wire, tally: state.tally })
}

// ---- the walk ------------------------------------------------------------------------------------

/// What a cut takes back.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    tally: CutCounts,
    /// Bytes of columns that the decoder will need, at most.
    columns: u64,
    /// How much longer the wire becomes.
    delta: isize,
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
    delta: isize,
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
    flaw: Option<CutReason>,
    seen: RecentTexts<'a>,
    /// Values within one another; kept for its memory.
    open: Vec<(Cursor<'a>, Shape)>,
}

/// Bytes of columns that are held after decoding, per row and per distinct text beside the text itself; of links, scopes
/// and resources, whose spare room is not given back, twice the size of a row. `decode::otlp` counts the peak instead.
mod bytes {
    pub const RESOURCE: u64 = 48;
    pub const SCOPE: u64 = 72;
    pub const SPAN: u64 = 132;
    pub const EVENT: u64 = 24;
    pub const LINK: u64 = 98;
    pub const ATTRIBUTE: u64 = 13;
    pub const RARE: u64 = 32;
    pub const TEXT: u64 = 64;
}

impl<'a> Screen<'a> {
    fn request(&mut self, mut cursor: Cursor<'a>) -> Result<()> {
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                request::RESOURCE_SPANS => {
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
                resource_spans::RESOURCE => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    self.resource(message, inner, &mut owned).map_err(|e| e.within("resource"))?;
                    flaw = flaw.or(self.flaw.take());
                }
                resource_spans::SCOPE_SPANS => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    let cuts = self.state.cuts;
                    self.scope_spans(message, inner).map_err(|e| e.within("scope_spans"))?;
                    self.state.cuts = cuts;
                }
                resource_spans::SCHEMA_URL if !is_text(cursor.payload()?) => flaw = Some(CutReason::Utf8),
                resource_spans::SCHEMA_URL => {}
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
                resource::ATTRIBUTES => self.attribute(tag, &mut cursor, Owner::Resource, owned)?,
                resource::DROPPED_ATTRIBUTES_COUNT => owned.dropped = cursor.uint32()?,
                resource::ENTITY_REFS => {
                    self.state.columns += bytes::RARE;
                    self.entity_ref(cursor.message()?)?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 2)?,
            }
        }
        self.close_owner(resource::DROPPED_ATTRIBUTES_COUNT, open, owned, cut_before);
        self.check_envelope(open)
    }

    /// All its fields are text, and kept as they are.
    fn entity_ref(&mut self, message: Cursor<'a>) -> Result<()> {
        match check_entity_ref(message) {
            Err(error) if error.kind == ErrorKind::Utf8 => {
                self.flaw = Some(CutReason::Utf8);
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
                scope_spans::SCOPE => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    self.scope(message, inner, &mut owned).map_err(|e| e.within("scope"))?;
                    flaw = flaw.or(self.flaw.take());
                }
                scope_spans::SPANS => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    self.span_within_limits(message, inner).map_err(|e| e.within("spans"))?;
                }
                scope_spans::SCHEMA_URL if !is_text(cursor.payload()?) => flaw = Some(CutReason::Utf8),
                scope_spans::SCHEMA_URL => {}
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
                scope::NAME => self.name(cursor.payload()?),
                scope::VERSION => self.text(cursor.payload()?),
                scope::ATTRIBUTES => self.attribute(tag, &mut cursor, Owner::Scope, owned)?,
                scope::DROPPED_ATTRIBUTES_COUNT => owned.dropped = cursor.uint32()?,
                (field, wire_type) => cursor.skip(field, wire_type, 3)?,
            }
        }
        self.close_owner(scope::DROPPED_ATTRIBUTES_COUNT, open, owned, cut_before);
        self.check_envelope(open)
    }

    #[inline]
    fn span_within_limits(&mut self, message: Cursor<'a>, open: Open) -> Result<()> {
        let before = self.state;
        if before.tally.accepted >= self.limits.spans {
            self.reject(open, before, CutReason::Spans);
            return Ok(());
        }
        if open.end - open.payload > self.limits.span_bytes {
            self.reject(open, before, CutReason::SpanBytes);
            return Ok(());
        }
        self.flaw = None;
        self.state.columns += bytes::SPAN;
        self.state.cuts = 0;
        self.span(message, open)?;
        let crowded = (self.state.columns > self.room).then_some(CutReason::Columns);
        if let Some(reason) = self.flaw.take().or(crowded) {
            self.reject(open, before, reason);
        } else {
            self.state.tally.accepted += 1;
            self.close(open);
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
                span::TRACE_ID => trace_id = is_id::<16>(cursor.payload().map_err(|e| e.within("trace_id"))?),
                span::SPAN_ID => span_id = is_id::<8>(cursor.payload().map_err(|e| e.within("span_id"))?),
                span::TRACE_STATE => self.text(cursor.payload()?),
                span::PARENT_SPAN_ID if cursor.payload()?.len() != 8 => self.state.columns += bytes::RARE,
                span::PARENT_SPAN_ID => {}
                span::NAME => self.name(cursor.payload().map_err(|e| e.within("name"))?),
                span::ATTRIBUTES => self.attribute(tag, &mut cursor, Owner::Span, &mut owned)?,
                span::DROPPED_ATTRIBUTES_COUNT => owned.dropped = cursor.uint32()?,
                span::EVENTS => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    if self.keep(inner, &mut events, self.limits.events, CutReason::Events) {
                        self.event(message, inner).map_err(|e| e.within("events"))?;
                    }
                }
                span::DROPPED_EVENTS_COUNT => events.dropped = cursor.uint32()?,
                span::LINKS => {
                    let (message, inner) = self.open(tag, &mut cursor)?;
                    if self.keep(inner, &mut links, self.limits.links, CutReason::Links) {
                        self.link(message, inner).map_err(|e| e.within("links"))?;
                    }
                }
                span::DROPPED_LINKS_COUNT => links.dropped = cursor.uint32()?,
                span::STATUS => {
                    let message = cursor.message()?;
                    self.status(message).map_err(|e| e.within("status"))?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 3)?,
            }
        }
        if !trace_id {
            self.flaw = Some(CutReason::TraceId);
        } else if !span_id {
            self.flaw = Some(CutReason::SpanId);
        }
        if self.edits.len() > open.edits {
            self.note_dropped(span::DROPPED_ATTRIBUTES_COUNT, open.end, &owned);
            self.note_dropped(span::DROPPED_EVENTS_COUNT, open.end, &events);
            self.note_dropped(span::DROPPED_LINKS_COUNT, open.end, &links);
        }
        Ok(())
    }

    fn event(&mut self, mut cursor: Cursor<'a>, open: Open) -> Result<()> {
        let mut owned = Owned::default();
        self.state.columns += bytes::EVENT;
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                event::NAME => self.name(cursor.payload()?),
                event::ATTRIBUTES => self.attribute(tag, &mut cursor, Owner::Event, &mut owned)?,
                event::DROPPED_ATTRIBUTES_COUNT => owned.dropped = cursor.uint32()?,
                (field, wire_type) => cursor.skip(field, wire_type, 4)?,
            }
        }
        self.close_owner(event::DROPPED_ATTRIBUTES_COUNT, open, &owned, 0);
        Ok(())
    }

    fn link(&mut self, mut cursor: Cursor<'a>, open: Open) -> Result<()> {
        let mut owned = Owned::default();
        self.state.columns += bytes::LINK;
        while !cursor.is_done() {
            let tag = cursor.pos();
            match cursor.tag()? {
                link::TRACE_ID if cursor.payload()?.len() != 16 => self.state.columns += bytes::RARE,
                link::SPAN_ID if cursor.payload()?.len() != 8 => self.state.columns += bytes::RARE,
                link::TRACE_ID | link::SPAN_ID => {}
                link::TRACE_STATE => self.text(cursor.payload()?),
                link::ATTRIBUTES => self.attribute(tag, &mut cursor, Owner::Link, &mut owned)?,
                link::DROPPED_ATTRIBUTES_COUNT => owned.dropped = cursor.uint32()?,
                (field, wire_type) => cursor.skip(field, wire_type, 4)?,
            }
        }
        self.close_owner(link::DROPPED_ATTRIBUTES_COUNT, open, &owned, 0);
        Ok(())
    }

    fn status(&mut self, mut cursor: Cursor<'a>) -> Result<()> {
        while !cursor.is_done() {
            match cursor.tag()? {
                status::MESSAGE => self.text(cursor.payload()?),
                (field, wire_type) => cursor.skip(field, wire_type, 4)?,
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn is_text(bytes: &[u8]) -> bool {
    short_bytes::is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()
}

/// An id as the protocol asks for: of its length, and not all zero.
#[inline(always)]
fn is_id<const N: usize>(bytes: &[u8]) -> bool {
    <&[u8; N]>::try_from(bytes).is_ok_and(|id| *id != [0; N])
}
