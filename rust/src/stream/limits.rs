//! Evicts traces so that the stream stays within its limits: oldest first, and counted.

use crate::stream::Stream;
use crate::stream::traces::EvictionReason;

impl Stream {
    pub(super) fn stay_within_limits(&mut self) {
        while let Some((reason, slot)) = self.over().zip(self.traces.by_age.first()) {
            self.evict(slot, reason);
        }
        let mut gone = Vec::new();
        let (mut spans, mut bytes) = self.waiting;
        while spans > self.settings.max_spans || bytes > self.settings.max_bytes {
            let Some(slot) = self.evicted.pop_front() else { break };
            let trace = self.traces.at(slot);
            (spans, bytes) = (spans - trace.spans.all().len(), bytes - trace.bytes);
            gone.push(slot);
        }
        self.let_go(gone);
        if self.without_id.len() > self.settings.max_spans {
            self.counts.discarded += self.release_without_id() as u64;
        }
    }

    pub(super) fn over(&self) -> Option<EvictionReason> {
        let spans = self.store.len() - self.without_id.len() - self.waiting.0;
        let over = [
            (EvictionReason::Spans, spans > self.settings.max_spans),
            (EvictionReason::Traces, self.traces.len() - self.evicted.len() > self.settings.max_traces),
            (EvictionReason::Bytes, self.bytes - self.waiting.1 > self.settings.max_bytes),
        ];
        over.into_iter().find(|(_, is_over)| *is_over).map(|(reason, _)| reason)
    }

    /// Emits a trace next as it is, and releases it; what was emitted and did not change is only released.
    pub(super) fn evict(&mut self, slot: u32, reason: EvictionReason) {
        let trace = self.traces.at(slot);
        self.waiting = (self.waiting.0 + trace.spans.all().len(), self.waiting.1 + trace.bytes);
        self.counts.evicted[reason as usize] += u64::from(trace.changed);
        self.traces.close(slot);
        self.evicted.push_back(slot);
    }

    /// Frees slots. Traces that were never emitted are lost.
    pub(super) fn let_go(&mut self, slots: Vec<u32>) {
        if slots.is_empty() {
            return;
        }
        for slot in slots {
            let was_evicted = self.traces.at(slot).evicted;
            let Some(trace) = self.traces.remove(slot) else { continue };
            trace.halves.iter().for_each(|&half| self.couplings.leave(slot, half));
            if trace.linked {
                self.couplings.unlink(slot);
            }
            self.bytes -= trace.bytes;
            if was_evicted {
                self.waiting = (self.waiting.0 - trace.spans.all().len(), self.waiting.1 - trace.bytes);
            }
            if let Some(given) = &trace.given {
                self.clocks.let_go(&given.calls);
                if given.has_requests {
                    self.settled.push(trace.id);
                }
            }
            self.store.release(trace.spans.all());
            self.released.add(trace.id);
            let count = trace.spans.all().len() as u64;
            *(if trace.changed { &mut self.counts.discarded } else { &mut self.counts.released }) += count;
            self.traces.reuse(trace.spans);
        }
        self.clocks.forget_oldest();
    }

    pub(super) fn release_without_id(&mut self) -> usize {
        let spans = std::mem::take(&mut self.without_id);
        self.store.release(&spans);
        spans.len()
    }
}
