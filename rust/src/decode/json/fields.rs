//! The keys of OTLP JSON: one table per message of the `.proto`.

use std::sync::LazyLock;

use crate::decode::fields as wire;
use crate::decode::fields::{
    any_value, array_value, entity_ref, event, key_value, key_value_list, link, request, resource,
    resource_spans, scope, scope_spans, span, status,
};
use crate::decode::wire::WireType::Len;

/// How a JSON value becomes wire bytes.
#[derive(Clone, Copy)]
pub(crate) enum JsonKind {
    /// An embedded message.
    Message(&'static [Field]),
    /// An object that only wraps: its fields belong to the message around it.
    Wrapper(&'static [Field]),
    Text,
    /// An id as hex of any case, or in base64 as protobuf's own JSON has it, which its length shows.
    Id,
    /// Bytes as base64, standard or URL-safe, padding optional.
    Base64,
    Bool,
    /// An int32, or one of the names with this prefix, as protobuf's own JSON has it.
    Enum(&'static str, &'static [&'static str]),
    Int32,
    Uint32,
    Int64,
    Fixed32,
    Fixed64,
    Double,
    /// A trace in Jaeger's own JSON.
    JaegerTrace,
    JaegerSpan,
    JaegerProcesses,
    /// A document within a text or as it is, or a request in base64: what carried it put its own object around it.
    Carried,
    /// What a server says if it has no spans to send.
    ServerErrors,
}

/// One row of a message's table.
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) number: u32,
    pub(crate) kind: JsonKind,
    pub(crate) many: bool,
    /// Spans are in it: a message that has another key instead is not what it should be.
    pub(crate) carries: bool,
    /// Whose documents have their spans in it; empty below the top.
    whose: &'static str,
}

impl Field {
    const fn of(self, whose: &'static str) -> Self {
        Self { whose, ..self }
    }

    const fn carrying(self) -> Self {
        Self { carries: true, ..self }
    }
}

/// What is no field of a message.
const NONE: wire::Field = (0, Len);

const fn one(key: &'static str, (number, _): wire::Field, kind: JsonKind) -> Field {
    Field { key, number, kind, many: false, carries: false, whose: "" }
}

const fn many(key: &'static str, (number, _): wire::Field, kind: JsonKind) -> Field {
    Field { key, number, kind, many: true, carries: false, whose: "" }
}

static KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
static CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// OTLP; Tempo's API; Jaeger's API and UI; what Kafka's clients and docker's log put around a message.
static DOCUMENT: [Field; 11] = [
    many("resourceSpans", request::RESOURCE_SPANS, JsonKind::Message(&RESOURCE_SPANS)).of("OTLP"),
    one("result", NONE, JsonKind::Wrapper(&REQUEST)).of("OTLP"),
    one("trace", NONE, JsonKind::Wrapper(&TRACE)).of("Tempo"),
    many("batches", request::RESOURCE_SPANS, JsonKind::Message(&RESOURCE_SPANS)).of("Tempo"),
    many("data", NONE, JsonKind::JaegerTrace).of("Jaeger"),
    many("spans", NONE, JsonKind::JaegerSpan).of("Jaeger"),
    one("processes", NONE, JsonKind::JaegerProcesses),
    one("payload", NONE, JsonKind::Carried).of(AROUND),
    one("value", NONE, JsonKind::Carried).of(AROUND),
    one("log", NONE, JsonKind::Carried).of(AROUND),
    one("errors", NONE, JsonKind::ServerErrors),
];
const AROUND: &str = "one of these in a message of Kafka or a line of docker's log";
/// What a document may be, in words.
pub(super) static DOCUMENTS: LazyLock<String> = LazyLock::new(|| {
    let shapes = DOCUMENT.chunk_by(|a, b| a.whose == b.whose).filter(|same| !same[0].whose.is_empty());
    let words = shapes.map(|same| {
        let keys: Vec<&str> = same.iter().map(|field| field.key).collect();
        format!("{} ({})", keys.join(" or "), same[0].whose)
    });
    format!("JSON with the key {}, or an array of Zipkin's spans", words.collect::<Vec<_>>().join(", "))
});
static TRACE: [Field; 2] = [
    many("resourceSpans", request::RESOURCE_SPANS, JsonKind::Message(&RESOURCE_SPANS)),
    many("batches", request::RESOURCE_SPANS, JsonKind::Message(&RESOURCE_SPANS)),
];
pub(crate) static JAEGER_TRACE: [Field; 2] =
    [many("spans", NONE, JsonKind::JaegerSpan), one("processes", NONE, JsonKind::JaegerProcesses)];
/// What a message can be that was carried: everything that is not itself carrying one.
pub(crate) static CARRIED: [Field; 7] = [
    many("resourceSpans", request::RESOURCE_SPANS, JsonKind::Message(&RESOURCE_SPANS)).carrying(),
    one("result", NONE, JsonKind::Wrapper(&REQUEST)).carrying(),
    one("trace", NONE, JsonKind::Wrapper(&TRACE)).carrying(),
    many("batches", request::RESOURCE_SPANS, JsonKind::Message(&RESOURCE_SPANS)).carrying(),
    many("data", NONE, JsonKind::JaegerTrace).carrying(),
    many("spans", NONE, JsonKind::JaegerSpan).carrying(),
    one("processes", NONE, JsonKind::JaegerProcesses),
];
pub(crate) static REQUEST: [Field; 1] =
    [many("resourceSpans", request::RESOURCE_SPANS, JsonKind::Message(&RESOURCE_SPANS))];
static RESOURCE_SPANS: [Field; 4] = [
    one("resource", resource_spans::RESOURCE, JsonKind::Message(&RESOURCE)),
    many("scopeSpans", resource_spans::SCOPE_SPANS, JsonKind::Message(&SCOPE_SPANS)).carrying(),
    many("instrumentationLibrarySpans", resource_spans::SCOPE_SPANS, JsonKind::Message(&SCOPE_SPANS))
        .carrying(),
    one("schemaUrl", resource_spans::SCHEMA_URL, JsonKind::Text),
];
static RESOURCE: [Field; 3] = [
    many("attributes", resource::ATTRIBUTES, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", resource::DROPPED_ATTRIBUTES_COUNT, JsonKind::Uint32),
    many("entityRefs", resource::ENTITY_REFS, JsonKind::Message(&ENTITY_REF)),
];
static ENTITY_REF: [Field; 4] = [
    one("schemaUrl", entity_ref::SCHEMA_URL, JsonKind::Text),
    one("type", entity_ref::TYPE, JsonKind::Text),
    many("idKeys", entity_ref::ID_KEYS, JsonKind::Text),
    many("descriptionKeys", entity_ref::DESCRIPTION_KEYS, JsonKind::Text),
];
static SCOPE_SPANS: [Field; 4] = [
    one("scope", scope_spans::SCOPE, JsonKind::Message(&SCOPE)),
    one("instrumentationLibrary", scope_spans::SCOPE, JsonKind::Message(&SCOPE)),
    many("spans", scope_spans::SPANS, JsonKind::Message(&SPAN)).carrying(),
    one("schemaUrl", scope_spans::SCHEMA_URL, JsonKind::Text),
];
static SCOPE: [Field; 4] = [
    one("name", scope::NAME, JsonKind::Text),
    one("version", scope::VERSION, JsonKind::Text),
    many("attributes", scope::ATTRIBUTES, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", scope::DROPPED_ATTRIBUTES_COUNT, JsonKind::Uint32),
];
static SPAN: [Field; 16] = [
    one("traceId", span::TRACE_ID, JsonKind::Id),
    one("spanId", span::SPAN_ID, JsonKind::Id),
    one("traceState", span::TRACE_STATE, JsonKind::Text),
    one("parentSpanId", span::PARENT_SPAN_ID, JsonKind::Id),
    one("flags", span::FLAGS, JsonKind::Fixed32),
    one("name", span::NAME, JsonKind::Text),
    one("kind", span::KIND, JsonKind::Enum("SPAN_KIND_", &KINDS)),
    one("startTimeUnixNano", span::START_TIME_UNIX_NANO, JsonKind::Fixed64),
    one("endTimeUnixNano", span::END_TIME_UNIX_NANO, JsonKind::Fixed64),
    many("attributes", span::ATTRIBUTES, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", span::DROPPED_ATTRIBUTES_COUNT, JsonKind::Uint32),
    many("events", span::EVENTS, JsonKind::Message(&EVENT)),
    one("droppedEventsCount", span::DROPPED_EVENTS_COUNT, JsonKind::Uint32),
    many("links", span::LINKS, JsonKind::Message(&LINK)),
    one("droppedLinksCount", span::DROPPED_LINKS_COUNT, JsonKind::Uint32),
    one("status", span::STATUS, JsonKind::Message(&STATUS)),
];
static EVENT: [Field; 4] = [
    one("timeUnixNano", event::TIME_UNIX_NANO, JsonKind::Fixed64),
    one("name", event::NAME, JsonKind::Text),
    many("attributes", event::ATTRIBUTES, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", event::DROPPED_ATTRIBUTES_COUNT, JsonKind::Uint32),
];
static LINK: [Field; 6] = [
    one("traceId", link::TRACE_ID, JsonKind::Id),
    one("spanId", link::SPAN_ID, JsonKind::Id),
    one("traceState", link::TRACE_STATE, JsonKind::Text),
    many("attributes", link::ATTRIBUTES, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", link::DROPPED_ATTRIBUTES_COUNT, JsonKind::Uint32),
    one("flags", link::FLAGS, JsonKind::Fixed32),
];
static STATUS: [Field; 2] = [
    one("message", status::MESSAGE, JsonKind::Text),
    one("code", status::CODE, JsonKind::Enum("STATUS_CODE_", &CODES)),
];
static KEY_VALUE: [Field; 3] = [
    one("key", key_value::KEY, JsonKind::Text),
    one("value", key_value::VALUE, JsonKind::Message(&ANY_VALUE)),
    one("keyStrindex", key_value::KEY_STRINDEX, JsonKind::Int32),
];
static ANY_VALUE: [Field; 8] = [
    one("stringValue", any_value::STRING_VALUE, JsonKind::Text),
    one("boolValue", any_value::BOOL_VALUE, JsonKind::Bool),
    one("intValue", any_value::INT_VALUE, JsonKind::Int64),
    one("doubleValue", any_value::DOUBLE_VALUE, JsonKind::Double),
    one("arrayValue", any_value::ARRAY_VALUE, JsonKind::Message(&ARRAY_VALUE)),
    one("kvlistValue", any_value::KVLIST_VALUE, JsonKind::Message(&KEY_VALUE_LIST)),
    one("bytesValue", any_value::BYTES_VALUE, JsonKind::Base64),
    one("stringValueStrindex", any_value::STRING_VALUE_STRINDEX, JsonKind::Int32),
];
static ARRAY_VALUE: [Field; 1] = [many("values", array_value::VALUES, JsonKind::Message(&ANY_VALUE))];
static KEY_VALUE_LIST: [Field; 1] = [many("values", key_value_list::VALUES, JsonKind::Message(&KEY_VALUE))];

pub(crate) static TOP: Field = one("", NONE, JsonKind::Wrapper(&DOCUMENT));
pub(crate) static TOP_CARRIED: Field = one("", NONE, JsonKind::Wrapper(&CARRIED));
