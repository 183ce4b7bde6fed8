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

/// Shorter silences are not looked at, in ns.
pub const SHORTEST: i64 = 1_000_000;

/// From, to: half-open, in ns since the epoch.
pub type Silence = (i64, i64);

/// The silences of every process, in order of time.
#[derive(Debug)]
pub struct Silences {
    /// Process → its silences.
    pub of: Vec<Vec<Silence>>,
    /// Row → it is one of the spans looked at: not set aside as a repeat, with times that can be true.
    pub seen: Vec<bool>,
    /// Row → its end, without repairs: what a repair changed is no sign of life.
    pub end: Vec<i64>,
}

impl Silences {
    /// Looks for them in everything that was joined.
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
        let mut signs = vec![Vec::new(); j.processes.names.len()];
        for row in (0..seen.len()).filter(|&row| seen[row]) {
            let signs = &mut signs[j.processes.of(&j.columns, row) as usize];
            signs.extend([j.start[row], end[row]]);
            let shift = shift(j, row);
            let times = &j.columns.events.time_unix_nano;
            let within = |&ns: &i64| j.start[row] <= ns && ns <= end[row];
            signs.extend(run(&s.events_end, row).map(|event| saturated(times[event]) + shift).filter(within));
        }
        Self { of: signs.into_iter().map(between).collect(), seen, end }
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

fn between(mut signs: Vec<i64>) -> Vec<Silence> {
    signs.sort_unstable();
    signs.windows(2).filter(|pair| pair[1] - pair[0] >= SHORTEST).map(|pair| (pair[0], pair[1])).collect()
}
