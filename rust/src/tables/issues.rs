//! Everything that was repaired, set aside as damage, or looks wrong: one table, one row each.

use std::iter::repeat_n;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;

use crate::arrow::{hex_column, named};
use crate::columns::{IdField, NONE, present};
use crate::join::Joined;
use crate::join::completeness;
use crate::join::repair::RepairKind;
use crate::join::role::Role;
use crate::join::times::bad_time;
use crate::numbers::u32_of;

/// A version's known shape, or a repetition that OTLP allows: nothing is lost.
const INFO: &str = "info";
/// Something is missing or contradicts itself.
const WARNING: &str = "warning";

struct Issue {
    code: &'static str,
    severity: &'static str,
    row: u32,
    /// Row that the request is found by.
    seen_in: u32,
    count: u64,
    detail: String,
}

impl Issue {
    fn warning(code: &'static str, row: u32, detail: String) -> Self {
        Self { code, severity: WARNING, row, seen_in: row, count: 1, detail }
    }
}

/// What was torn on reading, before there were spans: code, severity, how many, and what in words.
pub type Torn = (String, String, i64, String);

/// One row per issue, by code, trace and span.
pub fn table(joined: &Joined) -> Result<RecordBatch, ArrowError> {
    table_with(&[], joined)
}

/// The same behind what was torn on reading.
pub fn table_with(torn: &[Torn], joined: &Joined) -> Result<RecordBatch, ArrowError> {
    let c = &joined.columns;
    let mut issues: Vec<Issue> = repairs(joined).collect();
    issues.extend(set_aside(joined));
    issues.extend(bad_parents(joined));
    issues.extend(of_kept_spans(joined));
    let id = |issue: &Issue| {
        let row = issue.row as usize;
        (c.spans.trace_id[row], c.spans.span_id[row], c.spans.start_time_unix_nano[row])
    };
    issues.sort_by(|a, b| (a.code, id(a), &a.detail).cmp(&(b.code, id(b), &b.detail)));
    let text = |of_torn: fn(&Torn) -> &str, of: fn(&Issue) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(torn.iter().map(of_torn).chain(issues.iter().map(of))))
    };
    let known = |field: u8, row: usize| c.spans.present[row] & field != 0;
    let rows = || issues.iter().map(|issue| issue.row as usize);
    let trace_id = |row: usize| known(present::TRACE_ID, row).then_some(&c.spans.trace_id[row][..]);
    let span_id = |row: usize| known(present::SPAN_ID, row).then_some(&c.spans.span_id[row][..]);
    let request = |issue: &Issue| {
        Some(joined.requests.of_row[issue.seen_in as usize]).filter(|&request| request != NONE).map(i64::from)
    };
    let counts = torn.iter().map(|torn| torn.2).chain(issues.iter().map(|issue| issue.count.cast_signed()));
    named(vec![
        ("code", text(|torn| &torn.0, |issue| issue.code)),
        ("severity", text(|torn| &torn.1, |issue| issue.severity)),
        (
            "request",
            Arc::new(repeat_n(None, torn.len()).chain(issues.iter().map(request)).collect::<Int64Array>()),
        ),
        ("trace_id", hex_column(repeat_n(None, torn.len()).chain(rows().map(trace_id)))),
        ("span_id", hex_column(repeat_n(None, torn.len()).chain(rows().map(span_id)))),
        ("count", Arc::new(Int64Array::from_iter_values(counts))),
        ("detail", text(|torn| &torn.3, |issue| &issue.detail)),
    ])
}

fn repairs(joined: &Joined) -> impl Iterator<Item = Issue> {
    joined.repairs.iter().map(|repair| {
        let (field, before, after) = repair.texts(&joined.columns);
        let none = || "none".to_owned();
        let change = |field| {
            format!(
                "{field}: {} → {}",
                before.clone().unwrap_or_else(none),
                after.clone().unwrap_or_else(none)
            )
        };
        Issue {
            code: RepairKind::NAMES[repair.kind as usize],
            severity: if repair.kind.is_damage() { WARNING } else { INFO },
            row: repair.row,
            seen_in: repair.seen_in(),
            count: 1,
            detail: field.map(change).unwrap_or_default(),
        }
    })
}

/// Trees whose parent never arrived, each counted in spans, and spans without a usable id.
fn set_aside(joined: &Joined) -> impl Iterator<Item = Issue> {
    let c = &joined.columns;
    let issue = move |row: u32| {
        let at = row as usize;
        let parent = hex::encode(c.spans.parent_span_id[at]);
        match joined.role[at] {
            Role::InvalidId => Some(Issue::warning("invalid_id", row, invalid_ids(joined, row))),
            role @ (Role::Orphan | Role::RootMissing) if joined.missing[at] => Some(Issue {
                count: joined.forest.subtree(row).len() as u64,
                ..Issue::warning(Role::NAMES[role as usize], row, format!("parent {parent} never arrived"))
            }),
            Role::Request if joined.missing[at] && completeness::lost_local_parent(joined, row) => {
                let detail = format!("parent {parent}, of the same process, never arrived");
                Some(Issue::warning("parent_lost", row, detail))
            }
            _ => None,
        }
    };
    (0..u32_of(c.len())).filter_map(issue)
}

fn invalid_ids(joined: &Joined, row: u32) -> String {
    let s = &joined.columns.spans;
    let at = row as usize;
    let ids = [
        ("trace_id", IdField::Trace, present::TRACE_ID, s.trace_id[at] == [0; 16]),
        ("span_id", IdField::Span, present::SPAN_ID, s.span_id[at] == [0; 8]),
    ];
    let of_row = s.odd_ids.partition_point(|odd| odd.row < row);
    let odd =
        |field| s.odd_ids[of_row..].iter().take_while(|odd| odd.row == row).find(|odd| odd.field == field);
    let say = |(name, field, bit, zero)| match odd(field) {
        Some(odd) => Some(format!("{name} has {} bytes", odd.value.len())),
        None if s.present[at] & bit == 0 => Some(format!("no {name}")),
        None if zero => Some(format!("{name} is all zero")),
        None => None,
    };
    ids.into_iter().filter_map(say).collect::<Vec<_>>().join(", ")
}

/// Parent ids of a wrong length: the span is taken for a root.
fn bad_parents(joined: &Joined) -> impl Iterator<Item = Issue> {
    let odd = joined.columns.spans.odd_ids.iter();
    let kept =
        odd.filter(|odd| odd.field == IdField::Parent && joined.forest.position[odd.row as usize] != NONE);
    kept.map(|odd| {
        Issue::warning("bad_parent", odd.row, format!("parent_span_id has {} bytes", odd.value.len()))
    })
}

/// Times that cannot be, and parts that the sender dropped.
fn of_kept_spans(joined: &Joined) -> impl Iterator<Item = Issue> {
    let s = &joined.columns.spans;
    let of_row = move |&row: &u32| {
        let (start, end) = (s.start_time_unix_nano[row as usize], s.end_time_unix_nano[row as usize]);
        let times =
            bad_time(start, end).map(|code| Issue::warning(code, row, format!("start {start}, end {end}")));
        let parts = completeness::dropped(joined, row as usize);
        let dropped = (parts != [0; 3]).then(|| Issue {
            count: parts.iter().map(|&part| u64::from(part)).sum(),
            ..Issue::warning(
                "dropped",
                row,
                format!("{} attributes, {} events, {} links", parts[0], parts[1], parts[2]),
            )
        });
        times.into_iter().chain(dropped)
    };
    joined.forest.order.iter().flat_map(of_row)
}
