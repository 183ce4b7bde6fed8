"""Quantiles by nearest rank, of all values and without one block."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from numbers import Real
from typing import TYPE_CHECKING

from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Floats, Ints

__all__ = ["at_rank", "is_quantile", "nearest_rank", "quantile", "quantiles_without"]


def is_quantile(q: object) -> bool:
    """
    Whether there is such a quantile.

    Examples:
        >>> [is_quantile(q) for q in (0.99, 1, Fraction(1, 2), 0, 99, "p99")]
        [True, True, True, False, False, False]
    """
    return isinstance(q, Real) and 0 < float(q) <= 1


def nearest_rank(q: float, count: int) -> int:
    """
    Rank of a quantile among `count` sorted values. The quantile counts as written: 0.07 of 100 is 7, not 7.000…01.

    Examples:
        >>> nearest_rank(0.07, 100), nearest_rank(1.0, 3)
        (6, 2)
    """
    above, below = _as_written(q)
    return -(-above * count // below) - 1


@lru_cache(maxsize=64)
def _as_written(q: float) -> tuple[int, int]:
    return Fraction(str(q)).as_integer_ratio()


def at_rank(ascending: Sequence[int], q: float) -> int:
    """
    A quantile of sorted values, at least one, by nearest rank: always one of the values.

    Examples:
        >>> at_rank([1, 2, 3, 4], 0.5), at_rank([1, 2, 3, 4], 0.99), at_rank([7], 0.5)
        (2, 4, 7)
    """
    return ascending[nearest_rank(q, len(ascending))]


def quantile(values: Ints, q: float) -> int:
    """The quantile by nearest rank: one of the values."""
    np = require("numpy", "analysis")
    rank = nearest_rank(q, len(values))
    return int(np.partition(values, rank)[rank])


def quantiles_without(values: Ints, block: Ints, blocks: int, at: tuple[float, ...]) -> Floats:
    """Block × quantile: the quantiles without the values of that block."""
    np = require("numpy", "analysis")
    order = np.argsort(values, kind="stable")
    ordered, of = values[order], block[order]
    result: Floats = np.empty((blocks, len(at)))
    for each in range(blocks):
        kept = np.cumsum(of != each)
        ranks = [nearest_rank(q, int(kept[-1])) + 1 for q in at]
        result[each] = ordered[np.searchsorted(kept, ranks, "left")]
    return result
