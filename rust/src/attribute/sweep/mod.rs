//! Interval kernels over one request's tree: who owns each nanosecond of it.
//!
//! ```text
//! Tree ─load→ effective intervals ─┬─ critical_path  who was waited for
//!                                  ├─ active_share   who was at work, each instant divided
//!                                  └─ self_time      who was at work, each counted in full
//! ```
//!
//! Times are integer nanoseconds, intervals half-open: spans that touch do not overlap, and an empty
//! interval owns nothing and blocks nothing. Nothing here recurses, so depth costs only memory.
//! With n spans and c cuts: `load` is O(n), `critical_path` and `self_time` are O(n log n),
//! `active_share` is O((n + c) log n), whatever the shape of the tree. Scratch is kept between requests.

mod active_share;
mod tree;

use std::cmp::Ordering;
use std::ops::Range;

use active_share::Division;
use tree::Span;
pub use tree::{Cut, Tree};

/// What the critical path does with a child that still runs when a later sibling has begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Its part before that instant counts.
    #[default]
    Clip,
    /// It is ignored, as Jaeger and CRISP do; one that ends at that very instant counts.
    HappensBefore,
}

/// The same span as its parent sees it: a copy, so that sorting and walking siblings stay in one place.
#[derive(Debug, Clone, Copy, Default)]
struct Child {
    end: i64,
    start: i64,
    id: u64,
    node: u32,
}

/// The kernels and their scratch memory: `load` a tree, then ask.
#[derive(Debug, Default)]
pub struct Sweep {
    spans: Vec<Span>,
    /// Children of node i that are not empty: `children[first[i]..first[i + 1]]`.
    first: Vec<u32>,
    children: Vec<Child>,
    sorted: bool,
    stack: Vec<Visit>,
    division: Division,
}

impl Sweep {
    /// Takes a tree in and clips each span to its parent's effective interval.
    ///
    /// ```text
    /// root      |===============|            its own
    /// a      ---|====|                       began before its parent: cut
    /// a.a       |==|                         clipped to what is left of a
    /// b                      |==|----        outlived its parent: cut
    /// c                            ----      outside: empty, and so is all below it
    /// ```
    pub fn load(&mut self, tree: &Tree<'_>) {
        self.clip(tree);
        self.group_children();
        self.sorted = false;
    }

    /// The effective interval of a node, in ns: what of it lies inside all its ancestors.
    ///
    /// An empty one is reported as `(t, t)` at a `t` within the parent's; an unknown node as `(0, 0)`.
    pub fn effective(&self, node: u32) -> (i64, i64) {
        self.spans.get(node as usize).map_or((0, 0), |span| (span.start, span.end))
    }

    fn clip(&mut self, tree: &Tree<'_>) {
        self.spans.clear();
        let columns = tree.parent.iter().zip(tree.start).zip(tree.end).zip(tree.id);
        for (node, (((&parent, &start), &end), &id)) in columns.enumerate() {
            debug_assert!(node == 0 || (parent as usize) < node, "a parent comes before its children");
            let (from, to) = match self.spans.get(parent as usize) {
                _ if node == 0 => (start, end.max(start)),
                Some(above) => (above.start, above.end),
                None => (0, 0), // not a tree: an empty span does no harm
            };
            let start = start.max(from).min(to);
            self.spans.push(Span { start, end: end.min(to).max(start), id, parent });
        }
    }

    /// Counting sort by parent. `first[i + 1]` is where the next child of i goes: at the end, where i's stop.
    fn group_children(&mut self) {
        self.first.clear();
        self.first.resize(self.spans.len() + 2, 0);
        for span in inner(&self.spans) {
            self.first[span.parent as usize + 2] += 1;
        }
        let mut sum = 0;
        for count in &mut self.first {
            sum += *count;
            *count = sum;
        }
        self.children.clear();
        self.children.resize(sum as usize, Child::default());
        for (node, &Span { start, end, id, parent }) in (0..).zip(&self.spans).skip(1) {
            if start < end {
                let at = &mut self.first[parent as usize + 1];
                self.children[*at as usize] = Child { end, start, id, node };
                *at += 1;
            }
        }
    }

    fn sort_children(&mut self) {
        if !self.sorted {
            for node in 0..self.spans.len() {
                let range = self.children_of(node);
                self.children[range].sort_unstable_by(latest_first);
            }
            self.sorted = true;
        }
    }

    fn children_of(&self, node: usize) -> Range<usize> {
        self.first[node] as usize..self.first[node + 1] as usize
    }

    fn visit(&self, node: u32, from: i64, to: i64) -> Visit {
        Visit { node, rest: self.children_of(node as usize), from, to }
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
        self.sort_children();
        let mut stack = std::mem::take(&mut self.stack);
        let mut next = self.spans.get(node as usize).map(|top| self.visit(node, top.start, top.end));
        while let Some(mut visit) = next {
            let child = visit.next_child(&self.children, overlap);
            let below = child.map_or(visit.from, |child| child.end.min(visit.to));
            if below < visit.to {
                emit(visit.node, below, visit.to);
            }
            next = match child {
                Some(child) => {
                    visit.to = child.start;
                    stack.push(visit);
                    Some(self.visit(child.node, child.start, below))
                }
                None => stack.pop(),
            };
        }
        self.stack = stack;
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
        self.sort_children();
        for (node, span) in (0..).zip(&self.spans) {
            let mut edge = span.end;
            for child in &self.children[self.children_of(node as usize)] {
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

/// The spans below the root that own time.
fn inner(spans: &[Span]) -> impl Iterator<Item = &Span> {
    spans.iter().skip(1).filter(|span| span.start < span.end)
}

/// The order of the critical path: greatest end, then smallest start, then smallest id.
fn latest_first(a: &Child, b: &Child) -> Ordering {
    (b.end, a.start, a.id, a.node).cmp(&(a.end, b.start, b.id, b.node))
}

/// A node on the way of the walk: what is left of its children and of its window.
#[derive(Debug)]
struct Visit {
    node: u32,
    rest: Range<usize>,
    from: i64,
    to: i64,
}

impl Visit {
    fn next_child(&mut self, children: &[Child], overlap: Overlap) -> Option<Child> {
        while let Some(&child) = self.rest.next().and_then(|at| children.get(at)) {
            if self.to <= self.from {
                return None;
            }
            let in_time = overlap == Overlap::Clip || child.end <= self.to;
            if child.start < self.to && in_time {
                return Some(child);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
