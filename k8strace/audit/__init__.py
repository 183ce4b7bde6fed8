"""kube-apiserver's audit log: the user of each request, and kube-apiserver's own measurements beside the spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8strace import _core
from k8strace.audit.comparing import PARTS, REASONS, Beside, compare, quantile, reasons_of
from k8strace.audit.log import AuditEvent, AuditLog, read_log
from k8strace.exceptions import expect
from k8strace.requests import Requests
from k8strace.tables import Table

if TYPE_CHECKING:
    from k8strace.formats.content import Readable

__all__ = [
    "PARTS",
    "REASONS",
    "Audit",
    "AuditEvent",
    "AuditLog",
    "Beside",
    "compare",
    "quantile",
    "read_log",
    "reasons_of",
]


class Audit:
    """
    Requests and their events in the audit log, joined by audit id. Frozen.

    Spans have the audit id from Kubernetes 1.34 on, those of requests with a resource from 1.26 on.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> log = b'{"auditID": "%s", "stage": "ResponseComplete", "user": {"username": "ann"}, "annotations": '
        >>> log += b'{"apiserver.latency.k8s.io/total": "2.07s"}}'
        >>> slowest = requests.slowest(1)[0]
        >>> audit = k8strace.Audit(requests, log % slowest.audit_id.encode())
        >>> audit.requests.where(user="ann")
        Requests(1 of 1411 requests)
        >>> [(row["annotation"], row["requests"], row["theirs_ns"]) for row in audit.table]
        [('total', 1, 2070000000)]
    """

    def __init__(self, requests: Requests, source: Readable) -> None:
        expect(requests, Requests, "requests, as join gives them")
        known = frozenset(audit_id for audit_id in requests.column("audit_id") if audit_id)
        self.log: AuditLog = read_log(source, known)
        """What was read from the log."""
        users = {audit_id: event.user for audit_id, event in self.log.events.items()}
        self.requests: Requests = requests.with_column(
            "user", [users.get(audit_id) for audit_id in requests._joined.column("audit_id")]
        )
        """The same requests with the column `user`, impersonation applied; None if the log does not say."""

    @property
    def found(self) -> int:
        """The number of requests that are in the log."""
        return len(self.log.events)

    @property
    def table(self) -> Table:
        """
        kube-apiserver's own measurements beside those of the spans.

        One row per annotation that the log has: `annotation`, `requests`, `ours_ns` and `theirs_ns` (sums),
        `median_share` and `p99_share` of the difference divided by the wall time, `differ`, how many differ by more
        than 50 µs and half a percent of the wall time, and `reasons`, "name count" with commas, the most common first:
        see `REASONS`.
        """
        return self.table_of(self.requests)

    def table_of(self, requests: Requests) -> Table:
        """The same for a selection of `requests`."""
        compared = {name: rows for name, rows in compare(requests, self.log.events).items() if rows}
        return Table(
            _core.make_table(
                [
                    ("annotation", "text", list(compared)),
                    ("requests", "int", [len(rows) for rows in compared.values()]),
                    ("ours_ns", "int", [sum(row.ours for row in rows) for rows in compared.values()]),
                    ("theirs_ns", "int", [sum(row.theirs for row in rows) for rows in compared.values()]),
                    ("median_share", "float", [quantile(rows, 0.5) for rows in compared.values()]),
                    ("p99_share", "float", [quantile(rows, 0.99) for rows in compared.values()]),
                    (
                        "differ",
                        "int",
                        [sum(row.reason is not None for row in rows) for rows in compared.values()],
                    ),
                    ("reasons", "text", [_reasons(rows) for rows in compared.values()]),
                ]
            )
        )

    def __repr__(self) -> str:
        return f"Audit({self.found} of {len(self.requests)} requests are in a log of {self.log.read} events)"


def _reasons(rows: list[Beside]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in reasons_of(rows).items())
