//! Which traces are emitted: those that are finished, and groups that are idle.

use crate::stream::dependencies::SeenMeetings;
use crate::stream::inspect::{Look, Looking};
use crate::stream::traces::{EvictionReason, Traces};
use crate::stream::{Stream, Taken};

/// Slots of groups to which no span came for the window.
#[derive(Default)]
pub struct Idle {
    /// Of those in which something changed since they were emitted.
    pub changed: Vec<u32>,
    /// Of the others.
    pub unchanged: Vec<u32>,
}

/// A trace that has more spans is looked at again only when it has grown by an eighth.
const SMALL_TRACE: u64 = 10_000;

impl Stream {
    /// Emits what is finished, idle, or evicted at this time.
    pub fn take(&mut self, now: u64) -> Taken {
        self.now = self.now.max(now);
        if let Some(old) = self.now.checked_sub(self.settings.max_age_ns) {
            while let Some(slot) = self.traces.by_age.first().filter(|&slot| self.traces.at(slot).born <= old)
            {
                self.evict(slot, EvictionReason::Age);
            }
        }
        let mut finished = self.look_at_touched();
        if !self.settings.early {
            finished.clear();
        }
        let idle = self.idle_groups(self.now.checked_sub(self.settings.window_ns));
        self.give_out(finished, idle, false)
    }

    /// Emits everything that was not emitted, and releases all.
    pub fn flush(&mut self) -> Taken {
        self.look_at_touched();
        let all = self.idle_groups(Some(self.now));
        self.give_out(Vec::new(), all, true)
    }

    /// Looks at traces to which spans came. Returns those that are finished.
    pub(super) fn look_at_touched(&mut self) -> Vec<u32> {
        let (mut finished, mut looking) = (Vec::new(), Looking::default());
        for slot in std::mem::take(&mut self.touched) {
            let Some(trace) = self.traces.get_mut(slot).filter(|trace| trace.touched) else { continue };
            trace.touched = false;
            let spans = trace.spans.all().len() as u64;
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

    pub(super) fn look(&self, looking: &mut Looking, slot: u32) -> Look {
        let trace = self.traces.at(slot);
        looking.look(&self.store, trace.spans.all(), trace.linked, self.clocks.moved())
    }

    /// All groups that got no span after `idle_since`, in which something changed since they were emitted; the others.
    pub(super) fn idle_groups(&mut self, idle_since: Option<u64>) -> Idle {
        let mut idle = Idle::default();
        let Some(idle_since) = idle_since else { return idle };
        self.round += 1;
        let is_idle = |traces: &Traces, slot: u32| traces.at(slot).active <= idle_since;
        let slots = self.traces.by_activity.iter().take_while(|&slot| is_idle(&self.traces, slot));
        let slots: Vec<u32> = slots.collect();
        let (mut group, mut seen) = (Vec::new(), SeenMeetings::default());
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
    pub(super) fn find_group(&mut self, slot: u32, group: &mut Vec<u32>, seen: &mut SeenMeetings) {
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
}
