"""Connections need file descriptors: more are asked for at the start, and without them there are fewer connections."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytest.importorskip("resource")

START = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from k8strace.receiver import Limits
from k8strace.receiver.transports.descriptors import fit_connections
limits = fit_connections(Limits(connections=1_000), listeners=3)
print(limits.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def started(soft, hard):
    code = START.format(soft=soft, hard=hard)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return tuple(map(int, done.stdout.split()))


def test_the_soft_limit_is_raised():
    """A thousand for each of three, and 256 for the rest."""
    assert started(soft=256, hard=4_096) == (1_000, 3_256)


def test_without_leave_there_are_fewer_connections():
    assert started(soft=256, hard=1_024) == ((1_024 - 256) // 3, 1_024)


def test_a_limit_that_is_enough_is_left_alone():
    assert started(soft=4_000, hard=4_096) == (1_000, 4_000)


def test_serve_says_so():
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512));"
        "from k8strace.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    off = [f"--{kind}-listen=127.0.0.1:0" for kind in ("grpc", "http", "metrics")]
    with subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--quiet", *off], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            told = process.stderr.readline()
        finally:
            process.terminate()
            process.communicate(timeout=20)
    assert re.search(r"at most 128 connections to each address instead of 1024: .*ulimit -n", told)
