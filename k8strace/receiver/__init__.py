"""
OTLP over gRPC and HTTP: the protocol's rules, limits, identity, and the journal.

    sender ── transport: connection, identity, size, inflate, screen ──→ Sink ──→ acknowledgement
              └─ grpc_service.py, asgi.py, exporter.py ─┘               └ sink.py ┘
"""

from k8strace.receiver.journal import Journal
from k8strace.receiver.journal_recovery import Recovered, replay
from k8strace.receiver.sink import Meta, Receipt, Sink, UnavailableError

__all__ = ["Journal", "Meta", "Receipt", "Recovered", "Sink", "UnavailableError", "replay"]
