//! Spans that are sent beside the span that they happened in.

use crate::columns::Columns;
use crate::join::known_names::VERBS;
use crate::join::repair::{Repair, RepairKind};
use crate::join::repair_context::RepairContext;
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
    let rule = |name: &str| BESIDE.iter().position(|rule| names(rule).contains(&name));
    c.names.iter().map(|name| rule(name).map_or(0, |at| at as u8 + 1)).collect()
}

/// Moves spans under the one beside them that contains them, by [`BESIDE`]; of several, the smallest span id.
pub fn move_siblings(seen: RepairContext<'_>, rows: &[u32], parent: &mut [u32], repairs: &mut Vec<Repair>) {
    let RepairContext { c, names, times, .. } = seen;
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
    for (rule, row) in moved {
        let (at, above) = (row as usize, parent[row as usize]);
        let fits = |&span: &u32| {
            times.start[span as usize] <= times.start[at]
                && times.ended(row) <= times.ended(span)
                && seen.process(span) == seen.process(row)
        };
        let first = containers.partition_point(|&(r, up, ..)| (r, up) < (rule, above));
        let beside =
            containers[first..].iter().take(CONTAINERS).take_while(|&&(r, up, ..)| (r, up) == (rule, above));
        if let Some(span) = beside.map(|&(.., span)| span).find(fits) {
            parent[at] = span;
            repairs.push(Repair::parent(BESIDE[usize::from(rule) - 1].0, row, above, span));
        }
    }
}
