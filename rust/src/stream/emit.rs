//! Emitting traces: gathered, joined, and noted, so that a later take can say what it replaces.

use std::sync::Arc;

use crate::columns::{Columns, NONE};
use crate::join::{Context, Joined, TraceIds, join_part};
use crate::stream::due::Idle;
use crate::stream::inspect::Looking;
use crate::stream::traces::Given;
use crate::stream::{Stream, Taken};

/// An emitted take holds the texts of a table if at least one in this many of its rows is emitted.
const LOOSE: usize = 4;

impl Stream {
    /// Joins what is finished, what was evicted, and those idle groups in which something changed since they were emitted.
    /// All but the finished ones are released.
    pub(super) fn give_out(&mut self, finished: Vec<u32>, idle: Idle, all: bool) -> Taken {
        let evicted: Vec<u32> = self.evicted.drain(..).collect();
        let evicted_ids: TraceIds = evicted.iter().map(|&slot| self.traces.at(slot).id).collect();
        let is_changed = |slot: &u32| self.traces.at(*slot).changed;
        let mut going = idle.changed.clone();
        going.extend(evicted.iter().copied().filter(is_changed));
        let leaving = going.len();
        for &slot in &going {
            self.traces.at_mut(slot).going = true;
        }
        going.extend(finished.into_iter().filter(|&slot| !self.traces.at(slot).going));
        let (joined, places, moved) = self.join(&mut going, &evicted_ids, all);
        let mut taken = self.note(joined, &going, &places, leaving);
        let place = |&root: &u32| places[root as usize] as usize;
        taken.is_final = taken.joined.requests.root.iter().map(|root| all || place(root) < leaving).collect();
        self.let_go(evicted.into_iter().chain(idle.changed).collect());
        if moved && !all {
            self.mark_moved();
        }
        let is_settled = |slot: &u32| !self.traces.at(*slot).changed;
        self.let_go(idle.unchanged.into_iter().filter(is_settled).collect());
        let without_id = self.release_without_id();
        self.counts.released += without_id as u64;
        self.tidy();
        taken.released = std::mem::take(&mut self.settled);
        taken
    }

    /// Joins traces, and says for each row which one it is of, and whether a clock is moved that was not.
    pub(super) fn join(
        &mut self,
        going: &mut Vec<u32>,
        evicted: &TraceIds,
        all: bool,
    ) -> (Joined, Vec<u32>, bool) {
        loop {
            for &slot in &*going {
                self.traces.at_mut(slot).going = true;
            }
            for given in going.iter().filter_map(|&slot| self.traces.at(slot).given.as_ref()) {
                self.clocks.retract(&given.calls);
            }
            let (columns, places) = self.gather(going);
            let clocks = self.clocks.known(self.traces.calls(), &self.store.hasher);
            let joined = join_part(
                Arc::new(columns),
                Context { clocks, evicted: evicted.clone(), apiservers: self.apiservers.clone(), threads: 1 },
            );
            let moved = self.clocks.follow(&joined, &self.store.hasher);
            let more = if moved && all { self.mark_moved() } else { Vec::new() };
            if more.is_empty() {
                return (joined, places, moved);
            }
            going.extend(more);
        }
    }

    /// The spans of these slots, and those without id; row → place in `going`, [`NONE`] without id.
    pub(super) fn gather(&self, going: &[u32]) -> (Columns, Vec<u32>) {
        let of = |&slot: &u32| self.traces.at(slot).spans.all();
        let (columns, marks) = self.store.gather(going.iter().flat_map(of).chain(&self.without_id), LOOSE);
        let mut places = vec![NONE; columns.len()];
        for (place, slot) in (0..).zip(going) {
            for held in of(slot) {
                places[marks.place(held.segment(), held.row()) as usize] = place;
            }
        }
        (columns, places)
    }

    /// Marks the traces that were emitted before a clock was known to be moved. Returns those that are not going.
    pub(super) fn mark_moved(&mut self) -> Vec<u32> {
        let was_given = |slot: &u32| {
            let trace = self.traces.at(*slot);
            trace.given.is_some() && !trace.changed && !trace.evicted && !trace.going
        };
        let given: Vec<u32> = self.traces.all().filter(was_given).collect();
        let mut looking = Looking::default();
        let is_moved = |slot: &u32| self.look(&mut looking, *slot).is_moved;
        let moved: Vec<u32> = given.into_iter().filter(is_moved).collect();
        for &slot in &moved {
            self.traces.at_mut(slot).changed = true;
        }
        moved
    }

    /// Notes what is emitted, and finds out what it replaces. The first `leaving` traces are released next.
    pub(super) fn note(&mut self, joined: Joined, going: &[u32], places: &[u32], leaving: usize) -> Taken {
        let c = Arc::clone(&joined.columns);
        let mut given = vec![Given::default(); going.len()];
        self.clocks.note(&joined, &self.store.hasher, |row, call| {
            let place = places[row as usize] as usize;
            if let Some(given) = given.get_mut(place).filter(|_| place >= leaving) {
                given.calls.push(call);
            }
            place < leaving
        });
        for (&place, &role) in places.iter().zip(&joined.role) {
            match given.get_mut(place as usize) {
                Some(given) => given.roles[role as usize] += 1,
                None => self.roles[role as usize] += 1,
            }
        }
        let mut revision = Vec::with_capacity(joined.requests.len());
        for &root in &joined.requests.root {
            let place = places[root as usize] as usize;
            given[place].has_requests = true;
            if place >= leaving {
                given[place].requests.push(c.spans.span_id[root as usize]);
            }
            revision.push(self.traces.at(going[place]).revision);
        }
        let mut replaced = Vec::new();
        for (&slot, given) in going.iter().zip(given) {
            self.note_one(slot, given, &mut replaced);
        }
        Taken { joined, revision, replaced, is_final: Vec::new(), released: Vec::new() }
    }

    pub(super) fn note_one(&mut self, slot: u32, given: Given, replaced: &mut Vec<([u8; 16], [u8; 8], u32)>) {
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
}
