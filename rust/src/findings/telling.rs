//! The etcd calls of some requests that a finding can come from; most calls are left out.
//!
//! ```text
//! lists         whatever reads a whole prefix
//! repeats       reads of one request: the same operation, key and revision, twice and more
//! refused       calls that repeat one which etcd refused, and all of that method beside them
//! outlasting    calls that go on after their request has ended
//! ```

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::columns::NONE;
use crate::findings::holding::Holding;
use crate::join::Joined;
use crate::tables::etcd_calls::{self, Asked, EtcdCall, Known};

/// Operations that change nothing.
const READS: [&str; 4] = ["get", "list", "keys", "count"];

/// The rows of [`etcd_calls::details`] of these calls.
pub fn table(joined: &Joined, known: &Known, requests: &[usize]) -> Result<RecordBatch, ArrowError> {
    let calls = &known.calls;
    let holding = Holding::new(joined, requests);
    let held: Vec<u32> = calls.iter().map(|call| holding.of_row(joined, call.row())).collect();
    let mut tells = vec![false; calls.len()];
    for (at, call) in calls.iter().enumerate().filter(|&(at, _)| held[at] != NONE) {
        tells[at] = known.operation(at) == "list" || outlasts(joined, call, held[at]);
    }
    repeats(joined, known, &held, &mut tells);
    let retries = etcd_calls::retries(joined, calls);
    refused(joined, calls, (&held, &retries), &mut tells);
    let chosen: Vec<usize> = (0..calls.len()).filter(|&at| tells[at]).collect();
    crate::arrow::named(etcd_calls::details_of(joined, calls, &chosen, &retries)?)
}

fn outlasts(joined: &Joined, call: &EtcdCall, request: u32) -> bool {
    let root = joined.requests.root[request as usize] as usize;
    let (row, end) = (call.row() as usize, joined.end[root].max(joined.start[root]));
    joined.end[row] > end.max(joined.start[row])
}

fn repeats(joined: &Joined, known: &Known, held: &[u32], tells: &mut [bool]) {
    let calls = &known.calls;
    let is_read = |&at: &usize| held[at] != NONE && READS.contains(&known.operation(at));
    let mut reads = vec![0_u32; joined.requests.len()];
    (0..calls.len()).filter(is_read).for_each(|at| reads[held[at] as usize] += 1);
    let several: Vec<usize> =
        (0..calls.len()).filter(is_read).filter(|&at| reads[held[at] as usize] > 1).collect();
    if several.is_empty() {
        return;
    }
    let (c, asked) = (&joined.columns, Asked::new(joined));
    let keys = etcd_calls::keys(joined, calls, &several);
    let mut first: HashMap<_, usize, RandomState> = HashMap::default();
    for (at, key) in several.into_iter().zip(keys) {
        let Some(key) = key else { continue };
        let read = (held[at], known.operation(at), c.text(key), asked.revision(&calls[at]));
        let before = *first.entry(read).or_insert(at);
        if before != at {
            (tells[before], tells[at]) = (true, true);
        }
    }
}

fn refused(joined: &Joined, calls: &[EtcdCall], (held, retries): (&[u32], &[bool]), tells: &mut [bool]) {
    let place = |call: &EtcdCall| {
        let row = call.row() as usize;
        (joined.parent[row], joined.columns.spans.name[row])
    };
    let again: HashSet<_, RandomState> =
        (0..calls.len()).filter(|&at| retries[at] && held[at] != NONE).map(|at| place(&calls[at])).collect();
    if !again.is_empty() {
        for (at, call) in calls.iter().enumerate() {
            tells[at] |= held[at] != NONE && again.contains(&place(call));
        }
    }
}
