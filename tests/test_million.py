"""A million spans in one request take seconds, whatever their shape."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

import oracle
import pytest
from builder import (
    APISERVER,
    HTTP,
    INTERNAL,
    SERVER,
    TRACING,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace
from k8strace.export.jaeger import jaeger
from k8strace.export.perfetto import perfetto

pytestmark = pytest.mark.alone

MILLION = 1_000_000


def written(
    parents: Iterable[int], times: Iterable[tuple[int, int]], kind: int, scope: str, name: str
) -> bytes:
    """One message, written by hand: span n + 1 of trace 1 for each parent; parent 0 is none."""
    body = bytearray()
    head = b"\x0a\x10" + b"\1" * 16 + b"\x12\x08"
    tail = b"\x2a" + bytes([len(name)]) + name.encode() + b"\x30" + bytes([kind]) + b"\x39"
    length = len(head) + 8 + 10 + len(tail) + 8 + 1 + 8
    top, other = _field(2, length - 10), _field(2, length)
    for number, (parent, (start, end)) in enumerate(zip(parents, times, strict=True), 1):
        body += other if parent else top
        body += head + number.to_bytes(8, "big")
        if parent:
            body += b"\x22\x08" + parent.to_bytes(8, "big")
        body += tail + start.to_bytes(8, "little") + b"\x41" + end.to_bytes(8, "little")
    empty = ExportTraceServiceRequest()
    resource = empty.resource_spans.add().resource
    for key, text in zip(("service.name", "service.instance.id"), APISERVER, strict=True):
        resource.attributes.add(key=key).value.string_value = text
    spoken = _field(1, len(scope) + 2) + _field(1, len(scope)) + scope.encode()
    spans = _field(2, len(spoken) + len(body)) + spoken + body
    about = resource.SerializeToString()
    whole = _field(1, len(about)) + about + spans
    return _field(1, len(whole)) + whole


def _field(number: int, length: int) -> bytes:
    """The tag and length of a length-delimited field."""
    out = bytearray([number << 3 | 2])
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    return bytes([*out, length])


def below_a_request(parents: list[int], times: list[tuple[int, int]]) -> list[bytes]:
    """Span 1 is the request, the others are inside it."""
    root = written([0], times[:1], SERVER, HTTP, "GET")
    # The ids in `written` count from 1: the others come with a first span that repeats the root's id,
    # without attributes and earlier in its end, so that the root is the richer of the two.
    others = written(parents, [(times[0][0], times[0][1] - 1), *times[1:]], INTERNAL, TRACING, "Get")
    return [root, others]


def test_a_message_written_by_hand_is_what_the_official_classes_read() -> None:
    data = written([0, 1], [(1, 9), (2, 8)], SERVER, HTTP, "GET")
    first, second = oracle.spans([ExportTraceServiceRequest.FromString(data)])
    assert (first.span_id, first.parent_span_id, first.start, first.end) == (b"\0" * 7 + b"\1", b"", 1, 9)
    assert (second.span_id, second.parent_span_id) == (b"\0" * 7 + b"\2", first.span_id)
    assert second.is_request


SHAPES = {
    # a chain: each inside the one before; the last has the middle, the others 1 ns on each side
    "chain": ([0, *range(1, MILLION)], [(at, 2 * MILLION + 1 - at) for at in range(MILLION)]),
    # a fan: each after the one before, with 1 ns between them that is the request's own
    "fan": (
        [0] + [1] * (MILLION - 1),
        [(0, 2 * MILLION), *((2 * at - 1, 2 * at) for at in range(1, MILLION))],
    ),
    # a fan of equals: all but one hide behind the smallest id
    "pile": ([0] + [1] * (MILLION - 1), [(0, 100), *([(10, 90)] * (MILLION - 1))]),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_million_spans_in_one_request_take_seconds(shape: str) -> None:
    parents, times = SHAPES[shape]
    spans = k8strace.decode(below_a_request(parents, times))
    began = time.perf_counter()
    requests = k8strace.join(spans)
    (request,) = requests
    assert request.spans == MILLION
    assert {name: count for name, count in requests.joined.ledger.set_aside.items() if count} == {
        "conflict": 1
    }
    found = {
        method: k8strace.attribute(requests, method=method).phases(0)
        for method in ("critical_path", "active_share", "self_time")
    }
    assert time.perf_counter() - began < 20
    wall, own = times[0][1], "apiserver.handler"  # no target, so no resource
    assert request.wall_ns == wall
    at_root = {"chain": 2, "fan": MILLION + 1, "pile": 20}[shape]
    assert {method: sums[own] for method, sums in found.items()} == dict.fromkeys(found, at_root)
    assert sum(found["critical_path"].values()) == sum(found["active_share"].values()) == wall
    assert sum(found["self_time"].values()) == (80 * (MILLION - 1) + 20 if shape == "pile" else wall)


def test_requests_in_requests_cost_their_number_not_its_square() -> None:
    """A thousand deep, then fifty times as deep: linear is 50 times as long, quadratic 2500 times."""

    def seconds(depth: int) -> float:
        times = [(at, 3 * depth - at) for at in range(depth)]
        spans = k8strace.decode(written([0, *range(1, depth)], times, SERVER, HTTP, "GET"))
        began = time.perf_counter()
        requests = k8strace.join(spans)
        attribution = k8strace.attribute(requests)
        taken = time.perf_counter() - began
        assert requests.column("outer_request").to_pylist() == [None, *range(depth - 1)]
        assert requests.column("spans").to_pylist() == list(range(depth, 0, -1))
        walls = [sum(attribution.phases(at).values()) for at in range(depth)]
        assert walls == requests.column("wall_ns").to_pylist() == [end - start for start, end in times]
        return taken

    thousand = min(seconds(1_000) for _ in range(3))
    assert seconds(50_000) < 500 * thousand + 1


def test_services_cost_their_number_not_its_square() -> None:
    """Each looked through all before it."""

    def seconds(count: int) -> float:
        message = ExportTraceServiceRequest()
        for number in range(count):
            resource = message.resource_spans.add()
            resource.resource.attributes.add(key="service.name").value.string_value = f"s{number}"
            ids = {"trace_id": number.to_bytes(16, "big"), "span_id": number.to_bytes(8, "big")}
            resource.scope_spans.add().spans.add(name="x", **ids)
        spans = k8strace.decode(message)
        began = time.perf_counter()
        k8strace.join(spans)
        assert len(spans.processes) == count
        return time.perf_counter() - began

    few = min(seconds(4_000) for _ in range(3))
    assert seconds(40_000) < 40 * few + 0.3


def test_what_is_taken_back_costs_its_own_size() -> None:
    """A malformed request gives back what was read of it; all that was there was looked through for that."""
    key_strindex = b"\x4a\x02\x18\x01"

    def seconds(count: int, attribute: bytes) -> float:
        body = b"\x12\x02\x2a\x00" + _field(2, len(attribute) * count) + attribute * count
        scope = _field(2, len(body)) + body
        whole = _field(1, len(scope)) + scope
        torn = b"\x0a\x04\x12\x02\x12\x07"
        frames = [whole, *[torn] * count]
        sent = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
        began = time.perf_counter()
        spans = k8strace.read(sent, format="proto-frames")
        taken = time.perf_counter() - began
        assert len(spans) == 2
        return taken

    assert seconds(40_000, key_strindex) < 10 * seconds(40_000, b"\x4a\x02\x0a\x00") + 0.5


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("flipped", [0, 1])
def test_ids_that_somebody_chose_cost_no_more_than_others(threads: int, flipped: int) -> None:
    """They made a known factor of the hash 0, or 1, and met in one slot; a shard full of them was searched for ever."""
    factor = 0x9E37_79B9_7F4A_7C15 ^ flipped

    def seconds(high: int) -> float:
        message = ExportTraceServiceRequest()
        scope = message.resource_spans.add().scope_spans.add()
        for number in range(1, 40_001):
            low = number.to_bytes(8, "little")
            span_id = low if flipped else b"abcdefgh"
            scope.spans.add(
                trace_id=low + high.to_bytes(8, "little"), span_id=span_id, name="x", start_time_unix_nano=1
            )
        spans = k8strace.decode(message.SerializeToString())
        began = time.perf_counter()
        ledger = k8strace.join(spans, threads=threads).joined.ledger
        assert ledger.set_aside["unrelated"] == 40_000  # none is another one's duplicate
        return time.perf_counter() - began

    assert seconds(factor) < 10 * seconds(0x1234_5678_9ABC_DEF1) + 0.5


def test_jaegers_json_costs_the_number_of_spans_not_its_square() -> None:
    """One id for all of them, so that each is a repair of the same span; and a resource for each."""

    def seconds(count: int) -> float:
        message = ExportTraceServiceRequest()
        for number in range(count):
            resource = message.resource_spans.add()
            resource.resource.attributes.add(key="number").value.int_value = number
            resource.scope_spans.add().spans.add(
                trace_id=b"\1" * 16, span_id=b"\2" * 8, name=f"{number}", start_time_unix_nano=1
            )
        requests = k8strace.join(k8strace.decode(message.SerializeToString()))
        began = time.perf_counter()
        (trace,) = json.loads(b"".join(jaeger(requests)))["data"]
        taken = time.perf_counter() - began
        assert len(trace["spans"]) == len(trace["processes"]) == count
        return taken

    assert seconds(20_000) < 50 * seconds(2_000) + 0.5


@pytest.mark.slow
def test_perfettos_lanes_cost_the_number_of_spans_not_its_square() -> None:
    """Each begins and ends before the next: as many lanes as there are spans, and all of them were looked at."""

    def seconds(count: int) -> float:
        times = [(0, 3 * count), *((at, 2 * count + at) for at in range(1, count))]
        requests = k8strace.join(k8strace.decode(below_a_request([0] + [1] * (count - 1), times)))
        began = time.perf_counter()
        written = b"".join(perfetto(requests))
        taken = time.perf_counter() - began
        assert (
            written.count(b"lane ") == count
        )  # the first child is in its parent's; one is the critical path's
        return taken

    assert seconds(20_000) < 30 * seconds(2_000) + 0.5


def test_watches_of_one_trace_cost_their_number_not_its_square() -> None:
    """Half of its spans are watch requests, half hang on spans that were not sent: each was asked for each."""

    def seconds(count: int) -> float:
        at = 10**9
        times = [(at + number, at + number + 9) for number in range(count)]
        watches = ExportTraceServiceRequest.FromString(written([0] * count, times, SERVER, HTTP, "GET"))
        for span in watches.resource_spans[0].scope_spans[0].spans:
            span.attributes.add(key="http.target").value.string_value = "/api/v1/pods?watch=true"
            span.span_id = b"w" + span.span_id[1:]
        inside = written([count + 1] * count, times, INTERNAL, TRACING, "cacher.Watch")
        spans = k8strace.decode([watches.SerializeToString(), inside])
        began = time.process_time()
        requests = k8strace.join(spans)
        taken = time.process_time() - began
        assert len(requests) == count
        assert requests.joined.ledger.set_aside["root_missing"] == count
        return taken

    assert seconds(40_000) < 40 * seconds(4_000) + 0.5
