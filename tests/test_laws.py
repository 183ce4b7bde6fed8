"""Laws that hold on any input: nothing is lost, sums are exact, and the order of arrival does not matter.

Each law is tried on 400 drawn inputs; `K8STRACE_LAW_EXAMPLES` sets another number, such as 100000.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import SHAPES, drawn, sent
from strategies import Requests, dirty_batches
from test_requests import resent

import k8strace

EXAMPLES = int(os.environ.get("K8STRACE_LAW_EXAMPLES", "400"))
law = settings(max_examples=EXAMPLES, deadline=None)

FAR = 10_000  # µs between two shapes of one file: no span of one touches another


def joined(messages: Requests) -> k8strace.Requests:
    return k8strace.join(k8strace.decode(messages))


# ── What is compared ──────────────────────────────────────────────────────────────────────────────

NUMBERED = ("request", "outer_request", "linked_from")
"""Columns that hold the numbers of requests, which ids replace here."""


def told(requests: k8strace.Requests) -> dict[tuple[str, str], Any]:
    """All that is said of each request: its columns, its tree and its parts."""
    attribution = k8strace.attribute(requests)
    rows = list(k8strace.Table(requests._arrow()))
    names = {row["request"]: (row["trace_id"], row["span_id"]) for row in rows}
    for row in rows:
        row.update({key: names.get(row[key]) for key in NUMBERED})
    return {
        names[request.request]: (
            row,
            sorted(request.tree.edges),
            request.tree.graph["critical_path"],
            attribution.phases(request.request),
        )
        for request, row in zip(requests, rows, strict=True)
    }


def rows_of(requests: k8strace.Requests, table: k8strace.Table, aside: str) -> Counter[tuple[Any, ...]]:
    """Rows of a table but those of a kind, with the ids of requests."""
    names = {request.request: (request.trace_id, request.span_id) for request in requests}
    return Counter(
        tuple(names.get(value) if key == "request" else value for key, value in row.items())
        for row in table
        if aside not in row.values()
    )


def check_sums(requests: k8strace.Requests) -> None:
    """Every span has a place, every nanosecond an owner, and the path leaves no gap."""
    ledger = requests.joined.ledger
    assert ledger.spans == len(requests.spans) == sum(chain(ledger.used.values(), ledger.set_aside.values()))
    walls = requests.column("wall_ns").to_pylist()
    for method in ("critical_path", "active_share"):
        attribution = k8strace.attribute(requests, method=method)
        assert [sum(attribution.phases(at).values()) for at in range(len(requests))] == walls
    own = k8strace.attribute(requests, method="self_time")
    for request in requests:
        assert sum(own.phases(request.request).values()) >= request.wall_ns
        at = request.start_unix_nano
        for _, start, end, _ in request.tree.graph["critical_path"]:
            assert at == start < end
            at = end
        assert at == request.start_unix_nano + request.wall_ns


# ── Dirty input ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@law
@given(dirty_batches(full=True))
def test_nothing_is_lost_and_time_is_divided_without_a_rest(messages: Requests) -> None:
    check_sums(joined(messages))


@pytest.mark.slow
@law
@given(dirty_batches(), st.randoms(use_true_random=False))
def test_order_and_split_do_not_matter(messages: Requests, random: Random) -> None:
    once, again = joined(messages), joined(resent(messages, random))
    assert told(again) == told(once)
    assert again.joined.ledger == once.joined.ledger
    for table in ("repairs", "issues"):
        first, second = (k8strace.Table(requests._joined.core.table(table)) for requests in (once, again))
        assert rows_of(again, second, "none of these") == rows_of(once, first, "none of these")


@pytest.mark.slow
@law
@given(dirty_batches(), st.randoms(use_true_random=False))
def test_what_is_sent_twice_counts_once(messages: Requests, random: Random) -> None:
    once, again = joined(messages), joined(resent(messages, random, times=2))
    assert told(again) == told(once)
    assert again.joined.ledger.used == once.joined.ledger.used
    aside = dict(once.joined.ledger.set_aside)
    aside["duplicate"] += once.joined.ledger.spans - aside["invalid_id"]
    aside["invalid_id"] *= 2  # what has no id cannot be told from its copy
    assert again.joined.ledger.set_aside == aside
    assert rows_of(again, again.repairs, "duplicate") == rows_of(once, once.repairs, "duplicate")


# ── All shapes in one file ────────────────────────────────────────────────────────────────────────

ALONE = [drawn(joined(sent(*shape(1, 0)))[0]) for shape in SHAPES]


@pytest.mark.slow
@law
@given(st.lists(st.sampled_from(range(len(SHAPES))), max_size=6), st.randoms(use_true_random=False))
def test_shapes_of_all_versions_in_one_file_are_each_as_if_alone(which: list[int], random: Random) -> None:
    traces = [part for at, shape in enumerate(which) for part in SHAPES[shape](at + 1, FAR * at)]
    requests = joined(resent(sent(*traces), random, times=random.choice([1, 1, 2])))
    assert [drawn(request, FAR * at) for at, request in enumerate(requests)] == [ALONE[s] for s in which]
    assert sum(requests.joined.ledger.used.values()) + requests.joined.ledger.set_aside["duplicate"] == len(
        requests.spans
    )
    assert all(request.complete and request.has_valid_times for request in requests)
    check_sums(requests)


# ── Damaged captures ──────────────────────────────────────────────────────────────────────────────


def thinned(path: Path, share: float, seed: int) -> Requests:
    """A capture of which so many spans got lost at random."""
    random, messages = Random(seed), oracle.load(path)
    for message in messages:
        for by_resource in message.resource_spans:
            for by_scope in by_resource.scope_spans:
                kept = [span for span in by_scope.spans if random.random() >= share]
                del by_scope.spans[:]
                by_scope.spans.extend(kept)
    return messages


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.3])
def test_lost_spans_are_missed_and_nothing_is_put_in_their_place(capture: Path, share: float) -> None:
    """The parent of an orphan is lost, so wherever it is put is wrong: at most 1 of 200 is put anywhere."""
    requests = joined(thinned(capture, share, seed=7))
    check_sums(requests)
    made = Counter(row["kind"] for row in requests.repairs)
    orphans = requests.joined.ledger.set_aside["orphan"] + requests.joined.ledger.set_aside["root_missing"]
    assert made["orphan_rpc"] + made["orphan_link"] <= orphans / 200
    lost = {row["request"] for row in requests.issues if row["code"] in ("orphan_rpc", "orphan_link")}
    assert all(not requests[at].complete for at in lost if at is not None)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.3])
def test_calls_through_a_hop_that_was_not_recorded_find_their_caller(capture: Path, share: float) -> None:
    """Parent ids of etcd's spans are those of an unknown proxy: at least 95 % find back, at least 99.5 % rightly."""
    random, messages = Random(7), oracle.load(capture)
    truth: dict[tuple[str, str], str] = {}
    known = {(row.trace_id, row.span_id) for row in oracle.spans(messages)}
    for message in messages:
        for span in (s for rs in message.resource_spans for scope in rs.scope_spans for s in scope.spans):
            caller = (span.trace_id, span.parent_span_id)
            served = span.kind == oracle.SERVER and span.name.startswith("etcdserverpb.")
            if served and caller in known and random.random() < share:
                truth[span.trace_id.hex(), span.span_id.hex()] = span.parent_span_id.hex()
                span.parent_span_id = random.randbytes(8)
    requests = joined(messages)
    found = {
        (row["trace_id"], row["span_id"]): row["after"]
        for row in requests.repairs
        if row["kind"] == "orphan_rpc"
    }
    right = sum(truth.get(span) == after for span, after in found.items())
    assert right >= 0.995 * len(found)
    assert right >= 0.95 * len(truth)
    check_sums(requests)


def parted(path: Path) -> tuple[Requests, dict[str, str]]:
    """A capture whose `authentication` spans above requests are traces of their own; request to filter, by span id."""
    messages = oracle.load(path)
    rows = {row.id: row for row in oracle.spans(messages)}
    truth = {
        row.span_id: above.span_id
        for row in rows.values()
        if row.is_request
        and (above := rows.get((row.trace_id, row.parent_span_id)))
        and above.is_authentication
    }
    filters = set(truth.values())
    for span in (
        s for m in messages for rs in m.resource_spans for scope in rs.scope_spans for s in scope.spans
    ):
        if span.span_id in truth:
            span.parent_span_id = b""
        elif span.span_id in filters:
            span.trace_id = b"\xee" * 8 + span.span_id
    return messages, {request.hex(): filter_.hex() for request, filter_ in truth.items()}


def test_split_requests_whose_other_half_is_known_are_joined_to_no_other(capture_136: Path) -> None:
    messages, truth = parted(capture_136)
    joins = (row for row in joined(messages).repairs if row["kind"] == "split_authentication")
    found = {row["span_id"]: row["after"].rpartition("/")[2] for row in joins}
    assert len(truth) == 712
    assert {request: found[request] for request in truth if request in found}.items() <= truth.items()
    assert not {filter_ for request, filter_ in found.items() if request not in truth} & set(truth.values())
    assert sum(request in found for request in truth) == 686
