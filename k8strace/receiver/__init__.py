"""
OTLP over gRPC and HTTP: the protocol's rules, limits, identity, and the journal.

    sender ── transport: connection, identity, size, inflate, screen ──→ Sink ──→ acknowledgement
              └─ grpc_service.py, asgi.py, exporter.py ─┘               └ sink.py ┘
"""

from k8strace.receiver.sink import Meta, Receipt, Sink, UnavailableError

__all__ = ["Meta", "Receipt", "Sink", "UnavailableError"]
