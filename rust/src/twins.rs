//! Spans that share an id: exact repeats, and conflicts, of which one stays.
//!
//! Which one stays, and which are repeats, follows from what the spans say and not from the order in which they came:
//!
//! ```text
//! came     A  B  A'  B'        A' and B' repeat A and B; B says more
//! sorted   A  A' │ B  B'       → B stays, A is a conflict, A' and B' are duplicates
//! ```

use std::cmp::Ordering;

use crate::columns::{Attributes, Columns, run};

/// Why a span makes room for another one with its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    /// Another one says exactly the same.
    Duplicate,
    /// The one that stays says something else.
    Conflict,
}

/// Chooses among all spans with one id. Returns the one that stays, and calls `aside(row, why, the one that stays)`
/// for the others. Sorts `rows`, which must not be empty.
pub fn judge(c: &Columns, rows: &mut [u32], mut aside: impl FnMut(u32, Twin, u32)) -> u32 {
    let order = |a: u32, b: u32| compare(c, a as usize, b as usize);
    rows.sort_unstable_by(|&a, &b| order(a, b).then(b.cmp(&a)));
    let stays = rows[rows.len() - 1];
    for pair in rows.windows(2) {
        let repeats = order(pair[0], pair[1]).is_eq();
        aside(pair[0], if repeats { Twin::Duplicate } else { Twin::Conflict }, stays);
    }
    stays
}

/// The richer span is the greater: more attributes, events and links, then the later end. What is left are orders
/// without a meaning, so that two spans are equal only if they say exactly the same.
fn compare(c: &Columns, a: usize, b: usize) -> Ordering {
    let s = &c.spans;
    let parts =
        |row| c.span_attributes.of(row).len() + run(&s.events_end, row).len() + run(&s.links_end, row).len();
    let numbers = |row: usize| {
        (
            (parts(row), s.end_time_unix_nano[row], s.start_time_unix_nano[row], s.kind[row]),
            (c.names.text(s.name[row]), s.parent_span_id[row]),
        )
    };
    let rest = |row: usize| {
        let dropped =
            (s.dropped_attributes_count[row], s.dropped_events_count[row], s.dropped_links_count[row]);
        let status = (s.status_code[row], s.status_message[row].of(&c.arena));
        (status, s.flags[row], s.trace_state[row].of(&c.arena), dropped)
    };
    numbers(a)
        .cmp(&numbers(b))
        .then_with(|| compare_events(c, a, b))
        .then_with(|| rest(a).cmp(&rest(b)))
        .then_with(|| compare_attributes(c, &c.span_attributes, a, b))
        .then_with(|| compare_links(c, a, b))
        .then_with(|| compare_senders(c, a, b))
}

fn compare_events(c: &Columns, a: usize, b: usize) -> Ordering {
    let (e, runs) = (&c.events, (run(&c.spans.events_end, a), run(&c.spans.events_end, b)));
    let said = |at: usize| (e.time_unix_nano[at], c.names.text(e.name[at]));
    let plain = runs.0.clone().map(said).cmp(runs.1.clone().map(said));
    plain.then_with(|| {
        compare_each(runs.0.zip(runs.1), |a, b| {
            let dropped = e.dropped_attributes_count[a].cmp(&e.dropped_attributes_count[b]);
            dropped.then_with(|| compare_attributes(c, &c.event_attributes, a, b))
        })
    })
}

fn compare_links(c: &Columns, a: usize, b: usize) -> Ordering {
    let (l, runs) = (&c.links, (run(&c.spans.links_end, a), run(&c.spans.links_end, b)));
    let said = |at: usize| {
        let dropped = l.dropped_attributes_count[at];
        (l.trace_id[at], l.span_id[at], l.flags[at], l.trace_state[at].of(&c.arena), dropped)
    };
    let plain = runs.0.clone().map(said).cmp(runs.1.clone().map(said));
    plain.then_with(|| {
        compare_each(runs.0.zip(runs.1), |a, b| compare_attributes(c, &c.link_attributes, a, b))
    })
}

/// By scope and resource.
fn compare_senders(c: &Columns, a: usize, b: usize) -> Ordering {
    let scopes = (c.spans.scope_spans[a] as usize, c.spans.scope_spans[b] as usize);
    let resources = (c.resource_of(a), c.resource_of(b));
    let scope = |at: usize| (c.names.text(c.scopes.name[at]), c.scopes.version[at].of(&c.arena));
    scope(scopes.0)
        .cmp(&scope(scopes.1))
        .then_with(|| compare_attributes(c, &c.scope_attributes, scopes.0, scopes.1))
        .then_with(|| compare_attributes(c, &c.resource_attributes, resources.0, resources.1))
}

fn compare_attributes(c: &Columns, table: &Attributes, a: usize, b: usize) -> Ordering {
    let said = |row: usize| {
        let text = table.text_ref(row).map(|text| text.of(&c.arena));
        let number = if text.is_some() { 0 } else { table.value[row] };
        (c.keys.text(table.key[row]), table.kind[row] as u8, text, number)
    };
    table.of(a).map(said).cmp(table.of(b).map(said))
}

fn compare_each(
    pairs: impl Iterator<Item = (usize, usize)>,
    compare: impl Fn(usize, usize) -> Ordering,
) -> Ordering {
    pairs.map(|(a, b)| compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
