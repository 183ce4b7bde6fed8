"""`k8strace compare`: what changed between two recordings."""

from __future__ import annotations

import argparse
import sys
from decimal import Decimal, InvalidOperation

from k8strace import attribute
from k8strace.attribution import Attribution
from k8strace.cli.exits import UsageError
from k8strace.cli.inputs import check_columns, joined, selected
from k8strace.cli.numbers import names
from k8strace.cli.options import (
    Commands,
    add_by,
    add_command,
    add_joining,
    add_reading,
    add_selecting,
    add_showing,
)
from k8strace.cli.outputs import look_of, write_json, write_text
from k8strace.cli.pages import add_page
from k8strace.statistics.population import LOAD

__all__ = ["add_compare"]


def add_compare(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "compare",
        _compare,
        "what changed from one recording to another, in parts that sum, with their errors",
        "  k8strace compare before.otlp.zst after.otlp.zst\n"
        "  k8strace compare before.json after.json --where verb=list --where resource=pods --at mean,0.9\n"
        "  k8strace compare before.json after.json --markdown > comment.md\n",
    )
    command.add_argument("before", metavar="BEFORE", help="path or quoted pattern, or - for standard input")
    command.add_argument("after", metavar="AFTER", help="likewise")
    add_by(
        command,
        "verb,resource",
        "requests with equal values are compared with each other, the rest is mix; "
        f"{LOAD} is the number of open requests",
    )
    command.add_argument(
        "--at",
        default="mean,0.5,0.99",
        metavar="STATISTICS",
        help="mean, and quantiles of the wall time (default mean,0.5,0.99)",
    )
    command.add_argument("--markdown", action="store_true", help="for a comment on a pull request")
    add_page(command)
    add_selecting(command)
    add_reading(command)
    add_joining(command)
    add_showing(command)


def _compare(asked: argparse.Namespace) -> None:
    from k8strace import compare
    from k8strace.views.comparison import comparison_lines, comparison_markdown

    if asked.before == asked.after == "-":
        raise UsageError("standard input (-) can be read only once")
    at = _statistics(asked.at)
    before, after = _side(asked, asked.before), _side(asked, asked.after)
    check_columns(before.requests, [column for column in asked.by if column != LOAD])
    try:
        comparison = compare(before, after, by=asked.by, at=at)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if asked.html:
        comparison.to_html(asked.html, redact=asked.redact, max_mb=asked.max_mb)
        return None
    if asked.json:
        return write_json([comparison.record()])
    if asked.markdown:
        sys.stdout.write(comparison_markdown(comparison))
        return None
    look = look_of(asked)
    return write_text(comparison_lines(comparison, look), look)


def _side(asked: argparse.Namespace, name: str) -> Attribution:
    asked.files = [name]
    return attribute(selected(joined(asked), asked), method=asked.method)


def _statistics(text: str) -> list[str | float]:
    return [_statistic(each) for each in names(text)]


def _statistic(text: str) -> str | float:
    """Mean, a quantile such as 0.99, or the same as p99."""
    try:
        value = float(Decimal(text[1:]) / 100) if text.startswith("p") else float(text)
    except (ValueError, InvalidOperation):
        value = 0.0
    if text == "mean":
        return text
    if not 0 < value <= 1:
        raise UsageError(f"expected mean, or quantiles such as 0.99, got {text!r}")
    return value
