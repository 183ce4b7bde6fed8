"""Spans as Jaeger's own JSON, which its UI and Grafana open: what is told of them as tags, repairs as warnings."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from k8strace.export.told import NOTHING, Told, chosen_rows, told
from k8strace.requests import Requests
from k8strace.spans import Spans

__all__ = ["SpanWriter", "TraceWriter", "jaeger", "traces"]

_KINDS: Final = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_CODES: Final = {1: "OK", 2: "ERROR"}
_TYPES: Final[dict[int, tuple[str, str]]] = {
    1: ("string", "string_value"),
    2: ("bool", "bool_value"),
    3: ("int64", "int_value"),
    4: ("float64", "double_value"),
}
SAFE: Final = (1 << 53) - 1
"""JavaScript rounds larger numbers: Jaeger writes them as text."""

_COLUMNS: Final = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "trace_state",
    "name",
    "kind",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "status_code",
    "status_message",
    "scope_spans",
)

Tag = dict[str, Any]


def jaeger(requests: Requests) -> Iterator[bytes]:
    """One answer of Jaeger's API. Times in whole µs, cut so that no child ends after its parent by that alone."""
    yield b'{"data":['
    for at, trace in enumerate(traces(requests)):
        yield (b",\n" if at else b"\n") + json.dumps(
            trace, ensure_ascii=False, separators=(",", ":")
        ).encode()
    yield b'\n],"total":0,"limit":0,"offset":0,"errors":null}\n'


def traces(requests: Requests) -> Iterator[dict[str, Any]]:
    """Each trace as Jaeger's UI has it, in the order in which they came."""
    known = told(requests)
    rows_of: dict[str | None, list[int]] = {}
    ids = requests.spans.column("trace_id").to_pylist()
    writer = SpanWriter(requests.spans, known)
    for row in chosen_rows(requests, known):
        rows_of.setdefault(ids[row], []).append(row)
    for trace_id, rows in rows_of.items():
        if trace_id is not None:
            trace = TraceWriter(trace_id)
            trace.add(writer, rows)
            yield trace.document()


class TraceWriter:
    """One trace, out of the spans that one or more writers have of it."""

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self.warnings: list[str] = []
        """About the trace as a whole."""
        self._spans: list[dict[str, Any]] = []
        self._keys: dict[str, str] = {}
        self._processes: dict[str, Any] = {}

    def add(self, writer: SpanWriter, rows: Sequence[int]) -> None:
        """Adds these rows of one writer's spans."""
        for row in rows:
            identity, process = writer.process(row)
            key = self._keys.setdefault(identity, f"p{len(self._keys) + 1}")
            self._processes[key] = process
            if writer.has_id(row):
                self._spans.append(writer.span(self.trace_id, row, key))

    def document(self) -> dict[str, Any]:
        """As Jaeger's UI has it."""
        return {
            "traceID": self.trace_id,
            "spans": self._spans,
            "processes": self._processes,
            "warnings": self.warnings or None,
        }


class SpanWriter:
    """Spans, and what is told of each row."""

    def __init__(self, spans: Spans, known: Mapping[int, Told]) -> None:
        self._known = known
        self._columns = {name: spans._columns.column(name) for name in _COLUMNS}
        self._lists = {name: spans._columns.column(name) for name in ("attributes", "events", "links")}
        self._scopes = list(spans.scopes)
        self._resources = spans.resources.column("attributes")
        self._processes: dict[int, tuple[str, dict[str, Any]]] = {}

    def has_id(self, row: int) -> bool:
        """Jaeger has no spans without one."""
        return self._columns["span_id"][row] is not None

    def process(self, row: int) -> tuple[str, dict[str, Any]]:
        """What the process of a span is known by, and what is told of it."""
        return self._process(self._scopes[self._columns["scope_spans"][row]]["resource_spans"])

    def _process(self, resource: int) -> tuple[str, dict[str, Any]]:
        if resource not in self._processes:
            tags = _tags(self._resources[resource])
            service = next((tag["value"] for tag in tags if tag["key"] == "service.name"), "")
            others = [tag for tag in tags if tag["key"] != "service.name"]
            process = {"serviceName": str(service), "tags": others}
            self._processes[resource] = (json.dumps(process), process)
        return self._processes[resource]

    def span(self, trace_id: str, row: int, process: str) -> dict[str, Any]:
        """One span, of the process with this key."""
        value = {name: column[row] for name, column in self._columns.items()}
        start_us, end_us = (value[f"{edge}_time_unix_nano"] // 1000 for edge in ("start", "end"))
        known = self._known.get(row, NOTHING)
        references = [("CHILD_OF", trace_id, value["parent_span_id"])] if value["parent_span_id"] else []
        references += [
            ("FOLLOWS_FROM", link["trace_id"], link["span_id"])
            for link in self._lists["links"][row]
            if link["trace_id"] and link["span_id"]
        ]
        return {
            "traceID": trace_id,
            "spanID": value["span_id"],
            "operationName": value["name"],
            "references": [
                {"refType": kind, "traceID": trace, "spanID": span} for kind, trace, span in references
            ],
            "startTime": start_us,
            "duration": max(end_us - start_us, 0),
            "tags": [*self._of_span(value), *_tags(self._lists["attributes"][row]), *_of_told(known)],
            "logs": [
                {
                    "timestamp": event["time_unix_nano"] // 1000,
                    "fields": [_tag("event", event["name"]), *_tags(event["attributes"])],
                }
                for event in self._lists["events"][row]
            ],
            "processID": process,
            "warnings": list(known.repairs) or None,
        }

    def _of_span(self, value: dict[str, Any]) -> Iterator[Tag]:
        scope = self._scopes[value["scope_spans"]]
        told_of = {
            "otel.scope.name": scope["name"],
            "otel.scope.version": scope["version"],
            "span.kind": _KINDS.get(value["kind"]),
            "otel.status_code": _CODES.get(value["status_code"] or 0),
            "otel.status_description": value["status_message"],
            "w3c.tracestate": value["trace_state"],
        }
        yield from (_tag(key, text) for key, text in told_of.items() if text)
        if value["status_code"] == 2:
            yield _tag("error", value=True, kind="bool")


def _of_told(known: Told) -> Iterator[Tag]:
    if known.component is not None:
        yield _tag("k8strace.component", known.component)
        yield _tag("k8strace.phase", known.phase or "")
        yield _tag("k8strace.critical_ns", known.critical_ns, "int64")


def _tag(key: str, value: Any, kind: str = "string") -> Tag:
    return {"key": key, "type": kind, "value": value}


def _tags(attributes: Sequence[dict[str, Any]] | None) -> list[Tag]:
    """With their types. Nested values are bytes here, and numbers that JSON does not have are texts."""
    return [_typed(each) for each in attributes or ()]


def _typed(each: dict[str, Any]) -> Tag:
    if each["type"] in _TYPES:
        kind, column = _TYPES[each["type"]]
        value = each[column]
        if isinstance(value, float) and not math.isfinite(value):
            return _tag(each["key"], str(value))
        if kind == "int64" and abs(value) > SAFE:
            value = str(value)
        return _tag(each["key"], value, kind)
    if each["bytes_value"] is not None:
        return _tag(each["key"], base64.b64encode(each["bytes_value"]).decode(), "binary")
    return _tag(each["key"], "")
