//! Spans that come for ever → requests, each as soon as it is whole, in bounded memory.
//!
//! ```text
//! feed   decoded tables ─ held by trace ─┐
//! take                                   └─ finished? idle? too old? ─ gather ─ join ─ given out ─ let go when idle
//! ```
//!
//! There is no second way to join: what is due is gathered into a table of its own, and joined like any other. So that
//! the result is that of all spans at once, traces that depend on each other go together (`couplings`), and what calls
//! of other traces say of the clocks is handed to the join (`evidence`).

mod couplings;
mod evidence;
mod look;
mod order;
mod store;
mod traces;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::columns::{Columns, present, run};
use crate::forest::NONE;
use crate::join::{Context, Joined, Role, TraceIds, join_part};
use crate::requests::Keys;
use crate::shapes::{self, KnownNames};

use couplings::{Couplings, Seen};
use evidence::Clocks;
use look::{Look, Looking};
use store::{Store, fact};
use traces::{Given, Reason, Traces};

/// Limits. Times in ns of the caller's clock.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// A trace to which no span came for so long is given out, and let go.
    pub window_ns: u64,
    /// So long after its first span it is given out and let go even if spans still come.
    pub max_age_ns: u64,
    /// Spans held at most.
    pub max_spans: usize,
    /// Traces held at most.
    pub max_traces: usize,
    /// Spans held at most of one trace.
    pub max_trace_spans: usize,
    /// Bytes held at most for spans, about.
    pub max_bytes: u64,
}

/// What `take` gives out.
pub struct Taken {
    /// The traces that are due, joined.
    pub joined: Joined,
    /// Request → how often its trace was given out before.
    pub revision: Vec<u32>,
    /// Requests given out earlier that do not hold any more: trace id, span id, revision.
    pub replaced: Vec<([u8; 16], [u8; 8], u32)>,
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
    evicted: [u64; Reason::NAMES.len()],
}

/// See the room.
pub struct Stream {
    settings: Settings,
    store: Store,
    traces: Traces,
    couplings: Couplings,
    clocks: Clocks,
    counts: Counts,
    /// Role → spans, as given out last.
    roles: [u64; Role::NAMES.len()],
    /// Spans without a usable id: the newest, the others in the chain behind; how many.
    without_id: (u32, usize),
    /// Traces to look at.
    touched: Vec<u32>,
    /// Traces that are given out next, oldest first, and what is held for them: spans, bytes.
    evicted: VecDeque<u32>,
    waiting: (usize, u64),
    bytes: u64,
    now: u64,
    round: u64,
}

/// Slots of groups to which no span came for the window.
#[derive(Default)]
struct Idle {
    /// Of those in which something changed since they were given out.
    changed: Vec<u32>,
    /// Of the others.
    unchanged: Vec<u32>,
}

/// A trace that has more spans is looked at again only when it has grown by an eighth.
const SMALL_TRACE: u64 = 10_000;

impl Stream {
    /// A stream that holds nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            store: Store::default(),
            traces: Traces::default(),
            couplings: Couplings::default(),
            clocks: Clocks::default(),
            counts: Counts::default(),
            roles: [0; Role::NAMES.len()],
            without_id: (NONE, 0),
            touched: Vec::new(),
            evicted: VecDeque::new(),
            waiting: (0, 0),
            bytes: 0,
            now: 0,
            round: 0,
        }
    }

    /// Takes decoded spans in, at this time; an earlier time than the last one counts as that.
    pub fn feed(&mut self, columns: Arc<Columns>, now: u64) {
        self.now = self.now.max(now);
        self.counts.batches += u64::from(columns.batches);
        self.counts.fed += columns.len() as u64;
        if columns.is_empty() {
            return;
        }
        let facts = Facts::new(&columns);
        let segment = self.store.open(Arc::clone(&columns));
        for row in 0..columns.len() {
            self.feed_span(&columns, segment, row, facts.of(&columns, row));
        }
        self.stay_within_limits();
        self.store.tidy();
    }

    fn feed_span(&mut self, c: &Columns, segment: u32, row: usize, facts: u8) {
        const IDS: u8 = present::TRACE_ID | present::SPAN_ID;
        let (s, id) = (&c.spans, c.spans.trace_id[row]);
        if s.present[row] & IDS != IDS || id == [0; 16] || s.span_id[row] == [0; 8] {
            self.without_id.0 = self.store.hold_any(c, segment, row as u32, facts, self.without_id.0);
            self.without_id.1 += 1;
            return;
        }
        let known = self.traces.find(&id);
        let head = known.map_or(NONE, |slot| self.traces.at(slot).head);
        let Some(node) = self.store.hold(c, segment, row as u32, facts, head) else {
            self.counts.repeats += 1;
            return;
        };
        let slot = known.unwrap_or_else(|| self.create(id));
        let bytes = self.store.row_bytes(segment);
        self.bytes += bytes;
        self.traces.touch(slot, self.now);
        let trace = self.traces.at_mut(slot);
        (trace.head, trace.changed) = (node, true);
        trace.spans += 1;
        trace.bytes += bytes;
        self.touch(slot);
        for link in run(&s.links_end, row) {
            self.link(slot, id, c.links.trace_id[link]);
        }
        if self.traces.at(slot).spans as usize >= self.settings.max_trace_spans {
            self.evict(slot, Reason::TraceSpans);
        }
    }

    fn create(&mut self, id: [u8; 16]) -> u32 {
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

    // ── Limits ────────────────────────────────────────────────────────────────────────────────────

    fn stay_within_limits(&mut self) {
        while let Some((reason, slot)) = self.over().zip(self.traces.by_age.first()) {
            self.evict(slot, reason);
        }
        let mut gone = Vec::new();
        let (mut spans, mut bytes) = self.waiting;
        while spans > self.settings.max_spans || bytes > self.settings.max_bytes {
            let Some(slot) = self.evicted.pop_front() else { break };
            let trace = self.traces.at(slot);
            (spans, bytes) = (spans - trace.spans as usize, bytes - trace.bytes);
            gone.push(slot);
        }
        self.let_go(gone);
        if self.without_id.1 > self.settings.max_spans {
            self.counts.discarded += self.release_without_id() as u64;
        }
    }

    fn over(&self) -> Option<Reason> {
        let spans = self.store.len() - self.without_id.1 - self.waiting.0;
        let over = [
            (Reason::Spans, spans > self.settings.max_spans),
            (Reason::Traces, self.traces.len() - self.evicted.len() > self.settings.max_traces),
            (Reason::Bytes, self.bytes - self.waiting.1 > self.settings.max_bytes),
        ];
        over.into_iter().find(|(_, is_over)| *is_over).map(|(reason, _)| reason)
    }

    /// Gives a trace out next as it is, and lets it go; what was given out and did not change is only let go.
    fn evict(&mut self, slot: u32, reason: Reason) {
        let trace = self.traces.at(slot);
        self.waiting = (self.waiting.0 + trace.spans as usize, self.waiting.1 + trace.bytes);
        self.counts.evicted[reason as usize] += u64::from(trace.changed);
        self.traces.close(slot);
        self.evicted.push_back(slot);
    }

    /// Frees slots. What was never given out is lost.
    fn let_go(&mut self, slots: Vec<u32>) {
        if slots.is_empty() {
            return;
        }
        slots.iter().for_each(|&slot| self.traces.at_mut(slot).going = true);
        self.clocks.let_go(|slot| self.traces.at(slot).going);
        for slot in slots {
            let was_evicted = self.traces.at(slot).evicted;
            let Some(trace) = self.traces.remove(slot) else { continue };
            trace.halves.iter().for_each(|&half| self.couplings.leave(slot, half));
            if trace.linked {
                self.couplings.unlink(slot);
            }
            self.bytes -= trace.bytes;
            if was_evicted {
                self.waiting = (self.waiting.0 - trace.spans as usize, self.waiting.1 - trace.bytes);
            }
            let count = self.store.release(trace.head) as u64;
            *(if trace.changed { &mut self.counts.discarded } else { &mut self.counts.released }) += count;
        }
    }

    fn release_without_id(&mut self) -> usize {
        let (head, count) = std::mem::replace(&mut self.without_id, (NONE, 0));
        if count > 0 { self.store.release(head) } else { 0 }
    }

    // ── What is due ───────────────────────────────────────────────────────────────────────────────

    /// Gives out what is finished, idle, or has to go, at this time.
    pub fn take(&mut self, now: u64) -> Taken {
        self.now = self.now.max(now);
        if let Some(old) = self.now.checked_sub(self.settings.max_age_ns) {
            while let Some(slot) = self.traces.by_age.first().filter(|&slot| self.traces.at(slot).born <= old)
            {
                self.evict(slot, Reason::Age);
            }
        }
        let finished = self.look_at_touched();
        let idle = self.idle_groups(self.now.checked_sub(self.settings.window_ns));
        self.give_out(finished, idle, false)
    }

    /// Gives out everything that was not given out, and lets all go.
    pub fn flush(&mut self) -> Taken {
        self.look_at_touched();
        let all = self.idle_groups(Some(self.now));
        self.give_out(Vec::new(), all, true)
    }

    /// Looks at traces to which spans came. Returns those that are finished.
    fn look_at_touched(&mut self) -> Vec<u32> {
        let (mut finished, mut looking) = (Vec::new(), Looking::default());
        for slot in std::mem::take(&mut self.touched) {
            let Some(trace) = self.traces.get_mut(slot).filter(|trace| trace.touched) else { continue };
            trace.touched = false;
            let spans = u64::from(trace.spans);
            if trace.evicted || spans > SMALL_TRACE && trace.looked + trace.looked / 8 > spans {
                continue;
            }
            trace.looked = spans;
            let found = self.look(&mut looking, slot);
            let trace = self.traces.at_mut(slot);
            if trace.changed && found.whole && found.halves.is_empty() && !found.is_moved && !trace.linked {
                finished.push(slot);
            }
            trace.halves.iter().for_each(|&half| self.couplings.leave(slot, half));
            found.halves.iter().for_each(|&half| self.couplings.meet(slot, half));
            trace.halves = found.halves;
        }
        finished
    }

    fn look(&self, looking: &mut Looking, slot: u32) -> Look {
        let trace = self.traces.at(slot);
        looking.look(&self.store, trace.head, trace.linked, self.clocks.moved())
    }

    /// All groups that got no span after `idle_since`, in which something changed since they were given out; the others.
    fn idle_groups(&mut self, idle_since: Option<u64>) -> Idle {
        let mut idle = Idle::default();
        let Some(idle_since) = idle_since else { return idle };
        self.round += 1;
        let is_idle = |traces: &Traces, slot: u32| traces.at(slot).active <= idle_since;
        let slots = self.traces.by_activity.iter().take_while(|&slot| is_idle(&self.traces, slot));
        let slots: Vec<u32> = slots.collect();
        let (mut group, mut seen) = (Vec::new(), Seen::default());
        for slot in slots {
            if self.traces.at(slot).round == self.round {
                continue;
            }
            self.find_group(slot, &mut group, &mut seen);
            if group.iter().all(|&slot| is_idle(&self.traces, slot)) {
                let changed = group.iter().any(|&slot| self.traces.at(slot).changed);
                if changed { &mut idle.changed } else { &mut idle.unchanged }.append(&mut group);
            }
        }
        idle
    }

    /// The traces that a trace can only be joined with, itself first.
    fn find_group(&mut self, slot: u32, group: &mut Vec<u32>, seen: &mut Seen) {
        group.clear();
        group.push(slot);
        self.traces.at_mut(slot).round = self.round;
        let mut next = 0;
        while let Some(&slot) = group.get(next) {
            next += 1;
            let trace = self.traces.at(slot);
            let mut coupled = self.couplings.near(slot, &trace.halves, seen);
            if trace.linked {
                coupled.extend(self.couplings.links_of(slot).filter_map(|id| self.traces.find(id)));
                coupled.extend(self.couplings.links_to(trace.id));
            }
            for other in coupled {
                let trace = self.traces.at_mut(other);
                if trace.round != self.round && !trace.evicted {
                    trace.round = self.round;
                    group.push(other);
                }
            }
        }
    }

    // ── Giving out ────────────────────────────────────────────────────────────────────────────────

    /// Joins what is finished, what was evicted, and those idle groups in which something changed since they were given
    /// out. All but the finished ones are let go.
    fn give_out(&mut self, finished: Vec<u32>, idle: Idle, all: bool) -> Taken {
        let evicted: Vec<u32> = self.evicted.drain(..).collect();
        let evicted_ids: TraceIds = evicted.iter().map(|&slot| self.traces.at(slot).id).collect();
        let is_changed = |slot: &u32| self.traces.at(*slot).changed;
        let mut going = idle.changed.clone();
        going.extend(evicted.iter().copied().filter(is_changed));
        going.iter().for_each(|&slot| self.traces.at_mut(slot).going = true);
        going.extend(finished.into_iter().filter(|&slot| !self.traces.at(slot).going));
        let (joined, places, moved) = self.join(&mut going, evicted_ids, all);
        let taken = self.note(joined, &going, &places);
        self.let_go(evicted.into_iter().chain(idle.changed).collect());
        if moved && !all {
            self.mark_moved();
        }
        let is_settled = |slot: &u32| !self.traces.at(*slot).changed;
        self.let_go(idle.unchanged.into_iter().filter(is_settled).collect());
        let without_id = self.release_without_id();
        self.counts.released += without_id as u64;
        self.store.tidy();
        taken
    }

    /// Joins traces, and says for each row which one it is of, and whether a clock is moved that was not.
    fn join(&mut self, going: &mut Vec<u32>, evicted: TraceIds, all: bool) -> (Joined, Vec<u32>, bool) {
        loop {
            going.iter().for_each(|&slot| self.traces.at_mut(slot).going = true);
            self.clocks.retract(|slot| self.traces.at(slot).going);
            let (columns, places) = self.gather(going);
            let held = self.clocks.held();
            let clocks = self.clocks.known(&held, &self.store.hasher);
            let joined = join_part(Arc::new(columns), Context { clocks, evicted: evicted.clone() });
            let moved = self.clocks.follow(&joined, &self.store.hasher);
            let more = if moved && all { self.mark_moved() } else { Vec::new() };
            if more.is_empty() {
                return (joined, places, moved);
            }
            going.extend(more);
        }
    }

    /// The spans of these slots, and those without id; row → place in `going`, [`NONE`] without id.
    fn gather(&self, going: &[u32]) -> (Columns, Vec<u32>) {
        let mut nodes: Vec<(u32, u32)> = Vec::new();
        for (place, &slot) in going.iter().enumerate() {
            nodes.extend(self.store.chain(self.traces.at(slot).head).map(|node| (node, place as u32)));
        }
        if self.without_id.1 > 0 {
            nodes.extend(self.store.chain(self.without_id.0).map(|node| (node, NONE)));
        }
        let columns = self.store.gather(&mut nodes);
        (columns, nodes.into_iter().map(|(_, place)| place).collect())
    }

    /// Marks the traces that were given out before a clock was known to be moved. Returns those that are not going.
    fn mark_moved(&mut self) -> Vec<u32> {
        let was_given = |slot: &u32| {
            let trace = self.traces.at(*slot);
            trace.given.is_some() && !trace.changed && !trace.evicted && !trace.going
        };
        let given: Vec<u32> = self.traces.all().filter(was_given).collect();
        let mut looking = Looking::default();
        let is_moved = |slot: &u32| self.look(&mut looking, *slot).is_moved;
        let moved: Vec<u32> = given.into_iter().filter(is_moved).collect();
        moved.iter().for_each(|&slot| self.traces.at_mut(slot).changed = true);
        moved
    }

    /// Notes what is given out, and finds out what it replaces.
    fn note(&mut self, joined: Joined, going: &[u32], places: &[u32]) -> Taken {
        let c = Arc::clone(&joined.columns);
        let slot = |row: u32| going.get(places[row as usize] as usize).copied();
        self.clocks.note(&joined, &self.store.hasher, slot);
        let mut given = vec![Given::default(); going.len()];
        for (&place, &role) in places.iter().zip(&joined.role) {
            match given.get_mut(place as usize) {
                Some(given) => given.roles[role as usize] += 1,
                None => self.roles[role as usize] += 1,
            }
        }
        let mut revision = Vec::with_capacity(joined.requests.len());
        for &root in &joined.requests.root {
            let place = places[root as usize] as usize;
            given[place].requests.push(c.spans.span_id[root as usize]);
            revision.push(self.traces.at(going[place]).revision);
        }
        let mut replaced = Vec::new();
        for (&slot, given) in going.iter().zip(given) {
            self.note_one(slot, given, &mut replaced);
        }
        Taken { joined, revision, replaced }
    }

    fn note_one(&mut self, slot: u32, given: Given, replaced: &mut Vec<([u8; 16], [u8; 8], u32)>) {
        let trace = self.traces.at_mut(slot);
        for (total, &spans) in self.roles.iter_mut().zip(&given.roles) {
            *total += u64::from(spans);
        }
        if let Some(before) = trace.given.replace(given) {
            for (total, &spans) in self.roles.iter_mut().zip(&before.roles) {
                *total -= u64::from(spans);
            }
            let (id, revision) = (trace.id, trace.revision - 1);
            replaced.extend(before.requests.into_iter().map(|span| (id, span, revision)));
            self.counts.updates += 1;
        }
        trace.revision += 1;
        (trace.changed, trace.going) = (false, false);
    }

    // ── Counts ────────────────────────────────────────────────────────────────────────────────────

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
            ("process_pairs_forgotten", self.clocks.forgotten),
        ];
        let evicted = Reason::NAMES.iter().zip(c.evicted);
        let evicted = evicted.map(|(reason, traces)| (format!("evicted_{reason}"), traces));
        plain.into_iter().map(|(name, count)| (name.to_owned(), count)).chain(evicted).collect()
    }

    /// Role → spans of all that was given out, each trace as it was given out last; repeats are duplicates.
    pub fn ledger(&self) -> [u64; Role::NAMES.len()] {
        let mut ledger = self.roles;
        ledger[Role::Duplicate as usize] += self.counts.repeats;
        ledger
    }
}

/// Finds out what is to be known of each span, see [`fact`].
struct Facts {
    names: KnownNames,
    keys: Keys,
}

impl Facts {
    fn new(c: &Columns) -> Self {
        Self { names: KnownNames::new(c), keys: Keys::new(c) }
    }

    fn of(&self, c: &Columns, row: usize) -> u8 {
        let (names, bit) = (&self.names, |holds: bool, bit: u8| if holds { bit } else { 0 });
        match c.spans.kind[row] {
            shapes::SERVER if names.is_request(c, row) => {
                fact::REQUEST | bit(self.keys.is_unanswered(c, row), fact::UNANSWERED)
            }
            shapes::SERVER => bit(names.is_rpc(c, row), fact::RPC_SERVER),
            shapes::CLIENT => bit(names.is_etcd_call(c, row), fact::ETCD_CALL),
            shapes::INTERNAL => {
                bit(names.is_audit(c, row), fact::AUDIT)
                    | bit(names.is_authentication(c, row), fact::AUTHENTICATION)
            }
            _ => 0,
        }
    }
}
