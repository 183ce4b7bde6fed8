"""The command line: a module for each command, and shared modules."""

from k8strace.cli.commands import main

__all__ = ["main"]
