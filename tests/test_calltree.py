"""The call tree of a request is an arborescence whose nodes carry what the reference promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from builder import SERVER, Span, apiserver_request, etcd_client, etcd_server, trace, verb_span
from hypothesis import given
from strategies import Requests, dirty_batches

import k8strace

# Node attribute -> its type; None where the sender may have said nothing.
CARRIED: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "service": (str,),
    "instance": (str, type(None)),
    "kind": (str,),
    "phase": (str,),
    "component": (str,),
    "start_unix_nano": (int,),
    "end_unix_nano": (int,),
    "raw_start_unix_nano": (int,),
    "raw_end_unix_nano": (int,),
    "effective_start_unix_nano": (int,),
    "effective_end_unix_nano": (int,),
    "duration_ns": (int,),
    "critical_ns": (int,),
    "self_ns": (int,),
    "status_code": (int,),
    "status_message": (str,),
    "error": (str, type(None)),
    "attributes": (dict,),
    "events": (list,),
}


def joined(*spans: Span) -> k8strace.Requests:
    return k8strace.join(k8strace.decode(trace(*spans).batches()))


def check_tree(request: k8strace.Request) -> None:
    tree = request.tree
    assert nx.is_arborescence(tree)
    assert [node for node, degree in tree.in_degree() if degree == 0] == [request.span_id]
    assert next(iter(tree)) == request.span_id
    for _, data in tree.nodes(data=True):
        assert list(data) == list(CARRIED)
        assert all(isinstance(data[name], types) for name, types in CARRIED.items())
        assert data["component"] == data["phase"].partition(".")[0]
        assert data["duration_ns"] == max(0, data["end_unix_nano"] - data["start_unix_nano"])
        assert 0 <= data["critical_ns"] <= data["duration_ns"]
        assert 0 <= data["self_ns"] <= data["duration_ns"]
        assert all(isinstance(time, int) and isinstance(name, str) for time, name in data["events"])
    check_path(request, tree)


def check_path(request: k8strace.Request, tree: nx.DiGraph[str]) -> None:
    """The path goes from the start of the request to its end without a gap, and is the nodes' critical time."""
    critical, at = dict.fromkeys(tree, 0), request.start_unix_nano
    for span_id, start, end, phase in tree.graph["critical_path"]:
        assert at == start < end
        assert isinstance(phase, str)
        critical[span_id] += end - start
        at = end
    assert at == request.start_unix_nano + request.wall_ns
    assert critical == dict(tree.nodes(data="critical_ns"))


def test_every_request_of_a_capture_has_a_call_tree(capture: Path) -> None:
    for request in k8strace.join(k8strace.read(capture)):
        check_tree(request)


@pytest.mark.slow
@given(dirty_batches())
def test_every_request_of_dirty_spans_has_a_call_tree(sent: Requests) -> None:
    for request in k8strace.join(k8strace.decode(sent)):
        check_tree(request)


def small() -> nx.DiGraph[str]:
    server = etcd_server("KV/Range", 30, 60)
    call = etcd_client("KV/Range", 25, 105, server)
    get = verb_span(
        "Get", 10, 90, call, events=[(85, "About to write a response"), (20, "About to Get from storage")]
    )
    root = apiserver_request("1.31", "GET", "/api/v1/namespaces/a/pods/b", 0, 100, [])
    root.children = [get]
    (request,) = joined(root)
    return request.tree


def by_name(tree: nx.DiGraph[str]) -> dict[str, dict[str, Any]]:
    return {f"{data['kind']} {data['name']}": data for _, data in tree.nodes(data=True)}


def test_edges_go_from_parent_to_child() -> None:
    tree = small()
    edges = [(tree.nodes[a]["name"], tree.nodes[b]["name"]) for a, b in tree.edges]
    assert edges == [
        ("GET", "Get"),
        ("Get", "etcdserverpb.KV/Range"),
        ("etcdserverpb.KV/Range", "etcdserverpb.KV/Range"),
    ]


def test_nodes_carry_what_was_sent_and_what_was_found() -> None:
    # GET        0 ├──────────────────────────────────┤ 100
    # Get            10 ├───────────────────────┤ 90
    # CLIENT              25 ├──────────────────┼────────┤ 105
    # SERVER                 30 ├─────┤ 60
    nodes = by_name(small())
    client = nodes["CLIENT etcdserverpb.KV/Range"]
    assert (client["service"], client["instance"]) == ("apiserver", "apiserver-a")
    assert (client["phase"], client["component"]) == ("etcd.transport", "etcd")
    assert (client["start_unix_nano"], client["end_unix_nano"], client["duration_ns"]) == (25, 105, 80)
    assert (client["effective_start_unix_nano"], client["effective_end_unix_nano"]) == (25, 90)
    assert (client["critical_ns"], client["self_ns"]) == (35, 35)
    assert nodes["SERVER etcdserverpb.KV/Range"]["critical_ns"] == 30
    assert nodes["INTERNAL Get"]["events"] == [
        (85, "About to write a response"),
        (20, "About to Get from storage"),
    ]
    assert nodes["SERVER GET"]["self_ns"] == 20


def test_the_critical_path_is_in_the_order_of_time_with_the_phase_of_each_piece() -> None:
    tree = small()
    path = [
        (tree.nodes[s]["name"], start, end, phase) for s, start, end, phase in tree.graph["critical_path"]
    ]
    assert path == [
        ("GET", 0, 10, "apiserver.filters"),
        ("Get", 10, 25, "apiserver.unattributed"),
        ("etcdserverpb.KV/Range", 25, 30, "etcd.transport"),
        ("etcdserverpb.KV/Range", 30, 60, "etcd.server"),
        ("etcdserverpb.KV/Range", 60, 90, "etcd.transport"),
        ("GET", 90, 100, "apiserver.filters"),
    ]


def test_children_are_in_the_order_of_their_start() -> None:
    root = apiserver_request("1.31", "GET", "/healthz", 0, 100, [])
    root.children = [verb_span(name, at, at + 1) for name, at in [("c", 30), ("a", 10), ("b", 20)]]
    (request,) = joined(root)
    assert [request.tree.nodes[child]["name"] for child in request.tree.successors(request.span_id)] == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.parametrize(
    ("kind", "word"), [(0, "UNSPECIFIED"), (4, "PRODUCER"), (5, "CONSUMER"), (9, "9"), (-1, "-1")]
)
def test_a_kind_is_its_word_or_its_number(kind: int, word: str) -> None:
    root = apiserver_request("1.31", "GET", "/healthz", 0, 100, [])
    root.children = [Span("odd", 1, 2, kind=kind)]
    (request,) = joined(root)
    assert {data["kind"] for _, data in request.tree.nodes(data=True)} == {"SERVER", word}


def test_the_status_of_a_span_is_carried() -> None:
    (message,) = trace(apiserver_request("1.31", "GET", "/healthz", 0, 100, [])).batches()
    for scope in message.resource_spans[0].scope_spans:
        for span in scope.spans:
            if span.kind == SERVER:
                span.status.code, span.status.message = 2, "no"
    (request,) = k8strace.join(k8strace.decode(message))
    root = request.tree.nodes[request.span_id]
    assert (root["status_code"], root["status_message"]) == (2, "no")


def test_a_tree_is_made_anew_so_that_changing_one_changes_no_other() -> None:
    (request,) = joined(apiserver_request("1.31", "GET", "/healthz", 0, 100, []))
    request.tree.clear()
    assert request.tree.number_of_nodes() == 2


def test_networkx_is_imported_by_the_first_tree_and_not_before(capture_131: Path) -> None:
    code = (
        "import sys, k8strace\n"
        f"requests = k8strace.join(k8strace.read({str(capture_131)!r}))\n"
        "k8strace.attribute(requests).by('verb')\n"
        "before = 'networkx' in sys.modules\n"
        "requests[0].tree\n"
        "print(before, 'networkx' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
