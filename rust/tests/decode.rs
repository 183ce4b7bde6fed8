//! Our decoder against prost: what one reads out of a message, the other reads too.
//!
//! The messages are made again from the columns alone and compared as bytes, so NaN is NaN.

use std::fs;
use std::ops::Range;
use std::path::Path;

#[path = "support/prost_oracle.rs"]
mod prost_oracle;

use k8strace_core::{Columns, Compression, Gather, Room, inflate};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use prost_oracle::{check, decode, from_columns, resource_spans, scope_spans, span};

// ---- messages ---------------------------------------------------------------------------------------

fn id_of(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), len), 1 => vec(any::<u8>(), 0..20)]
}

fn any_values() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        any::<String>().prop_map(|v| Some(Value::StringValue(v))),
        any::<bool>().prop_map(|v| Some(Value::BoolValue(v))),
        any::<i64>().prop_map(|v| Some(Value::IntValue(v))),
        any::<u64>().prop_map(|v| Some(Value::DoubleValue(f64::from_bits(v)))),
        vec(any::<u8>(), 0..20).prop_map(|v| Some(Value::BytesValue(v))),
        any::<i32>().prop_map(|v| Some(Value::StringValueStrindex(v))),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 12, 3, |inner| {
        let array = vec(inner.clone(), 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values }));
        let list = pairs_of(inner).prop_map(|values| Value::KvlistValue(KeyValueList { values }));
        prop_oneof![array, list].prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn pairs_of(values: impl Strategy<Value = AnyValue>) -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = ("[a-c]{0,2}", option::of(values), prop_oneof![Just(0), any::<i32>()]);
    vec(pair.prop_map(|(key, value, key_strindex)| KeyValue { key, value, key_strindex }), 0..3)
}

fn events() -> impl Strategy<Value = Event> {
    let fields = (any::<u64>(), "[a-c]{0,2}", pairs_of(any_values()), any::<u32>());
    fields.prop_map(|(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
        time_unix_nano,
        name,
        attributes,
        dropped_attributes_count,
    })
}

fn links() -> impl Strategy<Value = Link> {
    let fields = (id_of(16), id_of(8), any::<String>(), pairs_of(any_values()), any::<u32>(), any::<u32>());
    fields.prop_map(|(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
        trace_id,
        span_id,
        trace_state,
        attributes,
        dropped_attributes_count,
        flags,
    })
}

fn statuses() -> impl Strategy<Value = Option<Status>> {
    option::of((any::<String>(), any::<i32>()).prop_map(|(message, code)| Status { message, code }))
}

fn spans() -> impl Strategy<Value = Span> {
    let ids = (id_of(16), id_of(8), id_of(8), any::<String>(), "[a-c]{0,2}");
    let parts = (pairs_of(any_values()), vec(events(), 0..3), vec(links(), 0..2), statuses());
    let numbers = (any::<u32>(), any::<i32>(), any::<u64>(), any::<u64>(), any::<[u32; 3]>());
    (ids, parts, numbers).prop_map(|(ids, parts, (flags, kind, start, end, dropped))| Span {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2,
        trace_state: ids.3,
        name: ids.4,
        attributes: parts.0,
        events: parts.1,
        links: parts.2,
        status: parts.3,
        flags,
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        dropped_attributes_count: dropped[0],
        dropped_events_count: dropped[1],
        dropped_links_count: dropped[2],
    })
}

fn scopes() -> impl Strategy<Value = ScopeSpans> {
    let scope = (any::<String>(), any::<String>(), pairs_of(any_values()), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    );
    (option::of(scope), vec(spans(), 0..3), any::<String>())
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url })
}

fn requests() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let entity_ref = (any::<String>(), any::<String>(), vec(any::<String>(), 0..2)).prop_map(
        |(schema_url, r#type, id_keys)| EntityRef {
            schema_url,
            r#type,
            id_keys,
            description_keys: Vec::new(),
        },
    );
    let resource = (pairs_of(any_values()), any::<u32>(), vec(entity_ref, 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    );
    let resource_spans = (option::of(resource), vec(scopes(), 0..3), any::<String>())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(resource_spans, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

// ---- the rules --------------------------------------------------------------------------------------

/// These rows of tables, in a table of their own; true: both hold the texts.
fn gather(parts: &[(&Columns, Vec<Range<usize>>, bool)]) -> Columns {
    let mut gather = Gather::with_room(&Room::default());
    for (c, rows, share) in parts {
        gather.add(c, rows, *share);
    }
    gather.finish()
}

/// Who sent a span: its scope and resource, without the other spans and scopes in them.
fn from_sender(c: &Columns, row: usize) -> (ScopeSpans, ResourceSpans) {
    let scope = scope_spans(c, c.spans.scope_spans[row] as usize);
    let resource = resource_spans(c, c.resource_of(row));
    (ScopeSpans { spans: Vec::new(), ..scope }, ResourceSpans { scope_spans: Vec::new(), ..resource })
}

/// The message without scopes and resources that have no span.
fn without_empty_parts(mut message: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    for resource in &mut message.resource_spans {
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    message.resource_spans.retain(|resource| !resource.scope_spans.is_empty());
    message
}

/// Bytes with some of them changed and the end cut off.
fn damage(
    mut wire: Vec<u8>,
    changes: &[(prop::sample::Index, u8)],
    cut: Option<prop::sample::Index>,
) -> Vec<u8> {
    if !wire.is_empty() {
        for (at, byte) in changes {
            let at = at.index(wire.len());
            wire[at] = *byte;
        }
        wire.truncate(cut.map_or(wire.len(), |cut| cut.index(wire.len())));
    }
    wire
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_field_of_a_message_is_in_the_columns(message in requests()) {
        let columns = decode(&message.encode_to_vec()).expect("a valid message");
        prop_assert_eq!(message.encode_to_vec(), from_columns(&columns).encode_to_vec());
    }

    #[test]
    fn gathering_all_rows_gives_the_message_again(message in requests(), share: bool) {
        let columns = decode(&message.encode_to_vec()).expect("a valid message");
        let all = 0..columns.len();
        let gathered = gather(&[(&columns, vec![all], share)]);
        prop_assert_eq!(without_empty_parts(message).encode_to_vec(), from_columns(&gathered).encode_to_vec());
    }

    #[test]
    fn gathering_rows_of_two_messages_gives_each_span_as_it_was(
        messages in (requests(), requests()),
        chosen in vec((0..3usize, vec((any::<prop::sample::Index>(), 0..5usize), 0..4), any::<bool>()), 0..6),
    ) {
        let tables = [messages.0, messages.1].map(|message| decode(&message.encode_to_vec()).expect("valid"));
        // What was gathered can be gathered again.
        let mut parts: Vec<(usize, Vec<Range<usize>>, bool)> = Vec::new();
        let whole = tables.each_ref().map(|c| {
            let all = 0..c.len();
            (c, vec![all], true)
        });
        let both = gather(&whole);
        let tables = [&tables[0], &tables[1], &both];
        for (at, runs, share) in chosen {
            let rows = tables[at].len();
            let run = |(first, many): &(prop::sample::Index, usize)| {
                let first = first.index(rows + 1);
                first..(first + many).min(rows)
            };
            parts.push((at, runs.iter().map(run).collect(), share));
        }
        let asked: Vec<_> = parts.iter().map(|(at, rows, share)| (tables[*at], rows.clone(), *share)).collect();
        let gathered = gather(&asked);
        let rows = parts.iter().flat_map(|(at, rows, _)| rows.iter().cloned().flatten().map(move |row| (*at, row)));
        let rows: Vec<(usize, usize)> = rows.collect();
        prop_assert_eq!(rows.len(), gathered.len());
        for (new, (at, row)) in rows.into_iter().enumerate() {
            let (c, sent) = (tables[at], from_sender(tables[at], row));
            prop_assert_eq!(span(c, row).encode_to_vec(), span(&gathered, new).encode_to_vec());
            // As text, in which NaN is NaN.
            prop_assert_eq!(format!("{sent:?}"), format!("{:?}", from_sender(&gathered, new)));
        }
    }

    #[test]
    fn any_bytes_have_the_verdict_of_prost(wire in vec(any::<u8>(), 0..200)) {
        check(&wire).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn damaged_messages_have_the_verdict_of_prost(
        message in requests(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in option::of(any::<prop::sample::Index>()),
    ) {
        check(&damage(message.encode_to_vec(), &changes, cut)).map_err(TestCaseError::fail)?;
    }
}

/// The messages of a capture: one zstd stream, each message behind its length as a big-endian u32.
fn capture(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name);
    let file = fs::read(path).expect("shipped with the tests");
    let bytes = inflate(Compression::Zstd, &file, 1 << 30).expect("a whole capture");
    let (mut frames, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((len, after)) = rest.split_first_chunk() {
        let (frame, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

#[test]
fn the_captures_hold_the_spans_that_prost_finds() {
    for (name, spans) in [
        ("k8s-1.27_etcd-3.5.otlp.zst", 10_363),
        ("k8s-1.31_etcd-3.5.otlp.zst", 10_414),
        ("k8s-1.36_etcd-3.6.otlp.zst", 16_766),
    ] {
        let mut found = 0;
        for wire in capture(name) {
            let columns = decode(&wire).expect("a whole message");
            let expected = ExportTraceServiceRequest::decode(wire.as_slice()).expect("a whole message");
            let counts = expected.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len());
            assert_eq!(counts.sum::<usize>(), columns.len());
            assert_eq!(expected.encode_to_vec(), from_columns(&columns).encode_to_vec());
            found += columns.len();
        }
        assert_eq!(spans, found, "{name}");
    }
}

// ---- limits -----------------------------------------------------------------------------------------

/// What stands before a payload of `len` bytes that is a field of a message that is a field of a message, and so on:
/// outermost number first.
fn header(path: &[u8], len: usize) -> Vec<u8> {
    path.iter().rev().fold(Vec::new(), |inner, number| {
        let mut wire = vec![number << 3 | 2];
        prost::encoding::encode_varint((inner.len() + len) as u64, &mut wire);
        wire.extend(inner);
        wire
    })
}

fn inside(path: &[u8], payload: &[u8]) -> Vec<u8> {
    [&header(path, payload.len()), payload].concat()
}

/// The field numbers of this many arrays and values in turn.
fn chain(depth: usize) -> Vec<u8> {
    (0..depth).map(|level| if level % 2 == 0 { 5 } else { 1 }).collect()
}

#[test]
fn a_hundred_nested_messages_are_the_limit_wherever_a_value_is() {
    // The attributes of a resource, a scope, a span, an event and a link, each with a value.
    let places: [&[u8]; 5] =
        [&[1, 1, 1, 2], &[1, 2, 1, 3, 2], &[1, 2, 2, 9, 2], &[1, 2, 2, 11, 3, 2], &[1, 2, 2, 13, 4, 2]];
    for place in places {
        let wire = |depth: usize| header(&[place, &chain(depth - place.len())].concat(), 0);
        assert!(decode(&wire(100)).is_ok(), "{place:?}");
        let error = decode(&wire(101)).expect_err("too deep");
        assert_eq!("at most 100 nested messages", error.expected, "{place:?}");
    }
}

#[test]
fn thousands_of_levels_are_refused_without_a_stack_to_overflow() {
    let error = decode(&header(&[&[1, 2, 2, 9, 2][..], &chain(10_000)].concat(), 0)).expect_err("too deep");
    assert_eq!("at most 100 nested messages", error.expected);
    let groups = [15 << 3 | 3].repeat(1_000_000);
    assert_eq!("at most 100 nested messages", decode(&groups).expect_err("too deep").expected);
}

#[test]
fn a_million_empty_spans_cost_at_most_200_bytes_each() {
    let spans = 1_000_000;
    let columns = decode(&inside(&[1, 2], &[2 << 3 | 2, 0].repeat(spans))).expect("a valid message");
    let (held, wire) = columns.nbytes();
    assert_eq!(spans, columns.len());
    assert!(held <= 200 * spans, "{} bytes per span", held / spans);
    assert!(wire <= 2 * spans + 16);
}

/// The official classes take it: this is a limit of the columns.
#[test]
fn a_value_of_256_mib_is_refused() {
    let len = 1 << 28;
    let mut wire = header(&[1, 2, 2, 9, 2, 7], len);
    wire.resize(wire.len() + len, 0);
    let error = k8strace_core::decode(&[wire]).expect_err("too long");
    assert_eq!("a value of at most 256 MiB", error.expected);
    assert_eq!("resource_spans.scope_spans.spans.attributes.value.bytes_value", error.path);
}
