//! The shapes that kube-apiserver is known to send, recognised per span, and the repairs that make them usable.

pub mod authentication;
mod early_root;
mod siblings;
pub mod unended;

use crate::columns::NONE;
use crate::join::repair::Repair;
use crate::join::repair_context::RepairContext;
use crate::join::request_keys::Keys;
use crate::join::span_kind::{INTERNAL, SERVER};

/// The rows that the rules look at, found in one pass.
#[derive(Default)]
struct Sorted {
    /// With a parent.
    rows: Vec<u32>,
    requests: Vec<u32>,
    /// `authentication` spans that name no parent.
    filters: Vec<u32>,
}

impl Sorted {
    fn new(seen: RepairContext<'_>, parent: &[u32]) -> Self {
        let mut sorted = Self { rows: Vec::with_capacity(parent.len()), ..Self::default() };
        for row in seen.rows(|_| true) {
            if parent[row as usize] != NONE {
                sorted.rows.push(row);
            }
            match seen.c.spans.kind[row as usize] {
                SERVER if seen.is_request(row) => sorted.requests.push(row),
                INTERNAL if seen.is_authentication(row) && seen.is_parentless(row) => {
                    sorted.filters.push(row)
                }
                _ => {}
            }
        }
        sorted
    }
}

/// Applies the known-shape rules to `parent`, and finds what else they say of the requests: the repairs have the ends
/// that are to change. Returns the preludes as (authentication row, request row), sorted.
pub fn repair(seen: RepairContext<'_>, parent: &mut [u32], repairs: &mut Vec<Repair>) -> Vec<(u32, u32)> {
    let Sorted { rows, requests, filters } = Sorted::new(seen, parent);
    authentication::move_children(seen, &rows, parent, repairs);
    siblings::move_siblings(seen, &rows, parent, repairs);
    let mut preludes = authentication::take_preludes(seen, &rows, parent, repairs);
    let keys = Keys::new(seen.c);
    let unanswered: Vec<u32> =
        requests.iter().copied().filter(|&row| keys.is_unanswered(seen.c, row as usize)).collect();
    let split = split(seen, &filters, (&requests, &unanswered, &preludes), &rows, parent);
    repairs.extend(authentication::split_repairs(&split));
    repairs.extend(early_root::extensions(seen, &unanswered, &rows, parent));
    preludes.extend(split);
    preludes.sort_unstable();
    preludes
}

/// Joins what 1.33 and later split, see [`authentication::join_split`].
fn split(
    seen: RepairContext<'_>,
    filters: &[u32],
    (requests, unanswered, preludes): (&[u32], &[u32], &[(u32, u32)]),
    rows: &[u32],
    parent: &[u32],
) -> Vec<(u32, u32)> {
    let filters: Vec<u32> =
        filters.iter().copied().filter(|&row| seen.traces.is_alone(seen.c, row)).collect();
    if filters.is_empty() {
        return Vec::new();
    }
    const NESTED: u8 = 1;
    const FILTERED: u8 = 2;
    const PRELUDED: u8 = 4;
    let mut is = vec![0u8; parent.len()];
    for &row in rows.iter().filter(|&&row| parent[row as usize] != NONE) {
        let above = parent[row as usize] as usize;
        if seen.names.is_audit(seen.c, row as usize) {
            is[above] |= NESTED;
        } else if seen.is_authentication(row) {
            is[above] |= FILTERED;
        }
    }
    for &(_, request) in preludes {
        is[request as usize] |= PRELUDED;
    }
    let shape = |&row: &u32| match is[row as usize] {
        it if it & PRELUDED != 0 => None,
        it if it & NESTED != 0 => Some((row, true)),
        it => (it & FILTERED == 0 && unanswered.binary_search(&row).is_ok()).then_some((row, false)),
    };
    authentication::join_split(seen, &filters, requests.iter().filter_map(shape))
}
