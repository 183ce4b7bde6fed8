"""The driver's side: divides an archive into parts, computes tables from them, and checks that they are complete."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial, reduce
from operator import add
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from k8strace.archive import ClockEvidence, Couplings
from k8strace.attribution import attribute
from k8strace.exceptions import PartsError
from k8strace.export.rows import attribution_rows, offset_rows, request_rows
from k8strace.formats.content import matching
from k8strace.histograms import Histograms
from k8strace.requests import Ledger, Requests, join
from k8strace.spans import Issue, decode
from k8strace.spark import tasks
from k8strace.spark.tasks import EVIDENCE, SPLIT, Facts, Options, Told
from k8strace.tables import require

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["Archive", "Paths"]

Paths: TypeAlias = str | PathLike[str] | Sequence[str | PathLike[str]]


class Archive:
    """
    An archive, divided into parts of whole groups, on the disks of the workers until it is closed.

    Each table is computed and checked when it is first asked for; a `with` block closes the archive.

    Args:
        spark: The session.
        paths: Files, or patterns of their names; one task reads one file.
        options: Taxonomy and limits; None for the defaults.

    Raises:
        PartsError: The parts do not add up to the whole; the message says why. Methods and properties raise it too.
        MissingExtraError: PySpark or pyarrow is not installed.
        OSError: No file fits a pattern.
    """

    def __init__(self, spark: SparkSession, paths: Paths, options: Options | None = None) -> None:
        require("pyspark", "spark")
        self._spark = spark
        self._options = options or Options()
        self._made: dict[Callable[..., Any], DataFrame] = {}
        self._facts: list[Facts] = []
        split = self._split = _kept(_mapped(_files(spark, paths), tasks.split, SPLIT))
        _check_engines(split.where("engine is not null").groupBy("engine").count().collect())
        (total,) = split.agg({"spans": "sum"}).collect()
        self._spans: int = total[0] or 0
        told = [pickle.loads(row.told) for row in _rows(split, "told")]  # noqa: S301 - our own tasks'
        self._issues, couplings = _sums(told)
        self._links = couplings.links
        self._grouped = _kept(self._by_group(split, couplings))
        self._clock = self._evidence(None)
        if self._clock.waiting:
            self._clock = self._evidence(self._clock)

    def _by_group(self, split: DataFrame, couplings: Couplings) -> DataFrame:
        from pyspark.sql import functions as f

        traces = split.where("trace_id is not null").select("trace_id", "spans", "otlp")
        known = self._spark.createDataFrame(couplings.groups.to_arrow())
        named = traces.join(known, "trace_id", "left").withColumn("group", f.coalesce("group", "trace_id"))
        return self._partitioned(named).sortWithinPartitions("group", "trace_id")

    def _partitioned(self, named: DataFrame) -> DataFrame:
        """Shuffles the rows, so that a group is in one partition."""
        count = self._options.partitions
        return named.repartition(count, "group") if count else named.repartition("group")

    def _evidence(self, clock: ClockEvidence | None) -> ClockEvidence:
        say = partial(tasks.say, replace(self._options, taxonomy=None), clock)
        found = _mapped(self._grouped, say, EVIDENCE).collect()
        _check_engines(found)
        return sum((ClockEvidence(row.evidence) for row in found), ClockEvidence())

    # ── Tables ────────────────────────────────────────────────────────────────────────────────────

    def requests(self) -> DataFrame:
        """
        The API requests, one row each, with their phases.

        The columns of `Requests`, with `phases`, a map of ns, and without indices and timestamps. Instead of the index
        `outer_request` there are `outer_request_trace_id` and `outer_request_span_id`; likewise for `linked_from` and
        `counted_in`.
        """
        return self._rows_of(request_rows)

    def attribution(self) -> DataFrame:
        """Where the time went: one row per request and phase, as `Attribution` without its index."""
        return self._rows_of(attribution_rows)

    def histograms(self, *keys: str) -> Histograms:
        """
        The requests summed up as by `Histograms.of`; only sums come to the driver.

        Args:
            keys: Columns of `Requests`; none: "verb" and "resource".
        """
        make = partial(_histogram_rows, keys)
        found = self._joined(make)
        nothing = Histograms.from_bytes(_nothing(make)["histograms"][0].as_py())
        return reduce(
            add, (Histograms.from_bytes(row.histograms) for row in found.toLocalIterator()), nothing
        )

    def oversize(self) -> DataFrame:
        """
        Groups of more than `Options.max_group_spans` spans, which are in no other table.

        Columns `group`, `trace_id`, `spans` and `otlp`, a message with these spans; a trace can have several.
        """
        most = f"sum(spans) > {self._options.max_group_spans}"
        large = self._grouped.groupBy("group").agg({"spans": "sum"}).where(most).select("group")
        return self._grouped.join(large, "group", "left_semi").select("group", "trace_id", "spans", "otlp")

    @property
    def ledger(self) -> Ledger:
        """What became of every span. Spans in `oversize` are set aside under that name."""
        facts = self._found()
        used, set_aside = Counter[str](), Counter[str](oversize=sum(part.oversize for part in facts))
        for part in facts:
            used.update(part.ledger.used)
            set_aside.update(part.ledger.set_aside)
        return Ledger(self._spans, dict(+used), dict(+set_aside))

    @property
    def clock_offsets(self) -> pa.Table:
        """Clock offsets by client and server, as `Joined.clock_offsets` without timestamps."""
        pa = require("pyarrow", "spark")
        told = pa.concat_tables([part.clock_offsets for part in self._found()] or [_nothing(offset_rows)])
        return (
            told.group_by(told.column_names)
            .aggregate([])
            .sort_by([("client", "ascending"), ("server", "ascending")])
        )

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Issues of the files, as `Spans.issues`."""
        return self._issues

    def close(self) -> None:
        """Frees the parts. Tables that were returned stay; Spark computes lost partitions of them again."""
        self._grouped.unpersist()
        self._split.unpersist()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── Computation ───────────────────────────────────────────────────────────────────────────────

    def _found(self) -> list[Facts]:
        if not self._made:
            self.requests()
        return self._facts

    def _rows_of(self, make: Callable[[Requests], pa.Table]) -> DataFrame:
        """The rows that `make` returns for each part, once the parts are known to be complete."""
        if make not in self._made:
            self._made[make] = self._joined(make)
        return self._made[make]

    def _joined(self, make: Callable[[Requests], pa.Table]) -> DataFrame:
        from pyspark.sql.pandas.types import from_arrow_schema

        schema = from_arrow_schema(_nothing(make).schema).add("_facts", "binary").add("_engine", "string")
        work = partial(tasks.join_groups, self._options, self._clock, self._links, make)
        done = _kept(_mapped(self._grouped, work, schema))
        _check_engines(done.where("_engine is not null").selectExpr("_engine engine").distinct().collect())
        facts = [pickle.loads(row._facts) for row in _rows(done, "_facts")]  # noqa: S301 - our own tasks'
        _check(facts, self._spans, self._clock)
        self._facts = facts
        return done.where("_facts is null").drop("_facts", "_engine")


def _nothing(make: Callable[[Requests], pa.Table]) -> pa.Table:
    return make(join(decode([])))


def _mapped(frame: DataFrame, work: Callable[..., Any], schema: Any) -> DataFrame:
    return frame.mapInArrow(work, schema)


def _kept(frame: DataFrame) -> DataFrame:
    from pyspark import StorageLevel

    return frame.persist(StorageLevel.DISK_ONLY)


def _rows(kept: DataFrame, column: str) -> Iterable[Any]:
    """Rows with a value in `column`, one partition at a time; `kept` must be computed already."""
    return kept.where(f"{column} is not null").select(column).toLocalIterator()


def _files(spark: SparkSession, paths: Paths) -> DataFrame:
    patterns = [paths] if isinstance(paths, (str, PathLike)) else paths
    names = list(dict.fromkeys(name for pattern in patterns for name in matching(fspath(pattern))))
    rows = spark.createDataFrame([(at, name) for at, name in enumerate(names)], "at int, path string")
    return rows.repartitionByRange(len(names), "at").select("path")


def _sums(told: Iterable[Told]) -> tuple[tuple[Issue, ...], Couplings]:
    issues: list[Issue] = []
    couplings: list[Couplings] = []
    for piece in told:
        issues += piece.issues
        couplings.append(piece.couplings)
    return tuple(issues), Couplings(*couplings)


def _histogram_rows(keys: tuple[str, ...], joined: Requests) -> pa.Table:
    """Joined requests summed up, as bytes in one row."""
    pa = require("pyarrow", "spark")
    return pa.table({"histograms": [Histograms.of(attribute(joined), *keys).to_bytes()]})


# ── Whether the parts are complete ────────────────────────────────────────────────────────────────


def _check_engines(rows: Iterable[Any]) -> None:
    """
    Checks that all tasks ran the k8strace that is installed here.

    Raises:
        PartsError: They did not.
    """
    if others := {row.engine for row in rows} - {tasks.engine()}:
        raise PartsError(f"tasks ran k8strace {min(others)}, but the driver has {tasks.engine()}")


def _check(facts: Sequence[Facts], spans: int, clock: ClockEvidence) -> None:
    """
    Checks that the parts add up to all spans.

    Raises:
        PartsError: They do not.
    """
    told = sum(
        sum(part.ledger.used.values()) + sum(part.ledger.set_aside.values()) + part.oversize for part in facts
    )
    if told != spans:
        raise PartsError(f"{spans:,} spans were read, but {told:,} are in the ledgers of the parts")
    if any(part.evidence != tasks.digest(clock) for part in facts):
        raise PartsError("parts were joined with different clock evidence")
    if crossings := Couplings.crossings(part.couplings for part in facts):
        raise PartsError(f"{crossings:,} couplings go from one part to another: groups were split")
