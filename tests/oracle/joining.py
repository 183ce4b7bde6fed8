"""Joining: rows into requests, every one accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import networkx as nx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from oracle.clocks import measured_offsets
from oracle.rows import CLIENT, INTERNAL, SERVER, VERB_SPANS, Id, Row, load, spans

BESIDE = {
    "serialize_sibling": ({"SerializeObject"}, VERB_SPANS),
    "webhook_sibling": ({"Call mutating webhook", "Call validating webhook"}, {"GuaranteedUpdate etcd3"}),
}
"""Rule -> (names of spans sent beside the span they happened in, names of what contains them)."""
USED = ("request", "prelude", "background", "sync", "kubelet", "runtime")
SET_ASIDE = ("duplicate", "invalid_id", "orphan", "root_missing", "caller", "authentication", "unrelated")

Node = TypeVar("Node", bound=Hashable)


class Repair(NamedTuple):
    """One repair; before and after are parent span ids, None when there is no parent.

    A duplicate or conflict names the span set aside, a prelude the request: their after is None. The after of a
    split authentication is the id of the authentication span; microseconds and root_extended have times for ids.
    What is in another trace is named by both ids, one after the other.
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
    rows = _widen(rows, parents, repairs)
    missing -= _adopt(rows, parents, kept, missing, repairs)
    missing -= _adopt_of_watches(rows, parents, missing, repairs)
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


def _widen(rows: list[Row], parents: list[int | None], repairs: list[Repair]) -> list[Row]:
    """Let spans in whole microseconds end with the children that, as sent, end one later.

    Start and duration were cut by themselves, so that a parent may seem to end up to 1 us before what it waited for.
    """
    us = 1000

    def whole(row: Row) -> bool:
        return row.start > 0 and row.start % us == 0 and row.end % us == 0

    ends = {i: row.end for i, row in enumerate(rows)}
    more = True
    while more:
        more = False
        for child, parent in enumerate(parents):
            if parent is None or not (whole(rows[child]) and whole(rows[parent])):
                continue
            late = rows[parent].end + us
            below = {rows[child].end, ends[child] if rows[child].end == rows[parent].end else 0}
            if ends[parent] != late and late in below:
                ends[parent], more = late, True
    repairs.extend(
        Repair("microseconds", *row.id, row.end, ends[i]) for i, row in enumerate(rows) if ends[i] != row.end
    )
    return [row._replace(end=ends[i]) for i, row in enumerate(rows)]


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
            and end_of(rows[parent]) <= rows[child].start
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
            if other.start <= row.start and end_of(row) <= end_of(other)
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


def end_of(row: Row) -> int:
    """The end of a span, never before its start."""
    return max(row.start, row.end)


def good_times(row: Row) -> bool:
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
    offsets = measured_offsets(rows, all_pairs)
    served = {client for client, _ in all_pairs}
    open_calls = [i for i in kept.values() if rows[i].kind == CLIENT and rows[i].is_grpc and i not in served]
    waiting = [i for i in orphans if i not in found and rows[i].kind == SERVER and rows[i].is_grpc]

    def fits(call: Row, orphan: Row) -> bool:
        ahead = offsets.get((call.process, orphan.process), 0)
        same = (call.trace_id, call.name) == (orphan.trace_id, orphan.name)
        inside = call.start <= orphan.start - ahead and orphan.end - ahead <= call.end
        return same and inside and good_times(call) and good_times(orphan)

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


def _adopt_of_watches(
    rows: list[Row], parents: list[int | None], missing: set[int], repairs: list[Repair]
) -> set[int]:
    """Put what hangs on the span that kube-apiserver never ends on a watch below the request's innermost filter.

    watch            ├──────────────────────────┤
    authorization      ├──────────────────────┤
    List              (never ended, never sent)
    List(…) etcd3        ├───┤                         → below authorization
    """
    begins = ("List(", "cacher", "SerializeObject", "WatchServer")
    adopted = set()
    for orphan in [rows[i] for i in sorted(missing)]:
        inner = orphan.kind == INTERNAL and orphan.service == "apiserver" and orphan.name.startswith(begins)
        around = [
            row
            for row in rows
            if (row.trace_id, row.process) == (orphan.trace_id, orphan.process)
            if row.start <= orphan.start and end_of(orphan) <= end_of(row)
        ]
        requests = [row for row in around if row.is_request]
        if (
            not inner
            or len(requests) != 1
            or "watch=true" not in str(requests[0].attributes.get("http.target", ""))
        ):
            continue
        filters = [row for row in around if row.kind == INTERNAL and row.name == "authorization"]
        alone = len(filters) == 1 and parents[filters[0].number] is not None
        to = filters[0] if alone else requests[0]
        parents[orphan.number] = to.number
        repairs.append(Repair("unended_parent", *orphan.id, orphan.parent_span_id, to.span_id))
        adopted.add(orphan.number)
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
        if row.is_authentication and not row.parent_id and in_trace[row.trace_id] == 1 and good_times(row)
    ]
    children: dict[int, list[Row]] = {}
    for i in kept:
        if (parent := parents[i]) is not None:
            children.setdefault(parent, []).append(rows[i])

    def fits(filter_: Row, request: Request) -> bool:
        root, below = rows[request.root], children.get(request.root, [])
        if filter_.process != root.process or request.prelude is not None or not good_times(root):
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
            if parents[i] == root.number and rows[i].process == root.process and good_times(rows[i])
        ]
        over = max((child.end for child in children if child.is_handler), default=None)
        waited = [c.end for c in children if c.is_handler or over is None or c.start < over]
        end = max(waited, default=0)
        if root.is_unanswered and good_times(root) and root.end < end:
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
    called_here = {kept.get((rows[r.root].trace_id, rows[r.root].parent_id)) for r in requests}
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
        if by_top(top) == "sync" and (top.is_command or top.number not in missing):
            return "sync"
        if index in called_here and rows[index].kind == CLIENT:
            return "caller"
        if top.number in missing:
            return "root_missing" if top.kind == INTERNAL and top.service == "apiserver" else "orphan"
        return by_top(top)

    def by_top(top: Row) -> str:
        if top.is_authentication and top.number not in with_request_below:
            return "authentication"
        return _of_top(top, missing=top.number in missing)

    def role(row: Row) -> str:
        if not row.has_id:
            return "invalid_id"
        return used_or_not(row.number) if kept[row.id] == row.number else "duplicate"

    return [role(row) for row in rows]


def _of_top(top: Row, *, missing: bool) -> str:
    """What a tree that no request is in is for, by the span at its top."""
    if top.is_etcd_client:
        return "background"
    if top.is_sync or (top.is_command and missing):
        return "sync"
    if top.kind == CLIENT and top.service == "kubelet" and top.is_http:
        return "caller"
    if top.is_kubelets:
        return "kubelet"
    return "runtime" if top.is_runtimes else "unrelated"


def _top(index: int, parents: list[int | None]) -> int:
    while (parent := parents[index]) is not None:
        index = parent
    return index


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
