"""
How long a search of Jaeger's API takes while a million spans are held, over HTTP.

    python benchmarks/query.py                    # a million spans in takes as a stream gives them
    python benchmarks/query.py --spans 100000 --searches 50

Spans are those of `workloads.py`. Searches are drawn at random from those that Grafana's editor and Jaeger's page can
write: a service, perhaps an operation, a tag, a least duration, for 20 traces; and single traces. The server is that of
`serve`, in a process of its own; the time is from the first byte sent to the last one read.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import random
import socket
import time
from multiprocessing.connection import Connection
from urllib.parse import urlencode

import psutil
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
    measure(port, WARM)  # what is made once for each take
    served = psutil.Process(server.pid)
    before = served.cpu_times()
    times, spans = measure(port, asked.searches)
    after = served.cpu_times()
    server.terminate()
    cpu_ms = 1e3 * (sum(after[:2]) - sum(before[:2])) / len(times)
    print(
        f"{held:,} spans held in {takes:,} takes; {asked.searches} searches, "
        f"answers of {spans / len(times):.0f} spans, {cpu_ms:.1f} ms of processor time each"
    )
    for kind, several in sorted(times_by_kind(times).items()):
        p50, p95, worst = quantiles(several)
        print(f"{kind:12} {len(several):4}  p50 {p50:6.1f} ms  p95 {p95:6.1f} ms  worst {worst:6.1f} ms")


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


def measure(port: int, searches: int) -> tuple[list[tuple[str, float]], int]:
    """(kind of query, ms) of each, and spans of all answers."""
    rng, client = random.Random(7), http.client.HTTPConnection("127.0.0.1", port)
    times: list[tuple[str, float]] = []
    seen: list[str] = []
    spans = 0
    for _ in range(searches):
        kind, target = draw(rng, seen)
        began = time.perf_counter()
        client.request("GET", target)
        body = client.getresponse().read()
        times.append((kind, (time.perf_counter() - began) * 1e3))
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


def times_by_kind(times: list[tuple[str, float]]) -> dict[str, list[float]]:
    """By kind of query, and of all."""
    found: dict[str, list[float]] = {"all": [ms for _, ms in times]}
    for kind, ms in times:
        found.setdefault(kind, []).append(ms)
    return found


def quantiles(several: list[float]) -> tuple[float, float, float]:
    """Median, 95th percentile, the longest."""
    ordered = sorted(several)
    return tuple(ordered[min(int(q * len(ordered)), len(ordered) - 1)] for q in (0.5, 0.95, 1.0))


if __name__ == "__main__":
    main()
