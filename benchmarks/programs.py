"""
Programs whose time is known: requests that call, fork and join, executed at any speed of their parts.

A program runs on a clock of its own, in exact rationals, and leaves the spans that a real API server would send. What
it takes with a part at another speed is found by running it again: the truth that a projection is measured against.

    Span(etcd) ─ Work ns │ Call span │ Fork [(own work before it starts, span), …], joined when all are done
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random
from typing import Any, TypeAlias

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

__all__ = ["KINDS", "Fork", "Program", "Ran", "Step", "Work", "execute", "program", "sent"]

INTERNAL, SERVER, CLIENT = 1, 2, 3
HTTP = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
GRPC = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
TRACING = "k8s.io/component-base/tracing"

Time: TypeAlias = Fraction | int
Speed: TypeAlias = Callable[[str], Fraction]
"""Component → how many times as long its work takes."""


@dataclass(frozen=True)
class Work:
    """Own time of a span."""

    ns: int


@dataclass(frozen=True)
class Fork:
    """Spans that run at once; the program goes on when all are done."""

    branches: tuple[tuple[int, Program], ...]
    """Own work before each is started, and the span."""


@dataclass(frozen=True)
class Program:
    """A span, and what is done in it."""

    name: str
    component: str
    """Whose time its own work is."""
    steps: tuple[Step, ...]
    kind: int = INTERNAL
    scope: str = TRACING
    service: str = "apiserver"
    attributes: Mapping[str, str] = field(default_factory=dict)


Step: TypeAlias = Work | Fork | Program


@dataclass(frozen=True)
class Ran:
    """One span of an execution."""

    program: Program
    start: Time
    end: Time
    parent: int
    """Its place in the list; -1 at the root."""


def execute(program: Program, speed: Speed = lambda _: Fraction(1), start: Time = 0) -> list[Ran]:
    """Runs it: all spans, parents first. The first one is the whole."""
    ran: list[Ran] = []
    _run(program, start, -1, speed, ran)
    return ran


def _run(program: Program, start: Time, parent: int, speed: Speed, ran: list[Ran]) -> Time:
    place = len(ran)
    ran.append(Ran(program, start, start, parent))
    pace, now = speed(program.component), start
    for step in program.steps:
        if isinstance(step, Work):
            now += step.ns * pace
        elif isinstance(step, Program):
            now = _run(step, now, place, speed, ran)
        else:
            ends = []
            for ns, branch in step.branches:
                now += ns * pace
                ends.append(_run(branch, now, place, speed, ran))
            now = max(now, *ends)
    ran[place] = Ran(program, start, now, parent)
    return now


# ── Programs as they come ─────────────────────────────────────────────────────────────────────────


def _ns(random: Random, middle: float = 1e6) -> int:
    return max(1, int(middle * random.lognormvariate(0, 1)))


def _etcd(random: Random, method: str = "KV/Range") -> Program:
    name = f"etcdserverpb.{method}"
    served = Program(name, "etcd", (Work(_ns(random)),), SERVER, GRPC, "etcd")
    network = Work(_ns(random, 2e5)), served, Work(_ns(random, 2e5))
    return Program(name, "etcd", network, CLIENT, GRPC)


def _webhook(random: Random, kind: str, name: str, depth: int) -> Program:
    inner: tuple[Step, ...] = (Work(_ns(random, 3e6)),)
    if depth and random.random() < 0.5:  # it asks the API server back
        inner = (*inner, _handler(random), Work(_ns(random)))
    call = Program("HTTP POST", "webhook", inner, CLIENT, HTTP)
    steps = Work(_ns(random, 1e5)), call, Work(_ns(random, 1e5))
    return Program(f"Call {kind} webhook", "apiserver", steps, attributes={"webhook": name})


def _handler(random: Random) -> Program:
    """A request inside a webhook: all of it is the webhook's."""
    steps = tuple(Work(_ns(random, 3e5)) for _ in range(random.randint(1, 3)))
    return Program("POST /callback", "webhook", steps, SERVER, HTTP, "policy")


def _pages(random: Random) -> tuple[Step, ...]:
    steps: list[Step] = [Work(_ns(random, 1e5))]
    for _ in range(random.randint(2, 8)):
        steps += [_etcd(random), Work(_ns(random, 4e5))]
    return (Program("List(recursive=true) etcd3", "apiserver", tuple(steps)), Work(_ns(random)))


def _admission(random: Random) -> tuple[Step, ...]:
    mutating = [_webhook(random, "mutating", f"m{at}", 1) for at in range(random.randint(0, 2))]
    validating = [
        (random.randint(1, 200_000), _webhook(random, "validating", f"v{at}", 1))
        for at in range(random.randint(1, 4))
    ]
    write = Program(
        "Create etcd3", "apiserver", (Work(_ns(random, 2e5)), _etcd(random, "KV/Txn"), Work(_ns(random, 1e5)))
    )
    between = [step for each in mutating for step in (Work(_ns(random, 2e5)), each)]
    return (*between, Work(_ns(random, 2e5)), Fork(tuple(validating)), Work(_ns(random, 2e5)), write)


def _fork_join(random: Random, depth: int = 3) -> tuple[Step, ...]:
    """Anything at once: calls of etcd and webhooks, and spans in which the same goes on."""

    def branch() -> Program:
        if depth == 0 or random.random() < 0.5:
            return _etcd(random) if random.random() < 0.6 else _hook(random)
        return Program("cacher.GetList", "apiserver", _fork_join(random, depth - 1))

    steps: list[Step] = [Work(_ns(random, 3e5))]
    for _ in range(random.randint(1, 3)):
        if random.random() < 0.5:
            steps.append(branch())
        else:
            at_once = tuple((random.randint(1, 300_000), branch()) for _ in range(random.randint(2, 4)))
            steps.append(Fork(at_once))
        steps.append(Work(_ns(random, 3e5)))
    return tuple(steps)


def _hook(random: Random) -> Program:
    return _webhook(random, "mutating", f"w{random.randint(0, 2)}", 0)


KINDS: Mapping[str, Callable[[Random], tuple[str, tuple[Step, ...]]]] = {
    "fork-join": lambda random: ("Get", _fork_join(random)),
    "pages": lambda random: ("List", _pages(random)),
    "nested webhooks": lambda random: ("Create", _admission(random)),
}
"""What programs there are: name → verb span and what is done in it."""


def program(kind: str, random: Random) -> Program:
    """One program of a kind."""
    verb, steps = KINDS[kind](random)
    inner = Program(verb, "apiserver", (Work(_ns(random, 2e5)), *steps, Work(_ns(random, 2e5))))
    around = Work(_ns(random, 5e4)), inner, Work(_ns(random, 5e4))
    asked = {"http.method": "GET", "http.target": "/api/v1/namespaces/a/pods"}
    return Program("KubernetesAPI", "apiserver", around, SERVER, HTTP, attributes=asked)


def sent(executions: Iterator[list[Ran]]) -> list[ExportTraceServiceRequest]:
    """What the processes send of some executions, each of which began at a whole ns: a trace each, in order."""
    spans: dict[tuple[str, str], list[Any]] = {}
    for trace, ran in enumerate(executions, 1):
        for place, span in enumerate(ran, 1):
            spans.setdefault((span.program.service, span.program.scope), []).append((trace, place, span))
    requests = []
    for (service, scope), rows in sorted(spans.items()):
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.append(
            KeyValue(key="service.name", value=AnyValue(string_value=service))
        )
        scoped = resource.scope_spans.add()
        scoped.scope.name = scope
        for trace, place, span in rows:
            scoped.spans.add(
                trace_id=trace.to_bytes(16, "big"),
                span_id=place.to_bytes(8, "big"),
                parent_span_id=(span.parent + 1).to_bytes(8, "big") if span.parent >= 0 else b"",
                name=span.program.name,
                kind=span.program.kind,  # type: ignore[arg-type]
                start_time_unix_nano=int(span.start),
                end_time_unix_nano=int(span.end),
                attributes=[
                    KeyValue(key=key, value=AnyValue(string_value=value))
                    for key, value in span.program.attributes.items()
                ],
            )
        requests.append(request)
    return requests
