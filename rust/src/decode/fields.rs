//! The fields of OTLP's trace messages, as number and wire type: the one description that the decoder, the screen of a
//! receiver and the tables of JSON keys go by. Protobuf: a known number of another wire type is an unknown field.

use crate::decode::wire::WireType::{self, Fixed32, Fixed64, Len, Varint};

/// What `Cursor::tag` gives.
pub type Field = (u32, WireType);

macro_rules! messages {
    ($($(#[$doc:meta])* $message:ident { $($field:ident: $number:literal $wire_type:ident,)* })*) => {
        $($(#[$doc])* pub mod $message {
            use super::*;
            $(pub const $field: Field = ($number, $wire_type);)*
        })*
    };
}

messages! {
    request {
        RESOURCE_SPANS: 1 Len,
    }
    resource_spans {
        RESOURCE: 1 Len,
        SCOPE_SPANS: 2 Len,
        SCHEMA_URL: 3 Len,
    }
    resource {
        ATTRIBUTES: 1 Len,
        DROPPED_ATTRIBUTES_COUNT: 2 Varint,
        ENTITY_REFS: 3 Len,
    }
    entity_ref {
        SCHEMA_URL: 1 Len,
        TYPE: 2 Len,
        ID_KEYS: 3 Len,
        DESCRIPTION_KEYS: 4 Len,
    }
    scope_spans {
        SCOPE: 1 Len,
        SPANS: 2 Len,
        SCHEMA_URL: 3 Len,
    }
    scope {
        NAME: 1 Len,
        VERSION: 2 Len,
        ATTRIBUTES: 3 Len,
        DROPPED_ATTRIBUTES_COUNT: 4 Varint,
    }
    span {
        TRACE_ID: 1 Len,
        SPAN_ID: 2 Len,
        TRACE_STATE: 3 Len,
        PARENT_SPAN_ID: 4 Len,
        NAME: 5 Len,
        KIND: 6 Varint,
        START_TIME_UNIX_NANO: 7 Fixed64,
        END_TIME_UNIX_NANO: 8 Fixed64,
        ATTRIBUTES: 9 Len,
        DROPPED_ATTRIBUTES_COUNT: 10 Varint,
        EVENTS: 11 Len,
        DROPPED_EVENTS_COUNT: 12 Varint,
        LINKS: 13 Len,
        DROPPED_LINKS_COUNT: 14 Varint,
        STATUS: 15 Len,
        FLAGS: 16 Fixed32,
    }
    event {
        TIME_UNIX_NANO: 1 Fixed64,
        NAME: 2 Len,
        ATTRIBUTES: 3 Len,
        DROPPED_ATTRIBUTES_COUNT: 4 Varint,
    }
    link {
        TRACE_ID: 1 Len,
        SPAN_ID: 2 Len,
        TRACE_STATE: 3 Len,
        ATTRIBUTES: 4 Len,
        DROPPED_ATTRIBUTES_COUNT: 5 Varint,
        FLAGS: 6 Fixed32,
    }
    status {
        MESSAGE: 2 Len,
        CODE: 3 Varint,
    }
    key_value {
        KEY: 1 Len,
        VALUE: 2 Len,
        KEY_STRINDEX: 3 Varint,
    }
    any_value {
        STRING_VALUE: 1 Len,
        BOOL_VALUE: 2 Varint,
        INT_VALUE: 3 Varint,
        DOUBLE_VALUE: 4 Fixed64,
        ARRAY_VALUE: 5 Len,
        KVLIST_VALUE: 6 Len,
        BYTES_VALUE: 7 Len,
        STRING_VALUE_STRINDEX: 8 Varint,
    }
    array_value {
        VALUES: 1 Len,
    }
    key_value_list {
        VALUES: 1 Len,
    }
}
