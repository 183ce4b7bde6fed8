"""OTLP over gRPC, for a server that the host program has: `grpc.server` or `grpc.aio.server`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from k8strace.receiver.intake.answers import Outcome, Verdict, require_answers, response, status
from k8strace.receiver.intake.identity import Identity
from k8strace.receiver.intake.limits import Limits
from k8strace.receiver.intake.sink import Sink
from k8strace.receiver.intake.visit import (
    Intake,
    RefusedError,
    Visit,
    as_intake,
    not_in_time,
    not_now,
    refusal,
)
from k8strace.receiver.transports.workers import Gate, Watchdog, Workers, in_thread

if TYPE_CHECKING:
    import grpc
    import grpc.aio

__all__ = ["METHOD", "add_to_server", "server_options"]

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
DETAILS: Final = "grpc-status-details-bin"


def server_options(limits: Limits | None = None) -> list[tuple[str, int]]:
    """
    Options for `grpc.server(options=…)` that hold the limits which only the server can hold.

    Examples:
        >>> from k8strace.receiver import server_options
        >>> dict(server_options())["grpc.max_receive_message_length"]
        67108864
    """
    limits = limits or Limits()
    return [
        ("grpc.max_receive_message_length", limits.request_bytes),
        ("grpc.max_send_message_length", limits.response_bytes),
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.server_handshake_timeout_ms", round(limits.handshake_s * 1000)),
        ("grpc.max_connection_idle_ms", round(limits.idle_s * 1000)),
        # Dead peers are found, and peers that ping too often are sent away.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        # Without its own port, another receiver would get half of the requests.
        ("grpc.so_reuseport", 0),
    ]


def add_to_server(
    server: grpc.Server | grpc.aio.Server,
    sink: Sink | Intake,
    *,
    limits: Limits | None = None,
    identity: Identity | None = None,
) -> Intake:
    """
    Lets a gRPC server take OTLP traces. To be called before the server starts.

    Requests stay bytes: no protobuf object is made of a span. They are taken by threads of their own, as many as
    `limits.workers`, so that neither the server's pool nor its event loop waits for the sink.

    Args:
        server: From `grpc.server` or `grpc.aio.server`, best made with `server_options`. Do not give it
            `maximum_concurrent_rpcs`: its refusal tells senders to drop their spans.
        sink: Who keeps the spans, or an `Intake`, which other transports may share.
        limits: How much is taken; not with an `Intake`, which has its own.
        identity: Who may send; not with an `Intake`.

    Returns:
        The intake, for its counts.

    Raises:
        MissingExtraError: googleapis-common-protos is not installed.

    Examples:
        >>> import grpc
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from k8strace.receiver import Receipt, add_to_server, server_options
        >>> class Discard:
        ...     def accept(self, batch, meta):
        ...         return Receipt(accepted=meta.spans)
        >>> server = grpc.server(ThreadPoolExecutor(1), options=server_options())
        >>> intake = add_to_server(server, Discard())
        >>> intake.counts()["grpc"].requests_received
        0
    """
    import grpc.aio

    require_answers()
    intake = as_intake(sink, limits, identity)
    # Any object with `service` is a GenericRpcHandler to grpcio; the class is not to be had before grpc is imported.
    handler: Any = _AioHandler(intake) if isinstance(server, grpc.aio.Server) else _Handler(intake)
    server.add_generic_rpc_handlers((handler,))
    return intake


# ---- the service ----------------------------------------------------------------------------------


class _Service:
    """What both kinds of server have in common. Requests are read as a stream of one, so not before they may be."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake

    def admit(self, visit: Visit, context: Any) -> None:
        """Raises `RefusedError`, before the request is read."""
        metadata = {
            key: value for key, value in context.invocation_metadata() or () if key == "authorization"
        }
        visit.admit(metadata.get("authorization"), self.names(context))

    def names(self, context: Any) -> set[str]:
        """Names in the client's certificate."""
        if self.intake.identity.client_names is None:
            return set()
        found = context.auth_context()
        keys = ("x509_subject_alternative_name", "x509_common_name")
        return {name.decode("utf-8", "replace") for key in keys for name in found.get(key, ())}

    def answer(self, verdict: Verdict) -> bytes:
        """The response to a request that was taken."""
        message = response(verdict, self.intake.limits.response_bytes)
        return b"" if message is None else message.SerializeToString()


def _refusal(verdict: Verdict) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    import grpc

    code = next(each for each in grpc.StatusCode if each.value[0] == verdict.outcome.value.grpc)
    details = status(verdict)
    return code, details.message, ((DETAILS, details.SerializeToString()),)


class _Handler(_Service):
    """
    For `grpc.server`. It reads in threads, so a call whose message is slow to come holds one.

    There are as many of them as connections, so that slow senders do not keep others out; the work is behind a gate.
    """

    def __init__(self, intake: Intake) -> None:
        super().__init__(intake)
        self._readers = Workers(intake.limits, intake.limits.connections)
        self._gate = Gate(intake.limits)
        self._watchdog = Watchdog(intake.limits.body_s)
        refusals = ThreadPoolExecutor(1, thread_name_prefix="k8strace-refusals")
        self._export = self._method(self._take, self._readers)
        self._refuse = self._method(self._turn_away, refusals)

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """How to answer a call that begins: in a thread of its own, or at once. Calls of other methods are not ours."""
        if call.method != METHOD:
            return None
        return self._refuse if self._readers.full else self._export

    def _method(
        self, step: Callable[[Visit, Iterator[bytes], Any], None], pool: ThreadPoolExecutor
    ) -> grpc.RpcMethodHandler[Any, Any]:
        import grpc

        def behavior(requests: Iterator[bytes], context: Any) -> bytes:
            with self.intake.visit("grpc", context.peer()) as visit:
                step(visit, requests, context)
            if not visit.verdict.ok:
                code, message, metadata = _refusal(visit.verdict)
                context.set_trailing_metadata(metadata)
                context.abort(code, message)
            return self.answer(visit.verdict)

        # Servers of grpcio run a behavior in a pool of its own if it has one.
        behavior.experimental_thread_pool = pool  # type: ignore[attr-defined]
        return grpc.stream_unary_rpc_method_handler(behavior)

    def _turn_away(self, visit: Visit, _requests: Iterator[bytes], context: Any) -> None:
        self.admit(visit, context)  # who may not send is not told how busy we are
        raise not_now("busy", "too many requests are waiting")

    def _take(self, visit: Visit, requests: Iterator[bytes], context: Any) -> None:
        self.admit(visit, context)
        body = self._read(requests, context)
        visit.receive(len(body))
        with self._gate.enter():
            visit.take(body)

    def _read(self, requests: Iterator[bytes], context: Any) -> bytes:
        key = self._watchdog.start(context.cancel)
        try:
            body = next(requests, None)
            more = body is not None and next(requests, None) is not None
        except Exception:  # noqa: BLE001 - grpcio raises several kinds, all of which say that the call is over
            late = not self._watchdog.stop(key)
            raise not_in_time() if late else _gone() from None
        if not self._watchdog.stop(key):
            raise not_in_time()
        return _whole(body, more=more)


def _gone() -> RefusedError:
    """The sender left; or the message is too large, which grpcio answers itself and does not tell."""
    return refusal(Outcome.SLOW, "disconnected", "the request did not arrive whole")


def _whole(body: bytes | None, *, more: bool) -> bytes:
    if body is None or more:
        got = "none" if body is None else "more"
        raise refusal(Outcome.INVALID, "malformed", f"expected one request message, got {got}")
    return body


class _AioHandler(_Service):
    """For `grpc.aio.server`: the loop reads, and threads take."""

    def __init__(self, intake: Intake) -> None:
        import grpc

        super().__init__(intake)
        self._workers = Workers(intake.limits)
        self._method = grpc.stream_unary_rpc_method_handler(self._export)

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """How to answer a call that begins. Calls of other methods are not ours."""
        return self._method if call.method == METHOD else None

    async def _export(self, _requests: Any, context: Any) -> bytes:
        with self.intake.visit("grpc", context.peer()) as visit:
            await self._take(visit, context)
        if not visit.verdict.ok:
            await context.abort(*_refusal(visit.verdict))
        return self.answer(visit.verdict)

    async def _take(self, visit: Visit, context: Any) -> None:
        self.admit(visit, context)
        self._workers.check()
        try:
            async with asyncio.timeout(self.intake.limits.body_s):
                # What is not bytes is grpc.aio.EOF.
                body = await context.read()
                more = isinstance(body, bytes) and isinstance(await context.read(), bytes)
        except TimeoutError:
            raise not_in_time() from None
        body = _whole(body if isinstance(body, bytes) else None, more=more)
        visit.receive(len(body))
        self._workers.check()  # the body took its time, and others came
        await in_thread(self._workers, visit.take, body)
