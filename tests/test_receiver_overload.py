"""
Far more senders than places, over every transport: nobody is told to drop a good request, and counts add up.

The sender is a strict one: it sends again what the protocol lets it send again, and only that.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import trustme
from receivers import EXPORT, GRPC_RETRYABLE, HTTP_RETRYABLE, Kept, request_of, serving, span

from k8strace.receiver import Limits, Receipt, ServerTls

pytestmark = pytest.mark.alone

SENDERS, EACH = 24, 6
LIMITS = Limits(workers=2, waiting_requests=2, connections=16, in_flight_bytes=1 << 20, request_bytes=1 << 20)
BODY = {"Content-Type": "application/x-protobuf"}


class Slow(Kept):
    """A sink that takes 20 ms for a batch."""

    def accept(self, batch, meta):
        time.sleep(0.02)
        return super().accept(batch, meta)


class HttpSender:
    """One connection that is kept while it can be."""

    def __init__(self, port, context):
        self._made = (
            (lambda: http.client.HTTPSConnection("localhost", port, timeout=30, context=context))
            if context
            else (lambda: http.client.HTTPConnection("localhost", port, timeout=30))
        )
        self._connection = self._made()

    def __call__(self, wire):
        try:
            self._connection.request("POST", "/v1/traces", wire, BODY)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._connection = self._made()
            return "no answer", isinstance(error, OSError | http.client.RemoteDisconnected)
        if answer.status in HTTP_RETRYABLE:
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status, answer.status in HTTP_RETRYABLE

    def close(self):
        self._connection.close()


class GrpcSender:
    def __init__(self, port, credentials):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        target = f"localhost:{port}"
        self._channel = (
            grpc.secure_channel(target, credentials, options)
            if credentials
            else grpc.insecure_channel(target, options)
        )

    def __call__(self, wire):
        try:
            self._channel.unary_unary(EXPORT)(wire, timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.code().name in GRPC_RETRYABLE
        return 200, False

    def close(self):
        self._channel.close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_tls(authority, folder):
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return ServerTls(folder / "cert.pem", folder / "key.pem")


def client_of(transport, authority, *, tls):
    if transport == "grpc":
        pem = authority.cert_pem.bytes() if tls else None
        return lambda port: GrpcSender(port, grpc.ssl_channel_credentials(pem) if pem else None)
    context = ssl.create_default_context() if tls else None
    if context:
        authority.configure_trust(context)
        context.set_alpn_protocols(["h2", "http/1.1"])  # as Go does
    return lambda port: HttpSender(port, context)


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("transport", ["grpc", "http/protobuf"])
def test_an_overload_loses_nothing(transport, tls, authority, tmp_path):
    """Bodies of 200 KB, so that most are refused while they are still coming."""
    sink, make = Slow(), client_of(transport, authority, tls=tls)
    told: Counter[object] = Counter()
    settings = {"tls": server_tls(authority, tmp_path) if tls else None, "limits": LIMITS}

    def send(number):
        sender = make(served.port)
        for at in range(EACH):
            wire = request_of(span(1 + number * EACH + at, name="x" * 200_000)).SerializeToString()
            until = time.monotonic() + 60
            while (answer := sender(wire))[0] != 200:
                with lock:
                    told[answer] += 1
                assert answer[1], f"{answer[0]}: a good request is not to be sent again"
                assert time.monotonic() < until
                time.sleep(0.05)
        sender.close()

    lock = threading.Lock()
    with serving(transport, sink, **settings) as served, ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, range(SENDERS)))
        counts = served.intake.counts()[transport]
        rejections = served.intake.rejections.counts()
    ids = [each.span_id for each in sink.spans]
    assert len(set(ids)) == SENDERS * EACH, "every span was taken"
    assert counts.requests_received == counts.requests_accepted + counts.requests_refused
    assert counts.requests_accepted == len(ids)
    answered = sum(count for (status, _), count in told.items() if status not in ("no answer", "UNAVAILABLE"))
    assert answered + told[("UNAVAILABLE", True)] + told[("no answer", True)] >= counts.requests_refused > 0
    assert {reason for reason, count in rejections.items() if count} <= {
        "budget",
        "busy",
        "slow",
        "disconnected",
    }


def test_a_stop_in_the_middle_loses_nothing(authority):
    """Requests that run are answered; who comes too late is told nothing, or to come again."""
    entered = threading.Event()

    def accept(_, meta):
        entered.set()
        time.sleep(0.3)
        return Receipt(meta.spans)

    with ThreadPoolExecutor(4) as pool:
        with serving("http/protobuf", Kept(accept)) as served:
            make = client_of("http/protobuf", authority, tls=False)
            running = [
                pool.submit(make(served.port), request_of(span(n)).SerializeToString()) for n in (1, 2, 3)
            ]
            assert entered.wait(10)
        answers = [future.result()[0] for future in running]
    assert set(answers) <= {200, "no answer"}
    assert answers.count(200) == served.intake.counts()["http/protobuf"].requests_accepted > 0
