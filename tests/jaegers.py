"""A released Jaeger of one's own, built from its Go module where Go is, and what is asked of its API."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from go_programs import built, recipe
from serving import ROOT, free_port

SOURCE = Path(__file__).parent / "jaeger"
MODULE = "github.com/jaegertracing/jaeger/cmd/jaeger"

MEMORY = "memory: {max_traces: 1000000}"
REMOTE = """grpc:
          endpoint: {address}
          tls: {{insecure: true}}
          writer:
            endpoint: {address}
            tls: {{insecure: true}}"""

CONFIG = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [jaeger_storage_exporter]
  telemetry:
    metrics: {{level: none}}
extensions:
  jaeger_query:
    storage: {{traces: here}}
    http: {{endpoint: 127.0.0.1:{api}}}
    grpc: {{endpoint: 127.0.0.1:{rpc}}}
  jaeger_storage:
    backends:
      here:
        {storage}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{otlp}, max_recv_msg_size_mib: 64}}
exporters:
  jaeger_storage_exporter: {{trace_storage: here}}
"""


def jaeger_program() -> Path:
    """The program, built at most once: it stays in `build/`. From nothing it takes ten minutes of two cores."""
    return built(
        SOURCE,
        MODULE,
        ROOT / "build" / "jaeger" / recipe(sorted(SOURCE.glob("go.*"))),
        fetched_by=[(("mod", "download"), 600)],
        reason="Jaeger's modules were not fetched",
        build=1500,
    )


class Api:
    """Who answers Jaeger's HTTP API at an address."""

    def __init__(self, address: str, token: str = "") -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **parameters: Any) -> tuple[int, Any]:
        """Status, and what the JSON says."""
        query = urllib.parse.urlencode({key: value for key, value in parameters.items() if value is not None})
        return self.get_raw(f"{path}?{query}" if query else path)

    def get_raw(self, target: str) -> tuple[int, Any]:
        """The same of a path with its query, as it is."""
        request = urllib.request.Request(f"http://{self._address}{target}", headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@contextmanager
def jaeger(program: Path, folder: Path, storage: str = MEMORY) -> Iterator[tuple[Api, str]]:
    """A running one: its API, and where it takes OTLP over gRPC."""
    api, rpc, otlp = free_port(), free_port(), free_port()
    config = folder / f"jaeger-{api}.yaml"
    config.write_text(CONFIG.format(api=api, rpc=rpc, otlp=otlp, storage=storage))
    log = folder / f"jaeger-{api}.log"
    with log.open("wb") as told:
        process = subprocess.Popen([program, "--config", config], stdout=told, stderr=told, cwd=folder)
        try:
            deadline = time.monotonic() + 60
            while "Everything is ready" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield Api(f"127.0.0.1:{api}"), f"127.0.0.1:{otlp}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
