"""`probe`: one marked request, and what became of its trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import k8strace
from k8strace.setup.asking import Answer
from k8strace.setup.causes import Reason
from k8strace.setup.collecting import Source

__all__ = ["Outcome", "wait"]

GRACE: Final = 7.0
"""Seconds that etcd's spans, and late ones of kube-apiserver, get after the request's: a batch leaves every five."""

PAUSE: Final = 0.2
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came, and what it means."""

    reason: Reason
    requests: k8strace.Requests | None
    """The request; None if it did not come."""
    spans: int
    """All spans that came."""
    obeyed: bool
    """The trace has the id of our `traceparent`."""
    waited: float
    """Seconds."""


def wait(
    source: Source,
    answer: Answer,
    *,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """
    Waits until the request's trace is there with etcd's part, or nothing more is to be expected.

    Args:
        source: Where spans arrive.
        answer: The request's marks.
        timeout: Seconds to wait at most.
        clock: Seconds that only grow.
        sleep: Waits some seconds.
    """
    began, found_at = clock(), None
    outcome = Outcome(Reason.NO_SPANS, None, 0, obeyed=False, waited=0.0)
    while True:
        waited = clock() - began
        if source.changed():
            outcome = _judge(source.spans(), answer)
        if outcome.requests is not None and found_at is None:
            found_at = waited
        if (
            outcome.reason is Reason.FOUND
            or waited >= timeout
            or (found_at is not None and waited - found_at >= GRACE)
        ):
            return Outcome(outcome.reason, outcome.requests, outcome.spans, outcome.obeyed, waited)
        sleep(min(PAUSE, max(timeout - waited, 0.01)))


def _judge(spans: k8strace.Spans, answer: Answer) -> Outcome:
    joined = k8strace.join(spans)
    ours = joined.where(user_agent=answer.user_agent)
    if not len(ours):
        return Outcome(_without(spans), None, len(spans), obeyed=False, waited=0.0)
    request = ours[0]
    if not request.etcd_call_count:
        reason = Reason.NO_ETCD_CALL
    elif any(call.server_ns is None for call in request.etcd_calls):
        reason = Reason.ETCD_MISSING
    else:
        reason = Reason.FOUND
    return Outcome(reason, ours[:1], len(spans), obeyed=request.trace_id == answer.trace_id, waited=0.0)


def _without(spans: k8strace.Spans) -> Reason:
    """Why the request may not be among these spans."""
    if not len(spans):
        return Reason.NO_SPANS
    services = {process["service"] for process in spans.processes}
    return Reason.SAMPLED_OUT if "apiserver" in services else Reason.APISERVER_MISSING
