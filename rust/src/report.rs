//! Tables about the joined spans: requests, repairs, clock offsets, the ledger, and who called whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow_schema::ArrowError;

use crate::arrow::{hex_column, named, strings_column, word_column};
use crate::clock::{ClockOffset, Verdict};
use crate::etcd;
use crate::forest::NONE;
use crate::join::{Joined, RepairKind, Role};
use crate::phases::Signatures;

/// Why a request's tree may not be whole.
const CAUSES: [Option<&str>; 3] = [None, Some("etcd_not_traced"), Some("parent_missing")];

fn index_or_null(values: &[u32]) -> ArrayRef {
    Arc::new(UInt32Array::from_iter(values.iter().map(|&at| Some(at).filter(|&at| at != NONE))))
}

fn numbers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(values))
}

/// One row per request.
pub fn requests(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let (c, r) = (&joined.columns, &joined.requests);
    let word = |ids: &[u32]| word_column(&r.words, ids, |id| id == 0);
    let roots = || r.root.iter().map(|&row| row as usize);
    let names: Vec<u32> = roots().map(|row| c.spans.name[row]).collect();
    let (calls, _) = etcd_calls_below(joined);
    let (pre, tail) = outside(joined);
    let causes = incomplete_causes(joined);
    let instance = |row: usize| joined.processes.names[joined.processes.of(c, row) as usize].1.as_deref();
    let prelude_ns = |at: usize| {
        let above = r.prelude[at];
        (above != NONE)
            .then(|| (joined.start[r.root[at] as usize] - joined.start[above as usize]).max(0) as u64)
    };
    let some = |texts: &[crate::columns::TextRef]| {
        strings_column(c, texts.iter().map(|&text| Some(text).filter(|text| !text.is_empty())))
    };
    named(vec![
        ("request", Arc::new(UInt32Array::from_iter_values(0..r.len() as u32)) as ArrayRef),
        ("trace_id", hex_column(roots().map(|row| &c.spans.trace_id[row][..]))),
        ("span_id", hex_column(roots().map(|row| &c.spans.span_id[row][..]))),
        ("name", word_column(&c.names, &names, |_| false)?),
        ("verb", word(&r.verb)?),
        ("api_group", word(&r.api_group)?),
        ("api_version", word(&r.api_version)?),
        ("resource", word(&r.resource)?),
        ("subresource", word(&r.subresource)?),
        ("namespace", word(&r.namespace)?),
        ("object_name", word(&r.object_name)?),
        ("http_method", word(&r.http_method)?),
        (
            "http_status",
            Arc::new(Int64Array::from_iter(r.http_status.iter().map(|&s| Some(s).filter(|&s| s != 0)))),
        ),
        ("target", some(&r.target)?),
        ("user_agent", some(&r.user_agent)?),
        ("instance", Arc::new(StringArray::from_iter(roots().map(instance)))),
        ("start_unix_nano", numbers(roots().map(|row| joined.start[row] as u64))),
        ("wall_ns", numbers(roots().map(|row| (joined.end[row] - joined.start[row]).max(0) as u64))),
        ("prelude_ns", Arc::new(UInt64Array::from_iter((0..r.len()).map(prelude_ns)))),
        ("pre_start_ns", numbers(pre.into_iter())),
        ("async_tail_ns", numbers(tail.into_iter())),
        ("spans", numbers(r.root.iter().map(|&row| joined.forest.subtree(row).len() as u64))),
        ("etcd_call_count", numbers(calls.into_iter())),
        ("outer_request", index_or_null(&r.outer)),
        ("long_running", Arc::new(BooleanArray::from(r.long_running.clone()))),
        ("complete", Arc::new(BooleanArray::from_iter(causes.iter().map(|&cause| Some(cause == 0))))),
        ("incomplete_cause", Arc::new(StringArray::from_iter(causes.iter().map(|&cause| CAUSES[cause])))),
    ])
}

/// Per request: etcd calls in its tree, and how many of them have no SERVER span.
fn etcd_calls_below(joined: &Joined) -> (Vec<u64>, Vec<u64>) {
    let order = &joined.forest.order;
    let mut count = vec![(0u32, 0u32); order.len() + 1];
    for call in etcd::calls(joined) {
        let place = joined.forest.position[call.client as usize] as usize;
        count[place + 1] = (1, u32::from(call.server == NONE));
    }
    for place in 1..count.len() {
        count[place].0 += count[place - 1].0;
        count[place].1 += count[place - 1].1;
    }
    let below = |&root: &u32| {
        let place = joined.forest.position[root as usize] as usize;
        let end = place + joined.forest.size[place] as usize;
        (u64::from(count[end].0 - count[place].0), u64::from(count[end].1 - count[place].1))
    };
    joined.requests.root.iter().map(below).unzip()
}

/// Per request: how long spans of its tree ran before its start and after its end, in ns.
fn outside(joined: &Joined) -> (Vec<u64>, Vec<u64>) {
    let (order, size) = (&joined.forest.order, &joined.forest.size);
    let mut low: Vec<i64> = order.iter().map(|&row| joined.start[row as usize]).collect();
    let mut high: Vec<i64> = order.iter().map(|&row| joined.end[row as usize]).collect();
    for place in (0..order.len()).rev() {
        let above = joined.parent[order[place] as usize];
        if above != NONE {
            let above = joined.forest.position[above as usize] as usize;
            low[above] = low[above].min(low[place]);
            high[above] = high[above].max(high[place]);
        }
    }
    debug_assert_eq!(order.len(), size.len());
    let of = |&root: &u32| {
        let (row, place) = (root as usize, joined.forest.position[root as usize] as usize);
        ((joined.start[row] - low[place]).max(0) as u64, (high[place] - joined.end[row]).max(0) as u64)
    };
    joined.requests.root.iter().map(of).unzip()
}

/// Per request: an index into [`CAUSES`].
fn incomplete_causes(joined: &Joined) -> Vec<usize> {
    let c = &joined.columns;
    let lost = |row: &usize| matches!(joined.role[*row], Role::Orphan | Role::RootMissing);
    let damaged: hashbrown::HashSet<[u8; 16], foldhash::fast::RandomState> =
        (0..c.len()).filter(lost).map(|row| c.spans.trace_id[row]).collect();
    let (_, unpaired) = etcd_calls_below(joined);
    let cause = |(&root, &unpaired): (&u32, &u64)| match unpaired {
        1.. => 1,
        0 if damaged.contains(&c.spans.trace_id[root as usize]) => 2,
        0 => 0,
    };
    joined.requests.root.iter().zip(&unpaired).map(cause).collect()
}

/// One row per repair.
pub fn repairs(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let c = &joined.columns;
    let rows = || joined.repairs.iter().map(|repair| repair.row as usize);
    let span_id = |row: u32| (row != NONE).then(|| crate::arrow::hex(&c.spans.span_id[row as usize]));
    let request = |repair: &crate::join::Repair| {
        let twin = matches!(repair.kind, RepairKind::Duplicate | RepairKind::Conflict);
        joined.requests.of_row[if twin { repair.before } else { repair.row } as usize]
    };
    let requests: Vec<u32> = joined.repairs.iter().map(request).collect();
    let names: Vec<u32> = rows().map(|row| c.spans.name[row]).collect();
    named(vec![
        (
            "kind",
            Arc::new(StringArray::from_iter_values(
                joined.repairs.iter().map(|repair| RepairKind::NAMES[repair.kind as usize]),
            )) as ArrayRef,
        ),
        ("request", index_or_null(&requests)),
        ("trace_id", hex_column(rows().map(|row| &c.spans.trace_id[row][..]))),
        ("span_id", hex_column(rows().map(|row| &c.spans.span_id[row][..]))),
        ("name", word_column(&c.names, &names, |_| false)?),
        (
            "before",
            Arc::new(StringArray::from_iter(joined.repairs.iter().map(|repair| span_id(repair.before)))),
        ),
        (
            "after",
            Arc::new(StringArray::from_iter(joined.repairs.iter().map(|repair| span_id(repair.after)))),
        ),
    ])
}

/// One row per pair of processes that called each other.
pub fn clock_offsets(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let offsets = &joined.clock_offsets;
    let process = |at: u32| {
        let (service, instance) = &joined.processes.names[at as usize];
        instance.as_ref().map_or_else(|| service.clone(), |instance| format!("{service}/{instance}"))
    };
    let texts = |of: &dyn Fn(&ClockOffset) -> String| {
        Arc::new(StringArray::from_iter_values(offsets.iter().map(of))) as ArrayRef
    };
    let ns = |of: fn(&ClockOffset) -> Option<i64>| {
        Arc::new(Int64Array::from_iter(offsets.iter().map(of))) as ArrayRef
    };
    named(vec![
        ("client", texts(&|o| process(o.client))),
        ("server", texts(&|o| process(o.server))),
        ("verdict", texts(&|o| Verdict::NAMES[o.verdict as usize].to_owned())),
        ("offset_ns", ns(|o| Some(o.offset_ns))),
        ("low_ns", ns(|o| Some(o.low_ns).filter(|&low| low != i64::MIN))),
        ("high_ns", ns(|o| Some(o.high_ns).filter(|&high| high != i64::MAX))),
        ("drift_ppm", Arc::new(Float64Array::from_iter_values(offsets.iter().map(|o| o.drift * 1e6)))),
        ("at_unix_nano", ns(|o| Some(o.at))),
        ("pairs", numbers(offsets.iter().map(|o| o.pairs))),
    ])
}

/// Spans per role, in the ledger's order.
pub fn ledger(joined: &Joined) -> [u64; Role::NAMES.len()] {
    let mut counts = [0; Role::NAMES.len()];
    for &role in &joined.role {
        counts[role as usize] += 1;
    }
    counts
}

/// Who called whom: for every used span and its parent, what their signatures' groups are, how often and how long
/// (sum of the child's duration, ns). Calls inside one group are left out.
pub fn calls(joined: &Joined, signatures: &Signatures, group: &[u32]) -> Vec<(u32, u32, u64, u64)> {
    let mut edges: BTreeMap<(u32, u32), (u64, u64)> = BTreeMap::new();
    for &row in &joined.forest.order {
        let (at, above) = (row as usize, joined.parent[row as usize]);
        let signature = |row: usize| signatures.of_row.get(row).filter(|&&number| number != NONE);
        let (Some(&own), Some(&outer)) = (signature(at), signature(above as usize)) else { continue };
        let edge = (group[outer as usize], group[own as usize]);
        if edge.0 != edge.1 {
            let sum = edges.entry(edge).or_default();
            sum.0 += 1;
            sum.1 += (joined.end[at] - joined.start[at]).max(0) as u64;
        }
    }
    edges.into_iter().map(|((from, to), (count, ns))| (from, to, count, ns)).collect()
}
