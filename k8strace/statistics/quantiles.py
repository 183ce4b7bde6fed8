"""Quantiles of weighted values, of what is left without a block, and what a quantile is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Floats, Ints

__all__ = ["at_rank", "nearest_rank", "quantile", "quantiles_without", "weighted_quantile"]

_SMALL: Final = 1024
"""Up to this many values are simply sorted."""

_SAMPLE: Final = 512
_MARGIN: Final = 0.06
"""A sample of this size nearly always tells a quantile to within this margin of rank."""

_ROUNDING: Final = 1e-9
"""Relative error of sums of weights: less than that is not missing."""


def nearest_rank(q: float, count: int) -> int:
    """
    Place of a quantile among `count` sorted values. The quantile as written: 0.07 of 100 is 7, not 7.000…01.

    Examples:
        >>> nearest_rank(0.07, 100), nearest_rank(1.0, 3)
        (6, 2)
    """
    return math.ceil(Fraction(str(q)) * count) - 1


def at_rank(ascending: Sequence[int], q: float) -> int:
    """
    A quantile of sorted values, at least one, by nearest rank: a value that really came.

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


def weighted_quantile(values: Ints, weights: Floats, q: float) -> int:
    """
    The smallest value at or below which lies a share `q` of the weight.

    Examples:
        >>> import numpy as np
        >>> weighted_quantile(np.array([30, 10, 20]), np.array([1.0, 1.0, 2.0]), 0.5)
        20
    """
    np = require("numpy", "analysis")
    wanted = q * float(weights.sum()) * (1 - _ROUNDING)
    if len(values) > _SMALL:
        values, weights, wanted = _near(values, weights, wanted, q)
    order = np.argsort(values, kind="stable")
    at = np.searchsorted(np.cumsum(weights[order]), wanted, "left")
    return int(values[order[min(int(at), len(order) - 1)]])


def _near(values: Any, weights: Any, wanted: float, q: float) -> tuple[Any, Any, float]:
    """Only the values about the quantile, found from some of them, and what is wanted of these."""
    np = require("numpy", "analysis")
    step = len(values) // _SAMPLE
    some = values[::step]
    order = np.argsort(some)
    summed = np.cumsum(weights[::step][order])
    first, last = np.searchsorted(summed, [(q - _MARGIN) * summed[-1], (q + _MARGIN) * summed[-1]])
    low = some[order[first - 1]] if first > 0 else -1
    high = some[order[last]] if last < len(some) else values.max()
    under = values <= low
    near = (values <= high) & ~under
    below = float(weights[under].sum())
    if below < wanted <= below + float(weights[near].sum()):
        return values[near], weights[near], wanted - below
    return values, weights, wanted


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
