"""Connections end when their time is over, and there are only so many. On real sockets, with short times."""

from __future__ import annotations

import socket
import ssl
import time

import pytest
import trustme

from k8strace.receiver import Limits
from k8strace.receiver.transports.http_server import HttpServer, Site

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LIMITS = Limits(header_s=0.5, handshake_s=0.5, idle_s=1.5, connections=3)


async def hello(scope, receive, send):  # noqa: ARG001
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})


@pytest.fixture
def connect():
    """Opens connections to a server of its own; `tls` makes it one with TLS."""
    running, opened = [], []

    def start(tls=None):
        listening = socket.create_server(("127.0.0.1", 0))
        running.append(HttpServer([Site(hello, listening, tls)], LIMITS))
        running[-1].start()
        address = listening.getsockname()

        def one():
            opened.append(socket.create_connection(address, timeout=10))
            return opened[-1]

        return one, running[-1]

    yield start
    for each in opened:
        each.close()
    for server in running:
        server.stop(0.5)


def seconds_until_closed(connection):
    began = time.monotonic()
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


def answer_of(connection):
    """All of it: head and body come one after the other."""
    connection.sendall(REQUEST)
    answer = connection.recv(4096)
    while answer and not answer.endswith(b"hi"):
        answer += connection.recv(4096)
    return answer


@pytest.mark.parametrize("begun", [b"", b"GET / HT"], ids=["nothing", "half a header"])
def test_a_header_must_come_in_time(connect, begun):
    """From the connection on: 0.5 s, however slowly it trickles in."""
    connection = connect()[0]()
    connection.sendall(begun)
    assert 0.3 < seconds_until_closed(connection) < 1.2


def test_between_requests_a_connection_may_be_idle_for_longer(connect):
    """1.5 s; and a header that has begun has 0.5 s again."""
    one, _ = connect()
    idle, trickling = one(), one()
    for connection in (idle, trickling):
        assert answer_of(connection).startswith(b"HTTP/1.1 200")
    time.sleep(0.8)
    assert answer_of(idle).startswith(b"HTTP/1.1 200"), "exporters keep their connections between two exports"
    trickling.sendall(b"GET")
    assert seconds_until_closed(trickling) < 0.65
    assert 0.7 < seconds_until_closed(idle) < 2.2


def test_there_are_only_so_many_connections(connect):
    """The fourth of three is closed at once; when one ends there is room again."""
    one, server = connect()
    first = [one() for _ in range(3)]
    assert all(answer_of(connection).startswith(b"HTTP/1.1 200") for connection in first)
    assert seconds_until_closed(one()) < 0.3
    assert (server.connections, server.refused_connections) == (3, 1)
    first[0].close()
    time.sleep(0.2)
    assert answer_of(one()).startswith(b"HTTP/1.1 200")


def test_a_tls_handshake_must_come_in_time(connect):
    """Who says nothing is sent away; who can speak TLS is answered."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    one, _ = connect(server)
    assert 0.3 < seconds_until_closed(one()) < 1.2
    with client.wrap_socket(one(), server_hostname="127.0.0.1") as secure:
        assert answer_of(secure).startswith(b"HTTP/1.1 200")


def test_stopping_lets_a_running_request_end(connect):
    """And closes idle connections at once."""
    one, server = connect()
    idle = one()
    assert answer_of(idle).startswith(b"HTTP/1.1 200")
    began = time.monotonic()
    server.stop(5)
    assert time.monotonic() - began < 1
    assert seconds_until_closed(idle) < 0.3
    with pytest.raises(ConnectionError):
        one()
