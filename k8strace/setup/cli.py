"""`k8strace setup render | check | probe`: arguments in, files and words out."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k8strace.setup.cli_probe import add_probe
from k8strace.setup.settings import DEFAULT_RATE, TARGETS
from k8strace.setup.talking import FOUND, OK, add_command, count, positive, say, say_json, text_of, token_of

if TYPE_CHECKING:
    from k8strace.setup.check import Report
    from k8strace.setup.findings import Finding
    from k8strace.setup.settings import Settings

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds `setup` with its three commands. Each sets `run`, a function of the arguments that returns the exit code."""
    parser = commands.add_parser(
        "setup",
        help="switch tracing on: write what is needed, check what is there, probe a cluster",
        description="Switches tracing on in kube-apiserver and etcd. Never changes a node or a file it was not given.",
    )
    kinds = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_render(kinds)
    _add_check(kinds)
    add_probe(kinds)


# ── render ────────────────────────────────────────────────────────────────────────────────────────


def _add_render(kinds: Any) -> None:
    command = add_command(
        kinds,
        "render",
        _render,
        "write the files that switch tracing on for exactly these versions",
        "  k8strace setup render --k8s 1.33 --etcd 3.5.24 --target kubeadm --out tracing\n"
        "  k8strace setup render --k8s 1.31 --etcd 3.5.15 --target static-pod --from kube-apiserver.yaml \\\n"
        "    --from etcd.yaml --member cp-1 --out tracing\n",
    )
    command.add_argument("--k8s", required=True, metavar="VERSION", help="such as 1.33 or 1.33.4")
    command.add_argument(
        "--etcd", required=True, metavar="VERSION", help="such as 3.5.24 or 3.6: see the tag of etcd's image"
    )
    command.add_argument("--target", required=True, choices=TARGETS, help="how the control plane is run")
    command.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder to write to; made if missing"
    )
    command.add_argument("--force", action="store_true", help="replace files that are in it")
    command.add_argument(
        "--endpoint",
        metavar="HOST:PORT",
        help="the receiver, as the control plane sees it (default by target)",
    )
    command.add_argument(
        "--rate", type=int, default=DEFAULT_RATE, metavar="N", help="of a million requests (default 1000)"
    )
    command.add_argument(
        "--requests-per-second",
        type=positive,
        metavar="N",
        help="API requests a second, to work out spans a second",
    )
    command.add_argument(
        "--member",
        action="append",
        default=[],
        metavar="NAME",
        help="an etcd member, its instance id; repeat for more",
    )
    command.add_argument(
        "--from",
        action="append",
        default=[],
        dest="own",
        type=Path,
        metavar="FILE",
        help="a static pod or ClusterConfiguration of yours, to put tracing into a copy of it",
    )
    command.add_argument("--compression", choices=("gzip",), help="compress what is sent")
    token = command.add_mutually_exclusive_group()
    token.add_argument("--bearer-token-file", type=Path, metavar="FILE", help="a token for the receiver")
    token.add_argument("--bearer-token-env", metavar="NAME", help="the same, from an environment variable")


def _render(asked: argparse.Namespace) -> int:
    from k8strace.setup.folder import write
    from k8strace.setup.pages import forecast
    from k8strace.setup.render import Own, render

    wanted = _settings(asked)
    own = tuple(Own(str(path), text_of(path)) for path in asked.own)
    files = render(wanted, own)
    written = write(asked.out, files, force=asked.force)
    for path, file in zip(written, files.values(), strict=True):
        say([f"{path}   {file.what}"])
    say(
        [
            *forecast(wanted),
            f"Read {asked.out / 'README.md'} next: the order to apply, how to check, how to undo.",
        ]
    )
    return OK


def _settings(asked: argparse.Namespace) -> Settings:
    from k8strace.setup.settings import settings

    return settings(
        k8s=asked.k8s,
        etcd=asked.etcd,
        target=asked.target,
        endpoint=asked.endpoint,
        rate=asked.rate,
        members=asked.member,
        compression=asked.compression,
        token=token_of(asked.bearer_token_file, asked.bearer_token_env),
        requests_per_second=asked.requests_per_second,
    )


# ── check ─────────────────────────────────────────────────────────────────────────────────────────


def _add_check(kinds: Any) -> None:
    command = add_command(
        kinds,
        "check",
        _check,
        "find the known traps in manifests and configurations",
        "  k8strace setup check /etc/kubernetes/manifests /etc/kubernetes/tracing\n"
        "  k8strace setup check --k8s 1.33 --etcd 3.5.24 cluster-configuration.yaml tracing/config.yaml --json\n",
    )
    command.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="YAML file, or folder of them; all are judged together",
    )
    command.add_argument("--k8s", metavar="VERSION", help="Kubernetes version (default: as the files say)")
    command.add_argument("--etcd", metavar="VERSION", help="etcd version (default: as the image's tag says)")
    command.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    command.add_argument("--json", action="store_true", help="for programs")


def _check(asked: argparse.Namespace) -> int:
    from k8strace.setup.check import check_paths

    report = check_paths(asked.files, k8s=asked.k8s, etcd=asked.etcd)
    if asked.json:
        say_json(_report_record(report))
    else:
        say(_report_lines(report))
    return FOUND if report.errors or (asked.strict and report.findings) else OK


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
