//! What requests name: the rows of their parents as sent, and of their span links.

use std::ops::Range;

use crate::columns::{Columns, NONE, run};
use crate::join::span_index::Index;
use crate::numbers::u32_of;
use crate::threads;

/// Requests for each thread at least.
const PART_REQUESTS: usize = 256;

/// The rows that requests name.
#[derive(Debug, Default)]
pub struct Named {
    end: Vec<u32>,
    /// Of each request: its parent or [`NONE`], then what its links name.
    rows: Vec<u32>,
}

impl Named {
    /// Looks them up, on at most so many threads.
    pub fn new(c: &Columns, index: &Index<'_>, requests: &[u32], threads: usize) -> Self {
        let look_up = |part: Range<usize>| {
            let (mut named, spans) = (Self::default(), &c.spans);
            for at in requests[part].iter().map(|&row| row as usize) {
                named.rows.push(index.row(&spans.trace_id[at], &spans.parent_span_id[at]));
                named.rows.extend(index.linked(c, at));
                named.end.push(u32_of(named.rows.len()));
            }
            named
        };
        let parts = threads::split(requests.len(), threads, PART_REQUESTS, look_up);
        parts.into_iter().reduce(Self::followed_by).unwrap_or_default()
    }

    fn followed_by(mut self, others: Self) -> Self {
        let before = u32_of(self.rows.len());
        self.end.extend(others.end.iter().map(|end| end + before));
        self.rows.extend(others.rows);
        self
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
