//! What a stalled process held up, and when.
//!
//! ```text
//! stall of a process      |----------|
//! a request it serves  |=====================|      all of the stall that the request was open in
//! a call into it             |===========|          all of the stall that the call was open in
//! ```

use crate::columns::NONE;
use crate::join::Joined;
use crate::join::span_kind::{CLIENT, SERVER};
use crate::numbers::u32_of;

/// A stall: process, from, to.
pub type Stall = (u32, i64, i64);

/// (Stall, row of a span, from, to): what was held up in requests that end by themselves; of spans in each other the
/// outermost one. Stalls of one process must not overlap.
pub fn held(j: &Joined, stalls: &[Stall]) -> Vec<(u32, u32, i64, i64)> {
    let mut of: Vec<Vec<(i64, i64, u32)>> = vec![Vec::new(); j.processes.names.len()];
    for (number, &(process, start, end)) in stalls.iter().enumerate() {
        of[process as usize].push((start, end, u32_of(number)));
    }
    for of in &mut of {
        of.sort_unstable();
    }
    let mut past = vec![0; of.len()];
    let mut held = Vec::new();
    for (place, &row) in j.forest.order.iter().enumerate() {
        let at = row as usize;
        if j.columns.spans.kind[at] != SERVER {
            continue;
        }
        let process = j.processes.of(&j.columns, at) as usize;
        let request = j.requests.of_row[at];
        let ends = request != NONE && !j.requests.long_running[request as usize];
        if of[process].is_empty() || !ends || place < past[process] {
            continue;
        }
        past[process] = place + j.forest.size[place] as usize;
        let above = j.parent[at];
        let is_call = above != NONE && j.columns.spans.kind[above as usize] == CLIENT;
        let row = if is_call { above } else { row };
        let (from, to) = (j.start[row as usize], j.end[row as usize]);
        let first = of[process].partition_point(|&(_, end, _)| end <= from);
        for &(start, end, number) in of[process][first..].iter().take_while(|&&(start, ..)| start < to) {
            held.push((number, row, start.max(from), end.min(to)));
        }
    }
    held
}
