"""
`etcd_transport`: time that calls to etcd spent outside of etcd.

Transport is what a call took at the client without what it took at the server. A busy process makes some calls late; a
slow network makes all of them late, so what counts is the *quickest* of the calls that began at about the same time:

```
slots       |   . .  .   |  .   .  .  |    .   . |       calls by their start
quickest        0.3 ms        41 ms        40 ms         slow slots: not one call came through in less
```
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Outlay, Selection
from k8strace.findings.stalls import usual_stalls
from k8strace.statistics.quantiles import at_rank
from k8strace.words import count, duration

__all__ = ["etcd_transport"]

TELL: Final = 0.20
"""A fifth of all time, without requests that a process which stood still held up."""

SLOT_NS: Final = 100_000_000
FEWEST: Final = 3
"""A slot with fewer calls tells nothing."""
SLOW_NS: Final = 10_000_000
"""Within a data centre a message takes less than a millisecond, between neighbouring ones a few."""
SLOW_SLOTS: Final = 5
"""Half a second in all. A process without a processor makes up to three slots slow, in healthy recordings."""
TOO_MUCH: Final = 0.05
"""Slow slots in which a twentieth of all time was spent on the way are worth a look."""


class Slow(NamedTuple):
    """Slots in which no call came through quickly."""

    slots: int
    ns: int
    """What requests waited in them."""
    quickest_ns: int
    """The median of the quickest call of each."""


def etcd_transport(selection: Selection) -> Iterator[Finding]:
    """Calls to etcd that were long on their way."""
    stalled = {row for stall in selection.once(usual_stalls) for row in stall.requests}
    spent = zip(*selection.phase("etcd.transport"), strict=True)
    outlay = Outlay.of((row, ns) for row, ns in spent if row not in stalled)
    share = selection.share(outlay.total_ns)
    if share < TOO_MUCH:
        return
    slow = _slow(selection, dict(zip(*outlay, strict=True)))
    is_slow = slow.slots >= SLOW_SLOTS and selection.share(slow.ns) >= TOO_MUCH
    if is_slow or share >= TELL:
        lengths = sorted(outlay.ns)
        median, p99 = at_rank(lengths, 0.5), at_rank(lengths, 0.99)
        told = (
            f"; for {duration(slow.slots * SLOT_NS)} not one call came through in less than {duration(SLOW_NS)},"
            f" the quickest mostly in {duration(slow.quickest_ns)}"
        )
        yield selection.finding(
            "etcd_transport",
            "warning" if is_slow else "info",
            outlay,
            f"{count(len(outlay.rows), 'request')} spent {selection.cost(outlay.total_ns)} on the way to etcd and"
            f" back, outside of etcd: median {duration(median)}, p99 {duration(p99)}"
            f"{told if is_slow else ''}",
            "Look at the network between apiserver and etcd at that time."
            if is_slow
            else "Look at the processor time of both processes first, then at the network between them.",
            ["etcd_call_count>0"],
            p50_ns=median,
            p99_ns=p99,
            slow_slots=slow.slots,
            slow_ns=slow.ns,
        )


def _slow(selection: Selection, spent: dict[int, int]) -> Slow:
    """By all calls of which both sides are here; `spent`: what requests that count spent on the way."""
    table = selection.joined.named("etcd_calls")
    columns = (table.column(name).to_pylist() for name in ("request", "start_unix_nano", "transport_ns"))
    slots: dict[int, list[tuple[int, int | None]]] = {}
    for request, start, ns in zip(*columns, strict=True):
        if ns is not None:
            slots.setdefault(start // SLOT_NS, []).append((ns, request))
    quickest = {slot: min(ns for ns, _ in of) for slot, of in slots.items() if len(of) >= FEWEST}
    slow = [slot for slot, ns in quickest.items() if ns >= SLOW_NS]
    # A request cannot have waited longer than what its critical path says, however many calls it made at a time.
    late = Outlay.of(
        (row, ns) for slot in slow for ns, row in slots[slot] if row is not None and row in spent
    )
    ns = sum(min(ns, spent[row]) for row, ns in zip(*late, strict=True))
    return Slow(len(slow), ns, at_rank(sorted(map(quickest.__getitem__, slow)), 0.5) if slow else 0)
