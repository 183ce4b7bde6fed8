//! Tables about the joined spans: requests, repairs, clock offsets, the ledger, and who called whom.

pub mod call_counts;
pub mod conflicts;
pub mod etcd_calls;
pub mod etcd_operations;
pub mod groups;
pub mod issues;
pub mod parts;
pub mod syncs;
pub mod trees;
pub mod webhook_calls;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;

use crate::arrow::{hex_column, instant_column, named, strings_column, word_column, words};
use crate::attribute::{PhaseTable, Signatures};
use crate::columns::{Columns, NONE, TextRef};
use crate::join::Joined;
use crate::join::clock::{ClockOffset, Verdict};
use crate::join::completeness;
use crate::join::repair::{Repair, RepairKind};
use crate::join::role::Role;
use crate::join::times::bad_time;
use crate::numbers::ns_between;

fn index_or_null(values: &[u32]) -> ArrayRef {
    Arc::new(Int64Array::from_iter(values.iter().map(|&at| (at != NONE).then_some(i64::from(at)))))
}

fn numbers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(u64::cast_signed)))
}

/// One row per request.
pub fn requests(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let (c, r) = (&joined.columns, &joined.requests);
    let all_words = words(&r.words);
    let word = |ids: &[u32]| word_column(Arc::clone(&all_words), ids, |id| id == 0);
    let roots = || r.root.iter().map(|&row| row as usize);
    let names: Vec<u32> = roots().map(|row| c.spans.name[row]).collect();
    let calls = etcd_calls_below(joined);
    let (pre, tail) = outside(joined);
    let causes = completeness::causes(joined, &calls.iter().map(|calls| calls.unpaired).collect::<Vec<_>>());
    let raw = &c.spans.start_time_unix_nano;
    let has_valid_times = |row: usize| bad_time(raw[row], c.spans.end_time_unix_nano[row]).is_none();
    let instance = |row: usize| joined.processes.names[joined.processes.of(c, row) as usize].1.as_deref();
    let caller = |&row: &u32| {
        let process = (row != NONE).then(|| joined.processes.of(c, row as usize) as usize);
        process.map(|process| joined.processes.names[process].0.as_str())
    };
    let callers = || r.caller.iter().map(|&row| (row != NONE).then_some(row as usize));
    let caller_ns =
        |row: usize| has_valid_times(row).then(|| (c.spans.end_time_unix_nano[row] - raw[row]).cast_signed());
    let prelude_ns = |at: usize| {
        let (row, above) =
            (r.root[at] as usize, Some(r.prelude[at]).filter(|&above| above != NONE)? as usize);
        // Both are of one process, whose clock is its own whatever the trees were moved to.
        (has_valid_times(row) && has_valid_times(above))
            .then(|| raw[row].saturating_sub(raw[above]).cast_signed())
    };
    let counted_in: Vec<u32> = (0..r.len()).map(|at| r.counted_in(&joined.start, &joined.end, at)).collect();
    let some = |texts: &[TextRef]| {
        strings_column(c, texts.iter().map(|&text| Some(text).filter(|text| !text.is_empty())))
    };
    named(vec![
        ("request", numbers(0..r.len() as u64)),
        ("trace_id", hex_column(roots().map(|row| Some(&c.spans.trace_id[row][..])))),
        ("span_id", hex_column(roots().map(|row| Some(&c.spans.span_id[row][..])))),
        ("name", word_column(words(&c.names), &names, |_| false)?),
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
        ("audit_id", strings_column(c, audit_ids(joined).into_iter())?),
        ("response_bytes", Arc::new(Int64Array::from_iter(roots().map(|row| response_bytes(c, row))))),
        ("instance", Arc::new(StringArray::from_iter(roots().map(instance)))),
        ("start_unix_nano", numbers(roots().map(|row| joined.start[row].cast_unsigned()))),
        ("start_time", instant_column(roots().map(|row| Some(joined.start[row])))),
        ("end_time", instant_column(roots().map(|row| Some(joined.end[row])))),
        ("wall_ns", numbers(r.root.iter().map(|&row| joined.took_ns(row)))),
        ("prelude_ns", Arc::new(Int64Array::from_iter((0..r.len()).map(prelude_ns)))),
        ("pre_start_ns", numbers(pre.into_iter())),
        ("async_tail_ns", numbers(tail.into_iter())),
        ("spans", numbers(r.root.iter().map(|&row| joined.forest.subtree(row).len() as u64))),
        ("etcd_call_count", numbers(calls.iter().map(|calls| calls.all))),
        ("retries", numbers(calls.iter().map(|calls| calls.retries))),
        ("conflicts", numbers(calls.iter().map(|calls| calls.conflicts))),
        ("outer_request", index_or_null(&r.outer)),
        ("linked_from", index_or_null(&r.linked_from)),
        ("caller_service", Arc::new(StringArray::from_iter(r.caller.iter().map(caller)))),
        ("caller_trace_id", hex_column(callers().map(|row| row.map(|row| &c.spans.trace_id[row][..])))),
        ("caller_span_id", hex_column(callers().map(|row| row.map(|row| &c.spans.span_id[row][..])))),
        ("caller_ns", Arc::new(Int64Array::from_iter(callers().map(|row| row.and_then(caller_ns))))),
        ("counted_in", index_or_null(&counted_in)),
        ("long_running", Arc::new(BooleanArray::from(r.long_running.clone()))),
        ("has_valid_times", Arc::new(BooleanArray::from_iter(roots().map(|row| Some(has_valid_times(row)))))),
        ("complete", Arc::new(BooleanArray::from_iter(causes.iter().map(|cause| Some(cause.is_none()))))),
        (
            "incomplete_cause",
            Arc::new(StringArray::from_iter(causes.iter().map(|cause| cause.map(completeness::Cause::name)))),
        ),
    ])
}

/// The audit id of every request: on its SERVER span from 1.34 on, before that on the spans of its handler.
fn audit_ids(joined: &Joined) -> Vec<Option<TextRef>> {
    let c = &joined.columns;
    let mut ids = vec![None; joined.requests.len()];
    let Some(key) = c.keys.find(b"audit-id") else { return ids };
    for &row in &joined.forest.order {
        let at = joined.requests.of_row[row as usize];
        if at != NONE && ids[at as usize].is_none() {
            ids[at as usize] = c.span_attributes.string(row as usize, Some(key));
        }
    }
    ids
}

/// How long the body of the answer was, under the names of every version.
fn response_bytes(c: &Columns, row: usize) -> Option<i64> {
    let names = ["http.response.body.size", "http.response_content_length", "http.wrote_bytes"];
    names.iter().find_map(|name| c.span_attributes.int(row, c.keys.find(name.as_bytes())))
}

/// etcd calls in the tree of a request.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    all: u64,
    /// Without a SERVER span.
    unpaired: u64,
    /// Made because the one before was refused.
    retries: u64,
    /// Attempts at an update that failed, because another client had written the object.
    conflicts: u64,
}

impl Calls {
    fn plus(self, other: Self, sign: fn(u64, u64) -> u64) -> Self {
        Self {
            all: sign(self.all, other.all),
            unpaired: sign(self.unpaired, other.unpaired),
            retries: sign(self.retries, other.retries),
            conflicts: sign(self.conflicts, other.conflicts),
        }
    }
}

/// Per request: the etcd calls in its tree.
fn etcd_calls_below(joined: &Joined) -> Vec<Calls> {
    let mut before = vec![Calls::default(); joined.forest.order.len() + 1];
    let calls = etcd_calls::calls(joined);
    for (call, retry) in calls.iter().zip(etcd_calls::retries(joined, &calls)) {
        let place = joined.forest.position[call.row() as usize] as usize;
        let unpaired = u64::from(call.server == NONE);
        before[place + 1] = Calls { all: 1, unpaired, retries: u64::from(retry), conflicts: 0 };
    }
    for found in conflicts::conflicts(joined) {
        let place = joined.forest.position[found.row as usize] as usize;
        before[place + 1].conflicts += found.attempts;
    }
    for place in 1..before.len() {
        before[place] = before[place].plus(before[place - 1], |a, b| a + b);
    }
    let below = |&root: &u32| {
        let place = joined.forest.position[root as usize] as usize;
        let end = place + joined.forest.size[place] as usize;
        before[end].plus(before[place], |a, b| a - b)
    };
    joined.requests.root.iter().map(below).collect()
}

/// Per request: how long spans of its tree ran before its start and after its end, in ns.
fn outside(joined: &Joined) -> (Vec<u64>, Vec<u64>) {
    let order = &joined.forest.order;
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
    let of = |&root: &u32| {
        let (row, place) = (root as usize, joined.forest.position[root as usize] as usize);
        (ns_between(low[place], joined.start[row]), ns_between(joined.end[row], high[place]))
    };
    joined.requests.root.iter().map(of).unzip()
}

/// One row per repair, by rule, trace and span.
pub fn repairs(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let c = &joined.columns;
    let mut repairs: Vec<&Repair> = joined.repairs.iter().collect();
    let id = |row: u32| (c.spans.trace_id[row as usize], c.spans.span_id[row as usize]);
    repairs.sort_by_key(|repair| (repair.kind as u8, id(repair.row), repair.row));
    let rows = || repairs.iter().map(|repair| repair.row as usize);
    let requests: Vec<u32> =
        repairs.iter().map(|repair| joined.requests.of_row[repair.seen_in() as usize]).collect();
    let names: Vec<u32> = rows().map(|row| c.spans.name[row]).collect();
    let kinds = repairs.iter().map(|repair| RepairKind::NAMES[repair.kind as usize]);
    let (mut fields, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
    for texts in repairs.iter().map(|repair| repair.texts(c)) {
        fields.push(texts.0);
        before.push(texts.1);
        after.push(texts.2);
    }
    named(vec![
        ("kind", Arc::new(StringArray::from_iter_values(kinds)) as ArrayRef),
        ("request", index_or_null(&requests)),
        ("trace_id", hex_column(rows().map(|row| Some(&c.spans.trace_id[row][..])))),
        ("span_id", hex_column(rows().map(|row| Some(&c.spans.span_id[row][..])))),
        ("name", word_column(words(&c.names), &names, |_| false)?),
        ("field", Arc::new(StringArray::from(fields))),
        ("before", Arc::new(StringArray::from(before))),
        ("after", Arc::new(StringArray::from(after))),
    ])
}

/// One row per pair of processes that called each other.
pub fn clock_offsets(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let (c, offsets) = (&joined.columns, &joined.clock_offsets);
    let mut hosts: Vec<Option<&str>> = vec![None; joined.processes.names.len()];
    for row in 0..c.resources.batch.len() {
        let host = &mut hosts[joined.processes.of_resource(row) as usize];
        *host = host.or_else(|| c.resource_text(row, "host.name"));
    }
    let process = |at: u32| {
        let (service, instance) = &joined.processes.names[at as usize];
        let which = instance.as_deref().or(hosts[at as usize]);
        which.map_or_else(|| service.clone(), |which| format!("{service}/{which}"))
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
        ("at_time", instant_column(offsets.iter().map(|o| Some(o.at)))),
        ("pairs", numbers(offsets.iter().map(|o| o.pairs))),
        ("set_aside", numbers(offsets.iter().map(|o| o.set_aside))),
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

/// Places in the forest: of all spans, or of those in the trees of some requests, each once, parents first.
fn places(joined: &Joined, requests: Option<&[usize]>) -> Vec<usize> {
    let forest = &joined.forest;
    let Some(requests) = requests else { return (0..forest.order.len()).collect() };
    let place = |&request: &usize| forest.position[joined.requests.root[request] as usize] as usize;
    let mut roots: Vec<usize> = requests.iter().map(place).collect();
    roots.sort_unstable();
    let mut end = 0;
    let mut all = Vec::new();
    for root in roots {
        // A request inside another one is in its tree already.
        all.extend(root.max(end)..(root + forest.size[root] as usize).max(end));
        end = end.max(root + forest.size[root] as usize);
    }
    all
}

/// Who called whom, in all or in some requests: for every used span and its parent, what their phases' groups are, how often and how long
/// (sum of the child's duration, ns). Calls inside one group are left out.
pub fn calls(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    group: &[u32],
    requests: Option<&[usize]>,
) -> Vec<(u32, u32, u64, u64)> {
    let mut edges: BTreeMap<(u32, u32), (u64, u64)> = BTreeMap::new();
    // Row → its group, and the context of what is below it.
    let mut seen: Vec<Option<(u32, u16)>> = vec![None; joined.role.len()];
    for place in places(joined, requests) {
        let row = joined.forest.order[place];
        let at = row as usize;
        let signature = signatures.of_row[at];
        if signature == NONE {
            continue;
        }
        let above = seen.get(joined.parent[at] as usize).copied().flatten();
        let context = above.map_or(0, |(_, context)| context);
        let phase = table.blame.phase(context, signature, table.phase[signature as usize]);
        let own = group[usize::from(phase)];
        seen[at] = Some((own, table.blame.below(context, signature)));
        if let Some((outer, _)) = above.filter(|&(outer, _)| outer != own) {
            let sum = edges.entry((outer, own)).or_default();
            sum.0 += 1;
            sum.1 += ns_between(joined.start[at], joined.end[at]);
        }
    }
    edges.into_iter().map(|((from, to), (count, ns))| (from, to, count, ns)).collect()
}
