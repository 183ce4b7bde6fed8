//! The walker that reads every table: a document's values, written to the wire as they come.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::fault::Fault;
use super::fields::{CARRIED, DOCUMENTS, Field, JAEGER_TRACE, JsonKind, TOP_CARRIED};
use super::loose::Fill;
use super::scalars::{Scalar, THE_NUMBER, base64, base64_id, clip};
use super::{foreign, jaeger, zipkin};
use crate::decode::write::Out;
use crate::error::{DecodeError, ErrorKind, Result};

/// Wire of other tools' JSON per byte of it, at most.
const LOOSE_WIRE: usize = 4;
pub(super) const THE_REST: &str = "the rest of the JSON document";
/// Unknown keys of a document that are kept, to recognise its format.
const KEYS_KEPT: usize = 12;
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The same, and whether its times are in µs.
pub(super) fn convert(json: &[u8], limit: usize, top: &'static Field) -> Result<(Vec<u8>, bool)> {
    let text = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    let mut walk = Walk { limit, ..Walk::default() };
    let mut parser = serde_json::Deserializer::from_slice(text);
    let read = Value { walk: &mut walk, field: top, element: false }.deserialize(&mut parser);
    match read.and_then(|()| parser.end()) {
        Err(error) => Err(walk.explain(&error, text, json.len() - text.len())),
        Ok(()) => walk.finish(),
    }
}

/// The wire written so far and where in the document we are. The path is not unwound on error: it is the error's path.
#[derive(Default)]
struct Walk {
    out: Out,
    path: Vec<&'static str>,
    fault: Option<Fault>,
    known_at_top: bool,
    unknown_at_top: Vec<String>,
    /// A key that the innermost message has not, where spans are due.
    strange: Option<String>,
    /// How long the wire may become.
    limit: usize,
    /// What is being read of Jaeger's JSON.
    trace: jaeger::Trace,
    /// Times are in µs.
    micros: bool,
    /// A server says that something went wrong.
    server_errors: bool,
}

impl Walk {
    /// Notes what is wrong, for [`Walk::explain`].
    #[cold]
    fn fail<E: serde::de::Error>(&mut self, fault: Fault) -> E {
        self.fault = Some(fault);
        E::custom("")
    }

    /// An array's `null` element: written as the default, so that the elements after it keep their position.
    fn default_element(&mut self, field: &Field) {
        self.out.bytes(field.number, b"");
    }

    fn scalar(&mut self, field: &Field, value: &Scalar<'_>) -> std::result::Result<(), Fault> {
        let wrong = || Fault {
            expected: expectation(field.kind).into(),
            got: value.describe(),
            kind: ErrorKind::Malformed,
        };
        match (field.kind, value) {
            (JsonKind::Text, Scalar::Text(text)) => self.out.bytes(field.number, text.as_bytes()),
            (JsonKind::Id, Scalar::Text(text)) => {
                self.out.bytes(
                    field.number,
                    &hex::decode(text).ok().or_else(|| base64_id(text)).ok_or_else(wrong)?,
                );
            }
            (JsonKind::Base64, Scalar::Text(text)) => {
                self.out.bytes(field.number, &base64(text).ok_or_else(wrong)?);
            }
            (JsonKind::Bool, Scalar::Bool(value)) => self.out.number(field.number, u64::from(*value)),
            (JsonKind::Enum(prefix, names), Scalar::Text(text)) => {
                let name = text.strip_prefix(prefix).ok_or_else(wrong)?;
                let number = names.iter().position(|known| *known == name).ok_or_else(wrong)?;
                self.out.number(field.number, number as u64);
            }
            (JsonKind::Enum(..) | JsonKind::Int32, _) => {
                self.out.number(
                    field.number,
                    i64::from(value.integer::<i32>().ok_or_else(wrong)?).cast_unsigned(),
                );
            }
            (JsonKind::Uint32, _) => {
                self.out.number(field.number, value.integer::<u32>().ok_or_else(wrong)?.into());
            }
            (JsonKind::Int64, _) => {
                self.out.number(field.number, value.integer::<i64>().ok_or_else(wrong)?.cast_unsigned());
            }
            (JsonKind::Fixed32, _) => self.out.fixed32(field.number, value.integer().ok_or_else(wrong)?),
            (JsonKind::Fixed64, _) => self.out.fixed64(field.number, value.integer().ok_or_else(wrong)?),
            (JsonKind::Double, _) => {
                self.out.fixed64(field.number, value.double().ok_or_else(wrong)?.to_bits());
            }
            (JsonKind::Carried, Scalar::Text(text)) => self.carried(text)?,
            (JsonKind::Carried, _) => return Err(Fault { kind: ErrorKind::NotOtlp, ..wrong() }),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// A document in a text, or a request in base64.
    fn carried(&mut self, text: &str) -> std::result::Result<(), Fault> {
        if text.trim_ascii_start().starts_with(['{', '[']) {
            let limit = self.limit.saturating_sub(self.out.0.len());
            let (wire, micros) =
                convert(text.as_bytes(), limit, &TOP_CARRIED).map_err(|error| Fault::from(*error))?;
            self.out.0.extend_from_slice(&wire);
            self.micros |= micros;
            return Ok(());
        }
        match base64(text) {
            Some(wire) if wire.first().is_none_or(|first| *first == 0x0a) => {
                self.out.0.extend_from_slice(&wire);
                Ok(())
            }
            _ => Err(Fault {
                expected: expectation(JsonKind::Carried).into(),
                got: Scalar::Text(text).describe(),
                kind: ErrorKind::NotOtlp,
            }),
        }
    }

    /// Adds a span of Jaeger's.
    fn jaeger_span(&mut self, span: jaeger::Span) -> std::result::Result<(), Fault> {
        self.micros = true;
        let limit = self.limit.saturating_mul(LOOSE_WIRE);
        if self.out.0.len() + self.trace.len() > limit {
            return Err(Fault::beyond(limit));
        }
        self.trace.add(span).map_err(Fault::of_words)
    }

    /// The parser's error in our words. `skipped` bytes came before `text`.
    #[cold]
    fn explain(self, error: &serde_json::Error, text: &[u8], skipped: usize) -> Box<DecodeError> {
        let offset = skipped + offset_of(text, error.line(), error.column());
        let (expected, got, kind): (Cow<'static, str>, Cow<'static, str>, _) =
            match (self.fault, error.classify()) {
                (Some(fault), _) if fault.got.starts_with(THE_NUMBER) => {
                    (fault.expected, as_it_stands(text, offset - skipped), fault.kind)
                }
                (Some(fault), _) => (fault.expected, fault.got, fault.kind),
                (None, Category::Eof) => (THE_REST.into(), "its end".into(), ErrorKind::Cut),
                (None, Category::Data) => {
                    let fault = Fault::of_words(&without_position(&error.to_string()));
                    (fault.expected, fault.got, fault.kind)
                }
                (None, _) => ("JSON".into(), without_position(&error.to_string()).into(), ErrorKind::Json),
            };
        let error = DecodeError::new(expected, got, offset).of(kind);
        self.path.iter().rev().fold(error, |error, key| error.within(key))
    }

    fn finish(mut self) -> Result<(Vec<u8>, bool)> {
        self.trace.write(&mut self.out);
        if self.out.0.is_empty() && self.server_errors {
            let got = "an error that a server sent instead of spans";
            return Err(DecodeError::new(DOCUMENTS.as_str(), got, 0).of(ErrorKind::NotOtlp));
        }
        if self.known_at_top || self.unknown_at_top.is_empty() {
            return Ok((self.out.0, self.micros));
        }
        let (kind, got) = foreign::document(&self.unknown_at_top);
        Err(DecodeError::new(DOCUMENTS.as_str(), got, 0).of(kind))
    }
}

/// The number that ends at `end`, letter for letter: what was read of it may have lost digits.
fn as_it_stands(text: &[u8], end: usize) -> Cow<'static, str> {
    let of_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let len = text[..end].iter().rev().take_while(of_number).count();
    let number = String::from_utf8_lossy(&text[end - len..end]);
    let lost = number.contains(['e', 'E', '.']);
    let why =
        if lost { ": above 2^53 a number with an exponent or fraction has lost its last digits" } else { "" };
    format!("{THE_NUMBER}{}{why}", clip(&number)).into()
}

/// The byte offset of `serde_json`'s line (from 1) and column (bytes from the line's start).
fn offset_of(text: &[u8], line: usize, column: usize) -> usize {
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let start = std::iter::once(0).chain(ends).nth(line.saturating_sub(1)).unwrap_or(0);
    (start + column).min(text.len())
}

fn without_position(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text).to_owned()
}

fn expectation(kind: JsonKind) -> &'static str {
    match kind {
        JsonKind::Message(_) | JsonKind::Wrapper(_) => "an object",
        JsonKind::Text => "a string",
        JsonKind::Id => "an id as a string of hexadecimal digits",
        JsonKind::Base64 => "bytes as a base64 string",
        JsonKind::Bool => "true or false",
        JsonKind::Enum(..) => "an integer, or the name of an enum's value",
        JsonKind::Int32 => "an integer of 32 bits",
        JsonKind::Uint32 | JsonKind::Fixed32 => "an unsigned integer of 32 bits",
        JsonKind::Int64 => "an integer of 64 bits, as a number or a string",
        JsonKind::Fixed64 => "an unsigned integer of 64 bits, as a number or a string",
        JsonKind::Double => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
        JsonKind::JaegerTrace => "a trace of Jaeger's, an object with spans and processes",
        JsonKind::JaegerSpan => "a span of Jaeger's, an object",
        JsonKind::JaegerProcesses => "Jaeger's processes, an object",
        JsonKind::Carried => "an OTLP request, as JSON or in base64",
        JsonKind::ServerErrors => "an array of errors",
    }
}

/// The value of `field`; `element` when it stands in that field's array.
struct Value<'w> {
    walk: &'w mut Walk,
    field: &'static Field,
    element: bool,
}

impl Value<'_> {
    fn fail<E: serde::de::Error>(self, expected: &'static str, got: Cow<'static, str>) -> E {
        let kind = if self.walk.path.is_empty() { ErrorKind::NotOtlp } else { ErrorKind::Malformed };
        self.walk.fail(Fault { expected: expected.into(), got, kind })
    }

    fn expectation(&self) -> &'static str {
        if self.walk.path.is_empty() { &DOCUMENTS } else { expectation(self.field.kind) }
    }

    /// Is an array due here, and not its element?
    fn wants_array(&self) -> bool {
        self.field.many && !self.element
    }

    fn scalar<E: serde::de::Error>(self, value: &Scalar<'_>) -> std::result::Result<(), E> {
        if matches!(self.field.kind, JsonKind::ServerErrors) {
            self.walk.server_errors = true;
            return Ok(());
        }
        if self.wants_array() {
            return Err(self.fail("an array", value.describe()));
        }
        match self.walk.scalar(self.field, value) {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.walk.fail(fault)),
        }
    }

    /// Every key of an object, each known one with its value.
    fn fields<'de, A: MapAccess<'de>>(
        walk: &mut Walk,
        fields: &'static [Field],
        map: &mut A,
    ) -> std::result::Result<(), A::Error> {
        let mut carried = false;
        let mut strange = None;
        while let Some(known) = map.next_key_seed(Key { walk, fields })? {
            let Some(field) = known else {
                strange = strange.or(walk.strange.take());
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            carried |= field.carries;
            walk.path.push(field.key);
            map.next_value_seed(Value { walk, field, element: false })?;
            walk.path.pop();
        }
        match strange {
            Some(key) if !carried => Err(walk.fail(foreign::no_spans(fields, &key))),
            _ => Ok(()),
        }
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
        f.write_str(self.expectation())
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
            (JsonKind::Wrapper(_), _) if self.walk.path.is_empty() => {
                Err(self.fail(&DOCUMENTS, "null".into()))
            }
            (_, true) => {
                self.walk.default_element(self.field);
                Ok(())
            }
            (_, false) => Ok(()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        if self.walk.path.is_empty() && matches!(self.field.kind, JsonKind::Wrapper(_)) {
            self.walk.micros = true;
            let limit = self.walk.limit.saturating_mul(LOOSE_WIRE);
            return zipkin::spans(seq, &mut self.walk.out, limit);
        }
        if matches!(self.field.kind, JsonKind::ServerErrors) {
            while seq.next_element::<IgnoredAny>()?.is_some() {
                self.walk.server_errors = true;
            }
            return Ok(());
        }
        if !self.wants_array() {
            let expected = self.expectation();
            return Err(self.fail(expected, "an array".into()));
        }
        let Value { walk, field, .. } = self;
        while seq.next_element_seed(Value { walk: &mut *walk, field, element: true })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        match self.field.kind {
            _ if self.wants_array() => Err(self.fail("an array", "an object".into())),
            JsonKind::Wrapper(fields) => Self::fields(self.walk, fields, &mut map),
            JsonKind::Message(_) if self.walk.out.0.len() >= self.walk.limit => {
                Err(self.walk.fail(Fault::beyond(self.walk.limit)))
            }
            JsonKind::Message(fields) => {
                let at = self.walk.out.open(self.field.number);
                Self::fields(self.walk, fields, &mut map)?;
                self.walk.out.close(at);
                Ok(())
            }
            JsonKind::JaegerTrace => {
                Self::fields(self.walk, &JAEGER_TRACE, &mut map)?;
                self.walk.trace.write(&mut self.walk.out);
                Ok(())
            }
            JsonKind::JaegerSpan => {
                let mut span = jaeger::Span::default();
                Fill(&mut span).visit_map(map)?;
                self.walk.jaeger_span(span).map_err(|fault| self.walk.fail(fault))
            }
            JsonKind::JaegerProcesses => jaeger::Processes(&mut self.walk.trace).visit_map(map),
            JsonKind::Carried => Self::fields(self.walk, &CARRIED, &mut map),
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
        let found = self
            .fields
            .iter()
            .find(|field| field.key == key)
            .or_else(|| foreign::snake_case(self.fields, key));
        if self.walk.path.is_empty() {
            match found {
                Some(_) => self.walk.known_at_top = true,
                None if self.walk.unknown_at_top.len() < KEYS_KEPT => {
                    self.walk.unknown_at_top.push(clip(key));
                }
                None => {}
            }
        } else if found.is_none() && self.fields.iter().any(|field| field.carries) {
            self.walk.strange = Some(clip(key));
        }
        Ok(found)
    }
}
