"""Hypothesis strategies: requests as they should be, as they are, and as bytes that broke.

Names, kinds, scopes and services come in fixed combinations (`SHAPES`), because the definitions
name spans by all four. Everything else is drawn: times from a small range, so that ties, touching
intervals and empty ones are common, and parents that are missing, circular, or of the wrong length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from builder import CLIENT, ETCD_SCOPE, FILTERS, GRPC, HTTP, INTERNAL, SERVER, TRACING
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

Requests = list[ExportTraceServiceRequest]

U32, U64 = 2**32 - 1, 2**64 - 1
TRACE = (1).to_bytes(16, "big")


class Shape(NamedTuple):
    """A kind of span that the definitions tell apart."""

    service: str
    scope: str
    kind: int
    name: str
    events: tuple[str, ...] = ()


ROOT = Shape("apiserver", HTTP, SERVER, "KubernetesAPI")
AUTHENTICATION = Shape("apiserver", FILTERS, INTERNAL, "authentication")
AUDIT = AUTHENTICATION._replace(name="audit")
CREATE = Shape("apiserver", TRACING, INTERNAL, "Create", ("About to write a response",))
SERIALIZE = Shape("apiserver", TRACING, INTERNAL, "SerializeObject", ("Write call succeeded",))
HTTP_CLIENT = Shape("apiserver", HTTP, CLIENT, "HTTP POST")
TXN_CLIENT = Shape("apiserver", GRPC, CLIENT, "etcdserverpb.KV/Txn", ("message",))
TXN_SERVER = Shape("etcd", GRPC, SERVER, "etcdserverpb.KV/Txn")
SHAPES = [
    ROOT,
    AUTHENTICATION,
    CREATE,
    SERIALIZE,
    HTTP_CLIENT,
    TXN_CLIENT,
    TXN_SERVER,
    *(CREATE._replace(name=name) for name in ("Get", "List", "Update", "Patch", "Delete")),
    *(CREATE._replace(name=name) for name in ("cacher.Watch", "WatchServer.HandleHTTP")),
    Shape("apiserver", FILTERS, INTERNAL, "authorization"),
    AUDIT,
    Shape("apiserver", TRACING, INTERNAL, "Create etcd3", ("About to Encode", "Encode succeeded")),
    Shape("apiserver", TRACING, INTERNAL, "Call mutating webhook", ("Request completed",)),
    Shape("apiserver", GRPC, CLIENT, "etcdserverpb.KV/Range"),
    Shape("etcd", GRPC, SERVER, "etcdserverpb.KV/Range"),
    Shape("etcd", ETCD_SCOPE, INTERNAL, "txn", ("Send raft proposal", "Receive raft result")),
    Shape("webhook", HTTP, SERVER, "POST /validate"),
    Shape("", "", 0, ""),
]
BELOW = {
    "": [ROOT, ROOT, AUTHENTICATION, HTTP_CLIENT, TXN_CLIENT],
    "HTTP POST": [ROOT],
    "KubernetesAPI": [AUTHENTICATION, AUDIT, CREATE, SERIALIZE],
    "authentication": [ROOT, CREATE, SERIALIZE],
    "Create": [TXN_CLIENT, SERIALIZE, HTTP_CLIENT],
    "etcdserverpb.KV/Txn": [TXN_SERVER],
}
TARGETS = [
    ("GET", "/api/v1/namespaces/default/pods/a"),
    ("GET", "/apis/apps/v1/deployments?limit=500"),
    ("GET", "/api/v1/pods?watch=true"),
    ("POST", "/api/v1/namespaces/default/pods/a/binding"),
    ("DELETE", "/apis/apps/v1/namespaces/default/deployments"),
    ("GET", "/healthz"),
]

# ── Values ────────────────────────────────────────────────────────────────────────────────────────

texts = st.text(max_size=8)
scalars = st.one_of(
    st.just(AnyValue()),
    st.builds(AnyValue, string_value=texts),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=8)),
)


def pairs(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    """Attributes with distinct keys, the empty key among them."""
    pair = st.builds(KeyValue, key=texts, value=values)
    return st.lists(pair, max_size=3, unique_by=lambda pair: pair.key)


def _nested(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
    arrays = st.builds(ArrayValue, values=st.lists(values, max_size=3))
    return st.one_of(
        st.builds(AnyValue, array_value=arrays),
        st.builds(AnyValue, kvlist_value=st.builds(KeyValueList, values=pairs(values))),
    )


any_values = st.recursive(scalars, _nested, max_leaves=6)
attributes = pairs(any_values)
times = st.one_of(st.integers(0, 24), st.integers(0, 24), st.integers(0, U64))
small_times = st.integers(0, 24)
odd_ids = st.binary(max_size=20)


# ── Trees ─────────────────────────────────────────────────────────────────────────────────────────


class _Sent(NamedTuple):
    """A span and the envelope it travels in."""

    service: str
    instance: str
    scope: str
    span: Span


@st.composite
def clean_trees(draw: st.DrawFn, max_spans: int = 12) -> Requests:
    """One request whose children lie inside their parents, in one message per envelope."""
    start, end = 0, draw(st.integers(0, 100))
    sent = [_draw_span(draw, ROOT, TRACE, 1, b"", (start, end))]
    for number in range(2, draw(st.integers(1, max_spans)) + 1):
        parent = draw(st.sampled_from(sent)).span
        low = draw(st.integers(parent.start_time_unix_nano, parent.end_time_unix_nano))
        high = draw(st.integers(low, parent.end_time_unix_nano))
        shape = draw(st.sampled_from(SHAPES[2:]))
        sent.append(_draw_span(draw, shape, TRACE, number, parent.span_id, (low, high)))
    return _envelopes(draw, sent)


@st.composite
def dirty_batches(draw: st.DrawFn, max_spans: int = 16, full: bool = False) -> Requests:
    """Spans of one to three traces with every defect; full adds attributes and wide times."""
    sent: list[_Sent] = []
    for number in range(1, draw(st.integers(0, max_spans)) + 1):
        trace_id, parent, above = _draw_parent(draw, sent)
        shape = _draw_shape(draw, above)
        when = times if full else small_times
        start = draw(when)
        end = draw(st.one_of(when, st.just(start)))
        sent.append(_draw_span(draw, shape, trace_id, number, parent, (start, end), full))
    copied = draw(st.lists(st.sampled_from(sent), max_size=3)) if sent else []
    sent += [_draw_copy(draw, each) for each in copied]
    _draw_cycles(draw, sent)
    return _envelopes(draw, draw(st.permutations(sent)))


def _draw_parent(draw: st.DrawFn, sent: list[_Sent]) -> tuple[bytes, bytes, str]:
    """Choose a trace, a parent id and the name of that parent, empty when it is no earlier span."""
    trace_id = draw(st.sampled_from([1, 1, 1, 2, 3])).to_bytes(16, "big")
    how = draw(st.sampled_from(["earlier"] * 7 + ["none", "missing", "odd"]))
    if how == "earlier" and sent:
        above = draw(st.sampled_from(sent)).span
        return above.trace_id, above.span_id, above.name
    if how == "missing":
        return trace_id, (999).to_bytes(8, "big"), ""
    return trace_id, draw(odd_ids) if how == "odd" else b"", ""


def _draw_shape(draw: st.DrawFn, above: str) -> Shape:
    """Choose a shape, half of the time one that belongs below the parent."""
    if above in BELOW and draw(st.booleans()):
        return draw(st.sampled_from(BELOW[above]))
    return draw(st.sampled_from(SHAPES))


def _draw_span(
    draw: st.DrawFn,
    shape: Shape,
    trace_id: bytes,
    number: int,
    parent: bytes,
    interval: tuple[int, int],
    full: bool = False,
) -> _Sent:
    span = Span(
        trace_id=trace_id,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent,
        name=shape.name,
        kind=shape.kind,  # type: ignore[arg-type]
        start_time_unix_nano=interval[0],
        end_time_unix_nano=interval[1],
    )
    if shape == ROOT:
        method, target = draw(st.sampled_from(TARGETS))
        span.attributes.add(key="http.method").value.string_value = method
        span.attributes.add(key="http.target").value.string_value = target
        if draw(st.booleans()):
            span.attributes.add(key="http.status_code").value.int_value = 200
    for name in draw(st.lists(st.sampled_from((*shape.events, "unknown")), max_size=4)):
        span.events.add(time_unix_nano=draw(small_times), name=name)
    span.dropped_events_count = draw(st.sampled_from([0, 0, 0, 1]))
    for linked in draw(st.lists(st.integers(1, 6), max_size=1)):
        span.links.add(trace_id=TRACE, span_id=linked.to_bytes(8, "big"))
    if full:
        _draw_details(draw, span)
    instance = f"{shape.service}-a" if shape.service else ""
    instance = draw(st.sampled_from([instance, instance, f"{shape.service}-b", ""]))
    return _Sent(shape.service, instance, shape.scope, span)


def _draw_details(draw: st.DrawFn, span: Span) -> None:
    """Fill what the join does not look at, and sometimes spoil the identity."""
    span.attributes.extend(draw(attributes))
    for event in span.events:
        event.attributes.extend(draw(attributes))
        event.dropped_attributes_count = draw(st.integers(0, U32))
    for link in span.links:
        link.attributes.extend(draw(attributes))
        link.trace_state, link.flags = draw(texts), draw(st.integers(0, U32))
    span.trace_state, span.flags = draw(texts), draw(st.integers(0, U32))
    span.dropped_attributes_count = draw(st.integers(0, U32))
    span.status.CopyFrom(Status(code=draw(st.sampled_from([0, 1, 2])), message=draw(texts)))  # type: ignore[arg-type]
    if draw(st.integers(0, 9)) == 0:
        span.trace_id, span.span_id = draw(odd_ids), draw(odd_ids)


def _draw_copy(draw: st.DrawFn, copied: _Sent) -> _Sent:
    """Repeat a span, exactly or with one thing changed."""
    span = Span()
    span.CopyFrom(copied.span)
    change = draw(st.sampled_from(["nothing", "nothing", "end", "event"]))
    if change == "end":
        span.end_time_unix_nano = draw(small_times)
    if change == "event":
        span.events.add(time_unix_nano=draw(small_times), name="unknown")
    return copied._replace(span=span)


def _draw_cycles(draw: st.DrawFn, sent: list[_Sent]) -> None:
    """Now and then, let a span be its own ancestor."""
    if not sent or draw(st.integers(0, 3)):
        return
    child, parent = draw(st.sampled_from(sent)).span, draw(st.sampled_from(sent)).span
    child.parent_span_id = parent.span_id


def _envelopes(draw: st.DrawFn, sent: list[_Sent]) -> Requests:
    """Pack spans in order, starting a new message or envelope whenever drawn or needed."""
    requests: Requests = []
    resource_spans: Any = None
    last: tuple[str, str] | None = None
    for each in sent:
        if not requests or draw(st.integers(0, 5)) == 0:
            requests.append(ExportTraceServiceRequest())
            last = None
        if last != (each.service, each.instance):
            resource_spans = requests[-1].resource_spans.add()
            for key, text in (
                ("service.name", each.service),
                ("service.instance.id", each.instance),
            ):
                if text:
                    resource_spans.resource.attributes.add(key=key).value.string_value = text
            last = (each.service, each.instance)
        scopes = resource_spans.scope_spans
        if not scopes or scopes[-1].scope.name != each.scope:
            scopes.add().scope.name = each.scope
        scopes[-1].spans.append(each.span)
    return requests


# ── Bytes ─────────────────────────────────────────────────────────────────────────────────────────

payloads = dirty_batches(max_spans=4, full=True).map(
    lambda requests: b"".join(request.SerializeToString() for request in requests)
)


@st.composite
def damaged_bytes(draw: st.DrawFn, whole: st.SearchStrategy[bytes] = payloads) -> bytes:
    """Bytes that were a message once: cut short, bits flipped, or pieces of another put in."""
    data = bytearray(draw(whole))
    for damage in draw(st.lists(st.sampled_from(["cut", "flip", "splice"]), min_size=1, max_size=3)):
        at = draw(st.integers(0, len(data)))
        if damage == "cut":
            del data[at:]
        elif damage == "splice":
            until = draw(st.integers(at, len(data)))
            data[at:until] = draw(st.one_of(st.binary(max_size=12), whole))
        elif at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)
