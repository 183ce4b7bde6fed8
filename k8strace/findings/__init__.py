"""Requests → what is wrong, in words, with its cost in ns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from k8strace.findings.finding import SEVERITIES, Finding, Findings, Severity, in_order, table_of
from k8strace.findings.refused import refused_requests
from k8strace.findings.retries import etcd_retries, retries_cost, update_conflicts
from k8strace.findings.selection import Selection
from k8strace.findings.webhooks import webhook_fails_open, webhook_slow, webhook_timeout

if TYPE_CHECKING:
    from k8strace.requests import Requests

__all__ = ["DETECTORS", "SEVERITIES", "Finding", "Findings", "Selection", "Severity", "findings_of"]

Detector: TypeAlias = Callable[[Selection], Iterable[Finding]]
"""Looks at the columns of a selection. Its name is its code."""

DETECTORS: Final[tuple[Detector, ...]] = (
    refused_requests,
    webhook_slow,
    webhook_timeout,
    webhook_fails_open,
    update_conflicts,
    etcd_retries,
    retries_cost,
)
"""All that is looked for."""

MOST_OF_A_CODE: Final = 10
"""Findings of one code that are told: the most costly ones."""


def findings_of(requests: Requests) -> Findings:
    """See `Requests.findings`."""
    selection = Selection(requests)
    if not selection.rows:
        return table_of([])
    found = (in_order(detector(selection))[:MOST_OF_A_CODE] for detector in DETECTORS)
    return table_of(in_order(finding for each in found for finding in each))
