"""Where accepted batches go: one protocol between the transports and the sink that keeps the spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from k8strace.exceptions import K8straceError

__all__ = ["Meta", "Receipt", "Sink", "UnavailableError"]


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a batch besides its bytes."""

    transport: str
    """ "grpc", "http/protobuf", "http/json" or "sdk"."""
    peer: str = ""
    """The sender's address, as the transport gives it; for messages to people only."""
    spans: int | None = None
    """How many spans the batch holds; None if they were not counted."""
    is_screened: bool = False
    """It was looked through, so it can be decoded."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of a batch. Accepted and rejected spans add up to the spans sent."""

    accepted: int
    rejected: int = 0
    reason: str = ""
    """English text for the sender; empty if there is nothing to say."""


class UnavailableError(K8straceError):
    """
    The batch was not taken, and the same batch may be taken later: the sender should try again.

    Attributes:
        reason: One of a closed set of words, for counters: "budget", "queue", "storage", "draining".
        retry_after_s: How long the sender should wait, in seconds.
    """

    def __init__(self, message: str, *, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Sink(Protocol):
    """Something that takes batches."""

    def accept(self, batch: bytes, meta: Meta) -> Receipt:
        """
        Takes one `ExportTraceServiceRequest`. Called from several threads at once.

        When it returns, the sender is told that the accepted spans are safe; so it returns once they are.

        Raises:
            UnavailableError: Not now. The sender is told to try again.
            DecodeError: The bytes are no such message. The sender is told not to try again.
        """
