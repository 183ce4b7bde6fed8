"""`k8strace setup render | check | probe | cost`."""

from __future__ import annotations

from k8strace.cli.options import Commands
from k8strace.cli.setup.check import add_check
from k8strace.cli.setup.cost import add_cost
from k8strace.cli.setup.probe import add_probe
from k8strace.cli.setup.render import add_render

__all__ = ["add_setup"]


def add_setup(commands: Commands) -> None:
    """Adds `setup` with its four commands."""
    parser = commands.add_parser(
        "setup",
        help="enable tracing: write files, check files, probe a cluster, estimate the cost",
        description="Enables tracing in kube-apiserver, etcd and nodes. Changes no node, and no file outside --out.",
    )
    kinds = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (add_render, add_check, add_probe, add_cost):
        add(kinds)
