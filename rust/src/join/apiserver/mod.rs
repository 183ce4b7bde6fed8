//! The shapes that kube-apiserver is known to send, recognised per span, and the repairs that make them usable.

pub mod authentication;
mod early_root;
mod siblings;
pub mod unended;

use std::ops::Range;

use crate::columns::NONE;
use crate::join::builder::Builder;
use crate::join::request_keys::Keys;
use crate::join::span_kind::{INTERNAL, SERVER};
use crate::threads;

/// Spans for each thread at least.
const PART_SPANS: usize = 2048;

/// The rows that the rules look at, found in one pass.
#[derive(Default)]
struct Candidates {
    /// With a parent.
    children: Vec<u32>,
    requests: Vec<u32>,
    /// Requests without a status.
    unanswered: Vec<u32>,
    /// `authentication` spans alone in their traces.
    filters: Vec<u32>,
}

impl Candidates {
    fn new(b: &Builder<'_>) -> Self {
        let keys = Keys::new(b.c);
        let of = |rows: Range<usize>| Self::among(b, &keys, rows);
        let parts = threads::split(b.parent.len(), b.threads, PART_SPANS, of);
        parts.into_iter().reduce(Self::followed_by).unwrap_or_default()
    }

    fn among(b: &Builder<'_>, keys: &Keys, rows: Range<usize>) -> Self {
        let mut found = Self { children: Vec::with_capacity(rows.len()), ..Self::default() };
        for row in b.rows_of(rows) {
            if b.parent[row as usize] != NONE {
                found.children.push(row);
            }
            match b.c.spans.kind[row as usize] {
                SERVER if b.is_request(row) => found.requests.push(row),
                INTERNAL if b.is_authentication(row) && b.is_parentless(row) && b.is_alone(row) => {
                    found.filters.push(row);
                }
                _ => {}
            }
        }
        let is_unanswered = |&row: &u32| keys.is_unanswered(b.c, row as usize);
        found.unanswered = found.requests.iter().copied().filter(is_unanswered).collect();
        found
    }

    fn followed_by(mut self, others: Self) -> Self {
        self.children.extend(others.children);
        self.requests.extend(others.requests);
        self.unanswered.extend(others.unanswered);
        self.filters.extend(others.filters);
        self
    }
}

/// Applies the known-shape rules, and finds what else they say of the requests.
pub fn repair(b: &mut Builder<'_>) {
    let found = Candidates::new(b);
    authentication::move_children(b, &found.children);
    siblings::move_siblings(b, &found.children);
    authentication::take_preludes(b, &found.children);
    authentication::join_split(b, &found.filters, &split_requests(b, &found));
    early_root::extend(b, &found.unanswered, &found.children);
    b.preludes.sort_unstable();
}

/// The requests whose `authentication` may be in a trace of its own, and whether they are nested in it: see
/// [`authentication::join_split`].
fn split_requests(b: &Builder<'_>, found: &Candidates) -> Vec<(u32, bool)> {
    const NESTED: u8 = 1;
    const FILTERED: u8 = 2;
    const PRELUDED: u8 = 4;
    if found.filters.is_empty() {
        return Vec::new();
    }
    let mut is = vec![0u8; b.parent.len()];
    for &row in found.children.iter().filter(|&&row| b.parent[row as usize] != NONE) {
        let above = b.parent[row as usize] as usize;
        if b.names.is_audit(b.c, row as usize) {
            is[above] |= NESTED;
        } else if b.is_authentication(row) {
            is[above] |= FILTERED;
        }
    }
    for &(_, request) in &b.preludes {
        is[request as usize] |= PRELUDED;
    }
    let shape = |&row: &u32| match is[row as usize] {
        it if it & PRELUDED != 0 => None,
        it if it & NESTED != 0 => Some((row, true)),
        it => (it & FILTERED == 0 && found.unanswered.binary_search(&row).is_ok()).then_some((row, false)),
    };
    found.requests.iter().filter_map(shape).collect()
}
