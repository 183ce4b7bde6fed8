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
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Final, overload

from k8strace import _core
from k8strace.exceptions import extra

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["ArrowExport", "Column", "Shown", "Table", "column_of", "column_of_values", "require", "typed"]


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


_NUMPY: Final = {"Boolean": "bool", "Int8": "int8", "Int64": "int64", "Float64": "float64"}
"""Arrow's name of a type → numpy's, where numpy has the same."""

_SHORT: Final = Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxother = 1, 1, 80


class Column:
    """
    One column of a table, frozen. By index it gives a value, by slice a column; None is null.

    `polars.Series(column)` and `pyarrow.array(column)` take it as it is. `numpy.array(column)` has numbers and truth
    values in their own types if none is null, and otherwise Python's values, with None for null. Two columns are
    equal only if they are one: compare `to_pylist()`.

    Examples:
        >>> import k8strace, numpy
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> requests["verb"]
        Column(1411 values: 'get', 'list', 'get', …)
        >>> requests["verb"][-1], list(requests["verb"][:2]), requests["namespace"].null_count
        ('delete', ['get', 'list'], 651)
        >>> numpy.array(requests["wall_ns"]).dtype, numpy.array(requests["caller_ns"])[:2]
        (dtype('int64'), array([None, 145475396], dtype=object))
    """

    __slots__ = ("_column",)

    def __init__(self, column: _core.Column) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Column: ...
    def __getitem__(self, at: int | slice) -> Any:
        return self.take(range(len(self))[at]) if isinstance(at, slice) else self._column[at]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_pylist())

    def __contains__(self, value: object) -> bool:
        return value in self.to_pylist()

    def take(self, rows: Sequence[int]) -> Column:
        """The values at these places, in this order. Raises IndexError."""
        return Column(self._column.take(rows))

    @property
    def type_name(self) -> str:
        """Arrow's name of the type."""
        return self._column.type_name

    @property
    def null_count(self) -> int:
        """How many are null."""
        return self._column.null_count

    def to_pylist(self) -> list[Any]:
        """All values as Python objects; null is None."""
        return self._column.to_pylist()

    def __arrow_c_schema__(self) -> object:
        return self._column.__arrow_c_schema__()

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        return self._column.__arrow_c_array__(requested_schema)

    def __array__(self, dtype: Any = None, *, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("expected copy=True or None: numpy cannot have a column without copying it")
        numpy = require("numpy", "analysis")
        kind = "object" if self.null_count else _NUMPY.get(self.type_name, "object")
        array: np.ndarray[Any, Any] = numpy.fromiter(self, kind, len(self))
        return array if dtype is None else array.astype(dtype, copy=False)

    def __repr__(self) -> str:
        first = [_SHORT.repr(self[at]) for at in range(min(len(self), 3))]
        return f"Column({len(self)} values: {', '.join([*first, '…'][: len(self)])})"


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

    def column(self, name: str) -> Column:
        """
        One column, in the order of the rows.

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

    table: pa.Table = pyarrow.RecordBatchReader.from_stream(rows).read_all()  # `table` would import pandas
    return table.cast(pyarrow.schema([named(field) for field in table.schema]))


def column_of(table: _core.Table, name: str) -> Column:
    """One column. Raises KeyError; the message has those that there are."""
    if name not in table.column_names:
        raise KeyError(f"there is no column {name!r}, but {', '.join(table.column_names)}")
    return Column(table.column(name))


def column_of_values(values: list[Any]) -> Column:
    """A column of the type that these values tell."""
    return Column(_core.make_table([("value", *typed(values))]).column("value"))


def typed(values: list[Any]) -> tuple[str, list[Any]]:
    """The type of a column that is no one's, such as a key, told by its values."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return "float", [value if value is None else float(value) for value in values]
    kind = {bool: "bool", int: "int", float: "float"}.get(kinds.pop(), "text") if len(kinds) == 1 else "text"
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
        names = self.column_names if len(self) else ()
        columns = [self._table.column(name).to_pylist() for name in names]
        return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))

    @overload
    def __getitem__(self, at: str) -> Column: ...
    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Table: ...
    def __getitem__(self, at: str | int | slice) -> Column | dict[str, Any] | Table:
        if isinstance(at, str):
            return self.column(at)
        if isinstance(at, slice):
            return Table(self._table.take(range(len(self))[at]))
        return {name: self._table.column(name)[at] for name in self.column_names}

    def column(self, name: str) -> Column:
        """
        One column, as `table[name]`.

        Raises:
            KeyError: There is none of this name; the message has those that there are.
        """
        return column_of(self._table, name)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self.column_names)})"
