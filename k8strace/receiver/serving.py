"""
A whole receiver: journal, pipeline, servers and metrics, brought up and taken down in order.

    up:    sockets ─ journal ─ pipeline ─ gRPC, HTTP ─ ready
    down:  not ready ─ no new requests ─ running ones end ─ everything accepted is joined ─ journal closed
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from operator import add
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace import _core
from k8strace.receiver.intake.identity import Identity, ServerTls, Tokens
from k8strace.receiver.intake.limits import Limits, Rejections
from k8strace.receiver.intake.readings import intake_readings
from k8strace.receiver.intake.visit import Counts, Intake
from k8strace.receiver.journal.backlog import StoredBatch
from k8strace.receiver.metrics.exposition import Exposition, Reading, RequestMetrics, one
from k8strace.receiver.metrics.pushing import MetricsPush
from k8strace.receiver.metrics.settling import Changes, Settling
from k8strace.receiver.metrics.tally import Recent, Tally
from k8strace.receiver.pipeline import Listener, Pipeline, SpanStream
from k8strace.receiver.transports.addresses import Address, listen_on
from k8strace.receiver.transports.asgi import asgi_app
from k8strace.receiver.transports.grpc_server import GrpcServer
from k8strace.receiver.transports.grpc_service import add_to_server, server_options
from k8strace.receiver.transports.http_server import HttpServer, Site, otlp_answer
from k8strace.receiver.transports.readings import connection_readings
from k8strace.receiver.transports.status import plain_answer, status_app

if TYPE_CHECKING:
    import grpc

    from k8strace.receiver.journal.writer import Journal
    from k8strace.requests import Requests

__all__ = ["Places", "Receiver", "Trust", "Window"]

SERVERS_SHARE: Final = 0.3
"""Share of the time to stop that running requests may use; the rest is for the join."""
CLOSING_SHARE: Final = 0.1
"""Time kept for the journal and the metrics, which are fast unless the disk is stuck."""

STATUS_CONNECTIONS: Final = 64
"""Connections kept free for probes and scrapes, which are few, however many OTLP takes."""

WINDOW_THREADS: Final = 2
WINDOW_CALLS: Final = 32
"""Of gRPC at once; beyond, callers are told to come again."""

MEMORY: Final = "memory: acknowledged means held in memory; a crash loses it"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a receiver listens."""

    grpc: Sequence[Address] = ()
    http: Sequence[Address] = ()
    metrics: Sequence[Address] = ()


@dataclass(frozen=True, slots=True)
class Trust:
    """Who may send. TLS is for all TCP addresses of OTLP, and for those of metrics beyond this machine."""

    tls: ServerTls | None = None
    tokens: Tokens | None = None
    hosts: frozenset[str] = frozenset()
    """Names that HTTP in plain text may be asked for by on this machine, beside IP addresses and localhost."""


class Window(NamedTuple):
    """Something that shows what the receiver holds, over HTTP or over gRPC."""

    kind: str
    """A word for it in logs and metrics."""
    addresses: Sequence[Address]
    application: Any = None
    """An ASGI application; None if it is over gRPC."""
    handlers: Sequence[grpc.GenericRpcHandler[Any, Any]] = ()
    """Of gRPC, if it is over that."""


class Bound(NamedTuple):
    """A socket that listens."""

    kind: str
    """ "http", "metrics", or the kind of a window."""
    address: Address
    """With the port that the system picked."""
    listening: socket.socket


def _bind(kind: str, address: Address) -> Bound:
    listening = listen_on(address)
    where = address if address.path else address._replace(port=listening.getsockname()[1])
    return Bound(kind, where, listening)


class Summed:
    """Emitted requests summed up, as they are now: all of them, and those of the last minutes. From any thread."""

    def __init__(self) -> None:
        self._recent = Recent()
        self._lock = threading.Lock()

    def add(self, changes: Changes, now_ns: int) -> None:
        """Adds requests that were emitted now, for those that they replace."""
        with self._lock:
            for row, added_ns in changes.replaced:
                self._recent.remove(row, added_ns)
            self._recent.add(changes.emitted, now_ns)

    def total(self) -> Tally:
        """All since the start."""
        with self._lock:
            return self._recent.total()

    def recent(self) -> Tally:
        """Those of the last `recent_s` seconds."""
        with self._lock:
            return self._recent.tally(time.monotonic_ns())

    @property
    def recent_s(self) -> float:
        """How far back `recent` reaches, in seconds."""
        return self._recent.span_ns / 1e9


class Receiver:
    """
    OTLP over gRPC and HTTP, joined as it comes.

    Args:
        stream: What joins; it belongs to the receiver from now on.
        places: Where to listen.
        journal: Where acknowledged batches are kept; None for memory only. The receiver closes it.
        limits: How much is taken.
        trust: Who may send.
        listeners: Each is given all finished requests, as `Pipeline` says.
        windows: Who else is served: what they show is theirs to know. TLS is for their TCP addresses beyond this
            machine.
        push: Who delivers durations of finished requests elsewhere; the receiver starts and stops it.
        backlog: Stored batches that are joined before new ones are taken; their requests are not counted again.
        report: Is told in words what went wrong.

    Raises:
        ListenError: An address cannot be listened on.
        MissingExtraError: What serves is not installed.

    Examples:
        >>> from k8strace.receiver.transports.addresses import parse_addresses
        >>> class Stream:
        ...     def feed(self, batch, now_ns): ...
        ...     def take(self, now_ns): return ()
        ...     def flush(self): return ()
        >>> receiver = Receiver(Stream(), Places(http=parse_addresses("127.0.0.1:0")))
        >>> receiver.start()
        >>> receiver.ready, receiver.mode
        (True, 'memory: acknowledged means held in memory; a crash loses it')
        >>> receiver.stop(timeout_s=5)
        True
    """

    def __init__(  # noqa: PLR0913 - each is a setting with a name
        self,
        stream: SpanStream,
        places: Places,
        *,
        journal: Journal | None = None,
        limits: Limits | None = None,
        trust: Trust | None = None,
        listeners: Sequence[Listener] = (),
        windows: Sequence[Window] = (),
        push: MetricsPush | None = None,
        backlog: Iterable[StoredBatch] = (),
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.journal = journal
        self.requests = RequestMetrics()
        self.summed = Summed()
        self._settling = Settling()
        self.rejections = Rejections()
        self._limits = limits or Limits()
        self._trust = trust or Trust()
        self._report = report
        self._push = push
        self._stopping = False
        self._bound: list[Bound] = []
        self.pipeline = Pipeline(
            stream,
            journal=journal,
            listeners=(self._observe, *listeners),
            backlog=backlog,
            resumed=listeners,
            report=report,
        )
        try:
            self._listen(places)
            self._open(windows)
        except BaseException:
            for bound in self._bound:
                bound.listening.close()
            self.pipeline.drain(1)
            raise

    # ── Up ────────────────────────────────────────────────────────────────────────────────────────

    def _listen(self, places: Places) -> None:
        tls = self._trust.tls
        self._intakes = [self._intake(Identity(self._trust.tokens))]
        if tls is not None and tls.client_names is not None:
            # Who comes through a unix socket has no certificate, and over HTTP the handshake has asked already.
            self._intakes.append(self._intake(Identity(self._trust.tokens, tls.client_names)))
            self._intakes[1].budget = self._intakes[0].budget
        parts = [
            self._state_readings(),
            intake_readings(lambda: self.counts, self.rejections, lambda: self.in_flight_bytes),
            self.pipeline.readings(),
            [] if self.journal is None else self.journal.readings(),
            [] if self._push is None else self._push.readings(),
        ]
        self.exposition = Exposition(self.requests, chain.from_iterable(parts))
        http = self._sites("http", places.http, asgi_app(self._intakes[0]))
        status = self._sites("metrics", places.metrics, status_app(self.exposition, lambda: self.lacks))
        few = replace(self._limits, connections=min(self._limits.connections, STATUS_CONNECTIONS))
        self.http, self.status = HttpServer(http, self._limits), HttpServer(status, few)
        self._connections = {"http": self.http, "metrics": self.status}
        self.exposition.readings += connection_readings(self._connections)
        tcp, unix = [[a for a in places.grpc if bool(a.path) is on_disk] for on_disk in (False, True)]
        groups = [(self._intakes[-1], tcp), (self._intakes[0], unix)]
        self._grpc = [self._grpc_server(*group) for group in groups if group[1]]

    def _open(self, windows: Sequence[Window]) -> None:
        few = replace(self._limits, connections=min(self._limits.connections, STATUS_CONNECTIONS))
        over_http = [window for window in windows if window.application is not None and window.addresses]
        self._windows = [
            HttpServer(self._sites(window.kind, window.addresses, window.application), few)
            for window in over_http
        ]
        kinds = [window.kind for window in over_http]
        self._connections.update(zip(kinds, self._windows, strict=True))
        self._grpc_windows = {
            window.kind: self._grpc_window(window)
            for window in windows
            if window.handlers and window.addresses
        }

    def _grpc_window(self, window: Window) -> GrpcServer:
        import grpc

        server = grpc.server(
            ThreadPoolExecutor(WINDOW_THREADS, f"k8strace-{window.kind}"),
            options=server_options(self._limits),
            maximum_concurrent_rpcs=WINDOW_CALLS,
        )
        server.add_generic_rpc_handlers(tuple(window.handlers))
        tls = None if all(address.local for address in window.addresses) else self._trust.tls
        return GrpcServer(server, window.addresses, None if tls is None else tls.grpc_credentials())

    def _state_readings(self) -> list[Reading]:
        mode = "memory" if self.journal is None else "durable"
        told = "What acknowledged means: durable (written and synced) or memory."
        ready = "1 while batches are accepted."
        return [
            Reading(
                "info", "k8strace_build", "This k8strace.", (), one(lambda: {"version": _core.__version__})
            ),
            Reading("info", "k8strace_mode", told, (), one(lambda: {"mode": mode})),
            Reading("gauge", "k8strace_ready", ready, (), one(lambda: int(self.ready))),
        ]

    def _intake(self, identity: Identity) -> Intake:
        return Intake(self.pipeline, limits=self._limits, identity=identity, rejections=self.rejections)

    def _grpc_server(self, intake: Intake, addresses: Sequence[Address]) -> GrpcServer:
        import grpc

        # Its own pool is for health only: batches are taken by threads of the service.
        server = grpc.server(ThreadPoolExecutor(2, "k8strace-grpc"), options=server_options(self._limits))
        add_to_server(server, intake)
        tls = self._trust.tls
        return GrpcServer(server, addresses, None if tls is None else tls.grpc_credentials())

    def _sites(self, kind: str, addresses: Sequence[Address], application: Any) -> list[Site]:
        sites = []
        for address in addresses:
            bound = _bind(kind, address)
            self._bound.append(bound)
            tls = self._context(bound)
            # Where there is TLS, the certificate has the name.
            hosts = None if tls or address.path or not address.local else self._trust.hosts
            answer = otlp_answer if kind == "http" else plain_answer
            sites.append(Site(application, bound.listening, tls, hosts, answer))
        return sites

    def _context(self, bound: Bound) -> SSLContext | None:
        tls = self._trust.tls
        plain = bound.address.path or (bound.kind != "http" and bound.address.local)
        return None if tls is None or plain else tls.ssl_context()

    @property
    def _servers(self) -> list[GrpcServer | HttpServer]:
        """All but that of the metrics, which is up before the others and down after them."""
        return [*self._grpc, self.http, *self._windows, *self._grpc_windows.values()]

    def start(self) -> None:
        """Joins the backlog, then accepts requests. Until then it is not ready."""
        self.status.start()
        self.pipeline.wait_resumed()
        for server in self._servers:
            server.start()
        if self._push is not None:
            self._push.start()

    # ── What it is like ───────────────────────────────────────────────────────────────────────────

    @property
    def ready(self) -> bool:
        """Whether batches are accepted."""
        return not self.lacks

    @property
    def lacks(self) -> str:
        """Why batches are not accepted, in words; empty while they are."""
        if self._stopping:
            return "stopping"
        if self.journal is not None and self.journal.trouble:
            return self.journal.trouble
        if not self.pipeline.is_resumed:
            return "what is stored is joined first"
        return "" if self.pipeline.ready else "the receiver has failed, see its log"

    @property
    def mode(self) -> str:
        """What acknowledged means, in words."""
        if self.journal is None:
            return MEMORY
        return f"durable: acknowledged means written and synced to {self.journal.directory}"

    @property
    def addresses(self) -> dict[str, list[Address]]:
        """Where it listens, with the ports that the system picked, by "grpc", "http", "metrics" and kind of window."""
        found: dict[str, list[Address]] = {"grpc": [], "http": [], "metrics": []}
        for server in self._grpc:
            found["grpc"].extend(server.addresses)
        for bound in self._bound:
            found.setdefault(bound.kind, []).append(bound.address)
        return found | {kind: list(server.addresses) for kind, server in self._grpc_windows.items()}

    @property
    def counts(self) -> dict[str, Counts]:
        """Requests and spans by transport."""
        each = [intake.counts() for intake in self._intakes]
        return {transport: reduce(add, (counts[transport] for counts in each)) for transport in each[0]}

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of requests being worked on."""
        return self._intakes[0].budget.used_bytes

    def _observe(self, requests: Requests) -> None:
        now = time.monotonic_ns()
        changes = self._settling.take(requests, now)
        self.requests.add(changes.final, updates=len(changes.replaced))
        self.summed.add(changes, now)
        if self._push is not None:
            self._push.durations.add(changes.final)

    # ── Down ──────────────────────────────────────────────────────────────────────────────────────

    def stop(self, timeout_s: float) -> bool:
        """
        Takes no more requests, ends those that run, joins everything that was accepted, closes the journal.

        One deadline covers all of it, so the caller knows when the process is gone::

            |─ servers: at most 3/10 ─|─ drain: what is left, but for 1/10 ─────────|─ journal, metrics ─|

        Args:
            timeout_s: For all of it. What is stuck by then is left alone, and ends with the process.

        Returns:
            Whether all of it was joined in time.
        """
        began = time.monotonic()
        self._stopping = True

        def left(share: float) -> float:
            """Seconds until that share of the time is over."""
            return max(began + share * timeout_s - time.monotonic(), 0.0)

        self._stop_servers(lambda: left(SERVERS_SHARE))
        drained = self.pipeline.drain(left(1 - CLOSING_SHARE))
        if self.journal is not None and not self.journal.close(left(1)):
            self._report("the store was not closed in time; the next start puts it in order")
        if self._push is not None:
            self._push.stop(left(1))
        self.status.stop(0.0, within_s=left(1))
        return drained

    def _stop_servers(self, left_s: Callable[[], float]) -> None:
        grace_s = left_s() * 2 / 3  # the rest is for ending what has not ended by itself
        stops = [server.stop for server in self._servers]
        stopping = [threading.Thread(target=stop, args=(grace_s,), daemon=True) for stop in stops]
        for thread in stopping:
            try:
                thread.start()
            except RuntimeError as error:  # no memory for one: what was accepted is to be joined all the same
                self._report(f"a server was not stopped in order: {error}")
        for thread in filter(threading.Thread.is_alive, stopping):
            thread.join(left_s())
