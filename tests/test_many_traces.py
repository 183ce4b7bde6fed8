"""
The laws hold on very many dirty traces, all in one recording.

Hypothesis looks for the worst small trace (`test_laws.py`); this looks at a hundred thousand random ones at once.
`K8STRACE_TRACES=1000000` looks at more.
"""

import os
import random
import struct
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import pytest

import k8strace

TRACES = int(os.environ.get("K8STRACE_TRACES", "100000"))
METHODS: tuple[Literal["critical_path", "active_share", "self_time"], ...] = (
    "critical_path",
    "active_share",
    "self_time",
)
HTTP = b"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
GRPC = b"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
TRACING = b"k8s.io/component-base/tracing"
FILTERS = b"k8s.op/apiserver/pkg/endpoints/filterlatency"

SHAPES = [  # service, scope, kind, name
    (b"apiserver", HTTP, 2, b"GET"),
    (b"apiserver", FILTERS, 1, b"authentication"),
    (b"apiserver", TRACING, 1, b"List"),
    (b"apiserver", TRACING, 1, b"SerializeObject"),
    (b"apiserver", TRACING, 1, b"GuaranteedUpdate etcd3"),
    (b"apiserver", TRACING, 1, b"Call validating webhook"),
    (b"apiserver", HTTP, 3, b"HTTP POST"),
    (b"apiserver", GRPC, 3, b"etcdserverpb.KV/Range"),
    (b"etcd", GRPC, 2, b"etcdserverpb.KV/Range"),
    (b"etcd", b"go.etcd.io/etcd", 1, b"range"),
]


class Sent(NamedTuple):
    """One span on the wire, and who sent it."""

    service: bytes
    scope: bytes
    wire: bytes


Answers: TypeAlias = dict[tuple[str, str], tuple[object, ...]]


def field(number: int, payload: bytes) -> bytes:
    length, size = len(payload), b""
    while length >= 0x80:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + payload


def dirty_trace(rng: random.Random, number: int) -> list[Sent]:
    """A request and up to nine spans: parents may be lost, later, their own children or themselves, times anything."""
    count = rng.randrange(1, 11)
    trace_id = struct.pack(">QQ", 1, number + 1)
    ids = rng.sample(range(1, 1 << 40), count)
    spans = []
    for at, span_id in enumerate(ids):
        service, scope, kind, name = SHAPES[0] if at == 0 else rng.choice(SHAPES)
        parent = rng.choice(ids[: at + 1]) if rng.random() < 0.9 else rng.choice([*ids, 7])
        parent_field = b"" if at == 0 else field(4, struct.pack(">Q", parent))
        start = 1_000 + rng.randrange(40)
        end = start + rng.choice((0, -3, 1, rng.randrange(40)))
        events = [
            field(11, b"\x09" + struct.pack("<Q", 990 + rng.randrange(60)) + field(2, b"About to Encode"))
            for _ in range(rng.random() < 0.2)
        ]
        wire = b"".join(
            (
                field(1, trace_id),
                field(2, struct.pack(">Q", span_id)),
                parent_field,
                field(5, name),
                bytes([0x30, kind, 0x39]) + struct.pack("<Q", start) + b"\x41" + struct.pack("<Q", end),
                *events,
            )
        )
        spans.append(Sent(service, scope, field(2, wire)))
    return spans


def batches(spans: Sequence[Sent], size: int) -> Iterable[bytes]:
    """Requests of so many spans each, one `ResourceSpans` for each run of spans of one process and scope."""
    for first in range(0, len(spans), size):
        parts: dict[tuple[bytes, bytes], list[bytes]] = {}
        for span in spans[first : first + size]:
            parts.setdefault((span.service, span.scope), []).append(span.wire)
        yield b"".join(
            field(
                1,
                field(1, field(1, field(1, b"service.name") + field(2, field(1, service))))
                + field(2, field(1, field(1, scope)) + b"".join(wires)),
            )
            for (service, scope), wires in parts.items()
        )


def answers(requests: k8strace.Requests) -> Answers:
    """Everything said of each request, by its ids."""
    attributions = [k8strace.attribute(requests, method=method) for method in METHODS]
    columns = [requests.column(name) for name in ("trace_id", "span_id", "wall_ns", "spans", "async_tail_ns")]
    rows = zip(*columns, strict=True)
    return {
        (trace_id, span_id): (*said, *(attribution.phases(at) for attribution in attributions))
        for at, (trace_id, span_id, *said) in enumerate(rows)
    }


@pytest.fixture(scope="module")
def spans() -> list[Sent]:
    rng = random.Random(1)
    return [span for number in range(TRACES) for span in dirty_trace(rng, number)]


@pytest.fixture(scope="module")
def expected(spans: list[Sent]) -> Answers:
    return answers(k8strace.join(k8strace.decode(batches(spans, 512))))


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_time_is_conserved_on_every_trace(spans: list[Sent], expected: Answers) -> None:
    """Critical path and active share sum to the wall time in integers, self time to no less; every span is placed."""
    requests = k8strace.join(k8strace.decode(batches(spans, 512)))
    ledger = requests.joined.ledger
    assert ledger.spans == len(spans) == sum(ledger.used.values()) + sum(ledger.set_aside.values())
    assert len(expected) == len(requests) >= TRACES
    for wall_ns, _, _, critical_path, active_share, self_time in expected.values():
        assert wall_ns == sum(critical_path.values()) == sum(active_share.values()) <= sum(self_time.values())
        assert all(ns > 0 for ns in critical_path.values())


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_order_split_and_repetition_change_nothing(spans: list[Sent], expected: Answers) -> None:
    """The spans in any order, in batches of any size, a tenth of them twice: the same answers, to the nanosecond."""
    rng = random.Random(2)
    shuffled = [*spans, *rng.sample(spans, len(spans) // 10)]
    rng.shuffle(shuffled)
    requests = k8strace.join(k8strace.decode(batches(shuffled, 1_777)))
    assert answers(requests) == expected
    assert requests.joined.ledger.set_aside["duplicate"] == len(spans) // 10
