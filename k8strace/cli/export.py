"""`k8strace export`: requests, spans and results as a file of another tool."""

from __future__ import annotations

import argparse
import sys

from k8strace.cli.inputs import joined, selected
from k8strace.cli.options import Commands, add_command, add_files, add_joining, add_reading, add_where
from k8strace.export import FORMATS, TABLES, export

__all__ = ["add_export"]


def add_export(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "export",
        _export,
        "write requests for another tool",
        "  k8strace export traces.json --to perfetto --out trace.pftrace\n"
        "  k8strace export traces.json --to folded --out - | flamegraph.pl > flames.svg\n"
        "  k8strace export traces.json --to parquet --out tables/\n"
        "  k8strace export traces.json --where verb=list --to jaeger --out lists.json\n",
    )
    add_files(command)
    command.add_argument("--to", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    command.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="file; - for standard output; for parquet, arrow and csv a directory for all tables, or a file for one",
    )
    command.add_argument(
        "--table",
        choices=tuple(TABLES),
        help="the table of a single file (default: spans for parquet and arrow, requests for csv)",
    )
    add_where(command)
    add_reading(command)
    add_joining(command)


def _export(asked: argparse.Namespace) -> None:
    requests = selected(joined(asked), asked)
    for path in export(requests, asked.to, asked.out, table=asked.table):
        sys.stderr.write(f"k8strace: wrote {path} ({path.stat().st_size:,} bytes)\n")
