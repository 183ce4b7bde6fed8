"""`k8strace report`: where the time went, and what is wrong with the data."""

from __future__ import annotations

import argparse

from k8strace import attribute
from k8strace.cli.inputs import check_columns, joined, selected
from k8strace.cli.numbers import from_zero
from k8strace.cli.options import (
    Commands,
    add_command,
    add_files,
    add_joining,
    add_reading,
    add_selecting,
    add_showing,
)
from k8strace.cli.outputs import look_of, write_json, write_text

__all__ = ["add_report"]


def add_report(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "report",
        _report,
        "where the time went, and what is wrong with the data",
        "  k8strace report traces.json\n"
        "  k8strace report 'day-*.otlp.zst' --by user_agent --slowest 10\n"
        "  k8strace report traces.json --where verb=list --where resource=pods\n"
        "  zcat traces.json.gz | k8strace report - --json | jq .ledger\n",
    )
    add_files(command)
    command.add_argument(
        "--slowest",
        type=from_zero,
        default=3,
        metavar="N",
        help="call trees of the N slowest requests (default 3)",
    )
    command.add_argument(
        "--by",
        default="verb,resource",
        metavar="COLUMNS",
        help="what the table groups by (default verb,resource)",
    )
    command.add_argument(
        "--top", type=from_zero, default=12, metavar="N", help="rows of the table; 0 for all (default 12)"
    )
    add_selecting(command)
    add_reading(command)
    add_joining(command)
    add_showing(command)


def _report(asked: argparse.Namespace) -> None:
    requests = joined(asked)
    by = tuple(column.strip() for column in asked.by.split(",") if column.strip())
    check_columns(by)
    attribution = attribute(selected(requests, asked.where), method=asked.method)
    if asked.json:
        from k8strace.views.records import report_record

        return write_json([report_record(attribution, requests, by, asked.slowest)])
    from k8strace.views.report import Wanted, report_lines

    look = look_of(asked)
    wanted = Wanted(by=by, top=asked.top or None, slowest=asked.slowest)
    return write_text(report_lines(attribution, requests, look, wanted), look)
