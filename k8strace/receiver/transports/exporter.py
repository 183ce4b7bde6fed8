"""Spans straight from the OpenTelemetry SDK of this process, without a connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from k8strace.exceptions import extra
from k8strace.receiver.intake.limits import Limits
from k8strace.receiver.intake.sink import Sink
from k8strace.receiver.intake.visit import Intake, Visit, as_intake

with extra("sdk", "K8straceExporter", "the OpenTelemetry SDK"):
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

__all__ = ["K8straceExporter"]


class K8straceExporter(SpanExporter):
    """
    A `SpanExporter` that hands spans to a sink. Not to be used for spans of the sink's own work.

    Args:
        sink: Who keeps the spans, or an `Intake`, which other transports may share.
        limits: How much is taken; not with an `Intake`, which has its own.
        timeout_s: How long a batch is offered again that the sink cannot take now.

    Examples:
        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> from opentelemetry.sdk.trace.export import BatchSpanProcessor
        >>> from k8strace.receiver import Receipt
        >>> from k8strace.receiver.transports.exporter import K8straceExporter
        >>> class Kept(list):
        ...     def accept(self, batch, meta):
        ...         self.append(batch)
        ...         return Receipt(accepted=meta.spans)
        >>> kept, provider = Kept(), TracerProvider()
        >>> provider.add_span_processor(BatchSpanProcessor(K8straceExporter(kept)))
        >>> with provider.get_tracer("example").start_as_current_span("work"):
        ...     pass
        >>> provider.shutdown()
        >>> import k8strace
        >>> k8strace.decode(kept).column("name").to_pylist()
        ['work']
    """

    def __init__(self, sink: Sink | Intake, *, limits: Limits | None = None, timeout_s: float = 10.0) -> None:
        self.intake = as_intake(sink, limits, None)
        """For its counts."""
        self._timeout_s = timeout_s
        self._stopped = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Returns when the sink has the spans, or never will: the SDK drops them then."""
        if self._stopped.is_set():
            return SpanExportResult.FAILURE
        batch = encode_spans(spans).SerializeToString()
        deadline = time.monotonic() + self._timeout_s
        while True:
            visit = self._offer(batch)
            pause = visit.verdict.retry_after_s
            if pause is None or time.monotonic() + pause > deadline or self._stopped.wait(pause):
                return SpanExportResult.SUCCESS if visit.verdict.ok else SpanExportResult.FAILURE

    def _offer(self, batch: bytes) -> Visit:
        # Identity is for connections: who runs in this process may send.
        with self.intake.visit("sdk", "this process") as visit:
            visit.receive(len(batch))
            visit.take(batch)
        return visit

    def shutdown(self) -> None:
        """Ends waiting exports; later ones fail."""
        self._stopped.set()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002
        """There is nothing to flush: `export` returns when all is done."""
        return True
