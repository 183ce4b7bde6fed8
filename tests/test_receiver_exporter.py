"""Spans of the OpenTelemetry SDK reach a sink in this process, and real exporters reach one over each transport."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from receivers import Kept, request_of, serving, span, unavailable

from k8strace.exceptions import MissingExtraError
from k8strace.receiver import Intake, Limits, Receipt, UnavailableError
from k8strace.receiver.transports.exporter import K8straceExporter

pytestmark = pytest.mark.alone


def finished(*names: str) -> tuple[ReadableSpan, ...]:
    """Spans of the SDK."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "apiserver"}))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for name in names:
        with provider.get_tracer("scope").start_as_current_span(
            name, attributes={"verb": "get", "n": 1}
        ) as each:
            each.add_event("written")
    return kept.get_finished_spans()


def names(sink: Kept) -> list[str]:
    return [each.name for each in sink.spans]


def test_spans_arrive_as_the_sdk_encodes_them():
    sink = Kept()
    spans = finished("a", "b")
    assert K8straceExporter(sink).export(spans) is SpanExportResult.SUCCESS
    assert names(sink) == ["a", "b"]
    assert [each.span_id for each in sink.spans] == [
        each.context.span_id.to_bytes(8, "big") for each in spans
    ]
    assert sink.batches[0][1].transport == "sdk"


def test_it_is_an_exporter_of_the_sdk():
    exporter = K8straceExporter(Kept())
    assert isinstance(exporter, SpanExporter)
    assert exporter.force_flush()


def test_what_is_unavailable_is_offered_again():
    refusals = iter([True, True, False])
    sink = Kept()

    def accept(batch: bytes, meta: Any) -> Receipt:
        if next(refusals):
            raise UnavailableError("not now", reason="queue", retry_after_s=0.05)
        sink.batches.append((batch, meta))
        return Receipt(meta.spans)

    exporter = K8straceExporter(Kept(accept))
    assert exporter.export(finished("a")) is SpanExportResult.SUCCESS
    assert names(sink) == ["a"]
    counts = exporter.intake.counts()["sdk"]
    assert (counts.requests_received, counts.requests_refused, counts.requests_accepted) == (3, 2, 1)
    assert (counts.spans_seen, counts.spans_refused, counts.spans_accepted) == (3, 2, 1)


def test_what_stays_unavailable_fails_in_time():
    exporter = K8straceExporter(unavailable(retry_after_s=0.1), timeout_s=0.35)
    started = time.monotonic()
    assert exporter.export(finished("a")) is SpanExportResult.FAILURE
    assert time.monotonic() - started <= 0.35
    assert exporter.intake.rejections["queue"] in (3, 4)


def test_a_shutdown_ends_the_waiting():
    exporter = K8straceExporter(unavailable(retry_after_s=5), timeout_s=60)
    threading.Timer(0.2, exporter.shutdown).start()
    started = time.monotonic()
    assert exporter.export(finished("a")) is SpanExportResult.FAILURE
    assert time.monotonic() - started < 3
    assert exporter.export(finished("a")) is SpanExportResult.FAILURE


def test_what_will_never_be_taken_is_not_offered_again():
    exporter = K8straceExporter(Kept(), limits=Limits(request_bytes=10))
    assert exporter.export(finished("a")) is SpanExportResult.FAILURE
    assert exporter.intake.rejections["size"] == 1


def test_an_intake_can_be_shared_and_then_has_the_settings():
    intake = Intake(Kept())
    assert K8straceExporter(intake).intake is intake
    with pytest.raises(TypeError, match="where the Intake is made"):
        K8straceExporter(intake, limits=Limits())


# ── Exporters that others wrote ───────────────────────────────────────────────────────────────────


def exported(exporter: SpanExporter, spans: Iterable[ReadableSpan]) -> SpanExportResult:
    try:
        return exporter.export(list(spans))
    finally:
        exporter.shutdown()


@pytest.mark.parametrize("transport", ["grpc", "grpc.aio"])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_grpc_exporter_of_the_sdk(transport: str, compressed: bool):
    import grpc

    how = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
    sink = Kept()
    with serving(transport, sink) as send:
        exporter = GrpcExporter(endpoint=f"localhost:{send.port}", insecure=True, compression=how)
        assert exported(exporter, finished("a", "b")) is SpanExportResult.SUCCESS
    assert names(sink) == ["a", "b"]


@pytest.mark.parametrize("how", [Compression.NoCompression, Compression.Gzip])
def test_the_http_exporter_of_the_sdk(how: Compression):
    sink = Kept()
    with serving("http/protobuf", sink) as send:
        exporter = HttpExporter(f"http://localhost:{send.port}/v1/traces", compression=how)
        assert exported(exporter, finished("a", "b")) is SpanExportResult.SUCCESS
    assert names(sink) == ["a", "b"]


@pytest.mark.parametrize("transport", ["grpc", "http/protobuf"])
def test_exporters_come_again_when_they_are_told_to(transport: str):
    """The SDK's own clients understand our refusals: RetryInfo and Retry-After."""
    refusals = iter([True, False])
    sink = Kept()

    def accept(batch: bytes, meta: Any) -> Receipt:
        if next(refusals):
            raise UnavailableError("not now", reason="queue", retry_after_s=1)
        return sink.accept(batch, meta)

    with serving(transport, Kept(accept)) as send:
        exporter = (
            GrpcExporter(endpoint=f"localhost:{send.port}", insecure=True, timeout=10)
            if transport == "grpc"
            else HttpExporter(f"http://localhost:{send.port}/v1/traces", timeout=10)
        )
        assert exported(exporter, finished("a")) is SpanExportResult.SUCCESS
    assert names(sink) == ["a"]


# ── Without the extras ────────────────────────────────────────────────────────────────────────────


def test_the_receiver_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch):
    import sys

    from k8strace.receiver import add_to_server, asgi_app

    monkeypatch.setitem(sys.modules, "google.rpc.status_pb2", None)
    monkeypatch.setitem(sys.modules, "google.rpc.error_details_pb2", None)
    with pytest.raises(MissingExtraError, match=r"k8strace\[serve\]"):
        asgi_app(Kept())
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    with pytest.raises(MissingExtraError, match=r"k8strace\[serve\]"):
        add_to_server(grpc.server(ThreadPoolExecutor(1)), Kept())


def test_the_exporter_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch):
    import importlib
    import sys

    from k8strace.receiver.transports import exporter

    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtraError, match=r"k8strace\[sdk\]"):
        importlib.reload(exporter)


def test_the_receiver_imports_no_server():
    import subprocess
    import sys

    code = "import k8strace.receiver, sys; print(*sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert {"grpc", "hypercorn", "prometheus_client", "google.protobuf", "opentelemetry"}.isdisjoint(modules)


def test_a_receipt_that_does_not_add_up_is_a_failure_of_ours():
    """Spans that nobody accounts for are told to nobody as safe."""
    with serving("http/protobuf", Kept(lambda *_: Receipt(accepted=5))) as send:
        assert send(request_of(span())).status == 500
