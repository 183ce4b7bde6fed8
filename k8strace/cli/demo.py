"""`k8strace demo`: shows the page of a real recording, without a cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from k8strace import join, read
from k8strace.cli.options import Commands, add_command
from k8strace.cli.outputs import say

__all__ = ["add_demo"]

RECORDING: Final = "demo.otlp.zst"


def add_demo(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "demo",
        _demo,
        "show the page of the included recording of Kubernetes 1.36 in a browser",
        "  k8strace demo\n  k8strace demo --html demo.html --no-open\n",
    )
    command.add_argument(
        "--html",
        default="k8strace-demo.html",
        metavar="OUT",
        help="file to write (default %(default)s)",
    )
    command.add_argument("--no-open", action="store_true", help="only write it")


def _demo(asked: argparse.Namespace) -> None:
    import webbrowser
    from importlib.resources import as_file, files

    with as_file(files("k8strace.page") / RECORDING) as recording:
        join(read(recording)).to_html(asked.html, title="A recording of Kubernetes 1.36 and etcd 3.6")
    say([f"written: {asked.html}"])
    if not asked.no_open:
        webbrowser.open(Path(asked.html).resolve().as_uri())
