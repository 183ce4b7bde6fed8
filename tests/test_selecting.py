"""A selection of requests has the rows that fit, in an order that is said."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from builder import (
    Span,
    apiserver_request,
    batches,
    trace,
)

import k8strace


def get(start: int = 0, end: int = 100) -> Span:
    return apiserver_request("1.31", "GET", "/api/v1/namespaces/a/pods/b", start, end, [])


def test_a_selection_keeps_order_and_says_what_fits(capture_131: Path) -> None:
    requests = k8strace.join(k8strace.read(capture_131))
    everyone = list(requests)
    lists = requests.where(verb="list", resource=["pods", "configmaps"], wall_ns=lambda ns: ns > 1_000_000)
    assert list(lists) == [
        request
        for request in everyone
        if request.verb == "list"
        and request.resource in ("pods", "configmaps")
        and request.wall_ns > 1_000_000
    ]
    assert 0 < len(lists) < len(everyone)
    assert lists.column("request").to_pylist() == [request.request for request in lists]
    assert len(lists.where(verb="watch")) == 0
    assert [request.trace_id for request in requests.find(everyone[7].trace_id[:20].upper())] == [
        everyone[7].trace_id
    ]


def test_an_unknown_column_is_a_key_error(capture_131: Path) -> None:
    requests = k8strace.join(k8strace.read(capture_131))
    with pytest.raises(KeyError):
        requests.where(colour="blue")
    with pytest.raises(KeyError):
        requests.column("colour")


def test_indexing_slicing_and_iterating_agree(capture_131: Path) -> None:
    requests = k8strace.join(k8strace.read(capture_131))
    everyone = list(requests)
    assert requests[3] == everyone[3]
    assert requests[-1] == everyone[-1]
    assert list(requests[10:20:3]) == everyone[10:20:3]
    assert list(requests[10:20][-2:]) == everyone[18:20]
    with pytest.raises(IndexError):
        requests[len(requests)]


def test_the_slowest_come_first_and_of_equally_long_ones_the_earlier() -> None:
    roots = [get(start=start, end=start + wall) for start, wall in [(0, 5), (1, 9), (2, 5), (3, 9), (4, 1)]]
    requests = k8strace.join(
        k8strace.decode(batches(*(trace(root, trace_id=at) for at, root in enumerate(roots, 1))))
    )
    assert requests.slowest(4).column("start_unix_nano").to_pylist() == [1, 3, 0, 2]
    assert requests.slowest().column("wall_ns").to_pylist() == [9, 9, 5, 5, 1]
    assert requests.slowest(0).column("wall_ns").to_pylist() == []


def test_the_slowest_leave_out_what_stays_open_by_its_nature() -> None:
    watch = apiserver_request("1.31", "GET", "/api/v1/pods?watch=1", 0, 1_000, [])
    requests = k8strace.join(k8strace.decode(batches(trace(watch, trace_id=1), trace(get(), trace_id=2))))
    assert requests.slowest().column("verb").to_pylist() == ["get"]
    assert requests.slowest(long_running=True).column("verb").to_pylist() == ["watch", "get"]


def test_requests_are_in_order_of_start_whatever_the_order_of_arrival(capture: Path) -> None:
    requests = k8strace.join(k8strace.read(capture))
    order = [(request.start_unix_nano, request.trace_id, request.span_id) for request in requests]
    assert order == sorted(order)
    assert requests.column("request").to_pylist() == list(range(len(requests)))


def test_the_arrow_table_of_a_selection_has_its_rows(capture_131: Path) -> None:
    requests = k8strace.join(k8strace.read(capture_131)).where(verb="list").slowest(5)
    table = k8strace.Table(requests._arrow())
    assert [row["span_id"] for row in table] == [request.span_id for request in requests]
    assert [row["etcd_call_count"] for row in table] == [request.etcd_call_count for request in requests]


def test_a_selection_is_handed_over_in_its_own_order(capture_136: Path) -> None:
    """The Arrow rows are the requests of the selection, one by one, also when all of them are in it."""
    requests = k8strace.join(k8strace.read(capture_136))
    for selection in (requests, requests[::-1], requests.slowest(long_running=True), requests.slowest(7)):
        assert pa.table(selection)["request"].to_pylist() == [request.request for request in selection]


# ── A selection is what it says ───────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def everything(capture_136):
    return k8strace.join(k8strace.read(capture_136))


def test_the_graph_of_a_selection_counts_its_calls_only(everything):
    """Lists with their etcd calls: as many as the calls' table has, and no webhooks."""
    lists = everything.where(verb="list")
    edges = lists.graph.edges
    assert edges["apiserver", "etcd"]["calls"] == len(lists.etcd_calls)
    assert "webhook" not in lists.graph
    assert "webhook" in everything.graph


def test_attribution_of_a_selection_knows_its_requests_only(everything):
    lists, other = everything.where(verb="list"), everything.where(verb="create")[0]
    attribution, whole = k8strace.attribute(lists), k8strace.attribute(everything)
    for request in lists:
        assert attribution[request] == whole[request] == attribution[request.index]
        assert sum(attribution[request].components.values()) == request.wall_ns
        assert (request.phases, request.components) == (
            attribution[request].phases,
            attribution[request].components,
        )
    for unknown in (other, other.request, 10**9):
        with pytest.raises(KeyError, match="is not one of the 87"):
            attribution[unknown]


def test_functions_are_not_asked_about_null(everything):
    """Most requests off the resources have no namespace; who wants those says None."""
    in_load = everything.where(namespace=lambda name: name.startswith("load-"))
    absent = everything.where(namespace=None)
    assert 0 < len(in_load) < len(everything)
    assert set(absent.column("namespace")) == {None}
    assert len(everything.where(namespace=lambda _: True)) + len(absent) == len(everything)


def test_an_unknown_column_is_answered_with_the_known_ones(everything):
    with pytest.raises(KeyError, match=r"'verbs'.*verb, .*wall_ns"):
        everything.where(verbs="list")
    with pytest.raises(KeyError, match="'verbs'"):
        k8strace.attribute(everything).by("verbs")
