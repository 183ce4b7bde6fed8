"""Exponential histograms of OTLP, as many as the core counts, as points of its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8strace import _core

if TYPE_CHECKING:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

__all__ = ["BUCKETS", "FINEST", "empty", "write_point"]

FINEST: Final = 8
"""Scale: 256 buckets for each power of two, a relative error of 0.14 %."""
BUCKETS: Final = 160
"""Buckets at most from the first to the last; above that, two neighbours become one. As OpenTelemetry's SDKs do."""


def empty() -> _core.Exponential:
    """
    One without durations, as fine as they are sent.

    Examples:
        >>> histogram = empty()
        >>> for ns in (0, 1_000_000_000, 1_500_000_000, 3_000_000_000):
        ...     histogram.add(ns)
        >>> count, zeros, total_ns, range_ns, buckets = histogram.told()
        >>> count, zeros, total_ns, range_ns, len(buckets)
        (4, 1, 5500000000, (0, 3000000000), 3)
    """
    return _core.Exponential(FINEST, BUCKETS)


def write_point(histogram: _core.Exponential, point: ExponentialHistogramDataPoint) -> None:
    """Fills in what a data point says of values; s."""
    count, zeros, total_ns, range_ns, buckets = histogram.told()
    point.count, point.zero_count, point.scale = count, zeros, histogram.scale
    point.sum = total_ns / 1e9
    if range_ns is not None:
        point.min, point.max = range_ns[0] / 1e9, range_ns[1] / 1e9
    if buckets:
        (first, _), (last, _) = buckets[0], buckets[-1]
        known = dict(buckets)
        point.positive.offset = first
        point.positive.bucket_counts.extend(known.get(index, 0) for index in range(first, last + 1))
