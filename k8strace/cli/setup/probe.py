"""`k8strace setup probe`: its arguments, and its result as text or JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from k8strace.cli.exits import FAILED, OK, complain
from k8strace.cli.numbers import positive
from k8strace.cli.options import Commands, add_command
from k8strace.cli.outputs import say, write_json
from k8strace.cli.setup.given import CODES, add_caller, caller_of, telling
from k8strace.setup.versions import SetupError

if TYPE_CHECKING:
    from k8strace.setup.probe import Outcome

__all__ = ["add_probe"]

TERMINAL: Final = 79
"""Width of a line of progress."""


def add_probe(kinds: Commands) -> None:
    """Adds the command."""
    command = add_command(
        kinds,
        "probe",
        telling(_probe),
        "send one sampled request and show where its time went, or why no spans came",
        "  k8strace setup probe --server https://10.0.0.1:6443 --ca-file ca.crt --token-file token\n"
        "  k8strace setup probe --server https://10.0.0.1:6443 --ca-file ca.crt --client-cert admin.crt \\\n"
        "    --client-key admin.key --store traces.json\n",
        CODES,
    )
    command.add_argument("--server", required=True, metavar="URL", help="kube-apiserver: https://host:port")
    command.add_argument(
        "--path", default="/api/v1/namespaces/default", help="what to GET (default a namespace)"
    )
    add_caller(command)
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
        "--timeout",
        type=positive,
        default=60.0,
        metavar="SECONDS",
        help="wait at most this long (default 60)",
    )
    command.add_argument("--k8s", metavar="VERSION", help="Kubernetes version (default: as the server says)")
    command.add_argument("--etcd", metavar="VERSION", help="etcd version, for the causes")
    command.add_argument("--json", action="store_true", help="for programs; durations in integer ns")


def _probe(asked: argparse.Namespace) -> int:
    from k8strace.setup import versions
    from k8strace.setup.asking import ask, groups_of, version_of
    from k8strace.setup.causes import Circumstances, Reason, causes
    from k8strace.setup.collecting import Receiver, Store
    from k8strace.setup.probe import Pace, probe

    etcd = versions.etcd(asked.etcd) if asked.etcd else None
    given = versions.kubernetes(asked.k8s) if asked.k8s else None
    to = caller_of(asked)
    with Store(asked.store) if asked.store else Receiver(asked.listen) as source:
        _warn_of(asked)
        version = version_of(to)
        with Progress(sys.stderr) as progress:
            outcome = probe(
                source,
                lambda counts: ask(to, asked.path, counts=counts),
                pace=Pace(timeout=asked.timeout),
                progress=progress.say,
            )
    answer = outcome.answer
    where = f"the receiver that writes {asked.store}" if asked.store else asked.listen
    seen = Circumstances(
        answer.status, given or _known(version), etcd, where, outcome.waited, groups_of(to), outcome.etcd_seen
    )
    likely = causes(outcome.reason, seen)
    facts = {"status": answer.status, "version": version, "trace_id": answer.trace_id, "where": where}
    (_show_json if asked.json else _show)(outcome, likely, facts)
    return OK if outcome.reason is Reason.FOUND else FAILED


def _warn_of(asked: argparse.Namespace) -> None:
    """Warns if other machines can reach the receiver."""
    if not asked.store and asked.listen.rpartition(":")[0] not in ("127.0.0.1", "localhost", "[::1]"):
        complain(f"note: anyone who reaches {asked.listen} can send spans to it while the probe waits")


def _known(version: str | None) -> Any:
    from k8strace.setup import versions

    try:
        return versions.kubernetes(version) if version else None
    except SetupError:
        return None


def _show(outcome: Outcome, likely: list[str], facts: dict[str, Any]) -> None:
    from k8strace.views.text import count

    say(
        [
            (
                f"kube-apiserver {facts['version'] or '(version unknown)'} answered {facts['status']}; "
                f"{count(outcome.spans, 'span')} came to {facts['where']} in {outcome.waited:.0f} s"
            ),
            f"{outcome.reason.value}{'' if outcome.requests is None else _how(outcome, facts)}",
        ]
    )
    if likely:
        say(["likely causes, likeliest first:", *(f"  {n}. {cause}" for n, cause in enumerate(likely, 1))])
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
    write_json([record])


class Progress:
    """One line that is updated at a terminal; otherwise a line whenever the text changes, without the times."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._terminal, self._said = stream, stream.isatty(), ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._said:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def say(self, words: str) -> None:
        """Shows what the probe is waiting for, and in parentheses how long."""
        said = words if self._terminal else words.partition(" (")[0]
        if said == self._said:
            return
        self._said = said
        self._stream.write(f"\r\x1b[K{said[:TERMINAL]}" if self._terminal else f"k8strace: {said}\n")
        self._stream.flush()
