"""
An ASGI application behind sockets: hypercorn in a thread of its own, with deadlines and a bound on connections.

hypercorn has one timer for connections without a request. OTLP clients keep theirs open between exports, so it must be
long; and a header that trickles in must not have as long. So each connection here has two:

    connect ──→ idle: no byte of a header yet ──first byte──→ header ──complete──→ the application's time
                └ 60 s (the first one: 5 s) ──→ closed        └ 5 s ──→ closed     └ asgi.py has deadlines for bodies
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace.exceptions import K8straceError, MissingExtraError

if TYPE_CHECKING:
    from hypercorn.asyncio.worker_context import WorkerContext
    from hypercorn.config import Config
    from hypercorn.events import Event

    from k8strace.receiver.limits import Limits

__all__ = ["HttpServer", "Site"]

Application = Callable[[Any, Any, Any], Awaitable[None]]

START_SECONDS: Final = 10
CLOSE_SECONDS: Final = 1.0
"""For closing what is left after the grace."""


class Site(NamedTuple):
    """One application and the socket it is served on."""

    application: Application
    listening: socket.socket
    tls: SSLContext | None = None


class HttpServer:
    """
    Serves sites until it is stopped. All in one thread with one event loop.

    Args:
        sites: What to serve, and where. The sockets are closed at the end.
        limits: `header_s`, `handshake_s`, `idle_s`, `connections` (of all sites together) and `streams` count here.

    Raises:
        MissingExtraError: hypercorn is not installed.

    Examples:
        >>> import http.client, socket
        >>> from k8strace.receiver import Limits
        >>> async def hello(scope, receive, send):
        ...     if scope["type"] == "http":
        ...         await send({"type": "http.response.start", "status": 200, "headers": []})
        ...         await send({"type": "http.response.body", "body": b"hello"})
        >>> listening = socket.create_server(("127.0.0.1", 0))
        >>> server = HttpServer([Site(hello, listening)], Limits())
        >>> server.start()
        >>> client = http.client.HTTPConnection(*listening.getsockname())
        >>> client.request("GET", "/")
        >>> client.getresponse().read()
        b'hello'
        >>> client.close()
        >>> server.stop(grace_s=1)
    """

    def __init__(self, sites: Sequence[Site], limits: Limits) -> None:
        _require_hypercorn()
        self._sites = sites
        self._limits = limits
        self._connections: set[asyncio.Task[None]] = set()
        self._refused = 0
        self._grace_s = 0.0
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="k8strace-http", daemon=True)

    def start(self) -> None:
        """
        Returns once connections are taken.

        Raises:
            K8straceError: The server did not come up.
        """
        self._thread.start()
        self._started.wait(START_SECONDS)
        if self._error is not None or not self._started.is_set():
            raise K8straceError(f"the HTTP server did not start: {self._error or 'no answer'}")

    def stop(self, grace_s: float, *, within_s: float | None = None) -> None:
        """
        Takes no more connections, lets running requests end, closes what is left after the grace.

        Args:
            grace_s: How long running requests have.
            within_s: Returns after so long in any case; by default a second after the grace.
        """
        self._grace_s = grace_s
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.is_alive():
            self._thread.join(grace_s + CLOSE_SECONDS if within_s is None else within_s)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def refused_connections(self) -> int:
        """How many were closed at once, because there were too many."""
        return self._refused

    # ── The thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told by `start`
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        from hypercorn.asyncio.worker_context import WorkerContext

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_quiet)
        context = WorkerContext(None)
        servers = [await self._open(site, context) for site in self._sites]
        self._started.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        await context.terminated.set()  # idle connections close
        if self._connections:
            await asyncio.wait(self._connections, timeout=self._grace_s)
        for task in list(self._connections):
            task.cancel()

    async def _open(self, site: Site, context: WorkerContext) -> asyncio.Server:
        connect = _connect(site, _config(self._limits), context, self._limits)

        async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is None or len(self._connections) >= self._limits.connections:
                self._refused += 1
                writer.transport.abort()
                return
            self._connections.add(task)
            try:
                await connect(reader, writer)
            finally:
                self._connections.discard(task)

        handshake_s = self._limits.handshake_s if site.tls else None
        return await asyncio.start_server(
            admit, sock=site.listening, ssl=site.tls, ssl_handshake_timeout=handshake_s
        )


def _require_hypercorn() -> None:
    try:
        import hypercorn  # noqa: F401
    except ImportError:
        raise MissingExtraError("OTLP over HTTP needs hypercorn: pip install 'k8strace[serve]'") from None


def _quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Failed handshakes and broken connections are the other side's; everything else is told."""
    if not isinstance(context.get("exception"), OSError):  # ssl.SSLError is one
        loop.default_exception_handler(context)


def _config(limits: Limits) -> Config:
    from hypercorn.config import Config

    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("k8strace.http")
    config.include_server_header = False
    config.h2_max_concurrent_streams = limits.streams
    config.keep_alive_max_requests = 1_000_000_000
    return config


def _connect(
    site: Site, config: Config, context: WorkerContext, limits: Limits
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
    """A function that serves one connection to its end."""
    from hypercorn.asyncio.tcp_server import TCPServer
    from hypercorn.events import Updated
    from hypercorn.utils import wrap_app

    application = wrap_app(site.application, 0, "asgi")
    loop = asyncio.get_running_loop()

    class Connection(TCPServer):
        """hypercorn's connection, with a deadline for headers."""

        def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._heard, self._ended = asyncio.Event(), asyncio.Event()
            self._idle_s = limits.header_s  # who connects has something to say
            heard: Any = _Heard(reader, self._heard)
            super().__init__(application, loop, config, context, {}, heard, writer)

        async def protocol_send(self, event: Event) -> None:
            if isinstance(event, Updated) and not event.idle:
                self._idle_s = limits.idle_s  # here is a header: from now on it may be idle in between
            await super().protocol_send(event)

        async def _read_data(self) -> None:
            """Until the other side has closed: then its place is free, without waiting until it was idle too long."""
            await super()._read_data()
            self._ended.set()

        async def _idle_timeout(self) -> None:
            """Runs while there is no request, and is cancelled when a header is complete."""
            self._heard.clear()
            over = (context.terminated.wait, self._ended.wait)
            await _first(*over, self._heard.wait, within_s=self._idle_s)
            if self._heard.is_set():
                await _first(*over, within_s=limits.header_s)
            await asyncio.shield(self._initiate_server_close())

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(reader, writer)

    return connect


class _Heard:
    """A reader that tells when bytes come."""

    def __init__(self, reader: asyncio.StreamReader, heard: asyncio.Event) -> None:
        self._reader = reader
        self._heard = heard

    async def read(self, size: int) -> bytes:
        data = await self._reader.read(size)
        self._heard.set()
        return data

    def at_eof(self) -> bool:
        return self._reader.at_eof()


async def _first(*waits: Callable[[], Coroutine[Any, Any, Any]], within_s: float) -> None:
    """Waits until one of them is done, or the time is over."""
    tasks = [asyncio.ensure_future(wait()) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
