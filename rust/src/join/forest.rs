//! Parents → children and preorder, without recursion: a chain or a fan of a million spans is ordinary input.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use crate::columns::NONE;
use crate::numbers::u32_of;
use crate::threads;

/// All trees in preorder: a subtree is one run of `order`.
///
/// ```text
/// row      a ─┬─ b ── c        order   a b c d │ e
///             └─ d             size    4 2 1 1 │ 1
///          e
/// ```
#[derive(Debug, Clone, Default)]
pub struct Forest {
    /// Rows in preorder, children by (start, span id).
    pub order: Vec<u32>,
    /// Row → its place in `order`; [`NONE`] for rows in no tree.
    pub position: Vec<u32>,
    /// Place → how many rows its subtree has, itself included.
    pub size: Vec<u32>,
}

impl Forest {
    /// The places at which trees begin.
    pub fn trees(&self) -> impl Iterator<Item = u32> {
        let len = |at: u32| self.size.get(at as usize).copied();
        std::iter::successors(len(0).map(|_| 0), move |&at| {
            len(at).map(|size| at + size).filter(|&at| len(at).is_some())
        })
    }

    /// The rows right below a row of a tree, in their order.
    pub fn children(&self, row: u32) -> impl Iterator<Item = u32> {
        let at = self.position[row as usize];
        let past = at + self.size[at as usize];
        let next = move |&at: &u32| Some(at + self.size[at as usize]).filter(|&at| at < past);
        std::iter::successors(Some(at + 1).filter(|&at| at < past), next).map(|at| self.order[at as usize])
    }

    /// The rows of the tree below and including `row`.
    pub fn subtree(&self, row: u32) -> &[u32] {
        let at = self.position[row as usize] as usize;
        &self.order[at..at + self.size[at] as usize]
    }
}

/// A row among its parent's children: a list of which the last one is first, as those with a higher row often start
/// later.
#[derive(Clone, Copy, Default)]
struct Links {
    last_child: u32,
    /// The child of the same parent before it.
    before: u32,
}

/// The lists of children, and the rows that are in a tree and have no parent.
fn link(parent: &[u32], in_tree: impl Fn(u32) -> bool + Sync, threads: usize) -> (Vec<Links>, Vec<u32>) {
    let within = |rows: Range<usize>, links: &mut [Links]| {
        let (mut tops, mut elsewhere, first) = (Vec::new(), Vec::new(), u32_of(rows.start));
        links.fill(Links { last_child: NONE, before: NONE });
        for (place, &above) in parent[rows].iter().enumerate() {
            let row = first + u32_of(place);
            if let Some(parent) = links.get_mut(above.wrapping_sub(first) as usize) {
                links[place].before = std::mem::replace(&mut parent.last_child, row);
            } else if above != NONE {
                elsewhere.push(row);
            } else if in_tree(row) {
                tops.push(row);
            }
        }
        (tops, elsewhere)
    };
    let (mut links, found) = threads::written(parent.len(), threads, threads::PART_SPANS, within);
    let (tops, elsewhere): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    for row in elsewhere.into_iter().flatten() {
        let above = parent[row as usize] as usize;
        links[row as usize].before = std::mem::replace(&mut links[above].last_child, row);
    }
    (links, threads::together(tops))
}

/// Trees for each thread at least.
const PART_TREES: usize = 256;

/// Lays all trees out, children in this order, on at most so many threads. `parent` must be free of cycles, and only
/// rows that are `in_tree` have one.
pub fn lay_out(
    parent: &[u32],
    in_tree: impl Fn(u32) -> bool + Sync,
    order: impl Fn(u32, u32) -> Ordering + Sync,
    threads: usize,
) -> Forest {
    let n = parent.len();
    let (links, tops) = link(parent, in_tree, threads);
    let walk = |part: Range<usize>| {
        let room = n * part.len() / tops.len().max(1);
        preorder(&tops[part], &links, &order, room)
    };
    let walked = threads::split(tops.len(), threads, PART_TREES, walk);
    drop(links);
    let (order, size): (Vec<_>, Vec<_>) = walked.into_iter().unzip();
    let (order, size) = (threads::together(order), threads::together(size));
    let position = threads::unwritten(n, NONE);
    threads::split(order.len(), threads, threads::PART_SPANS, |places| {
        for (place, &row) in (u32_of(places.start)..).zip(&order[places]) {
            position[row as usize].store(place, Relaxed);
        }
    });
    Forest { order, position: threads::numbers(position), size }
}

/// Rows of some trees in preorder, and the sizes of their subtrees.
fn preorder(
    tops: &[u32],
    links: &[Links],
    order: impl Fn(u32, u32) -> Ordering,
    room: usize,
) -> (Vec<u32>, Vec<u32>) {
    let (mut rows, mut above) = (Vec::with_capacity(room), Vec::with_capacity(room));
    // Row, and the place of its parent.
    let mut stack: Vec<(u32, u32)> = Vec::new();
    for &top in tops {
        stack.push((top, NONE));
        while let Some((row, parent)) = stack.pop() {
            let (place, first) = (u32_of(rows.len()), stack.len());
            rows.push(row);
            above.push(parent);
            let mut child = links[row as usize].last_child;
            while child != NONE {
                stack.push((child, place));
                child = links[child as usize].before;
            }
            if stack.len() > first + 1 {
                stack[first..].sort_unstable_by(|&(a, _), &(b, _)| order(b, a).then(b.cmp(&a)));
            }
        }
    }
    let mut size = vec![1; rows.len()];
    for (place, &parent) in above.iter().enumerate().rev() {
        if parent != NONE {
            size[parent as usize] += size[place];
        }
    }
    (rows, size)
}

/// Cuts every cycle at the edge into its earliest start (then the smallest span id). Returns the rows that lost
/// their parent.
pub fn cut_cycles(parent: &mut [u32], key: impl Fn(u32) -> (i64, u64)) -> Vec<u32> {
    let n = parent.len();
    let mut seen = vec![NONE; n];
    let mut cut = Vec::new();
    for start in 0..u32_of(n) {
        let mut row = start;
        while row != NONE && seen[row as usize] == NONE {
            seen[row as usize] = start;
            row = parent[row as usize];
        }
        if row == NONE || seen[row as usize] != start {
            continue;
        }
        let (mut earliest, mut at) = (row, parent[row as usize]);
        while at != row {
            if (key(at), at) < (key(earliest), earliest) {
                earliest = at;
            }
            at = parent[at as usize];
        }
        parent[earliest as usize] = NONE;
        cut.push(earliest);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtree_is_one_run_of_the_preorder() {
        let parent = [NONE, 0, 1, 0, NONE];
        let forest = lay_out(&parent, |_| true, |a, b| a.cmp(&b), 1);
        assert_eq!(vec![0, 1, 2, 3, 4], forest.order);
        assert_eq!(vec![4, 2, 1, 1, 1], forest.size);
        assert_eq!(&[1, 2], forest.subtree(1));
    }

    #[test]
    fn a_cycle_is_cut_at_the_edge_into_the_earliest_start() {
        // 0 → 1 → 2 → 0, 3 hangs on 1; 2 starts first
        let mut parent = [1, 2, 0, 1];
        assert_eq!(vec![2], cut_cycles(&mut parent, |row| (i64::from(3 - row), 0)));
        assert_eq!([1, 2, NONE, 1], parent);
    }

    #[test]
    fn a_chain_of_a_million_is_laid_out_without_recursion() {
        let parent: Vec<u32> = std::iter::once(NONE).chain(0..999_999).collect();
        let forest = lay_out(&parent, |_| true, |a, b| a.cmp(&b), 2);
        assert_eq!(1_000_000, forest.size[0]);
    }
}
