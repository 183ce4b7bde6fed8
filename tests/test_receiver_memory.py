"""A hostile request costs memory and time in proportion to its size, and no more: peak RSS of a child process.

The bound is that of one request: four times what it is when inflated, and 32 MiB.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from messages import inside
from receivers import Kept, request_of, serving, span

from k8strace.receiver import Intake, Limits

MIB = 1 << 20

# Warms up with a small request, so that the imports are in the base; then takes the request in the file.
CHILD = """
import json, resource, sys, time
import k8strace
from k8strace.receiver import Intake, Receipt

class Decodes:
    def accept(self, batch, meta):
        spans = k8strace.decode(batch)
        return Receipt(len(spans))

def take(body, encoding, is_json):
    with intake.visit("http/json" if is_json else "http/protobuf") as visit:
        visit.receive(len(body))
        visit.take(body, encoding=encoding, json=is_json)
    return visit.verdict

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10

intake = Intake(Decodes())
path, encoding, is_json = sys.argv[1], sys.argv[2], sys.argv[3] == "json"
for small in (b"", b"{}"):
    take(small, "", small == b"{}")
body = open(path, "rb").read()
base = peak() - len(body)
start = time.monotonic()
verdict = take(body, encoding, is_json)
print(json.dumps([verdict.outcome.name, verdict.reason, verdict.accepted, verdict.rejected,
                  peak() - base, time.monotonic() - start, intake.budget.used_bytes]))
"""


def padded(data: bytes, size: int) -> bytes:
    return data * (size // len(data))


def in_one_scope(spans: bytes) -> bytes:
    return inside(spans, 1, 2)


GOOD = span().SerializeToString()
SIZE = 40 * MIB

# What it is, inflated; the last is what becomes of it.
WIRES: dict[str, tuple[Callable[[], bytes], str]] = {
    "spans of two bytes": (lambda: in_one_scope(padded(inside(b"", 2), SIZE)), "OK"),
    "attributes of two bytes": (
        lambda: in_one_scope(padded(inside(GOOD + inside(b"", 9) * 500_000, 2), SIZE)),
        "OK",
    ),
    "a thousand of them in each span": (
        lambda: in_one_scope(padded(inside(GOOD + inside(b"", 9) * 1_024, 2), SIZE)),
        "OK",
    ),
    "cuts all over": (
        lambda: in_one_scope(padded(inside(GOOD + inside(b"", 9) * 1_024 + b"J\x00\x30\x01" * 64, 2), SIZE)),
        "OK",
    ),
    "every other span bad": (
        lambda: in_one_scope(padded(inside(GOOD, 2) + inside(b"", 2), SIZE)),
        "OK",
    ),
    "a bad span in each scope": (lambda: inside(padded(inside(b"", 2, 2), SIZE), 1), "OK"),
    "events of two bytes": (
        lambda: in_one_scope(padded(inside(GOOD + inside(b"", 11) * 400_000, 2), SIZE)),
        "OK",
    ),
    "links of two bytes": (
        lambda: in_one_scope(padded(inside(GOOD + inside(b"", 13) * 1_000, 2), SIZE)),
        "OK",
    ),
    "resources of two bytes": (lambda: padded(inside(b"", 1), SIZE), "INVALID"),
    "groups": (lambda: b"\x9b\x06" * (SIZE // 2), "INVALID"),
    "names that never come again": (
        lambda: in_one_scope(
            b"".join(inside(GOOD + inside(b"%06x" % number, 5), 2) for number in range(SIZE // 64))
        ),
        "OK",
    ),
}


def measured(tmp_path: Path, body: bytes, encoding: str = "", kind: str = "wire") -> list:
    path = tmp_path / "body"
    path.write_bytes(body)
    command = [sys.executable, "-c", CHILD, str(path), encoding, kind]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", WIRES)
def test_memory_of_a_hostile_request(name: str, tmp_path: Path):
    """Decoded by the sink too."""
    make, expected = WIRES[name]
    body = make()
    outcome, _, _, _, peak, seconds, budget = measured(tmp_path, body)
    assert outcome == expected
    assert peak <= 4 * len(body) + 32 * MIB
    assert seconds < 10
    assert budget == 0


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("members", [1, 1_000])
def test_a_bomb_is_refused_at_the_limit(encoding: str, members: int, tmp_path: Path):
    """A gibibyte of zeros, in one member or in a thousand."""
    limit = 64 * MIB
    chunk = bytes((1 << 30) // members)
    compress = gzip.compress if encoding == "gzip" else zstandard.ZstdCompressor(level=1).compress
    body = compress(chunk) * members
    del chunk
    outcome, reason, _, _, peak, seconds, budget = measured(tmp_path, body, encoding)
    assert (outcome, reason) == ("TOO_LARGE", "size")
    assert peak <= limit + 32 * MIB
    assert seconds < 10
    assert budget == 0


@pytest.mark.slow
def test_compressed_spans_of_two_bytes(tmp_path: Path):
    """Thirty million spans in thirty kilobytes."""
    wire = in_one_scope(padded(inside(b"", 2), 60 * MIB))
    outcome, _, accepted, rejected, peak, seconds, _ = measured(tmp_path, gzip.compress(wire), "gzip")
    assert (outcome, accepted, rejected) == ("OK", 0, 30 * MIB)
    assert peak <= 4 * len(wire) + 32 * MIB
    assert seconds < 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spans", "attributes", "text"])
def test_memory_of_hostile_json(name: str, tmp_path: Path):
    inner = {
        "spans": b"{}",
        "attributes": b'{"attributes":[%s]}' % b",".join([b"{}"] * 1_000),
        "text": b'{"name":"\\u00e9"}',
    }
    spans = b",".join([inner[name]] * (SIZE // (len(inner[name]) + 1)))
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + spans + b"]}]}]}"
    outcome, _, _, _, peak, _, budget = measured(tmp_path, body, "", "json")
    assert outcome == (
        "OK" if name == "text" else "TOO_LARGE"
    )  # lengths are five bytes where JSON has a comma
    assert peak <= 4 * len(body) + 32 * MIB
    assert budget == 0


# ── zstd's window, damage, several members ────────────────────────────────────────────────────────


def frame(window_log: int) -> bytes:
    """Magic, a header without content size whose window is that power of two, one empty last block."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3]) + b"\x01\x00\x00"


def verdict_of(body: bytes, encoding: str, limits: Limits | None = None):
    intake = Intake(Kept(), limits=limits)
    with intake.visit("http/protobuf") as visit:
        visit.receive(len(body))
        visit.take(body, encoding=encoding)  # type: ignore[arg-type]
    return visit.verdict


def test_a_zstd_window_of_8_mib_is_taken_and_a_larger_one_refused():
    assert verdict_of(frame(23), "zstd").ok
    refused = verdict_of(frame(24), "zstd")
    assert (refused.outcome.name, refused.reason) == ("INVALID", "inflate")
    assert "8 MiB" in refused.message
    assert verdict_of(frame(24), "zstd", Limits(zstd_window_bytes=16 * MIB)).ok


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_behind_one_another_are_one_body(encoding: str):
    compress = gzip.compress if encoding == "gzip" else zstandard.compress
    wire = request_of(span(1)).SerializeToString(), request_of(span(2)).SerializeToString()
    assert verdict_of(compress(wire[0]) + compress(wire[1]), encoding).accepted == 2


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_damaged_compression_is_refused(encoding: str):
    compress = gzip.compress if encoding == "gzip" else zstandard.compress
    whole = compress(request_of(span()).SerializeToString())
    for body in (whole[:-1], b"not compressed", whole + b"garbage", whole[:10]):
        refused = verdict_of(body, encoding)
        assert (refused.outcome.name, refused.reason) == ("INVALID", "inflate")


# ── The budget of all requests together ───────────────────────────────────────────────────────────


BUDGET = Limits(in_flight_bytes=32 * MIB, request_bytes=32 * MIB)


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (gzip.compress(bytes(23 * MIB)), {"encoding": "gzip"}),
        (b'{"resourceSpans":[]}' + b" " * 15 * MIB, {"json": True}),
    ],
    ids=["gzip", "json"],
)
def test_the_budget_is_charged_before_work_is_done(body: bytes, how: dict):
    """While another request holds a quarter, this one has no room; without it the same request is looked at."""
    for held, reason in ((8 * MIB, "budget"), (0, "malformed" if "encoding" in how else "")):
        sink = Kept()
        intake = Intake(sink, limits=BUDGET)
        first, second = intake.visit("http/protobuf"), intake.visit("http/protobuf")
        with first:
            first.receive(held)
            with second:
                second.take(body, **how)
            used = intake.budget.used_bytes
            first.take(b"")
        # Not inside the blocks, which answer for whatever is raised in them.
        assert second.verdict.reason == reason
        assert second.verdict.retry_after_s == (1 if reason == "budget" else None)
        assert (used, intake.budget.used_bytes) == (held, 0)


def test_json_whose_wire_is_longer_than_a_request_may_be_is_refused():
    """Lengths are five bytes there."""
    body = b'{"resourceSpans":[' + b",".join([b"{}"] * 300) + b"]}"
    assert len(body) < 1_000
    intake = Intake(Kept(), limits=Limits(request_bytes=1_000))
    with intake.visit("http/json") as visit:
        visit.receive(len(body))
        visit.take(body, json=True)
    assert (visit.verdict.outcome.name, visit.verdict.reason) == ("TOO_LARGE", "size")


@pytest.mark.parametrize("transport", ["grpc", "grpc.aio", "http/protobuf", "http/json"])
def test_over_the_budget_senders_come_again(transport: str):
    """While one request is with the sink, there is no room for another; then there is."""
    import threading

    from k8strace.receiver import Receipt

    entered, leave = threading.Event(), threading.Event()

    def accept(_, meta):
        entered.set()
        assert leave.wait(20)
        return Receipt(meta.spans)

    request, other = request_of(span(name="n" * 600)), request_of(span(name="n" * 1_100))
    limits = Limits(request_bytes=1_600, in_flight_bytes=5_000 if transport == "http/json" else 1_600)
    with serving(transport, Kept(accept), limits=limits) as send:
        first = threading.Thread(target=send, args=(request,))
        first.start()
        assert entered.wait(20)
        refused = send(other)
        leave.set()
        first.join()
        assert refused.status in ("UNAVAILABLE", 429)
        assert refused.retry_s == 1
        assert send.intake.rejections["budget"] == 1
        assert send(request).ok


def test_a_full_house_is_answered_at_once():
    """Requests beyond those that may wait are not queued: the answer does not take as long as the sink."""
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from k8strace.receiver import Receipt

    for transport in ("grpc", "grpc.aio", "http/protobuf"):
        leave = threading.Event()

        def accept(_, meta, leave=leave):
            leave.wait(20)
            return Receipt(meta.spans)

        limits = Limits(workers=1, waiting_requests=2)
        with serving(transport, Kept(accept), limits=limits) as send, ThreadPoolExecutor(10) as pool:
            answers = [pool.submit(send, request_of(span(number))) for number in range(1, 11)]
            deadline = time.monotonic() + 10
            while sum(answer.done() for answer in answers) < 7 and time.monotonic() < deadline:
                time.sleep(0.01)
            early = [answer.result() for answer in answers if answer.done()]
            leave.set()
            late = [answer.result() for answer in answers]
            busy = send.intake.rejections["busy"]
        assert len(early) == busy == 7, transport
        assert all(answer.status in ("UNAVAILABLE", 429) and answer.retry_s == 1 for answer in early)
        assert sum(answer.ok for answer in late) == 3
