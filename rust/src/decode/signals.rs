//! Which signal a protobuf message is: requests for traces, metrics, logs and profiles look alike from outside.
//!
//! All are `{1: resource_xs {1: resource, 2: scope_xs {1: scope, 2: records}}}`. The first record tells them apart by the
//! wire types of its fields:
//!
//! ```text
//! field    1        2        5     6        7        8        9      10       11
//! span     bytes    bytes    text  varint   fixed64  fixed64  msg    varint   msg
//! metric   text     text     msg            msg               msg    msg      msg
//! log      fixed64  varint   msg   msg      varint   fixed32  bytes  bytes    fixed64
//! ```

use crate::decode::wire::Cursor;
use crate::decode::wire::WireType::{Fixed32, Fixed64, Len, Varint};
use crate::error::{ErrorKind, Result};

/// What a message is if it is not of traces. Malformed messages are for the decoder to judge.
pub fn other_signal(wire: &[u8]) -> Option<ErrorKind> {
    if has_dictionary(wire).unwrap_or(false) {
        return Some(ErrorKind::Profiles);
    }
    first_record(wire).ok().flatten().and_then(|record| of_record(record).unwrap_or(None))
}

/// Profiles have their strings in field 2 beside the resources; nothing else has anything there.
fn has_dictionary(wire: &[u8]) -> Result<bool> {
    next_message(&mut Cursor::new(wire, 0), 2).map(|found| found.is_some())
}

/// The first record of the first scope that has one.
fn first_record(wire: &[u8]) -> Result<Option<&[u8]>> {
    let mut request = Cursor::new(wire, 0);
    while let Some(resource) = next_message(&mut request, 1)? {
        let mut resource = Cursor::new(resource, 0);
        while let Some(scope) = next_message(&mut resource, 2)? {
            if let Some(record) = next_message(&mut Cursor::new(scope, 0), 2)? {
                return Ok(Some(record));
            }
        }
    }
    Ok(None)
}

fn next_message<'a>(cursor: &mut Cursor<'a>, number: u32) -> Result<Option<&'a [u8]>> {
    while !cursor.is_done() {
        match cursor.tag()? {
            (field, Len) if field == number => return cursor.payload().map(Some),
            (field, wire_type) => cursor.skip(field, wire_type, 0)?,
        }
    }
    Ok(None)
}

/// A span may have next to nothing, so it is what nothing speaks against.
fn of_record(record: &[u8]) -> Result<Option<ErrorKind>> {
    let mut cursor = Cursor::new(record, 0);
    let (mut name, mut data, mut log) = (false, false, false);
    while !cursor.is_done() {
        let (field, wire_type) = cursor.tag()?;
        match (field, wire_type) {
            (6 | 10, Varint) | (7 | 8, Fixed64) | (16, Fixed32) => return Ok(None),
            (1 | 11, Fixed64) | (2, Varint) | (8, Fixed32) | (6, Len) => log = true,
            (5 | 7 | 9 | 10 | 11, Len) => data = true,
            (1, Len) => {
                name = is_name(cursor.payload()?);
                continue;
            }
            _ => {}
        }
        cursor.skip(field, wire_type, 0)?;
    }
    Ok(if log { Some(ErrorKind::Logs) } else { (name && data).then_some(ErrorKind::Metrics) })
}

/// Is this a metric's name, and no id?
fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
    use prost::Message;

    use super::*;

    fn message(record: &[u8]) -> Vec<u8> {
        let wrap = |tag, inner: &[u8]| [&[tag, inner.len() as u8][..], inner].concat();
        wrap(0x0a, &wrap(0x12, &wrap(0x12, record)))
    }

    #[test]
    fn records_are_told_by_the_wire_types_of_their_fields() {
        let cases: [(&[u8], Option<ErrorKind>); 6] = [
            (b"\x0a\x02up\x2a\x00", Some(ErrorKind::Metrics)),
            (b"\x0a\x10http_requests_to\x3a\x00", Some(ErrorKind::Metrics)),
            (b"\x09\0\0\0\0\0\0\0\x01\x10\x09", Some(ErrorKind::Logs)),
            (b"\x2a\x02\x0a\x00\x32\x00", Some(ErrorKind::Logs)),
            (b"", None),
            (b"\x2a\x01x", None),
        ];
        for (record, signal) in cases {
            assert_eq!(other_signal(&message(record)), signal, "{record:x?}");
        }
        assert_eq!(other_signal(b"\x0a\x00\x12\x00"), Some(ErrorKind::Profiles));
    }

    #[test]
    fn a_span_with_any_one_field_is_a_span() {
        let spans = [
            Span { trace_id: vec![7; 16], ..Default::default() },
            Span { trace_id: vec![b'a'; 16], ..Default::default() },
            Span { span_id: vec![b'a'; 8], name: "x".into(), ..Default::default() },
            Span { name: "x".into(), kind: 2, ..Default::default() },
            Span { start_time_unix_nano: 1, ..Default::default() },
            Span { trace_id: vec![b'a'; 16], name: "x".into(), end_time_unix_nano: 1, ..Default::default() },
            Span { status: Some(Status::default()), flags: 1, ..Default::default() },
        ];
        for span in spans {
            let scope_spans = vec![ScopeSpans { spans: vec![span.clone()], ..Default::default() }];
            let resource_spans = vec![ResourceSpans { scope_spans, ..Default::default() }];
            let wire = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
            assert_eq!(other_signal(&wire), None, "{span:?}");
        }
    }
}
