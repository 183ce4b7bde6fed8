"""The end of a command: one table of exit codes, one line for every error."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

from k8strace.exceptions import OUT_OF_MEMORY, K8straceError, is_out_of_memory

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "OK",
    "PIPE_CLOSED",
    "USAGE",
    "NotFoundError",
    "UsageError",
    "complain",
    "exit_code_of",
    "exit_codes",
]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

_MEANINGS: Final = {
    OK: "done",
    FAILED: "something cannot be read, is damaged beyond reading, or is not there (such as a trace)",
    USAGE: "wrong usage",
    INTERRUPTED: "interrupted",
    PIPE_CLOSED: "the reader of the output stopped reading",
}


class UsageError(K8straceError):
    """The arguments do not fit together, or do not fit the data."""


class NotFoundError(K8straceError):
    """What was asked for does not exist."""


def exit_codes(meanings: Mapping[int, str] | None = None) -> str:
    """
    The exit codes, for the end of a command's help.

    Args:
        meanings: Meanings for this command, where they differ from the general ones.
    """
    told = sorted(({**_MEANINGS, **(meanings or {})}).items())
    return "".join(["exit codes:\n", *(f"  {code:<4} {meaning}\n" for code, meaning in told)])


def exit_code_of(error: BaseException) -> int:
    """Writes one line on stderr for an error that ends a command, and returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        # If the output failed, the rest of its buffer must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    if is_out_of_memory(error):
        sys.stderr.write(f"k8strace: {OUT_OF_MEMORY}\n")
        return FAILED
    complain(_said(error))
    return USAGE if isinstance(error, UsageError) else FAILED


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def complain(message: str) -> None:
    """One line on stderr, free of controls."""
    from k8strace.views.text import clean

    sys.stderr.write(f"k8strace: {clean(message, 2000)}\n")
