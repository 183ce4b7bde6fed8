"""`spans_lost`: requests of which something is known to be missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Selection
from k8strace.words import count, percent

__all__ = ["spans_lost"]

LOST: Final = ("span_lost", "dropped", "evicted")
"""Causes that are losses; an etcd that is not traced is none."""

TOO_MANY: Final = 0.05
"""Of the requests: then sums are off by about as much."""


def spans_lost(selection: Selection) -> Iterator[Finding]:
    """Requests with spans that never came, or of which a sender dropped parts."""
    cause = selection.of_all("incomplete_cause")
    lost = [row for row in selection.rows if cause[row] in LOST]
    if lost:
        causes = [row for row in lost if cause[row] == "span_lost"]
        outlay = selection.wall(lost)
        whole = len(selection.rows)
        yield selection.finding(
            "spans_lost",
            "warning" if len(lost) >= TOO_MANY * whole else "info",
            outlay,
            f"Of {count(len(lost), 'request')} ({percent(len(lost), whole)}) something is missing: spans that never"
            f" came in {len(causes):,}, parts that senders dropped or a full stream gave up in the rest",
            "Look at the ledger and at the senders' queues: they hold 2,048 spans and drop silently.",
            [f"incomplete_cause~^({'|'.join(LOST)})$"],
            **{name: sum(cause[row] == name for row in lost) for name in LOST},
        )
