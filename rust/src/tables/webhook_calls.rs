//! The calls of the apiserver to admission webhooks: one row per HTTP call, with the webhook that the span around it
//! names; of a call without its HTTP span, that span itself.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;

use crate::arrow;
use crate::columns::{Columns, NONE, run};
use crate::join::Joined;
use crate::join::span_kind::CLIENT;
use crate::numbers::{ns_between, u32_of};

/// The span around a call, and what kind of webhook it is for.
const AROUND: [(&str, &str); 2] =
    [("Call mutating webhook", "mutating"), ("Call validating webhook", "validating")];

/// `SpanStatus` of what failed.
const ERROR: i32 = 2;

/// One call.
struct Call {
    /// The span around it, which names the webhook.
    around: usize,
    /// The HTTP call; the same as `around` where there is none.
    row: usize,
    kind: &'static str,
}

fn calls(joined: &Joined) -> Vec<Call> {
    let c = &joined.columns;
    let names = &joined.names;
    let known = AROUND.map(|(name, kind)| (c.names.find(name.as_bytes()), kind));
    if known.iter().all(|(name, _)| name.is_none()) {
        return Vec::new();
    }
    let http_call = |around: usize| {
        let is_call =
            |&row: &u32| c.spans.kind[row as usize] == CLIENT && names.is_http_call(c, row as usize);
        joined.forest.children(u32_of(around)).find(is_call)
    };
    let found = |around: usize| {
        let &(_, kind) = known.iter().find(|&&(name, _)| name == Some(c.spans.name[around]))?;
        let is_meant = names.is_inner(c, around) && joined.forest.position[around] != NONE;
        is_meant.then(|| Call { around, row: http_call(around).map_or(around, |row| row as usize), kind })
    };
    let mut calls: Vec<Call> = (0..c.len()).filter_map(found).collect();
    let id = |call: &Call| (&c.spans.trace_id[call.row], &c.spans.span_id[call.row]);
    let place = |call: &Call| joined.forest.position[call.around];
    calls.sort_unstable_by(|a, b| {
        let times = joined.start[a.row].cmp(&joined.start[b.row]);
        times.then_with(|| (id(a), place(a)).cmp(&(id(b), place(b))))
    });
    calls
}

/// A duration as Go writes it in whole units, in ns: `timeout=10s`.
fn timeout_ns(url: &str) -> Option<u64> {
    let query = url.split_once('?')?.1;
    let text = query.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    let unit = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// What went wrong in a span, in the sender's words: its status, its `error.type`, or an event.
fn errors(c: &Columns) -> impl Fn(usize) -> Option<String> {
    let key = |name: &str| c.keys.find(name.as_bytes());
    let (told, kind) = (["exception.message", "err"].map(key), key("error.type"));
    move |row| {
        let (message, failed) = (c.spans.status_message[row], c.spans.status_code[row] == ERROR);
        if failed && !message.is_empty() {
            return Some(c.text(message).to_owned());
        }
        let event = run(&c.spans.events_end, row)
            .rev()
            .find_map(|event| told.iter().find_map(|&key| c.event_attributes.string(event, key)));
        let text = event.or_else(|| c.span_attributes.string(row, kind));
        text.map(|text| c.text(text).to_owned()).or_else(|| failed.then(|| "error".to_owned()))
    }
}

/// The calls as a table.
pub fn table(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let c = &joined.columns;
    let calls = calls(joined);
    let rows = || calls.iter().map(|call| call.row);
    let around = |name| texts_around(c, &calls, name);
    let more = [
        ("request", "trace_id", arrow::hex_column(rows().map(|row| Some(&c.spans.trace_id[row][..])))),
        ("trace_id", "span_id", arrow::hex_column(rows().map(|row| Some(&c.spans.span_id[row][..])))),
        ("webhook", "configuration", around("configuration")?),
        ("configuration", "operation", around("operation")?),
        ("start_unix_nano", "start_time", arrow::instant_column(rows().map(|row| Some(joined.start[row])))),
        ("start_time", "end_time", arrow::instant_column(rows().map(|row| Some(joined.end[row])))),
    ];
    let mut columns = told(joined, &calls)?;
    for (before, name, column) in more {
        let place = columns.iter().position(|&(known, _)| known == before).map_or(columns.len(), |at| at + 1);
        columns.insert(place, (name, column));
    }
    arrow::named(columns)
}

/// The same calls for findings. Lean: no ids, no times twice.
pub fn details(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    arrow::named(told(joined, &calls(joined))?)
}

fn texts_around(c: &Columns, calls: &[Call], name: &str) -> Result<ArrayRef, ArrowError> {
    let key = c.keys.find(name.as_bytes());
    arrow::strings_column(c, calls.iter().map(|call| c.span_attributes.string(call.around, key)))
}

fn told(joined: &Joined, calls: &[Call]) -> Result<Vec<(&'static str, ArrayRef)>, ArrowError> {
    let c = &joined.columns;
    let key = |name: &str| c.keys.find(name.as_bytes());
    let status = ["http.response.status_code", "http.status_code"].map(key);
    let url = ["url.full", "http.url"].map(key);
    let int = |call: &Call| status.iter().find_map(|&key| c.span_attributes.int(call.row, key));
    let timeout =
        |call: &Call| timeout_ns(url.iter().find_map(|&key| c.span_text(call.row, key)).unwrap_or_default());
    let error = errors(c);
    let wrong = |call: &Call| error(call.row).or_else(|| error(call.around));
    let request = |call: &Call| Some(joined.requests.of_row[call.row]).filter(|&at| at != NONE);
    let length = |call: &Call| ns_between(joined.start[call.row], joined.end[call.row]);
    let rows = || calls.iter().map(|call| call.row);
    Ok(vec![
        (
            "request",
            Arc::new(Int64Array::from_iter(calls.iter().map(request).map(|at| at.map(i64::from))))
                as ArrayRef,
        ),
        ("kind", Arc::new(StringArray::from_iter_values(calls.iter().map(|call| call.kind)))),
        ("webhook", texts_around(c, calls, "webhook")?),
        ("start_unix_nano", Arc::new(Int64Array::from_iter_values(rows().map(|row| joined.start[row])))),
        ("client_ns", Arc::new(Int64Array::from_iter_values(calls.iter().map(length).map(u64::cast_signed)))),
        (
            "timeout_ns",
            Arc::new(Int64Array::from_iter(calls.iter().map(timeout).map(|ns| ns.map(u64::cast_signed)))),
        ),
        ("http_status", Arc::new(Int64Array::from_iter(calls.iter().map(int)))),
        ("error", Arc::new(StringArray::from_iter(calls.iter().map(wrong)))),
        ("span", Arc::new(Int64Array::from_iter_values(rows().map(|row| i64::from(u32_of(row)))))),
    ])
}
