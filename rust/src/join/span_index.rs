//! (trace id, span id) → row: an open-addressing table of 8-byte slots, at most two thirds full.
//!
//! ```text
//! slot = hash tag (32 bits) | row + 1 (32 bits); 0 is free
//! ```
//!
//! The first bits of the hash are the slot. Each thread fills a shard, which is a run of slots. Ids are compared in the
//! columns, and only when the tags agree.
//! Senders choose the ids: both factors of the hash have secrets, or one of them could be made 0.

#![expect(clippy::cast_possible_truncation, reason = "hashes and slots are taken apart into their halves")]

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;

use crate::columns::{Columns, NONE};
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
    secrets: [u64; 3],
    /// How far a hash is shifted to give a slot; at least 32, so that the tag is enough for it.
    shift: u32,
}

/// Of a slot.
const TAG: u64 = !0xffff_ffff;

impl Ids<'_> {
    #[inline(always)]
    fn hash(self, trace_id: &[u8; 16], span_id: &[u8; 8]) -> u64 {
        let whole = u128::from_le_bytes(*trace_id);
        let (low, high) = (whole as u64, (whole >> 64) as u64);
        let [of_low, of_high, of_span] = self.secrets;
        let a = u128::from(low ^ of_low) * u128::from(high ^ of_high);
        let b = (a as u64) ^ ((a >> 64) as u64) ^ u64::from_le_bytes(*span_id);
        let c = u128::from(b ^ of_span) * 0xd6e8_feb8_6659_fd93_u128;
        (c as u64) ^ ((c >> 64) as u64)
    }

    /// What the slot of a row says.
    #[inline(always)]
    fn entry(self, row: usize) -> u64 {
        self.hash(&self.trace_id[row], &self.span_id[row]) & TAG | (row as u64 + 1)
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
        let mut at = (hash >> self.shift) as usize & (slots.len() - 1);
        loop {
            let slot = slots[at];
            if slot == 0 {
                return (at, 0);
            }
            let row = (slot as u32 - 1) as usize;
            if (slot ^ hash) >> 32 == 0 && self.span_id[row] == *span_id && self.trace_id[row] == *trace_id {
                return (at, slot);
            }
            at = at & !within | (at + 1) & within;
        }
    }
}

impl Ids<'_> {
    /// Puts rows in the slots of a shard. Where an id is there already, nothing changes; gives (the earlier row, row) of
    /// these, or None if the shard is full.
    #[inline(always)]
    fn fill(self, slots: &mut [u64], entries: impl Iterator<Item = u64>) -> Option<Vec<(u32, u32)>> {
        let (mut repeated, mut free) = (Vec::new(), slots.len());
        for entry in entries {
            let row = entry as u32 - 1;
            let id = (&self.trace_id[row as usize], &self.span_id[row as usize]);
            let (at, slot) = self.probe(slots, slots.len() - 1, entry, id);
            match slot as u32 {
                0 if free == 1 => return None,
                0 => {
                    slots[at] = entry;
                    free -= 1;
                }
                first => repeated.push((first - 1, row)),
            }
        }
        Some(repeated)
    }
}

impl<'a> Index<'a> {
    /// An empty index over these columns.
    pub fn new(trace_id: &'a [[u8; 16]], span_id: &'a [[u8; 8]]) -> Self {
        let slots = (trace_id.len() * 3 / 2 + 1).next_power_of_two().max(16);
        let random = RandomState::default();
        let secrets = [0_u8, 1, 2].map(|each| random.hash_one(each));
        let shift = u64::BITS - slots.trailing_zeros();
        Self { ids: Ids { trace_id, span_id, secrets, shift }, slots: vec![0; slots], within: slots - 1 }
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
        c.links_of(row).filter_map(|link| self.find(&c.links.trace_id[link], &c.links.span_id[link]))
    }

    /// Adds rows under their own ids, each shard on a thread of its own. Where an id is there already, nothing changes;
    /// gives (the earlier row, row) of these.
    pub fn fill(&mut self, usable: impl Fn(usize) -> bool + Sync, threads: usize) -> Vec<(u32, u32)> {
        let shards = threads.next_power_of_two().min(self.slots.len() / LEAST_SLOTS).max(1);
        self.fill_shards(&usable, threads, shards).unwrap_or_else(|| {
            self.slots.fill(0);
            self.fill_shards(&usable, 1, 1).unwrap_or_default()
        })
    }

    /// None if a shard is full, in which a search would never end. All slots together never are.
    fn fill_shards(
        &mut self,
        usable: &(impl Fn(usize) -> bool + Sync),
        threads: usize,
        shards: usize,
    ) -> Option<Vec<(u32, u32)>> {
        let (ids, rows, len) = (self.ids, self.ids.span_id.len(), self.slots.len() / shards);
        self.within = len - 1;
        let entries = |rows: Range<usize>| rows.filter(|&row| usable(row)).map(|row| ids.entry(row));
        if shards == 1 {
            return ids.fill(&mut self.slots, entries(0..rows));
        }
        let of_shards = |rows: Range<usize>| {
            let mut of_shards = vec![Vec::with_capacity(rows.len() / shards * 9 / 8); shards];
            entries(rows).for_each(|entry| of_shards[(entry >> ids.shift) as usize / len].push(entry));
            of_shards
        };
        let parts = threads::split(rows, threads, threads::PART_SPANS, of_shards);
        let fill = |(shard, slots): (usize, &mut [u64])| {
            ids.fill(slots, parts.iter().flat_map(|part| &part[shard]).copied())
        };
        let filled = threads::each(self.slots.chunks_mut(len).enumerate().collect(), threads, fill);
        Some(filled.into_iter().collect::<Option<Vec<_>>>()?.concat())
    }

    /// Lets `row` stand for its id from now on.
    pub fn replace(&mut self, row: u32) {
        let (at, slot) = self.probe(&self.ids.trace_id[row as usize], &self.ids.span_id[row as usize]);
        self.slots[at] = slot & TAG | u64::from(row + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::u32_of;

    #[test]
    fn a_shard_that_is_full_is_no_end_of_it() {
        const N: usize = 5_000; // 8,192 slots: two shards, each too small for all
        let known = Ids::default();
        let is_low = |span_id: &[u8; 8]| known.hash(&[0; 16], span_id) >> 63 == 0;
        let span_id: Vec<[u8; 8]> = (1_u64..).map(u64::to_le_bytes).filter(is_low).take(N).collect();
        let trace_id = vec![[0; 16]; N];
        let mut index = Index::new(&trace_id, &span_id);
        index.ids.secrets = known.secrets;
        assert_eq!(index.fill(|_| true, 2), []);
        for (row, id) in span_id.iter().enumerate() {
            assert_eq!(index.find(&[0; 16], id), Some(u32_of(row)));
        }
        assert_eq!(index.find(&[1; 16], &span_id[0]), None);
    }
}
