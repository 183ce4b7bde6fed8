"""Connections need file descriptors: more are asked for at the start, and without them there are fewer connections."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

pytest.importorskip("resource")

pytestmark = pytest.mark.alone

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


@pytest.fixture
def short_of_files():
    """A process that may have 328 open files, so 36 connections to each of two addresses; and its addresses."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (328, 328));"
        "from k8strace.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    off = [f"--{kind}-listen=127.0.0.1:0" for kind in ("grpc", "http", "metrics")]
    arguments = [sys.executable, "-c", code, "serve", "--quiet", "--log-format=json", *off]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        try:
            told = [json.loads(process.stderr.readline()) for _ in range(2)]
            assert "at most 36 connections" in told[0]["message"]
            yield {kind: each[0].rsplit(":", 1) for kind, each in told[1]["listening"].items()}
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_probes_are_answered_while_connections_are_exhausted(short_of_files, kind):
    """By more requests that have begun than there are places; none of them can be closed to make room."""
    begun = {
        "http": b"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/x-protobuf\r\nContent-Length: 9\r\n\r\n",
        "grpc": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5),
    }[kind]
    held = [socket.create_connection(short_of_files[kind], timeout=10) for _ in range(100)]
    try:
        for each in held:
            with contextlib.suppress(OSError):  # refused already
                each.sendall(begun)
        began = time.monotonic()
        for path in ("/healthz", "/readyz", "/metrics"):
            url = f"http://{':'.join(short_of_files['metrics'])}{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                text = answer.read().decode()  # of /metrics in the end
        assert time.monotonic() - began < 4  # before the half requests are given up
        if kind == "http":
            ended = re.findall(
                r'ended_http_connections_total\{reason="(?:full|room)",server="http"\} ([0-9.]+)', text
            )
            assert sum(map(float, ended)) > 0
    finally:
        for each in held:
            each.close()
