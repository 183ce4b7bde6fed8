"""
`sampled`: what share of the traces was recorded, inferred from their ids alone.

OpenTelemetry's ratio sampler keeps a trace if 63 bits of its id, as a number, are below the rate times 2⁶³. So the
numbers of n recorded traces are uniform from 0 to the rate, and the greatest of them gives the rate:

```
0 |--x---x-x----x--x---x|······································| 2⁶³
                        max · (n+1)/n
```
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Outlay, Selection
from k8strace.words import count

__all__ = ["Sampling", "inferred", "is_all", "sampled"]

FEWEST: Final = 20
"""Fewer traces give the rate to no better than a fifth."""

EVEN: Final = 1.63
"""Kolmogorov's bound at 1 %: ids that are less uniform were not chosen by their number."""

CHANCE: Final = 1e-6
"""Probability that a recording of everything is taken for a sampled one."""

SURE: Final = 0.05
"""Probability that the rate is above the interval."""


class Sampling(NamedTuple):
    """The rate inferred from ids, between 0 and 1."""

    rate: float
    low: float
    high: float
    """The rate is at least `low`; with 95 % confidence at most `high`."""
    traces: int


def inferred(trace_ids: Collection[str]) -> Sampling | None:
    """
    The rate at which traces were sampled; None if it cannot be inferred: too few ids, or not the ratio sampler's.

    Since Go's OpenTelemetry 1.12 (Kubernetes 1.29) the number is in the last 8 bytes of an id, before it in the first.

    Args:
        trace_ids: In hex; each counts once.

    Examples:
        >>> ids = [f"{number << 54:032x}" for number in range(1, 1024)]
        >>> inferred(ids).rate
        1.0
        >>> round(inferred(ids[:101]).rate, 4)
        0.0996
        >>> inferred(ids[500:]) is None
        True
    """
    ids = set(trace_ids)
    told = [_of(sorted(int(each[part], 16) >> 1 for each in ids)) for part in (slice(16, 32), slice(16))]
    return min((each for each in told if each), key=lambda each: each.rate, default=None)


def _of(numbers: Sequence[int]) -> Sampling | None:
    if len(numbers) < FEWEST or not numbers[-1]:
        return None
    n, most = len(numbers), numbers[-1]
    uneven = max(abs(at / n - number / most) for at, number in enumerate(numbers, 1))
    if uneven * math.sqrt(n) > EVEN:
        return None
    low = most / 2**63
    return Sampling(min(1.0, low * (n + 1) / n), low, min(1.0, low * SURE ** (-1 / n)), n)


def is_all(sampling: Sampling) -> bool:
    """Whether a recording of everything could give these numbers."""
    return bool(sampling.low >= CHANCE ** (1 / sampling.traces))


def _reaches_all(traces: int, *greatest: int) -> bool:
    """Whether the greatest numbers are those of a recording of everything; checked first, since most are."""
    return min(greatest) >= int(CHANCE ** (1 / traces) * 2**64)


def sampled(selection: Selection) -> Iterator[Finding]:
    """Only a part of the traces was recorded."""
    own = selection.among("caller_service", None)
    traces, *greatest = selection.joined.core.greatest_trace_ids(own)
    if traces < FEWEST or _reaches_all(traces, *greatest):
        return
    sampling = inferred({*selection.values("trace_id", own)})
    if sampling is not None and not is_all(sampling):
        yield selection.finding(
            "sampled",
            "info",
            Outlay(own, [0] * len(own)),
            f"About 1 trace in {1 / sampling.rate:,.3g} was recorded ({100 * sampling.low:.3g} to"
            f" {100 * sampling.high:.3g}%, by the ids of {count(sampling.traces, 'trace')}): counts and sums are of"
            " these alone",
            "Raise samplingRatePerMillion if these are too few; shares and quantiles need no correction.",
            [],
            rate=sampling.rate,
            low=sampling.low,
            high=sampling.high,
            traces=sampling.traces,
        )
