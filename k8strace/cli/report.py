"""`k8strace report`: where the time went, and what is wrong with the data."""

from __future__ import annotations

import argparse
from typing import Any

from k8strace import Attribution, Audit, SamplingError, attribute, read_client_times
from k8strace.cli.exits import UsageError
from k8strace.cli.inputs import check_columns, joined, selected
from k8strace.cli.numbers import from_zero
from k8strace.cli.options import (
    Commands,
    add_by,
    add_command,
    add_joining,
    add_quantiles,
    add_reading,
    add_selecting,
    add_showing,
    add_sources,
    add_top,
)
from k8strace.cli.outputs import look_of, write_json, write_text
from k8strace.cli.pages import add_page, write_page

__all__ = ["add_report"]


def add_report(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "report",
        _report,
        "where the time went, and what is wrong with the data",
        "  k8strace report traces.json\n"
        "  k8strace report 'day-*.otlp.zst' --by client --sort errors\n"
        "  k8strace report traces.json --by 10s --since 14:05 --until 14:10\n"
        "  k8strace report traces.json --where verb=list --where resource=pods\n"
        "  k8strace report traces.json --audit audit.log --by user\n"
        "  k8strace report traces.json --html report.html\n"
        "  zcat traces.json.gz | k8strace report - --json | jq .ledger\n",
    )
    add_sources(command)
    command.add_argument(
        "--slowest",
        type=from_zero,
        default=3,
        metavar="N",
        help="call trees of the N slowest requests (default 3)",
    )
    add_by(
        command,
        "verb,resource",
        "groups of the table: columns of requests, status, client, webhook, cached, hour, 10s, resource.KEY",
    )
    command.add_argument(
        "--sort",
        choices=("total", "count", "errors", "p99"),
        help="order of the table, largest first (default total; steps of time come in their order)",
    )
    add_quantiles(command)
    command.add_argument("--phases", action="store_true", help="phases of each group's time")
    command.add_argument(
        "--verbose",
        action="store_true",
        help="all findings, everything that was read, and what became of every span",
    )
    add_top(command)
    command.add_argument(
        "--estimate-totals",
        nargs="?",
        type=float,
        const=None,
        default=False,
        metavar="RATE",
        help="totals of all requests, of which these were sampled; without a RATE (such as 0.01) it is inferred from "
        "tracestate or trace ids",
    )
    _add_beside(command)
    add_page(command)
    add_selecting(command)
    add_reading(command)
    add_joining(command)
    add_showing(command)


def _add_beside(command: argparse.ArgumentParser) -> None:
    """Other sources about the same requests."""
    group = command.add_argument_group("beside the spans")
    group.add_argument(
        "--audit",
        metavar="FILE",
        help="kube-apiserver's audit log of the same time: findings about both, and the column user",
    )
    group.add_argument(
        "--client-times",
        metavar="FILE",
        help="clients' own times, JSON lines with audit_id and wall_ns: findings about time outside of spans",
    )


def _report(asked: argparse.Namespace) -> None:
    requests = joined(asked)
    if asked.html and (asked.audit or asked.client_times):
        raise UsageError("--audit and --client-times are for the report in text and --json, not for --html")
    if asked.audit:
        requests = Audit(requests, asked.audit).requests
    check_columns(requests, asked.by)
    attribution = attribute(selected(requests, asked), method=asked.method)
    if asked.html:
        return write_page(attribution.requests, asked)
    from k8strace.views.breakdown import Wanted

    wanted = Wanted(
        by=asked.by,
        top=asked.top or None,
        slowest=asked.slowest,
        quantiles=asked.quantiles,
        sort=asked.sort,
        phases=asked.phases,
        verbose=asked.verbose,
        client_times=read_client_times(asked.client_times) if asked.client_times else (),
        audit=asked.audit,
    )
    if asked.json:
        from k8strace.views.records import report_record

        return write_json([{**report_record(attribution, requests, wanted), **_totals(attribution, asked)}])
    from k8strace.views.report import report_lines

    look = look_of(asked)
    lines = report_lines(attribution, requests, look, wanted)
    if totals := _totals(attribution, asked):
        from k8strace.views.estimates import estimate_lines

        lines += estimate_lines(totals["estimated_totals"], look)
    return write_text(lines, look)


def _totals(attribution: Attribution, asked: argparse.Namespace) -> dict[str, Any]:
    """The estimated totals, or why there are none."""
    if asked.estimate_totals is False:
        return {}
    try:
        rows = list(attribution.requests.estimate_totals(asked.estimate_totals))
    except SamplingError as error:
        return {"estimated_totals": {"why_not": str(error)}}
    return {"estimated_totals": {"rate": rows[0]["rate"], "rows": rows}}
