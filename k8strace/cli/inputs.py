"""What the commands read: files into requests, with a bar where it takes long, and a selection of them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import IO, Any, Final

from k8strace import Request, Requests, join, read, read_rules
from k8strace.cli.exits import UsageError
from k8strace.requests import RESOURCE

__all__ = ["check_columns", "joined", "selected", "where_of"]

QUICK_SECONDS: Final = 0.4
"""A read that is over by then shows no progress."""


def joined(asked: argparse.Namespace) -> Requests:
    """The requests of the files that were asked for."""
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


def selected(requests: Requests, conditions: Iterable[str]) -> Requests:
    """
    Those that fit every condition.

    Raises:
        UsageError: A condition is none, or names no column.
    """
    for condition in conditions:
        requests = requests.where(**where_of(condition))
    return requests


def where_of(condition: str) -> dict[str, Any]:
    """
    `COLUMN=VALUE` for `Requests.where`: numbers and truth as they are written in JSON, patterns, nothing for none.

    Raises:
        UsageError: It is none, or names no column.
    """
    column, equals, value = condition.partition("=")
    if not equals:
        raise UsageError(f"expected COLUMN=VALUE, got {condition!r}")
    check_columns((column.strip(),))
    return {column.strip(): Fits(value) if value else None}


@dataclass(frozen=True, slots=True)
class Fits:
    """Does a value look like this? Numbers and truth as they are written in JSON."""

    wanted: str

    def __call__(self, value: Any) -> bool:
        """Whether it does."""
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return text == self.wanted or fnmatchcase(text, self.wanted)

    def __str__(self) -> str:
        return self.wanted


def check_columns(columns: Iterable[str]) -> None:
    """
    Nothing, if all are columns of requests.

    Raises:
        UsageError: One is not.
    """
    known = [field.name for field in fields(Request) if not field.name.startswith("_")]
    for column in columns:
        if column not in known and not column.startswith(RESOURCE):
            raise UsageError(
                f"expected a column of requests, one of {', '.join(known)}, or {RESOURCE}KEY; got {column!r}"
            )
