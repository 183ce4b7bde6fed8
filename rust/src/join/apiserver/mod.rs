//! The shapes that kube-apiserver is known to send, recognised per span, and the repairs that make them usable.

pub mod authentication;
mod early_root;
mod siblings;
pub mod unended;

use std::ops::Range;

use crate::columns::{Columns, NONE};
use crate::join::builder::Builder;
use crate::join::request_keys::Keys;
use crate::join::span_kind::SERVER;
use crate::threads;
use siblings::{Beside, Side};

/// What the rules know a span's name for.
#[derive(Clone, Copy)]
enum KnownFor {
    /// Nothing.
    Other,
    /// `authentication` or `audit`.
    Filter,
    /// A span beside which another may have to move, or that other.
    Beside(Side),
}

/// Name number → what it is known for.
fn names(c: &Columns) -> Vec<KnownFor> {
    let named = |name: &str| match name {
        "authentication" | "audit" => KnownFor::Filter,
        _ => siblings::side_of(name).map_or(KnownFor::Other, KnownFor::Beside),
    };
    c.names.iter().map(named).collect()
}

/// The rows that the rules look at, found in one pass. All but requests have a parent.
#[derive(Default)]
struct Candidates {
    requests: Vec<u32>,
    /// Requests without a status.
    unanswered: Vec<u32>,
    /// `authentication` and `audit` spans.
    filters: Vec<u32>,
    /// What hangs on `authentication` spans, of any kind.
    below_filters: Vec<u32>,
    beside: Beside,
}

impl Candidates {
    fn new(b: &Builder<'_>) -> Self {
        let (keys, names) = (Keys::new(b.c), names(b.c));
        let of = |rows: Range<usize>| Self::among(b, (&keys, &names), rows);
        let parts = threads::split(b.parent.len(), b.threads, threads::PART_SPANS, of);
        parts.into_iter().reduce(Self::followed_by).unwrap_or_default()
    }

    fn among(b: &Builder<'_>, (keys, names): (&Keys, &[KnownFor]), rows: Range<usize>) -> Self {
        let mut found = Self::default();
        let spans = &b.c.spans;
        for row in b.rows_of(rows) {
            let at = row as usize;
            if spans.kind[at] == SERVER && b.is_request(row) {
                found.requests.push(row);
            }
            let above = b.parent[at];
            if above == NONE {
                continue;
            }
            if b.is_authentication(above) {
                found.below_filters.push(row);
            }
            match names[spans.name[at] as usize] {
                KnownFor::Other => {}
                _ if !b.names.is_inner(b.c, at) => {}
                KnownFor::Filter => found.filters.push(row),
                KnownFor::Beside(side) => found.beside.push(side, row),
            }
        }
        let is_unanswered = |&row: &u32| keys.is_unanswered(b.c, row as usize);
        found.unanswered = found.requests.iter().copied().filter(is_unanswered).collect();
        found
    }

    fn followed_by(mut self, others: Self) -> Self {
        self.requests.extend(others.requests);
        self.unanswered.extend(others.unanswered);
        self.filters.extend(others.filters);
        self.below_filters.extend(others.below_filters);
        self.beside.extend(others.beside);
        self
    }
}

/// Applies the known-shape rules, and finds what else they say of the requests.
pub fn repair(b: &mut Builder<'_>) {
    let found = Candidates::new(b);
    authentication::move_children(b, &found.below_filters);
    siblings::move_siblings(b, &found.beside);
    authentication::take_preludes(b, &found.requests);
    let requests = split_requests(b, &found);
    authentication::join_split(b, &requests);
    early_root::extend(b, &found.unanswered);
    b.preludes.sort_unstable();
    b.requests = found.requests;
}

/// The requests whose `authentication` may be in a trace of its own, and whether they are nested in it: see
/// [`authentication::join_split`].
fn split_requests(b: &Builder<'_>, found: &Candidates) -> Vec<(u32, bool)> {
    const NESTED: u8 = 1;
    const FILTERED: u8 = 2;
    const PRELUDED: u8 = 4;
    if b.lone_filters.is_empty() {
        return Vec::new();
    }
    let mut is = vec![0u8; b.parent.len()];
    for &row in found.filters.iter().filter(|&&row| b.parent[row as usize] != NONE) {
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
