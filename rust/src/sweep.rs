//! Interval kernels over one request's tree: who owns each nanosecond of it.
//!
//! ```text
//! Tree ─load→ effective intervals ─┬─ critical_path  who was waited for
//!                                  ├─ active_share   who was at work, each instant divided
//!                                  └─ self_time      who was at work, each counted in full
//! ```
//!
//! Times are integer nanoseconds, intervals half-open: spans that touch do not overlap, and an empty
//! interval owns nothing and stands in nobody's way. Nothing here recurses, so depth costs only memory.
//! With n spans and c cuts: `load` is O(n), `critical_path` and `self_time` are O(n log n),
//! `active_share` is O((n + c) log n), whatever the shape of the tree. Scratch is kept between requests.

use std::cmp::Ordering;
use std::ops::Range;

/// One request's spans, the root first and every parent before its children (preorder, for example).
///
/// The slices are columns of equal length; what goes beyond the shortest is not read.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    /// Node of each node's parent, smaller than the node itself. The root's entry is not read.
    pub parent: &'a [u32],
    /// Start, in ns.
    pub start: &'a [i64],
    /// End, in ns. An end before the start makes the span empty.
    pub end: &'a [i64],
    /// `span_id` read as big-endian: breaks ties, smallest first; the smaller node breaks equal ids.
    pub id: &'a [u64],
}

/// From `at` (ns) on, the own time of `node` carries another label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// When, in ns. Cuts are given in the order of this field; of several at one instant the last holds.
    pub at: i64,
    /// Whose label changes.
    pub node: u32,
}

/// What the critical path does with a child that still runs when a later sibling has begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Its part before that instant counts.
    #[default]
    Clip,
    /// It is ignored, as Jaeger and CRISP do; one that ends at that very instant counts.
    HappensBefore,
}

/// A span with its effective interval; empty means `start == end`.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: i64,
    end: i64,
    id: u64,
    parent: u32,
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
                None => (0, 0), // not a tree: an empty span harms nobody
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
    pub fn critical_path(&mut self, overlap: Overlap, mut emit: impl FnMut(u32, i64, i64)) {
        self.sort_children();
        let mut stack = std::mem::take(&mut self.stack);
        stack.extend(self.spans.first().map(|root| self.visit(0, root.start, root.end)));
        while let Some(mut visit) = stack.pop() {
            let child = visit.next_child(&self.children, overlap);
            let below = child.map_or(visit.from, |child| child.end.min(visit.to));
            if below < visit.to {
                emit(visit.node, below, visit.to);
            }
            let Some(child) = child else { continue };
            let inner = self.visit(child.node, child.start, below);
            visit.to = inner.from;
            stack.extend([visit, inner]);
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

/// What the active share knows of one node while time passes.
#[derive(Debug, Clone, Copy, Default)]
struct Leaf {
    /// The account (see `Division::credit`) when it was last paid.
    credit: u64,
    slot: usize,
    /// Place in the order of (id, node).
    rank: u32,
    active_children: u32,
    active: bool,
    leaf: bool,
}

/// A sweep over time which pays nobody until it must.
///
/// Paying every leaf of every piece would cost leaves × pieces. So the books are kept per rank instead:
/// what a leaf that was there all along would have earned by now. A span notes that figure when it becomes
/// a leaf, and receives the difference when it stops being one or changes its label.
#[derive(Debug, Default)]
struct Division {
    nodes: Vec<Leaf>,
    /// Effective boundaries: when, whose, and whether it begins.
    boundaries: Vec<(i64, u32, bool)>,
    by_id: Vec<(u64, u32)>,
    now: i64,
    leaf_count: u64,
    /// Sum of floor(L/m) so far.
    floors: u64,
    /// Pieces so far that left a remainder.
    remainders: u64,
    /// 1 at the rank of every leaf: finds the r-th smallest.
    leaves: Tally,
    /// For each remainder, 1 at the rank of the last leaf that got a nanosecond of it.
    last_lucky: Tally,
}

impl Division {
    fn run(&mut self, spans: &[Span], cuts: &[Cut], shares: &mut [u64]) {
        self.reset(spans);
        let mut cuts = (spans.len()..).zip(cuts).peekable();
        for at in 0..self.boundaries.len() {
            let (time, node, begins) = self.boundaries[at];
            // At one instant the order of cuts and boundaries is free: no time passes between them.
            while let Some((slot, cut)) = cuts.next_if(|(_, cut)| cut.at < time) {
                self.relabel(*cut, slot, shares);
            }
            self.settle(time);
            let parent = (node > 0).then(|| spans[node as usize].parent);
            self.cross(node as usize, parent.map(|parent| parent as usize), begins, shares);
        }
    }

    fn reset(&mut self, spans: &[Span]) {
        let lasting = || (0..).zip(spans).filter(|(_, span)| span.start < span.end);
        self.boundaries.clear();
        self.boundaries.extend(lasting().map(|(node, span)| (span.start, node, true)));
        self.boundaries.extend(lasting().map(|(node, span)| (span.end, node, false)));
        self.boundaries.sort_unstable_by_key(|boundary| boundary.0);
        self.rank(spans);
        self.leaves.reset(spans.len());
        self.last_lucky.reset(spans.len());
        (self.now, self.leaf_count, self.floors, self.remainders) = (i64::MIN, 0, 0, 0);
    }

    fn rank(&mut self, spans: &[Span]) {
        self.by_id.clear();
        self.by_id.extend((0..).zip(spans).map(|(node, span)| (span.id, node)));
        self.by_id.sort_unstable();
        self.nodes.clear();
        self.nodes.extend((0..spans.len()).map(|slot| Leaf { slot, ..Leaf::default() }));
        for (rank, &(_, node)) in (0..).zip(&self.by_id) {
            self.nodes[node as usize].rank = rank;
        }
    }

    /// Closes the piece that ends at `time`, if it has any length.
    fn settle(&mut self, time: i64) {
        let length = time.max(self.now).abs_diff(self.now);
        self.now = self.now.max(time);
        if self.leaf_count == 0 {
            return;
        }
        self.floors += length / self.leaf_count;
        let remainder = length % self.leaf_count;
        if remainder > 0 {
            self.last_lucky.add(self.leaves.nth(remainder), 1);
            self.remainders += 1;
        }
    }

    /// What a leaf of this rank would have earned by now, had it been one from the beginning.
    /// It got 1 ns of each remainder but those whose last lucky leaf ranks before it.
    fn credit(&self, rank: usize) -> u64 {
        self.floors + self.remainders - self.last_lucky.before(rank)
    }

    fn cross(&mut self, node: usize, parent: Option<usize>, begins: bool, shares: &mut [u64]) {
        self.nodes[node].active = begins;
        self.turn(node, shares);
        if let Some(parent) = parent {
            let change = if begins { 1 } else { u32::MAX }; // −1, modulo 2³²
            let above = &mut self.nodes[parent];
            above.active_children = above.active_children.wrapping_add(change);
            self.turn(parent, shares);
        }
    }

    /// Makes a node a leaf, or no longer one, if it should be. Between boundaries at one instant a node may
    /// turn back and forth: no time passes, so nothing is paid.
    fn turn(&mut self, node: usize, shares: &mut [u64]) {
        let Leaf { active, active_children, leaf, rank, .. } = self.nodes[node];
        let becomes = active && active_children == 0;
        if becomes == leaf {
            return;
        }
        if leaf {
            self.pay(node, shares);
        } else {
            self.nodes[node].credit = self.credit(rank as usize);
        }
        let change = if becomes { 1 } else { u64::MAX }; // −1, modulo 2⁶⁴
        self.leaf_count = self.leaf_count.wrapping_add(change);
        self.leaves.add(rank as usize, change);
        self.nodes[node].leaf = becomes;
    }

    fn relabel(&mut self, cut: Cut, slot: usize, shares: &mut [u64]) {
        let node = cut.node as usize;
        if self.nodes.get(node).is_some_and(|node| node.leaf) {
            self.settle(cut.at);
            self.pay(node, shares);
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.slot = slot;
        }
    }

    fn pay(&mut self, node: usize, shares: &mut [u64]) {
        let Leaf { rank, credit, slot, .. } = self.nodes[node];
        let now = self.credit(rank as usize);
        shares[slot] += now - credit;
        self.nodes[node].credit = now;
    }
}

/// Counts by rank, with sums over prefixes in O(log n): a Fenwick tree over blocks of ranks.
///
/// ```text
/// counts  [0 .. 31][32 .. 63][64 .. 95][96 .. 127] ...     summed within a block by scanning it
/// sums         [1]───┐   [3]────┐                          sums[i] covers the (i & −i) blocks
///                   [2]────────[4]                         that end with block i − 1
/// ```
///
/// The blocks keep the tree small enough for the cache, where a tree over ranks would miss at every step.
#[derive(Debug, Default)]
struct Tally {
    counts: Vec<u64>,
    sums: Vec<u64>,
}

const BLOCK: usize = 32;

impl Tally {
    fn reset(&mut self, ranks: usize) {
        let blocks = ranks.div_ceil(BLOCK);
        self.counts.clear();
        self.counts.resize(blocks * BLOCK, 0);
        self.sums.clear();
        self.sums.resize(blocks + 1, 0);
    }

    /// Adds modulo 2⁶⁴, so that `u64::MAX` takes one away.
    fn add(&mut self, rank: usize, change: u64) {
        self.counts[rank] = self.counts[rank].wrapping_add(change);
        let mut at = rank / BLOCK + 1;
        while let Some(sum) = self.sums.get_mut(at) {
            *sum = sum.wrapping_add(change);
            at += at & at.wrapping_neg();
        }
    }

    /// Sum over the ranks below this one.
    fn before(&self, rank: usize) -> u64 {
        let mut at = rank / BLOCK;
        let mut total: u64 = self.counts[at * BLOCK..rank].iter().sum();
        while at > 0 {
            total = total.wrapping_add(self.sums[at]);
            at &= at - 1;
        }
        total
    }

    /// The rank that holds the nth one, counted from 1.
    fn nth(&self, nth: u64) -> usize {
        let (mut block, mut left) = (0, nth);
        let mut step = self.sums.len().next_power_of_two() >> 1;
        while step > 0 {
            if let Some(&sum) = self.sums.get(block + step).filter(|&&sum| sum < left) {
                block += step;
                left -= sum;
            }
            step >>= 1;
        }
        let mut rank = block * BLOCK;
        while let Some(&count) = self.counts.get(rank).filter(|&&count| count < left) {
            rank += 1;
            left -= count;
        }
        rank
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Segment = (u32, i64, i64);

    #[derive(Debug, Clone, Default)]
    struct Spans {
        parent: Vec<u32>,
        start: Vec<i64>,
        end: Vec<i64>,
        id: Vec<u64>,
    }

    impl Spans {
        /// (parent, start, end), the root first; the ids grow with the node.
        fn of(spans: &[(u32, i64, i64)]) -> Self {
            let with_ids = spans.iter().zip(1..).map(|(&(parent, start, end), id)| (parent, start, end, id));
            with_ids.collect()
        }

        fn len(&self) -> u32 {
            self.parent.len() as u32
        }

        fn loaded(&self) -> Sweep {
            let mut sweep = Sweep::default();
            sweep.load(&Tree { parent: &self.parent, start: &self.start, end: &self.end, id: &self.id });
            sweep
        }

        fn path(&self, overlap: Overlap) -> Vec<Segment> {
            let mut path = Vec::new();
            self.loaded().critical_path(overlap, |node, from, to| path.push((node, from, to)));
            path
        }

        fn own(&self) -> Vec<Segment> {
            let mut own = Vec::new();
            self.loaded().self_time(|node, from, to| own.push((node, from, to)));
            own
        }

        fn shares(&self, cuts: &[Cut]) -> Vec<u64> {
            let mut shares = vec![77]; // what was there must not matter
            self.loaded().active_share(cuts, &mut shares);
            shares
        }
    }

    impl FromIterator<(u32, i64, i64, u64)> for Spans {
        fn from_iter<T: IntoIterator<Item = (u32, i64, i64, u64)>>(spans: T) -> Self {
            let mut all = Self::default();
            for (parent, start, end, id) in spans {
                all.parent.push(parent);
                all.start.push(start);
                all.end.push(end);
                all.id.push(id);
            }
            all
        }
    }

    // ---- The definitions, once more and naively: recursion, every pair, every nanosecond.

    fn naive_effective(spans: &Spans, node: usize) -> (i64, i64) {
        let own = (spans.start[node], spans.end[node]);
        if node == 0 {
            return own;
        }
        let above = naive_effective(spans, spans.parent[node] as usize);
        (own.0.max(above.0), own.1.min(above.1))
    }

    fn naive_children(spans: &Spans, node: usize) -> Vec<usize> {
        (1..spans.parent.len()).filter(|&child| spans.parent[child] as usize == node).collect()
    }

    fn naive_path(spans: &Spans, overlap: Overlap, node: usize, (a, b): (i64, i64), out: &mut Vec<Segment>) {
        let mut t = b;
        while t > a {
            let candidate = naive_children(spans, node)
                .into_iter()
                .map(|child| (child, naive_effective(spans, child)))
                .filter(|&(_, (start, end))| start < end && start < t && end > a)
                .filter(|&(_, (_, end))| overlap == Overlap::Clip || end <= t)
                .max_by_key(|&(child, (start, end))| {
                    (end.min(t), end, -start, std::cmp::Reverse((spans.id[child], child)))
                });
            let Some((child, (start, end))) = candidate else {
                out.push((node as u32, a, t));
                return;
            };
            if end.min(t) < t {
                out.push((node as u32, end.min(t), t));
            }
            naive_path(spans, overlap, child, (start.max(a), end.min(t)), out);
            t = start.max(a);
        }
    }

    fn active_at(spans: &Spans, node: usize, t: i64) -> bool {
        let (start, end) = naive_effective(spans, node);
        start <= t && t < end
    }

    fn naive_leaves(spans: &Spans, t: i64) -> Vec<usize> {
        let busy = |node| naive_children(spans, node).iter().any(|&child| active_at(spans, child, t));
        (0..spans.parent.len()).filter(|&node| active_at(spans, node, t) && !busy(node)).collect()
    }

    fn naive_shares(spans: &Spans, cuts: &[Cut]) -> Vec<u64> {
        let n = spans.parent.len();
        let mut times = std::collections::BTreeSet::new();
        for node in 0..n {
            let (start, end) = naive_effective(spans, node);
            if start < end {
                times.extend([start, end]);
            }
        }
        let on_a_leaf = |cut: &&Cut| naive_leaves(spans, cut.at).contains(&(cut.node as usize));
        times.extend(cuts.iter().filter(on_a_leaf).map(|cut| cut.at));
        let times: Vec<i64> = times.into_iter().collect();
        let mut shares = vec![0; n + cuts.len()];
        for piece in times.windows(2) {
            let mut leaves = naive_leaves(spans, piece[0]);
            leaves.sort_by_key(|&node| (spans.id[node], node));
            let (length, m) = ((piece[1] - piece[0]) as usize, leaves.len());
            for (place, &node) in leaves.iter().enumerate() {
                let label = cuts.iter().rposition(|cut| cut.node as usize == node && cut.at <= piece[0]);
                let slot = label.map_or(node, |k| n + k);
                shares[slot] += (length / m + usize::from(place < length % m)) as u64;
            }
        }
        shares
    }

    // ---- Random dirty trees: spans outside their parents, reversed, empty, touching, with equal ids.

    fn dirty(ids: impl Strategy<Value = u64> + Clone) -> impl Strategy<Value = Spans> {
        let span = (any::<prop::sample::Index>(), -4_i64..24, -3_i64..14, ids.clone());
        let root = (-4_i64..8, -1_i64..24, ids);
        (root, vec(span, 0..14)).prop_map(|((start, length, id), spans)| {
            let below = spans.into_iter().enumerate().map(|(at, (parent, start, length, id))| {
                (parent.index(at + 1) as u32, start, start + length, id)
            });
            std::iter::once((0, start, start + length, id)).chain(below).collect()
        })
    }

    fn cuts() -> impl Strategy<Value = Vec<Cut>> {
        let cut = (-6_i64..34, 0_u32..16).prop_map(|(at, node)| Cut { at, node });
        vec(cut, 0..10).prop_map(|mut cuts| {
            cuts.sort_by_key(|cut| cut.at);
            cuts
        })
    }

    fn wall(spans: &Spans) -> i64 {
        (spans.end[0] - spans.start[0]).max(0)
    }

    fn total(segments: &[Segment]) -> i64 {
        segments.iter().map(|(_, from, to)| to - from).sum()
    }

    /// The same spans with the nodes renumbered: parents still first, siblings in any order.
    fn shuffled(spans: &Spans, order: &[u32]) -> Spans {
        let mut depth = vec![0_u32; spans.parent.len()];
        for node in 1..depth.len() {
            depth[node] = depth[spans.parent[node] as usize] + 1;
        }
        let mut old: Vec<usize> = (0..depth.len()).collect();
        old.sort_by_key(|&node| (depth[node], order[node % order.len()], node));
        let mut new = vec![0; old.len()];
        for (at, &node) in old.iter().enumerate() {
            new[node] = at as u32;
        }
        let moved = |&node: &usize| {
            (new[spans.parent[node] as usize], spans.start[node], spans.end[node], spans.id[node])
        };
        old.iter().map(moved).collect()
    }

    fn by_id(spans: &Spans, segments: &[Segment]) -> Vec<(u64, i64, i64)> {
        let mut named: Vec<_> =
            segments.iter().map(|&(node, from, to)| (spans.id[node as usize], from, to)).collect();
        named.sort_unstable();
        named
    }

    fn distinct_ids() -> impl Strategy<Value = Spans> {
        dirty(any::<u64>()).prop_filter("ids are distinct", |spans| {
            let mut ids = spans.id.clone();
            ids.sort_unstable();
            ids.windows(2).all(|pair| pair[0] != pair[1])
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        /// The effective interval is the intersection over all ancestors, and an empty one is one point.
        #[test]
        fn effective_is_the_intersection_with_every_ancestor(spans in dirty(0_u64..4)) {
            let sweep = spans.loaded();
            for node in 0..spans.len() {
                let (start, end) = naive_effective(&spans, node as usize);
                let (from, to) = sweep.effective(node);
                let same = if start < end { (from, to) == (start, end) } else { from == to };
                prop_assert!(same, "node {} has {:?}", node, (from, to));
            }
        }

        /// One sort and one pass choose the same children as the definition, in the same order.
        #[test]
        fn critical_path_is_the_definition(spans in dirty(0_u64..4)) {
            for overlap in [Overlap::Clip, Overlap::HappensBefore] {
                let mut expected = Vec::new();
                naive_path(&spans, overlap, 0, naive_effective(&spans, 0), &mut expected);
                prop_assert_eq!(spans.path(overlap), expected);
            }
        }

        /// Read from the end, the segments lead back to the start without gap or overlap.
        #[test]
        fn critical_path_partitions_the_root(spans in dirty(0_u64..4)) {
            for overlap in [Overlap::Clip, Overlap::HappensBefore] {
                let mut t = spans.end[0].max(spans.start[0]);
                for (_, from, to) in spans.path(overlap) {
                    prop_assert!(from < to && to == t);
                    t = from;
                }
                prop_assert_eq!(t, spans.start[0]);
            }
        }

        /// A nanosecond is a span's own if the span is active then and none of its children is.
        #[test]
        fn self_time_is_the_definition(spans in dirty(0_u64..4)) {
            let own = spans.own();
            for t in -5..40 {
                let mut at_t: Vec<u32> =
                    own.iter().filter(|(_, from, to)| (*from..*to).contains(&t)).map(|own| own.0).collect();
                at_t.sort_unstable();
                let leaves: Vec<u32> = naive_leaves(&spans, t).iter().map(|&node| node as u32).collect();
                prop_assert_eq!(at_t, leaves);
            }
            let meets = |a: &Segment, b: &Segment| a.0 == b.0 && a.1 == b.2;
            prop_assert!(own.windows(2).all(|pair| !meets(&pair[0], &pair[1])), "intervals are maximal");
        }

        /// Own times add up to the wall time, and to more where spans run beside each other.
        #[test]
        fn self_time_covers_the_wall(spans in dirty(0_u64..4)) {
            prop_assert!(total(&spans.own()) >= wall(&spans));
        }

        /// The books kept per rank pay what paying each leaf of each piece would.
        #[test]
        fn active_share_is_the_definition(spans in dirty(0_u64..4), cuts in cuts()) {
            prop_assert_eq!(spans.shares(&cuts), naive_shares(&spans, &cuts));
        }

        /// Whatever the labels, the shares add up to the wall time.
        #[test]
        fn active_share_sums_to_the_wall(spans in dirty(0_u64..4), cuts in cuts()) {
            prop_assert_eq!(spans.shares(&cuts).iter().sum::<u64>(), wall(&spans) as u64);
        }

        /// The order in which siblings came changes nothing.
        #[test]
        fn order_of_siblings_does_not_matter(spans in distinct_ids(), order in vec(0_u32..9, 1..15)) {
            let other = shuffled(&spans, &order);
            for overlap in [Overlap::Clip, Overlap::HappensBefore] {
                prop_assert_eq!(by_id(&spans, &spans.path(overlap)), by_id(&other, &other.path(overlap)));
            }
            prop_assert_eq!(by_id(&spans, &spans.own()), by_id(&other, &other.own()));
            let paid = |spans: &Spans| {
                let mut paid: Vec<_> = spans.id.iter().copied().zip(spans.shares(&[])).collect();
                paid.sort_unstable();
                paid
            };
            prop_assert_eq!(paid(&spans), paid(&other));
        }

        /// Sums over prefixes, and where they reach a given number, as by counting one by one.
        #[test]
        fn tally_is_counting(ranks in vec(0_usize..150, 1..300)) {
            let mut tally = Tally::default();
            tally.reset(150);
            ranks.iter().for_each(|&rank| tally.add(rank, 1));
            for rank in 0..150 {
                prop_assert_eq!(tally.before(rank), ranks.iter().filter(|&&other| other < rank).count() as u64);
            }
            let mut in_order = ranks;
            in_order.sort_unstable();
            for (nth, rank) in (1..).zip(in_order) {
                prop_assert_eq!(tally.nth(nth), rank);
            }
        }

        /// Scratch of an earlier request leaves no trace in a later one.
        #[test]
        fn a_used_sweep_answers_like_a_new_one(before in dirty(0_u64..4), spans in dirty(0_u64..4), cuts in cuts()) {
            let (mut used, mut shares) = (before.loaded(), Vec::new());
            used.critical_path(Overlap::Clip, |_, _, _| ());
            used.active_share(&cuts, &mut shares);
            used.load(&Tree { parent: &spans.parent, start: &spans.start, end: &spans.end, id: &spans.id });
            let (mut path, mut own) = (Vec::new(), Vec::new());
            used.active_share(&cuts, &mut shares);
            used.critical_path(Overlap::Clip, |node, from, to| path.push((node, from, to)));
            used.self_time(|node, from, to| own.push((node, from, to)));
            prop_assert_eq!((path, own, shares), (spans.path(Overlap::Clip), spans.own(), spans.shares(&cuts)));
        }
    }

    // ---- Drawn cases: the pictures above the kernels, to the column.

    /// r [0,27), a [4,12), b [10,22), c [13,19) below b: rrrraaaaaabbbccccccbbbrrrrr.
    #[test]
    fn critical_path_as_drawn() {
        let spans = Spans::of(&[(0, 0, 27), (0, 4, 12), (0, 10, 22), (2, 13, 19)]);
        let drawn = [(0, 22, 27), (2, 19, 22), (3, 13, 19), (2, 10, 13), (1, 4, 10), (0, 0, 4)];
        assert_eq!(spans.path(Overlap::Clip), drawn);
        let waited_for = [(0, 22, 27), (2, 19, 22), (3, 13, 19), (2, 10, 13), (0, 0, 10)];
        assert_eq!(spans.path(Overlap::HappensBefore), waited_for);
    }

    /// Own time before the children, in the gap between them, and after.
    #[test]
    fn self_time_as_drawn() {
        let spans = Spans::of(&[(0, 0, 21), (0, 3, 9), (0, 7, 13), (0, 15, 17)]);
        let drawn = [(0, 17, 21), (0, 13, 15), (0, 0, 3), (1, 3, 9), (2, 7, 13), (3, 15, 17)];
        assert_eq!(spans.own(), drawn);
    }

    /// Root 3 + 6; a 5 + 1 + 1; b 1 before its cut and 1 + 2 after.
    #[test]
    fn active_share_as_drawn() {
        let spans = Spans::of(&[(0, 0, 20), (0, 3, 12), (0, 8, 14)]);
        assert_eq!(spans.shares(&[Cut { at: 10, node: 2 }]), [9, 7, 1, 3]);
    }

    /// Clipped at both ends, and the grandchild by what is left; outside is one point within the parent.
    #[test]
    fn effective_as_drawn() {
        let spans = Spans::of(&[(0, 10, 26), (0, 6, 15), (1, 8, 12), (0, 23, 30), (0, 28, 32), (4, 10, 26)]);
        let sweep = spans.loaded();
        let effective: Vec<_> = (0..7).map(|node| sweep.effective(node)).collect();
        assert_eq!(effective, [(10, 26), (10, 15), (10, 12), (23, 26), (26, 26), (26, 26), (0, 0)]);
    }

    /// Ten touching children: nothing is left to the parent under either rule.
    #[test]
    fn touching_children_all_count() {
        let children = (0..10).map(|at| (0, at * 10, at * 10 + 10));
        let spans = Spans::of(&std::iter::once((0, 0, 100)).chain(children).collect::<Vec<_>>());
        let expected: Vec<Segment> =
            (1..=10).rev().map(|at| (at, at as i64 * 10 - 10, at as i64 * 10)).collect();
        assert_eq!(spans.path(Overlap::Clip), expected);
        assert_eq!(spans.path(Overlap::HappensBefore), expected);
        assert_eq!(spans.shares(&[]), [0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10]);
    }

    /// A child of no length, at either border or inside, changes nothing; nor does a reversed one.
    #[test]
    fn empty_children_own_nothing_and_cut_nothing() {
        let spans = Spans::of(&[(0, 0, 9), (0, 0, 0), (0, 4, 4), (0, 9, 9), (0, 7, 3), (2, 0, 9)]);
        assert_eq!(spans.path(Overlap::Clip), [(0, 0, 9)]);
        assert_eq!(spans.own(), [(0, 0, 9)]);
        assert_eq!(spans.shares(&[]), [9, 0, 0, 0, 0, 0]);
    }

    /// A root of no length, or reversed, has no segments and no time to divide; so has no tree at all.
    #[test]
    fn an_empty_root_owns_nothing() {
        for end in [5, 3] {
            let spans = Spans::of(&[(0, 5, end), (0, 0, 9)]);
            assert_eq!((spans.path(Overlap::Clip), spans.own()), (vec![], vec![]));
            assert_eq!(spans.shares(&[Cut { at: 5, node: 0 }]), [0, 0, 0]);
            assert_eq!(spans.loaded().effective(0), (5, 5));
        }
        assert_eq!(Spans::default().shares(&[Cut { at: 5, node: 0 }]), [0]);
        assert_eq!(Spans::default().path(Overlap::Clip), []);
    }

    /// Of equal intervals the smallest id has the path; ids, not places, decide.
    #[test]
    fn the_smallest_id_wins_a_tie() {
        let spans: Spans = [(0, 0, 10, 9), (0, 2, 8, 5), (0, 2, 8, 3), (0, 2, 8, 4)].into_iter().collect();
        assert_eq!(spans.path(Overlap::Clip), [(0, 8, 10), (2, 2, 8), (0, 0, 2)]);
    }

    /// Equal ends: the longer child. It hides the shorter one from the path.
    #[test]
    fn the_earlier_start_wins_equal_ends() {
        let spans = Spans::of(&[(0, 0, 10), (0, 6, 10), (0, 4, 10)]);
        assert_eq!(spans.path(Overlap::Clip), [(2, 4, 10), (0, 0, 4)]);
    }

    /// 10 ns among three: the smallest id gets the tenth. Then 2 ns among three: the two smallest.
    #[test]
    fn remainders_go_to_the_smallest_ids() {
        let same = |end| [(0, 0, end, 9), (0, 0, end, 7), (0, 0, end, 1), (0, 0, end, 4)];
        assert_eq!(same(10).into_iter().collect::<Spans>().shares(&[]), [0, 3, 4, 3]);
        assert_eq!(same(2).into_iter().collect::<Spans>().shares(&[]), [0, 0, 1, 1]);
    }

    /// 250 ns among a hundred: 2 each, and 1 more to the fifty smallest ids, which came last.
    #[test]
    fn remainders_among_many() {
        let spans: Spans = (0..=100).map(|node| (0, 0, 250, 1_000 - node)).collect();
        let expected: Vec<u64> = (0..=100).map(|node| if node == 0 { 0 } else { 2 + node / 51 }).collect();
        assert_eq!(spans.shares(&[]), expected);
    }

    /// A cut on a span that is no active leaf then names its later time but cuts nobody's: 10 ns between
    /// two stay 5 + 5. On a leaf it cuts: 3 + 7 ns give the smaller id 2 + 4.
    #[test]
    fn only_a_cut_on_an_active_leaf_cuts_time() {
        let spans = Spans::of(&[(0, 0, 12), (0, 0, 10), (0, 0, 10)]);
        assert_eq!(spans.shares(&[Cut { at: 3, node: 0 }]), [0, 5, 5, 2]);
        assert_eq!(spans.shares(&[Cut { at: 3, node: 2 }]), [2, 6, 1, 3]);
        assert_eq!(spans.shares(&[Cut { at: -1, node: 1 }, Cut { at: 0, node: 9 }]), [2, 0, 5, 5, 0]);
        assert_eq!(spans.shares(&[Cut { at: 0, node: 1 }, Cut { at: 0, node: 1 }]), [2, 0, 5, 0, 5]);
    }

    /// Times at both ends of the integers do not overflow.
    #[test]
    fn the_widest_interval_is_fine() {
        let spans = Spans::of(&[(0, i64::MIN, i64::MAX), (0, i64::MIN, 0), (0, 0, i64::MAX)]);
        assert_eq!(spans.path(Overlap::Clip), [(2, 0, i64::MAX), (1, i64::MIN, 0)]);
        assert_eq!(spans.shares(&[]), [0, 1 << 63, (1 << 63) - 1]);
    }

    // ---- Vectors of others.

    /// Jaeger UI's critical path cases (testCases/test1..9), µs; `HappensBefore` is its rule.
    /// In the fifth, B is detached (PRODUCER to CONSUMER): the join gives such a span no length.
    #[test]
    fn happens_before_agrees_with_jaeger_ui() {
        type Case = (&'static [(u32, i64, i64)], &'static [Segment]);
        let cases: [Case; 9] = [
            (
                &[(0, 1, 101), (0, 20, 40), (0, 50, 60)],
                &[(0, 60, 101), (2, 50, 60), (0, 40, 50), (1, 20, 40), (0, 1, 20)],
            ),
            (&[(0, 1, 101), (0, 10, 50), (0, 20, 60)], &[(0, 60, 101), (2, 20, 60), (0, 1, 20)]),
            (&[(0, 100, 140), (0, 200, 500)], &[(0, 100, 140)]),
            (&[(0, 1, 31), (0, 40, 80), (1, 50, 60)], &[(0, 1, 31)]),
            (&[(0, 1, 31), (0, 10, 10), (1, 12, 14)], &[(0, 1, 31)]),
            (&[(0, 1, 30), (0, 15, 35), (1, 10, 25)], &[(1, 25, 30), (2, 15, 25), (0, 1, 15)]),
            (&[(0, 1, 30), (0, 15, 35), (1, 20, 40)], &[(2, 20, 30), (1, 15, 20), (0, 1, 15)]),
            (&[(0, 10, 30), (0, 5, 35)], &[(1, 10, 30)]),
            (&[(0, 10, 30), (0, 1, 5)], &[(0, 10, 30)]),
        ];
        for (at, (spans, path)) in cases.iter().enumerate() {
            assert_eq!(Spans::of(spans).path(Overlap::HappensBefore), *path, "case {}", at + 1);
            if at != 1 {
                assert_eq!(Spans::of(spans).path(Overlap::Clip), *path, "case {}, clip", at + 1);
            }
        }
        let second = [(0, 60, 101), (2, 20, 60), (1, 10, 20), (0, 1, 10)];
        assert_eq!(Spans::of(cases[1].0).path(Overlap::Clip), second, "A ran while C had not begun");
    }

    /// kube-apiserver's `SerializeObject` beside `List`, both inside the root: List was waited for last.
    #[test]
    fn list_beside_serialize_object() {
        let spans = Spans::of(&[(0, 0, 44_261_000), (0, 1_000, 44_260_912), (0, 2_330, 44_260_589)]);
        let path = [(0, 44_260_912, 44_261_000), (1, 1_000, 44_260_912), (0, 0, 1_000)];
        assert_eq!(spans.path(Overlap::Clip), path);
    }

    // ---- Size: a debug build's stack would not survive recursion here.

    const MANY: i64 = 100_000;

    /// Below the first, each span is 1 ns shorter than its parent at both ends.
    fn chain() -> Spans {
        let below = (0..MANY).map(|at| (at as u32, at, 2 * MANY - at, at as u64));
        std::iter::once((0, 0, 2 * MANY, u64::MAX)).chain(below).collect()
    }

    /// All run beside each other in the middle.
    fn fan() -> Spans {
        let below = (0..MANY).map(|at| (0, at, MANY + at, at.reverse_bits() as u64));
        std::iter::once((0, 0, 2 * MANY, u64::MAX)).chain(below).collect()
    }

    #[test]
    fn a_hundred_thousand_deep() {
        let chain = chain();
        assert_eq!(total(&chain.path(Overlap::Clip)), 2 * MANY);
        assert_eq!(total(&chain.own()), 2 * MANY);
        assert_eq!(chain.shares(&[]).iter().sum::<u64>(), 2 * MANY as u64);
    }

    /// The path takes the last child whole, then 1 ns of each before it.
    #[test]
    fn a_hundred_thousand_wide() {
        let fan = fan();
        assert_eq!(fan.path(Overlap::Clip).len() as i64, MANY + 1);
        assert_eq!(total(&fan.own()), 1 + MANY * MANY);
        assert_eq!(fan.shares(&[]).iter().sum::<u64>(), 2 * MANY as u64);
    }
}
