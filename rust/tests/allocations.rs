//! Memory is taken a few times a call and never for each span: counted, not timed, by an allocator of this file's own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use k8strace_core::{
    Columns, EventRule, Joined, Method, Overlap, PhaseTable, Signatures, attribute, decode, join,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to `System` as it came; counting touches only a thread-local that needs no memory.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` takes memory, or moves what it has.
fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = TAKEN.get();
    let result = work();
    (TAKEN.get() - before, result)
}

fn attribute_of(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A batch as the apiserver sends it: requests of eight spans, each span with attributes and two events.
fn batch(number: usize, spans: usize) -> Vec<u8> {
    let scope = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp".to_owned();
    let scope_spans = ScopeSpans {
        scope: Some(InstrumentationScope { name: scope, ..InstrumentationScope::default() }),
        spans: (0..spans).map(|row| span(number * spans + row)).collect(),
        ..ScopeSpans::default()
    };
    let service = attribute_of("service.name", Value::StringValue("apiserver".to_owned()));
    let resource_spans = ResourceSpans {
        resource: Some(Resource { attributes: vec![service], ..Resource::default() }),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

fn span(row: usize) -> Span {
    let (request, place) = (row / 8, row as u64 % 8);
    let start = 1_790_000_000_000_000_000 + request as u64 * 1_000_000 + place * 1000;
    let id = |row: usize| (row as u64 + 1).to_be_bytes().to_vec();
    let event = |name: &str| Event {
        name: name.to_owned(),
        time_unix_nano: start + 50_000,
        attributes: vec![attribute_of("len", Value::IntValue(7))],
        ..Event::default()
    };
    Span {
        trace_id: (request as u128 + 1).to_be_bytes().to_vec(),
        span_id: id(row),
        parent_span_id: if place == 0 { Vec::new() } else { id(row - 1) },
        name: if place == 0 { "GET /api/v1/nodes" } else { "authorization" }.to_owned(),
        kind: if place == 0 { 2 } else { 1 },
        start_time_unix_nano: start,
        end_time_unix_nano: start + 100_000 - place * 2000,
        attributes: vec![
            attribute_of("audit-id", Value::StringValue(format!("{request:032}"))),
            attribute_of("http.request.method", Value::StringValue("GET".to_owned())),
            attribute_of("url.path", Value::StringValue(format!("/api/v1/nodes/{}", request % 7))),
            attribute_of("http.response.status_code", Value::IntValue(200)),
        ],
        events: vec![event("About to Get"), event("Got")],
        ..Span::default()
    }
}

/// As many batches of 512 spans.
fn batches(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| batch(number, 512)).collect()
}

fn columns(count: usize) -> Arc<Columns> {
    Arc::new(decode(&batches(count)).expect("valid requests"))
}

fn joined(count: usize) -> (Joined, Signatures, PhaseTable) {
    let joined = join(columns(count));
    let signatures = Signatures::new(&joined);
    let events = signatures.events.iter();
    let table = PhaseTable {
        phase: vec![0; signatures.list.len()],
        events: events.map(|&event| (event, EventRule { before: Some(1), after: Some(2) })).collect(),
        phases: 3,
        ..PhaseTable::default()
    };
    (joined, signatures, table)
}

#[test]
fn decoding_a_batch_of_512_spans_takes_memory_at_most_200_times() {
    let requests = batches(1);
    let (taken, columns) = allocations(|| decode(&requests).expect("valid requests"));
    assert_eq!(512, columns.len());
    assert!(taken <= 200, "{taken} allocations");
}

#[test]
fn decoding_a_hundred_times_as_many_spans_takes_memory_at_most_twice_as_often() {
    let (small, large) = (batches(1), batches(98));
    let (few, _) = allocations(|| decode(&small).expect("valid requests"));
    let (more, columns) = allocations(|| decode(&large).expect("valid requests"));
    assert_eq!(50_176, columns.len());
    assert!(more <= 2 * few, "{more} allocations after {few}");
}

#[test]
fn joining_a_hundred_times_as_many_spans_takes_memory_hardly_more_often() {
    let (small, large) = (columns(1), columns(98));
    let (few, _) = allocations(|| join(small));
    let (more, joined) = allocations(|| join(large));
    assert_eq!(6272, joined.requests.len());
    // What stands in `RequestColumns` doubles until it fits, and each of the 98 resources is described.
    assert!(more <= 3 * few + 98 * 8, "{more} allocations after {few}");
}

#[test]
fn attribution_takes_no_memory_for_a_span_or_a_request_once_it_is_under_way() {
    let (small, large) = (joined(1), joined(98));
    let critical_path = |(joined, signatures, table): &(Joined, Signatures, PhaseTable)| {
        allocations(|| attribute(joined, signatures, table, Method::CriticalPath, Overlap::Clip))
    };
    let (few, _) = critical_path(&small);
    let (more, attributed) = critical_path(&large);
    assert_eq!(6272, attributed.wall_ns.len());
    // The four columns of the result double until they fit: seven times more each.
    assert!(more <= few + 4 * 7, "{more} allocations after {few}");
}
