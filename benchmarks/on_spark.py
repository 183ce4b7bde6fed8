"""Archives on Spark beside one process: are the rows equal whatever dies, and from when on does it pay?

    python benchmarks/on_spark.py kills --runs 20       # an executor is killed -9 in each of the three stages, each run
    python benchmarks/on_spark.py giant                 # a trace of 300,000 spans, joined and set aside
    python benchmarks/on_spark.py rates --spans 1000000 # seconds of each stage, beside one process

A cluster of two executors, each a JVM of its own with one core, is started on this machine. Needs `k8strace[spark]` and
Java 17 or newer. Rows are equal if the SHA-256 of all of them, sorted, is; ledgers and clock offsets are compared too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import k8strace
from k8strace.export.rows import offset_rows
from k8strace.formats import Message, messages
from k8strace.spark import Archive, Options, attribution_rows, joining, request_rows

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parent.parent
STAGES = ("split", "say", "join_groups")
GIANT_SPANS = 300_000


@contextmanager
def cluster(place: Path, *, executor_mb: int = 1024) -> Iterator[SparkSession]:
    """Two executors with one core each."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master(f"local-cluster[2,1,{executor_mb}]")
        .appName("k8strace")
        .config("spark.executorEnv.PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]))
        .config("spark.driver.memory", "1g")
        .config("spark.local.dir", str(place))
        .config("spark.sql.warehouse.dir", str(place / "warehouse"))
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    try:
        yield session
    finally:
        session.stop()


# ── What is equal ─────────────────────────────────────────────────────────────────────────────────


class Answer(NamedTuple):
    """Of all rows, a digest each; and the ledger."""

    requests: str
    attribution: str
    clock_offsets: str
    ledger: tuple[int, dict[str, int], dict[str, int]]


def digest(table: pa.Table) -> str:
    """SHA-256 of the sorted rows."""
    rows = sorted(repr(row) for row in table.to_pylist())
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def one_process(paths: Sequence[str]) -> Answer:
    """By `read`, `join` and `attribute`."""
    joined = k8strace.join(k8strace.read(paths))
    tables = (make(joined) for make in (request_rows, attribution_rows, offset_rows))
    return Answer(*map(digest, tables), _places(joined.joined.ledger))


def on_spark(archive: Archive) -> Answer:
    """The same of an archive."""
    tables = (archive.requests().toArrow(), archive.attribution().toArrow(), archive.clock_offsets)
    return Answer(*map(digest, tables), _places(archive.ledger))


def _places(ledger: k8strace.Ledger) -> tuple[int, dict[str, int], dict[str, int]]:
    """Places that have spans."""
    used, set_aside = ({name: n for name, n in part.items() if n} for part in (ledger.used, ledger.set_aside))
    return ledger.spans, used, set_aside


# ── Who dies ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def killed(stages: Iterable[str], place: Path, *, partition: int = 0) -> Iterator[list[Path]]:
    """Around what Spark computes: in each of these stages the task of a partition kills its executor, once."""
    marks = {stage: place / f"killed-in-{stage}" for stage in stages}
    mapped = joining._mapped

    def dying(frame: Any, work: Callable[..., Any], schema: Any) -> Any:
        mark = marks.get(getattr(work, "func", work).__name__)
        return mapped(frame, partial(die_once, mark, partition, work) if mark else work, schema)

    joining._mapped = dying
    try:
        yield list(marks.values())
    finally:
        joining._mapped = mapped


def die_once(mark: Path, partition: int, work: Callable[..., Any], batches: Iterable[Any]) -> Iterator[Any]:
    """The task of `work`, which kills its executor -9 after its first batch, the first time it runs."""
    from pyspark import TaskContext

    for batch in work(batches):
        yield batch
        if TaskContext.get().partitionId() == partition and not mark.exists():
            daemon = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8")
            executor = int(daemon.rpartition(")")[2].split()[1])
            assert b"ExecutorBackend" in Path(f"/proc/{executor}/cmdline").read_bytes()
            mark.write_text(str(executor), encoding="utf-8")
            os.kill(executor, signal.SIGKILL)


# ── What is read ──────────────────────────────────────────────────────────────────────────────────


def spread(captures: Iterable[str], place: Path, pieces: int) -> list[str]:
    """Recordings of `tests/data` in files such that the spans of a trace are in several of them."""
    written = []
    for capture in captures:
        name = ROOT / f"tests/data/{capture}.otlp.zst"
        wires = [bytes(found.wire) for found in messages(name) if isinstance(found, Message)]
        written += [_frames(wires[at::pieces], place / f"{capture}-{at}.otlp") for at in range(pieces)]
    return written


def giant(path: Path, spans: int = GIANT_SPANS) -> str:
    """One trace: a request and its many children, in messages of 1,000 spans."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    def message(first: int, count: int) -> bytes:
        made = ExportTraceServiceRequest()
        around = made.resource_spans.add()
        name = around.resource.attributes.add()
        name.key, name.value.string_value = "service.name", "apiserver"
        inside = around.scope_spans.add()
        inside.scope.name = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
        for number in range(first, first + count):
            span = inside.spans.add(trace_id=b"\xee" * 16, span_id=struct.pack(">Q", number + 1))
            begin = 1_800_000_000_000_000_000 + number * 1_000
            span.start_time_unix_nano, span.end_time_unix_nano = begin, begin + 500
            if number:
                span.name, span.parent_span_id = "List(recursive=true) etcd3", struct.pack(">Q", 1)
            else:
                span.name, span.kind, span.end_time_unix_nano = "GET /api/v1/pods", 2, begin + spans * 1_000
        return made.SerializeToString()

    return _frames((message(first, min(1_000, spans - first)) for first in range(0, spans, 1_000)), path)


def _frames(messages: Iterable[bytes], path: Path) -> str:
    with path.open("wb") as out:
        for message in messages:
            out.write(struct.pack(">I", len(message)) + message)
    return str(path)


# ── The commands ──────────────────────────────────────────────────────────────────────────────────

CAPTURES = ("k8s-1.27_etcd-3.5", "k8s-1.31_etcd-3.5", "k8s-1.36_etcd-3.6")


def kills(args: argparse.Namespace, place: Path) -> bool:
    """Runs in which executors die, at 1, 7 and 64 partitions in turn."""
    paths = spread(CAPTURES, place, 4)
    expected = one_process(paths)
    print(f"one process: sha256 of requests {expected.requests[:16]}…, of parts {expected.attribution[:16]}…")
    equal = dead = 0
    with cluster(place) as session:
        for run in range(args.runs):
            partitions = (7, 64, 1)[run % 3]
            here = Path(tempfile.mkdtemp(dir=place))
            begin = time.monotonic()
            victim = random.Random(run).randrange(min(partitions, 4))
            options = Options(partitions=partitions, join_spans=5_000)
            with (
                killed(STAGES, here, partition=victim) as marks,
                Archive(session, paths, options) as archive,
            ):
                is_equal = on_spark(archive) == expected
            session.catalog.clearCache()
            died = [mark.name for mark in marks if mark.exists()]
            equal, dead = equal + is_equal, dead + len(died)
            print(
                f"run {run + 1:2}: {partitions:2} partitions, {len(died)} executors killed -9, task {victim}, "
                f"{'equal' if is_equal else 'DIFFERENT'}, {time.monotonic() - begin:.0f} s",
                flush=True,
            )
    print(f"{equal} of {args.runs} runs equal, {dead} executors killed")
    return equal == args.runs and dead == args.runs * len(STAGES)


def giants(_: argparse.Namespace, place: Path) -> bool:
    """One trace of 300,000 spans: joined on Spark, and set aside."""
    paths = [giant(place / "giant.otlp"), *spread(CAPTURES[2:], place, 2)]
    whole, others = one_process(paths), one_process(paths[1:])
    with cluster(place) as session:
        with Archive(session, paths, Options(partitions=7)) as archive:
            is_whole = on_spark(archive) == whole
        with Archive(session, paths, Options(partitions=7, max_group_spans=100_000)) as archive:
            found = on_spark(archive)
            (aside,) = archive.oversize().agg({"spans": "sum"}).collect()
    is_aside = found[:2] == others[:2] and aside[0] == GIANT_SPANS == found.ledger[2]["oversize"]
    print(f"joined: {'equal' if is_whole else 'DIFFERENT'}; set aside: {aside[0]:,} spans, others {is_aside}")
    return is_whole and is_aside


def rates(args: argparse.Namespace, place: Path) -> bool:
    """How long each stage takes, and one process."""
    import workloads

    files = [
        _frames(workloads.generate(args.spans // args.files, seed=seed), place / f"part-{seed}.otlp")
        for seed in range(args.files)
    ]
    begin, used = time.monotonic(), time.process_time()
    joined = k8strace.join(k8strace.read(files))
    count, parts = len(joined.joined.spans), len(k8strace.attribute(joined).to_arrow())
    alone, used = time.monotonic() - begin, time.process_time() - used
    del joined
    print(
        f"one process: {count:,} spans, {parts:,} parts, {alone:.2f} s, {used / count * 1e6:.2f} µs CPU a span"
    )
    begin = time.monotonic()
    with cluster(place) as session:
        session.range(2).repartition(2).mapInArrow(_same, "id long").count()
        print(
            f"Spark and Python start: {time.monotonic() - begin:.1f} s, {_cpu_seconds():.1f} s CPU",
            flush=True,
        )
        for run in range(args.rounds):
            begin, cpu = time.monotonic(), _cpu_seconds()
            with Archive(session, files, Options(partitions=args.partitions)) as archive:
                shuffled, cpu_shuffled = time.monotonic(), _cpu_seconds()
                archive.attribution().count()
            session.catalog.clearCache()
            took, cpu_ended = time.monotonic() - begin, _cpu_seconds()
            print(
                f"round {run + 1}: {took:.1f} s ({shuffled - begin:.1f} s until the clocks are known), "
                f"{count / took:,.0f} spans/s; µs CPU a span: {(cpu_shuffled - cpu) / count * 1e6:.1f} to split, "
                f"shuffle and measure clocks, {(cpu_ended - cpu_shuffled) / count * 1e6:.1f} to join and attribute",
                flush=True,
            )
    return True


def _same(batches: Iterable[Any]) -> Iterator[Any]:
    yield from batches


def _cpu_seconds() -> float:
    """Of this process and all below it: drivers, executors, and their Python workers."""
    above: dict[int, int] = {}
    took: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        above[int(place.parent.name)] = int(fields[1])
        took[int(place.parent.name)] = sum(map(int, fields[11:15]))

    def is_ours(pid: int) -> bool:
        while pid > 1 and pid != os.getpid():
            pid = above.get(pid, 0)
        return pid == os.getpid()

    return sum(ticks for pid, ticks in took.items() if is_ours(pid)) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("kills")
    command.add_argument("--runs", type=int, default=20)
    command.set_defaults(run=kills)
    commands.add_parser("giant").set_defaults(run=giants)
    command = commands.add_parser("rates")
    command.add_argument("--spans", type=int, default=1_000_000)
    command.add_argument("--files", type=int, default=8)
    command.add_argument("--partitions", type=int, default=8)
    command.add_argument("--rounds", type=int, default=2)
    command.set_defaults(run=rates)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        return 0 if args.run(args, Path(place)) else 1


if __name__ == "__main__":
    # Tasks import this module by its name, not as the program.
    sys.path.insert(0, str(Path(__file__).parent))
    import on_spark as itself

    sys.exit(itself.main())
