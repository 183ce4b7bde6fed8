//! How long a span stands still by itself, and how long spans of its name usually do.
//!
//! ```text
//! span      |==================|
//! children     |==|  |====|
//! steps     |--|  |--|    |----|      times at which it alone could go on
//! ```

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::NONE;
use crate::findings::silences::{SHORTEST, Silences};
use crate::join::Joined;
use crate::join::span_kind::{CLIENT, SERVER};
use crate::numbers::{u32_of, usize_of};

/// One step of at least [`SHORTEST`].
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The span.
    pub row: u32,
    /// Its process and name, as a number.
    pub class: u32,
    /// It is a call with a CLIENT span only: it may wait for the called process.
    pub opaque: bool,
    /// It is all of the span, and of no other's.
    pub whole: bool,
    /// From, to.
    pub time: (i64, i64),
}

/// Steps of spans that serve a caller: a SERVER span, or below one in the same process, of a request that ends.
#[derive(Debug, Default)]
pub struct Steps {
    /// All that are long.
    pub long: Vec<Step>,
    /// Class → how many spans have their longest step in each size.
    sizes: Vec<[u32; SIZES]>,
}

/// Sizes of steps, four to each doubling, from 2^12 ns on.
const SIZES: usize = 128;
const SMALLEST: u32 = 12;

/// The size that a number of ns falls in.
fn size(ns: i64) -> usize {
    let ns = ns.max(1 << SMALLEST).cast_unsigned();
    let log = ns.ilog2();
    let quarter = (ns >> (log - 2)) & 3;
    ((log - SMALLEST) as usize * 4 + usize_of(quarter)).min(SIZES - 1)
}

/// The smallest ns of the next size.
fn above(size: usize) -> i64 {
    let next = u32_of(size) + 1;
    (4 + i64::from(next % 4)) << (SMALLEST - 2 + next / 4)
}

impl Steps {
    /// All steps.
    pub fn new(j: &Joined, silences: &Silences) -> Self {
        let c = &j.columns;
        let mut steps = Self::default();
        let mut classes: HashMap<(u32, u32), u32, RandomState> = HashMap::default();
        let mut serves = vec![false; c.len()];
        for (place, &row) in j.forest.order.iter().enumerate() {
            let (at, above) = (row as usize, j.parent[row as usize]);
            let process = silences.process[at];
            let request = j.requests.of_row[at];
            let ends = request == NONE || !j.requests.long_running[request as usize];
            let inside =
                above != NONE && silences.process[above as usize] == process && serves[above as usize];
            serves[at] = ends && (inside || c.spans.kind[at] == SERVER);
            let call = c.spans.kind[at] == CLIENT;
            if !serves[at] || !silences.seen[at] || call && j.forest.size[place] > 1 {
                continue;
            }
            let next = u32_of(classes.len());
            let class = *classes.entry((process, c.spans.name[at])).or_insert(next);
            if class == next {
                steps.sizes.push([0; SIZES]);
            }
            let longest = steps.of_span(j, silences, place, (class, call));
            steps.sizes[class as usize][size(longest)] += 1;
        }
        steps
    }

    /// Enters the long steps of a span; the longest of all, in ns.
    fn of_span(
        &mut self,
        j: &Joined,
        silences: &Silences,
        place: usize,
        (class, opaque): (u32, bool),
    ) -> i64 {
        let row = j.forest.order[place];
        let (mut since, end) = (j.start[row as usize], silences.end[row as usize]);
        let (mut longest, whole) = (0, j.forest.size[place] == 1);
        let mut step = |from: i64, to: i64| {
            longest = longest.max(to - from);
            if to - from >= SHORTEST {
                self.long.push(Step { row, class, opaque, whole, time: (from, to) });
            }
        };
        let (mut child, past) = (place + 1, place + j.forest.size[place] as usize);
        while child < past {
            let below = j.forest.order[child] as usize;
            step(since, j.start[below].min(end));
            since = since.max(silences.end[below]);
            child += j.forest.size[child] as usize;
        }
        step(since, end);
        longest
    }

    /// What 19 of 20 spans of this step's class stay below, in ns.
    pub fn usual(&self, step: &Step) -> i64 {
        let sizes = &self.sizes[step.class as usize];
        let all: u32 = sizes.iter().sum();
        let mut below = 0;
        let found = sizes.iter().position(|&count| {
            below += count;
            below * 20 >= all * 19
        });
        above(found.unwrap_or(SIZES - 1))
    }
}
