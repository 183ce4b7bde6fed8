"""
A real OpenTelemetry Collector between the senders and `k8strace serve`.

    recording ─ OTLP/gRPC ─▶ Collector: batch, queue, retry ─ gRPC, HTTP ─▶ k8strace serve ─▶ store
                                                           └─ file

The Collector is the one of `tests/collector/`: released modules, built here when Go is.
"""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from go_programs import built, recipe
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from serving import EXPORT, ROOT, Serving, batches_of, free_port, records_of, serving
from test_metrics_push import assert_sums

import k8strace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SOURCE = Path(__file__).parent / "collector"
TOKEN = "a-token-of-32-letters-or-a-bit-more"

EXPORTERS = {
    "grpc": "otlp_grpc/k8strace:\n    endpoint: {address}",
    "http/protobuf": "otlp_http/k8strace:\n    endpoint: {scheme}://{address}\n    encoding: proto",
    "http/json": "otlp_http/k8strace:\n    endpoint: {scheme}://{address}\n    encoding: json",
}

# The largest request and the memory for all, of a few requests of 32 spans as they come, uncompressed; what JSON may
# become is counted beside it. Over gRPC few are worked on at a time, so it has to be less.
SMALL = {"grpc": ("32KiB", "32KiB"), "http/protobuf": ("128KiB", "128KiB"), "http/json": ("128KiB", "512KiB")}

CONFIG = """
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:{port}
        max_recv_msg_size_mib: 64
      http:
        endpoint: 127.0.0.1:{http}
processors:
  batch:
    send_batch_size: {batch}
    send_batch_max_size: {batch}
    timeout: 100ms
exporters:
  {exporter}
    tls: {tls}
    compression: {compression}
    headers:
      authorization: Bearer {token}
    retry_on_failure:
      enabled: true
      initial_interval: 100ms
      max_interval: 1s
      max_elapsed_time: 10m
    sending_queue:
      enabled: true
      queue_size: 100000
      num_consumers: {consumers}
  file/traces:
    path: {folder}/collected.otlp
    format: proto
    flush_interval: 100ms
  file/metrics:
    path: {folder}/metrics.otlp
    format: proto
    flush_interval: 100ms
service:
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [{name}, file/traces]
    metrics:
      receivers: [otlp]
      exporters: [file/metrics]
"""


@pytest.fixture(scope="session")
def program() -> Path:
    """The Collector, built at most once: it stays in `build/`. From nothing it takes five minutes of two cores."""
    return built(
        SOURCE,
        ".",
        ROOT / "build" / "collector" / recipe(sorted(SOURCE.glob("*.*"))),
        fetched_by=[(("mod", "download"), 300), (("list", "-deps", "."), 60)],
        reason="the Collector's modules were not fetched",
        build=900,
    )


@contextmanager
def collector(  # noqa: PLR0913 - each is a setting with a name
    program: Path,
    folder: Path,
    way: str,
    address: str,
    ca: Path | None = None,
    *,
    consumers: int = 10,
    batch: int = 512,
    compression: str = "gzip",
    http: int | None = None,
) -> Iterator[str]:
    """The address of a running Collector that exports to k8strace in batches of so many spans."""
    port = free_port()
    exporter = EXPORTERS[way].format(address=address, scheme="https" if ca else "http")
    config = folder / "collector.yaml"
    config.write_text(
        CONFIG.format(
            port=port,
            http=http or free_port(),
            exporter=exporter,
            name=exporter.partition(":")[0],
            tls=f"{{ca_file: {ca}}}" if ca else "{insecure: true}",
            token=TOKEN,
            consumers=consumers,
            batch=batch,
            compression=compression,
            folder=folder,
        )
    )
    log = folder / "collector.log"
    with log.open("wb") as told:
        process = subprocess.Popen([program, "--config", config], stdout=told, stderr=told)
        try:
            while "Everything is ready" not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def send(address: str, batches: list[bytes]) -> None:
    """All batches, one after the other, to the Collector as soon as it listens."""
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(EXPORT)
        for batch in batches:
            export(batch, timeout=60, wait_for_ready=True)


def wait_for(process: Serving, spans: int, seconds: float = 120) -> None:
    """Until so many spans were accepted."""
    deadline = time.monotonic() + seconds
    while process.metric("k8strace_accepted_spans_total") < spans:
        assert time.monotonic() < deadline, "the Collector did not deliver everything"
        time.sleep(0.2)


def arguments(folder: Path, secure: bool) -> tuple[list[str], Path | None]:
    """What `serve` is told, and the certificate by which it is known."""
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    told = ["--store", str(folder / "store"), "--token-file", str(folder / "token")]
    if not secure:
        return told, None
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server.private_key_pem.write_to_path(folder / "server.key")
    server.cert_chain_pems[0].write_to_path(folder / "server.pem")
    told += [f"--tls-cert={folder}/server.pem", f"--tls-key={folder}/server.key"]
    return told, folder / "ca.pem"


def listening(way: str, port: int) -> tuple[str, ...]:
    """`serve` on this port for what the Collector speaks, so that it may come after the Collector, and again."""
    protocol, other = ("grpc", "http") if way == "grpc" else ("http", "grpc")
    return (
        f"--{protocol}-listen=127.0.0.1:{port}",
        f"--{other}-listen=off",
        "--metrics-listen=127.0.0.1:0",
    )


def assert_overload(counts: dict[tuple[str, frozenset[tuple[str, str]]], Any], spans: int) -> None:
    """
    Some were refused and told to come again, none was refused for good, and everything was acknowledged once.

    With `-s` it says how many.
    """
    total = Counter[str]()
    for (name, _), sample in counts.items():
        total[name] += sample.value
    received = total["k8strace_received_requests_total"]
    accepted = total["k8strace_accepted_requests_total"]
    refused = total["k8strace_refused_total"]
    print(f"{received:,.0f} requests = {accepted:,.0f} accepted + {refused:,.0f} refused to come again")  # noqa: T201 - for -s
    assert refused > 0
    assert received == accepted + refused
    assert total["k8strace_rejected_total"] == total["k8strace_rejected_spans_total"] == 0
    assert total["k8strace_accepted_spans_total"] == spans


def same_answers(folder: Path, capture: Path, copies: bool = False) -> None:
    """The store, and the Collector's file, give what the recording gives; no span twice unless `copies` may be."""
    expected = k8strace.read(str(capture))
    spans = k8strace.read(str(folder / "store"))
    assert stored(folder) == records_of(expected)
    assert len(spans) >= len(expected) if copies else len(spans) == len(expected)
    assert records_of(k8strace.read(str(folder / "collected.otlp"))) == records_of(expected)


def stored(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What the store answers, as records; that copies were set aside, which a record says, is no other answer."""
    if not any((folder / "store").glob("*.otlp*")):
        return {}
    records = records_of(k8strace.read(str(folder / "store")))
    for record in records.values():
        record["repairs"] = [repair for repair in record["repairs"] if repair != "duplicate"]
    return records


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("way", EXPORTERS)
def test_everything_arrives_once(program, way, secure, capture_127, tmp_path):
    """Over each protocol, plain and over TLS, always with a token."""
    told, ca = arguments(tmp_path, secure)
    spans = len(k8strace.read(str(capture_127)))
    with serving(*told) as process:
        address = process.address("grpc" if way == "grpc" else "http")
        with collector(program, tmp_path, way, address, ca) as gateway:
            send(gateway, batches_of(capture_127))
            wait_for(process, spans)
        process.stop()
    same_answers(tmp_path, capture_127)


def sent_at(request: ExportMetricsServiceRequest) -> int:
    """When the sums of a message were made, in ns since 1970."""
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    return metric.exponential_histogram.data_points[0].time_unix_nano


def test_metrics_go_back_into_the_collector_that_sent_the_spans(program, capture_127, tmp_path):
    """
    What it writes down sums to the library's attribution, component by component.

    Its consumers send at once, so some requests are joined before all their spans are in; they count as they are in
    the end, which the window puts after the last span.
    """
    told, _ = arguments(tmp_path, secure=False)
    spans = len(k8strace.read(str(capture_127)))
    port, http = free_port(), free_port()
    listen = listening("grpc", port)
    with collector(program, tmp_path, "grpc", f"127.0.0.1:{port}", http=http) as gateway:
        back = ("--metrics-to", f"http://127.0.0.1:{http}", "--window", "1m")
        with serving(*told, *back, listen=listen) as process:
            send(gateway, batches_of(capture_127))
            wait_for(process, spans)
            process.stop()
    written = (tmp_path / "metrics.otlp").read_bytes()
    messages = []
    while written:  # a length of 4 bytes, big-endian, and a message
        size = int.from_bytes(written[:4], "big")
        messages.append(ExportMetricsServiceRequest.FromString(written[4 : 4 + size]))
        written = written[4 + size :]
    # The Collector writes with several consumers: the last in the file need not be the latest that was sent.
    assert_sums(max(messages, key=sent_at), k8strace.join(k8strace.read(str(capture_127))))


@pytest.mark.alone
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("way", EXPORTERS)
def test_overload_loses_and_doubles_nothing(program, way, secure, capture_127, tmp_path):
    """200 consumers that have waited, and memory for a few requests: what is refused comes again until all is in."""
    told, ca = arguments(tmp_path, secure)
    spans = len(k8strace.read(str(capture_127)))
    port = free_port()
    many = {"consumers": 200, "batch": 32, "compression": "none" if way == "grpc" else "gzip"}
    with collector(program, tmp_path, way, f"127.0.0.1:{port}", ca, **many) as gateway:
        send(gateway, batches_of(capture_127))
        largest, memory = SMALL[way]
        small = ("--max-request-bytes", largest, "--budget-bytes", memory)
        with serving(*told, *small, listen=listening(way, port)) as process:
            wait_for(process, spans, 400)  # who is refused waits longer each time
            counts = process.metrics()
            process.stop()
    assert_overload(counts, spans)
    log = (tmp_path / "collector.log").read_text()
    assert "Exporting failed. Will retry" in log
    assert "Dropping data" not in log
    same_answers(tmp_path, capture_127)


@pytest.mark.alone
@pytest.mark.parametrize("way", EXPORTERS)
def test_kill_9_while_it_retries_loses_nothing(program, way, capture_127, tmp_path):
    """Killed three times in the middle; what was stored but not answered comes again, and counts once."""
    told, _ = arguments(tmp_path, secure=False)
    port = free_port()
    listen = listening(way, port)
    with collector(program, tmp_path, way, f"127.0.0.1:{port}") as gateway:
        sender = threading.Thread(target=send, args=(gateway, batches_of(capture_127)))
        sender.start()
        for _ in range(3):
            with serving(*told, listen=listen) as process:
                time.sleep(0.3)
                os.kill(process.process.pid, signal.SIGKILL)
        sender.join()
        with serving(*told, listen=listen) as process:
            deadline = time.monotonic() + 120
            expected = records_of(k8strace.read(str(capture_127)))
            while stored(tmp_path) != expected:
                assert time.monotonic() < deadline, "the Collector did not deliver everything"
                time.sleep(1)
            process.stop()
    same_answers(tmp_path, capture_127, copies=True)
