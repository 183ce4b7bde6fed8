"""A receiver stops in time, however much is stuck: one deadline is for all of it, and most of that is for the join."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from concurrent.futures import Future

import grpc
import pytest
from serving import EXPORT

from k8strace.receiver.serving import Places, Receiver
from k8strace.receiver.transports.addresses import parse_addresses

pytestmark = pytest.mark.alone

ANYWHERE = parse_addresses("127.0.0.1:0")


class Stream:
    """Takes everything, once it may."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def feed(self, batch, now_ns): ...

    def take(self, now_ns):  # noqa: ARG002
        return ()

    def flush(self):
        self.goes_on.wait(10)
        return ()


class Journal:
    """Its disk may be stuck."""

    directory, counts = "nowhere", {}

    def __init__(self, *, stuck: bool = False) -> None:
        self.stuck, self.closed_within = stuck, []
        self.goes_on = threading.Event()

    def readings(self):
        return []

    def submit(self, batch):  # noqa: ARG002
        if self.stuck:
            self.goes_on.wait(10)
        answer = Future()
        answer.set_result(None)
        return answer

    def close(self, timeout_s):
        self.closed_within.append(timeout_s)
        return not (self.stuck and time.sleep(timeout_s) is None)


@pytest.fixture
def made():
    """Makes receivers that have started, and lets go what is stuck."""
    parts = []

    def make(stream, journal, **settings):
        parts.extend([stream, journal])
        receiver = Receiver(stream, Places(ANYWHERE, ANYWHERE, ANYWHERE), journal=journal, **settings)
        receiver.start()
        return receiver

    yield make
    for part in parts:
        part.goes_on.set()


def stopped(receiver, timeout_s):
    began = time.monotonic()
    drained = receiver.stop(timeout_s)
    return drained, time.monotonic() - began


def test_a_slow_request_leaves_the_join_its_time(made):
    """Half a body that never ends costs three tenths of the time at most; the join may take two thirds."""
    stream, journal = Stream(), Journal()
    receiver = made(stream, journal)
    timer = threading.Timer(1.2, stream.goes_on.set)
    with socket.create_connection(receiver.addresses["http"][0][:2]) as slow:
        slow.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n")
        slow.sendall(b"Content-Type: application/x-protobuf\r\n\r\n")
        time.sleep(0.1)
        timer.start()
        drained, took_s = stopped(receiver, 2)
    timer.join()
    assert drained
    assert took_s < 1.8
    assert journal.closed_within[0] < 1


def test_however_much_is_stuck_it_stops_in_time(made):
    """The join, the disk, a sender whose batch is being stored, and somebody on the metrics' port."""
    told = []
    receiver = made(Stream(), Journal(stuck=True), report=told.append)
    metrics = http.client.HTTPConnection(*receiver.addresses["metrics"][0][:2])
    metrics.request("GET", "/healthz")
    metrics.getresponse().read()
    with grpc.insecure_channel(str(receiver.addresses["grpc"][0])) as channel:
        answer = channel.unary_unary(EXPORT).future(b"", timeout=10)
        deadline = time.monotonic() + 5
        while not receiver.in_flight_bytes and not receiver.counts["grpc"].requests_received:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        drained, took_s = stopped(receiver, 1)
        answer.cancel()
    metrics.close()
    assert not drained
    assert took_s < 1.3
    assert told == ["the store was not closed in time; the next start puts it in order"]
