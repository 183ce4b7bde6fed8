"""
The exact difference of two quantiles: mix, then each component by itself, then their dependence.

    mix          other shares of the same cells: the mean of this step before and after the others
    component    its times mapped from one population onto the other, rank by rank, in each cell; Shapley's mean over
                 all orders of mapping, from both sides
    dependence   the rest: components are long together more often, or less often

The parts sum to the difference; no rest is distributed over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import factorial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace import _core
from k8strace.compare.pairs import Pair, Side
from k8strace.statistics.quantiles import quantile
from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Floats, Ints

__all__ = ["DEPENDENCE", "Ranked", "decompose", "ranked", "total"]

DEPENDENCE: Final = "dependence"
"""The part that does not belong to a single component."""

MOST_EXACT: Final = 6
"""Up to this many components all orders are used; with more, a fixed random sample of orders and their reverses."""

_ORDERS: Final = 32
_SEED: Final = 0x6B38
_BITS: Final = 63
"""Bits of a sort key."""


class Ranked(NamedTuple):
    """One population, sorted for mapping. Cells that only the other one has are borrowed from it."""

    values: Ints
    """Request × component: ns."""
    cell: Ints
    block: Ints
    """-1 for borrowed requests: they are in no block of this population."""
    orders: list[Ints]
    """For each component the requests by cell and value; ties are in an order that is drawn once."""

    def without(self, block: int) -> Ranked:
        """The population without one block."""
        np = require("numpy", "analysis")
        keep = self.block != block
        place = np.cumsum(keep) - 1
        orders = [place[order[keep[order]]] for order in self.orders]
        return Ranked(self.values[keep], self.cell[keep], self.block[keep], orders)


def ranked(pair: Pair, most: int | None = None) -> tuple[Ranked, Ranked]:
    """
    Both populations sorted for mapping.

    Args:
        pair: The populations.
        most: Take an even sample of this many requests of each. None for all.
    """
    before, after = (_thinned(side, most) for side in pair)
    return _ranked(before, after), _ranked(after, before)


_Columns = tuple[Any, Any, Any]


def _thinned(side: Side, most: int | None) -> _Columns:
    step = 1 if most is None else -(-len(side.population) // most)
    return side.components[::step], side.cell[::step], side.population.blocks.of[::step]


def _ranked(own: _Columns, other: _Columns) -> Ranked:
    np = require("numpy", "analysis")
    missing = ~np.isin(other[1], np.unique(own[1]))
    values = np.asfortranarray(np.concatenate([own[0], other[0][missing]]))
    cell = np.concatenate([own[1], other[1][missing]])
    block = np.concatenate([own[2], np.full(missing.sum(), -1)])
    shuffled = np.random.default_rng(_SEED).permutation(len(cell))
    shuffled_cell = cell[shuffled]
    orders = [shuffled[_order(shuffled_cell, column[shuffled])] for column in values.T]
    return Ranked(values, cell, block, orders)


def _order(cell: Any, values: Any) -> Any:
    """Indices, sorted by cell, value and index. All three nearly always fit into one number, which sorts fastest."""
    np = require("numpy", "analysis")
    longest = [int(each.max(initial=0)).bit_length() for each in (cell, values)]
    of_place = len(cell).bit_length()
    if sum(longest) + of_place > _BITS:
        return np.lexsort((values, cell))
    packed = (cell << (longest[1] + of_place)) | (values << of_place) | np.arange(len(cell))
    packed.sort()
    return packed & ((1 << of_place) - 1)


def total(pair: Pair, q: float) -> int:
    """The difference of the quantiles of the wall time."""
    return quantile(pair.after.population.wall, q) - quantile(pair.before.population.wall, q)


def decompose(before: Ranked, after: Ranked, cells: int, at: tuple[float, ...]) -> Floats:
    """Quantile × part, in the order mix, components, dependence."""
    np = require("numpy", "analysis")
    both = (before, after)
    shares = [_shares(each, cells) for each in both]
    walls = [each.values.sum(1) for each in both]
    (aa, ab), (ba, bb) = (
        [_quantiles(wall, [], _weights(each, share), [0], at)[0] for share in shares]
        for wall, each in zip(walls, both, strict=True)
    )
    mix = ((ab - aa) + (bb - ba)) / 2
    moved = [_moved(before, after, cells), _moved(after, before, cells)]
    moving = [at for at, pair in enumerate(zip(*moved, strict=True)) if any(each.any() for each in pair)]
    choices, shapley = _orders(len(moving))
    pooled = (shares[0] + shares[1]) / 2
    forth, back = (
        shapley @ _quantiles(wall, [moves[at] for at in moving], _weights(each, pooled), choices, at)
        for wall, moves, each in zip(walls, moved, both, strict=True)
    )
    components = np.zeros((before.values.shape[1], len(at)))
    components[moving] = (forth - back) / 2
    result: Floats = np.vstack([mix, components, (bb - aa) - mix - components.sum(0)]).T
    return result


def _quantiles(wall: Any, moved: list[Any], weight: Any, choices: list[int], at: tuple[float, ...]) -> Any:
    """Choice × quantile of the wall times, after mapping the components of each choice."""
    np = require("numpy", "analysis")
    parts = b"".join(each.tobytes() for each in moved)
    found = _core.weighted_quantiles(wall.tobytes(), parts, weight.tobytes(), choices, at)
    return np.array(found, float)


def _shares(side: Ranked, cells: int) -> Any:
    """Cell → its share of this population's own requests."""
    np = require("numpy", "analysis")
    count = np.bincount(side.cell[side.block >= 0], minlength=cells)
    return count / count.sum()


def _weights(side: Ranked, shares: Any) -> Any:
    """Request → its weight if cells have these shares."""
    np = require("numpy", "analysis")
    count = np.bincount(side.cell, minlength=len(shares))
    return (shares / np.maximum(count, 1))[side.cell]


def _moved(base: Ranked, target: Ranked, cells: int) -> list[Any]:
    """For each component how much longer `target`'s values are at the same ranks of the same cell; 0 if it has none."""
    np = require("numpy", "analysis")
    own, other = (np.bincount(each.cell, minlength=cells) for each in (base, target))
    first_own, first_other = (np.cumsum(count) - count for count in (own, other))
    cell = np.repeat(np.arange(cells), own)
    rank = np.arange(len(cell)) - first_own[cell]
    place = first_other[cell] + (2 * rank + 1) * other[cell] // (2 * own[cell])
    known = other[cell] > 0
    moved = []
    for component, (order, to) in enumerate(zip(base.orders, target.orders, strict=True)):
        change = np.zeros(len(cell), np.int64)
        from_, to_ = base.values[order[known], component], target.values[to[place[known]], component]
        change[order[known]] = to_ - from_
        moved.append(change)
    return moved


@cache
def _orders(count: int) -> tuple[list[int], Any]:
    """
    The choices of components to map together, as bits, and component × choice: the weights of Shapley's values.

    A component's value is the change by mapping it, on average over all orders of mapping.
    """
    np = require("numpy", "analysis")
    steps = list(_exact(count) if count <= MOST_EXACT else _drawn(count))
    choices = list(dict.fromkeys(mask for before, each, _ in steps for mask in (before, before | 1 << each)))
    place = {mask: at for at, mask in enumerate(choices or [0])}
    shapley = np.zeros((count, len(place)))
    for before, each, weight in steps:
        shapley[each, place[before | 1 << each]] += weight
        shapley[each, place[before]] -= weight
    return [*place], shapley


_Steps = Iterator[tuple[int, int, float]]
"""The components mapped before, the next one, and the weight of this step."""


def _exact(count: int) -> _Steps:
    for mask in (number ^ number >> 1 for number in range(1 << count)):  # one bit changes at a time
        before = mask.bit_count()
        weight = factorial(before) * factorial(max(count - before - 1, 0)) / factorial(count)
        yield from ((mask, each, weight) for each in range(count) if not mask >> each & 1)


def _drawn(count: int) -> _Steps:
    np = require("numpy", "analysis")
    random = np.random.default_rng(_SEED)
    drawn = [random.permutation(count).tolist() for _ in range(_ORDERS)]
    for order in [*drawn, *(order[::-1] for order in drawn)]:
        mask = 0
        for each in order:
            yield mask, each, 1 / (2 * _ORDERS)
            mask |= 1 << each
