//! How many spans each trace has.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::{Columns, present};
use crate::join::role::Role;
use crate::numbers::u32_of;

/// How many spans each trace has, and how many traces there are.
#[derive(Debug, Default)]
pub struct TraceSizes {
    spans: HashMap<[u8; 16], u32, RandomState>,
}

impl TraceSizes {
    /// Counts them. What was set aside makes a trace, but is no span of it.
    pub fn new(c: &Columns, role: &[Role]) -> Self {
        let mut spans = HashMap::default();
        let (ids, mut at) = (&c.spans.trace_id, 0);
        while at < c.len() {
            let same = ids[at..].iter().take_while(|id| **id == ids[at]).count();
            let kept = role[at..at + same].iter().filter(|&&role| role == Role::Unrelated).count();
            if c.spans.present[at] & present::TRACE_ID != 0 && ids[at] != [0; 16] {
                *spans.entry(ids[at]).or_insert(0) += u32_of(kept);
            }
            at += same;
        }
        Self { spans }
    }

    /// How many traces there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The span is the only one of its trace.
    pub fn is_alone(&self, c: &Columns, row: u32) -> bool {
        self.spans.get(&c.spans.trace_id[row as usize]) == Some(&1)
    }
}
