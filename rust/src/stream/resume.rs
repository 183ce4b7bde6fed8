//! Saving and restoring a stream: the spans that it holds, and when they came.
//!
//! A restored stream continues as if it had never been saved, if nothing waited to be emitted: after a take.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::Columns;
use crate::join::clock::Evidence;
use crate::stream::Stream;

impl Stream {
    /// All held spans of traces, and when they came.
    pub fn held(&self) -> (Columns, Vec<([u8; 16], u64, u64)>) {
        let slots: Vec<u32> = self.traces.by_age.iter().collect();
        let (columns, _) = self.gather(&slots);
        let times = slots.iter().map(|&slot| self.traces.at(slot));
        (columns, times.map(|trace| (trace.id, trace.born, trace.active)).collect())
    }

    /// Adds what another stream held at this time. This one must be new.
    pub fn pick_up(&mut self, columns: &Arc<Columns>, times: Vec<([u8; 16], (u64, u64))>, now: u64) {
        let times: HashMap<_, _, RandomState> = times.into_iter().collect();
        self.feed(columns, now);
        let mut slots: Vec<u32> = self.traces.by_age.iter().collect();
        for &slot in &slots {
            let trace = self.traces.at_mut(slot);
            if let Some(&(born, active)) = times.get(&trace.id) {
                (trace.born, trace.active) = (born, active);
            }
        }
        slots.sort_by_key(|&slot| (self.traces.at(slot).born, self.traces.at(slot).id));
        for &slot in &slots {
            self.traces.by_age.remove(slot);
            self.traces.by_age.push(slot);
        }
        slots.sort_by_key(|&slot| (self.traces.at(slot).active, self.traces.at(slot).id));
        for &slot in &slots {
            self.traces.by_activity.remove(slot);
            self.traces.by_activity.push(slot);
        }
    }

    /// Adds evidence about clocks and services: calls matched by their ids, those whose caller was found.
    pub fn hear(&mut self, calls: [Evidence; 2], services: &BTreeMap<String, u8>) {
        self.clocks.hear(calls);
        self.apiservers.hear(services);
    }

    /// What processes are numbered with.
    pub fn keys(&self) -> &RandomState {
        &self.store.hasher
    }
}
