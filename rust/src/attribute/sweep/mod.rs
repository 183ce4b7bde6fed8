//! Interval kernels over one request's tree: who owns each nanosecond of it.
//!
//! ```text
//! tree ─add→ effective intervals ─┬─ critical_path  who was waited for
//!                                 ├─ active_share   who was at work, each instant divided
//!                                 └─ self_time      who was at work, each counted in full
//! ```
//!
//! Times are integer nanoseconds, intervals half-open: spans that touch do not overlap, and an empty
//! interval owns nothing and blocks nothing. Nothing here recurses, so depth costs only memory.
//! With n spans and c cuts: `add` is O(1), `critical_path` and `self_time` are O(n log n),
//! `active_share` is O((n + c) log n), whatever the shape of the tree. Scratch is kept between requests.

mod active_share;
mod tree;

use active_share::Division;
pub use tree::Cut;
use tree::Span;

use crate::columns::NONE;
use crate::numbers::u32_of;

/// What the critical path does with a child that still runs when a later sibling has begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Its part before that instant counts.
    #[default]
    Clip,
    /// It is ignored, as Jaeger and CRISP do; one that ends at that very instant counts.
    HappensBefore,
}

/// The kernels and their scratch memory: `add` a tree, then ask.
#[derive(Debug, Default)]
pub struct Sweep {
    spans: Vec<Span>,
    stack: Vec<Visit>,
    /// Children that visits have still to look at, those of the innermost visit last.
    waiting: Vec<u32>,
    division: Division,
}

impl Sweep {
    /// Forgets the tree.
    pub fn clear(&mut self) {
        self.spans.clear();
    }

    /// Adds the next node of a tree, clipped to its parent's effective interval: the root first, and every parent
    /// before its children (preorder, for example). Whatever its `parent` says, the first node is the root.
    ///
    /// ```text
    /// root      |===============|            its own
    /// a      ---|====|                       began before its parent: cut
    /// a.a       |==|                         clipped to what is left of a
    /// b                      |==|----        outlived its parent: cut
    /// c                            ----      outside: empty, and so is all below it
    /// ```
    ///
    /// Times are in ns. `id` is the span id read as big-endian: it breaks ties, smallest first; the smaller node breaks
    /// equal ids.
    #[inline(always)]
    pub fn add(&mut self, parent: u32, start: i64, end: i64, id: u64) {
        let node = u32_of(self.spans.len());
        debug_assert!(node == 0 || parent < node, "a parent comes before its children");
        let mut span = Span { start, end: end.max(start), id, parent, last: NONE, before: NONE };
        if let Some(above) = self.spans.get_mut(parent as usize) {
            span.start = start.max(above.start).min(above.end);
            span.end = end.min(above.end).max(span.start);
            if span.start < span.end {
                span.before = std::mem::replace(&mut above.last, node);
            }
        }
        self.spans.push(span);
    }

    /// The effective interval of a node, in ns: what of it lies inside all its ancestors.
    ///
    /// An empty one is reported as `(t, t)` at a `t` within the parent's; an unknown node as `(0, 0)`.
    pub fn effective(&self, node: u32) -> (i64, i64) {
        self.spans.get(node as usize).map_or((0, 0), |span| (span.start, span.end))
    }

    /// The node of a node's parent; 0 of the root.
    pub fn parent(&self, node: u32) -> u32 {
        self.spans[node as usize].parent
    }

    /// Walks back from the end of the root and always follows the span that was waited for.
    ///
    /// Calls `emit(node, from, to)`, latest first. The segments are not empty and partition the root's
    /// effective interval exactly. Between two segments of one node there is always one of another node,
    /// so none could be merged.
    ///
    /// ```text
    /// root  |==========================|      time runs to the right, the walk to the left
    /// a         |=======|                     under a when b began: counts up to there
    /// b               |===========|
    /// c                  |=====|              below b
    /// path  rrrraaaaaabbbccccccbbbrrrrr
    /// ```
    ///
    /// At an instant t, inside a window that begins at a, the design takes the child with E.start < t and
    /// E.end > a that is greatest by (min(E.end, t), E.end, −E.start, smallest id). One sort and one pass
    /// over the children do the same:
    /// - min(E.end, t) never falls when E.end grows, so comparing it before E.end changes nothing:
    ///   the order is (E.end, −E.start, smallest id), and no longer depends on t;
    /// - a is always E.start of the span itself: true of the root, and a child's part begins at its own
    ///   start, which clipping put at or after a. So E.end > a holds for every child that is not empty;
    /// - a child passed over because E.start ≥ t stays out, as t only falls, and the one taken joins them,
    ///   as it sets t = E.start. `HappensBefore` passes over E.end > t as well: out for good too.
    pub fn critical_path(&mut self, overlap: Overlap, emit: impl FnMut(u32, i64, i64)) {
        self.critical_path_of(0, overlap, emit);
    }

    /// The same of one span and what is below it, as if it were the root. An unknown node has none.
    pub fn critical_path_of(&mut self, node: u32, overlap: Overlap, mut emit: impl FnMut(u32, i64, i64)) {
        let (mut stack, mut waiting) = (std::mem::take(&mut self.stack), std::mem::take(&mut self.waiting));
        let visit = |node: u32, from: i64, to: i64, waiting: &mut Vec<u32>| Visit {
            node,
            done: add_children(&self.spans, node, waiting),
            from,
            to,
        };
        let top = self.spans.get(node as usize);
        let mut next = top.map(|top| visit(node, top.start, top.end, &mut waiting));
        while let Some(mut at) = next {
            let child = at.next_child(&self.spans, &mut waiting, overlap);
            let below = child.map_or(at.from, |(_, span)| span.end.min(at.to));
            if below < at.to {
                emit(at.node, below, at.to);
            }
            next = match child {
                Some((child, span)) => {
                    at.to = span.start;
                    stack.push(at);
                    Some(visit(child, span.start, below, &mut waiting))
                }
                None => stack.pop(),
            };
        }
        (self.stack, self.waiting) = (stack, waiting);
    }

    /// Own time: the effective interval minus those of the children, overlap among them counted once.
    ///
    /// Calls `emit(node, from, to)` for every maximal own interval, node by node, latest first in each.
    ///
    /// ```text
    /// span  |====================|
    /// a        |=====|
    /// b            |=====|                walking back, `edge` is the earliest start so far:
    /// c                    |=|             a child that ends before it leaves a gap
    /// own   ###          ##  ####
    /// ```
    pub fn self_time(&mut self, mut emit: impl FnMut(u32, i64, i64)) {
        for (node, span) in (0..).zip(&self.spans) {
            let mut edge = span.end;
            add_children(&self.spans, node, &mut self.waiting);
            while let Some(child) = self.waiting.pop() {
                let child = &self.spans[child as usize];
                if child.end < edge {
                    emit(node, child.end, edge);
                }
                edge = edge.min(child.start);
            }
            if span.start < edge {
                emit(node, span.start, edge);
            }
        }
    }

    /// Divides every instant among the active leaves: the active spans with no active child.
    ///
    /// `shares` is overwritten, ns per slot: slot i is node i before its first cut, slot n + k is the node
    /// of cut k from there to its next cut. The slots sum to the root's effective length exactly.
    ///
    /// ```text
    /// root  |===================|
    /// a        |========|
    /// b             |=====|
    /// cut             ^ in b
    /// piece |  |    | | | |     |    m leaves in a piece of length L: each floor(L/m), and
    /// m      1   1   2 2 1   1       the L mod m smallest ids 1 ns more
    /// ```
    ///
    /// Time is cut at every effective boundary, and at those cuts that find their node an active leaf.
    pub fn active_share(&mut self, cuts: &[Cut], shares: &mut Vec<u64>) {
        debug_assert!(cuts.is_sorted_by_key(|cut| cut.at), "cuts come in the order of time");
        shares.clear();
        shares.resize(self.spans.len() + cuts.len(), 0);
        self.division.run(&self.spans, cuts, shares);
    }
}

/// Puts the children of a node that are not empty on the stack, so that they come off in the order of the critical
/// path: greatest end, then smallest start, then smallest id. Gives how many were on it before.
#[inline(always)]
fn add_children(spans: &[Span], node: u32, stack: &mut Vec<u32>) -> usize {
    let before = stack.len();
    let mut child = spans[node as usize].last;
    while let Some(span) = spans.get(child as usize) {
        stack.push(child);
        child = span.before;
    }
    if stack.len() > before + 1 {
        stack[before..].sort_unstable_by(|&a, &b| {
            let (x, y) = (&spans[a as usize], &spans[b as usize]);
            (x.end, y.start, y.id, b).cmp(&(y.end, x.start, x.id, a))
        });
    }
    before
}

/// A node on the way of the walk, and what is left of its window.
#[derive(Debug)]
struct Visit {
    node: u32,
    /// So many children are waiting when none of its own is.
    done: usize,
    from: i64,
    to: i64,
}

impl Visit {
    #[inline(always)]
    fn next_child<'s>(
        &self,
        spans: &'s [Span],
        waiting: &mut Vec<u32>,
        overlap: Overlap,
    ) -> Option<(u32, &'s Span)> {
        while self.from < self.to && waiting.len() > self.done {
            let child = waiting.pop()?;
            let span = &spans[child as usize];
            if span.start < self.to && (overlap == Overlap::Clip || span.end <= self.to) {
                return Some((child, span));
            }
        }
        waiting.truncate(self.done);
        None
    }
}

#[cfg(test)]
mod tests;
