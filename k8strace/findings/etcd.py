"""`etcd_raft_share`, `etcd_opaque`, `etcd_stream`: what etcd's time is made of, and what spans cannot tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Selection
from k8strace.statistics.quantiles import at_rank
from k8strace.words import count, duration

__all__ = ["etcd_opaque", "etcd_raft_share", "etcd_stream"]

RAFT_TELL: Final = 0.10
RAFT_TOO_MUCH: Final = 0.20
RAFT_MEDIAN_NS: Final = 10_000_000
"""etcd's own advice: the 99th percentile of a sync of the write-ahead log to disk is below 10 ms."""

OPAQUE_TELL: Final = 0.05
STREAM_TELL: Final = 0.01


def etcd_raft_share(selection: Selection) -> Iterator[Finding]:
    """Writes that waited for raft: the log on disk, the other members, the change applied."""
    share = selection.share(selection.phase_ns("etcd.raft"))
    if share >= RAFT_TELL:
        outlay = selection.phase("etcd.raft")
        lengths = sorted(outlay.ns)
        median, p99 = at_rank(lengths, 0.5), at_rank(lengths, 0.99)
        yield selection.finding(
            "etcd_raft_share",
            "warning" if share >= RAFT_TOO_MUCH and median >= RAFT_MEDIAN_NS else "info",
            outlay,
            f"{count(len(outlay.rows), 'request')} waited for etcd's raft: {selection.cost(outlay.total_ns)},"
            f" median {duration(median)}, p99 {duration(p99)}",
            "Look at etcd_disk_wal_fsync_duration_seconds and the network between members: faster disks help most.",
            ["verb~^(create|update|patch|delete|deletecollection)$"],
            p50_ns=median,
            p99_ns=p99,
        )


def etcd_opaque(selection: Selection) -> Iterator[Finding]:
    """Calls to etcd without etcd's own span: etcd and the network cannot be told apart."""
    if selection.share(selection.phase_ns("etcd.opaque")) >= OPAQUE_TELL:
        outlay = selection.phase("etcd.opaque")
        yield selection.finding(
            "etcd_opaque",
            "info",
            outlay,
            f"{count(len(outlay.rows), 'request')} called etcd and have no span of etcd's own:"
            f" {selection.cost(outlay.total_ns)} is etcd and network together",
            "Enable etcd's tracing (k8strace setup); a managed etcd has none.",
            ["etcd_call_count>0"],
        )


def etcd_stream(selection: Selection) -> Iterator[Finding]:
    """Streamed lists from etcd: their time includes the apiserver's own work on the pages."""
    if selection.share(selection.phase_ns("etcd.stream")) >= STREAM_TELL:
        outlay = selection.phase("etcd.stream")
        yield selection.finding(
            "etcd_stream",
            "info",
            outlay,
            f"{count(len(outlay.rows), 'request')} streamed lists from etcd: {selection.cost(outlay.total_ns)},"
            " which includes the apiserver's work on the pages",
            "List from the watch cache where the client can; etcd may not be the cause of this time.",
            ["verb=list"],
        )
