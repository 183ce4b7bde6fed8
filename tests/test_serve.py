"""
`k8strace serve`, run as people run it: a process that real exporters send to, and that signals end.

Every answer is held beside what reading the recording, or the stored files, gives at once.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import grpc
import pytest
import trustme
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from serving import (
    ANYWHERE,
    EXPORT,
    ROOT,
    batches_of,
    etcd_exporting,
    records_of,
    serving,
    without_numbers,
)
from test_real_etcd import apiserver_spans, make_calls

import k8strace
from k8strace.cli.commands import parser
from k8strace.cli.exits import UsageError
from k8strace.cli.serve import settings
from k8strace.cli.serve.running import JsonLines
from k8strace.cli.serve.supervision import Stop

TOKEN = "a-token-for-tests-0123456789"


def send(address, batches, *, token=None, pause_s=()):
    """Batches over gRPC, one after the other. Returns how many were acknowledged in full."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(EXPORT)
        answers = []
        for number, batch in enumerate(batches):
            if pause_s:
                time.sleep(pause_s[number])
            answers.append(export(batch, metadata=metadata, timeout=20))
    assert set(answers) <= {b""}
    return len(answers)


def stored(folder):
    return k8strace.read(str(folder / "*.otlp*"))


# ── Recordings ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", [(), ("--store",), ("--store", "--store-zstd")], ids=["memory", "store", "zstd"]
)
def test_a_recording_that_is_sent_gives_what_reading_it_gives(capture, mode, tmp_path):
    """Batch by batch over gRPC at full speed: the same requests, to the nanosecond; the same from the stored files."""
    arguments = [part for flag in mode for part in ([flag, str(tmp_path)] if flag == "--store" else [flag])]
    expected = records_of(k8strace.read(str(capture)))
    with serving("--json", *arguments) as process:
        sent = send(process.address("grpc"), batches_of(capture))
        last = process.stop()
        assert process.process.returncode == 0
    assert last["batches"] == sent
    assert last["spans"] == len(k8strace.read(str(capture)))
    assert without_numbers(process.requests()) == without_numbers(expected)
    assert last["requests"] == len(expected)
    if mode:
        assert without_numbers(records_of(stored(tmp_path))) == without_numbers(expected)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_recordings_at_their_own_speed_give_the_same(capture_127, capture_131, capture_136):
    """
    All three at once: the batches come as far apart as when they were recorded.

    With a window as long as the recordings, all requests are the same. With that of 10 seconds, which nobody asked for,
    all but watches: their first spans were let go when the last one came, half a minute later.
    """

    def replayed(case):
        capture, window = case
        batches = batches_of(capture)
        ends = [max(k8strace.decode(batch).column("end_time_unix_nano").to_pylist()) for batch in batches]
        pauses = [0.0, *(max(b - a, 0) / 1e9 for a, b in pairwise(ends))]
        assert 25 < sum(pauses) < 40
        with serving("--json", *window) as process:
            send(process.address("grpc"), batches, pause_s=pauses)
            process.stop()
        return without_numbers(process.requests())

    cases = [
        (capture, window)
        for capture in (capture_127, capture_131, capture_136)
        for window in ((), ("--window", "1m"))
    ]
    with ThreadPoolExecutor(len(cases)) as threads:
        for (capture, window), requests in zip(cases, threads.map(replayed, cases), strict=True):
            expected = without_numbers(records_of(k8strace.read(str(capture))))
            assert requests.keys() == expected.keys()
            different = [request for key, request in expected.items() if requests[key] != request]
            assert {request["verb"] for request in different} == (set() if window else {"watch"})


@pytest.mark.slow
@pytest.mark.parametrize("content", ["application/x-protobuf", "application/json"])
def test_a_recording_over_http_gives_the_same(capture_131, content):
    """Protobuf and JSON; the JSON is written by the official classes."""
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    def as_json(batch):
        def hexed(value):
            import base64

            if isinstance(value, list):
                return [hexed(each) for each in value]
            if isinstance(value, dict):
                return {
                    key: base64.b64decode(each).hex()
                    if key in ("traceId", "spanId", "parentSpanId")
                    else hexed(each)
                    for key, each in value.items()
                }
            return value

        message = ExportTraceServiceRequest.FromString(batch)
        return json.dumps(hexed(MessageToDict(message, use_integers_for_enums=True))).encode()

    with serving("--json") as process:
        client = http.client.HTTPConnection(process.address("http"), timeout=20)
        for batch in batches_of(capture_131):
            body = as_json(batch) if content.endswith("json") else batch
            client.request("POST", "/v1/traces", body, {"Content-Type": content})
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, b"{}" if content.endswith("json") else b"")
        client.close()
        process.stop()
    expected = records_of(k8strace.read(str(capture_131)))
    assert without_numbers(process.requests()) == without_numbers(expected)


# ── Real exporters ────────────────────────────────────────────────────────────────────────────────


def exporter(process, transport, compressed):
    if transport == "grpc":
        compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
        return GrpcExporter(process.address("grpc"), insecure=True, compression=compression, timeout=10)
    compression = HttpCompression.Gzip if compressed else HttpCompression.NoCompression
    url = f"http://{process.address('http')}/v1/traces"
    return HttpExporter(url, compression=compression, timeout=10)


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_the_sdk_exports_to_it(transport, compressed, tmp_path):
    """Spans of the OpenTelemetry SDK arrive whole: 300 requests of the apiserver, each with a span inside."""
    with serving("--store", str(tmp_path)) as process:
        provider = TracerProvider(resource=Resource({"service.name": "apiserver"}))
        provider.add_span_processor(BatchSpanProcessor(exporter(process, transport, compressed)))
        tracer = provider.get_tracer("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp")
        for _ in range(300):
            with (
                tracer.start_as_current_span("HTTP GET", kind=SpanKind.SERVER),
                tracer.start_as_current_span("List", kind=SpanKind.INTERNAL),
            ):
                pass
        assert provider.force_flush(20_000)
        provider.shutdown()
        last = process.stop()
    assert (last["spans"], last["requests"]) == (600, 300)
    assert Counter(stored(tmp_path).column("name").to_pylist()) == {"HTTP GET": 300, "List": 300}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["tcp", "tcp with a token", "unix", "unix with a token"])
def test_a_real_etcd_exports_to_it(way, tmp_path):
    """etcd's SERVER spans find the CLIENT spans that we send in the apiserver's shape, and are stored."""
    path, token = tmp_path / "otlp.sock", TOKEN if "token" in way else None
    (tmp_path / "tokens").write_text(TOKEN)
    (tmp_path / "etcd").mkdir()
    where = f"unix:{path}" if "unix" in way else "127.0.0.1:0"
    arguments = ["--store", str(tmp_path / "store"), "--json", "--window", "60s"]
    arguments += ["--token-file", str(tmp_path / "tokens")] if token else []
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{token}"} if token else {}
    listen = ("--grpc-listen", where, "--http-listen", "off", "--metrics-listen", "127.0.0.1:0")
    with (
        serving(*arguments, listen=listen) as process,
        etcd_exporting(tmp_path / "etcd", process.address("grpc"), **headers) as etcd,
    ):
        calls = make_calls(etcd)
        send(process.address("grpc"), [apiserver_spans(calls).SerializeToString()], token=token)
        deadline = time.monotonic() + 30
        while (
            process.metric("k8strace_accepted_spans_total") < 3 * len(calls) and time.monotonic() < deadline
        ):
            time.sleep(0.2)
        process.stop()
    requests = process.requests()
    assert len(requests) == len(calls)
    for record in requests.values():
        assert record["complete"], record
        (call,) = record["etcd_calls"]
        assert 0 < call["server_ns"] <= call["client_ns"]
        assert sum(record["phases"].values()) == record["wall_ns"]
    assert without_numbers(records_of(stored(tmp_path / "store"))) == without_numbers(requests)


# ── Signals ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_everything_acknowledged_before_a_signal_is_stored_and_joined(capture_136, tmp_path):
    """Four senders at full speed, SIGTERM in the middle: what they were told is in the store and in the last line."""
    batches = batches_of(capture_136)
    acknowledged, refused = Counter(), Counter()

    def sender(address, offset):
        with grpc.insecure_channel(address) as channel:
            export = channel.unary_unary(EXPORT)
            for number in range(10_000):
                batch = batches[(offset + number) % len(batches)]
                try:
                    export(batch, timeout=20)
                except grpc.RpcError as error:
                    refused[error.code()] += 1
                    return
                acknowledged[batch] += 1

    with serving("--store", str(tmp_path), "--json") as process:
        address = process.address("grpc")
        senders = [threading.Thread(target=sender, args=(address, 10 * at)) for at in range(4)]
        for thread in senders:
            thread.start()
        time.sleep(1.5)
        last = process.stop()
        for thread in senders:
            thread.join(30)
    assert process.process.returncode == 0
    assert last["drained"] is True
    assert set(refused) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    kept = Counter(bytes(batch) for batch in frames(tmp_path))
    assert sum(acknowledged.values()) > 0
    assert acknowledged <= kept, "what was acknowledged is stored"
    assert last["batches"] == sum(kept.values())
    # Read at once, a repeated span is a repair; as spans come, it is one that is here already.
    at_once = records_of(stored(tmp_path))
    for record in at_once.values():
        record["repairs"] = [kind for kind in record["repairs"] if kind != "duplicate"]
    assert without_numbers(process.requests()) == without_numbers(at_once)


def frames(folder):
    """Batches as they were sent: without the checksum that the journal appends as a field of its own."""
    from k8strace.receiver.journal.recovery import replay

    return replay(folder)


def test_a_second_signal_ends_it_at_once(tmp_path):
    """While it drains, and even then the cursor is shown again."""
    with (
        serving("--store", str(tmp_path)) as process,
        socket.create_connection(process.address("http").split(":")) as slow,
    ):
        slow.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n")
        slow.sendall(b"Content-Type: application/x-protobuf\r\n\r\n")
        time.sleep(0.2)
        process.process.send_signal(signal.SIGINT)
        process.find("stopping")
        process.process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130


def test_a_signal_may_come_at_any_moment():
    """Where the standard library's Event is told by a handler, some moment of its `wait` is for ever."""
    stop = Stop()
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: stop.set())
    try:
        for number in range(2_000):
            stop = Stop()
            signal.setitimer(signal.ITIMER_REAL, (1 + number % 100) * 1e-6)
            # Short ones: a signal just before the thread sleeps is seen when it wakes.
            assert any(stop.wait(0.01) for _ in range(6_000))
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number):
    """Exit code 0, and a last line."""
    with serving() as process:
        assert process.stop(number)["spans"] == 0
        assert process.process.returncode == 0


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(tmp_path):
    """`Type=notify`: READY=1 once it listens, STOPPING=1 at a signal."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(20)
        with serving(NOTIFY_SOCKET=path) as process:
            assert systemd.recv(100) == b"READY=1"
            process.stop()
            assert systemd.recv(100) == b"STOPPING=1"


# ── Addresses and identity ────────────────────────────────────────────────────────────────────────


def run(*arguments):
    """A command that ends by itself: its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "k8strace", "serve", *arguments],
        capture_output=True,
        cwd=ROOT,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr.decode()


def test_without_any_option_it_listens_on_this_machine_only():
    """The addresses that OTLP has for gRPC and HTTP, and none beyond loopback."""
    for port in (4317, 4318, 9464):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"something listens on port {port} of this machine")
    with serving(listen=()) as process:
        listening = process.find("listening")["listening"]
    assert listening["grpc"][0] == "127.0.0.1:4317"
    assert listening["http"][0] == "127.0.0.1:4318"
    assert listening["metrics"] == ["127.0.0.1:9464"]
    assert set(listening["grpc"][1:]) <= {"[::1]:4317"}
    assert set(listening["http"][1:]) <= {"[::1]:4318"}


@pytest.mark.slow
def test_the_mode_is_told_in_words(tmp_path):
    """What acknowledged means, on the first line and in the metrics."""
    with serving() as process:
        assert process.find("listening")["mode"] == (
            "memory: acknowledged means held in memory; a crash loses it"
        )
        assert process.metric("k8strace_mode_info", mode="memory") == 1
    with serving("--store", str(tmp_path)) as process:
        assert process.find("listening")["mode"] == (
            f"durable: acknowledged means written and synced to {tmp_path}"
        )
        assert process.metric("k8strace_mode_info", mode="durable") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--grpc-listen", "0.0.0.0:0"], "0.0.0.0:0 is open to the network"),
        (["--http-listen", "[::]:4318"], "[::]:4318 is open to the network"),
        (["--metrics-listen", "10.1.2.3:9464"], "10.1.2.3:9464 is open to the network"),
        (["--grpc-listen", "example.org:4317"], "expected an IP address or localhost"),
        (["--grpc-listen", "4317"], "expected HOST:PORT"),
        (["--grpc-listen", "unix:otlp.sock"], "expected an absolute path"),
        (["--grpc-listen", "off", "--http-listen", "off"], "expected an address for OTLP"),
        (["--tls-cert", "a.pem"], "expected --tls-cert and --tls-key together"),
        (["--client-name", "etcd"], "expected --tls-cert and --tls-key with"),
        (["--token-file", "/nowhere/token"], "/nowhere/token"),
        (["--token-env", "K8STRACE_NO_SUCH_VARIABLE"], "K8STRACE_NO_SUCH_VARIABLE"),
        (["--retain-bytes", "much"], "expected a size such as 64MiB"),
        (["--segment-bytes", "1MiB"], "expected --store DIR"),
        (["--budget-bytes", "1MiB"], "expected --budget-bytes of at least --max-request-bytes"),
        (["--window", "0"], "expected a time such as 30s"),
        (["--store", ""], "--store: expected a path, got ''"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(arguments, told):
    """One line, before anything listens."""
    listen = {"--grpc-listen": "127.0.0.1:0", "--http-listen": "127.0.0.1:0", "--metrics-listen": "off"}
    rest = [part for flag, where in listen.items() if flag not in arguments for part in (flag, where)]
    code, said = run(*arguments, *rest)
    assert code == 2, said
    assert told in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        *(
            ([option, ""], f"{option}: expected a path, got ''")
            for option in ("--store", "--token-file", "--tls-cert", "--tls-key", "--client-ca")
        ),
        *(
            ([option, ""], f"{option}: expected a name, got ''")
            for option in ("--token-env", "--client-name")
        ),
        (["--max-spans", "٣"], "expected a whole number above 0, got '٣'"),
        (["--max-held-bytes", "٣MiB"], "expected a size such as 64MiB"),
        (["--max-held-bytes", "2000000TiB"], "expected a size of at most 1048576 TiB"),
        (["--retain-age", "36526d"], "expected a time of at most 100 years, got '36526d'"),
        (["--window", "999999999999999d"], "expected a time of at most 100 years"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(arguments, told, capsys):
    """An unset variable in a script is no place to store, and no name; digits are 0 to 9."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["serve", *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("max_request_bytes", "expected --max-request-bytes of at most 268435455, got 1099511627776"),
        ("budget_bytes", "expected --budget-bytes above 0, got 0"),
    ],
)
def test_an_error_about_a_limit_names_its_option(setting, told):
    """Not the setting behind it, which nobody has typed."""
    asked = argparse.Namespace(max_request_bytes=None, budget_bytes=None)
    setattr(asked, setting, 0 if told.endswith("got 0") else 1 << 40)
    with pytest.raises(UsageError) as refused:
        settings.limits_of(asked)
    assert str(refused.value) == told


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpc", "http", "metrics"])
def test_a_port_in_use_is_told_and_ends_with_1(kind):
    """And which it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        listen = {f"--{each}-listen": "127.0.0.1:0" for each in ("grpc", "http", "metrics")}
        listen[f"--{kind}-listen"] = where
        code, said = run(*(part for pair in listen.items() for part in pair))
    assert code == 1, said
    assert said == f"k8strace: {where} is in use: another program, or another k8strace, listens there\n"


def test_the_network_is_open_only_if_it_was_asked_for_and_then_it_is_told(tmp_path):
    """Loudly, and once more for tokens in plain text."""
    (tmp_path / "token").write_text(TOKEN)
    arguments = ("--insecure-network", "--token-file", str(tmp_path / "token"))
    listen = ("--grpc-listen", "0.0.0.0:0", "--http-listen", "off", "--metrics-listen", "off")
    with serving(*arguments, listen=listen) as process:
        process.find("INSECURE: 0.0.0.0:0 is open to the network")
        process.find("INSECURE: tokens travel in plain text")
        assert {line["level"] for line in process.log if line["message"].startswith("INSECURE")} == {
            "warning"
        }
        assert TOKEN not in json.dumps(process.log)


@pytest.mark.slow
def test_a_unix_socket_is_for_its_owner_and_a_dead_one_is_replaced(tmp_path, capture_127):
    """Mode 0600, for gRPC and HTTP; after a kill the path can be used again, but not beside a living process."""
    paths = [tmp_path / "grpc.sock", tmp_path / "http.sock"]
    listen = (
        "--grpc-listen",
        f"unix:{paths[0]}",
        "--http-listen",
        f"unix:{paths[1]}",
        "--metrics-listen",
        "off",
    )
    with serving(listen=listen) as process:
        for path in paths:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        code, said = run(*listen)
        assert (code, "is in use" in said) == (1, True)
        process.process.kill()
        process.process.wait()
        assert paths[0].exists()
    with serving(listen=listen) as process:
        assert send(f"unix:{paths[0]}", batches_of(capture_127)[:2]) == 2


@pytest.mark.slow
def test_what_is_no_socket_is_not_replaced(tmp_path):
    """A file of somebody's stays."""
    path = tmp_path / "precious"
    path.write_text("data")
    code, said = run("--grpc-listen", f"unix:{path}", "--http-listen", "off", "--metrics-listen", "off")
    assert (code, path.read_text()) == (1, "data")
    assert "there is something else than a socket" in said


@pytest.mark.slow
def test_two_processes_cannot_use_one_store(tmp_path):
    """The second one says so and ends."""
    with serving("--store", str(tmp_path)):
        code, said = run("--store", str(tmp_path), *ANYWHERE)
    assert code == 1
    assert str(tmp_path) in said


@pytest.mark.slow
def test_a_torn_end_in_the_store_is_told_at_the_start(tmp_path, capture_127):
    """What a crash left behind is cut, and somebody hears of it."""
    with serving("--store", str(tmp_path)) as process:
        send(process.address("grpc"), batches_of(capture_127)[:3])
        process.process.kill()
        process.process.wait()
    (segment,) = tmp_path.glob("*.otlp*")
    with segment.open("ab") as torn:
        torn.write(b"\0\0\1\0half")
    with serving("--store", str(tmp_path)) as process:
        told = process.find("the store was not closed in order")["message"]
        assert segment.name.removesuffix(".open.otlp") in told
        assert "8 bytes" in told
    assert len(list(frames(tmp_path))) == 3


@pytest.fixture
def tls_files(tmp_path):
    """A server's certificate, a client's, and one that nobody knows, as files."""
    authority, stranger = trustme.CA(), trustme.CA()
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert(common_name="etcd-0")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, cert in (("server", server), ("client", client), ("stranger", stranger.issue_cert("etcd-0"))):
        cert.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        for number, part in enumerate(cert.cert_chain_pems):
            part.write_to_path(tmp_path / f"{name}.pem", append=number > 0)
    return tmp_path


@pytest.mark.slow
def test_with_tls_only_clients_with_a_known_certificate_get_in(tls_files, capture_127):
    """Over gRPC and HTTP, also beyond loopback; a unix socket stays plain and needs none."""
    path = tls_files / "otlp.sock"
    listen = (
        *("--grpc-listen", "127.0.0.1:0", "--grpc-listen", f"unix:{path}"),
        *("--http-listen", "0.0.0.0:0", "--metrics-listen", "127.0.0.1:0"),
    )
    arguments = [f"--tls-cert={tls_files}/server.pem", f"--tls-key={tls_files}/server.key"]
    arguments += [f"--client-ca={tls_files}/ca.pem", "--client-name=etcd-0"]
    batch = batches_of(capture_127)[0]
    with serving(*arguments, listen=listen) as process:
        assert send(f"unix:{path}", [batch]) == 1
        secure = next(each for each in process.find("listening")["listening"]["grpc"] if "unix" not in each)
        port = int(process.address("http").rpartition(":")[2])
        assert grpc_with(tls_files, "client", secure, batch) == grpc.StatusCode.OK
        assert grpc_with(tls_files, "stranger", secure, batch) == grpc.StatusCode.UNAVAILABLE
        assert http_with(tls_files, "client", port, batch) == 200
        assert http_with(tls_files, "stranger", port, batch) is None
        last = process.stop()
    assert last["batches"] == 3


def grpc_with(files, who, address, batch):
    key, chain, root = ((files / name).read_bytes() for name in (f"{who}.key", f"{who}.pem", "ca.pem"))
    credentials = grpc.ssl_channel_credentials(root, key, chain)
    with grpc.secure_channel(address, credentials) as channel:
        try:
            channel.unary_unary(EXPORT)(batch, timeout=10)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def http_with(files, who, port, batch):
    context = ssl.create_default_context(cafile=files / "ca.pem")
    context.load_cert_chain(files / f"{who}.pem", files / f"{who}.key")
    client = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    try:
        client.request("POST", "/v1/traces", batch, {"Content-Type": "application/x-protobuf"})
        return client.getresponse().status
    except (ssl.SSLError, ConnectionError):
        return None
    finally:
        client.close()


# ── What it says of itself ────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_health_readiness_and_metrics_are_there(capture_136, tmp_path):
    """And the metrics agree with the answers: requests, time by component, spans, batches stored."""
    expected = k8strace.attribute(k8strace.join(k8strace.read(str(capture_136))))
    with serving("--store", str(tmp_path), "--window", "1s") as process:
        assert process.get("/healthz") == (200, "up\n")
        assert process.get("/readyz") == (200, "accepting\n")
        assert process.get("/secrets")[0] == 404
        with grpc.insecure_channel(process.address("grpc")) as channel:
            for service in ("", "opentelemetry.proto.collector.trace.v1.TraceService"):
                answer = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=5)
                assert answer.status == HealthCheckResponse.SERVING
        sent = send(process.address("grpc"), batches_of(capture_136))
        deadline = time.monotonic() + 20
        while process.metric("k8strace_requests_total") < 1411 and time.monotonic() < deadline:
            time.sleep(0.1)
        found = process.metrics()
        counted = {
            name: process.metric(name)
            for name in (
                *("k8strace_requests_total", "k8strace_received_requests_total"),
                *("k8strace_accepted_spans_total", "k8strace_journal_batches_total", "k8strace_ready"),
            )
        }
        etcd_s = process.metric("k8strace_component_duration_seconds_sum", component="etcd")
    assert counted == {
        "k8strace_requests_total": 1411,
        "k8strace_received_requests_total": sent,
        "k8strace_accepted_spans_total": 16_766,
        "k8strace_journal_batches_total": sent,
        "k8strace_ready": 1,
    }
    measured = sum(group.all.components.get("etcd", 0) for group in expected.by())
    assert etcd_s == pytest.approx(measured / 1e9)
    traces = set(expected.requests.column("trace_id"))
    exemplars = {sample.exemplar.labels["trace_id"] for sample in found.values() if sample.exemplar}
    assert exemplars
    assert exemplars <= traces


def test_refusals_are_counted_by_reason(capture_127):
    """A body that is no OTLP: INVALID_ARGUMENT, and a counter that says why."""
    with serving() as process:
        with (
            grpc.insecure_channel(process.address("grpc")) as channel,
            pytest.raises(grpc.RpcError) as refused,
        ):
            channel.unary_unary(EXPORT)(b"\xff\xff", timeout=10)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert process.metric("k8strace_rejected_total", reason="malformed") == 1
        assert send(process.address("grpc"), batches_of(capture_127)[:1]) == 1


@pytest.mark.slow
def test_without_a_reader_of_its_json_it_ends():
    """`k8strace serve --json | head`: exit code 141, as other commands have it."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "k8strace",
            "serve",
            "--json",
            "--window",
            "1s",
            *ANYWHERE,
            "--log-format",
            "json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    with process:
        process.stdout.close()
        while (line := json.loads(process.stderr.readline())) and not line["message"].startswith("listening"):
            pass
        capture = ROOT / "tests" / "data" / "k8s-1.27_etcd-3.5.otlp.zst"
        with contextlib.suppress(grpc.RpcError):  # it may end while batches are still sent
            send(line["listening"]["grpc"][0], batches_of(capture))
        assert process.wait(30) == 141
        process.stderr.read()


def test_what_nobody_reads_is_not_written(monkeypatch, capture_127):
    """The first write finds out; later ones cost nothing, not even the making of lines."""
    written, stop = [], Stop()

    class Gone:
        def write(self, text):
            written.append(text)
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    lines = JsonLines(stop)
    lines.write(k8strace.join(k8strace.read(str(capture_127))))
    lines.write(None)
    assert len(written) == 1
    assert lines.closed
    assert stop.is_set()


def test_other_commands_do_not_load_what_serves():
    """`k8strace --help` knows serve, and imports neither grpc nor hypercorn nor rich."""
    code = (
        "import sys; from k8strace.cli.commands import parser; parser(); "
        "print(sorted({'grpc', 'hypercorn', 'prometheus_client', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=True, timeout=30)
    assert done.stdout == b"[]\n"


def test_help_is_grouped_by_topic():
    """And names every option."""
    done = subprocess.run(
        [sys.executable, "-m", "k8strace", "serve", "--help"],
        capture_output=True,
        cwd=ROOT,
        check=True,
        timeout=30,
        env=os.environ | {"COLUMNS": "100"},
    )
    text = done.stdout.decode()
    for topic in ("listening:", "storing:", "joining:", "limits:", "identity:", "showing:", "exit codes:"):
        assert f"\n{topic}\n" in text
    assert all(len(line) <= 100 for line in text.splitlines())
