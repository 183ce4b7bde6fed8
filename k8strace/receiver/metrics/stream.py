"""What a stream counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from k8strace.receiver.metrics.exposition import Reading, Values

__all__ = ["stream_readings"]


def stream_readings(counts: Callable[[], Mapping[str, int]]) -> list[Reading]:
    """What a `RequestStream` counts; nothing before its first take."""

    def some(names: Mapping[str, str]) -> Callable[[], Values]:
        return lambda: {(label,): counts()[name] for name, label in names.items() if name in counts()}

    def count(name: str) -> Callable[[], Values]:
        return lambda: {(): counts()[name]} if name in counts() else {}

    limits = {f"evicted_{limit}": limit for limit in ("age", "trace_spans", "spans", "traces", "bytes")}
    fates = {name: name for name in ("repeats", "released", "discarded")}
    return [
        Reading("gauge", "k8strace_held_spans", "Spans that the stream holds.", (), count("held")),
        Reading("gauge", "k8strace_held_traces", "Traces that they are of.", (), count("held_traces")),
        Reading("gauge", "k8strace_held_bytes", "The same in memory, estimated.", (), count("held_bytes")),
        Reading("counter", "k8strace_joined_spans", "Spans that the stream was given.", (), count("spans")),
        Reading(
            "counter",
            "k8strace_ended_spans",
            "Of them, those no longer in memory: repeats, released after they were emitted, discarded.",
            ("fate",),
            some(fates),
        ),
        Reading(
            "counter",
            "k8strace_evicted_traces",
            "Traces emitted before they were whole, by the limit that was exceeded.",
            ("limit",),
            some(limits),
        ),
        Reading("counter", "k8strace_updated_traces", "Traces emitted again.", (), count("updates")),
        Reading(
            "counter",
            "k8strace_late_traces",
            "Traces of which spans came after the release: those are a trace of their own.",
            (),
            count("late_traces"),
        ),
        Reading(
            "counter",
            "k8strace_forgotten_process_pairs",
            "Pairs of processes whose clocks are measured anew.",
            (),
            count("process_pairs_forgotten"),
        ),
    ]
