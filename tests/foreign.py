"""OTLP as other tools write it: made from the official classes, by the rules of OpenTelemetry's translators."""

import base64
import json
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


def protojson(batches: list[ExportTraceServiceRequest], *, snake_case: bool = False) -> bytes:
    """protobuf's own JSON, one document per line."""
    documents = (MessageToDict(batch, preserving_proto_field_name=snake_case) for batch in batches)
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def tempo_v1(batches: list[ExportTraceServiceRequest]) -> bytes:
    """What `/api/traces/ID` answers: `batches`."""
    spans = [one for batch in batches for one in MessageToDict(batch).get("resourceSpans", ())]
    return json.dumps({"batches": spans}).encode()


def tempo_v2(batches: list[ExportTraceServiceRequest]) -> bytes:
    """What `/api/v2/traces/ID` answers: `trace`, and what it cost."""
    spans = [one for batch in batches for one in MessageToDict(batch).get("resourceSpans", ())]
    return json.dumps({"trace": {"resourceSpans": spans}, "status": "COMPLETE", "metrics": {}}).encode()


def otlp_json(batch: ExportTraceServiceRequest) -> str:
    """OTLP JSON: ids in hex, enums as numbers."""
    document = MessageToDict(batch, use_integers_for_enums=True)
    for resource_spans in document.get("resourceSpans", ()):
        for scope_spans in resource_spans.get("scopeSpans", ()):
            for span in scope_spans.get("spans", ()):
                for place in (span, *span.get("links", ())):
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if key in place:
                            place[key] = base64.b64decode(place[key]).hex()
    return json.dumps(document)


def kafka(batches: list[ExportTraceServiceRequest]) -> bytes:
    """`kcat -J`: one message a line, the payload a text."""
    lines = (
        {
            "topic": "otlp_spans",
            "partition": 0,
            "offset": at,
            "tstype": "create",
            "key": None,
            "payload": text,
        }
        for at, text in enumerate(map(otlp_json, batches))
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def kafka_rest(batches: list[ExportTraceServiceRequest]) -> bytes:
    """What Kafka's REST proxy answers for binary messages: an array, each value in base64."""
    values = (base64.b64encode(batch.SerializeToString()).decode() for batch in batches)
    return json.dumps(
        [
            {"topic": "otlp_spans", "key": None, "value": value, "partition": 0, "offset": 1}
            for value in values
        ]
    ).encode()


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def _tag(key: str, value: Any) -> dict[str, Any]:
    names = {str: "string", bool: "bool", int: "int64", float: "float64", bytes: "binary"}
    if type(value) not in names:
        return {"key": key, "type": "string", "value": str(value)}
    shown = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    return {"key": key, "type": names[type(value)], "value": shown}


def _tags(attributes: Any) -> list[dict[str, Any]]:
    return [_tag(each.key, _value(each.value)) for each in attributes]


def jaeger(batches: list[ExportTraceServiceRequest]) -> bytes:
    """Jaeger's UI JSON: traces with their processes, times in whole µs."""
    traces: dict[bytes, dict[str, Any]] = {}
    for resource_spans in (one for batch in batches for one in batch.resource_spans):
        tags = _tags(resource_spans.resource.attributes)
        service = next((tag["value"] for tag in tags if tag["key"] == "service.name"), "")
        process = {"serviceName": service, "tags": [tag for tag in tags if tag["key"] != "service.name"]}
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                trace = traces.setdefault(
                    span.trace_id,
                    {"traceID": span.trace_id.hex(), "spans": [], "processes": {}, "warnings": None},
                )
                known = trace["processes"]
                key = next((key for key, one in known.items() if one == process), f"p{len(known) + 1}")
                known[key] = process
                trace["spans"].append(_jaeger_span(span, scope_spans.scope, key))
    return json.dumps(
        {"data": [*traces.values()], "total": 0, "limit": 0, "offset": 0, "errors": None}
    ).encode()


def _jaeger_span(span: Span, scope: Any, process: str) -> dict[str, Any]:
    tags = [_tag("otel.scope.name", scope.name)] if scope.name else []
    tags += [_tag("otel.scope.version", scope.version)] if scope.version else []
    tags += _tags(span.attributes)
    tags += [_tag("span.kind", KINDS[span.kind])] if span.kind in KINDS else []
    if span.status.code:
        tags.append(_tag("otel.status_code", {1: "OK", 2: "ERROR"}[span.status.code]))
        tags += [_tag("error", value=True)] if span.status.code == 2 else []
        tags += [_tag("otel.status_description", span.status.message)] if span.status.message else []
    tags += [_tag("w3c.tracestate", span.trace_state)] if span.trace_state else []
    references = [("CHILD_OF", span.trace_id, span.parent_span_id)] if span.parent_span_id else []
    references += [("FOLLOWS_FROM", link.trace_id, link.span_id) for link in span.links]
    return {
        "traceID": span.trace_id.hex(),
        "spanID": span.span_id.hex(),
        "operationName": span.name,
        "references": [
            {"refType": kind, "traceID": trace.hex(), "spanID": one.hex()} for kind, trace, one in references
        ],
        "startTime": span.start_time_unix_nano // 1000,
        "duration": max(span.end_time_unix_nano - span.start_time_unix_nano, 0) // 1000,
        "tags": tags,
        "logs": [
            {
                "timestamp": event.time_unix_nano // 1000,
                "fields": [_tag("event", event.name), *_tags(event.attributes)],
            }
            for event in span.events
        ],
        "processID": process,
        "warnings": None,
    }


def zipkin(batches: list[ExportTraceServiceRequest], *, shared: bool = False) -> bytes:
    """
    Zipkin's `/api/v2/traces`: an array for each trace; all values are strings.

    Args:
        batches: What to write.
        shared: Both sides of a call have one id, as Zipkin's own tracers send them.
    """
    traces: dict[bytes, list[dict[str, Any]]] = {}
    spans: dict[bytes, dict[bytes, Span]] = {}
    for batch in batches:
        for resource_spans in batch.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    spans.setdefault(span.trace_id, {})[span.span_id] = span
                    traces.setdefault(span.trace_id, []).append(
                        _zipkin_span(span, scope_spans.scope, resource_spans.resource)
                    )
    if shared:
        for trace, found in traces.items():
            _share(found, spans[trace])
    return json.dumps([*traces.values()]).encode()


def _share(found: list[dict[str, Any]], spans: dict[bytes, Span]) -> None:
    renamed = {}
    for each in found:
        above = spans.get(bytes.fromhex(each.get("parentId", "")))
        if each.get("kind") == "SERVER" and above is not None and above.kind == Span.SPAN_KIND_CLIENT:
            renamed[each["id"]] = each["parentId"]
            each["shared"] = True
    for each in found:
        each["parentId"] = renamed.get(each.get("parentId"), each.get("parentId"))
        if each.get("shared"):
            each["id"] = renamed[each["id"]]
            above = spans[bytes.fromhex(each["id"])]
            each["parentId"] = renamed.get(above.parent_span_id.hex(), above.parent_span_id.hex())


def _zipkin_span(span: Span, scope: Any, resource: Any) -> dict[str, Any]:
    tags = {each.key: _value(each.value) for each in (*span.attributes, *resource.attributes)}
    service = tags.pop("service.name", "")
    tags |= {"otel.library.name": scope.name} if scope.name else {}
    if span.status.code:
        tags["otel.status_code"] = {1: "OK", 2: "ERROR"}[span.status.code]
        if span.status.code == 2:
            tags["error"] = span.status.message or "true"
    found = {
        "traceId": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "name": span.name,
        "timestamp": span.start_time_unix_nano // 1000,
        "duration": max(span.end_time_unix_nano - span.start_time_unix_nano, 0) // 1000,
        "localEndpoint": {"serviceName": service},
        "annotations": [
            {"timestamp": event.time_unix_nano // 1000, "value": event.name} for event in span.events
        ],
        "tags": {
            key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in tags.items()
        },
    }
    if span.parent_span_id:
        found["parentId"] = span.parent_span_id.hex()
    if span.kind in (2, 3, 4, 5):
        found["kind"] = KINDS[span.kind].upper()
    return found
