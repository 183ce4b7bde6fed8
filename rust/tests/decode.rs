//! Our decoder against prost: what one reads out of a message, the other reads too.
//!
//! The messages are made again from the columns alone and compared as bytes, so NaN is NaN.

use std::fs;
use std::ops::Range;
use std::path::Path;

use k8strace_core::{
    Attributes, Columns, Compression, Gather, IdField, OddId, Result as Decoded, Room, TextRef, ValueKind,
    inflate, present, run,
};
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

fn decode(wire: &[u8]) -> Decoded<Columns> {
    let all = 0..wire.len();
    k8strace_core::decode(wire.to_vec(), &[all])
}

// ---- columns → message ------------------------------------------------------------------------------

fn text(c: &Columns, text: TextRef) -> String {
    c.text(text).to_owned()
}

fn any_value(c: &Columns, table: &Attributes, row: usize) -> Option<AnyValue> {
    let bits = table.value[row];
    let bytes = || TextRef::from_bits(bits).of(&c.arena);
    let value = match table.kind[row] {
        ValueKind::Absent => return None,
        ValueKind::Empty => return Some(AnyValue { value: None }),
        ValueKind::String => Value::StringValue(text(c, TextRef::from_bits(bits))),
        ValueKind::Bool => Value::BoolValue(bits != 0),
        ValueKind::Int => Value::IntValue(bits as i64),
        ValueKind::Double => Value::DoubleValue(f64::from_bits(bits)),
        ValueKind::Array => {
            Value::ArrayValue(ArrayValue::decode(bytes()).expect("the decoder has checked it"))
        }
        ValueKind::KvList => {
            Value::KvlistValue(KeyValueList::decode(bytes()).expect("the decoder has checked it"))
        }
        ValueKind::Bytes => Value::BytesValue(bytes().to_vec()),
        ValueKind::Strindex => Value::StringValueStrindex(bits as i32),
    };
    Some(AnyValue { value: Some(value) })
}

fn attributes(c: &Columns, table: &Attributes, owner: usize) -> Vec<KeyValue> {
    let key_strindex =
        |row| table.key_strindex.iter().find(|(at, _)| *at as usize == row).map_or(0, |pair| pair.1);
    let pair = |row| KeyValue {
        key: c.keys.text(table.key[row]).to_owned(),
        value: any_value(c, table, row),
        key_strindex: key_strindex(row),
    };
    table.of(owner).map(pair).collect()
}

fn id(c: &Columns, whole: Option<&[u8]>, odd: &[OddId], row: usize, field: IdField) -> Vec<u8> {
    let odd = || odd.iter().find(|odd| odd.row as usize == row && odd.field == field);
    match whole {
        Some(id) => id.to_vec(),
        None => odd().map_or(Vec::new(), |odd| odd.value.of(&c.arena).to_vec()),
    }
}

fn event(c: &Columns, row: usize) -> Event {
    Event {
        time_unix_nano: c.events.time_unix_nano[row],
        name: c.names.text(c.events.name[row]).to_owned(),
        attributes: attributes(c, &c.event_attributes, row),
        dropped_attributes_count: c.events.dropped_attributes_count[row],
    }
}

fn link(c: &Columns, row: usize) -> Link {
    let l = &c.links;
    let has = |bit| l.present[row] & bit != 0;
    let trace_id = has(present::TRACE_ID).then_some(&l.trace_id[row][..]);
    let span_id = has(present::SPAN_ID).then_some(&l.span_id[row][..]);
    Link {
        trace_id: id(c, trace_id, &l.odd_ids, row, IdField::Trace),
        span_id: id(c, span_id, &l.odd_ids, row, IdField::Span),
        trace_state: text(c, l.trace_state[row]),
        attributes: attributes(c, &c.link_attributes, row),
        dropped_attributes_count: l.dropped_attributes_count[row],
        flags: l.flags[row],
    }
}

fn span(c: &Columns, row: usize) -> Span {
    let s = &c.spans;
    let has = |bit| s.present[row] & bit != 0;
    let trace_id = has(present::TRACE_ID).then_some(&s.trace_id[row][..]);
    let span_id = has(present::SPAN_ID).then_some(&s.span_id[row][..]);
    let parent = has(present::PARENT).then_some(&s.parent_span_id[row][..]);
    let status = Status { message: text(c, s.status_message[row]), code: s.status_code[row] };
    Span {
        trace_id: id(c, trace_id, &s.odd_ids, row, IdField::Trace),
        span_id: id(c, span_id, &s.odd_ids, row, IdField::Span),
        trace_state: text(c, s.trace_state[row]),
        parent_span_id: id(c, parent, &s.odd_ids, row, IdField::Parent),
        flags: s.flags[row],
        name: c.names.text(s.name[row]).to_owned(),
        kind: s.kind[row],
        start_time_unix_nano: s.start_time_unix_nano[row],
        end_time_unix_nano: s.end_time_unix_nano[row],
        attributes: attributes(c, &c.span_attributes, row),
        dropped_attributes_count: s.dropped_attributes_count[row],
        events: run(&s.events_end, row).map(|row| event(c, row)).collect(),
        dropped_events_count: s.dropped_events_count[row],
        links: run(&s.links_end, row).map(|row| link(c, row)).collect(),
        dropped_links_count: s.dropped_links_count[row],
        status: has(present::STATUS).then_some(status),
    }
}

fn scope_spans(c: &Columns, row: usize) -> ScopeSpans {
    let scope = InstrumentationScope {
        name: c.names.text(c.scopes.name[row]).to_owned(),
        version: text(c, c.scopes.version[row]),
        attributes: attributes(c, &c.scope_attributes, row),
        dropped_attributes_count: c.scopes.dropped_attributes_count[row],
    };
    let spans = (0..c.len()).filter(|&span| c.spans.scope_spans[span] as usize == row);
    ScopeSpans {
        scope: c.scopes.present[row].then_some(scope),
        spans: spans.map(|row| span(c, row)).collect(),
        schema_url: text(c, c.scopes.schema_url[row]),
    }
}

fn resource_spans(c: &Columns, row: usize) -> ResourceSpans {
    let refs = c.resources.entity_refs.iter().filter(|(owner, _)| *owner as usize == row);
    let entity_ref =
        |wire: TextRef| EntityRef::decode(wire.of(&c.arena)).expect("the decoder has checked it");
    let resource = Resource {
        attributes: attributes(c, &c.resource_attributes, row),
        dropped_attributes_count: c.resources.dropped_attributes_count[row],
        entity_refs: refs.map(|&(_, wire)| entity_ref(wire)).collect(),
    };
    let scopes = (0..c.scopes.name.len()).filter(|&scope| c.scopes.resource_spans[scope] as usize == row);
    ResourceSpans {
        resource: c.resources.present[row].then_some(resource),
        scope_spans: scopes.map(|row| scope_spans(c, row)).collect(),
        schema_url: text(c, c.resources.schema_url[row]),
    }
}

fn from_columns(c: &Columns) -> ExportTraceServiceRequest {
    let resource_spans = (0..c.resources.batch.len()).map(|row| resource_spans(c, row)).collect();
    ExportTraceServiceRequest { resource_spans }
}

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

/// What prost refuses and the official classes, whose verdict is ours, do not.
const STRICTER_PROST: [&str; 2] = ["invalid wire type", "invalid varint"];
/// What prost takes and the official classes do not.
const LAXER_PROST: [&str; 2] = ["a length of at most 5 bytes", "a field tag"];

/// Same verdict and same content, except where prost and the official classes differ.
fn check(wire: &[u8]) -> Result<(), TestCaseError> {
    match (ExportTraceServiceRequest::decode(wire), decode(wire)) {
        (Ok(expected), Ok(columns)) => {
            prop_assert_eq!(expected.encode_to_vec(), from_columns(&columns).encode_to_vec());
        }
        (Ok(_), Err(error)) => {
            prop_assert!(LAXER_PROST.contains(&error.expected.as_ref()), "only we refuse: {error}")
        }
        (Err(error), Ok(_)) => {
            let text = error.to_string();
            prop_assert!(
                STRICTER_PROST.iter().any(|known| text.contains(known)),
                "only prost refuses: {text}"
            );
        }
        (Err(_), Err(error)) => {
            prop_assert!(error.offset <= wire.len() as u64, "offset beyond the input: {error}")
        }
    }
    Ok(())
}

/// These rows of tables, in a table of their own; true: both hold the texts.
fn gather(parts: &[(&Columns, Vec<Range<usize>>, bool)]) -> Columns {
    let mut gather = Gather::with_room(&Room::default());
    parts.iter().for_each(|(c, rows, share)| gather.add(c, rows, *share));
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
            prop_assert_eq!(span(c, row), span(&gathered, new));
            prop_assert_eq!(sent, from_sender(&gathered, new));
        }
    }

    #[test]
    fn any_bytes_have_the_verdict_of_prost(wire in vec(any::<u8>(), 0..200)) {
        check(&wire)?;
    }

    #[test]
    fn damaged_messages_have_the_verdict_of_prost(
        message in requests(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in option::of(any::<prop::sample::Index>()),
    ) {
        check(&damage(message.encode_to_vec(), &changes, cut))?;
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
    let all = 0..wire.len();
    let error = k8strace_core::decode(wire, &[all]).expect_err("too long");
    assert_eq!("a value of at most 256 MiB", error.expected);
    assert_eq!("resource_spans.scope_spans.spans.attributes.value.bytes_value", error.path);
}
