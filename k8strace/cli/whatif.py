"""`k8strace whatif`: how long requests would take if some of their parts took another time."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from k8strace import Change, ConditionError, Projection, attribute
from k8strace.cli.exits import UsageError
from k8strace.cli.inputs import check_columns, joined, selected
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

__all__ = ["add_whatif"]


def add_whatif(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "whatif",
        _whatif,
        "how long requests would take if some of their parts took another time",
        "  k8strace whatif traces.json --faster etcd=2\n"
        "  k8strace whatif traces.json --latency webhook:policy.example.com=10ms --by verb,resource,namespace\n"
        "  k8strace whatif traces.json --cached list --without webhook:audit.example.com --json\n",
    )
    add_files(command)
    _add_changes(command)
    add_by(command, "verb,resource", "what the table groups by")
    add_top(command)
    add_where(command)
    add_reading(command)
    add_joining(command)
    add_showing(command)


def _add_changes(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "changes",
        "PART is a component (etcd), a phase (etcd.raft), a webhook (webhook:NAME) or what an etcd call is for "
        "(etcd:get). All changes happen together; each can be repeated.",
    )

    def add(option: str, metavar: str, change: Callable[[str], Change], text: str) -> None:
        group.add_argument(
            option,
            metavar=metavar,
            action="append",
            dest="changes",
            type=_typed(change),
            default=[],
            help=text,
        )

    add("--faster", "PART=K", _pair(Change.faster, str), "K times as fast; below 1, slower")
    add("--without", "PART", Change.without, "takes no time; a named call is not made")
    add("--latency", "PART=10ms", _pair(Change.latency, time_ns), "every call takes that long")
    add("--plus", "PART=1ms", _pair(Change.plus, time_ns), "every call takes that much longer")
    add(
        "--cached",
        "SELECTION",
        _cached,
        "served from the watch cache: a verb (list), or conditions with commas between them",
    )
    add("--single", "PART", Change.single, "only the first call of each request is made")
    group.add_argument(
        "--same-node",
        action="append_const",
        dest="changes",
        const=Change.same_node(),
        help="etcd on the API server's node",
    )


def _typed(change: Callable[[str], Change]) -> Callable[[str], Change]:
    def read(text: str) -> Change:
        try:
            return change(text)
        except (ValueError, UsageError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _pair(change: Callable[[str, Any], Change], value: Callable[[str], Any]) -> Callable[[str], Change]:
    def read(text: str) -> Change:
        part, equals, rest = text.rpartition("=")
        if not equals or not part:
            raise argparse.ArgumentTypeError(f"expected PART=VALUE, got {text!r}")
        return change(part.strip(), value(rest))

    return read


def _cached(text: str) -> Change:
    pieces = names(text)
    return Change.cached(*(condition(f"verb={piece}" if piece.isalpha() else piece) for piece in pieces))


def _whatif(asked: argparse.Namespace) -> None:
    if not asked.changes:
        raise UsageError("expected a change, such as --faster etcd=2")
    projection = _projected(asked)
    if asked.json:
        from k8strace.views.records import projection_record

        return write_json([projection_record(projection, asked.by)])
    from k8strace.views.whatif import projection_lines

    look = look_of(asked)
    return write_text(projection_lines(projection, look, asked.by, asked.top or None), look)


def _projected(asked: argparse.Namespace) -> Projection:
    requests = joined(asked)
    check_columns(requests, asked.by)
    try:
        return attribute(selected(requests, asked)).what_if(*asked.changes)
    except (ValueError, KeyError, ConditionError) as error:
        raise UsageError(error.args[0]) from None
