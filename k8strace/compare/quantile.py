"""
The difference of two quantiles, exactly: mix, then each component by itself, then how they go together.

    mix          the same requests in other shares: half of the change before, half after
    component    its times mapped from one population onto the other, rank by rank, in each cell; Shapley's mean over
                 all orders of mapping, from both sides
    dependence   what is left: components that are long together more often, or less

The parts sum to the difference; none is spread over the others.
"""

from __future__ import annotations

from math import factorial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace.compare.pairs import Pair, Side
from k8strace.statistics.quantiles import quantile, weighted_quantile
from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Floats, Ints

__all__ = ["DEPENDENCE", "Ranked", "decompose", "ranked", "total"]

DEPENDENCE: Final = "dependence"
"""The part that belongs to no component alone."""

MOST_EXACT: Final = 6
"""Up to this many components every order counts; with more, a fixed random sample of orders and their reverses."""

_ORDERS: Final = 32
_SEED: Final = 0x6B38


class Ranked(NamedTuple):
    """One population, sorted for mapping; with requests of cells that only the other one has, from there."""

    values: Ints
    """Request × component: ns."""
    cell: Ints
    block: Ints
    """-1 for borrowed requests: they are in no block of this population."""
    orders: list[Ints]
    """Per component: requests by cell and value; equal ones in an order that is drawn once."""

    def without(self, block: int) -> Ranked:
        """Those of all other blocks."""
        np = require("numpy", "analysis")
        keep = self.block != block
        place = np.cumsum(keep) - 1
        orders = [place[order[keep[order]]] for order in self.orders]
        return Ranked(self.values[keep], self.cell[keep], self.block[keep], orders)


def ranked(pair: Pair, most: int | None = None) -> tuple[Ranked, Ranked]:
    """
    Both populations sorted for mapping.

    Args:
        pair: Which.
        most: Take an even sample of this many of each. None: all.
    """
    before, after = (_thinned(side, most) for side in pair)
    return _ranked(before, after), _ranked(after, before)


_Columns = tuple[Any, Any, Any]


def _thinned(side: Side, most: int | None) -> _Columns:
    step = 1 if most is None else -(-len(side.population) // most)
    return side.components[::step], side.cell[::step], side.population.block[::step]


def _ranked(own: _Columns, other: _Columns) -> Ranked:
    np = require("numpy", "analysis")
    missing = ~np.isin(other[1], np.unique(own[1]))
    values = np.concatenate([own[0], other[0][missing]])
    cell = np.concatenate([own[1], other[1][missing]])
    block = np.concatenate([own[2], np.full(missing.sum(), -1)])
    shuffled = np.random.default_rng(_SEED).permutation(len(cell))
    by_cell = cell[shuffled].astype(np.uint16 if cell.max(initial=0) < 1 << 16 else np.int64)
    orders = []
    for component in range(values.shape[1]):
        by_value = np.argsort(values[shuffled, component], kind="stable")
        orders.append(shuffled[by_value[np.argsort(by_cell[by_value], kind="stable")]])
    return Ranked(values, cell, block, orders)


def total(pair: Pair, q: float) -> int:
    """The difference of the quantiles of the wall time."""
    return quantile(pair.after.population.wall, q) - quantile(pair.before.population.wall, q)


def decompose(before: Ranked, after: Ranked, cells: int, at: tuple[float, ...]) -> Floats:
    """Quantile × part: mix, every component, dependence."""
    np = require("numpy", "analysis")
    both = (before, after)
    shares = [_shares(each, cells) for each in both]
    pooled = (shares[0] + shares[1]) / 2
    weight = [[_weights(each, share) for share in (*shares, pooled)] for each in both]
    walls = [each.values.sum(1) for each in both]
    moved = [_moved(before, after, cells), _moved(after, before, cells)]
    result: Floats = np.empty((len(at), before.values.shape[1] + 2))
    moving = [at for at, pair in enumerate(zip(*moved, strict=True)) if any(each.any() for each in pair)]
    orders = _Orders(len(moving))
    for place, q in enumerate(at):
        (aa, ab), (ba, bb) = (
            [weighted_quantile(wall, each[side], q) for side in (0, 1)]
            for wall, each in zip(walls, weight, strict=True)
        )
        mix = ((ab - aa) + (bb - ba)) / 2
        forth, back = (
            orders.shapley(_Quantiles(wall, [moves[at] for at in moving], each[2], q))
            for wall, moves, each in zip(walls, moved, weight, strict=True)
        )
        components = np.zeros(before.values.shape[1])
        components[moving] = (forth - back) / 2
        result[place] = [mix, *components, (bb - aa) - mix - components.sum()]
    return result


def _shares(side: Ranked, cells: int) -> Any:
    """Cell → its share of this population's own requests."""
    np = require("numpy", "analysis")
    count = np.bincount(side.cell[side.block >= 0], minlength=cells)
    return count / count.sum()


def _weights(side: Ranked, shares: Any) -> Any:
    """Request → its weight, where cells have these shares."""
    np = require("numpy", "analysis")
    count = np.bincount(side.cell, minlength=len(shares))
    return (shares / np.maximum(count, 1))[side.cell]


def _moved(base: Ranked, target: Ranked, cells: int) -> list[Any]:
    """Per component how much longer `target`'s values are at the same ranks of the same cell; 0 where it has none."""
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


class _Quantiles(NamedTuple):
    """The quantile when some components are mapped."""

    wall: Any
    moved: list[Any]
    weight: Any
    q: float

    def of(self, components: frozenset[int]) -> int:
        wall = self.wall
        for component in sorted(components):
            wall = wall + self.moved[component]
        return weighted_quantile(wall, self.weight, self.q)


class _Orders:
    """The orders in which components are mapped, as weights of what each adds to which others."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._weights = self._exact() if count <= MOST_EXACT else self._drawn()

    def _exact(self) -> dict[tuple[frozenset[int], int], float]:
        found: dict[tuple[frozenset[int], int], float] = {}
        for mask in range(1 << self._count):
            before = frozenset(at for at in range(self._count) if mask >> at & 1)
            weight = (
                factorial(len(before))
                * factorial(max(self._count - len(before) - 1, 0))
                / factorial(self._count)
            )
            found.update({(before, each): weight for each in range(self._count) if each not in before})
        return found

    def _drawn(self) -> dict[tuple[frozenset[int], int], float]:
        np = require("numpy", "analysis")
        random = np.random.default_rng(_SEED)
        drawn = [random.permutation(self._count).tolist() for _ in range(_ORDERS)]
        found: dict[tuple[frozenset[int], int], float] = {}
        for order in [*drawn, *(order[::-1] for order in drawn)]:
            for at, each in enumerate(order):
                key = (frozenset(order[:at]), each)
                found[key] = found.get(key, 0.0) + 1 / (2 * _ORDERS)
        return found

    def shapley(self, quantiles: _Quantiles) -> Any:
        """Component → what mapping it changes, on average over the orders."""
        np = require("numpy", "analysis")
        known: dict[frozenset[int], int] = {}
        shares = np.zeros(self._count)
        for (before, each), weight in self._weights.items():
            for chosen in (before, before | {each}):
                if chosen not in known:
                    known[chosen] = quantiles.of(chosen)
            shares[each] += weight * (known[before | {each}] - known[before])
        return shares
