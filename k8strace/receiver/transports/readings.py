"""What connections are counted, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from k8strace.receiver.metrics.exposition import Reading
from k8strace.receiver.transports.http_server import HttpServer

__all__ = ["connection_readings"]


def connection_readings(servers: Mapping[str, HttpServer]) -> list[Reading]:
    """Connections of HTTP servers, by their names."""
    return [
        Reading(
            "gauge",
            "k8strace_http_connections",
            "Connections that are open, to the HTTP servers of OTLP and of metrics.",
            ("server",),
            lambda: {(name,): server.connections for name, server in servers.items()},
        ),
        Reading(
            "counter",
            "k8strace_ended_http_connections",
            "Connections that k8strace ended, by reason.",
            ("server", "reason"),
            lambda: {
                (name, reason): count
                for name, server in servers.items()
                for reason, count in server.ends.items()
            },
        ),
    ]
