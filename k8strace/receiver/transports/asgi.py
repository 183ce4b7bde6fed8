"""OTLP over HTTP, as an ASGI 3 application for any asyncio server, alone or inside another application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

from k8strace.receiver.intake.answers import JSON, PROTOBUF, Outcome, http_answer, require_answers
from k8strace.receiver.intake.identity import Identity
from k8strace.receiver.intake.limits import Limits
from k8strace.receiver.intake.sink import Sink
from k8strace.receiver.intake.visit import Encoding, Intake, Visit, as_intake, not_in_time, refusal
from k8strace.receiver.transports.workers import Workers, in_thread

__all__ = ["PATH", "App", "asgi_app"]

PATH: Final = "/v1/traces"
LINGER_S: Final = 0.5
TRANSPORTS: Final = {PROTOBUF: "http/protobuf", JSON: "http/json"}
ENCODINGS: Final[Mapping[bytes, Encoding]] = {
    b"": "",
    b"identity": "",
    b"gzip": "gzip",
    b"x-gzip": "gzip",
    b"zstd": "zstd",
}

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def asgi_app(
    sink: Sink | Intake,
    *,
    limits: Limits | None = None,
    identity: Identity | None = None,
    path: str = PATH,
    names_checked: bool = False,
) -> App:
    """
    An ASGI application that takes OTLP traces: `POST /v1/traces`, protobuf and JSON, as they are, gzip or zstd.

    It bounds the time of a body itself. Headers, TLS handshakes, idle connections and their number are bounded by
    the server that runs it: give it `limits.header_s`, `handshake_s`, `idle_s` and `connections`.

    Args:
        sink: Who keeps the spans, or an `Intake`, which other transports may share.
        limits: How much is taken; not with an `Intake`, which has its own.
        identity: Who may send; not with an `Intake`. Names of client certificates are read from ASGI's `tls`
            extension; where the server does not have it, every request is refused.
        path: Where it is, below what it is mounted under.
        names_checked: The TLS context that the server uses checks the names itself, as that of `ServerTls` does.

    Raises:
        MissingExtraError: googleapis-common-protos is not installed.

    Examples:
        >>> from k8strace.receiver import Receipt, asgi_app
        >>> class Discard:
        ...     def accept(self, batch, meta):
        ...         return Receipt(accepted=meta.spans)
        >>> app = asgi_app(Discard())
        >>> app.intake.counts()["http/json"].requests_received
        0
    """
    require_answers()
    return App(as_intake(sink, limits, identity), path, names_checked=names_checked)


class App:
    """The application that `asgi_app` makes."""

    def __init__(self, intake: Intake, path: str, *, names_checked: bool = False) -> None:
        self.intake = intake
        """For its counts."""
        self._path = path
        self._names = (intake.identity.client_names or ()) if names_checked else None
        self._workers = Workers(intake.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection of ASGI."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._serve(_Request(scope, receive), send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"expected an ASGI scope of http, websocket or lifespan, got {scope['type']}")

    async def _serve(self, request: _Request, send: Send) -> None:
        transport = TRANSPORTS.get(request.content_type, "http/protobuf")
        with self.intake.visit(transport, request.peer) as visit:
            await self._take(visit, request)
        if request.gone:
            return
        limit = self.intake.limits.response_bytes
        answer = http_answer(visit.verdict, request.content_type, limit, close=request.unread)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        linger = request.unread and visit.verdict.outcome is not Outcome.SLOW
        await send({"type": "http.response.body", "body": answer.body, "more_body": linger})
        if linger:
            await request.linger()
            await send({"type": "http.response.body", "body": b""})

    async def _take(self, visit: Visit, request: _Request) -> None:
        """Checks the header first; the body is read only after that."""
        request.check_route(self._path)
        names = request.client_names() if self._names is None else self._names
        visit.admit(request.header(b"authorization"), names)
        encoding = request.check_content()
        visit.expect(request.content_length())
        self._workers.check()
        body = await _Body(request, visit, self.intake.limits).read()
        self._workers.check()  # the body took its time, and others came
        await in_thread(self._workers, visit.take, body, encoding=encoding, json=request.content_type == JSON)


async def _live(receive: Receive, send: Send) -> None:
    """Answers the lifespan protocol: there is nothing to start or stop."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


# ---- the header -----------------------------------------------------------------------------------


class _Request:
    """What a request says before its body."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self.receive = receive
        self.whole = False
        """Its body was read to the end."""
        self.gone = False
        """The sender closed the connection."""
        self.content_type = self.header(b"content-type").partition(b";")[0].strip().lower().decode("latin-1")
        self._http1 = scope.get("http_version", "1.1").startswith("1")
        client = scope.get("client")
        self.peer = f"{client[0]}:{client[1]}" if client else ""

    @property
    def unread(self) -> bool:
        """Whether body is left on a connection that carries one request at a time."""
        return self._http1 and not self.whole

    async def linger(self) -> None:
        """Discards the body for a moment: if the connection closed at once, the sender might never see the answer."""
        deadline = time.monotonic() + LINGER_S
        while not self.whole:
            try:
                event = await asyncio.wait_for(self.receive(), deadline - time.monotonic())
            except TimeoutError:
                return
            self.whole = event["type"] == "http.disconnect" or not event.get("more_body", False)

    def header(self, name: bytes) -> bytes:
        """All values of a header, with commas between them; empty if there is none."""
        return b",".join(value for key, value in self._scope["headers"] if key.lower() == name)

    def check_route(self, path: str) -> None:
        """Whether this is the path, and the method."""
        here, root = self._scope["path"], self._scope.get("root_path", "").rstrip("/")
        # Some servers give the whole path here, and others only what is below the root.
        if path not in (here, here.removeprefix(root)):
            raise refusal(Outcome.NOT_FOUND, "not_found", f"expected POST {root}{path}")
        if self._scope["method"] != "POST":
            raise refusal(Outcome.METHOD, "method", f"expected POST, got {self._scope['method']}")

    def client_names(self) -> set[str]:
        """The client's certificate as the server passes it on: ASGI has only the subject, in the form of RFC 4514."""
        tls = (self._scope.get("extensions") or {}).get("tls") or {}
        parts = (tls.get("client_cert_name") or "").split(",")
        return {part[3:] for part in map(str.strip, parts) if part.upper().startswith("CN=")}

    def check_content(self) -> Encoding:
        """The encoding of the body. Raises RefusedError for a content type or an encoding that is not read."""
        if self.content_type not in TRANSPORTS:
            message = f"expected Content-Type {PROTOBUF} or {JSON}, got another"
            raise refusal(Outcome.UNSUPPORTED, "content_type", message)
        encoding = ENCODINGS.get(self.header(b"content-encoding").strip().lower())
        if encoding is None:
            raise refusal(
                Outcome.UNSUPPORTED, "encoding", "expected one Content-Encoding: gzip, zstd or identity"
            )
        return encoding

    def content_length(self) -> int:
        """Bytes of the body as announced; 0 if they are not."""
        value = self.header(b"content-length")
        return int(value[:18]) if value.isdigit() else 0


# ---- the body -------------------------------------------------------------------------------------


class _Body:
    """
    Reads a body that may trickle for a while, but not for long.

        bytes |            /  must be above: (t - grace) * bytes per second
              |          / :
              |        /   :
              +------+-----+---> t
                   grace  total
    """

    def __init__(self, request: _Request, visit: Visit, limits: Limits) -> None:
        self._request = request
        self._visit = visit
        self._limits = limits
        self._started = time.monotonic()
        self._size = 0

    async def read(self) -> bytes:
        """All of it."""
        chunks = []
        while not self._request.whole:
            event = await self._next()
            if event["type"] == "http.disconnect":
                self._request.gone = True
                raise refusal(Outcome.SLOW, "disconnected", "the sender left before the end of its request")
            chunk = event.get("body", b"")
            self._visit.receive(len(chunk))
            self._size += len(chunk)
            chunks.append(chunk)
            self._request.whole = not event.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _next(self) -> MutableMapping[str, Any]:
        try:
            return await asyncio.wait_for(self._request.receive(), self._left_s())
        except TimeoutError:
            raise not_in_time() from None

    def _left_s(self) -> float:
        limits = self._limits
        allowed = min(limits.body_s, limits.body_grace_s + self._size / limits.body_bytes_per_s)
        return self._started + allowed - time.monotonic()
