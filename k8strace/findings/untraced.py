"""
Stops that show in the apiserver's own spans, if etcd sends none.

Then a call has a CLIENT span only, and the apiserver's other work says which process stood still:

```
calls        |=======|   |=================|          open over the silence, answered all at once after it
               |===|       |===============|
answers      ........|---------------------|...
apiserver    ....|  |--|   |--------|  |---|...      it did other work: etcd stood still
apiserver    ........|---------------------|...      it did nothing: the apiserver or etcd, unknown which
```

Unusually long waits and slow networks are recognised as in `stalls`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from k8strace.findings.tails import (
    APART,
    LEAST_NS,
    MANY,
    SHORTEST_NS,
    is_each_late,
    is_slow_around,
    unusual,
)

if TYPE_CHECKING:
    from k8strace import _core

__all__ = ["Call", "Unanswered", "unanswered"]

NEIGHBOURS: Final = 8
"""This many calls just before and just after a silence show whether calls were slow there."""
STILL: Final = 0.9
"""If the apiserver did nothing in this share of the silence, it may be the process that stood still."""


class Call(NamedTuple):
    """A call to etcd, by its end."""

    end: int
    start: int
    span: int
    """Row of its CLIENT span."""


class Unanswered(NamedTuple):
    """A time in which etcd answered no call, although some were open."""

    start: int
    end: int
    calls: tuple[Call, ...]
    """Those that waited."""
    wait_ns: int
    """How long at least two of them waited."""
    around: tuple[int, ...] = ()
    """Durations of calls just before and after."""
    usual_ns: int = 0

    @property
    def is_of_calls(self) -> bool:
        """Each call was slow, not a process: calls around it too, or the calls ended one after the other."""
        slow = sum(ns * 4 >= self.end - self.start for ns in self.around)
        ends, lengths = [call.end for call in self.calls], [call.end - call.start for call in self.calls]
        apart, uneven = max(ends) - min(ends), max(lengths) - min(lengths)
        return is_slow_around(slow, len(self.around)) or is_each_late(apart, uneven, self.wait_ns)

    def is_still(self, silences: Iterable[tuple[int, int]]) -> bool:
        """Whether one of the caller's silences covers nearly all of it."""
        shared = max((min(end, self.end) - max(start, self.start) for start, end in silences), default=0)
        return shared >= STILL * (self.end - self.start)


def unanswered(calls: Iterable[Call], error_rate: float) -> list[Unanswered]:
    """
    When calls of one process without SERVER spans waited longer than usual, and were then answered all at once.

    Examples:
        >>> usual = [Call(at * 10**7 + 10**6, at * 10**7, at) for at in range(200)]
        >>> stopped = [Call(2_500_000_000 + n, 2_001_000_000 + n * 10**7, 200 + n) for n in range(3)]
        >>> later = [Call(call.end + 3 * 10**9, call.start + 3 * 10**9, call.span) for call in usual]
        >>> [(each.start, each.end, len(each.calls)) for each in unanswered(usual + stopped + later, 0.01)]
        [(1991000000, 2500000000, 3)]
        >>> unanswered(usual + later, 0.01)
        []
    """
    ordered = sorted(calls)
    found = list(_silences(ordered))
    short = [SHORTEST_NS] * min(len(ordered), MANY)
    waits = [each.wait_ns for each in found]
    bound = unusual(waits, short, error_rate=error_rate, least=LEAST_NS, apart=APART)
    long = (each for each in found if each.wait_ns > bound)
    told = (each._replace(usual_ns=round(bound), around=_around(ordered, each)) for each in long)
    return [each for each in told if not each.is_of_calls]


def _silences(calls: Sequence[Call]) -> Iterator[Unanswered]:
    for at in range(1, len(calls)):
        start, end = calls[at - 1].end, calls[at].end
        if end - start >= SHORTEST_NS:
            late = min(max((end - start) // 4, 5_000_000), 100_000_000)
            waited = tuple(_waited(calls, at, start, end + late))
            if len(waited) > 1:
                waits = sorted(end - max(start, call.start) for call in waited)
                yield Unanswered(start, end, waited, waits[-2])


def _waited(calls: Sequence[Call], at: int, start: int, until: int) -> Iterator[Call]:
    """The calls that were open long enough in a silence and ended soon after it; `at`: the first of them."""
    end = calls[at].end
    for place in range(at, len(calls)):
        if calls[place].end > until:
            break
        if end - max(start, calls[place].start) >= SHORTEST_NS:
            yield calls[place]


def _around(calls: Sequence[Call], silence: Unanswered) -> tuple[int, ...]:
    length = silence.end - silence.start
    before = calls[: bisect_left(calls, (silence.start + 1,))][-NEIGHBOURS:]
    soon = silence.end + 2 * length
    # In order of their ends: calls that begin soon after the silence are among the next, unless they are slow.
    place = bisect_left(calls, (silence.end,))
    after = sorted((call.start, call.end) for call in calls[place : place + 16 * NEIGHBOURS])
    then = [(start, end) for start, end in after if silence.end <= start <= soon][:NEIGHBOURS]
    last = [call.end - call.start for call in before if call.end >= silence.start - length // 2]
    return (*last, *(end - start for start, end in then))


def calls_of(table: _core.Table) -> tuple[list[Call], bool]:
    """The calls of "etcd_call_details", and whether any of them has etcd's SERVER span."""
    spans, starts, lengths, members = (
        table.column(name).to_pylist() for name in ("span", "start_unix_nano", "ns", "member")
    )
    calls = [Call(start + ns, start, span) for span, start, ns in zip(spans, starts, lengths, strict=True)]
    return calls, any(member is not None for member in members)
