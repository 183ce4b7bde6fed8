"""The page while it is served: who may look, what is answered, and that its sums are the library's."""

import asyncio
import gzip
import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import browsing
import grpc
import pytest
from serving import EXPORT, etcd_exporting, serving
from test_real_etcd import apiserver_spans, make_calls

import k8strace
from k8strace.cli.viewing import local_address, view
from k8strace.page.document import live_page
from k8strace.page.serving import page_app
from k8strace.query import Held, Stored
from k8strace.receiver import Journal

CAPTURE = Path(__file__).parent / "data/k8s-1.36_etcd-3.6.otlp.zst"
NOW = {
    "ready": True, "about": ["OTLP/HTTP 127.0.0.1:4318"], "spans_per_s": 1_200.0, "requests_per_s": 80.0,
    "spans": 29_124, "requests": 1_411, "held_spans": 7, "recent_s": 20.0, "wall_ns": 3, "p50_ns": 10**6,
    "p99_ns": 10**9,
    "components": [["etcd", 2, "#c26300"], ["webhook", 1, "#cd3ec6"]], "lacks": {"<b>spans</b> without parents": 3},
    "groups": [["list", "pods", 3, 10**6, 10**9, 3, [["etcd", 3, "#c26300"]]]],
}  # fmt: skip


@pytest.fixture(scope="module")
def held():
    stream, held = k8strace.RequestStream(), Held()
    for at, batch in enumerate(k8strace.read(CAPTURE)._columns.batch_wires()):
        stream.feed(batch, now_ns=at)
        if at % 50 == 0:
            held(stream.take(now_ns=at))
    held(stream.flush())
    return held


@pytest.fixture(scope="module")
def requests():
    return k8strace.join(k8strace.read(CAPTURE))


@pytest.fixture(scope="module")
def served(held):
    def app(token):
        return page_app(token, lambda: live_page(stored=False), held, now=lambda: NOW)

    viewing = view(local_address("127.0.0.1:0"), app)
    yield viewing.address
    viewing.server.stop(0)


def ask(app, path, query="", method="GET"):
    """Status, headers and body of an answer."""
    said = []

    async def send(event):
        said.append(event)

    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": []}
    asyncio.run(app(scope, None, send))
    return said[0]["status"], {k.decode(): v.decode() for k, v in said[0]["headers"]}, said[1]["body"]


def unpacked(body):
    """Head, and the bytes of each column."""
    data = gzip.decompress(body)
    size = int.from_bytes(data[:4], "little")
    head, at, columns = json.loads(data[4 : 4 + size]), 4 + size, {}
    for name, (length, _) in head["columns"].items():
        columns[name] = data[at : at + length]
        at += length
    return head, columns


def varints(data):
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value = shift = 0
    return values


def test_who_does_not_know_the_token_sees_nothing(held):
    app = page_app("secret", lambda: "<!doctype html>", held)
    for path in ("/", "/secre/", "/secret2/", "//secret/", "/requests", "/secret/../", "/\u0131/"):
        status, headers, body = ask(app, path)
        assert status == 404
        assert b"doctype" not in body
        assert not any(name.startswith("access-control") for name in headers)
    assert ask(app, "/secret/", method="POST")[0] == 405
    status, headers, body = ask(app, "/secret/")
    assert (status, body) == (200, b"<!doctype html>")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


def test_answers_are_bounded_and_refusals_say_why(held):
    app = page_app("t", str, held)
    for query, told in (
        ("limit=5001", b"expected a limit from 1 to 5000"),
        ("status=bad", b"expected a status"),
        ("where=nonsense", b"nonsense"),
        ("slower_ms=soon", b"soon"),
        ("slower_ms=inf", b"infinity"),
    ):
        status, _, body = ask(app, "/t/requests", query)
        assert (status, told in body) == (400, True), (query, body)
    assert ask(app, "/t/requests", "verb=" + "x" * 3_000)[0] == 414
    assert ask(app, "/t/trace", "id=ffffffff")[0] == 404
    assert ask(app, "/t/trace")[0] == 404
    _, columns = unpacked(ask(app, "/t/requests", "limit=7")[2])
    assert len(columns["trace_id"]) == 7 * 16


def test_what_is_found_are_the_librarys_integers(held, requests):
    app = page_app("t", str, held)
    for query, chosen in (
        ("limit=5000", requests),
        ("limit=5000&verb=list&resource=configmaps", requests.where(verb="list", resource="configmaps")),
        ("limit=5000&status=errors", requests.where(http_status=lambda status: status >= 400)),
        ("limit=5000&slower_ms=100", requests.where("wall>=100ms")),
        ("limit=5000&where=user_agent~kubelet", requests.where("user_agent~kubelet")),
    ):
        head, columns = unpacked(ask(app, "/t/requests", query)[2])
        assert sorted(varints(columns["wall"])) == sorted(chosen.column("wall_ns"))
        parts = k8strace.attribute(chosen).totals
        phases, ns = varints(columns["critical_path.phase"]), varints(columns["critical_path.ns"])
        sums = dict.fromkeys(parts, 0)
        for phase, each in zip(phases, ns, strict=True):
            sums[head["phases"][phase]] += each
        assert sums == parts


def test_a_trace_comes_with_its_tree_and_details(held, requests):
    slow = requests.slowest(1)[0]
    head, columns = unpacked(ask(page_app("t", str, held), "/t/trace", f"id={slow.trace_id}")[2])
    assert varints(columns["tree.counts"])[0] == slow.spans == len(head["details"]["0"]["spans"])


def test_one_beyond_those_at_work_is_to_come_again():
    async def run():
        gate, started = threading.Event(), threading.Semaphore(0)

        class Waits:
            def populations(self):
                started.release()
                gate.wait(10)
                return []

        app = page_app("t", str, Waits())
        scope = {"type": "http", "method": "GET", "path": "/t/requests", "query_string": b"", "headers": []}
        statuses = []

        async def send(event):
            if "status" in event:
                statuses.append((event["status"], dict(event["headers"])))

        running = [asyncio.create_task(app(scope, None, send)) for _ in range(2)]
        await asyncio.to_thread(lambda: [started.acquire(timeout=10) for _ in running])
        await app(scope, None, send)
        assert statuses[0][0] == 503
        assert statuses[0][1][b"retry-after"] == b"1"
        gate.set()
        await asyncio.gather(*running)
        assert [status for status, _ in statuses[1:]] == [200, 200]

    asyncio.run(run())


def test_what_is_stored_is_found_once(tmp_path, requests):
    batches = k8strace.read(CAPTURE)._columns.batch_wires()
    stream, held = k8strace.RequestStream(), Held()
    with Journal(tmp_path, segment_bytes=1 << 20) as journal:
        for at, batch in enumerate(batches):
            journal.append(batch)
            stream.feed(batch, now_ns=at)
        taken = stream.take(now_ns=len(batches))
        held(taken._with(taken._rows[len(taken) // 2 :]))  # the others were let go
        stored = Stored(tmp_path, held)
        app = page_app("t", str, held, stored)
        _, few = unpacked(ask(app, "/t/requests", "limit=5000")[2])
        _, all_ = unpacked(ask(app, "/t/requests", "limit=5000&stored=1")[2])
    assert len(few["trace_id"]) < len(all_["trace_id"]) == 16 * len(requests)
    assert sum(varints(all_["wall"])) == sum(requests.column("wall_ns"))
    gone = taken[0].trace_id
    assert ask(app, "/t/trace", f"id={gone}")[0] == 200


def test_only_names_of_this_machine_are_answered(served):
    where = urlsplit(served)
    for host, status in ((where.netloc, 200), ("localhost", 200), ("evil.example", 403)):
        client = http.client.HTTPConnection(where.hostname, where.port)
        client.request("GET", where.path, headers={"Host": host})
        with client.getresponse() as answer:
            assert answer.status == status
            answer.read()
        client.close()


def test_the_page_is_of_this_machine_only():
    for text in ("0.0.0.0:1", "10.0.0.1:80", "unix:/tmp/x", "off", "nonsense"):
        with pytest.raises(k8strace.K8straceError):
            local_address(text)


@pytest.fixture(scope="module")
def browser():
    with browsing.chromium() as started:
        yield started


@pytest.mark.slow
def test_the_live_page_in_a_browser(browser, served, requests):
    slow = requests.slowest(1)[0]
    page = browsing.opened(browser, f"{served}#r={slow.trace_id}", bypass_csp=True)
    page.get_by_role("treeitem").first.wait_for()
    assert page.get_by_role("treeitem").count() == slow.spans
    assert page.locator("#now b").first.text_content() == "1,200 spans/s"
    assert "<b>spans</b> without parents" in page.locator("#now .issues").inner_text()
    assert browsing.violations(page) == []
    page.locator("#request").get_by_role("button", name="close").click()
    page.get_by_label("verb", exact=True).fill("list")
    page.get_by_label("resource", exact=True).fill("configmaps")
    page.get_by_role("button", name="search").click()
    chosen = requests.where(verb="list", resource="configmaps")
    page.get_by_text(f"{len(chosen)} requests, the latest that are wanted").wait_for()
    assert browsing.number(page, "#total") == k8strace.attribute(chosen).by()[0].all.wall_ns
    again = browsing.opened(browser, page.url)
    again.get_by_text(f"{len(chosen)} requests, the latest that are wanted").wait_for()
    assert page.said == again.said == []


@pytest.mark.slow
def test_open_serves_files_until_it_is_stopped(requests):
    command = [sys.executable, "-m", "k8strace", "open", str(CAPTURE), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        address = running.stdout.readline().split()[1]
        try:
            where = urlsplit(address)
            client = http.client.HTTPConnection(where.hostname, where.port)
            client.request("GET", where.path)
            assert b'data-served="files"' in client.getresponse().read()
            client.request("GET", f"{where.path}trace?id={requests[0].trace_id}")
            head, _ = unpacked(client.getresponse().read())
            client.close()
            assert head["trees"] == [0]
        finally:
            running.send_signal(signal.SIGINT)
    assert running.returncode == 0


def send(address, batches):
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(EXPORT)
        for batch in batches:
            export(batch, timeout=20)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_real_etcd_is_seen_live_and_in_the_store(browser, requests, tmp_path):
    """A recording and a real etcd's spans come in; the page shows both, held and stored, with the library's sums."""
    (tmp_path / "etcd").mkdir()
    store, page_at = str(tmp_path / "store"), ("--page", "127.0.0.1:0")
    with (
        serving("--store", store, "--window", "60s", *page_at) as process,
        etcd_exporting(tmp_path / "etcd", process.address("grpc")) as etcd,
    ):
        page = browsing.opened(browser, process.find("the page")["page"])
        calls = make_calls(etcd)
        send(process.address("grpc"), k8strace.read(CAPTURE)._columns.batch_wires())
        send(process.address("grpc"), [apiserver_spans(calls).SerializeToString()])
        trace = calls[0].trace_id.hex()
        page.get_by_label("trace id").fill(trace)
        for _ in range(60):
            page.get_by_role("button", name="search").click()
            page.wait_for_timeout(500)
            if page.locator("#requests tbody tr").count() == 1:
                break
        assert browsing.number(page, "#total") == calls[0].end - calls[0].start + 2_000
        page.locator("#requests button.link").click()
        page.get_by_role("tree").wait_for()
        spans = [re.sub(r"^\W+|,.*", "", text) for text in page.get_by_role("treeitem").all_text_contents()]
        assert spans == ["GET", "etcdserverpb.KV/Txn", "etcdserverpb.KV/Txn"]
        again = browsing.opened(browser, page.url)
        again.get_by_role("tree").wait_for()
        again.locator("#request").get_by_role("button", name="close").click()
        again.get_by_label("trace id").fill("")
        again.get_by_label("resource", exact=True).fill("configmaps")
        again.get_by_label("stored ones too").check()
        again.get_by_role("button", name="search").click()
        chosen = requests.where(resource="configmaps")
        again.get_by_text(f"{len(chosen)} requests, the latest that are wanted").wait_for()
        assert browsing.number(again, "#total") == k8strace.attribute(chosen).by()[0].all.wall_ns
        assert page.said == again.said == []
        process.stop()
