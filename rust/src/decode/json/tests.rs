use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::error::DecodeError;

/// What the official classes make of our wire bytes.
fn read(json: &str) -> ExportTraceServiceRequest {
    let wire = to_wire(json.as_bytes()).expect("valid OTLP JSON");
    ExportTraceServiceRequest::decode(wire.as_slice()).expect("valid protobuf")
}

fn refused(json: &str) -> Box<DecodeError> {
    to_wire(json.as_bytes()).expect_err("malformed OTLP JSON")
}

fn in_span(fields: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#)
}

fn request(span: Span) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
}

fn in_value(json: &str) -> String {
    in_span(&format!(r#""attributes":[{{"key":"k","value":{json}}}]"#))
}

fn holding(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(holding(value)), ..Default::default() }
}

fn value_of(json: &str) -> Option<AnyValue> {
    read(&in_value(json)).resource_spans[0].scope_spans[0].spans[0].attributes[0].value.clone()
}

#[test]
fn every_field_of_a_span_arrives_where_the_official_classes_expect_it() {
    let json = r#"
        "traceId":"5B8EFFF798038103d269b633813fc60c", "spanId":"eee19b7ec3c1b174", "parentSpanId":"EEE19b7ec3c1b173",
        "traceState":"a=b", "flags":256, "name":"Get", "kind":2,
        "startTimeUnixNano":"1544712660000000000", "endTimeUnixNano":18446744073709551615,
        "attributes":[{"key":"k","value":{"stringValue":"v"}}], "droppedAttributesCount":1,
        "events":[{"timeUnixNano":"7","name":"e","attributes":[{"key":"i","value":{"intValue":"-3"}}],"droppedAttributesCount":4}],
        "droppedEventsCount":2,
        "links":[{"traceId":"00","spanId":"","traceState":"x","attributes":[],"droppedAttributesCount":5,"flags":4294967295}],
        "droppedLinksCount":3, "status":{"message":"no","code":2}"#;
    let event = Event {
        time_unix_nano: 7,
        name: "e".into(),
        attributes: vec![pair("i", Any::IntValue(-3))],
        dropped_attributes_count: 4,
    };
    let link = Link {
        trace_id: vec![0],
        trace_state: "x".into(),
        dropped_attributes_count: 5,
        flags: u32::MAX,
        ..Default::default()
    };
    let span = Span {
        trace_id: 0x5b8efff798038103d269b633813fc60c_u128.to_be_bytes().into(),
        span_id: 0xeee19b7ec3c1b174_u64.to_be_bytes().into(),
        parent_span_id: 0xeee19b7ec3c1b173_u64.to_be_bytes().into(),
        trace_state: "a=b".into(),
        flags: 256,
        name: "Get".into(),
        kind: 2,
        start_time_unix_nano: 1_544_712_660_000_000_000,
        end_time_unix_nano: u64::MAX,
        attributes: vec![pair("k", Any::StringValue("v".into()))],
        dropped_attributes_count: 1,
        events: vec![event],
        dropped_events_count: 2,
        links: vec![link],
        dropped_links_count: 3,
        status: Some(Status { message: "no".into(), code: 2 }),
    };
    assert_eq!(read(&in_span(json)), request(span));
}

#[test]
fn resources_and_scopes_arrive_whole() {
    let json = r#"{"resourceSpans":[{"schemaUrl":"u","resource":{"attributes":[{"key":"a"}],"droppedAttributesCount":9,
        "entityRefs":[{"schemaUrl":"s","type":"t","idKeys":["x","y"],"descriptionKeys":["z"]}]},
        "scopeSpans":[{"schemaUrl":"w","scope":{"name":"n","version":"1","attributes":[],"droppedAttributesCount":8}}]}]}"#;
    let entity = EntityRef {
        schema_url: "s".into(),
        r#type: "t".into(),
        id_keys: vec!["x".into(), "y".into()],
        description_keys: vec!["z".into()],
    };
    let resource = Resource {
        attributes: vec![KeyValue { key: "a".into(), ..Default::default() }],
        dropped_attributes_count: 9,
        entity_refs: vec![entity],
    };
    let scope = InstrumentationScope {
        name: "n".into(),
        version: "1".into(),
        dropped_attributes_count: 8,
        ..Default::default()
    };
    let scope_spans = ScopeSpans { scope: Some(scope), schema_url: "w".into(), ..Default::default() };
    let resource_spans =
        ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], schema_url: "u".into() };
    assert_eq!(read(json), ExportTraceServiceRequest { resource_spans: vec![resource_spans] });
}

#[test]
fn a_value_keeps_its_kind_even_at_its_default() {
    let cases = [
        (r#"{"stringValue":""}"#, Any::StringValue(String::new())),
        (r#"{"boolValue":false}"#, Any::BoolValue(false)),
        (r#"{"boolValue":true}"#, Any::BoolValue(true)),
        (r#"{"intValue":"0"}"#, Any::IntValue(0)),
        (r#"{"intValue":-9223372036854775808}"#, Any::IntValue(i64::MIN)),
        (r#"{"intValue":1e3}"#, Any::IntValue(1000)),
        (r#"{"doubleValue":0}"#, Any::DoubleValue(0.0)),
        (r#"{"doubleValue":-0.0}"#, Any::DoubleValue(-0.0)),
        (r#"{"doubleValue":"1.5"}"#, Any::DoubleValue(1.5)),
        (r#"{"doubleValue":"-Infinity"}"#, Any::DoubleValue(f64::NEG_INFINITY)),
        (r#"{"bytesValue":""}"#, Any::BytesValue(vec![])),
        (r#"{"bytesValue":"+/8="}"#, Any::BytesValue(vec![0xfb, 0xff])),
        (r#"{"bytesValue":"-_8"}"#, Any::BytesValue(vec![0xfb, 0xff])),
        (r#"{"arrayValue":{}}"#, Any::ArrayValue(ArrayValue::default())),
        (r#"{"kvlistValue":{"values":[]}}"#, Any::KvlistValue(KeyValueList::default())),
    ];
    for (json, expected) in cases {
        assert_eq!(value_of(json), Some(holding(expected)), "{json}");
    }
    assert_eq!(value_of("{}"), Some(AnyValue { value: None }));
    assert_eq!(value_of("null"), None);
}

#[test]
fn values_nest() {
    let json = r#"{"arrayValue":{"values":[null,{"kvlistValue":{"values":[{"key":"k","value":{"arrayValue":{"values":[{"intValue":1}]}}}]}}]}}"#;
    let inner = Any::ArrayValue(ArrayValue { values: vec![holding(Any::IntValue(1))] });
    let list = Any::KvlistValue(KeyValueList { values: vec![pair("k", inner)] });
    let expected = Any::ArrayValue(ArrayValue { values: vec![AnyValue { value: None }, holding(list)] });
    assert_eq!(value_of(json), Some(holding(expected)));
}

#[test]
fn a_message_longer_than_two_length_bytes_is_patched_right() {
    let name = "x".repeat(3_000_000);
    let span = Span { name: name.clone(), ..Default::default() };
    assert_eq!(read(&in_span(&format!(r#""name":"{name}""#))), request(span));
}

#[test]
fn null_is_absent_unknown_keys_are_ignored_and_the_last_scalar_wins() {
    let json = r#""name":null,"nAme":1,"future":{"deep":[{"name":[1,2]}]},"kind":1,"kind":3,"links":null"#;
    assert_eq!(read(&in_span(json)), request(Span { kind: 3, ..Default::default() }));
}

#[test]
fn wrapped_and_old_documents_mean_the_same_as_new_ones() {
    let new = r#"{"resourceSpans":[{"scopeSpans":[{"scope":{"name":"n"},"spans":[{"kind":2}]}]}]}"#;
    let old = new
        .replace("scopeSpans", "instrumentationLibrarySpans")
        .replace("scope\"", "instrumentationLibrary\"");
    let wrapped = format!("\u{feff} {{\"result\":{new}}}\n");
    assert_eq!(read(&old), read(new));
    assert_eq!(read(&wrapped), read(new));
    for empty in ["{}", r#"{"result":{}}"#, r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[]}"#] {
        assert_eq!(to_wire(empty.as_bytes()), Ok(vec![]), "{empty}");
    }
}

#[test]
fn an_error_says_what_where_and_at_which_byte() {
    let json = "{\"resourceSpans\":[\n{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"zz\"}]}]}]}";
    let error = refused(json);
    assert_eq!(error.path, "resourceSpans.scopeSpans.spans.traceId");
    assert_eq!(error.expected, "an id as a string of hexadecimal digits");
    assert_eq!(error.got, "the string \"zz\"");
    assert_eq!(&json[..error.offset as usize].chars().rev().take(4).collect::<String>(), "\"zz\"");
}

#[test]
fn enums_by_name_ids_in_base64_and_keys_in_snake_case_are_protobufs_own_json() {
    let json = r#""kind":"SPAN_KIND_SERVER","status":{"code":"STATUS_CODE_ERROR"},"span_id":"7uGbfsPBsXQ=""#;
    let span = Span {
        span_id: 0xeee19b7ec3c1b174_u64.to_be_bytes().into(),
        kind: 2,
        status: Some(Status { code: 2, ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(read(&in_span(json)), request(span));
    let error = refused(&in_span(r#""kind":"SPAN_KIND_SERVANT""#));
    assert_eq!(error.path, "resourceSpans.scopeSpans.spans.kind");
    assert!(error.to_string().contains("SPAN_KIND_SERVANT"), "{error}");
}

#[test]
fn what_carries_a_document_may_not_carry_itself_for_ever() {
    let carried = |json: &str| format!("{{\"payload\":{json:?}}}");
    let json = in_span(r#""kind":2"#);
    assert_eq!(read(&carried(&json)), read(&json));
    assert!(refused(&carried(&carried(&json))).got.contains("payload"));
    assert_eq!(read(r#"{"value":"CgA="}"#).resource_spans.len(), 1);
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    let fields = [
        r#""traceId":"abc""#,
        r#""traceId":12"#,
        r#""name":1"#,
        r#""kind":2.5"#,
        r#""kind":2147483648"#,
        r#""flags":-1"#,
        r#""startTimeUnixNano":"-1""#,
        r#""startTimeUnixNano":"18446744073709551616""#,
        r#""startTimeUnixNano":"1.5""#,
        r#""startTimeUnixNano":1e300"#,
        r#""startTimeUnixNano":true"#,
        r#""startTimeUnixNano":"""#,
        r#""endTimeUnixNano":9007199254740993.0e1"#,
        r#""status":3"#,
        r#""status":[]"#,
        r#""events":{}"#,
        r#""events":[[]]"#,
        r#""events":["x"]"#,
        r#""events":"x""#,
        r#""name":{}"#,
        r#""name":[]"#,
    ];
    for field in fields {
        assert!(to_wire(in_span(field).as_bytes()).is_err(), "{field}");
    }
    let values = [
        r#"{"boolValue":"true"}"#,
        r#"{"boolValue":0}"#,
        r#"{"doubleValue":"nan"}"#,
        r#"{"doubleValue":"inf"}"#,
        r#"{"doubleValue":1e400}"#,
        r#"{"doubleValue":NaN}"#,
        r#"{"bytesValue":"A"}"#,
        r#"{"bytesValue":"A==="}"#,
        r#"{"bytesValue":"A$=="}"#,
        r#"{"intValue":"+1"}"#,
        r#"{"stringValue":"\ud800"}"#,
        r#""x""#,
    ];
    for value in values {
        assert!(to_wire(in_value(value).as_bytes()).is_err(), "{value}");
    }
}

#[test]
fn a_document_without_a_known_key_is_refused_and_says_which_one_it_had() {
    let error = refused(r#"{"resourceSpan":[]}"#);
    assert!(error.got.contains("resourceSpan"), "{error}");
    for shape in [
        "resourceSpans or result (OTLP)",
        "trace or batches (Tempo)",
        "data or spans (Jaeger)",
        "payload or value or log (",
        "an array of Zipkin's spans",
    ] {
        assert!(error.expected.contains(shape), "{error}");
    }
    for json in ["[1]", "null", "1", "\"x\"", r#"{"data":[1]}"#, r#"{"result":[]}"#, "", " ", "{} {}", "{}x"]
    {
        assert!(to_wire(json.as_bytes()).is_err(), "{json:?}");
    }
    assert!(read(r#"{"data":[],"resourceSpans":[]}"#).resource_spans.is_empty());
}

#[test]
fn depth_is_an_error_and_never_a_stack_overflow() {
    let known = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(100_000), "]}}".repeat(100_000));
    assert!(refused(&in_value(&known)).got.contains("recursion"));
    let unknown = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(to_wire(in_span(&format!(r#""future":{unknown}"#)).as_bytes()).is_ok());
}

fn pieces(chunks: &[&[u8]]) -> Vec<Piece> {
    let (mut reader, mut found) = (Reader::new(usize::MAX), Vec::new());
    for chunk in chunks {
        reader.feed(chunk).expect("memory");
        while let Some(piece) = reader.next(false).expect("no limit") {
            found.push(piece);
        }
    }
    while let Some(piece) = reader.next(true).expect("no limit") {
        found.push(piece);
    }
    found
}

#[test]
fn every_cut_document_is_known_to_be_cut() {
    let json = in_span(r#""name":"é\u00e9","kind":2,"flags":10,"x":true,"status":null,"links":[]"#);
    for end in 1..json.len() {
        assert!(
            matches!(pieces(&[&json.as_bytes()[..end]])[..], [Piece { found: Found::Torn(_), .. }]),
            "{end}"
        );
        assert!(to_wire(&json.as_bytes()[..end]).is_err(), "{end}");
    }
    assert!(matches!(pieces(&[json.as_bytes()])[..], [Piece { found: Found::Wire(..), .. }]));
}

#[test]
fn a_stream_is_the_same_however_it_arrives() {
    let json = in_span(r#""name":"a","kind":2"#);
    let stream = format!("\u{feff}{json}{json}\n[{json},\n{json}]\nno json\n\0\0\0{json}{{\"a\":[{json}");
    let whole: Vec<_> = pieces(&[stream.as_bytes()]).iter().map(|p| (p.offset, p.size, p.line)).collect();
    // Four documents, text, zeros, a document, one that breaks off, the document within it.
    assert_eq!(9, whole.len());
    for size in [1, 2, 3, 7, 64] {
        let chunks: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
        let parts: Vec<_> = pieces(&chunks).iter().map(|p| (p.offset, p.size, p.line)).collect();
        assert_eq!(whole, parts, "{size}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(wire) = to_wire(&bytes) {
            prop_assert!(ExportTraceServiceRequest::decode(wire.as_slice()).is_ok());
        }
    }

    #[test]
    fn damaged_documents_are_survived(at in 0usize..200, byte in any::<u8>()) {
        let mut json = in_value(r#"{"arrayValue":{"values":[{"bytesValue":"AA=="},{"intValue":"1"},{"doubleValue":1.5}]}}"#).into_bytes();
        let at = at % json.len();
        json[at] = byte;
        if let Ok(wire) = to_wire(&json) {
            prop_assert!(ExportTraceServiceRequest::decode(wire.as_slice()).is_ok());
        }
    }
}
