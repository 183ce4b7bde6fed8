//! Columns behind columns: what decoding both in one go would have made of their requests.
//!
//! ```text
//! names   a b c    + b d    = a b c d      numbers of the second: b 0 → 1, d 1 → 3
//! spans   3 rows   + 2 rows = 5 rows       places in other tables move on by what stood there before
//! ```
//!
//! Texts stay where they are: both refer to one arena, which neither has yet.

use crate::columns::interner::Interner;
use crate::columns::{
    Attributes, Columns, EventColumns, LinkColumns, ResourceColumns, ScopeColumns, SpanColumns,
};
use crate::numbers::u32_of;

/// Moves these columns behind others of the same name, as they are.
macro_rules! move_over {
    ($into:expr, $from:expr => $($column:ident)+) => {
        $($into.$column.append(&mut $from.$column);)+
    };
}

/// Adds numbers, each as `translate` makes it.
fn extend<T: Copy>(into: &mut Vec<T>, from: &[T], translate: impl Fn(T) -> T) {
    into.extend(from.iter().map(|&value| translate(value)));
}

impl Columns {
    /// Whether rows can still be numbered when those of others come behind them.
    pub fn has_numbers_for<'a>(&self, others: impl Iterator<Item = &'a Self>) -> bool {
        let rows = |c: &Self| {
            let attributes = [&c.span_attributes, &c.event_attributes, &c.link_attributes];
            let rest = [&c.scope_attributes, &c.resource_attributes];
            let most = attributes.iter().chain(&rest).map(|table| table.key.len()).max().unwrap_or(0);
            most.max(c.len()).max(c.events.name.len()).max(c.links.flags.len())
        };
        let more: usize = others.map(rows).sum();
        u32::try_from(rows(self).saturating_add(more)).is_ok()
    }

    /// Adds all rows of other columns, which refer to the same bytes.
    pub fn append(&mut self, mut other: Self) {
        let names = numbers(&mut self.names, &other.names);
        let keys = numbers(&mut self.keys, &other.keys);
        let scopes = u32_of(self.scopes.name.len());
        let resources = u32_of(self.resources.batch.len());
        self.span_attributes.append(&mut other.span_attributes, &keys);
        self.event_attributes.append(&mut other.event_attributes, &keys);
        self.link_attributes.append(&mut other.link_attributes, &keys);
        self.scope_attributes.append(&mut other.scope_attributes, &keys);
        self.resource_attributes.append(&mut other.resource_attributes, &keys);
        let before = Before { names: &names, scopes, resources, batches: self.batches };
        self.spans.append(&mut other.spans, &before, &self.events, &self.links);
        self.events.append(&mut other.events, &before);
        self.links.append(&mut other.links);
        self.scopes.append(&mut other.scopes, &before);
        self.resources.append(&mut other.resources, &before);
        self.batches += other.batches;
    }
}

/// What the numbers of the other columns become: those of names, and how many rows stand before.
struct Before<'a> {
    names: &'a [u32],
    scopes: u32,
    resources: u32,
    batches: u32,
}

impl Before<'_> {
    fn name(&self, id: u32) -> u32 {
        self.names[id as usize]
    }
}

/// The numbers that strings of another interner have in this one, which learns them.
fn numbers(into: &mut Interner, from: &Interner) -> Vec<u32> {
    (0..u32_of(from.len())).map(|id| into.intern_known(from.bytes(id))).collect()
}

impl Attributes {
    fn append(&mut self, other: &mut Self, keys: &[u32]) {
        let before = u32_of(self.key.len());
        extend(&mut self.end, &other.end, |end| end + before);
        extend(&mut self.key, &other.key, |key| keys[key as usize]);
        extend(&mut self.key_strindex, &other.key_strindex, |(row, index)| (row + before, index));
        move_over!(self, other => kind value);
    }
}

impl SpanColumns {
    fn append(&mut self, other: &mut Self, before: &Before<'_>, events: &EventColumns, links: &LinkColumns) {
        let rows = u32_of(self.name.len());
        let (events, links) = (u32_of(events.name.len()), u32_of(links.flags.len()));
        other.odd_ids.iter_mut().for_each(|odd| odd.row += rows);
        extend(&mut self.name, &other.name, |name| before.name(name));
        extend(&mut self.scope_spans, &other.scope_spans, |scope| scope + before.scopes);
        extend(&mut self.events_end, &other.events_end, |end| end + events);
        extend(&mut self.links_end, &other.links_end, |end| end + links);
        move_over!(self, other => present trace_id span_id parent_span_id trace_state flags kind start_time_unix_nano
            end_time_unix_nano dropped_attributes_count dropped_events_count dropped_links_count status_code
            status_message odd_ids);
    }
}

impl EventColumns {
    fn append(&mut self, other: &mut Self, before: &Before<'_>) {
        extend(&mut self.name, &other.name, |name| before.name(name));
        move_over!(self, other => time_unix_nano dropped_attributes_count);
    }
}

impl LinkColumns {
    fn append(&mut self, other: &mut Self) {
        let rows = u32_of(self.flags.len());
        other.odd_ids.iter_mut().for_each(|odd| odd.row += rows);
        move_over!(self, other => present trace_id span_id trace_state dropped_attributes_count flags odd_ids);
    }
}

impl ScopeColumns {
    fn append(&mut self, other: &mut Self, before: &Before<'_>) {
        extend(&mut self.resource_spans, &other.resource_spans, |resource| resource + before.resources);
        extend(&mut self.name, &other.name, |name| before.name(name));
        move_over!(self, other => present version dropped_attributes_count schema_url);
    }
}

impl ResourceColumns {
    fn append(&mut self, other: &mut Self, before: &Before<'_>) {
        extend(&mut self.batch, &other.batch, |batch| batch + before.batches);
        extend(&mut self.entity_refs, &other.entity_refs, |(row, text)| (row + before.resources, text));
        move_over!(self, other => present dropped_attributes_count schema_url);
    }
}
