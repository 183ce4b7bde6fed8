"""Exponential histograms of OTLP: of any range, mergeable, with a relative error that is the same everywhere."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

__all__ = ["Exponential"]

FINEST: Final = 8
"""Scale: 256 buckets for each power of two, a relative error of 0.14 %."""
BUCKETS: Final = 160
"""Buckets at most from the first to the last; above that, two neighbours become one. As OpenTelemetry's SDKs do."""


class Exponential:
    """
    Durations in buckets whose limits grow by a factor: bucket `i` has `(base**i, base**(i + 1)]`, base 2**(2**-scale).

    ```text
    scale 0    (1, 2]      (2, 4]            (4, 8]                        index 0, 1, 2
    scale 1    0  (1, 1.41]  1 (1.41, 2]  2 (2, 2.83]  3 (2.83, 4] …       index >> 1 is that of scale 0
    ```

    Examples:
        >>> histogram = Exponential()
        >>> for ns in (0, 1_000_000_000, 1_500_000_000, 3_000_000_000):
        ...     histogram.add(ns)
        >>> histogram.count, histogram.zeros, histogram.total_ns
        (4, 1, 5500000000)
    """

    __slots__ = ("_first", "_last", "buckets", "count", "least_ns", "most_ns", "scale", "total_ns", "zeros")

    def __init__(self) -> None:
        self.scale = FINEST
        self.buckets: Counter[int] = Counter()
        """Index, of durations in seconds → how many."""
        self.count = 0
        self.zeros = 0
        self.total_ns = 0
        self.least_ns = self.most_ns = 0
        self._first = self._last = 0

    def add(self, ns: int) -> None:
        """Adds one duration; one below zero counts as zero."""
        self.least_ns = min(self.least_ns, ns) if self.count else ns
        self.most_ns = max(self.most_ns, ns)
        self.count += 1
        self.total_ns += ns
        if ns <= 0:
            self.zeros += 1
            return
        index = index_of(ns / 1e9, self.scale)
        self._first = min(self._first, index) if self.buckets else index
        self._last = max(self._last, index) if self.buckets else index
        self.buckets[index] += 1
        while self._last - self._first >= BUCKETS:
            self._coarsen()

    def _coarsen(self) -> None:
        self.scale -= 1
        merged: Counter[int] = Counter()
        for index, count in self.buckets.items():
            merged[index >> 1] += count
        self.buckets = merged
        self._first, self._last = self._first >> 1, self._last >> 1

    def into(self, point: ExponentialHistogramDataPoint) -> None:
        """Fills in what a data point says of values; s."""
        point.count, point.zero_count, point.scale = self.count, self.zeros, self.scale
        point.sum = self.total_ns / 1e9
        if self.count:
            point.min, point.max = self.least_ns / 1e9, self.most_ns / 1e9
        if self.buckets:
            point.positive.offset = self._first
            counts = (self.buckets[index] for index in range(self._first, self._last + 1))
            point.positive.bucket_counts.extend(counts)


def index_of(value: float, scale: int) -> int:
    """
    The bucket of a value above 0, whose upper limit is in it.

    Examples:
        >>> [index_of(value, 0) for value in (0.5, 1.0, 1.0001, 2.0, 3.0, 4.0)]
        [-2, -1, 0, 0, 1, 1]
    """
    fraction, power = math.frexp(value)
    if fraction == 0.5:  # a power of two is a limit at every scale, and logarithms round
        return ((power - 1) << scale) - 1 if scale >= 0 else ((power - 2) >> -scale)
    return math.ceil((math.log2(fraction) + power) * 2.0**scale) - 1
