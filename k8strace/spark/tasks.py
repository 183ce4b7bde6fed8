"""What runs on the workers: Arrow batches in, Arrow batches out, and facts that the driver checks."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from k8strace import _core
from k8strace.archive import ClockEvidence, Couplings, clock_evidence, couplings
from k8strace.components import Taxonomy
from k8strace.export.rows import offset_rows
from k8strace.formats import scan
from k8strace.requests import Ledger, Requests, join
from k8strace.spans import Issue, Spans, decode
from k8strace.tables import require

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["EVIDENCE", "SPLIT", "Facts", "Options", "Told", "digest", "engine", "join_groups", "say", "split"]

SPLIT: Final = "trace_id string, spans long, otlp binary, told binary, engine string"
"""Rows of traces, and rows without a trace that have the other results of a piece."""

EVIDENCE: Final = "evidence string, engine string"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How archives are joined on Spark."""

    partitions: int | None = None
    """Partitions after the shuffle; None for Spark's `spark.sql.shuffle.partitions`."""
    taxonomy: Taxonomy | None = None
    """Components and phases, as for `join`."""
    apiserver: str | tuple[str, ...] | None = None
    """`service.name` of the API servers, as for `join`."""
    join_spans: int = 200_000
    """About how many spans a task joins at a time, in whole groups."""
    max_group_spans: int = 5_000_000
    """A group with more spans does not fit into a task: it is set aside and counted."""


class Told(NamedTuple):
    """Results of a piece of a file beside its traces."""

    couplings: Couplings
    issues: tuple[Issue, ...]


class Facts(NamedTuple):
    """What a task reports about the groups that it joined together."""

    ledger: Ledger
    oversize: int
    """Spans of groups that were too large."""
    evidence: str
    couplings: Couplings
    clock_offsets: pa.Table


@cache
def engine() -> str:
    """Which k8strace runs here: the version, and a digest of the package's sources and of its core."""
    package = Path(_core.__file__).parent
    found = hashlib.sha256()
    for path in sorted([*package.rglob("*.py"), Path(_core.__file__)]):
        content = path.read_bytes()
        found.update(f"{path.relative_to(package)} {len(content)} ".encode() + content)
    return f"{_core.__version__} {found.hexdigest()}"


def digest(clock: ClockEvidence) -> str:
    """A digest of the evidence."""
    return hashlib.sha256(clock.text.encode()).hexdigest()


def split(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """File names → a message per trace and piece; memory is bounded by the size of a piece."""
    pa = require("pyarrow", "spark")
    names = [column.split()[0] for column in SPLIT.split(", ")]
    for batch in batches:
        for path in batch["path"].to_pylist():
            for spans in scan(path):
                traces = spans.to_otlp(split="trace_id").to_arrow()
                told = pickle.dumps(Told(couplings(spans), tuple(spans.issues)))
                one = ([None], [None], [None], [told], [engine()])
                kinds = (pa.string(), pa.int64(), pa.binary(), pa.binary(), pa.string())
                yield pa.record_batch([pa.array(*each) for each in zip(one, kinds, strict=True)], names)
                columns = [traces[name].cast(kind) for name, kind in zip(names[:3], kinds, strict=False)]
                columns += [pa.nulls(len(traces), kind) for kind in kinds[3:]]
                yield from pa.table(columns, names).to_batches()


def say(
    options: Options, clock: ClockEvidence | None, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Groups → their clock evidence, in one row."""
    pa = require("pyarrow", "spark")
    parts = _parts(batches, options)
    said = (clock_evidence(spans, apiserver=options.apiserver, clock=clock) for spans, _ in parts)
    yield pa.record_batch([[sum(said, ClockEvidence()).text], [engine()]], ["evidence", "engine"])


def join_groups(
    options: Options,
    clock: ClockEvidence,
    links: Couplings,
    make: Callable[[Requests], pa.Table],
    batches: Iterable[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Groups → the rows that `make` returns for them, and rows that have only `Facts` and the engine."""
    pa = require("pyarrow", "spark")
    for spans, oversize in _parts(batches, options):
        joined = join(spans, taxonomy=options.taxonomy, apiserver=options.apiserver, clock=clock)
        facts = Facts(
            ledger=joined.joined.ledger,
            oversize=oversize,
            evidence=digest(clock),
            couplings=couplings(spans, of=links),
            clock_offsets=offset_rows(joined),
        )
        rows = make(joined)
        schema = rows.schema.append(pa.field("_facts", pa.binary())).append(pa.field("_engine", pa.string()))
        nulls = [pa.nulls(len(rows), each.type) for each in list(schema)[-2:]]
        yield from pa.table([*rows.columns, *nulls], schema=schema).to_batches()
        one = [pa.nulls(1, each.type) for each in rows.schema]
        yield pa.record_batch([*one, pa.array([pickle.dumps(facts)]), pa.array([engine()])], schema=schema)


def _parts(batches: Iterable[pa.RecordBatch], options: Options) -> Iterator[tuple[Spans, int]]:
    """The spans of some whole groups to join at a time, and the number of spans set aside as oversize."""
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
    """For each group its messages, or None if it has too many spans, and its number of spans."""
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
