"""An independent reading of OTLP captures, written from the definitions and slow on purpose.

Only the official protobuf classes, dictionaries and networkx are used, so an answer that agrees
with the library's own was reached twice. All times are integer nanoseconds and all intervals
half-open; an interval that ends at or before its start is empty.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import networkx as nx
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

INTERNAL, SERVER, CLIENT = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
VERB_SPANS = {"Create", "Get", "List", "Update", "Patch", "Delete"}
BESIDE = {
    "serialize_sibling": ({"SerializeObject"}, VERB_SPANS),
    "webhook_sibling": ({"Call mutating webhook", "Call validating webhook"}, {"GuaranteedUpdate etcd3"}),
}
"""Rule -> (names of spans sent beside the span they happened in, names of what contains them)."""
USED = ("request", "prelude", "background")
SET_ASIDE = ("duplicate", "invalid_id", "orphan", "root_missing", "caller", "authentication", "unrelated")

Node = TypeVar("Node", bound=Hashable)
Id = tuple[bytes, bytes]


# ── Reading ───────────────────────────────────────────────────────────────────────────────────────


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


# ── Joining ───────────────────────────────────────────────────────────────────────────────────────


class Repair(NamedTuple):
    """One repair; before and after are parent span ids, None when there is no parent.

    A duplicate or conflict names the span set aside, a prelude the request: their after is None. The after of a
    split authentication is the id of the authentication span, and a root_extended has times for ids. What is in
    another trace is named by both ids, one after the other.
    """

    kind: str
    trace_id: bytes
    span_id: bytes
    before: bytes | int | None
    after: bytes | int | None


class Request(NamedTuple):
    """One request: the rows of its root and prelude, and its tree of row numbers."""

    root: int
    prelude: int | None
    tree: nx.DiGraph[int]


class Joined(NamedTuple):
    """What became of every row.

    The parents are row numbers after repairs, and the duplicates hold the conflicts too.
    """

    rows: list[Row]
    parents: list[int | None]
    roles: list[str]
    ledger: dict[str, int]
    requests: list[Request]
    pairs: list[tuple[int, int]]
    background: list[int]
    orphans: list[int]
    duplicates: list[int]
    repairs: list[Repair]


def join(rows: list[Row]) -> Joined:
    """Join rows into requests and account for each of them."""
    repairs: list[Repair] = []
    kept, duplicates = _identify(rows, repairs)
    parents: list[int | None] = [None] * len(rows)
    for index in kept.values():
        row = rows[index]
        parents[index] = kept.get((row.trace_id, row.parent_id))
    _cut_cycles(rows, parents, repairs)
    cut = {(repair.trace_id, repair.span_id) for repair in repairs if repair.kind in ("self_parent", "cycle")}
    missing = {i for i in kept.values() if rows[i].parent_id and parents[i] is None and rows[i].id not in cut}
    missing -= _adopt(rows, parents, kept, missing, repairs)
    _move_authentication_children(rows, parents, repairs)
    for kind in BESIDE:
        _move_siblings(kind, rows, parents, repairs)
    requests = _requests(rows, parents, set(kept.values()), repairs)
    requests = _join_split_authentication(rows, parents, set(kept.values()), requests, repairs)
    rows = _extend_early_roots(rows, parents, requests, repairs)
    roles = _roles(rows, parents, kept, missing, requests)
    counted = Counter(roles)
    tops = [i for i in sorted(kept.values()) if parents[i] is None]
    return Joined(
        rows,
        parents,
        roles,
        {role: counted[role] for role in USED + SET_ASIDE},
        requests,
        _pairs(rows, parents),
        [i for i in tops if roles[i] == "background"],
        [i for i, role in enumerate(roles) if role == "orphan"],
        duplicates,
        repairs,
    )


@cache
def joined_capture(path: Path) -> Joined:
    """Join a capture, once for all tests."""
    return join(spans(load(path)))


def _identify(rows: list[Row], repairs: list[Repair]) -> tuple[dict[Id, int], list[int]]:
    """Choose one row per identity, the richest; all others are set aside."""
    copies: dict[Id, list[int]] = {}
    for row in rows:
        if row.has_id:
            copies.setdefault(row.id, []).append(row.number)
    kept: dict[Id, int] = {}
    duplicates: list[int] = []
    for identity, indices in copies.items():
        distinct: dict[tuple[bytes, ...], int] = {}
        for index in indices:
            distinct.setdefault(rows[index].content, index)
        kept[identity] = max(distinct.values(), key=lambda i: _richness(rows[i]))
        for index in indices:
            if index != kept[identity]:
                kind = "conflict" if index in distinct.values() else "duplicate"
                before = rows[index].parent_id or None
                repairs.append(Repair(kind, *identity, before, None))
                duplicates.append(index)
    return kept, sorted(duplicates)


def _richness(row: Row) -> tuple[Any, ...]:
    """Rank a copy by attributes, events and links, then by end and start, then by all of its content."""
    parts = len(row.attributes) + len(row.events) + len(row.links)
    events = [(event.time, event.name) for event in row.events]
    return parts, row.end, row.start, row.kind, row.name, row.parent_id, events, row.content


def _cut_cycles(rows: list[Row], parents: list[int | None], repairs: list[Repair]) -> None:
    """Cut each cycle at the edge into its earliest start.

    A span has at most one parent, so no two cycles share a span.
    """
    edges: nx.DiGraph[int] = nx.DiGraph(
        (child, parent) for child, parent in enumerate(parents) if parent is not None
    )
    for members in list(nx.simple_cycles(edges)):
        first = min(members, key=lambda i: (rows[i].start, rows[i].span_id))
        _move("self_parent" if len(members) == 1 else "cycle", first, None, rows, parents, repairs)


def _move_authentication_children(rows: list[Row], parents: list[int | None], repairs: list[Repair]) -> None:
    """Move what an ended `authentication` span is said to have caused to the request.

    request         ├──────────────────────────────┤
    authentication    ├────┤
    Create                   ├──────────────────┤      → below the request
    """
    moves: list[tuple[int, int]] = []
    for child, parent in enumerate(parents):
        if parent is None or not rows[parent].is_authentication:
            continue
        grandparent = parents[parent]
        if (
            grandparent is not None
            and rows[grandparent].is_request
            and _end(rows[parent]) <= rows[child].start
        ):
            moves.append((child, grandparent))
    for child, grandparent in moves:
        _move("authentication_children", child, grandparent, rows, parents, repairs)


def _move_siblings(kind: str, rows: list[Row], parents: list[int | None], repairs: list[Repair]) -> None:
    """Move a span under the one beside it that contains it.

    Create            ├──────────────────┤
    SerializeObject            ├──────┤                → below Create
    """
    moved, containers = BESIDE[kind]
    moves: list[tuple[int, int]] = []
    for child, parent in enumerate(parents):
        row = rows[child]
        if parent is None or row.name not in moved:
            continue
        fits = [
            other
            for other in rows
            if parents[other.number] == parent and other.name in containers and other.process == row.process
            if other.start <= row.start and _end(row) <= _end(other)
        ]
        if fits:
            moves.append((child, min(fits, key=lambda other: other.span_id).number))
    for child, container in moves:
        _move(kind, child, container, rows, parents, repairs)


def _move(
    kind: str,
    child: int,
    to: int | None,
    rows: list[Row],
    parents: list[int | None],
    repairs: list[Repair],
) -> None:
    before = parents[child]
    repairs.append(
        Repair(
            kind, *rows[child].id, *(None if i is None else _name_of(rows, i, child) for i in (before, to))
        ),
    )
    parents[child] = to


def _end(row: Row) -> int:
    """The end of a span, never before its start."""
    return max(row.start, row.end)


def _good_times(row: Row) -> bool:
    """Whether both times were set (0 is none, except near another time on the first day), in order, before 2^62."""
    day = 24 * 3600 * 10**9
    unset = (row.start == 0 and not 0 < row.end < day) or (row.end == 0 and row.start > 0)
    return not unset and row.start <= row.end < 2**62


def _name_of(rows: list[Row], index: int, seen_from: int) -> bytes:
    other = rows[index]
    return other.span_id if other.trace_id == rows[seen_from].trace_id else other.trace_id + other.span_id


def node_name(rows: list[Row], index: int, root: int) -> str:
    """What a call tree calls a span: its id, with the trace's where that is not the root's."""
    trace_id = "" if rows[index].trace_id == rows[root].trace_id else f"{rows[index].trace_id.hex()}/"
    return trace_id + rows[index].span_id.hex()


def _adopt(
    rows: list[Row],
    parents: list[int | None],
    kept: dict[Id, int],
    missing: set[int],
    repairs: list[Repair],
) -> set[int]:
    """Put spans whose parent never arrived where a link, or else the one open call that contains them, says.

    KV/Txn CLIENT   ├──────────────────┤    without a SERVER span of its own
    KV/Txn SERVER        ├──────┤           parent missing: goes below the call
    """
    orphans = [i for i in missing if not rows[i].is_request]
    targets = {
        i: {kept.get((link.trace_id, link.span_id)) for link in rows[i].links} - {None, i} for i in orphans
    }
    found = {i: ("orphan_link", *those) for i, those in targets.items() if len(those) == 1}
    all_pairs = _pairs(rows, parents)
    offsets = _offsets(rows, all_pairs)
    served = {client for client, _ in all_pairs}
    open_calls = [i for i in kept.values() if rows[i].kind == CLIENT and rows[i].is_grpc and i not in served]
    waiting = [i for i in orphans if i not in found and rows[i].kind == SERVER and rows[i].is_grpc]

    def fits(call: Row, orphan: Row) -> bool:
        ahead = offsets.get((call.process, orphan.process), 0)
        same = (call.trace_id, call.name) == (orphan.trace_id, orphan.name)
        inside = call.start <= orphan.start - ahead and orphan.end - ahead <= call.end
        return same and inside and _good_times(call) and _good_times(orphan)

    edges = [(i, call) for i in waiting for call in open_calls if fits(rows[call], rows[i])]
    degree = Counter(end for edge in edges for end in (("o", edge[0]), ("c", edge[1])))
    found |= {i: ("orphan_rpc", c) for i, c in edges if degree["o", i] == degree["c", c] == 1}
    adopted = set()
    for i in sorted(found, key=lambda i: (rows[i].start, rows[i].span_id, rows[i].trace_id)):
        kind, to = found[i]
        if _top(to, parents) != i:
            repairs.append(Repair(kind, *rows[i].id, rows[i].parent_span_id, _name_of(rows, to, i)))
            parents[i] = to
            adopted.add(i)
    return adopted


def _join_split_authentication(
    rows: list[Row],
    parents: list[int | None],
    kept: set[int],
    requests: list[Request],
    repairs: list[Repair],
) -> list[Request]:
    """Give a request the `authentication` of another trace when each is all that fits the other.

    authentication  ├──────────────────┤           1.34 and later, with an audit span below the request
    request           ├───────────────┤

    authentication  ├──────┤                       1.33, with a method and without a status
    request                 ├───…
    """
    near = 50_000  # ns
    in_trace = Counter(rows[i].trace_id for i in kept)
    filters = [
        row
        for row in (rows[i] for i in sorted(kept))
        if row.is_authentication and not row.parent_id and in_trace[row.trace_id] == 1 and _good_times(row)
    ]
    children: dict[int, list[Row]] = {}
    for i in kept:
        if (parent := parents[i]) is not None:
            children.setdefault(parent, []).append(rows[i])

    def fits(filter_: Row, request: Request) -> bool:
        root, below = rows[request.root], children.get(request.root, [])
        if filter_.process != root.process or request.prelude is not None or not _good_times(root):
            return False
        if any(c.name == "audit" and c.kind == INTERNAL and c.service == "apiserver" for c in below):
            return filter_.start <= root.start and 0 <= filter_.end - root.end <= near
        early = root.is_unanswered and not any(child.is_authentication for child in below)
        return early and 0 <= root.start - filter_.end <= near

    edges = [(f.number, at) for at, request in enumerate(requests) for f in filters if fits(f, request)]
    degree = Counter(end for f, at in edges for end in (("f", f), ("r", at)))
    joined = list(requests)
    for filter_, at in edges:
        if degree["f", filter_] == degree["r", at] == 1:
            root = requests[at].root
            joined[at] = requests[at]._replace(prelude=filter_)
            after = _name_of(rows, filter_, root)
            repairs.append(Repair("split_authentication", *rows[root].id, None, after))
    return joined


def _extend_early_roots(
    rows: list[Row], parents: list[int | None], requests: list[Request], repairs: list[Repair]
) -> list[Row]:
    """Let a request without a status last as long as its handling.

    request   ├──┤                              → until the end of Create
    Create      ├──────────────┤
    detached                       ├────┤       began when all handlers were over
    """
    changed = list(rows)
    for request in requests:
        root = rows[request.root]
        children = [
            rows[i]
            for i in request.tree
            if parents[i] == root.number and rows[i].process == root.process and _good_times(rows[i])
        ]
        over = max((child.end for child in children if child.is_handler), default=None)
        waited = [c.end for c in children if c.is_handler or over is None or c.start < over]
        end = max(waited, default=0)
        if root.is_unanswered and _good_times(root) and root.end < end:
            repairs.append(Repair("root_extended", *root.id, root.end, end))
            changed[root.number] = root._replace(end=end)
    return changed


def _requests(
    rows: list[Row], parents: list[int | None], kept: set[int], repairs: list[Repair]
) -> list[Request]:
    """One request per request root, nested ones included, each with all that is below it."""
    whole = forest(parents, kept)
    roots = [i for i in sorted(kept) if rows[i].is_request]
    inside = set().union(*({root} | nx.descendants(whole, root) for root in roots))
    requests = []
    for root in roots:
        above = parents[root]
        prelude = (
            above if above is not None and rows[above].is_authentication and above not in inside else None
        )
        if prelude is not None:
            repairs.append(Repair("prelude", *rows[root].id, _name_of(rows, prelude, root), None))
        below = {root} | nx.descendants(whole, root)
        requests.append(Request(root, prelude, nx.DiGraph(whole.subgraph(below))))
    return requests


def forest(parents: list[int | None], nodes: Iterable[int]) -> nx.DiGraph[int]:
    """The graph of the given rows, edges from parent to child."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(sorted(nodes))
    graph.add_edges_from((parent, node) for node in list(graph) if (parent := parents[node]) is not None)
    return graph


def _roles(
    rows: list[Row],
    parents: list[int | None],
    kept: dict[Id, int],
    missing: set[int],
    requests: list[Request],
) -> list[str]:
    """The one role of each row."""
    in_request = {node for request in requests for node in request.tree}
    preludes = {request.prelude for request in requests}
    called_here = {parents[request.root] for request in requests}
    called_here |= {
        kept.get((link.trace_id, link.span_id)) for request in requests for link in rows[request.root].links
    }
    with_request_below = {_top(request.root, parents) for request in requests}

    def used_or_not(index: int) -> str:
        if index in in_request:
            return "request"
        if index in preludes:
            return "prelude"
        top = rows[_top(index, parents)]
        if top.number in missing:
            return "root_missing" if top.kind == INTERNAL and top.service == "apiserver" else "orphan"
        return by_top(rows[index], top)

    def by_top(row: Row, top: Row) -> str:
        if top.is_etcd_client:
            return "background"
        if row is top and row.number in called_here and _is_http_client(row):
            return "caller"
        if top.is_authentication and top.number not in with_request_below:
            return "authentication"
        return "unrelated"

    def role(row: Row) -> str:
        if not row.has_id:
            return "invalid_id"
        return used_or_not(row.number) if kept[row.id] == row.number else "duplicate"

    return [role(row) for row in rows]


def _top(index: int, parents: list[int | None]) -> int:
    while (parent := parents[index]) is not None:
        index = parent
    return index


def _is_http_client(row: Row) -> bool:
    return row.kind == CLIENT and row.is_http and row.service == "apiserver"


def _pairs(rows: list[Row], parents: list[int | None]) -> list[tuple[int, int]]:
    """Each gRPC CLIENT span with each gRPC SERVER span below it, in order of the SERVER spans."""
    return [
        (parent, row.number)
        for row in rows
        if (parent := parents[row.number]) is not None
        if row.kind == SERVER and row.is_grpc and rows[parent].kind == CLIENT and rows[parent].is_grpc
    ]


def counts(batches: list[ExportTraceServiceRequest]) -> dict[str, int]:
    """The figures of a capture, by parent ids as sent, without any repair."""
    rows = spans(batches)
    by_id = {row.id: row for row in rows}

    def parent(row: Row) -> Row | None:
        return by_id.get((row.trace_id, row.parent_span_id)) if row.parent_span_id else None

    def is_below_request(row: Row) -> bool:
        above = parent(row)
        while above is not None and not above.is_request:
            above = parent(above)
        return above is not None

    clients = [row for row in rows if row.is_etcd_client]
    servers = [row for row in rows if row.kind == SERVER and row.is_etcd_rpc and row.service == "etcd"]
    return {
        "batches": len(batches),
        "spans": len(rows),
        "traces": len({row.trace_id for row in rows}),
        "requests": sum(row.is_request for row in rows),
        "etcd_clients": len(clients),
        "etcd_client_ranges": sum(row.name.endswith("KV/Range") for row in clients),
        "etcd_client_txns": sum(row.name.endswith("KV/Txn") for row in clients),
        "etcd_clients_below_request": sum(is_below_request(row) for row in clients),
        "etcd_clients_background": sum(not row.parent_span_id for row in clients),
        "etcd_servers": len(servers),
        "pairs": sum((above := parent(row)) is not None and above.is_etcd_client for row in servers),
        "etcd_servers_parent_missing": sum(
            bool(row.parent_span_id) and parent(row) is None for row in servers
        ),
        "parents_missing": sum(bool(row.parent_span_id) and parent(row) is None for row in rows),
        "attributes": sum(len(row.attributes) for row in rows),
        "events": sum(len(row.events) for row in rows),
        "links": sum(len(row.links) for row in rows),
        "errors": sum(row.status_code == 2 for row in rows),
    }


# ── Dividing time ─────────────────────────────────────────────────────────────────────────────────


class Segment(NamedTuple):
    """A piece of time given to one node."""

    node: Any
    start: int
    end: int


def effective(
    tree: nx.DiGraph[Node],
    start: Mapping[Node, int],
    end: Mapping[Node, int],
    detached: Iterable[Node] = (),
) -> dict[Node, tuple[int, int]]:
    """Cut each node's interval to its parent's; a detached node's is empty."""
    empty = set(detached)
    intervals: dict[Node, tuple[int, int]] = {}
    for node in nx.topological_sort(tree):
        low, high = start[node], max(start[node], end[node])
        for parent in tree.predecessors(node):
            low, high = max(low, intervals[parent][0]), min(high, intervals[parent][1])
        intervals[node] = (low, low) if node in empty else (low, max(low, high))
    return intervals


def critical_path(
    tree: nx.DiGraph[Node],
    start: Mapping[Node, int],
    end: Mapping[Node, int],
    ids: Mapping[Node, Any],
    *,
    happens_before: bool = False,
    detached: Iterable[Node] = (),
) -> list[Segment]:
    """Walk the critical path of a tree and return its segments in order of time.

    At each step every child is looked at again. Here b ends last, so the gap to its right belongs
    to s; then b is walked, then a up to where b began, and the rest belongs to s:

    s      ├──────────────────────────────┤ ← t starts here and goes left
    a         ├─────────┤
    b              ├─────────┤
    path   s──a────b─────────s────────────

    With happens_before a child that has not ended by t is ignored instead of cut.
    """
    interval = effective(tree, start, end, detached)
    root = _root(tree)
    segments: list[Segment] = []
    windows = [(root, *interval[root])]
    while windows:
        span, a, b = windows.pop()
        t = b
        while t > a:
            candidates = [
                child
                for child in tree.successors(span)
                if interval[child][0] < interval[child][1]
                if interval[child][0] < t and interval[child][1] > a
                if not happens_before or interval[child][1] <= t
            ]
            if not candidates:
                segments.append(Segment(span, a, t))
                break
            furthest = max((min(interval[c][1], t), interval[c][1], -interval[c][0]) for c in candidates)
            tied = [
                c for c in candidates if (min(interval[c][1], t), interval[c][1], -interval[c][0]) == furthest
            ]
            child = min(tied, key=lambda c: ids[c])
            until = min(interval[child][1], t)
            if until < t:
                segments.append(Segment(span, until, t))
            since = max(interval[child][0], a)
            windows.append((child, since, until))
            t = since
    return sorted(segments, key=lambda segment: segment.start)


def active_share(
    tree: nx.DiGraph[Node],
    start: Mapping[Node, int],
    end: Mapping[Node, int],
    ids: Mapping[Node, Any],
) -> dict[Node, int]:
    """The time of each node when every instant is divided equally among the active leaves.

    The pieces lie between neighbouring boundaries of non-empty effective intervals. What does not
    divide goes, one nanosecond each, to the smallest ids.
    """
    interval = effective(tree, start, end)
    filled = [node for node in tree if interval[node][0] < interval[node][1]]
    shares = dict.fromkeys(tree, 0)
    boundaries = sorted({boundary for node in filled for boundary in interval[node]})
    for low, high in pairwise(boundaries):
        active = [node for node in filled if interval[node][0] <= low and high <= interval[node][1]]
        leaves = [node for node in active if not any(child in active for child in tree.successors(node))]
        each, left = divmod(high - low, len(leaves))
        for place, node in enumerate(sorted(leaves, key=lambda node: ids[node])):
            shares[node] += each + (place < left)
    return shares


def self_time(tree: nx.DiGraph[Node], start: Mapping[Node, int], end: Mapping[Node, int]) -> dict[Node, int]:
    """The length of each effective interval without the union of the children's."""
    interval = effective(tree, start, end)
    times = {}
    for node in tree:
        covered, reached = 0, interval[node][0]
        for low, high in sorted(interval[child] for child in tree.successors(node)):
            covered += max(0, high - max(low, reached))
            reached = max(reached, high)
        times[node] = interval[node][1] - interval[node][0] - covered
    return times


def _root(tree: nx.DiGraph[Node]) -> Node:
    (root,) = (node for node in tree if tree.in_degree(node) == 0)
    return root


def times(joined: Joined) -> tuple[dict[int, int], dict[int, int], dict[int, bytes]]:
    """The start, end and id of every row, as the functions above want them."""
    rows = joined.rows
    return (
        {row.number: row.start for row in rows},
        {row.number: row.end for row in rows},
        {row.number: row.span_id for row in rows},
    )


def wall_ns(joined: Joined, request: Request) -> int:
    """The duration of a request's root, 0 when it ends before it starts."""
    root = joined.rows[request.root]
    return _end(root) - root.start


# ── Clocks ────────────────────────────────────────────────────────────────────────────────────────


def clock_offsets(joined: Joined) -> dict[tuple[Any, Any], int]:
    """How far the clock of a called process is ahead of its caller's, for pairs that do not agree."""
    return _offsets(joined.rows, joined.pairs)


def _offsets(rows: list[Row], pairs: list[tuple[int, int]]) -> dict[tuple[Any, Any], int]:
    """How far the clock of a called process is ahead of its caller's, for pairs that do not agree.

    A call is sent before it is served, and served before it is answered:

    client   c1 ├───────────────┤ c2          s2 - c2 <= offset <= s1 - c1
    server       s1 ├──────┤ s2

    Of what all pairs allow, the offset is the point nearest 0; when they allow nothing, it is 0.
    A caller that gave up, which is an ERROR, did not wait for the end of s: it bounds only from above.
    Otherwise a server span longer than its client span allows nothing by itself, and is not asked.
    """
    bounds: dict[tuple[Any, Any], list[tuple[float, float]]] = {}
    for client, server in ((rows[a], rows[b]) for a, b in pairs):
        if client.process == server.process or client.end < client.start or server.end < server.start:
            continue
        low, high = server.end - client.end, server.start - client.start
        if client.status_code == 2 or low <= high:
            low = -math.inf if client.status_code == 2 else low
            bounds.setdefault((client.process, server.process), []).append((low, high))
    offsets = {}
    for processes, known in bounds.items():
        low, high = max(low for low, _ in known), min(high for _, high in known)
        offsets[processes] = int(max(low, 0) or min(high, 0)) if low <= high else 0
    return {processes: offset for processes, offset in offsets.items() if offset}


def on_one_clock(joined: Joined) -> Joined:
    """The same with every tree's times, events included, moved to the clock of its top.

    A prelude is not in its request's tree. Times never fall below 0.
    """
    offsets, rows, shifts = clock_offsets(joined), list(joined.rows), dict[int, int]()
    cut = {request.root for request in joined.requests if request.prelude == joined.parents[request.root]}
    for number in nx.topological_sort(forest(joined.parents, range(len(rows)))):
        row, above = rows[number], joined.parents[number]
        shifts[number] = 0
        if above is not None and number not in cut:
            shifts[number] = shifts[above] - offsets.get((rows[above].process, row.process), 0)
        start, end = (max(0, time + shifts[number]) for time in (row.start, row.end))
        events = tuple(event._replace(time=event.time + start - row.start) for event in row.events)
        rows[number] = row._replace(start=start, end=end, events=events)
    return joined._replace(rows=rows)
