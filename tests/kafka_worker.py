"""
A member of a consumer group that writes requests into a table, in a process of its own that can be killed.

    python tests/kafka_worker.py SERVERS TABLE [DIE_AT]    # DIE_AT: the commit, of what may be committed, that kills it
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k8strace import kafka
from k8strace.export.rows import request_rows
from k8strace.kafka import RequestConsumer
from k8strace.stream import StreamedRequests

TOPIC = "traces"


def configured(servers: str) -> Mapping[str, Any]:
    return {
        "bootstrap.servers": servers,
        "group.id": "requests",
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 500,
        "log_level": 0,
    }


class Table:
    """Rows by trace. A call that returns has written them for good."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(path, timeout=60)
        self._file.execute("create table if not exists requests (trace text, row text)")
        self._file.execute("create table if not exists receipts (process int, trace text)")

    def __call__(self, requests: StreamedRequests) -> None:
        rows = [(row["trace_id"], json.dumps(row)) for row in request_rows(requests).to_pylist()]
        traces = {(trace,) for trace, _ in rows} | {(row["trace_id"],) for row in requests.replaced}
        with self._file:
            self._file.executemany("delete from requests where trace = ?", traces)
            self._file.executemany("insert into requests values (?, ?)", rows)
            self._file.executemany(
                "insert into receipts values (?, ?)", [(os.getpid(), *each) for each in traces]
            )


class Mortal(RequestConsumer):
    """Dies between the sink's receipt and the commit."""

    left = 0

    def _commit(self) -> None:
        if any(partition.done() for partition in self._partitions.values()):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
        super()._commit()


if __name__ == "__main__":
    servers, table, *die_at = sys.argv[1:]
    kafka.RECORDS = 5  # so that it has much to commit
    with Mortal(configured(servers), [TOPIC], Table(table)) as consumer:
        consumer.left = int(die_at[0]) if die_at else 0
        while not Path(f"{table}.stop").exists():
            consumer.step(timeout_s=0.1)
