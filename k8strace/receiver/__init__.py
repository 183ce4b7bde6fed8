"""
OTLP over gRPC and HTTP: the protocol's rules, limits, identity, and the journal.

    sender ──→ transports ──→ intake ──→ pipeline ──→ journal ──→ acknowledgement
               connection     identity, size,   └──→ stream ──→ listeners, metrics
                              inflate, screen
"""

from k8strace.receiver.intake.answers import Outcome, Verdict
from k8strace.receiver.intake.identity import Identity, IdentityError, Secret, ServerTls, Tokens
from k8strace.receiver.intake.limits import REASONS, Limits, Rejections
from k8strace.receiver.intake.sink import Meta, Receipt, Sink, UnavailableError
from k8strace.receiver.intake.visit import Counts, Intake
from k8strace.receiver.journal.recovery import Recovered, replay
from k8strace.receiver.journal.writer import Journal
from k8strace.receiver.pipeline import Pipeline
from k8strace.receiver.serving import Places, Receiver, Trust, Window
from k8strace.receiver.transports.asgi import asgi_app
from k8strace.receiver.transports.grpc_service import add_to_server, server_options

__all__ = [
    "REASONS",
    "Counts",
    "Identity",
    "IdentityError",
    "Intake",
    "Journal",
    "Limits",
    "Meta",
    "Outcome",
    "Pipeline",
    "Places",
    "Receipt",
    "Receiver",
    "Recovered",
    "Rejections",
    "Secret",
    "ServerTls",
    "Sink",
    "Tokens",
    "Trust",
    "UnavailableError",
    "Verdict",
    "Window",
    "add_to_server",
    "asgi_app",
    "replay",
    "server_options",
]
