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
    by_length = calls.grouped("webhook", by="client_ns")
    for at, total_ns in enumerate(by_length.totals(calls.own("critical_ns"))):
        share, webhook = selection.share(total_ns), calls.own("webhook")[by_length.first[at]]
        if share >= WORTH_TELLING and webhook is not None:
            places = by_length.rows(at)
            outlay, length = calls.outlay(places), calls.own("client_ns")
            median, p99 = length[at_rank(places, 0.5)], length[at_rank(places, 0.99)]
            for_all = share >= SLOW_SHARE and median >= SLOW_MEDIAN_NS
            for_some = share >= SLOW_P99_SHARE and p99 >= SLOW_P99_NS
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
    for webhook, places in selection.once(_by_webhook):
        late = [at for at in _failed(selection, places) if _timed_out(calls, at)]
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
    for webhook, places in selection.once(_by_webhook):
        passed = [at for at in _failed(selection, places) if _is_passed(selection, calls["request"][at])]
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


def _by_webhook(selection: Selection) -> list[tuple[str, list[int]]]:
    """Webhooks with calls that failed, and the places of all their calls, in order."""
    calls = selection.webhook_calls
    if not selection.once(_failures):
        return []
    groups = calls.groups("webhook").items()
    return [(webhook, places) for (webhook,), places in groups if webhook is not None]


def _failures(selection: Selection) -> frozenset[int]:
    """Places of calls without an answer, or with one that the apiserver does not accept."""
    calls = selection.webhook_calls
    refused = calls.grouped().at_least(calls.own("http_status"), 400).all()
    if calls.own("error").null_count == len(calls):
        return frozenset(refused)
    return frozenset(refused).union(at for at, error in enumerate(calls["error"]) if error is not None)


def _failed(selection: Selection, places: Sequence[int]) -> list[int]:
    failures = selection.once(_failures)
    return [at for at in places if at in failures]


def _is_passed(selection: Selection, request: int | None) -> bool:
    """Whether a request went on."""
    return request is not None and 0 < (selection.own("http_status")[request] or 0) < 400


def _timed_out(calls: Calls, at: int) -> bool:
    timeout, error = calls["timeout_ns"][at], calls["error"][at]
    told = error is not None and ("deadline exceeded" in error or "timeout" in error.lower())
    return told or (timeout is not None and calls["client_ns"][at] >= NEAR * timeout)
