//! Calls to a member of etcd that began while a heavy one was open on it, beside others like them.
//!
//! ```text
//! heavy      |=========|                    |=====|                open on the member
//! placebo    .         .    drains |--------|     .                as long again, later; or on another member
//! calls       d   d  d    .    .   p   p  p    q   d    q    q     during it, placebo, plain
//! ```
//!
//! Calls are compared within strata: the same operation, in the same part of the recording, under about the same load.

#![expect(
    clippy::cast_precision_loss,
    reason = "means and logarithms of ns, of which the digits behind 2^53 say nothing"
)]

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::NONE;
use crate::join::Joined;
use crate::tables::etcd_calls::{Asked, EtcdCall, Known};

/// Operations over a whole prefix.
const HEAVY: [&str; 3] = ["list", "count", "keys"];
/// Operations that are not compared.
const APART: [&str; 4] = ["watch", "status", "health", "compaction"];
/// A list of at most this many is a page, and not heavy.
const PAGE: i64 = 1_000;
/// Load is the number of calls that began within this time before, in ns.
const LOAD: i64 = 100_000_000;

type Interval = (i64, i64);

/// Part of the recording → sum of how much longer its calls were than similar ones, and the number of calls.
pub type Sums = Vec<(usize, f64, u64)>;

/// The result for one member that had heavy calls.
#[derive(Debug, Default)]
pub struct Member {
    /// How many of its calls were heavy.
    pub heavy: usize,
    /// Rows of the calls that began during one.
    pub during: Vec<u32>,
    /// Logarithms of times: during a heavy call against plain ones; the placebo against plain ones.
    pub logs: [Sums; 2],
    /// Times in ns, the same.
    pub ns: [Sums; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    During,
    Draining,
    Later,
    Plain,
}

/// A call that etcd answered.
struct Call<'a> {
    begun: i64,
    row: u32,
    member: u32,
    served: i64,
    operation: &'a str,
    heavy: bool,
}

/// One call that is compared.
struct Sample<'a> {
    stratum: (usize, &'a str, u32),
    when: When,
    served: i64,
}

/// The members with at least `fewest` heavy calls, in the order of their first one. `blocks`: parts of the recording.
pub fn members(joined: &Joined, known: &Known, fewest: usize, blocks: usize) -> Vec<Member> {
    let calls = answered(joined, known);
    let mut heavy: Vec<(u32, Vec<Interval>)> = Vec::new();
    for call in calls.iter().filter(|call| call.heavy) {
        let at = heavy.iter().position(|&(member, _)| member == call.member).unwrap_or_else(|| {
            heavy.push((call.member, Vec::new()));
            heavy.len() - 1
        });
        heavy[at].1.push((call.begun, call.begun + call.served));
    }
    let told = heavy.iter().filter(|(_, own)| own.len() >= fewest);
    told.map(|(member, own)| {
        let others = heavy.iter().filter(|(other, _)| other != member).flat_map(|(_, other)| other);
        let samples =
            samples(&calls, *member, &merged(own.iter().copied()), &merged(others.copied()), blocks);
        let log = |sample: &Sample| (sample.served.max(1) as f64).ln();
        let ns = |sample: &Sample| sample.served as f64;
        let [logs, ns] = [
            [slower_by(&samples, When::During, &log), slower_by(&samples, When::Later, &log)],
            [slower_by(&samples, When::During, &ns), slower_by(&samples, When::Later, &ns)],
        ];
        let during = samples.iter().filter(|(_, sample)| sample.when == When::During);
        Member { heavy: own.len(), during: during.map(|&(row, _)| row).collect(), logs, ns }
    })
    .collect()
}

/// All calls that etcd answered, by when they began there.
fn answered<'a>(joined: &Joined, known: &'a Known) -> Vec<Call<'a>> {
    let asked = Asked::new(joined);
    let call = |(at, call): (usize, &EtcdCall)| {
        let server = Some(call.server as usize).filter(|_| call.server != NONE)?;
        let operation = known.operation(at);
        let is_page = || (1..=PAGE).contains(&asked.limit(call).unwrap_or(0));
        Some(Call {
            begun: joined.start[server],
            row: call.row(),
            member: joined.processes.of(&joined.columns, server),
            served: (joined.end[server] - joined.start[server]).max(0),
            operation,
            heavy: HEAVY.contains(&operation) && !is_page(),
        })
    };
    let mut calls: Vec<Call> = known.calls.iter().enumerate().filter_map(call).collect();
    calls.sort_unstable_by_key(|call| (call.begun, call.row));
    calls
}

fn merged(intervals: impl Iterator<Item = Interval>) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = intervals.collect();
    intervals.sort_unstable();
    let mut merged: Vec<Interval> = Vec::new();
    for (start, end) in intervals {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// Where a time is, relative to the heavy call before it: waiting calls may drain for as long as that lasted.
fn when(at: i64, heavy: &[Interval]) -> When {
    let past = heavy.partition_point(|&(start, _)| start <= at);
    let Some(&(start, end)) = past.checked_sub(1).map(|place| &heavy[place]) else { return When::Plain };
    let (past, length) = (at.saturating_sub(end), (end - start).max(1));
    match () {
        () if past < 0 => When::During,
        () if past < length => When::Draining,
        () if past - length < length => When::Later,
        () => When::Plain,
    }
}

fn samples<'a>(
    calls: &[Call<'a>],
    member: u32,
    own: &[Interval],
    others: &[Interval],
    blocks: usize,
) -> Vec<(u32, Sample<'a>)> {
    let (Some(first), Some(last)) = (calls.first(), calls.last()) else { return Vec::new() };
    let first = i128::from(first.begun);
    let whole = i128::from(last.begun) + 1 - first;
    let mut since = 0;
    let mut samples = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        while calls[since].begun < call.begun.saturating_sub(LOAD) {
            since += 1;
        }
        if call.member != member || call.heavy || APART.contains(&call.operation) {
            continue;
        }
        let mut when = self::when(call.begun, own);
        if when == When::Plain && self::when(call.begun, others) == When::During {
            when = When::Later;
        }
        let load = usize::BITS - (at - since).leading_zeros();
        let block = (i128::from(call.begun) - first) * blocks as i128 / whole;
        let block = usize::try_from(block).unwrap_or_default();
        samples
            .push((call.row, Sample { stratum: (block, call.operation, load), when, served: call.served }));
    }
    samples
}

/// How much the values of a group exceed the mean of plain ones, by part of the recording.
fn slower_by(samples: &[(u32, Sample)], group: When, value: &dyn Fn(&Sample) -> f64) -> Sums {
    let mut strata: Vec<(usize, [(f64, u64); 2])> = Vec::new();
    let mut known: HashMap<_, usize, RandomState> = HashMap::default();
    for (_, sample) in samples.iter().filter(|(_, sample)| sample.when == group || sample.when == When::Plain)
    {
        let at = *known.entry(sample.stratum).or_insert_with(|| {
            strata.push((sample.stratum.0, [(0.0, 0); 2]));
            strata.len() - 1
        });
        let sum = &mut strata[at].1[usize::from(sample.when != group)];
        *sum = (sum.0 + value(sample), sum.1 + 1);
    }
    let mut sums: Sums = Vec::new();
    for (block, [own, plain]) in strata.into_iter().filter(|(_, [own, plain])| own.1 > 0 && plain.1 > 0) {
        let at = sums.iter().position(|&(known, ..)| known == block).unwrap_or_else(|| {
            sums.push((block, 0.0, 0));
            sums.len() - 1
        });
        sums[at].1 += own.0 - own.1 as f64 * plain.0 / plain.1 as f64;
        sums[at].2 += own.1;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(calls: &[(usize, When, i64)]) -> Vec<(u32, Sample<'static>)> {
        let sample = |&(block, when, served)| (0, Sample { stratum: (block, "get", 1), when, served });
        calls.iter().map(sample).collect()
    }

    #[test]
    fn values_are_compared_within_a_block() {
        // Block 0: 5 above a mean of 10, block 1: 5 above a mean of 100; no group alone, whatever its values.
        let samples = drawn(&[
            (0, When::During, 15),
            (0, When::Plain, 8),
            (0, When::Plain, 12),
            (1, When::During, 105),
            (1, When::Plain, 100),
            (1, When::Later, 1),
            (2, When::During, 999),
            (3, When::Plain, 999),
        ]);
        let sums = slower_by(&samples, When::During, &|sample| sample.served as f64);
        assert_eq!(sums, [(0, 5.0, 1), (1, 5.0, 1)]);
    }

    #[test]
    fn a_time_lies_by_the_heavy_call_before_it() {
        use When::{Draining, During, Later, Plain};
        // |10====20) drains until 30, later until 40; the next one from 50 on
        let heavy = [(10, 20), (50, 52)];
        let at = [9, 10, 19, 20, 29, 30, 39, 40, 49, 50];
        let told = [Plain, During, During, Draining, Draining, Later, Later, Plain, Plain, During];
        assert_eq!(at.map(|at| when(at, &heavy)), told);
    }
}
