//! OTLP trace messages: the walk from request bytes to columns.
//!
//! Protobuf's own rules decide: the last of a repeated scalar wins, repeated messages merge, a known field of
//! another wire type is an unknown field, unknown fields are skipped. Text must be UTF-8.

use crate::columns::interner::{Interner, Sequence};
use crate::columns::short_bytes;
use crate::columns::{Attributes, Columns, IdField, OddId, TextRef, ValueKind, present, roomy};
use crate::decode::fields::{
    any_value, entity_ref, event, key_value, link, request, resource, resource_spans, scope, scope_spans,
    span, status,
};
use crate::decode::wire::WireType::Len;
use crate::decode::wire::{Cursor, MAX_DEPTH, too_deep};
use crate::error::{DecodeError, ErrorKind, Result, no_memory};
use crate::numbers::{low_u32, u32_of};

/// Decodes these requests, in their order. The first that is malformed is an error.
pub fn decode<T: AsRef<[u8]>>(requests: &[T]) -> Result<Columns> {
    let bytes = requests.iter().map(|request| request.as_ref().len()).sum();
    let mut decoder = Decoder { allowed: u64::MAX, ..Decoder::with_room_for(bytes) };
    for (index, request) in requests.iter().enumerate() {
        let request = request.as_ref();
        decoder
            .make_room(request.len())
            .and_then(|()| decoder.decode(request))
            .map_err(|error| if requests.len() > 1 { error.within(&format!("[{index}]")) } else { error })?;
    }
    Ok(decoder.finish())
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
            Owner::Resource | Owner::Event => 48,
            Owner::Scope => 72,
            Owner::Span => 132,
            Owner::Link => 98,
        }
    }
}

#[derive(Default)]
pub(crate) struct Decoder {
    /// Bytes of columns that were taken, texts aside, and how many may be.
    taken: u64,
    pub(crate) allowed: u64,
    /// Copies of all texts, bytes and nested values: the arena in the making.
    texts: Vec<u8>,
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
    fn read(cursor: &mut Cursor<'_>, texts: &mut Vec<u8>) -> Result<Self> {
        let bytes = cursor.payload()?;
        Ok(match <[u8; N]>::try_from(bytes) {
            Ok(id) => Self::Whole(id),
            Err(_) if bytes.is_empty() => Self::Absent,
            Err(_) => Self::Odd(kept(bytes, cursor.pos(), texts)?),
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

/// A copy of a value that ends at `end` of the request.
#[inline(always)]
fn kept(bytes: &[u8], end: usize, texts: &mut Vec<u8>) -> Result<TextRef> {
    let start = texts.len();
    let text = TextRef::new(start, start + bytes.len()).map_err(|mut error| {
        error.offset = (end - bytes.len()) as u64;
        error
    })?;
    texts.extend_from_slice(bytes);
    Ok(text)
}

#[inline(always)]
fn checked_text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8]> {
    let bytes = cursor.payload()?;
    check_utf8(bytes, cursor.pos())?;
    Ok(bytes)
}

#[inline(always)]
fn text(cursor: &mut Cursor<'_>, texts: &mut Vec<u8>) -> Result<TextRef> {
    kept(checked_text(cursor)?, cursor.pos(), texts)
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

impl Decoder {
    /// A new decoder, with capacity for this many bytes. Memory that it may take is for the caller to set.
    pub(crate) fn with_room_for(bytes: usize) -> Self {
        Self { columns: Columns::with_room_for(bytes), ..Self::default() }
    }

    /// Makes room for the texts of a request of this many bytes. Errors: no memory, or more than can be referred to.
    pub(crate) fn make_room(&mut self, bytes: usize) -> Result<()> {
        let most = self.texts.len() + bytes;
        if most > TextRef::MAX_ARENA {
            let got = format!("{most} bytes");
            return Err(DecodeError::new("at most 64 GiB of texts", got, 0).of(ErrorKind::Limit));
        }
        self.texts.try_reserve(bytes).map_err(|_| no_memory(most, "texts"))
    }

    /// Decodes one request. Its texts are copied.
    pub(crate) fn decode(&mut self, request: &[u8]) -> Result<()> {
        self.request(Cursor::new(request, 0))
    }

    /// The same; of a malformed one nothing is left behind.
    pub(crate) fn decode_or_leave(&mut self, request: &[u8]) -> Result<()> {
        let (mark, taken, texts) = (self.columns.mark(), self.taken, self.texts.len());
        self.decode(request).inspect_err(|_| {
            self.columns.rewind(&mark);
            self.taken = taken;
            self.texts.truncate(texts);
        })
    }

    /// All columns.
    pub(crate) fn finish(self) -> Columns {
        let Self { mut columns, mut texts, .. } = self;
        columns.shrink_to_fit();
        texts.shrink_to(roomy(texts.len()));
        columns.arena = texts.into();
        columns
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
                        text(&mut cursor, &mut self.texts).map_err(|e| e.within("schema_url"))?;
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
                    let value = kept(message.rest(), cursor.pos(), &mut self.texts)?;
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
                        text(&mut cursor, &mut self.texts).map_err(|e| e.within("schema_url"))?;
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
                    self.columns.scopes.version[here] =
                        text(&mut cursor, &mut self.texts).map_err(|e| e.within("version"))?;
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
        let span = row(self.columns.spans.name.len(), cursor.pos())?;
        while !cursor.is_done() {
            match cursor.tag()? {
                span::TRACE_ID => {
                    trace_id = Id::read(&mut cursor, &mut self.texts).map_err(|e| e.within("trace_id"))?;
                }
                span::SPAN_ID => {
                    span_id = Id::read(&mut cursor, &mut self.texts).map_err(|e| e.within("span_id"))?;
                }
                span::TRACE_STATE => {
                    trace_state = text(&mut cursor, &mut self.texts).map_err(|e| e.within("trace_state"))?;
                }
                span::PARENT_SPAN_ID => {
                    parent =
                        Id::read(&mut cursor, &mut self.texts).map_err(|e| e.within("parent_span_id"))?;
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
                    self.link(message, span).map_err(|e| e.within("links"))?;
                }
                span::DROPPED_LINKS_COUNT => {
                    dropped[2] = cursor.uint32().map_err(|e| e.within("dropped_links_count"))?;
                }
                span::STATUS => {
                    bits |= present::STATUS;
                    status(cursor.message()?, &mut status_code, &mut status_message, &mut self.texts)
                        .map_err(|e| e.within("status"))?;
                }
                span::FLAGS => flags = cursor.fixed32().map_err(|e| e.within("flags"))?,
                (field, wire_type) => cursor.skip(field, wire_type, 3)?,
            }
        }
        self.span_keys.note(name, first_attribute);
        let Columns { spans, events, .. } = &mut self.columns;
        bits |= trace_id.push(&mut spans.trace_id, &mut spans.odd_ids, IdField::Trace, present::TRACE_ID);
        bits |= span_id.push(&mut spans.span_id, &mut spans.odd_ids, IdField::Span, present::SPAN_ID);
        bits |= parent.push(&mut spans.parent_span_id, &mut spans.odd_ids, IdField::Parent, present::PARENT);
        spans.present.push(bits);
        spans.trace_state.push(span, trace_state);
        spans.flags.push(flags);
        spans.name.push(name);
        spans.kind.push(kind);
        spans.start_time_unix_nano.push(start);
        spans.end_time_unix_nano.push(end);
        spans.dropped_attributes_count.push(span, dropped[0]);
        spans.dropped_events_count.push(span, dropped[1]);
        spans.dropped_links_count.push(span, dropped[2]);
        spans.status_code.push(span, status_code);
        spans.status_message.push(span, status_message);
        spans.scope_spans.push(scope_spans);
        spans.events_end.push(row(events.name.len(), cursor.pos())?);
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
        let events = &mut self.columns.events;
        events.dropped_attributes_count.push(low_u32(events.name.len() as u64), dropped);
        events.time_unix_nano.push(time);
        events.name.push(name);
        self.end_attributes(Owner::Event, cursor.pos())
    }

    fn link(&mut self, mut cursor: Cursor<'_>, span: u32) -> Result<()> {
        let (mut trace_id, mut span_id) = (Id::<16>::Absent, Id::<8>::Absent);
        let (mut trace_state, mut dropped, mut flags) = (TextRef::default(), 0, 0);
        while !cursor.is_done() {
            match cursor.tag()? {
                link::TRACE_ID => {
                    trace_id = Id::read(&mut cursor, &mut self.texts).map_err(|e| e.within("trace_id"))?;
                }
                link::SPAN_ID => {
                    span_id = Id::read(&mut cursor, &mut self.texts).map_err(|e| e.within("span_id"))?;
                }
                link::TRACE_STATE => {
                    trace_state = text(&mut cursor, &mut self.texts).map_err(|e| e.within("trace_state"))?;
                }
                link::ATTRIBUTES => self.attribute(&mut cursor, Owner::Link, 0)?,
                link::DROPPED_ATTRIBUTES_COUNT => {
                    dropped = cursor.uint32().map_err(|e| e.within("dropped_attributes_count"))?;
                }
                link::FLAGS => flags = cursor.fixed32().map_err(|e| e.within("flags"))?,
                (field, wire_type) => cursor.skip(field, wire_type, 4)?,
            }
        }
        let links = &mut self.columns.links;
        row(links.flags.len(), cursor.pos())?;
        let bits = trace_id.push(&mut links.trace_id, &mut links.odd_ids, IdField::Trace, present::TRACE_ID)
            | span_id.push(&mut links.span_id, &mut links.odd_ids, IdField::Span, present::SPAN_ID);
        links.span.push(span);
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
        (table, &mut columns.keys, &mut self.texts)
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
        let (table, keys, texts) = self.table(owner);
        if let Some((key, value)) = plain_key_value(message.rest())
            && let Some((kind, value)) = plain_value(value)
        {
            let at = low_u32(table.key.len() as u64).wrapping_add(shift) as usize;
            let guess = table.key.get(at).copied();
            let known = guess.filter(|&guess| keys.is(guess, key)).or_else(|| keys.find(key));
            if let Some(key) = known {
                let value = match value {
                    Plain::Text(text) => match table.repeated(at, text, texts) {
                        Some(before) => before,
                        None => kept(text, outer.pos(), texts)?.bits(),
                    },
                    Plain::Bits(bits) => bits,
                };
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
        let (table, keys, texts) = self.table(owner);
        key_value(message, table, keys, texts, shift, owner.attribute_depth())
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

/// A short value: its text, or its bits.
pub(crate) enum Plain<'a> {
    Text(&'a [u8]),
    Bits(u64),
}

/// An `AnyValue` that is one short ASCII text, one boolean or one number.
#[inline(always)]
pub(crate) fn plain_value(value: &[u8]) -> Option<(ValueKind, Plain<'_>)> {
    use Plain::{Bits, Text};
    match *value {
        [0x0a, len @ ..0x80, ref text @ ..]
            if text.len() == usize::from(len) && short_bytes::is_ascii(text) =>
        {
            Some((ValueKind::String, Text(text)))
        }
        [0x10, bit @ 0..=1] => Some((ValueKind::Bool, Bits(u64::from(bit)))),
        [0x18, low @ ..0x80] => Some((ValueKind::Int, Bits(u64::from(low)))),
        [0x18, low @ 0x80..=0xff, high @ ..0x80] => {
            Some((ValueKind::Int, Bits(u64::from(low & 0x7f) | u64::from(high) << 7)))
        }
        _ => None,
    }
}

#[inline]
fn key_value(
    mut cursor: Cursor<'_>,
    table: &mut Attributes,
    keys: &mut Interner,
    texts: &mut Vec<u8>,
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
                any_value(message, texts, (&mut kind, &mut value), depth + 1)
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
    texts: &mut Vec<u8>,
    (kind, value): (&mut ValueKind, &mut u64),
    depth: u32,
) -> Result<()> {
    if *kind == ValueKind::Absent {
        *kind = ValueKind::Empty;
    }
    while !cursor.is_done() {
        (*kind, *value) = match cursor.tag()? {
            any_value::STRING_VALUE => {
                (ValueKind::String, text(&mut cursor, texts).map_err(|e| e.within("string_value"))?.bits())
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
                nested(&mut cursor, texts, ValueKind::Array, (*kind, *value), depth + 1)?
            }
            any_value::KVLIST_VALUE => {
                nested(&mut cursor, texts, ValueKind::KvList, (*kind, *value), depth + 1)?
            }
            any_value::BYTES_VALUE => {
                let bytes = cursor.payload().map_err(|e| e.within("bytes_value"))?;
                let bytes = kept(bytes, cursor.pos(), texts).map_err(|e| e.within("bytes_value"))?;
                (ValueKind::Bytes, bytes.bits())
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
    texts: &mut Vec<u8>,
    kind: ValueKind,
    before: (ValueKind, u64),
    depth: u32,
) -> Result<(ValueKind, u64)> {
    let message = cursor.message()?;
    check_nested(message, kind, depth).map_err(|e| e.within(nested_name(kind)))?;
    let here = kept(message.rest(), cursor.pos(), texts)?;
    if before.0 != kind {
        return Ok((kind, here.bits()));
    }
    // What came before was kept last, since nothing else is kept between two values of one attribute.
    let merged = TextRef::new(TextRef::from_bits(before.1).start(), texts.len());
    let too_long = |_| DecodeError::new("merged values of at most 256 MiB", "more", message.pos());
    Ok((kind, merged.map_err(too_long)?.bits()))
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
            (Len, Holds::Text) => drop(checked_text(cursor)?),
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
                checked_text(&mut cursor)?;
            }
            (field, wire_type) => cursor.skip(field, wire_type, 3)?,
        }
    }
    Ok(())
}

fn status(mut cursor: Cursor<'_>, code: &mut i32, message: &mut TextRef, texts: &mut Vec<u8>) -> Result<()> {
    while !cursor.is_done() {
        match cursor.tag()? {
            status::MESSAGE => *message = text(&mut cursor, texts).map_err(|e| e.within("message"))?,
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
        let columns = decode(&[[]]).expect("empty is valid");
        assert_eq!((0, 1), (columns.len(), columns.batches));
    }

    #[test]
    fn an_error_says_what_was_expected_what_came_and_where() {
        // resource_spans { scope_spans { spans { trace_id: length 16, 3 bytes there } } }
        let bytes = vec![0x0a, 9, 0x12, 7, 0x12, 5, 0x0a, 16, 1, 2, 3];
        let error = decode(&[bytes]).expect_err("truncated");
        assert_eq!(
            "expected 16 bytes, as the length says, got 3 - at resource_spans.scope_spans.spans.trace_id (byte 7)",
            error.to_string()
        );
    }
}
