"""`k8strace audit`: kube-apiserver's own measurements beside the spans, and what each user costs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from k8strace.cli.exits import NotFoundError
from k8strace.cli.inputs import check_columns, joined, selected
from k8strace.cli.options import (
    Commands,
    add_by,
    add_command,
    add_files,
    add_joining,
    add_reading,
    add_selecting,
    add_showing,
    add_top,
)
from k8strace.cli.outputs import look_of, write_json, write_text
from k8strace.words import count

if TYPE_CHECKING:
    from k8strace.audit import Audit

__all__ = ["add_audit"]


def add_audit(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "audit",
        _audit,
        "the audit log beside the spans: kube-apiserver's own measurements, and what each user costs",
        "  k8strace audit traces.otlp.zst audit.log\n"
        "  k8strace audit traces.otlp.zst 'audit-*.log.gz' --by user,verb --json | jq .cost\n",
    )
    add_files(command)
    command.add_argument(
        "audit_log",
        metavar="AUDIT_LOG",
        help="JSON lines or EventList, plain, gzip or zstd; path or quoted pattern",
    )
    add_by(command, "user,namespace", "columns to sum costs by: user, and those of report")
    add_top(command, "rows of costs")
    add_selecting(command)
    add_reading(command)
    add_joining(command)
    add_showing(command)


def _audit(asked: argparse.Namespace) -> None:
    from k8strace import Audit

    requests = joined(asked)
    # conditions may be about the user, which only the log has
    audit = Audit(requests, asked.audit_log)
    if len(requests) and not audit.found:
        raise NotFoundError(_why_none(audit))
    chosen = selected(audit.requests, asked)
    check_columns(audit.requests, asked.by)
    table, cost = audit.table_of(chosen), chosen.cost(*asked.by)
    if asked.json:
        from k8strace.views.audit import audit_record

        return write_json([audit_record(audit, table, cost)])
    from k8strace.views.audit import audit_lines

    look = look_of(asked)
    return write_text(audit_lines(audit, table, cost, asked.by, look, asked.top or None), look)


def _why_none(audit: Audit) -> str:
    """Why no request was found in the log."""
    events, damaged = audit.log.read, audit.log.damaged
    if not events:
        places = f", and {count(damaged, 'place')} that cannot be read" if damaged else ""
        return f"there is no event of an audit log in it{places}: expected JSON lines or EventList of audit.k8s.io"
    if not any(audit.requests.column("audit_id")):
        return "these spans have no audit id: Kubernetes sends it from 1.26 on"
    return (
        f"none of {count(len(audit.requests), 'request')} is in the log, which has {count(events, 'event')}:"
        " are both of the same time and cluster?"
    )
