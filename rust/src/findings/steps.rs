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
pub struct Steps<'a> {
    joined: &'a Joined,
    silences: &'a Silences<'a>,
    /// All that are long.
    pub long: Vec<Step>,
    /// Row → whether it serves a caller, where that was asked.
    serves: Vec<Option<bool>>,
    /// Memory that is used again.
    way: Vec<usize>,
    classes: Classes,
}

/// Processes and names, numbered.
#[derive(Default)]
struct Classes {
    known: HashMap<(u32, u32), u32, RandomState>,
    /// Name → the process and class that it had last: most names are of one process.
    last: Vec<(u32, u32)>,
}

impl Classes {
    #[inline(always)]
    fn of(&mut self, process: u32, name: u32) -> u32 {
        let last = &mut self.last[name as usize];
        if last.0 != process {
            let next = u32_of(self.known.len());
            *last = (process, *self.known.entry((process, name)).or_insert(next));
        }
        last.1
    }
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

impl<'a> Steps<'a> {
    /// All steps.
    pub fn new(joined: &'a Joined, silences: &'a Silences<'a>) -> Self {
        let c = &joined.columns;
        let classes = Classes { last: vec![(NONE, NONE); c.names.len()], ..Classes::default() };
        let (serves, long, way) = (vec![None; c.len()], Vec::new(), Vec::new());
        let mut steps = Self { joined, silences, long, serves, way, classes };
        for row in 0..c.len() {
            if silences.end[row] - joined.start[row] >= SHORTEST && steps.counts(row) {
                steps.enter(joined.forest.position[row] as usize);
            }
        }
        steps
    }

    /// Whether the steps of a span count.
    fn counts(&mut self, row: usize) -> bool {
        let (forest, kind) = (&self.joined.forest, self.joined.columns.spans.kind[row]);
        let place = forest.position[row];
        self.silences.seen[row]
            && place != NONE
            && !(kind == CLIENT && forest.size[place as usize] > 1)
            && self.serves(row)
    }

    fn serves(&mut self, row: usize) -> bool {
        let Self { joined, silences, .. } = *self;
        let mut at = row;
        let found = loop {
            if let Some(known) = self.serves[at] {
                break known;
            }
            let (request, above) = (joined.requests.of_row[at], joined.parent[at] as usize);
            let ends = request == NONE || !joined.requests.long_running[request as usize];
            let is_server = joined.columns.spans.kind[at] == SERVER;
            self.way.push(at);
            if !ends || is_server {
                break ends;
            }
            if joined.parent[at] == NONE || silences.process(above) != silences.process(at) {
                break false;
            }
            at = above;
        };
        self.way.drain(..).for_each(|at| self.serves[at] = Some(found));
        found
    }

    /// Enters the long steps of a span.
    fn enter(&mut self, place: usize) {
        let Self { joined, silences, .. } = *self;
        let row = joined.forest.order[place];
        let (at, whole) = (row as usize, joined.forest.size[place] == 1);
        let class = self.classes.of(silences.process(at), joined.columns.spans.name[at]);
        let opaque = joined.columns.spans.kind[at] == CLIENT;
        each(joined, silences, place, |from, to| {
            if to - from >= SHORTEST {
                self.long.push(Step { row, class, opaque, whole, time: (from, to) });
            }
        });
    }

    /// Class → what 19 of 20 of its spans stay below, in ns; of those classes that are asked for, and 0 of others.
    pub fn usual(&mut self, asked: impl Iterator<Item = u32>) -> Vec<i64> {
        let Self { joined, silences, .. } = *self;
        let mut sizes: Vec<Option<[u32; SIZES]>> = vec![None; self.classes.known.len()];
        asked.for_each(|class| sizes[class as usize] = Some([0; SIZES]));
        if sizes.iter().all(Option::is_none) {
            return Vec::new();
        }
        for row in 0..joined.columns.len() {
            let class = self.classes.of(silences.process(row), joined.columns.spans.name[row]) as usize;
            if sizes.get(class).is_some_and(Option::is_some) && self.counts(row) {
                let mut longest = 0;
                let place = joined.forest.position[row] as usize;
                each(joined, silences, place, |from, to| longest = longest.max(to - from));
                if let Some(Some(sizes)) = sizes.get_mut(class) {
                    sizes[size(longest)] += 1;
                }
            }
        }
        sizes.iter().map(|sizes| sizes.as_ref().map_or(0, usual)).collect()
    }
}

/// What 19 of 20 spans stay below, in ns; by how many have their longest step in each size.
fn usual(sizes: &[u32; SIZES]) -> i64 {
    let all: u32 = sizes.iter().sum();
    let mut below = 0;
    let found = sizes.iter().position(|&count| {
        below += count;
        below * 20 >= all * 19
    });
    above(found.unwrap_or(SIZES - 1))
}

/// The steps of a span; some may be empty.
fn each(joined: &Joined, silences: &Silences, place: usize, mut step: impl FnMut(i64, i64)) {
    let row = joined.forest.order[place] as usize;
    let (mut since, end) = (joined.start[row], silences.end[row]);
    let (mut child, past) = (place + 1, place + joined.forest.size[place] as usize);
    while child < past {
        let below = joined.forest.order[child] as usize;
        step(since, joined.start[below].min(end));
        since = since.max(silences.end[below]);
        child += joined.forest.size[child] as usize;
    }
    step(since, end);
}
