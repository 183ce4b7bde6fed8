//! JSON that is not OTLP JSON, and whose it is. Only errors come here.

use std::borrow::Cow;

use super::fields::{Field, Kind};
use super::{Fault, Scalar, base64, clip};
use crate::error::ErrorKind;

/// Keys that only one writer has in a document: (key, what it is).
static WRITERS: [(&str, &str); 24] = [
    ("resource_spans", "snake_case keys: OTLP JSON has them in lowerCamelCase, resourceSpans"),
    ("data", "Jaeger's own JSON: ask its API v3 (/api/v3/traces) for OTLP"),
    ("traceID", "Jaeger's own JSON: ask its API v3 (/api/v3/traces) for OTLP"),
    ("processes", "Jaeger's own JSON: ask its API v3 (/api/v3/traces) for OTLP"),
    (
        "batches",
        "Tempo's own JSON: ask Tempo with the header Accept: application/protobuf, or rename batches to resourceSpans",
    ),
    ("trace", "Tempo's own JSON: ask Tempo with the header Accept: application/protobuf"),
    ("traces", "the answer of a search in Tempo, which has no spans: ask for each trace by its id"),
    ("localEndpoint", "Zipkin's JSON: send the spans through an OpenTelemetry Collector to have OTLP"),
    ("remoteEndpoint", "Zipkin's JSON: send the spans through an OpenTelemetry Collector to have OTLP"),
    ("parentId", "Zipkin's JSON: send the spans through an OpenTelemetry Collector to have OTLP"),
    ("SpanContext", "the stdout exporter of the Go SDK: use an OTLP exporter"),
    ("context", "the console exporter of an SDK: use an OTLP exporter"),
    ("log", "docker's log file, the JSON within it quoted: take it out with `jq -r .log`"),
    ("error", "an error that a server sent instead of spans"),
    ("errors", "an error that a server sent instead of spans"),
    ("code", "an error that a server sent instead of spans"),
    ("apiVersion", "an object of Kubernetes"),
    ("scopeSpans", "a ResourceSpans without the request around it: put it into {\"resourceSpans\":[…]}"),
    ("spans", "a ScopeSpans without the request around it"),
    ("hits", "the answer of a search engine"),
    ("traceEvents", "a trace for Chrome or Perfetto"),
    ("resource_metrics", "metrics with snake_case keys"),
    ("resource_logs", "logs with snake_case keys"),
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

/// A value of the wrong kind, and whose writer has it so.
pub(super) fn value(kind: Kind, value: &Scalar<'_>) -> Cow<'static, str> {
    let got = value.describe();
    match (kind, value) {
        (Kind::Hex, Scalar::Text(text)) if matches!(base64(text), Some(id) if matches!(id.len(), 8 | 16)) => {
            format!("{got}, in base64: this is protobuf's own JSON; have it written by an OTLP exporter, or save protobuf")
                .into()
        }
        (Kind::Enum, Scalar::Text(_)) => {
            format!("{got}: this is protobuf's own JSON; have it written by an OTLP exporter, or save protobuf").into()
        }
        _ => got,
    }
}

/// A key as protobuf names the field, where OTLP JSON has another name for it.
pub(super) fn snake_case(fields: &[Field], key: &str) -> Option<Fault> {
    let known = fields.iter().find(|field| key.contains('_') && is_snake_of(key, field.key))?;
    Some(Fault {
        expected: format!("the key {}, in lowerCamelCase as OTLP JSON has its keys", known.key).into(),
        got: format!(
            "the unknown key {} (snake_case): have it written by an OTLP exporter, or rename the keys",
            clip(key)
        )
        .into(),
        kind: ErrorKind::NotOtlp,
    })
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
