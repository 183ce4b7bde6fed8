//! Our decoder against prost: the messages are made again from the columns alone. Used by tests and by the fuzzer.

#![expect(clippy::cast_possible_truncation, reason = "an int32 is the low half of its column")]

use k8strace_core::{
    Attributes, Columns, IdField, OddId, Result as Decoded, TextRef, ValueKind, present, run,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

/// One request.
pub fn decode(wire: &[u8]) -> Decoded<Columns> {
    k8strace_core::decode(&[wire])
}

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
        ValueKind::Int => Value::IntValue(bits.cast_signed()),
        ValueKind::Double => Value::DoubleValue(f64::from_bits(bits)),
        ValueKind::Array => {
            Value::ArrayValue(ArrayValue::decode(bytes()).expect("the decoder has checked it"))
        }
        ValueKind::KvList => {
            Value::KvlistValue(KeyValueList::decode(bytes()).expect("the decoder has checked it"))
        }
        ValueKind::Bytes => Value::BytesValue(bytes().to_vec()),
        ValueKind::Strindex => Value::StringValueStrindex((bits as u32).cast_signed()),
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

pub fn span(c: &Columns, row: usize) -> Span {
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
        links: c.links_of(row).map(|row| link(c, row)).collect(),
        dropped_links_count: s.dropped_links_count[row],
        status: has(present::STATUS).then_some(status),
    }
}

pub fn scope_spans(c: &Columns, row: usize) -> ScopeSpans {
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

pub fn resource_spans(c: &Columns, row: usize) -> ResourceSpans {
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

pub fn from_columns(c: &Columns) -> ExportTraceServiceRequest {
    let resource_spans = (0..c.resources.batch.len()).map(|row| resource_spans(c, row)).collect();
    ExportTraceServiceRequest { resource_spans }
}

/// What prost refuses and the official classes, whose verdict is ours, do not.
const STRICTER_PROST: [&str; 2] = ["invalid wire type", "invalid varint"];
/// What prost takes and the official classes do not.
const LAXER_PROST: [&str; 2] = ["a length of at most 5 bytes", "a field tag"];

/// Same verdict and same content, except where prost and the official classes differ.
///
/// Errors: what differs.
pub fn check(wire: &[u8]) -> Result<(), String> {
    match (ExportTraceServiceRequest::decode(wire), decode(wire)) {
        (Ok(expected), Ok(columns)) => same(&expected, &from_columns(&columns)),
        (Ok(_), Err(error)) => {
            if_not(LAXER_PROST.contains(&error.expected.as_ref()), || format!("only we refuse: {error}"))
        }
        (Err(error), Ok(_)) => {
            let text = error.to_string();
            let known = STRICTER_PROST.iter().any(|known| text.contains(known));
            if_not(known, || format!("only prost refuses: {text}"))
        }
        (Err(_), Err(error)) => {
            if_not(error.offset <= wire.len() as u64, || format!("offset beyond the input: {error}"))
        }
    }
}

fn if_not(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}

/// The messages have the same bytes, so NaN is NaN.
fn same(expected: &ExportTraceServiceRequest, found: &ExportTraceServiceRequest) -> Result<(), String> {
    if_not(expected.encode_to_vec() == found.encode_to_vec(), || format!("{expected:?}\n{found:?}"))
}
