"""
What a quantile is made of: the mean of each part among requests as long as the quantile.

    ns of a part │        ·  · /              a line through the requests about the quantile's rank,
                 │   · ·  /·                  read at the quantile; the lines of all parts sum to
                 │ ·  /·    ·                 the whole, so the parts sum to the quantile
                 └──────┴───────── wall
                        q
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, overload

from k8strace import _core
from k8strace.components import component_of
from k8strace.statistics.blocks import LEAST_BLOCKS
from k8strace.statistics.errors import Errors
from k8strace.statistics.population import Population
from k8strace.statistics.quantiles import is_quantile, nearest_rank
from k8strace.statistics.rounding import round_to_sum
from k8strace.tables import ArrowExport, Column, Table, column_of, require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Floats, Ints

__all__ = ["Composition", "Part", "QuantileParts", "compositions"]

_WINDOW: Final = 64
"""The fewest ranks on each side of a quantile that its parts are estimated from."""

_NARROWEST: Final = 8


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a quantile that one phase takes."""

    phase: str
    ns: int
    low_ns: int | None
    """The true value is between `low_ns` and `high_ns` in 95 of 100 cases; None if there is not enough time."""
    high_ns: int | None

    @property
    def component(self) -> str:
        """Whose time it is."""
        return component_of(self.phase)


@dataclass(frozen=True, slots=True)
class Composition:
    """A quantile of one group, and its parts, which sum to it."""

    keys: dict[str, Any]
    """Column → value."""
    requests: int
    wall_ns: int
    """The quantile: the wall time of a real request."""
    low_ns: int | None
    high_ns: int | None
    parts: tuple[Part, ...]
    """Largest first."""
    scaled: bool
    """No line fitted without a negative part: these are the parts of the nearest requests, scaled."""

    @property
    def phases(self) -> dict[str, int]:
        """Phase → ns."""
        return {part.phase: part.ns for part in self.parts}

    @property
    def components(self) -> dict[str, int]:
        """Component → ns."""
        found: dict[str, int] = {}
        for part in self.parts:
            found[part.component] = found.get(part.component, 0) + part.ns
        return found


@dataclass(frozen=True, slots=True)
class QuantileParts(ArrowExport):
    """
    What a quantile is made of, group by group; most time first.

    It describes the requests at the quantile and names no cause: a part that is long in all requests is long here too.
    """

    q: float
    by: tuple[str, ...]
    groups: tuple[Composition, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.groups)

    @overload
    def __getitem__(self, at: int) -> Composition: ...
    @overload
    def __getitem__(self, at: str) -> Column: ...
    def __getitem__(self, at: int | str) -> Composition | Column:
        """A group by its place, or a column by its name. Raises KeyError."""
        return column_of(self._arrow(), at) if isinstance(at, str) else self.groups[at]

    @property
    def parts(self) -> Table:
        """
        One row per group and phase.

        Columns: the keys, `requests`, `wall_ns`, `component`, `phase`, `ns`, `low_ns`, `high_ns`.
        """
        return Table(self._arrow())

    def _arrow(self) -> _core.Table:
        rows = [(group, part) for group in self.groups for part in group.parts]
        texts = [(key, "text", [_text(group.keys[key]) for group, _ in rows]) for key in self.by]
        groups = [
            (name, "int", [getattr(group, name) for group, _ in rows]) for name in ("requests", "wall_ns")
        ]
        names = [(name, "text", [getattr(part, name) for _, part in rows]) for name in ("component", "phase")]
        numbers = [
            (name, "int", [getattr(part, name) for _, part in rows]) for name in ("ns", "low_ns", "high_ns")
        ]
        return _core.make_table([*texts, *groups, *names, *numbers])


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def compositions(population: Population, q: float, by: Sequence[str]) -> QuantileParts:
    """
    The parts of a quantile of every cell of a population.

    Args:
        population: Its cells are those of these columns.
        q: In (0, 1].
        by: The columns.

    Raises:
        ValueError: There is no such quantile.
    """
    if not is_quantile(q):
        raise ValueError(f"expected a quantile in (0, 1], got {q!r}")
    np = require("numpy", "analysis")
    groups = [
        _composition(population, np.flatnonzero(population.cell == cell), q, dict(zip(by, key, strict=False)))
        for cell, key in enumerate(population.keys)
    ]
    total = np.bincount(population.cell, population.wall, len(population.keys))
    order = np.argsort(-total, kind="stable").tolist()
    return QuantileParts(q, tuple(by), tuple(groups[at] for at in order))


def _composition(population: Population, own: Ints, q: float, keys: dict[str, Any]) -> Composition:
    np = require("numpy", "analysis")
    wall, components, parts = population.wall[own], population.by_component[own], population.parts[own]
    of = [population.components.index(component_of(phase)) for phase in population.phases]
    at, line, scaled = _parts(wall, components, parts, of, q)
    blocks = population.blocks.some(own)
    low = high = [None] * (len(line) + 1)
    if blocks.times >= LEAST_BLOCKS:
        kept = (blocks.of != each for each in range(len(blocks)))
        left = [_parts(wall[keep], components[keep], parts[keep], of, q) for keep in kept]
        errors = Errors(
            np.array([at, *line]), (np.array([[each, *found] for each, found, _ in left]),), (blocks,)
        )
        half = errors.half_width()
        low, high = (
            [max(round(value), 0) for value in ends] for ends in (errors.values - half, errors.values + half)
        )
    whole = round_to_sum(line.tolist(), at)
    made = [
        Part(phase, ns, low[place + 1], high[place + 1])
        for place, (phase, ns) in enumerate(zip(population.phases, whole, strict=True))
        if ns
    ]
    made.sort(key=lambda part: (-part.ns, part.phase))
    return Composition(keys, len(own), at, low[0], high[0], tuple(made), scaled)


def _parts(
    wall: Ints, components: Ints, parts: Ints, of: Sequence[int], q: float
) -> tuple[int, Floats, bool]:
    """
    The quantile, its phases, and whether they were scaled.

    The line is fitted per component. Its phases have the same shares as in the requests that it is fitted to. If it
    makes a component negative, it is fitted to fewer requests; if it still does, the nearest ones are scaled.
    """
    np = require("numpy", "analysis")
    order = np.argsort(wall, kind="stable")
    rank = nearest_rank(q, len(wall))
    at = int(wall[order[rank]])
    width = max(_WINDOW, round(len(wall) * min(q, 1 - q) / 4))
    while True:
        near = order[max(rank - width, 0) : rank + width + 1]
        mean = components[near].mean(0)
        line = _line(wall[near].astype(float), components[near].astype(float), at)
        if (line >= -1e-6).all() or width < _NARROWEST:
            break
        width //= 2
    scaled = bool((line < -1e-6).any())
    if scaled:
        line = mean * (at / mean.sum()) if mean.sum() else mean
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(mean > 0, line / mean, 0.0)
    result: Floats = parts[near].mean(0) * factor[of]
    return at, result, scaled


def _line(wall: Floats, own: Floats, at: int) -> Floats:
    """Least squares of each part on the whole, read at one value; where all are equally long, the means."""
    away = wall - wall.mean()
    spread = float(away @ away)
    slope = away @ (own - own.mean(0)) / spread if spread else 0.0
    result: Floats = own.mean(0) + slope * (at - wall.mean())
    return result
