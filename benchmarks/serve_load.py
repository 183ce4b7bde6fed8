"""
How much `k8strace serve` takes on this machine, with the generator on the same cores.

    python benchmarks/serve_load.py                       # 60 s, durable, as fast as it goes
    python benchmarks/serve_load.py --seconds 5           # for CI
    python benchmarks/serve_load.py --memory --rate 20000 # without a store, at a steady rate

The same batches go first to a gRPC server of grpcio that throws them away: what it takes is the ceiling that grpcio and
the generator leave. Spans are those of `workloads.py`, in every round with new trace ids and later times. Only their
first bytes change, so that the generator costs little; its own share of the CPU is printed beside the result.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from spent import Spent
from workloads import generate

import k8strace

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
NOWHERE = """
import grpc, sys
from concurrent.futures import ThreadPoolExecutor

class Discard(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")

server = grpc.server(ThreadPoolExecutor(8), handlers=[Discard()],
                     options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)])
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"127.0.0.1:{port}", flush=True)
server.wait_for_termination()
"""


# ── Batches that never end ────────────────────────────────────────────────────────────────────────


TIME = re.compile(rb"[\x39\x41\x09].....(...)", re.DOTALL)
"""Tags of start, end and event time, all fixed64, with their three highest bytes."""


class Batch:
    """One batch, and where its trace ids and times are."""

    def __init__(self, wire: bytes) -> None:
        self._wire = bytearray(wire)
        self._lock = threading.Lock()
        spans = k8strace.decode(wire)
        self.spans = len(spans)
        self._traces = [
            place
            for trace in set(spans.column("trace_id").to_pylist())
            for place in _all(wire, bytes.fromhex(trace))
        ]
        known = {start >> 40 for start in spans.column("start_time_unix_nano").to_pylist()}
        self._times: dict[int, list[int]] = {top: [] for top in known | {top + 1 for top in known}}
        at = 0
        while found := TIME.search(wire, at):
            top = int.from_bytes(found[1], "little")
            at = found.start() + 1
            if top in self._times:
                self._times[top].append(found.start(1))
                at = found.end()

    def of_round(self, number: int) -> bytes:
        """The same spans in traces of their own, 2^40 ns (18 minutes) after those of the round before."""
        mark, wire = number.to_bytes(4, "big"), self._wire
        with self._lock:
            for place in self._traces:
                wire[place : place + 4] = mark
            for top, places in self._times.items():
                later = (top + number).to_bytes(3, "little")
                for place in places:
                    wire[place : place + 3] = later
            return bytes(wire)


def _all(wire: bytes, wanted: bytes) -> Iterator[int]:
    at = wire.find(wanted)
    while at >= 0:
        yield at
        at = wire.find(wanted, at + 1)


def make_batches(spans: int = 100_000, seed: int = 0) -> list[Batch]:
    """Batches of a mixed workload, as exporters send them: 512 spans each."""
    return [Batch(wire) for wire in generate(spans, seed)]


@dataclass
class Sent:
    """What the senders saw."""

    batches: int = 0
    spans: int = 0
    accepted_spans: int = 0
    latencies_s: list[float] = field(default_factory=list)
    """Of acknowledged batches."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Status, and whether there was a time to try again → batches."""
    refused_spans: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    """Of the generator, this process."""

    @property
    def spans_per_s(self) -> float:
        """Acknowledged."""
        return self.accepted_spans / self.seconds if self.seconds else 0.0

    def quantile_ms(self, q: float) -> float:
        """Of the time to an acknowledgement."""
        ranked = sorted(self.latencies_s)
        return 1000 * ranked[min(int(q * len(ranked)), len(ranked) - 1)] if ranked else 0.0


class Load:
    """
    Senders that send batches to an address in turn, each when its last one is answered.

    Args:
        address: Where to.
        batches: What, again and again.
        senders: How many.
        rate: Spans per second of all senders together; 0 for as many as are taken.
        first_round: Rounds before it have been sent by somebody else.
    """

    def __init__(
        self,
        address: str,
        batches: Sequence[Batch],
        *,
        senders: int = 4,
        rate: float = 0,
        first_round: int = 1,
    ) -> None:
        self._address = address
        self._batches = batches
        self._senders = senders
        self._rate = rate
        self._first = first_round
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._taken = self._taken_spans = 0
        self._began = 0.0
        self.sent = Sent()

    def run(self, seconds: float) -> Sent:
        """Sends for so long."""
        process = psutil.Process()
        before, self._began = process.cpu_times(), time.perf_counter()
        threads = [threading.Thread(target=self._send) for _ in range(self._senders)]
        for thread in threads:
            thread.start()
        self._stop.wait(seconds)
        self._stop.set()
        for thread in threads:
            thread.join()
        after = process.cpu_times()
        self.sent.seconds = time.perf_counter() - self._began
        self.sent.cpu_s = after.user + after.system - before.user - before.system
        return self.sent

    def _send(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self._address, options=options) as channel:
            export = channel.unary_unary(EXPORT)
            while True:
                batch, number, due = self._next()
                wire = batch.of_round(number)
                self._stop.wait(max(due - time.perf_counter(), 0))
                if self._stop.is_set():
                    return
                self._one(export, wire, batch.spans)

    def _next(self) -> tuple[Batch, int, float]:
        """The next batch, its round, and when it is to be sent: all senders share one order, as traces span batches."""
        with self._lock:
            place, spans = self._taken, self._taken_spans
            batch = self._batches[place % len(self._batches)]
            self._taken += 1
            self._taken_spans += batch.spans
        due = self._began + spans / self._rate if self._rate else 0.0
        return batch, self._first + place // len(self._batches), due

    def _one(self, export: Callable[..., bytes], wire: bytes, spans: int) -> None:
        began = time.perf_counter()
        refused = ""
        try:
            export(wire, timeout=30)
        except grpc.RpcError as error:
            refused = described(error)
        took = time.perf_counter() - began
        with self._lock:
            self.sent.batches += 1
            self.sent.spans += spans
            if refused:
                self.sent.refusals[refused] += 1
                self.sent.refused_spans += spans
            else:
                self.sent.accepted_spans += spans
                self.sent.latencies_s.append(took)


def described(error: Any) -> str:
    """A refusal in two words: its status, and "RetryInfo" if there is one."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return error.code().name + (" RetryInfo" if b"google.rpc.RetryInfo" in details else "")


# ── Servers ───────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def discarding() -> Iterator[tuple[str, psutil.Process]]:
    """A gRPC server that throws everything away: its address and process."""
    with subprocess.Popen([sys.executable, "-c", NOWHERE], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
        finally:
            process.kill()


@contextmanager
def receiving(*arguments: str) -> Iterator[tuple[str, psutil.Process, subprocess.Popen[str]]]:
    """A `k8strace serve`."""
    listen = [part for kind in ("grpc", "http") for part in (f"--{kind}-listen", "127.0.0.1:0")]
    command = [sys.executable, "-m", "k8strace", "serve", *listen, "--metrics-listen", "off", "--quiet"]
    with subprocess.Popen(
        [*command, "--log-format", "json", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            address = json.loads(process.stderr.readline())["listening"]["grpc"][0]
            yield address, psutil.Process(process.pid), process
        finally:
            process.kill()


def measure(server: psutil.Process, load: Load, seconds: float) -> dict[str, float]:
    """One run: what was taken, and what it took."""
    before = server.cpu_times()
    sent = load.run(seconds)
    after = server.cpu_times()
    return {
        "spans/s": sent.spans_per_s,
        "batches/s": len(sent.latencies_s) / sent.seconds,
        "p50 ms": sent.quantile_ms(0.5),
        "p99 ms": sent.quantile_ms(0.99),
        "refused": sum(sent.refusals.values()),
        "generator CPU": sent.cpu_s / sent.seconds,
        "server CPU": (after.user + after.system - before.user - before.system) / sent.seconds,
        "server RSS MiB": server.memory_info().rss / (1 << 20),
    }


def compare(seconds: float, senders: int = 4, spans: int = 100_000) -> dict[str, Any]:
    """Row 20 of the goals: what a durable `serve` acknowledges, over what grpcio takes that throws everything away."""
    batches = make_batches(spans)
    with discarding() as (address, server):
        ceiling = measure(server, Load(address, batches, senders=senders), min(seconds, 10))
    with (
        tempfile.TemporaryDirectory() as folder,
        receiving("--store", folder, "--retain-bytes", "1GiB") as (address, server, process),
    ):
        before, faults = server.cpu_times(), page_faults(server)
        load = Load(address, batches, senders=senders)
        durable = measure(server, load, seconds)
        after, faults = server.cpu_times(), page_faults(server) - faults
        process.terminate()
        process.communicate(timeout=60)
    system = after.system - before.system
    spent = Spent(after.user - before.user + system, system, faults).per(load.sent.accepted_spans)
    return {
        "ratio": durable["spans/s"] / ceiling["spans/s"],
        "spent": spent,
        "durable": durable,
        "ceiling": ceiling,
    }


def page_faults(process: psutil.Process) -> int:
    """Of a process, so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7]) + int(fields[9])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--rate", type=float, default=0, help="spans per second (default: as many as are taken)"
    )
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--spans", type=int, default=100_000, help="of the workload, before it repeats")
    parser.add_argument("--memory", action="store_true", help="without a store")
    parser.add_argument("--store", type=Path, help="where to store (default: a temporary folder)")
    options = parser.parse_args()
    batches = make_batches(options.spans)
    with discarding() as (address, server):
        load = Load(address, batches, senders=options.senders)
        show("grpcio, thrown away", measure(server, load, min(options.seconds, 10)))
    with tempfile.TemporaryDirectory(dir=options.store) as folder:
        store = () if options.memory else ("--store", folder, "--retain-bytes", "1GiB")
        with receiving(*store) as (address, server, process):
            load = Load(address, batches, senders=options.senders, rate=options.rate)
            measured = measure(server, load, options.seconds)
            show("k8strace serve, " + ("in memory" if options.memory else "durable"), measured)
            finish(process)


def show(name: str, measured: dict[str, float]) -> None:
    """One contender."""
    print(name)
    for what, value in measured.items():
        print(f"  {what:16}{value:12,.1f}")


def finish(process: subprocess.Popen[str]) -> None:
    """Ends it in order, and prints its last line."""
    began = time.perf_counter()
    process.terminate()
    _, said = process.communicate(timeout=60)
    last = json.loads(said.splitlines()[-1])
    print(f"  stopped in {time.perf_counter() - began:.1f} s: {last['message'].removeprefix('stopped: ')}")


if __name__ == "__main__":
    main()
