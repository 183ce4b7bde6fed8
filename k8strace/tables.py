"""
Tables that every Arrow library takes as they are.

`polars.DataFrame(x)`, `pyarrow.table(x)`, `duckdb.sql("from x")` and `pandas` read our objects through the Arrow
PyCapsule interface. These libraries are imported only when a method needs one.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from k8strace import _core
from k8strace.exceptions import extra

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["ArrowExport", "Shown", "Table", "column_of", "require", "typed"]


def require(module: str, name: str) -> Any:
    """
    Imports an optional library.

    Raises:
        MissingExtraError: It is not installed; the message names the extra.
    """
    known = sys.modules.get(module)
    if known is not None:  # asked for a thousand times in a comparison
        return known
    with extra(name, "this"):
        return importlib.import_module(module)


class Shown:
    """What notebooks show as HTML: `k8strace.views.notebook.html_of` says how each kind looks."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from k8strace.views.notebook import html_of

        return html_of(self)


class ArrowExport(Shown, ABC):
    """What an object needs to be read by Arrow libraries: one table of the core."""

    __slots__ = ()

    @abstractmethod
    def _arrow(self) -> _core.Table:
        """The rows, as the core's table."""

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns, in order."""
        return self._arrow().column_names

    def column(self, name: str) -> Any:
        """
        One column.

        Raises:
            KeyError: There is none of this name; the message has those that there are.
        """
        return column_of(self._arrow(), name)

    def __arrow_c_schema__(self) -> object:
        return self._arrow().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._arrow().__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pa.Table:
        """
        The rows as a `pyarrow.Table`, in types that pyarrow's own functions take. Needs the extra `k8strace[arrow]`.

        Texts are copied; `pyarrow.table(x)` has them as views, which pyarrow cannot sort or filter yet.
        """
        return _without_views(require("pyarrow", "arrow"), self)

    def to_polars(self) -> pl.DataFrame:
        """The rows as a `polars.DataFrame`. Needs the extra `k8strace[polars]`."""
        frame: pl.DataFrame = require("polars", "polars").DataFrame(self)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """
        The rows as a `pandas.DataFrame`. Needs the extra `k8strace[pandas]`.

        Integers are `Int64`. Lists and structs, such as attributes, stay Arrow's (`ArrowDtype`): a value becomes
        Python's when it is looked at.
        """
        pandas, pyarrow = require("pandas", "pandas"), require("pyarrow", "pandas")

        def kept(kind: Any) -> Any:
            if kind == pyarrow.int64():
                return pandas.Int64Dtype()
            return pandas.ArrowDtype(kind) if pyarrow.types.is_nested(kind) else None

        frame: pd.DataFrame = _without_views(pyarrow, self).to_pandas(types_mapper=kept)
        return frame


def _without_views(pyarrow: Any, rows: ArrowExport) -> pa.Table:
    def plain(kind: Any) -> Any:
        types = pyarrow.types
        if types.is_string_view(kind):
            return pyarrow.large_string()
        if types.is_binary_view(kind):
            return pyarrow.large_binary()
        if types.is_large_list(kind):
            return pyarrow.large_list(plain(kind.value_type))
        return pyarrow.struct([named(each) for each in kind]) if types.is_struct(kind) else kind

    def named(field: Any) -> Any:
        return pyarrow.field(field.name, plain(field.type))

    table: pa.Table = pyarrow.table(rows)
    return table.cast(pyarrow.schema([named(field) for field in table.schema]))


def column_of(table: _core.Table, name: str) -> _core.Column:
    """One column. Raises KeyError; the message has those that there are."""
    if name not in table.column_names:
        raise KeyError(f"there is no column {name!r}, but {', '.join(table.column_names)}")
    return table.column(name)


def typed(values: list[Any]) -> tuple[str, list[Any]]:
    """A key column's type, told by its values."""
    kinds = {type(value) for value in values if value is not None}
    kind = {frozenset({bool}): "bool", frozenset({int}): "int"}.get(frozenset(kinds), "text")
    return kind, values if kind != "text" else [value if value is None else str(value) for value in values]


class Table(ArrowExport):
    """
    Named columns of equal length, frozen.

    By name it gives a column, by index a row as a dictionary, by slice a table. Iterating gives the rows.

    Examples:
        >>> import k8strace
        >>> spans = k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")
        >>> spans.resources
        Table(39 rows: batch, resource_present, attributes, dropped_attributes_count, entity_refs, schema_url)
        >>> spans.resources["batch"][-1], spans.resources[-1]["resource_present"], len(spans.resources[3:5])
        (38, True, 2)
    """

    __slots__ = ("_table",)

    def __init__(self, table: _core.Table) -> None:
        self._table = table

    def _arrow(self) -> _core.Table:
        return self._table

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = self.column_names
        columns = [self.column(name).to_pylist() for name in names]
        return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))

    @overload
    def __getitem__(self, at: str) -> _core.Column: ...
    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Table: ...
    def __getitem__(self, at: str | int | slice) -> _core.Column | dict[str, Any] | Table:
        if isinstance(at, str):
            return self.column(at)
        if isinstance(at, slice):
            return Table(self._table.take(range(len(self))[at]))
        return {name: self._table.column(name)[at] for name in self.column_names}

    def column(self, name: str) -> _core.Column:
        """
        One column, as `table[name]`.

        Raises:
            KeyError: There is none of this name; the message has those that there are.
        """
        return column_of(self._table, name)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self.column_names)})"
