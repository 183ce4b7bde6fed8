"""The command line: a module for each command, and what they share."""

from k8strace.cli.commands import main

__all__ = ["main"]
