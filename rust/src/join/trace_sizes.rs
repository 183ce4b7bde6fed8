//! How many spans each trace has.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::{Columns, present};
use crate::join::role::Role;
use crate::numbers::u32_of;
use crate::threads;

/// Spans for each thread at least.
const PART_SPANS: usize = 2048;

/// How many spans each trace has, and how many traces there are.
#[derive(Debug, Default)]
pub struct TraceSizes {
    /// Traces by a part of their ids; each is counted by one thread.
    shards: Vec<HashMap<[u8; 16], u32, RandomState>>,
}

impl TraceSizes {
    /// Counts them. What was set aside makes a trace, but is no span of it.
    pub fn new(c: &Columns, role: &[Role], threads: usize) -> Self {
        let shards = threads::ranges(c.len(), threads, PART_SPANS).len();
        let count = |shard: usize| {
            let mut spans = HashMap::default();
            let (ids, mut at) = (&c.spans.trace_id, 0);
            while at < c.len() {
                let same = ids[at..].iter().take_while(|id| **id == ids[at]).count();
                let is_trace = c.spans.present[at] & present::TRACE_ID != 0 && ids[at] != [0; 16];
                if is_trace && shard_of(&ids[at], shards) == shard {
                    let kept = role[at..at + same].iter().filter(|&&role| role == Role::Unrelated).count();
                    *spans.entry(ids[at]).or_insert(0) += u32_of(kept);
                }
                at += same;
            }
            spans
        };
        Self { shards: threads::each((0..shards).collect(), threads, count) }
    }

    /// How many traces there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(HashMap::len).sum()
    }

    /// The span is the only one of its trace.
    pub fn is_alone(&self, c: &Columns, row: u32) -> bool {
        let id = &c.spans.trace_id[row as usize];
        self.shards[shard_of(id, self.shards.len())].get(id) == Some(&1)
    }
}

fn shard_of(id: &[u8; 16], shards: usize) -> usize {
    usize::from(id[15]) % shards
}
