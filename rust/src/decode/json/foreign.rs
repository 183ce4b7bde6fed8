//! JSON that is not OTLP JSON, and whose it is. Only errors come here.

use super::fault::Fault;
use super::fields::Field;
use crate::error::ErrorKind;

/// Keys that only one writer has in a document: (key, what it is).
static WRITERS: [(&str, &str); 18] = [
    ("traces", "the answer of a search in Tempo, which has no spans: ask for each trace by its id"),
    ("spanID", "a span of Jaeger's by itself: put it into {\"spans\":[…]}"),
    ("localEndpoint", "a span of Zipkin's by itself: put it into an array"),
    ("remoteEndpoint", "a span of Zipkin's by itself: put it into an array"),
    ("parentId", "a span of Zipkin's by itself: put it into an array"),
    ("SpanContext", "the stdout exporter of the Go SDK: use an OTLP exporter"),
    ("context", "the console exporter of an SDK: use an OTLP exporter"),
    ("error", "an error that a server sent instead of spans"),
    ("errors", "an error that a server sent instead of spans"),
    ("code", "an error that a server sent instead of spans"),
    ("apiVersion", "an object of Kubernetes"),
    ("scopeSpans", "a ResourceSpans without the request around it: put it into {\"resourceSpans\":[…]}"),
    ("hits", "the answer of a search engine"),
    ("traceEvents", "a trace for Chrome or Perfetto"),
    ("resource_metrics", "metrics with snake_case keys"),
    ("resource_logs", "logs with snake_case keys"),
    ("traceID", "a part of Jaeger's own JSON without spans"),
    ("level", "a log"),
];

static SIGNALS: [(&str, ErrorKind); 3] = [
    ("resourceMetrics", ErrorKind::Metrics),
    ("resourceLogs", ErrorKind::Logs),
    ("resourceProfiles", ErrorKind::Profiles),
];

/// What a document is that has these keys and none of ours.
pub(super) fn document(keys: &[String]) -> (ErrorKind, String) {
    if let Some((key, kind)) = SIGNALS.iter().find(|(key, _)| keys.iter().any(|other| other == key)) {
        return (*kind, format!("an object with the key {key:?}: these are {}", kind.name()));
    }
    let known = WRITERS.iter().find(|(key, _)| keys.iter().any(|other| other == key));
    let key = known.map_or(keys[0].as_str(), |(key, _)| key);
    let whose = known.map_or(String::new(), |(_, whose)| format!(": {whose}"));
    (ErrorKind::NotOtlp, format!("an object with the key {key:?}{whose}"))
}

/// The field that protobuf's own JSON may name so: as the `.proto` has it.
#[cold]
pub(super) fn snake_case<'a>(fields: &'a [Field], key: &str) -> Option<&'a Field> {
    fields.iter().find(|field| key.contains('_') && is_snake_of(key, field.key))
}

/// Is `snake` the name that becomes `camel`? `start_time_unix_nano`, `startTimeUnixNano`.
fn is_snake_of(snake: &str, camel: &str) -> bool {
    let mut upper = false;
    let letters = snake.chars().filter_map(|char| {
        let letter = if upper { char.to_ascii_uppercase() } else { char };
        upper = char == '_';
        (char != '_').then_some(letter)
    });
    letters.eq(camel.chars())
}

/// A message that has an unknown key, and none of those that spans are in.
pub(super) fn no_spans(fields: &[Field], key: &str) -> Fault {
    let due = fields.iter().find(|field| field.carries).map_or("spans", |field| field.key);
    Fault {
        expected: format!("the key {due}").into(),
        got: format!("the unknown key {key} where spans must be").into(),
        kind: ErrorKind::NotOtlp,
    }
}
