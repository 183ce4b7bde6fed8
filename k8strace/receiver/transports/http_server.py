"""
ASGI applications behind sockets, over HTTP/1.1: one thread with one event loop, and a bound on connections.

    listen ──→ accept ──→ Connection (connections.py) ──→ application
                  └ all places taken: the longest idle one is closed; if none is idle, the new one is
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from k8strace.exceptions import K8straceError, extra
from k8strace.receiver.transports.connections import ENDS, Connection, Site, Wait, otlp_answer

if TYPE_CHECKING:
    from k8strace.receiver.intake.limits import Limits

__all__ = ["HttpServer", "Site", "otlp_answer"]

log = logging.getLogger("k8strace.http")

START_SECONDS: Final = 10
CLOSE_SECONDS: Final = 1.0
"""Time to close what is left after the grace."""
ACCEPTED_AT_ONCE: Final = 16
NO_DESCRIPTORS_S: Final = 0.1
"""Pause before the next accept when no file descriptor is left."""


class HttpServer:
    """
    Serves sites until it is stopped. All in one thread with one event loop.

    Args:
        sites: What to serve, and where. The sockets are closed at the end.
        limits: `header_s`, `handshake_s`, `idle_s`, `body_s`, and `connections` (of all sites together) count here.

    Raises:
        MissingExtraError: h11 is not installed.

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
        with extra("serve", "OTLP over HTTP"):
            import h11  # noqa: F401
        self._sites = sites
        self._limits = limits
        self._connections: set[asyncio.Task[None]] = set()
        self._idle: dict[asyncio.Task[None], Wait] = {}
        self._ends = Counter(dict.fromkeys(ENDS, 0))
        self._grace_s = 0.0
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
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
        Accepts no more connections, lets running requests end, and closes what is left after the grace.

        Args:
            grace_s: How long running requests have.
            within_s: Returns after this many seconds at the latest; by default a second after the grace.
        """
        self._grace_s = grace_s
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join(grace_s + CLOSE_SECONDS if within_s is None else within_s)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def ends(self) -> Mapping[str, int]:
        """Connections that the server ended, by reason, one for each word of `ENDS`; "full" ones were refused."""
        return dict(self._ends)

    # ── The thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told by `start`
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_quiet)
        for site in self._sites:
            site.listening.setblocking(False)  # noqa: FBT003 - the standard library's own
            self._listen(site)
        self._started.set()
        await self._stopping.wait()
        for site in self._sites:
            self._loop.remove_reader(site.listening)
            site.listening.close()
        for task, waits in list(self._idle.items()):
            if waits is Wait.REQUEST:
                task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=self._grace_s)
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _listen(self, site: Site) -> None:
        if not self._stopping.is_set():
            asyncio.get_running_loop().add_reader(site.listening, self._accept, site)

    def _accept(self, site: Site) -> None:
        """Accepts some of the waiting connections, then lets other tasks run."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, _ = site.listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no file descriptors
                self._make_room()
                loop = asyncio.get_running_loop()
                loop.remove_reader(site.listening)
                loop.call_later(NO_DESCRIPTORS_S, self._listen, site)
                return
            if len(self._connections) < self._limits.connections or self._make_room():
                self._take(site, accepted)
            else:
                self._ends["full"] += 1
                accepted.close()

    def _take(self, site: Site, accepted: socket.socket) -> None:
        accepted.setblocking(False)  # noqa: FBT003 - the standard library's own
        connection = Connection(site, accepted, self._limits, self._ends, self._mark, self._stopping.is_set)
        task = asyncio.create_task(connection.serve())
        self._connections.add(task)
        self._idle[task] = Wait.REQUEST
        task.add_done_callback(self._ended)
        task.add_done_callback(lambda _: accepted.close())  # for one that was cancelled before it began

    def _mark(self, waits: Wait | None) -> None:
        """What the connection whose task this is waits for."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._idle.pop(task, None)
        if waits is not None:
            self._idle[task] = waits  # at the end: the first has waited for the longest time
            if self._stopping.is_set() and waits is Wait.REQUEST:
                task.cancel()

    def _make_room(self) -> bool:
        """Closes the connection that has been idle for the longest time; False if none is."""
        task = next(iter(self._idle), None)
        if task is None:
            return False
        del self._idle[task]
        self._ends["room"] += 1
        return task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._idle.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("a connection failed", exc_info=error)


def _quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Failed handshakes and broken connections are the peer's errors; all others are reported."""
    if not isinstance(context.get("exception"), OSError):  # ssl.SSLError is one
        loop.default_exception_handler(context)
