"""A selection of rows of one table of a join: what `Requests` and the syncs of pods have in common."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, overload

from k8strace import _core
from k8strace.exceptions import expect, expect_count
from k8strace.phases import PhaseTable
from k8strace.tables import ArrowExport, Column, column_of_values

__all__ = ["Join", "Selection", "fits"]

Row = TypeVar("Row")


class Join(Protocol):
    """What all selections of one join share."""

    @property
    def core(self) -> _core.JoinedSpans:
        """The joined spans."""

    @property
    def phase_table(self) -> PhaseTable:
        """The taxonomy's answers about them."""

    def column(self, name: str, table: str) -> list[Any]:
        """A column of one of the tables, of everything that was joined. Raises KeyError."""

    def own(self, name: str, table: str) -> _core.Column | None:
        """A column as the core has it; None if it is added, made of others or not there."""

    def named(self, name: str) -> _core.Table:
        """A table of everything that was joined."""

    def size(self, table: str) -> int:
        """How many rows it has, known before it is made."""

    def values(self, name: str, table: str, rows: Sequence[int]) -> list[Any]:
        """Some values of a column. Raises KeyError."""

    def codes(self, name: str, table: str) -> _core.Codes:
        """Which rows have equal values in a column. Raises KeyError."""


class Selection(ArrowExport, Generic[Row]):
    """
    Rows of one table, each the root of a call tree, in an order. Frozen.

    By index it gives a row, by slice a selection, by name a column.
    """

    TABLE: ClassVar[str]
    """Name of the table in the core."""
    IDENTITY: ClassVar[tuple[str, ...]]
    """Columns that tell people which row it is."""

    __slots__ = ("_joined", "_rows")

    def __init__(self, joined: Join, rows: Sequence[int] | None = None) -> None:
        self._joined = joined
        self._rows = range(joined.size(self.TABLE)) if rows is None else rows

    @abstractmethod
    def _row(self, row: int) -> Row:
        """One row as an object."""

    @abstractmethod
    def _with(self, rows: Sequence[int]) -> Self:
        """Other rows of the same join."""

    @abstractmethod
    def _divide(self, answers: _core.Answers, method: str, overlap: str) -> _core.AttributedRequests:
        """Divides the wall time of these rows."""

    def _measured(self, *, long_running: bool) -> Self:  # noqa: ARG002 - requests can be
        """Those that are in latency statistics."""
        return self._where(has_valid_times=True)

    def _judged(self, *, long_running: bool = False) -> Self:
        """Those that latency statistics are about, none inside another one of these."""
        return self._with(self._table.judged(self._chosen, long_running))

    def _by_key(self, keys: Sequence[str], *, by_wall: bool = False) -> _core.GroupedRows:
        """These rows grouped by columns; those of a group as they come here, or by wall time."""
        codes = [self._joined.codes(key, self.TABLE) for key in keys]
        wall = self._table.column("wall_ns") if by_wall else None
        return _core.GroupedRows(self._chosen, self._joined.size(self.TABLE), codes, wall)

    def _values(self, keys: Sequence[str], grouped: _core.GroupedRows) -> list[tuple[Any, ...]]:
        """What each group has in common."""
        first = grouped.first
        values = [self._joined.values(key, self.TABLE, first) for key in keys]
        return list(zip(*values, strict=True)) if keys else [()] * len(first)

    def outermost(self) -> Self:
        """Those whose time is not in that of another one of these."""
        return self

    @property
    def _table(self) -> _core.Table:
        """Everything that was joined."""
        return self._joined.named(self.TABLE)

    def _arrow(self) -> _core.Table:
        return self._table if self._is_everything else self._table.take(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return (self._row(row) for row in self._rows)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    @overload
    def __getitem__(self, at: str) -> Column: ...
    def __getitem__(self, at: int | slice | str) -> Row | Self | Column:
        if isinstance(at, str):
            return self.column(at)
        return self._with(self._rows[at]) if isinstance(at, slice) else self._row(self._rows[at])

    def _where(self, **conditions: Any) -> Self:
        rows = self._rows
        for name, wanted in conditions.items():
            column = self._all(name)
            if isinstance(wanted, bool):  # said of most requests: no call for each
                rows = [row for row in rows if column[row] is wanted]
            else:
                test = fits(wanted)
                rows = [row for row in rows if test(column[row])]
        return self._with(rows)

    def _by_length(self, count: int | None) -> Self:
        """The longest first; of equally long ones the earlier first."""
        expect_count(count)
        wall = self._all("wall_ns")
        return self._with(sorted(self._rows, key=lambda row: (-wall[row], row))[:count])

    def _all(self, name: str) -> list[Any]:
        """A column of everything that was joined."""
        return self._joined.column(name, self.TABLE)

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns, in order."""
        return self._joined.named(self.TABLE).column_names

    def column(self, name: str) -> Column:
        """
        One column, in the order of these rows; `resource.KEY` as in `where`.

        Raises:
            KeyError: There is no such column.
        """
        expect(name, str, "the name of a column")
        own = self._joined.own(name, self.TABLE)
        if own is None:
            return column_of_values(self._list(name))
        return Column(own) if self._is_everything else Column(own).take(self._rows)

    def _list(self, name: str) -> list[Any]:
        """The values of a column, by the list of all that the join keeps."""
        values = self._all(name)
        return [values[row] for row in self._rows]

    @property
    def _is_everything(self) -> bool:
        """Nothing was selected: the rows are all that there are, in their order."""
        return self._rows == range(self._joined.size(self.TABLE))

    @property
    def _chosen(self) -> Sequence[int] | None:
        """The indices of these rows; None for all."""
        return None if self._is_everything else self._rows


def fits(wanted: Any) -> Callable[[Any], bool]:
    """Whether a value is the wanted one, one of the wanted, or what a function wants."""
    if callable(wanted):
        return lambda value: value is not None and bool(wanted(value))
    if isinstance(wanted, Collection) and not isinstance(wanted, (str, bytes)):
        return lambda value: value in wanted
    return lambda value: bool(operator.eq(value, wanted))
