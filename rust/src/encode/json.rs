//! Wire bytes → OTLP JSON, by the table that JSON is read with.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::decode::json::fields::{Field, JsonKind, REQUEST};
use crate::decode::wire::{Cursor, MAX_DEPTH, WireType, too_deep};
use crate::error::Result;
use crate::numbers::low_u32;

/// One `ExportTraceServiceRequest` as a line of OTLP JSON, without the line's end.
///
/// Errors: malformed wire, as the decoder's.
pub fn to_json(wire: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(2 * wire.len());
    message(wire, &REQUEST, 0, &mut out)?;
    Ok(out)
}

/// A value as it is on the wire.
enum Raw<'a> {
    Bits(u64),
    Bytes(&'a [u8]),
}

fn message(wire: &[u8], fields: &'static [Field], depth: u32, out: &mut Vec<u8>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(too_deep(0));
    }
    let mut found: Vec<(usize, Raw<'_>)> = Vec::new();
    let mut cursor = Cursor::new(wire, 0);
    while !cursor.is_done() {
        let (number, wire_type) = cursor.tag()?;
        let Some(at) = fields.iter().position(|field| field.number == number) else {
            cursor.skip(number, wire_type, depth)?;
            continue;
        };
        let raw = match wire_type {
            WireType::Varint => Raw::Bits(cursor.varint()?),
            WireType::Fixed64 => Raw::Bits(cursor.fixed64()?),
            WireType::Fixed32 => Raw::Bits(cursor.fixed32()?.into()),
            WireType::Len => Raw::Bytes(cursor.payload()?),
            _ => {
                cursor.skip(number, wire_type, depth)?;
                continue;
            }
        };
        found.push((at, raw));
    }
    found.sort_by_key(|(at, _)| *at);
    out.push(b'{');
    for (index, same) in found.chunk_by(|a, b| a.0 == b.0).enumerate() {
        let field = &fields[same[0].0];
        if index > 0 {
            out.push(b',');
        }
        text(field.key, out);
        out.push(b':');
        if field.many {
            out.push(b'[');
        }
        // Of a single value that came twice the last one counts.
        let values = if field.many { same } else { &same[same.len() - 1..] };
        for (index, (_, raw)) in values.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            value(field, raw, depth, out)?;
        }
        if field.many {
            out.push(b']');
        }
    }
    out.push(b'}');
    Ok(())
}

fn value(field: &Field, raw: &Raw<'_>, depth: u32, out: &mut Vec<u8>) -> Result<()> {
    match (field.kind, raw) {
        (JsonKind::Message(fields), Raw::Bytes(bytes)) => message(bytes, fields, depth + 1, out)?,
        (JsonKind::Text, Raw::Bytes(bytes)) => text(&String::from_utf8_lossy(bytes), out),
        (JsonKind::Id, Raw::Bytes(bytes)) => text(&hex::encode(bytes), out),
        (_, Raw::Bytes(bytes)) => text(&BASE64_STANDARD.encode(bytes), out),
        (JsonKind::Bool, Raw::Bits(bits)) => {
            out.extend_from_slice(if *bits != 0 { b"true" } else { b"false" });
        }
        (JsonKind::Double, Raw::Bits(bits)) => double(f64::from_bits(*bits), out),
        (JsonKind::Int64, Raw::Bits(bits)) => text(&bits.cast_signed().to_string(), out),
        (JsonKind::Fixed64, Raw::Bits(bits)) => text(&bits.to_string(), out),
        (JsonKind::Enum(..) | JsonKind::Int32, Raw::Bits(bits)) => {
            out.extend_from_slice(low_u32(*bits).cast_signed().to_string().as_bytes());
        }
        (_, Raw::Bits(bits)) => out.extend_from_slice(low_u32(*bits).to_string().as_bytes()),
    }
    Ok(())
}

/// A number, or the text that OTLP JSON has for what is none.
pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    match value {
        _ if value.is_nan() => text("NaN", out),
        f64::INFINITY => text("Infinity", out),
        f64::NEG_INFINITY => text("-Infinity", out),
        _ => {
            let _ = serde_json::to_writer(out, &value);
        }
    }
}

pub(super) fn text(value: &str, out: &mut Vec<u8>) {
    // A vector takes whatever is written.
    let _ = serde_json::to_writer(out, value);
}
