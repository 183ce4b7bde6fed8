"""
The command line: a thin door over `read`, `join`, `attribute` and the views.

What is read, written, and asked of the terminal is asked here, and nowhere else. What takes time to import, such as
rich, is imported by the commands that show it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from fnmatch import fnmatchcase
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

from k8strace import K8straceError, Request, Requests, __version__, attribute, join, read, read_rules
from k8strace.exceptions import OUT_OF_MEMORY, is_out_of_memory
from k8strace.requests import RESOURCE
from k8strace.serve import add_commands as add_serve
from k8strace.setup import cli as setup

if TYPE_CHECKING:
    from rich.text import Text

    from k8strace.views.text import Look

__all__ = ["main"]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

PIPED_WIDTH: Final = 100
"""Columns where the output is no terminal: always the same, so that outputs can be compared."""

LEAST_WIDTH: Final = 40
"""Columns that every view can do with."""

TABLE_ROWS: Final = 50
"""Requests that the table shows, if nothing else is asked for."""

MOST_MATCHES: Final = 20
"""Traces that are named where the beginning of an id fits several."""

QUICK_SECONDS: Final = 0.4
"""A read that is over by then shows no progress."""

EXIT_CODES: Final = """\
exit codes:
  0    done
  1    something cannot be read, is damaged beyond reading, or is not there (such as a trace)
  2    wrong usage
  130  interrupted
  141  whoever read the output stopped reading
"""


class UsageError(Exception):
    """The arguments do not fit together, or do not fit the data."""


class NotFoundError(Exception):
    """What was asked for is not there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Runs one command. Returns the exit code; errors are one line on stderr.

    Args:
        arguments: Without the program's name; None for those of this process.
    """
    try:
        asked = _parser().parse_args(arguments)
        code = _run(asked)
        sys.stdout.flush()
    except (UsageError, NotFoundError, K8straceError, OSError, MemoryError, KeyboardInterrupt) as error:
        return _failed(error)
    except (ImportError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _failed(error)
    return code


def _failed(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        # If it was the output that failed: what is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    if is_out_of_memory(error):
        print(f"k8strace: {OUT_OF_MEMORY}", file=sys.stderr)
        return FAILED
    _complain(_said(error))
    return USAGE if isinstance(error, UsageError) else FAILED


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _complain(message: str) -> None:
    from k8strace.views.text import clean

    print(f"k8strace: {clean(message, 2000)}", file=sys.stderr)


def _run(asked: argparse.Namespace) -> int:
    """The exit code; a command that returns nothing went well."""
    run: Callable[[argparse.Namespace], int | None] = asked.run
    return run(asked) or OK


# ── Arguments ─────────────────────────────────────────────────────────────────────────────────────


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        _complain(f"{message} (see {self.prog} --help)")
        sys.exit(USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="k8strace",
        description="Where did the time of Kubernetes API requests go? Reads OTLP spans of kube-apiserver and etcd.",
        epilog="examples:\n"
        "  k8strace report traces.json\n"
        "  k8strace requests traces.json --where verb=list --json | jq .wall_ns\n"
        "  k8strace tree traces.json 599a7687\n"
        f"\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"k8strace {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_report(commands)
    _add_requests(commands)
    _add_tree(commands)
    add_serve(commands)
    setup.add_commands(commands)
    return parser


def _add_report(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "report",
        _report,
        "where the time went, and what is wrong with the data",
        "  k8strace report traces.json\n"
        "  k8strace report 'day-*.otlp.zst' --by user_agent --slowest 10\n"
        "  k8strace report traces.json --where verb=list --where resource=pods\n"
        "  zcat traces.json.gz | k8strace report - --json | jq .ledger\n",
    )
    command.add_argument(
        "--slowest",
        type=_natural,
        default=3,
        metavar="N",
        help="call trees of the N slowest requests (default 3)",
    )
    command.add_argument(
        "--by",
        default="verb,resource",
        metavar="COLUMNS",
        help="what the table groups by (default verb,resource)",
    )
    command.add_argument(
        "--top", type=_natural, default=12, metavar="N", help="rows of the table; 0 for all (default 12)"
    )
    _add_selecting(command)
    _add_reading(command)
    _add_joining(command)
    _add_showing(command)


def _add_requests(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "requests",
        _requests,
        "the requests, one a line",
        "  k8strace requests traces.json --where namespace=shop --where http_status=5*\n"
        "  k8strace requests traces.json --json > requests.jsonl\n",
    )
    command.add_argument(
        "--slowest", type=_natural, metavar="N", help="only the N slowest requests, slowest first; no watches"
    )
    command.add_argument(
        "--limit",
        type=_natural,
        metavar="N",
        help=f"at most N requests; 0 for all (default: {TABLE_ROWS} in the table, all with --json)",
    )
    _add_selecting(command)
    _add_reading(command)
    _add_joining(command)
    _add_showing(command)


def _add_tree(commands: argparse._SubParsersAction[_Parser]) -> None:
    command = _command(
        commands,
        "tree",
        _tree,
        "the call trees of one trace",
        "  k8strace tree traces.json 599a76870dde648108fa12196d7b16ba\n"
        "  k8strace tree traces.json 599a7 --json\n",
    )
    command.add_argument("trace_id", metavar="TRACE_ID", help="in hex, or the beginning of it")
    command.add_argument(
        "--limit", type=_natural, default=500, metavar="N", help="spans of each tree; 0 for all (default 500)"
    )
    _add_method(command)
    _add_reading(command)
    _add_joining(command)
    _add_showing(command)


def _command(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    run: Callable[[argparse.Namespace], None],
    does: str,
    examples: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=does,
        description=f"Shows {does}.",
        epilog=f"examples:\n{examples}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument(
        "files", nargs="+", metavar="FILE", help="path, quoted pattern, or - for standard input"
    )
    return command


def _add_selecting(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="only such requests; repeat for more conditions; * ? [] are patterns, no value means none",
    )
    _add_method(command)


def _add_method(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--method",
        choices=("critical_path", "active_share", "self_time"),
        default="critical_path",
        help="how time is divided (default critical_path)",
    )


def _add_reading(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("reading")
    group.add_argument(
        "--format",
        default="auto",
        help="proto, proto-frames, zstd-frames, json, json-lines (default: by content)",
    )
    group.add_argument(
        "--strict", action="store_true", help="fail on a torn file instead of reading what is there"
    )
    group.add_argument("--no-progress", action="store_true", help="no progress bar at the terminal")


def _add_joining(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("joining")
    group.add_argument(
        "--apiserver",
        action="append",
        default=[],
        metavar="NAME",
        help="service.name of the API servers; repeat for more (default: apiserver, and what looks like one)",
    )
    group.add_argument(
        "--rules",
        action="append",
        default=[],
        metavar="FILE",
        help="TOML with rules of your own, asked first",
    )


def _add_showing(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("showing")
    group.add_argument("--json", action="store_true", help="for programs; durations in integer ns")
    group.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours (default auto: at a terminal, unless NO_COLOR is set)",
    )
    group.add_argument(
        "--width", type=_width, metavar="N", help=f"columns (default: the terminal's, or {PIPED_WIDTH})"
    )


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def _width(text: str) -> int:
    if not text.isdecimal() or not LEAST_WIDTH <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"expected a number from {LEAST_WIDTH} to 1000, got {text!r}")
    return int(text)


# ── Commands ──────────────────────────────────────────────────────────────────────────────────────


def _report(asked: argparse.Namespace) -> None:
    joined = _joined(asked)
    by = tuple(column.strip() for column in asked.by.split(",") if column.strip())
    _check_columns(by)
    attribution = attribute(_selected(joined, asked.where), method=asked.method)
    if asked.json:
        from k8strace.views.records import report_record

        return _write_json([report_record(attribution, joined, by, asked.slowest)])
    from k8strace.views.report import Wanted, report_lines

    look = _look(asked)
    wanted = Wanted(by=by, top=asked.top or None, slowest=asked.slowest)
    return _write_text(report_lines(attribution, joined, look, wanted), look)


def _requests(asked: argparse.Namespace) -> None:
    from k8strace.views.facts import longest

    selected = _selected(_joined(asked), asked.where)
    by_duration = asked.slowest is not None or not asked.json
    listed = longest(selected, asked.slowest) if by_duration else selected
    if asked.json:
        from k8strace.views.records import request_records

        return _write_json(request_records(attribute(listed[: asked.limit or None], method=asked.method)))
    attribution = attribute(listed, method=asked.method)
    from k8strace.views.report import requests_lines

    look = _look(asked)
    limit = TABLE_ROWS if asked.limit is None else asked.limit or None
    return _write_text(requests_lines(attribution, selected, look, limit), look)


def _tree(asked: argparse.Namespace) -> None:
    if not re.fullmatch("[0-9a-fA-F]{1,32}", asked.trace_id):
        raise UsageError(f"expected a trace id of up to 32 hex digits, got {asked.trace_id!r}")
    attribution = attribute(_of_trace(_joined(asked), asked.trace_id.lower()), method=asked.method)
    if asked.json:
        from k8strace.views.records import tree_record

        return _write_json([tree_record(attribution)])
    from k8strace.views.branches import tree_lines

    look = _look(asked)
    return _write_text(tree_lines(attribution, look, asked.limit or None), look)


# ── Reading and selecting ─────────────────────────────────────────────────────────────────────────


def _joined(asked: argparse.Namespace) -> Requests:
    return join(_read(asked), taxonomy=read_rules(*asked.rules), apiserver=asked.apiserver)


def _read(asked: argparse.Namespace) -> Any:
    if asked.files.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    if "-" in asked.files and sys.stdin.isatty():
        raise UsageError("standard input (-) is the terminal: pipe a recording into it")
    sources: list[str | IO[bytes]] = [sys.stdin.buffer if name == "-" else name for name in asked.files]
    with _progress(asked) as tell:
        return read(sources, format=asked.format, strict=asked.strict, progress=tell)


Tell = Callable[[int, int | None], None]


def _progress(asked: argparse.Namespace) -> AbstractContextManager[Tell | None]:
    return nullcontext() if asked.no_progress or not sys.stderr.isatty() else _bar()


@contextmanager
def _bar() -> Iterator[Tell]:
    """A bar on stderr, which appears when reading takes long and leaves nothing behind."""
    started = time.monotonic()
    shown: list[Any] = []

    def tell(done: int, total: int | None) -> None:
        if not shown and time.monotonic() - started > QUICK_SECONDS:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

            bar = Progress(
                TextColumn("reading"),
                BarColumn(),
                DownloadColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            bar.start()
            shown.extend((bar, bar.add_task("", total=total)))
        if shown:
            shown[0].update(shown[1], completed=done)

    try:
        yield tell
    finally:
        if shown:
            shown[0].stop()


def _selected(requests: Requests, conditions: Iterable[str]) -> Requests:
    for condition in conditions:
        column, equals, value = condition.partition("=")
        if not equals:
            raise UsageError(f"expected --where COLUMN=VALUE, got {condition!r}")
        _check_columns((column.strip(),))
        requests = requests.where(**{column.strip(): _fits(value) if value else None})
    return requests


def _fits(wanted: str) -> Callable[[Any], bool]:
    """Does a value look like this? Numbers and truth as they are written in JSON."""

    def test(value: Any) -> bool:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return text == wanted or fnmatchcase(text, wanted)

    return test


def _check_columns(columns: Iterable[str]) -> None:
    known = [field.name for field in fields(Request) if not field.name.startswith("_")]
    for column in columns:
        if column not in known and not column.startswith(RESOURCE):
            raise UsageError(
                f"expected a column of requests, one of {', '.join(known)}, or {RESOURCE}KEY; got {column!r}"
            )


def _of_trace(joined: Requests, prefix: str) -> Requests:
    found = joined.find(prefix)
    traces = list(dict.fromkeys(found.column("trace_id")))
    if not traces:
        raise NotFoundError(_why_no_request(joined, prefix))
    if len(traces) > 1:
        shown = ", ".join(traces[:MOST_MATCHES]) + (", …" if len(traces) > MOST_MATCHES else "")
        raise NotFoundError(f"{len(traces):,} traces with requests begin with {prefix}: {shown}")
    return found


def _why_no_request(joined: Requests, prefix: str) -> str:
    from k8strace.views.facts import roles_in_trace

    roles: Counter[str] = roles_in_trace(joined, prefix)
    if not roles:
        return f"no trace begins with {prefix}"
    told = ", ".join(f"{role} {number_of:,}" for role, number_of in roles.most_common())
    return f"no API request in what begins with {prefix}; its spans: {told}"


# ── Writing ───────────────────────────────────────────────────────────────────────────────────────


def _look(asked: argparse.Namespace) -> Look:
    from k8strace.views.text import Look

    at_terminal = sys.stdout.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    colour = asked.color == "always" or (asked.color == "auto" and at_terminal and not plain)
    own = (
        max(shutil.get_terminal_size((PIPED_WIDTH, 24)).columns, LEAST_WIDTH) if at_terminal else PIPED_WIDTH
    )
    return Look(width=asked.width or own, colour=colour)


def _write_text(lines: Iterable[Text], look: Look) -> None:
    from k8strace.views.text import render, to_ascii

    text = render(lines, look)
    encoding = sys.stdout.encoding or "ascii"
    if not encoding.lower().replace("-", "").startswith("utf"):
        text = to_ascii(text).encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(text)


def _write_json(records: Iterable[Any]) -> None:
    """One object a line, in ASCII: terminals, pipes and programs take it as it is. Written by the thousand."""
    encode = json.JSONEncoder(ensure_ascii=True, check_circular=False).encode
    records = iter(records)
    while lines := [encode(record) for record in islice(records, 1000)]:
        sys.stdout.write("\n".join(lines) + "\n")
