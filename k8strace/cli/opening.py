"""`k8strace open`: serves the page over files on this machine, with the trees of all requests."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from k8strace import Requests
from k8strace.cli.inputs import joined, selected
from k8strace.cli.options import (
    Commands,
    add_command,
    add_files,
    add_joining,
    add_reading,
    add_selecting,
)
from k8strace.cli.outputs import say

__all__ = ["add_open"]

LISTEN: Final = "127.0.0.1:0"


def add_open(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "open",
        _open,
        "show the page over files or a store in a browser, with every request's tree, whatever their size",
        "  k8strace open traces.json\n  k8strace open /var/lib/k8strace\n",
    )
    add_files(command)
    command.add_argument(
        "--listen",
        default=LISTEN,
        metavar="ADDRESS",
        help="HOST:PORT of this machine (default %(default)s: a free port)",
    )
    command.add_argument("--no-open", action="store_true", help="only print the address")
    add_selecting(command)
    add_reading(command)
    add_joining(command)


class Files:
    """The requests that were read, as a provider for queries."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def populations(self) -> list[Requests]:
        """One."""
        return [self._requests]


def _open(asked: argparse.Namespace) -> None:
    import webbrowser

    from k8strace.cli.serve.supervision import stop_signals
    from k8strace.cli.viewing import local_address, view
    from k8strace.page import page_of
    from k8strace.page.serving import page_app

    address = local_address(asked.listen)
    asked.files = [each for name in asked.files for each in _files_of(name)]
    requests = selected(joined(asked), asked)
    document = page_of(requests, served=True)
    with stop_signals() as stop:
        viewing = view(address, lambda token: page_app(token, lambda: document, Files(requests)))
        say([f"open {viewing.address} (ctrl-c ends it)"])
        if not asked.no_open:
            webbrowser.open(viewing.address)
        while not stop.wait(3_600):
            pass
        viewing.server.stop(0.5)


def _files_of(name: str) -> list[str]:
    """The files of a folder, such as a store."""
    folder = Path(name)
    return sorted(str(file) for file in folder.iterdir() if file.is_file()) if folder.is_dir() else [name]
