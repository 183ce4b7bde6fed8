//! The keys of OTLP JSON: one table per message of the `.proto`.

/// How a JSON value becomes wire bytes.
#[derive(Clone, Copy)]
pub(crate) enum JsonKind {
    /// An embedded message.
    Message(&'static [Field]),
    /// An object that only wraps: its fields belong to the message around it.
    Wrapper(&'static [Field]),
    Text,
    /// An id as hex of any case, or in base64 as protobuf's own JSON has it: its length tells which.
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
}

const fn one(key: &'static str, number: u32, kind: JsonKind) -> Field {
    Field { key, number, kind, many: false, carries: false }
}

const fn many(key: &'static str, number: u32, kind: JsonKind) -> Field {
    Field { key, number, kind, many: true, carries: false }
}

const fn carrier(key: &'static str, number: u32, kind: JsonKind) -> Field {
    Field { key, number, kind, many: true, carries: true }
}

static KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
static CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// OTLP; Tempo's API; Jaeger's API and UI; what Kafka's clients and docker's log put around a message.
static DOCUMENT: [Field; 11] = [
    many("resourceSpans", 1, JsonKind::Message(&RESOURCE_SPANS)),
    one("result", 0, JsonKind::Wrapper(&REQUEST)),
    one("trace", 0, JsonKind::Wrapper(&TRACE)),
    many("batches", 1, JsonKind::Message(&RESOURCE_SPANS)),
    many("data", 0, JsonKind::JaegerTrace),
    many("spans", 0, JsonKind::JaegerSpan),
    one("processes", 0, JsonKind::JaegerProcesses),
    one("payload", 0, JsonKind::Carried),
    one("value", 0, JsonKind::Carried),
    one("log", 0, JsonKind::Carried),
    one("errors", 0, JsonKind::ServerErrors),
];
static TRACE: [Field; 2] = [
    many("resourceSpans", 1, JsonKind::Message(&RESOURCE_SPANS)),
    many("batches", 1, JsonKind::Message(&RESOURCE_SPANS)),
];
pub(crate) static JAEGER_TRACE: [Field; 2] =
    [many("spans", 0, JsonKind::JaegerSpan), one("processes", 0, JsonKind::JaegerProcesses)];
/// What a message can be that was carried: everything that is not itself carrying one.
pub(crate) static CARRIED: [Field; 7] = [
    many("resourceSpans", 1, JsonKind::Message(&RESOURCE_SPANS)),
    one("result", 0, JsonKind::Wrapper(&REQUEST)),
    one("trace", 0, JsonKind::Wrapper(&TRACE)),
    many("batches", 1, JsonKind::Message(&RESOURCE_SPANS)),
    many("data", 0, JsonKind::JaegerTrace),
    many("spans", 0, JsonKind::JaegerSpan),
    one("processes", 0, JsonKind::JaegerProcesses),
];
pub(crate) static REQUEST: [Field; 1] = [many("resourceSpans", 1, JsonKind::Message(&RESOURCE_SPANS))];
static RESOURCE_SPANS: [Field; 4] = [
    one("resource", 1, JsonKind::Message(&RESOURCE)),
    carrier("scopeSpans", 2, JsonKind::Message(&SCOPE_SPANS)),
    carrier("instrumentationLibrarySpans", 2, JsonKind::Message(&SCOPE_SPANS)),
    one("schemaUrl", 3, JsonKind::Text),
];
static RESOURCE: [Field; 3] = [
    many("attributes", 1, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 2, JsonKind::Uint32),
    many("entityRefs", 3, JsonKind::Message(&ENTITY_REF)),
];
static ENTITY_REF: [Field; 4] = [
    one("schemaUrl", 1, JsonKind::Text),
    one("type", 2, JsonKind::Text),
    many("idKeys", 3, JsonKind::Text),
    many("descriptionKeys", 4, JsonKind::Text),
];
static SCOPE_SPANS: [Field; 4] = [
    one("scope", 1, JsonKind::Message(&SCOPE)),
    one("instrumentationLibrary", 1, JsonKind::Message(&SCOPE)),
    carrier("spans", 2, JsonKind::Message(&SPAN)),
    one("schemaUrl", 3, JsonKind::Text),
];
static SCOPE: [Field; 4] = [
    one("name", 1, JsonKind::Text),
    one("version", 2, JsonKind::Text),
    many("attributes", 3, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 4, JsonKind::Uint32),
];
static SPAN: [Field; 16] = [
    one("traceId", 1, JsonKind::Id),
    one("spanId", 2, JsonKind::Id),
    one("traceState", 3, JsonKind::Text),
    one("parentSpanId", 4, JsonKind::Id),
    one("flags", 16, JsonKind::Fixed32),
    one("name", 5, JsonKind::Text),
    one("kind", 6, JsonKind::Enum("SPAN_KIND_", &KINDS)),
    one("startTimeUnixNano", 7, JsonKind::Fixed64),
    one("endTimeUnixNano", 8, JsonKind::Fixed64),
    many("attributes", 9, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 10, JsonKind::Uint32),
    many("events", 11, JsonKind::Message(&EVENT)),
    one("droppedEventsCount", 12, JsonKind::Uint32),
    many("links", 13, JsonKind::Message(&LINK)),
    one("droppedLinksCount", 14, JsonKind::Uint32),
    one("status", 15, JsonKind::Message(&STATUS)),
];
static EVENT: [Field; 4] = [
    one("timeUnixNano", 1, JsonKind::Fixed64),
    one("name", 2, JsonKind::Text),
    many("attributes", 3, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 4, JsonKind::Uint32),
];
static LINK: [Field; 6] = [
    one("traceId", 1, JsonKind::Id),
    one("spanId", 2, JsonKind::Id),
    one("traceState", 3, JsonKind::Text),
    many("attributes", 4, JsonKind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 5, JsonKind::Uint32),
    one("flags", 6, JsonKind::Fixed32),
];
static STATUS: [Field; 2] =
    [one("message", 2, JsonKind::Text), one("code", 3, JsonKind::Enum("STATUS_CODE_", &CODES))];
static KEY_VALUE: [Field; 3] = [
    one("key", 1, JsonKind::Text),
    one("value", 2, JsonKind::Message(&ANY_VALUE)),
    one("keyStrindex", 3, JsonKind::Int32),
];
static ANY_VALUE: [Field; 8] = [
    one("stringValue", 1, JsonKind::Text),
    one("boolValue", 2, JsonKind::Bool),
    one("intValue", 3, JsonKind::Int64),
    one("doubleValue", 4, JsonKind::Double),
    one("arrayValue", 5, JsonKind::Message(&ARRAY_VALUE)),
    one("kvlistValue", 6, JsonKind::Message(&KEY_VALUE_LIST)),
    one("bytesValue", 7, JsonKind::Base64),
    one("stringValueStrindex", 8, JsonKind::Int32),
];
static ARRAY_VALUE: [Field; 1] = [many("values", 1, JsonKind::Message(&ANY_VALUE))];
static KEY_VALUE_LIST: [Field; 1] = [many("values", 1, JsonKind::Message(&KEY_VALUE))];

pub(crate) static TOP: Field = one("", 0, JsonKind::Wrapper(&DOCUMENT));
pub(crate) static TOP_CARRIED: Field = one("", 0, JsonKind::Wrapper(&CARRIED));
