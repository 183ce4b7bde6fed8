//! Spans that are sent beside the span that they happened in.

use crate::columns::Columns;
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

/// The table by name number: index into [`BESIDE`] plus one, 0 for none.
struct Names {
    moved: Vec<u8>,
    containers: Vec<u8>,
}

impl Names {
    fn new(c: &Columns) -> Self {
        Self {
            moved: rule_of_name(c, |(_, moved, _)| moved),
            containers: rule_of_name(c, |(_, _, containers)| containers),
        }
    }
}

fn rule_of_name(c: &Columns, names: fn(&Rule) -> &'static [&'static str]) -> Vec<u8> {
    let rule = |name: &str| (1..).zip(&BESIDE).find(|(_, rule)| names(rule).contains(&name));
    c.names.iter().map(|name| rule(name).map_or(0, |(number, _)| number)).collect()
}

/// Moves spans under the one beside them that contains them, by [`BESIDE`]; of several, the smallest span id.
pub fn move_siblings(b: &mut Builder<'_>, rows: &[u32]) {
    for (kind, row, to) in moves(b, rows) {
        b.reparent(kind, row, to);
    }
}

/// (Rule, row, new parent).
fn moves(b: &Builder<'_>, rows: &[u32]) -> Vec<(RepairKind, u32, u32)> {
    let Builder { c, names, parent, start, .. } = b;
    let rules = Names::new(c);
    let rule_of = |rules: &[u8], row: u32| match rules[c.spans.name[row as usize] as usize] {
        0 => None,
        rule if names.is_inner(c, row as usize) => Some(rule),
        _ => None,
    };
    let moved: Vec<(u8, u32)> =
        rows.iter().filter_map(|&row| rule_of(&rules.moved, row).map(|rule| (rule, row))).collect();
    // Few spans have one beside them that may have to move: only those are brought into order.
    let mut above_moved = vec![false; if moved.is_empty() { 0 } else { parent.len() }];
    for &(_, row) in &moved {
        above_moved[parent[row as usize] as usize] = true;
    }
    let mut containers: Vec<(u8, u32, u64, u32)> = rows
        .iter()
        .filter(|&&row| above_moved.get(parent[row as usize] as usize) == Some(&true))
        .filter_map(|&row| rule_of(&rules.containers, row).map(|rule| (rule, row)))
        .map(|(rule, row)| (rule, parent[row as usize], id_key(c.spans.span_id[row as usize]), row))
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
        let beside =
            containers[first..].iter().take(CONTAINERS).take_while(|&&(r, up, ..)| (r, up) == (rule, above));
        let span = beside.map(|&(.., span)| span).find(fits)?;
        Some((BESIDE[usize::from(rule) - 1].0, row, span))
    };
    moved.into_iter().filter_map(container).collect()
}
