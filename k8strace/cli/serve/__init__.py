"""`k8strace serve`: a receiver with a live table, from arguments to the last line of its log."""

from __future__ import annotations

import argparse

from k8strace.cli.options import Commands
from k8strace.cli.serve.options import add_options

__all__ = ["add_serve"]


def add_serve(commands: Commands) -> None:
    """Adds the command."""
    add_options(commands, _run)


def _run(asked: argparse.Namespace) -> int:
    from k8strace.cli.serve.running import run  # with rich and the receiver, which other commands do not need

    return run(asked)
