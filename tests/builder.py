"""Fixtures as real senders shape them: spans nested by hand, sent by process, scope and end.

    get = verb_span("Get", 10, 90, etcd_client("KV/Range", 20, 60, etcd_server("KV/Range", 25, 50)))
    batches = trace(apiserver_request("1.31", "GET", "/api/v1/pods/a", 0, 100, [get])).batches()

Times are nanoseconds. Ids count upwards in the order a tree is written: the first span of a trace
is 1, its first child 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

INTERNAL = trace_pb2.Span.SPAN_KIND_INTERNAL
SERVER = trace_pb2.Span.SPAN_KIND_SERVER
CLIENT = trace_pb2.Span.SPAN_KIND_CLIENT

HTTP = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
GRPC = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
FILTERS = "k8s.op/apiserver/pkg/endpoints/filterlatency"
TRACING = "k8s.io/component-base/tracing"
ETCD_SCOPE = "go.etcd.io/etcd"

Process = tuple[str, str]
APISERVER: Process = ("apiserver", "apiserver-a")
ETCD: Process = ("etcd", "etcd-0")
WEBHOOK: Process = ("webhook", "webhook-0")


@dataclass
class Span:
    """One span and what it caused; events are (time, name), links (trace_id, span_id)."""

    name: str
    start: int
    end: int
    children: list[Span] = field(default_factory=list)
    kind: int = INTERNAL
    scope: str = TRACING
    process: Process = APISERVER
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    events: list[tuple[int, str]] = field(default_factory=list)
    links: list[tuple[int, int]] = field(default_factory=list)
    dropped_events_count: int = 0


@dataclass
class Trace:
    """The trees of one trace; their tops' parent id, when given, is that of an absent span."""

    trace_id: int
    roots: list[Span] = field(default_factory=list)
    parent_span_id: int = 0
    first_span_id: int = 1

    def span(self, name: str, start: int, end: int, **fields: Any) -> Trace:
        """Add a tree."""
        self.roots.append(Span(name, start, end, **fields))
        return self

    def batches(self) -> list[ExportTraceServiceRequest]:
        """Send the trace: one message per process."""
        return batches(self)


def trace(*roots: Span, trace_id: int = 1, parent_span_id: int = 0) -> Trace:
    """Start a trace with the given trees."""
    return Trace(trace_id, list(roots), parent_span_id)


def batches(*traces: Trace) -> list[ExportTraceServiceRequest]:
    """Send traces: one message per process, spans by scope in the order they ended."""
    sent = [(span, message) for each in traces for span, message in _messages(each)]
    sent.sort(key=lambda item: (item[0].process, item[0].scope, item[0].end))
    requests = []
    for process, of_process in groupby(sent, key=lambda item: item[0].process):
        request = ExportTraceServiceRequest()
        of_resource = request.resource_spans.add()
        named = zip(("service.name", "service.instance.id"), process, strict=True)
        of_resource.resource.attributes.extend(_pair(key, text) for key, text in named if text)
        for scope, of_scope in groupby(of_process, key=lambda item: item[0].scope):
            scope_spans = of_resource.scope_spans.add()
            scope_spans.scope.name = scope
            scope_spans.spans.extend(message for _, message in of_scope)
        requests.append(request)
    return requests


def _messages(each: Trace) -> Iterator[tuple[Span, trace_pb2.Span]]:
    waiting = [(root, each.parent_span_id) for root in reversed(each.roots)]
    number = each.first_span_id - 1
    while waiting:
        span, parent = waiting.pop()
        number += 1
        yield span, _message(span, each.trace_id, number, parent)
        waiting.extend((child, number) for child in reversed(span.children))


def _message(span: Span, trace_id: int, span_id: int, parent: int) -> trace_pb2.Span:
    message = trace_pb2.Span(
        trace_id=trace_id.to_bytes(16, "big"),
        span_id=span_id.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=span.name,
        kind=span.kind,  # type: ignore[arg-type]
        start_time_unix_nano=span.start,
        end_time_unix_nano=span.end,
        attributes=[_pair(key, value) for key, value in span.attributes.items()],
        dropped_events_count=span.dropped_events_count,
    )
    for time, name in span.events:
        message.events.add(time_unix_nano=time, name=name)
    for linked_trace, linked_span in span.links:
        message.links.add(trace_id=linked_trace.to_bytes(16, "big"), span_id=linked_span.to_bytes(8, "big"))
    return message


def _pair(key: str, value: str | int) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    return KeyValue(key=key, value=AnyValue(int_value=value))


# ── What the processes send ───────────────────────────────────────────────────────────────────────


def apiserver_request(  # noqa: PLR0913
    version: str,
    method: str,
    target: str,
    start: int,
    end: int,
    inner: list[Span],
    *,
    template: str = "",
    privileged: bool = False,
    status: int | None = 200,
    **fields: Any,
) -> Span:
    """One API request around its verb span, in the shape of Kubernetes "1.28", "1.31" or "1.34".

    Up to 1.31 the `authentication` filter ends one nanosecond after it starts and is still the
    parent of the handler. In 1.34 five nested filters contain the handler, and a privileged caller
    has its `authentication` above the request; any other caller's is a trace of its own, not made
    here. The template is the path in the span name since 1.31; none means a non-resource request.
    """
    root = Span(_root_name(version, method, template), start, end, [], SERVER, HTTP, **fields)
    answered = {} if status is None else {"http.status_code": status}
    root.attributes = {"http.method": method, "http.target": target, **answered, **root.attributes}
    if version in ("1.28", "1.31"):
        root.children = [Span("authentication", start, min(start + 1, end), inner, scope=FILTERS)]
        return root
    for name in ("authorization", "priorityandfairness", "impersonation", "audit"):
        inner = [Span(name, start, end, inner, scope=FILTERS)]
    root.children = inner
    return Span("authentication", start, end, [root], scope=FILTERS) if privileged else root


def _root_name(version: str, method: str, template: str) -> str:
    return "KubernetesAPI" if version == "1.28" else f"{method} {template}".strip()


def verb_span(verb: str, start: int, end: int, *children: Span, **fields: Any) -> Span:
    """Make a handler span: Create, Get, List, Update, Patch or Delete."""
    return Span(verb, start, end, list(children), **fields)


def etcd_client(method: str, start: int, end: int, *children: Span, **fields: Any) -> Span:
    """Make a call of etcd such as `KV/Txn`."""
    return Span(f"etcdserverpb.{method}", start, end, list(children), CLIENT, GRPC, **fields)


def etcd_server(method: str, start: int, end: int, *children: Span, **fields: Any) -> Span:
    """Make etcd's side of a call."""
    return Span(f"etcdserverpb.{method}", start, end, list(children), SERVER, GRPC, ETCD, **fields)


def etcd_internal(name: str, start: int, end: int, **fields: Any) -> Span:
    """Make a span inside etcd, such as `txn`, which etcd has since 3.7."""
    return Span(name, start, end, [], INTERNAL, ETCD_SCOPE, ETCD, **fields)


def webhook(kind: str, start: int, end: int, call: tuple[int, int], *served: Span) -> Span:
    """Make a `Call mutating webhook` or `Call validating webhook` with its HTTP call."""
    return Span(f"Call {kind} webhook", start, end, [Span("HTTP POST", *call, list(served), CLIENT, HTTP)])
