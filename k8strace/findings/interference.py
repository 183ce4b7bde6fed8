"""
`head_of_line`: calls to a member of etcd that were slower because a heavy call was open on it.

Heavy is told by what is asked, never by how long it takes. Calls that began in a heavy one are compared with others of
the same operation, in the same part of the recording, under about the same load:

```
heavy      |=========|                    |=====|                open on the member
placebo    .         .    drains |--------|     .                as long again, later; or on another member
calls       d   d  d    .    .   p   p  p    q   d    q    q     during it, placebo, plain
```

It is told only if calls during it were slower than plain ones and than those of the placebo, which share the load and
whatever else happens then.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress
from typing import Final, NamedTuple

from k8strace.findings.exposure import BLOCKS, Effect, Sample, effect, slower_by
from k8strace.findings.finding import Finding
from k8strace.findings.selection import Outlay, Selection
from k8strace.words import count, duration

__all__ = ["head_of_line"]

HEAVY: Final = frozenset({"list", "count", "keys"})
"""Operations over a whole prefix."""
PAGE: Final = 1_000
"""A list of at most this many objects is a page, and not heavy."""
APART: Final = frozenset({"watch", "status", "health", "compaction"})
"""Operations that are not compared."""
FEWEST_HEAVY: Final = 8
"""Of fewer heavy calls nothing can be told."""
LOAD_NS: Final = 100_000_000
"""Load is the number of calls that began in this time before."""
PLACEBO: Final = 0.5
"""If calls of the placebo are slower by half as much, it was not the heavy call."""
WORTH_TELLING: Final = 0.001
TOO_MUCH: Final = 0.05

DURING, DRAINING, LATER, PLAIN = range(4)
Interval = tuple[int, int]


class _Calls(NamedTuple):
    """Columns of all calls that etcd answered, by when they began there."""

    begun_unix_nano: Sequence[int]
    span: Sequence[int]
    operation: Sequence[str]
    limit: Sequence[int | None]
    member: Sequence[int]
    served_ns: Sequence[int]

    def heavy(self) -> list[int]:
        """Places of the heavy ones."""
        columns = zip(self.operation, self.limit, strict=True)
        return [
            at
            for at, (operation, limit) in enumerate(columns)
            if operation in HEAVY and not 0 < (limit or 0) <= PAGE
        ]

    def interval(self, at: int) -> Interval:
        """When a call was open on its member."""
        return self.begun_unix_nano[at], self.begun_unix_nano[at] + self.served_ns[at]


def head_of_line(selection: Selection) -> Iterator[Finding]:
    """Calls that waited behind heavy ones: one finding for each member."""
    calls = _calls(selection)
    heavy = calls.heavy()
    of: dict[int, list[Interval]] = {}
    for at in heavy:
        of.setdefault(calls.member[at], []).append(calls.interval(at))
    for member, intervals in of.items():
        if len(intervals) >= FEWEST_HEAVY:
            others = chain.from_iterable(each for other, each in of.items() if other != member)
            victims = _victims(calls, member, set(heavy), _merged(intervals), _merged(others))
            yield from _told(selection, calls, victims, len(intervals))


def _calls(selection: Selection) -> _Calls:
    columns = selection.joined_columns("etcd_call_details", _Calls._fields)
    answered = [at is not None for at in columns["begun_unix_nano"]]
    rows = sorted(zip(*(compress(column, answered) for column in columns.values()), strict=True))
    return _Calls(*(zip(*rows, strict=True) if rows else [[]] * len(_Calls._fields)))


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _when(at: int, heavy: Sequence[Interval]) -> int:
    """Where a time lies, by the heavy call before it: what waited may drain for as long as that lasted."""
    place = bisect_right(heavy, (at, math.inf)) - 1
    if place < 0:
        return PLAIN
    start, end = heavy[place]
    past = (at - end) / max(end - start, 1)
    return DURING if past < 0 else DRAINING if past < 1 else LATER if past < 2 else PLAIN


def _victims(
    calls: _Calls, member: int, heavy: set[int], own: Sequence[Interval], others: Sequence[Interval]
) -> dict[int, Sample]:
    """Place → the call, with how long it took, in ns."""
    begun = calls.begun_unix_nano
    first, last = begun[0], begun[-1] + 1
    victims = {}
    for at, of in enumerate(calls.member):
        if of != member or at in heavy or calls.operation[at] in APART:
            continue
        group = _when(begun[at], own)
        if group == PLAIN and _when(begun[at], others) == DURING:
            group = LATER
        load = (at - bisect_left(begun, begun[at] - LOAD_NS)).bit_length()
        block = (begun[at] - first) * BLOCKS // (last - first)
        victims[at] = Sample(block, (calls.operation[at], load), group, calls.served_ns[at])
    return victims


def _told(selection: Selection, calls: _Calls, victims: dict[int, Sample], heavy: int) -> Iterator[Finding]:
    # Times have long tails, their logarithms have not: those say whether, the times how much.
    logs = [each._replace(value=math.log(max(each.value, 1.0))) for each in victims.values()]
    plain, placebo = slower_by(logs, DURING, PLAIN), slower_by(logs, LATER, PLAIN)
    if not effect(plain).is_sure or effect(placebo).mean > PLACEBO * effect(plain).mean:
        return
    if not _beyond(plain, placebo).is_sure:
        return
    found = effect(slower_by(victims.values(), DURING, PLAIN))
    outlay = _outlay(selection, calls, victims, found)
    share = selection.share(outlay.total_ns)
    if share < WORTH_TELLING:
        return
    low, high = found.interval
    number = sum(each.group == DURING for each in victims.values())
    yield selection.finding(
        "head_of_line",
        "warning" if share >= TOO_MUCH else "info",
        outlay,
        f"{count(number, 'call')} to etcd began while a list or count of a whole prefix was open on the same member,"
        f" and took {duration(round(found.mean))} longer than others: {selection.cost(outlay.total_ns)}",
        "Find the client of these lists: let it read from the watch cache (resourceVersion=0) or in pages (limit).",
        ["etcd_call_count>0"],
        heavy=heavy,
        calls=number,
        mean_ns=round(found.mean),
        low_ns=round(low),
        high_ns=round(high),
        placebo_ns=round(effect(slower_by(victims.values(), LATER, PLAIN)).mean),
    )


def _beyond(plain: dict[int, tuple[float, int]], placebo: dict[int, tuple[float, int]]) -> Effect:
    """What remains above the placebo, block by block; blocks without one count as they are."""
    mean = effect(placebo).mean if placebo else 0.0
    rest = {}
    for block, (above, number) in plain.items():
        other, of = placebo.get(block, (mean, 1))
        rest[block] = (above - number * other / of, number)
    return effect(rest)


def _outlay(selection: Selection, calls: _Calls, victims: dict[int, Sample], found: Effect) -> Outlay:
    """Each call's part of the mean, as far as it is on the critical path of its request."""
    during = {calls.span[at] for at, each in victims.items() if each.group == DURING}
    told = selection.etcd_calls
    return Outlay.of(
        (row, min(round(found.mean * critical / ns), critical))
        for row, critical, span, ns in zip(told.held, told.critical_ns, told["span"], told["ns"], strict=True)
        if span in during and critical and ns
    )
