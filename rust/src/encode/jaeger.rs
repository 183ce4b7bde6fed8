//! Columns → Jaeger's own JSON, which its API, its page and Grafana have: what is told of spans as tags, repairs as
//! warnings. Times are in whole µs, cut so that no child ends after its parent by that alone.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use foldhash::HashMap;

use super::json;
use crate::arrow::value_text;
use crate::columns::{Attributes, Columns, TextRef, ValueKind, present, run};

/// JavaScript rounds larger numbers: Jaeger writes them as text.
const SAFE: u64 = (1 << 53) - 1;
const SERVICE: &str = "service.name";
/// By `SpanKind`.
const KINDS: [&str; 6] = ["", "internal", "server", "client", "producer", "consumer"];
/// By `StatusCode`.
const CODES: [&str; 3] = ["", "OK", "ERROR"];
const ERROR: i32 = 2;
/// Bytes of a span, about.
const SPAN_BYTES: usize = 1 << 10;

/// What is told of a span beside what was sent.
#[derive(Debug, Clone)]
pub struct Told {
    /// Who spent its own time; none if it is in no request.
    pub component: Option<String>,
    /// Of its own time.
    pub phase: Option<String>,
    /// Its part of the critical path.
    pub critical_ns: u64,
    /// In words.
    pub repairs: Vec<String>,
}

/// Rows of a table of spans, each with what is told of it.
pub type Part<'a> = (&'a Columns, &'a [(usize, Told)]);

/// One trace, out of the spans that one or more tables have of it, with warnings about it as a whole.
///
/// Jaeger has no spans without an id.
pub fn trace(id: &str, parts: &[Part<'_>], warnings: &[String]) -> Vec<u8> {
    let mut processes = Processes::default();
    let mut rows = Vec::new();
    for (at, &(c, several)) in parts.iter().enumerate() {
        for (row, told) in several {
            let process = processes.number(at, c, c.resource_of(*row));
            if c.spans.present[*row] & present::SPAN_ID != 0 {
                rows.push((c, *row, told, process));
            }
        }
    }
    let mut out = Json(Vec::with_capacity(SPAN_BYTES * rows.len()));
    out.raw(r#"{"traceID":"#).text(id).raw(r#","spans":"#);
    out.list(rows, |out, (c, row, told, process)| span(out, id, c, row, told, process));
    out.raw(r#","processes":{"#);
    let mut known: Vec<_> = processes.known.into_iter().collect();
    known.sort_unstable_by_key(|&(_, number)| number);
    out.separated(known, |out, (process, number)| {
        out.raw("\"p").number(number).raw("\":");
        out.0.extend_from_slice(&process);
    });
    out.raw(r#"},"warnings":"#).texts(warnings).raw("}");
    out.0
}

/// The processes of a trace in the order in which they came, as JSON: equal ones are one.
#[derive(Default)]
struct Processes {
    /// JSON → number.
    known: HashMap<Vec<u8>, usize>,
    /// Place of the part and row of the resource → number.
    number: HashMap<(usize, usize), usize>,
}

impl Processes {
    /// Its key is `p` and this number, from 1 on.
    fn number(&mut self, part: usize, c: &Columns, resource: usize) -> usize {
        *self.number.entry((part, resource)).or_insert_with(|| {
            let next = self.known.len() + 1;
            *self.known.entry(process(c, resource)).or_insert(next)
        })
    }
}

fn process(c: &Columns, resource: usize) -> Vec<u8> {
    let table = &c.resource_attributes;
    let mut out = Json(Vec::new());
    let (named, others): (Vec<usize>, Vec<usize>) =
        table.of(resource).partition(|&row| c.keys.text(table.key[row]) == SERVICE);
    let service = named.last().and_then(|&row| value_text(c, table, row)).unwrap_or_default();
    out.raw(r#"{"serviceName":"#).text(&service).raw(r#","tags":"#);
    out.list(others, |out, row| out.tag(attribute(c, table, row))).raw("}");
    out.0
}

fn span(out: &mut Json, trace_id: &str, c: &Columns, row: usize, told: &Told, process: usize) {
    let s = &c.spans;
    let (start, end) = (s.start_time_unix_nano[row] / 1000, s.end_time_unix_nano[row] / 1000);
    out.raw(r#"{"traceID":"#).text(trace_id);
    out.raw(r#","spanID":"#).text(&hex::encode(s.span_id[row]));
    out.raw(r#","operationName":"#).text(c.names.text(s.name[row]));
    out.raw(r#","references":"#).list(references(trace_id, c, row), |out, (kind, trace, span)| {
        out.raw(r#"{"refType":"#).text(kind).raw(r#","traceID":"#).text(&trace);
        out.raw(r#","spanID":"#).text(&span).raw("}");
    });
    out.raw(r#","startTime":"#).number(start);
    out.raw(r#","duration":"#).number(end.saturating_sub(start));
    let tags = of_span(c, row).chain(attributes(c, &c.span_attributes, row)).chain(of_told(told));
    out.raw(r#","tags":"#).list(tags, Json::tag);
    out.raw(r#","logs":"#).list(run(&s.events_end, row), |out, event| {
        let name = ("event", Value::of(c.names.text(c.events.name[event])));
        out.raw(r#"{"timestamp":"#).number(c.events.time_unix_nano[event] / 1000);
        let fields = std::iter::once(name).chain(attributes(c, &c.event_attributes, event));
        out.raw(r#","fields":"#).list(fields, Json::tag).raw("}");
    });
    out.raw(r#","processID":"p"#).number(process);
    out.raw(r#"","warnings":"#).texts(&told.repairs).raw("}");
}

/// Kind, trace and span of each.
fn references<'a>(
    trace_id: &'a str,
    c: &'a Columns,
    row: usize,
) -> impl Iterator<Item = (&'static str, Cow<'a, str>, String)> {
    const IDS: u8 = present::TRACE_ID | present::SPAN_ID;
    let (s, links) = (&c.spans, &c.links);
    let parent = (s.present[row] & present::PARENT != 0).then(|| hex::encode(s.parent_span_id[row]));
    let whole = c.links_of(row).filter(|&link| links.present[link] & IDS == IDS);
    parent.map(|parent| ("CHILD_OF", trace_id.into(), parent)).into_iter().chain(whole.map(|link| {
        ("FOLLOWS_FROM", hex::encode(links.trace_id[link]).into(), hex::encode(links.span_id[link]))
    }))
}

type Tag<'a> = (&'a str, Value<'a>);

enum Value<'a> {
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    fn of(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

/// What OTLP has in fields and Jaeger in tags.
fn of_span(c: &Columns, row: usize) -> impl Iterator<Item = Tag<'_>> {
    let (s, scope) = (&c.spans, c.spans.scope_spans[row] as usize);
    let (kind, code) = (s.kind[row], s.status_code[row]);
    let named = |names: &[&'static str], number: i32| {
        usize::try_from(number).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
    };
    let texts = [
        ("otel.scope.name", c.names.text(c.scopes.name[scope])),
        ("otel.scope.version", c.text(c.scopes.version[scope])),
        ("span.kind", named(&KINDS, kind)),
        ("otel.status_code", named(&CODES, code)),
        ("otel.status_description", c.text(s.status_message[row])),
        ("w3c.tracestate", c.text(s.trace_state[row])),
    ];
    let there = texts.into_iter().filter(|(_, text)| !text.is_empty());
    there
        .map(|(key, text)| (key, Value::of(text)))
        .chain((code == ERROR).then_some(("error", Value::Bool(true))))
}

fn of_told(told: &Told) -> impl Iterator<Item = Tag<'_>> {
    told.component.iter().flat_map(|component| {
        [
            ("k8strace.component", Value::of(component)),
            ("k8strace.phase", Value::of(told.phase.as_deref().unwrap_or_default())),
            ("k8strace.critical_ns", Value::Int(told.critical_ns.cast_signed())),
        ]
    })
}

fn attributes<'a>(c: &'a Columns, table: &'a Attributes, owner: usize) -> impl Iterator<Item = Tag<'a>> {
    table.of(owner).map(|row| attribute(c, table, row))
}

/// With its type. Nested values are bytes here, and numbers that JSON does not have are texts.
fn attribute<'a>(c: &'a Columns, table: &'a Attributes, row: usize) -> Tag<'a> {
    let bits = table.value[row];
    let value = match table.kind[row] {
        ValueKind::String => Value::of(c.text(TextRef::from_bits(bits))),
        ValueKind::Bool => Value::Bool(bits != 0),
        ValueKind::Int => Value::Int(bits.cast_signed()),
        ValueKind::Double => match f64::from_bits(bits) {
            value if value.is_finite() => Value::Double(value),
            value => Value::Text(value.to_string().into()),
        },
        ValueKind::Bytes | ValueKind::Array | ValueKind::KvList => {
            Value::Bytes(TextRef::from_bits(bits).of(&c.arena))
        }
        ValueKind::Empty | ValueKind::Absent | ValueKind::Strindex => Value::of(""),
    };
    (c.keys.text(table.key[row]), value)
}

/// JSON that is being written.
struct Json(Vec<u8>);

impl Json {
    fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    fn text(&mut self, value: &str) -> &mut Self {
        json::text(value, &mut self.0);
        self
    }

    fn number(&mut self, value: impl Display + Copy) -> &mut Self {
        let _ = write!(self.0, "{value}"); // a vector takes whatever is written
        self
    }

    fn separated<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            write(self, item);
        }
        self
    }

    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, write: impl FnMut(&mut Self, T)) -> &mut Self {
        self.raw("[").separated(items, write).raw("]")
    }

    /// As a list, `null` if there are none.
    fn texts(&mut self, texts: &[String]) -> &mut Self {
        match texts {
            [] => self.raw("null"),
            some => self.list(some, |out, each| {
                out.text(each);
            }),
        }
    }

    fn tag(&mut self, (key, value): Tag<'_>) {
        self.raw(r#"{"key":"#).text(key).raw(r#","type":"#);
        match value {
            Value::Text(value) => self.raw(r#""string","value":"#).text(&value),
            Value::Bool(value) => self.raw(r#""bool","value":"#).number(value),
            Value::Int(value) if value.unsigned_abs() > SAFE => {
                self.raw(r#""int64","value":"#).text(&value.to_string())
            }
            Value::Int(value) => self.raw(r#""int64","value":"#).number(value),
            Value::Double(value) => {
                self.raw(r#""float64","value":"#);
                json::double(value, &mut self.0);
                self
            }
            Value::Bytes(value) => self.raw(r#""binary","value":"#).text(&BASE64_STANDARD.encode(value)),
        }
        .raw("}");
    }
}
