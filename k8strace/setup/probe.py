"""`probe`: sends requests until spans flow, then one marked request, and reports what became of its trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import k8strace
from k8strace.setup.asking import Answer
from k8strace.setup.causes import Reason
from k8strace.setup.collecting import Source

__all__ = ["Outcome", "Pace", "probe"]


@dataclass(frozen=True, slots=True)
class Pace:
    """The probe's waiting times, in seconds."""

    timeout: float = 60.0
    """For everything. etcd's exporter had no receiver before, and may wait in backoff for 18 s."""
    warm_up: float = 1.0
    """Between two requests that make spans flow."""
    again: float = 10.0
    """After this time without its spans the request is sent again: full queues drop spans."""
    grace: float = 7.0
    """How long a request without an etcd call waits for late spans: a batch leaves every five seconds."""
    pause: float = 0.2
    """Between two checks."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The spans that came, and the conclusion."""

    reason: Reason
    answer: Answer
    """The answer to the request that came, or to the last one sent."""
    requests: k8strace.Requests | None
    """The request; None if it did not come."""
    spans: int
    """All spans that came."""
    etcd_seen: bool
    """Whether some of them were etcd's."""
    waited: float
    """Seconds."""

    @property
    def obeyed(self) -> bool:
        """Whether the trace has the id of our `traceparent`."""
        return self.requests is not None and self.requests[0].trace_id == self.answer.trace_id


def probe(
    source: Source,
    send: Callable[[bool], Answer],
    *,
    pace: Pace | None = None,
    progress: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """
    Waits until spans flow, sends the marked request, and waits for its trace with etcd's part.

    Args:
        source: Where spans arrive.
        send: Sends a request. True: it counts, False: it only makes spans flow.
        pace: How long to wait.
        progress: Called at every check with what the probe is waiting for.
        clock: Seconds of a monotonic clock.
        sleep: Waits for some seconds.
    """
    pace = pace or Pace()
    began = clock()
    hunt = _Hunt(source, send, pace)
    while True:
        waited = clock() - began
        hunt.look(waited)
        if waited >= pace.timeout or hunt.done(waited):
            return hunt.outcome(waited)
        hunt.ask(waited)
        progress(f"{hunt.waiting_for()} ({waited:.0f} of at most {pace.timeout:.0f} s)")
        sleep(min(pace.pause, max(pace.timeout - waited, 0.01)))


class _Hunt:
    """What was sent and what came. Times are seconds since the beginning."""

    def __init__(self, source: Source, send: Callable[[bool], Answer], pace: Pace) -> None:
        self._source, self._send, self._pace = source, send, pace
        self._parts: list[k8strace.Spans] = []
        self._sent: list[Answer] = []
        self._asked_at: float | None = None
        self._arrived_at: float | None = None
        self._whole: tuple[Answer, k8strace.Requests] | None = None
        self._last: Answer | None = None
        self._apiserver = self._etcd = False
        self._trace = ""
        self._of_trace: list[k8strace.Spans] = []

    def look(self, now: float) -> None:
        """Reads the new spans, and only those."""
        if not self._source.changed():
            return
        spans = self._source.new()
        self._parts.append(spans)
        joined = k8strace.join(spans)
        services = {process["service"] for process in spans.processes}
        self._apiserver |= bool(len(joined)) or "apiserver" in services
        self._etcd |= "etcd" in services
        if self._arrived_at is None and (found := self._ours(joined)):
            self._arrived_at = now
            self._trace = found[1][0].trace_id
            self._of_trace = [part for part in self._parts[:-1] if self._belongs(part)]
        if self._arrived_at is not None and self._belongs(spans):
            self._of_trace.append(spans)
            self._whole = self._ours(_together(self._of_trace).flush())

    def _belongs(self, spans: k8strace.Spans) -> bool:
        """Whether spans of the request's trace are among them. Only those are joined again."""
        return self._trace in spans.column("trace_id").to_pylist()

    def _ours(self, joined: k8strace.Requests) -> tuple[Answer, k8strace.Requests] | None:
        """The first of the marked requests that came, and its answer."""
        for answer in self._sent:
            found = joined.where(user_agent=answer.user_agent)
            if len(found):
                return answer, found[:1]
        return None

    def done(self, now: float) -> bool:
        """Whether no more spans are expected."""
        if self._whole is None:
            return False
        reason = _reason(self._whole[1])
        late = self._arrived_at is not None and now - self._arrived_at >= self._pace.grace
        return reason is Reason.FOUND or (late and reason is Reason.NO_ETCD_CALL)

    def ask(self, now: float) -> None:
        """Sends a request if one is due: first those that warm up, then the marked one."""
        if self._arrived_at is not None:
            return
        wait = self._pace.again if self._sent else 0.0 if self._apiserver else self._pace.warm_up
        if self._asked_at is not None and now - self._asked_at < wait:
            return
        self._asked_at = now
        self._last = self._send(self._apiserver)
        if self._apiserver:
            self._sent.append(self._last)

    def waiting_for(self) -> str:
        """What the probe is waiting for, as text."""
        if self._arrived_at is not None:
            return "the request's spans came; waiting for the rest, as etcd's"
        if self._sent:
            return "kube-apiserver sends spans; waiting for those of the request"
        return "waiting for the first spans of kube-apiserver, with requests to warm up"

    def outcome(self, waited: float) -> Outcome:
        """The result at the end."""
        last = self._last or self._send(self._apiserver)
        counts = _together(self._parts).counts
        spans = counts["spans"] - counts["repeats"]
        answer, requests = self._whole or (last, None)
        reason = self._without(spans) if requests is None else _reason(requests)
        return Outcome(reason, answer, requests, spans, self._etcd, waited)

    def _without(self, spans: int) -> Reason:
        """Why the request may not be among the spans."""
        if not spans:
            return Reason.NO_SPANS
        return Reason.SAMPLED_OUT if self._apiserver else Reason.APISERVER_MISSING


def _together(parts: Sequence[k8strace.Spans]) -> k8strace.RequestStream:
    """A stream that emits nothing before its end."""
    stream = k8strace.RequestStream(k8strace.StreamSettings(max_age_ns=2**62, window_ns=2**62))
    for part in parts:
        stream.feed(part, now_ns=0)
    return stream


def _reason(requests: k8strace.Requests) -> Reason:
    request = requests[0]
    if not request.etcd_call_count:
        return Reason.NO_ETCD_CALL
    missing = request.etcd_calls["server_ns"].null_count > 0
    return Reason.ETCD_MISSING if missing else Reason.FOUND
