//! Any spans, in any pieces, at any time: the stream ends where the batch ends.
//!
//! Eight bytes are a span, of few processes, names and ids, so that they meet: parents, calls, orphans, repeats.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8strace_core::{Apiservers, Columns, Joined, Role, Stream, StreamSettings, Taken, decode, join};
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

const SCOPES: [(&str, &str); 5] = [
    ("apiserver", "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"),
    ("apiserver", "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"),
    ("apiserver", "k8s.io/apiserver/pkg/endpoints/filters"),
    ("etcd", "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"),
    ("webhook", "hooks"),
];
const NAMES: [&str; 8] = [
    "GET /api/v1/pods",
    "etcdserverpb.KV/Range",
    "authentication",
    "List",
    "SerializeObject",
    "audit",
    "Update",
    "GuaranteedUpdate etcd3",
];
const SETTINGS: StreamSettings = StreamSettings {
    window_ns: 1 << 50,
    max_age_ns: 1 << 50,
    max_spans: 1 << 20,
    max_traces: 1 << 20,
    max_trace_spans: 1 << 20,
    early: true,
    max_bytes: 1 << 40,
};

fuzz_target!(|bytes: &[u8]| {
    let spans: Vec<&[u8; 8]> = bytes.as_chunks().0.iter().take(64).collect();
    let mut stream = Stream::new(SETTINGS, Apiservers::default());
    let (mut found, mut now) = (BTreeMap::new(), 0);
    for piece in spans.chunk_by(|_, next| next[7] & 1 == 0) {
        stream.feed(&Arc::new(columns(piece)), now);
        if piece[0][7] & 2 != 0 {
            now += u64::from(piece[0][7] >> 2);
            note(stream.take(now), &mut found);
        }
    }
    note(stream.flush(), &mut found);
    let batch = join(Arc::new(columns(&spans)));
    assert_eq!(requests(&batch), found);
    let mut ledger = [0; Role::NAMES.len()];
    batch.role.iter().for_each(|&role| ledger[role as usize] += 1);
    assert_eq!(ledger, stream.ledger());
});

fn columns(spans: &[&[u8; 8]]) -> Columns {
    let resource_spans = spans.iter().map(|bytes| sent(bytes)).collect();
    let wire = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    decode(&[wire]).expect("made by prost")
}

/// A span in an envelope of its own.
fn sent(&[trace, span, parent, scope, name, start, length, _]: &[u8; 8]) -> ResourceSpans {
    let id = |number: u8| if number % 16 == 0 { Vec::new() } else { vec![number % 16; 8] };
    let (service, library) = SCOPES[usize::from(scope) % SCOPES.len()];
    let name = NAMES[usize::from(name) % NAMES.len()].to_owned();
    let link = Link { trace_id: vec![1 + (trace >> 4) % 4; 16], span_id: id(parent >> 4), ..Link::default() };
    let span = Span {
        trace_id: vec![1 + trace % 4; 16],
        span_id: id(span),
        parent_span_id: id(parent),
        kind: i32::from(scope >> 4) % 4,
        name,
        start_time_unix_nano: 1_700_000_000_000_000_000 + 100 * u64::from(start),
        end_time_unix_nano: 1_700_000_000_000_000_000 + 100 * u64::from(start) + 50 * u64::from(length),
        links: if trace & 12 == 12 { vec![link] } else { Vec::new() },
        ..Span::default()
    };
    let text = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..KeyValue::default()
    };
    let instance = text("service.instance.id", (scope >> 7).to_string());
    let attributes = vec![text("service.name", service.to_owned()), instance];
    let scope = InstrumentationScope { name: library.to_owned(), ..InstrumentationScope::default() };
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans: vec![span], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// (trace id, span id) of a request.
type Key = ([u8; 16], [u8; 8]);
/// Start, end, id and parent of each span of a request, and of its prelude.
type Tree = BTreeSet<(i64, i64, Key, Option<Key>)>;

fn requests(joined: &Joined) -> BTreeMap<Key, Tree> {
    let c = &joined.columns.spans;
    let key = |row: u32| (c.trace_id[row as usize], c.span_id[row as usize]);
    let node = |row: u32| {
        let parent = Some(joined.parent[row as usize]).filter(|&parent| parent != u32::MAX);
        (joined.start[row as usize], joined.end[row as usize], key(row), parent.map(key))
    };
    let tree = |at: usize| {
        let root = joined.requests.root[at];
        let prelude = Some(joined.requests.prelude[at]).filter(|&row| row != u32::MAX);
        (key(root), joined.forest.subtree(root).iter().copied().chain(prelude).map(node).collect())
    };
    (0..joined.requests.len()).map(tree).collect()
}

/// The last word on each request.
fn note(taken: Taken, found: &mut BTreeMap<Key, Tree>) {
    for (trace, span, _) in taken.replaced {
        found.remove(&(trace, span));
    }
    found.extend(requests(&taken.joined));
}
