//! Silences in which a process was due: another one waited for it.
//!
//! ```text
//! called        caller  |=====================|        its SERVER span begins only after the silence
//!               process .....|---silent---||==|
//! answered      process |====|---silent---|==|         its own call ends only after, and was answered before
//!               called     |==|
//! stood         process |====|---silent---|====|       its spans that serve a caller and wait for no other process
//! queued        process .....|---silent---||=|         requests that begin all at once, before any was answered
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;

use crate::arrow;
use crate::columns::NONE;
use crate::findings::silences::{SHORTEST, Silence, Silences};
use crate::findings::steps::Steps;
use crate::join::Joined;
use crate::join::span_kind::{CLIENT, SERVER};
use crate::numbers::u32_of;

/// A wait begins at most this long before a silence, or the process was alive and did not react to it; and it ends at
/// most this long after: a quarter of the wait, at least 5 ms, at most 100.
fn late(wait: i64) -> i64 {
    (wait / 4).clamp(5_000_000, 100_000_000)
}

/// At least this many requests that begin at once are a queue.
const CROWD: u32 = 3;

/// Evidence of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waits {
    /// How many waited.
    pub count: u32,
    /// The longest wait, in ns.
    pub longest: i64,
}

impl Waits {
    fn add(&mut self, wait: i64) {
        self.count += 1;
        self.longest = self.longest.max(wait);
    }
}

/// When calls that waited ended, and how long they took: a process that wakes up releases all of them at one moment,
/// however long each had waited; a slow network delays each by itself, all about equally.
#[derive(Debug, Clone, Copy)]
pub struct Releases {
    first: i64,
    last: i64,
    shortest: i64,
    longest: i64,
}

impl Default for Releases {
    fn default() -> Self {
        Self { first: i64::MAX, last: i64::MIN, shortest: i64::MAX, longest: i64::MIN }
    }
}

impl Releases {
    fn add(&mut self, from: i64, to: i64) {
        (self.first, self.last) = (self.first.min(to), self.last.max(to));
        (self.shortest, self.longest) = (self.shortest.min(to - from), self.longest.max(to - from));
    }

    /// Time between the first and the last end, in ns; 0 if there is none.
    fn apart(self) -> i64 {
        self.last.saturating_sub(self.first).max(0)
    }

    /// By how much their durations differ, in ns; 0 if there is none.
    fn uneven(self) -> i64 {
        self.longest.saturating_sub(self.shortest).max(0)
    }
}

/// What is known of one silence.
#[derive(Debug, Clone, Copy, Default)]
pub struct Due {
    /// From, to.
    pub time: Silence,
    /// Calls into the process.
    pub called: Waits,
    /// Calls of the process.
    pub answered: Waits,
    /// Names of its own spans.
    pub stood: Waits,
    /// Its calls with a CLIENT span only.
    pub opaque: Waits,
    /// When those calls ended.
    pub released: Releases,
    /// It is one span of the process, from its start to its end: the process was at work.
    pub busy: bool,
    /// Requests that begin right after.
    pub queued: u32,
    /// Calls into the process that were sent in the silence.
    pub sent: u32,
    /// All calls into the process and out of it, at any time.
    pub calls: u32,
    /// Calls before and after it, into the process and out of it.
    pub around: u32,
    /// How many of them waited too.
    pub slow_around: u32,
}

impl Due {
    /// Usual waits are computed from it: the longest between two processes, or of two that agree.
    fn longest(&self) -> i64 {
        self.called.longest.max(self.answered.longest).max(self.agreed())
    }

    /// How long two waited, each shown by its own evidence; 0 if there are no two.
    fn agreed(&self) -> i64 {
        let own = [self.called, self.answered, self.stood];
        let crowd = if self.queued >= CROWD { self.time.1 - self.time.0 } else { 0 };
        let mut waits = own
            .map(|waits| waits.longest)
            .into_iter()
            .chain([self.opaque.longest, crowd])
            .collect::<Vec<_>>();
        waits.sort_unstable();
        let several = own.iter().filter(|waits| waits.count > 1).map(|waits| waits.longest).max();
        waits[waits.len() - 2].max(several.unwrap_or(0))
    }
}

/// A call between two processes: when it was sent, begun, answered, and when the answer was there.
#[derive(Debug, Clone, Copy)]
struct Call {
    client: u32,
    server: u32,
    sent: i64,
    begun: i64,
    answered: i64,
    ended: i64,
}

/// Process → place of a silence → what is known of it, of those in which it was due.
type Found = Vec<BTreeMap<usize, Due>>;

fn at(found: &mut Found, process: u32, (place, time): (usize, Silence)) -> &mut Due {
    found[process as usize].entry(place).or_insert_with(|| Due { time, ..Due::default() })
}

/// The silences of every process in which it was due.
pub fn due(j: &Joined) -> Vec<Vec<Due>> {
    let silences = Silences::new(j);
    let mut found = vec![BTreeMap::new(); silences.of.len()];
    let calls = calls(j, &silences);
    for call in &calls {
        called(call, &silences, &mut found);
        answered(call, &silences, &mut found);
    }
    stood(j, &silences, &mut found);
    let mut due: Vec<Vec<Due>> = found.into_iter().map(|of| of.into_values().collect()).collect();
    if due.iter().any(|due| !due.is_empty()) {
        let around = Around::new(j, &calls, &silences);
        for (process, due) in due.iter_mut().enumerate() {
            for one in due {
                around.look(process, one);
            }
        }
    }
    due
}

fn calls(j: &Joined, silences: &Silences) -> Vec<Call> {
    let c = &j.columns;
    let call = |server: usize| {
        let above = j.parent[server];
        if above == NONE || c.spans.kind[above as usize] != CLIENT {
            return None;
        }
        let above = above as usize;
        let (client, process) = (silences.process(above), silences.process(server));
        if client == process || !silences.seen[server] || !silences.seen[above] {
            return None;
        }
        Some(Call {
            client,
            server: process,
            sent: j.start[above],
            begun: j.start[server],
            answered: silences.end[server],
            ended: silences.end[above],
        })
    };
    (0..c.len()).filter(|&row| c.spans.kind[row] == SERVER).filter_map(call).collect()
}

fn called(call: &Call, silences: &Silences, found: &mut Found) {
    let total = call.begun - call.sent;
    if total < SHORTEST {
        return;
    }
    if let Some((place, (start, end))) = silences.before(call.server, call.begun, late(total)) {
        let wait = end - call.sent.max(start);
        if wait >= SHORTEST && call.begun - end <= late(wait) && start - call.sent <= late(wait) {
            let due = at(found, call.server, (place, (start, end)));
            due.called.add(wait);
            due.released.add(call.sent, call.begun);
        }
    }
}

fn answered(call: &Call, silences: &Silences, found: &mut Found) {
    let total = call.ended - call.answered;
    if total < SHORTEST {
        return;
    }
    if let Some((place, (start, end))) = silences.before(call.client, call.ended, late(total)) {
        let wait = end - call.answered.max(start);
        if wait >= SHORTEST && call.ended - end <= late(wait) && start - call.answered <= late(wait) {
            let due = at(found, call.client, (place, (start, end)));
            due.answered.add(wait);
            due.released.add(call.answered, call.ended);
        }
    }
}

fn stood(j: &Joined, silences: &Silences, found: &mut Found) {
    let mut steps = Steps::new(j, silences);
    let (mut over, mut busy) = (Vec::new(), Vec::new());
    for &step in &steps.long {
        let process = silences.process(step.row as usize);
        let (from, to) = step.time;
        if let Some((place, (start, end))) = silences.before(process, to, late(to - from)) {
            let wait = end - start;
            if step.whole && step.time == (start, end) {
                busy.push((process, place));
            }
            if start >= from && to - end <= late(wait) {
                over.push((step, process, place, wait));
            }
        }
    }
    let usual = steps.usual(over.iter().map(|(step, ..)| step.class));
    over.retain(|(step, _, _, wait)| *wait >= 4 * usual[step.class as usize]);
    let mut names = Vec::new();
    for (step, process, place, wait) in over {
        if step.opaque {
            at(found, process, (place, silences.of[process as usize][place])).opaque.add(wait);
        } else {
            names.push((process, place, step.class, wait));
        }
    }
    names.sort_unstable();
    names.dedup();
    for (process, place, _, wait) in names {
        at(found, process, (place, silences.of[process as usize][place])).stood.add(wait);
    }
    for (process, place) in busy {
        if let Some(due) = found[process as usize].get_mut(&place) {
            due.busy = true;
        }
    }
}

/// What went on before and after silences.
struct Around {
    /// Process → calls into it: (sent, begun), by both.
    into: Vec<[Vec<(i64, i64)>; 2]>,
    /// Process → calls out of it: (answered, ended), by both.
    out: Vec<[Vec<(i64, i64)>; 2]>,
    /// Process → starts of requests without a caller here.
    starts: Vec<Vec<i64>>,
    /// Process → ends of what it served.
    ends: Vec<Vec<i64>>,
}

/// Calls on each side, at most.
const NEIGHBOURS: usize = 8;

impl Around {
    fn new(j: &Joined, calls: &[Call], silences: &Silences) -> Self {
        let c = &j.columns;
        let processes = j.processes.names.len();
        let mut into = vec![[Vec::new(), Vec::new()]; processes];
        let mut out = into.clone();
        for call in calls {
            for side in 0..2 {
                into[call.server as usize][side].push((call.sent, call.begun));
                out[call.client as usize][side].push((call.answered, call.ended));
            }
        }
        for sides in into.iter_mut().chain(&mut out) {
            sides[0].sort_unstable();
            sides[1].sort_unstable_by_key(|&(first, then)| (then, first));
        }
        let (mut starts, mut ends) = (vec![Vec::new(); processes], vec![Vec::new(); processes]);
        for &row in &j.forest.order {
            let at = row as usize;
            if c.spans.kind[at] != SERVER || !silences.seen[at] {
                continue;
            }
            let process = silences.process(at) as usize;
            ends[process].push(silences.end[at]);
            if j.parent[at] == NONE || c.spans.kind[j.parent[at] as usize] != CLIENT {
                starts[process].push(j.start[at]);
            }
        }
        starts.iter_mut().chain(&mut ends).for_each(|times| times.sort_unstable());
        Self { into, out, starts, ends }
    }

    fn look(&self, process: usize, due: &mut Due) {
        let (start, end) = due.time;
        let length = end - start;
        let answer = self.ends[process].get(self.ends[process].partition_point(|&ns| ns < end));
        let until = answer.map_or(i64::MAX, |&ns| ns).min(end + late(length));
        due.calls = u32_of(self.into[process][0].len() + self.out[process][0].len());
        let begun = |at: i64| self.starts[process].partition_point(|&ns| ns < at);
        due.queued = u32_of(begun(until) - begun(end));
        let sent = |at: i64| self.into[process][0].partition_point(|&(ns, _)| ns < at);
        let within = &self.into[process][0][sent(start)..sent(end - SHORTEST).max(sent(start))];
        due.sent = u32_of(within.iter().filter(|call| call.1 >= end).count());
        for sides in [&self.into[process], &self.out[process]] {
            let after = sides[0].partition_point(|&(first, _)| first <= end);
            let next =
                sides[0][after..].iter().take(NEIGHBOURS).take_while(|call| call.0 <= end + 2 * length);
            let before = sides[1].partition_point(|&(_, then)| then <= start);
            let last = sides[1][..before]
                .iter()
                .rev()
                .take(NEIGHBOURS)
                .take_while(|call| call.1 >= start - length / 2);
            for (first, then) in next.chain(last) {
                due.around += 1;
                due.slow_around += u32::from((then - first) * 4 >= length);
            }
        }
    }
}

/// One row per silence in which a process may have been due, by process and time.
pub fn table(j: &Joined) -> Result<RecordBatch, ArrowError> {
    let of = |(process, due): (usize, Vec<Due>)| due.into_iter().map(move |due| (process, due));
    let rows: Vec<(usize, Due)> = due(j).into_iter().enumerate().flat_map(of).collect();
    let name = |&(process, _): &(usize, Due)| &j.processes.names[process];
    let number = |of: fn(&Due) -> u32| {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, due)| i64::from(of(due))))) as ArrayRef
    };
    let ns = |of: fn(&Due) -> i64| {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, due)| of(due)))) as ArrayRef
    };
    arrow::named(vec![
        (
            "process",
            Arc::new(Int64Array::from_iter_values(
                rows.iter().map(|&(process, _)| i64::from(u32_of(process))),
            )) as ArrayRef,
        ),
        ("service", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &name(row).0)))),
        ("instance", Arc::new(StringArray::from_iter(rows.iter().map(|row| name(row).1.as_deref())))),
        ("start_unix_nano", ns(|due| due.time.0)),
        ("end_unix_nano", ns(|due| due.time.1)),
        ("called", number(|due| due.called.count)),
        ("called_ns", ns(|due| due.called.longest)),
        ("answered", number(|due| due.answered.count)),
        ("answered_ns", ns(|due| due.answered.longest)),
        ("stood", number(|due| due.stood.count)),
        ("stood_ns", ns(|due| due.stood.longest)),
        ("opaque", number(|due| due.opaque.count)),
        ("opaque_ns", ns(|due| due.opaque.longest)),
        ("apart_ns", ns(|due| due.released.apart())),
        ("uneven_ns", ns(|due| due.released.uneven())),
        ("queued", number(|due| due.queued)),
        ("sent", number(|due| due.sent)),
        ("calls", number(|due| due.calls)),
        ("around", number(|due| due.around)),
        ("slow_around", number(|due| due.slow_around)),
        ("longest_ns", ns(Due::longest)),
        ("agreed_ns", ns(Due::agreed)),
        ("busy", Arc::new(BooleanArray::from_iter(rows.iter().map(|(_, due)| Some(due.busy))))),
    ])
}
