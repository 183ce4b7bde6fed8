"""
Archives on Spark: exactly the rows of one join of all spans, computed in parts on many machines.

::

    files ─ split ─→ a message per trace, couplings    one task a file, in bounded memory
                     couplings → groups of traces      on the driver
          ─ shuffle by group ─→ clock evidence         one task a partition, summed on the driver
                             ─→ join, attribute        one task a partition, a few groups at a time

A request is not a trace: from Kubernetes 1.33 on a third to a half of all requests come in two traces, so parts are
whole groups of traces that must be joined together. Before any row is returned, four things are checked: every task ran
the same k8strace, the ledger adds up to the spans that were read, no coupling goes from one part to another, and every
part was joined with the same clock evidence.

It needs the extra `k8strace[spark]`, Java, and the same k8strace on every worker; the files are read where the tasks
run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8strace.export.rows import attribution_rows, request_rows
from k8strace.spark.joining import Archive, Paths
from k8strace.spark.source import register, span_rows
from k8strace.spark.tasks import Options

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from k8strace.histograms import Histograms

__all__ = [
    "Archive",
    "Options",
    "attribution",
    "attribution_rows",
    "histograms",
    "register",
    "request_rows",
    "requests",
    "span_rows",
]


def requests(spark: SparkSession, paths: Paths, options: Options | None = None) -> DataFrame:
    """
    The API requests of an archive, as `Archive.requests`, if no other table of it is needed.

    Args:
        spark: The session.
        paths: Files, or patterns of their names; one task reads one file.
        options: Taxonomy and limits; None for the defaults.

    Returns:
        One row per request, computed and checked; Spark holds it.

    Raises:
        PartsError: The parts do not add up to the whole. The message says why.
        MissingExtraError: PySpark or pyarrow is not installed.
        OSError: No file fits a pattern.
    """
    with Archive(spark, paths, options) as archive:
        return archive.requests()


def attribution(spark: SparkSession, paths: Paths, options: Options | None = None) -> DataFrame:
    """Where the time of an archive's requests went: `Archive.attribution`. Arguments and errors are as above."""
    with Archive(spark, paths, options) as archive:
        return archive.attribution()


def histograms(spark: SparkSession, paths: Paths, *keys: str, options: Options | None = None) -> Histograms:
    """An archive's requests, summed up by some columns: `Archive.histograms`. Arguments and errors are as above."""
    with Archive(spark, paths, options) as archive:
        return archive.histograms(*keys)
