"""
Archives on Spark give the rows of one process, bit by bit, or nothing.

The executors are processes of their own, as on a cluster. Everything comes from the extra and Java.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import oracle
import pytest

import k8strace
from k8strace import PartsError
from k8strace import spark as on_spark
from k8strace.spark import Options, attribution_rows, request_rows

pyspark = pytest.importorskip("pyspark")

if TYPE_CHECKING:
    import pyarrow as pa
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

ROOT = Path(__file__).parent.parent
CAPTURES = ["k8s-1.27_etcd-3.5", "k8s-1.31_etcd-3.5", "k8s-1.36_etcd-3.6"]
PIECES = 4


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from pyspark.sql import SparkSession

    place = tmp_path_factory.mktemp("spark")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    session = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .appName("k8strace tests")
        .config("spark.executorEnv.PYTHONPATH", paths)
        .config("spark.driver.memory", "1g")
        .config("spark.local.dir", str(place))
        .config("spark.sql.warehouse.dir", str(place / "warehouse"))
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Recordings in files such that the spans of a trace are in several of them."""
    place = tmp_path_factory.mktemp("archive")
    written = []
    for capture in CAPTURES:
        messages = [
            message.SerializeToString() for message in oracle.load(ROOT / f"tests/data/{capture}.otlp.zst")
        ]
        for piece in range(PIECES):
            path = place / f"{capture}-{piece}.otlp"
            frames = (struct.pack(">I", len(message)) + message for message in messages[piece::PIECES])
            path.write_bytes(b"".join(frames))
            written.append(str(path))
    return written


def digest(table: pa.Table) -> str:
    rows = sorted(repr(row) for row in table.to_pylist())
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


@pytest.fixture(scope="module")
def alone(archive: list[str]) -> tuple[str, str]:
    """What one process gives."""
    joined = k8strace.join(k8strace.read(archive))
    assert len(joined) > 3_000
    return digest(request_rows(joined)), digest(attribution_rows(joined))


def rows(frame: DataFrame) -> pa.Table:
    return frame.toArrow()


@pytest.mark.parametrize("partitions", [1, 7, 64])
def test_the_rows_are_those_of_one_process(
    session: SparkSession, archive: list[str], alone: tuple[str, str], partitions: int
) -> None:
    options = Options(partitions=partitions, join_spans=5_000)
    found = rows(on_spark.requests(session, archive, options))
    assert digest(found) == alone[0]
    session.catalog.clearCache()


def test_parts_are_those_of_one_process(
    session: SparkSession, archive: list[str], alone: tuple[str, str]
) -> None:
    pattern = str(Path(archive[0]).parent / "*.otlp")
    found = rows(on_spark.attribution(session, pattern, Options(partitions=3)))
    assert digest(found) == alone[1]
    session.catalog.clearCache()


def test_parts_by_trace_id_are_caught(
    session: SparkSession, archive: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 1.33 on that gives other rows for a third to a half of all requests, with whole traces everywhere."""

    def by_trace(_archive: Any, named: DataFrame) -> DataFrame:
        return named.repartition(7, "trace_id")

    monkeypatch.setattr("k8strace.spark._Archive._partitioned", by_trace)
    with pytest.raises(PartsError, match="couplings go from one part to another"):
        on_spark.requests(session, archive)
    session.catalog.clearCache()


def test_rows_that_are_lost_on_the_way_are_caught(
    session: SparkSession, archive: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def most(_archive: Any, named: DataFrame) -> DataFrame:
        return named.where("trace_id not like '0%'").repartition(3, "group")

    monkeypatch.setattr("k8strace.spark._Archive._partitioned", most)
    with pytest.raises(PartsError, match="spans were read"):
        on_spark.requests(session, archive)
    session.catalog.clearCache()


def test_a_group_that_is_too_large_is_counted_and_the_others_are_whole(
    session: SparkSession, archive: list[str]
) -> None:
    """Every trace with more than 50 spans is one here."""
    found = rows(on_spark.requests(session, archive, Options(partitions=2, max_group_spans=50)))
    whole = {repr(row) for row in request_rows(k8strace.join(k8strace.read(archive))).to_pylist()}
    few = {repr(row) for row in found.to_pylist()}
    assert few < whole
    session.catalog.clearCache()


def test_an_executor_that_is_killed_changes_nothing(
    session: SparkSession, archive: list[str], alone: tuple[str, str]
) -> None:
    killed: list[int] = []

    def kill() -> None:
        tracker = session.sparkContext.statusTracker()
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not tracker.getActiveStageIds():
            time.sleep(0.2)
        time.sleep(1)
        for pid in executors()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    found = rows(on_spark.requests(session, archive, Options(partitions=7)))
    killer.join()
    assert killed
    assert digest(found) == alone[0]
    session.catalog.clearCache()


def executors() -> list[int]:
    """Processes of the executors that this test's Spark started."""
    above: dict[int, int] = {}
    named: list[int] = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            above[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if b"CoarseGrainedExecutorBackend" in (place / "cmdline").read_bytes():
                named.append(int(place.name))
        except OSError:
            continue

    def is_ours(pid: int) -> bool:
        while pid > 1 and pid != os.getpid():
            pid = above.get(pid, 0)
        return pid == os.getpid()

    return [pid for pid in named if is_ours(pid)]
