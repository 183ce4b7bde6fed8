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

use crate::join::apiserver::authentication::APART_NS;

type TraceId = [u8; 16];

/// Where a half can meet another one: process key, ns since the epoch, slot of its trace.
type Meeting = (u64, i64, u32);

/// Meetings that were looked at.
pub type SeenMeetings = hashbrown::HashSet<Meeting, foldhash::fast::RandomState>;

/// What couples which slots.
#[derive(Default)]
pub struct Couplings {
    /// (slot, trace that its links name)
    to: BTreeSet<(u32, TraceId)>,
    /// The same, turned.
    from: BTreeSet<(TraceId, u32)>,
    meetings: BTreeSet<Meeting>,
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

    /// Whether a trace is linked to.
    pub fn is_linked_to(&self, trace: TraceId) -> bool {
        !self.from.is_empty() && self.links_to(trace).next().is_some()
    }

    /// A half of this slot can meet others of the process at this instant.
    pub fn meet(&mut self, slot: u32, (process, at): (u64, i64)) {
        self.meetings.insert((process, at, slot));
    }

    /// It can no more.
    pub fn leave(&mut self, slot: u32, (process, at): (u64, i64)) {
        self.meetings.remove(&(process, at, slot));
    }

    /// The slot has no links any more.
    pub fn unlink(&mut self, slot: u32) {
        let targets: Vec<TraceId> = self.links_of(slot).copied().collect();
        for to in targets {
            self.to.remove(&(slot, to));
            self.from.remove(&(to, slot));
        }
    }

    /// All slots with a half in a chain with these of a slot. A meeting in `seen` was looked at before.
    pub fn near(&self, slot: u32, halves: &[(u64, i64)], seen: &mut SeenMeetings) -> Vec<u32> {
        let mut found = Vec::new();
        for &(process, at) in halves {
            let here = (process, at, slot);
            if !seen.insert(here) {
                continue;
            }
            let before = self.meetings.range(..here).rev();
            let after = self.meetings.range(here..).skip(1);
            for side in
                [&mut before.into_iter() as &mut dyn Iterator<Item = &Meeting>, &mut after.into_iter()]
            {
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
        let at: [(u64, i64); 5] = [(1, 0), (1, 50_000), (1, 100_000), (1, 150_001), (2, 60_000)];
        for (slot, &half) in at.iter().enumerate() {
            couplings.meet(slot as u32, half);
        }
        let mut seen = SeenMeetings::default();
        assert_eq!(vec![0, 2], couplings.near(1, &at[1..2], &mut seen));
        assert!(couplings.near(0, &at[..1], &mut seen).is_empty());
        couplings.leave(1, at[1]);
        assert!(couplings.near(0, &at[..1], &mut SeenMeetings::default()).is_empty());
    }

    #[test]
    fn a_link_is_seen_from_both_ends_until_its_slot_is_free() {
        let mut couplings = Couplings::default();
        couplings.link(7, [1; 16]);
        assert!(couplings.is_linked_to([1; 16]) && couplings.links_of(7).eq([&[1; 16]]));
        couplings.unlink(7);
        assert!(!couplings.is_linked_to([1; 16]) && couplings.links_of(7).next().is_none());
    }
}
