"""`k8strace whatif`: how long requests would take after a change to some of their parts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from k8strace import ConditionError, attribute
from k8strace.cli.exits import UsageError
from k8strace.cli.inputs import check_columns, conditions, fitting, joined, selected
from k8strace.cli.numbers import condition, names, time_ns
from k8strace.cli.options import (
    Commands,
    add_by,
    add_command,
    add_files,
    add_joining,
    add_reading,
    add_showing,
    add_top,
    add_where,
)
from k8strace.cli.outputs import look_of, write_json, write_text

if TYPE_CHECKING:
    from k8strace import Change, Projection

__all__ = ["add_whatif"]


def add_whatif(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "whatif",
        _whatif,
        "how long requests would take after a change to some of their parts",
        "  k8strace whatif traces.json --faster etcd=2\n"
        "  k8strace whatif traces.json --latency webhook:policy.example.com=10ms --by verb,resource,namespace\n"
        "  k8strace whatif traces.json --cached list --without webhook:audit.example.com --json\n",
    )
    add_files(command)
    _add_changes(command)
    add_by(command, "verb,resource", "groups of the table: columns of requests")
    add_top(command)
    add_where(command)
    add_reading(command)
    add_joining(command)
    add_showing(command)


def _add_changes(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "changes",
        "PART is a component (etcd), a phase (etcd.raft), a webhook (webhook:NAME) or an operation of etcd calls "
        "(etcd:get). All changes are made together; each option can be repeated.",
    )

    def add(option: str, metavar: str, kind: str, read: Callable[[str], tuple[Any, ...]], text: str) -> None:
        group.add_argument(
            option,
            metavar=metavar,
            action="append",
            dest="changes",
            type=_change(kind, read),
            default=[],
            help=text,
        )

    add("--faster", "PART=K", "faster", _pair(str), "K times as fast; below 1, slower")
    add("--without", "PART", "without", _part, "takes no time; a named call is not made")
    add("--latency", "PART=10ms", "latency", _pair(time_ns), "every call takes this long")
    add("--plus", "PART=1ms", "plus", _pair(time_ns), "every call takes this much longer")
    add(
        "--cached",
        "SELECTION",
        "cached",
        _selection,
        "served from the watch cache: a verb (list), or conditions separated by commas",
    )
    add("--single", "PART", "single", _part, "only the first call of each request is made")
    group.add_argument("--same-node", action="store_true", help="etcd on the API server's node")


def _change(kind: str, read: Callable[[str], tuple[Any, ...]]) -> Callable[[str], Change]:
    """A parser of an option's text into one kind of change."""

    def made(text: str) -> Change:
        from k8strace import Change  # imported only when it is needed

        try:
            change: Change = getattr(Change, kind)(*read(text))
        except (ValueError, UsageError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return change

    return made


def _part(text: str) -> tuple[str]:
    return (text,)


def _pair(value: Callable[[str], Any]) -> Callable[[str], tuple[str, Any]]:
    def read(text: str) -> tuple[str, Any]:
        part, equals, rest = text.rpartition("=")
        if not equals or not part:
            raise argparse.ArgumentTypeError(f"expected PART=VALUE, got {text!r}")
        return part.strip(), value(rest)

    return read


def _selection(text: str) -> tuple[str, ...]:
    return tuple(condition(f"verb={piece}" if piece.isalpha() else piece) for piece in names(text))


def _whatif(asked: argparse.Namespace) -> None:
    if not asked.changes and not asked.same_node:
        raise UsageError("expected a change, such as --faster etcd=2")
    projection = _projected(asked)
    if asked.json:
        from k8strace.views.records import projection_record

        return write_json([projection_record(projection, asked.by)])
    from k8strace.views.whatif import projection_lines

    look = look_of(asked)
    return write_text(projection_lines(projection, look, asked.by, asked.top or None), look)


def _projected(asked: argparse.Namespace) -> Projection:
    from k8strace import Change

    requests = joined(asked)
    check_columns(requests, asked.by)
    changes = [*asked.changes, *([Change.same_node()] if asked.same_node else [])]
    chosen = selected(requests, asked)
    for change in asked.changes:
        fitting(chosen, conditions(change.conditions))
    try:
        return attribute(chosen).what_if(*changes)
    except (ValueError, KeyError, ConditionError) as error:
        raise UsageError(error.args[0]) from None
