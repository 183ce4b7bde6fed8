"""
The sink of `serve`: what is acknowledged goes to the journal, then through a queue to the one thread that joins.

    accept ──→ budget ─┬→ journal: written and synced ─┬→ queue ──→ worker: RequestStream ──→ listeners
    many threads       │    └ memory mode: none        │            feed, take every half second
                       ├→ decode ──────────────────────┘
                       └ over it: refused

A batch is acknowledged when `accept` returns, so everything before the queue happens in the sender's thread; decoding
too, since many threads do it at once, and while the disk works. What was not screened is decoded before it is stored.
What the worker does afterwards can fail without a sender ever knowing; so whatever fails there is counted and reported.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from k8strace.exceptions import DecodeError
from k8strace.receiver.intake.sink import Meta, Receipt, UnavailableError
from k8strace.receiver.journal.backlog import StoredBatch
from k8strace.receiver.metrics.exposition import Reading, Values, one
from k8strace.receiver.metrics.stream import stream_readings
from k8strace.requests import Requests
from k8strace.spans import Spans, decode
from k8strace.stream import StreamedRequests

__all__ = ["BatchStore", "Listener", "Pipeline", "PipelineCounts", "SpanStream"]

QUEUE_BYTES: Final = 64 << 20
"""Accepted batches that wait for the worker, in bytes. Those of a second or two at full speed."""

RESUME_TAKE_BATCHES: Final = 1_000
"""How often requests are passed on while stored batches are read back."""

TAKE_INTERVAL_NS: Final = 500_000_000
"""How often finished requests are passed on, in ns."""

Listener = Callable[[Requests], object]
"""
Called with the requests of every take that has any, replaces any or releases any, in the worker's thread; it must
return soon.
"""


class SpanStream(Protocol):
    """What the worker needs of a `RequestStream`."""

    def feed(self, batch: Spans, now_ns: int) -> object:
        """Adds a batch. If it raises, it has not changed."""

    def take(self, now_ns: int) -> StreamedRequests:
        """The requests that are finished by now."""

    def flush(self) -> StreamedRequests:
        """All that is left, finished or not."""


class BatchStore(Protocol):
    """What `accept` needs of a `Journal`."""

    def submit(self, batch: bytes) -> Future[None]:
        """Has a result once the batch is safe. Raises UnavailableError, or the future does."""


class Waiting(NamedTuple):
    """A batch that the worker has not seen yet."""

    size: int
    """In bytes, as it was sent."""
    spans: Spans


@dataclass(frozen=True, slots=True)
class PipelineCounts:
    """Counts so far. Batches accepted = fed + undecodable + waiting, while no call of `accept` runs."""

    batches: int
    """Accepted."""
    spans: int
    """In them."""
    refused: Mapping[str, int]
    """Reason → refused batches, see `UnavailableError.reason`."""
    refused_spans: int
    """Spans in refused batches, where they were counted."""
    fed: int
    """Batches that the stream was fed."""
    undecodable: int
    """Batches that the stream could not decode: after screening there should be none."""
    listener_errors: int
    waiting: int
    """Batches that are accepted and wait for the worker."""
    queue_bytes: int
    """Of batches that wait for the worker or for the journal."""


class Pipeline:
    """
    Accepts batches from many threads. Its own thread joins them and passes finished requests on.

    Args:
        stream: What the worker feeds. No other code may use it.
        journal: Stores batches before they are acknowledged. None: memory only, so a crash loses them.
        listeners: Each is called with the requests of every take. One that raises is counted and reported, and called
            again for the next take.
        backlog: Stored batches that the stream is fed first. Most requests in them were passed on before the restart,
            so only `resumed` is called with them.
        resumed: The listeners that are called with such requests again.
        queue_bytes: Bytes that may wait for the worker; a batch that would exceed this is refused. An empty queue
            accepts any batch.
        clock_ns: Monotonic clock, in ns.
        take_interval_ns: Time between takes.
        decode: Turns a batch into what the stream is fed. A DecodeError from it is the sender's fault.
        report: Is told in words what went wrong in the worker.

    Examples:
        >>> class Stream:
        ...     def feed(self, batch, now_ns): print("fed", batch)
        ...     def take(self, now_ns): return ()
        ...     def flush(self): return ()
        >>> pipeline = Pipeline(Stream())
        >>> pipeline.accept(b"", Meta("grpc", spans=0))
        Receipt(accepted=0, rejected=0, reason='')
        >>> pipeline.drain(timeout_s=5)
        fed Spans(0 spans in 1 batches, 0 processes)
        True
    """

    def __init__(  # noqa: PLR0913 - each is a setting with a name
        self,
        stream: SpanStream,
        *,
        journal: BatchStore | None = None,
        listeners: Sequence[Listener] = (),
        backlog: Iterable[StoredBatch] = (),
        resumed: Sequence[Listener] = (),
        queue_bytes: int = QUEUE_BYTES,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        take_interval_ns: int = TAKE_INTERVAL_NS,
        decode: Callable[[bytes], Spans] = decode,
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._stream = stream
        self._journal = journal
        self._listeners = tuple(listeners)
        self._backlog = backlog
        self._resumed = tuple(resumed)
        self._is_resumed = threading.Event()
        self.read_back = 0
        """Batches of the backlog that the stream was fed."""
        self._limit = queue_bytes
        self._clock = clock_ns
        self._interval = take_interval_ns
        self._decode = decode
        self._report = report
        self._changed = threading.Condition()
        self._queue: deque[Waiting] = deque()
        self._bytes = 0
        self._accepting = 0  # calls of `accept` that have not returned
        self._counted: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._draining = False
        self._failure: BaseException | None = None
        self._stream_counts: Mapping[str, int] = {}
        self._worker = threading.Thread(target=self._work, name="k8strace-worker", daemon=True)
        self._worker.start()

    # ── Taking ────────────────────────────────────────────────────────────────────────────────────

    def accept(self, batch: bytes, meta: Meta) -> Receipt:
        """
        Makes one batch safe and queues it. Called from several threads at once; see `Sink`.

        Raises:
            UnavailableError: Reason "queue", "storage" or "draining"; nothing of the batch was kept in memory.
            DecodeError: The bytes are no such message. Nothing of it was stored.
        """
        try:
            self._charge(len(batch))
        except UnavailableError as error:
            self._refuse(error, meta.spans or 0)
            raise
        try:
            decoded = self._keep(batch, is_screened=meta.is_screened)
            spans = len(decoded) if meta.spans is None else meta.spans
            self._enqueue(Waiting(len(batch), decoded), spans)
        except BaseException as error:
            self._uncharge(len(batch))
            if isinstance(error, UnavailableError):
                self._refuse(error, meta.spans or 0)
            raise
        return Receipt(accepted=spans)

    def _keep(self, batch: bytes, *, is_screened: bool) -> Spans:
        """Decodes it and makes it safe: at the same time if it is known that it can be decoded, else in this order."""
        stored = self._journal.submit(batch) if self._journal is not None and is_screened else None
        decoded = self._decode(batch)
        if self._journal is not None:
            (stored or self._journal.submit(batch)).result()
        return decoded

    def _charge(self, size: int) -> None:
        """Before the journal: a batch that is stored must find room in the queue."""
        with self._changed:
            if self._draining:
                raise UnavailableError("shutting down", reason="draining")
            self._check_alive()
            if self._bytes and self._bytes + size > self._limit:
                raise UnavailableError(f"{self._bytes} bytes wait to be joined already", reason="queue")
            self._bytes += size
            self._accepting += 1

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise UnavailableError("the receiver has failed and takes nothing", reason="queue")

    def _uncharge(self, size: int) -> None:
        with self._changed:
            self._bytes -= size
            self._accepting -= 1
            self._changed.notify_all()

    def _refuse(self, error: UnavailableError, spans: int) -> None:
        with self._changed:
            self._refused[error.reason] += 1
            self._counted["refused_spans"] += spans

    def _enqueue(self, batch: Waiting, spans: int) -> None:
        """The worker may have died since `_charge`: then only what the journal has is safe."""
        with self._changed:
            if self._journal is None:
                self._check_alive()
            self._queue.append(batch)
            self._accepting -= 1
            self._counted["batches"] += 1
            self._counted["spans"] += spans
            self._changed.notify_all()

    @property
    def ready(self) -> bool:
        """Whether batches are taken at all: the backlog is joined, the worker lives, and draining has not begun."""
        with self._changed:
            return self._is_resumed.is_set() and self._failure is None and not self._draining

    @property
    def is_resumed(self) -> bool:
        """Whether the backlog is joined."""
        return self._is_resumed.is_set()

    def wait_resumed(self) -> None:
        """Returns once the backlog is joined."""
        self._is_resumed.wait()

    @property
    def failure(self) -> BaseException | None:
        """What the worker died of; None while it lives, and after it has ended in order."""
        with self._changed:
            return self._failure

    @property
    def counts(self) -> PipelineCounts:
        """What went through so far, in one consistent view."""
        with self._changed:
            return PipelineCounts(
                batches=self._counted["batches"],
                spans=self._counted["spans"],
                refused=dict(self._refused),
                refused_spans=self._counted["refused_spans"],
                fed=self._counted["fed"],
                undecodable=self._counted["undecodable"],
                listener_errors=self._counted["listener_errors"],
                waiting=self._counted["batches"] - self._counted["fed"] - self._counted["undecodable"],
                queue_bytes=self._bytes,
            )

    @property
    def stream_counts(self) -> Mapping[str, int]:
        """What the stream counts, as of the last take: only the worker may ask it."""
        return self._stream_counts

    def readings(self) -> list[Reading]:
        """What metrics report about it."""

        def count(field: str) -> Callable[[], Values]:
            return one(lambda: getattr(self.counts, field))

        return [
            Reading(
                "gauge", "k8strace_queue_bytes", "Batches that wait to be joined.", (), count("queue_bytes")
            ),
            Reading("gauge", "k8strace_queue_batches", "The same in batches.", (), count("waiting")),
            Reading("counter", "k8strace_joined_batches", "Batches that were joined.", (), count("fed")),
            Reading(
                "counter",
                "k8strace_undecodable_batches",
                "Batches that were acknowledged and could not be joined. Not 0: a fault of k8strace.",
                (),
                count("undecodable"),
            ),
            Reading(
                "counter",
                "k8strace_listener_errors",
                "Failures of what is done with finished requests.",
                (),
                count("listener_errors"),
            ),
            *stream_readings(lambda: self.stream_counts),
        ]

    def drain(self, timeout_s: float) -> bool:
        """
        Refuses what comes from now on, joins what was accepted, and hands on everything, finished or not.

        Returns:
            Whether all of it was handed on in time. If not, the journal has it, or without one it is lost.
        """
        with self._changed:
            self._draining = True
            self._changed.notify_all()
        self._worker.join(timeout_s)
        return not self._worker.is_alive() and self.failure is None

    # ── The worker ────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        try:
            self._resume()
            self._run()
        except BaseException as error:  # noqa: BLE001 - whatever it is: nothing may be acknowledged any more
            with self._changed:
                self._failure = error
            self._report(f"the worker failed, nothing is accepted any more: {_told(error)}")

    def _resume(self) -> None:
        """Takes regularly: what is evicted and not taken is lost."""
        try:
            recent: set[str] = set()
            for number, (batch, is_recent) in enumerate(self._backlog, 1):
                spans = self._read_back(batch)
                if is_recent:
                    recent.update(trace_ids_of(spans))
                if number % RESUME_TAKE_BATCHES == 0:
                    self._hand_on_again(recent)
            self._hand_on_again(recent)
        finally:
            self._backlog = ()
            self._is_resumed.set()

    def _read_back(self, batch: bytes) -> Spans:
        try:
            spans = self._decode(batch)
            self._stream.feed(spans, self._clock())
        except Exception as error:  # noqa: BLE001 - as in `_feed`
            self._report(f"a stored batch of {len(batch)} bytes could not be joined: {_told(error)}")
            return decode(b"")
        self.read_back += 1
        return spans

    def _hand_on_again(self, recent: set[str]) -> None:
        if self.read_back:
            self._hand_on(self._stream.take(self._clock())._of_traces(recent), self._resumed)

    def _run(self) -> None:
        due = self._clock() + self._interval
        while True:
            batches, over = self._next(due)
            for batch in batches:
                self._feed(batch)
            now = self._clock()
            if now >= due or over:
                self._hand_on(self._stream.take(now), self._listeners)
                due = now + self._interval
            if over:
                return self._hand_on(self._stream.flush(), self._listeners)

    def _next(self, due: int) -> tuple[list[Waiting], bool]:
        """Waiting batches, and whether no more will come. Waits for either until the next take is due."""
        with self._changed:
            wait_s = max(due - self._clock(), 0) / 1e9
            self._changed.wait_for(lambda: self._queue or self._over(), timeout=min(wait_s, 1.0))
            batches = list(self._queue)
            self._queue.clear()
            return batches, self._over()

    def _over(self) -> bool:
        """Draining, and no batch waits or is still being stored."""
        return self._draining and not self._queue and not self._accepting

    def _feed(self, batch: Waiting) -> None:
        outcome = "fed"
        try:
            self._stream.feed(batch.spans, self._clock())
        except Exception as error:  # noqa: BLE001 - one odd batch must not cost the others
            outcome = "undecodable"
            self._report(f"a batch of {batch.size} bytes could not be joined: {_told(error)}")
        with self._changed:
            self._counted[outcome] += 1
            self._bytes -= batch.size
            self._changed.notify_all()

    def _hand_on(self, requests: StreamedRequests, listeners: Sequence[Listener]) -> None:
        self._stream_counts = dict(getattr(self._stream, "counts", {}))
        says = (requests, *(getattr(requests, name, ()) for name in ("replaced", "released")))
        if not any(map(len, says)):
            return
        for listener in listeners:
            try:
                listener(requests)
            except Exception as error:  # noqa: BLE001 - a listener is foreign code
                with self._changed:
                    self._counted["listener_errors"] += 1
                self._report(f"a listener failed: {_told(error)}")


def trace_ids_of(spans: Spans) -> set[str]:
    """The ids of its traces, as requests have them. Spans without one are in no request."""
    return {each for each in spans.column("trace_id").to_pylist() if each}


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, DecodeError) else f"{type(error).__name__}: {error}"
