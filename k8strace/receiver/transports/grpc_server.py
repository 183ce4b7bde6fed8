"""OTLP over gRPC behind addresses: the service, its health, and sockets that no other process listens on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from k8strace.exceptions import extra
from k8strace.receiver.transports.addresses import Address, ListenError, listen_on, owner_only

if TYPE_CHECKING:
    import grpc

__all__ = ["GrpcServer"]

CLOSE_SECONDS: Final = 1.0
"""For ending what is left after the grace."""

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"


class GrpcServer:
    """
    One server of grpcio on some addresses.

    Args:
        server: Made with `server_options`; the OTLP service is added already.
        addresses: Where to listen.
        credentials: TLS for the TCP addresses; None for plain text. Unix sockets are plain, and for their owner only.

    Raises:
        MissingExtraError: grpcio-health-checking is not installed.
        ListenError: An address is in use, or cannot be listened on.

    Examples:
        >>> import grpc
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> served = GrpcServer(grpc.server(ThreadPoolExecutor(1)), [Address("127.0.0.1", 0)], None)
        >>> served.start()
        >>> served.addresses[0].port > 0
        True
        >>> served.stop(grace_s=0)
    """

    def __init__(
        self, server: grpc.Server, addresses: Sequence[Address], credentials: grpc.ServerCredentials | None
    ) -> None:
        self._server = server
        self._health = _add_health(server)
        self.addresses = tuple(self._listen(address, credentials) for address in addresses)
        """Where it listens, with the ports that the system picked."""

    def _listen(self, address: Address, credentials: grpc.ServerCredentials | None) -> Address:
        # gRPC says only that it failed, and takes a unix socket away from another listener, so check first.
        listen_on(address).close()
        target = str(address)
        try:
            with owner_only():
                if credentials is None or address.path:
                    port = self._server.add_insecure_port(target)
                else:
                    port = self._server.add_secure_port(target, credentials)
        except RuntimeError:
            port = 0
        if not port:
            raise ListenError(f"{address}: gRPC cannot listen there")
        return address if address.path else address._replace(port=port)

    def start(self) -> None:
        """Takes requests from now on."""
        self._server.start()
        self.set_ready(ready=True)

    def set_ready(self, *, ready: bool) -> None:
        """What the health service answers, for the server and for the OTLP service."""
        from grpc_health.v1.health_pb2 import HealthCheckResponse

        status = HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            self._health.set(service, status)

    def stop(self, grace_s: float) -> None:
        """Accepts no more requests; running ones have `grace_s` to end. Returns at most a second later."""
        self.set_ready(ready=False)
        stopped: threading.Event = self._server.stop(grace_s)
        stopped.wait(grace_s + CLOSE_SECONDS)


def _add_health(server: grpc.Server) -> Any:
    with extra("serve", "OTLP over gRPC", "grpcio-health-checking"):
        from grpc_health.v1.health import HealthServicer
        from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
    servicer: Any = HealthServicer()
    add_HealthServicer_to_server(servicer, server)
    return servicer
