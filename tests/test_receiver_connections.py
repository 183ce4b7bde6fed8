"""Slow, broken and vanishing senders: they are ended in time, counted, and cost others nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from receivers import EXPORT, Kept, Sender, request_of, serving, span

from k8strace.receiver import (
    Identity,
    Limits,
    Receipt,
    Tokens,
    UnavailableError,
    asgi_app,
    server_options,
)

pytestmark = pytest.mark.alone

HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
QUICK = Limits(body_s=2.0, body_grace_s=0.5, body_bytes_per_s=1_000)
GRPC = ["grpc", "grpc.aio"]


def eventually(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def trickle(send: Sender, pieces: Iterator[tuple[float, bytes]], length: int) -> tuple[bytes, float]:
    """Sends a body in pieces, each after a pause; what came back until the server closed, and after how long."""
    started = time.monotonic()
    with socket.create_connection(("localhost", send.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % length)
        for pause, piece in pieces:
            connection.settimeout(pause)
            try:
                if connection.recv(1, socket.MSG_PEEK) is not None:
                    break
            except TimeoutError:
                connection.sendall(piece)
        connection.settimeout(10)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    return answer, time.monotonic() - started


# ── HTTP ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_body_that_stops_is_ended_after_the_grace():
    with serving("http/protobuf", Kept(), limits=QUICK) as send:
        answer, took = trickle(send, iter([]), 100)
        assert send.intake.rejections["slow"] == 1
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"connection: close" in answer.lower()
    assert 0.5 <= took < 1.5


def test_a_body_that_trickles_is_ended_when_it_falls_behind():
    """A byte every tenth of a second, where a thousand are asked for each second."""
    with serving("http/protobuf", Kept(), limits=QUICK) as send:
        answer, took = trickle(send, iter([(0.1, b"\x0a")] * 50), 1_000)
    assert answer.startswith(b"HTTP/1.1 503")
    assert 0.5 <= took < 1.5


@pytest.mark.slow
def test_a_body_that_keeps_up_is_ended_at_the_total():
    with serving("http/protobuf", Kept(), limits=QUICK) as send:
        answer, took = trickle(send, iter([(0.1, b"\x0a" * 300)] * 50), 50_000)
    assert answer.startswith(b"HTTP/1.1 503")
    assert 2.0 <= took < 3.0


def test_a_body_that_takes_a_while_is_taken():
    sink = Kept()
    wire = request_of(span()).SerializeToString()
    with serving("http/protobuf", sink, limits=QUICK) as send, ThreadPoolExecutor(1) as pool:
        connection = socket.create_connection(("localhost", send.port), timeout=10)
        connection.sendall(HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(wire))
        future = pool.submit(lambda: b"".join(iter(lambda: connection.recv(65_536), b"")))
        for at in range(0, len(wire), 20):
            time.sleep(0.05)
            connection.sendall(wire[at : at + 20])
        assert future.result().startswith(b"HTTP/1.1 200")
        connection.close()
    assert sink.spans == [span()]


def test_a_sender_that_leaves_is_counted():
    with serving("http/protobuf", Kept()) as send:
        with socket.create_connection(("localhost", send.port)) as connection:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\nhalf")
        assert eventually(lambda: send.intake.rejections["disconnected"] == 1)
        counts = send.intake.counts()["http/protobuf"]
        assert (counts.requests_received, counts.requests_refused) == (1, 1)
        assert send.intake.budget.used_bytes == 0


def test_a_length_over_the_limit_is_refused_before_the_body():
    """With the answer to `Expect: 100-continue` pending, not a byte of the body is ever sent."""
    with serving("http/protobuf", Kept(), limits=Limits(request_bytes=1_000)) as send:
        answer, took = trickle(send, iter([]), 1_001)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()
    assert took < 3


def test_a_sender_that_is_refused_early_sees_the_answer():
    """Though it sends the whole body first, as plain clients do."""
    body = b"\x0a" * 2_000_000
    with serving("http/protobuf", Kept(), limits=Limits(request_bytes=1_000)) as send:
        for _ in range(20):
            assert send(body).status == 413


def test_a_body_without_a_length_is_limited_too():
    with serving("http/protobuf", Kept(), limits=Limits(request_bytes=1_000)) as send:
        with socket.create_connection(("localhost", send.port), timeout=10) as connection:
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                connection.sendall(b"190\r\n" + b"\x0a" * 400 + b"\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 413")
        assert send.intake.budget.used_bytes == 0


def test_a_length_that_lies_is_no_way_around():
    """An application is only told what its server read; this one says so itself."""
    app = asgi_app(Kept(), limits=Limits(request_bytes=1_000))
    headers = [(b"content-type", b"application/x-protobuf"), (b"content-length", b"10")]
    scope = {"type": "http", "method": "POST", "path": "/v1/traces", "headers": headers}
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"x" * 600, "more_body": True}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 413


def test_two_hundred_slow_bodies_do_not_slow_others():
    """They hold a connection each, and no thread."""
    with serving("http/protobuf", Kept()) as send:
        slow = []
        try:
            for _ in range(200):
                slow.append(socket.create_connection(("localhost", send.port), timeout=10))
                slow[-1].sendall(HEAD + b"Content-Length: 100\r\n\r\n\x0a")
            assert eventually(lambda: send.intake.counts()["http/protobuf"].requests_received == 200)
            started = time.monotonic()
            assert all(send(request_of(span(number))).ok for number in range(1, 51))
            assert time.monotonic() - started < 5
        finally:
            for connection in slow:
                connection.close()
        assert eventually(lambda: send.intake.rejections["disconnected"] == 200)


# ── gRPC ──────────────────────────────────────────────────────────────────────────────────────────


def stream(send: Sender, requests) -> str:
    """A call whose request is sent by hand; the status's name."""
    with grpc.insecure_channel(f"localhost:{send.port}") as channel:
        try:
            channel.stream_unary(EXPORT)(requests, timeout=20)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def after(seconds: float):
    time.sleep(seconds)
    yield request_of(span()).SerializeToString()


@pytest.mark.parametrize("transport", GRPC)
def test_a_message_that_does_not_come_is_ended_in_time(transport):
    with serving(transport, Kept(), limits=Limits(body_s=0.5)) as send:
        started = time.monotonic()
        status = stream(send, after(3))
        took = time.monotonic() - started
        assert eventually(lambda: send.intake.rejections["slow"] == 1)
    assert status == "CANCELLED"
    assert 0.5 <= took < 2


@pytest.mark.parametrize("transport", GRPC)
def test_a_message_that_takes_a_while_is_taken(transport):
    sink = Kept()
    with serving(transport, sink, limits=Limits(body_s=5)) as send:
        assert stream(send, after(0.5)) == "OK"
    assert sink.spans == [span()]


@pytest.mark.parametrize("transport", GRPC)
def test_a_call_without_a_message_is_refused(transport):
    with serving(transport, Kept()) as send:
        assert stream(send, iter([])) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("transport", GRPC)
def test_a_call_with_two_messages_is_refused(transport):
    """Neither is taken: an OK would be for one of them, and nobody would miss the other."""
    sink = Kept()
    messages = [request_of(span(number)).SerializeToString() for number in (1, 2)]
    with serving(transport, sink) as send:
        assert stream(send, iter(messages)) == "INVALID_ARGUMENT"
        assert eventually(lambda: send.intake.counts()["grpc"].requests_refused == 1)
        assert send.intake.rejections["malformed"] == 1
    assert sink.spans == []


@pytest.mark.parametrize("transport", GRPC)
def test_grpc_connections_are_capped_and_have_a_deadline_from_the_first_byte(transport):
    """The fourth of three is closed at once; who says nothing is sent away, and there is room again."""
    with serving(transport, Kept(), limits=Limits(connections=3, handshake_s=1)) as send:
        silent = [socket.create_connection(("localhost", send.port), timeout=10) for _ in range(4)]
        began = time.monotonic()
        assert silent[3].recv(1024) == b""
        assert time.monotonic() - began < 0.5
        for connection in silent[:3]:
            while connection.recv(1024):
                pass
            connection.close()
        assert time.monotonic() - began < 5
        assert send(request_of(span())).ok
        silent[3].close()


@pytest.mark.parametrize("transport", GRPC)
def test_a_call_that_is_cancelled_is_counted(transport):
    with serving(transport, Kept()) as send, grpc.insecure_channel(f"localhost:{send.port}") as channel:
        call = channel.stream_unary(EXPORT).future(after(3))
        assert eventually(lambda: send.intake.counts()["grpc"].requests_received == 1)
        call.cancel()
        assert eventually(lambda: send.intake.counts()["grpc"].requests_refused == 1)
        assert send.intake.budget.used_bytes == 0


@pytest.mark.parametrize("transport", GRPC)
def test_spans_of_a_call_that_is_cancelled_while_they_are_stored_are_counted_as_they_are(transport):
    """The sender cannot know, and sends again; the sink has them."""
    entered, leave = threading.Event(), threading.Event()

    def accept(_, meta):
        entered.set()
        leave.wait(10)
        return Receipt(meta.spans)

    with serving(transport, Kept(accept)) as send, grpc.insecure_channel(f"localhost:{send.port}") as channel:
        call = channel.unary_unary(EXPORT).future(request_of(span()).SerializeToString())
        assert entered.wait(10)
        call.cancel()
        time.sleep(0.2)
        leave.set()
        assert eventually(lambda: send.intake.counts()["grpc"].requests_accepted == 1)
        assert send.intake.counts()["grpc"].spans_accepted == 1
        assert send.intake.budget.used_bytes == 0


@pytest.mark.parametrize("transport", GRPC)
def test_a_hundred_slow_messages_do_not_slow_others(transport):
    """More than there are workers, from two connections."""
    leave = threading.Event()

    def slow():
        leave.wait(20)
        yield request_of(span()).SerializeToString()

    limits = Limits(workers=4, waiting_requests=4)
    options = [("grpc.use_local_subchannel_pool", 1)]
    with serving(transport, Kept(), limits=limits) as send:
        target = f"localhost:{send.port}"
        with grpc.insecure_channel(target, options) as one, grpc.insecure_channel(target, options) as two:
            calls = [channel.stream_unary(EXPORT).future(slow()) for channel in (one, two) for _ in range(50)]
            assert eventually(lambda: send.intake.counts()["grpc"].requests_received == 100)
            started = time.monotonic()
            assert all(send(request_of(span(number))).ok for number in range(1, 21))
            assert time.monotonic() - started < 5
            leave.set()
            done = [call.exception() is None for call in calls]
        counts = send.intake.counts()["grpc"]
    assert counts.requests_accepted == sum(done) + 20
    assert counts.requests_accepted + counts.requests_refused == 120


def test_when_slow_messages_hold_every_thread_others_are_told_so_at_once():
    """And strangers are told that they are strangers."""
    leave = threading.Event()
    known = {"Authorization": "Bearer a-token-that-is-known"}

    def slow():
        leave.wait(20)
        yield request_of(span()).SerializeToString()

    settings = {
        "limits": Limits(connections=2, waiting_requests=1),
        "identity": Identity(Tokens(["a-token-that-is-known"])),
    }
    metadata = [(key.lower(), value) for key, value in known.items()]
    with (
        serving("grpc", Kept(), **settings) as send,
        grpc.insecure_channel(f"localhost:{send.port}") as channel,
    ):
        calls = []
        for number in (1, 2):
            calls.append(channel.stream_unary(EXPORT).future(slow(), metadata=metadata))
            assert eventually(lambda number=number: send.intake.counts()["grpc"].requests_received == number)
        calls.append(channel.stream_unary(EXPORT).future(slow(), metadata=metadata))
        time.sleep(0.3)
        refused = send(request_of(span()), headers=known)
        stranger = send(request_of(span()))
        leave.set()
        assert all(call.exception() is None for call in calls)
    assert (refused.status, refused.retry_s) == ("UNAVAILABLE", 1)
    assert stranger.status == "UNAUTHENTICATED"


def test_options_for_a_grpc_server_hold_what_only_it_can_hold():
    options = dict(server_options(Limits(request_bytes=1_000, response_bytes=2_000, streams=3)))
    assert options["grpc.max_receive_message_length"] == 1_000
    assert options["grpc.max_send_message_length"] == 2_000
    assert options["grpc.max_concurrent_streams"] == 3
    assert options["grpc.so_reuseport"] == 0
    assert options["grpc.http2.max_ping_strikes"] > 0


def test_two_servers_do_not_share_a_port():
    with serving("grpc", Kept()) as send:
        other = grpc.server(ThreadPoolExecutor(1), options=server_options())
        with pytest.raises(RuntimeError, match="Failed to bind"):
            other.add_insecure_port(f"localhost:{send.port}")


def test_a_bomb_over_grpc_is_refused_by_grpcio_itself():
    """Ours to keep a test of, not ours to promise."""
    with serving("grpc", Kept(), limits=Limits(request_bytes=1 << 20)) as send:
        answer = send(bytes(8 << 20), encoding="gzip")
    assert answer.status == "RESOURCE_EXHAUSTED"
    assert answer.retry_s is None


def test_the_sink_decides_when_a_sender_comes_again():
    """However long: whole seconds are only for HTTP."""

    def accept(*_):
        raise UnavailableError("moving house", reason="draining", retry_after_s=0.25)

    with serving("grpc", Kept(accept)) as send:
        assert send(request_of(span())).retry_s == 0.25
