"""`k8strace setup check`: finds known traps in manifests and configurations."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k8strace.cli.exits import FAILED, OK
from k8strace.cli.options import Commands, add_command
from k8strace.cli.outputs import say, write_json
from k8strace.cli.setup.given import CODES, telling

if TYPE_CHECKING:
    from k8strace.setup.check import Report
    from k8strace.setup.findings import Finding

__all__ = ["add_check"]


def add_check(kinds: Commands) -> None:
    """Adds the command."""
    command = add_command(
        kinds,
        "check",
        telling(_check),
        "find known traps in manifests and configurations",
        "  k8strace setup check /etc/kubernetes/manifests /etc/kubernetes/tracing\n"
        "  k8strace setup check --k8s 1.33 --etcd 3.5.24 cluster-configuration.yaml tracing/config.yaml --json\n",
        CODES,
    )
    command.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="YAML file, or folder of them; all are checked together",
    )
    command.add_argument("--k8s", metavar="VERSION", help="Kubernetes version (default: as in the files)")
    command.add_argument("--etcd", metavar="VERSION", help="etcd version (default: as in the image's tag)")
    command.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    command.add_argument("--json", action="store_true", help="for programs")


def _check(asked: argparse.Namespace) -> int:
    from k8strace.setup.check import check_paths

    report = check_paths(asked.files, k8s=asked.k8s, etcd=asked.etcd)
    if asked.json:
        write_json([_report_record(report)])
    else:
        say(_report_lines(report))
    return FAILED if report.errors or (asked.strict and report.findings) else OK


def _report_record(report: Report) -> dict[str, Any]:
    return {
        "findings": [_finding_record(finding) for finding in report.findings],
        "recognised": [{"file": r.file, "line": r.line, "what": r.what} for r in report.recognised],
        "notes": list(report.notes),
        "errors": report.errors,
        "warnings": len(report.findings) - report.errors,
    }


def _finding_record(finding: Finding) -> dict[str, Any]:
    keys = ("file", "line", "severity", "code", "problem", "advice")
    return {key: getattr(finding, key) for key in keys}


def _report_lines(report: Report) -> Iterable[str]:
    from k8strace.views.text import count

    for each in report.recognised:
        yield f"{each.file}:{each.line}: {each.what}"
    for finding in report.findings:
        yield ""
        yield f"{finding.file}:{finding.line}: {finding.severity} [{finding.code}] {finding.problem}"
        yield f"    {finding.advice}"
    yield ""
    for note in report.notes:
        yield f"note: {note}"
    warnings = len(report.findings) - report.errors
    yield (
        f"{count(report.errors, 'error')}, {count(warnings, 'warning')}"
        if report.findings
        else "nothing found"
    )
