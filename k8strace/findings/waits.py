"""`cache_wait`, `flowcontrol_queue`: time in which a request only waited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Selection
from k8strace.statistics.quantiles import at_rank
from k8strace.words import count, duration

__all__ = ["cache_wait", "flowcontrol_queue"]

CACHE_WAITED_NS: Final = 1_000_000
"""Shorter times are no wait: the events themselves are some microseconds apart."""

CACHE_TELL: Final = 0.01
CACHE_TOO_MUCH: Final = 0.25
"""A consistent read waits until the cache has caught up, for at most 100 ms. That is its price."""

QUEUED_NS: Final = 10_000_000
"""Without a queue the filter takes microseconds, on a busy machine some milliseconds."""

QUEUE_TOO_MUCH: Final = 0.05
"""Queues delay requests on purpose; from a twentieth of all time it matters which clients they delay."""


def cache_wait(selection: Selection) -> Iterator[Finding]:
    """Reads that waited until the watch cache was fresh enough."""
    if selection.share(selection.phase_ns("apiserver.watchcache.wait")) < CACHE_TELL:
        return
    outlay = selection.phase("apiserver.watchcache.wait", CACHE_WAITED_NS)
    if selection.share(outlay.total_ns) >= CACHE_TELL:
        lengths = sorted(outlay.ns)
        median, longest = at_rank(lengths, 0.5), lengths[-1]
        yield selection.finding(
            "cache_wait",
            "warning" if selection.share(outlay.total_ns) >= CACHE_TOO_MUCH else "info",
            outlay,
            f"{count(len(outlay.rows), 'read')} waited for the watch cache to be fresh enough:"
            f" {selection.cost(outlay.total_ns)}, median {duration(median)}, longest {duration(longest)}",
            "Let clients that can do with slightly older data read with resourceVersion=0, or watch.",
            ["verb~^(get|list)$"],
            p50_ns=median,
            max_ns=longest,
        )


def flowcontrol_queue(selection: Selection) -> Iterator[Finding]:
    """Requests that waited in a queue of API Priority and Fairness."""
    outlay = selection.phase("apiserver.flowcontrol.to_authorization", QUEUED_NS)
    if not outlay.rows:
        return
    clients: Counter[str | None] = Counter()
    for client, ns in zip(selection.values("client", outlay.rows), outlay.ns, strict=True):
        clients[client] += ns
    (most, _), *others = clients.most_common()
    whose = f", most of it of {most}" if others else f", all of {most}"
    yield selection.finding(
        "flowcontrol_queue",
        "warning" if selection.share(outlay.total_ns) >= QUEUE_TOO_MUCH else "info",
        outlay,
        f"{count(len(outlay.rows), 'request')} waited for a seat in API Priority and Fairness:"
        f" {selection.cost(outlay.total_ns)}{whose if most else ''}",
        "Find the flow that fills the seats (cost by client); give the one that waits a level of its own.",
        [f"client={most}"] if most and not others else [],
        clients=len(clients),
        max_ns=max(outlay.ns),
    )
