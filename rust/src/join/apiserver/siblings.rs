//! Spans that are sent beside the span that they happened in.

use crate::join::builder::Builder;
use crate::join::known_names::VERBS;
use crate::join::repair::RepairKind;
use crate::join::times::id_key;

/// (Rule, names of what is moved, names of what contains it).
///
/// ```text
/// List             |==========|           List             |==========|
/// SerializeObject       |====|     →        SerializeObject     |====|
/// ```
///
/// `SerializeObject` up to 1.31; webhooks of an update in all versions, since admission runs inside the storage
/// call that retries on conflict.
const BESIDE: [Rule; 2] = [
    (RepairKind::SerializeSibling, &["SerializeObject"], &VERBS),
    (
        RepairKind::WebhookSibling,
        &["Call mutating webhook", "Call validating webhook"],
        &["GuaranteedUpdate etcd3"],
    ),
];

type Rule = (RepairKind, &'static [&'static str], &'static [&'static str]);

/// A parent has one or two spans that can contain others; more than this many are not searched for one that fits.
const CONTAINERS: usize = 16;

/// What a span is in the table; the number of a rule is its place in [`BESIDE`].
#[derive(Clone, Copy)]
pub enum Side {
    /// It may have to move, by this rule.
    Moved(u8),
    /// It may contain what moves by this rule.
    Container(u8),
}

/// What a span of this name is.
pub fn side_of(name: &str) -> Option<Side> {
    let rule = |names: fn(&Rule) -> &'static [&'static str]| {
        (0..).zip(&BESIDE).find(|(_, rule)| names(rule).contains(&name)).map(|(number, _)| number)
    };
    let moved = rule(|&(_, moved, _)| moved).map(Side::Moved);
    moved.or_else(|| rule(|&(.., containers)| containers).map(Side::Container))
}

/// Spans that the table names, with a parent: (rule, row), in row order.
#[derive(Default)]
pub struct Beside {
    moved: Vec<(u8, u32)>,
    containers: Vec<(u8, u32)>,
}

impl Beside {
    /// Adds one.
    pub fn push(&mut self, side: Side, row: u32) {
        match side {
            Side::Moved(rule) => self.moved.push((rule, row)),
            Side::Container(rule) => self.containers.push((rule, row)),
        }
    }

    /// Adds others, with later rows.
    pub fn extend(&mut self, others: Self) {
        self.moved.extend(others.moved);
        self.containers.extend(others.containers);
    }
}

/// Moves spans under the one beside them that contains them, by [`BESIDE`]; of several, the smallest span id.
pub fn move_siblings(b: &mut Builder<'_>, beside: &Beside) {
    for (kind, row, to) in moves(b, beside) {
        b.reparent(kind, row, to);
    }
}

/// (Rule, row, new parent).
fn moves(b: &Builder<'_>, beside: &Beside) -> Vec<(RepairKind, u32, u32)> {
    const MOVED: u8 = 1;
    const CONTAINER: u8 = 2;
    let Builder { c, parent, start, .. } = b;
    // Few spans have one beside them that may have to move: only those are brought into order.
    let mut above = vec![0u8; if beside.moved.is_empty() { 0 } else { parent.len() }];
    for (what, rows) in [(MOVED, &beside.moved), (CONTAINER, &beside.containers)] {
        for &(_, row) in rows {
            if let Some(above) = above.get_mut(parent[row as usize] as usize) {
                *above |= what;
            }
        }
    }
    let is_above_both = |&&(_, row): &&(u8, u32)| {
        above.get(parent[row as usize] as usize).is_some_and(|&what| what == MOVED | CONTAINER)
    };
    let mut containers: Vec<(u8, u32, u64, u32)> = (beside.containers.iter())
        .filter(is_above_both)
        .map(|&(rule, row)| (rule, parent[row as usize], id_key(c.spans.span_id[row as usize]), row))
        .collect();
    containers.sort_unstable();
    let container = |(rule, row): (u8, u32)| {
        let above = parent[row as usize];
        let fits = |&span: &u32| {
            start[span as usize] <= start[row as usize]
                && b.ended(row) <= b.ended(span)
                && b.process(span) == b.process(row)
        };
        let first = containers.partition_point(|&(r, up, ..)| (r, up) < (rule, above));
        let nearby =
            containers[first..].iter().take(CONTAINERS).take_while(|&&(r, up, ..)| (r, up) == (rule, above));
        let span = nearby.map(|&(.., span)| span).find(fits)?;
        Some((BESIDE[usize::from(rule)].0, row, span))
    };
    beside.moved.iter().filter(is_above_both).filter_map(|&moved| container(moved)).collect()
}
