//! Requests that a stalled process held up, and how long.
//!
//! ```text
//! stall of a process      |----------|
//! a request it serves  |=====================|      all of the stall that the request was open in
//! a call into it             |===========|          all of the stall that the call was open in
//! ```

use std::collections::BTreeMap;

use crate::columns::NONE;
use crate::join::Joined;
use crate::join::span_kind::{CLIENT, SERVER};

/// A stall: process, from, to.
pub type Stall = (u32, i64, i64);

/// (stall, request, ns), by both: of requests that end by themselves. Stalls of one process must not overlap.
pub fn touched(j: &Joined, stalls: &[Stall]) -> Vec<(u32, u32, i64)> {
    let mut of: Vec<Vec<(i64, i64, u32)>> = vec![Vec::new(); j.processes.names.len()];
    for (number, &(process, start, end)) in stalls.iter().enumerate() {
        of[process as usize].push((start, end, number as u32));
    }
    of.iter_mut().for_each(|of| of.sort_unstable());
    let mut held: BTreeMap<(u32, u32), Vec<(i64, i64)>> = BTreeMap::new();
    for &row in &j.forest.order {
        let at = row as usize;
        if j.columns.spans.kind[at] != SERVER || of[j.processes.of(&j.columns, at) as usize].is_empty() {
            continue;
        }
        let (request, above) = (j.requests.of_row[at], j.parent[at]);
        if request == NONE || j.requests.long_running[request as usize] {
            continue;
        }
        let called = above != NONE && j.columns.spans.kind[above as usize] == CLIENT;
        let (from, to) =
            if called { (j.start[above as usize], j.end[above as usize]) } else { (j.start[at], j.end[at]) };
        let of = &of[j.processes.of(&j.columns, at) as usize];
        let first = of.partition_point(|&(_, end, _)| end <= from);
        for &(start, end, number) in of[first..].iter().take_while(|&&(start, ..)| start < to) {
            held.entry((number, request)).or_default().push((start.max(from), end.min(to)));
        }
    }
    held.into_iter().map(|((stall, request), times)| (stall, request, together(times))).collect()
}

/// How much time the intervals cover.
fn together(mut times: Vec<(i64, i64)>) -> i64 {
    times.sort_unstable();
    let mut until = i64::MIN;
    let mut sum = 0;
    for (from, to) in times {
        sum += (to - from.max(until)).max(0);
        until = until.max(to);
    }
    sum
}
