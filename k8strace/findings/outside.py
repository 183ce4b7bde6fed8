"""`time_outside_spans`: time that clients waited and that no span covers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Outlay, Selection
from k8strace.words import count, duration

__all__ = ["time_outside_spans"]

TELL_NS: Final = 5_000_000
"""Shorter differences are the network and the client itself."""

TOO_MUCH: Final = 0.05
"""A twentieth of all time that no call tree covers."""


def time_outside_spans(selection: Selection) -> Iterator[Finding]:
    """Requests that lasted longer for the client than for the apiserver's spans."""
    if not selection.client_times:
        return
    audit_id, wall, prelude = (selection.of_all(name) for name in ("audit_id", "wall_ns", "prelude_ns"))
    known = {audit_id[row]: row for row in selection.rows if audit_id[row] is not None}
    found = [(known[each.audit_id], each) for each in selection.client_times if each.audit_id in known]
    outside = ((row, each.wall_ns - wall[row] - (prelude[row] or 0)) for row, each in found)
    outlay = Outlay.of((row, ns) for row, ns in outside if ns >= TELL_NS)
    if outlay.rows:
        yield selection.finding(
            "time_outside_spans",
            "warning" if selection.share(outlay.total_ns) >= TOO_MUCH else "info",
            outlay,
            f"{count(len(outlay.rows), 'request')} of {len(found):,} lasted longer for the client than their spans"
            f" show: {duration(outlay.total_ns)} together, {selection.percent(outlay.total_ns)} of the time of spans",
            "Look at the network, at proxies and load balancers, and at the apiserver before its first span begins.",
            [],
            matched=len(found),
            not_matched=len(selection.client_times) - len(found),
            max_ns=max(outlay.ns),
        )
