"""
How long is unusual: a limit that a recording's own waits set, with a chosen error rate.

The longest waits of a process, without those that stand out, are described by a generalised Pareto distribution above
a high threshold, which is what the tails of nearly all distributions come near to. Fitted by probability-weighted
moments (Hosking and Wallis, 1987), since few samples are enough for them; the shape is taken half a standard error
heavier than it was found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = ["FEWEST", "limit", "unusual"]

FEWEST: Final = 13
"""With fewer waits nothing is told."""

LARGEST_SHARE: Final = 5
"""The tail is the largest one in five."""
MOST: Final = 100
"""And at most so many."""
CAUTION: Final = 0.5
"""Standard errors that are added to the shape."""
HEAVIEST: Final = 1.5
LIGHTEST: Final = 0.02
OUTLIERS: Final = 4
"""At most one in four waits can stand out."""


def limit(waits: Sequence[int], error_rate: float) -> float:
    """
    What the largest of so many waits stays below, but for a share `error_rate` of recordings.

    Infinite if that cannot be told from so few.

    Args:
        waits: In order, the smallest first.
        error_rate: Expected number of healthy waits above it.

    Examples:
        >>> from math import log
        >>> waits = [round(-1e6 * log(1 - (n + 0.5) / 1000)) for n in range(1000)]  # exponential, mean 1 ms
        >>> 11e6 < limit(waits, 0.01) < 20e6  # the largest of 1000: 11.5 ms above in 1 of 100 recordings
        True
    """
    size = min(max(FEWEST - 1, len(waits) // LARGEST_SHARE), MOST)
    if len(waits) <= size:
        return math.inf
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


def unusual(waits: Sequence[int], *, error_rate: float, least: int, apart: float) -> float:
    """
    The limit above which waits stand out from the rest; infinite if none does.

    Args:
        waits: In any order. Those that stand out do not count among the usual ones, as long as they are few.
        error_rate: Expected number of healthy waits above the limit.
        least: Nothing shorter stands out.
        apart: What stands out is at least so many times the longest usual one.
    """
    ordered = sorted(waits)
    found = math.inf
    for out in range(1, len(ordered) // OUTLIERS + 1):
        usual, shortest = ordered[:-out], ordered[-out]
        if shortest < least:
            break
        if shortest >= apart * usual[-1] and shortest > (bound := limit(usual, error_rate)):
            found = max(bound, least, apart * usual[-1])
    return found
