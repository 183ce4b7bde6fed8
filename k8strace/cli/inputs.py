"""Input of commands: files into requests, with a progress bar, and selections of requests."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import methodcaller
from typing import IO, Any, Final, TypeAlias

from k8strace import ConditionError, Requests, join, read, read_rules
from k8strace.cli.exits import UsageError, complain
from k8strace.selecting import as_text, condition_of, moment_of, text_of
from k8strace.words import count, duration

__all__ = ["check_columns", "conditions", "fitting", "joined", "progress", "selected"]

QUICK_SECONDS: Final = 0.4
"""Reads that end before this show no progress."""


def joined(asked: argparse.Namespace) -> Requests:
    """The requests of the files that were asked for."""
    return join(
        _read(asked), taxonomy=read_rules(*asked.rules), apiserver=asked.apiserver, threads=asked.threads
    )


def _read(asked: argparse.Namespace) -> Any:
    if asked.files.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    if "-" in asked.files and sys.stdin.isatty():
        raise UsageError("standard input (-) is the terminal: pipe a recording into it")
    fetched = _fetched(asked)
    if not asked.files and not fetched:
        raise UsageError("expected FILE or --from TOOL=URL")
    files: list[str | IO[bytes]] = [sys.stdin.buffer if name == "-" else name for name in asked.files]
    sources = [*files, *fetched]
    with progress(asked) as tell:
        return read(sources, format=asked.format, strict=asked.strict, progress=tell, threads=asked.threads)


def _fetched(asked: argparse.Namespace) -> list[IO[bytes]]:
    """The answers of other tools; a line on stderr says if there may be more."""
    if not getattr(asked, "sources", None):
        return []
    from k8strace.formats.fetching import Bounds, fetch

    now = time.time_ns()
    since = moment_of(asked.since or "15m", (now, now))
    until = moment_of(asked.until, (now, now), after=since)
    allowed = os.environ.get("K8STRACE_FROM_AUTHORIZATION")
    found: list[IO[bytes]] = []
    for source in asked.sources:
        bounds = Bounds(asked.fetch_traces, asked.fetch_mib << 20, asked.fetch_seconds)
        found += fetch(
            source,
            since or 0,
            now if until is None else until,
            services=asked.apiserver,
            bounds=bounds,
            headers={"Authorization": allowed} if allowed else None,
        )
        if bounds.reached:
            tool = source.partition("=")[0]
            complain(
                f"{tool} may have more: fetching ended at {' and '.join(bounds.reached)} (see --fetch-traces)"
            )
    return found


Tell = Callable[[int, int | None], None]


def progress(asked: argparse.Namespace) -> AbstractContextManager[Tell | None]:
    """A function to call with the progress of reading: at a terminal, a bar."""
    return nullcontext() if asked.no_progress or not sys.stderr.isatty() else _bar()


@contextmanager
def _bar() -> Iterator[Tell]:
    """A bar on stderr, which appears if reading takes long, and is removed at the end."""
    started = time.monotonic()
    shown: list[Any] = []

    def tell(done: int, total: int | None) -> None:
        if not shown and time.monotonic() - started > QUICK_SECONDS:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            bar = Progress(
                TextColumn("reading"),
                BarColumn(),
                DownloadColumn(),
                TimeRemainingColumn(),
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


Choose: TypeAlias = Callable[[Requests], Requests]
"""A part of a selection."""


def selected(requests: Requests, asked: argparse.Namespace) -> Requests:
    """
    The selected requests. If there are none, a line on stderr says which part of the selection fits none.

    Raises:
        UsageError: A condition names no column, or its value does not fit the column.
    """
    return fitting(requests, _parts(asked))


def fitting(requests: Requests, parts: Mapping[str, Choose]) -> Requests:
    """
    The requests that fit all parts of a selection, by text. A line on stderr says which part fits none.

    Raises:
        UsageError: A condition names no column, or its value does not fit the column.
    """
    chosen = requests
    for choose in parts.values():
        chosen = _chosen(choose, chosen)
    if len(requests) and not len(chosen):
        complain(_why_none(requests, parts))
    return chosen


def _parts(asked: argparse.Namespace) -> dict[str, Choose]:
    """The parts of the selection, as written."""
    times = {"--since": asked.since, "--until": asked.until}
    window = " ".join(f"{name} {text}" for name, text in times.items() if text is not None)
    return {
        **({window: methodcaller("between", asked.since, asked.until)} if window else {}),
        **conditions(asked.where),
    }


def conditions(texts: Iterable[str]) -> dict[str, Choose]:
    """Conditions as parts of a selection."""
    return {text: methodcaller("where", text) for text in texts}


def _chosen(choose: Choose, requests: Requests) -> Requests:
    try:
        return choose(requests)
    except (KeyError, ConditionError) as error:
        raise UsageError(error.args[0]) from error


def _why_none(requests: Requests, parts: Mapping[str, Choose]) -> str:
    """Which part fits no request, or none that fits the parts before it."""
    for text, choose in parts.items():
        if not len(choose(requests)):
            return f"{text} fits no request: {_what_there_is(requests, text)}"
    before, left = [], requests  # each fits some, but together they fit none
    for text, choose in parts.items():
        fit = choose(left)
        if not len(fit):
            break
        before.append(text)
        left = fit
    return (
        f"{text} fits {count(len(choose(requests)), 'request')}, but none of the {len(left):,} that "
        f"{' and '.join(before)} {'fits' if len(before) == 1 else 'fit'}"
    )


MOST_VALUES: Final = 8
"""Values that are listed if a condition fits none, at most."""


def _what_there_is(requests: Requests, text: str) -> str:
    """The values that a condition could fit, most frequent first."""
    if text.startswith("--"):
        begin, end = requests.joined.recorded
        return f"the recording is from {text_of(begin, 3)} to {text_of(end, 3)}"
    name = requests._joined.name_of(condition_of(text))
    values = [value for value in requests.column(name) if value is not None]
    if not values:
        return f"no request has {name}"
    if isinstance(values[0], int) and not isinstance(values[0], bool) and name != "http_status":
        show = duration if name.endswith("_ns") else "{:,}".format
        return f"{name} is from {show(min(values))} to {show(max(values))}"
    known = Counter(map(as_text, values)).most_common()
    more = f", and {len(known) - MOST_VALUES:,} more" if len(known) > MOST_VALUES else ""
    return f"{name} is {', '.join(value for value, _ in known[:MOST_VALUES])}{more}"


def check_columns(requests: Requests, columns: Iterable[str]) -> None:
    """
    Checks that all are columns of requests, or keys.

    Raises:
        UsageError: One is not.
    """
    for column in columns:
        try:
            requests[:0].column(column)
        except KeyError as error:
            raise UsageError(error.args[0]) from error
