"""
`etcd_transport`: time that requests spent on the way to etcd and back, outside of etcd.

Transport is a call's time at the client minus its time at the server. A busy process delays some requests, a slow
network all of them. So the *quickest* of those that began at about the same time decides:

```
slots       |   . .  .   |  .   .  .  |    .   . |       requests with a call, by their start
quickest        0.3 ms        41 ms        40 ms         slow slots: no request was quicker
```
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Outlay, Selection
from k8strace.findings.stalls import usual_stalls
from k8strace.statistics.quantiles import at_rank
from k8strace.words import count, duration

__all__ = ["etcd_transport"]

TELL: Final = 0.20
"""A fifth of all time, without requests that a stalled process held up."""

SLOT_NS: Final = 100_000_000
FEWEST: Final = 3
"""Slots with fewer requests are ignored."""
SLOW_NS: Final = 10_000_000
"""Within a data centre a message takes less than a millisecond, between neighbouring ones a few."""
SLOW_SLOTS: Final = 5
"""Half a second in all. In healthy recordings up to two are slow, with 2 % of all time."""
TOO_MUCH: Final = 0.05
"""A warning if the transport in slow slots is a twentieth of all time."""


class Slow(NamedTuple):
    """Slots in which no request was quick."""

    slots: int
    ns: int
    """Transport of the requests in them."""
    quickest_ns: int
    """The median of the quickest request of each."""


def etcd_transport(selection: Selection) -> Iterator[Finding]:
    """Requests whose calls to etcd spent long in transport."""
    stalled = {row for stall in selection.once(usual_stalls) for row in stall.requests}
    of_stalled = selection.phase("etcd.transport", rows=[row for row in selection.rows if row in stalled])
    share = selection.share(selection.phase_ns("etcd.transport") - of_stalled.total_ns)
    late = _spent(selection, stalled, SLOW_NS) if share >= TOO_MUCH else Outlay([], [])
    if share < TELL and selection.share(late.total_ns) < TOO_MUCH:
        return
    outlay = _spent(selection, stalled)
    slow = _slow(selection, outlay)
    is_slow = slow.slots >= SLOW_SLOTS and selection.share(slow.ns) >= TOO_MUCH
    if is_slow or share >= TELL:
        lengths = sorted(outlay.ns)
        median, p99 = at_rank(lengths, 0.5), at_rank(lengths, 0.99)
        told = (
            f"; for {duration(slow.slots * SLOT_NS)} none came through in less than {duration(SLOW_NS)},"
            f" the quickest mostly in {duration(slow.quickest_ns)}"
        )
        yield selection.finding(
            "etcd_transport",
            "warning" if is_slow else "info",
            outlay,
            f"{count(len(outlay.rows), 'request')} spent {selection.cost(outlay.total_ns)} on the way to etcd and"
            f" back, outside of etcd: median {duration(median)}, p99 {duration(p99)}{told if is_slow else ''}",
            "Look at the network between apiserver and etcd at that time."
            if is_slow
            else "Look at the processor time of both processes first, then at the network between them.",
            ["etcd_call_count>0"],
            p50_ns=median,
            p99_ns=p99,
            slow_slots=slow.slots,
            slow_ns=slow.ns,
        )


def _spent(selection: Selection, stalled: Collection[int], least_ns: int = 1) -> Outlay:
    """The requests with so much transport that no stalled process held up."""
    spent = zip(*selection.phase("etcd.transport", least_ns), strict=True)
    return Outlay.of((row, ns) for row, ns in spent if row not in stalled)


def _slow(selection: Selection, spent: Outlay) -> Slow:
    """The slow slots; `spent`: requests and their transport."""
    if selection.share(sum(ns for ns in spent.ns if ns >= SLOW_NS)) < TOO_MUCH:
        return Slow(0, 0, 0)
    starts = selection.values("start_unix_nano", spent.rows)
    quick = {start // SLOT_NS for start, ns in zip(starts, spent.ns, strict=True) if ns < SLOW_NS}
    slots: dict[int, list[int]] = {}
    for start, ns in zip(starts, spent.ns, strict=True):
        if ns >= SLOW_NS and start // SLOT_NS not in quick:
            slots.setdefault(start // SLOT_NS, []).append(ns)
    slow = [of for of in slots.values() if len(of) >= FEWEST]
    return Slow(len(slow), sum(map(sum, slow)), at_rank(sorted(map(min, slow)), 0.5) if slow else 0)
