"""Quantiles by nearest rank: each is a value that really came."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["nearest_rank"]


def nearest_rank(ascending: Sequence[int], quantile: float) -> int:
    """
    A quantile of sorted values, at least one.

    Examples:
        >>> nearest_rank([1, 2, 3, 4], 0.5), nearest_rank([1, 2, 3, 4], 0.99), nearest_rank([7], 0.5)
        (2, 4, 7)
    """
    rank = -int(-len(ascending) * quantile // 1)
    return ascending[max(rank, 1) - 1]
