"""The same job as one would write it in Python today: official classes, dictionaries, networkx.

    python benchmarks/baseline.py FILE

It reads every attribute and event, joins by (trace_id, parent_span_id), repairs the known shapes,
builds a graph per request, walks its critical path and sums the time by phase. The phases come
from the caller, so that both sides of a comparison apply the same taxonomy. Times are integer
nanoseconds.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import networkx as nx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

INTERNAL, SERVER, CLIENT = 1, 2, 3
VERB_SPANS = frozenset(("Create", "Get", "List", "Update", "Patch", "Delete"))
UPDATES = frozenset(("GuaranteedUpdate etcd3",))
CONTAINERS = {  # spans sent beside the span they happened in -> names of what contains them
    "SerializeObject": VERB_SPANS,
    "Call mutating webhook": UPDATES,
    "Call validating webhook": UPDATES,
}
VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


class Signature(NamedTuple):
    """What a rule may look at; the parent is None at a request root."""

    service: str
    scope: str
    kind: int
    name: str
    parent: str | None
    leaf: bool
    request_verb: str | None
    detail: str | None = None


Classify = Callable[[Signature], str]
Below = Callable[[str, str], str]
EventPhase = Callable[[Signature, str], tuple[str | None, str | None] | None]


class Span(NamedTuple):
    """One span as read; events are (time, name, attributes)."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[tuple[int, str, dict[str, Any]]]
    dropped_events_count: int
    links: list[tuple[bytes, bytes]]
    status: tuple[int, str]
    resource: dict[str, Any]
    scope: str

    @property
    def is_request(self) -> bool:
        """Whether this is the root of a request."""
        return (
            self.kind == SERVER
            and self.scope.endswith("net/http/otelhttp")
            and self.resource.get("service.name") == "apiserver"
        )


class RequestTime(NamedTuple):
    """Where the time of one request went; the phases add up to the wall time."""

    trace_id: bytes
    span_id: bytes
    verb: str
    resource: str
    wall_ns: int
    phases: dict[str, int]


class Result(NamedTuple):
    """The spans read, the requests in order of their roots, and sums by (verb, resource)."""

    spans: int
    requests: list[RequestTime]
    groups: dict[tuple[str, str], dict[str, int]]


def run(
    batches_bytes: Iterable[bytes], classify: Classify, event_phase: EventPhase = lambda *_: None
) -> Result:
    """Attribute the time of each request in serialized ExportTraceServiceRequest messages."""
    trees = Trees(read(batches_bytes))
    requests = attribute(trees, classify, event_phase)
    groups: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for request in requests:
        group = groups[request.verb, request.resource]
        for phase, ns in request.phases.items():
            group[phase] += ns
    return Result(len(trees.spans), requests, {key: dict(group) for key, group in groups.items()})


def read(batches_bytes: Iterable[bytes]) -> list[Span]:
    """Read all spans of the messages."""
    return [span for data in batches_bytes for span in spans(data)]


def attribute(
    trees: Trees, classify: Classify, event_phase: EventPhase = lambda *_: None, **blame: Any
) -> list[RequestTime]:
    """Divide the wall time of every request; `blame` is as `Phases` takes it."""
    phases = Phases(trees, classify, event_phase, **blame)
    return [phases.request(root) for root in trees.requests]


# ── Reading ───────────────────────────────────────────────────────────────────────────────────────


def spans(data: bytes) -> Iterator[Span]:
    """Read every field of every span."""
    request = ExportTraceServiceRequest()
    request.ParseFromString(data)
    for resource_spans in request.resource_spans:
        resource = read_attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope.name
            for span in scope_spans.spans:
                yield Span(
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    span.name,
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    read_attributes(span.attributes),
                    [(e.time_unix_nano, e.name, read_attributes(e.attributes)) for e in span.events],
                    span.dropped_events_count,
                    [(link.trace_id, link.span_id) for link in span.links],
                    (span.status.code, span.status.message),
                    resource,
                    scope,
                )


def read_attributes(pairs: Any) -> dict[str, Any]:
    """Attributes as a dict of Python values."""
    return {pair.key: read_value(pair.value) for pair in pairs}


def read_value(value: Any) -> Any:
    """The Python value of an AnyValue, None when unset."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return read_attributes(value.kvlist_value.values)
    if kind == "array_value":
        return [read_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


# ── Joining ───────────────────────────────────────────────────────────────────────────────────────


class Trees:
    """Spans by number, each with its parent and children after the repairs."""

    def __init__(self, read: list[Span]) -> None:
        self.spans = read
        self.by_id = self._distinct()
        self.parents: dict[int, int] = {}
        for number in self.by_id.values():
            span = read[number]
            parent = self.by_id.get((span.trace_id, span.parent_span_id))
            if span.parent_span_id and parent is not None:
                self.parents[number] = parent
        self._cut_cycles()
        self._repair_authentication()
        self.children = self._by_parent()
        self._repair_siblings()
        self.children = self._by_parent()
        self.requests = [number for number in sorted(self.by_id.values()) if read[number].is_request]

    def _distinct(self) -> dict[tuple[bytes, bytes], int]:
        by_id: dict[tuple[bytes, bytes], int] = {}
        for number, span in enumerate(self.spans):
            kept = by_id.setdefault((span.trace_id, span.span_id), number)
            if kept != number and _richness(span) > _richness(self.spans[kept]):
                by_id[span.trace_id, span.span_id] = number
        return by_id

    def _cut_cycles(self) -> None:
        finished: set[int] = set()
        for first in list(self.parents):
            path: dict[int, None] = {}
            number: int | None = first
            while number is not None and number not in finished and number not in path:
                path[number] = None
                number = self.parents.get(number)
            if number in path:
                members = list(path)[list(path).index(number) :]
                cut = min(members, key=lambda n: (self.spans[n].start, self.spans[n].span_id))
                del self.parents[cut]
            finished.update(path)

    def _repair_authentication(self) -> None:
        moved = {}
        for number, parent in self.parents.items():
            above = self.spans[parent]
            if above.name != "authentication" or parent not in self.parents:
                continue
            request = self.parents[parent]
            ended = max(above.start, above.end) <= self.spans[number].start
            if ended and self.spans[request].is_request:
                moved[number] = request
        self.parents.update(moved)

    def _repair_siblings(self) -> None:
        moved = {}
        for number, parent in self.parents.items():
            span = self.spans[number]
            names = CONTAINERS.get(span.name)
            if names:
                around = [c for c in self.children[parent] if self._is_around(c, span, names)]
                if around:
                    moved[number] = min(around, key=lambda c: self.spans[c].span_id)
        self.parents.update(moved)

    def _is_around(self, number: int, span: Span, names: frozenset[str]) -> bool:
        outer = self.spans[number]
        return (
            outer.name in names
            and outer.start <= span.start
            and max(span.start, span.end) <= max(outer.start, outer.end)
            and _process(outer) == _process(span)
        )

    def _by_parent(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = defaultdict(list)
        for number, parent in self.parents.items():
            children[parent].append(number)
        return children

    def graph(self, root: int) -> nx.DiGraph[int]:
        """Build the graph of one request."""
        graph: nx.DiGraph[int] = nx.DiGraph()
        graph.add_node(root)
        waiting = [root]
        while waiting:
            number = waiting.pop()
            for child in self.children.get(number, ()):
                graph.add_edge(number, child)
                waiting.append(child)
        return graph

    def innermost_requests(self) -> dict[int, int]:
        """Find, for each span below a request or a request itself, the innermost one."""
        innermost: dict[int, int] = {}
        for number in self.by_id.values():
            path = []
            at: int | None = number
            while at is not None and at not in innermost and not self.spans[at].is_request:
                path.append(at)
                at = self.parents.get(at)
            if at is not None:
                found = innermost[at] = innermost.get(at, at)
                innermost.update(dict.fromkeys(path, found))
        return innermost


def _richness(span: Span) -> tuple[int, int]:
    return len(span.attributes) + len(span.events) + len(span.links), span.end


def _process(span: Span) -> object:
    instance = span.resource.get("service.instance.id")
    return instance if isinstance(instance, str) and instance else span.resource


# ── Dividing time ─────────────────────────────────────────────────────────────────────────────────


def critical_path(graph: nx.DiGraph[int], root: int, spans: list[Span]) -> Iterator[tuple[int, int, int]]:
    """Walk the critical path of a request from its end to its start, in no particular order.

    The children of a span are met in one fixed order, latest end first: a child that begins at or
    after t never becomes a candidate again, since t only falls.
    """
    interval = {root: (spans[root].start, max(spans[root].start, spans[root].end))}
    windows = [(root, *interval[root])]
    while windows:
        number, a, b = windows.pop()
        t = b
        for low, child in _latest_first(graph, number, interval, spans):
            end = interval[child][1]
            if end <= a or t <= a:
                break
            if low >= t:
                continue
            until = min(end, t)
            if until < t:
                yield number, until, t
            t = max(low, a)
            windows.append((child, t, until))
        if t > a:
            yield number, a, t


def _latest_first(
    graph: nx.DiGraph[int], number: int, interval: dict[int, tuple[int, int]], spans: list[Span]
) -> list[tuple[int, int]]:
    begin, end = interval[number]
    ordered = []
    for child in graph.successors(number):
        span = spans[child]
        low, high = max(span.start, begin), min(span.end, end)
        if low < high:
            interval[child] = (low, high)
            ordered.append((-high, low, span.span_id, child))
    return [(low, child) for _, low, _, child in sorted(ordered)]


class Phases:
    """The taxonomy applied to joined spans; each signature is classified once.

    `below` says what a phase becomes below a call of a component, for signatures whose phase `yields`.
    """

    def __init__(
        self,
        trees: Trees,
        classify: Classify,
        event_phase: EventPhase,
        below: Below = lambda _, phase: phase,
        yields: Callable[[Signature], bool] = lambda _: False,
    ) -> None:
        self.trees = trees
        self.classify = classify
        self.event_phase = event_phase
        self.below = below
        self.yields = yields
        self.innermost = trees.innermost_requests()
        self.targets = {root: target(trees.spans[root]) for root in trees.requests}
        self.own: dict[Signature, str] = {}
        self.rules: dict[tuple[Signature, str], tuple[str | None, str | None] | None] = {}
        self.labels: dict[int, tuple[list[int], list[str]]] = {}

    def request(self, root: int) -> RequestTime:
        """Sum the critical path of one request by phase."""
        spans, sums = self.trees.spans, defaultdict[str, int](int)
        for number, low, high in critical_path(self.trees.graph(root), root, spans):
            calls = self.calls_above(number, root) if self.yields(self.signature(number)) else []
            for phase, ns in self.pieces(number, low, high):
                for call in calls:
                    phase = self.below(call, phase)  # noqa: PLW2901 - what it becomes, from the innermost call on
                sums[phase] += ns
        span, (verb, resource) = spans[root], self.targets[root]
        wall = max(0, span.end - span.start)
        return RequestTime(span.trace_id, span.span_id, verb, resource, wall, dict(sums))

    def calls_above(self, number: int, root: int) -> list[str]:
        """List the components of the calls around a span in a request, the innermost first."""
        found = []
        while number != root:
            number = self.trees.parents[number]
            component = self.phase_of(self.signature(number)).partition(".")[0]
            if self.trees.spans[number].kind == CLIENT and component not in ("apiserver", "unattributed"):
                found.append(component)
        return found

    def pieces(self, number: int, low: int, high: int) -> Iterator[tuple[str, int]]:
        """Cut a segment of a span at its ruled events."""
        if number not in self.labels:
            self.labels[number] = self.label(number)
        changes, phases = self.labels[number]
        at = bisect_right(changes, low)
        while at < len(changes) and changes[at] < high:
            yield phases[at], changes[at] - low
            low, at = changes[at], at + 1
        yield phases[at], high - low

    def label(self, number: int) -> tuple[list[int], list[str]]:
        """List the times at which a span's phase changes, and the phases around them."""
        span, signature = self.trees.spans[number], self.signature(number)
        own = self.phase_of(signature)
        changes: list[int] = []
        phases = [own]
        for when, name, _ in sorted(span.events, key=lambda event: event[0]):
            rule = self.rule_of(signature, name)
            if rule is None:
                continue
            before, after = rule
            if not changes and before is not None and not span.dropped_events_count:
                phases[0] = before
            changes.append(when)
            phases.append(own if after is None else after)
        return changes, phases

    def phase_of(self, signature: Signature) -> str:
        """Classify a signature, once."""
        if signature not in self.own:
            self.own[signature] = self.classify(signature)
        return self.own[signature]

    def rule_of(self, signature: Signature, event: str) -> tuple[str | None, str | None] | None:
        """Look up the rule of an event, once."""
        key = (signature, event)
        if key not in self.rules:
            self.rules[key] = self.event_phase(signature, event)
        return self.rules[key]

    def signature(self, number: int) -> Signature:
        """Describe a span to the rules."""
        spans, parent = self.trees.spans, self.trees.parents.get(number)
        span = spans[number]
        if span.is_request and parent not in self.innermost:
            parent = None
        kinds = [spans[child].kind for child in self.trees.children.get(number, ())]
        caused = {CLIENT: SERVER, SERVER: INTERNAL}.get(span.kind)
        leaf = not kinds if caused is None else caused not in kinds
        request = self.innermost.get(number)
        return Signature(
            str(span.resource.get("service.name") or ""),
            span.scope,
            span.kind,
            span.name,
            None if parent is None else spans[parent].name,
            leaf,
            None if request is None else self.targets[request][0],
            self.detail(number, request),
        )

    def detail(self, number: int, request: int | None) -> str | None:
        """Say what attributes and events tell of a response or an HTTP call."""
        span = self.trees.spans[number]
        if span.kind == INTERNAL and span.name == "SerializeObject":
            return "interleaved" if is_interleaved(span) else None
        http = span.scope.endswith("net/http/otelhttp") and span.resource.get("service.name") == "apiserver"
        if span.kind != CLIENT or not http:
            return None
        above = self.trees.parents.get(number)
        if above is not None and self.trees.spans[above].name in WEBHOOK_CALLS:
            return None
        first = min(
            self.trees.children.get(number, ()),
            key=lambda child: (self.trees.spans[child].start, self.trees.spans[child].span_id),
            default=None,
        )
        answer = None if first is None or first not in self.targets else path_of(self.trees.spans[first])
        return whom(span, None if request is None else path_of(self.trees.spans[request]), answer)


WEBHOOK_CALLS = ("Call mutating webhook", "Call validating webhook")


def is_interleaved(span: Span) -> bool:
    """Tell a response that was encoded or compressed while it was written."""
    sizes, writes = [], 0
    for _, name, attributes in span.events:
        if name == "About to start writing response":
            if "gzip" in str(attributes.get("writer", "")):
                return True
            sizes = [attributes["size"]] if "size" in attributes else []
        elif name in ("Write call succeeded", "Write call failed"):
            writes += 1
            if writes > 1 or (sizes and attributes.get("size", sizes[0]) != sizes[0]):
                return True
    return False


def path_of(root: Span) -> str | None:
    """Read the path that a request asked for."""
    uri = str(root.attributes.get("http.target") or root.attributes.get("url.path") or "")
    return urlsplit(uri).path or None


def whom(span: Span, own: str | None, answer: str | None) -> str:
    """Say whom an HTTP call is for: a request sent on keeps its path, a webhook is asked by POST with a timeout."""
    attributes = span.attributes
    method = attributes.get("http.request.method", attributes.get("http.method"))
    posts = (method or span.name.removeprefix("HTTP ").partition(" ")[0]) == "POST"
    if own is not None and own == answer:
        return "aggregator"
    url = attributes.get("url.full", attributes.get("http.url"))
    if url is None:
        return "webhook_or_aggregator" if posts else "aggregator"
    parts = urlsplit(str(url))
    if own == parts.path:
        return "aggregator"
    api = parts.path.startswith(("/api/", "/apis/"))
    review = parts.path.startswith(("/apis/authentication.k8s.io/", "/apis/authorization.k8s.io/"))
    timeout = any(pair.startswith("timeout=") for pair in parts.query.split("&"))
    if posts and not review and ((timeout and own is not None) or not api):
        return "webhook"
    if own is not None and api:
        return "api"
    return "webhook_or_aggregator" if posts else "aggregator"


# ── What a request asks for ───────────────────────────────────────────────────────────────────────


def target(root: Span) -> tuple[str, str]:
    """Read the Kubernetes verb and the resource with its subresource off a request's root.

    A path that names no resource gives "nonresource" and the path itself.
    """
    attributes = root.attributes
    method = str(attributes.get("http.request.method") or attributes.get("http.method") or "")
    uri = str(attributes.get("http.target") or attributes.get("url.path") or "")
    path, _, query = uri.partition("?")
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        parts = parts[2:]
    elif parts[0] == "apis":
        parts = parts[3:]
    else:
        parts = []
    verb = VERBS.get(method, "")
    if parts[:1] == ["watch"]:
        verb, parts = "watch", parts[1:]
    if not parts:
        return "nonresource", path
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
        parts = parts[2:]
    resource = "/".join((parts[0], *parts[2:3]))
    if len(parts) == 1 and verb == "get":
        watch = parse_qs(query, keep_blank_values=True).get("watch", ["false"])[0]
        verb = "list" if watch.lower() in ("false", "0") else "watch"
    elif len(parts) == 1 and verb == "delete":
        verb = "deletecollection"
    return verb, resource


# ── The command ───────────────────────────────────────────────────────────────────────────────────


def load(path: str | Path) -> list[bytes]:
    """Read the messages of a capture: one zstd stream, each message behind a big-endian u32."""
    import zstandard

    with Path(path).open("rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    messages, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        messages.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return messages


def main(path: str) -> None:
    """Print the spans, requests and seconds of one capture, services standing in for phases."""
    messages = load(path)
    begin = time.perf_counter()
    result = run(messages, lambda signature: signature.service or "unattributed")
    seconds = time.perf_counter() - begin
    print(f"{result.spans} spans, {len(result.requests)} requests, {seconds:.3f} s")


if __name__ == "__main__":
    main(sys.argv[1])
