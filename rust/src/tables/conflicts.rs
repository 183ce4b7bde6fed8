//! Updates that were retried, because another client had written the object in between.
//!
//! ```text
//! GuaranteedUpdate etcd3  |=======================================|
//! events                     i        r           r                  i: initial value restored
//! etcd                    |R|  |-Txn-|  |--Txn---|  |--Txn--|        r: Retry value restored
//! lost                       |====================|
//! ```

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::ArrowError;

use crate::arrow;
use crate::columns::{NONE, run};
use crate::join::Joined;
use crate::join::span_kind::INTERNAL;
use crate::numbers::u32_of;

/// One update with conflicts.
#[derive(Debug, Clone, Copy)]
pub struct Conflicts {
    /// Its `GuaranteedUpdate etcd3` span.
    pub row: u32,
    /// Failed attempts.
    pub attempts: u64,
    /// When the first attempt began.
    pub from: i64,
    /// When the last failed attempt had ended, and the value for the next one had been read.
    pub to: i64,
}

/// The updates with conflicts, in the order of the forest.
///
/// Told by the event; where the sender dropped events (it keeps the last 128), by the transactions.
pub fn conflicts(joined: &Joined) -> Vec<Conflicts> {
    let c = &joined.columns;
    let (Some(update), Some(retried)) =
        (c.names.find(b"GuaranteedUpdate etcd3"), c.names.find(b"Retry value restored"))
    else {
        return Vec::new();
    };
    let names = &joined.names;
    let begins = c.names.find(b"initial value restored");
    let is_update = |&row: &u32| {
        let at = row as usize;
        c.spans.name[at] == update && names.is_inner(c, at) && joined.forest.position[at] != NONE
    };
    let of_update = |row: u32| {
        let (seen, from, to) = retries(joined, row as usize, begins, retried);
        let dropped = c.spans.dropped_events_count[row as usize] > 0;
        let sent = if dropped { transactions(joined, row).saturating_sub(1) } else { 0 };
        let from = from.unwrap_or(joined.start[row as usize]);
        Some(Conflicts { row, attempts: sent.max(seen), from, to: to? })
    };
    let mut found: Vec<Conflicts> = (0..u32_of(c.len())).filter(is_update).filter_map(of_update).collect();
    found.sort_unstable_by_key(|of| joined.forest.position[of.row as usize]);
    found
}

/// From an update's events: how often it was retried, when it began, when the last retry began.
fn retries(joined: &Joined, at: usize, begins: Option<u32>, retried: u32) -> (u64, Option<i64>, Option<i64>) {
    let c = &joined.columns;
    let (mut seen, mut from, mut to) = (0, None, None);
    for event in run(&c.spans.events_end, at) {
        let name = c.events.name[event];
        if name == retried {
            seen += 1;
            to = to.max(Some(time_of(joined, at, event)));
        } else if Some(name) == begins {
            from = Some(time_of(joined, at, event));
        }
    }
    (seen, from, to)
}

/// An event's time on the clock of the trees.
fn time_of(joined: &Joined, row: usize, event: usize) -> i64 {
    let shift = joined.start[row].saturating_sub_unsigned(joined.columns.spans.start_time_unix_nano[row]);
    let raw = joined.columns.events.time_unix_nano[event];
    i64::try_from(raw).unwrap_or(i64::MAX).saturating_add(shift)
}

/// How many transactions an update sent.
fn transactions(joined: &Joined, update: u32) -> u64 {
    let spans = &joined.columns.spans;
    let name = joined.columns.names.find(b"etcdserverpb.KV/Txn");
    // An aggregated server's calls have no CLIENT span.
    let is_sent = |&row: &u32| spans.kind[row as usize] != INTERNAL && Some(spans.name[row as usize]) == name;
    joined.forest.children(update).filter(is_sent).count() as u64
}

/// One row per update with conflicts.
pub fn table(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let c = &joined.columns;
    let found = conflicts(joined);
    let key = c.keys.find(b"key");
    let request = |of: &Conflicts| Some(joined.requests.of_row[of.row as usize]).filter(|&at| at != NONE);
    let texts = found.iter().map(|of| c.span_attributes.string(of.row as usize, key));
    arrow::named(vec![
        (
            "request",
            Arc::new(Int64Array::from_iter(found.iter().map(request).map(|at| at.map(i64::from))))
                as ArrayRef,
        ),
        ("key", arrow::strings_column(c, texts)?),
        (
            "conflicts",
            Arc::new(Int64Array::from_iter_values(found.iter().map(|of| of.attempts.cast_signed()))),
        ),
        ("from_unix_nano", Arc::new(Int64Array::from_iter_values(found.iter().map(|of| of.from)))),
        ("to_unix_nano", Arc::new(Int64Array::from_iter_values(found.iter().map(|of| of.to)))),
        ("span", Arc::new(Int64Array::from_iter_values(found.iter().map(|of| i64::from(of.row))))),
    ])
}
