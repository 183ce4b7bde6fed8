"""Real servers on loopback that run our receivers, and raw clients that speak to them as any sender could.

with serving("http/json", Kept(), limits=Limits(...)) as send:
    answer = send(request)              # an ExportTraceServiceRequest, or wire bytes
    answer.status, answer.rejected      # 200, 0
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import zstandard
from google.protobuf import json_format
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from k8strace.receiver import (
    Intake,
    Limits,
    Meta,
    Receipt,
    ServerTls,
    UnavailableError,
    add_to_server,
    asgi_app,
    server_options,
)
from k8strace.receiver.transports.http_server import HttpServer, Site

TRANSPORTS = ["grpc", "grpc.aio", "http/protobuf", "http/json"]
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
GRPC_RETRYABLE = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
HTTP_RETRYABLE = {429, 502, 503, 504}
CONTENT_TYPES = {"http/protobuf": "application/x-protobuf", "http/json": "application/json"}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
GRPC_COMPRESSION = {"": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}


class Kept:
    """A sink that keeps everything, unless it was told what to do instead."""

    def __init__(self, answer: Callable[[bytes, Meta], Receipt] | None = None) -> None:
        self.batches: list[tuple[bytes, Meta]] = []
        self._answer = answer

    def accept(self, batch: bytes, meta: Meta) -> Receipt:
        if self._answer:
            return self._answer(batch, meta)
        self.batches.append((batch, meta))
        return Receipt(accepted=meta.spans or 0)

    @property
    def spans(self) -> list[Span]:
        """All spans, by the official classes."""
        requests = [ExportTraceServiceRequest.FromString(batch) for batch, _ in self.batches]
        return [s for r in requests for rs in r.resource_spans for ss in rs.scope_spans for s in ss.spans]


def unavailable(reason: str = "queue", retry_after_s: float = 2.5) -> Kept:
    """A sink that takes nothing now."""

    def answer(_batch: bytes, _meta: Meta) -> Receipt:
        raise UnavailableError("no room", reason=reason, retry_after_s=retry_after_s)

    return Kept(answer)


def request_of(*spans: Span, **resource: str) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    for key, value in resource.items():
        resource_spans.resource.attributes.add(key=key).value.string_value = value
    resource_spans.scope_spans.add().spans.extend(spans)
    return request


def span(number: int = 1, **fields: Any) -> Span:
    ids = {"trace_id": number.to_bytes(16, "big"), "span_id": number.to_bytes(8, "big")}
    return Span(**{**ids, "name": f"span {number}", **fields})


def otlp_json(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """OTLP's own JSON: as protobuf's, but ids are hexadecimal and enums numbers."""

    def hexadecimal(value: Any) -> Any:
        if isinstance(value, list):
            return [hexadecimal(each) for each in value]
        if not isinstance(value, dict):
            return value
        ids = {"traceId", "spanId", "parentSpanId"}
        return {
            key: base64.b64decode(each).hex() if key in ids else hexadecimal(each)
            for key, each in value.items()
        }

    return hexadecimal(json_format.MessageToDict(request, use_integers_for_enums=True))


# ── Answers ───────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Answer:
    """What came back: `status` is a gRPC status name or an HTTP status."""

    status: str | int
    response: ExportTraceServiceResponse | None = None
    error: Status | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        return self.status in ("OK", 200)

    @property
    def rejected(self) -> int:
        assert self.response is not None
        return self.response.partial_success.rejected_spans

    @property
    def message(self) -> str:
        if self.response is not None:
            return self.response.partial_success.error_message
        assert self.error is not None
        return self.error.message

    def detail(self, kind: type) -> Any:
        """A detail of the error; None if it has none of this kind."""
        for each in self.error.details if self.error else ():
            found = kind()
            if each.Unpack(found):
                return found
        return None

    @property
    def retry_s(self) -> float | None:
        """When the sender may try again, by RetryInfo."""
        info = self.detail(error_details_pb2.RetryInfo)
        return None if info is None else info.retry_delay.ToMilliseconds() / 1000


class Sender:
    """A client of one server."""

    def __init__(self, transport: str, port: int, intake: Intake) -> None:
        self.transport = transport
        self.port = port
        self.intake = intake

    def __call__(
        self,
        request: ExportTraceServiceRequest | bytes,
        *,
        encoding: str = "",
        headers: Mapping[str, str] | None = None,
        tls: Any = None,
    ) -> Answer:
        if self.transport.startswith("grpc"):
            return self._grpc(_wire(request), encoding, headers or {}, tls)
        body = _wire(request)
        if self.transport == "http/json" and not isinstance(request, bytes):
            body = json.dumps(otlp_json(request)).encode()
        sent = {"Content-Type": CONTENT_TYPES[self.transport], **(headers or {})}
        if encoding:
            sent["Content-Encoding"] = encoding
        return self.http("POST", "/v1/traces", COMPRESS[encoding](body), sent, tls)

    def _grpc(self, wire: bytes, encoding: str, headers: Mapping[str, str], tls: Any) -> Answer:
        target = f"localhost:{self.port}"
        # A new connection each time: TLS is negotiated anew.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        with (
            grpc.secure_channel(target, tls, options=options)
            if tls
            else grpc.insecure_channel(target, options=options) as channel
        ):
            call = channel.unary_unary(EXPORT)
            metadata = [(key.lower(), value) for key, value in headers.items()]
            try:
                data = call(wire, compression=GRPC_COMPRESSION[encoding], metadata=metadata, timeout=20)
            except grpc.RpcError as error:
                return _grpc_error(error)
        return Answer("OK", ExportTraceServiceResponse.FromString(data), body=data)

    def http(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        tls: Any = None,
    ) -> Answer:
        """One HTTP request on a connection of its own."""
        kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
        connection = kind("localhost", self.port, timeout=20, **({"context": tls} if tls else {}))
        try:
            connection.request(method, path, body, dict(headers or {}))
            return _http_answer(connection.getresponse())
        finally:
            connection.close()


def _wire(request: ExportTraceServiceRequest | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def _grpc_error(error: Any) -> Answer:
    metadata = dict(error.trailing_metadata() or ())
    details = metadata.get("grpc-status-details-bin")
    status = Status.FromString(details) if details else Status(message=error.details() or "")
    return Answer(error.code().name, error=status, headers=metadata)


def _http_answer(response: http.client.HTTPResponse) -> Answer:
    body = response.read()
    headers = {key.lower(): value for key, value in response.getheaders()}
    message: Any = ExportTraceServiceResponse() if response.status == 200 else Status()
    if headers.get("content-type") == "application/json":
        json_format.Parse(body, message)
    else:
        message.ParseFromString(body)
    role = {"response": message} if response.status == 200 else {"error": message}
    return Answer(response.status, headers=headers, body=body, **role)


# ── Servers ───────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def serving(transport: str, sink: Any, *, tls: ServerTls | None = None, **settings: Any) -> Iterator[Sender]:
    """A server of this transport for as long as the block lasts."""
    make = {"grpc": _grpc_server, "grpc.aio": _aio_server}.get(transport, _http_server)
    with make(sink, tls, settings) as (port, intake):
        yield Sender(transport, port, intake)


@contextmanager
def _grpc_server(sink: Any, tls: ServerTls | None, settings: dict[str, Any]) -> Iterator[tuple[int, Intake]]:
    limits = settings.get("limits") or Limits()
    server = grpc.server(ThreadPoolExecutor(1), options=server_options(limits))
    intake = add_to_server(server, sink, **settings)
    port = _grpc_port(server, tls)
    server.start()
    try:
        yield port, intake
    finally:
        server.stop(None).wait()


def _grpc_port(server: Any, tls: ServerTls | None) -> int:
    if tls:
        return server.add_secure_port("localhost:0", tls.grpc_credentials())
    return server.add_insecure_port("localhost:0")


@contextmanager
def in_a_loop(main: Callable[[asyncio.Event, Callable[[Any], None]], Any]) -> Iterator[Any]:
    """Runs `main(stop, ready)` in a thread with a loop of its own; gives what it said when it was ready."""
    ready: Any = ThreadResult()

    async def run() -> None:
        stop = asyncio.Event()
        ready.loop, ready.stop = asyncio.get_running_loop(), stop
        await main(stop, ready.set)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        yield ready.get()
    finally:
        ready.loop.call_soon_threadsafe(ready.stop.set)
        thread.join()


class ThreadResult:
    """One value from another thread."""

    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event

    def __init__(self) -> None:
        self._there = threading.Event()

    def set(self, value: Any) -> None:
        self._value = value
        self._there.set()

    def get(self) -> Any:
        assert self._there.wait(20)
        return self._value


@contextmanager
def _aio_server(sink: Any, tls: ServerTls | None, settings: dict[str, Any]) -> Iterator[tuple[int, Intake]]:
    async def main(stop: asyncio.Event, ready: Callable[[Any], None]) -> None:
        server = grpc.aio.server(options=server_options(settings.get("limits") or Limits()))
        intake = add_to_server(server, sink, **settings)
        port = _grpc_port(server, tls)
        await server.start()
        ready((port, intake))
        await stop.wait()
        await server.stop(None)

    with in_a_loop(main) as result:
        yield result


@contextmanager
def _http_server(sink: Any, tls: ServerTls | None, settings: dict[str, Any]) -> Iterator[tuple[int, Intake]]:
    app = asgi_app(sink, **settings)
    with running(app, tls, settings.get("limits")) as port:
        yield port, app.intake


@contextmanager
def running(app: Any, tls: ServerTls | None = None, limits: Limits | None = None) -> Iterator[int]:
    """The HTTP server of `serve` with this application; the port."""
    listener = socket.create_server(("localhost", 0))
    port = listener.getsockname()[1]
    server = HttpServer([Site(app, listener, tls.ssl_context() if tls else None)], limits or Limits())
    server.start()
    try:
        yield port
    finally:
        server.stop(grace_s=10)
