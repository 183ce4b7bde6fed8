"""What requests are counted for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from k8strace.receiver.intake.limits import REASONS, RETRYABLE, Rejections
from k8strace.receiver.intake.visit import Counts
from k8strace.receiver.metrics.exposition import Reading, Values, one

__all__ = ["intake_readings"]


def intake_readings(
    transports: Callable[[], Mapping[str, Counts]], rejections: Rejections, in_flight_bytes: Callable[[], int]
) -> list[Reading]:
    """What became of requests and spans, by transport and by reason."""

    def by_transport(field: str) -> Callable[[], Values]:
        return lambda: {(name,): getattr(counts, field) for name, counts in transports().items()}

    def by_reason(*, retryable: bool) -> Callable[[], Values]:
        return lambda: {
            (reason, REASONS[reason]): count
            for reason, count in rejections.counts().items()
            if (reason in RETRYABLE) is retryable
        }

    told = (
        ("k8strace_received_requests", "requests_received", "Export requests that arrived."),
        ("k8strace_accepted_requests", "requests_accepted", "Export requests that were acknowledged."),
        ("k8strace_received_spans", "spans_seen", "Spans in requests whose content was looked at."),
        ("k8strace_accepted_spans", "spans_accepted", "Spans that were acknowledged."),
        ("k8strace_rejected_spans", "spans_rejected", "Spans that will never be taken."),
        ("k8strace_refused_spans", "spans_refused", "Spans in requests that were not taken."),
    )
    return [
        *(
            Reading("counter", name, help_, ("transport",), by_transport(field))
            for name, field, help_ in told
        ),
        Reading(
            "counter",
            "k8strace_rejected",
            "What was not taken and will not be, by reason; scope says whether requests, spans or attributes.",
            ("reason", "scope"),
            by_reason(retryable=False),
        ),
        Reading(
            "counter",
            "k8strace_refused",
            "Requests whose sender was told to try again, by reason.",
            ("reason", "scope"),
            by_reason(retryable=True),
        ),
        Reading(
            "gauge",
            "k8strace_in_flight_bytes",
            "Requests that are being worked on, inflated.",
            (),
            one(in_flight_bytes),
        ),
    ]
