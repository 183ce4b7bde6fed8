"""What the audit log adds: requests without a span, and measurements that differ for no known reason."""

from __future__ import annotations

from collections.abc import Iterator

from k8strace.audit import Audit
from k8strace.findings.finding import Finding
from k8strace.words import count

__all__ = ["audited"]

LEAST_DIFFERENT = 0.1
"""Reported if a larger share of an annotation's requests differs for no known reason."""


def audited(audit: Audit) -> Iterator[Finding]:
    """Findings about the log and the spans together."""
    start, end = audit.requests.joined.recorded
    missing, total = audit.log.without_spans, audit.log.without_spans + audit.found
    if missing:
        yield Finding(
            code="audit_not_traced",
            severity="info",
            sentence=f"{missing:,} of the audit log's {count(total, 'request')} have no span.",
            fix="Check that both cover the same time, then the sampling rate and the counters of lost spans.",
            requests=missing,
            ns=0,
            share=0.0,
            start_unix_nano=start,
            end_unix_nano=end,
            evidence={"in_log": total, "without_spans": missing},
        )
    for row in audit.table:
        unexplained = dict(each.rsplit(" ", 1) for each in row["reasons"].split(", ") if each).get(
            "unexplained", "0"
        )
        if int(unexplained) > LEAST_DIFFERENT * row["requests"]:
            yield Finding(
                code="audit_differs",
                severity="info",
                sentence=f"{row['annotation']} differs from the spans in {unexplained} of "
                f"{count(row['requests'], 'request')}, for no known reason.",
                fix="Look at some of them: k8strace audit --json has the figures.",
                requests=int(unexplained),
                ns=abs(row["ours_ns"] - row["theirs_ns"]),
                share=0.0,
                start_unix_nano=start,
                end_unix_nano=end,
                evidence={"ours_ns": row["ours_ns"], "theirs_ns": row["theirs_ns"]},
            )
