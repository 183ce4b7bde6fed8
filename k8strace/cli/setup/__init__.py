"""`k8strace setup render | check | probe | cost`: arguments in, files and words out."""

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
        help="switch tracing on: write what is needed, check what is there, probe a cluster, reckon the cost",
        description="Switches tracing on: kube-apiserver, etcd, nodes. Changes no node and no file it was not given.",
    )
    kinds = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (add_render, add_check, add_probe, add_cost):
        add(kinds)
