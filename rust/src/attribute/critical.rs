//! How much of the critical path lies below given spans, within given times.
//!
//! ```text
//! path     rrrraaaaaabbbccccccbbbrrrrr      c below b
//! window             [b, 0, ∞)
//! counts             ============
//! ```

use crate::attribute::sweep::Overlap;
use crate::attribute::{PhaseTable, Signatures, Walker};
use crate::columns::NONE;
use crate::join::Joined;
use crate::numbers::{ns_between, u32_of};

/// A span, and the times between which its part of the path counts.
pub type Window = (u32, i64, i64);

/// A stretch of the path counts for at most this many spans around it, so that nesting costs linear time.
const DEEPEST: usize = 8;

/// Per window: the ns of these requests' critical paths that lie below its span and in its times; and one of these
/// requests that holds the span, [`NONE`] if none does.
pub fn within(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    requests: &[usize],
    windows: &[Window],
) -> (Vec<u64>, Vec<u32>) {
    let mut result = (vec![0; windows.len()], vec![NONE; windows.len()]);
    let marks = Marks::new(joined, windows);
    let mut walker = Walker::new(joined, signatures, table);
    let mut nearest = Vec::new();
    for &request in requests.iter().filter(|&&request| marks.reach(joined, request)) {
        walker.load(request);
        nearest.clear();
        for (node, &row) in walker.rows.iter().enumerate() {
            let above = if node == 0 { NONE } else { nearest[walker.parent[node] as usize] };
            nearest.push(if marks.first[row as usize] == NONE { above } else { u32_of(node) });
            for at in marks.of(row) {
                result.1[at] = u32_of(request);
            }
        }
        let (rows, parent) = (&walker.rows, &walker.parent);
        walker.sweep.critical_path(Overlap::Clip, |node, from, to| {
            let marked = |node: u32| Some(nearest[node as usize]).filter(|&node| node != NONE);
            let above = |&node: &u32| if node == 0 { None } else { marked(parent[node as usize]) };
            for node in std::iter::successors(marked(node), above).take(DEEPEST) {
                for at in marks.of(rows[node as usize]) {
                    let (_, begin, end) = windows[at];
                    result.0[at] += ns_between(from.max(begin), to.min(end));
                }
            }
        });
    }
    result
}

/// The windows of every span, as lists: the first one of a row, and the one after each.
struct Marks {
    first: Vec<u32>,
    next: Vec<u32>,
    /// Place in the forest → how many windows come before it.
    before: Vec<u32>,
}

impl Marks {
    fn new(joined: &Joined, windows: &[Window]) -> Self {
        let mut first = vec![NONE; joined.parent.len()];
        let mut next = vec![NONE; windows.len()];
        let mut before = vec![0; joined.forest.order.len() + 1];
        for (at, &(row, ..)) in windows.iter().enumerate() {
            next[at] = std::mem::replace(&mut first[row as usize], u32_of(at));
            let place = joined.forest.position[row as usize];
            if place != NONE {
                before[place as usize + 1] += 1;
            }
        }
        for place in 1..before.len() {
            before[place] += before[place - 1];
        }
        Self { first, next, before }
    }

    /// Whether a window's span is in the tree of a request.
    fn reach(&self, joined: &Joined, request: usize) -> bool {
        let place = joined.forest.position[joined.requests.root[request] as usize] as usize;
        self.before[place + joined.forest.size[place] as usize] > self.before[place]
    }

    fn of(&self, row: u32) -> impl Iterator<Item = usize> {
        let start = Some(self.first[row as usize]).filter(|&at| at != NONE);
        let next = |&at: &u32| Some(self.next[at as usize]).filter(|&at| at != NONE);
        std::iter::successors(start, next).map(|at| at as usize)
    }
}
