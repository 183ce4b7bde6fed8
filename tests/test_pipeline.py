"""The sink of `serve`: what is acknowledged is stored, queued within a budget, joined by one thread, and counted."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from k8strace.exceptions import DecodeError
from k8strace.receiver.intake.sink import Meta, Receipt, UnavailableError
from k8strace.receiver.pipeline import Pipeline, trace_ids_of
from k8strace.spans import decode

META = Meta("grpc", spans=1)
SECOND = 1_000_000_000


class Stream:
    """Hands on what it was fed, at the next take; `b"bad"` it does not take."""

    def __init__(self) -> None:
        self.fed: list[bytes] = []
        self.times: list[int] = []
        self.takes = 0
        self.threads: set[str] = set()
        self._held: list[bytes] = []
        self.gate = threading.Event()
        self.gate.set()

    def feed(self, batch: bytes, now_ns: int) -> None:
        self.gate.wait(10)
        if batch == b"bad":
            raise ValueError("odd")
        self.threads.add(threading.current_thread().name)
        self.fed.append(batch)
        self.times.append(now_ns)
        self._held.append(batch)

    def take(self, now_ns: int) -> list[bytes]:  # noqa: ARG002
        self.takes += 1
        held, self._held = self._held, []
        return held

    def flush(self) -> list[bytes]:
        return self.take(0)


class Journal:
    def __init__(self, error: Exception | None = None) -> None:
        self.stored: list[bytes] = []
        self.error = error
        self.gate = threading.Event()
        self.gate.set()

    def submit(self, batch: bytes) -> Future[None]:
        self.gate.wait(10)
        if self.error:
            raise self.error
        self.stored.append(batch)
        answer: Future[None] = Future()
        answer.set_result(None)
        return answer


def until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


@pytest.fixture
def made():
    """Makes pipelines, and ends them."""
    pipelines = []

    def make(stream, **settings):
        pipelines.append(Pipeline(stream, **{"take_interval_ns": SECOND // 100, "decode": bytes, **settings}))
        return pipelines[-1]

    yield make
    for pipeline in pipelines:
        pipeline.drain(5)


def test_every_batch_reaches_the_stream_once_and_its_requests_reach_the_listeners(made):
    """Four threads send two hundred batches: one thread feeds them all, and every listener is handed each."""
    stream, seen = Stream(), ([], [])
    pipeline = made(stream, listeners=[seen[0].extend, seen[1].extend])
    batches = [str(number).encode() for number in range(200)]
    with ThreadPoolExecutor(4) as senders:
        receipts = list(senders.map(lambda batch: pipeline.accept(batch, META), batches))
    assert pipeline.drain(5)
    assert receipts == [Receipt(accepted=1)] * 200
    assert sorted(stream.fed) == sorted(batches)
    assert stream.threads == {"k8strace-worker"}
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(batches)
    counts = pipeline.counts
    assert (counts.batches, counts.spans, counts.fed, counts.waiting, counts.queue_bytes) == (
        200,
        200,
        200,
        0,
        0,
    )


def test_a_batch_is_stored_before_it_is_acknowledged(made):
    """While the journal writes, `accept` does not return, and the stream has nothing."""
    stream, journal = Stream(), Journal()
    pipeline = made(stream, journal=journal)
    journal.gate.clear()
    with ThreadPoolExecutor(1) as sender:
        answer = sender.submit(pipeline.accept, b"a", META)
        time.sleep(0.05)
        assert not answer.done()
        assert stream.fed == []
        journal.gate.set()
        assert answer.result(5) == Receipt(accepted=1)
    assert journal.stored == [b"a"]
    until(lambda: stream.fed == [b"a"])


@pytest.mark.parametrize("error", [UnavailableError("disk full", reason="storage"), RuntimeError("a bug")])
def test_what_the_journal_does_not_take_is_neither_acknowledged_nor_joined(made, error):
    """The error reaches the sender, and the room in the queue is given back."""
    stream = Stream()
    pipeline = made(stream, journal=Journal(error))
    with pytest.raises(type(error)):
        pipeline.accept(b"a", META)
    counts = pipeline.counts
    assert (counts.batches, counts.queue_bytes) == (0, 0)
    assert counts.refused == ({"storage": 1} if isinstance(error, UnavailableError) else {})
    assert pipeline.drain(5)
    assert stream.fed == []


def test_a_full_queue_refuses_and_takes_again_when_the_worker_has_made_room(made):
    """Ten bytes fit: two batches of five, not a third; a refused batch is not stored."""
    stream, journal = Stream(), Journal()
    pipeline = made(stream, journal=journal, queue_bytes=10)
    stream.gate.clear()
    pipeline.accept(b"aaaaa", META)
    pipeline.accept(b"bbbbb", META)
    with pytest.raises(UnavailableError) as refused:
        pipeline.accept(b"c", Meta("grpc", spans=7))
    assert refused.value.reason == "queue"
    assert journal.stored == [b"aaaaa", b"bbbbb"]
    assert (pipeline.counts.refused, pipeline.counts.refused_spans) == ({"queue": 1}, 7)
    assert pipeline.counts.queue_bytes == 10
    stream.gate.set()
    until(lambda: pipeline.counts.queue_bytes == 0)
    pipeline.accept(b"c", META)


def test_an_empty_queue_takes_a_batch_of_any_size(made):
    """A limit below the largest request would refuse it for ever."""
    pipeline = made(Stream(), queue_bytes=10)
    assert pipeline.accept(b"a" * 100, META) == Receipt(accepted=1)


def test_a_batch_that_cannot_be_joined_is_counted_and_reported_and_costs_nobody_else(made):
    """The worker lives on."""
    told, stream = [], Stream()
    pipeline = made(stream, report=told.append)
    for batch in (b"a", b"bad", b"b"):
        pipeline.accept(batch, META)
    assert pipeline.drain(5)
    assert stream.fed == [b"a", b"b"]
    assert (pipeline.counts.fed, pipeline.counts.undecodable, pipeline.counts.waiting) == (2, 1, 0)
    assert told == ["a batch of 3 bytes could not be joined: ValueError: odd"]


def test_a_listener_that_raises_is_counted_and_the_others_are_asked(made):
    """It is somebody else's code."""
    told, seen = [], []

    def broken(_):
        raise KeyError("mine")

    pipeline = made(Stream(), listeners=[broken, seen.extend], report=told.append)
    pipeline.accept(b"a", META)
    assert pipeline.drain(5)
    assert seen == [b"a"]
    assert pipeline.counts.listener_errors == 1
    assert told == ["a listener failed: KeyError: 'mine'"]


def test_a_worker_that_dies_takes_readiness_with_it(made):
    """Whatever it died of: nothing is acknowledged any more."""
    told, stream = [], Stream()

    def take(_):
        raise SystemError("broken")

    stream.take = take
    pipeline = made(stream, report=told.append)
    until(lambda: not pipeline.ready)
    with pytest.raises(UnavailableError):
        pipeline.accept(b"a", META)
    assert isinstance(pipeline.failure, SystemError)
    assert not pipeline.drain(5)
    assert told == ["the worker failed, nothing is accepted any more: SystemError: broken"]


@pytest.mark.parametrize("stored", [False, True])
def test_a_batch_on_its_way_when_the_worker_dies_is_acknowledged_only_if_it_is_stored(made, stored):
    """The worker dies while the sender's thread decodes: in memory nobody would ever join it."""
    stream, decoding, dead = Stream(), threading.Event(), threading.Event()

    def take(_):
        decoding.wait(5)
        raise SystemError("broken")

    def decode(batch):
        decoding.set()
        dead.wait(5)
        return batch

    stream.take = take
    pipeline = made(stream, journal=Journal() if stored else None, decode=decode)
    with ThreadPoolExecutor(1) as sender:
        answer = sender.submit(pipeline.accept, b"a", META)
        until(lambda: not pipeline.ready)
        dead.set()
        if stored:
            assert answer.result(5) == Receipt(accepted=1)
        else:
            with pytest.raises(UnavailableError):
                answer.result(5)
            counts = pipeline.counts
            assert (counts.batches, counts.queue_bytes, counts.refused) == (0, 0, {"queue": 1})


def test_draining_refuses_and_hands_on_everything(made):
    """What was accepted before comes out, without waiting for the next take."""
    stream, seen = Stream(), []
    pipeline = made(stream, listeners=[seen.extend], take_interval_ns=3600 * SECOND)
    pipeline.accept(b"a", META)
    assert pipeline.ready
    assert pipeline.drain(5)
    assert seen == [b"a"]
    assert not pipeline.ready
    with pytest.raises(UnavailableError) as refused:
        pipeline.accept(b"b", META)
    assert refused.value.reason == "draining"
    assert pipeline.failure is None


def test_draining_waits_for_a_batch_that_is_being_stored(made):
    """It will be acknowledged, so it is joined too."""
    stream, journal = Stream(), Journal()
    pipeline = made(stream, journal=journal)
    journal.gate.clear()
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(pipeline.accept, b"a", META)
        until(lambda: pipeline.counts.queue_bytes == 1)
        drained = threads.submit(pipeline.drain, 5)
        time.sleep(0.05)
        assert not drained.done()
        journal.gate.set()
        assert drained.result(5)
        assert answer.result(5) == Receipt(accepted=1)
    assert stream.fed == [b"a"]


def test_a_drain_that_takes_too_long_says_so(made):
    """It returns when the time is over; nothing is claimed that was not done."""
    stream = Stream()
    pipeline = made(stream)
    stream.gate.clear()
    pipeline.accept(b"a", META)
    began = time.monotonic()
    assert not pipeline.drain(0.1)
    assert time.monotonic() - began < 2
    assert pipeline.counts.waiting == 1
    stream.gate.set()
    assert pipeline.drain(5)


def test_time_comes_from_the_clock_that_was_given(made):
    """The stream is told its time, and takes are due by it."""
    now = [100 * SECOND]
    stream = Stream()
    pipeline = made(stream, clock_ns=lambda: now[0], take_interval_ns=SECOND)
    pipeline.accept(b"a", META)
    until(lambda: stream.fed == [b"a"])
    assert stream.times == [100 * SECOND]
    assert stream.takes == 0
    now[0] += SECOND
    pipeline.accept(b"b", META)
    until(lambda: stream.takes == 1)


def test_spans_that_nobody_counted_are_counted(made):
    """A receipt tells spans, and the official classes say how many there are."""
    batch = ExportTraceServiceRequest()
    for number in range(3):
        batch.resource_spans.add().scope_spans.add().spans.add(name=str(number))
    pipeline = made(Stream(), decode=decode)
    assert pipeline.accept(batch.SerializeToString(), Meta("sdk")) == Receipt(accepted=3)


def test_what_is_no_batch_is_refused_for_good_and_not_stored(made):
    """The sender hears it; what is stored can be read."""
    stream, journal = Stream(), Journal()
    pipeline = made(stream, journal=journal, decode=decode)
    with pytest.raises(DecodeError):
        pipeline.accept(b"\xff", META)
    assert pipeline.counts.queue_bytes == 0
    assert pipeline.drain(5)
    assert (journal.stored, stream.fed) == ([], [])


def test_what_was_screened_is_decoded_while_the_disk_works(made):
    """Both must be done before it is acknowledged."""
    stream, journal, decoded = Stream(), Journal(), threading.Event()
    answer: Future[None] = Future()

    def decode(batch):
        decoded.set()
        return batch

    journal.submit = lambda _: answer
    pipeline = made(stream, journal=journal, decode=decode)
    with ThreadPoolExecutor(1) as sender:
        receipt = sender.submit(pipeline.accept, b"a", Meta("grpc", spans=1, is_screened=True))
        assert decoded.wait(5)
        time.sleep(0.05)
        assert not receipt.done()
        assert stream.fed == []
        answer.set_result(None)
        assert receipt.result(5) == Receipt(accepted=1)
    until(lambda: stream.fed == [b"a"])


def test_a_stored_span_without_a_trace_id_does_not_end_the_reading_back():
    """Nobody can refer to it; the spans beside it are joined."""
    anonymous = ExportTraceServiceRequest()
    anonymous.resource_spans.add().scope_spans.add().spans.add(name="of nobody")
    spans = decode(anonymous.SerializeToString())
    assert len(spans) == 1
    assert trace_ids_of(spans) == set()
