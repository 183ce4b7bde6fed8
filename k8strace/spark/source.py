"""`spark.read.format("k8strace")`: the spans of recordings, in any format that `read` takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from k8strace.export.rows import plain
from k8strace.formats import scan
from k8strace.formats.content import matching
from k8strace.spans import Spans, decode
from k8strace.tables import require

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

__all__ = ["register", "span_rows"]


def register(spark: SparkSession) -> None:
    """
    Lets a session read recordings: `spark.read.format("k8strace").load(pattern)`, one row per span.

    The columns of `Spans`, without indices, and without timestamps, since Spark's have no ns. One task reads one file.

    Raises:
        MissingExtraError: PySpark or pyarrow is not installed.
    """
    sources = require("pyspark.sql.datasource", "spark")

    class Reader(sources.DataSourceReader):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self, pattern: str) -> None:
            self._names = matching(pattern)

        def partitions(self) -> list[Any]:
            return [sources.InputPartition(name) for name in self._names]

        def read(self, partition: Any) -> Iterator[pa.RecordBatch]:
            for spans in scan(partition.value):
                yield from span_rows(spans).to_batches()

    class Source(sources.DataSource):  # type: ignore[misc,name-defined,unused-ignore]
        @classmethod
        def name(cls) -> str:
            return "k8strace"

        def schema(self) -> Any:
            from pyspark.sql.pandas.types import from_arrow_schema

            return from_arrow_schema(span_rows(decode([])).schema)

        def reader(self, schema: Any) -> Reader:  # noqa: ARG002 - Spark's interface
            return Reader(self.options["path"])

    spark.dataSource.register(Source)


def span_rows(spans: Spans) -> pa.Table:
    """Spans as the rows of `spark.read.format("k8strace")`."""
    return plain(spans.to_arrow().drop_columns(["start_time", "end_time", "scope_spans"]))
