"""
Tables that every Arrow library takes as they are.

`polars.DataFrame(x)`, `pyarrow.table(x)`, `duckdb.sql("from x")` and `pandas` read our objects through the Arrow
PyCapsule interface; none of those libraries is imported here before somebody asks for it.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from k8strace import _core
from k8strace.exceptions import extra

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["ArrowExport", "Table", "require"]


def require(module: str, name: str) -> Any:
    """
    Imports an optional library.

    Raises:
        MissingExtraError: It is not installed; the message names the extra.
    """
    with extra(name, "this"):
        return importlib.import_module(module)


class ArrowExport(ABC):
    """What an object needs to be read by Arrow libraries: one table of the core."""

    __slots__ = ()

    @abstractmethod
    def _arrow(self) -> _core.Table:
        """The rows, as the core's table."""

    def __arrow_c_schema__(self) -> object:
        return self._arrow().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._arrow().__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pa.Table:
        """The rows as a `pyarrow.Table`. Needs the extra `k8strace[arrow]`."""
        table: pa.Table = require("pyarrow", "arrow").table(self)
        return table

    def to_polars(self) -> pl.DataFrame:
        """The rows as a `polars.DataFrame`. Needs the extra `k8strace[polars]`."""
        frame: pl.DataFrame = require("polars", "polars").DataFrame(self)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a `pandas.DataFrame`. Needs the extra `k8strace[pandas]`."""
        require("pandas", "pandas")
        frame: pd.DataFrame = require("pyarrow", "pandas").table(self).to_pandas()
        return frame


class Table(ArrowExport):
    """
    Named columns of equal length, frozen.

    Iterating gives one dictionary per row; `column` gives one column without making the others.

    Examples:
        >>> import k8strace
        >>> spans = k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")
        >>> spans.resources
        Table(39 rows: batch, resource_present, attributes, dropped_attributes_count, entity_refs, schema_url)
        >>> spans.resources.column("batch")[-1]
        38
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

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns, in order."""
        return self._table.column_names

    def column(self, name: str) -> _core.Column:
        """
        One column.

        Raises:
            KeyError: There is none of this name.
        """
        return self._table.column(name)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self.column_names)})"
