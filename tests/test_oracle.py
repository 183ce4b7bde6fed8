"""The oracle gives the counts, drawings and vectors that were worked out without it."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import networkx as nx
import oracle
import pytest
from builder import (
    CLIENT,
    HTTP,
    Span,
    apiserver_request,
    batches,
    etcd_client,
    etcd_server,
    trace,
    verb_span,
    webhook,
)
from google.protobuf.message import DecodeError
from hypothesis import assume, given, settings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from strategies import Requests, clean_trees, damaged_bytes, dirty_batches

HERE = Path(__file__).parent
CAPTURES = {
    "1.27": HERE / "data" / "k8s-1.27_etcd-3.5.otlp.zst",
    "1.31": HERE / "data" / "k8s-1.31_etcd-3.5.otlp.zst",
    "1.36": HERE / "data" / "k8s-1.36_etcd-3.6.otlp.zst",
}
COUNTS = """
                             1.27    1.31    1.36
batches                        26      27      39
spans                       10363   10414   16766
traces                       2044    2040    2338
requests                     1420    1452    1411
etcd_clients                 1308    1302    1413
etcd_client_ranges            543     515     620
etcd_client_txns              761     773     775
etcd_clients_below_request   1165    1146    1252
etcd_clients_background       143     156     161
etcd_servers                 1358    1354    1472
pairs                        1308    1302    1413
etcd_servers_parent_missing    50      52      59
attributes                  67151   68546   75334
events                      17359   17764   14933
links                         413     388       4
errors                        168     188     243
"""

capture = pytest.mark.parametrize("version", CAPTURES)


def joined_capture(version: str) -> oracle.Joined:
    return oracle.joined_capture(CAPTURES[version])


def joined(requests: Requests) -> oracle.Joined:
    return oracle.join(oracle.spans(requests))


# ── Captures ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@capture
def test_counts_are_those_published_with_the_capture(version: str) -> None:
    versions, *lines = (line.split() for line in COUNTS.strip().splitlines())
    expected = {name: int(numbers[versions.index(version)]) for name, *numbers in lines}
    actual = oracle.counts(oracle.load(CAPTURES[version]))
    assert {name: actual[name] for name in expected} == expected


@pytest.mark.slow
@capture
def test_the_ledger_of_a_capture_agrees_with_its_counts(version: str) -> None:
    result, counts = joined_capture(version), oracle.counts(oracle.load(CAPTURES[version]))
    assert sum(result.ledger.values()) == counts["spans"]
    assert len(result.requests) == counts["requests"]
    assert len(result.pairs) == counts["pairs"]
    assert len(result.background) == counts["etcd_clients_background"]
    assert result.ledger["orphan"] == counts["etcd_servers_parent_missing"]


@pytest.mark.slow
@capture
def test_sums_hold_on_every_request_of_a_capture(version: str) -> None:
    check_sums(joined_capture(version))


# ── Laws ──────────────────────────────────────────────────────────────────────────────────────────


def check_sums(result: oracle.Joined) -> None:
    start, end, ids = oracle.times(result)
    for request in result.requests:
        wall = oracle.wall_ns(result, request)
        for happens_before in (False, True):
            path = oracle.critical_path(request.tree, start, end, ids, happens_before=happens_before)
            begin = start[request.root]
            for segment in path:
                assert begin == segment.start < segment.end
                begin = segment.end
            assert begin == start[request.root] + wall
        assert sum(oracle.active_share(request.tree, start, end, ids).values()) == wall
        assert sum(oracle.self_time(request.tree, start, end).values()) >= wall


@pytest.mark.slow
@given(dirty_batches())
def test_every_span_has_one_role_and_sums_hold(requests: Requests) -> None:
    result = joined(requests)
    assert sum(result.ledger.values()) == len(result.rows)
    assert result.ledger["duplicate"] == len(result.duplicates)
    assert nx.is_directed_acyclic_graph(oracle.forest(result.parents, range(len(result.rows))))
    check_sums(result)


@pytest.mark.slow
@given(dirty_batches())
def test_order_and_repetition_change_only_the_count_of_duplicates(requests: Requests) -> None:
    once, again = joined(requests), joined([*reversed(requests), *requests])
    assert again.ledger == once.ledger | {
        "duplicate": once.ledger["duplicate"] + len(once.rows),
    }
    assert paths(again) == paths(once)


def paths(result: oracle.Joined) -> Counter[tuple[object, ...]]:
    start, end, ids = oracle.times(result)
    return Counter(
        (result.rows[request.root].id, *((ids[s.node], s.start, s.end) for s in path))
        for request in result.requests
        for path in [oracle.critical_path(request.tree, start, end, ids)]
    )


@given(clean_trees())
def test_a_clean_tree_is_one_request_and_nothing_is_cut_off(requests: Requests) -> None:
    result = joined(requests)
    (request,) = result.requests
    start, end, _ = oracle.times(result)
    intervals = oracle.effective(request.tree, start, end)
    assert result.ledger["request"] == len(result.rows)
    assert intervals == {node: (start[node], end[node]) for node in request.tree} or result.repairs


@pytest.mark.slow
@given(damaged_bytes())
def test_damaged_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(DecodeError):
        oracle.spans([ExportTraceServiceRequest.FromString(data)])


# ── Drawings ──────────────────────────────────────────────────────────────────────────────────────
# One column is one nanosecond; a span's name is its path from the root, and the last row says
# which span has each nanosecond on the critical path. A span of no length is │.

DRAWINGS = {
    "gaps belong to the parent": """
        s     ├──────────┤
        s.a     ├──┤
        s.b          ├──┤
        path  ssaaassbbbs
        """,
    "of overlapping siblings the later end wins": """
        s     ├─────────┤
        s.a     ├───┤
        s.b        ├───┤
        path  ssaaabbbbs
        """,
    "of equal ends the earlier start wins": """
        s     ├─────────┤
        s.a     ├─────┤
        s.b       ├───┤
        path  ssaaaaaass
        """,
    "of equal intervals the smallest id wins": """
        s     ├─────────┤
        s.b     ├─────┤
        s.a     ├─────┤
        path  ssaaaaaass
        """,
    "touching siblings are both on the path": """
        s     ├───────┤
        s.a    ├──┤
        s.b       ├──┤
        path  saaabbbs
        """,
    "a span of no length is never on the path": """
        s     ├───────┤
        s.a    ├──┤
        s.z       │
        s.y   │
        s.b       ├──┤
        path  saaabbbs
        """,
    "a child that outlives its parent is cut": """
        s     ├─────────┤
        s.a    ├──────┤
        s.a.c    ├─────────┤
        path  saacccccss
        """,
    "a child that encloses its parent has all of it": """
        s       ├─────┤
        s.a   ├─────────┤
        path    aaaaaa
        """,
    "a child outside its parent has nothing": """
        s       ├────┤
        s.a   ├─┤
        s.b          ├──┤
        path    sssss
        """,
    "a walked child is cut where its later sibling began": """
        s     ├───────────┤
        s.a    ├───────┤
        s.a.c   ├─┤
        s.b      ├───────┤
        path  sacbbbbbbbbs
        """,
    "a grandchild sees only what its parent left": """
        s     ├──────────┤
        s.a    ├───┤
        s.a.c    ├──────┤
        s.b         ├─┤
        path  saaccsbbsss
        """,
    "a request of no length has no path": """
        s       │
        s.a   ├─────┤
        path
        """,
}


@pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)
def test_the_critical_path_is_the_drawn_one(drawing: str) -> None:
    *bars, expected = drawing.strip("\n").splitlines()[:-1]
    tree: nx.DiGraph[str] = nx.DiGraph()
    start, end = {}, {}
    for bar in bars:
        name = bar.split()[0]
        tree.add_node(name)
        if "." in name:
            tree.add_edge(name.rpartition(".")[0], name)
        start[name] = bar.index("│" if "│" in bar else "├")
        end[name] = bar.index("│" if "│" in bar else "┤")
    path = oracle.critical_path(tree, start, end, {name: name for name in tree})
    drawn = "".join(segment.node[-1] * (segment.end - segment.start) for segment in path)
    assert drawn == expected.removeprefix("        path").strip()
    assert not path or path[0].start == start["s"]


# The nine cases of Jaeger's user interface: spans (id, parent, start, end) and sections, latest
# first. In the fifth a PRODUCER caused a CONSUMER, which Jaeger takes out of the tree.
JAEGER = [
    ("C,-,1,101 D,C,20,40 E,C,50,60", "C60-101 E50-60 C40-50 D20-40 C1-20"),
    ("X,-,1,101 A,X,10,50 C,X,20,60", "X60-101 C20-60 X1-20"),
    ("A,-,100,140 B,A,200,500", "A100-140"),
    ("A,-,1,31 B,A,40,80 C,B,50,60", "A1-31"),
    ("A,-,1,31 B,A,10,20,CONSUMER C,B,12,14", "A1-31"),
    ("A,-,1,30 B,A,15,35 C,B,10,25", "B25-30 C15-25 A1-15"),
    ("A,-,1,30 B,A,15,35 C,B,20,40", "C20-30 B15-20 A1-15"),
    ("A,-,10,30 B,A,5,35", "B10-30"),
    ("A,-,10,30 B,A,1,5", "A10-30"),
]


@pytest.mark.parametrize(("written", "sections"), JAEGER)
def test_happens_before_gives_jaegers_sections(written: str, sections: str) -> None:
    tree: nx.DiGraph[str] = nx.DiGraph()
    start, end, detached = {}, {}, set()
    for name, parent, begin, finish, *kind in (span.split(",") for span in written.split()):
        tree.add_node(name)
        if parent != "-":
            tree.add_edge(parent, name)
        start[name], end[name] = int(begin), int(finish)
        detached |= {name} if kind else set()
    ids = {name: name for name in tree}
    path = oracle.critical_path(tree, start, end, ids, happens_before=True, detached=detached)
    assert " ".join(f"{s.node}{s.start}-{s.end}" for s in reversed(path)) == sections


def test_what_does_not_divide_goes_to_the_smallest_ids() -> None:
    #  s     ├─────────┤          0..10
    #  s.a    ├──────┤            1..8     b and c leave it 1..2, then 7 ns go 3, 2, 2
    #  s.b    ├──────┤
    #  s.c    ├──────┤
    tree: nx.DiGraph[str] = nx.DiGraph([("s", "c"), ("s", "b"), ("s", "a")])
    start, end = {"s": 0, "a": 1, "b": 1, "c": 1}, {"s": 10, "a": 8, "b": 8, "c": 8}
    shares = oracle.active_share(tree, start, end, {name: name for name in tree})
    assert shares == {"s": 3, "a": 3, "b": 2, "c": 2}
    assert oracle.self_time(tree, start, end) == {"s": 3, "a": 7, "b": 7, "c": 7}


# ── Known shapes ──────────────────────────────────────────────────────────────────────────────────


def pod_create(serialize_inside: bool) -> list[Span]:
    txn = etcd_client("KV/Txn", 40, 60, etcd_server("KV/Txn", 45, 55))
    create = verb_span("Create", 10, 90, webhook("mutating", 15, 30, (16, 29)), txn)
    serialize = verb_span("SerializeObject", 70, 85)
    if serialize_inside:
        create.children.append(serialize)
        return [create]
    return [create, serialize]


@pytest.mark.parametrize("version", ["1.28", "1.31"])
def test_what_hangs_below_an_ended_authentication_moves(version: str) -> None:
    root = apiserver_request(version, "POST", "/api/v1/pods", 0, 100, pod_create(False))
    result = joined(trace(root).batches())
    kinds = Counter(repair.kind for repair in result.repairs)
    assert kinds == {"authentication_children": 2, "serialize_sibling": 1}
    assert result.ledger["request"] == len(result.rows) == 8
    names = {row.name: row for row in result.rows}
    parents = {
        row.name: result.rows[parent].name
        for row in result.rows
        if (parent := result.parents[row.number]) is not None
    }
    assert parents["SerializeObject"] == "Create"
    assert parents["Create"] == parents["authentication"]
    assert names["Create"].parent_span_id == names["authentication"].span_id


def test_authentication_above_a_privileged_request_is_its_prelude() -> None:
    root = apiserver_request("1.34", "POST", "/api/v1/pods", 5, 100, pod_create(True), privileged=True)
    result = joined(trace(root).batches())
    assert result.ledger["prelude"] == 1
    assert result.ledger["request"] == len(result.rows) - 1 == 11
    assert [repair.kind for repair in result.repairs] == ["prelude"]
    assert oracle.wall_ns(result, result.requests[0]) == 95


def test_each_span_set_aside_says_why() -> None:
    request = apiserver_request("1.28", "GET", "/healthz", 0, 9, [], links=[(2, 1)])
    sent = batches(
        trace(request),
        trace(Span("HTTP GET", 0, 10, kind=CLIENT, scope=HTTP), trace_id=2),
        trace(Span("authentication", 0, 1), trace_id=3),
        trace(etcd_server("Watch/Watch", 0, 5), trace_id=4, parent_span_id=77),
        trace(Span("authentication", 0, 1, pod_create(False)), trace_id=5, parent_span_id=77),
        trace(etcd_client("KV/Range", 0, 5, etcd_server("KV/Range", 1, 4)), trace_id=6),
        trace(Span("HTTP GET", 0, 10, kind=CLIENT, scope=HTTP), trace_id=7),
    )
    assert joined([*sent, sent[1]]).ledger == {
        "request": 2,
        "prelude": 0,
        "background": 2,
        "sync": 0,
        "kubelet": 0,
        "runtime": 0,
        "duplicate": 3,  # one of Watch, Range and Txn each
        "invalid_id": 0,
        "orphan": 1,
        "root_missing": 7,
        "caller": 1,
        "authentication": 1,
        "unrelated": 1,
    }


# ── The baseline of the benchmarks ────────────────────────────────────────────────────────────────


@cache
def baseline() -> ModuleType:
    path = HERE.parent / "benchmarks" / "baseline.py"
    spec = importlib.util.spec_from_file_location("baseline", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["baseline"] = module
    spec.loader.exec_module(module)
    return module


RULES = {
    "About to Encode": ("storage", "encode"),
    "Encode succeeded": (None, "transform"),
    "TransformToStorage succeeded": (None, None),
    "About to write a response": ("handle", "write"),
    "message": ("send", "receive"),
}


def check_baseline(requests: Requests) -> None:
    result = joined(requests)
    actual = baseline().run(
        [request.SerializeToString() for request in requests],
        lambda signature: signature.name,
        lambda _, event: RULES.get(event),
    )
    expected = [naive_phases(result, request) for request in result.requests]
    assert [request.phases for request in actual.requests] == expected
    walls = [oracle.wall_ns(result, request) for request in result.requests]
    assert [request.wall_ns for request in actual.requests] == walls
    assert [sum(request.phases.values()) for request in actual.requests] == walls


def naive_phases(result: oracle.Joined, request: oracle.Request) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for node, begin, finish in oracle.critical_path(request.tree, *oracle.times(result)):
        row = result.rows[node]
        cuts = {begin, finish, *(e.time for e in row.events if begin < e.time < finish)}
        for low, high in pairwise(sorted(cuts)):
            sums[naive_phase(row, low)] += high - low
    return dict(sums)


def naive_phase(row: oracle.Row, instant: int) -> str:
    ruled = sorted((e for e in row.events if e.name in RULES), key=lambda event: event.time)
    past = [event for event in ruled if event.time <= instant]
    if past:
        return RULES[past[-1].name][1] or row.name
    if ruled and not row.dropped_events_count:
        return RULES[ruled[0].name][0] or row.name
    return row.name


def test_the_baseline_describes_a_span_to_the_rules() -> None:
    #  POST deployments          root of a request below its prelude: no parent
    #  └─ … authorization
    #     └─ Create
    #        └─ HTTP POST        CLIENT with a SERVER child: no leaf
    #           └─ GET pods/a    root inside another request: its parent counts, its verb is its own
    #              └─ … Get
    #                 └─ KV/Range   CLIENT without its SERVER span: a leaf
    get = verb_span("Get", 20, 40, etcd_client("KV/Range", 25, 35))
    inner = apiserver_request("1.34", "GET", "/api/v1/namespaces/x/pods/a", 15, 45, [get])
    call = Span("HTTP POST", 12, 50, [inner], CLIENT, HTTP)
    create = verb_span("Create", 10, 60, call)
    target = "/apis/apps/v1/namespaces/x/deployments"
    outer = apiserver_request("1.34", "POST", target, 0, 100, [create], privileged=True)
    sent = trace(outer).batches()
    trees = baseline().Trees([s for m in sent for s in baseline().spans(m.SerializeToString())])
    phases = baseline().Phases(trees, lambda signature: signature.name, lambda *_: None)
    signatures = [phases.signature(number) for number in range(len(trees.spans))]
    assert {(s.name, s.parent, s.leaf, s.request_verb) for s in signatures} >= {
        ("authentication", None, False, None),
        ("POST", None, False, "create"),
        ("Create", "authorization", False, "create"),
        ("HTTP POST", "Create", False, "create"),
        ("GET", "HTTP POST", False, "get"),
        ("Get", "authorization", False, "get"),
        ("etcdserverpb.KV/Range", "Get", True, "get"),
    }


@pytest.mark.slow
@capture
def test_the_baseline_agrees_on_every_request_of_a_capture(version: str) -> None:
    check_baseline(oracle.load(CAPTURES[version]))


@pytest.mark.slow
@settings(max_examples=60)
@given(dirty_batches())
def test_the_baseline_agrees_on_dirty_requests(requests: Requests) -> None:
    # Of conflicting copies that are equally rich the baseline keeps whichever came first; it adopts no orphans.
    others = {"conflict", "orphan_link", "orphan_rpc", "unended_parent"}
    assume(all(repair.kind not in others for repair in joined(requests).repairs))
    check_baseline(requests)


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/api/v1/namespaces/a/pods/b", ("get", "pods")),
        ("GET", "/api/v1/namespaces/a/pods/b/log?follow=true", ("get", "pods/log")),
        ("GET", "/api/v1/pods?limit=500", ("list", "pods")),
        ("GET", "/api/v1/pods?watch=1", ("watch", "pods")),
        ("GET", "/api/v1/pods?watch=false", ("list", "pods")),
        ("GET", "/api/v1/namespaces/a", ("get", "namespaces")),
        ("PUT", "/api/v1/namespaces/a/finalize", ("update", "namespaces/finalize")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments", ("deletecollection", "deployments")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments/b", ("delete", "deployments")),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", ("create", "deployments")),
        ("GET", "/api/v1/watch/pods", ("watch", "pods")),
        ("GET", "/apis/apps/v1", ("nonresource", "/apis/apps/v1")),
        ("GET", "/healthz?verbose", ("nonresource", "/healthz")),
    ],
)
def test_the_baseline_reads_verbs_as_kubernetes_does(
    method: str, target: str, expected: tuple[str, str]
) -> None:
    root = apiserver_request("1.31", method, target, 0, 1, [])
    (message,) = trace(root).batches()
    (span,) = (s for s in baseline().spans(message.SerializeToString()) if s.is_request)
    assert baseline().target(span) == expected
