"""Large calls leave the interpreter to other threads, and threads that decode at once do not disturb each other."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import baseline

pytestmark = pytest.mark.alone

COPIES = 15
"""Of the capture: 251,490 spans, so that each call takes long enough to be looked at."""


@pytest.fixture(scope="module")
def wire(capture_136) -> list[bytes]:
    return baseline.load(capture_136)


@pytest.fixture(scope="module")
def much(wire) -> list[bytes]:
    """Copies of the capture, each with trace ids of its own, so that none is a repetition of another."""
    copies = []
    for copy in range(COPIES):
        for message in map(ExportTraceServiceRequest.FromString, wire):
            for part in (part for each in message.resource_spans for part in each.scope_spans):
                for span in part.spans:
                    span.trace_id = copy.to_bytes(4, "big") + span.trace_id[4:]
            copies.append(message.SerializeToString())
    return copies


class Counter:
    """A thread that counts as long as it is let, a millisecond apart."""

    def __init__(self):
        self.ticks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count)

    def _count(self):
        while not self._stop.is_set():
            self.ticks += 1
            time.sleep(0.001)

    def __enter__(self):
        self._thread.start()
        while not self.ticks:
            time.sleep(0.001)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def ticks_during(counter, call):
    """What the counter gains during one call, and how long that took: reading it before and after needs the lock."""
    before, began = counter.ticks, time.perf_counter()
    result = call()
    return result, counter.ticks - before, time.perf_counter() - began


def test_another_thread_counts_on_during_large_calls(much):
    """A call that held the interpreter would let it count once or twice: at its beginning and at its end."""
    with Counter() as counter:
        spans, *decoding = ticks_during(counter, lambda: k8strace.decode(much))
        requests, *joining = ticks_during(counter, lambda: k8strace.join(spans))
        _, *attributing = ticks_during(counter, lambda: k8strace.attribute(requests))
    assert len(spans) == COPIES * 16_766
    for ticks, seconds in (decoding, joining, attributing):
        assert ticks >= max(3, 20 * seconds), (ticks, seconds)


def test_threads_that_decode_at_once_give_the_same_spans(wire):
    """Four at a time, each with columns of its own."""

    def answers(_):
        attribution = k8strace.attribute(k8strace.join(k8strace.decode(wire)))
        return [attribution.phases(request) for request in range(len(attribution))]

    expected = answers(None)
    start = threading.Barrier(4)

    def together(number):
        start.wait(timeout=60)
        return answers(number)

    with ThreadPoolExecutor(4) as pool:
        assert all(each == expected for each in pool.map(together, range(4)))


def test_threads_share_spans(wire):
    """Reading columns, joining and attributing the same spans from several threads at once."""
    spans = k8strace.decode(wire)
    expected = len(k8strace.join(spans)), spans.column("name").to_pylist()

    def ask(_):
        return len(k8strace.join(spans)), spans.column("name").to_pylist()

    with ThreadPoolExecutor(4) as pool:
        assert all(each == expected for each in pool.map(ask, range(8)))
