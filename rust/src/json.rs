//! OTLP JSON → protobuf wire bytes, so that there is one decoder only.
//!
//! OTLP JSON is not protobuf JSON: ids are hex, enums are integers, keys are lowerCamelCase only.
//! What a message may hold is a table ([`Field`]); one walker reads every table. Nothing is built in between:
//! values are written to the wire as the parser meets them. A nested message's length is not known before its end,
//! so five bytes are kept for it and patched: a padded varint, which protobuf allows.
//!
//! ```text
//! {"name":"a","kind":2}   →   2a 01 61 30 02
//! {"resource":{}}         →   0a 80 80 80 80 00
//! ```
//!
//! `null` is absent (as an array's element: the default, so that positions stay), unknown keys are ignored at any depth,
//! of a key given twice the later scalar wins and messages merge, as everywhere in protobuf.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::error::{DecodeError, Result};

/// How a JSON value becomes wire bytes.
#[derive(Clone, Copy)]
enum Kind {
    /// An embedded message.
    Message(&'static [Field]),
    /// An object that only wraps: its fields belong to the message around it.
    Wrapper(&'static [Field]),
    Text,
    /// Bytes as hex, any case.
    Hex,
    /// Bytes as base64, standard or URL-safe, padding optional.
    Base64,
    Bool,
    /// An int32, as a number only.
    Enum,
    Int32,
    Uint32,
    Int64,
    Fixed32,
    Fixed64,
    Double,
}

/// One row of a message's table.
struct Field {
    key: &'static str,
    number: u32,
    kind: Kind,
    many: bool,
}

const fn one(key: &'static str, number: u32, kind: Kind) -> Field {
    Field { key, number, kind, many: false }
}

const fn many(key: &'static str, number: u32, kind: Kind) -> Field {
    Field { key, number, kind, many: true }
}

static DOCUMENT: [Field; 2] =
    [one("result", 0, Kind::Wrapper(&REQUEST)), many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))];
static REQUEST: [Field; 1] = [many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))];
static RESOURCE_SPANS: [Field; 4] = [
    one("resource", 1, Kind::Message(&RESOURCE)),
    many("scopeSpans", 2, Kind::Message(&SCOPE_SPANS)),
    many("instrumentationLibrarySpans", 2, Kind::Message(&SCOPE_SPANS)),
    one("schemaUrl", 3, Kind::Text),
];
static RESOURCE: [Field; 3] = [
    many("attributes", 1, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 2, Kind::Uint32),
    many("entityRefs", 3, Kind::Message(&ENTITY_REF)),
];
static ENTITY_REF: [Field; 4] = [
    one("schemaUrl", 1, Kind::Text),
    one("type", 2, Kind::Text),
    many("idKeys", 3, Kind::Text),
    many("descriptionKeys", 4, Kind::Text),
];
static SCOPE_SPANS: [Field; 4] = [
    one("scope", 1, Kind::Message(&SCOPE)),
    one("instrumentationLibrary", 1, Kind::Message(&SCOPE)),
    many("spans", 2, Kind::Message(&SPAN)),
    one("schemaUrl", 3, Kind::Text),
];
static SCOPE: [Field; 4] = [
    one("name", 1, Kind::Text),
    one("version", 2, Kind::Text),
    many("attributes", 3, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 4, Kind::Uint32),
];
static SPAN: [Field; 16] = [
    one("traceId", 1, Kind::Hex),
    one("spanId", 2, Kind::Hex),
    one("traceState", 3, Kind::Text),
    one("parentSpanId", 4, Kind::Hex),
    one("flags", 16, Kind::Fixed32),
    one("name", 5, Kind::Text),
    one("kind", 6, Kind::Enum),
    one("startTimeUnixNano", 7, Kind::Fixed64),
    one("endTimeUnixNano", 8, Kind::Fixed64),
    many("attributes", 9, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 10, Kind::Uint32),
    many("events", 11, Kind::Message(&EVENT)),
    one("droppedEventsCount", 12, Kind::Uint32),
    many("links", 13, Kind::Message(&LINK)),
    one("droppedLinksCount", 14, Kind::Uint32),
    one("status", 15, Kind::Message(&STATUS)),
];
static EVENT: [Field; 4] = [
    one("timeUnixNano", 1, Kind::Fixed64),
    one("name", 2, Kind::Text),
    many("attributes", 3, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 4, Kind::Uint32),
];
static LINK: [Field; 6] = [
    one("traceId", 1, Kind::Hex),
    one("spanId", 2, Kind::Hex),
    one("traceState", 3, Kind::Text),
    many("attributes", 4, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 5, Kind::Uint32),
    one("flags", 6, Kind::Fixed32),
];
static STATUS: [Field; 2] = [one("message", 2, Kind::Text), one("code", 3, Kind::Enum)];
static KEY_VALUE: [Field; 3] = [
    one("key", 1, Kind::Text),
    one("value", 2, Kind::Message(&ANY_VALUE)),
    one("keyStrindex", 3, Kind::Int32),
];
static ANY_VALUE: [Field; 8] = [
    one("stringValue", 1, Kind::Text),
    one("boolValue", 2, Kind::Bool),
    one("intValue", 3, Kind::Int64),
    one("doubleValue", 4, Kind::Double),
    one("arrayValue", 5, Kind::Message(&ARRAY_VALUE)),
    one("kvlistValue", 6, Kind::Message(&KEY_VALUE_LIST)),
    one("bytesValue", 7, Kind::Base64),
    one("stringValueStrindex", 8, Kind::Int32),
];
static ARRAY_VALUE: [Field; 1] = [many("values", 1, Kind::Message(&ANY_VALUE))];
static KEY_VALUE_LIST: [Field; 1] = [many("values", 1, Kind::Message(&KEY_VALUE))];

static TOP: Field = one("", 0, Kind::Wrapper(&DOCUMENT));
const TOP_EXPECTED: &str = "an OTLP JSON object with the key resourceSpans or result";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One OTLP JSON document as the wire bytes of one `ExportTraceServiceRequest`.
///
/// Also accepts Jaeger's `{"result":{"resourceSpans":…}}`, the keys of OTLP before 1.0, and a byte order mark.
/// `{}` is an empty request. Depth is bounded by the parser: at most 127 nested objects and arrays.
///
/// Errors: not JSON, not one document, no known key at the top, or a value of the wrong kind. The path has the keys
/// as written (`resourceSpans.scopeSpans.spans.traceId`), the offset is where reading stopped: just past the value.
pub fn to_wire(json: &[u8]) -> Result<Vec<u8>> {
    let text = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    let mut walk = Walk::default();
    let mut parser = serde_json::Deserializer::from_slice(text);
    let read = Value { walk: &mut walk, field: &TOP, element: false }.deserialize(&mut parser);
    match read.and_then(|()| parser.end()) {
        Err(error) => Err(walk.explain(&error, text, json.len() - text.len())),
        Ok(()) => walk.finish(),
    }
}

/// Is this JSON that breaks off: well-formed as far as it goes, but not to its end?
pub fn is_cut(json: &[u8]) -> bool {
    let text = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.classify() == Category::Eof)
}

/// What a value should have been, and what it was.
struct Fault {
    expected: &'static str,
    got: Cow<'static, str>,
}

/// The wire written so far and where in the document we are. The path is not unwound on error: it is the error's path.
#[derive(Default)]
struct Walk {
    out: Vec<u8>,
    path: Vec<&'static str>,
    fault: Option<Fault>,
    known_at_top: bool,
    unknown_at_top: Option<String>,
}

impl Walk {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    fn number(&mut self, field: &Field, value: u64) {
        self.tag(field.number, 0);
        self.varint(value);
    }

    fn fixed64(&mut self, field: &Field, value: u64) {
        self.tag(field.number, 1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn fixed32(&mut self, field: &Field, value: u32) {
        self.tag(field.number, 5);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: &Field, value: &[u8]) {
        self.tag(field.number, 2);
        self.varint(value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// Starts a message whose length is not yet known; gives the place to patch.
    fn open(&mut self, field: &Field) -> usize {
        self.tag(field.number, 2);
        let at = self.out.len();
        self.out.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0]);
        at
    }

    fn close(&mut self, at: usize) {
        let len = self.out.len() - at - 5;
        for (index, byte) in self.out[at..at + 5].iter_mut().enumerate() {
            *byte |= (len >> (7 * index)) as u8 & 0x7f;
        }
    }

    /// An array's `null` element: written as the default, so that the elements after it keep their position.
    fn default_element(&mut self, field: &Field) {
        self.bytes(field, b"");
    }

    fn scalar(&mut self, field: &Field, value: &Scalar<'_>) -> std::result::Result<(), Fault> {
        let wrong = || Fault { expected: expectation(field.kind), got: value.describe() };
        match (field.kind, value) {
            (Kind::Text, Scalar::Text(text)) => self.bytes(field, text.as_bytes()),
            (Kind::Hex, Scalar::Text(text)) => self.bytes(field, &hex(text).ok_or_else(wrong)?),
            (Kind::Base64, Scalar::Text(text)) => self.bytes(field, &base64(text).ok_or_else(wrong)?),
            (Kind::Bool, Scalar::Bool(value)) => self.number(field, u64::from(*value)),
            (Kind::Enum, Scalar::Text(_)) => return Err(wrong()),
            (Kind::Enum | Kind::Int32, _) => {
                self.number(field, i64::from(value.integer::<i32>().ok_or_else(wrong)?) as u64);
            }
            (Kind::Uint32, _) => self.number(field, value.integer::<u32>().ok_or_else(wrong)?.into()),
            (Kind::Int64, _) => self.number(field, value.integer::<i64>().ok_or_else(wrong)? as u64),
            (Kind::Fixed32, _) => self.fixed32(field, value.integer().ok_or_else(wrong)?),
            (Kind::Fixed64, _) => self.fixed64(field, value.integer().ok_or_else(wrong)?),
            (Kind::Double, _) => self.fixed64(field, value.double().ok_or_else(wrong)?.to_bits()),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// The parser's error in our words. `skipped` bytes came before `text`.
    #[cold]
    fn explain(self, error: &serde_json::Error, text: &[u8], skipped: usize) -> DecodeError {
        let offset = skipped + offset_of(text, error.line(), error.column());
        let (expected, got) = match (self.fault, error.classify()) {
            (Some(fault), _) => (fault.expected, fault.got),
            (None, Category::Eof) => ("the rest of the JSON document", "its end".into()),
            (None, _) => ("JSON", without_position(&error.to_string()).into()),
        };
        self.path.iter().rev().fold(DecodeError::new(expected, got, offset), |error, key| error.within(key))
    }

    fn finish(self) -> Result<Vec<u8>> {
        match self.unknown_at_top {
            Some(key) if !self.known_at_top => {
                Err(DecodeError::new(TOP_EXPECTED, format!("an object with the key {key:?}"), 0))
            }
            _ => Ok(self.out),
        }
    }
}

/// The byte offset of serde_json's line (from 1) and column (bytes from the line's start).
fn offset_of(text: &[u8], line: usize, column: usize) -> usize {
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let start = std::iter::once(0).chain(ends).nth(line.saturating_sub(1)).unwrap_or(0);
    (start + column).min(text.len())
}

fn without_position(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text).to_owned()
}

fn expectation(kind: Kind) -> &'static str {
    match kind {
        Kind::Message(_) => "an object",
        Kind::Wrapper(_) => TOP_EXPECTED,
        Kind::Text => "a string",
        Kind::Hex => "an id as a string of hexadecimal digits",
        Kind::Base64 => "bytes as a base64 string",
        Kind::Bool => "true or false",
        Kind::Enum => "an integer (OTLP JSON has enums as integers, not as names)",
        Kind::Int32 => "an integer of 32 bits",
        Kind::Uint32 | Kind::Fixed32 => "an unsigned integer of 32 bits",
        Kind::Int64 => "an integer of 64 bits, as a number or a string",
        Kind::Fixed64 => "an unsigned integer of 64 bits, as a number or a string",
        Kind::Double => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
    }
}

/// A JSON value that is neither array, object nor null.
enum Scalar<'a> {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

impl Scalar<'_> {
    /// The integer of a number or a decimal string. A fraction has none, nor has a float above 2^53: its digits are lost.
    fn integer<T: TryFrom<i128>>(&self) -> Option<T> {
        let wide = match *self {
            Scalar::Unsigned(value) => i128::from(value),
            Scalar::Signed(value) => i128::from(value),
            Scalar::Float(value) if value.fract() == 0.0 && value.abs() <= (1u64 << 53) as f64 => {
                value as i128
            }
            Scalar::Text(text) if !text.starts_with('+') => text.parse().ok()?,
            _ => return None,
        };
        T::try_from(wide).ok()
    }

    fn double(&self) -> Option<f64> {
        match *self {
            Scalar::Unsigned(value) => Some(value as f64),
            Scalar::Signed(value) => Some(value as f64),
            Scalar::Float(value) => Some(value),
            Scalar::Text("NaN") => Some(f64::NAN),
            Scalar::Text("Infinity") => Some(f64::INFINITY),
            Scalar::Text("-Infinity") => Some(f64::NEG_INFINITY),
            // Rust would also read "inf" and "nan", in any case.
            Scalar::Text(text) if !text.contains(['n', 'N']) => text.parse().ok(),
            _ => None,
        }
    }

    #[cold]
    fn describe(&self) -> Cow<'static, str> {
        match self {
            Scalar::Bool(value) => format!("{value}"),
            Scalar::Unsigned(value) => format!("the number {value}"),
            Scalar::Signed(value) => format!("the number {value}"),
            Scalar::Float(value) => format!("the number {value}"),
            Scalar::Text(text) => format!("the string {:?}", clip(text)),
        }
        .into()
    }
}

/// At most 40 characters of it: an error must not carry a megabyte.
fn clip(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let pair = |pair: &[u8]| match *pair {
        [high, low] => Some((nibble(high)? << 4 | nibble(low)?) as u8),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// Bits left over at the end are dropped, as protobuf's own JSON readers do.
fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if text.len() - body.len() > 2 || body.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0);
    for byte in body.bytes() {
        bits = bits << 6 | sextet(byte)?;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

/// The value of `field`; `element` when it stands in that field's array.
struct Value<'w> {
    walk: &'w mut Walk,
    field: &'static Field,
    element: bool,
}

impl Value<'_> {
    fn fail<E: serde::de::Error>(self, expected: &'static str, got: Cow<'static, str>) -> E {
        self.walk.fault = Some(Fault { expected, got });
        E::custom("")
    }

    /// Is an array due here, and not its element?
    fn wants_array(&self) -> bool {
        self.field.many && !self.element
    }

    fn scalar<E: serde::de::Error>(self, value: &Scalar<'_>) -> std::result::Result<(), E> {
        if self.wants_array() {
            return Err(self.fail("an array", value.describe()));
        }
        match self.walk.scalar(self.field, value) {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.fail(fault.expected, fault.got)),
        }
    }

    /// Every key of an object, each known one with its value.
    fn fields<'de, A: MapAccess<'de>>(
        walk: &mut Walk,
        fields: &'static [Field],
        map: &mut A,
    ) -> std::result::Result<(), A::Error> {
        while let Some(known) = map.next_key_seed(Key { walk, fields })? {
            let Some(field) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            walk.path.push(field.key);
            map.next_value_seed(Value { walk, field, element: false })?;
            walk.path.pop();
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> std::result::Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(expectation(self.field.kind))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> std::result::Result<(), E> {
        self.scalar(&Scalar::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<(), E> {
        self.scalar(&Scalar::Unsigned(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> std::result::Result<(), E> {
        self.scalar(&Scalar::Signed(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<(), E> {
        self.scalar(&Scalar::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> std::result::Result<(), E> {
        self.scalar(&Scalar::Text(value))
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<(), E> {
        match (self.field.kind, self.element) {
            (Kind::Wrapper(_), _) if self.walk.path.is_empty() => Err(self.fail(TOP_EXPECTED, "null".into())),
            (_, true) => {
                self.walk.default_element(self.field);
                Ok(())
            }
            (_, false) => Ok(()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        if !self.wants_array() {
            let expected = expectation(self.field.kind);
            return Err(self.fail(expected, "an array".into()));
        }
        let Value { walk, field, .. } = self;
        while seq.next_element_seed(Value { walk: &mut *walk, field, element: true })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        match self.field.kind {
            _ if self.wants_array() => Err(self.fail("an array", "an object".into())),
            Kind::Wrapper(fields) => Self::fields(self.walk, fields, &mut map),
            Kind::Message(fields) => {
                let at = self.walk.open(self.field);
                Self::fields(self.walk, fields, &mut map)?;
                self.walk.close(at);
                Ok(())
            }
            kind => Err(self.fail(expectation(kind), "an object".into())),
        }
    }
}

/// An object's key: its row in the table, `None` if it has none.
struct Key<'w> {
    walk: &'w mut Walk,
    fields: &'static [Field],
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> std::result::Result<Self::Value, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> std::result::Result<Self::Value, E> {
        let found = self.fields.iter().find(|field| field.key == key);
        if self.walk.path.is_empty() {
            match found {
                Some(_) => self.walk.known_at_top = true,
                None => drop(self.walk.unknown_at_top.get_or_insert_with(|| clip(key))),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
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

    /// What the official classes make of our wire bytes.
    fn read(json: &str) -> ExportTraceServiceRequest {
        let wire = to_wire(json.as_bytes()).expect("valid OTLP JSON");
        ExportTraceServiceRequest::decode(wire.as_slice()).expect("valid protobuf")
    }

    fn refused(json: &str) -> DecodeError {
        to_wire(json.as_bytes()).expect_err("malformed OTLP JSON")
    }

    fn in_span(fields: &str) -> String {
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#)
    }

    fn request(span: Span) -> ExportTraceServiceRequest {
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }],
        }
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
        let resource_spans = ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope_spans],
            schema_url: "u".into(),
        };
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
        let json =
            r#""name":null,"nAme":1,"future":{"deep":[{"name":[1,2]}]},"kind":1,"kind":3,"links":null"#;
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
    fn an_enum_by_name_is_refused_in_plain_words() {
        let error = refused(&in_span(r#""kind":"SPAN_KIND_SERVER""#));
        assert_eq!(error.path, "resourceSpans.scopeSpans.spans.kind");
        assert!(error.to_string().contains("enums as integers"), "{error}");
        assert!(error.to_string().contains("SPAN_KIND_SERVER"), "{error}");
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
        let error = refused(r#"{"resource_spans":[]}"#);
        assert!(
            error.expected.contains("resourceSpans or result") && error.got.contains("resource_spans"),
            "{error}"
        );
        for json in
            ["[]", "null", "1", "\"x\"", r#"{"data":[]}"#, r#"{"result":[]}"#, "", " ", "{} {}", "{}x"]
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

    #[test]
    fn every_cut_document_is_known_to_be_cut() {
        let json = in_span(r#""name":"é\u00e9","kind":2,"flags":10,"x":true,"status":null,"links":[]"#);
        for end in 0..json.len() {
            assert!(is_cut(&json.as_bytes()[..end]), "{end}");
            assert!(to_wire(&json.as_bytes()[..end]).is_err(), "{end}");
        }
        assert!(!is_cut(json.as_bytes()) && !is_cut(b"{]") && !is_cut(b"{}{"));
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

        #[test]
        fn bytes_survive_base64_and_hex(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            prop_assert_eq!(hex(&text), Some(bytes));
        }
    }
}
