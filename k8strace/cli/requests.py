"""`k8strace requests`: the requests, one a line."""

from __future__ import annotations

import argparse
from typing import Final

from k8strace import attribute
from k8strace.cli.inputs import joined, selected
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

__all__ = ["add_requests"]

TABLE_ROWS: Final = 50
"""Rows of the table, by default."""


def add_requests(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "requests",
        _requests,
        "the requests, one a line",
        "  k8strace requests traces.json --where namespace=shop --where http_status=5*\n"
        "  k8strace requests traces.json --json > requests.jsonl\n",
    )
    add_files(command)
    command.add_argument(
        "--slowest",
        type=from_zero,
        metavar="N",
        help="only the N slowest requests, slowest first, without long-running ones",
    )
    command.add_argument(
        "--limit",
        type=from_zero,
        metavar="N",
        help=f"at most N requests; 0 for all (default: {TABLE_ROWS} in the table, all with --json)",
    )
    add_selecting(command)
    add_reading(command)
    add_joining(command)
    add_showing(command)


def _requests(asked: argparse.Namespace) -> None:
    from k8strace.views.facts import longest

    chosen = selected(joined(asked), asked)
    by_duration = asked.slowest is not None or not asked.json
    listed = longest(chosen, asked.slowest) if by_duration else chosen
    if asked.json:
        from k8strace.views.records import request_records

        return write_json(request_records(attribute(listed[: asked.limit or None], method=asked.method)))
    attribution = attribute(listed, method=asked.method)
    from k8strace.views.report import requests_lines

    look = look_of(asked)
    limit = TABLE_ROWS if asked.limit is None else asked.limit or None
    return write_text(requests_lines(attribution, chosen, look, limit), look)
