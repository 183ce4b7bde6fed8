"""`setup cost`: a page of counters that is prometheus_client's own, over HTTPS, and what is reckoned from it."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

import k8strace
from k8strace import cli
from k8strace.cli.setup.cost import _lines
from k8strace.formats import Message, messages
from k8strace.setup import versions
from k8strace.setup.cost import SPAN_BYTES, STORED_BYTES, Measured, costs, counted, measured
from k8strace.setup.versions import SetupError

DATA = Path(__file__).parent / "data"
LABELS = ("code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version")


class Counters:
    """The counters of an apiserver, and others around them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("apiserver_request", "Requests.", LABELS, registry=self.registry)
        latency = Histogram("apiserver_request_duration_seconds", "s", ["verb"], registry=self.registry)
        latency.labels("GET").observe(1)
        self.serve(LIST=3, GET=10)

    def serve(self, **verbs: int) -> None:
        for verb, count in verbs.items():
            for code in ("200", "404"):
                labels = [
                    "" if name not in ("code", "verb") else code if name == "code" else verb
                    for name in LABELS
                ]
                self.requests.labels(*labels).inc(count / 2)

    def page(self) -> str:
        return generate_latest(self.registry).decode()


@contextmanager
def apiserver(folder: Path, counters: Counters, status: int = 200) -> Iterator[str]:
    """Its address; between two looks, 400 more are served."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = counters.page() if self.path == "/metrics" else json.dumps({"gitVersion": "v1.31.4"})
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())
            if self.path == "/metrics":
                counters.serve(GET=300, WATCH=100)

        def log_message(self, *_: Any) -> None:
            pass

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_a_server_is_counted_twice(tmp_path, capsys):
    """400 requests more in the time between; each rate is a share of them, with the spans of its version."""
    with apiserver(tmp_path, Counters()) as url:
        began = time.monotonic()
        told = ["--server", url, "--ca-file", str(tmp_path / "ca.crt"), "--seconds", "0.5", "--json"]
        assert cli.main(["setup", "cost", *told]) == 0
        took = time.monotonic() - began
    found = json.loads(capsys.readouterr().out)
    assert 0.5 <= found["seconds"] <= took
    assert found["requests_per_second"] * found["seconds"] == pytest.approx(400)
    assert list(found["verbs"]) == ["GET", "WATCH"]
    assert found["version"] == "1.31"
    (row,) = [each for each in found["rates"] if each["rate"] == 10_000]
    assert row["requests"] == pytest.approx(found["requests_per_second"] / 100)
    assert row["spans"] == pytest.approx(7 * row["requests"])
    assert row["wire_bytes"] == pytest.approx(row["spans"] * SPAN_BYTES)
    assert row["stored_bytes_a_day"] == pytest.approx(row["wire_bytes"] * 86_400)


def test_files_do_as_well(tmp_path, capsys):
    counters = Counters()
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_text(counters.page())
    counters.serve(LIST=60)
    after.write_text(counters.page())
    told = ["--before", str(before), "--after", str(after), "--seconds", "60", "--k8s", "1.36"]
    assert cli.main(["setup", "cost", *told]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1.0 requests a second over 60 s: LIST 1.0"
    assert lines[-1].split()[:3] == ["1,000,000", "1.00", "10.0"]
    # Back in time: another apiserver has answered.
    told = ["--before", str(after), "--after", str(before), "--seconds", "60"]
    assert cli.main(["setup", "cost", *told]) == 2
    assert "counts fell" in capsys.readouterr().err


@pytest.mark.parametrize(
    "told",
    [
        [],
        ["--before", "x"],
        ["--server", "https://x", "--before", "x", "--after", "y"],
        ["--before", "/no", "--after", "/no"],
    ],
)
def test_wrong_usage_is_one_line(told, capsys):
    assert cli.main(["setup", "cost", *told]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_caller_without_leave_is_told_what_is_needed(tmp_path, capsys):
    with apiserver(tmp_path, Counters(), status=403) as url:
        told = ["--server", url, "--ca-file", str(tmp_path / "ca.crt"), "--seconds", "0.1"]
        assert cli.main(["setup", "cost", *told]) == 1
    assert "system:monitoring" in capsys.readouterr().err


def test_another_programs_page_is_none():
    with pytest.raises(SetupError, match="apiserver_request_total"):
        counted(["etcd_requests_total 3", "{}", ""])


def test_a_verb_that_is_new_counts():
    assert measured({}, {"GET": 5.0}, 5).verbs == {"GET": 1.0}


def test_spans_are_as_large_as_is_reckoned():
    """The largest of the recordings, on the wire and compressed batch by batch."""
    zstandard = pytest.importorskip("zstandard")
    wire, stored = [], []
    for path in DATA.glob("k8s-*.otlp.zst"):
        batches = [bytes(each.wire) for each in messages(str(path)) if isinstance(each, Message)]
        spans = len(k8strace.read(path))
        wire.append(sum(map(len, batches)) / spans)
        stored.append(sum(len(zstandard.compress(batch)) for batch in batches) / spans)
    assert max(wire) == pytest.approx(SPAN_BYTES, rel=0.05)
    assert max(stored) == pytest.approx(STORED_BYTES, rel=0.05)


def test_the_page_for_production_shows_what_is_printed():
    page = (Path(__file__).parent.parent / "docs/howto/production.md").read_text()
    seen = Measured(60, {"GET": 640.3, "LIST": 210.8, "PATCH": 160.1, "PUT": 118.6, "WATCH": 84.2})
    version = versions.kubernetes("1.36")
    lines = _lines(seen, list(costs(seen, version)), version.name, version.spans_per_request)
    assert "\n".join(lines) in page
