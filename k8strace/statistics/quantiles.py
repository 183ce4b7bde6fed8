"""Quantiles of weighted values, of what is left without a block, and what a quantile is made of."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from k8strace.tables import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["composition", "nearest_rank", "quantile", "quantiles_without", "weighted_quantile"]

_SMALL: Final = 1024
"""So few values are sorted without looking for those that matter first."""

_SAMPLE: Final = 512
_MARGIN: Final = 0.06
"""From so many values a quantile is known so well, nearly always."""

_ROUNDING: Final = 1e-9
"""Relative error of sums of weights: less than that is not missing."""

_WINDOW: Final = 64
"""Least ranks on each side of a quantile that tell what it is made of."""


def nearest_rank(q: float, count: int) -> int:
    """
    Place of a quantile among so many sorted values. The quantile as written: 0.07 of 100 is 7, not 7.000…01.

    Examples:
        >>> nearest_rank(0.07, 100), nearest_rank(1.0, 3)
        (6, 2)
    """
    return math.ceil(Fraction(str(q)) * count) - 1


def quantile(values: NDArray[np.int64], q: float) -> int:
    """The quantile by nearest rank: one of the values."""
    np = require("numpy", "analysis")
    rank = nearest_rank(q, len(values))
    return int(np.partition(values, rank)[rank])


def weighted_quantile(values: NDArray[np.int64], weights: NDArray[np.float64], q: float) -> int:
    """
    The smallest value that so much of the weight is not above.

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


def quantiles_without(
    values: NDArray[np.int64], block: NDArray[np.int64], blocks: int, at: tuple[float, ...]
) -> NDArray[np.float64]:
    """Block × quantile: the quantiles without the values of that block."""
    np = require("numpy", "analysis")
    order = np.argsort(values, kind="stable")
    ordered, of = values[order], block[order]
    result: NDArray[np.float64] = np.empty((blocks, len(at)))
    for each in range(blocks):
        kept = np.cumsum(of != each)
        ranks = [nearest_rank(q, int(kept[-1])) + 1 for q in at]
        result[each] = ordered[np.searchsorted(kept, ranks, "left")]
    return result


def composition(
    values: NDArray[np.int64], parts: NDArray[np.int64], q: float
) -> tuple[int, NDArray[np.float64], bool]:
    """
    The quantile, and the mean of every part where the whole is as long as the quantile, which sums to it.

    A line through the requests about the quantile's rank, read at the quantile. Where the line would make a part
    negative it is drawn through fewer; at last the parts are those of the nearest ones, scaled.

    Args:
        values: Wall times.
        parts: Request × part; each row sums to its wall time.
        q: Which quantile.

    Returns:
        The quantile, its parts, and whether they were scaled.
    """
    np = require("numpy", "analysis")
    order = np.argsort(values, kind="stable")
    rank = nearest_rank(q, len(values))
    at = int(values[order[rank]])
    width = max(_WINDOW, round(len(values) * min(q, 1 - q) / 4))
    while True:
        near = order[max(rank - width, 0) : rank + width + 1]
        wall, own = values[near].astype(float), parts[near].astype(float)
        line = _line(wall, own, at)
        if (line >= 0).all():
            return at, line, False
        if width < 8:
            mean = own.mean(0)
            return at, mean * (at / wall.mean()) if wall.any() else mean, True
        width //= 2


def _line(wall: Any, own: Any, at: int) -> Any:
    """Least squares of each part on the whole, at a place; where all are equally long, the means."""
    away = wall - wall.mean()
    spread = float(away @ away)
    slope = away @ (own - own.mean(0)) / spread if spread else 0.0
    return own.mean(0) + slope * (at - wall.mean())
