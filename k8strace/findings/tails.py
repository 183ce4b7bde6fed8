"""
Which waits are unusual: a limit computed from the recording's own waits, for a given error rate.

The longest waits of a process, without those that stand out, are fitted by a generalised Pareto distribution above a
high threshold: the tails of nearly all distributions approach it. The fit uses probability-weighted moments (Hosking
and Wallis, 1987), which need few samples. The shape is then made heavier by half a standard error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["APART", "LEAST_NS", "MANY", "SHORTEST_NS", "is_each_late", "is_slow_around", "limit", "unusual"]

SHORTEST_NS: Final = 1_000_000
"""Shorter silences are ignored."""
MANY: Final = 100
"""At most this many calls that did not wait are used."""
LEAST_NS: Final = 20_000_000
"""A busy scheduler lets processes wait this long."""
APART: Final = 1.5
"""A stall is at least this many times as long as the longest usual wait."""
SLOW_AROUND: Final = 4
"""If this share of the calls just before and after waited as well, the process was not the cause."""
ALIKE: Final = 4
"""Calls whose ends are this many times as far apart as their lengths differ were each late on their own."""
AT_ONCE: Final = 20
AT_ONCE_NS: Final = 5_000_000
"""A process that wakes up ends all its calls within this part of the time that they waited, or within this time."""

FEWEST: Final = 13
"""With fewer waits the shape of the tail cannot be fitted: it is taken to be `UNKNOWN`."""
UNKNOWN: Final = 0.5
"""The heaviest tail that has a variance."""
AT_LEAST: Final = 3
"""With fewer usual waits there is no limit."""

LARGEST_SHARE: Final = 5
"""The tail is the largest one in five."""
MOST: Final = 100
"""And at most this many."""
CAUTION: Final = 0.5
"""Standard errors that are added to the shape."""
HEAVIEST: Final = 1.5
LIGHTEST: Final = 0.02
OUTLIERS: Final = 4
"""At most one in four waits can stand out, or `FEWEST` - 1."""
BETWEEN: Final = 4
"""For every four waits that stand out, one between them and the usual ones is ignored: one hiccup hides no stalls."""


def limit(waits: Sequence[int], error_rate: float, short: Sequence[int] = ()) -> float:
    """
    The limit that the largest of these waits exceeds in a share `error_rate` of recordings.

    Infinite if there are too few waits.

    Args:
        waits: In order, the smallest first.
        error_rate: Expected number of healthy waits above it.
        short: Further waits that were too short to be measured, at their bound; used if there are few others.

    Examples:
        >>> from math import log
        >>> waits = [round(-1e6 * log(1 - (n + 0.5) / 1000)) for n in range(1000)]  # exponential, mean 1 ms
        >>> 11e6 < limit(waits, 0.01) < 20e6  # the largest of 1000: 11.5 ms above in 1 of 100 recordings
        True
    """
    size = min(max(FEWEST - 1, len(waits) // LARGEST_SHARE), MOST)
    if len(waits) <= size:
        few = [*short[: FEWEST - 1 - len(waits)], *waits]
        return few[len(few) // 2] * (len(few) / error_rate) ** UNKNOWN if len(few) >= AT_LEAST else math.inf
    base = waits[-size - 1]
    above = [wait - base for wait in waits[-size:]]
    mean = sum(above) / size
    weighted = sum((1 - (rank + 0.65) / size) * value for rank, value in enumerate(above)) / size
    if mean <= 2 * weighted:
        return math.inf
    shape = 2 - mean / (mean - 2 * weighted)
    scale = 2 * mean * weighted / (mean - 2 * weighted)
    shape = min(max(shape, LIGHTEST) + CAUTION * 1.2 / math.sqrt(size), HEAVIEST)
    return float(base + scale / shape * ((size / error_rate) ** shape - 1))


def unusual(
    waits: Sequence[int], short: Sequence[int] = (), *, error_rate: float, least: int, apart: float
) -> float:
    """
    The limit above which waits stand out from the rest; infinite if none does.

    Args:
        waits: In any order. Those that stand out do not count among the usual ones, as long as they are few.
        short: As for `limit`.
        error_rate: Expected number of healthy waits above the limit.
        least: Nothing shorter stands out.
        apart: What stands out is at least this many times the longest usual one.
    """
    ordered = sorted(waits)
    found = math.inf
    for out in range(1, min(max(FEWEST - 1, len(ordered) // OUTLIERS), len(ordered)) + 1):
        below, shortest = ordered[:-out], ordered[-out]
        longest = apart * max(below[-1:], default=0)
        if shortest < least:
            break
        if shortest < longest:
            continue
        for usual in _without_between(below, out // BETWEEN, apart):
            bound = limit(usual, error_rate, short)
            if shortest > bound:
                found = max(bound, least, longest)
                break
    return found


def _without_between(below: Sequence[int], most: int, apart: float) -> Iterator[Sequence[int]]:
    """The waits, and the same without up to `most` of the longest, if those stand out from the rest."""
    yield below
    for left in range(len(below) - 1, max(len(below) - most, 1) - 1, -1):
        if below[left] >= apart * below[left - 1]:
            yield below[:left]


# ── Whether it was the process ────────────────────────────────────────────────────────────────────


def is_slow_around(slow: int, around: int) -> bool:
    """Whether many of the calls just before and after waited as well."""
    return slow * SLOW_AROUND > around


def is_each_late(apart_ns: int, uneven_ns: int, wait_ns: int) -> bool:
    """
    Whether calls that waited were each late on their own: they did not end all at once.

    Args:
        apart_ns: How far apart their ends are.
        uneven_ns: How much their lengths differ.
        wait_ns: How long they waited.
    """
    return apart_ns > ALIKE * uneven_ns or apart_ns > max(AT_ONCE_NS, wait_ns // AT_ONCE)
