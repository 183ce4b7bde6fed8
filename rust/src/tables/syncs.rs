//! Pods as their kubelets see them: syncs, calls to the container runtime, requests to the API server.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::arrow::{hex_column, instant_column, named, word_column, words};
use crate::columns::{NONE, run};
use crate::join::Joined;
use crate::join::request_info::{self, split_target};
use crate::join::syncs::{CriCall, Purpose};
use crate::join::times::bad_time;
use crate::numbers::ns_between;
use crate::tables::etcd_calls::Statuses;
use crate::tables::{index_or_null, numbers};

const STATUS_ERROR: i32 = 2;

/// Texts of some rows, by what finds them.
struct Texts<'a>(&'a Joined);

fn texts_of<'a>(rows: &[u32], find: impl Fn(usize) -> Option<&'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter(rows.iter().map(|&row| find(row as usize)).map(some)))
}

impl Texts<'_> {
    fn trace_ids(&self, rows: &[u32]) -> ArrayRef {
        hex_column(rows.iter().map(|&row| Some(&self.0.columns.spans.trace_id[row as usize][..])))
    }

    fn span_ids(&self, rows: &[u32]) -> ArrayRef {
        hex_column(rows.iter().map(|&row| Some(&self.0.columns.spans.span_id[row as usize][..])))
    }

    fn attribute(&self, rows: &[u32], key: &str) -> ArrayRef {
        let c = &self.0.columns;
        let key = c.keys.find(key.as_bytes());
        texts_of(rows, |row| c.span_text(row, key))
    }

    /// Where the process of a span runs: `host.name` of its resource, or its instance id.
    fn node(&self, rows: &[u32]) -> ArrayRef {
        texts_of(rows, |row| node_of(self.0, row))
    }

    /// What went wrong: the message of the status, or of an exception.
    fn error(&self, rows: &[u32]) -> ArrayRef {
        let c = &self.0.columns;
        let message = c.keys.find(b"exception.message");
        texts_of(rows, |row| {
            let text = c.text(c.spans.status_message[row]);
            if c.spans.status_code[row] != STATUS_ERROR || !text.is_empty() {
                return (c.spans.status_code[row] == STATUS_ERROR).then_some(text);
            }
            let mut told = run(&c.spans.events_end, row)
                .filter_map(|event| c.event_attributes.string(event, message).map(|text| c.text(text)));
            told.next_back().or(Some("error"))
        })
    }
}

fn some(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn node_of(joined: &Joined, row: usize) -> Option<&str> {
    let c = &joined.columns;
    let host = c.resource_text(c.resource_of(row), "host.name");
    host.or_else(|| joined.processes.names[joined.processes.of(c, row) as usize].1.as_deref())
}

fn starts(joined: &Joined, rows: &[u32]) -> ArrayRef {
    numbers(rows.iter().map(|&row| joined.start[row as usize].cast_unsigned()))
}

fn times(rows: &[u32], at: &[i64]) -> ArrayRef {
    instant_column(rows.iter().map(|&row| Some(at[row as usize])))
}

fn has_valid_times(joined: &Joined, row: u32) -> bool {
    let s = &joined.columns.spans;
    bad_time(s.start_time_unix_nano[row as usize], s.end_time_unix_nano[row as usize]).is_none()
}

/// One row per sync of a pod.
pub fn table(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let (c, syncs) = (&joined.columns, &joined.syncs);
    let (rows, texts) = (&syncs.root, Texts(joined));
    let mut calls = vec![0; rows.len()];
    let waited = syncs.calls.iter().filter(|call| call.sync != NONE && call.purpose == Purpose::Sync);
    for call in waited {
        calls[call.sync as usize] += 1;
    }
    let names: Vec<u32> = rows.iter().map(|&row| c.spans.name[row as usize]).collect();
    let below = |root: u32| joined.forest.subtree(root).iter().copied();
    let detached = |&root: &u32| -> u64 {
        let beside = below(root).filter(|row| syncs.detached.contains(row));
        beside.map(|row| joined.forest.subtree(row).len() as u64).sum()
    };
    let tail = |&root: &u32| {
        let last = below(root).map(|row| joined.end[row as usize]).max().unwrap_or(0);
        ns_between(joined.end[root as usize], last)
    };
    let complete = |&root: &u32| Some(!joined.evicted.contains(&c.spans.trace_id[root as usize]));
    named(vec![
        ("sync", numbers(0..rows.len() as u64)),
        ("trace_id", texts.trace_ids(rows)),
        ("span_id", texts.span_ids(rows)),
        ("name", word_column(words(&c.names), &names, |_| false)?),
        ("pod_uid", texts.attribute(rows, "k8s.pod.uid")),
        ("namespace", texts.attribute(rows, "k8s.namespace.name")),
        ("pod", texts.attribute(rows, "k8s.pod.name")),
        ("node", texts.node(rows)),
        ("update_type", texts.attribute(rows, "k8s.pod.update_type")),
        ("start_unix_nano", starts(joined, rows)),
        ("start_time", times(rows, &joined.start)),
        ("end_time", times(rows, &joined.end)),
        ("wall_ns", numbers(rows.iter().map(|&row| joined.took_ns(row)))),
        ("spans", numbers(rows.iter().map(|&row| joined.forest.subtree(row).len() as u64))),
        ("cri_call_count", numbers(calls.into_iter())),
        ("detached_spans", numbers(rows.iter().map(detached))),
        ("async_tail_ns", numbers(rows.iter().map(tail))),
        ("error", texts.error(rows)),
        (
            "has_valid_times",
            Arc::new(BooleanArray::from_iter(rows.iter().map(|&row| Some(has_valid_times(joined, row))))),
        ),
        ("complete", Arc::new(BooleanArray::from_iter(rows.iter().map(complete)))),
    ])
}

/// The container that a call creates or starts, as its runtime names it.
fn containers(joined: &Joined) -> Vec<Option<String>> {
    let c = &joined.columns;
    let [id, name] = ["container.id", "container.name"].map(|key| c.keys.find(key.as_bytes()));
    let text = |row: u32, key| if row == NONE { None } else { c.span_text(row as usize, key) };
    let calls = &joined.syncs.calls;
    let named: HashMap<&str, &str, RandomState> =
        calls.iter().filter_map(|call| Some((text(call.server, id)?, text(call.server, name)?))).collect();
    let of = |call: &CriCall| {
        let id = text(call.server, id);
        text(call.server, name).or_else(|| id.map(|id| named.get(id).copied().unwrap_or(id)))
    };
    calls.iter().map(|call| of(call).map(str::to_owned)).collect()
}

/// One row per call to a container runtime.
pub fn cri_calls(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let (c, calls) = (&joined.columns, &joined.syncs.calls);
    let rows: Vec<u32> = calls.iter().map(CriCall::row).collect();
    let (rows, texts) = (&rows, Texts(joined));
    let names: Vec<u32> = rows.iter().map(|&row| c.spans.name[row as usize]).collect();
    let operation = |&name: &u32| c.names.text(name).rsplit('/').next().unwrap_or_default();
    let syncs: Vec<u32> = calls.iter().map(|call| call.sync).collect();
    let side = |side: fn(&CriCall) -> u32| {
        let ns = calls.iter().map(move |call| Some(side(call)).filter(|&row| row != NONE));
        Arc::new(Int64Array::from_iter(ns.map(|row| row.map(|row| joined.took_ns(row).cast_signed()))))
            as ArrayRef
    };
    let transport = calls.iter().map(|call| {
        let both = call.client != NONE && call.server != NONE;
        both.then(|| joined.took_ns(call.client).cast_signed() - joined.took_ns(call.server).cast_signed())
    });
    let statuses = Statuses::new(c);
    let purposes = calls.iter().map(|call| Purpose::NAMES[call.purpose as usize]);
    let services: Vec<Option<&str>> =
        calls.iter().map(|call| (call.server != NONE).then(|| service(joined, call.server))).collect();
    named(vec![
        ("sync", index_or_null(&syncs)),
        ("purpose", Arc::new(StringArray::from_iter_values(purposes)) as ArrayRef),
        ("trace_id", texts.trace_ids(rows)),
        ("span_id", texts.span_ids(rows)),
        ("method", word_column(words(&c.names), &names, |_| false)?),
        ("operation", Arc::new(StringArray::from_iter_values(names.iter().map(operation)))),
        ("node", texts_of(rows, |row| node_of(joined, row))),
        ("runtime", Arc::new(StringArray::from(services))),
        ("container", Arc::new(StringArray::from_iter(containers(joined)))),
        ("status", texts_of(rows, |row| statuses.of(row))),
        ("error", texts.error(rows)),
        ("start_unix_nano", starts(joined, rows)),
        ("start_time", times(rows, &joined.start)),
        ("end_time", times(rows, &joined.end)),
        ("client_ns", side(|call| call.client)),
        ("server_ns", side(|call| call.server)),
        ("transport_ns", Arc::new(Int64Array::from_iter(transport))),
    ])
}

fn service(joined: &Joined, row: u32) -> &str {
    &joined.processes.names[joined.processes.of(&joined.columns, row as usize) as usize].0
}

/// One row per HTTP call of a kubelet, and per request that a kubelet answered, by start.
pub fn kubelet_requests(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let c = &joined.columns;
    let names = &joined.names;
    let is_one =
        |&row: &u32| names.is_kubelet_request(c, row as usize) || names.is_served_by_kubelet(c, row as usize);
    let mut rows: Vec<u32> = if names.any_kubelet() {
        joined.forest.order.iter().copied().filter(is_one).collect()
    } else {
        Vec::new()
    };
    rows.sort_by_key(|&row| {
        let at = row as usize;
        (joined.start[at], c.spans.trace_id[at], c.spans.span_id[at])
    });
    let (rows, texts) = (&rows, Texts(joined));
    let find = |names: [&str; 2]| names.map(|name| c.keys.find(name.as_bytes()));
    let keys = [
        find(["url.full", "http.url"]),
        find(["url.path", "http.target"]),
        find(["http.request.method", "http.method"]),
    ];
    let text = |row: usize, key: usize| keys[key].iter().find_map(|&key| c.span_text(row, key));
    let target = |row: usize| some(text(row, 0)).or_else(|| text(row, 1));
    let method = |row: usize| {
        text(row, 2).unwrap_or_else(|| request_info::method_of_name(c.names.text(c.spans.name[row])))
    };
    let info = |row: &u32| {
        let asked = target(*row as usize).unwrap_or_default();
        request_info::request_info(method(*row as usize), asked)
    };
    let infos: Vec<_> = rows.iter().map(info).collect();
    let word = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        let texts = (0..rows.len()).map(|at| Some(of(at)).filter(|text| !text.is_empty()));
        Arc::new(StringArray::from_iter(texts))
    };
    let status = find(["http.response.status_code", "http.status_code"]);
    let status = |&row: &u32| {
        status.iter().find_map(|&key| {
            let number = c.span_attributes.int(row as usize, key);
            number.or_else(|| c.span_text(row as usize, key)?.parse().ok())
        })
    };
    let answers: HashMap<u32, u32, RandomState> = joined.requests.caller.iter().copied().zip(0..).collect();
    let answer: Vec<u32> = rows.iter().map(|row| answers.get(row).copied().unwrap_or(NONE)).collect();
    let syncs: HashMap<u32, u32, RandomState> = joined.syncs.root.iter().copied().zip(0..).collect();
    let sync = |&row: &u32| {
        let mut top = row;
        while joined.parent[top as usize] != NONE {
            top = joined.parent[top as usize];
        }
        syncs.get(&top).copied().unwrap_or(NONE)
    };
    let direction = |&row: &u32| {
        if names.is_served_by_kubelet(c, row as usize) { "served" } else { "made" }
    };
    let directions: Vec<&str> = rows.iter().map(direction).collect();
    named(vec![
        ("direction", Arc::new(StringArray::from(directions)) as ArrayRef),
        ("trace_id", texts.trace_ids(rows)),
        ("span_id", texts.span_ids(rows)),
        ("node", texts.node(rows)),
        ("method", texts_of(rows, |row| Some(method(row)))),
        ("path", texts_of(rows, |row| target(row).map(|target| split_target(target).0))),
        ("verb", word(&|at| infos[at].verb.to_string())),
        ("resource", word(&|at| infos[at].resource.to_string())),
        ("subresource", word(&|at| infos[at].subresource.to_string())),
        ("namespace", word(&|at| infos[at].namespace.to_string())),
        ("object_name", word(&|at| infos[at].name.to_string())),
        ("http_status", Arc::new(Int64Array::from_iter(rows.iter().map(status)))),
        ("error", texts.error(rows)),
        ("start_unix_nano", starts(joined, rows)),
        ("start_time", times(rows, &joined.start)),
        ("end_time", times(rows, &joined.end)),
        ("wall_ns", numbers(rows.iter().map(|&row| joined.took_ns(row)))),
        ("request", index_or_null(&answer)),
        ("sync", index_or_null(&rows.iter().map(sync).collect::<Vec<_>>())),
    ])
}
