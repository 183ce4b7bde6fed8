"""Options that several commands share, and adding of commands."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, TypeAlias

from k8strace.cli.exits import USAGE, complain, exit_codes
from k8strace.cli.numbers import above_zero, condition, from_zero, moment, names, quantiles, width
from k8strace.exceptions import FormatError

__all__ = [
    "PIPED_WIDTH",
    "Commands",
    "Parser",
    "add_by",
    "add_command",
    "add_files",
    "add_format",
    "add_joining",
    "add_method",
    "add_quantiles",
    "add_reading",
    "add_selecting",
    "add_showing",
    "add_sources",
    "add_top",
    "add_where",
    "with_times",
]

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Run: TypeAlias = Callable[[argparse.Namespace], int | None]

PIPED_WIDTH: Final = 100
"""Width if the output is not a terminal: always the same, so that outputs can be compared."""

TIMES: Final = ("--since", "--until")
"""Options whose value may begin with a minus sign."""


def with_times(words: Sequence[str]) -> list[str]:
    """
    Joins options with values that begin with a minus sign, which argparse would read as options.

    Examples:
        >>> with_times(["report", "--since", "-10m", "a.json"])
        ['report', '--since=-10m', 'a.json']
    """
    told = list(words)
    for at in range(len(told) - 1, 0, -1):
        if told[at - 1] in TIMES and re.match("-[0-9]", told[at]):
            told[at - 1 : at + 1] = [f"{told[at - 1]}={told[at]}"]
    return told


class Parser(argparse.ArgumentParser):
    """A parser that writes its errors in one line, as all other errors are."""

    def error(self, message: str) -> NoReturn:
        """Writes the message and ends the process."""
        complain(f"{message} (see {self.prog} --help)")
        sys.exit(USAGE)


def add_command(
    commands: Commands,
    name: str,
    run: Run,
    does: str,
    examples: str,
    codes: Mapping[int, str] | None = None,
) -> Parser:
    """
    Adds one command.

    Args:
        commands: The commands to add it to.
        name: Its name.
        run: Called with the arguments. Returns the exit code, or None for success.
        does: What it does, for the list of commands.
        examples: Lines for its help.
        codes: Meanings of exit codes, where they differ from the general ones.
    """
    command = commands.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog=f"examples:\n{examples}\n{exit_codes(codes)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def add_files(command: argparse.ArgumentParser) -> None:
    """The files to read."""
    command.add_argument(
        "files", nargs="+", metavar="FILE", help="path, quoted pattern, or - for standard input"
    )


def add_sources(command: argparse.ArgumentParser) -> None:
    """The input: files, or the traces of another tool."""
    command.add_argument(
        "files", nargs="*", metavar="FILE", help="path, quoted pattern, or - for standard input"
    )
    group = command.add_argument_group("fetching")
    group.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        metavar="TOOL=URL",
        help="jaeger=URL or tempo=URL: traces of API servers, of the last 15m or --since and --until; "
        "K8STRACE_FROM_AUTHORIZATION is sent as Authorization",
    )
    group.add_argument(
        "--fetch-traces", type=above_zero, default=1_000, metavar="N", help="at most N traces (default 1000)"
    )
    group.add_argument(
        "--fetch-mib", type=above_zero, default=256, metavar="N", help="at most N MiB (default 256)"
    )
    group.add_argument(
        "--fetch-seconds", type=above_zero, default=60, metavar="N", help="at most N seconds (default 60)"
    )


def add_by(command: argparse.ArgumentParser, default: str, help_text: str) -> None:
    """The columns to group by."""
    command.add_argument(
        "--by", type=names, default=default, metavar="COLUMNS", help=f"{help_text} (default {default})"
    )


def add_top(command: argparse.ArgumentParser, rows: str = "rows of the table") -> None:
    """The number of rows shown."""
    command.add_argument(
        "--top", type=from_zero, default=12, metavar="N", help=f"{rows}; 0 for all (default 12)"
    )


def add_selecting(command: argparse.ArgumentParser) -> None:
    """Selection of requests, and how their time is divided."""
    add_where(command)
    add_method(command)


def add_where(command: argparse.ArgumentParser) -> None:
    """Which requests."""
    command.add_argument(
        "--where",
        action="append",
        default=[],
        type=condition,
        metavar="CONDITION",
        help="only requests that fit: verb=list, http_status>=500, wall>100ms, namespace!=shop-*, object_name~^web; "
        "= takes patterns, an empty value fits requests without one; repeat for more conditions",
    )
    for name, does in (("--since", "began then or later"), ("--until", "began before")):
        command.add_argument(
            name,
            type=moment,
            metavar="TIME",
            help=f"only requests that {does}: 14:05 (of the recording, UTC), -10m (before its end), or RFC 3339",
        )


def add_method(command: argparse.ArgumentParser) -> None:
    """How time is divided."""
    command.add_argument(
        "--method",
        choices=("critical_path", "active_share", "self_time"),
        default="critical_path",
        help="how time is divided (default critical_path)",
    )


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_quantiles(command: argparse.ArgumentParser) -> None:
    """The quantiles to show."""
    command.add_argument(
        "--quantiles",
        type=quantiles,
        default=(0.5, 0.9, 0.99),
        metavar="Q,…",
        help="quantiles of the wall time, such as 0.5,0.99,0.999 (default 0.5,0.9,0.99)",
    )


def _format(text: str) -> str:
    from k8strace.formats.wire import format_of  # imported only when it is needed

    try:
        format_of(text)
    except FormatError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def add_format(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The format of files, and the progress bar; more options of reading may be added to the group."""
    group = command.add_argument_group("reading")
    group.add_argument(
        "--format",
        type=_format,
        default="auto",
        help="proto, proto-frames, zstd-frames, json, json-lines, parquet (default: by content)",
    )
    group.add_argument("--no-progress", action="store_true", help="no progress bar at the terminal")
    return group


def add_reading(command: argparse.ArgumentParser) -> None:
    """How files are read."""
    group = add_format(command)
    group.add_argument(
        "--strict", action="store_true", help="fail on a torn file instead of reading what is there"
    )
    group.add_argument(
        "--threads",
        type=above_zero,
        default=cores(),
        metavar="N",
        help="threads that read, join and divide time, at most (default: all cores); results are the same",
    )


def add_joining(command: argparse.ArgumentParser) -> None:
    """How spans are joined."""
    group = command.add_argument_group("joining")
    group.add_argument(
        "--apiserver",
        action="append",
        default=[],
        metavar="NAME",
        help="service.name of the API servers; repeat for more (default: apiserver, and services that look like one)",
    )
    group.add_argument(
        "--rules",
        action="append",
        default=[],
        metavar="FILE",
        help="TOML with your own rules, which come first",
    )


def add_showing(command: argparse.ArgumentParser) -> None:
    """The form of the output."""
    group = command.add_argument_group("showing")
    group.add_argument("--json", action="store_true", help="for programs; durations in integer ns")
    group.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours (default auto: at a terminal, unless NO_COLOR is set)",
    )
    group.add_argument(
        "--width",
        type=width,
        metavar="N",
        help=f"columns (default: COLUMNS, the terminal's, or {PIPED_WIDTH})",
    )
