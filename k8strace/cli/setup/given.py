"""What the commands of `setup` are given: versions and files that may be wrong, and secrets that are never shown."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Final

from k8strace.cli.exits import FAILED, OK, UsageError
from k8strace.setup.versions import SetupError

__all__ = ["CODES", "telling", "text_of", "token_of"]

CODES: Final = {
    OK: "done; check: no error, probe: the trace came whole",
    FAILED: "check: errors, probe: something is missing or not reachable",
}


def telling(run: Callable[[argparse.Namespace], int | None]) -> Callable[[argparse.Namespace], int | None]:
    """What cannot be meant is wrong usage; a server that does not answer is not."""

    @wraps(run)
    def told(asked: argparse.Namespace) -> int | None:
        from k8strace.setup.asking import UnreachableError

        try:
            return run(asked)
        except UnreachableError:
            raise
        except SetupError as error:
            raise UsageError(str(error)) from None

    return told


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
