"""A restart joins what was stored: over any number of kills, `--json` says of every request what the store says."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from serving import EXPORT, Serving, batches_of, records_of, serving, without_numbers

import k8strace
from k8strace.receiver import Journal
from k8strace.receiver.journal.backlog import backlog

KILLS = 8


def scattered(capture: Path, count: int, seed: int) -> list[bytes]:
    """The spans of a recording in so many batches, each of them in one by chance: most traces are in many."""
    rng = random.Random(seed)
    batches = [ExportTraceServiceRequest() for _ in range(count)]
    for whole in map(ExportTraceServiceRequest.FromString, batches_of(capture)):
        for resource in whole.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    part = rng.choice(batches).resource_spans.add(resource=resource.resource)
                    part.scope_spans.add(scope=scope.scope).spans.append(span)
    return [batch.SerializeToString() for batch in batches]


def send_until_killed(process: Serving, batches: list[bytes], kill_at: int | None) -> list[bytes]:
    """Kills it while that batch is sent. Returns those that were not acknowledged: a real sender sends them again."""
    left = list(batches)
    with grpc.insecure_channel(process.address("grpc")) as channel:
        export = channel.unary_unary(EXPORT)
        while left:
            sending = export.future(left[0], timeout=20)
            if kill_at == len(batches) - len(left):
                time.sleep(random.Random(kill_at).random() * 0.01)
                process.process.send_signal(signal.SIGKILL)
            try:
                sending.result()
            except grpc.RpcError:
                return left
            del left[0]
    return left


def last_lines(lines: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """By request; a line that a kill has cut has no end."""
    found = {}
    for line in lines:
        if line.endswith("\n"):
            record = json.loads(line)
            found[record["trace_id"], record["span_id"]] = record
    return {key: record for key, record in found.items() if not record.get("withdrawn")}


def as_a_stream(records: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Read at once, a repeated span is a repair; as spans come, it is one that is here already."""
    for record in records.values():
        record["repairs"] = [kind for kind in record["repairs"] if kind != "duplicate"]
    return without_numbers(records)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("layout", [(), ("--store-zstd",)], ids=["plain", "zstd"])
def test_over_any_number_of_kills_the_lines_are_those_of_the_store(layout, tmp_path, capture_131):
    """Traces are open at every kill; a batch without an answer is sent again; the last line of a request counts."""
    left, lines = scattered(capture_131, 120, seed=1), []
    options = ("--store", str(tmp_path), "--json", "--window", "2m", "--segment-bytes", "64KiB", *layout)
    for round_ in range(KILLS + 1):
        kill_at = None if round_ == KILLS else len(left) // (KILLS + 1 - round_)
        with serving(*options) as process:
            left = send_until_killed(process, left, kill_at)
            if round_ == KILLS:
                process.stop()
            else:
                process.wait()
            lines += process.lines
    assert not left
    expected = as_a_stream(records_of(k8strace.read(str(tmp_path / "*.otlp*"))))
    assert len(expected) > 100
    assert as_a_stream(last_lines(lines)) == expected


@pytest.mark.slow
def test_what_was_handed_on_is_not_counted_again(tmp_path, capture_131):
    """Requests of the last run are written again, and are none of this one's."""
    batches = batches_of(capture_131)
    with serving("--store", str(tmp_path), "--json") as process:
        send_until_killed(process, batches, None)
        process.stop()
        before = last_lines(process.lines)
    with serving("--store", str(tmp_path), "--json", "--window", "2m") as process:
        assert process.find("joined again")
        assert process.metric("k8strace_requests_total") == 0
        assert process.metric("k8strace_accepted_spans_total") == 0
        process.stop()
    assert as_a_stream(last_lines(process.lines)) == as_a_stream(before)


def stored_at(store: Path, begins: dict[str, tuple[int, int]]) -> None:
    """Segments with one batch each: name of the batch → when it was begun, and last written."""
    for number, (name, (began, ended)) in enumerate(begins.items(), 1):
        with Journal(store) as journal:
            journal.append(name.encode())
        made = max(store.glob("*.otlp"), key=lambda path: path.stat().st_mtime_ns)
        stem = time.strftime("k8strace-%Y%m%dT%H%M%SZ", time.gmtime(began))
        path = made.rename(store / f"{stem}-{number:06}.otlp")
        os.utime(path, (ended, ended))


AT = 1_700_000_000


@pytest.mark.parametrize(
    ("begins", "context", "recent"),
    [
        ({}, [], []),
        ({"a": (AT, AT + 3600)}, [], ["a"]),
        ({"a": (AT, AT + 3600), "b": (AT + 3600, AT + 3700)}, [], ["a", "b"]),
        # Written 100 s before the last one began: traces that were open then have only their past in it.
        ({"a": (AT, AT + 3500), "b": (AT + 3600, AT + 3700)}, ["a"], ["b"]),
        # Older than any trace may become.
        ({"a": (AT, AT + 10), "b": (AT + 3600, AT + 3700)}, [], ["b"]),
        ({"a": (AT, AT + 5), "b": (AT + 3000, AT + 3400), "c": (AT + 3600, AT + 3601)}, ["b"], ["c"]),
        # The clock went back: what lies between is read all the same.
        ({"a": (AT, AT + 3590), "b": (AT, AT + 5), "c": (AT + 3600, AT + 3601)}, [], ["a", "b", "c"]),
    ],
)
def test_what_is_read_back_is_what_may_have_been_open(begins, context, recent, tmp_path):
    stored_at(tmp_path, begins)
    found = list(backlog(tmp_path, window_s=10, max_age_s=600, most_bytes=1 << 30, on_damage=print))
    assert [each.batch.decode() for each in found if not each.is_recent] == context
    assert [each.batch.decode() for each in found if each.is_recent] == recent
    few = list(backlog(tmp_path, window_s=10, max_age_s=600, most_bytes=1, on_damage=print))
    assert [each.batch.decode() for each in few] == recent, "context only as far as it fits"
