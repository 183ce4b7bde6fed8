//! The keys of OTLP JSON: one table per message of the `.proto`.

/// How a JSON value becomes wire bytes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
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
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) many: bool,
    /// Spans are in it: a message that has another key instead is not what it should be.
    pub(super) carries: bool,
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

static DOCUMENT: [Field; 2] =
    [one("result", 0, Kind::Wrapper(&REQUEST)), many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))];
pub(super) static REQUEST: [Field; 1] = [many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))];
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

pub(super) static TOP: Field = one("", 0, Kind::Wrapper(&DOCUMENT));
