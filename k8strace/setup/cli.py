"""`k8strace setup render | check | probe`: arguments in, files and words out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from k8strace.setup.settings import DEFAULT_RATE, TARGETS
from k8strace.setup.versions import SetupError

if TYPE_CHECKING:
    from k8strace.setup.check import Report
    from k8strace.setup.findings import Finding
    from k8strace.setup.probe import Outcome
    from k8strace.setup.settings import Settings

__all__ = ["add_commands"]

OK: Final = 0
FOUND: Final = 1
USAGE: Final = 2

_EXIT: Final = """\
exit codes:
  0    done; check: no error, probe: the trace came whole
  1    check: errors, probe: something is missing or not reachable
  2    wrong usage
"""


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
    _add_probe(kinds)


def _command(
    kinds: Any, name: str, run: Callable[[argparse.Namespace], int], does: str, examples: str
) -> Any:
    command = kinds.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog=f"examples:\n{examples}\n{_EXIT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=_guarded(run))
    return command


def _guarded(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Wrong values of options are wrong usage; everything else is for the caller."""

    def guarded(asked: argparse.Namespace) -> int:
        from k8strace.setup.asking import UnreachableError

        try:
            return run(asked)
        except SetupError as error:
            _complain(str(error))
            return FOUND if isinstance(error, UnreachableError) else USAGE

    return guarded


def _complain(message: str) -> None:
    from k8strace.views.text import clean

    sys.stderr.write(f"k8strace: {clean(message, 2000)}\n")


def _say(lines: Iterable[str]) -> None:
    from k8strace.views.text import clean

    sys.stdout.writelines(clean(line, 4000) + "\n" for line in lines)


def _say_json(record: Any) -> None:
    sys.stdout.write(json.dumps(record) + "\n")


# ── render ────────────────────────────────────────────────────────────────────────────────────────


def _add_render(kinds: Any) -> None:
    command = _command(
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
        type=_positive,
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


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _render(asked: argparse.Namespace) -> int:
    from k8strace.setup.folder import write
    from k8strace.setup.pages import forecast
    from k8strace.setup.render import Own, render

    wanted = _settings(asked)
    own = tuple(Own(str(path), _text(path)) for path in asked.own)
    files = render(wanted, own)
    written = write(asked.out, files, force=asked.force)
    for path, file in zip(written, files.values(), strict=True):
        _say([f"{path}   {file.what}"])
    _say(
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
        token=_token(asked.bearer_token_file, asked.bearer_token_env),
        requests_per_second=asked.requests_per_second,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SetupError(f"{path}: not UTF-8 text") from None


def _token(file: Path | None, variable: str | None) -> str | None:
    """A secret from a file or the environment; it is never shown."""
    if file is not None:
        found = _text(file).strip()
    elif variable is not None:
        found = os.environ.get(variable, "").strip()
    else:
        return None
    if not found:
        raise SetupError(f"{file or variable}: there is no token in it")
    return found


# ── check ─────────────────────────────────────────────────────────────────────────────────────────


def _add_check(kinds: Any) -> None:
    command = _command(
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
        _say_json(_report_record(report))
    else:
        _say(_report_lines(report))
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
        f"{_count(report.errors, 'error')}, {_count(warnings, 'warning')}"
        if report.findings
        else "nothing found"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


# ── probe ─────────────────────────────────────────────────────────────────────────────────────────


def _add_probe(kinds: Any) -> None:
    command = _command(
        kinds,
        "probe",
        _probe,
        "send one sampled request and show where its time went, or why nothing came",
        "  k8strace setup probe --server https://10.0.0.1:6443 --ca-file ca.crt --token-file token\n"
        "  k8strace setup probe --server https://10.0.0.1:6443 --ca-file ca.crt --client-cert admin.crt \\\n"
        "    --client-key admin.key --store traces.json\n",
    )
    command.add_argument("--server", required=True, metavar="URL", help="kube-apiserver: https://host:port")
    command.add_argument(
        "--path", default="/api/v1/namespaces/default", help="what to GET (default a namespace)"
    )
    token = command.add_mutually_exclusive_group()
    token.add_argument("--token-file", type=Path, metavar="FILE", help="bearer token of the caller")
    token.add_argument("--token-env", metavar="NAME", help="the same, from an environment variable")
    command.add_argument("--ca-file", type=Path, metavar="FILE", help="the cluster's certificate authority")
    command.add_argument("--client-cert", type=Path, metavar="FILE", help="certificate of the caller")
    command.add_argument("--client-key", type=Path, metavar="FILE", help="its key")
    command.add_argument("--insecure-skip-tls-verify", action="store_true", help="trust whoever answers")
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--listen",
        default="127.0.0.1:4317",
        metavar="HOST:PORT",
        help="open a receiver here (default 127.0.0.1:4317)",
    )
    where.add_argument(
        "--store", type=Path, metavar="FILE", help="read the recording that another receiver writes"
    )
    command.add_argument(
        "--timeout", type=_positive, default=30.0, metavar="SECONDS", help="wait so long (default 30)"
    )
    command.add_argument("--k8s", metavar="VERSION", help="Kubernetes version (default: as the server says)")
    command.add_argument("--etcd", metavar="VERSION", help="etcd version, for the causes")
    command.add_argument("--json", action="store_true", help="for programs; durations in integer ns")


def _probe(asked: argparse.Namespace) -> int:
    from k8strace.setup import versions
    from k8strace.setup.asking import ask, server, version_of
    from k8strace.setup.causes import Circumstances, Reason, causes
    from k8strace.setup.collecting import Receiver, Store
    from k8strace.setup.probe import wait

    etcd = versions.etcd(asked.etcd) if asked.etcd else None
    given = versions.kubernetes(asked.k8s) if asked.k8s else None
    to = server(
        asked.server,
        token=_token(asked.token_file, asked.token_env),
        ca_file=asked.ca_file,
        client_cert=asked.client_cert,
        client_key=asked.client_key,
        verify=not asked.insecure_skip_tls_verify,
    )
    with Store(asked.store) if asked.store else Receiver(asked.listen) as source:
        answer = ask(to, asked.path)
        version = version_of(to)
        outcome = wait(source, answer, timeout=asked.timeout)
    kubernetes = given or _known(version)
    where = str(asked.store or asked.listen)
    seen = Circumstances(answer.status, kubernetes, etcd, where, outcome.waited)
    likely = causes(outcome.reason, seen)
    facts = {"status": answer.status, "version": version, "trace_id": answer.trace_id, "where": where}
    (_show_json if asked.json else _show)(outcome, likely, facts)
    return OK if outcome.reason is Reason.FOUND else FOUND


def _known(version: str | None) -> Any:
    from k8strace.setup import versions

    try:
        return versions.kubernetes(version) if version else None
    except SetupError:
        return None


def _show(outcome: Outcome, likely: list[str], facts: dict[str, Any]) -> None:
    _say(
        [
            (
                f"kube-apiserver {facts['version'] or '(version not told)'} answered {facts['status']}; "
                f"{_count(outcome.spans, 'span')} came to {facts['where']} in {outcome.waited:.0f} s"
            ),
            f"{outcome.reason.value}{'' if outcome.requests is None else _how(outcome, facts)}",
        ]
    )
    if likely:
        _say(["likely causes, likeliest first:", *(f"  {n}. {cause}" for n, cause in enumerate(likely, 1))])
    if outcome.requests is not None:
        from k8strace import attribute
        from k8strace.views.branches import tree_lines
        from k8strace.views.text import Look, render

        sys.stdout.write("\n" + render(tree_lines(attribute(outcome.requests), Look(), 200), Look()))


def _how(outcome: Outcome, facts: dict[str, Any]) -> str:
    if outcome.obeyed:
        return f"; the traceparent was obeyed: trace {facts['trace_id']}"
    return "; found by its user agent, as the traceparent was not obeyed"


def _show_json(outcome: Outcome, likely: list[str], facts: dict[str, Any]) -> None:
    record: dict[str, Any] = {
        **facts,
        "reason": outcome.reason.code,
        "obeyed": outcome.obeyed,
        "spans": outcome.spans,
        "causes": likely,
        "trace": None,
    }
    if outcome.requests is not None:
        from k8strace import attribute
        from k8strace.views.records import tree_record

        record["trace"] = tree_record(attribute(outcome.requests))
    _say_json(record)
