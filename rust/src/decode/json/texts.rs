//! Wire whose texts are not UTF-8 → wire whose texts are. The tables of JSON's keys say where texts are.

use std::borrow::Cow;

use super::fields::{Field, JsonKind, REQUEST};
use crate::decode::wire::WireType::Len;
use crate::decode::wire::{Cursor, MAX_DEPTH, too_deep};
use crate::decode::write::Out;
use crate::error::Result;

/// The request with U+FFFD for what is no UTF-8, and how many texts had such.
///
/// Errors: malformed wire, as the decoder's.
pub fn replace_text(wire: &[u8]) -> Result<(Vec<u8>, u32)> {
    let mut count = 0;
    message(wire, &REQUEST, 0, &mut count).map(|out| (out, count))
}

fn message(wire: &[u8], fields: &[Field], depth: u32, count: &mut u32) -> Result<Vec<u8>> {
    if depth > MAX_DEPTH {
        return Err(too_deep(0));
    }
    let mut out = Out(Vec::with_capacity(wire.len()));
    let mut cursor = Cursor::new(wire, 0);
    while !cursor.is_done() {
        let start = cursor.pos();
        let (number, wire_type) = cursor.tag()?;
        let field = fields.iter().find(|field| field.number == number && wire_type == Len);
        match field.map(|field| (field, field.kind)) {
            Some((field, JsonKind::Message(inner))) => {
                let inner = message(cursor.payload()?, inner, depth + 1, count)?;
                out.bytes(field.number, &inner);
            }
            Some((field, JsonKind::Text)) => {
                let text = String::from_utf8_lossy(cursor.payload()?);
                *count += u32::from(matches!(text, Cow::Owned(_)));
                out.bytes(field.number, text.as_bytes());
            }
            _ => {
                cursor.skip(number, wire_type, depth)?;
                out.0.extend_from_slice(&wire[start..cursor.pos()]);
            }
        }
    }
    Ok(out.0)
}
