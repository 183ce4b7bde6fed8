"""
Requests from Kafka: a consumer group reads OTLP, and commits once the sink has the requests.

::

    partition ─ records in order ─→ RequestStream ─ take ─→ sink: returns once it has them ─→ commit

    offset   ···│ O ·········· S ·················│        S  every trace that began before it was released and given
    time        └─ window_ns ──┴─── max_age_ns ───┘ now    O  where the next consumer begins

O is committed, with S as its metadata. From O to S the next consumer only learns which traces there are. A trace
without a span for `window_ns` is released, so from S on the next consumer knows everything that the one before knew,
and gives the same requests again. A sink that replaces what it has of a trace keeps each request once.

Time is that of the records, so the result does not depend on how fast they are read. Kafka keeps order only within a
partition, so all spans of a cluster belong in one partition.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from k8strace.components import Taxonomy
from k8strace.exceptions import DecodeError
from k8strace.formats import read
from k8strace.spans import Spans, decode
from k8strace.stream import LATEST_NS, SECOND, RequestStream, StreamedRequests, StreamSettings
from k8strace.tables import require

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, TopicPartition

__all__ = ["SETTINGS", "RequestConsumer"]

SETTINGS: Final = StreamSettings(window_ns=30 * SECOND, max_age_ns=120 * SECOND)
"""
A consumer that takes over reads the last `max_age_ns` and `window_ns` again, so they are short.

The window is longer than that of `serve`, because batches of several processes follow each other in a topic.
"""

TAKE_INTERVAL_NS: Final = SECOND // 2
"""Interval at which finished requests are given to the sink, in time of the records."""

RECORDS: Final = 500
"""Records that one `step` reads, at most."""

OURS: Final = {"enable.auto.commit": False, "enable.auto.offset.store": False, "enable.partition.eof": True}


class _Mark(NamedTuple):
    """All records before this offset are older."""

    time_ns: int
    offset: int


class _Partition:
    """The state of one partition since this consumer began to read it."""

    def __init__(self, stream: RequestStream, given_before: int) -> None:
        self.stream = stream
        self.given_before = given_before
        """Traces that began before this offset were given by an earlier consumer."""
        self._known: dict[str, int] = {}  # trace id → time of its last span, while it is held
        self._marks: deque[_Mark] = deque()
        self.now_ns = self._taken = 0
        self.is_at_end = False
        """Whether all its records were read."""

    def go_on(self, now_ns: int) -> bool:
        """Sets the time; whether a take is due."""
        self._taken = self._taken or now_ns
        self.now_ns = max(now_ns, self.now_ns)
        return self.now_ns >= self._taken + TAKE_INTERVAL_NS

    def feed(self, spans: Spans, offset: int) -> None:
        """Feeds the spans of a record to the stream."""
        now_ns, self.is_at_end = self.now_ns, False
        if not self._marks or now_ns >= self._marks[-1].time_ns + TAKE_INTERVAL_NS:
            self._marks.append(_Mark(now_ns, offset))
        if offset < self.given_before or self._known:
            self._recognise(spans, offset, now_ns)
        self.stream.feed(spans, now_ns)

    def _recognise(self, spans: Spans, offset: int, now_ns: int) -> None:
        window = self.stream.settings.window_ns
        for trace in set(spans.column("trace_id").to_pylist()):
            if offset < self.given_before or now_ns - self._known.get(trace, -window) < window:
                self._known[trace] = now_ns
            else:
                self._known.pop(trace, None)

    def take(self) -> StreamedRequests:
        """The requests that are finished by now, without those that an earlier consumer gave."""
        self._taken = now_ns = self.now_ns
        taken = self.stream.take(now_ns)
        if self._known:
            window = self.stream.settings.window_ns
            traces = {*taken.column("trace_id"), *(row["trace_id"] for row in taken.replaced)}
            taken = taken._of_traces(traces - self._known.keys())
            self._known = {trace: at for trace, at in self._known.items() if now_ns - at < window}
        return taken

    def done(self) -> tuple[int, int] | None:
        """O and S after the sink has a take; None if it is too early for them."""
        settings = self.stream.settings
        given = self._latest(self._taken - settings.max_age_ns)
        begin = given and self._latest(given.time_ns - settings.window_ns)
        if not given or not begin:
            return None
        while self._marks[0] != begin:
            self._marks.popleft()
        return begin.offset, given.offset

    def _latest(self, time_ns: int) -> _Mark | None:
        found = None
        for mark in self._marks:
            if mark.time_ns > time_ns:
                break
            found = mark
        return found


class RequestConsumer:
    """
    A member of a consumer group that gives requests to a sink as they finish.

    The caller owns the loop: `step` polls, feeds, calls the sink and commits, in the caller's thread. A record is an
    `ExportTraceServiceRequest`, as protobuf or JSON, as the collector's Kafka exporter writes it.

    Args:
        config: As for `confluent_kafka.Consumer`: `bootstrap.servers` and `group.id` at least. Commits are made by this
            class. Without `auto.offset.reset` a new group begins with the earliest record.
        topics: What to subscribe to.
        sink: Called with the requests of a take; it returns once they are stored. It may get requests again: it must
            replace what it has of their traces, and of those in `requests.replaced`. If it raises, nothing more is
            committed: `step` leaves the group and raises.
        settings: Limits of each partition's stream.
        taxonomy: As for `join`.
        apiserver: As for `join`.
        refused: Called with a record that is not OTLP and the error; the record is skipped. None: `step` raises.

    Raises:
        MissingExtraError: confluent-kafka is not installed.

    Examples:
        >>> from confluent_kafka import Producer
        >>> from k8strace.formats import Message, messages
        >>> from k8strace.kafka import RequestConsumer
        >>> brokers = Producer({"test.mock.num.brokers": 1, "log_level": 0})  # librdkafka's own, in this process
        >>> server = "{0.host}:{0.port}".format(*brokers.list_topics().brokers.values())
        >>> at = 1_800_000_000_000  # ms
        >>> for number, message in enumerate(messages("tests/data/k8s-1.36_etcd-3.6.otlp.zst")):
        ...     if isinstance(message, Message):
        ...         brokers.produce("traces", bytes(message.wire), partition=0, timestamp=at + 100 * number)
        >>> brokers.produce("traces", b"", partition=0, timestamp=at + 60_000)
        >>> _ = brokers.flush()
        >>> table = {}
        >>> def sink(requests):
        ...     for row in requests.replaced:
        ...         table.pop((row["trace_id"], row["span_id"]), None)
        ...     table.update({(each.trace_id, each.span_id): each.wall_ns for each in requests})
        >>> config = {"bootstrap.servers": server, "group.id": "requests"}
        >>> with RequestConsumer(config, ["traces"], sink) as consumer:
        ...     while len(table) < 1_411:
        ...         _ = consumer.step(timeout_s=1)
        ...     consumer.counts["spans"]
        16766
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Sequence[str],
        sink: Callable[[StreamedRequests], object],
        *,
        settings: StreamSettings = SETTINGS,
        taxonomy: Taxonomy | None = None,
        apiserver: str | Sequence[str] | None = None,
        refused: Callable[[Message, DecodeError], object] | None = None,
    ) -> None:
        self._kafka = require("confluent_kafka", "kafka")
        self._sink, self._refused = sink, refused
        self._make = partial(RequestStream, settings, taxonomy=taxonomy, apiserver=apiserver)
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._committed: dict[tuple[str, int], tuple[int, int]] = {}
        self._counted: Counter[str] = Counter()
        self._waited = time.monotonic_ns()
        self._consumer: Consumer = self._kafka.Consumer({"auto.offset.reset": "earliest", **config, **OURS})
        self._consumer.subscribe(
            list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    @property
    def counts(self) -> dict[str, int]:
        """`records`, `refused` ones among them, `spans`, `requests` that the sink got (repeats included), `commits`."""
        return {name: self._counted[name] for name in ("records", "refused", "spans", "requests", "commits")}

    def step(self, timeout_s: float = 1.0) -> int:
        """
        Reads new records, gives finished requests to the sink, and commits.

        After any error this member has left the group.

        Returns:
            The number of records read.

        Raises:
            DecodeError: A record is not OTLP, and there is no `refused`.
            confluent_kafka.KafkaException: An error of Kafka that cannot be retried.
        """
        before = self._counted["records"]
        try:
            for record in self._consumer.consume(RECORDS, timeout_s):
                self._take_in(record)
            self._wait(time.monotonic_ns())
            self._commit()
        except BaseException:  # requests that were taken but not given must never be committed
            self.close()
            raise
        return self._counted["records"] - before

    def _wait(self, now_ns: int) -> None:
        """Advances the time of partitions without more records, but not by the time that this process stood still."""
        waited_ns = min(now_ns - self._waited, SECOND)
        self._waited = now_ns
        for partition in self._partitions.values():
            if partition.is_at_end and partition.now_ns:
                self._give(partition, partition.now_ns + waited_ns)

    def close(self) -> None:
        """Leaves the group. Others read again what was not given yet."""
        self._partitions.clear()
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── Partitions ────────────────────────────────────────────────────────────────────────────────

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for found in consumer.committed(partitions):
            told = found.metadata or ""
            given_before = int(told) if told.isdecimal() else 0
            self._partitions[found.topic, found.partition] = _Partition(self._make(), given_before)

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """The next consumer begins at the committed offsets."""
        for each in partitions:
            self._partitions.pop((each.topic, each.partition), None)
            self._committed.pop((each.topic, each.partition), None)

    # ── One record after another ──────────────────────────────────────────────────────────────────

    def _take_in(self, record: Message) -> None:
        key = str(record.topic()), int(record.partition() or 0)
        if problem := record.error():
            if problem.code() == self._kafka.KafkaError._PARTITION_EOF:
                self._partitions[key].is_at_end = True
            elif not problem.retriable():
                raise self._kafka.KafkaException(problem)
            return
        partition = self._partitions[key]
        self._counted["records"] += 1
        try:
            spans = _spans(record.value() or b"")
        except DecodeError as error:
            self._counted["refused"] += 1
            if self._refused is None:
                raise
            self._refused(record, error)
            return
        self._counted["spans"] += len(spans)
        self._give(partition, _time_of(record) or partition.now_ns or time.time_ns())
        partition.feed(spans, int(record.offset() or 0))

    def _give(self, partition: _Partition, now_ns: int) -> None:
        if partition.go_on(now_ns):
            requests = partition.take()
            if len(requests) or len(requests.replaced):
                self._sink(requests)
                self._counted["requests"] += len(requests)

    def _commit(self) -> None:
        """Commits what the sink has, and no more."""
        done = {key: partition.done() for key, partition in self._partitions.items()}
        more = {key: at for key, at in done.items() if at and at != self._committed.get(key)}
        if not more:
            return
        offsets = [self._kafka.TopicPartition(*key, at[0], str(at[1])) for key, at in more.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except self._kafka.KafkaException as error:
            # Either others have the partitions by now, or the commit is made again: the next poll shows which.
            if not error.args[0].retriable() and error.args[0].code() not in self._moved():
                raise
            return
        self._committed |= more
        self._counted["commits"] += 1

    def _moved(self) -> tuple[int, ...]:
        error = self._kafka.KafkaError
        return error.ILLEGAL_GENERATION, error.UNKNOWN_MEMBER_ID, error.REBALANCE_IN_PROGRESS


def _spans(value: bytes) -> Spans:
    return read(value, format="json", strict=True) if value.lstrip()[:1] == b"{" else decode(value)


def _time_of(record: Message) -> int | None:
    """The record's time in ns; None if it has none, or one that is not in ms, as Kafka's are."""
    at_ns = record.timestamp()[1] * 1_000_000
    return at_ns if 0 <= at_ns < LATEST_NS else None
