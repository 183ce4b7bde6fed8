//! Zipkin's JSON, version 2: an array of spans, times in µs, and calls whose two sides share one id.
//!
//! ```text
//! CLIENT a  id 2 |=========|             CLIENT a  id 2  |=========|
//! SERVER b  id 2   |=====|  shared   →   SERVER b  id 2'   |=====|    parent 2
//! child  b  id 3     |=|  parent 2       child  b  id 3      |=|      parent 2'
//! ```

use serde::de::{Error, MapAccess, SeqAccess};
use std::collections::HashMap;

use super::loose::{Each, Fill, Loose, Object, id, skip};
use super::scalars::Scalar;
use super::senders::{Sender, Senders, attribute, kind, status, status_code};
use crate::decode::fields::{resource, span};
use crate::decode::write::Out;

/// Tags that tell of the process, where OpenTelemetry's translators put them.
const OF_PROCESS: [&str; 2] = ["service.", "telemetry."];

type Id = ([u8; 16], [u8; 8]);

#[derive(Default)]
struct Endpoint {
    service: String,
    ip: String,
    port: Option<i64>,
}

impl Object for Endpoint {
    const WHAT: &'static str = "an endpoint, an object with serviceName";

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "serviceName" => self.service = map.next_value::<Loose<'de>>()?.into_text("serviceName")?,
            "ipv4" | "ipv6" => self.ip = map.next_value::<Loose<'de>>()?.into_text("an address")?,
            "port" => {
                self.port = map.next_value::<Loose<'de>>()?.scalar().and_then(|port| port.integer());
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct Annotation {
    time: u64,
    value: String,
}

impl Object for Annotation {
    const WHAT: &'static str = "an annotation, an object with timestamp and value";

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "timestamp" => self.time = map.next_value::<Loose<'de>>()?.micros("timestamp")?,
            "value" => self.value = map.next_value::<Loose<'de>>()?.into_text("value")?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// A span as far as it has been read.
#[derive(Default)]
struct Span {
    trace: Option<[u8; 16]>,
    id: Option<[u8; 8]>,
    parent: Option<[u8; 8]>,
    kind: u64,
    name: String,
    trace_state: String,
    start: u64,
    duration: u64,
    shared: bool,
    local: Endpoint,
    remote: Endpoint,
    sender: Sender,
    error: Option<String>,
    code: u64,
    message: String,
    resource: Out,
    attributes: Out,
    events: Out,
}

impl Object for Span {
    const WHAT: &'static str = "a span, an object with traceId and id";

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "traceId" => self.trace = id(&map.next_value::<Loose<'de>>()?.into_text("traceId")?),
            "id" => self.id = id(&map.next_value::<Loose<'de>>()?.into_text("id")?),
            "parentId" => self.parent = id(&map.next_value::<Loose<'de>>()?.into_text("parentId")?),
            "kind" => self.kind = kind(&map.next_value::<Loose<'de>>()?.into_text("kind")?),
            "name" => self.name = map.next_value::<Loose<'de>>()?.into_text("name")?,
            "timestamp" => self.start = map.next_value::<Loose<'de>>()?.micros("timestamp")?,
            "duration" => self.duration = map.next_value::<Loose<'de>>()?.micros("duration")?,
            "shared" => self.shared = map.next_value::<Loose<'de>>()?.is_true(),
            "localEndpoint" => map.next_value_seed(Fill(&mut self.local)).map(|_| ())?,
            "remoteEndpoint" => map.next_value_seed(Fill(&mut self.remote)).map(|_| ())?,
            "tags" => map.next_value_seed(Fill(&mut Tags(self))).map(|_| ())?,
            "annotations" => map.next_value_seed(Each::new(|found: Annotation| {
                let at = self.events.open(span::EVENTS.0);
                self.events.fixed64(1, found.time);
                self.events.text(2, &found.value);
                self.events.close(at);
            }))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

struct Tags<'a>(&'a mut Span);

impl Object for Tags<'_> {
    const WHAT: &'static str = "tags, an object of strings";

    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let value = map.next_value::<Loose<'de>>()?;
        let text = value.text().unwrap_or_default();
        let span = &mut *self.0;
        match key {
            "error" => span.error = Some(text.to_owned()),
            "otel.status_code" => span.code = status_code(text),
            "otel.status_description" => span.message = text.to_owned(),
            "w3c.tracestate" => span.trace_state = text.to_owned(),
            _ if span.sender.scope.takes(key, text) => {}
            "service.name" => span.local.service = text.to_owned(),
            _ if OF_PROCESS.iter().any(|begin| key.starts_with(begin)) => {
                attribute(&mut span.resource, resource::ATTRIBUTES.0, key, &Scalar::Text(text));
            }
            _ => {
                // All values are strings here: those of status codes are numbers everywhere else.
                let number = key.ends_with("status_code").then(|| text.parse().ok().map(Scalar::Signed));
                if let Some(value) = number.flatten().or(value.scalar()) {
                    attribute(&mut span.attributes, span::ATTRIBUTES.0, key, &value);
                }
            }
        }
        Ok(())
    }
}

impl Span {
    fn key(&self) -> Option<Id> {
        Some((self.trace?, self.id?))
    }

    /// All of it but its ids, and who sent it.
    fn body(&mut self) -> (Sender, Out) {
        let mut out = Out::default();
        out.text(span::TRACE_STATE.0, &self.trace_state);
        out.text(span::NAME.0, &self.name);
        out.number(span::KIND.0, self.kind.max(1));
        out.fixed64(span::START_TIME_UNIX_NANO.0, self.start);
        out.fixed64(span::END_TIME_UNIX_NANO.0, self.start.saturating_add(self.duration));
        out.0.append(&mut self.attributes.0);
        for (key, text) in [("peer.service", &self.remote.service), ("network.peer.address", &self.remote.ip)]
        {
            if !text.is_empty() {
                attribute(&mut out, span::ATTRIBUTES.0, key, &Scalar::Text(text));
            }
        }
        if let Some(port) = self.remote.port {
            attribute(&mut out, span::ATTRIBUTES.0, "network.peer.port", &Scalar::Signed(port));
        }
        out.0.append(&mut self.events.0);
        let told = self.error.as_deref().filter(|text| !matches!(*text, "true" | "false"));
        let failed = self.error.as_deref().is_some_and(|text| text != "false");
        let code = if self.code == 0 && failed { 2 } else { self.code };
        status(&mut out, code, told.filter(|_| self.message.is_empty()).unwrap_or(&self.message));
        let mut resource = Out::default();
        attribute(&mut resource, resource::ATTRIBUTES.0, "service.name", &Scalar::Text(&self.local.service));
        resource.0.append(&mut self.resource.0);
        let scope = std::mem::take(&mut self.sender.scope);
        (Sender { resource: resource.0, scope }, out)
    }
}

/// What of a span waits for the others: ids, kind, service, sender and the rest of it.
struct Waiting {
    key: Id,
    parent: Option<[u8; 8]>,
    kind: u64,
    shared: bool,
    service: String,
    sender: Sender,
    body: Vec<u8>,
}

const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// Reads an array of spans, and writes what they are.
pub(super) fn spans<'de, A: SeqAccess<'de>>(mut seq: A, out: &mut Out, limit: usize) -> Result<(), A::Error> {
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut held = 0;
    loop {
        let mut span = Span::default();
        match seq.next_element_seed(Fill(&mut span))? {
            None => break,
            Some(false) => continue,
            Some(true) => {}
        }
        let Some(key) = span.key() else {
            return Err(A::Error::custom("one without, expected a span of Zipkin's with traceId and id"));
        };
        let (sender, body) = span.body();
        held += body.0.len() + sender.resource.len() + size_of::<Waiting>();
        if held > limit {
            return Err(A::Error::custom(format_args!("more, expected spans of at most {limit} bytes")));
        }
        let Span { parent, kind, shared, local, .. } = span;
        waiting.push(Waiting { key, parent, kind, shared, service: local.service, sender, body: body.0 });
    }
    write(&waiting, out);
    Ok(())
}

fn write(waiting: &[Waiting], out: &mut Out) {
    let mut clients: HashMap<Id, &str> = HashMap::new();
    for span in waiting.iter().filter(|span| span.kind == CLIENT) {
        clients.insert(span.key, &span.service);
    }
    let is_server_side = |span: &&Waiting| {
        (span.shared || span.kind == SERVER) && span.kind != CLIENT && clients.contains_key(&span.key)
    };
    let servers: HashMap<Id, &str> =
        waiting.iter().filter(is_server_side).map(|span| (span.key, span.service.as_str())).collect();
    let mut senders = Senders::default();
    for span in waiting {
        let mut wire = Out::default();
        let (own, parent) = if is_server_side(&span) {
            (other_side(span.key.1), Some(span.key.1))
        } else {
            (span.key.1, span.parent.map(|parent| caused_by(span, parent, &clients, &servers)))
        };
        wire.bytes(span::TRACE_ID.0, &span.key.0);
        wire.bytes(span::SPAN_ID.0, &own);
        if let Some(parent) = parent {
            wire.bytes(span::PARENT_SPAN_ID.0, &parent);
        }
        wire.0.extend_from_slice(&span.body);
        senders.add(&span.sender, &wire.0);
    }
    senders.write(out, |resource| resource);
}

/// Of two sides with one id: the server's, unless only the client's is of the span's own service.
fn caused_by(
    span: &Waiting,
    parent: [u8; 8],
    clients: &HashMap<Id, &str>,
    servers: &HashMap<Id, &str>,
) -> [u8; 8] {
    let key = (span.key.0, parent);
    match (clients.get(&key), servers.get(&key)) {
        (Some(client), Some(server)) if *client == span.service && *server != span.service => parent,
        (_, Some(_)) => other_side(parent),
        _ => parent,
    }
}

/// The id of the server's side of a call whose sides share one: always the same one.
fn other_side(id: [u8; 8]) -> [u8; 8] {
    let mixed = u64::from_be_bytes(id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    (mixed ^ 0x5a5a_5a5a_5a5a_5a5a).max(1).to_be_bytes()
}
