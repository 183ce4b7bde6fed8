//! An endless series of spans → requests, each as soon as it is whole, in bounded memory.
//!
//! ```text
//! feed   decoded tables ─ held by trace ─┐
//! take                                   └─ finished? idle? too old? ─ gather ─ join ─ emitted ─ released when idle
//! ```
//!
//! There is no second way to join: due spans are gathered into a table of their own, and joined like any other. So that
//! the result is that of all spans at once, traces that depend on each other are joined together (`dependencies`), and
//! the clock evidence of other traces is passed to the join (`evidence`).

mod dependencies;
mod due;
mod emit;
mod evidence;
mod inspect;
mod limits;
mod marks;
mod order;
mod released;
mod resume;
mod spans;
mod store;
mod traces;

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::{Columns, NONE, present};
use crate::join::Joined;
use crate::join::apiservers::Apiservers;
use crate::join::known_names::KnownNames;
use crate::join::request_keys::Keys;
use crate::join::role::Role;
use crate::join::span_kind;

pub use released::Released;

use dependencies::Couplings;
use evidence::Clocks;
use store::{Held, Store, fact};
use traces::{EvictionReason, Traces};

/// Limits. Times in ns of the caller's clock.
#[derive(Debug, Clone, Copy)]
pub struct StreamSettings {
    /// A trace that receives no span for this long is emitted and released.
    pub window_ns: u64,
    /// This long after its first span it is emitted and released, even if spans still arrive.
    pub max_age_ns: u64,
    /// Spans held at most.
    pub max_spans: usize,
    /// Traces held at most.
    pub max_traces: usize,
    /// Spans held at most of one trace.
    pub max_trace_spans: usize,
    /// Bytes held at most for spans, about.
    pub max_bytes: u64,
    /// A trace is emitted as soon as it is whole, and again if more of it comes; else once, when it is idle.
    pub early: bool,
}

/// What `take` returns.
pub struct Taken {
    /// The traces that are due, joined.
    pub joined: Joined,
    /// Request → how often its trace was emitted before.
    pub revision: Vec<u32>,
    /// Requests emitted earlier that are no longer valid: trace id, span id, revision.
    pub replaced: Vec<([u8; 16], [u8; 8], u32)>,
    /// Request → its trace is released: no later take replaces it.
    pub is_final: Vec<bool>,
    /// Traces with requests that were emitted and are released now, or were since the take before.
    pub released: Vec<[u8; 16]>,
}

/// Spans by what became of them, and how often something happened. See `counts`.
#[derive(Debug, Default)]
struct Counts {
    batches: u64,
    fed: u64,
    repeats: u64,
    released: u64,
    discarded: u64,
    updates: u64,
    late: u64,
    evicted: [u64; EvictionReason::NAMES.len()],
}

/// See the room.
pub struct Stream {
    settings: StreamSettings,
    store: Store,
    traces: Traces,
    couplings: Couplings,
    clocks: Clocks,
    apiservers: Apiservers,
    counts: Counts,
    /// Role → spans, as emitted last.
    roles: [u64; Role::NAMES.len()],
    /// Spans without a usable id.
    without_id: Vec<Held>,
    /// Traces to look at.
    touched: Vec<u32>,
    /// Traces that were released.
    pub released: Released,
    /// Traces that are emitted next, oldest first, and what is held for them: spans, bytes.
    evicted: VecDeque<u32>,
    waiting: (usize, u64),
    /// Traces with requests that were emitted, released since the last take.
    settled: Vec<[u8; 16]>,
    bytes: u64,
    now: u64,
    round: u64,
}

impl Stream {
    /// A stream that holds nothing.
    pub fn new(settings: StreamSettings, apiservers: Apiservers) -> Self {
        Self {
            settings,
            store: Store::default(),
            traces: Traces::default(),
            couplings: Couplings::default(),
            clocks: Clocks::default(),
            apiservers,
            counts: Counts::default(),
            roles: [0; Role::NAMES.len()],
            without_id: Vec::new(),
            touched: Vec::new(),
            released: Released::default(),
            evicted: VecDeque::new(),
            waiting: (0, 0),
            settled: Vec::new(),
            bytes: 0,
            now: 0,
            round: 0,
        }
    }

    /// Adds decoded spans at this time; a time before the last one counts as the last one.
    pub fn feed(&mut self, columns: &Arc<Columns>, now: u64) {
        self.now = self.now.max(now);
        self.counts.batches += u64::from(columns.batches);
        self.counts.fed += columns.len() as u64;
        if columns.is_empty() {
            return;
        }
        self.learn(columns);
        let facts = Facts::new(columns, &self.apiservers);
        let segment = self.store.open(Arc::clone(columns));
        let bytes = self.store.row_bytes(segment);
        let (mut last, mut held) = (NONE, 0);
        for row in 0..columns.len() {
            let span = Store::row(columns, segment, row, facts.of(columns, row));
            held += usize::from(self.feed_span(columns, span, bytes, &mut last));
        }
        self.store.hold(segment, held);
        self.stay_within_limits();
        self.tidy();
    }

    /// False if the same span is held already. `last`: the slot of the span before, which mostly is of the same trace.
    fn feed_span(&mut self, c: &Columns, span: Held, bytes: u64, last: &mut u32) -> bool {
        const IDS: u8 = present::TRACE_ID | present::SPAN_ID;
        let row = span.row() as usize;
        let id = c.spans.trace_id[row];
        if c.spans.present[row] & IDS != IDS || id == [0; 16] || span.span_id == 0 {
            self.without_id.push(span);
            return true;
        }
        if !self.traces.takes(*last, &id) {
            *last = self.traces.find(&id).unwrap_or_else(|| self.create(id));
        }
        let slot = *last;
        let trace = self.traces.at_mut(slot);
        if !trace.spans.add(&self.store, span) {
            self.counts.repeats += 1;
            return false;
        }
        trace.changed = true;
        trace.bytes += bytes;
        self.bytes += bytes;
        let (many, is_active) = (trace.spans.all().len(), trace.active == self.now);
        if !std::mem::replace(&mut trace.touched, true) {
            self.touched.push(slot);
        }
        if !is_active {
            self.traces.set_active(slot, self.now);
        }
        for link in c.links_of(row) {
            self.link(slot, id, c.links.trace_id[link]);
        }
        if many >= self.settings.max_trace_spans {
            self.evict(slot, EvictionReason::TraceSpans);
        }
        true
    }

    /// Learns which services are API servers. If one turns out to be, the held traces with spans of it change.
    fn learn(&mut self, c: &Columns) {
        let before = self.apiservers.clone();
        if !self.apiservers.learn(c) {
            return;
        }
        let mut known: HashMap<u32, (KnownNames, Facts), RandomState> = HashMap::default();
        for slot in self.traces.all().collect::<Vec<u32>>() {
            let mut differs = false;
            for held in self.traces.at_mut(slot).spans.all_mut() {
                let (c, row) = self.store.place(held);
                let (old, new) = known
                    .entry(held.segment())
                    .or_insert_with(|| (KnownNames::new(c, &before), Facts::new(c, &self.apiservers)));
                if old.in_apiserver(c, row) != new.names.in_apiserver(c, row) {
                    held.note(new.of(c, row));
                    differs = true;
                }
            }
            if differs {
                let trace = self.traces.at_mut(slot);
                (trace.changed, trace.looked) = (true, 0);
                self.touch(slot);
            }
        }
    }

    fn tidy(&mut self) {
        self.store.tidy(self.traces.spans_mut().chain(&mut self.without_id));
    }

    fn create(&mut self, id: [u8; 16]) -> u32 {
        self.counts.late += u64::from(self.released.contains(id));
        let slot = self.traces.create(id, self.now);
        self.traces.at_mut(slot).linked = self.couplings.is_linked_to(id);
        slot
    }

    fn touch(&mut self, slot: u32) {
        let trace = self.traces.at_mut(slot);
        if !trace.touched {
            trace.touched = true;
            self.touched.push(slot);
        }
    }

    fn link(&mut self, slot: u32, own: [u8; 16], to: [u8; 16]) {
        if to != own && to != [0; 16] {
            self.couplings.link(slot, to);
            self.traces.at_mut(slot).linked = true;
            if let Some(target) = self.traces.find(&to) {
                self.traces.at_mut(target).linked = true;
                self.touch(target);
            }
        }
    }

    /// Counts by name. `spans` = `held` + `repeats` + `released` + `discarded`.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let c = &self.counts;
        let plain = [
            ("batches", c.batches),
            ("spans", c.fed),
            ("held", self.store.len() as u64),
            ("repeats", c.repeats),
            ("released", c.released),
            ("discarded", c.discarded),
            ("held_traces", self.traces.len() as u64),
            ("held_bytes", self.bytes),
            ("updates", c.updates),
            ("late_traces", c.late),
            ("process_pairs_forgotten", self.clocks.forgotten),
        ];
        let evicted = EvictionReason::NAMES.iter().zip(c.evicted);
        let evicted = evicted.map(|(reason, traces)| (format!("evicted_{reason}"), traces));
        plain.into_iter().map(|(name, count)| (name.to_owned(), count)).chain(evicted).collect()
    }

    /// Role → spans of all that was emitted, each trace as it was emitted last; repeats are duplicates.
    pub fn ledger(&self) -> [u64; Role::NAMES.len()] {
        let mut ledger = self.roles;
        ledger[Role::Duplicate as usize] += self.counts.repeats;
        ledger
    }
}

/// Finds the facts about each span, see [`fact`].
struct Facts {
    names: KnownNames,
    keys: Keys,
}

impl Facts {
    fn new(c: &Columns, apiservers: &Apiservers) -> Self {
        Self { names: KnownNames::new(c, apiservers), keys: Keys::new(c) }
    }

    fn of(&self, c: &Columns, row: usize) -> u8 {
        let (names, bit) = (&self.names, |holds: bool, bit: u8| if holds { bit } else { 0 });
        match c.spans.kind[row] {
            span_kind::SERVER if names.is_request(c, row) => {
                fact::REQUEST | bit(self.keys.is_unanswered(c, row), fact::UNANSWERED)
            }
            span_kind::SERVER => bit(names.is_rpc(c, row), fact::RPC_SERVER),
            span_kind::CLIENT => {
                bit(names.is_etcd_call(c, row), fact::ETCD_CALL)
                    | bit(names.is_cri_call(c, row), fact::CRI_CALL)
            }
            span_kind::INTERNAL => {
                bit(names.is_audit(c, row), fact::AUDIT)
                    | bit(names.is_authentication(c, row), fact::AUTHENTICATION)
                    | bit(names.is_sync(c, row), fact::SYNC)
            }
            _ => 0,
        }
    }
}
