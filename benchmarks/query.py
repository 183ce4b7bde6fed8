"""
How long a search of Jaeger's API takes while a million spans are held, over HTTP.

    python benchmarks/query.py                    # a million spans in takes as a stream gives them
    python benchmarks/query.py --spans 100000 --searches 50

Spans are those of `workloads.py`. Searches are drawn at random from those that Grafana's editor and Jaeger's page can
write: a service, perhaps an operation, a tag, a least duration, for 20 traces; and single traces. The server is that of
`serve`, in a process of its own; the time is from the first byte sent to the last one read. The processor time is that
of the server's process, which other programs on the machine change little.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import socket
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from urllib.parse import urlencode

from workloads import generate

import k8strace
from k8strace.query import Held
from k8strace.query.jaeger import query_app
from k8strace.query.traces import Traces
from k8strace.receiver import Limits
from k8strace.receiver.transports.http_server import HttpServer, Site

TAKE_SPANS = 2_000
WARM = 50
EVER = {"start": 0, "end": 4 * 10**15, "limit": 20}
OPERATIONS = ("Create etcd3", "Get", "List", "Update", "etcdserverpb.KV/Txn", "etcdserverpb.KV/Range")
TAGS = ("http.request.method:POST", "http.method:GET", "rpc.grpc.status_code:0", "http.status_code:404")


def main() -> None:
    """Prints quantiles."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--searches", type=int, default=200)
    asked = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(asked.spans, there), daemon=True
    )
    server.start()
    port, held, takes = here.recv()
    measure(port, server.pid, WARM)  # what is made once for each take
    times, spans = measure(port, server.pid, asked.searches)
    server.terminate()
    print(
        f"{held:,} spans held in {takes:,} takes; {asked.searches} searches, "
        f"answers of {spans / len(times):.0f} spans; load {os.getloadavg()[0]:.1f}"
    )
    for kind, several in sorted(times_by_kind(times).items()):
        for what, each in zip(("", "processor"), zip(*several, strict=True), strict=True):
            p50, p95, worst = quantiles(each)
            print(
                f"{kind:12} {len(each):4}  {what:9}  mean {sum(each) / len(each):6.1f} ms  p50 {p50:6.1f} ms  "
                f"p95 {p95:6.1f} ms  worst {worst:6.1f} ms"
            )


def serve(count: int, told: Connection) -> None:
    """Holds spans, and serves them."""
    held = Held(most_spans=count, most_takes=count)
    stream, spans = k8strace.RequestStream(), 0
    for at, batch in enumerate(generate(count)):
        stream.feed(batch, now_ns=at)
        spans += len(k8strace.decode(batch))
        if spans >= TAKE_SPANS:
            held(stream.take(now_ns=at))
            spans = 0
    held(stream.flush())
    listening = socket.create_server(("127.0.0.1", 0))
    HttpServer([Site(query_app(Traces(held)), listening)], Limits()).start()
    populations = held.populations()
    told.send((listening.getsockname()[1], sum(len(each.spans) for each in populations), len(populations)))
    time.sleep(3_600)


Times = list[tuple[str, tuple[float, float]]]
"""Kind of query; ms until the answer, and of the server's processor time."""


def measure(port: int, pid: int, searches: int) -> tuple[Times, int]:
    """Times of each, and spans of all answers."""
    processor = (~pid << 3) | 2  # clock_getcpuclockid(3), which Python has not
    rng, client = random.Random(7), http.client.HTTPConnection("127.0.0.1", port)
    times: Times = []
    seen: list[str] = []
    spans = 0
    for _ in range(searches):
        kind, target = draw(rng, seen)
        began, worked = time.perf_counter(), time.clock_gettime(processor)
        client.request("GET", target)
        body = client.getresponse().read()
        took, worked = time.perf_counter() - began, time.clock_gettime(processor) - worked
        times.append((kind, (took * 1e3, worked * 1e3)))
        found = json.loads(body)["data"]
        spans += sum(len(trace["spans"]) for trace in found)
        seen += [trace["traceID"] for trace in found]
    return times, spans


def draw(rng: random.Random, seen: list[str]) -> tuple[str, str]:
    """A kind of query and its path."""
    if seen and rng.random() < 0.2:
        return "one trace", f"/api/traces/{rng.choice(seen)}"
    asked = {"service": rng.choice(("apiserver", "etcd")), **EVER}
    kind = rng.choice(("service", "operation", "tag", "duration"))
    if kind == "operation":
        asked["operation"] = rng.choice(OPERATIONS)
    elif kind == "tag":
        asked["tag"] = rng.choice(TAGS)
    elif kind == "duration":
        asked["minDuration"] = rng.choice(("1ms", "10ms", "100ms"))
    return kind, f"/api/traces?{urlencode(asked)}"


def times_by_kind(times: Times) -> dict[str, list[tuple[float, float]]]:
    """By kind of query, and of all."""
    found = {"all": [ms for _, ms in times]}
    for kind, ms in times:
        found.setdefault(kind, []).append(ms)
    return found


def quantiles(several: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th percentile, the longest."""
    ordered = sorted(several)
    return tuple(ordered[min(int(q * len(ordered)), len(ordered) - 1)] for q in (0.5, 0.95, 1.0))


if __name__ == "__main__":
    main()
