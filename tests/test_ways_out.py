"""
No view may fail: whatever was read goes through every way out, with its sums kept, and no controls in it.

`K8STRACE_WAYS_TRACES=100000 make test ARGS=tests/test_ways_out.py` tries so many random dirty traces.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from strategies import dirty_batches
from test_many_traces import batches, dirty_trace

import k8strace
from k8strace.receiver.metrics.exposition import Exposition, RequestMetrics
from k8strace.receiver.metrics.tally import Tally, observe
from k8strace.views.branches import tree_lines
from k8strace.views.breakdown import Wanted
from k8strace.views.facts import longest
from k8strace.views.live import Snapshot, live_lines, log_line
from k8strace.views.records import report_record, request_records, tree_record
from k8strace.views.report import report_lines, requests_lines
from k8strace.views.text import Look, render

TRACES = int(os.environ.get("K8STRACE_WAYS_TRACES", "2000"))
DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[2] / "shared"
"""Recordings that a clone need not have."""

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LOOKS = (Look(40), Look(160, colour=True))


def texts(requests: k8strace.Requests, trees: int) -> Iterator[str]:
    """What terminals are shown."""
    listed = longest(requests, None)
    attribution, of_listed = k8strace.attribute(requests), k8strace.attribute(listed)
    some = k8strace.attribute(requests[:trees])
    for look in LOOKS:
        for by in (("verb", "resource"), ("user_agent",)):
            yield render(report_lines(attribution, requests, look, Wanted(by=by, slowest=trees)), look)
        yield render(requests_lines(of_listed, requests, look, 50), look)
        yield render(tree_lines(some, look, None), look)
        yield from live(requests, look)


def live(requests: k8strace.Requests, look: Look) -> Iterator[str]:
    """The live table, and what is logged instead of it."""
    tally = Tally()
    tally.add(observe(requests))
    now = Snapshot(
        mode="memory",
        listening=[],
        uptime_s=1.0,
        recent=tally,
        recent_s=1.0,
        spans_per_s=0.0,
        requests_per_s=0.0,
        spans=len(requests.spans),
        requests=len(requests),
        ready=True,
    )
    yield render(live_lines(now, look), look)
    yield f"{log_line(now)}\n"


def metrics(requests: k8strace.Requests) -> str:
    """What Prometheus reads."""
    counted = RequestMetrics()
    counted.add(observe(requests))
    return "".join(
        Exposition(counted, [], process=False).render(accept)[1].decode()
        for accept in ("", "application/openmetrics-text")
    )


def pages(requests: k8strace.Requests, trees: int) -> Iterator[str]:
    """What notebooks show."""
    attribution = k8strace.attribute(requests)
    shown = [
        requests.spans,
        requests,
        *requests[:trees],
        attribution,
        attribution.by("verb"),
        attribution.by(),
    ]
    return (each._repr_html_() for each in shown)


def check_records(requests: k8strace.Requests, trees: int) -> None:
    """JSON that any parser takes, with integers that add up."""
    for method in ("critical_path", "active_share"):
        attribution = k8strace.attribute(requests, method=method)
        for record in map(through_json, request_records(attribution)):
            assert sum(record["components"].values()) == sum(record["phases"].values()) == record["wall_ns"]
        report = through_json(report_record(attribution, requests, Wanted(by=("verb",), slowest=trees)))
        ledger = report["ledger"]
        assert ledger["spans"] == sum(ledger["used"].values()) + sum(ledger["set_aside"].values())
        for group in report["groups"]:
            assert sum(group["phases"].values()) == group["wall_ns"]
        for request in requests[:trees]:
            through_json(tree_record(k8strace.attribute(requests.find(request.trace_id), method=method)))


def through_json(record: object) -> dict:
    return json.loads(json.dumps(record, allow_nan=False))


def check_every_way_out(spans: k8strace.Spans, trees: int = 3) -> None:
    requests = k8strace.join(spans)
    for text in texts(requests, trees):
        assert not CONTROLS.search(COLOURS.sub("", text))
    for text in (*pages(requests, trees), metrics(requests)):
        assert not CONTROLS.search(text)
    check_records(requests, trees)
    for table in (requests.issues, requests.repairs, requests.etcd_calls, requests.joined.clock_offsets):
        json.dumps(list(table), default=str)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(dirty_batches(full=True))
def test_any_dirty_trace_goes_every_way_out(messages) -> None:
    check_every_way_out(k8strace.decode([message.SerializeToString() for message in messages]))


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_many_dirty_traces_go_every_way_out() -> None:
    """In recordings of one trace to two hundred."""
    rng, left = random.Random(5), TRACES
    while left > 0:
        size = min(rng.choice((1, 1, 2, 5, 20, 200)), left)
        spans = [span for number in range(size) for span in dirty_trace(rng, number)]
        check_every_way_out(k8strace.decode(batches(spans, 97)), trees=1)
        left -= size


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(DATA.glob("*.zst")), ids=lambda path: path.name)
def test_every_capture_goes_every_way_out(path: Path) -> None:
    check_every_way_out(k8strace.read(path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    sorted({*(SHARED / "captures").glob("*.zst"), *(SHARED / "captures").glob("*/w*.otlp.zst")}),
    ids=lambda path: path.name,
)
def test_every_other_recording_goes_every_way_out(path: Path) -> None:
    if ".otlp." in path.name:
        check_every_way_out(k8strace.read(path))


FIELD = sorted(
    {path.name: path for folder in (SHARED / "field", DATA / "field") for path in folder.glob("*")}.values()
)


@pytest.mark.parametrize(
    "path", [path for path in FIELD if path.name != "expected.json"], ids=lambda path: path.name
)
def test_every_input_of_the_field_goes_every_way_out(path: Path) -> None:
    """What cannot be read says so; all else goes out."""
    try:
        spans = k8strace.read(path)
    except k8strace.K8straceError as error:
        assert str(error).isprintable()  # noqa: PT017 - either way is fine, an empty or wild message is not
        return
    check_every_way_out(spans)
