//! When a process was silent: no span or event of it starts or ends.
//!
//! ```text
//! spans     |=======|    |==========|            times as corrected for clocks
//! events        .              .  .
//! silent     |--|   |----|     |--|              those of at least [`SHORTEST`]
//! ```

use crate::columns::run;
use crate::join::Joined;
use crate::join::repair::Change;
use crate::join::role::Role;
use crate::join::times::{bad_time, saturated};
use crate::numbers::usize_of;

/// Shorter silences are not looked at, in ns.
pub const SHORTEST: i64 = 1_000_000;

/// From, to: half-open, in ns since the epoch.
pub type Silence = (i64, i64);

/// The silences of every process, in order of time.
#[derive(Debug)]
pub struct Silences {
    /// Process → its silences.
    pub of: Vec<Vec<Silence>>,
    /// Row → its process, looked up once.
    pub process: Vec<u32>,
    /// Row → whether it is used: not set aside as a repeat, and with valid times.
    pub seen: Vec<bool>,
    /// Row → its end, without repairs: an end that was repaired is no sign of life.
    pub end: Vec<i64>,
}

impl Silences {
    /// Finds them in everything that was joined.
    pub fn new(j: &Joined) -> Self {
        let s = &j.columns.spans;
        let mut end = j.end.clone();
        for repair in &j.repairs {
            if let Change::End { before, .. } = repair.change {
                end[repair.row as usize] = before + shift(j, repair.row as usize);
            }
        }
        let seen: Vec<bool> = (0..j.columns.len())
            .map(|row| {
                !matches!(j.role[row], Role::Duplicate | Role::Conflict)
                    && bad_time(s.start_time_unix_nano[row], s.end_time_unix_nano[row]).is_none()
            })
            .collect();
        let process: Vec<u32> = (0..j.columns.len()).map(|row| j.processes.of(&j.columns, row)).collect();
        let mut count = vec![0; j.processes.names.len()];
        for row in (0..seen.len()).filter(|&row| seen[row]) {
            count[process[row] as usize] += 2 + run(&s.events_end, row).len();
        }
        let mut signs: Vec<Vec<i64>> = count.into_iter().map(Vec::with_capacity).collect();
        for row in (0..seen.len()).filter(|&row| seen[row]) {
            let signs = &mut signs[process[row] as usize];
            signs.extend([j.start[row], end[row]]);
            let shift = shift(j, row);
            let times = &j.columns.events.time_unix_nano;
            let within = |&ns: &i64| j.start[row] <= ns && ns <= end[row];
            signs.extend(run(&s.events_end, row).map(|event| saturated(times[event]) + shift).filter(within));
        }
        Self { of: signs.into_iter().map(between).collect(), process, seen, end }
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

/// The silences between signs of life. Two signs on both sides of a silence are in different slots, so the first and
/// last sign of each slot are enough, unless the time is too long for the number of signs.
///
/// ```text
/// slots     |.  . .|      |     ..|.  .  |
///              last ------ first               a silence, if it is long enough
/// ```
fn between(mut signs: Vec<i64>) -> Vec<Silence> {
    let (Some(&first), Some(&last)) = (signs.iter().min(), signs.iter().max()) else { return Vec::new() };
    let slots = last.abs_diff(first) / SHORTEST as u64 + 1;
    if slots > SLOTS_PER_SIGN * signs.len() as u64 {
        signs.sort_unstable();
        return long(signs.windows(2).map(|pair| (pair[0], pair[1])));
    }
    let slot = |at: i64| usize_of(at.abs_diff(first) / SHORTEST.cast_unsigned());
    let mut taken = vec![0_u64; usize_of(slots) / 64 + 1];
    for &at in &signs {
        taken[slot(at) / 64] |= 1 << (slot(at) % 64);
    }
    let mut before = 0;
    let count = |word: &u64| {
        before += word.count_ones() as usize;
        before - word.count_ones() as usize
    };
    let places: Vec<usize> = taken.iter().map(count).collect();
    let mut ends = vec![(i64::MAX, i64::MIN); before];
    for at in signs {
        let (word, bit) = (slot(at) / 64, slot(at) % 64);
        let place = places[word] + (taken[word] & ((1 << bit) - 1)).count_ones() as usize;
        ends[place] = (ends[place].0.min(at), ends[place].1.max(at));
    }
    long(ends.windows(2).map(|pair| (pair[0].1, pair[1].0)))
}

/// A slot is a bit: memory that a sign may cost.
const SLOTS_PER_SIGN: u64 = 64;

fn long(pairs: impl Iterator<Item = Silence>) -> Vec<Silence> {
    pairs.filter(|&(from, to)| to.abs_diff(from) >= SHORTEST as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between neighbours in order.
    fn sorted(mut signs: Vec<i64>) -> Vec<Silence> {
        signs.sort_unstable();
        signs.windows(2).filter(|pair| pair[1] - pair[0] >= SHORTEST).map(|pair| (pair[0], pair[1])).collect()
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
                assert_eq!(between(signs.clone()), sorted(signs));
            }
        }
        let edge = vec![0, SHORTEST, 2 * SHORTEST - 1, 3 * SHORTEST];
        assert_eq!(between(edge), [(0, SHORTEST), (2 * SHORTEST - 1, 3 * SHORTEST)]);
    }
}
