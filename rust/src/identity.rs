//! One span per id: exact repeats and conflicting copies, told apart whatever the order of arrival.
//!
//! ```text
//! arrived   A  B  A'  A        A = A'' = A', B differs, B is the richest
//! role      c  ✓  d   d        c conflict: the first of its content, d duplicate: a repeat of a content seen
//! ```

use std::cmp::Ordering;

use crate::columns::{Attributes, Columns, TextRef, present, run};
use crate::index::Index;
use crate::join::Role;
use crate::repair::{Change, Repair, RepairKind};

/// Enters every span under its id. Repeats get their role here and take no further part.
pub fn index_spans<'a>(c: &'a Columns, role: &mut [Role], repairs: &mut Vec<Repair>) -> Index<'a> {
    let spans = &c.spans;
    let mut index = Index::new(&spans.trace_id, &spans.span_id);
    let mut again: Vec<(u32, u32)> = Vec::new();
    const IDS: u8 = present::TRACE_ID | present::SPAN_ID;
    for row in 0..c.len() as u32 {
        let at = row as usize;
        if spans.present[at] & IDS != IDS || spans.span_id[at] == [0; 8] || spans.trace_id[at] == [0; 16] {
            role[at] = Role::InvalidId;
        } else if let Some(first) = index.insert(row) {
            again.push((first, row));
        }
    }
    again.sort_unstable();
    for group in again.chunk_by(|a, b| a.0 == b.0) {
        let copies = std::iter::once(group[0].0).chain(group.iter().map(|&(_, row)| row)).collect();
        set_aside(c, copies, &mut index, role, repairs);
    }
    index
}

/// Keeps the richest of some spans with one id. Of the others, the first of each content is a conflict.
fn set_aside(
    c: &Columns,
    mut copies: Vec<u32>,
    index: &mut Index<'_>,
    role: &mut [Role],
    repairs: &mut Vec<Repair>,
) {
    let order = |a: u32, b: u32| compare(c, b as usize, a as usize);
    copies.sort_by(|&a, &b| order(a, b).then(a.cmp(&b)));
    let kept = copies[0];
    index.replace(kept);
    for pair in copies.windows(2) {
        let (before, row) = (pair[0], pair[1]);
        let same = order(before, row) == Ordering::Equal;
        let (what, kind) = match same {
            true => (Role::Duplicate, RepairKind::Duplicate),
            false => (Role::Conflict, RepairKind::Conflict),
        };
        role[row as usize] = what;
        repairs.push(Repair { kind, row, change: Change::Copy(kept) });
    }
}

/// Which of two spans with one id says more: more attributes, events and links, then the later end, then by all of
/// their content. Equal only if nothing differs.
fn compare(c: &Columns, a: usize, b: usize) -> Ordering {
    let s = &c.spans;
    let parts = |row: usize| {
        c.span_attributes.of(row).len() + run(&s.events_end, row).len() + run(&s.links_end, row).len()
    };
    let name = |row: usize| c.names.text(s.name[row]);
    let text = |of: &[TextRef]| of[a].of(&c.arena).cmp(of[b].of(&c.arena));
    parts(a)
        .cmp(&parts(b))
        .then_with(|| s.end_time_unix_nano[a].cmp(&s.end_time_unix_nano[b]))
        .then_with(|| s.start_time_unix_nano[a].cmp(&s.start_time_unix_nano[b]))
        .then_with(|| s.kind[a].cmp(&s.kind[b]))
        .then_with(|| name(a).cmp(name(b)))
        .then_with(|| s.parent_span_id[a].cmp(&s.parent_span_id[b]))
        .then_with(|| compare_events(c, a, b))
        .then_with(|| s.status_code[a].cmp(&s.status_code[b]))
        .then_with(|| s.flags[a].cmp(&s.flags[b]))
        .then_with(|| s.present[a].cmp(&s.present[b]))
        .then_with(|| dropped(c, a).cmp(&dropped(c, b)))
        .then_with(|| text(&s.trace_state))
        .then_with(|| text(&s.status_message))
        .then_with(|| compare_attributes(c, &c.span_attributes, a, b))
        .then_with(|| compare_links(c, a, b))
        .then_with(|| compare_origin(c, a, b))
}

fn dropped(c: &Columns, row: usize) -> [u32; 3] {
    let s = &c.spans;
    [s.dropped_attributes_count[row], s.dropped_events_count[row], s.dropped_links_count[row]]
}

/// Scope and resource.
fn compare_origin(c: &Columns, a: usize, b: usize) -> Ordering {
    let scope = |row: usize| c.spans.scope_spans[row] as usize;
    let (x, y) = (scope(a), scope(b));
    if x == y {
        return Ordering::Equal;
    }
    let text = |texts: &[TextRef], x: usize, y: usize| texts[x].of(&c.arena).cmp(texts[y].of(&c.arena));
    let (r, q) = (c.resource_of(a), c.resource_of(b));
    c.names
        .text(c.scopes.name[x])
        .cmp(c.names.text(c.scopes.name[y]))
        .then_with(|| text(&c.scopes.version, x, y))
        .then_with(|| compare_attributes(c, &c.scope_attributes, x, y))
        .then_with(|| compare_attributes(c, &c.resource_attributes, r, q))
}

fn compare_attributes(c: &Columns, table: &Attributes, a: usize, b: usize) -> Ordering {
    let pairs = |owner: usize| table.of(owner);
    let one = |(x, y): (usize, usize)| {
        let keys = match table.key[x] == table.key[y] {
            true => Ordering::Equal,
            false => c.keys.text(table.key[x]).cmp(c.keys.text(table.key[y])),
        };
        keys.then_with(|| (table.kind[x] as u8).cmp(&(table.kind[y] as u8))).then_with(|| {
            match (table.text_ref(x), table.text_ref(y)) {
                (Some(x), Some(y)) => x.of(&c.arena).cmp(y.of(&c.arena)),
                _ => table.value[x].cmp(&table.value[y]),
            }
        })
    };
    first_difference(pairs(a), pairs(b), one)
}

fn compare_events(c: &Columns, a: usize, b: usize) -> Ordering {
    let one = |(x, y): (usize, usize)| {
        let e = &c.events;
        let name = |event: usize| c.names.text(e.name[event]);
        e.time_unix_nano[x]
            .cmp(&e.time_unix_nano[y])
            .then_with(|| name(x).cmp(name(y)))
            .then_with(|| e.dropped_attributes_count[x].cmp(&e.dropped_attributes_count[y]))
            .then_with(|| compare_attributes(c, &c.event_attributes, x, y))
    };
    first_difference(run(&c.spans.events_end, a), run(&c.spans.events_end, b), one)
}

fn compare_links(c: &Columns, a: usize, b: usize) -> Ordering {
    let one = |(x, y): (usize, usize)| {
        let l = &c.links;
        let rest = |link: usize| (l.flags[link], l.dropped_attributes_count[link]);
        (l.trace_id[x], l.span_id[x])
            .cmp(&(l.trace_id[y], l.span_id[y]))
            .then_with(|| l.trace_state[x].of(&c.arena).cmp(l.trace_state[y].of(&c.arena)))
            .then_with(|| rest(x).cmp(&rest(y)))
            .then_with(|| compare_attributes(c, &c.link_attributes, x, y))
    };
    first_difference(run(&c.spans.links_end, a), run(&c.spans.links_end, b), one)
}

/// Compares two runs of rows element by element; the shorter is the smaller where one begins with the other.
fn first_difference(
    a: std::ops::Range<usize>,
    b: std::ops::Range<usize>,
    one: impl Fn((usize, usize)) -> Ordering,
) -> Ordering {
    let lengths = a.len().cmp(&b.len());
    a.zip(b).map(one).find(|order| order.is_ne()).unwrap_or(lengths)
}
