//! The keys of OTLP JSON: one table per message of the `.proto`.

/// How a JSON value becomes wire bytes.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
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
    pub(crate) kind: Kind,
    pub(crate) many: bool,
    /// Spans are in it: a message that has another key instead is not what it should be.
    pub(crate) carries: bool,
}

const fn one(key: &'static str, number: u32, kind: Kind) -> Field {
    Field { key, number, kind, many: false, carries: false }
}

const fn many(key: &'static str, number: u32, kind: Kind) -> Field {
    Field { key, number, kind, many: true, carries: false }
}

const fn carrier(key: &'static str, number: u32, kind: Kind) -> Field {
    Field { key, number, kind, many: true, carries: true }
}

static KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
static CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// OTLP; Tempo's API; Jaeger's API and UI; what Kafka's clients and docker's log put around a message.
static DOCUMENT: [Field; 11] = [
    many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS)),
    one("result", 0, Kind::Wrapper(&REQUEST)),
    one("trace", 0, Kind::Wrapper(&TRACE)),
    many("batches", 1, Kind::Message(&RESOURCE_SPANS)),
    many("data", 0, Kind::JaegerTrace),
    many("spans", 0, Kind::JaegerSpan),
    one("processes", 0, Kind::JaegerProcesses),
    one("payload", 0, Kind::Carried),
    one("value", 0, Kind::Carried),
    one("log", 0, Kind::Carried),
    one("errors", 0, Kind::ServerErrors),
];
static TRACE: [Field; 2] = [
    many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS)),
    many("batches", 1, Kind::Message(&RESOURCE_SPANS)),
];
pub(crate) static JAEGER_TRACE: [Field; 2] =
    [many("spans", 0, Kind::JaegerSpan), one("processes", 0, Kind::JaegerProcesses)];
/// What a message can be that was carried: everything that is not itself carrying one.
pub(crate) static CARRIED: [Field; 7] = [
    many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS)),
    one("result", 0, Kind::Wrapper(&REQUEST)),
    one("trace", 0, Kind::Wrapper(&TRACE)),
    many("batches", 1, Kind::Message(&RESOURCE_SPANS)),
    many("data", 0, Kind::JaegerTrace),
    many("spans", 0, Kind::JaegerSpan),
    one("processes", 0, Kind::JaegerProcesses),
];
pub(crate) static REQUEST: [Field; 1] = [many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))];
static RESOURCE_SPANS: [Field; 4] = [
    one("resource", 1, Kind::Message(&RESOURCE)),
    carrier("scopeSpans", 2, Kind::Message(&SCOPE_SPANS)),
    carrier("instrumentationLibrarySpans", 2, Kind::Message(&SCOPE_SPANS)),
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
    carrier("spans", 2, Kind::Message(&SPAN)),
    one("schemaUrl", 3, Kind::Text),
];
static SCOPE: [Field; 4] = [
    one("name", 1, Kind::Text),
    one("version", 2, Kind::Text),
    many("attributes", 3, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 4, Kind::Uint32),
];
static SPAN: [Field; 16] = [
    one("traceId", 1, Kind::Id),
    one("spanId", 2, Kind::Id),
    one("traceState", 3, Kind::Text),
    one("parentSpanId", 4, Kind::Id),
    one("flags", 16, Kind::Fixed32),
    one("name", 5, Kind::Text),
    one("kind", 6, Kind::Enum("SPAN_KIND_", &KINDS)),
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
    one("traceId", 1, Kind::Id),
    one("spanId", 2, Kind::Id),
    one("traceState", 3, Kind::Text),
    many("attributes", 4, Kind::Message(&KEY_VALUE)),
    one("droppedAttributesCount", 5, Kind::Uint32),
    one("flags", 6, Kind::Fixed32),
];
static STATUS: [Field; 2] =
    [one("message", 2, Kind::Text), one("code", 3, Kind::Enum("STATUS_CODE_", &CODES))];
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

pub(crate) static TOP: Field = one("", 0, Kind::Wrapper(&DOCUMENT));
pub(crate) static TOP_CARRIED: Field = one("", 0, Kind::Wrapper(&CARRIED));
