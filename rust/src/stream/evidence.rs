//! What calls say of the clocks, kept beyond the spans they were read from.
//!
//! Calls in traces that are held and were given out are kept one by one, since the trace can be given out again. Those
//! of traces that were let go are summed up in hulls: a few dozen numbers for each pair of processes, for ever.

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::clock::{self, Bound, Evidence, Known, Verdict};
use crate::join::{Joined, saturated};
use crate::repair::Change;

/// So many pairs of processes are remembered; beyond, the one whose last call is longest ago is forgotten.
const PROCESS_PAIRS: usize = 10_000;

/// Pairs of processes, as keys, the caller first.
pub type Pairs = HashSet<(u64, u64), RandomState>;

/// One call of a trace that was given out.
struct Call {
    slot: u32,
    pair: (u64, u64),
    bound: Bound,
    adopted: bool,
}

/// All that is known of clocks.
#[derive(Default)]
pub struct Clocks {
    held: Vec<Call>,
    /// Of traces that were let go: calls told by their ids, and those whose caller was found.
    past: [Evidence; 2],
    /// Pairs whose called side's times are moved.
    moved: Pairs,
    /// How many pairs were forgotten.
    pub forgotten: u64,
}

/// Calls of held traces, summed up.
pub struct Held([Evidence; 2]);

impl Clocks {
    /// Pairs whose called side's times are moved.
    pub fn moved(&self) -> &Pairs {
        &self.moved
    }

    /// Sums up the held calls.
    pub fn held(&self) -> Held {
        let mut sums = [Evidence::default(), Evidence::default()];
        for call in &self.held {
            sums[usize::from(call.adopted)].entry(call.pair).or_default().add(call.bound);
        }
        Held(sums)
    }

    /// What a join is to know.
    pub fn known<'a>(&'a self, held: &'a Held, keys: &'a RandomState) -> Known<'a> {
        Known {
            keys: Some(keys),
            calls: [Some(&self.past[0]), Some(&held.0[0])],
            adopted: [Some(&self.past[1]), Some(&held.0[1])],
        }
    }

    /// Takes out what slots said, which will be said anew.
    pub fn retract(&mut self, is_said_anew: impl Fn(u32) -> bool) {
        self.held.retain(|call| !is_said_anew(call.slot));
    }

    /// Notes the calls of a join; `slot_of` tells the slot of a row.
    pub fn note(&mut self, joined: &Joined, keys: &RandomState, slot_of: impl Fn(u32) -> Option<u32>) {
        let c = &*joined.columns;
        let found = joined.repairs.iter().filter(|repair| matches!(repair.change, Change::Adopted(_)));
        let mut adopted: Vec<u32> = found.map(|repair| repair.row).collect();
        adopted.sort_unstable();
        let s = &c.spans;
        let sent =
            |row: usize| (saturated(s.start_time_unix_nano[row]), saturated(s.end_time_unix_nano[row]));
        for &(client, server) in &joined.rpc_pairs {
            let said = clock::bound(c, &joined.processes, (client, server), sent);
            let (Some((pair, bound)), Some(slot)) = (said, slot_of(server)) else { continue };
            let pair = (joined.processes.key(pair.0, keys), joined.processes.key(pair.1, keys));
            self.held.push(Call { slot, pair, bound, adopted: adopted.binary_search(&server).is_ok() });
        }
    }

    /// Follows the verdicts of a join. True if a pair is moved now that was not.
    pub fn follow(&mut self, joined: &Joined, keys: &RandomState) -> bool {
        let mut more = false;
        for offset in &joined.clock_offsets {
            let key = |process| joined.processes.key(process, keys);
            let pair = (key(offset.client), key(offset.server));
            if matches!(offset.verdict, Verdict::Offset | Verdict::Drift) {
                more |= self.moved.insert(pair);
            } else {
                self.moved.remove(&pair);
            }
        }
        more
    }

    /// Sums up for good what slots said that are let go.
    pub fn let_go(&mut self, is_let_go: impl Fn(u32) -> bool) {
        let past = &mut self.past;
        self.held.retain(|call| {
            let goes = is_let_go(call.slot);
            if goes {
                past[usize::from(call.adopted)].entry(call.pair).or_default().add(call.bound);
            }
            !goes
        });
        for kind in 0..self.past.len() {
            self.forget_oldest(kind);
        }
    }

    fn forget_oldest(&mut self, kind: usize) {
        let evidence = &mut self.past[kind];
        let Some(many) = evidence.len().checked_sub(PROCESS_PAIRS).filter(|&many| many > 0) else { return };
        let mut pairs: Vec<_> = evidence.iter().map(|(&pair, summary)| (summary.last(), pair)).collect();
        pairs.sort_unstable();
        for (_, pair) in pairs.into_iter().take(many) {
            evidence.remove(&pair);
            self.moved.remove(&pair);
            self.forgotten += 1;
        }
    }
}
