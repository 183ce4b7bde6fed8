"""
The command line, a thin layer over the library.

Only this package reads and writes files and asks the terminal. Modules that take time to import, such as rich, are
imported by the commands that need them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from k8strace import K8straceError, __version__
from k8strace.cli.audit import add_audit
from k8strace.cli.check import add_check
from k8strace.cli.compare import add_compare
from k8strace.cli.completion import add_completion
from k8strace.cli.demo import add_demo
from k8strace.cli.digest import add_digest
from k8strace.cli.exits import OK, exit_code_of, exit_codes
from k8strace.cli.export import add_export
from k8strace.cli.opening import add_open
from k8strace.cli.options import Parser, with_times
from k8strace.cli.report import add_report
from k8strace.cli.requests import add_requests
from k8strace.cli.serve import add_serve
from k8strace.cli.setup import add_setup
from k8strace.cli.tree import add_tree
from k8strace.cli.whatif import add_whatif
from k8strace.exceptions import is_out_of_memory

__all__ = ["main", "parser"]

COMMANDS = (
    add_demo,
    add_report,
    add_digest,
    add_requests,
    add_tree,
    add_compare,
    add_whatif,
    add_check,
    add_audit,
    add_export,
    add_open,
    add_serve,
    add_setup,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Runs one command. Returns the exit code; errors are one line on stderr.

    Args:
        arguments: Without the program's name; None for those of this process.
    """
    try:
        asked = parser().parse_args(with_times(sys.argv[1:] if arguments is None else arguments))
        run: Callable[[argparse.Namespace], int | None] = asked.run
        code = run(asked) or OK
        sys.stdout.flush()
    except (K8straceError, OSError, MemoryError, KeyboardInterrupt) as error:
        return exit_code_of(error)
    except (ImportError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return exit_code_of(error)
    return code


def parser() -> Parser:
    """The parser of all commands with their options."""
    made = Parser(
        prog="k8strace",
        description="Where did the time of Kubernetes API requests go? Reads OTLP spans of kube-apiserver and etcd.",
        epilog="examples:\n"
        "  k8strace report traces.json\n"
        "  k8strace requests traces.json --where verb=list --json | jq .wall_ns\n"
        "  k8strace tree traces.json 599a7687\n"
        f"\n{exit_codes()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"k8strace {__version__}")
    commands = made.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for add in COMMANDS:
        add(commands)
    add_completion(commands, made)
    return made
