"""Clock offsets are measured as bounds, and corrected only where the bounds leave no doubt."""

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

import k8strace

HTTP = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
GRPC = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
MS = 1_000_000
SECOND = 1000 * MS
EPOCH = 1_700_000_000 * SECOND


class Call(NamedTuple):
    """One etcd call in true time (ns), as nobody sees it."""

    apiserver: int
    member: int
    client: tuple[int, int]
    server: tuple[int, int]


Clock = Callable[[int], int]
"""True time → what a process's clock shows."""


def clock(offset: int, ppm: float = 0.0) -> Clock:
    return lambda t: t + offset + round((t - EPOCH) * ppm / 1e6)


def calls(rng: random.Random, apiservers: int, members: int, count: int, spread: int) -> Iterator[Call]:
    """Calls with delays that differ by direction: in one rack, 25 us and more there, 40 us and more back."""
    for number in range(count):
        start = EPOCH + number * spread // count
        served = start + 25_000 + round(rng.expovariate(1 / 400_000))
        done = served + 200_000 + round(rng.expovariate(1 / 2_000_000))
        end = done + 40_000 + round(rng.expovariate(1 / 900_000))
        yield Call(number % apiservers, rng.randrange(members), (start, end), (served, done))


def recorded(
    simulated: list[Call], apiservers: list[Clock], members: list[Clock]
) -> ExportTraceServiceRequest:
    """What the processes would send, each by its own clock: request, etcd call, etcd's span and one inside it."""
    batch = ExportTraceServiceRequest()

    def scope(service: str, instance: int, name: str) -> ScopeSpans:
        resource = batch.resource_spans.add()
        for key, value in (("service.name", service), ("service.instance.id", f"{service}-{instance}")):
            resource.resource.attributes.add(key=key).value.string_value = value
        spans = resource.scope_spans.add()
        spans.scope.name = name
        return spans

    http = [scope("apiserver", i, HTTP) for i in range(len(apiservers))]
    client = [scope("apiserver", i, GRPC) for i in range(len(apiservers))]
    server = [scope("etcd", i, GRPC) for i in range(len(members))]
    inner = [scope("etcd", i, "go.etcd.io/etcd") for i in range(len(members))]
    for number, call in enumerate(simulated):
        ours, theirs = apiservers[call.apiserver], members[call.member]
        (start, end), (served, done) = call.client, call.server
        parts = [
            (http[call.apiserver], "GET", Span.SPAN_KIND_SERVER, ours(start - MS), ours(end + MS)),
            (client[call.apiserver], "etcdserverpb.KV/Range", Span.SPAN_KIND_CLIENT, ours(start), ours(end)),
            (
                server[call.member],
                "etcdserverpb.KV/Range",
                Span.SPAN_KIND_SERVER,
                theirs(served),
                theirs(done),
            ),
            (
                inner[call.member],
                "range",
                Span.SPAN_KIND_INTERNAL,
                theirs(served + 10_000),
                theirs(done - 10_000),
            ),
        ]
        for place, (spans, name, kind, begin, finish) in enumerate(parts):
            spans.spans.add(
                trace_id=number.to_bytes(15, "big") + b"\x01",
                span_id=(4 * number + place + 1).to_bytes(8, "big"),
                parent_span_id=(4 * number + place).to_bytes(8, "big") if place else b"",
                name=name,
                kind=kind,
                start_time_unix_nano=begin,
                end_time_unix_nano=finish,
            )
    return batch


def joined(simulated: list[Call], apiservers: list[Clock], members: list[Clock]) -> k8strace.Requests:
    return k8strace.join(k8strace.decode(recorded(simulated, apiservers, members)))


def jaeger_midpoint(client: tuple[int, int], server: tuple[int, int]) -> int:
    """What Jaeger adds to the server's times, by its description: nothing if it fits, else centre it in the client."""
    if server[1] - server[0] > client[1] - client[0]:
        return client[0] - server[0] if server[0] < client[0] else 0
    if client[0] <= server[0] and server[1] <= client[1]:
        return 0
    return client[0] + (client[1] - client[0] - (server[1] - server[0])) // 2 - server[0]


def rmse(errors: list[int]) -> float:
    return (sum(error * error for error in errors) / len(errors)) ** 0.5


@pytest.mark.parametrize("ppm", [0.0, 50.0], ids=["steady", "drifting"])
def test_the_true_offset_is_within_the_bounds_and_ten_times_closer_than_jaegers_rule(ppm: float) -> None:
    """3 apiservers, 5 etcd members, offsets up to 500 ms, with and without a drift of 50 ppm, delays asymmetric."""
    rng = random.Random(20)
    apiservers = [clock(rng.randrange(-500, 500) * MS) for _ in range(3)]
    members = [clock(rng.randrange(-500, 500) * MS, rng.choice((-ppm, ppm))) for _ in range(5)]
    simulated = list(calls(rng, 3, 5, 3_000, 600 * SECOND))
    requests = joined(simulated, apiservers, members)

    offsets = list(requests.joined.clock_offsets)
    assert len(offsets) == 15
    for row in offsets:
        ours, theirs = apiservers[int(row["client"][-1])], members[int(row["server"][-1])]
        at = row["at_unix_nano"] - ours(0)
        truth = theirs(at) - ours(at)
        assert row["low_ns"] <= truth <= row["high_ns"], row
        assert abs(row["drift_ppm"]) == pytest.approx(ppm, abs=2.5)

    mine, midpoint = [], []
    assert len(requests) == len(simulated)
    for request in requests:
        number = int(request.trace_id[:30], 16)
        call = simulated[number]
        ours, theirs = apiservers[call.apiserver], members[call.member]
        truth = ours(call.server[0]) - theirs(call.server[0])
        node = request.tree.nodes[(4 * number + 3).to_bytes(8, "big").hex()]
        mine.append(node["start_unix_nano"] - node["raw_start_unix_nano"] - truth)
        sides = [tuple(map(side, times)) for side, times in ((ours, call.client), (theirs, call.server))]
        midpoint.append(jaeger_midpoint(*sides) - truth)
    assert 10 * rmse(mine) < rmse(midpoint)


def test_nothing_moves_when_the_clocks_agree() -> None:
    """0 is within the bounds, so every span keeps its times, and the verdict says so."""
    simulated = list(calls(random.Random(1), 2, 2, 200, 10 * SECOND))
    requests = joined(simulated, [clock(0)] * 2, [clock(0)] * 2)
    assert {"agree"} == set(requests.joined.clock_offsets.column("verdict").to_pylist())
    for request in requests:
        for _, node in request.tree.nodes(data=True):
            assert node["raw_start_unix_nano"] == node["start_unix_nano"]
            assert node["raw_end_unix_nano"] == node["end_unix_nano"]


@pytest.mark.parametrize("ppm", [0.0, 50.0])
def test_spans_of_one_process_keep_their_differences(ppm: float) -> None:
    """Within a request, etcd's spans move together: their gaps and durations stay the same to the nanosecond."""
    simulated = list(calls(random.Random(2), 1, 1, 500, 600 * SECOND))
    requests = joined(simulated, [clock(0)], [clock(300 * MS, ppm)])
    for request in requests:
        nodes = [node for _, node in request.tree.nodes(data=True) if node["service"] == "etcd"]
        shifts = {node["start_unix_nano"] - node["raw_start_unix_nano"] for node in nodes}
        shifts |= {node["end_unix_nano"] - node["raw_end_unix_nano"] for node in nodes}
        assert len(shifts) == 1


def test_two_members_under_one_name_are_reported_and_not_corrected() -> None:
    """No offset and no drift fits both, so their bounds contradict; nothing is moved."""
    simulated = list(calls(random.Random(3), 1, 2, 200, 10 * SECOND))
    batch = recorded(simulated, [clock(0)], [clock(0), clock(80 * MS)])
    for resource_spans in batch.resource_spans:
        for attribute in resource_spans.resource.attributes:
            if attribute.key == "service.instance.id" and attribute.value.string_value.startswith("etcd"):
                attribute.value.string_value = "etcd"
    requests = k8strace.join(k8strace.decode(batch))
    (row,) = requests.joined.clock_offsets
    assert (row["verdict"], row["offset_ns"]) == ("contradiction", 0)
    for request in requests:
        assert all(n["raw_start_unix_nano"] == n["start_unix_nano"] for _, n in request.tree.nodes(data=True))


def test_transport_time_needs_no_clocks() -> None:
    """Client duration minus server duration is the same whatever the clocks show."""
    simulated = list(calls(random.Random(4), 1, 1, 50, SECOND))
    right = list(joined(simulated, [clock(0)], [clock(0)]).etcd_calls)
    wrong = list(joined(simulated, [clock(0)], [clock(-400 * MS)]).etcd_calls)
    for calls_seen in (right, wrong):
        assert all(call["send_ns"] + call["receive_ns"] == call["transport_ns"] for call in calls_seen)
    assert [call["send_ns"] for call in right] == [c.server[0] - c.client[0] for c in simulated]
    assert [call["transport_ns"] for call in right] == [call["transport_ns"] for call in wrong]
    assert [call["transport_ns"] for call in right] == [
        (c.client[1] - c.client[0]) - (c.server[1] - c.server[0]) for c in simulated
    ]


def test_offsets_come_in_the_same_order_however_spans_came() -> None:
    simulated = list(calls(random.Random(5), apiservers=3, members=2, count=60, spread=SECOND))
    batch = recorded(simulated, [clock(0)] * 3, [clock(0)] * 2)
    turned = ExportTraceServiceRequest()
    turned.resource_spans.extend(reversed(batch.resource_spans))
    one, other = (
        list(k8strace.join(k8strace.decode(each.SerializeToString())).joined.clock_offsets)
        for each in (batch, turned)
    )
    assert one == other
    pairs = [(row["client"], row["server"]) for row in one]
    assert len(pairs) == 6
    assert pairs == sorted(pairs)
