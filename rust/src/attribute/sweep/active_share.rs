//! The active share: each instant divided among the spans at work in it.

use super::tree::{Cut, Span};

/// What the active share knows of one node while time passes.
#[derive(Debug, Clone, Copy, Default)]
struct Payee {
    /// The account (see `Division::credit`) when it was last paid.
    credit: u64,
    slot: usize,
    /// Place in the order of (id, node).
    rank: u32,
    active_children: u32,
    active: bool,
    is_leaf: bool,
}

/// A sweep over time that credits spans as late as possible.
///
/// Crediting every leaf for every piece would cost leaves × pieces. Instead one account per rank is kept: what a leaf
/// that existed from the beginning would have received so far. A span notes this value when it becomes a leaf, and
/// receives the difference when it stops being one or changes its label.
#[derive(Debug, Default)]
pub(super) struct Division {
    nodes: Vec<Payee>,
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
    leaves: RankCounts,
    /// For each remainder, 1 at the rank of the last leaf that got a nanosecond of it.
    last_lucky: RankCounts,
}

impl Division {
    pub(super) fn run(&mut self, spans: &[Span], cuts: &[Cut], shares: &mut [u64]) {
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
        self.nodes.extend((0..spans.len()).map(|slot| Payee { slot, ..Payee::default() }));
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
        let Payee { active, active_children, is_leaf, rank, .. } = self.nodes[node];
        let becomes = active && active_children == 0;
        if becomes == is_leaf {
            return;
        }
        if is_leaf {
            self.pay(node, shares);
        } else {
            self.nodes[node].credit = self.credit(rank as usize);
        }
        let change = if becomes { 1 } else { u64::MAX }; // −1, modulo 2⁶⁴
        self.leaf_count = self.leaf_count.wrapping_add(change);
        self.leaves.add(rank as usize, change);
        self.nodes[node].is_leaf = becomes;
    }

    fn relabel(&mut self, cut: Cut, slot: usize, shares: &mut [u64]) {
        let node = cut.node as usize;
        if self.nodes.get(node).is_some_and(|node| node.is_leaf) {
            self.settle(cut.at);
            self.pay(node, shares);
        }
        if let Some(node) = self.nodes.get_mut(node) {
            node.slot = slot;
        }
    }

    fn pay(&mut self, node: usize, shares: &mut [u64]) {
        let Payee { rank, credit, slot, .. } = self.nodes[node];
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
pub(super) struct RankCounts {
    counts: Vec<u64>,
    sums: Vec<u64>,
}

const BLOCK: usize = 32;

impl RankCounts {
    pub(super) fn reset(&mut self, ranks: usize) {
        let blocks = ranks.div_ceil(BLOCK);
        self.counts.clear();
        self.counts.resize(blocks * BLOCK, 0);
        self.sums.clear();
        self.sums.resize(blocks + 1, 0);
    }

    /// Adds modulo 2⁶⁴, so that `u64::MAX` takes one away.
    pub(super) fn add(&mut self, rank: usize, change: u64) {
        self.counts[rank] = self.counts[rank].wrapping_add(change);
        let mut at = rank / BLOCK + 1;
        while let Some(sum) = self.sums.get_mut(at) {
            *sum = sum.wrapping_add(change);
            at += at & at.wrapping_neg();
        }
    }

    /// Sum over the ranks below this one.
    pub(super) fn before(&self, rank: usize) -> u64 {
        let mut at = rank / BLOCK;
        let mut total: u64 = self.counts[at * BLOCK..rank].iter().sum();
        while at > 0 {
            total = total.wrapping_add(self.sums[at]);
            at &= at - 1;
        }
        total
    }

    /// The rank that holds the nth one, counted from 1.
    pub(super) fn nth(&self, nth: u64) -> usize {
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
