"""Searching: what is found is what a plain loop over the requests finds, and never more than the limit."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import k8strace
from k8strace.exceptions import ConditionError
from k8strace.query import Held, Wanted, search, traces_of

FIELD = Path(__file__).parent / "data/field"
CAPTURE = Path(__file__).parent / "data/k8s-1.36_etcd-3.6.otlp.zst"
REQUESTS = k8strace.join(k8strace.read(CAPTURE))
ALL = list(REQUESTS)


def fits(request, wanted):
    """The definition, a line for each condition."""
    status = request.http_status or 0
    return (
        (wanted.trace_id is None or request.trace_id.startswith(wanted.trace_id))
        and (wanted.verb is None or request.verb == wanted.verb)
        and (wanted.resource is None or request.resource == wanted.resource)
        and (wanted.namespace is None or request.namespace == wanted.namespace)
        and (wanted.least_ns is None or request.wall_ns >= wanted.least_ns)
        and (wanted.most_ns is None or request.wall_ns <= wanted.most_ns)
        and (wanted.start_unix_nano is None or request.start_unix_nano >= wanted.start_unix_nano)
        and (wanted.end_unix_nano is None or request.start_unix_nano < wanted.end_unix_nano)
        and {None: True, "errors": status >= 400, "2xx": 200 <= status < 300, "409": status == 409}[
            wanted.status
        ]
    )


def maybe(values):
    return st.none() | st.sampled_from(sorted(values))


WANTED = st.builds(
    Wanted,
    trace_id=maybe({each.trace_id[:2] for each in ALL}),
    verb=maybe({each.verb for each in ALL if each.verb}),
    resource=maybe({each.resource for each in ALL if each.resource}),
    namespace=maybe({each.namespace for each in ALL if each.namespace}),
    status=maybe(["errors", "2xx", "409"]),
    least_ns=maybe([1_000_000, 10_000_000, 1_000_000_000]),
    most_ns=maybe([2_000_000, 50_000_000]),
    start_unix_nano=maybe({each.start_unix_nano for each in ALL[::100]}),
    end_unix_nano=maybe({each.start_unix_nano for each in ALL[::100]}),
    limit=st.sampled_from([1, 7, 100, 5_000]),
)


@given(wanted=WANTED, cuts=st.lists(st.integers(0, len(ALL)), max_size=3))
def test_the_latest_that_fit_are_found_however_they_are_divided(wanted, cuts):
    edges = [0, *sorted(cuts), len(ALL)]
    populations = [REQUESTS[begin:end] for begin, end in pairwise(edges)][::-1]
    found = [request.request for part in search(populations, wanted) for request in part]
    right = [each.request for each in sorted(ALL, key=lambda r: -r.start_unix_nano) if fits(each, wanted)]
    assert len(found) == min(wanted.limit, len(right))
    starts = {each.request: each.start_unix_nano for each in ALL}
    assert sorted(starts[row] for row in found) == sorted(starts[row] for row in right[: wanted.limit])


def test_traces_come_whole_and_bounded():
    requests = k8strace.join(k8strace.read(FIELD / "d3-aggregated-same-name.json"))
    outer, inner = requests
    assert outer.trace_id == inner.trace_id
    ((trace, part),) = traces_of(search([requests], Wanted(limit=1)), 10)
    assert trace == outer.trace_id
    assert [each.span_id for each in part] == [outer.span_id, inner.span_id]
    assert len(traces_of([REQUESTS], 5)) == 5


def test_what_is_no_status_or_limit_is_refused():
    for wrong in ({"status": "5x"}, {"status": ""}, {"limit": 0}, {"limit": 5_001}):
        with pytest.raises(ConditionError):
            Wanted(**wrong)


def batches():
    return [bytes(each) for each in k8strace.read(CAPTURE)._columns.batch_wires()]


def test_held_requests_are_those_that_the_stream_stands_by():
    stream, held = k8strace.RequestStream(), Held()
    for at, batch in enumerate(batches()):
        stream.feed(batch, now_ns=at)
        held(stream.take(now_ns=at))
    held(stream.flush())
    ids = [
        (trace, span)
        for part in held.populations()
        for trace, span in zip(part.column("trace_id"), part.column("span_id"), strict=True)
    ]
    assert sorted(ids) == sorted((each.trace_id, each.span_id) for each in ALL)


def test_what_is_held_is_bounded():
    stream, held = k8strace.RequestStream(), Held(most_spans=3_000)
    for at, batch in enumerate(batches()):
        stream.feed(batch, now_ns=at)
        held(stream.take(now_ns=at))
        spans = [len(part.spans) for part in held.populations()]
        assert sum(spans) <= 3_000 or len(spans) == 1
