"""
Archives on Spark give the rows of one process, bit by bit, or nothing.

The executors are processes of their own, as on a cluster. Everything comes from the extra and Java.
`benchmarks/on_spark.py` does the same more often and with more spans.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import k8strace
from k8strace import ClockEvidence, PartsError
from k8strace.spark import Archive, Options, joining, register, request_rows, span_rows

pyspark = pytest.importorskip("pyspark")

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import on_spark  # noqa: E402

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.skipif(
        not (shutil.which("java") or os.environ.get("JAVA_HOME")),
        reason="Spark needs Java, and there is none",
    ),
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    with on_spark.cluster(tmp_path_factory.mktemp("spark")) as session:
        yield session


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return on_spark.spread(["k8s-1.31_etcd-3.5", "k8s-1.36_etcd-3.6"], tmp_path_factory.mktemp("archive"), 2)


@pytest.fixture(scope="module")
def alone(paths: list[str]) -> on_spark.Answer:
    """What one process gives."""
    return on_spark.one_process(paths)


@pytest.fixture(scope="module")
def whole(session: SparkSession, paths: list[str]) -> Archive:
    return Archive(session, str(Path(paths[0]).parent / "*.otlp"), Options(partitions=7, join_spans=5_000))


@pytest.fixture
def archive(whole: Archive, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """The same, of which nothing was asked."""
    monkeypatch.setattr(whole, "_made", {})
    return whole


def test_the_rows_are_those_of_one_process(archive: Archive, alone: on_spark.Answer) -> None:
    """At seven partitions."""
    assert on_spark.on_spark(archive) == alone
    assert archive.issues == ()
    assert archive.oversize().count() == 0


def test_sums_are_those_of_one_process(archive: Archive, paths: list[str]) -> None:
    joined = k8strace.join(k8strace.read(paths))
    assert archive.histograms() == k8strace.Histograms.of(k8strace.attribute(joined))


@pytest.mark.parametrize("partitions", [1, 64])
def test_so_they_are_at_other_numbers_of_partitions(
    session: SparkSession, paths: list[str], alone: on_spark.Answer, partitions: int
) -> None:
    with Archive(session, paths, Options(partitions=partitions)) as archive:
        assert on_spark.on_spark(archive) == alone


def test_an_executor_that_is_killed_in_each_stage_changes_nothing(
    session: SparkSession, paths: list[str], alone: on_spark.Answer, tmp_path: Path
) -> None:
    with (
        on_spark.killed(on_spark.STAGES, tmp_path, partition=1) as marks,
        Archive(session, paths, Options(partitions=7)) as archive,
    ):
        assert on_spark.on_spark(archive) == alone
    assert len({mark.read_text() for mark in marks}) == 3


def test_parts_by_trace_id_are_caught(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 1.33 on that gives other rows for a third to a half of all requests, with whole traces everywhere."""
    by_trace = archive._grouped.repartition(7, "trace_id").sortWithinPartitions("group", "trace_id")
    monkeypatch.setattr(archive, "_grouped", by_trace)
    with pytest.raises(PartsError, match="couplings go from one part to another"):
        archive.requests()


def test_rows_that_are_lost_on_the_way_are_caught(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_grouped", archive._grouped.where("trace_id not like '0%'"))
    with pytest.raises(PartsError, match="spans were read"):
        archive.requests()


def test_a_task_with_other_evidence_is_caught(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = joining._mapped

    def stale(frame: DataFrame, work: Any, schema: Any) -> DataFrame:
        options, _clock, *rest = work.args
        return mapped(frame, partial(work.func, options, ClockEvidence(), *rest), schema)

    monkeypatch.setattr(joining, "_mapped", stale)
    with pytest.raises(PartsError, match="different clock evidence"):
        archive.requests()


def test_a_task_with_another_core_is_caught(session: SparkSession, archive: Archive, tmp_path: Path) -> None:
    """One byte longer, and so another build of the same version."""
    package = Path(k8strace.__file__).parent
    other = shutil.copytree(package, tmp_path / "k8strace", ignore=shutil.ignore_patterns("__pycache__"))
    with next(other.glob("_core.*.so")).open("ab") as core:
        core.write(b"\0")
    session.sparkContext.environment["PYTHONPATH"] = str(tmp_path)
    try:
        with pytest.raises(PartsError, match=f"tasks ran k8strace {k8strace.__version__}"):
            archive.requests()
    finally:
        del session.sparkContext.environment["PYTHONPATH"]


def test_a_trace_of_300_000_spans_is_set_aside_and_counted_and_the_others_are_whole(
    session: SparkSession, tmp_path: Path
) -> None:
    others = on_spark.spread(["k8s-1.36_etcd-3.6"], tmp_path, 1)
    paths = [on_spark.giant(tmp_path / "giant.otlp"), *others]
    with Archive(session, paths, Options(partitions=2, max_group_spans=100_000)) as archive:
        found = archive.requests().toArrow()
        assert on_spark.digest(found) == on_spark.digest(request_rows(k8strace.join(k8strace.read(others))))
        assert archive.ledger.set_aside["oversize"] == 300_000
        assert sum(sum(place.values()) for place in archive.ledger[1:]) == archive.ledger.spans == 316_766
        aside = archive.oversize().groupBy("trace_id").sum("spans").collect()
        assert [tuple(row) for row in aside] == [("ee" * 16, 300_000)]


def test_the_data_source_gives_the_spans(session: SparkSession, paths: list[str]) -> None:
    register(session)
    frame = session.read.format("k8strace").load(str(Path(paths[0]).parent / "*.otlp"))
    assert on_spark.digest(frame.toArrow()) == on_spark.digest(span_rows(k8strace.read(paths)))
