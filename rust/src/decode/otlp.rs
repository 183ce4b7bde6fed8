//! OTLP trace messages: the walk from request bytes to columns.
//!
//! Protobuf's own rules decide: the last of a repeated scalar wins, repeated messages merge, a known field of
//! another wire type is an unknown field, unknown fields are skipped. Text must be UTF-8.

use crate::columns::interner::{Interner, Sequence};
use crate::columns::short_bytes;
use crate::columns::{Attributes, Columns, IdField, Mark, OddId, TextRef, ValueKind, present};
use crate::decode::fields::{
    any_value, entity_ref, event, key_value, link, request, resource, resource_spans, scope, scope_spans,
    span, status,
};
use crate::decode::wire::WireType::Len;
use crate::decode::wire::{Cursor, MAX_DEPTH, too_deep};
use crate::error::{DecodeError, ErrorKind, Result};
use crate::numbers::{low_u32, u32_of};

/// Decodes the requests that stand at `ranges` of `arena`, in that order. The first that is malformed is an error.
pub fn decode(arena: Vec<u8>, ranges: &[std::ops::Range<usize>]) -> Result<Columns> {
    let mut decoder = Decoder::new(&arena)?;
    for (index, range) in ranges.iter().enumerate() {
        decoder
            .decode(range.clone())
            .map_err(|error| if ranges.len() > 1 { error.within(&format!("[{index}]")) } else { error })?;
    }
    let (columns, extra) = decoder.finish();
    Ok(with_arena(columns, arena, &extra))
}

/// Columns with the bytes that they refer to.
fn with_arena(mut columns: Columns, mut arena: Vec<u8>, extra: &[u8]) -> Columns {
    arena.extend_from_slice(extra);
    columns.shrink_to_fit();
    columns.arena = arena.into();
    columns
}

/// Which table an attribute belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Owner {
    Span,
    Event,
    Link,
    Scope,
    Resource,
}

impl Owner {
    /// How many messages below the request its attributes are.
    #[inline(always)]
    pub(crate) fn attribute_depth(self) -> u32 {
        match self {
            // resource_spans, resource, attributes
            Owner::Resource => 3,
            // resource_spans, scope_spans, scope or spans, attributes
            Owner::Scope | Owner::Span => 4,
            // resource_spans, scope_spans, spans, events or links, attributes
            Owner::Event | Owner::Link => 5,
        }
    }
}

/// Bytes of columns that an owner of attributes takes at most, and that one attribute does. Events, links and attributes
/// count twice the size of a row, since vectors double: `read` decodes whole files, and its peak is bounded. The screen
/// counts what is held once a small request is decoded, so less for events and attributes.
const ATTRIBUTE_BYTES: u64 = 26;

impl Owner {
    const fn bytes(self) -> u64 {
        match self {
            Owner::Resource => 48,
            Owner::Scope => 72,
            Owner::Span => 112,
            Owner::Event => 40,
            Owner::Link => 90,
        }
    }
}

#[derive(Default)]
pub(crate) struct Decoder<'a> {
    buf: &'a [u8],
    /// Bytes of columns that were taken, texts aside, and how many may be.
    taken: u64,
    pub(crate) allowed: u64,
    /// Values that had to be merged from several places; they come to stand behind the wire bytes.
    extra: Vec<u8>,
    columns: Columns,
    /// The names of spans and events, as they follow each other.
    names: Sequence,
    /// Where the attributes of the last span of each name are.
    span_keys: Remembered,
    /// The same for events.
    event_keys: Remembered,
}

/// Per name: where the attributes of its last owner start. Their keys are likely to come again.
#[derive(Default)]
struct Remembered(Vec<u32>);

impl Remembered {
    #[inline(always)]
    fn of(&self, name: u32) -> u32 {
        self.0.get(name as usize).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn note(&mut self, name: u32, first_attribute: u32) {
        match self.0.get_mut(name as usize) {
            Some(known) => *known = first_attribute,
            None => self.grow(name, first_attribute),
        }
    }

    #[cold]
    fn grow(&mut self, name: u32, first_attribute: u32) {
        self.0.resize(name as usize + 1, first_attribute);
    }
}

/// An id field as far as it was read; the last one wins.
#[derive(Clone, Copy)]
enum Id<const N: usize> {
    Absent,
    Whole([u8; N]),
    Odd(TextRef),
}

impl<const N: usize> Id<N> {
    #[inline(always)]
    fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        let bytes = cursor.payload()?;
        Ok(match <[u8; N]>::try_from(bytes) {
            Ok(id) => Self::Whole(id),
            Err(_) if bytes.is_empty() => Self::Absent,
            Err(_) => Self::Odd(TextRef::new(cursor.pos() - bytes.len(), cursor.pos())?),
        })
    }

    /// Adds the id to its column and says whether it is whole.
    #[inline(always)]
    fn push(self, column: &mut Vec<[u8; N]>, odd: &mut Vec<OddId>, field: IdField, bit: u8) -> u8 {
        if let Self::Odd(value) = self {
            odd.push(OddId { row: u32_of(column.len()), field, value });
        }
        if let Self::Whole(id) = self {
            column.push(id);
            bit
        } else {
            column.push([0; N]);
            0
        }
    }
}

/// Text must be UTF-8, as in the official parsers.
#[inline(always)]
fn check_utf8(bytes: &[u8], end: usize) -> Result<()> {
    if short_bytes::is_ascii(bytes) || std::str::from_utf8(bytes).is_ok() {
        Ok(())
    } else {
        Err(not_utf8(bytes, end))
    }
}

#[cold]
fn not_utf8(bytes: &[u8], end: usize) -> Box<DecodeError> {
    let valid = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    DecodeError::new("UTF-8 text", "other bytes", end - bytes.len() + valid).of(ErrorKind::Utf8)
}

#[inline(always)]
fn bytes(cursor: &mut Cursor<'_>) -> Result<TextRef> {
    let bytes = cursor.payload()?;
    TextRef::new(cursor.pos() - bytes.len(), cursor.pos())
}

#[inline(always)]
fn text(cursor: &mut Cursor<'_>) -> Result<TextRef> {
    let bytes = cursor.payload()?;
    check_utf8(bytes, cursor.pos())?;
    TextRef::new(cursor.pos() - bytes.len(), cursor.pos())
}

#[inline(always)]
fn interned(cursor: &mut Cursor<'_>, interner: &mut Interner) -> Result<u32> {
    let bytes = cursor.payload()?;
    let end = cursor.pos();
    interner.intern(bytes, |bytes| check_utf8(bytes, end))
}

#[cold]
fn too_dense(at: usize) -> Box<DecodeError> {
    DecodeError::new("columns of a few bytes for each byte of input", "spans that need far more memory", at)
        .of(ErrorKind::Limit)
}

/// Rows are numbered with 32 bits.
fn row(count: usize, at: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| DecodeError::new("at most 4294967295 rows", "more", at))
}

impl<'a> Decoder<'a> {
    /// A decoder of requests in `buf`. It may take any memory.
    pub(crate) fn new(buf: &'a [u8]) -> Result<Self> {
        if buf.len() > TextRef::MAX_ARENA {
            let got = format!("{} bytes", buf.len());
            return Err(DecodeError::new("at most 64 GiB in one call", got, 0).of(ErrorKind::Limit));
        }
        Ok(Decoder { buf, ..Decoder::with_room_for(buf.len()) })
    }

    /// A new decoder, with capacity for this many bytes.
    pub(crate) fn with_room_for(bytes: usize) -> Self {
        Self { allowed: u64::MAX, columns: Columns::with_room_for(bytes), ..Self::default() }
    }

    /// Decodes the request at `range`. The offset of an error is in the request.
    pub(crate) fn decode(&mut self, range: std::ops::Range<usize>) -> Result<()> {
        let buf = self.buf.get(..range.end).unwrap_or_default();
        self.request(Cursor::new(buf, range.start)).map_err(|mut error| {
            error.offset -= range.start as u64;
            error
        })
    }

    /// The same; of a malformed one nothing is left behind.
    pub(crate) fn decode_or_leave(&mut self, range: std::ops::Range<usize>) -> Result<()> {
        let (mark, taken) = (self.columns.mark(), self.taken);
        self.decode(range).inspect_err(|_| {
            self.columns.rewind(&mark);
            self.taken = taken;
        })
    }

    /// The same decoder, which goes on with other bytes; and what must stand behind those that it had.
    pub(crate) fn reading(self, buf: &[u8]) -> (Decoder<'_>, Vec<u8>) {
        let Self { taken, allowed, extra, columns, names, span_keys, event_keys, .. } = self;
        let next = Decoder { buf, taken, allowed, extra: Vec::new(), columns, names, span_keys, event_keys };
        (next, extra)
    }

    /// Where its columns end.
    pub(crate) fn mark(&self) -> Mark {
        self.columns.mark()
    }

    /// Lets the texts since the mark stand this much later.
    pub(crate) fn move_texts(&mut self, mark: &Mark, by: usize) {
        self.columns.move_texts(mark, by);
    }

    /// The columns, without the bytes that they refer to, and what must stand behind these.
    pub(crate) fn finish(self) -> (Columns, Vec<u8>) {
        (self.columns, self.extra)
    }

    /// Counts memory that a sender asks for.
    #[inline(always)]
    fn charge(&mut self, bytes: u64, at: usize) -> Result<()> {
        self.taken += bytes;
        let texts = self.columns.names.weight() + self.columns.keys.weight();
        if self.taken + texts > self.allowed { Err(too_dense(at)) } else { Ok(()) }
    }

    fn request(&mut self, mut cursor: Cursor<'_>) -> Result<()> {
        let batch = self.columns.batches;
        while !cursor.is_done() {
            match cursor.tag()? {
                request::RESOURCE_SPANS => {
                    let message = cursor.message()?;
                    self.resource_spans(message, batch).map_err(|e| e.within("resource_spans"))?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 0)?,
            }
        }
        self.columns.batches += 1;
        Ok(())
    }

    fn resource_spans(&mut self, mut cursor: Cursor<'_>, batch: u32) -> Result<()> {
        let empty = self.columns.names.intern_str("");
        let here = row(self.columns.resources.batch.len(), cursor.pos())?;
        let resources = &mut self.columns.resources;
        resources.batch.push(batch);
        resources.present.push(false);
        resources.dropped_attributes_count.push(0);
        resources.schema_url.push(TextRef::default());
        while !cursor.is_done() {
            match cursor.tag()? {
                resource_spans::RESOURCE => {
                    let message = cursor.message()?;
                    self.resource(message, here).map_err(|e| e.within("resource"))?;
                }
                resource_spans::SCOPE_SPANS => {
                    let message = cursor.message()?;
                    self.scope_spans(message, here, empty).map_err(|e| e.within("scope_spans"))?;
                }
                resource_spans::SCHEMA_URL => {
                    self.columns.resources.schema_url[here as usize] =
                        text(&mut cursor).map_err(|e| e.within("schema_url"))?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 1)?,
            }
        }
        self.end_attributes(Owner::Resource, cursor.pos())
    }

    fn resource(&mut self, mut cursor: Cursor<'_>, here: u32) -> Result<()> {
        self.columns.resources.present[here as usize] = true;
        while !cursor.is_done() {
            match cursor.tag()? {
                resource::ATTRIBUTES => self.attribute(&mut cursor, Owner::Resource, 0)?,
                resource::DROPPED_ATTRIBUTES_COUNT => {
                    self.columns.resources.dropped_attributes_count[here as usize] =
                        cursor.uint32().map_err(|e| e.within("dropped_attributes_count"))?;
                }
                resource::ENTITY_REFS => {
                    let message = cursor.message()?;
                    let end = cursor.pos();
                    let value = TextRef::new(message.pos(), end)?;
                    check_entity_ref(message).map_err(|e| e.within("entity_refs"))?;
                    self.columns.resources.entity_refs.push((here, value));
                }
                (field, wire_type) => cursor.skip(field, wire_type, 2)?,
            }
        }
        Ok(())
    }

    fn scope_spans(&mut self, mut cursor: Cursor<'_>, resource_spans: u32, empty: u32) -> Result<()> {
        let here = row(self.columns.scopes.name.len(), cursor.pos())?;
        let scopes = &mut self.columns.scopes;
        scopes.resource_spans.push(resource_spans);
        scopes.present.push(false);
        scopes.name.push(empty);
        scopes.version.push(TextRef::default());
        scopes.dropped_attributes_count.push(0);
        scopes.schema_url.push(TextRef::default());
        while !cursor.is_done() {
            match cursor.tag()? {
                scope_spans::SCOPE => {
                    let message = cursor.message()?;
                    self.scope(message, here as usize).map_err(|e| e.within("scope"))?;
                }
                scope_spans::SPANS => {
                    let message = cursor.message()?;
                    self.span(message, here, empty).map_err(|e| e.within("spans"))?;
                }
                scope_spans::SCHEMA_URL => {
                    self.columns.scopes.schema_url[here as usize] =
                        text(&mut cursor).map_err(|e| e.within("schema_url"))?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 2)?,
            }
        }
        self.end_attributes(Owner::Scope, cursor.pos())
    }

    fn scope(&mut self, mut cursor: Cursor<'_>, here: usize) -> Result<()> {
        self.columns.scopes.present[here] = true;
        while !cursor.is_done() {
            match cursor.tag()? {
                scope::NAME => {
                    self.columns.scopes.name[here] =
                        interned(&mut cursor, &mut self.columns.names).map_err(|e| e.within("name"))?;
                }
                scope::VERSION => {
                    self.columns.scopes.version[here] = text(&mut cursor).map_err(|e| e.within("version"))?;
                }
                scope::ATTRIBUTES => self.attribute(&mut cursor, Owner::Scope, 0)?,
                scope::DROPPED_ATTRIBUTES_COUNT => {
                    self.columns.scopes.dropped_attributes_count[here] =
                        cursor.uint32().map_err(|e| e.within("dropped_attributes_count"))?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 3)?,
            }
        }
        Ok(())
    }

    /// One span. Long because it is a table of the message's sixteen fields.
    fn span(&mut self, mut cursor: Cursor<'_>, scope_spans: u32, empty: u32) -> Result<()> {
        let (mut trace_id, mut span_id, mut parent) = (Id::<16>::Absent, Id::<8>::Absent, Id::<8>::Absent);
        let (mut trace_state, mut status_message) = (TextRef::default(), TextRef::default());
        let (mut name, mut kind, mut flags, mut status_code, mut bits) = (empty, 0i32, 0u32, 0i32, 0u8);
        let (mut start, mut end) = (0u64, 0u64);
        let mut dropped = [0u32; 3];
        let first_attribute = low_u32(self.columns.span_attributes.key.len() as u64);
        while !cursor.is_done() {
            match cursor.tag()? {
                span::TRACE_ID => trace_id = Id::read(&mut cursor).map_err(|e| e.within("trace_id"))?,
                span::SPAN_ID => span_id = Id::read(&mut cursor).map_err(|e| e.within("span_id"))?,
                span::TRACE_STATE => trace_state = text(&mut cursor).map_err(|e| e.within("trace_state"))?,
                span::PARENT_SPAN_ID => {
                    parent = Id::read(&mut cursor).map_err(|e| e.within("parent_span_id"))?;
                }
                span::NAME => {
                    name = self.name(&mut cursor).map_err(|e| e.within("name"))?;
                }
                span::KIND => kind = cursor.int32().map_err(|e| e.within("kind"))?,
                span::START_TIME_UNIX_NANO => {
                    start = cursor.fixed64().map_err(|e| e.within("start_time_unix_nano"))?;
                }
                span::END_TIME_UNIX_NANO => {
                    end = cursor.fixed64().map_err(|e| e.within("end_time_unix_nano"))?;
                }
                span::ATTRIBUTES => {
                    let shift = self.span_keys.of(name).wrapping_sub(first_attribute);
                    self.attribute(&mut cursor, Owner::Span, shift)?;
                }
                span::DROPPED_ATTRIBUTES_COUNT => {
                    dropped[0] = cursor.uint32().map_err(|e| e.within("dropped_attributes_count"))?;
                }
                span::EVENTS => {
                    let message = cursor.message()?;
                    self.event(message, empty).map_err(|e| e.within("events"))?;
                }
                span::DROPPED_EVENTS_COUNT => {
                    dropped[1] = cursor.uint32().map_err(|e| e.within("dropped_events_count"))?;
                }
                span::LINKS => {
                    let message = cursor.message()?;
                    self.link(message).map_err(|e| e.within("links"))?;
                }
                span::DROPPED_LINKS_COUNT => {
                    dropped[2] = cursor.uint32().map_err(|e| e.within("dropped_links_count"))?;
                }
                span::STATUS => {
                    bits |= present::STATUS;
                    status(cursor.message()?, &mut status_code, &mut status_message)
                        .map_err(|e| e.within("status"))?;
                }
                span::FLAGS => flags = cursor.fixed32().map_err(|e| e.within("flags"))?,
                (field, wire_type) => cursor.skip(field, wire_type, 3)?,
            }
        }
        self.span_keys.note(name, first_attribute);
        let Columns { spans, events, links, .. } = &mut self.columns;
        row(spans.name.len(), cursor.pos())?;
        bits |= trace_id.push(&mut spans.trace_id, &mut spans.odd_ids, IdField::Trace, present::TRACE_ID);
        bits |= span_id.push(&mut spans.span_id, &mut spans.odd_ids, IdField::Span, present::SPAN_ID);
        bits |= parent.push(&mut spans.parent_span_id, &mut spans.odd_ids, IdField::Parent, present::PARENT);
        spans.present.push(bits);
        spans.trace_state.push(trace_state);
        spans.flags.push(flags);
        spans.name.push(name);
        spans.kind.push(kind);
        spans.start_time_unix_nano.push(start);
        spans.end_time_unix_nano.push(end);
        spans.dropped_attributes_count.push(dropped[0]);
        spans.dropped_events_count.push(dropped[1]);
        spans.dropped_links_count.push(dropped[2]);
        spans.status_code.push(status_code);
        spans.status_message.push(status_message);
        spans.scope_spans.push(scope_spans);
        spans.events_end.push(row(events.name.len(), cursor.pos())?);
        spans.links_end.push(row(links.flags.len(), cursor.pos())?);
        self.end_attributes(Owner::Span, cursor.pos())
    }

    /// The name of a span or an event.
    #[inline(always)]
    fn name(&mut self, cursor: &mut Cursor<'_>) -> Result<u32> {
        let bytes = cursor.payload()?;
        let end = cursor.pos();
        self.columns.names.intern_next(&mut self.names, bytes, |bytes| check_utf8(bytes, end))
    }

    fn event(&mut self, mut cursor: Cursor<'_>, empty: u32) -> Result<()> {
        let (mut time, mut name, mut dropped) = (0, empty, 0);
        let first_attribute = low_u32(self.columns.event_attributes.key.len() as u64);
        while !cursor.is_done() {
            match cursor.tag()? {
                event::TIME_UNIX_NANO => time = cursor.fixed64().map_err(|e| e.within("time_unix_nano"))?,
                event::NAME => {
                    name = self.name(&mut cursor).map_err(|e| e.within("name"))?;
                }
                event::ATTRIBUTES => {
                    let shift = self.event_keys.of(name).wrapping_sub(first_attribute);
                    self.attribute(&mut cursor, Owner::Event, shift)?;
                }
                event::DROPPED_ATTRIBUTES_COUNT => {
                    dropped = cursor.uint32().map_err(|e| e.within("dropped_attributes_count"))?;
                }
                (field, wire_type) => cursor.skip(field, wire_type, 4)?,
            }
        }
        self.event_keys.note(name, first_attribute);
        self.columns.events.time_unix_nano.push(time);
        self.columns.events.name.push(name);
        self.columns.events.dropped_attributes_count.push(dropped);
        self.end_attributes(Owner::Event, cursor.pos())
    }

    fn link(&mut self, mut cursor: Cursor<'_>) -> Result<()> {
        let (mut trace_id, mut span_id) = (Id::<16>::Absent, Id::<8>::Absent);
        let (mut trace_state, mut dropped, mut flags) = (TextRef::default(), 0, 0);
        while !cursor.is_done() {
            match cursor.tag()? {
                link::TRACE_ID => trace_id = Id::read(&mut cursor).map_err(|e| e.within("trace_id"))?,
                link::SPAN_ID => span_id = Id::read(&mut cursor).map_err(|e| e.within("span_id"))?,
                link::TRACE_STATE => trace_state = text(&mut cursor).map_err(|e| e.within("trace_state"))?,
                link::ATTRIBUTES => self.attribute(&mut cursor, Owner::Link, 0)?,
                link::DROPPED_ATTRIBUTES_COUNT => {
                    dropped = cursor.uint32().map_err(|e| e.within("dropped_attributes_count"))?;
                }
                link::FLAGS => flags = cursor.fixed32().map_err(|e| e.within("flags"))?,
                (field, wire_type) => cursor.skip(field, wire_type, 4)?,
            }
        }
        let links = &mut self.columns.links;
        let bits = trace_id.push(&mut links.trace_id, &mut links.odd_ids, IdField::Trace, present::TRACE_ID)
            | span_id.push(&mut links.span_id, &mut links.odd_ids, IdField::Span, present::SPAN_ID);
        links.present.push(bits);
        links.trace_state.push(trace_state);
        links.dropped_attributes_count.push(dropped);
        links.flags.push(flags);
        self.end_attributes(Owner::Link, cursor.pos())
    }

    /// The table that an owner's attributes are in, with what they are written to beside it.
    #[inline(always)]
    fn table(&mut self, owner: Owner) -> (&mut Attributes, &mut Interner, &mut Vec<u8>) {
        let columns = &mut self.columns;
        let table = match owner {
            Owner::Span => &mut columns.span_attributes,
            Owner::Event => &mut columns.event_attributes,
            Owner::Link => &mut columns.link_attributes,
            Owner::Scope => &mut columns.scope_attributes,
            Owner::Resource => &mut columns.resource_attributes,
        };
        (table, &mut columns.keys, &mut self.extra)
    }

    #[inline(always)]
    fn end_attributes(&mut self, owner: Owner, at: usize) -> Result<()> {
        self.charge(owner.bytes(), at)?;
        let (table, ..) = self.table(owner);
        table.end.push(row(table.key.len(), at)?);
        Ok(())
    }

    /// One `KeyValue`. `shift`, added to this row's number, is the row whose key is likely to be the same.
    #[inline(always)]
    fn attribute(&mut self, outer: &mut Cursor<'_>, owner: Owner, shift: u32) -> Result<()> {
        let message = outer.message()?;
        let (table, keys, _) = self.table(owner);
        if let Some((key, value)) = plain_key_value(message.rest())
            && let Some((kind, value)) = plain_value(value, outer.pos())
        {
            let guess = table.key.get(low_u32(table.key.len() as u64).wrapping_add(shift) as usize).copied();
            let known = guess.filter(|&guess| keys.is(guess, key)).or_else(|| keys.find(key));
            if let Some(key) = known {
                table.push(key, kind, value);
                return Ok(());
            }
        }
        self.any_attribute(message, owner, shift)
    }

    /// One `KeyValue` of any layout.
    #[inline(never)]
    fn any_attribute(&mut self, message: Cursor<'_>, owner: Owner, shift: u32) -> Result<()> {
        self.charge(ATTRIBUTE_BYTES, message.pos())?;
        let buf = self.buf;
        let (table, keys, extra) = self.table(owner);
        key_value(message, buf, table, keys, extra, shift, owner.attribute_depth())
            .map_err(|e| e.within("attributes"))
    }
}

/// Key and value of a `KeyValue` as every SDK writes it: both fields once, in order, with lengths of one byte.
///
/// ```text
/// 0a 04 "verb" 12 06 (0a 04 "LIST")
/// ```
#[inline(always)]
pub(crate) fn plain_key_value(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x0a, key_len @ ..0x80, rest @ ..] = message else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
    match rest {
        [0x12, len @ ..0x80, value @ ..] if value.len() == usize::from(*len) => Some((key, value)),
        _ => None,
    }
}

/// An `AnyValue` that is one short ASCII text, one boolean or one number. It ends at `end` of the input.
#[inline(always)]
pub(crate) fn plain_value(value: &[u8], end: usize) -> Option<(ValueKind, u64)> {
    match *value {
        [0x0a, len @ ..0x80, ref text @ ..]
            if text.len() == usize::from(len) && short_bytes::is_ascii(text) =>
        {
            Some((ValueKind::String, TextRef::new(end - text.len(), end).ok()?.bits()))
        }
        [0x10, bit @ 0..=1] => Some((ValueKind::Bool, u64::from(bit))),
        [0x18, low @ ..0x80] => Some((ValueKind::Int, u64::from(low))),
        [0x18, low @ 0x80..=0xff, high @ ..0x80] => {
            Some((ValueKind::Int, u64::from(low & 0x7f) | u64::from(high) << 7))
        }
        _ => None,
    }
}

#[inline]
fn key_value(
    mut cursor: Cursor<'_>,
    buf: &[u8],
    table: &mut Attributes,
    keys: &mut Interner,
    extra: &mut Vec<u8>,
    shift: u32,
    depth: u32,
) -> Result<()> {
    let row = row(table.key.len(), cursor.pos())?;
    let (mut key, mut kind, mut value) = (None, ValueKind::Absent, 0u64);
    while !cursor.is_done() {
        match cursor.tag()? {
            key_value::KEY => {
                let bytes = cursor.payload().map_err(|e| e.within("key"))?;
                let guess = table.key.get(row.wrapping_add(shift) as usize).copied();
                key = match guess {
                    Some(guess) if keys.is(guess, bytes) => Some(guess),
                    _ => {
                        let end = cursor.pos();
                        Some(keys.intern(bytes, |b| check_utf8(b, end)).map_err(|e| e.within("key"))?)
                    }
                };
            }
            key_value::VALUE => {
                let message = cursor.message()?;
                any_value(message, buf, extra, (&mut kind, &mut value), depth + 1)
                    .map_err(|e| e.within("value"))?;
            }
            key_value::KEY_STRINDEX => {
                let index = cursor.int32().map_err(|e| e.within("key_strindex"))?;
                table.key_strindex.pop_if(|&mut (at, _)| at == row);
                table.key_strindex.push((row, index));
            }
            (field, wire_type) => cursor.skip(field, wire_type, depth)?,
        }
    }
    let key = match key {
        Some(key) => key,
        None => keys.intern_str(""),
    };
    table.push(key, kind, value);
    Ok(())
}

/// One `AnyValue`, merged into what the key has already.
#[inline]
fn any_value(
    mut cursor: Cursor<'_>,
    buf: &[u8],
    extra: &mut Vec<u8>,
    (kind, value): (&mut ValueKind, &mut u64),
    depth: u32,
) -> Result<()> {
    if *kind == ValueKind::Absent {
        *kind = ValueKind::Empty;
    }
    while !cursor.is_done() {
        (*kind, *value) = match cursor.tag()? {
            any_value::STRING_VALUE => {
                (ValueKind::String, text(&mut cursor).map_err(|e| e.within("string_value"))?.bits())
            }
            any_value::BOOL_VALUE => {
                let bits = cursor.varint().map_err(|e| e.within("bool_value"))?;
                (ValueKind::Bool, u64::from(bits != 0))
            }
            any_value::INT_VALUE => (ValueKind::Int, cursor.varint().map_err(|e| e.within("int_value"))?),
            any_value::DOUBLE_VALUE => {
                (ValueKind::Double, cursor.fixed64().map_err(|e| e.within("double_value"))?)
            }
            any_value::ARRAY_VALUE => {
                nested(&mut cursor, buf, extra, ValueKind::Array, (*kind, *value), depth + 1)?
            }
            any_value::KVLIST_VALUE => {
                nested(&mut cursor, buf, extra, ValueKind::KvList, (*kind, *value), depth + 1)?
            }
            any_value::BYTES_VALUE => {
                (ValueKind::Bytes, bytes(&mut cursor).map_err(|e| e.within("bytes_value"))?.bits())
            }
            any_value::STRING_VALUE_STRINDEX => {
                let index = cursor.int32().map_err(|e| e.within("string_value_strindex"))?;
                (ValueKind::Strindex, i64::from(index).cast_unsigned())
            }
            (field, wire_type) => {
                cursor.skip(field, wire_type, depth)?;
                (*kind, *value)
            }
        };
    }
    Ok(())
}

/// A nested value: checked, and kept as its wire bytes. A second one of the same kind is appended to the first,
/// which is how protobuf merges them.
#[cold]
fn nested(
    cursor: &mut Cursor<'_>,
    buf: &[u8],
    extra: &mut Vec<u8>,
    kind: ValueKind,
    before: (ValueKind, u64),
    depth: u32,
) -> Result<(ValueKind, u64)> {
    let start = {
        let message = cursor.message()?;
        check_nested(message, kind, depth).map_err(|e| e.within(nested_name(kind)))?;
        message.pos()
    };
    let here = TextRef::new(start, cursor.pos())?;
    if before.0 != kind {
        return Ok((kind, here.bits()));
    }
    let earlier = TextRef::from_bits(before.1);
    let (len, arena) = (earlier.len() + here.len(), buf.len() + extra.len());
    if len > TextRef::MAX_LEN || arena + len > TextRef::MAX_ARENA {
        return Err(DecodeError::new("merged values of at most 256 MiB", "more", start));
    }
    // What was merged before stands at the end of `extra`, so a thousand parts are not copied a thousand times.
    let at = earlier.start().checked_sub(buf.len()).unwrap_or_else(|| {
        extra.extend_from_slice(earlier.within(buf));
        extra.len() - earlier.len()
    });
    extra.extend_from_slice(here.within(buf));
    Ok((kind, TextRef::new(buf.len() + at, buf.len() + extra.len())?.bits()))
}

fn nested_name(kind: ValueKind) -> &'static str {
    if kind == ValueKind::Array { "array_value" } else { "kvlist_value" }
}

/// The messages inside a nested value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Array,
    KvList,
    Any,
    KeyValue,
}

impl Shape {
    /// What a length-delimited field of this message is.
    pub(crate) fn holds(self, number: u32) -> Holds {
        match (self, number) {
            (Shape::Any | Shape::KeyValue, 1) => Holds::Text,
            (Shape::Array, 1) | (Shape::KeyValue, 2) => Holds::Message(Shape::Any),
            (Shape::KvList, 1) => Holds::Message(Shape::KeyValue),
            (Shape::Any, 5) => Holds::Message(Shape::Array),
            (Shape::Any, 6) => Holds::Message(Shape::KvList),
            _ => Holds::Other,
        }
    }
}

/// What a length-delimited field holds.
pub(crate) enum Holds {
    Message(Shape),
    Text,
    Other,
}

/// Reads a nested value through, with a stack instead of recursion: structure, text and depth.
/// `depth` is how many messages below the request it is.
fn check_nested(message: Cursor<'_>, kind: ValueKind, depth: u32) -> Result<()> {
    let shape = if kind == ValueKind::Array { Shape::Array } else { Shape::KvList };
    let mut open = vec![(message, shape)];
    let mut depth = depth;
    while let Some((cursor, shape)) = open.last_mut() {
        if cursor.is_done() {
            open.pop();
            depth -= 1;
            continue;
        }
        let (field, wire_type) = cursor.tag()?;
        match (wire_type, shape.holds(field)) {
            (Len, Holds::Message(inner)) => {
                let message = cursor.message()?;
                open.push((message, inner));
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(too_deep(message.pos()));
                }
            }
            (Len, Holds::Text) => drop(text(cursor)?),
            _ => cursor.skip(field, wire_type, depth)?,
        }
    }
    Ok(())
}

/// An `EntityRef` is kept as its wire bytes: all four fields are text.
pub(crate) fn check_entity_ref(mut cursor: Cursor<'_>) -> Result<()> {
    while !cursor.is_done() {
        match cursor.tag()? {
            entity_ref::SCHEMA_URL
            | entity_ref::TYPE
            | entity_ref::ID_KEYS
            | entity_ref::DESCRIPTION_KEYS => {
                text(&mut cursor)?;
            }
            (field, wire_type) => cursor.skip(field, wire_type, 3)?,
        }
    }
    Ok(())
}

fn status(mut cursor: Cursor<'_>, code: &mut i32, message: &mut TextRef) -> Result<()> {
    while !cursor.is_done() {
        match cursor.tag()? {
            status::MESSAGE => *message = text(&mut cursor).map_err(|e| e.within("message"))?,
            status::CODE => *code = cursor.int32().map_err(|e| e.within("code"))?,
            (field, wire_type) => cursor.skip(field, wire_type, 4)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_request_has_no_spans() {
        let columns = decode(Vec::new(), std::slice::from_ref(&(0..0))).expect("empty is valid");
        assert_eq!((0, 1), (columns.len(), columns.batches));
    }

    #[test]
    fn an_error_says_what_was_expected_what_came_and_where() {
        // resource_spans { scope_spans { spans { trace_id: length 16, 3 bytes there } } }
        let bytes = vec![0x0a, 9, 0x12, 7, 0x12, 5, 0x0a, 16, 1, 2, 3];
        let all = 0..bytes.len();
        let error = decode(bytes, &[all]).expect_err("truncated");
        assert_eq!(
            "expected 16 bytes, as the length says, got 3 - at resource_spans.scope_spans.spans.trace_id (byte 7)",
            error.to_string()
        );
    }
}
