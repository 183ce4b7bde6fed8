//! What the kernels read: spans of a tree, and where own time changes its label.

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
    /// Of the root, what it was given.
    pub parent: u32,
    /// The last of its children that are not empty, or [`crate::columns::NONE`].
    pub last: u32,
    /// The child of its parent before it, if it is one of those.
    pub before: u32,
}
