"""One HTTP/1.1 request and its answer, as ASGI sees them."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from urllib.parse import unquote

if TYPE_CHECKING:
    import h11

__all__ = ["Application", "Ended", "Exchange", "names_this_machine"]

Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
Message: TypeAlias = MutableMapping[str, Any]

_GONE: Final = {"type": "http.disconnect"}
_log = logging.getLogger("k8strace.http")


def names_this_machine(host: str, names: Collection[str]) -> bool:
    """
    Whether this `Host` is an IP address, localhost, or one of the names; so not a foreign name for this address.

    Examples:
        >>> hosts = "127.0.0.1:4318", "[::1]", "localhost", "otlp.example", "evil.example", "127.0.0.1.evil.example"
        >>> [names_this_machine(host, {"otlp.example"}) for host in hosts]
        [True, True, True, True, False, False]
    """
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    name = name.removesuffix(".")
    if name in ("", "localhost") or name.endswith(".localhost") or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Ended(Exception):  # noqa: N818 - no error: the way out
    """The connection is over; the reason is a word of `connections.ENDS`, unless the other side ended it."""


class Wire(Protocol):
    """What an exchange needs of its connection."""

    http: h11.Connection

    async def fill(self) -> bool:
        """Gives `http` what comes next; False when the other side has closed."""

    async def write(self, data: bytes) -> None:
        """Raises Ended."""

    def address(self, of: str) -> Any:
        """ASGI's `client` ("peername") or `server` ("sockname")."""

    def stopping(self) -> bool:
        """Whether this request is the last."""


class Exchange:
    """
    Runs an application for a request.

    Attributes:
        method: Of the request.
        content_type: Of the request, without parameters.
        whole: The request was read to its end.
    """

    def __init__(self, connection: Wire, request: h11.Request, *, secure: bool) -> None:
        self.method = request.method.decode("ascii")
        self.content_type = _first(request, b"content-type").partition(";")[0].strip().lower()
        self.whole = False
        self._connection = connection
        self._http = connection.http
        self._request = request
        self._scheme = "https" if secure else "http"
        self._head: Message | None = None
        self._answered = False
        self._done = asyncio.Event()
        self._broken: Exception | None = None
        if not any(name in (b"content-length", b"transfer-encoding") for name, _ in request.headers):
            self.whole = self._next() is None

    def is_for(self, names: Collection[str]) -> bool:
        """Whether it asks for this machine by a name that only this machine has."""
        return names_this_machine(_first(self._request, b"host"), names)

    async def run(self, application: Application) -> bool:
        """
        False if the application failed before it answered.

        Raises:
            h11.RemoteProtocolError: The body is not what HTTP has.
            Ended: The other side is gone.
        """
        try:
            await application(self._scope(), self._receive, self._send)
        except Ended:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the answer is 500
            _log.exception("an HTTP application failed")
        if self._broken is not None and not self._answered:
            raise self._broken
        return self._done.is_set()

    def _scope(self) -> Message:
        path, _, query = _origin(self._request.target).partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self._request.http_version.decode("ascii"),
            "method": self.method,
            "scheme": self._scheme,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(self._request.headers),
            "client": self._connection.address("peername"),
            "server": self._connection.address("sockname"),
        }

    # ── ASGI ──────────────────────────────────────────────────────────────────────────────────────

    async def _receive(self) -> Message:
        import h11

        if self.whole and self._told:
            await self._done.wait()
            return _GONE
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._connection.write(self._http.send(go_on) or b"")
        try:
            data = await self._piece()
        except (ConnectionError, h11.RemoteProtocolError) as error:
            self._broken = error
            return _GONE
        self.whole = self._told = data is None
        return {"type": "http.request", "body": data or b"", "more_body": data is not None}

    _told = False
    """The application knows that it has the whole body."""

    async def _piece(self) -> bytes | None:
        """Some of the body; None at its end."""
        while (data := self._next()) == b"":
            if not await self._connection.fill():
                raise ConnectionResetError
        return data

    def _next(self) -> bytes | None:
        """What of the body has come; None at its end."""
        import h11

        if self.whole:
            return None
        event = self._http.next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        return b"" if event is h11.NEED_DATA else None

    async def _send(self, message: Message) -> None:
        import h11

        if message["type"] == "http.response.start":
            self._head = message
            return
        pieces = []
        if self._head is not None and not self._answered:
            self._answered = True
            response = h11.Response(status_code=self._head["status"], headers=self._headers(self._head))
            pieces.append(self._http.send(response))
        if message.get("body") and self.method != "HEAD":
            pieces.append(self._http.send(h11.Data(data=message["body"])))
        if not message.get("more_body", False):
            pieces.append(self._http.send(h11.EndOfMessage()))
            self._done.set()
        # Head and body leave in one piece.
        await self._connection.write(b"".join(piece for piece in pieces if piece))

    def _headers(self, head: Message) -> list[tuple[bytes, bytes]]:
        headers = list(head.get("headers", ()))
        upgrade = any(name == b"upgrade" for name, _ in self._request.headers)
        last = not self.whole or upgrade or self._connection.stopping()
        if last and not any(name.lower() == b"connection" for name, _ in headers):
            headers.append((b"connection", b"close"))
        return headers


def _first(request: h11.Request, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in request.headers if key == name), "")


def _origin(target: bytes) -> bytes:
    """The target without scheme and authority, which proxies are sent."""
    if target.startswith((b"/", b"*")):
        return target
    return b"/" + target.partition(b"://")[2].partition(b"/")[2]
