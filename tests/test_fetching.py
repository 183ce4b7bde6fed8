"""`--from jaeger=URL|tempo=URL`: a real HTTP server answers as they do, and is asked for no more than allowed."""

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import foreign
import pytest
from oracle.rows import load

import k8strace
from k8strace.formats.fetching import Bounds, fetch

CAPTURE = Path(__file__).parent / "data" / "k8s-1.36_etcd-3.6.otlp.zst"


@contextmanager
def serving(answer):
    """A server on loopback; `answer(path, query, headers)` gives status and bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            status, body = answer(parts.path, parse_qs(parts.query), self.headers)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def batches():
    return load(CAPTURE)[:4]


def jaeger_of(batches, asked):
    document = foreign.jaeger(batches)

    def answer(path, query, headers):
        asked.append((path, query, headers.get("Authorization")))
        return (200, b'{"data":["etcd","apiserver"]}') if path.endswith("/services") else (200, document)

    return answer


def test_jaeger_is_asked_for_the_apiserver_and_the_time(batches):
    """The service, µs, the limit, basic authorization; the answer is what `read` takes."""
    asked = []
    with serving(jaeger_of(batches, asked)) as url:
        source = url.replace("http://", "jaeger=http://me:secret@") + "/ui"
        found = list(fetch(source, 5_000_000_000, 6_000_000_000))
    assert len(k8strace.read(found)) == len(k8strace.decode(batches))
    (_, (path, query, authorization)) = asked
    assert path == "/ui/api/traces"
    assert (query["service"], query["start"], query["end"]) == (["apiserver"], ["5000000"], ["6000000"])
    assert authorization == "Basic bWU6c2VjcmV0"
    assert "secret" not in found[0].name


def test_tempo_is_searched_and_each_trace_is_got(batches):
    """By the second API, and by the first where that one is not there."""
    spans = [
        (span, of)
        for batch in batches
        for of in batch.resource_spans
        for within in of.scope_spans
        for span in within.spans
    ]
    ids = sorted({span.trace_id.hex() for span, _ in spans})[:3]

    def answer(path, query, _):
        if path == "/api/search":
            assert query["q"] == ['{resource.service.name="apiserver"}']
            return 200, json.dumps({"traces": [{"traceID": one} for one in ids]}).encode()
        if path == f"/api/v2/traces/{ids[0]}":
            return 404, b""
        make = foreign.tempo_v1 if path.startswith("/api/traces/") else foreign.tempo_v2
        return 200, make([batches[0]])

    with serving(answer) as url:
        found = list(fetch(f"tempo={url}", 0, 10**9))
    assert len(found) == 3
    assert len(k8strace.read(found)) == 3 * len(k8strace.decode(batches[0]))


@pytest.mark.slow
def test_bytes_count_and_time_are_bounded(batches):
    """What came before a bound is read; which one it was is said."""
    with serving(jaeger_of(batches, [])) as url:
        bounds = Bounds(bytes=100_000)
        found = list(fetch(f"jaeger={url}", 0, 1, bounds=bounds))
        assert sum(len(each.getvalue()) for each in found) <= 100_000
        assert bounds.reached == ["100,000 bytes"]
        spans = k8strace.read(found)
        assert 0 < len(spans) < len(k8strace.decode(batches))
        assert "torn_message" in {issue.code for issue in spans.issues}
    ids = [{"traceID": f"{at:032x}"} for at in range(100)]

    def slow(path, *_):
        if path == "/api/search":
            return 200, json.dumps({"traces": ids}).encode()
        time.sleep(0.05)
        return 200, foreign.tempo_v2([batches[0]])

    with serving(slow) as url:
        bounds = Bounds(traces=2)
        assert len(list(fetch(f"tempo={url}", 0, 1, bounds=bounds))) == 2
        assert bounds.reached == ["2 traces"]
        bounds = Bounds(seconds=2)
        started = time.monotonic()
        assert 0 < len(list(fetch(f"tempo={url}", 0, 1, bounds=bounds))) < 100
        assert time.monotonic() - started < 5
        assert bounds.reached == ["2 s"]
    silent = serving(lambda *_: time.sleep(1) or (200, b"{}"))
    with silent as url, pytest.raises(OSError, match=r"no answer within 0\.\d s"):
        list(fetch(f"jaeger={url}", 0, 1, bounds=Bounds(seconds=0.3)))


def test_a_redirect_is_not_followed():
    """It could carry the authorization to somebody else."""
    with serving(lambda *_: (302, b"")) as url, pytest.raises(OSError, match="302"):
        list(fetch(f"jaeger={url}", 0, 1))


@pytest.mark.parametrize(
    "source", ["jaeger", "zipkin=http://x", "jaeger=file:///etc/passwd", "tempo=http://"]
)
def test_another_source_is_refused(source):
    """Before anything is sent."""
    with pytest.raises(k8strace.FormatError, match="jaeger=URL or tempo=URL"):
        fetch(source, 0, 1)


@pytest.mark.slow
def test_the_command_reports_what_jaeger_holds(batches):
    """`report --from`; a server that is not there is one line and exit code 1."""
    asked = []
    command = [sys.executable, "-m", "k8strace", "report", "--since", "15m", "--from"]
    with serving(jaeger_of(batches, asked)) as url:
        ran = subprocess.run(
            [*command, f"jaeger={url}", "--json"], capture_output=True, text=True, check=False
        )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["ledger"]["spans"] == len(k8strace.decode(batches))
    start, end = (int(asked[1][1][edge][0]) for edge in ("start", "end"))
    assert end - start == 15 * 60 * 1_000_000
    assert abs(end - time.time() * 1e6) < 60e6
    gone = subprocess.run(
        [*command, "jaeger=http://127.0.0.1:1"], capture_output=True, text=True, check=False
    )
    assert (gone.returncode, gone.stderr.count("\n")) == (1, 1)
    assert subprocess.run(command[:-1], capture_output=True, check=False).returncode == 2
