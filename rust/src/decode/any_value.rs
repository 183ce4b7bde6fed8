//! Nested attribute values: their wire bytes, already checked by the decoder, as plain JSON for people to read.

use serde_json::{Map, Value};

use crate::columns::ValueKind;
use crate::decode::wire::Cursor;
use crate::decode::wire::WireType::{Fixed64, Len, Varint};
use crate::error::Result;
use crate::numbers::low_u32;

/// How deep a value is below the value it is in does not matter any more: the decoder has seen to that.
const CHECKED: u32 = 0;

/// An array or key-value list as JSON: lists and objects, bytes as lower-case hex, numbers as numbers.
/// Recursion is bounded by the decoder's limit on depth.
pub fn to_json(bytes: &[u8], kind: ValueKind) -> Value {
    match kind {
        ValueKind::Array => Value::Array(messages(bytes, 1).map(any_value).collect()),
        ValueKind::KvList => Value::Object(messages(bytes, 1).map(key_value).collect::<Map<_, _>>()),
        _ => Value::String(hex::encode(bytes)),
    }
}

/// The payloads of all length-delimited fields with this number.
fn messages(bytes: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let mut cursor = Cursor::new(bytes, 0);
    std::iter::from_fn(move || {
        while !cursor.is_done() {
            match cursor.tag().ok()? {
                (field, Len) if field == number => return cursor.payload().ok(),
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

/// The member of an `AnyValue` that was set last: its field number, the bits of a number, the bytes of anything else.
#[derive(Default)]
struct Member {
    field: u32,
    bits: u64,
    bytes: Vec<u8>,
}

/// A list that follows a list of its kind continues it: merging messages is appending their bytes.
fn last_member(bytes: &[u8]) -> Result<Member> {
    let mut cursor = Cursor::new(bytes, 0);
    let mut last = Member::default();
    while !cursor.is_done() {
        let (field, wire_type) = cursor.tag()?;
        match (field, wire_type) {
            (5 | 6, Len) if last.field == field => last.bytes.extend_from_slice(cursor.payload()?),
            (1 | 5..=7, Len) => last = Member { field, bits: 0, bytes: cursor.payload()?.to_vec() },
            (2 | 3 | 8, Varint) => last = Member { field, bits: cursor.varint()?, bytes: Vec::new() },
            (4, Fixed64) => last = Member { field, bits: cursor.fixed64()?, bytes: Vec::new() },
            _ => cursor.skip(field, wire_type, 0)?,
        }
    }
    Ok(last)
}

fn any_value(bytes: &[u8]) -> Value {
    let Member { field, bits, bytes } = last_member(bytes).unwrap_or_default();
    match field {
        1 => Value::String(text(&bytes)),
        2 => Value::Bool(bits != 0),
        3 => Value::from(bits.cast_signed()),
        4 => number(f64::from_bits(bits)),
        5 => to_json(&bytes, ValueKind::Array),
        6 => to_json(&bytes, ValueKind::KvList),
        7 => to_json(&bytes, ValueKind::Bytes),
        8 => Value::from(low_u32(bits).cast_signed()),
        _ => Value::Null,
    }
}

/// JSON has no word for what is not a number or not finite: then it is text.
fn number(value: f64) -> Value {
    if value.is_finite() { Value::from(value) } else { Value::String(value.to_string()) }
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

    #[test]
    fn a_repeated_list_is_continued_unless_another_value_stands_between() {
        // values: [[1] + [2]]; [[1], "x", [2]]
        let one_and_two = [10, 12, 42, 4, 10, 2, 24, 1, 42, 4, 10, 2, 24, 2];
        let only_two = [10, 15, 42, 4, 10, 2, 24, 1, 10, 1, b'x', 42, 4, 10, 2, 24, 2];
        assert_eq!("[[1,2]]", to_json(&one_and_two, ValueKind::Array).to_string());
        assert_eq!("[[2]]", to_json(&only_two, ValueKind::Array).to_string());
    }

    #[test]
    fn a_number_that_json_cannot_write_is_text() {
        let mut bytes = vec![10, 9, 33];
        bytes.extend(f64::NAN.to_le_bytes());
        assert_eq!(r#"["NaN"]"#, to_json(&bytes, ValueKind::Array).to_string());
    }
}
