//! What the kernels read: a tree, and where own time changes its label.

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

/// A span with its effective interval; empty means `start == end`.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub start: i64,
    pub end: i64,
    pub id: u64,
    pub parent: u32,
}
