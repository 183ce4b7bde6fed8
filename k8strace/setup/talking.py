"""What the three commands share: how they are added, what they say, and secrets that they never say."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Self, TextIO

from k8strace.setup.versions import SetupError

__all__ = [
    "FOUND",
    "OK",
    "USAGE",
    "Progress",
    "add_command",
    "complain",
    "count",
    "positive",
    "say",
    "say_json",
    "text_of",
    "token_of",
]

OK: Final = 0
FOUND: Final = 1
USAGE: Final = 2

EXIT_CODES: Final = """\
exit codes:
  0    done; check: no error, probe: the trace came whole
  1    check: errors, probe: something is missing or not reachable
  2    wrong usage
"""


def add_command(
    kinds: Any, name: str, run: Callable[[argparse.Namespace], int], does: str, examples: str
) -> Any:
    """Adds one command. `run` returns the exit code; wrong values of its options are told and give 2."""
    command = kinds.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog=f"examples:\n{examples}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=_guarded(run))
    return command


def _guarded(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Wrong values of options are wrong usage; everything else is for the caller."""

    def run_guarded(asked: argparse.Namespace) -> int:
        from k8strace.setup.asking import UnreachableError

        try:
            return run(asked)
        except SetupError as error:
            complain(str(error))
            return FOUND if isinstance(error, UnreachableError) else USAGE

    return run_guarded


def complain(message: str) -> None:
    """One line on stderr."""
    from k8strace.views.text import clean

    sys.stderr.write(f"k8strace: {clean(message, 2000)}\n")


class Progress:
    """One line that is kept up to date at a terminal; elsewhere a line whenever the words change, without the times."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._terminal, self._said = stream, stream.isatty(), ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._said:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def say(self, words: str) -> None:
        """What is waited for, and in parentheses for how long."""
        said = words if self._terminal else words.partition(" (")[0]
        if said == self._said:
            return
        self._said = said
        self._stream.write(f"\r\x1b[K{said[:TERMINAL]}" if self._terminal else f"k8strace: {said}\n")
        self._stream.flush()


TERMINAL: Final = 79
"""Columns that a line of progress has."""


def say(lines: Iterable[str]) -> None:
    """Lines on stdout, free of controls."""
    from k8strace.views.text import clean

    sys.stdout.writelines(clean(line, 4000) + "\n" for line in lines)


def say_json(record: Any) -> None:
    """One object on one line of stdout."""
    sys.stdout.write(json.dumps(record) + "\n")


def positive(text: str) -> float:
    """An option that is a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def text_of(path: Path) -> str:
    """The text of a file that the user named."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SetupError(f"{path}: not UTF-8 text") from None


def token_of(file: Path | None, variable: str | None) -> str | None:
    """A secret from a file or the environment; it is never shown."""
    if file is not None:
        found = text_of(file).strip()
    elif variable is not None:
        found = os.environ.get(variable, "").strip()
    else:
        return None
    if not found:
        raise SetupError(f"{file or variable}: there is no token in it")
    return found


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 error", "2 errors"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
