"""Reads an audit log: the user of each request, and kube-apiserver's own durations of its parts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from k8strace.audit.scanning import Scanner
from k8strace.formats.content import Allowance, Content, Inflating, Input, Readable, compression, inputs

__all__ = ["MOST_BYTES", "AuditEvent", "AuditLog", "duration_ns", "read_log"]

PREFIX: Final = "apiserver.latency.k8s.io/"
"""Prefix of annotations with durations."""

MOST_BYTES: Final = 1 << 42
"""Decompressed bytes of a log, at most: 4 TiB. Memory does not grow with it."""

ENDS: Final = ("ResponseComplete", "Panic")
"""Final stages: every request has one of them."""

_FIELDS: Final = (
    "auditID",
    "stage",
    "user",
    "impersonatedUser",
    "objectRef",
    "responseStatus",
    "annotations",
)
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ns|us|µs|ms|s|m|h)")


def duration_ns(text: str) -> int | None:
    """
    A duration as Go writes it; None if it is something else.

    Examples:
        >>> duration_ns("87.5µs"), duration_ns("1m2.5s"), duration_ns("soon")
        (87500, 62500000000, None)
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts))


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """How a request ended, according to the log."""

    audit_id: str
    stage: str | None
    """"ResponseComplete", or "Panic"."""
    user: str | None
    """The impersonated user, if there is one, else the user."""
    namespace: str | None
    code: int | None
    """HTTP status."""
    truncated: bool
    """Whether the log says that it left something out."""
    latency_ns: dict[str, int]
    """Annotation below `apiserver.latency.k8s.io/` → ns."""


@dataclass(slots=True)
class AuditLog:
    """Events by audit id, and what was read."""

    events: dict[str, AuditEvent] = field(default_factory=dict)
    """The last event of each request in `known`."""
    read: int = 0
    """Events in the log, of all stages and requests."""
    without_spans: int = 0
    """Requests in the log whose audit id no span has."""
    damaged: int = 0
    """Places that could not be read."""
    too_large: int = 0
    """Events left out because their names and annotations exceed any plausible size."""


def read_log(source: Readable, known: Collection[str] | None = None) -> AuditLog:
    """
    Reads an audit log: JSON lines, EventLists, gzip or zstd.

    Args:
        source: A path, a pattern, bytes or a binary stream.
        known: Audit ids whose events are kept. None keeps all.

    Raises:
        DecodeError: It is larger than `MOST_BYTES`.
        OSError: It cannot be read.
    """
    log = AuditLog()
    for each in inputs(source):
        scanner = Scanner(_chunks(each), _FIELDS)
        for event in scanner:
            audit_id = event.get("auditID")
            if not isinstance(audit_id, str):
                log.damaged += 1
            elif known is None or audit_id in known:
                _note(log, audit_id, event)
            else:
                log.without_spans += event.get("stage") in ENDS
        log.read += scanner.events
        log.damaged += scanner.damaged
        log.too_large += scanner.too_large
    return log


def _chunks(source: Input) -> Iterator[bytes]:
    stored = Content(source.chunks())
    kind = compression(stored.peek(4))
    whole = Inflating(stored, kind, Allowance(MOST_BYTES)).chunks() if kind else stored.chunks()
    return (bytes(chunk) for chunk in whole)


def _note(log: AuditLog, audit_id: str, event: dict[str, Any]) -> None:
    """Keeps an event; of several for one request the one that ends it."""
    before = log.events.get(audit_id)
    if before is not None and before.stage in ENDS:
        return
    annotations = _of(event, "annotations")
    told = {
        name.removeprefix(PREFIX): duration_ns(text)
        for name, text in annotations.items()
        if name.startswith(PREFIX) and isinstance(text, str)
    }
    code = _of(event, "responseStatus").get("code")
    log.events[audit_id] = AuditEvent(
        audit_id=audit_id,
        stage=_text(event.get("stage")),
        user=_text(_of(event, "impersonatedUser").get("username") or _of(event, "user").get("username")),
        namespace=_text(_of(event, "objectRef").get("namespace")),
        code=code if isinstance(code, int) else None,
        truncated=annotations.get("audit.k8s.io/truncated") == "true",
        latency_ns={name: ns for name, ns in told.items() if ns is not None},
    )


def _of(event: dict[str, Any], name: str) -> dict[str, Any]:
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
