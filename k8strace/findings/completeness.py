"""`spans_lost`: requests that are known to be incomplete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Selection
from k8strace.words import count, percent

__all__ = ["spans_lost"]

LOST: Final = ("span_lost", "dropped", "evicted")
"""Causes that are losses. An etcd that is not traced is no loss."""

TOO_MANY: Final = 0.05
"""Share of the requests: sums are off by about as much."""


def spans_lost(selection: Selection) -> Iterator[Finding]:
    """Requests with spans that never arrived, or with parts that a sender dropped."""
    lost = selection.among("incomplete_cause", *LOST)
    if lost:
        causes = selection.values("incomplete_cause", lost)
        never = causes.count("span_lost")
        outlay = selection.wall(lost)
        whole = len(selection.rows)
        yield selection.finding(
            "spans_lost",
            "warning" if len(lost) >= TOO_MANY * whole else "info",
            outlay,
            f"Something is missing from {count(len(lost), 'request')} ({percent(len(lost), whole)}): spans that never"
            f" arrived in {never:,}, parts that a sender dropped or a full stream evicted in the rest",
            "Look at the ledger and at the senders' queues: they hold 2,048 spans and drop silently.",
            [f"incomplete_cause~^({'|'.join(LOST)})$"],
            **{name: causes.count(name) for name in LOST},
        )
