"""
Jaeger's clock-skew vectors: what Jaeger answers, what we answer, and where that differs on purpose.

The vectors are the thirteen cases of Jaeger's adjuster tests, restated as numbers (ms). Span 1 is the CLIENT side of a
call, span 2 its SERVER side, span 3 below it. Jaeger looks at one span at a time; we ask what all calls between two
processes allow. The reasons for every difference are in docs/explanation/peers.md.
"""

from pathlib import Path
from typing import NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

import k8strace

HTTP = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
GRPC = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
MS = 1_000_000
EPOCH = 1_700_000_000_000
"""In ms: the vectors begin at 0, and real clocks do not."""


class Span(NamedTuple):
    id: int
    parent: int | None
    start: int
    duration: int
    host: str
    events: tuple[int, ...] = ()


class Case(NamedTuple):
    spans: tuple[Span, ...]
    limit_ms: int
    jaeger: tuple[int, ...]
    """Adjusted start of each span."""
    ours: tuple[int | None, ...]
    """The same; None for a span that is in no tree."""


ROOT = Span(1, None, 10, 100, "a")
SECOND = 1000

CASES = {
    "a missing parent": Case((Span(1, 99, 0, 100, "a"),), SECOND, (0,), (None,)),
    "a root without a host": Case((Span(1, None, 0, 100, ""),), SECOND, (0,), (0,)),
    "a repeated id": Case((Span(1, None, 0, 100, "a"), Span(1, None, 0, 100, "a")), SECOND, (0, 0), (0, 0)),
    "one host, inside": Case((Span(1, None, 0, 100, "a"), Span(2, 1, 10, 50, "a")), SECOND, (0, 10), (0, 10)),
    "one host, early": Case((ROOT, Span(2, 1, 0, 50, "a")), SECOND, (10, 0), (10, 0)),
    "two hosts, inside": Case((ROOT, Span(2, 1, 20, 50, "b")), SECOND, (10, 20), (10, 20)),
    "two hosts, longer than its caller": Case((ROOT, Span(2, 1, 20, 150, "b")), SECOND, (10, 20), (10, 20)),
    "early, beyond Jaeger's limit": Case((ROOT, Span(2, 1, 0, 50, "b")), 10, (10, 0), (10, 10)),
    "late, beyond Jaeger's limit": Case((ROOT, Span(2, 1, 80, 50, "b")), 10, (10, 80), (10, 60)),
    "early, Jaeger switched off": Case((ROOT, Span(2, 1, 0, 50, "b")), 0, (10, 0), (10, 10)),
    "early": Case((ROOT, Span(2, 1, 0, 50, "b", (5, 10))), SECOND, (10, 35), (10, 10)),
    "early and longer than its caller": Case((ROOT, Span(2, 1, 0, 150, "b")), SECOND, (10, 10), (10, 0)),
    "late, with a child": Case(
        (ROOT, Span(2, 1, 50, 70, "b"), Span(3, 2, 60, 20, "b", (65, 70))), SECOND, (10, 25, 35), (10, 40, 50)
    ),
}


def jaeger(spans: tuple[Span, ...], limit_ms: int) -> tuple[int, ...]:
    """Jaeger's rule by its description: inherit on one host, else fit or centre the child in its adjusted parent."""
    moved: dict[int, int] = {}
    adjusted = []
    by_id = {span.id: span for span in spans}
    for span in spans:
        parent = by_id.get(span.parent or 0)
        delta = 0 if parent is None else jaeger_delta(span, parent, moved[parent.id])
        applied = delta if abs(delta) <= limit_ms else 0
        moved[span.id] = applied
        adjusted.append(span.start + applied)
    return tuple(adjusted)


def jaeger_delta(span: Span, parent: Span, inherited: int) -> int:
    if span.host and span.host == parent.host:
        return inherited
    start = parent.start + inherited
    if span.duration > parent.duration:
        return max(start - span.start, 0)
    if start <= span.start and span.start + span.duration <= start + parent.duration:
        return 0
    return start + (parent.duration - span.duration) // 2 - span.start


def recorded(spans: tuple[Span, ...]) -> ExportTraceServiceRequest:
    """The vector as etcd calls of an apiserver, below a request that covers everything."""
    batch = ExportTraceServiceRequest()
    request = batch.resource_spans.add()
    request.resource.attributes.add(key="service.name").value.string_value = "apiserver"
    request.resource.attributes.add(key="service.instance.id").value.string_value = "a"
    http = request.scope_spans.add()
    http.scope.name = HTTP
    http.spans.add(
        trace_id=b"t" * 16,
        span_id=(1000).to_bytes(8, "big"),
        name="GET",
        kind=SpanMessage.SPAN_KIND_SERVER,
        start_time_unix_nano=(EPOCH - 1000) * MS,
        end_time_unix_nano=(EPOCH + 1000) * MS,
    )
    for span in spans:
        resource_spans = batch.resource_spans.add()
        service = "etcd" if span.host == "b" else "apiserver"
        for key, value in (("service.name", service), ("service.instance.id", span.host)):
            resource_spans.resource.attributes.add(key=key).value.string_value = value
        scope = resource_spans.scope_spans.add()
        scope.scope.name = GRPC
        message = scope.spans.add(
            trace_id=b"t" * 16,
            span_id=span.id.to_bytes(8, "big"),
            parent_span_id=(span.parent or 1000).to_bytes(8, "big"),
            name="etcdserverpb.KV/Range",
            kind={1: SpanMessage.SPAN_KIND_CLIENT, 2: SpanMessage.SPAN_KIND_SERVER}.get(span.id, 1),
            start_time_unix_nano=(EPOCH + span.start) * MS,
            end_time_unix_nano=(EPOCH + span.start + span.duration) * MS,
        )
        for at in span.events:
            message.events.add(name="event", time_unix_nano=(EPOCH + at) * MS)
    return batch


def ours(spans: tuple[Span, ...]) -> tuple[int | None, ...]:
    (request,) = k8strace.join(k8strace.decode(recorded(spans)))
    nodes = request.tree.nodes
    ids = [span.id.to_bytes(8, "big").hex() for span in spans]
    return tuple(nodes[i]["start_unix_nano"] // MS - EPOCH if i in nodes else None for i in ids)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_skew_vectors(case: Case) -> None:
    """Jaeger's rule gives Jaeger's expected answers, so it is the right rule to differ from; and ours are these."""
    assert jaeger(case.spans, case.limit_ms) == case.jaeger
    assert ours(case.spans) == case.ours


def test_the_page_lists_every_case_and_every_difference() -> None:
    """Each vector has its row in the documentation, with both answers."""
    with Path("docs/explanation/peers.md").open() as page:
        rows = [line for line in page if line.startswith("| ")]
    for name, case in CASES.items():
        (row,) = [line for line in rows if line.startswith(f"| {name} |")]
        cells = [cell.strip() for cell in row.split("|")[2:4]]
        assert cells == [
            ", ".join(map(str, case.jaeger)),
            ", ".join("-" if s is None else str(s) for s in case.ours),
        ]
