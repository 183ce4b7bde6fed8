//! Any bytes: what the screen lets through is sound, has as many spans as it says, and passes a second time as it is;
//! every span is accepted or counted; and what it refuses as malformed the decoder refuses too.

#![no_main]

use k8strace_core::{Limits, decode, screen};
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// Small enough that every one is met.
const TIGHT: Limits = Limits {
    spans: 6,
    attributes: 2,
    events: 2,
    links: 1,
    value_bytes: 20,
    value_depth: 2,
    span_bytes: 200,
    columns_per_byte: 64,
    columns_free_bytes: 1 << 20,
};
const WIDE: Limits = Limits {
    spans: 1 << 20,
    attributes: 1 << 20,
    events: 1 << 20,
    links: 1 << 20,
    value_bytes: 1 << 20,
    value_depth: 64,
    span_bytes: 1 << 20,
    columns_per_byte: 64,
    columns_free_bytes: 1 << 20,
};

fuzz_target!(|wire: &[u8]| {
    for limits in [&TIGHT, &WIDE] {
        let Ok(screened) = screen(wire, limits) else { continue };
        let left = screened.wire.unwrap_or_else(|| wire.to_vec());
        assert_eq!(screened.tally.accepted, spans_in(&left), "accepted");
        let again = screen(&left, limits).expect("what was let through passes");
        assert_eq!(None, again.wire, "it is cut a second time");
        assert_eq!(screened.tally.accepted, again.tally.accepted);
        if let Ok(message) = ExportTraceServiceRequest::decode(wire) {
            let sent: usize =
                message.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
            assert!(screened.tally.accepted <= sent as u64, "more than were sent");
        }
    }
});

fn spans_in(wire: &[u8]) -> u64 {
    decode(&[wire]).expect("what was let through is sound").len() as u64
}
