//! (trace id, span id) → row: an open-addressing table of 8-byte slots, at most two thirds full.
//!
//! ```text
//! slot = hash tag (32 bits) | row + 1 (32 bits); 0 is free
//! ```
//!
//! Each thread fills a shard, which is a run of slots. Ids are compared in the columns, and only when the tags agree. The hash is seeded, since senders choose the ids.

#![expect(clippy::cast_possible_truncation, reason = "hashes and slots are taken apart into their halves")]

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::columns::{Columns, NONE, run};
use crate::numbers::u32_of;
use crate::threads;

/// Finds rows by (trace id, span id).
#[derive(Debug, Default)]
pub struct Index<'a> {
    ids: Ids<'a>,
    slots: Vec<u64>,
    /// Slots of a shard, less one.
    within: usize,
}

/// Slots of a shard at least: so many fill evenly.
const LEAST_SLOTS: usize = 1 << 12;

/// The ids of rows.
#[derive(Debug, Default, Clone, Copy)]
struct Ids<'a> {
    trace_id: &'a [[u8; 16]],
    span_id: &'a [[u8; 8]],
    seed: u64,
}

impl Ids<'_> {
    #[inline(always)]
    fn hash(self, trace_id: &[u8; 16], span_id: &[u8; 8]) -> u64 {
        let whole = u128::from_le_bytes(*trace_id);
        let (low, high) = (whole as u64, (whole >> 64) as u64);
        let a = u128::from(low ^ self.seed) * u128::from(high ^ 0x9e37_79b9_7f4a_7c15);
        let b = (a as u64) ^ ((a >> 64) as u64) ^ u64::from_le_bytes(*span_id);
        let c = u128::from(b ^ self.seed) * 0xd6e8_feb8_6659_fd93_u128;
        (c as u64) ^ ((c >> 64) as u64)
    }

    /// The slot of this id: a row that has it, or a free place. The search stays in the shard that it begins in.
    #[inline(always)]
    fn probe(
        self,
        slots: &[u64],
        within: usize,
        hash: u64,
        (trace_id, span_id): (&[u8; 16], &[u8; 8]),
    ) -> (usize, u64) {
        let mut at = hash as usize & (slots.len() - 1);
        loop {
            let slot = slots[at];
            if slot == 0 {
                return (at, hash & !0xffff_ffff);
            }
            let row = (slot as u32 - 1) as usize;
            if (slot ^ hash) >> 32 == 0 && self.span_id[row] == *span_id && self.trace_id[row] == *trace_id {
                return (at, slot);
            }
            at = at & !within | (at + 1) & within;
        }
    }
}

impl<'a> Index<'a> {
    /// An empty index over these columns.
    pub fn new(trace_id: &'a [[u8; 16]], span_id: &'a [[u8; 8]]) -> Self {
        let slots = (trace_id.len() * 3 / 2 + 1).next_power_of_two().max(16);
        let seed = RandomState::default().hash_one(0u8) | 1;
        Self { ids: Ids { trace_id, span_id, seed }, slots: vec![0; slots], within: slots - 1 }
    }

    #[inline(always)]
    fn probe(&self, trace_id: &[u8; 16], span_id: &[u8; 8]) -> (usize, u64) {
        let hash = self.ids.hash(trace_id, span_id);
        self.ids.probe(&self.slots, self.within, hash, (trace_id, span_id))
    }

    /// The row with this id, or [`NONE`].
    #[inline]
    pub fn row(&self, trace_id: &[u8; 16], span_id: &[u8; 8]) -> u32 {
        let (_, slot) = self.probe(trace_id, span_id);
        (slot as u32).wrapping_sub(1)
    }

    /// The row with this id.
    pub fn find(&self, trace_id: &[u8; 16], span_id: &[u8; 8]) -> Option<u32> {
        Some(self.row(trace_id, span_id)).filter(|&row| row != NONE)
    }

    /// The rows that the span links of a row name.
    pub fn linked(&self, c: &Columns, row: usize) -> impl Iterator<Item = u32> {
        run(&c.spans.links_end, row)
            .filter_map(|link| self.find(&c.links.trace_id[link], &c.links.span_id[link]))
    }

    /// Adds rows under their own ids, each shard on a thread of its own. Where an id is there already, nothing changes;
    /// gives (the earlier row, row) of these.
    pub fn fill(&mut self, usable: impl Fn(usize) -> bool + Sync, threads: usize) -> Vec<(u32, u32)> {
        let shards = threads.next_power_of_two().min(self.slots.len() / LEAST_SLOTS).max(1);
        let (ids, mask, len) = (self.ids, self.slots.len() - 1, self.slots.len() / shards);
        let bits = len.trailing_zeros();
        let shard_of = move |hash: u64| (hash as usize & mask) >> bits;
        self.within = len - 1;
        let fill = |(shard, slots): (usize, &mut [u64])| {
            let mut repeated = Vec::new();
            for row in (0..ids.span_id.len()).filter(|&row| usable(row)) {
                let id = (&ids.trace_id[row], &ids.span_id[row]);
                let hash = ids.hash(id.0, id.1);
                if shard_of(hash) != shard {
                    continue;
                }
                let (at, slot) = ids.probe(slots, len - 1, hash, id);
                match slot as u32 {
                    0 => slots[at] = slot | (row as u64 + 1),
                    first => repeated.push((first - 1, u32_of(row))),
                }
            }
            repeated
        };
        threads::each(self.slots.chunks_mut(len).enumerate().collect(), threads, fill).concat()
    }

    /// Lets `row` stand for its id from now on.
    pub fn replace(&mut self, row: u32) {
        let (at, slot) = self.probe(&self.ids.trace_id[row as usize], &self.ids.span_id[row as usize]);
        self.slots[at] = (slot & !0xffff_ffff) | u64::from(row + 1);
    }
}
