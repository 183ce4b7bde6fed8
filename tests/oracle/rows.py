"""Reading: one row per span, by the official classes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

INTERNAL, SERVER, CLIENT = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT

VERB_SPANS = {"Create", "Get", "List", "Update", "Patch", "Delete"}

Id = tuple[bytes, bytes]


class Event(NamedTuple):
    """One span event."""

    time: int
    name: str
    attributes: dict[str, Any]
    dropped_attributes_count: int


class Link(NamedTuple):
    """One span link."""

    trace_id: bytes
    span_id: bytes
    trace_state: str
    attributes: dict[str, Any]
    dropped_attributes_count: int
    flags: int


class Row(NamedTuple):
    """One span with everything that came with it; `content` is equal for exact repeats only."""

    number: int
    batch: int
    resource: dict[str, Any]
    resource_dropped: int
    resource_schema_url: str
    scope_name: str
    scope_version: str
    scope: dict[str, Any]
    scope_dropped: int
    scope_schema_url: str
    trace_id: bytes
    span_id: bytes
    trace_state: str
    parent_span_id: bytes
    flags: int
    name: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    dropped_attributes_count: int
    events: tuple[Event, ...]
    dropped_events_count: int
    links: tuple[Link, ...]
    dropped_links_count: int
    status_code: int
    status_message: str
    content: tuple[bytes, ...]

    @property
    def id(self) -> Id:
        """The identity of a span."""
        return self.trace_id, self.span_id

    @property
    def has_id(self) -> bool:
        """Whether trace and span have an id of the right length that is not all zeros."""
        return _usable(self.trace_id, 16) and _usable(self.span_id, 8)

    @property
    def parent_id(self) -> bytes:
        """The parent's span id, empty when it is absent, of a wrong length or all zeros."""
        return self.parent_span_id if _usable(self.parent_span_id, 8) else b""

    @property
    def service(self) -> Any:
        """The resource's service.name, or None."""
        return self.resource.get("service.name")

    @property
    def process(self) -> Any:
        """The service.instance.id when it is a non-empty string, else the whole resource."""
        instance = self.resource.get("service.instance.id")
        return instance if isinstance(instance, str) and instance else self.content[0]

    @property
    def is_request(self) -> bool:
        """Whether this is the root of a request."""
        return self.kind == SERVER and self.is_http and self.service == "apiserver"

    @property
    def is_authentication(self) -> bool:
        """Whether this is the apiserver's authentication filter."""
        return self.kind == INTERNAL and self.name == "authentication" and self.service == "apiserver"

    @property
    def is_unanswered(self) -> bool:
        """Whether this tells its HTTP method, and no status."""
        methods = (self.attributes.get(key) for key in ("http.request.method", "http.method"))
        statuses = (self.attributes.get(key) for key in ("http.response.status_code", "http.status_code"))
        return any(isinstance(text, str) for text in methods) and not any(
            type(number) is int for number in statuses
        )

    @property
    def is_handler(self) -> bool:
        """Whether this is the span of a request's handler."""
        return (
            self.kind == INTERNAL and self.service == "apiserver" and self.name in VERB_SPANS | {"WatchList"}
        )

    @property
    def is_etcd_client(self) -> bool:
        """Whether this is an etcd call of the apiserver."""
        return self.kind == CLIENT and self.is_grpc and self.is_etcd_rpc and self.service == "apiserver"

    @property
    def is_sync(self) -> bool:
        """Whether this is a kubelet's work on a pod."""
        return (
            self.kind == INTERNAL
            and self.scope_name == "k8s.io/kubernetes/pkg/kubelet"
            and self.name in {"syncPod", "syncTerminatingPod", "syncTerminatedPod"}
        )

    @property
    def is_cri(self) -> bool:
        """Whether this is either side of a call to a container runtime."""
        return self.is_grpc and self.name.startswith("runtime.v1")

    @property
    def is_command(self) -> bool:
        """Whether this is the call by which a kubelet runs a probe or a hook."""
        return self.is_cri and self.kind == CLIENT and self.name.endswith("/ExecSync")

    @property
    def is_kubelets(self) -> bool:
        """Whether a kubelet sent this."""
        return self.service == "kubelet" or (self.is_cri and self.kind == CLIENT)

    @property
    def is_runtimes(self) -> bool:
        """Whether a container runtime sent this."""
        answers = self.is_cri and self.kind == SERVER
        return (
            self.service in {"containerd", "crio", "cri-o"} or answers or self.name.startswith("containerd.")
        )

    @property
    def is_http(self) -> bool:
        """Whether the scope is the HTTP instrumentation."""
        return self.scope_name.endswith("net/http/otelhttp")

    @property
    def is_grpc(self) -> bool:
        """Whether the scope is the gRPC instrumentation."""
        return self.scope_name.endswith("otelgrpc")

    @property
    def is_etcd_rpc(self) -> bool:
        """Whether the name is that of an etcd RPC."""
        return self.name.startswith("etcdserverpb.")


def _usable(id: bytes, length: int) -> bool:
    return len(id) == length and any(id)


def load(path: str | Path) -> list[ExportTraceServiceRequest]:
    """Read a capture: one zstd stream of messages, each behind a big-endian u32 length."""
    with Path(path).open("rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    batches, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        batches.append(ExportTraceServiceRequest.FromString(data[at + 4 : at + 4 + length]))
        at += 4 + length
    return batches


def value(any_value: AnyValue) -> Any:
    """The Python value of an AnyValue; unset is None, a key-value list is a dict."""
    kind = any_value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [value(item) for item in any_value.array_value.values]
    if kind == "kvlist_value":
        return attributes(any_value.kvlist_value.values)
    return getattr(any_value, kind)


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes as a dict; of repeated keys, which OTLP forbids, the last one stays."""
    return {pair.key: value(pair.value) for pair in pairs}


def spans(batches: Iterable[ExportTraceServiceRequest]) -> list[Row]:
    """Every span of the batches, in the order of the wire."""
    rows: list[Row] = []
    for number, batch in enumerate(batches):
        for by_resource in batch.resource_spans:
            for by_scope in by_resource.scope_spans:
                for span in by_scope.spans:
                    rows.append(_row(len(rows), number, by_resource, by_scope, span))
    return rows


def _row(number: int, batch: int, by_resource: Any, by_scope: Any, span: Span) -> Row:
    resource, scope = by_resource.resource, by_scope.scope
    return Row(
        number=number,
        batch=batch,
        resource=attributes(resource.attributes),
        resource_dropped=resource.dropped_attributes_count,
        resource_schema_url=by_resource.schema_url,
        scope_name=scope.name,
        scope_version=scope.version,
        scope=attributes(scope.attributes),
        scope_dropped=scope.dropped_attributes_count,
        scope_schema_url=by_scope.schema_url,
        trace_id=span.trace_id,
        span_id=span.span_id,
        trace_state=span.trace_state,
        parent_span_id=span.parent_span_id,
        flags=span.flags,
        name=span.name,
        kind=span.kind,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=attributes(span.attributes),
        dropped_attributes_count=span.dropped_attributes_count,
        events=tuple(_event(event) for event in span.events),
        dropped_events_count=span.dropped_events_count,
        links=tuple(_link(link) for link in span.links),
        dropped_links_count=span.dropped_links_count,
        status_code=span.status.code,
        status_message=span.status.message,
        content=tuple(part.SerializeToString(deterministic=True) for part in (resource, scope, span)),
    )


def _event(event: Span.Event) -> Event:
    return Event(
        event.time_unix_nano,
        event.name,
        attributes(event.attributes),
        event.dropped_attributes_count,
    )


def _link(link: Span.Link) -> Link:
    return Link(
        link.trace_id,
        link.span_id,
        link.trace_state,
        attributes(link.attributes),
        link.dropped_attributes_count,
        link.flags,
    )
