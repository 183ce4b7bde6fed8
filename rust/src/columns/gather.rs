//! Chosen rows of several tables → one fresh table that holds nothing else.
//!
//! ```text
//! table 1   a b c d e ─┐
//!                      ├─ a d x y     names, keys, scopes and resources of these spans only
//! table 2   w x y z   ─┘
//! ```
//!
//! Rows are in the requested order; scopes, resources and batches in the order in which spans need them.
//! Adjacent rows are moved together. Texts are copied, or stay where they are and are shared by both tables.

use std::ops::Range;

use arrow_buffer::Buffer;

use crate::columns::interner::Interner;
use crate::columns::{Arena, Attributes, Columns, NONE, OddId, Rare, TextRef, run};
use crate::numbers::u32_of;

/// A new table in the making.
#[derive(Default)]
pub struct Gather {
    out: Columns,
    names: Interner,
    keys: Interner,
    /// Texts that were copied since others were shared.
    copied: Vec<u8>,
}

/// About how much memory rows need.
#[derive(Debug, Default)]
pub struct Room {
    spans: usize,
    attributes: usize,
    events: usize,
    event_attributes: usize,
}

impl Room {
    /// Reserves room for this many rows of a table, if they are like its others.
    pub fn add(&mut self, c: &Columns, rows: usize) {
        let share = |whole: usize| (whole * rows).div_ceil(c.len().max(1));
        self.spans += rows;
        self.attributes += share(c.span_attributes.key.len());
        self.events += share(c.events.name.len());
        self.event_attributes += share(c.event_attributes.key.len());
    }
}

impl Gather {
    /// An empty table.
    pub fn with_room(room: &Room) -> Self {
        let mut gather = Self::default();
        let out = &mut gather.out;
        out.spans.reserve(room.spans);
        out.span_attributes.reserve(room.spans, room.attributes);
        out.events.time_unix_nano.reserve(room.events);
        out.events.name.reserve(room.events);
        out.event_attributes.reserve(room.events, room.event_attributes);
        gather
    }

    /// Adds rows of one table. `share`: its whole arena is held instead of copying texts, if there is a place for it.
    pub fn add(&mut self, c: &Columns, rows: &[Range<usize>], share: bool) {
        let start = self.out.arena.len() + self.copied.len();
        let shared = (share && start + c.arena.len() <= TextRef::MAX_ARENA).then_some(start);
        if shared.is_some() {
            self.out.arena.push(Buffer::from_vec(std::mem::take(&mut self.copied)));
            self.out.arena.share(&c.arena);
        }
        let none = |len: usize| vec![NONE; len];
        let mut table = Table {
            c,
            texts: Texts { from: &c.arena, shared, before: self.out.arena.len(), copied: &mut self.copied },
            names: Words { known: none(c.names.len()), from: &c.names, into: &mut self.names },
            keys: Words { known: none(c.keys.len()), from: &c.keys, into: &mut self.keys },
            out: &mut self.out,
            scopes: none(c.scopes.name.len()),
            resources: none(c.resources.batch.len()),
            batches: none(c.batches as usize),
        };
        table.spans(rows);
    }

    /// The table.
    pub fn finish(self) -> Columns {
        let Self { mut out, names, keys, mut copied } = self;
        copied.shrink_to_fit();
        out.arena.push(Buffer::from_vec(copied));
        Columns { names, keys, ..out }
    }
}

/// Numbers of strings, as one table and the new one have them. What was not needed yet is [`NONE`].
struct Words<'a> {
    known: Vec<u32>,
    from: &'a Interner,
    into: &'a mut Interner,
}

impl Words<'_> {
    #[inline(always)]
    fn translate(&mut self, id: u32) -> u32 {
        let known = &mut self.known[id as usize];
        if *known == NONE {
            *known = self.into.intern_known(self.from.bytes(id));
        }
        *known
    }
}

/// What the texts of one table become.
struct Texts<'a> {
    from: &'a Arena,
    /// Where its arena starts in the new one.
    shared: Option<usize>,
    /// Where the copied ones start.
    before: usize,
    copied: &'a mut Vec<u8>,
}

impl Texts<'_> {
    #[inline]
    fn translate(&mut self, text: TextRef) -> TextRef {
        match self.shared {
            Some(shared) => text.later(shared),
            None => self.copy(text),
        }
    }

    fn copy(&mut self, text: TextRef) -> TextRef {
        let bytes = text.of(self.from);
        let start = self.before + self.copied.len();
        self.copied.extend_from_slice(bytes);
        TextRef::new(start, start + bytes.len()).unwrap_or_default()
    }
}

/// What belongs to these rows, of a list in their order.
fn rare<'a, T>(all: &'a [T], rows: &Range<usize>, row: impl Fn(&T) -> u32) -> &'a [T] {
    let first = all.partition_point(|item| (row(item) as usize) < rows.start);
    let many = all[first..].partition_point(|item| (row(item) as usize) < rows.end);
    &all[first..first + many]
}

/// Adds the values of these rows, of which the first becomes the row `new`.
fn extend_rare<T: Copy + Default + PartialEq>(
    into: &mut Rare<T>,
    from: &Rare<T>,
    rows: &[Range<usize>],
    mut new: usize,
    mut translate: impl FnMut(T) -> T,
) {
    for rows in rows {
        for (row, value) in from.among(rows) {
            into.push(u32_of(row as usize - rows.start + new), translate(value));
        }
        new += rows.len();
    }
}

/// One of the tables. What was not needed yet is [`NONE`].
struct Table<'a> {
    c: &'a Columns,
    out: &'a mut Columns,
    texts: Texts<'a>,
    names: Words<'a>,
    keys: Words<'a>,
    scopes: Vec<u32>,
    resources: Vec<u32>,
    batches: Vec<u32>,
}

/// Where the runs of these owners stand; empty ones are left out.
fn runs_of(end: &[u32], owners: &[Range<usize>]) -> Vec<Range<usize>> {
    let all = owners.iter().filter(|owners| !owners.is_empty());
    let runs = all.map(|owners| run(end, owners.start).start..run(end, owners.end - 1).end);
    runs.filter(|run| !run.is_empty()).collect()
}

/// Adds the ends of these owners' runs; the first run begins at `new`.
fn extend_ends(into: &mut Vec<u32>, from: &[u32], owners: &[Range<usize>], mut new: u32) {
    if from.last() == Some(&0) {
        let owners: usize = owners.iter().map(Range::len).sum();
        return into.resize(into.len() + owners, new);
    }
    for owners in owners.iter().filter(|owners| !owners.is_empty()) {
        let old = u32_of(run(from, owners.start).start);
        into.extend(from[owners.clone()].iter().map(|&end| end - old + new));
        new += from[owners.end - 1] - old;
    }
}

/// Adds these rows of a column, each as `translate` makes it.
#[inline(always)]
fn extend<T: Copy, U>(
    into: &mut Vec<U>,
    from: &[T],
    rows: &[Range<usize>],
    mut translate: impl FnMut(T) -> U,
) {
    for rows in rows {
        into.extend(from[rows.clone()].iter().map(|&value| translate(value)));
    }
}

/// Adds these rows of columns that are copied as they are. Column by column, since sequential reads are faster.
macro_rules! copy {
    ($into:expr, $from:expr, $rows:expr => $($column:ident)+) => {
        $(for rows in $rows {
            $into.$column.extend_from_slice(&$from.$column[rows.clone()]);
        })+
    };
}

impl Table<'_> {
    fn spans(&mut self, rows: &[Range<usize>]) {
        let s = &self.c.spans;
        let (new, events) = (self.out.spans.name.len(), u32_of(self.out.events.name.len()));
        extend_ends(&mut self.out.spans.events_end, &s.events_end, rows, events);
        self.events(&runs_of(&s.events_end, rows));
        self.links(rows, new);
        self.attributes(|c| &c.span_attributes, |out| &mut out.span_attributes, rows);
        for rows in rows {
            for part in s.scope_spans[rows.clone()].chunk_by(|a, b| a == b) {
                let scope = self.scope(part[0] as usize);
                self.out.spans.scope_spans.extend(std::iter::repeat_n(scope, part.len()));
            }
        }
        let odd_ids = self.odd_ids(&s.odd_ids, rows, new);
        let out = &mut self.out.spans;
        out.odd_ids.extend(odd_ids);
        copy!(out, s, rows => present trace_id span_id parent_span_id flags kind start_time_unix_nano
            end_time_unix_nano);
        extend(&mut out.name, &s.name, rows, |name| self.names.translate(name));
        let (to, from) = (&mut out.dropped_attributes_count, &s.dropped_attributes_count);
        extend_rare(to, from, rows, new, |count| count);
        let (to, from) = (&mut out.dropped_events_count, &s.dropped_events_count);
        extend_rare(to, from, rows, new, |count| count);
        let (to, from) = (&mut out.dropped_links_count, &s.dropped_links_count);
        extend_rare(to, from, rows, new, |count| count);
        extend_rare(&mut out.status_code, &s.status_code, rows, new, |code| code);
        extend_rare(&mut out.trace_state, &s.trace_state, rows, new, |text| self.texts.translate(text));
        extend_rare(&mut out.status_message, &s.status_message, rows, new, |text| self.texts.translate(text));
    }

    fn events(&mut self, rows: &[Range<usize>]) {
        let (e, out) = (&self.c.events, &mut self.out.events);
        let (to, from) = (&mut out.dropped_attributes_count, &e.dropped_attributes_count);
        extend_rare(to, from, rows, out.name.len(), |count| count);
        copy!(out, e, rows => time_unix_nano);
        extend(&mut out.name, &e.name, rows, |name| self.names.translate(name));
        self.attributes(|c| &c.event_attributes, |out| &mut out.event_attributes, rows);
    }

    /// The links of these spans, of which the first becomes the row `new`.
    fn links(&mut self, spans: &[Range<usize>], mut new: usize) {
        let l = &self.c.links;
        if l.span.is_empty() {
            return;
        }
        let mut rows = Vec::new();
        for spans in spans {
            let before = |end: usize| l.span.partition_point(|&span| (span as usize) < end);
            let links = before(spans.start)..before(spans.end);
            let moved = |&span: &u32| u32_of(span as usize - spans.start + new);
            self.out.links.span.extend(l.span[links.clone()].iter().map(moved));
            rows.push(links);
            new += spans.len();
        }
        let rows = &rows;
        let odd_ids = self.odd_ids(&l.odd_ids, rows, self.out.links.flags.len());
        let out = &mut self.out.links;
        out.odd_ids.extend(odd_ids);
        copy!(out, l, rows => present trace_id span_id dropped_attributes_count flags);
        extend(&mut out.trace_state, &l.trace_state, rows, |text| self.texts.translate(text));
        self.attributes(|c| &c.link_attributes, |out| &mut out.link_attributes, rows);
    }

    /// Ids of these rows, whose new rows begin at `new`.
    fn odd_ids(&mut self, from: &[OddId], rows: &[Range<usize>], mut new: usize) -> Vec<OddId> {
        let mut found = Vec::new();
        if from.is_empty() {
            return found;
        }
        for rows in rows {
            let (old, of_rows) = (rows.start, rare(from, rows, |odd| odd.row));
            found.extend(of_rows.iter().map(|odd| {
                let row = u32_of(odd.row as usize - old + new);
                OddId { row, value: self.texts.translate(odd.value), ..*odd }
            }));
            new += rows.len();
        }
        found
    }

    /// All attributes of these owners. Tables are chosen by functions, so that the rest can be borrowed beside them.
    #[inline]
    fn attributes(
        &mut self,
        from: fn(&Columns) -> &Attributes,
        into: fn(&mut Columns) -> &mut Attributes,
        owners: &[Range<usize>],
    ) {
        let (from, into) = (from(self.c), into(self.out));
        let (rows, mut new) = (runs_of(&from.end, owners), into.key.len());
        extend_ends(&mut into.end, &from.end, owners, u32_of(new));
        extend(&mut into.key, &from.key, &rows, |key| self.keys.translate(key));
        copy!(into, from, &rows => kind);
        for rows in &rows {
            let values = from.kind[rows.clone()].iter().zip(&from.value[rows.clone()]);
            let texts = values.map(|(&kind, &value)| (kind.is_text(), value));
            match self.texts.shared {
                Some(shared) => into.value.extend(texts.map(|(is_text, value)| {
                    let later = TextRef::from_bits(value).later(shared).bits();
                    if is_text { later } else { value }
                })),
                None => into.value.extend(texts.map(|(is_text, value)| {
                    if is_text { self.texts.copy(TextRef::from_bits(value)).bits() } else { value }
                })),
            }
            let indexed = rare(&from.key_strindex, rows, |&(row, _)| row);
            let moved = |&(row, index): &(u32, i32)| (row - u32_of(rows.start) + u32_of(new), index);
            into.key_strindex.extend(indexed.iter().map(moved));
            new += rows.len();
        }
    }

    #[inline]
    fn scope(&mut self, row: usize) -> u32 {
        match self.scopes[row] {
            NONE => self.new_scope(row),
            known => known,
        }
    }

    fn new_scope(&mut self, row: usize) -> u32 {
        let s = &self.c.scopes;
        let resource = self.resource(s.resource_spans[row] as usize);
        let out = &mut self.out.scopes;
        let new = u32_of(out.name.len());
        out.resource_spans.push(resource);
        out.present.push(s.present[row]);
        out.name.push(self.names.translate(s.name[row]));
        out.version.push(self.texts.translate(s.version[row]));
        out.dropped_attributes_count.push(s.dropped_attributes_count[row]);
        out.schema_url.push(self.texts.translate(s.schema_url[row]));
        self.attributes(
            |c| &c.scope_attributes,
            |out| &mut out.scope_attributes,
            std::slice::from_ref(&(row..row + 1)),
        );
        self.scopes[row] = new;
        new
    }

    fn resource(&mut self, row: usize) -> u32 {
        if self.resources[row] != NONE {
            return self.resources[row];
        }
        let (r, new) = (&self.c.resources, u32_of(self.out.resources.batch.len()));
        let batch = &mut self.batches[r.batch[row] as usize];
        if *batch == NONE {
            *batch = self.out.batches;
            self.out.batches += 1;
        }
        let entity_refs = rare(&r.entity_refs, &(row..row + 1), |&(owner, _)| owner);
        let out = &mut self.out.resources;
        out.entity_refs.extend(entity_refs.iter().map(|&(_, text)| (new, self.texts.translate(text))));
        out.batch.push(*batch);
        out.present.push(r.present[row]);
        out.dropped_attributes_count.push(r.dropped_attributes_count[row]);
        out.schema_url.push(self.texts.translate(r.schema_url[row]));
        self.attributes(
            |c| &c.resource_attributes,
            |out| &mut out.resource_attributes,
            std::slice::from_ref(&(row..row + 1)),
        );
        self.resources[row] = new;
        new
    }
}
