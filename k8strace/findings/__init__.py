"""Requests → what is wrong, in words, with its cost in ns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from k8strace.audit import Audit
from k8strace.exceptions import expect_several
from k8strace.findings.abandoned import work_after_client_left
from k8strace.findings.audited import audited
from k8strace.findings.clients import list_then_get, relist_storm
from k8strace.findings.completeness import spans_lost
from k8strace.findings.cost import cost_of, etcd_usage_of
from k8strace.findings.etcd import etcd_opaque, etcd_raft_share, etcd_stream
from k8strace.findings.finding import SEVERITIES, Finding, Findings, Severity, in_order, table_of
from k8strace.findings.hammering import client_hammers
from k8strace.findings.interference import head_of_line
from k8strace.findings.lists import list_from_etcd, list_unpaged_big
from k8strace.findings.outside import time_outside_spans
from k8strace.findings.reads import page_chain, repeated_reads
from k8strace.findings.refused import refused_requests
from k8strace.findings.retries import etcd_retries, retries_cost, update_conflicts
from k8strace.findings.sampling import sampled
from k8strace.findings.selection import Selection
from k8strace.findings.stalls import Stall, process_stall, stall_table, stalls
from k8strace.findings.totals import estimated_totals
from k8strace.findings.transport import etcd_transport
from k8strace.findings.waits import cache_wait, flowcontrol_queue
from k8strace.findings.webhooks import webhook_fails_open, webhook_slow, webhook_timeout

if TYPE_CHECKING:
    from k8strace.formats.client_times import ClientTime
    from k8strace.formats.content import Readable
    from k8strace.requests import Requests

__all__ = [
    "DETECTORS",
    "SEVERITIES",
    "Finding",
    "Findings",
    "Selection",
    "Severity",
    "Stall",
    "cost_of",
    "estimated_totals",
    "etcd_usage_of",
    "findings_of",
    "stall_table",
    "stalls",
]

Detector: TypeAlias = Callable[[Selection], Iterable[Finding]]
"""From a selection to its findings of one kind. The function's name is their code."""

DETECTORS: Final[tuple[Detector, ...]] = (
    process_stall,
    refused_requests,
    webhook_slow,
    webhook_timeout,
    webhook_fails_open,
    cache_wait,
    list_from_etcd,
    list_unpaged_big,
    repeated_reads,
    page_chain,
    list_then_get,
    relist_storm,
    client_hammers,
    update_conflicts,
    etcd_retries,
    retries_cost,
    flowcontrol_queue,
    etcd_raft_share,
    etcd_opaque,
    etcd_stream,
    etcd_transport,
    head_of_line,
    work_after_client_left,
    time_outside_spans,
    spans_lost,
    sampled,
)
"""All detectors."""

MOST_OF_A_CODE: Final = 10
"""Findings of one code, at most: the most costly ones."""


def findings_of(
    requests: Requests, client_times: Sequence[ClientTime] = (), audit: Readable | None = None
) -> Findings:
    """See `Requests.findings`."""
    expect_several(client_times, "times of clients, as read_client_times gives them")
    selection = Selection(requests, client_times)
    if not selection.rows:
        return table_of([])
    found = (in_order(detector(selection))[:MOST_OF_A_CODE] for detector in DETECTORS)
    told = audited(Audit(requests, audit)) if audit is not None else ()
    return table_of(in_order([*(finding for each in found for finding in each), *told]))
