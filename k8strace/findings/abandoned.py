"""`work_after_client_left`: what etcd still did for requests that had been answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Outlay, Selection
from k8strace.words import count, duration

__all__ = ["work_after_client_left"]

TELL_NS: Final = 1_000_000
"""Shorter differences come from the order in which spans end."""

TOO_MUCH: Final = 0.01
"""The result is not used, so a hundredth of all time is a warning."""

TIMED_OUT: Final = 504


def work_after_client_left(selection: Selection) -> Iterator[Finding]:
    """Calls to etcd that ended after their request."""
    calls = selection.etcd_calls
    start, wall = (selection.values(name, calls.held) for name in ("start_unix_nano", "wall_ns"))
    after = []
    told = zip(calls.held, calls["start_unix_nano"], calls["ns"], start, wall, strict=True)
    for row, begin, ns, begun, lasted in told:
        end = begun + lasted
        left = begin + ns - max(begin, end)
        if left > 0:
            after.append((row, left))
    outlay = Outlay.of(after)
    if outlay.total_ns < TELL_NS:
        return
    timeouts = selection.values("http_status", outlay.rows).count(TIMED_OUT)
    yield selection.finding(
        "work_after_client_left",
        "warning" if selection.share(outlay.total_ns) >= TOO_MUCH else "info",
        outlay,
        f"etcd went on working for {duration(outlay.total_ns)} on {count(len(outlay.rows), 'request')} that had"
        f" been answered, {timeouts:,} of them with a timeout",
        "Give clients timeouts longer than their requests take, or let them ask for less at once.",
        ["async_tail_ns>0"],
        calls=len(after),
        timeouts=timeouts,
    )
