"""`k8strace tree`: the call trees of one trace."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from typing import Final

from k8strace import Requests, Syncs, attribute, pods
from k8strace.cli.exits import NotFoundError, UsageError
from k8strace.cli.inputs import joined
from k8strace.cli.numbers import from_zero
from k8strace.cli.options import (
    Commands,
    add_command,
    add_files,
    add_joining,
    add_method,
    add_reading,
    add_showing,
)
from k8strace.cli.outputs import look_of, write_json, write_text

__all__ = ["add_tree"]

MOST_MATCHES: Final = 20
"""Traces that are listed if the beginning of an id fits several, at most."""


def add_tree(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "tree",
        _tree,
        "the call trees of one trace: API requests, and syncs of pods",
        "  k8strace tree traces.json 599a76870dde648108fa12196d7b16ba\n"
        "  k8strace tree traces.json 599a7 --json\n",
    )
    add_files(command)
    command.add_argument("trace_id", metavar="TRACE_ID", help="in hex, or the beginning of it")
    command.add_argument(
        "--limit",
        type=from_zero,
        default=500,
        metavar="N",
        help="spans of each tree; 0 for all (default 500)",
    )
    add_method(command)
    add_reading(command)
    add_joining(command)
    add_showing(command)


def _tree(asked: argparse.Namespace) -> None:
    if not re.fullmatch("[0-9a-fA-F]{1,32}", asked.trace_id):
        raise UsageError(f"expected a trace id of up to 32 hex digits, got {asked.trace_id!r}")
    requests, syncs = _of_trace(joined(asked), asked.trace_id.lower())
    attribution = attribute(requests, method=asked.method)
    if asked.json:
        from k8strace.views.records import tree_record

        return write_json([tree_record(attribution, syncs)])
    from k8strace.views.branches import tree_lines

    look = look_of(asked)
    limit = asked.limit or None
    if not syncs:
        return write_text(tree_lines(attribution, look, limit), look)
    from k8strace.views.pods import sync_lines

    return write_text([*tree_lines(attribution, look, limit), *sync_lines(syncs, look, limit)], look)


def _of_trace(requests: Requests, prefix: str) -> tuple[Requests, Syncs]:
    found, syncs = requests.find(prefix), pods(requests).syncs.find(prefix)
    traces = list(dict.fromkeys([*found.column("trace_id"), *syncs.column("trace_id")]))
    if not traces:
        raise NotFoundError(_why_no_request(requests, prefix))
    if len(traces) > 1:
        shown = ", ".join(traces[:MOST_MATCHES]) + (", …" if len(traces) > MOST_MATCHES else "")
        raise NotFoundError(f"{len(traces):,} traces with requests begin with {prefix}: {shown}")
    return found, syncs


def _why_no_request(requests: Requests, prefix: str) -> str:
    from k8strace.views.facts import roles_in_trace

    roles: Counter[str] = roles_in_trace(requests, prefix)
    if not roles:
        return f"no trace begins with {prefix}"
    told = ", ".join(f"{role} {number_of:,}" for role, number_of in roles.most_common())
    return (
        f"the traces that begin with {prefix} have no API request and no sync of a pod; their spans: {told}"
    )
