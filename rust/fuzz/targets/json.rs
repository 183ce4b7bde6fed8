//! Any bytes, as JSON: survived, and what is taken is sound wire. As wire: its JSON, as the OpenTelemetry crates write
//! it, says the same as the wire.

#![no_main]

use k8strace_core::json_to_wire;
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    match json_to_wire(bytes) {
        Ok(wire) => drop(ExportTraceServiceRequest::decode(wire.as_slice()).expect("wire that prost takes")),
        Err(error) => assert!(error.offset <= bytes.len() as u64, "offset beyond the input: {error}"),
    }
    if let Some(message) = ExportTraceServiceRequest::decode(bytes).ok().and_then(in_both_forms) {
        let text = serde_json::to_vec(&message).expect("JSON of a message");
        let wire = json_to_wire(&text).expect("JSON that others write");
        let read = ExportTraceServiceRequest::decode(wire.as_slice()).expect("wire that prost takes");
        assert_eq!(message.encode_to_vec(), read.encode_to_vec(), "{}", String::from_utf8_lossy(&text));
    }
});

/// The message, if the JSON of the OpenTelemetry crates can say all of it.
fn in_both_forms(message: ExportTraceServiceRequest) -> Option<ExportTraceServiceRequest> {
    let text = serde_json::to_string(&message).ok()?;
    let again: ExportTraceServiceRequest = serde_json::from_str(&text).ok()?;
    (again.encode_to_vec() == message.encode_to_vec()).then_some(message)
}
