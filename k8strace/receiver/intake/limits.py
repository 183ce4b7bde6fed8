"""The receiver's limits, each a named setting, and counters for what exceeded one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

__all__ = ["REASONS", "RETRYABLE", "Limits", "Rejections"]

KIB: Final = 1 << 10
MIB: Final = 1 << 20

DEEPEST_VALUE: Final = 32
"""Deeper values in key-value lists would exceed the depth of 100 messages of protobuf's parsers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    Limits against hostile and mistaken input. All are above 0; sizes are in bytes, times in seconds.

    Raises:
        ValueError: A setting is not above 0, or above what the wire format can hold. The message names it.

    Examples:
        >>> from k8strace.receiver import Limits
        >>> Limits(request_bytes=8 << 20).request_bytes
        8388608
        >>> Limits(spans_per_request=0)
        Traceback (most recent call last):
        ValueError: expected spans_per_request above 0, got 0
    """

    # ---- one request ----
    request_bytes: int = 64 * MIB
    """One request, as sent and inflated."""
    response_bytes: int = 4 * MIB
    """One answer; its message is cut to fit."""
    zstd_window_bytes: int = 8 * MIB
    """What a zstd frame may ask the decoder to remember."""
    json_depth: int = 64
    """Objects and arrays within one another, in a JSON request."""
    spans_per_request: int = 65_536
    """Spans beyond are rejected."""
    columns_per_byte: int = 2
    """Memory of decoded spans, per byte of the request: spans that would need more are rejected."""
    columns_free_bytes: int = 8 * MIB
    """Memory that the spans of one request may need whatever its size: enough for `spans` bare spans."""

    # ---- one span ----
    attributes: int = 1_024
    """Attributes of one span, event, link, scope or resource; those beyond are cut."""
    events: int = 1_024
    """Events of one span; those beyond are cut."""
    links: int = 1_024
    """Links of one span; those beyond are cut."""
    value_bytes: int = 64 * KIB
    """Key or value of one attribute; a longer one is cut."""
    value_depth: int = DEEPEST_VALUE
    """Values within one another; a deeper attribute is cut."""
    span_bytes: int = MIB
    """One span; a longer one is rejected."""

    # ---- all requests together ----
    in_flight_bytes: int = 256 * MIB
    """Requests that are being worked on, inflated. A request beyond is to be sent again later."""
    workers: int = 32
    """Requests of one transport that are inflated, screened and stored at once."""
    waiting_requests: int = 64
    """Requests of one transport that have arrived and wait for it. One beyond is to be sent again later."""

    # ---- connections ----
    body_s: float = 30.0
    """For all of a body to arrive; and for what was written of an HTTP answer to be read."""
    body_grace_s: float = 5.0
    """How long a body may trickle before `body_bytes_per_s` counts."""
    body_bytes_per_s: int = KIB
    """What must arrive of an HTTP body per second, after the grace."""
    header_s: float = 5.0
    """For the header of an HTTP request to arrive: for the server that runs the application."""
    handshake_s: float = 5.0
    """For a TLS handshake: for the server that runs the application."""
    idle_s: float = 60.0
    """How long a connection may be without a request."""
    connections: int = 1_024
    """Connections at once, to one HTTP server, and to each address of a gRPC server; there, also calls whose message is
    to come."""
    streams: int = 64
    """Calls at once on one gRPC connection."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not value > 0:
                raise ValueError(f"expected {each.name} above 0, got {value!r}")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ValueError(f"expected {name} of at most {most}, got {getattr(self, name)}")
        if self.in_flight_bytes < self.request_bytes:
            raise ValueError(
                "expected in_flight_bytes of at least request_bytes: else no large request is ever taken"
            )


_MOST: Mapping[str, int] = {"request_bytes": (1 << 28) - 1, "value_depth": DEEPEST_VALUE, "json_depth": 127}


REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # The request is not taken.
        "unauthenticated": "request",
        "method": "request",
        "content_type": "request",
        "encoding": "request",
        "size": "request",
        "inflate": "request",
        "malformed": "request",
        "disconnected": "request",
        "not_found": "request",
        "internal": "request",
        # The request is not taken now; the sender is told to try again.
        "budget": "request",
        "memory": "request",
        "busy": "request",
        "queue": "request",
        "slow": "request",
        "storage": "request",
        "draining": "request",
        "unavailable": "request",
        # A span of a request that is taken.
        "spans": "span",
        "columns": "span",
        "span_bytes": "span",
        "trace_id": "span",
        "span_id": "span",
        "utf8": "span",
        "scattered": "span",
        "sink": "span",
        # A part of a span that is taken.
        "attributes": "attribute",
        "events": "attribute",
        "links": "attribute",
        "value_bytes": "attribute",
        "value_depth": "attribute",
    }
)
"""Every reason that is counted, and what one count is: a "request", a "span" or an "attribute" (or event, or link)."""


RETRYABLE: Final = ("budget", "memory", "busy", "queue", "slow", "storage", "draining", "unavailable")
"""Reasons of refusals that ask the sender to try again; `k8strace_refused_total` has them."""


class Rejections:
    """
    Counts by reason; from any thread.

    Examples:
        >>> from k8strace.receiver import Rejections
        >>> rejections = Rejections()
        >>> rejections.add("trace_id", 3)
        >>> rejections["trace_id"], rejections["utf8"]
        (3, 0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(REASONS, 0)

    def add(self, reason: str, count: int = 1) -> None:
        """
        Counts.

        Raises:
            KeyError: No such reason.
        """
        with self._lock:
            self._counts[reason] += count

    def __getitem__(self, reason: str) -> int:
        return self._counts[reason]

    def counts(self) -> dict[str, int]:
        """All counts, those that are 0 too, of one moment."""
        with self._lock:
            return dict(self._counts)

    def __repr__(self) -> str:
        counted = {reason: count for reason, count in self.counts().items() if count}
        return f"Rejections({counted})"
