"""`k8strace setup render`: writes the files that enable tracing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from k8strace.cli.exits import UsageError
from k8strace.cli.numbers import positive
from k8strace.cli.options import Commands, add_command
from k8strace.cli.outputs import say
from k8strace.cli.setup.given import CODES, telling, text_of, token_of
from k8strace.setup.settings import DEFAULT_RATE, TARGETS
from k8strace.setup.versions import RUNTIMES

if TYPE_CHECKING:
    from k8strace.setup.files import File
    from k8strace.setup.settings import Settings

__all__ = ["add_render"]


def add_render(kinds: Commands) -> None:
    """Adds the command."""
    command = add_command(
        kinds,
        "render",
        telling(_render),
        "write the files that enable tracing for exactly these versions",
        "  k8strace setup render --k8s 1.33 --etcd 3.5.24 --target kubeadm --out tracing\n"
        "  k8strace setup render --k8s 1.31 --etcd 3.5.15 --target static-pod --from kube-apiserver.yaml \\\n"
        "    --from etcd.yaml --member cp-1 --out tracing\n"
        "  k8strace setup render --k8s 1.33 --kubelet --runtime containerd --runtime-version 2.1 --out tracing\n",
        CODES,
    )
    command.add_argument("--k8s", metavar="VERSION", help="such as 1.33 or 1.33.4")
    command.add_argument(
        "--etcd", metavar="VERSION", help="such as 3.5.24 or 3.6: see the tag of etcd's image"
    )
    command.add_argument("--target", choices=TARGETS, help="how the control plane is run")
    command.add_argument(
        "--kubelet",
        action="store_true",
        help="nodes: enable tracing in the kubelet of this version of Kubernetes",
    )
    command.add_argument(
        "--runtime", choices=RUNTIMES, help="nodes: enable tracing in this container runtime"
    )
    command.add_argument(
        "--runtime-version", metavar="VERSION", help="such as 1.7 or 2.1 (default: the newest)"
    )
    command.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder to write to; created if missing"
    )
    command.add_argument("--force", action="store_true", help="replace files in it")
    command.add_argument(
        "--endpoint",
        metavar="HOST:PORT",
        help="the receiver, as the control plane sees it (default by target)",
    )
    command.add_argument(
        "--rate",
        type=int,
        default=DEFAULT_RATE,
        metavar="N",
        help="sampled requests of a million (default 1000)",
    )
    command.add_argument(
        "--requests-per-second",
        type=positive,
        metavar="N",
        help="API requests a second, to estimate spans a second",
    )
    command.add_argument(
        "--member",
        action="append",
        default=[],
        metavar="NAME",
        help="an etcd member, its instance id; repeat for more",
    )
    command.add_argument(
        "--from",
        action="append",
        default=[],
        dest="own",
        type=Path,
        metavar="FILE",
        help="your own static pod or ClusterConfiguration; a copy with tracing added is written",
    )
    command.add_argument(
        "--compression", choices=("gzip",), help="kube-apiserver and etcd compress what they send"
    )
    token = command.add_mutually_exclusive_group()
    token.add_argument("--bearer-token-file", type=Path, metavar="FILE", help="a token for the receiver")
    token.add_argument("--bearer-token-env", metavar="NAME", help="the same, from an environment variable")


def _render(asked: argparse.Namespace) -> None:
    from k8strace.setup.folder import write

    _check(asked)
    told: list[str] = []
    files: dict[str, File] = {}
    if asked.target:
        from k8strace.setup.pages import forecast
        from k8strace.setup.render import Own, render

        wanted = _settings(asked)
        files |= render(wanted, tuple(Own(str(path), text_of(path)) for path in asked.own))
        told = forecast(wanted)
    if asked.kubelet or asked.runtime:
        files |= _node(asked)
    written = write(asked.out, files, force=asked.force)
    for path, file in zip(written, files.values(), strict=True):
        say([f"{path}   {file.what}"])
    pages = " and ".join(str(asked.out / name) for name in files if name.endswith("README.md"))
    say([*told, f"Read {pages} next: the order to apply, how to check, how to undo."])


def _check(asked: argparse.Namespace) -> None:
    """Raises an error for missing arguments, as argparse does; which are needed depends on what is written."""
    nodes_alone = (asked.kubelet or asked.runtime) and not (asked.target or asked.etcd)
    needed = ("k8s",) * bool(asked.kubelet) if nodes_alone else ("k8s", "etcd", "target")
    missing = [f"--{name}" for name in needed if getattr(asked, name) is None]
    if missing:
        raise UsageError(f"the following arguments are required: {', '.join(missing)}")


def _node(asked: argparse.Namespace) -> dict[str, File]:
    from k8strace.setup.nodes import node, render_node

    return render_node(
        node(
            k8s=asked.k8s if asked.kubelet else None,
            runtime=asked.runtime,
            runtime_version=asked.runtime_version,
            endpoint=asked.endpoint,
            rate=asked.rate,
        )
    )


def _settings(asked: argparse.Namespace) -> Settings:
    from k8strace.setup.settings import settings

    return settings(
        k8s=asked.k8s,
        etcd=asked.etcd,
        target=asked.target,
        endpoint=asked.endpoint,
        rate=asked.rate,
        members=asked.member,
        compression=asked.compression,
        token=token_of(asked.bearer_token_file, asked.bearer_token_env),
        requests_per_second=asked.requests_per_second,
    )
