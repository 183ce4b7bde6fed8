"""The receiver's own metrics: one table, read when somebody scrapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from k8strace import _core
from k8strace.receiver.limits import REASONS
from k8strace.receiver.metrics import Reading

if TYPE_CHECKING:
    from k8strace.receiver.serving import Receiver

__all__ = ["readings"]

Values = Mapping[tuple[str, ...], Any]

RETRYABLE = ("budget", "busy", "queue", "slow", "storage", "draining", "unavailable")
"""Reasons of refusals that ask the sender to try again; `k8strace_refused_total` has them."""


def readings(of: Receiver) -> list[Reading]:
    """
    What a receiver tells of itself. The reference, "Metrics", has the same list.

    Examples:
        >>> [reading.name for reading in readings(None)][:3]
        ['k8strace_build', 'k8strace_mode', 'k8strace_ready']
    """
    return [*_state(of), *_intake(of), *_connections(of), *_pipeline(of), *_journal(of)]


def _one(read: Callable[[], Any]) -> Callable[[], Values]:
    return lambda: {(): read()}


def _state(of: Receiver) -> list[Reading]:
    return [
        Reading("info", "k8strace_build", "This k8strace.", (), _one(lambda: {"version": _core.__version__})),
        Reading(
            "info",
            "k8strace_mode",
            "What acknowledged means: durable (written and synced) or memory.",
            (),
            _one(lambda: {"mode": "memory" if of.journal is None else "durable"}),
        ),
        Reading("gauge", "k8strace_ready", "1 while batches are accepted.", (), _one(lambda: int(of.ready))),
    ]


def _intake(of: Receiver) -> list[Reading]:
    def by_transport(field: str) -> Callable[[], Values]:
        return lambda: {(name,): getattr(counts, field) for name, counts in of.counts.items()}

    def by_reason(*, retryable: bool) -> Callable[[], Values]:
        return lambda: {
            (reason, REASONS[reason]): count
            for reason, count in of.rejections.counts().items()
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
            _one(lambda: of.in_flight_bytes),
        ),
    ]


def _connections(of: Receiver) -> list[Reading]:
    return [
        Reading(
            "gauge",
            "k8strace_http_connections",
            "Connections that are open, to the HTTP servers of OTLP and of metrics.",
            ("server",),
            lambda: {("http",): of.http.connections, ("metrics",): of.status.connections},
        ),
        Reading(
            "counter",
            "k8strace_ended_http_connections",
            "Connections that k8strace ended, by reason.",
            ("server", "reason"),
            lambda: {
                (name, reason): count
                for name, server in (("http", of.http), ("metrics", of.status))
                for reason, count in server.ends.items()
            },
        ),
    ]


def _pipeline(of: Receiver) -> list[Reading]:
    def count(field: str) -> Callable[[], Values]:
        return _one(lambda: getattr(of.pipeline.counts, field))

    return [
        Reading("gauge", "k8strace_queue_bytes", "Batches that wait to be joined.", (), count("queue_bytes")),
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
        *_stream(lambda: of.pipeline.stream_counts),
    ]


def _stream(counts: Callable[[], Mapping[str, int]]) -> list[Reading]:
    """What a `RequestStream` counts; nothing before its first take."""

    def some(names: Mapping[str, str]) -> Callable[[], Values]:
        return lambda: {(label,): counts()[name] for name, label in names.items() if name in counts()}

    def one(name: str) -> Callable[[], Values]:
        return lambda: {(): counts()[name]} if name in counts() else {}

    limits = {f"evicted_{limit}": limit for limit in ("age", "trace_spans", "spans", "traces", "bytes")}
    fates = {name: name for name in ("repeats", "released", "discarded")}
    return [
        Reading("gauge", "k8strace_held_spans", "Spans that the stream holds.", (), one("held")),
        Reading("gauge", "k8strace_held_traces", "Traces that they are of.", (), one("held_traces")),
        Reading("gauge", "k8strace_held_bytes", "The same in memory, estimated.", (), one("held_bytes")),
        Reading("counter", "k8strace_joined_spans", "Spans that the stream was given.", (), one("spans")),
        Reading(
            "counter",
            "k8strace_ended_spans",
            "Of them, those that it does not hold any more: repeats, released after they were given out, discarded.",
            ("fate",),
            some(fates),
        ),
        Reading(
            "counter",
            "k8strace_evicted_traces",
            "Traces given out before they were whole, by the limit that was broken.",
            ("limit",),
            some(limits),
        ),
        Reading("counter", "k8strace_updated_traces", "Traces given out again.", (), one("updates")),
        Reading(
            "counter",
            "k8strace_forgotten_process_pairs",
            "Pairs of processes whose clocks are measured anew.",
            (),
            one("process_pairs_forgotten"),
        ),
    ]


def _journal(of: Receiver) -> list[Reading]:
    def count(name: str) -> Callable[[], Values]:
        return lambda: {} if of.journal is None else {(): of.journal.counts[name]}

    told = (
        ("batches", "Batches that were stored."),
        ("bytes", "The same in bytes."),
        ("syncs", "Writes that were synced; several batches share one."),
        ("segments", "Files that were begun."),
        ("removed", "Files that were removed to keep what is stored within its bounds."),
        ("cut_bytes", "Torn ends that were cut at the start."),
        (
            "vanished",
            "Files and folders that somebody else removed while they were used. What was in them is lost.",
        ),
        ("errors", "Failed writes and syncs. Nothing of them was acknowledged."),
    )
    return [
        *(Reading("counter", f"k8strace_journal_{name}", help_, (), count(name)) for name, help_ in told),
        Reading(
            "histogram",
            "k8strace_journal_sync_seconds",
            "How long the disk took to write and sync.",
            (),
            lambda: {} if of.journal is None or of.syncs is None else {(): of.syncs},
        ),
    ]
