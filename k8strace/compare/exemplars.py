"""Requests that show a difference: one of each population, to be opened side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k8strace.compare.mean import calls_of
from k8strace.compare.pairs import Pair, Side
from k8strace.requests import Request
from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Ints

__all__ = ["Examples", "near_mean", "near_wall"]

Examples = tuple[Request, Request]


def near_mean(pair: Pair, path: tuple[Any, ...], part: str) -> Examples | None:
    """The requests nearest the means of a part in the cells of a path; None if a population has none there."""
    return _both(pair, [_near_mean(side, path[: side.layout.depth], part) for side in pair])


def near_wall(pair: Pair, walls: tuple[int, int]) -> Examples | None:
    """The requests with wall times nearest to these."""
    return _both(pair, [_nearest(side.population.wall, ns) for side, ns in zip(pair, walls, strict=True)])


def _both(pair: Pair, places: list[int | None]) -> Examples | None:
    before, after = (
        None if at is None or side.population.requests is None else side.population.requests[at]
        for side, at in zip(pair, places, strict=True)
    )
    return (before, after) if before and after else None


def _near_mean(side: Side, prefix: tuple[Any, ...], part: str) -> int | None:
    np = require("numpy", "analysis")
    cells = [at for at, key in enumerate(side.layout.keys) if key[: len(prefix)] == prefix]
    there = np.flatnonzero(np.isin(side.cell, cells))
    if not len(there):
        return None
    values = _values(side, part)[there]
    return int(there[_nearest(values, float(values.mean()))])


def _values(side: Side, part: str) -> Ints:
    """The value of a part for each request: ns of a component or phase, or calls; otherwise the wall time."""
    own, layout = side.population, side.layout
    if part in layout.components:
        return side.components[:, layout.components.index(part)]
    known = {**dict(zip(own.phases, own.parts.T, strict=True)), **_calls(side)}
    found: Ints = known.get(part, own.wall)
    return found


def _calls(side: Side) -> dict[str, Any]:
    own = side.population
    return {calls_of(name): values for name, values in zip(own.called, own.calls.T, strict=True)}


def _nearest(values: Ints, wanted: float) -> int:
    return int(abs(values - wanted).argmin())
