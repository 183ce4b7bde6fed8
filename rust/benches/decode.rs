//! Bytes → columns: k8strace beside prost, and the limits that nothing can pass.
//!
//! ```text
//! cargo bench --bench decode -- [FILE...] [--rounds N] [--json]
//! ```
//!
//! A file holds requests, each behind its length as a big-endian u32 (`benchmarks/workloads.py` writes such files).
//! First all contenders must agree on what the file says; then they take turns on the same bytes.

#![allow(clippy::print_stdout, missing_docs)]
#![allow(clippy::pedantic, reason = "what a bench counts is small, and what it prints is rounded")]

mod support;

use std::hash::{DefaultHasher, Hash, Hasher};

use k8strace_core::{Attributes, Columns, ValueKind, decode, run};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use prost::Message;
use serde_json::{Value, json};
use support::{Contender, Options, Spread, Workload, interleave, ratio, timed};

const SKIP: &str = "skip scan, fields of spans";
const DEEP: &str = "deep skip, every nested field";
const OURS: &str = "k8strace, a request at a time";
const WHOLE: &str = "k8strace, whole file";
const PROST: &str = "prost";

fn main() {
    let options = Options::read();
    for path in &options.files {
        let workload = Workload::load(path);
        let facts = agree(&workload);
        let mut contenders = contenders(&workload);
        interleave(&mut contenders, options.rounds);
        let ratios = [
            ("prost / k8strace", "goal 6, floor 3.5", ratio(&contenders, PROST, OURS)),
            ("k8strace / deep skip", "", ratio(&contenders, OURS, DEEP)),
            ("prost / k8strace, whole file", "", ratio(&contenders, PROST, WHOLE)),
            ("k8strace, whole file / deep skip", "goal 1.3, floor 1.8", ratio(&contenders, WHOLE, DEEP)),
        ];
        if options.json {
            println!("{}", report(&workload, &facts, &contenders, &ratios));
        } else {
            print(&workload, &facts, &contenders, &ratios);
        }
    }
}

type Ratio = (&'static str, &'static str, Spread);

fn print(workload: &Workload, facts: &Facts, contenders: &[Contender<'_>], ratios: &[Ratio]) {
    let (spans, bytes) = (facts.spans as f64, workload.bytes.len() as f64);
    println!(
        "\n{}: {} spans in {} requests, {:.0} bytes a span\n",
        workload.name,
        facts.spans,
        workload.ranges.len(),
        bytes / spans
    );
    println!("{:40} {:>8} {:>8} {:>8}", "", "ns/span", "best", "MB/s");
    for each in contenders {
        let (median, best) = (each.median_ns(), each.best_ns());
        println!(
            "{:40} {:>8.1} {:>8.1} {:>8.0}",
            each.name,
            median / spans,
            best / spans,
            bytes / median * 1e3
        );
    }
    println!();
    for (name, goal, spread) in ratios {
        println!("{name:40} {spread}   {goal}");
    }
}

fn report(workload: &Workload, facts: &Facts, contenders: &[Contender<'_>], ratios: &[Ratio]) -> Value {
    let spans = facts.spans as f64;
    let ns = contenders.iter().map(|each| (each.name.clone(), (each.median_ns() / spans).into()));
    let spent = contenders.iter().map(|each| (each.name.clone(), each.spent(spans)));
    let ratios = ratios.iter().map(|(name, _, spread)| ((*name).to_owned(), spread.json()));
    json!({
        "workload": workload.name,
        "spans": facts.spans,
        "attributes": facts.attributes,
        "bytes": workload.bytes.len(),
        "ns_per_span": Value::Object(ns.collect()),
        "spent_per_span": Value::Object(spent.collect()),
        "ratios": Value::Object(ratios.collect()),
    })
}

fn contenders(workload: &Workload) -> Vec<Contender<'_>> {
    let bytes = &workload.bytes;
    let requests: Vec<&[u8]> = workload.requests().collect();
    let whole = move || decode(&requests).map(drop);
    let mut copy = vec![0; bytes.len()];
    vec![
        Contender::new("memcpy", move || timed(|| copy.copy_from_slice(std::hint::black_box(bytes))).0),
        Contender::new(SKIP, || timed(|| workload.requests().map(limits::skip_scan).sum::<Option<u64>>()).0),
        Contender::new(DEEP, || timed(|| workload.requests().map(limits::deep_skip).sum::<Option<u64>>()).0),
        Contender::new(OURS, || {
            timed(|| workload.requests().try_for_each(|request| decode(&[request]).map(drop))).0
        }),
        Contender::new(WHOLE, move || timed(&whole).0),
        Contender::new(PROST, || timed(|| workload.requests().map(parse).map(drop).count()).0),
    ]
}

fn parse(request: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(request).expect("a request")
}

// ── Do they agree? ────────────────────────────────────────────────────────────────────────────────

/// What a file says: counts, and a hash of ids, names, times, keys and values.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    spans: u64,
    events: u64,
    links: u64,
    attributes: u64,
    hash: u64,
}

fn agree(workload: &Workload) -> Facts {
    let columns = decode(&workload.requests().collect::<Vec<_>>()).expect("valid requests");
    let facts = facts_of_columns(&columns);
    let mut theirs = Facts::default();
    let mut hasher = DefaultHasher::new();
    for request in workload.requests() {
        add_facts(&parse(request), &mut theirs, &mut hasher);
    }
    theirs.hash = hasher.finish();
    assert_eq!(theirs, facts, "prost and k8strace read the same");
    let skipped = workload.requests().map(limits::skip_scan).sum::<Option<u64>>();
    assert_eq!(Some(facts.spans), skipped, "the skip scan sees every span");
    let fields = workload.requests().map(limits::deep_skip).sum::<Option<u64>>();
    let fields = fields.expect("valid requests");
    assert!(
        fields > facts.spans * 6 + facts.attributes * 3 + facts.events * 2,
        "the deep skip sees every field"
    );
    facts
}

fn facts_of_columns(c: &Columns) -> Facts {
    let mut hasher = DefaultHasher::new();
    let mut attributes = 0;
    let mut add = |table: &Attributes, owner: usize, hasher: &mut DefaultHasher| {
        for row in table.of(owner) {
            attributes += 1;
            hasher.write(c.keys.bytes(table.key[row]));
            match table.kind[row] {
                ValueKind::String | ValueKind::Bytes => {
                    hasher.write(table.text_ref(row).expect("text").of(&c.arena));
                }
                ValueKind::Bool | ValueKind::Int | ValueKind::Double => hasher.write_u64(table.value[row]),
                _ => {}
            }
        }
    };
    let events = |span: usize| run(&c.spans.events_end, span);
    for span in 0..c.len() {
        c.spans.trace_id[span].hash(&mut hasher);
        c.spans.span_id[span].hash(&mut hasher);
        c.spans.parent_span_id[span].hash(&mut hasher);
        hasher.write(c.names.bytes(c.spans.name[span]));
        hasher.write_u64(c.spans.start_time_unix_nano[span]);
        hasher.write_u64(c.spans.end_time_unix_nano[span]);
        add(&c.span_attributes, span, &mut hasher);
        for event in events(span) {
            hasher.write_u64(c.events.time_unix_nano[event]);
            hasher.write(c.names.bytes(c.events.name[event]));
            add(&c.event_attributes, event, &mut hasher);
        }
    }
    Facts {
        spans: c.len() as u64,
        events: c.events.name.len() as u64,
        links: c.links.flags.len() as u64,
        attributes,
        hash: hasher.finish(),
    }
}

fn add_facts(request: &ExportTraceServiceRequest, facts: &mut Facts, hasher: &mut DefaultHasher) {
    fn add(attributes: &[KeyValue], facts: &mut Facts, hasher: &mut DefaultHasher) {
        for attribute in attributes {
            facts.attributes += 1;
            hasher.write(attribute.key.as_bytes());
            match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(AnyValue::StringValue(text)) => hasher.write(text.as_bytes()),
                Some(AnyValue::BytesValue(bytes)) => hasher.write(bytes),
                Some(AnyValue::BoolValue(value)) => hasher.write_u64(u64::from(*value)),
                Some(AnyValue::IntValue(value)) => hasher.write_u64(*value as u64),
                Some(AnyValue::DoubleValue(value)) => hasher.write_u64(value.to_bits()),
                _ => {}
            }
        }
    }
    fn id<const N: usize>(id: &[u8]) -> [u8; N] {
        id.try_into().unwrap_or([0; N])
    }
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    for span in scopes.flat_map(|scope| &scope.spans) {
        facts.spans += 1;
        id::<16>(&span.trace_id).hash(hasher);
        id::<8>(&span.span_id).hash(hasher);
        id::<8>(&span.parent_span_id).hash(hasher);
        hasher.write(span.name.as_bytes());
        hasher.write_u64(span.start_time_unix_nano);
        hasher.write_u64(span.end_time_unix_nano);
        add(&span.attributes, facts, hasher);
        for event in &span.events {
            facts.events += 1;
            hasher.write_u64(event.time_unix_nano);
            hasher.write(event.name.as_bytes());
            add(&event.attributes, facts, hasher);
        }
        facts.links += span.links.len() as u64;
    }
}

/// What no decoder can beat: finding the fields, and doing nothing with them. Input is checked for nothing but
/// its lengths.
mod limits {
    // The messages, and below which of their fields are messages to enter.
    const REQUEST: usize = 0;
    const RESOURCE_SPANS: usize = 1;
    const RESOURCE: usize = 2;
    const SCOPE_SPANS: usize = 3;
    const SCOPE: usize = 4;
    const SPAN: usize = 5;
    const EVENT: usize = 6;
    const LINK: usize = 7;
    const STATUS: usize = 8;
    const KEY_VALUE: usize = 9;
    const ANY_VALUE: usize = 10;
    const LIST: usize = 11;
    const MAP: usize = 12;
    const LEAF: usize = usize::MAX;

    const fn inner(message: usize, field: u8) -> usize {
        match (message, field) {
            (REQUEST, 1) => RESOURCE_SPANS,
            (RESOURCE_SPANS, 1) => RESOURCE,
            (RESOURCE_SPANS, 2) => SCOPE_SPANS,
            (SCOPE_SPANS, 1) => SCOPE,
            (SCOPE_SPANS, 2) => SPAN,
            (RESOURCE, 1) | (SCOPE, 3) | (SPAN, 9) | (EVENT, 3) | (LINK, 4) => KEY_VALUE,
            (SPAN, 11) => EVENT,
            (SPAN, 13) => LINK,
            (SPAN, 15) => STATUS,
            (KEY_VALUE, 2) => ANY_VALUE,
            (ANY_VALUE, 5) => LIST,
            (ANY_VALUE, 6) => MAP,
            (LIST, 1) => ANY_VALUE,
            (MAP, 1) => KEY_VALUE,
            _ => LEAF,
        }
    }

    #[inline(always)]
    fn varint(buf: &[u8], at: &mut usize) -> Option<u64> {
        let first = *buf.get(*at)?;
        *at += 1;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = *buf.get(*at)?;
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Counts the fields of a message and of all messages in it.
    #[inline(always)]
    fn fields<const MESSAGE: usize>(buf: &[u8], enter: impl Fn(usize, &[u8]) -> Option<u64>) -> Option<u64> {
        let (mut at, mut count) = (0, 0);
        while at < buf.len() {
            let tag = varint(buf, &mut at)?;
            count += 1;
            match tag & 7 {
                0 => drop(varint(buf, &mut at)?),
                1 => at += 8,
                2 => {
                    let len = varint(buf, &mut at)? as usize;
                    let end = at.checked_add(len)?;
                    let inner = inner(MESSAGE, (tag >> 3) as u8);
                    if inner != LEAF {
                        count += enter(inner, buf.get(at..end)?)?;
                    }
                    at = end;
                }
                5 => at += 4,
                _ => return None,
            }
        }
        (at == buf.len()).then_some(count)
    }

    /// Fields of the request and of everything in it.
    pub fn deep_skip(request: &[u8]) -> Option<u64> {
        fields::<REQUEST>(request, |_, bytes| {
            fields::<RESOURCE_SPANS>(bytes, |message, bytes| match message {
                SCOPE_SPANS => fields::<SCOPE_SPANS>(bytes, |message, bytes| match message {
                    SPAN => span(bytes),
                    _ => fields::<SCOPE>(bytes, |_, bytes| attribute(bytes)),
                }),
                _ => fields::<RESOURCE>(bytes, |_, bytes| attribute(bytes)),
            })
        })
    }

    fn span(bytes: &[u8]) -> Option<u64> {
        fields::<SPAN>(bytes, |message, bytes| match message {
            KEY_VALUE => attribute(bytes),
            EVENT => fields::<EVENT>(bytes, |_, bytes| attribute(bytes)),
            LINK => fields::<LINK>(bytes, |_, bytes| attribute(bytes)),
            _ => fields::<STATUS>(bytes, |_, _| None),
        })
    }

    #[inline(always)]
    fn attribute(bytes: &[u8]) -> Option<u64> {
        fields::<KEY_VALUE>(bytes, |_, bytes| {
            fields::<ANY_VALUE>(
                bytes,
                |message, bytes| if message == LIST { list(bytes) } else { map(bytes) },
            )
        })
    }

    fn list(bytes: &[u8]) -> Option<u64> {
        fields::<LIST>(bytes, |_, bytes| {
            fields::<ANY_VALUE>(
                bytes,
                |message, bytes| if message == LIST { list(bytes) } else { map(bytes) },
            )
        })
    }

    fn map(bytes: &[u8]) -> Option<u64> {
        fields::<MAP>(bytes, |_, bytes| attribute_below(bytes))
    }

    fn attribute_below(bytes: &[u8]) -> Option<u64> {
        attribute(bytes)
    }

    /// Spans of the request, each one's own fields looked at.
    pub fn skip_scan(request: &[u8]) -> Option<u64> {
        let spans = std::cell::Cell::new(0);
        fields::<REQUEST>(request, |_, bytes| {
            fields::<RESOURCE_SPANS>(bytes, |message, bytes| match message {
                SCOPE_SPANS => fields::<SCOPE_SPANS>(bytes, |message, bytes| match message {
                    SPAN => {
                        spans.set(spans.get() + 1);
                        std::hint::black_box(fields::<SPAN>(bytes, |_, _| Some(0)))
                    }
                    _ => Some(0),
                }),
                _ => Some(0),
            })
        })?;
        Some(spans.get())
    }
}
