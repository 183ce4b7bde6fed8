"""Files larger than memory: what a digest says is what one join of everything would say."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace
import k8strace.formats
from k8strace import Digest, DigestSettings, Histograms
from k8strace.export.rows import request_rows

pytest.importorskip("pyarrow")
pytest.importorskip("numpy")
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from later import Later

DATA = Path(__file__).parent / "data"
CAPTURE = DATA / "k8s-1.36_etcd-3.6.otlp.zst"
SECOND = 1_000_000_000
SUMS = DigestSettings(rows=False)


@lru_cache
def joined() -> k8strace.Requests:
    return k8strace.join(k8strace.read(CAPTURE))


@lru_cache
def later() -> Later:
    return Later(CAPTURE)


def frames(messages: list[bytes]) -> bytes:
    return b"".join(len(wire).to_bytes(4, "big") + wire for wire in messages)


def messages() -> list[bytes]:
    parts = k8strace.formats.messages(CAPTURE)
    return [bytes(part.wire) for part in parts if isinstance(part, k8strace.formats.Message)]


def assert_equal_to_batch(digest: Digest, requests: k8strace.Requests) -> None:
    assert digest.histograms == Histograms.of(k8strace.attribute(requests))
    assert digest.ledger == requests.joined.ledger
    assert digest.counts["requests"] == len(requests)
    assert digest.slowest[0].wall_ns == requests.slowest(1)[0].wall_ns
    assert digest.finished


# ---- the same as the batch ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["k8s-1.27_etcd-3.5", "k8s-1.31_etcd-3.5", "k8s-1.36_etcd-3.6"])
def test_a_recording_gives_what_one_join_of_it_gives(name, tmp_path):
    path = DATA / f"{name}.otlp.zst"
    assert_equal_to_batch(
        k8strace.digest(path, into=tmp_path, settings=SUMS), k8strace.join(k8strace.read(path))
    )


def test_files_of_each_process_are_merged_by_time(tmp_path):
    """Some frames of etcd's file hold as much time as many of the apiserver's; the files come in any order."""
    parts: dict[str, list[bytes]] = {}
    for wire in messages():
        by_service: dict[str, ExportTraceServiceRequest] = {}
        for resource in ExportTraceServiceRequest.FromString(wire).resource_spans:
            (service,) = (
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            )
            by_service.setdefault(service, ExportTraceServiceRequest()).resource_spans.append(resource)
        for service, request in by_service.items():
            parts.setdefault(service, []).append(request.SerializeToString())
    paths = []
    for service, wires in parts.items():
        for number, some in enumerate((wires[len(wires) // 2 :], wires[: len(wires) // 2])):
            paths.append(tmp_path / f"{service}-{number}.otlp")
            paths[-1].write_bytes(frames(some))
    assert len(paths) >= 4
    digest = k8strace.digest(paths, into=tmp_path / "digest", settings=SUMS)
    assert_equal_to_batch(digest, joined())
    assert "out_of_order" not in digest.counts
    assert digest.counts["late_traces"] == 0


def test_spans_at_the_end_of_time_do_not_take_the_others_there(tmp_path):
    """They come first in the file of the apiserver; etcd's file was read before the rest of it."""
    parts: dict[str, list[bytes]] = {"apiserver": [], "etcd": []}
    for wire in messages():
        for resource in ExportTraceServiceRequest.FromString(wire).resource_spans:
            (service,) = (
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            )
            parts[service].append(ExportTraceServiceRequest(resource_spans=[resource]).SerializeToString())
    late = ExportTraceServiceRequest()
    for number in range(1, 9):
        ids = {"trace_id": number.to_bytes(16, "big"), "span_id": number.to_bytes(8, "big")}
        late.resource_spans.add().scope_spans.add().spans.add(end_time_unix_nano=1 << 63, **ids)
    parts["apiserver"].insert(5, late.SerializeToString() * 40)
    paths = []
    for service, wires in parts.items():
        paths.append(tmp_path / f"{service}.otlp")
        paths[-1].write_bytes(frames(wires))
    digest = k8strace.digest(paths, into=tmp_path / "digest", settings=SUMS)
    assert_equal_to_batch(digest, k8strace.join(k8strace.read(paths)))
    assert "out_of_order" not in digest.counts


@pytest.mark.slow
def test_rows_by_the_hour_are_those_of_the_batch(tmp_path):
    from pyarrow import parquet

    copies = 3
    later().write(tmp_path / "day.otlp", copies, 3_600 * SECOND)
    settings = DigestSettings(checkpoint_spans=20_000)
    digest = k8strace.digest(tmp_path / "day.otlp", into=tmp_path / "digest", settings=settings)
    rows = parquet.read_table(tmp_path / "digest" / "requests").drop_columns(["hour"])
    expected = request_rows(k8strace.join(k8strace.read(tmp_path / "day.otlp")))
    order = [(name, "ascending") for name in ("trace_id", "span_id")]
    assert rows.select(expected.column_names).sort_by(order).equals(expected.sort_by(order))
    assert len(list((tmp_path / "digest" / "requests").iterdir())) == len(digest.hours) >= copies
    assert sum(group.requests for group in digest.hours) == digest.histograms.requests


def test_duckdb_reads_the_rows(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    k8strace.digest(CAPTURE, into=tmp_path)
    rows = duckdb.sql(
        f"SELECT verb, count(*), sum(wall_ns), sum(phases['etcd.server'])::BIGINT "
        f"FROM read_parquet('{tmp_path}/requests/*/*.parquet', hive_partitioning = true) GROUP BY verb"
    ).fetchall()
    attribution = k8strace.attribute(joined())
    for verb, count, wall_ns, server_ns in rows:
        some = joined().where(verb=verb)
        assert (count, wall_ns) == (len(some), sum(some.column("wall_ns")))
        phases = (attribution.phases(row).get("etcd.server") for row in some.column("request"))
        assert (server_ns or 0) == sum(filter(None, phases))


# ---- interrupted ----------------------------------------------------------------------------------

CHECKPOINT_SPANS = 8_000
KILLS = 2
CHILD = f"""
import sys, k8strace
files, into = sys.argv[1].split(":"), sys.argv[2]
k8strace.digest(files, into=into, settings=k8strace.DigestSettings(checkpoint_spans={CHECKPOINT_SPANS}))
"""


@pytest.mark.slow
def test_one_that_is_killed_and_picked_up_is_equal_to_one_that_was_not(tmp_path):
    """Two files, the second one a repeat of some of the first; killed where it reads, counts, or writes."""
    files = [tmp_path / name for name in ("a.otlp", "b.otlp")]
    later().write(files[0], 3, 600 * SECOND)
    later().write(files[1], 1, 0)
    settings = DigestSettings(checkpoint_spans=CHECKPOINT_SPANS)
    whole = k8strace.digest(files, into=tmp_path / "whole", settings=settings)
    assert whole.counts["repeats"] == len(joined().spans)
    into, draw, seen = tmp_path / "killed", random.Random(9), 0
    words = [sys.executable, "-c", CHILD, ":".join(map(str, files)), str(into)]
    for _ in range(KILLS):
        child = subprocess.Popen(words)
        while child.poll() is None and number_of(into / "digest") <= seen:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.05)
        assert child.poll() is None
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        seen = number_of(into / "digest")
        assert not Digest.read(into).finished
    subprocess.run(words, check=True)
    picked_up = Digest.read(into)
    assert picked_up == whole
    assert picked_up.finished
    assert rows_of(into) == rows_of(tmp_path / "whole")


def number_of(checkpoint: Path) -> int:
    """Of the last checkpoint."""
    try:
        told = json.loads(checkpoint.read_bytes().split(b"\n", 2)[1])["told"]
    except FileNotFoundError:
        return 0
    return int(told["number"])


def rows_of(into: Path) -> list[dict[str, object]]:
    from pyarrow import parquet

    rows = parquet.read_table(into / "requests").to_pylist()
    return sorted(rows, key=lambda row: (row["trace_id"], row["span_id"]))


def test_what_is_finished_is_only_read(tmp_path):
    first = k8strace.digest(CAPTURE, into=tmp_path, settings=SUMS)
    before = (tmp_path / "digest").stat()
    assert k8strace.digest(CAPTURE, into=tmp_path, settings=SUMS) == first == Digest.read(tmp_path)
    assert (tmp_path / "digest").stat().st_mtime_ns == before.st_mtime_ns


def test_a_digest_of_other_files_or_settings_is_not_gone_on_with(tmp_path):
    k8strace.digest(CAPTURE, into=tmp_path, settings=SUMS)
    with pytest.raises(k8strace.DigestError, match="of other files"):
        k8strace.digest(DATA / "k8s-1.27_etcd-3.5.otlp.zst", into=tmp_path, settings=SUMS)
    with pytest.raises(k8strace.DigestError, match="window_ns 30000000000, expected 1"):
        k8strace.digest(CAPTURE, into=tmp_path, settings=DigestSettings(rows=False, window_ns=1))


@pytest.mark.parametrize("rule", [k8strace.Rule("mesh.audit", name="audit"), lambda _: None])
def test_a_digest_of_other_rules_is_not_gone_on_with(tmp_path, rule):
    """Its phases are others."""
    taxonomy = k8strace.Taxonomy().with_rule(rule)
    first = k8strace.digest(CAPTURE, into=tmp_path, settings=SUMS, taxonomy=taxonomy)
    assert k8strace.digest(CAPTURE, into=tmp_path, settings=SUMS, taxonomy=taxonomy) == first
    with pytest.raises(k8strace.DigestError, match="holds a digest with other rules"):
        k8strace.digest(CAPTURE, into=tmp_path, settings=SUMS)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"k8strace-digest 1\n", b'k8strace-digest 1\n{"blobs": 3}\n']
)
def test_another_file_in_its_place_is_an_error(tmp_path, content):
    (tmp_path / "digest").write_bytes(content)
    with pytest.raises(k8strace.DigestError, match="no digest"):
        Digest.read(tmp_path)
    with pytest.raises(k8strace.DigestError, match="no digest"):
        k8strace.digest(CAPTURE, into=tmp_path, settings=SUMS)


def test_a_directory_without_one_is_an_error(tmp_path):
    with pytest.raises(k8strace.DigestError, match="holds no digest"):
        Digest.read(tmp_path)


# ---- what a stream cannot know --------------------------------------------------------------------


def test_what_comes_late_is_counted(tmp_path):
    """The second half of a recording's messages again behind a day: not one trace is counted as whole."""
    halves = [later().copy(0, 0), later().copy(1, 86_400 * SECOND), later().copy(0, 0)]
    ends = [later().frames[len(later().frames) // 2], len(halves[1]), None]
    (tmp_path / "late.otlp").write_bytes(
        halves[0][: ends[0]].tobytes() + halves[1].tobytes() + halves[2][ends[0] :].tobytes()
    )
    digest = k8strace.digest(tmp_path / "late.otlp", into=tmp_path / "digest", settings=SUMS)
    assert digest.counts["late_traces"] > 0
    assert digest.counts["out_of_order"] > 0
    ledger = digest.ledger
    assert ledger.spans == digest.counts["spans"] == 2 * len(joined().spans)
    assert ledger.spans == sum(ledger.used.values()) + sum(ledger.set_aside.values())


def test_what_does_not_fit_is_counted(tmp_path):
    settings = DigestSettings(rows=False, max_spans=2_000)
    digest = k8strace.digest(CAPTURE, into=tmp_path, settings=settings)
    assert digest.counts["evicted_spans"] + digest.counts["evicted_bytes"] > 0
    assert digest.incomplete["evicted"] > 0
    assert digest.ledger.spans == len(joined().spans)


@pytest.mark.slow
@pytest.mark.alone
def test_memory_is_flat(tmp_path):
    """Ten times the input: a little more for the ids of traces that are known to be counted, and for more hours."""
    words = (
        "import resource, sys, k8strace\n"
        "settings = k8strace.DigestSettings(checkpoint_spans=100_000)\n"
        "k8strace.digest(sys.argv[1], into=sys.argv[2], settings=settings)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for copies in (12, 120):
        path = tmp_path / f"{copies}.otlp"
        later().write(path, copies, 60 * SECOND)
        command = [sys.executable, "-c", words, str(path), str(tmp_path / f"into-{copies}")]
        peaks.append(int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        path.unlink()
    assert peaks[1] < 1.25 * peaks[0], peaks


# ---- the command ----------------------------------------------------------------------------------


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "k8strace", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_says_where_the_time_went(tmp_path):
    done = run("digest", CAPTURE, "--into", tmp_path, "--no-rows")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1,293 API requests, 38.7 s in all" in done.stdout
    assert "Ledger: 16,766 spans = " in done.stdout
    again = run("digest", "--into", tmp_path, "--json")
    told = json.loads(again.stdout)
    slow = next(
        each for each in told["groups"] if (each["verb"], each["resource"]) == ("update", "configmaps")
    )
    assert (slow["count"], sum(slow["components"].values())) == (48, slow["wall_ns"])
    assert told["ledger"]["spans"] == 16_766


def test_errors_of_the_command_are_one_line(tmp_path):
    done = run("digest", CAPTURE, "--into", tmp_path, "--no-rows", "--by", "colour")
    assert done.returncode == 2
    assert "there is no column 'colour'" in done.stderr
    k8strace.digest(CAPTURE, into=tmp_path / "made", settings=SUMS)
    done = run("digest", "--into", tmp_path / "made", "--by", "verb")
    assert done.returncode == 2
    assert "holds sums by verb,resource: give the files" in done.stderr
    done = run("digest", "--into", tmp_path / "nothing")
    assert done.returncode == 1
    assert "holds no digest" in done.stderr
    assert done.stderr.count("\n") == 1
