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
    let order = |a: u32, b: u32| compare((c, a as usize), (c, b as usize));
    rows.sort_unstable_by(|&a, &b| order(a, b).then(b.cmp(&a)));
    let stays = rows[rows.len() - 1];
    for pair in rows.windows(2) {
        let repeats = order(pair[0], pair[1]).is_eq();
        aside(pair[0], if repeats { Twin::Duplicate } else { Twin::Conflict }, stays);
    }
    stays
}

/// Whether two spans say exactly the same.
pub fn same(a: Place<'_>, b: Place<'_>) -> bool {
    compare(a, b).is_eq()
}

/// A row of some table, and the columns that it is in.
pub type Place<'a> = (&'a Columns, usize);

/// The richer span is the greater: more attributes, events and links, then the later end. What is left are orders
/// without a meaning, so that two spans are equal only if they say exactly the same.
fn compare(a: Place<'_>, b: Place<'_>) -> Ordering {
    fn parts((c, row): Place<'_>) -> usize {
        c.span_attributes.of(row).len() + run(&c.spans.events_end, row).len() + c.links_of(row).len()
    }
    fn numbers((c, row): Place<'_>) -> impl Ord {
        let s = &c.spans;
        (
            (parts((c, row)), s.end_time_unix_nano[row], s.start_time_unix_nano[row], s.kind[row]),
            (c.names.text(s.name[row]), s.parent_span_id[row]),
        )
    }
    numbers(a)
        .cmp(&numbers(b))
        .then_with(|| compare_events(a, b))
        .then_with(|| compare_rest(a, b))
        .then_with(|| compare_attributes((a.0, &a.0.span_attributes, a.1), (b.0, &b.0.span_attributes, b.1)))
        .then_with(|| compare_links(a, b))
        .then_with(|| compare_senders(a, b))
}

fn compare_rest(a: Place<'_>, b: Place<'_>) -> Ordering {
    fn rest((c, row): Place<'_>) -> impl Ord {
        let s = &c.spans;
        let dropped =
            (s.dropped_attributes_count[row], s.dropped_events_count[row], s.dropped_links_count[row]);
        let status = (s.status_code[row], s.status_message[row].of(&c.arena));
        (status, s.flags[row], s.trace_state[row].of(&c.arena), dropped)
    }
    rest(a).cmp(&rest(b))
}

fn compare_events((c, a): Place<'_>, (d, b): Place<'_>) -> Ordering {
    let runs = (run(&c.spans.events_end, a), run(&d.spans.events_end, b));
    let plain = |a: usize, b: usize| {
        let times = c.events.time_unix_nano[a].cmp(&d.events.time_unix_nano[b]);
        times.then_with(|| c.names.text(c.events.name[a]).cmp(d.names.text(d.events.name[b])))
    };
    let details = |a: usize, b: usize| {
        let dropped = c.events.dropped_attributes_count[a].cmp(&d.events.dropped_attributes_count[b]);
        dropped.then_with(|| compare_attributes((c, &c.event_attributes, a), (d, &d.event_attributes, b)))
    };
    compare_runs(&runs, plain).then_with(|| compare_runs(&runs, details))
}

fn compare_links((c, a): Place<'_>, (d, b): Place<'_>) -> Ordering {
    fn said((c, at): Place<'_>) -> impl Ord {
        let l = &c.links;
        let dropped = l.dropped_attributes_count[at];
        (l.trace_id[at], l.span_id[at], l.flags[at], l.trace_state[at].of(&c.arena), dropped)
    }
    let runs = (c.links_of(a), d.links_of(b));
    compare_runs(&runs, |a, b| said((c, a)).cmp(&said((d, b)))).then_with(|| {
        compare_runs(&runs, |a, b| compare_attributes((c, &c.link_attributes, a), (d, &d.link_attributes, b)))
    })
}

/// By scope and resource.
fn compare_senders((c, a): Place<'_>, (d, b): Place<'_>) -> Ordering {
    fn scope((c, at): Place<'_>) -> impl Ord {
        (c.names.text(c.scopes.name[at]), c.scopes.version[at].of(&c.arena))
    }
    let scopes = (c.spans.scope_spans[a] as usize, d.spans.scope_spans[b] as usize);
    let resources = (c.resource_of(a), d.resource_of(b));
    scope((c, scopes.0))
        .cmp(&scope((d, scopes.1)))
        .then_with(|| {
            compare_attributes((c, &c.scope_attributes, scopes.0), (d, &d.scope_attributes, scopes.1))
        })
        .then_with(|| {
            compare_attributes(
                (c, &c.resource_attributes, resources.0),
                (d, &d.resource_attributes, resources.1),
            )
        })
}

/// The attributes of an owner in a table.
type Owned<'a> = (&'a Columns, &'a Attributes, usize);

fn compare_attributes(a: Owned<'_>, b: Owned<'_>) -> Ordering {
    fn said((c, table, _): Owned<'_>, row: usize) -> impl Ord {
        let text = table.text_ref(row).map(|text| text.of(&c.arena));
        let number = if text.is_some() { 0 } else { table.value[row] };
        (c.keys.text(table.key[row]), table.kind[row] as u8, text, number)
    }
    a.1.of(a.2).map(|row| said(a, row)).cmp(b.1.of(b.2).map(|row| said(b, row)))
}

/// Two runs of rows, row by row; then the shorter is the less.
fn compare_runs(
    (a, b): &(std::ops::Range<usize>, std::ops::Range<usize>),
    compare: impl Fn(usize, usize) -> Ordering,
) -> Ordering {
    let pairs = a.clone().zip(b.clone()).map(|(a, b)| compare(a, b));
    pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}
