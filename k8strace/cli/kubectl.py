"""`kubectl k8strace why`: `k8strace setup probe` as a plugin, with kubectl's own cluster and credentials."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from k8strace import K8straceError, __version__
from k8strace.cli import commands
from k8strace.cli.exits import exit_code_of, exit_codes
from k8strace.cli.options import Parser, add_command
from k8strace.cli.setup.given import CODES, telling
from k8strace.setup.versions import SetupError

__all__ = ["main"]

CLUSTER_WIDE: Final = frozenset({"componentstatuses", "namespaces", "nodes", "persistentvolumes"})
"""Resources of the core group without a namespace."""
PASSED_ON: Final = ("listen", "store", "timeout", "k8s", "etcd")
"""Options of the probe that this command has too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Runs the plugin. Returns the exit code; errors are one line on stderr.

    Args:
        arguments: Without the program's name; None for those of this process.
    """
    try:
        asked = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
        return int(asked.run(asked))
    except (K8straceError, OSError, KeyboardInterrupt) as error:
        return exit_code_of(error)


def _parser() -> Parser:
    made = Parser(
        prog="kubectl k8strace",
        description="Where does the time of a Kubernetes API request go?",
        epilog=exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"k8strace {__version__}")
    command = add_command(
        made.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser),
        "why",
        telling(_why),
        "send one sampled GET as kubectl would, and show where its time went",
        "  kubectl k8strace why pods -n shop\n"
        "  kubectl k8strace why deployments.v1.apps front -n shop --context prod\n"
        "  kubectl k8strace why /apis/apps/v1/deployments --store traces.otlp\n",
        CODES,
    )
    command.add_argument(
        "what",
        metavar="RESOURCE|PATH",
        help="such as pods, deployments.v1.apps, or a path that begins with /",
    )
    command.add_argument("name", nargs="?", metavar="NAME", help="one object; without it all are listed")
    where = command.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", metavar="NAME", help="default: that of the context")
    where.add_argument("-A", "--all-namespaces", action="store_true", help="beyond namespaces")
    for option in ("kubeconfig", "context", "cluster", "user"):
        command.add_argument(f"--{option}", metavar="NAME", help="as kubectl takes it")
    for option in PASSED_ON:
        command.add_argument(f"--{option}", metavar="VALUE", help="as `k8strace setup probe` takes it")
    command.add_argument("--json", action="store_true", help="for programs; durations in integer ns")
    return made


def _why(asked: argparse.Namespace) -> int:
    from k8strace.cli.setup.kubeconfig import namespace_of, probe_options

    chosen = [
        f"--{name}={value}"
        for name in ("kubeconfig", "context", "cluster", "user")
        if (value := getattr(asked, name)) is not None
    ]
    passed = [f"--{name}={value}" for name in PASSED_ON if (value := getattr(asked, name)) is not None]
    with TemporaryDirectory(prefix="k8strace-") as folder:  # for its owner only
        options = probe_options(chosen, Path(folder))
        namespace = "" if asked.all_namespaces else asked.namespace or namespace_of(chosen)
        path = path_of(asked.what, asked.name, namespace)
        words = ["setup", "probe", f"--path={path}", *options, *passed, *(["--json"] if asked.json else [])]
        return commands.main(words)


def path_of(what: str, name: str | None, namespace: str) -> str:
    """
    The path that kubectl would GET.

    Args:
        what: A path, or a resource: `pods`, or `deployments.v1.apps` with version and group.
        name: One object; None for all.
        namespace: Empty for resources without a namespace.

    Examples:
        >>> path_of("pods", None, "shop")
        '/api/v1/namespaces/shop/pods'
        >>> path_of("deployments.v1.apps", "front", "shop")
        '/apis/apps/v1/namespaces/shop/deployments/front'
        >>> path_of("nodes", "n1", "shop")
        '/api/v1/nodes/n1'
    """
    if what.startswith("/"):
        return what
    resource, _, rest = what.partition(".")
    version, _, group = rest.partition(".")
    if rest and not group:
        raise SetupError(f"expected RESOURCE.VERSION.GROUP such as deployments.v1.apps, got {what!r}")
    base = f"/apis/{group}/{version}" if group else "/api/v1"
    inside = "" if not namespace or (not group and resource in CLUSTER_WIDE) else f"/namespaces/{namespace}"
    return f"{base}{inside}/{resource}{f'/{name}' if name else ''}"
