"""The shapes that kube-apiserver and etcd send, one builder per group of versions, and their trees as text.

Times are microseconds after `EPOCH`, which is added on sending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from builder import FILTERS, HTTP, SERVER, Span, Trace, batches, etcd_client, etcd_server, trace, verb_span

import k8strace

EPOCH = 1_790_000_000_000_000_000
US = 1_000
PODS = "/api/v1/namespaces/default/pods"
TEMPLATE = "POST /api/v1/namespaces/{:namespace}/pods"


def sent(*traces: Trace) -> list[Any]:
    """The traces, their times in µs after `EPOCH`."""
    messages = batches(*traces)
    for message in messages:
        for by_resource in message.resource_spans:
            for by_scope in by_resource.scope_spans:
                for span in by_scope.spans:
                    span.start_time_unix_nano = EPOCH + span.start_time_unix_nano * US
                    span.end_time_unix_nano = EPOCH + span.end_time_unix_nano * US
                    for event in span.events:
                        event.time_unix_nano = EPOCH + event.time_unix_nano * US
    return messages


def joined(*traces: Trace) -> k8strace.Requests:
    return k8strace.join(k8strace.decode(sent(*traces)))


def drawn(request: k8strace.Request, at: int = 0) -> str:
    """The tree of a request, a line per span, times after `at`."""
    tree = request.tree

    def lines(node: str, depth: int) -> Iterator[str]:
        span = tree.nodes[node]
        start, end = ((span[f"{end}_unix_nano"] - EPOCH) // US - at for end in ("start", "end"))
        yield f"{'  ' * depth}{span['name']} {start}-{end}"
        for child in tree.successors(node):
            yield from lines(child, depth + 1)

    root = next(node for node in tree if tree.in_degree(node) == 0)
    return "\n".join(lines(root, 0))


OLD = {"http.method": "POST", "http.target": PODS, "http.status_code": 201}
NEW = {"http.request.method": "POST", "url.path": PODS, "http.target": PODS, "http.response.status_code": 201}
EARLY = {"http.method": "POST", "http.target": PODS}
"""What a request's SERVER span of 1.33 has: it is ended before there is a status."""


def server(name: str, start: int, end: int, *children: Span, **fields: Any) -> Span:
    """The SERVER span of a request."""
    return Span(name, start, end, list(children), SERVER, HTTP, **{"attributes": OLD, **fields})


def filtered(names: str, start: int, end: int, *children: Span) -> Span:
    """Filter spans, each in the one before."""
    inner = list(children)
    for name in reversed(names.split()):
        inner = [Span(name, start, end, inner, scope=FILTERS)]
    return inner[0]


def txn(start: int, end: int) -> Span:
    """A Txn with its SERVER span."""
    return etcd_client("KV/Txn", start, end, etcd_server("KV/Txn", start + 1, end - 1))


def handler(start: int, end: int, serialize: bool = True) -> Span:
    """A create that writes once, and answers."""
    write = Span("Create etcd3", start + 10, end - 20, [txn(start + 15, end - 25)])
    below = [write, Span("SerializeObject", end - 15, end - 5)] if serialize else [write]
    return verb_span("Create", start, end, *below)


def shape_1_22(trace_id: int = 1, at: int = 0) -> list[Trace]:
    """1.22 to 1.25: nothing between the request and etcd."""
    return [trace(server("KubernetesAPI", at, at + 100, txn(at + 20, at + 80)), trace_id=trace_id)]


def shape_1_28(trace_id: int = 1, at: int = 0) -> list[Trace]:
    """1.26 to 1.30: all is below an `authentication` that has ended; `SerializeObject` is beside its verb span."""
    inner = [handler(at + 10, at + 95, serialize=False), Span("SerializeObject", at + 80, at + 90)]
    ended = Span("authentication", at + 1, at + 5, inner, scope=FILTERS)
    return [trace(server("KubernetesAPI", at, at + 100, ended), trace_id=trace_id)]


def shape_1_32(trace_id: int = 1, at: int = 0) -> list[Trace]:
    """1.31 and 1.32: the same under another name; from 1.32 on `SerializeObject` is under its verb span."""
    ended = Span("authentication", at + 1, at + 5, [handler(at + 10, at + 95)], scope=FILTERS)
    return [trace(server(TEMPLATE, at, at + 100, ended), trace_id=trace_id)]


def shape_1_33(trace_id: int = 1, at: int = 0) -> list[Trace]:
    """1.33, ordinary user: the request is ended after the audit filter; `authentication` is a trace of its own."""
    root = server(TEMPLATE, at + 10, at + 12, handler(at + 15, at + 90), attributes=EARLY)
    before = Span("authentication", at, at + 9, scope=FILTERS)
    return [trace(root, trace_id=trace_id), trace(before, trace_id=trace_id + 1000)]


FILTER_NAMES = "audit constrainedimpersonation priorityandfairness authorization"


def shape_1_34(trace_id: int = 1, at: int = 0, late: int = 1, **fields: Any) -> list[Trace]:
    """1.34 and later, ordinary user: filters hold each other, and `authentication` all of them, in another trace."""
    inner = filtered(FILTER_NAMES, at + 12, at + 98, handler(at + 15, at + 95))
    root = server(TEMPLATE, at + 10, at + 100, inner, **fields)
    around = Span("authentication", at, at + 100 + late, scope=FILTERS)
    return [trace(root, trace_id=trace_id), trace(around, trace_id=trace_id + 1000)]


def shape_1_34_privileged(trace_id: int = 1, at: int = 0) -> list[Trace]:
    """1.34 and later, system:masters: `authentication` is the parent of the request."""
    inner = filtered(FILTER_NAMES, at + 12, at + 98, handler(at + 15, at + 95))
    root = server(TEMPLATE, at + 10, at + 100, inner)
    return [trace(Span("authentication", at, at + 101, [root], scope=FILTERS), trace_id=trace_id)]


SHAPES: list[Callable[[int, int], list[Trace]]] = [
    shape_1_22,
    shape_1_28,
    shape_1_32,
    shape_1_33,
    shape_1_34,
    shape_1_34_privileged,
]
