//! Parents → children and preorder, without recursion: a chain or a fan of a million spans is ordinary input.

use std::cmp::Ordering;

use crate::columns::NONE;
use crate::numbers::u32_of;

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
    /// The rows of the tree below and including `row`.
    pub fn subtree(&self, row: u32) -> &[u32] {
        let at = self.position[row as usize] as usize;
        &self.order[at..at + self.size[at] as usize]
    }
}

/// Children of every row, as one array with offsets.
struct Children {
    first: Vec<u32>,
    rows: Vec<u32>,
}

impl Children {
    fn new(parent: &[u32], in_tree: impl Fn(u32) -> bool) -> Self {
        let n = parent.len();
        let mut first = vec![0u32; n + 2];
        let linked = |row: u32| in_tree(row) && parent[row as usize] != NONE;
        for row in (0..u32_of(n)).filter(|&row| linked(row)) {
            first[parent[row as usize] as usize + 2] += 1;
        }
        for i in 2..first.len() {
            first[i] += first[i - 1];
        }
        let mut rows = vec![0u32; first[n + 1] as usize];
        for row in (0..u32_of(n)).filter(|&row| linked(row)) {
            let at = &mut first[parent[row as usize] as usize + 1];
            rows[*at as usize] = row;
            *at += 1;
        }
        Self { first, rows }
    }

    /// The children of a row, brought into order; asked once for each row.
    fn sorted(&mut self, row: u32, order: impl Fn(u32, u32) -> Ordering) -> &[u32] {
        let run = self.first[row as usize] as usize..self.first[row as usize + 1] as usize;
        let run = &mut self.rows[run];
        if run.len() > 1 {
            run.sort_unstable_by(|&a, &b| order(a, b).then(a.cmp(&b)));
        }
        run
    }
}

/// Lays all trees out, children in this order. `parent` must be free of cycles among the rows that are `in_tree`.
pub fn lay_out(
    parent: &[u32],
    in_tree: impl Fn(u32) -> bool,
    order: impl Fn(u32, u32) -> Ordering,
) -> Forest {
    let n = parent.len();
    let mut children = Children::new(parent, &in_tree);
    let mut forest =
        Forest { order: Vec::with_capacity(n), position: vec![NONE; n], size: Vec::with_capacity(n) };
    let mut stack = Vec::new();
    for top in (0..u32_of(n)).filter(|&row| in_tree(row) && parent[row as usize] == NONE) {
        let mut next = Some(top);
        while let Some(row) = next {
            forest.position[row as usize] = u32_of(forest.order.len());
            forest.order.push(row);
            forest.size.push(1);
            next = match children.sorted(row, &order) {
                [] => stack.pop(),
                [first, others @ ..] => {
                    stack.extend(others.iter().rev());
                    Some(*first)
                }
            };
        }
    }
    for at in (0..forest.order.len()).rev() {
        let parent = parent[forest.order[at] as usize];
        if parent != NONE {
            let size = forest.size[at];
            forest.size[forest.position[parent as usize] as usize] += size;
        }
    }
    forest
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
        let forest = lay_out(&parent, |_| true, |a, b| a.cmp(&b));
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
        let forest = lay_out(&parent, |_| true, |a, b| a.cmp(&b));
        assert_eq!(1_000_000, forest.size[0]);
    }
}
