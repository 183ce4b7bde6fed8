//! OTLP JSON → protobuf wire bytes, so that there is one decoder only.
//!
//! OTLP JSON is not protobuf JSON: ids are hex, enums are integers, keys are lowerCamelCase only.
//! What a message may hold is a table ([`Field`]); one walker reads every table. Nothing is built in between:
//! values are written to the wire as the parser meets them. A nested message's length is not known before its end,
//! so five bytes are kept for it and patched: a padded varint, which protobuf allows.
//!
//! ```text
//! {"name":"a","kind":2}   →   2a 01 61 30 02
//! {"resource":{}}         →   0a 80 80 80 80 00
//! ```
//!
//! `null` is absent (as an array's element: the default, so that positions stay), unknown keys are ignored at any depth,
//! of a key given twice the later scalar wins and messages merge, as everywhere in protobuf.

mod fault;
pub(crate) mod fields;
mod foreign;
mod jaeger;
mod loose;
mod scalars;
mod senders;
mod stream;
mod texts;
mod walk;
mod zipkin;

use crate::error::Result;
use fields::TOP;

pub use stream::{Found, Piece, Reader, Wire};
pub use texts::replace_text;

/// One document as the wire bytes of one `ExportTraceServiceRequest`.
///
/// OTLP JSON, and what is told from it by its keys: protobuf's own JSON (ids in base64, enums by name, keys in
/// `snake_case`), Tempo's and Jaeger's answers, an array of Zipkin's spans, and what carries one of these in a text.
/// Also accepts the keys of OTLP before 1.0, and a byte order mark.
/// `{}` is an empty request. Depth is bounded by the parser: at most 127 nested objects and arrays.
///
/// Errors: not JSON, not one document, no known key at the top, or a value of the wrong kind. The path has the keys
/// as written (`resourceSpans.scopeSpans.spans.traceId`), the offset is where reading stopped: just past the value.
pub fn to_wire(json: &[u8]) -> Result<Vec<u8>> {
    to_wire_within(json, usize::MAX)
}

/// The same, with a wire of at most about `limit` bytes: `{},` has three bytes, and an empty message takes six.
pub fn to_wire_within(json: &[u8], limit: usize) -> Result<Vec<u8>> {
    walk::convert(json, limit, &TOP).map(|(wire, _)| wire)
}

#[cfg(test)]
mod tests;
