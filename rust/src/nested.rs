//! Nested attribute values: their wire bytes, already checked by the decoder, as plain JSON for people to read.

use serde_json::{Map, Value};

use crate::columns::ValueKind;
use crate::wire::{Cursor, WireType};

/// How deep a value is below the value it is in does not matter any more: the decoder has seen to that.
const CHECKED: u32 = 0;

/// An array or key-value list as JSON: lists and objects, bytes as lower-case hex, numbers as numbers.
/// Recursion is bounded by the decoder's limit on depth.
pub fn to_json(bytes: &[u8], kind: ValueKind) -> Value {
    match kind {
        ValueKind::Array => Value::Array(messages(bytes, 1).map(any_value).collect()),
        ValueKind::KvList => Value::Object(messages(bytes, 1).map(key_value).collect::<Map<_, _>>()),
        _ => Value::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

/// The payloads of all length-delimited fields with this number.
fn messages(bytes: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let mut cursor = Cursor::new(bytes, 0);
    std::iter::from_fn(move || {
        while !cursor.is_done() {
            match cursor.tag().ok()? {
                (field, WireType::Len) if field == number => return cursor.payload().ok(),
                (field, wire_type) => cursor.skip(field, wire_type, CHECKED).ok()?,
            }
        }
        None
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn key_value(bytes: &[u8]) -> (String, Value) {
    let key = messages(bytes, 1).last().map(text).unwrap_or_default();
    // Repeated values merge, and merging messages is appending their bytes.
    let value: Vec<u8> = messages(bytes, 2).flatten().copied().collect();
    (key, any_value(&value))
}

fn any_value(bytes: &[u8]) -> Value {
    let mut cursor = Cursor::new(bytes, 0);
    let mut value = Value::Null;
    while let (false, Ok((field, wire_type))) = (cursor.is_done(), cursor.tag()) {
        let next = match (field, wire_type) {
            (1, WireType::Len) => cursor.payload().map(|bytes| Value::String(text(bytes))),
            (2, WireType::Varint) => cursor.varint().map(|bits| Value::Bool(bits != 0)),
            (3 | 8, WireType::Varint) => cursor.varint().map(|bits| Value::from(bits as i64)),
            (4, WireType::Fixed64) => cursor.fixed64().map(|bits| Value::from(f64::from_bits(bits))),
            (5, WireType::Len) => cursor.payload().map(|bytes| to_json(bytes, ValueKind::Array)),
            (6, WireType::Len) => cursor.payload().map(|bytes| to_json(bytes, ValueKind::KvList)),
            (7, WireType::Len) => cursor.payload().map(|bytes| to_json(bytes, ValueKind::Bytes)),
            _ => cursor.skip(field, wire_type, 0).map(|()| value.take()),
        };
        match next {
            Ok(next) => value = next,
            Err(_) => break,
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_a_text_a_number_and_a_list_reads_as_json() {
        // values: "a"; 7; [true]
        let bytes = [10, 3, 10, 1, b'a', 10, 2, 24, 7, 10, 6, 42, 4, 10, 2, 16, 1];
        assert_eq!(r#"["a",7,[true]]"#, to_json(&bytes, ValueKind::Array).to_string());
    }
}
