//! (trace id, span id) → row: an open-addressing table of 8-byte slots, at most half full.
//!
//! ```text
//! slot = hash tag (32 bits) | row + 1 (32 bits); 0 is free
//! ```
//!
//! Ids are compared in the columns, and only when the tags agree. The hash is seeded, since senders choose the ids.

#![expect(clippy::cast_possible_truncation, reason = "hashes and slots are taken apart into their halves")]

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// Finds rows by (trace id, span id).
#[derive(Debug, Default)]
pub struct Index<'a> {
    trace_id: &'a [[u8; 16]],
    span_id: &'a [[u8; 8]],
    slots: Vec<u64>,
    seed: u64,
}

impl<'a> Index<'a> {
    /// An empty index over these columns.
    pub fn new(trace_id: &'a [[u8; 16]], span_id: &'a [[u8; 8]]) -> Self {
        let slots = (trace_id.len() * 2).next_power_of_two().max(16);
        let seed = RandomState::default().hash_one(0u8) | 1;
        Self { trace_id, span_id, slots: vec![0; slots], seed }
    }

    #[inline(always)]
    fn hash(&self, trace_id: &[u8; 16], span_id: &[u8; 8]) -> u64 {
        let whole = u128::from_le_bytes(*trace_id);
        let (low, high) = (whole as u64, (whole >> 64) as u64);
        let a = u128::from(low ^ self.seed) * u128::from(high ^ 0x9e37_79b9_7f4a_7c15);
        let b = (a as u64) ^ ((a >> 64) as u64) ^ u64::from_le_bytes(*span_id);
        let c = u128::from(b ^ self.seed) * 0xd6e8_feb8_6659_fd93_u128;
        (c as u64) ^ ((c >> 64) as u64)
    }

    /// The slot of this id: a row that has it, or a free place.
    #[inline]
    fn probe(&self, trace_id: &[u8; 16], span_id: &[u8; 8]) -> (usize, u64) {
        let hash = self.hash(trace_id, span_id);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return (at, hash & !0xffff_ffff);
            }
            let row = (slot as u32 - 1) as usize;
            if (slot ^ hash) >> 32 == 0 && self.span_id[row] == *span_id && self.trace_id[row] == *trace_id {
                return (at, slot);
            }
            at = (at + 1) & mask;
        }
    }

    /// The row with this id.
    #[inline]
    pub fn find(&self, trace_id: &[u8; 16], span_id: &[u8; 8]) -> Option<u32> {
        let (_, slot) = self.probe(trace_id, span_id);
        (slot as u32).checked_sub(1)
    }

    /// Adds `row` under its own id. If the id is there already, nothing changes and the earlier row is returned.
    #[inline]
    pub fn insert(&mut self, row: u32) -> Option<u32> {
        let (at, slot) = self.probe(&self.trace_id[row as usize], &self.span_id[row as usize]);
        if slot as u32 != 0 {
            return Some(slot as u32 - 1);
        }
        self.slots[at] = slot | u64::from(row + 1);
        None
    }

    /// Lets `row` stand for its id from now on.
    pub fn replace(&mut self, row: u32) {
        let (at, slot) = self.probe(&self.trace_id[row as usize], &self.span_id[row as usize]);
        self.slots[at] = (slot & !0xffff_ffff) | u64::from(row + 1);
    }
}
