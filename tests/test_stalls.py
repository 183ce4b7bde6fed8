"""A process that was stopped is found, by name and time, and one that only waited, or only was slow, is not."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from random import Random
from statistics import median
from typing import NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace
from k8strace.findings import Stall, stalls
from k8strace.findings.tails import unusual

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import stalls as simulations  # noqa: E402

SHARED = ROOT.parent / "shared" / "captures"
"""Recordings with known faults, which a clone need not have."""
OWN = sorted((ROOT / "tests" / "data").glob("k8s-*.otlp.zst"))
HEALTHY = [
    *SHARED.glob("k8s-*.otlp.zst"),
    *SHARED.glob("whatif/*.otlp.zst"),
    *SHARED.glob("faults/f-sham.otlp.zst"),
    *SHARED.glob("faults/f-conflict.otlp.zst"),
]

RUNS = int(os.environ.get("K8STRACE_STALL_RUNS", "10"))
"""How many simulations are tried; 1,000 before a release."""

Window = tuple[int, int]


def windows(fault: str) -> list[Window]:
    """When it happened, from the recording's own log."""
    path = SHARED / "faults" / f"{fault}.faults.jsonl"
    if not path.exists():
        pytest.skip(f"the recordings with known faults are not here: {path}")
    return [(line["start"], line["end"]) for line in map(json.loads, path.read_text().splitlines())]


def lay_in(requests: k8strace.Requests, window: Window) -> int:
    """How many requests that end by themselves were open in a window."""
    columns = ("start_unix_nano", "wall_ns", "long_running")
    return sum(
        start < window[1] and start + wall > window[0] and not long_running
        for start, wall, long_running in zip(*map(requests.column, columns), strict=True)
    )


def shared_ns(stall: Stall, window: Window) -> int:
    return min(stall.end_unix_nano, window[1]) - max(stall.start_unix_nano, window[0])


class Judged(NamedTuple):
    """What was told of a recording whose faults are known."""

    found: int
    right: list[tuple[Window, Stall]]
    """A window, and a stall of the right process in it."""
    busy: int
    """Windows in which three or more requests lay."""
    busy_found: int


def judged(requests: k8strace.Requests, known: list[Window], processes: set[str]) -> Judged:
    found = stalls(requests)
    right = [(w, s) for w in known for s in found if shared_ns(s, w) > 0 and s.process.service in processes]
    busy = {window for window in known if lay_in(requests, window) >= 3}
    return Judged(len(found), right, len(busy), len(busy & {window for window, _ in right}))


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "process"), [("f-etcd-pause", "etcd"), ("f-apiserver-pause", "apiserver")])
def test_a_stopped_process_is_found_by_name_and_time(fault: str, process: str) -> None:
    known = windows(fault)
    requests = k8strace.join(k8strace.read(SHARED / "faults" / f"{fault}.otlp.zst"))
    told = judged(requests, known, {process})
    assert told.busy_found >= 0.95 * told.busy
    assert len(told.right) >= 0.98 * told.found
    assert median(abs(stall.start_unix_nano - start) for (start, _), stall in told.right) <= 15_000_000
    assert median(abs(stall.end_unix_nano - end) for (_, end), stall in told.right) <= 15_000_000


def filtered(path: Path, keep: Callable[[str], bool]) -> k8strace.Requests:
    """The recording with those spans that are kept, told by the service that sent them."""
    if not path.exists():
        pytest.skip(f"the recordings with known faults are not here: {path}")
    messages = []
    for wire in k8strace.read(path)._columns.batch_wires():
        message = ExportTraceServiceRequest.FromString(wire)
        for resource in message.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                kept = [span for span in scope.spans if keep(named["service.name"])]
                del scope.spans[:]
                scope.spans.extend(kept)
        messages.append(message.SerializeToString())
    return k8strace.join(k8strace.decode(b"".join(messages)))


def thinned(path: Path, seed: int, lost: float) -> k8strace.Requests:
    """The recording without a part of its spans."""
    random = Random(seed)
    return filtered(path, lambda _: random.random() > lost)


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "share"), [(0.1, 0.95), (0.2, 0.9), (0.3, 0.85), (0.5, 0.8)])
@pytest.mark.parametrize(
    ("fault", "process"), [("f-etcd-pause", "etcd"), ("f-apiserver-pause", "apiserver"), ("f-sham", "")]
)
def test_lost_spans_make_no_stall_and_no_other_process(
    fault: str, process: str, lost: float, share: float
) -> None:
    """A tenth hides hardly any, a half some; what is told is right. With `-s` it prints the table in the docs."""
    known = windows(fault) if process else []
    requests = thinned(SHARED / "faults" / f"{fault}.otlp.zst", 1, lost)
    told = judged(requests, known, {process})
    row = f"{told.busy_found} of {told.busy} found, {len(told.right)} of {told.found} right"
    print(f"\n{fault}, {lost:.0%} lost: {row}")  # noqa: T201
    assert told.busy_found >= share * told.busy
    assert len(told.right) == told.found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "processes", "share"),
    [
        ("f-etcd-pause", {"etcd", "apiserver or etcd"}, 0.95),
        ("f-apiserver-pause", {"apiserver or etcd"}, 0.25),
        ("f-conflict", set(), 0),
        ("f-sham", set(), 0),
    ],
)
def test_without_spans_of_etcd_calls_to_it_tell_that_something_stopped(
    fault: str, processes: set[str], share: float
) -> None:
    """A stopped apiserver is told only where calls to etcd were open; which of both it was, is not."""
    known = windows(fault) if processes else []
    requests = filtered(SHARED / "faults" / f"{fault}.otlp.zst", lambda service: service == "apiserver")
    told = judged(requests, known, processes)
    assert told.busy_found >= share * told.busy
    assert len(told.right) == told.found


def test_one_hiccup_hides_no_stalls() -> None:
    """Usual waits of up to 16 ms, one of 40 ms, and ten of 250 ms: those stand out, with the one between or without."""
    usual = [round(1e6 * (1 - (n + 0.5) / 500) ** -0.4) for n in range(500)]
    stopped = [250_000_000 + n for n in range(10)]
    chosen = {"error_rate": 0.01, "least": 20_000_000, "apart": 1.5}
    limit = unusual([*usual, *stopped], **chosen)
    assert 40_000_000 < limit < 250_000_000
    assert unusual([*usual, 40_000_000, *stopped], **chosen) == limit
    assert unusual([*usual, 40_000_000], **chosen) == inf


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(HEALTHY), ids=lambda path: path.name)
def test_no_stall_is_found_where_nothing_stopped(path: Path) -> None:
    assert stalls(k8strace.join(k8strace.read(path))) == []


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_stall_is_found_in_a_healthy_recording(path: Path) -> None:
    assert stalls(k8strace.join(k8strace.read(path))) == []


@pytest.mark.slow
def test_no_stall_is_found_in_healthy_simulations() -> None:
    """The error rate: at most one run in a hundred, load that comes in waves and big lists included."""
    assert len(dict(simulations.alarms(range(RUNS)))) <= RUNS // 100


@pytest.mark.slow
def test_stopped_processes_are_found_in_simulations() -> None:
    score = simulations.score(range(max(10, RUNS // 5)))
    assert score.hit >= 0.9 * score.due > 0
    assert score.right >= 0.98 * score.found
    assert median(score.start_ns) <= 15_000_000
    assert median(score.end_ns) <= 15_000_000


@pytest.mark.slow
def test_a_slow_network_is_no_stall() -> None:
    runs = max(10, RUNS // 5)
    assert len(dict(simulations.alarms(range(runs), simulations.slow_network))) <= runs // 50


@pytest.mark.slow
def test_a_slow_network_is_the_first_sentence() -> None:
    for seed in range(5):
        run = simulations.simulate(simulations.slow_network(seed))
        first, *_ = k8strace.join(k8strace.decode(run.message)).findings()
        assert first["code"] == "etcd_transport"
