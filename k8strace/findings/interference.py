"""
`head_of_line`: calls to a member of etcd that were slower because a heavy call was open on it.

A call is heavy by what it asks for, never by how long it takes. Calls that began during a heavy one are compared with
others of the same operation, in the same part of the recording, under about the same load:

```
heavy      |=========|                    |=====|                open on the member
placebo    .         .    drains |--------|     .                as long again, later; or on another member
calls       d   d  d    .    .   p   p  p    q   d    q    q     during it, placebo, plain
```

It is reported only if calls during it were slower than plain ones, and slower than those of the placebo, which share
the load and everything else that happens then. The core computes the sums; this module decides what they prove.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from k8strace.findings.exposure import BLOCKS, Effect, Sums, effect
from k8strace.findings.finding import Finding
from k8strace.findings.selection import AFTER, BEFORE, Outlay, Selection
from k8strace.words import count, duration

__all__ = ["head_of_line"]

FEWEST_HEAVY: Final = 8
"""Fewer heavy calls prove nothing."""
PLACEBO: Final = 0.5
"""If calls of the placebo are slower by more than this part of the difference, the heavy call was not the cause."""
WORTH_TELLING: Final = 0.001
TOO_MUCH: Final = 0.05


def head_of_line(selection: Selection) -> Iterator[Finding]:
    """Calls that waited behind heavy ones: one finding for each member."""
    for heavy, during, logs, ns in selection.joined.core.interference(FEWEST_HEAVY, BLOCKS):
        yield from _told(selection, heavy, during, [*map(_by_block, logs)], [*map(_by_block, ns)])


def _by_block(sums: Sequence[tuple[int, float, int]]) -> Sums:
    return {block: (above, number) for block, above, number in sums}


def _told(
    selection: Selection, heavy: int, during: Sequence[int], logs: Sequence[Sums], ns: Sequence[Sums]
) -> Iterator[Finding]:
    # Logarithms, which have no long tail, decide whether there is an effect; the times say how large it is.
    plain, placebo = logs
    if not effect(plain).is_sure or effect(placebo).mean > PLACEBO * effect(plain).mean:
        return
    if not _beyond(plain, placebo).is_sure:
        return
    found = effect(ns[0])
    outlay = _outlay(selection, during, found)
    share = selection.share(outlay.total_ns)
    if share < WORTH_TELLING:
        return
    low, high = found.interval
    yield selection.finding(
        "head_of_line",
        "warning" if share >= TOO_MUCH else "info",
        outlay,
        f"{count(len(during), 'call')} to etcd began while a list or count of a whole prefix was open on the same"
        f" member, and took {duration(round(found.mean))} longer than others: {selection.cost(outlay.total_ns)}",
        "Find the client of these lists: let it read from the watch cache (resourceVersion=0) or in pages (limit).",
        ["etcd_call_count>0"],
        heavy=heavy,
        calls=len(during),
        mean_ns=round(found.mean),
        low_ns=round(low),
        high_ns=round(high),
        placebo_ns=round(effect(ns[1]).mean),
    )


def _beyond(plain: Sums, placebo: Sums) -> Effect:
    """What remains above the placebo, block by block; in blocks without one its mean is subtracted."""
    mean = effect(placebo).mean if placebo else 0.0
    rest = {}
    for block, (above, number) in plain.items():
        other, of = placebo.get(block, (mean, 1))
        rest[block] = (above - number * other / of, number)
    return effect(rest)


def _outlay(selection: Selection, during: Sequence[int], found: Effect) -> Outlay:
    """The mean for each call, times the share of the call that is on its request's critical path."""
    lengths = selection.joined.core.lengths(during)
    told = zip(*selection.critical_within([(span, BEFORE, AFTER) for span in during]), lengths, strict=True)
    return Outlay.of(
        (row, min(round(found.mean * critical / ns), critical))
        for critical, row, ns in told
        if row is not None and critical and ns
    )
