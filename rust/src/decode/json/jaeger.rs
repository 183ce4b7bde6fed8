//! Jaeger's own JSON, of its UI and its HTTP API: spans with references and tags, processes by key, times in µs.
//!
//! ```text
//! {"traceID":"1f","spans":[{"spanID":"2","processID":"p1","startTime":1,"duration":2,…}],"processes":{"p1":{…}}}
//! ```
//!
//! Tags that OpenTelemetry's translators put there for fields of OTLP become these fields again.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::collections::HashMap;

use super::loose::{Each, Fill, Loose, Object, id, skip};
use super::scalars::{Scalar, base64};
use super::senders::{Sender, Senders, attribute, bytes_attribute, kind, status, status_code};
use crate::decode::fields::{resource, span};
use crate::decode::write::Out;

/// One trace, whose spans and processes come in any order.
#[derive(Default)]
pub(super) struct Trace {
    spans: Senders,
    /// By key, a resource in wire bytes.
    processes: HashMap<Vec<u8>, Vec<u8>>,
}

impl Trace {
    /// Bytes held.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Writes it, and is empty.
    pub(super) fn write(&mut self, out: &mut Out) {
        let Self { spans, processes } = std::mem::take(self);
        spans.write(out, |key| processes.get(key).map_or(b"", Vec::as_slice));
    }

    /// Takes a span that was read.
    pub(super) fn add(&mut self, span: Span) -> Result<(), &'static str> {
        let (sender, wire) = span.finish()?;
        self.spans.add(&sender, &wire.0);
        Ok(())
    }
}

/// `key`, `type` and `value`.
#[derive(Default)]
struct Tag {
    key: String,
    kind: String,
    value: Option<Owned>,
}

/// A value that outlives the tag that it was read from.
enum Owned {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
}

impl Owned {
    fn new(value: Loose<'_>) -> Option<Self> {
        Some(match value {
            Loose::Bool(value) => Self::Bool(value),
            Loose::Unsigned(value) => Self::Unsigned(value),
            Loose::Signed(value) => Self::Signed(value),
            Loose::Float(value) => Self::Float(value),
            Loose::Text(text) => Self::Text(text.into_owned()),
            Loose::Null | Loose::Nested => return None,
        })
    }

    fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Unsigned(value) => Scalar::Unsigned(*value),
            Self::Signed(value) => Scalar::Signed(*value),
            Self::Float(value) => Scalar::Float(*value),
            Self::Text(text) => Scalar::Text(text),
        }
    }
}

impl Object for Tag {
    const WHAT: &'static str = "a tag, an object with key, type and value";

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "key" => self.key = map.next_value::<Loose<'de>>()?.into_text("key")?,
            "type" => self.kind = map.next_value::<Loose<'de>>()?.into_text("type")?,
            "value" => self.value = Owned::new(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl Tag {
    /// The text of it, if it is one.
    fn text(&self) -> &str {
        match &self.value {
            Some(Owned::Text(text)) => text,
            _ => "",
        }
    }

    fn is_true(&self) -> bool {
        matches!(self.value, Some(Owned::Bool(true))) || self.text() == "true"
    }

    /// Writes it as an attribute of the kind that its type says: numbers may stand in quotes.
    fn write(&self, out: &mut Out, number: u32) {
        let Some(value) = &self.value else { return };
        let value = value.scalar();
        let typed = match self.kind.as_str() {
            "int64" | "long" => value.integer().map(Scalar::Signed),
            "float64" | "double" => value.double().map(Scalar::Float),
            "bool" if self.text() == "true" => Some(Scalar::Bool(true)),
            "bool" if self.text() == "false" => Some(Scalar::Bool(false)),
            "binary" => match base64(self.text()) {
                Some(bytes) => return bytes_attribute(out, number, &self.key, &bytes),
                None => None,
            },
            _ => None,
        };
        attribute(out, number, &self.key, &typed.unwrap_or(value));
    }
}

/// `refType`, `traceID` and `spanID`.
#[derive(Default)]
struct Reference {
    follows: bool,
    trace: Option<[u8; 16]>,
    span: Option<[u8; 8]>,
}

impl Object for Reference {
    const WHAT: &'static str = "a reference, an object with refType, traceID and spanID";

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "refType" => self.follows = map.next_value::<Loose<'de>>()?.text() == Some("FOLLOWS_FROM"),
            "traceID" => self.trace = id(&map.next_value::<Loose<'de>>()?.into_text("traceID")?),
            "spanID" => self.span = id(&map.next_value::<Loose<'de>>()?.into_text("spanID")?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// `timestamp` and `fields`.
#[derive(Default)]
struct Log {
    time: u64,
    name: String,
    attributes: Out,
}

impl Object for Log {
    const WHAT: &'static str = "a log, an object with timestamp and fields";

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "timestamp" => self.time = map.next_value::<Loose<'de>>()?.micros("timestamp")?,
            "fields" => map.next_value_seed(Each::new(|tag: Tag| {
                if tag.key == "event" && self.name.is_empty() && !tag.text().is_empty() {
                    self.name = tag.text().to_owned();
                } else {
                    tag.write(&mut self.attributes, 3);
                }
            }))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// A span as far as it has been read.
#[derive(Default)]
pub(super) struct Span {
    trace: Option<[u8; 16]>,
    id: Option<[u8; 8]>,
    parent: Option<[u8; 8]>,
    references: Vec<Reference>,
    sender: Sender,
    name: String,
    trace_state: String,
    start: u64,
    duration: u64,
    kind: u64,
    error: bool,
    code: u64,
    message: String,
    attributes: Out,
    events: Out,
}

impl Object for Span {
    const WHAT: &'static str = "a span, an object with traceID and spanID";

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "traceID" => self.trace = id(&map.next_value::<Loose<'de>>()?.into_text("traceID")?),
            "spanID" => self.id = id(&map.next_value::<Loose<'de>>()?.into_text("spanID")?),
            "parentSpanID" => self.parent = id(&map.next_value::<Loose<'de>>()?.into_text("parentSpanID")?),
            "operationName" => self.name = map.next_value::<Loose<'de>>()?.into_text("operationName")?,
            "processID" => {
                self.sender.resource = map.next_value::<Loose<'de>>()?.into_text("processID")?.into_bytes();
            }
            "startTime" => self.start = map.next_value::<Loose<'de>>()?.micros("startTime")?,
            "duration" => self.duration = map.next_value::<Loose<'de>>()?.micros("duration")?,
            "references" => map.next_value_seed(Each::new(|found: Reference| {
                if found.span.is_some() {
                    self.references.push(found);
                }
            }))?,
            "tags" => map.next_value_seed(Each::new(|tag: Tag| self.tag(&tag)))?,
            "logs" => map.next_value_seed(Each::new(|log: Log| {
                let at = self.events.open(span::EVENTS.0);
                self.events.fixed64(1, log.time);
                self.events.text(2, &log.name);
                self.events.0.extend_from_slice(&log.attributes.0);
                self.events.close(at);
            }))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl Span {
    fn tag(&mut self, tag: &Tag) {
        match tag.key.as_str() {
            "span.kind" => self.kind = kind(tag.text()),
            "error" if tag.is_true() => self.error = true,
            "otel.status_code" => self.code = status_code(tag.text()),
            "otel.status_description" => self.message = tag.text().to_owned(),
            "w3c.tracestate" => self.trace_state = tag.text().to_owned(),
            key if self.sender.scope.takes(key, tag.text()) => {}
            _ => tag.write(&mut self.attributes, span::ATTRIBUTES.0),
        }
    }

    /// The reference that is the parent: of its own trace, a child rather than what follows.
    fn parent(&self) -> Option<usize> {
        let own =
            |at: &usize| self.references[*at].trace.is_none() || self.references[*at].trace == self.trace;
        let all = 0..self.references.len();
        let child = all.clone().find(|at| own(at) && !self.references[*at].follows);
        child.or_else(|| all.clone().find(own))
    }

    fn finish(self) -> Result<(Sender, Out), &'static str> {
        let (Some(trace), Some(span)) = (self.trace, self.id) else {
            return Err("one without, expected a span of Jaeger's with traceID and spanID");
        };
        let above = self.parent.is_none().then(|| self.parent()).flatten();
        let parent = self.parent.or(above.and_then(|at| self.references[at].span));
        let mut out = Out::default();
        out.bytes(span::TRACE_ID.0, &trace);
        out.bytes(span::SPAN_ID.0, &span);
        out.text(span::TRACE_STATE.0, &self.trace_state);
        if let Some(parent) = parent {
            out.bytes(span::PARENT_SPAN_ID.0, &parent);
        }
        out.text(span::NAME.0, &self.name);
        out.number(span::KIND.0, self.kind.max(1));
        out.fixed64(span::START_TIME_UNIX_NANO.0, self.start);
        out.fixed64(span::END_TIME_UNIX_NANO.0, self.start.saturating_add(self.duration));
        out.0.extend_from_slice(&self.attributes.0);
        out.0.extend_from_slice(&self.events.0);
        for (at, link) in self.references.iter().enumerate() {
            if Some(at) != above && link.span != parent {
                let to = out.open(span::LINKS.0);
                out.bytes(1, &link.trace.unwrap_or(trace));
                out.bytes(2, &link.span.unwrap_or_default());
                out.close(to);
            }
        }
        let code = if self.code == 0 && self.error { 2 } else { self.code };
        status(&mut out, code, &self.message);
        Ok((self.sender, out))
    }
}

#[derive(Default)]
struct Process {
    service: String,
    attributes: Out,
}

impl Object for Process {
    const WHAT: &'static str = "a process, an object with serviceName and tags";

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "serviceName" => self.service = map.next_value::<Loose<'de>>()?.into_text("serviceName")?,
            "tags" => map.next_value_seed(Each::new(|tag: Tag| {
                tag.write(&mut self.attributes, resource::ATTRIBUTES.0);
            }))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// `{"p1":{"serviceName":…},…}`.
pub(super) struct Processes<'a>(pub(super) &'a mut Trace);

impl<'de> DeserializeSeed<'de> for Processes<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Processes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of processes")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Loose<'de>>()? {
            let mut process = Process::default();
            map.next_value_seed(Fill(&mut process))?;
            let mut resource = Out::default();
            attribute(&mut resource, resource::ATTRIBUTES.0, "service.name", &Scalar::Text(&process.service));
            resource.0.extend_from_slice(&process.attributes.0);
            self.0.processes.insert(key.text().unwrap_or_default().into(), resource.0);
        }
        Ok(())
    }
}
