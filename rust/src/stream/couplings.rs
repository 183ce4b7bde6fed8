//! Traces whose results depend on each other: they are joined together, or not at all.
//!
//! * Span links: a link can be where an orphan belongs, who called a request, or what caused it. Either end counts.
//! * Halves of split requests: an `authentication` span alone in its trace and a request of its process belong together
//!   if nothing else of that process is within 50 µs, so everything that near takes part, in a chain:
//!
//! ```text
//! process a   F──R···········F──R──R···F        one group │ another
//!             ≤ 50 µs    > 50 µs
//! ```

use std::collections::BTreeSet;

use crate::shapes::authentication::APART_NS;

type TraceId = [u8; 16];

/// Where a half can meet another one: process key, ns since the epoch, slot of its trace.
type Meeting = (u64, i64, u32);

/// What couples which slots.
#[derive(Default)]
pub struct Couplings {
    /// (slot, trace that its links name)
    to: BTreeSet<(u32, TraceId)>,
    /// The same, turned.
    from: BTreeSet<(TraceId, u32)>,
    meetings: BTreeSet<Meeting>,
    /// (slot, process, instant)
    halves: BTreeSet<(u32, u64, i64)>,
}

impl Couplings {
    /// A span of the slot links to this trace.
    pub fn link(&mut self, slot: u32, to: TraceId) {
        self.to.insert((slot, to));
        self.from.insert((to, slot));
    }

    /// The traces that the slot links to.
    pub fn links_of(&self, slot: u32) -> impl Iterator<Item = &TraceId> {
        self.to.range((slot, [0; 16])..=(slot, [255; 16])).map(|(_, to)| to)
    }

    /// The slots that link to a trace.
    pub fn links_to(&self, trace: TraceId) -> impl Iterator<Item = u32> {
        self.from.range((trace, 0)..=(trace, u32::MAX)).map(|&(_, slot)| slot)
    }

    /// Whether the slot has a link, or its trace is linked to.
    pub fn is_linked(&self, slot: u32, trace: TraceId) -> bool {
        self.links_of(slot).next().is_some() || self.links_to(trace).next().is_some()
    }

    /// The halves in a slot are these now, as (process, instant).
    pub fn set_halves(&mut self, slot: u32, halves: &[(u64, i64)]) {
        for (_, process, at) in self.take_halves(slot) {
            self.meetings.remove(&(process, at, slot));
        }
        for &(process, at) in halves {
            self.meetings.insert((process, at, slot));
            self.halves.insert((slot, process, at));
        }
    }

    fn take_halves(&mut self, slot: u32) -> Vec<(u32, u64, i64)> {
        if self.halves.is_empty() {
            return Vec::new();
        }
        let of_slot: Vec<_> = self.halves.range((slot, 0, i64::MIN)..=(slot, u64::MAX, i64::MAX)).copied().collect();
        for half in &of_slot {
            self.halves.remove(half);
        }
        of_slot
    }

    /// The slot is free.
    pub fn forget(&mut self, slot: u32) {
        self.set_halves(slot, &[]);
        let targets: Vec<TraceId> = self.links_of(slot).copied().collect();
        for to in targets {
            self.to.remove(&(slot, to));
            self.from.remove(&(to, slot));
        }
    }

    /// All slots with a half in a chain with one of this slot. A meeting in `seen` was looked at before.
    pub fn near(&self, slot: u32, seen: &mut BTreeSet<Meeting>) -> Vec<u32> {
        let mut found = Vec::new();
        for &(_, process, at) in self.halves.range((slot, 0, i64::MIN)..=(slot, u64::MAX, i64::MAX)) {
            let here = (process, at, slot);
            if !seen.insert(here) {
                continue;
            }
            let before = self.meetings.range(..here).rev();
            let after = self.meetings.range(here..).skip(1);
            for side in [&mut before.into_iter() as &mut dyn Iterator<Item = &Meeting>, &mut after.into_iter()] {
                let mut last = at;
                for &meeting in side {
                    let (other, next, slot) = meeting;
                    if other != process || last.abs_diff(next) > APART_NS as u64 || !seen.insert(meeting) {
                        break;
                    }
                    last = next;
                    found.push(slot);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_in_a_chain_of_one_process_is_found_once() {
        let mut couplings = Couplings::default();
        let at = [(1, 0), (1, 50_000), (1, 100_000), (1, 150_001), (2, 60_000)];
        for (slot, &half) in at.iter().enumerate() {
            couplings.set_halves(slot as u32, &[half]);
        }
        let mut seen = BTreeSet::new();
        assert_eq!(vec![0, 2], couplings.near(1, &mut seen));
        assert!(couplings.near(0, &mut seen).is_empty());
        couplings.forget(1);
        assert!(couplings.near(0, &mut BTreeSet::new()).is_empty());
    }

    #[test]
    fn a_link_is_seen_from_both_ends_until_its_slot_is_free() {
        let mut couplings = Couplings::default();
        couplings.link(7, [1; 16]);
        assert!(couplings.is_linked(7, [2; 16]) && couplings.is_linked(3, [1; 16]));
        couplings.forget(7);
        assert!(!couplings.is_linked(7, [2; 16]) && !couplings.is_linked(3, [1; 16]));
    }
}
