//! How much of the critical path lies below given spans, within given times.
//!
//! ```text
//! path     rrrraaaaaabbbccccccbbbrrrrr      c below b
//! part of b          |===========|          from its start to where the walk came to it
//! window             [b, 0, ∞)
//! counts             ============
//! ```
//!
//! The walk of [`crate::attribute::sweep`] comes to a span at most once, so its part is one interval, and only the spans
//! around it and their children decide on it. Nothing else of the trees is looked at.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::ArrowError;

use crate::arrow;
use crate::attribute::NESTING;
use crate::columns::NONE;
use crate::findings::holding::Holding;
use crate::join::Joined;
use crate::join::span_kind::{CONSUMER, PRODUCER};
use crate::join::times::id_key;
use crate::numbers::u32_of;

/// A span, and the times between which its part of the path counts.
pub type Window = (u32, i64, i64);

type Interval = (i64, i64);

/// Per window: the ns of a request's critical path that lie below its span and in its times; and that request, of these
/// the one that holds the span, [`NONE`] if none does. They are not inside each other.
pub fn within(joined: &Joined, requests: &[usize], windows: &[Window]) -> (Vec<u64>, Vec<u32>) {
    let (holding, position) = (Holding::new(joined, requests), &joined.forest.position);
    let mut result = (vec![0; windows.len()], vec![NONE; windows.len()]);
    let mut held = Vec::with_capacity(windows.len());
    for (at, &(row, ..)) in windows.iter().enumerate() {
        let request = holding.of_row(joined, row);
        if request != NONE {
            result.1[at] = request;
            held.push((position[row as usize], u32_of(at)));
        }
    }
    held.sort_unstable();
    let mut way = Way { joined, levels: Vec::new(), children: Vec::new(), order: Vec::new() };
    for (place, at) in held {
        let at = at as usize;
        let (_, begin, end) = windows[at];
        let (from, to) = way.to(result.1[at] as usize, place);
        result.0[at] = to.min(end).saturating_sub(from.max(begin)).max(0).cast_unsigned();
    }
    result
}

/// The rows of a table about calls that these requests hold, with two more columns: `held`, the request, and
/// `critical_ns`, its part of the critical path. `span` has the call's span; `from_unix_nano` and `to_unix_nano`, where
/// there are such columns, the times that count.
pub fn with_part(
    joined: &Joined,
    requests: &[usize],
    table: &RecordBatch,
) -> Result<RecordBatch, ArrowError> {
    let numbers = |name: &str| table.column_by_name(name).and_then(|of| of.as_primitive_opt::<Int64Type>());
    let (from, to) = (numbers("from_unix_nano"), numbers("to_unix_nano"));
    let spans = numbers("span").ok_or_else(|| ArrowError::SchemaError("span".to_owned()))?;
    let window = |(at, &span): (usize, &i64)| {
        let time = |times: Option<&Int64Array>, open| times.map_or(open, |times| times.value(at));
        let row = u32::try_from(span).ok().filter(|&row| (row as usize) < joined.parent.len());
        row.map(|row| (row, time(from, i64::MIN), time(to, i64::MAX)))
    };
    let windows: Option<Vec<Window>> = spans.values().iter().enumerate().map(window).collect();
    let windows = windows.ok_or_else(|| ArrowError::SchemaError("rows of spans".to_owned()))?;
    let (ns, held) = within(joined, requests, &windows);
    let kept: Vec<usize> = (0..held.len()).filter(|&at| held[at] != NONE).collect();
    let column = |of: &dyn Fn(usize) -> i64| {
        Arc::new(Int64Array::from_iter_values(kept.iter().map(|&at| of(at)))) as ArrayRef
    };
    let (schema, all) = (table.schema(), kept.len() == held.len());
    let mut columns = Vec::with_capacity(table.num_columns() + 2);
    for (field, values) in schema.fields().iter().zip(table.columns()) {
        let values = if all { Arc::clone(values) } else { arrow::take(values, &kept)? };
        columns.push((field.name().as_str(), values));
    }
    columns.push(("held", column(&|at| i64::from(held[at]))));
    columns.push(("critical_ns", column(&|at| ns[at].cast_signed())));
    arrow::named(columns)
}

/// A span that is around the one that is looked for.
struct Level {
    place: u32,
    /// What of it lies inside all around it.
    whole: Interval,
    /// What of that is on the critical path, in it and below it.
    part: Interval,
    /// Where its children begin; they are there once they are needed.
    children: usize,
    told: bool,
}

/// A child, not empty.
struct Child {
    place: u32,
    whole: Interval,
    part: Interval,
}

/// The way down to a span. Those that are looked for come in preorder, so each level is entered once.
struct Way<'a> {
    joined: &'a Joined,
    levels: Vec<Level>,
    /// Children of the levels, of the innermost one last, and of each by place.
    children: Vec<Child>,
    /// Memory that is used again.
    order: Vec<u32>,
}

impl Way<'_> {
    /// The part of the span at a place, in the tree of a request.
    fn to(&mut self, request: usize, place: u32) -> Interval {
        let (size, requests) = (&self.joined.forest.size, &self.joined.requests);
        let deepest = requests.level[request] + NESTING;
        while let Some(level) = self.levels.pop_if(|level| level.place + size[level.place as usize] <= place)
        {
            self.children.truncate(level.children);
        }
        if self.levels.is_empty() {
            let row = requests.root[request] as usize;
            let whole = (self.joined.start[row], self.joined.end[row].max(self.joined.start[row]));
            self.enter(self.joined.forest.position[row], whole, whole);
        }
        loop {
            let Some(level) = self.levels.last_mut() else { return (0, 0) };
            if level.place == place {
                return level.part;
            }
            let (first, told) = (level.children, std::mem::replace(&mut level.told, true));
            if !told {
                let (around, whole, part) = (level.place, level.whole, level.part);
                self.tell(around, (whole, part), deepest);
            }
            let past = self.children[first..].partition_point(|child| child.place <= place);
            match past.checked_sub(1).map(|at| &self.children[first + at]) {
                Some(child) if child.place + size[child.place as usize] > place => {
                    let (place, whole, part) = (child.place, child.whole, child.part);
                    self.enter(place, whole, part);
                }
                _ => return (0, 0), // below an empty span
            }
        }
    }

    fn enter(&mut self, place: u32, whole: Interval, part: Interval) {
        self.levels.push(Level { place, whole, part, children: self.children.len(), told: false });
    }

    /// Finds the children of the innermost level, and their parts.
    ///
    /// ```text
    /// span      |=====================|        the walk came to it here: to = 22
    /// a             |=======|                  ends last: its part is 4..12, then to = 4
    /// b                |=|                     begins at to or later: none
    /// c           |=====|                      2..4
    /// ```
    fn tell(&mut self, around: u32, (whole, part): (Interval, Interval), deepest: u32) {
        let (joined, first) = (self.joined, self.children.len());
        let (size, requests) = (&joined.forest.size, &joined.requests);
        let is_too_deep = |row: usize| requests.level[requests.of_row[row] as usize] > deepest;
        let (mut place, past) = (around + 1, around + size[around as usize]);
        while place < past {
            let row = joined.forest.order[place as usize] as usize;
            let whole = clipped(joined, row, whole);
            if whole.0 < whole.1 && !is_too_deep(row) {
                self.children.push(Child { place, whole, part: (whole.0, whole.0) });
            }
            place += size[place as usize];
        }
        let children = &mut self.children[first..];
        self.order.clear();
        self.order.extend(0..u32_of(children.len()));
        self.order
            .sort_unstable_by(|&a, &b| latest_first(joined, &children[a as usize], &children[b as usize]));
        let mut to = part.1;
        for &at in &self.order {
            let child = &mut children[at as usize];
            if child.whole.0 < to {
                child.part.1 = child.whole.1.min(to);
                to = child.whole.0;
            }
        }
    }
}

/// What of a span lies inside another one. No span waits for a CONSUMER below a PRODUCER.
fn clipped(joined: &Joined, row: usize, (from, to): Interval) -> Interval {
    let (kind, above) = (&joined.columns.spans.kind, joined.parent[row]);
    let is_detached = kind[row] == CONSUMER && above != NONE && kind[above as usize] == PRODUCER;
    let start = joined.start[row].max(from).min(to);
    (start, if is_detached { start } else { joined.end[row].min(to).max(start) })
}

/// Siblings in the order in which the walk back looks at them.
fn latest_first(joined: &Joined, a: &Child, b: &Child) -> Ordering {
    let row = |child: &Child| joined.forest.order[child.place as usize] as usize;
    let id = |child: &Child| id_key(joined.columns.spans.span_id[row(child)]);
    let times = (b.whole.1, a.whole.0).cmp(&(a.whole.1, b.whole.0));
    times.then_with(|| (id(a), a.place).cmp(&(id(b), b.place)))
}
