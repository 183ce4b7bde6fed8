//! The columns: everything in a batch, one array per field, no object per span.
//!
//! String and bytes values are [`TextRef`]s into one run of bytes (the arena), to which they are copied once; the rest
//! of a message is not held. What hardly any span has is held for those that have it ([`Rare`]).
//! Names and keys are numbers into an [`Interner`]. Repeated parts (attributes, events, links) stand in tables of
//! their own, in order; the owner keeps where its run ends.

pub mod arena;
pub mod gather;
pub mod interner;
pub mod processes;
pub mod rare;
pub mod short_bytes;

pub use arena::{Arena, TextRef};
use interner::Interner;
pub use rare::Rare;

/// No row.
pub const NONE: u32 = u32::MAX;

/// Which member of `AnyValue.value` is set. The numbers are the field numbers of the `.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ValueKind {
    /// The `AnyValue` is there, its `value` is not set.
    #[default]
    Empty = 0,
    /// UTF-8 text.
    String = 1,
    /// 0 or 1.
    Bool = 2,
    /// Signed 64-bit integer.
    Int = 3,
    /// 64-bit float.
    Double = 4,
    /// `ArrayValue`, kept as its wire bytes.
    Array = 5,
    /// `KeyValueList`, kept as its wire bytes.
    KvList = 6,
    /// Bytes.
    Bytes = 7,
    /// Index into a string table (profiles only).
    Strindex = 8,
    /// The `KeyValue` has no `value` at all.
    Absent = 9,
}

impl ValueKind {
    /// The value is a [`TextRef`].
    #[inline(always)]
    pub fn is_text(self) -> bool {
        matches!(self, Self::String | Self::Bytes | Self::Array | Self::KvList)
    }
}

/// Rounds a size up by at most a thirty-second part. Few distinct sizes mean that freed blocks fit later requests, and
/// the heap does not become fragmented.
pub fn roomy(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 64).max(1))
}

/// Does the same with every one of these columns.
macro_rules! each {
    ($table:ident: $($column:ident)+, |$it:ident| $what:expr) => {
        $({ let $it = &mut $table.$column; $what; })+
    };
}

/// Attributes of one kind of owner, in order. Owner `i` has the rows `end[i-1]..end[i]`.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    /// Where each owner's run ends.
    pub end: Vec<u32>,
    /// Interned key.
    pub key: Vec<u32>,
    /// Which member of the value is set.
    pub kind: Vec<ValueKind>,
    /// Text, bytes and nested values: a [`TextRef`]; numbers: their bits.
    pub value: Vec<u64>,
    /// The rare `key_strindex` fields: (row, value).
    pub key_strindex: Vec<(u32, i32)>,
}

impl Attributes {
    /// Adds a row.
    #[inline(always)]
    pub fn push(&mut self, key: u32, kind: ValueKind, value: u64) {
        self.key.push(key);
        self.kind.push(kind);
        self.value.push(value);
    }

    pub(crate) fn reserve(&mut self, owners: usize, rows: usize) {
        self.end.reserve(owners);
        each!(self: key kind value, |column| column.reserve(rows));
    }

    fn shrink_to_fit(&mut self) {
        each!(self: end key kind value key_strindex, |column| column.shrink_to(roomy(column.len())));
    }

    /// Keeps the rows of the first owners only.
    fn truncate(&mut self, owners: usize) {
        self.end.truncate(owners);
        let rows = self.end.last().map_or(0, |end| *end as usize);
        each!(self: key kind value, |column| column.truncate(rows));
        self.key_strindex.truncate(self.key_strindex.partition_point(|&(row, _)| (row as usize) < rows));
    }

    /// The rows of one owner.
    #[inline(always)]
    pub fn of(&self, owner: usize) -> std::ops::Range<usize> {
        run(&self.end, owner)
    }

    /// The value of `key` for one owner, if it is a string; the last one wins, as in a map.
    #[inline]
    pub fn string(&self, owner: usize, key: Option<u32>) -> Option<TextRef> {
        let row = self.find(owner, key?)?;
        (self.kind[row] == ValueKind::String).then(|| TextRef::from_bits(self.value[row]))
    }

    /// The value of `key` for one owner, if it is an integer.
    #[inline]
    pub fn int(&self, owner: usize, key: Option<u32>) -> Option<i64> {
        let row = self.find(owner, key?)?;
        (self.kind[row] == ValueKind::Int).then(|| self.value[row].cast_signed())
    }

    /// The row that holds `key` for one owner.
    #[inline]
    pub fn find(&self, owner: usize, key: u32) -> Option<usize> {
        self.of(owner).rev().find(|&row| self.key[row] == key)
    }

    /// The value of a row, if it is this text: it need not be kept twice.
    #[inline(always)]
    pub(crate) fn repeated(&self, row: usize, text: &[u8], texts: &[u8]) -> Option<u64> {
        let bits = *self.value.get(row)?;
        let before = TextRef::from_bits(bits).within(texts);
        (self.kind.get(row) == Some(&ValueKind::String) && short_bytes::equal(before, text)).then_some(bits)
    }

    /// The bytes of a text, bytes or nested value.
    #[inline]
    pub fn text_ref(&self, row: usize) -> Option<TextRef> {
        self.kind[row].is_text().then(|| TextRef::from_bits(self.value[row]))
    }

    /// Bytes held.
    pub fn nbytes(&self) -> usize {
        let rare = size_of::<(u32, i32)>() * self.key_strindex.capacity();
        4 * self.end.capacity()
            + 4 * self.key.capacity()
            + self.kind.capacity()
            + 8 * self.value.capacity()
            + rare
    }
}

/// The run of rows that ends at `end[owner]`.
#[inline(always)]
pub fn run(end: &[u32], owner: usize) -> std::ops::Range<usize> {
    let start = if owner == 0 { 0 } else { end.get(owner - 1).copied().unwrap_or(0) };
    start as usize..end.get(owner).copied().unwrap_or(start) as usize
}

/// An id whose length is not the one that the protocol asks for, kept so that nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OddId {
    /// Row in the table that holds the id.
    pub row: u32,
    /// Which id it is.
    pub field: IdField,
    /// Its bytes.
    pub value: TextRef,
}

/// The id fields that can be of a wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdField {
    /// `Span.trace_id` or `Link.trace_id`.
    Trace,
    /// `Span.span_id` or `Link.span_id`.
    Span,
    /// `Span.parent_span_id`.
    Parent,
}

/// Bits of [`SpanColumns::present`] and [`LinkColumns::present`].
pub mod present {
    /// `trace_id` has 16 bytes.
    pub const TRACE_ID: u8 = 1;
    /// `span_id` has 8 bytes.
    pub const SPAN_ID: u8 = 2;
    /// `parent_span_id` has 8 bytes.
    pub const PARENT: u8 = 4;
    /// The span has a `status` message.
    pub const STATUS: u8 = 8;
}

/// One row per span, in order of arrival.
#[derive(Debug, Clone, Default)]
pub struct SpanColumns {
    /// Which ids and messages are there, see [`present`].
    pub present: Vec<u8>,
    /// 16 bytes; zeros when absent or of another length.
    pub trace_id: Vec<[u8; 16]>,
    /// 8 bytes; zeros when absent or of another length.
    pub span_id: Vec<[u8; 8]>,
    /// 8 bytes; zeros when absent or of another length.
    pub parent_span_id: Vec<[u8; 8]>,
    /// W3C trace state.
    pub trace_state: Rare<TextRef>,
    /// W3C flags and the two remote bits.
    pub flags: Vec<u32>,
    /// Interned name.
    pub name: Vec<u32>,
    /// `SpanKind`, any number that came.
    pub kind: Vec<i32>,
    /// Nanoseconds since the epoch.
    pub start_time_unix_nano: Vec<u64>,
    /// Nanoseconds since the epoch.
    pub end_time_unix_nano: Vec<u64>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: Rare<u32>,
    /// Events that the sender dropped.
    pub dropped_events_count: Rare<u32>,
    /// Links that the sender dropped.
    pub dropped_links_count: Rare<u32>,
    /// `StatusCode`, any number that came; 0 when there is no status.
    pub status_code: Rare<i32>,
    /// Status message.
    pub status_message: Rare<TextRef>,
    /// Row in [`ScopeColumns`].
    pub scope_spans: Vec<u32>,
    /// Where the span's run of events ends.
    pub events_end: Vec<u32>,
    /// Ids of a wrong length.
    pub odd_ids: Vec<OddId>,
}

impl SpanColumns {
    pub(crate) fn reserve(&mut self, rows: usize) {
        each!(self: present trace_id span_id parent_span_id flags name kind start_time_unix_nano
            end_time_unix_nano scope_spans events_end, |column| column.reserve(rows));
    }

    fn shrink_to_fit(&mut self) {
        each!(self: present trace_id span_id parent_span_id flags name kind start_time_unix_nano
            end_time_unix_nano scope_spans events_end odd_ids, |column| column.shrink_to(roomy(column.len())));
        each!(self: trace_state dropped_attributes_count dropped_events_count dropped_links_count status_code
            status_message, |column| column.shrink_to_fit());
    }
}

/// One row per span event.
#[derive(Debug, Clone, Default)]
pub struct EventColumns {
    /// Nanoseconds since the epoch.
    pub time_unix_nano: Vec<u64>,
    /// Interned name.
    pub name: Vec<u32>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: Rare<u32>,
}

/// One row per span link.
#[derive(Debug, Clone, Default)]
pub struct LinkColumns {
    /// Row in [`SpanColumns`].
    pub span: Vec<u32>,
    /// Which ids are there, see [`present`].
    pub present: Vec<u8>,
    /// 16 bytes; zeros when absent or of another length.
    pub trace_id: Vec<[u8; 16]>,
    /// 8 bytes; zeros when absent or of another length.
    pub span_id: Vec<[u8; 8]>,
    /// W3C trace state.
    pub trace_state: Vec<TextRef>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: Vec<u32>,
    /// W3C flags and the two remote bits.
    pub flags: Vec<u32>,
    /// Ids of a wrong length.
    pub odd_ids: Vec<OddId>,
}

/// One row per `ScopeSpans` message.
#[derive(Debug, Clone, Default)]
pub struct ScopeColumns {
    /// Row in [`ResourceColumns`].
    pub resource_spans: Vec<u32>,
    /// The message has a `scope`.
    pub present: Vec<bool>,
    /// Interned scope name.
    pub name: Vec<u32>,
    /// Scope version.
    pub version: Vec<TextRef>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: Vec<u32>,
    /// Schema of the spans.
    pub schema_url: Vec<TextRef>,
}

/// One row per `ResourceSpans` message.
#[derive(Debug, Clone, Default)]
pub struct ResourceColumns {
    /// Which request it came in.
    pub batch: Vec<u32>,
    /// The message has a `resource`.
    pub present: Vec<bool>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: Vec<u32>,
    /// Schema of the resource.
    pub schema_url: Vec<TextRef>,
    /// `EntityRef` messages as their wire bytes: (row, bytes).
    pub entity_refs: Vec<(u32, TextRef)>,
}

/// How long the tables of [`Columns`] are.
#[derive(Debug, Clone)]
pub struct Mark {
    spans: usize,
    events: usize,
    links: usize,
    scopes: usize,
    resources: usize,
    odd_ids: [usize; 2],
    entity_refs: usize,
}

/// Everything that was decoded.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// The bytes that [`TextRef`]s point into.
    pub arena: Arena,
    /// How many requests were decoded.
    pub batches: u32,
    /// Span, event and scope names.
    pub names: Interner,
    /// Attribute keys.
    pub keys: Interner,
    /// One row per span.
    pub spans: SpanColumns,
    /// One row per event, in order of their spans.
    pub events: EventColumns,
    /// One row per link, in order of their spans.
    pub links: LinkColumns,
    /// One row per `ScopeSpans`.
    pub scopes: ScopeColumns,
    /// One row per `ResourceSpans`.
    pub resources: ResourceColumns,
    /// Owned by spans.
    pub span_attributes: Attributes,
    /// Owned by events.
    pub event_attributes: Attributes,
    /// Owned by links.
    pub link_attributes: Attributes,
    /// Owned by scopes.
    pub scope_attributes: Attributes,
    /// Owned by resources.
    pub resource_attributes: Attributes,
}

impl Columns {
    /// Empty columns with somewhat more capacity than this many wire bytes usually need.
    pub fn with_room_for(wire_bytes: usize) -> Self {
        const STRINGS: usize = 64;
        let (spans, events) = (wire_bytes / 224, wire_bytes / 224);
        let mut c = Self::default();
        c.spans.reserve(spans);
        c.span_attributes.reserve(spans, wire_bytes / 48);
        each!(c: names keys, |strings| strings.reserve(STRINGS));
        let table = &mut c.events;
        each!(table: time_unix_nano name, |column| column.reserve(events));
        c.event_attributes.reserve(events, events);
        c
    }

    /// Frees the memory that no row needs.
    pub fn shrink_to_fit(&mut self) {
        self.spans.shrink_to_fit();
        let table = &mut self.events;
        each!(table: time_unix_nano name, |column| column.shrink_to(roomy(column.len())));
        table.dropped_attributes_count.shrink_to_fit();
        each!(self: span_attributes event_attributes link_attributes scope_attributes resource_attributes,
            |table| table.shrink_to_fit());
    }

    /// Where the tables end, to come back to.
    pub fn mark(&self) -> Mark {
        Mark {
            spans: self.spans.name.len(),
            events: self.events.name.len(),
            links: self.links.flags.len(),
            scopes: self.scopes.name.len(),
            resources: self.resources.batch.len(),
            odd_ids: [self.spans.odd_ids.len(), self.links.odd_ids.len()],
            entity_refs: self.resources.entity_refs.len(),
        }
    }

    /// Takes back every row since the mark. Interned texts stay, since numbers are never reused.
    #[cold]
    pub fn rewind(&mut self, mark: &Mark) {
        let Self { spans, events, links, scopes, resources, .. } = self;
        each!(spans: present trace_id span_id parent_span_id trace_state flags name kind start_time_unix_nano
            end_time_unix_nano dropped_attributes_count dropped_events_count dropped_links_count status_code
            status_message scope_spans events_end, |column| column.truncate(mark.spans));
        each!(events: time_unix_nano name dropped_attributes_count, |column| column.truncate(mark.events));
        each!(links: span present trace_id span_id trace_state dropped_attributes_count flags,
            |column| column.truncate(mark.links));
        each!(scopes: resource_spans present name version dropped_attributes_count schema_url,
            |column| column.truncate(mark.scopes));
        each!(resources: batch present dropped_attributes_count schema_url,
            |column| column.truncate(mark.resources));
        spans.odd_ids.truncate(mark.odd_ids[0]);
        links.odd_ids.truncate(mark.odd_ids[1]);
        resources.entity_refs.truncate(mark.entity_refs);
        self.span_attributes.truncate(mark.spans);
        self.event_attributes.truncate(mark.events);
        self.link_attributes.truncate(mark.links);
        self.scope_attributes.truncate(mark.scopes);
        self.resource_attributes.truncate(mark.resources);
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.spans.name.len()
    }

    /// True when there is no span.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text that `text` refers to.
    #[inline]
    pub fn text(&self, text: TextRef) -> &str {
        std::str::from_utf8(text.of(&self.arena)).unwrap_or_default()
    }

    /// The links of a span.
    #[inline]
    pub fn links_of(&self, span: usize) -> std::ops::Range<usize> {
        let owners = &self.links.span;
        let first = owners.partition_point(|&owner| (owner as usize) < span);
        first..first + owners[first..].partition_point(|&owner| owner as usize == span)
    }

    /// The scope name of a span.
    pub fn scope_name(&self, span: usize) -> u32 {
        self.scopes.name[self.spans.scope_spans[span] as usize]
    }

    /// The `ResourceSpans` row of a span.
    #[inline]
    pub fn resource_of(&self, span: usize) -> usize {
        self.scopes.resource_spans[self.spans.scope_spans[span] as usize] as usize
    }

    /// A string attribute of a resource.
    pub fn resource_text(&self, resource: usize, key: &str) -> Option<&str> {
        let key = self.keys.find(key.as_bytes());
        self.resource_attributes.string(resource, key).map(|text| self.text(text))
    }

    /// A string attribute of a span.
    pub fn span_text(&self, span: usize, key: Option<u32>) -> Option<&str> {
        self.span_attributes.string(span, key).map(|text| self.text(text))
    }

    /// Bytes held: (columns, texts).
    pub fn nbytes(&self) -> (usize, usize) {
        let s = &self.spans;
        let spans = s.present.capacity() * (1 + 16 + 8 + 8 + 4 + 4 + 4 + 8 + 8 + 4 + 4);
        let texts = s.trace_state.nbytes() + s.status_message.nbytes();
        let counts = [&s.dropped_attributes_count, &s.dropped_events_count, &s.dropped_links_count];
        let dropped = counts.into_iter().chain([&self.events.dropped_attributes_count]).map(Rare::nbytes);
        let rare = texts + s.status_code.nbytes() + dropped.sum::<usize>();
        let events = 12 * self.events.name.capacity();
        let links = 45 * self.links.flags.capacity();
        let scopes = 29 * self.scopes.name.capacity() + 17 * self.resources.batch.capacity();
        let attributes = [
            &self.span_attributes,
            &self.event_attributes,
            &self.link_attributes,
            &self.scope_attributes,
            &self.resource_attributes,
        ];
        let attributes: usize = attributes.iter().map(|a| a.nbytes()).sum();
        let odd_ids = size_of::<OddId>() * (self.spans.odd_ids.capacity() + self.links.odd_ids.capacity());
        let entity_refs = size_of::<(u32, TextRef)>() * self.resources.entity_refs.capacity();
        let interned = self.names.nbytes() + self.keys.nbytes();
        (
            spans + rare + events + links + scopes + attributes + odd_ids + entity_refs + interned,
            self.arena.len(),
        )
    }
}
