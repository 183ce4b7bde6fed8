"""A population: what is compared, as arrays, one row per request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from k8strace import _core
from k8strace.components import UNATTRIBUTED, component_of
from k8strace.exceptions import expect_several
from k8strace.requests import Requests
from k8strace.statistics.blocks import Blocks, blocks_of
from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Ints

__all__ = ["LOAD", "Population", "population_of"]

LOAD: Final = "load"
"""A column of populations that requests do not have: how many requests its instance had open when one began."""

_NOT_CALLED: Final = frozenset({"apiserver", UNATTRIBUTED})
"""Components that are not called; calls to the others are counted."""


@dataclass(frozen=True, eq=False)
class Population:
    """Requests as arrays. The parts of each sum to its wall time."""

    parts: Ints
    """Request × phase: ns."""
    phases: tuple[str, ...]
    """Names of the columns of `parts`."""
    calls: Ints
    """Request × called component: calls."""
    called: tuple[str, ...]
    """Names of the columns of `calls`."""
    keys: tuple[tuple[Any, ...], ...]
    """The distinct values of the columns that were asked for: one tuple per cell."""
    cell: Ints
    """Request → its cell."""
    start_ns: Ints
    instance: Ints | None = None
    """Request → the number of the API server that answered it. None: the same one answered all."""
    rows: Sequence[int] = ()
    """Request → its index among all that were joined."""
    requests: Requests | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.cell)

    @cached_property
    def wall(self) -> Ints:
        """Request → wall time."""
        wall: Ints = self.parts.sum(1)
        return wall

    @cached_property
    def blocks(self) -> Blocks:
        """Stretches of time of each instance."""
        np = require("numpy", "analysis")
        one = np.zeros(len(self), np.int64)
        return blocks_of(self.start_ns, one if self.instance is None else self.instance)

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Components of the phases, in alphabetical order."""
        return tuple(sorted({component_of(phase) for phase in self.phases}))

    @cached_property
    def by_component(self) -> Ints:
        """Request × component: ns."""
        np = require("numpy", "analysis")
        summed = np.zeros((len(self), len(self.components)), np.int64)
        for at, phase in enumerate(self.phases):
            summed[:, self.components.index(component_of(phase))] += self.parts[:, at]
        result: Ints = summed
        return result


def population_of(requests: Requests, divided: _core.AttributedRequests, by: Sequence[str]) -> Population:
    """
    The requests that latency statistics are about: outermost, with valid times, not long-running.

    Args:
        requests: Which.
        divided: Their parts.
        by: Columns of requests, or `load`.

    Raises:
        KeyError: There is no such column.
        TypeError: `by` is one column instead of several.
        MissingExtraError: numpy is not installed.
    """
    expect_several(by, 'columns such as ("verb", "resource")')
    np = require("numpy", "analysis")
    kept = requests._judged()
    rows = list(kept._rows)
    table = kept._joined.phase_table
    components = sorted({component_of(phase) for phase in table.names})
    group = [components.index(component_of(phase)) for phase in table.names]
    calls = kept._joined.core.call_counts(table.answers, group, len(components), rows)
    parts = divided.matrix(rows, list(range(len(table.names))), len(table.names))
    parts = np.frombuffer(parts, np.int64).reshape(len(rows), len(table.names))
    counted = np.frombuffer(calls, np.int64).reshape(len(rows), len(components))
    used = [at for at in range(len(table.names)) if parts[:, at].any()]
    called = [at for at, name in enumerate(components) if name not in _NOT_CALLED and counted[:, at].any()]
    cells, keys = _cells(kept, by)
    return Population(
        parts=parts[:, used],
        phases=tuple(table.names[at] for at in used),
        calls=counted[:, called],
        called=tuple(components[at] for at in called),
        cell=cells,
        keys=keys,
        start_ns=_numbers(kept, "start_unix_nano"),
        instance=_instances(kept),
        rows=rows,
        requests=kept,
    )


def _cells(kept: Requests, by: Sequence[str]) -> tuple[Ints, tuple[tuple[Any, ...], ...]]:
    """Request → the number of its cell, and what the requests of each have in common."""
    np = require("numpy", "analysis")
    if LOAD in by:
        load: list[str | None] = [None] * len(kept._table)
        for row, bucket in zip(kept._rows, _load(kept), strict=True):
            load[row] = bucket
        kept = kept.with_column(LOAD, load)
    grouped = kept._by_key(by)
    return np.frombuffer(grouped.numbers(), np.int64), tuple(kept._values(by, grouped))


def _numbers(kept: Requests, name: str) -> Ints:
    """A column of integers."""
    np = require("numpy", "analysis")
    numbers: Ints = np.frombuffer(kept._table.column(name).packed(kept._chosen), np.int64)
    return numbers


def _instances(kept: Requests) -> Ints:
    """Request → the number of its instance."""
    return _cells(kept, ("instance",))[0]


def _load(kept: Requests) -> list[str]:
    """How many requests the same instance had open when each began: "0", "1", "2-3", "4-7", …, without watches."""
    np = require("numpy", "analysis")
    start = _numbers(kept, "start_unix_nano")
    end = start + _numbers(kept, "wall_ns")
    instance = _instances(kept)
    opened = np.zeros(len(start), np.int64)
    for each in range(instance.max() + 1 if len(start) else 0):
        own = instance == each
        started = np.searchsorted(np.sort(start[own]), start[own], "left")
        opened[own] = started - np.searchsorted(np.sort(end[own]), start[own], "right")
    return [_bucket(int(count)) for count in opened]


def _bucket(count: int) -> str:
    """
    A range of counts, each twice as wide as the one before.

    Examples:
        >>> [_bucket(count) for count in (0, 1, 3, 4)]
        ['0', '1', '2-3', '4-7']
    """
    least = 1 << (max(count, 1).bit_length() - 1)
    return str(count) if count < 2 else f"{least}-{2 * least - 1}"
