//! Chosen rows of several tables → one fresh table that holds nothing else.
//!
//! ```text
//! table 1   a b c d e ─┐
//!                      ├─ a d x y     names, keys, scopes, resources and texts of these spans only
//! table 2   w x y z   ─┘
//! ```
//!
//! Rows come to stand in the order asked for; scopes, resources and batches in the order in which spans need them.

use std::ops::Range;

use arrow_buffer::Buffer;

use crate::columns::{Attributes, Columns, OddId, TextRef, ValueKind, run};
use crate::forest::NONE;
use crate::intern::Interner;

/// What stands for what of one table in the new one; [`NONE`] where it was not needed yet.
#[derive(Default)]
struct Translation {
    names: Vec<u32>,
    keys: Vec<u32>,
    scopes: Vec<u32>,
    resources: Vec<u32>,
    batches: Vec<u32>,
}

impl Translation {
    fn new(c: &Columns) -> Self {
        let none = |len: usize| vec![NONE; len];
        Self {
            names: none(c.names.len()),
            keys: none(c.keys.len()),
            scopes: none(c.scopes.name.len()),
            resources: none(c.resources.batch.len()),
            batches: none(c.batches as usize),
        }
    }
}

#[inline(always)]
fn translate(known: &mut [u32], id: u32, from: &Interner, into: &mut Interner) -> u32 {
    let known = &mut known[id as usize];
    if *known == NONE {
        *known = into.intern_str(from.text(id));
    }
    *known
}

/// A new table in the making.
#[derive(Default)]
pub struct Gather {
    out: Columns,
    arena: Vec<u8>,
    /// Number of the table → what was needed of it.
    translations: Vec<Option<Translation>>,
}

/// How much room rows need, about.
#[derive(Debug, Default)]
pub struct Room {
    spans: usize,
    attributes: usize,
    events: usize,
    event_attributes: usize,
    text: usize,
}

impl Room {
    /// Room for so many rows of a table, if they are like its others.
    pub fn add(&mut self, c: &Columns, rows: usize) {
        let share = |whole: usize| (whole * rows).div_ceil(c.len().max(1));
        self.spans += rows;
        self.attributes += share(c.span_attributes.key.len());
        self.events += share(c.events.name.len());
        self.event_attributes += share(c.event_attributes.key.len());
        self.text += share(c.arena.len());
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
        out.events.dropped_attributes_count.reserve(room.events);
        out.event_attributes.reserve(room.events, room.event_attributes);
        gather.arena.reserve(room.text);
        gather
    }

    /// Adds one row of `c`, which is always called by this number.
    pub fn add(&mut self, number: usize, c: &Columns, row: usize) {
        if number >= self.translations.len() {
            self.translations.resize_with(number + 1, || None);
        }
        let translation = self.translations[number].get_or_insert_with(|| Translation::new(c));
        let mut copy = Copy { c, out: &mut self.out, arena: &mut self.arena, translation, moved: None };
        copy.span(row);
    }

    /// The table.
    pub fn finish(self) -> Columns {
        let Self { mut out, mut arena, .. } = self;
        arena.shrink_to_fit();
        out.arena = Buffer::from_vec(arena);
        out
    }
}

/// The value is a [`TextRef`].
#[inline(always)]
fn is_text(kind: ValueKind) -> bool {
    matches!(kind, ValueKind::String | ValueKind::Bytes | ValueKind::Array | ValueKind::KvList)
}

struct Copy<'a> {
    c: &'a Columns,
    out: &'a mut Columns,
    arena: &'a mut Vec<u8>,
    translation: &'a mut Translation,
    /// The run of the old arena that was copied as a whole, and where it starts in the new one.
    moved: Option<(Range<usize>, usize)>,
}

/// Runs that hold so many times as much as the texts in them, and some more, are not copied as a whole.
const LOOSE: usize = 4;
const SHORT: usize = 1024;

impl Copy<'_> {
    /// The texts of a span's own attributes stand close together on the wire, and are copied at once.
    fn move_run(&mut self, attributes: Range<usize>) {
        let table = &self.c.span_attributes;
        let (mut first, mut last, mut bytes) = (usize::MAX, 0, 0);
        for row in attributes {
            if is_text(table.kind[row]) {
                let text = TextRef::from_bits(table.value[row]);
                (first, last) = (first.min(text.start()), last.max(text.start() + text.len()));
                bytes += text.len();
            }
        }
        self.moved = None;
        if bytes > 0 && last - first <= LOOSE * bytes + SHORT {
            self.moved = Some((first..last, self.arena.len()));
            self.arena.extend_from_slice(self.c.arena.get(first..last).unwrap_or_default());
        }
    }

    /// The attributes of a span.
    fn span_attributes(&mut self, row: usize) {
        let (from, rows) = (&self.c.span_attributes, self.c.span_attributes.of(row));
        self.move_run(rows.clone());
        let Some((old, new)) = self.moved.take().filter(|_| from.key_strindex.is_empty()) else {
            return self.attributes(|c| &c.span_attributes, |out| &mut out.span_attributes, row);
        };
        let out = &mut self.out.span_attributes;
        let keys = (&mut self.translation.keys, &self.c.keys, &mut self.out.keys);
        out.key.extend(from.key[rows.clone()].iter().map(|&key| translate(keys.0, key, keys.1, keys.2)));
        out.kind.extend_from_slice(&from.kind[rows.clone()]);
        let moved = |(&kind, &value): (&ValueKind, &u64)| match is_text(kind) {
            true => {
                let text = TextRef::from_bits(value);
                text.moved_to(text.start().wrapping_sub(old.start).wrapping_add(new)).bits()
            }
            false => value,
        };
        out.value.extend(from.kind[rows.clone()].iter().zip(&from.value[rows]).map(moved));
        out.end.push(out.key.len() as u32);
    }

    #[inline]
    fn text(&mut self, text: TextRef) -> TextRef {
        if text.is_empty() {
            return TextRef::default();
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(text.of(&self.c.arena));
        text.moved_to(start)
    }

    #[inline]
    fn name(&mut self, id: u32) -> u32 {
        translate(&mut self.translation.names, id, &self.c.names, &mut self.out.names)
    }

    fn odd_ids(&mut self, from: &[OddId], row: usize, new: usize) -> Vec<OddId> {
        let first = from.partition_point(|odd| (odd.row as usize) < row);
        let of_row = from[first..].iter().take_while(|odd| odd.row as usize == row);
        of_row.map(|odd| OddId { row: new as u32, value: self.text(odd.value), ..*odd }).collect()
    }

    fn span(&mut self, row: usize) {
        let c = self.c;
        let s = &c.spans;
        self.events(run(&s.events_end, row));
        self.links(run(&s.links_end, row));
        self.span_attributes(row);
        let scope = self.scope(s.scope_spans[row] as usize);
        let name = self.name(s.name[row]);
        let (trace_state, message) = (self.text(s.trace_state[row]), self.text(s.status_message[row]));
        if !s.odd_ids.is_empty() {
            let odd = self.odd_ids(&s.odd_ids, row, self.out.spans.name.len());
            self.out.spans.odd_ids.extend(odd);
        }
        let events_end = self.out.events.name.len() as u32;
        let links_end = self.out.links.flags.len() as u32;
        let out = &mut self.out.spans;
        out.present.push(s.present[row]);
        out.trace_id.push(s.trace_id[row]);
        out.span_id.push(s.span_id[row]);
        out.parent_span_id.push(s.parent_span_id[row]);
        out.trace_state.push(trace_state);
        out.flags.push(s.flags[row]);
        out.name.push(name);
        out.kind.push(s.kind[row]);
        out.start_time_unix_nano.push(s.start_time_unix_nano[row]);
        out.end_time_unix_nano.push(s.end_time_unix_nano[row]);
        out.dropped_attributes_count.push(s.dropped_attributes_count[row]);
        out.dropped_events_count.push(s.dropped_events_count[row]);
        out.dropped_links_count.push(s.dropped_links_count[row]);
        out.status_code.push(s.status_code[row]);
        out.status_message.push(message);
        out.scope_spans.push(scope);
        out.events_end.push(events_end);
        out.links_end.push(links_end);
    }

    /// All attributes of one owner. Tables are chosen by functions, so that the rest can be borrowed beside them.
    #[inline]
    fn attributes(
        &mut self,
        from: fn(&Columns) -> &Attributes,
        into: fn(&mut Columns) -> &mut Attributes,
        owner: usize,
    ) {
        let from = from(self.c);
        for row in from.of(owner) {
            let key = translate(&mut self.translation.keys, from.key[row], &self.c.keys, &mut self.out.keys);
            let value = match is_text(from.kind[row]) {
                true => self.text(TextRef::from_bits(from.value[row])).bits(),
                false => from.value[row],
            };
            into(self.out).push(key, from.kind[row], value);
        }
        let out = into(self.out);
        if !from.key_strindex.is_empty() {
            let (old, new) = (from.of(owner), out.key.len() - from.of(owner).len());
            let first = from.key_strindex.partition_point(|&(row, _)| (row as usize) < old.start);
            let here = from.key_strindex[first..].iter().take_while(|&&(row, _)| (row as usize) < old.end);
            out.key_strindex.extend(here.map(|&(row, index)| (row - old.start as u32 + new as u32, index)));
        }
        out.end.push(out.key.len() as u32);
    }

    fn events(&mut self, rows: Range<usize>) {
        for row in rows {
            let name = self.name(self.c.events.name[row]);
            self.out.events.time_unix_nano.push(self.c.events.time_unix_nano[row]);
            self.out.events.name.push(name);
            self.out.events.dropped_attributes_count.push(self.c.events.dropped_attributes_count[row]);
            self.attributes(|c| &c.event_attributes, |out| &mut out.event_attributes, row);
        }
    }

    fn links(&mut self, rows: Range<usize>) {
        let l = &self.c.links;
        for row in rows {
            let trace_state = self.text(l.trace_state[row]);
            if !l.odd_ids.is_empty() {
                let odd = self.odd_ids(&l.odd_ids, row, self.out.links.flags.len());
                self.out.links.odd_ids.extend(odd);
            }
            let out = &mut self.out.links;
            out.present.push(l.present[row]);
            out.trace_id.push(l.trace_id[row]);
            out.span_id.push(l.span_id[row]);
            out.trace_state.push(trace_state);
            out.dropped_attributes_count.push(l.dropped_attributes_count[row]);
            out.flags.push(l.flags[row]);
            self.attributes(|c| &c.link_attributes, |out| &mut out.link_attributes, row);
        }
    }

    fn scope(&mut self, row: usize) -> u32 {
        let known = self.translation.scopes[row];
        if known != NONE {
            return known;
        }
        let s = &self.c.scopes;
        let resource = self.resource(s.resource_spans[row] as usize);
        let name = self.name(s.name[row]);
        let (version, schema_url) = (self.text(s.version[row]), self.text(s.schema_url[row]));
        let new = self.out.scopes.name.len() as u32;
        let out = &mut self.out.scopes;
        out.resource_spans.push(resource);
        out.present.push(s.present[row]);
        out.name.push(name);
        out.version.push(version);
        out.dropped_attributes_count.push(s.dropped_attributes_count[row]);
        out.schema_url.push(schema_url);
        self.attributes(|c| &c.scope_attributes, |out| &mut out.scope_attributes, row);
        self.translation.scopes[row] = new;
        new
    }

    fn resource(&mut self, row: usize) -> u32 {
        let known = self.translation.resources[row];
        if known != NONE {
            return known;
        }
        let r = &self.c.resources;
        let batch = &mut self.translation.batches[r.batch[row] as usize];
        if *batch == NONE {
            *batch = self.out.batches;
            self.out.batches += 1;
        }
        let batch = *batch;
        let schema_url = self.text(r.schema_url[row]);
        let new = self.out.resources.batch.len() as u32;
        let first = r.entity_refs.partition_point(|&(owner, _)| (owner as usize) < row);
        for &(_, text) in r.entity_refs[first..].iter().take_while(|&&(owner, _)| owner as usize == row) {
            let text = self.text(text);
            self.out.resources.entity_refs.push((new, text));
        }
        let out = &mut self.out.resources;
        out.batch.push(batch);
        out.present.push(r.present[row]);
        out.dropped_attributes_count.push(r.dropped_attributes_count[row]);
        out.schema_url.push(schema_url);
        self.attributes(|c| &c.resource_attributes, |out| &mut out.resource_attributes, row);
        self.translation.resources[row] = new;
        new
    }
}
