"""What the core tells of rows in groups is what plain Python tells of their lists."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from builder import apiserver_request, etcd_client, trace, verb_span
from hypothesis import given
from strategies import Requests, dirty_batches

import k8strace
from k8strace import _core

ANY = (-(2**63), 2**63 - 1)
"""Any time."""


@pytest.fixture(scope="module")
def requests(capture_136: Path) -> k8strace.Requests:
    return k8strace.join(k8strace.read(capture_136))


def whole(requests: k8strace.Requests, rows: list[int] | None = None) -> _core.GroupedRows:
    return _core.GroupedRows(rows, len(requests), [])


def own(requests: k8strace.Requests, name: str) -> _core.Column:
    return requests._joined.table.column(name)


@pytest.mark.parametrize("name", ["verb", "instance", "incomplete_cause", "namespace"])
def test_rows_are_chosen_by_their_texts(requests: k8strace.Requests, name: str) -> None:
    values = requests.column(name).to_pylist()
    rows = [*range(len(requests))][::-2]
    for texts in ([None], ["list", "get", "etcd_not_traced"], ["no such", values[0]], []):
        found = whole(requests, rows).among(own(requests, name), texts)
        assert found.all() == [row for row in rows if values[row] in texts]


@pytest.mark.parametrize(("name", "least"), [("http_status", 400), ("caller_ns", 0), ("wall_ns", 10**7)])
def test_rows_are_chosen_by_their_numbers(requests: k8strace.Requests, name: str, least: int) -> None:
    values = requests.column(name).to_pylist()
    chosen = whole(requests).at_least(own(requests, name), least)
    assert chosen.all() == [row for row, value in enumerate(values) if value is not None and value >= least]
    by_verb = chosen.by([_core.Codes.of(own(requests, "verb"))])
    groups: dict[Any, list[int]] = {}
    for row in chosen.all():
        groups.setdefault(requests["verb"][row], []).append(row)
    assert [by_verb.rows(at) for at in range(len(by_verb))] == [*groups.values()]


def test_columns_of_another_kind_or_of_fewer_rows_are_refused(requests: k8strace.Requests) -> None:
    rows, short = whole(requests), own(requests, "verb").take([0])
    with pytest.raises(TypeError, match="expected texts"):
        rows.among(own(requests, "wall_ns"), ["list"])
    with pytest.raises(TypeError, match="expected integers"):
        rows.at_least(own(requests, "verb"), 1)
    with pytest.raises(IndexError):
        rows.among(short, ["list"])
    with pytest.raises(IndexError):
        rows.by([_core.Codes.of(short)])
    with pytest.raises(IndexError):
        whole(requests, [1]).coded([0])


def test_numbers_are_summed_by_key_and_null_is_left_out(requests: k8strace.Requests) -> None:
    around, ns = own(requests, "linked_from"), own(requests, "wall_ns")
    sums: Counter[int] = Counter()
    for key, value in zip(around.to_pylist(), ns.to_pylist(), strict=True):
        if key is not None:
            sums[key] += value
    assert dict(zip(*_core.sum_by(around, ns), strict=True)) == dict(sums)
    assert _core.sum_by(ns, ns, []) == ([], [])
    with pytest.raises(IndexError):
        _core.sum_by(ns, ns, [len(requests)])


@pytest.mark.parametrize("key", ["client", "status", "time:10s", "250ms", "hour", f"{2**63}ns"])
def test_keys_that_the_core_groups_by_have_the_values_of_their_columns(
    requests: k8strace.Requests, key: str
) -> None:
    values = requests.column(key).to_pylist()
    fresh = k8strace.join(requests.spans)
    grouped = fresh._by_key([key])
    expected: dict[Any, list[int]] = {}
    for row, value in enumerate(values):
        expected.setdefault(value, []).append(row)
    assert fresh._values([key], grouped) == [(value,) for value in expected]
    assert [grouped.rows(at) for at in range(len(grouped))] == [*expected.values()]


def test_a_key_of_a_column_that_was_added_goes_by_that_column(requests: k8strace.Requests) -> None:
    agents = [f"tool/{row % 3} (linux/amd64)" for row in range(len(requests))]
    rows = requests.with_column("user_agent", agents).cost("client")
    assert {row["client"] for row in rows} == {"tool/0", "tool/1", "tool/2"}


# ── Calls on the critical path ────────────────────────────────────────────────────────────────────


def check_parts(requests: k8strace.Requests) -> None:
    """What lies on the path below each span is the sum of the path's segments there, whatever the times."""
    joined = requests._joined
    rows = list(requests.outermost()._rows)
    for request in rows:
        explained = joined.core.explain(request, joined.phase_table.answers)
        above = {view.row: view.parent for view in explained.span}
        path = [(explained.span[node].row, start, end) for node, start, end, _ in explained.segments]
        times = sorted({at for _, *each in path for at in each})
        for since, until in (ANY, *pairwise(times[:: max(1, len(times) // 3)]), ANY[::-1]):
            expected: Counter[int] = Counter()
            for row, start, end in path:
                at: int | None = row
                while at in above:
                    expected[at] += max(0, min(end, until) - max(start, since))
                    at = None if at == explained.span[0].row else above[at]
            ns, held = joined.core.critical_within(rows, [(row, since, until) for row in above])
            assert held == [request] * len(above)
            assert ns == [expected[row] for row in above]


def test_the_part_of_every_span_of_a_capture_is_the_paths(requests: k8strace.Requests) -> None:
    check_parts(requests.where("verb!=watch").slowest(20))


@pytest.mark.slow
@given(dirty_batches())
def test_the_part_of_every_span_of_dirty_trees_is_the_paths(sent: Requests) -> None:
    check_parts(k8strace.join(k8strace.decode(sent)))


def test_of_calls_those_that_no_request_holds_are_left_out() -> None:
    # Get       |5=================30|
    # calls         |10==20|         |30==40|     |50==60|     of the last one nothing is known
    calls = [etcd_client("KV/Range", 10, 20), etcd_client("KV/Range", 30, 40)]
    root = apiserver_request("1.31", "GET", "/api/v1/pods/b", 0, 30, [verb_span("Get", 5, 30, *calls)])
    sent = trace(root, etcd_client("KV/Range", 50, 60)).batches()
    requests = k8strace.join(k8strace.decode(sent))
    core, details = requests._joined.core, requests._joined.named("etcd_call_details")
    assert len(details) == 3
    held = core.held_calls([0], details)
    assert held.column_names == [*details.column_names, "held", "critical_ns"]
    assert (held.column("held").to_pylist(), held.column("critical_ns").to_pylist()) == ([0, 0], [10, 0])
    assert len(core.held_calls([], details)) == 0
    with pytest.raises(IndexError):
        core.held_calls([1], details)
    with pytest.raises(RuntimeError, match="span"):
        core.held_calls([0], requests._joined.table)
    with pytest.raises(IndexError):
        core.critical_within([0], [(99, *ANY)])
