"""Two populations in a common layout of cells, phases and calls, and their sums per block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from k8strace.components import component_of
from k8strace.statistics.blocks import Blocks
from k8strace.statistics.population import Population
from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Floats, Ints

__all__ = ["Layout", "Pair", "Side", "Sums"]


class Sums(NamedTuple):
    """Sums per cell."""

    requests: Floats
    """Cell → requests."""
    ns: Floats
    """Cell × phase."""
    calls: Floats
    """Cell × called component."""

    def minus(self, other: Sums) -> Sums:
        """Without some."""
        return Sums(*(own - theirs for own, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Layout:
    """The layout of both populations: cells in order of their keys, so that equal prefixes are adjacent."""

    keys: tuple[tuple[Any, ...], ...]
    phases: tuple[str, ...]
    called: tuple[str, ...]

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Components of the phases, in alphabetical order."""
        return tuple(sorted({component_of(phase) for phase in self.phases}))

    @cached_property
    def component_of_phase(self) -> list[int]:
        """Phase → index of its component."""
        return [self.components.index(component_of(phase)) for phase in self.phases]

    @cached_property
    def depth(self) -> int:
        """The number of columns of a cell's key."""
        return len(self.keys[0]) if self.keys else 0

    @cached_property
    def _levels(self) -> list[dict[tuple[Any, ...], int]]:
        """For each length the distinct prefixes of keys, in order, and the first cell with each."""
        levels: list[dict[tuple[Any, ...], int]] = [{} for _ in range(self.depth + 1)]
        for at, key in enumerate(self.keys):
            for length, level in enumerate(levels):
                level.setdefault(key[:length], at)
        return levels

    def prefixes(self, level: int) -> list[tuple[Any, ...]]:
        """The distinct prefixes of keys of this length, in order."""
        return [*self._levels[level]]

    def first(self, level: int) -> list[int]:
        """Prefix → the first cell with it."""
        return [*self._levels[level].values()]

    def above(self, level: int) -> list[int]:
        """Prefix → index of the prefix that is one shorter."""
        return self._above[level]

    @cached_property
    def _above(self) -> list[list[int]]:
        places = [{prefix: at for at, prefix in enumerate(level)} for level in self._levels]
        of_first: list[list[int]] = [[]]
        return of_first + [
            [above[prefix[:-1]] for prefix in level]
            for above, level in zip(places, self._levels[1:], strict=False)
        ]


@dataclass(frozen=True, eq=False)
class Side:
    """One population in a common layout."""

    population: Population
    layout: Layout
    cell: Ints
    """Request → cell."""
    components: Ints
    """Request × component: ns."""

    @cached_property
    def by_block(self) -> list[Sums]:
        """Sums of every block."""
        np = require("numpy", "analysis")
        own, layout = self.population, self.layout
        cells, blocks = len(layout.keys), len(own.blocks)
        at = own.blocks.of * cells + self.cell

        def summed(columns: Sequence[Any]) -> Any:
            found = [np.bincount(at, each, blocks * cells) for each in columns]
            shape = (len(found), blocks, cells)
            return np.array(found, float).reshape(shape).transpose(1, 2, 0)

        count = summed([None])[:, :, 0]
        ns = summed([self._column(own.phases, own.parts, name) for name in layout.phases])
        calls = summed([self._column(own.called, own.calls, name) for name in layout.called])
        return [Sums(count[block], ns[block], calls[block]) for block in range(blocks)]

    def _column(self, names: Sequence[str], table: Any, name: str) -> Any:
        np = require("numpy", "analysis")
        return table[:, names.index(name)] if name in names else np.zeros(len(self.population))

    @cached_property
    def all(self) -> Sums:
        """Sums of all blocks."""
        return Sums(*(sum(each) for each in zip(*self.by_block, strict=True)))


class Pair(NamedTuple):
    """The two populations to compare."""

    before: Side
    after: Side

    @property
    def blocks(self) -> tuple[Blocks, Blocks]:
        """Of both."""
        return self.before.population.blocks, self.after.population.blocks

    @property
    def layout(self) -> Layout:
        """The common layout."""
        return self.before.layout

    @classmethod
    def of(cls, before: Population, after: Population) -> Pair:
        """Brings two populations into one layout."""
        both = (before, after)
        layout = Layout(
            tuple(sorted({key for each in both for key in each.keys}, key=_order)),
            tuple(sorted({phase for each in both for phase in each.phases})),
            tuple(sorted({name for each in both for name in each.called})),
        )
        return cls(*(_side(each, layout) for each in both))


def _order(key: tuple[Any, ...]) -> list[tuple[bool, str, str]]:
    return [(value is not None, type(value).__name__, str(value)) for value in key]


def _side(population: Population, layout: Layout) -> Side:
    np = require("numpy", "analysis")
    place = {key: at for at, key in enumerate(layout.keys)}
    components = np.zeros((len(population), len(layout.components)), np.int64)
    for at, name in enumerate(population.components):
        components[:, layout.components.index(name)] = population.by_component[:, at]
    known = np.array([place[key] for key in population.keys], np.int64)
    return Side(population, layout, known[population.cell], components)
