"""`k8strace serve`: a receiver with a live table, from arguments to the last line of its log."""

from __future__ import annotations

import argparse
from typing import Any

from k8strace.serve.options import add_options

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds `serve`. It sets `run`, a function of the arguments that returns the exit code."""
    add_options(commands, _run)


def _run(asked: argparse.Namespace) -> int:
    from k8strace.serve.running import run  # with rich and the receiver, which other commands do not need

    return run(asked)
