//! What requests name: the rows of their parents as sent, and of their span links.

use crate::columns::{Columns, NONE, run};
use crate::join::span_index::Index;
use crate::numbers::u32_of;

/// The rows that requests name.
#[derive(Debug, Default)]
pub struct Named {
    end: Vec<u32>,
    /// Of each request: its parent or [`NONE`], then what its links name.
    rows: Vec<u32>,
}

impl Named {
    /// Looks them up.
    pub fn new(c: &Columns, index: &Index<'_>, requests: &[u32]) -> Self {
        let (mut named, spans) = (Self::default(), &c.spans);
        for at in requests.iter().map(|&row| row as usize) {
            named.rows.push(index.row(&spans.trace_id[at], &spans.parent_span_id[at]));
            named.rows.extend(index.linked(c, at));
            named.end.push(u32_of(named.rows.len()));
        }
        named
    }

    /// What the request at this place has as its parent or names in a link.
    pub fn by(&self, request: usize) -> impl Iterator<Item = u32> {
        self.rows[run(&self.end, request)].iter().copied().filter(|&row| row != NONE)
    }

    /// What its links name.
    pub fn linked(&self, request: usize) -> &[u32] {
        &self.rows[run(&self.end, request)][1..]
    }

    /// The same of all requests.
    pub fn by_any(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().copied().filter(|&row| row != NONE)
    }
}
