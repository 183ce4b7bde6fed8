"""Compares kube-apiserver's own measurements with the spans: for each annotation, and why the two differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from k8strace.attribution import attribute
from k8strace.audit.log import AuditEvent
from k8strace.requests import Request

if TYPE_CHECKING:
    from k8strace.requests import Requests

__all__ = ["PARTS", "REASONS", "Beside", "compare", "quantile"]

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "mutating-webhook": ("webhook.mutating",),
    "validating-webhook": ("webhook.validating",),
    "authentication": ("prelude",),
    "authorization": ("apiserver.authorization.to_handler",),
    "apf-queue-wait": ("apiserver.flowcontrol.to_authorization",),
    "etcd": ("etcd.",),
    "serialize-response-object": ("apiserver.serialize.",),
    "response-write": ("apiserver.serialize.write", "apiserver.serialize.encode_and_write"),
    "total": ("",),
}
"""Annotation → prefixes of the phases it corresponds to; "prelude" is `prelude_ns`, which has no phase; "" is all."""

LONGEST: Final = "validating-webhook"
"""Annotation of calls that run at once: the longest call, not their sum."""

FREE_NS: Final = 50_000
FREE_SHARE: Final = 0.005
"""Tolerance: a difference up to this, plus this share of the wall time, needs no reason."""

REASONS: Final = {
    "panic": "the request ended in a panic",
    "audit_truncated": "the log says that it left something out",
    "timeout_handler": "the answer was a timeout; the work went on behind it",
    "aggregated": "another API server answered: its time is in the call to it",
    "retry": "an update or a call was done again",
    "client_wrapper": "the calls as kube-apiserver's client sees them, with its own work around them",
    "span_edges": "the spans begin or end with the filters beside it: their work is in ours",
    "audit_write": "writing the audit event itself comes after the annotation",
    "encoding": "encoding and compressing are in ours, only the write is in theirs",
    "outside_spans": "kube-apiserver's clock runs before the first span begins and after the last one ends",
    "unexplained": "none of the known reasons fits",
}
"""Reasons for a difference, by name; the first one that applies is used."""


class Beside(NamedTuple):
    """One part of one request as spans and log have it, in ns."""

    ours: int
    theirs: int
    wall: int
    reason: str | None
    """Why they differ; None if the difference is within the tolerance."""

    @property
    def off(self) -> float:
        """The difference as a share of the wall time."""
        return abs(self.ours - self.theirs) / max(self.wall, 1)


def compare(requests: Requests, events: Mapping[str, AuditEvent]) -> dict[str, list[Beside]]:
    """
    For each annotation both measurements of every request that has it, except long-running ones.

    `etcd` is only compared if all calls are KV/Range: kube-apiserver 1.37 adds up neither Txn nor RangeStream calls.
    """
    kept = requests.where(long_running=False, audit_id=lambda audit_id: audit_id in events)
    attribution = attribute(kept)
    validating = _longest_validating(kept)
    found: dict[str, list[Beside]] = {name: [] for name in PARTS}
    for request in kept:
        event = events[request.audit_id or ""]
        phases = attribution.phases(request.request)
        for name in PARTS.keys() & event.latency_ns.keys():
            if name == "etcd" and not _reads_only(request):
                continue
            ns = validating.get(request.request, 0) if name == LONGEST else _ours(name, request, phases)
            theirs = event.latency_ns[name]
            reason = None
            if abs(ns - theirs) > FREE_NS + FREE_SHARE * request.wall_ns:
                of_request = _reason(request, event, phases)
                of_part = (_MORE_IN_SPANS if ns > theirs else _MORE_IN_LOG).get(name)
                reason = of_request or of_part or "unexplained"
            found[name].append(Beside(ns, theirs, request.wall_ns, reason))
    return found


def _reads_only(request: Request) -> bool:
    return set(request.etcd_calls["method"].to_pylist()) <= {"KV/Range"}


def _longest_validating(requests: Requests) -> dict[int, int]:
    longest: dict[int, int] = {}
    calls = requests.webhook_calls
    for request, kind, ns in zip(
        *(calls.column(name).to_pylist() for name in ("request", "kind", "client_ns")), strict=True
    ):
        if kind == "validating":
            longest[request] = max(longest.get(request, 0), ns or 0)
    return longest


def _ours(name: str, request: Request, phases: Mapping[str, int]) -> int:
    """The spans' time for an annotation, in ns."""
    prelude = request.prelude_ns or 0
    if name == "authentication":
        return prelude
    starts = PARTS[name]
    ours = sum(ns for phase, ns in phases.items() if phase.startswith(starts))
    return ours + (prelude if name == "total" else 0)


def _reason(request: Request, event: AuditEvent, phases: Mapping[str, int]) -> str | None:
    """The first reason of a request for which any part of it may differ."""
    fitting = {
        "panic": event.stage == "Panic",
        "audit_truncated": event.truncated,
        "timeout_handler": request.http_status == 504,
        "aggregated": any(phase.startswith("aggregator") for phase in phases),
        "retry": bool(request.retries or request.conflicts),
    }
    return next((reason for reason, fits in fitting.items() if fits), None)


_MORE_IN_SPANS: Final = {
    "authentication": "span_edges",
    "authorization": "span_edges",
    "apf-queue-wait": "span_edges",
    "total": "audit_write",
    "response-write": "encoding",
}
_MORE_IN_LOG: Final = {
    "etcd": "client_wrapper",
    "mutating-webhook": "client_wrapper",
    "validating-webhook": "client_wrapper",
    "total": "outside_spans",
}
"""Why spans, or the log, have more of a part, if the request itself has no reason."""


def quantile(rows: Sequence[Beside], q: float) -> float:
    """A quantile of the difference as a share of the wall time, by nearest rank."""
    ranked = sorted(row.off for row in rows)
    return ranked[max(-(-len(ranked) * round(q * 100) // 100) - 1, 0)]


def reasons_of(rows: Iterable[Beside]) -> dict[str, int]:
    """Reason → number of differences, the most common first."""
    return dict(Counter(row.reason for row in rows if row.reason).most_common())
