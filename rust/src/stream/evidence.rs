//! Clock evidence of calls, kept longer than the spans it comes from.
//!
//! Calls in traces that are held and were emitted are kept one by one, since the trace can be emitted again. Those
//! of traces that were released are summed up in hulls: a few dozen numbers for each pair of processes.

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::join::Joined;
use crate::join::clock::{self, Bound, Evidence, Known, Verdict};
use crate::join::repair::Change;
use crate::join::times::saturated;

/// Pairs of processes remembered, at most; above that, the one whose last call is longest ago is forgotten.
const PROCESS_PAIRS: usize = 10_000;

/// Pairs of processes, as keys, the caller first.
pub type Pairs = HashSet<(u64, u64), RandomState>;

/// One call of a trace that was emitted.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pair: (u64, u64),
    bound: Bound,
    adopted: bool,
}

/// Calls matched by their ids, and those whose caller was found.
type Sums = [Evidence; 2];

/// All clock evidence.
#[derive(Default)]
pub struct Clocks {
    /// Of traces that were released.
    past: Sums,
    /// Of those that are held too, unless one of them changed.
    all: Option<Sums>,
    /// Pairs whose called side's times are moved.
    moved: Pairs,
    /// How many pairs were forgotten.
    pub forgotten: u64,
}

impl Clocks {
    /// Pairs whose called side's times are moved.
    pub fn moved(&self) -> &Pairs {
        &self.moved
    }

    /// Adds evidence of others: calls matched by their ids, and those whose caller was found.
    pub fn hear(&mut self, sums: Sums) {
        for (own, more) in self.past.iter_mut().zip(sums) {
            for (pair, summary) in more {
                own.entry(pair).or_default().merge(&summary);
            }
        }
        self.all = None;
    }

    /// The evidence for a join; `held`: the calls of traces that are held.
    pub fn known<'a, 'b>(
        &'a mut self,
        held: impl Iterator<Item = &'b Call>,
        keys: &'a RandomState,
    ) -> Known<'a> {
        let [calls, adopted] = self.all.get_or_insert_with(|| {
            let mut all = self.past.clone();
            held.for_each(|call| add(&mut all, call));
            all
        });
        Known { keys: Some(keys), calls: Some(calls), adopted: Some(adopted), whole: false }
    }

    /// Removes the evidence of these calls of a held trace: they will be found again.
    pub fn retract(&mut self, calls: &[Call]) {
        if !calls.is_empty() {
            self.all = None;
        }
    }

    /// Notes the calls of a join, and tells each with the row of its called side. `tell` says whether its trace is
    /// released next.
    pub fn note(&mut self, joined: &Joined, keys: &RandomState, mut tell: impl FnMut(u32, Call) -> bool) {
        let c = &*joined.columns;
        let found = joined.repairs.iter().filter(|repair| matches!(repair.change, Change::Adopted(_)));
        let mut adopted: Vec<u32> = found.map(|repair| repair.row).collect();
        adopted.sort_unstable();
        let (s, key) = (&c.spans, joined.processes.keys(keys));
        let sent =
            |row: usize| (saturated(s.start_time_unix_nano[row]), saturated(s.end_time_unix_nano[row]));
        for &(client, server) in &joined.rpc_pairs {
            let said = clock::bound(c, &joined.processes, (client, server), sent);
            let Some((pair, bound)) = said else { continue };
            let pair = (key[pair.0 as usize], key[pair.1 as usize]);
            let call = Call { pair, bound, adopted: adopted.binary_search(&server).is_ok() };
            self.all.iter_mut().for_each(|all| add(all, &call));
            if tell(server, call) {
                add(&mut self.past, &call);
            }
        }
    }

    /// Adopts the decisions of a join. True if a pair is moved now that was not.
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

    /// Sums up the evidence of a trace that is released.
    pub fn let_go(&mut self, calls: &[Call]) {
        for call in calls {
            add(&mut self.past, call);
        }
    }

    /// Forgets the pairs whose last call is longest ago, if there are too many.
    pub fn forget_oldest(&mut self) {
        (0..self.past.len()).for_each(|kind| self.forget_oldest_of(kind));
    }

    fn forget_oldest_of(&mut self, kind: usize) {
        let evidence = &mut self.past[kind];
        let Some(many) = evidence.len().checked_sub(PROCESS_PAIRS).filter(|&many| many > 0) else { return };
        let mut pairs: Vec<_> = evidence.iter().map(|(&pair, summary)| (summary.last(), pair)).collect();
        pairs.sort_unstable();
        for (_, pair) in pairs.into_iter().take(many) {
            evidence.remove(&pair);
            self.moved.remove(&pair);
            self.forgotten += 1;
            self.all = None;
        }
    }
}

fn add(sums: &mut Sums, call: &Call) {
    sums[usize::from(call.adopted)].entry(call.pair).or_default().add(call.bound);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_that_called_longest_ago_is_forgotten_when_there_are_too_many() {
        let call =
            |n: u64| Call { pair: (n, n + 1), bound: Bound { t: n as i64, low: 0, high: 1 }, adopted: false };
        let calls: Vec<Call> = (0..PROCESS_PAIRS as u64 + 1).map(call).collect();
        let mut clocks = Clocks::default();
        clocks.let_go(&calls);
        clocks.forget_oldest();
        assert_eq!((1, PROCESS_PAIRS), (clocks.forgotten, clocks.past[0].len()));
        let keys = RandomState::default();
        let known = clocks.known(std::iter::empty(), &keys).calls.expect("sums");
        assert!(!known.contains_key(&calls[0].pair) && known.contains_key(&calls[1].pair));
    }
}
