//! The traces that a stream holds: one slot each, found by id, in order of age and of activity.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::join::role::Role;
use crate::numbers::u32_of;
use crate::stream::evidence::Call;
use crate::stream::order::Order;
use crate::stream::spans::Spans;
use crate::stream::store::Held;

/// Why a trace is emitted before it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EvictionReason {
    /// It is older than the limit.
    Age,
    /// It has more spans than the limit.
    TraceSpans,
    /// All traces together have more spans than the limit.
    Spans,
    /// There are more traces than the limit.
    Traces,
    /// All traces together take more memory than the limit.
    Bytes,
}

impl EvictionReason {
    /// The names, in the order of the variants.
    pub const NAMES: [&'static str; 5] = ["age", "trace_spans", "spans", "traces", "bytes"];
}

/// What was emitted of a trace that is still held.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// It has requests.
    pub has_requests: bool,
    /// Their span ids, if the trace stays.
    pub requests: Vec<[u8; 8]>,
    /// Role → spans.
    pub roles: [u32; Role::NAMES.len()],
    /// The clock evidence of its calls, if the trace stays.
    pub calls: Vec<Call>,
}

/// A held trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its id.
    pub id: [u8; 16],
    /// What is held of it.
    pub spans: Spans,
    /// Bytes held for them, about.
    pub bytes: u64,
    /// When its first span came.
    pub born: u64,
    /// When its last span came.
    pub active: u64,
    /// How often it was emitted.
    pub revision: u32,
    /// What was emitted last.
    pub given: Option<Given>,
    /// Spans looked at so far to see whether it is finished.
    pub looked: u64,
    /// A span came since that was last asked.
    pub touched: bool,
    /// A span came since it was last emitted, or something else that changes its result.
    pub changed: bool,
    /// It has a link to another trace, or another one has a link to it.
    pub linked: bool,
    /// Where it can meet the other half of a split request: process, instant.
    pub halves: Vec<(u64, i64)>,
    /// It is emitted next, and no span is added any more.
    pub evicted: bool,
    /// It is among those emitted now.
    pub going: bool,
    /// The round in which its group was asked for.
    pub round: u64,
}

/// The memory of so many traces is kept for new ones.
const SPARE: usize = 4096;

/// All held traces.
#[derive(Default)]
pub struct Traces {
    slots: Vec<Option<Trace>>,
    free: Vec<u32>,
    /// Memory of traces that were removed, for new ones.
    spare: Vec<Spans>,
    by_id: HashTable<u32>,
    hasher: RandomState,
    /// Those that are not evicted, by their first span.
    pub by_age: Order,
    /// The same, by their last span.
    pub by_activity: Order,
}

impl Traces {
    /// How many are held.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The trace in a slot.
    #[inline]
    pub fn at(&self, slot: u32) -> &Trace {
        self.slots[slot as usize].as_ref().expect("a slot in use")
    }

    /// The same, to be changed.
    #[inline]
    pub fn at_mut(&mut self, slot: u32) -> &mut Trace {
        self.slots[slot as usize].as_mut().expect("a slot in use")
    }

    /// The trace in a slot, if it is in use.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Trace> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// All slots in use, evicted ones too.
    pub fn all(&self) -> impl Iterator<Item = u32> {
        (0..u32_of(self.slots.len())).filter(|&slot| self.slots[slot as usize].is_some())
    }

    /// The calls of all traces that were emitted, but of those that are emitted now.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        let staying = self.slots.iter().flatten().filter(|trace| !trace.going);
        staying.filter_map(|trace| trace.given.as_ref()).flat_map(|given| &given.calls)
    }

    /// All held spans that are of a trace, to be moved to another table.
    pub fn spans_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.slots.iter_mut().flatten().flat_map(|trace| trace.spans.all_mut())
    }

    /// The slot of a trace that still takes spans.
    #[inline]
    pub fn find(&self, id: &[u8; 16]) -> Option<u32> {
        let hash = self.hasher.hash_one(u128::from_le_bytes(*id));
        self.by_id.find(hash, |&slot| self.at(slot).id == *id).copied()
    }

    /// The slot is of this trace, which still takes spans.
    #[inline]
    pub fn takes(&self, slot: u32, id: &[u8; 16]) -> bool {
        let trace = self.slots.get(slot as usize).and_then(Option::as_ref);
        trace.is_some_and(|trace| trace.id == *id && !trace.evicted)
    }

    /// A new trace that came now.
    pub fn create(&mut self, id: [u8; 16], now: u64) -> u32 {
        let trace = Trace {
            id,
            spans: self.spare.pop().unwrap_or_default(),
            bytes: 0,
            born: now,
            active: now,
            revision: 0,
            given: None,
            looked: 0,
            touched: false,
            changed: true,
            linked: false,
            halves: Vec::new(),
            evicted: false,
            going: false,
            round: 0,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32_of(self.slots.len()) - 1
        });
        self.slots[slot as usize] = Some(trace);
        let Self { by_id, hasher, slots, .. } = self;
        let hash = |id: &[u8; 16]| hasher.hash_one(u128::from_le_bytes(*id));
        by_id.insert_unique(hash(&id), slot, |&other| {
            slots[other as usize].as_ref().map_or(0, |trace| hash(&trace.id))
        });
        self.by_age.push(slot);
        self.by_activity.push(slot);
        slot
    }

    /// A span of it came now.
    pub fn set_active(&mut self, slot: u32, now: u64) {
        self.at_mut(slot).active = now;
        self.by_activity.remove(slot);
        self.by_activity.push(slot);
    }

    /// It takes no more spans: one that comes later opens a new trace.
    pub fn close(&mut self, slot: u32) {
        let hash = self.hasher.hash_one(u128::from_le_bytes(self.at(slot).id));
        if let Ok(entry) = self.by_id.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        self.by_age.remove(slot);
        self.by_activity.remove(slot);
        self.at_mut(slot).evicted = true;
    }

    /// Takes back the memory of a trace's spans.
    pub fn reuse(&mut self, spans: Spans) {
        if self.spare.len() < SPARE {
            self.spare.extend(spans.emptied());
        }
    }

    /// Frees a slot and gives what was in it.
    pub fn remove(&mut self, slot: u32) -> Option<Trace> {
        if !self.at(slot).evicted {
            self.close(slot);
        }
        self.free.push(slot);
        self.slots[slot as usize].take()
    }
}
