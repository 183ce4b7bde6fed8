"""Simulated control planes with known faults: an apiserver and members of etcd, under a load that comes in waves.

    python benchmarks/stalls.py

Requests come at random, at a rate that changes slowly, and everything is slower while the load is high. Each makes none
to three calls to one member. A member does as many calls at a time as it has workers, in the order in which they came.
Processes also stop for a moment now and then, as they do on a busy machine. All of it follows from the seed.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

BEGIN: Final = 1_800_000_000_000_000_000
"""When a simulation begins, in unix ns."""
HTTP: Final = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
GRPC: Final = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
INTERNAL, SERVER, CLIENT = 1, 2, 3
APISERVER: Final = "apiserver"
ETCD: Final = "go.etcd.io/etcd"
ONE: Final[Mapping[str, str | int]] = {"range_begin": "/registry/pods/a", "range_end": "", "limit": 1}
BIG: Final[Mapping[str, str | int]] = {
    "range_begin": "/registry/pods/",
    "range_end": "/registry/pods0",
    "limit": 0,
}
RPC: Final[Mapping[str, str]] = {"rpc.system": "grpc", "rpc.service": "etcdserverpb.KV"}

Stop = tuple[str, float, float]
"""Process, from, to: seconds since the beginning."""


@dataclass
class Plan:
    """What is simulated."""

    seed: int
    seconds: float = 30.0
    per_second: float = 80.0
    """Requests, on average."""
    members: int = 1
    workers: int = 4
    """Calls that a member does at a time."""
    stops: Sequence[Stop] = ()
    slow_network: Sequence[tuple[float, float, float]] = ()
    """From, to, how much later everything arrives between the apiserver and etcd, in seconds."""
    heavy_every: float = 0.0
    """A big list begins so often on the first member, in seconds; 0 for none."""
    heavy_seconds: float = 0.06
    heavy_with_load: bool = False
    """Big lists come while the load is high, as much more often as there is more of it."""
    interference: float = 0.0
    """What a call takes longer that begins on the first member while a big list is open on it, in seconds."""
    moments: float = 1.0
    """How often a process stops for a moment, per second."""


@dataclass
class Run:
    """A simulation: its spans, and what is known of it."""

    message: ExportTraceServiceRequest
    interference_ns: int = 0
    waiting: dict[Stop, int] = field(default_factory=dict)
    """Stop → requests that were open in it."""


def simulate(plan: Plan) -> Run:
    """Runs it."""
    return _Simulation(plan).run()


class _Simulation:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.message = ExportTraceServiceRequest()
        self.members = [f"etcd-{number}" for number in range(plan.members)]
        self.scopes = {
            (process, scope): self._scope(process, scope)
            for process in (APISERVER, *self.members)
            for scope in (HTTP, GRPC, ETCD)
        }
        self.free = {member: [0.0] * plan.workers for member in self.members}
        self.heavy: list[tuple[float, float]] = []
        self.stops = {name: sorted(self._stops(name)) for name in (APISERVER, *self.members)}
        self.kind = self.random.choice(["exponential", "lognormal", "weibull"])
        self.interference = 0.0

    def _scope(self, process: str, scope: str) -> ScopeSpans:
        resource = self.message.resource_spans.add()
        service = APISERVER if process == APISERVER else "etcd"
        for key, value in (("service.name", service), ("service.instance.id", process)):
            resource.resource.attributes.add(key=key).value.string_value = value
        spans = resource.scope_spans.add()
        spans.scope.name = scope
        return spans

    def _stops(self, name: str) -> Iterator[tuple[float, float]]:
        yield from ((start, end) for process, start, end in self.plan.stops if process == name)
        at = 0.0
        while (
            self.plan.moments and (at := at + self.random.expovariate(self.plan.moments)) < self.plan.seconds
        ):
            yield at, at + self.random.lognormvariate(math.log(0.0015), 0.8)

    def after(self, process: str, at: float, work: float) -> float:
        """When a process is done with some work."""
        for start, end in self.stops[process]:
            if end > at:
                if start >= at + work:
                    break
                at, work = max(end, at), max(at + work - max(start, at), 0.0) if start > at else work
        return at + work

    def over_network(self, at: float) -> float:
        late = sum(delay for start, end, delay in self.plan.slow_network if start <= at < end)
        return at + late + self.random.expovariate(10_000)

    def service(self, load: float) -> float:
        mean = 0.001 * load**0.5
        draw = {
            "exponential": lambda: self.random.expovariate(1 / mean),
            "lognormal": lambda: self.random.lognormvariate(math.log(mean), 0.9),
            "weibull": lambda: self.random.weibullvariate(mean, 0.7),
        }
        return draw[self.kind]()

    def arrivals(self) -> Iterator[tuple[float, float]]:
        """When requests come, and the load then."""
        at, load = 0.0, 1.0
        while (at := at + self.random.expovariate(self.plan.per_second * load)) < self.plan.seconds:
            load = math.exp(0.98 * math.log(load) + self.random.gauss(0, 0.14))
            yield at, load

    def run(self) -> Run:
        queue: list[tuple[float, int, Iterator[float]]] = []
        arrivals = list(self.arrivals())
        requests = [(at, self.request(at, load)) for at, load in arrivals]
        heavies = self.loaded(arrivals) if self.plan.heavy_with_load else self.heavies()
        requests += [(at, self.request(at, 1.0, heavy=True)) for at in heavies]
        for number, (at, steps) in enumerate(requests):
            heapq.heappush(queue, (at, number, steps))
        while queue:
            _, number, steps = heapq.heappop(queue)
            if (then := next(steps, None)) is not None:
                heapq.heappush(queue, (then, number, steps))
        return Run(self.message, round(self.interference * 1e9), self.waiting)

    def loaded(self, arrivals: Sequence[tuple[float, float]]) -> Iterator[float]:
        """Big lists at times when requests come."""
        share = self.plan.seconds / (self.plan.heavy_every or math.inf) / max(len(arrivals), 1)
        yield from (at for at, _ in arrivals if self.random.random() < share)

    def heavies(self) -> Iterator[float]:
        at = 0.0
        while (
            self.plan.heavy_every
            and (at := at + self.random.expovariate(1 / self.plan.heavy_every)) < self.plan.seconds
        ):
            yield at

    @property
    def waiting(self) -> dict[Stop, int]:
        times = [
            (span.start_time_unix_nano, span.end_time_unix_nano)
            for span in self.scopes[APISERVER, HTTP].spans
        ]
        return {
            stop: sum(a < BEGIN + stop[2] * 1e9 and b > BEGIN + stop[1] * 1e9 for a, b in times)
            for stop in self.plan.stops
        }

    def request(self, at: float, load: float, *, heavy: bool = False) -> Iterator[float]:
        """One request; yields the times at which it goes on."""
        trace, root = self.random.randbytes(16), self.random.randbytes(8)
        member = self.members[0] if heavy else self.random.choice(self.members)
        began = now = self.after(APISERVER, at, self.random.expovariate(5_000))
        yield now
        for _ in range(1 if heavy else self.random.choice([0, 1, 1, 2, 3])):
            now = self.after(APISERVER, now, self.random.expovariate(3_000))
            sent, identifier = now, self.random.randbytes(8)
            yield (arrived := self.over_network(sent))
            begun = self.after(member, arrived, self.random.expovariate(20_000))
            yield begun
            slot = self.free[member]
            start = max(begun, min(slot))
            work = self.plan.heavy_seconds if heavy else self.service(load)
            if heavy:
                self.heavy.append((start, self.after(member, start, work)))
            elif member == self.members[0] and self.plan.interference and self.is_heavy(begun):
                work += self.plan.interference
                self.interference += self.plan.interference
            done = self.after(member, start, work)
            slot[slot.index(min(slot))] = done
            yield done
            now = self.after(APISERVER, self.over_network(done), self.random.expovariate(5_000))
            yield now
            self.call((trace, root, identifier), member, (sent, begun, done, now), BIG if heavy else ONE)
        now = self.after(APISERVER, now, self.random.expovariate(3_000))
        asked = {
            "http.method": "GET",
            "http.target": "/api/v1/pods" if heavy else "/api/v1/namespaces/default/pods/a",
            "http.status_code": 200,
        }
        self.span((APISERVER, HTTP), (trace, root, b""), ("GET", SERVER), (began, now), asked)

    def is_heavy(self, at: float) -> bool:
        return any(start <= at < end for start, end in self.heavy[-8:])

    def call(
        self,
        ids: tuple[bytes, bytes, bytes],
        member: str,
        times: tuple[float, float, float, float],
        inside: Mapping[str, str | int],
    ) -> None:
        (trace, root, client), (sent, begun, done, back) = ids, times
        server, inner = self.random.randbytes(8), self.random.randbytes(8)
        name = "etcdserverpb.KV/Range"
        self.span((APISERVER, GRPC), (trace, client, root), (name, CLIENT), (sent, back), RPC)
        self.span((member, GRPC), (trace, server, client), (name, SERVER), (begun, done), RPC)
        around = (begun + 1e-5, done - 1e-5)
        self.span((member, ETCD), (trace, inner, server), ("range", INTERNAL), around, inside)

    def span(
        self,
        place: tuple[str, str],
        ids: tuple[bytes, bytes, bytes],
        what: tuple[str, int],
        times: tuple[float, float],
        attributes: Mapping[str, str | int],
    ) -> None:
        start, end = (round(time * 1e9) for time in times)
        span = self.scopes[place].spans.add(
            trace_id=ids[0],
            span_id=ids[1],
            parent_span_id=ids[2],
            name=what[0],
            kind=what[1],
            start_time_unix_nano=BEGIN + start,
            end_time_unix_nano=BEGIN + max(start, end),
        )
        for key, value in attributes.items():
            one = span.attributes.add(key=key).value
            if isinstance(value, int):
                one.int_value = value
            else:
                one.string_value = value
