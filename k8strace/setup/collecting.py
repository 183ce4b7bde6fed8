"""Sources of the probe's spans: its own OTLP/gRPC receiver, or a file that another receiver writes."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import k8strace
from k8strace.setup.versions import SetupError

if TYPE_CHECKING:
    import grpc

__all__ = ["Receiver", "Source", "Store"]

METHOD: Final = ("opentelemetry.proto.collector.trace.v1.TraceService", "Export")
MAX_MESSAGE: Final = 16 << 20
MAX_HELD: Final = 128 << 20
"""Bytes that are kept, at most; later batches are refused."""


class Source(Protocol):
    """A source of spans that arrive over time."""

    def changed(self) -> bool:
        """Whether something came since the last `new`."""

    def new(self) -> k8strace.Spans:
        """The spans since the last call; a source may repeat earlier ones."""


class Receiver:
    """
    A plain OTLP/gRPC server for as long as the `with` block lasts. It keeps the bytes as they come.

    Args:
        address: host:port to listen on; port 0 takes a free one.

    Raises:
        SetupError: It cannot listen there.
    """

    def __init__(self, address: str) -> None:
        import grpc

        if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):\d{1,5}", address):
            raise SetupError(f"expected an address to listen on such as 127.0.0.1:4317, got {address!r}")
        self._batches: list[bytes] = []
        self._held = 0
        self._lock = threading.Lock()
        # If it shared its port, another receiver would get half of the batches.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_MESSAGE)]
        self._server = grpc.server(ThreadPoolExecutor(4), options=options)
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(METHOD[0], {METHOD[1]: handler}),)
        )
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            self.port = 0
        if not self.port:
            self._server.stop(None)
            raise SetupError(
                f"cannot listen on {address}: is another receiver there? Then give --store and the file it writes"
            )

    def _export(self, batch: bytes, context: grpc.ServicerContext) -> bytes:
        import grpc

        with self._lock:
            if self._held + len(batch) > MAX_HELD:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the probe has enough")
            self._held += len(batch)
            self._batches.append(batch)
        return b""

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(0.5).wait(2)

    def changed(self) -> bool:
        """Something came since the last `new`."""
        with self._lock:
            return bool(self._batches)

    def new(self) -> k8strace.Spans:
        """The spans since the last `new`."""
        with self._lock:
            batches, self._batches = self._batches, []
        return k8strace.decode(batches)


class Store:
    """A recording that another program writes; the file need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def _state(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_size, status.st_mtime_ns

    def changed(self) -> bool:
        """Whether the file changed since the last `new`."""
        return self._state() != self._seen

    def new(self) -> k8strace.Spans:
        """All spans in the file: the end of a frame is known only after reading it."""
        self._seen = self._state()
        return k8strace.read(self._path) if self._seen and self._seen[0] else k8strace.decode(b"")
