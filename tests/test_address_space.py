"""Where memory is limited (`ulimit -v`), users are told so in one sentence: no traceback, and nothing hangs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from serving import ROOT, batches_of, serving
from test_serve import send

pytest.importorskip("resource", reason="the system limits no address space")

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
from k8strace.cli import main
sys.exit(main(sys.argv[1:]))
"""
MIB = 1 << 20


def limited(limit, *arguments):
    return subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )


SLOW = [pytest.param(mib, marks=pytest.mark.slow) for mib in (60, 100, 150, 275, 350, 500, 900)]


@pytest.mark.parametrize("mib", [*SLOW, 225])
def test_serve_says_that_memory_is_short(mib):
    """With 60 MiB libraries cannot be loaded, with 150 threads cannot start; with 225 gRPC would hang."""
    anywhere = [f"--{kind}-listen=127.0.0.1:0" for kind in ("grpc", "http", "metrics")]
    ended = limited(mib * MIB, "serve", "--quiet", *anywhere)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("k8strace: there is not enough memory for this")


def test_a_report_says_that_memory_is_short(tmp_path, capture_127):
    """A file of 96 MiB, where all of the process may have 128."""
    batches = b"".join(batches_of(capture_127))
    large = tmp_path / "large.otlp"
    with large.open("wb") as file:
        for _ in range(96 * MIB // len(batches)):
            file.write(batches)
    ended = limited(128 * MIB, "report", str(large))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("k8strace: there is not enough memory for this")


@pytest.mark.slow
def test_serve_works_in_a_limited_address_space(capture_127):
    """Two gibibytes are enough."""
    batches = batches_of(capture_127)
    two_gib = ("sh", "-c", f'ulimit -v {2 << 20}; exec "$@"', "sh")
    with serving("--quiet", below=two_gib) as process:
        assert send(process.address("grpc"), batches) == len(batches)
        assert process.stop()["drained"]
