//! When a process was silent: no span or event of it starts or ends.
//!
//! ```text
//! spans     |=======|    |==========|            times as corrected for clocks
//! events        .              .  .
//! silent     |--|   |----|     |--|              those of at least [`SHORTEST`]
//! ```

use std::borrow::Cow;

use crate::columns::run;
use crate::join::Joined;
use crate::join::repair::Change;
use crate::join::role::Role;
use crate::join::times::{bad_time, saturated};
use crate::numbers::{low_u32, usize_of};

/// Shorter silences are not looked at, in ns.
pub const SHORTEST: i64 = 1_000_000;

/// From, to: half-open, in ns since the epoch.
pub type Silence = (i64, i64);

/// The silences of every process, in order of time.
#[derive(Debug)]
pub struct Silences<'a> {
    /// Process → its silences.
    pub of: Vec<Vec<Silence>>,
    /// Row → whether it is used: not set aside as a repeat, and with valid times.
    pub seen: Vec<bool>,
    /// Row → its end, without repairs: an end that was repaired is no sign of life.
    pub end: Cow<'a, [i64]>,
    /// Scope → its process.
    process: Vec<u32>,
    scope: &'a [u32],
}

impl<'a> Silences<'a> {
    /// Finds them in everything that was joined.
    pub fn new(j: &'a Joined) -> Self {
        let (s, times) = (&j.columns.spans, &j.columns.events.time_unix_nano);
        let mut end = Cow::Borrowed(&j.end[..]);
        for repair in &j.repairs {
            if let Change::End { before, .. } = repair.change {
                end.to_mut()[repair.row as usize] = before + shift(j, repair.row as usize);
            }
        }
        let of_scope = |&resource: &u32| j.processes.of_resource(resource as usize);
        let process: Vec<u32> = j.columns.scopes.resource_spans.iter().map(of_scope).collect();
        let process_of = |row: usize| process[s.scope_spans[row] as usize] as usize;
        let mut lasted = vec![(i64::MAX, i64::MIN, 0_u64); j.processes.names.len()];
        let is_seen = |row: usize| {
            !matches!(j.role[row], Role::Duplicate | Role::Conflict)
                && bad_time(s.start_time_unix_nano[row], s.end_time_unix_nano[row]).is_none()
        };
        let seen: Vec<bool> = (0..j.columns.len()).map(is_seen).collect();
        for row in (0..seen.len()).filter(|&row| seen[row]) {
            let (first, last, count) = &mut lasted[process_of(row)];
            let (start, end) = (j.start[row], end[row]);
            (*first, *last, *count) = (start.min(end).min(*first), start.max(end).max(*last), *count + 2);
        }
        let mut signs: Vec<Signs> = lasted.into_iter().map(Signs::new).collect();
        for row in (0..seen.len()).filter(|&row| seen[row]) {
            let signs = &mut signs[process_of(row)];
            let (start, end) = (j.start[row], end[row]);
            signs.add(start);
            signs.add(end);
            // Within a shorter span nothing is silent, with or without its events.
            if end.abs_diff(start) >= SHORTEST.cast_unsigned() {
                let shift = shift(j, row);
                let at = run(&s.events_end, row).map(|event| saturated(times[event]) + shift);
                at.filter(|ns| (start..=end).contains(ns)).for_each(|ns| signs.add(ns));
            }
        }
        let of = signs.into_iter().map(Signs::silences).collect();
        Self { of, seen, end, process, scope: &s.scope_spans }
    }

    /// The process of a span.
    #[inline(always)]
    pub fn process(&self, row: usize) -> u32 {
        self.process[self.scope[row] as usize]
    }

    /// The longest silence of a process that ended at most `late` before `at` and not after it; and its place.
    pub fn before(&self, process: u32, at: i64, late: i64) -> Option<(usize, Silence)> {
        let silences = &self.of[process as usize];
        let past = silences.partition_point(|&(_, end)| end <= at);
        let recent = silences[..past].iter().enumerate().rev().take_while(|&(_, &(_, end))| end >= at - late);
        recent.max_by_key(|&(_, &(start, end))| end - start).map(|(place, &silence)| (place, silence))
    }
}

/// What clock correction added to a span's times.
fn shift(j: &Joined, row: usize) -> i64 {
    j.start[row] - saturated(j.columns.spans.start_time_unix_nano[row])
}

/// Signs of life of one process. Two signs on both sides of a silence are in different slots, so the first and last
/// sign of each slot are enough, unless the time is too long for the number of signs.
///
/// ```text
/// slots     |.  . .|      |     ..|.  .  |
///              last ------ first               a silence, if it is long enough
/// ```
enum Signs {
    /// When the first slot begins; of each slot, from its end to its first sign, and from its start to behind its last
    /// one, in ns: 0 if it has none.
    Slots(i64, Vec<[u32; 2]>),
    /// All of them.
    Sparse(Vec<i64>),
}

/// Slots that a sign may cost.
const SLOTS_PER_SIGN: u64 = 8;

impl Signs {
    /// Of so many signs, from the first to the last.
    fn new((first, last, count): (i64, i64, u64)) -> Self {
        let slots = last.abs_diff(first) / SHORTEST.cast_unsigned() + 1;
        match count {
            0 => Self::Sparse(Vec::new()),
            _ if slots > SLOTS_PER_SIGN * count => Self::Sparse(Vec::with_capacity(usize_of(count))),
            _ => Self::Slots(first, vec![[0; 2]; usize_of(slots)]),
        }
    }

    #[inline(always)]
    fn add(&mut self, at: i64) {
        match self {
            Self::Slots(first, slots) => {
                let since = at.abs_diff(*first);
                let (slot, ns) = (since / SLOT, low_u32(since % SLOT));
                let [to_first, to_last] = &mut slots[usize_of(slot)];
                (*to_first, *to_last) = ((*to_first).max(low_u32(SLOT) - ns), (*to_last).max(ns + 1));
            }
            Self::Sparse(signs) => signs.push(at),
        }
    }

    fn silences(self) -> Vec<Silence> {
        match self {
            Self::Slots(first, slots) => {
                let starts = std::iter::successors(Some(first), |start| start.checked_add(SHORTEST));
                let taken = starts.zip(slots).filter(|(_, slot)| slot[1] > 0);
                let signs = taken.map(|(start, [to_first, to_last])| {
                    (start + SHORTEST - i64::from(to_first), start + i64::from(to_last) - 1)
                });
                between(signs)
            }
            Self::Sparse(mut signs) => {
                signs.sort_unstable();
                between(signs.into_iter().map(|at| (at, at)))
            }
        }
    }
}

const SLOT: u64 = SHORTEST.cast_unsigned();

/// Between times at work, in order.
fn between(times: impl Iterator<Item = (i64, i64)>) -> Vec<Silence> {
    let (mut silences, mut awake) = (Vec::new(), None);
    for (first, last) in times {
        if let Some(awake) = awake.filter(|&awake| first.saturating_sub(awake) >= SHORTEST) {
            silences.push((awake, first));
        }
        awake = Some(last);
    }
    silences
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between neighbours in order.
    fn sorted(mut signs: Vec<i64>) -> Vec<Silence> {
        signs.sort_unstable();
        signs.windows(2).filter(|pair| pair[1] - pair[0] >= SHORTEST).map(|pair| (pair[0], pair[1])).collect()
    }

    fn told(signs: &[i64]) -> Vec<Silence> {
        let (first, last) = (signs.iter().min(), signs.iter().max());
        let mut told = Signs::new((
            first.copied().unwrap_or(i64::MAX),
            last.copied().unwrap_or(i64::MIN),
            signs.len() as u64,
        ));
        signs.iter().for_each(|&at| told.add(at));
        told.silences()
    }

    #[test]
    fn silences_are_those_between_neighbours_in_order() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for most in [1, 500, 1_000_000, 40_000_000, 900_000_000_000] {
            for count in [0, 1, 2, 50, 400] {
                let signs: Vec<i64> = (0..count).map(|_| random(most) as i64 - 1_000).collect();
                assert_eq!(told(&signs), sorted(signs));
            }
        }
        let edge = vec![0, SHORTEST, 2 * SHORTEST - 1, 3 * SHORTEST];
        assert_eq!(told(&edge), [(0, SHORTEST), (2 * SHORTEST - 1, 3 * SHORTEST)]);
    }
}
