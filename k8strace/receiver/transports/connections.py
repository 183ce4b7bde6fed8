"""
One HTTP/1.1 connection: from a socket through h11 to an ASGI application and back, with a deadline for every wait.

    accept ──→ handshake ──→ idle ──first byte──→ header ──complete──→ the application: body, answer ──→ idle …
               handshake_s   │ idle_s, before the    header_s             │ asgi.py bounds the body
                             └ first request header_s                     └ the sender reads the answer within body_s

HTTP/2 is not spoken: an error in one of its requests can end others. A client that begins with it is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from ssl import SSLContext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from k8strace.receiver.intake.answers import HttpAnswer, Outcome, Verdict, http_answer
from k8strace.receiver.intake.limits import Limits
from k8strace.receiver.transports.exchange import Application, Ended, Exchange

if TYPE_CHECKING:
    import h11

__all__ = ["ENDS", "Connection", "Site", "Wait", "otlp_answer"]

Answerer: TypeAlias = Callable[[Verdict, str], HttpAnswer]

HEADER_BYTES: Final = 16 << 10
"""A request line and its headers at most, together."""
READ_BYTES: Final = 256 << 10
LINGER_S: Final = 0.5
"""How long an unread request may continue: if the connection closed at once, the sender might never see the answer."""
CLOSE_S: Final = 1.0
"""For what is written to leave, and for TLS to say goodbye."""

ENDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "full": "closed at once: every place is taken by a running request",
        "room": "idle for the longest time, closed to make room for a new one",
        "handshake": "no TLS within handshake_s, or not allowed",
        "idle": "no request within idle_s; the first one within header_s",
        "slow": "the header did not come within header_s, or the answer was not read within body_s",
        "malformed": "no HTTP, or a header that is too long: answered with 400 or 431",
        "http_version": "HTTP/2: answered with 505",
        "host": "asked for by a name that is not ours: answered with 403",
        "internal": "the application failed",
    }
)
"""Why a connection was ended by us."""


def otlp_answer(verdict: Verdict, content_type: str) -> HttpAnswer:
    """A refusal as OTLP has it: a `google.rpc.Status` in the content type of the request."""
    return http_answer(verdict, content_type, limit_bytes=4 << 10)


class Site(NamedTuple):
    """One application and the socket it is served on."""

    application: Application
    listening: socket.socket
    tls: SSLContext | None = None
    hosts: Collection[str] | None = None
    """Names that `Host` may have beside IP addresses and localhost; None for any. A web page can point a name of its
    own at loopback (DNS rebinding), but the browser then sends that name."""
    answer: Answerer = otlp_answer
    """Answers without the application: to input that is not HTTP, to HTTP/2, to another host."""


class Wait(Enum):
    """An idle connection waits for this. Another connection may take its place."""

    REQUEST = "the next request"
    END = "its sender, who goes on though it is answered"


class Refused(Exception):  # noqa: N818
    """Ends the connection with an answer."""

    def __init__(self, end: str, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.verdict = Verdict(outcome, end, message)


class Connection:
    """
    Serves one socket to its end.

    Args:
        site: What is served.
        accepted: The socket.
        limits: `header_s`, `handshake_s`, `idle_s` and `body_s` count here.
        ends: Why connections were ended by us is counted here, by the words of `ENDS`.
        waits: Is told what it waits for from now on; None once it works on a request.
        stopping: Whether this request is to be the last.
    """

    def __init__(
        self,
        site: Site,
        accepted: socket.socket,
        limits: Limits,
        ends: Counter[str],
        waits: Callable[[Wait | None], object],
        stopping: Callable[[], bool],
    ) -> None:
        import h11

        self.stopping = stopping
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES)
        self._site = site
        self._socket = accepted
        self._limits = limits
        self._ends = ends
        self._waits = waits
        self._reader = asyncio.StreamReader(limit=READ_BYTES)
        self._exchange: Exchange | None = None

    async def serve(self) -> None:
        """Until one of the two sides is done."""
        try:
            self._writer = await self._open()
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError
            self._ends["handshake"] += 1
            return
        finally:
            if not hasattr(self, "_writer"):
                self._socket.close()
        try:
            await self._requests()
        except Ended as ended:
            self._ends.update(ended.args)
        except ConnectionError:
            pass
        finally:
            await self._close()

    async def _open(self) -> asyncio.StreamWriter:
        loop, tls = asyncio.get_running_loop(), self._site.tls
        if self._socket.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio does it for some sockets only; and small answers would wait 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = asyncio.StreamReaderProtocol(self._reader)
        handshake_s, shutdown_s = (self._limits.handshake_s, CLOSE_S) if tls else (None, None)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            self._socket,
            ssl=tls,
            ssl_handshake_timeout=handshake_s,
            ssl_shutdown_timeout=shutdown_s,
        )
        return asyncio.StreamWriter(transport, protocol, self._reader, loop)

    async def _close(self) -> None:
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        finally:
            self._writer.transport.abort()

    # ── Requests, one after the other ─────────────────────────────────────────────────────────────

    async def _requests(self) -> None:
        import h11

        idle_s = self._limits.header_s  # a new connection brings a request
        try:
            while (request := await self._header(idle_s)) is not None:
                await self._answer(request)
                if self.stopping() or not self._again():
                    return
                idle_s = self._limits.idle_s  # exporters keep their connections between two exports
        except h11.RemoteProtocolError as error:
            await self._refuse(_malformed(error))
        except Refused as refused:
            await self._refuse(refused)

    async def _header(self, idle_s: float) -> h11.Request | None:
        """The next request; None when the other side is done."""
        import h11

        begun = bool(self.http.trailing_data[0])
        self._exchange = None
        self._waits(Wait.REQUEST)
        try:
            async with asyncio.timeout(idle_s) as deadline:
                while (event := self.http.next_event()) is h11.NEED_DATA:
                    if not await self.fill():
                        return None
                    if not begun:
                        begun = True
                        deadline.reschedule(asyncio.get_running_loop().time() + self._limits.header_s)
        except TimeoutError:
            raise Ended("slow" if begun else "idle") from None
        finally:
            self._waits(None)
        return event if isinstance(event, h11.Request) else None

    async def _answer(self, request: h11.Request) -> None:
        self._exchange = exchange = Exchange(self, request, secure=self._site.tls is not None)
        if not request.http_version.startswith(b"1"):
            message = (
                "expected HTTP/1.1, got HTTP/2: OTLP/HTTP is not served over it, and gRPC has its own port"
            )
            raise Refused("http_version", Outcome.HTTP_VERSION, message)
        if self._site.hosts is not None and not exchange.is_for(self._site.hosts):
            raise Refused("host", Outcome.FORBIDDEN, "expected a Host that names this machine")
        if not await exchange.run(self._site.application):
            raise Refused("internal", Outcome.INTERNAL, "the receiver failed: see its log")
        if not exchange.whole:
            await self._linger()

    def _again(self) -> bool:
        """Makes it ready for the next request, if there may be one."""
        import h11

        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
            return False
        self.http.start_next_cycle()
        return True

    async def _refuse(self, refused: Refused) -> None:
        """The last answer on this connection."""
        import h11

        self._ends[refused.verdict.reason] += 1
        exchange = self._exchange
        answer = self._site.answer(refused.verdict, exchange.content_type if exchange else "")
        headers = [*answer.headers, (b"connection", b"close")]
        with contextlib.suppress(h11.LocalProtocolError):  # an answer has begun
            head = self.http.send(h11.Response(status_code=answer.status, headers=headers)) or b""
            body = b"" if exchange and exchange.method == "HEAD" else answer.body
            await self.write(head + body)
            await self._linger()

    async def _linger(self) -> None:
        """Discards what arrives for a moment; the connection's place may go to another one."""
        self._waits(Wait.END)
        with contextlib.suppress(TimeoutError, OSError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(READ_BYTES):
                    pass

    # ── Bytes ─────────────────────────────────────────────────────────────────────────────────────

    async def fill(self) -> bool:
        """Waits for bytes of the other side; False when it has closed."""
        data = await self._reader.read(READ_BYTES)
        if data:
            self.http.receive_data(data)
        return bool(data)

    async def write(self, data: bytes) -> None:
        """Returns when most of it has left; the other side has `body_s` for reading it."""
        if self._writer.is_closing():
            raise Ended
        self._writer.write(data)
        try:
            async with asyncio.timeout(self._limits.body_s):
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise Ended("slow") from None

    def address(self, of: str) -> Any:
        """ASGI's `client` ("peername") or `server` ("sockname"): host and port; None for a unix socket."""
        found = self._writer.get_extra_info(of)
        return list(found[:2]) if isinstance(found, tuple) else None


def _malformed(error: h11.RemoteProtocolError) -> Refused:
    outcome = Outcome.HEADER if error.error_status_hint == 431 else Outcome.INVALID
    return Refused("malformed", outcome, f"expected an HTTP/1.1 request, got none: {error}")
