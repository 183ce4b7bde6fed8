"""`webhook_slow`, `webhook_timeout`, `webhook_fails_open`: what admission webhooks cost, and where they fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Calls, Selection
from k8strace.statistics.quantiles import at_rank
from k8strace.words import count, duration

__all__ = ["webhook_fails_open", "webhook_slow", "webhook_timeout"]

WORTH_TELLING: Final = 0.01
"""Share of all time from which a webhook's cost is reported."""

SLOW_SHARE: Final = 0.20
SLOW_MEDIAN_NS: Final = 10_000_000
"""Slow for all: a fifth of all time, and calls longer than a usual write without webhooks (some ms)."""

SLOW_P99_SHARE: Final = 0.05
SLOW_P99_NS: Final = 1_000_000_000
"""Slow for some: one call in a hundred takes the whole second that is Kubernetes' objective for a request."""

TIMEOUT_SHARE: Final = 0.01
"""Timeouts are failures, so a hundredth of all time is a warning."""

NEAR: Final = 0.99
"""A call that fails after this share of its timeout has timed out."""


def webhook_slow(selection: Selection) -> Iterator[Finding]:
    """One finding for each webhook that takes a part of all time."""
    calls = selection.webhook_calls
    for webhook, places in selection.by_webhook.items():
        outlay = calls.outlay(places)
        share = selection.share(outlay.total_ns)
        lengths = sorted(calls["client_ns"][at] for at in places)
        median, p99 = at_rank(lengths, 0.5), at_rank(lengths, 0.99)
        for_all = share >= SLOW_SHARE and median >= SLOW_MEDIAN_NS
        for_some = share >= SLOW_P99_SHARE and p99 >= SLOW_P99_NS
        if share >= WORTH_TELLING:
            yield selection.finding(
                "webhook_slow",
                "warning" if for_all or for_some else "info",
                outlay,
                f"The webhook {webhook} took {selection.cost(outlay.total_ns)}:"
                f" {count(len(places), 'call')}, median {duration(median)}, p99 {duration(p99)}",
                "Make it faster, or ask it less: narrow its rules, add a namespaceSelector or matchConditions.",
                [f"webhook={webhook}"],
                calls=len(places),
                p50_ns=median,
                p99_ns=p99,
            )


def webhook_timeout(selection: Selection) -> Iterator[Finding]:
    """One finding for each webhook that did not answer in time."""
    calls = selection.webhook_calls
    for webhook, places in selection.by_webhook.items():
        late = [at for at in _failed(calls, places) if _timed_out(calls, at)]
        if late:
            outlay = calls.outlay(late)
            timeouts = sorted({calls["timeout_ns"][at] for at in late} - {None})
            after = f" after {duration(timeouts[0])}" if len(timeouts) == 1 else ""
            yield selection.finding(
                "webhook_timeout",
                "warning" if selection.share(outlay.total_ns) >= TIMEOUT_SHARE else "info",
                outlay,
                f"{len(late):,} of {count(len(places), 'call')} to the webhook {webhook} timed out{after}"
                f" and took {selection.cost(outlay.total_ns)}",
                "Look at the webhook's own log at that time; a shorter timeoutSeconds bounds what it can cost.",
                [f"webhook={webhook}"],
                calls=len(places),
                timeouts=len(late),
            )


def webhook_fails_open(selection: Selection) -> Iterator[Finding]:
    """One finding for each webhook whose calls failed while the requests went on: they were not checked."""
    calls = selection.webhook_calls
    status = selection.of_all("http_status")
    answered = [status[request] if request is not None else None for request in calls["request"]]
    for webhook, places in selection.by_webhook.items():
        passed = [at for at in _failed(calls, places) if 0 < (answered[at] or 0) < 400]
        if passed:
            outlay = calls.outlay(passed)
            yield selection.finding(
                "webhook_fails_open",
                "warning",
                outlay,
                f"{len(passed):,} of {count(len(places), 'call')} to the webhook {webhook} failed and the requests"
                f" went on unchecked; the calls took {selection.cost(outlay.total_ns)}",
                "If the check is needed, set failurePolicy: Fail; otherwise find out why the webhook fails.",
                [f"webhook={webhook}", "http_status<400"],
                calls=len(places),
                failed=len(passed),
            )


def _failed(calls: Calls, places: Sequence[int]) -> list[int]:
    """Calls without an answer, or with one that the apiserver does not accept."""
    error, status = calls["error"], calls["http_status"]
    return [at for at in places if error[at] is not None or (status[at] or 0) >= 400]


def _timed_out(calls: Calls, at: int) -> bool:
    timeout, error = calls["timeout_ns"][at], calls["error"][at]
    told = error is not None and ("deadline exceeded" in error or "timeout" in error.lower())
    return told or (timeout is not None and calls["client_ns"][at] >= NEAR * timeout)
