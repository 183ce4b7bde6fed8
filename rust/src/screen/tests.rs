use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::decode::otlp::decode;

const LIMITS: Limits = Limits {
    spans: 3,
    attributes: 2,
    events: 1,
    links: 1,
    value_bytes: 20,
    value_depth: 2,
    span_bytes: 200,
    columns_per_byte: 2,
    columns_free_bytes: 1 << 20,
};

fn span(number: u8, attributes: usize) -> Span {
    Span {
        trace_id: vec![number; 16],
        span_id: vec![number; 8],
        attributes: vec![KeyValue::default(); attributes],
        ..Span::default()
    }
}

fn request(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
    .encode_to_vec()
}

#[test]
fn clean_wire_is_not_rewritten() {
    let screened = screen(&request(vec![span(1, 2), span(2, 0)]), &LIMITS).expect("sound");
    assert_eq!((None, 2, [0; 12]), (screened.wire, screened.tally.accepted, screened.tally.cut));
}

#[test]
fn what_is_cut_leaves_the_request_that_a_sender_would_have_made() {
    let wire = request(vec![span(1, 5), span(0, 0), span(2, 1), span(3, 0), span(4, 0)]);
    let screened = screen(&wire, &LIMITS).expect("sound");
    let cut = Span { dropped_attributes_count: 3, ..span(1, 2) };
    let expected = ExportTraceServiceRequest::decode(&*request(vec![cut, span(2, 1), span(3, 0)]));
    let left = ExportTraceServiceRequest::decode(&*screened.wire.expect("something was cut"));
    assert_eq!(expected, left);
    let counted = |reason| screened.tally.cut[reason as usize];
    assert_eq!(
        (3, 1, 1),
        (counted(CutReason::Attributes), counted(CutReason::TraceId), counted(CutReason::Spans))
    );
}

#[test]
fn a_request_from_256_mib_on_is_refused() {
    assert!(screen(&vec![0; MAX_WIRE + 1], &LIMITS).is_err());
}

#[test]
fn every_reason_has_a_name() {
    assert_eq!(CutReason::NAMES.len(), CutReason::ValueDepth as usize + 1);
}

proptest! {
    #[test]
    fn any_bytes_are_survived_and_what_is_left_is_sound(
        bytes in proptest::collection::vec(prop_oneof![Just(0x0a), Just(0x12), Just(0x4a), 0u8..32, any::<u8>()], 0..300)
    ) {
        if let Ok(screened) = screen(&bytes, &LIMITS) {
            let left = screened.wire.unwrap_or(bytes);
            let columns = decode(&[left]).expect("what was let through is sound");
            prop_assert_eq!(columns.len() as u64, screened.tally.accepted);
        }
    }

    #[test]
    fn any_text_is_survived(text in proptest::collection::vec(any::<u8>(), 0..100), limit in 0u32..4) {
        let opened = text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
        prop_assert!(too_deep_json(&text, limit).is_none() || opened > limit as usize);
    }
}
