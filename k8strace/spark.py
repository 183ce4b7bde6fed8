"""
Archives on Spark: exactly the rows of one join of everything, from parts on many machines.

    files ─ split ─→ a message per trace, couplings    one task a file, in bounded memory
                     couplings → groups of traces      on the driver
          ─ shuffle by group ─→ clock evidence         one task a partition, summed on the driver
                             ─→ join, attribute        one task a partition, a few groups at a time

A request is not a trace: from Kubernetes 1.33 on a third to a half of all requests come in two, so parts are whole
groups of traces that can only be joined together. What each task did is compared before anything is given out: the
ledger adds up to the spans that were read, no coupling goes from one part to another, and every part was joined with
the same evidence of clocks.

It needs the extra `k8strace[spark]`, Java, and k8strace on every worker; the files are read where the tasks run.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from k8strace.archive import ClockEvidence, Couplings, clock_evidence, couplings
from k8strace.attribution import attribute
from k8strace.components import Taxonomy
from k8strace.exceptions import PartsError
from k8strace.formats import scan
from k8strace.formats.content import matching
from k8strace.requests import Requests, join
from k8strace.spans import Spans, decode
from k8strace.tables import require

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["Options", "attribution", "attribution_rows", "request_rows", "requests"]

Paths: TypeAlias = str | PathLike[str] | Sequence[str | PathLike[str]]

_RELATIVES: Final = ("outer_request", "linked_from", "counted_in")
"""Columns with the index of another request: across parts it has none, so its ids stand there."""

_LEFT_OUT: Final = ("request", "start_time", "end_time", *_RELATIVES)
"""Spark's timestamps have no ns."""

_SPLIT: Final = "trace_id string, spans long, otlp binary, couplings binary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How archives are joined on Spark."""

    partitions: int | None = None
    """Parts after the shuffle; None: as many as Spark's `spark.sql.shuffle.partitions`."""
    taxonomy: Taxonomy | None = None
    """Who spent the time, as for `join`."""
    apiserver: str | tuple[str, ...] | None = None
    """`service.name` of the API servers, as for `join`."""
    join_spans: int = 200_000
    """Spans that a task joins at a time, about: whole groups."""
    max_group_spans: int = 5_000_000
    """A group with more spans is set aside, and counted: it would not fit into a task."""


def requests(spark: SparkSession, paths: Paths, options: Options | None = None) -> DataFrame:
    """
    The API requests of an archive, one row each, with their phases.

    Args:
        spark: The session.
        paths: Files, or patterns of their names; one task reads one file.
        options: How.

    Returns:
        Columns as those of `Requests`, with `phases`, a map of ns, and without indices and timestamps: the ids of the
        request around it are `outer_request_trace_id` and `outer_request_span_id`, and so for `linked_from` and
        `counted_in`. It was computed and checked; Spark holds it.

    Raises:
        PartsError: The parts do not add up to the whole: what was found.
        MissingExtraError: PySpark or pyarrow is not installed.
        OSError: No file fits a pattern.
    """
    return _Archive(spark, paths, options or Options()).rows(request_rows)


def attribution(spark: SparkSession, paths: Paths, options: Options | None = None) -> DataFrame:
    """
    Where the time of an archive's requests went: one row per request and phase, as `Attribution` without its index.

    Arguments and errors are those of `requests`.
    """
    return _Archive(spark, paths, options or Options()).rows(attribution_rows)


# ── Rows ──────────────────────────────────────────────────────────────────────────────────────────


def request_rows(joined: Requests) -> pa.Table:
    """
    Joined requests as the rows of `requests`: what one process gives, to compare.

    Examples:
        >>> import k8strace
        >>> from k8strace.spark import request_rows
        >>> rows = request_rows(k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")))
        >>> rows.num_rows, rows.column_names[:3]
        (1411, ['trace_id', 'span_id', 'name'])
    """
    table = joined.to_arrow()
    for name in _RELATIVES:
        for key in ("trace_id", "span_id"):
            table = table.append_column(f"{name}_{key}", table[key].take(table[name]))
    return _plain(table.drop_columns(list(_LEFT_OUT)).append_column("phases", _phases(joined)))


def attribution_rows(joined: Requests) -> pa.Table:
    """Joined requests as the rows of `attribution`."""
    return _plain(attribute(joined).to_arrow().drop_columns(["request"]))


def _phases(joined: Requests) -> pa.Array:
    """Phase → ns of each request."""
    pa = require("pyarrow", "spark")
    parts = attribute(joined).to_arrow()
    many = Counter(parts["request"].to_pylist())
    ends = list(accumulate((many[request] for request in range(len(joined))), initial=0))
    keys, ns = parts["phase"].cast(pa.string()), parts["ns"]
    return pa.MapArray.from_arrays(pa.array(ends, pa.int32()), keys.combine_chunks(), ns.combine_chunks())


def _plain(table: pa.Table) -> pa.Table:
    """In types that Spark takes."""
    pa = require("pyarrow", "spark")

    def plain(kind: Any) -> Any:
        is_text = pa.types.is_dictionary(kind) or pa.types.is_large_string(kind)
        return pa.string() if is_text else kind

    return table.cast(pa.schema([pa.field(each.name, plain(each.type)) for each in table.schema]))


# ── The stages ────────────────────────────────────────────────────────────────────────────────────


class _Facts(NamedTuple):
    """What was joined together, and how."""

    spans: int
    used: int
    set_aside: int
    oversize: int
    evidence: str
    couplings: Couplings


class _Archive:
    """An archive in parts of whole groups."""

    def __init__(self, spark: SparkSession, paths: Paths, options: Options) -> None:
        require("pyspark", "spark")
        self._spark = spark
        self._options = options
        split = _kept(self._mapped(_files(spark, paths), _split, _SPLIT))
        self._couplings = _sum_of_couplings(split)
        (total,) = split.agg({"spans": "sum"}).collect()
        self._spans = total[0] or 0
        self._grouped = _kept(self._by_group(split))
        self._clock = self._evidence(None)
        if self._clock.waiting:
            self._clock = self._evidence(self._clock)

    def _by_group(self, split: DataFrame) -> DataFrame:
        from pyspark.sql import functions as f

        traces = split.where("trace_id is not null").drop("couplings")
        groups = self._couplings.groups
        pairs = list(zip(groups["trace_id"].to_pylist(), groups["group"].to_pylist(), strict=True))
        known = self._spark.createDataFrame(pairs, "trace_id string, group string")
        named = traces.join(known, "trace_id", "left").withColumn("group", f.coalesce("group", "trace_id"))
        return self._partitioned(named).sortWithinPartitions("group", "trace_id")

    def _partitioned(self, named: DataFrame) -> DataFrame:
        """Rows of a group in one partition."""
        count = self._options.partitions
        return named.repartition(count, "group") if count else named.repartition("group")

    def _evidence(self, clock: ClockEvidence | None) -> ClockEvidence:
        say = partial(_say, replace(self._options, taxonomy=None), clock)
        found = self._mapped(self._grouped, say, "evidence string").toLocalIterator()
        return sum((ClockEvidence(row.evidence) for row in found), ClockEvidence())

    def rows(self, make: Callable[[Requests], pa.Table]) -> DataFrame:
        """The rows that `make` makes of each part, once the parts are known to be the whole."""
        from pyspark.sql.pandas.types import from_arrow_schema

        empty = make(join(decode([])))
        schema = from_arrow_schema(empty.schema).add("_facts", "binary")
        work = partial(_join, self._options, self._clock, self._couplings, make)
        done = _kept(self._mapped(self._grouped, work, schema))
        facts = [pickle.loads(row._facts) for row in done.where("_facts is not null").toLocalIterator()]  # noqa: S301 - our own tasks'
        _check(facts, self._spans, self._clock)
        return done.where("_facts is null").drop("_facts")

    def _mapped(self, frame: DataFrame, work: Callable[..., Any], schema: Any) -> DataFrame:
        return frame.mapInArrow(work, schema)


def _kept(frame: DataFrame) -> DataFrame:
    from pyspark import StorageLevel

    return frame.persist(StorageLevel.DISK_ONLY)


def _files(spark: SparkSession, paths: Paths) -> DataFrame:
    patterns = [paths] if isinstance(paths, (str, PathLike)) else paths
    names = list(dict.fromkeys(name for pattern in patterns for name in matching(fspath(pattern))))
    return spark.createDataFrame([(name,) for name in names], "path string").repartition(len(names), "path")


def _sum_of_couplings(split: DataFrame) -> Couplings:
    rows = split.where("couplings is not null").select("couplings").toLocalIterator()
    return Couplings(*(pickle.loads(row.couplings) for row in rows))  # noqa: S301 - our own tasks'


def _check(facts: Sequence[_Facts], spans: int, clock: ClockEvidence) -> None:
    """
    Whether the parts are the whole.

    Raises:
        PartsError: They are not.
    """
    told = sum(part.used + part.set_aside + part.oversize for part in facts)
    if told != spans or any(part.spans != part.used + part.set_aside for part in facts):
        raise PartsError(f"{spans:,} spans were read, and {told:,} are in the ledgers of the parts")
    if any(part.evidence != _digest(clock) for part in facts):
        raise PartsError("parts were joined with different evidence of clocks")
    if crossings := Couplings.crossings(part.couplings for part in facts):
        raise PartsError(f"{crossings:,} couplings go from one part to another: groups were torn")


def _digest(clock: ClockEvidence) -> str:
    return hashlib.sha256(clock.text.encode()).hexdigest()


# ── The tasks: they run on the workers ────────────────────────────────────────────────────────────


def _split(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    pa = require("pyarrow", "spark")
    for batch in batches:
        for path in batch["path"].to_pylist():
            for spans in scan(path):
                traces = spans.to_otlp(split="trace_id").to_arrow()
                none = pa.nulls(len(traces), pa.binary())
                columns = [
                    traces["trace_id"].cast(pa.string()),
                    traces["spans"],
                    traces["otlp"].cast(pa.binary()),
                    none,
                ]
                yield from pa.table(columns, _split_names()).to_batches()
                coupled = pickle.dumps(couplings(spans))
                row = [[None], [None], [None], [coupled]]
                kinds = [pa.string(), pa.int64(), pa.binary(), pa.binary()]
                arrays = [pa.array(values, kind) for values, kind in zip(row, kinds, strict=True)]
                yield pa.record_batch(arrays, _split_names())


def _split_names() -> list[str]:
    return [column.split()[0] for column in _SPLIT.split(", ")]


def _parts(batches: Iterable[pa.RecordBatch], options: Options) -> Iterator[tuple[Spans, int]]:
    """Whole groups, as many as are joined at a time; and how many spans were set aside because a group is too large."""
    held: list[bytes] = []
    count = oversize = 0
    for messages, spans in _groups(batches, options.max_group_spans):
        oversize += spans if messages is None else 0
        held += messages or ()
        count += spans if messages is not None else 0
        if count >= options.join_spans:
            yield decode([b"".join(held)]), oversize
            held, count, oversize = [], 0, 0
    if held or oversize:
        yield decode([b"".join(held)]), oversize


def _groups(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[tuple[list[bytes] | None, int]]:
    """Messages of each group, or None if it has too many spans; and how many it has."""
    group: str | None = None
    messages: list[bytes] | None = []
    count = 0
    for batch in batches:
        columns = (batch[name].to_pylist() for name in ("group", "spans", "otlp"))
        for name, spans, message in zip(*columns, strict=True):
            if name != group:
                if count:
                    yield messages, count
                group, messages, count = name, [], 0
            count += spans
            if count > most:
                messages = None
            if messages is not None:
                messages.append(message)
    if count:
        yield messages, count


def _say(
    options: Options, clock: ClockEvidence | None, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    pa = require("pyarrow", "spark")
    parts = _parts(batches, options)
    said = (clock_evidence(spans, apiserver=options.apiserver, clock=clock) for spans, _ in parts)
    yield pa.record_batch([pa.array([sum(said, ClockEvidence()).text])], ["evidence"])


def _join(
    options: Options,
    clock: ClockEvidence,
    coupled: Couplings,
    make: Callable[[Requests], pa.Table],
    batches: Iterable[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    pa = require("pyarrow", "spark")
    for spans, oversize in _parts(batches, options):
        joined = join(spans, taxonomy=options.taxonomy, apiserver=options.apiserver, clock=clock)
        ledger = joined.joined.ledger
        facts = _Facts(
            spans=len(spans),
            used=sum(ledger.used.values()),
            set_aside=sum(ledger.set_aside.values()),
            oversize=oversize,
            evidence=_digest(clock),
            couplings=couplings(spans, of=coupled),
        )
        rows = make(joined)
        yield from rows.append_column("_facts", pa.nulls(len(rows), pa.binary())).to_batches()
        arrays = [pa.nulls(1, each.type) for each in rows.schema]
        arrays.append(pa.array([pickle.dumps(facts)], pa.binary()))
        yield pa.record_batch(arrays, [*rows.schema.names, "_facts"])
