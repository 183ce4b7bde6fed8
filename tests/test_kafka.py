"""
What a consumer group gives is what a batch gives, whoever dies in between.

The brokers are those that librdkafka brings for tests of its own, inside this process.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kafka_worker
import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace
from k8strace.export.rows import request_rows
from k8strace.formats import Message, messages
from k8strace.kafka import RequestConsumer

confluent_kafka = pytest.importorskip("confluent_kafka")

HERE = Path(__file__).parent
PARTITIONS = [["k8s-1.27_etcd-3.5", "k8s-1.31_etcd-3.5"], ["k8s-1.36_etcd-3.6"]]
BEGIN_MS = 1_800_000_000_000


def wires(capture: str) -> list[bytes]:
    found = messages(HERE / f"data/{capture}.otlp.zst")
    return [bytes(each.wire) for each in found if isinstance(each, Message)]


class Brokers:
    """A Kafka that lives as long as this."""

    def __init__(self) -> None:
        config = {
            "test.mock.num.brokers": 3,
            "log_level": 0,
            "compression.type": "gzip",
        }  # they keep 5 MiB of each
        self.producer = confluent_kafka.Producer(config)
        known = self.producer.list_topics(timeout=30).brokers.values()
        self.servers = ",".join(f"{each.host}:{each.port}" for each in known)

    def send(self, value: bytes, partition: int, at_ms: int) -> None:
        self.producer.produce(kafka_worker.TOPIC, value, partition=partition, timestamp=at_ms)

    def committed(self, partitions: int) -> list[Any]:
        asked = [confluent_kafka.TopicPartition(kafka_worker.TOPIC, number) for number in range(partitions)]
        consumer = confluent_kafka.Consumer(dict(kafka_worker.configured(self.servers)))
        try:
            return consumer.committed(asked, timeout=30)
        finally:
            consumer.close()


@pytest.fixture
def brokers() -> Iterator[Brokers]:
    made = Brokers()
    yield made
    made.producer.flush(30)


def are_done(brokers: Brokers, ends: list[int]) -> bool:
    """Whether all is committed up to the last message with spans: what comes after it only says how late it is."""
    return all(found.offset >= end - 3 for found, end in zip(brokers.committed(len(ends)), ends, strict=True))


def rows_of(table: Path) -> list[str]:
    with sqlite3.connect(table) as file:
        return sorted(row for (row,) in file.execute("select row from requests"))


@pytest.mark.slow
def test_one_consumer_is_killed_between_receipt_and_commit_and_the_table_is_the_batchs(
    brokers: Brokers, tmp_path: Path
) -> None:
    """A cluster is a partition. Its messages come when their last span ended, those of a second recording later."""
    expected, ends = [], []
    for partition, captures in enumerate(PARTITIONS):
        begin_ms, count = BEGIN_MS, 0
        for capture in captures:
            sent = wires(capture)
            ended = [max(k8strace.decode(wire).column("end_time_unix_nano").to_pylist()) for wire in sent]
            for wire, at in zip(sent, ended, strict=True):
                brokers.send(wire, partition, begin_ms + (at - ended[0]) // 1_000_000)
            ended_ms = begin_ms + (ended[-1] - ended[0]) // 1_000_000
            brokers.send(b"", partition, ended_ms + 40_000)  # time goes on
            begin_ms, count = begin_ms + 200_000, count + len(sent) + 1  # with what says how late it is
            joined = k8strace.join(k8strace.decode(b"".join(sent)))
            expected += [json.dumps(row) for row in request_rows(joined).to_pylist()]
        brokers.send(b"", partition, ended_ms + 300_000)
        ends.append(count)
    brokers.producer.flush(30)

    table = tmp_path / "table.db"
    worker = [sys.executable, kafka_worker.__file__, brokers.servers, str(table)]
    mortal = subprocess.Popen([*worker, "4"])
    assert mortal.wait(120) == -9
    assert not are_done(brokers, ends)
    other = subprocess.Popen(worker)
    third = subprocess.Popen(worker)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not are_done(brokers, ends):
            time.sleep(0.5)
    finally:
        Path(f"{table}.stop").touch()
        assert other.wait(60) == 0
        assert third.wait(60) == 0
    assert rows_of(table) == sorted(expected)
    with sqlite3.connect(table) as file:
        twice = "select count(*) from (select trace from receipts group by trace having count(distinct process) > 1)"
        assert file.execute(twice).fetchone()[0] > 0, "nothing was given again"


def consumed(brokers: Brokers, records: int, **options: Any) -> tuple[list[Any], dict[str, int]]:
    """What a new member gives of so many records."""
    brokers.producer.flush(30)
    given: list[Any] = []
    with RequestConsumer(
        kafka_worker.configured(brokers.servers), [kafka_worker.TOPIC], given.append, **options
    ) as consumer:
        steps(consumer, records)
        return given, consumer.counts


def steps(consumer: RequestConsumer, records: int) -> None:
    """Until it has so many."""
    deadline = time.monotonic() + 60
    while consumer.counts["records"] < records and time.monotonic() < deadline:
        consumer.step(timeout_s=0.2)


@pytest.mark.slow
def test_json_is_read_and_what_is_no_otlp_is_told_and_passed_over(brokers: Brokers) -> None:
    sent = wires("k8s-1.36_etcd-3.6")[:2]
    text = MessageToJson(ExportTraceServiceRequest.FromString(sent[0])).encode()
    for at, value in enumerate([text, b"\xff\xff", sent[1], text[:-9], b""]):
        brokers.send(value, 0, BEGIN_MS + 40_000 * at)
    refused: list[Any] = []
    given, counts = consumed(
        brokers, 5, refused=lambda record, error: refused.append((record.offset(), error))
    )
    assert counts["spans"] == sum(len(k8strace.decode(each)) for each in sent)
    assert counts["refused"] == 2
    assert [offset for offset, _ in refused] == [1, 3]
    assert all(isinstance(error, k8strace.DecodeError) for _, error in refused)
    assert given


@pytest.mark.slow
def test_a_time_that_is_not_in_ms_stops_nothing(brokers: Brokers) -> None:
    """Some producers write µs or ns: such a record has the time of the one before."""
    sent = wires("k8s-1.36_etcd-3.6")
    for number, wire in enumerate(sent):
        brokers.send(wire, 0, (BEGIN_MS + 10 * number) * {3: 1_000, 7: 1_000_000}.get(number, 1))
    for later in (40_000, 80_000):
        brokers.send(b"", 0, BEGIN_MS + later)
    given, counts = consumed(brokers, len(sent) + 2)
    assert counts["spans"] == 16_766
    assert sum(map(len, given)) == 1_411


@pytest.mark.slow
def test_without_anybody_to_tell_such_a_record_raises(brokers: Brokers) -> None:
    brokers.send(b"\xff\xff", 0, BEGIN_MS)
    with pytest.raises(k8strace.DecodeError):
        consumed(brokers, 1)


@pytest.mark.slow
def test_a_sink_that_raises_has_nothing_committed(brokers: Brokers) -> None:
    sent = wires("k8s-1.36_etcd-3.6")
    for number, wire in enumerate([*sent, b"", b""]):
        brokers.send(wire, 0, BEGIN_MS + 10_000 * number)

    def full(_: Any) -> None:
        raise OSError("disk full")

    brokers.producer.flush(30)
    config = kafka_worker.configured(brokers.servers)
    with RequestConsumer(config, [kafka_worker.TOPIC], full) as consumer:
        with pytest.raises(OSError, match="disk full"):
            steps(consumer, len(sent))
        assert consumer.counts["commits"] == 0
    assert brokers.committed(1)[0].offset < 0


@pytest.mark.slow
def test_a_later_member_begins_before_what_was_not_given(brokers: Brokers) -> None:
    """The offset that was committed and its metadata: 120 s, and 30 s more, before the last take."""
    for number in range(250):
        brokers.send(b"", 0, BEGIN_MS + 1_000 * number)
    consumed(brokers, 250)
    (found,) = brokers.committed(1)
    assert (found.offset, int(found.metadata)) == (249 - 150, 249 - 120)
