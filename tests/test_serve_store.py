"""`k8strace serve --store`: what becomes of the store while it serves, and what is told of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving import EXPORT, batches_of, serving

import k8strace
from k8strace.receiver import Journal
from k8strace.receiver.journal.storage import OsStorage

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")


def export(address: str, batch: bytes) -> grpc.StatusCode:
    """What a sender that does not retry is told."""
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(EXPORT)(batch, timeout=20)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def until(found: Callable[[], Any], seconds: float = 20) -> Any:
    """What it finds, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def spans_in(store: Path) -> int:
    return len(k8strace.read(str(store / "*.otlp*"))) if list(store.glob("*.otlp*")) else 0


def remove_segment(store: Path) -> None:
    next(store.glob("*.open.otlp")).unlink()


def replace_segment(store: Path) -> None:
    segment = next(store.glob("*.open.otlp"))
    segment.rename(segment.with_suffix(".gone"))
    segment.touch()


def move_store(store: Path) -> None:
    store.rename(store.with_name("elsewhere"))


def replace_store(store: Path) -> None:
    move_store(store)
    store.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    [shutil.rmtree, remove_segment, replace_segment, move_store, replace_store],
    ids=lambda f: f.__name__,
)
def test_a_store_that_goes_while_it_serves_acknowledges_nothing_into_nowhere(harm, tmp_path, capture_127):
    """Batches are refused until there is a store again, it is told, and what is acknowledged afterwards is there."""
    store, batch = tmp_path / "store", batches_of(capture_127)[0]
    with serving("--store", str(store)) as process:
        address = process.address("grpc")
        assert export(address, batch) == grpc.StatusCode.OK
        harm(store)
        acknowledged = 0
        for _ in range(40):
            if export(address, batch) == grpc.StatusCode.OK:
                acknowledged += 1
            time.sleep(0.02)
        assert acknowledged, "it is made anew"
        told = process.find("nothing is accepted")["message"]
        assert str(store) in told
        assert "to stay" in told
        assert process.find("the store can be written again")
        assert process.metric("k8strace_journal_vanished_total") >= 1
        assert process.get("/readyz") == (200, "accepting\n")
        process.stop()
    shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
    assert spans_in(store) == acknowledged * len(k8strace.decode(batch))


@pytest.mark.slow
def test_a_store_that_goes_while_nothing_comes_is_told_too(tmp_path, capture_127):
    store, batch = tmp_path / "store", batches_of(capture_127)[0]
    with serving("--store", str(store)) as process:
        assert export(process.address("grpc"), batch) == grpc.StatusCode.OK
        shutil.rmtree(store)
        assert process.find("nothing is accepted")
        assert process.find("the store can be written again")
        assert store.is_dir()


@pytest.mark.slow
@LINUX
def test_a_full_disk_is_told_with_reason_and_path_and_a_freed_one_is_ready_by_itself(tmp_path, capture_127):
    """By `/readyz`, the log and the gauge; nobody has to send for it to be ready again."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        store, ballast = tmp_path / "store", tmp_path / "ballast"
        with serving("--store", str(store)) as process:
            ballast.write_bytes(bytes((1 << 20) - 8192))
            assert (
                export(process.address("grpc"), batches_of(capture_127)[0] * 20)
                == grpc.StatusCode.UNAVAILABLE
            )
            status, told = process.get("/readyz")
            assert (status, process.metric("k8strace_ready")) == (503, 0)
            logged = process.find("nothing is accepted")
            for text in (told, logged["message"]):
                assert "No space left on device" in text
                assert str(store) in text
            assert logged["level"] == "error"
            time.sleep(1.5)
            assert process.get("/readyz")[0] == 503, "the disk is still full"
            ballast.unlink()
            assert until(lambda: process.get("/readyz")[0] == 200)
            assert process.find("the store can be written again")
            assert export(process.address("grpc"), batches_of(capture_127)[0]) == grpc.StatusCode.OK
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_every_new_name_of_a_nested_store_is_synced(tmp_path, monkeypatch):
    """The folder that holds each new name is, and before the segments are."""
    synced: list[Path] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(Path(f"/proc/self/fd/{fd}").readlink()), real(fd))
    )
    storage = OsStorage(tmp_path / "a" / "b" / "c")
    storage.lock()
    storage.release()
    assert [each.relative_to(tmp_path) for each in synced] == [Path(), Path("a"), Path("a/b")]


def test_a_journal_tells_once_what_is_wrong_and_once_that_it_is_right_again(tmp_path):
    heard: list[str] = []
    store = tmp_path / "store"
    with Journal(store, on_trouble=heard.append) as journal:
        journal.append(b"one")
        shutil.rmtree(store)
        with pytest.raises(k8strace.K8straceError, match="to stay"):
            journal.append(b"two")
        until(lambda: not journal.trouble)
        journal.append(b"three")
        assert journal.counts["vanished"] == 1
    assert [bool(each) for each in heard] == [True, False]


COMBINED: dict[str, tuple[str, ...]] = {
    "plain": (),
    "store": ("--store", "{folder}/store"),
    "zstd": ("--store", "{folder}/store", "--store-zstd"),
    "token": ("--token-file", "{folder}/tokens"),
    "tls": ("--tls-cert", "{folder}/server.pem", "--tls-key", "{folder}/server.key"),
    "client-ca": ("--client-ca", "{folder}/ca.pem"),
    "client-name": ("--client-name", "etcd-0", "--client-name", "etcd-1"),
    "json": ("--json",),
    "quiet": ("--quiet",),
    "grpc-off": ("--grpc-listen", "off", "--http-listen", "127.0.0.1:0"),
    "http-off": ("--http-listen", "off", "--grpc-listen", "127.0.0.1:0"),
    "unix": (
        "--grpc-listen",
        "unix:{folder}/s",
        "--grpc-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        *([name] for name in COMBINED if name not in ("client-ca", "client-name")),
        ["tls", "client-ca"],
        ["tls", "client-ca", "client-name"],
        ["tls", "client-ca", "client-name", "unix"],
        ["tls", "client-ca", "client-name", "token", "store", "json"],
        ["tls", "client-ca", "client-name", "grpc-off"],
        ["tls", "client-ca", "client-name", "http-off", "zstd"],
    ],
    ids="+".join,
)
def test_metrics_are_there_with_every_combination_of_options(names, tmp_path):
    """All families, each with its values."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    (tmp_path / "tokens").write_text("a-token-for-tests-0123456789\n")
    asked = [each.format(folder=tmp_path) for name in names for each in COMBINED[name]]
    listen = ("--metrics-listen", "127.0.0.1:0")
    if "--grpc-listen" not in asked:
        listen += ("--grpc-listen", "127.0.0.1:0")
    if "--http-listen" not in asked:
        listen += ("--http-listen", "127.0.0.1:0")
    with serving(*asked, listen=listen) as process:
        found = {name for name, _ in process.metrics()}
    assert "k8strace_received_requests_total" in found
    assert ("k8strace_journal_batches_total" in found) == bool({"store", "zstd"} & set(names))


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--token-file", "--tls-key"])
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_secrets_that_others_can_read_are_warned_of(option, mode, warned, tmp_path):
    import trustme

    secret = tmp_path / "secret"
    arguments = [option, str(secret)]
    if option == "--token-file":
        secret.write_text("a-token-for-tests-0123456789\n")
    else:
        issued = trustme.CA().issue_cert("localhost")
        issued.private_key_pem.write_to_path(secret)
        issued.cert_chain_pems[0].write_to_path(tmp_path / "cert")
        arguments += ["--tls-cert", str(tmp_path / "cert")]
    secret.chmod(mode)
    with serving(*arguments) as process:
        said = [line for line in process.log if "can be read by others" in line["message"]]
    assert [(line["level"], str(secret) in line["message"]) for line in said] == [("warning", True)] * warned


@pytest.mark.slow
def test_every_line_of_a_json_log_is_json_whatever_fails():
    """Floods, errors within a request, of threads, of libraries, warnings, and what ends the run."""
    program = """
import argparse, logging, sys, threading, warnings
from k8strace.cli.serve import running

def failing(*_):
    logging.getLogger("hypercorn.error").error("theirs\\n%s", "second line")
    logging.getLogger("k8strace.receiver").error("ours", exc_info=ValueError("why"))
    logging.getLogger("asyncio").error("socket.accept() out of system resource")
    warnings.warn("beware")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start(); thread.join()
    for number in range(1000):
        logging.getLogger("k8strace.http").error("again %d", number)
    raise LookupError("no more")

running._run = failing
sys.exit(running.run(argparse.Namespace(log_format=sys.argv[1])))
"""
    for form in ("json", "text"):
        ended = subprocess.run(
            [sys.executable, "-c", program, form], capture_output=True, text=True, check=False, timeout=60
        )
        lines = ended.stderr.splitlines()
        assert ended.returncode == 1
        if form == "json":
            told = [json.loads(line) for line in lines]
            assert any("ZeroDivisionError" in each.get("traceback", "") for each in told)
            assert [each["message"] for each in told if "left out" in each["message"]]
            assert len(told) < 30
        else:
            assert all(line.startswith(("20", "    ")) for line in lines)
            assert len(lines) < 120


def test_a_terminal_that_is_gone_ends_it_in_order(tmp_path, capture_127):
    """What was acknowledged is joined and told."""
    import signal

    with serving("--store", str(tmp_path / "store")) as process:
        assert export(process.address("grpc"), batches_of(capture_127)[0]) == grpc.StatusCode.OK
        last = process.stop(signal.SIGHUP)
        assert process.wait() == 0
    assert (last["batches"], last["drained"]) == (1, True)
