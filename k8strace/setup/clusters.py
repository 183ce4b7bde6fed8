"""The other ways to a cluster: kind's configuration, minikube's command, k3s's configuration."""

from __future__ import annotations

import shlex
from typing import Any, Final

from k8strace.setup.documents import block, dump
from k8strace.setup.flags import apiserver_arguments, environment, etcd_arguments
from k8strace.setup.kubeadm import FOLDER, cluster_configuration, needs_patches
from k8strace.setup.settings import Settings

__all__ = [
    "K3S_CONFIG",
    "MINIKUBE_CONFIG",
    "PATCHES",
    "k3s_arguments",
    "k3s_environment",
    "kind_cluster",
    "minikube",
]

PATCHES: Final = "/etc/kubernetes/tracing-patches"
"""Where kubeadm inside a kind node finds its patches."""

MINIKUBE_CONFIG: Final = "/etc/ssl/certs/tracing.yaml"
"""In the only folder that minikube both fills from ~/.minikube/files and mounts into kube-apiserver."""

K3S_CONFIG: Final = "/etc/rancher/k3s/tracing.yaml"


def kind_cluster(settings: Settings) -> dict[str, Any]:
    """Describes kind's `Cluster`: one control-plane node per etcd member, files mounted, kubeadm patched."""
    form = settings.kubernetes.kind_kubeadm
    with_patches = needs_patches(settings, form)
    patch = cluster_configuration(settings, form)
    documents = [dump(patch)]
    if with_patches:
        documents += [
            dump({"kind": kind, "patches": {"directory": PATCHES}})
            for kind in ("InitConfiguration", "JoinConfiguration")
        ]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [_kind_node(settings, member, with_patches=with_patches) for member in settings.members],
        "kubeadmConfigPatches": [block(document) for document in documents],
    }


def _kind_node(settings: Settings, member: str, *, with_patches: bool) -> dict[str, Any]:
    folder = f"./patches/{member}" if len(settings.members) > 1 else "./patches"
    mounts = [("./tracing", FOLDER), *([(folder, PATCHES)] if with_patches else [])]
    return {
        "role": "control-plane",
        "extraMounts": [{"hostPath": a, "containerPath": b, "readOnly": True} for a, b in mounts],
    }


def minikube(settings: Settings) -> str:
    """A shell script that puts the tracing configuration where minikube syncs it from, and starts minikube."""
    options = [f"--kubernetes-version={_full(settings.kubernetes_version)}"]
    for name, value in apiserver_arguments(settings, MINIKUBE_CONFIG):
        # minikube has a flag of its own for gates, and gives them to every component.
        options += (
            [f"--feature-gates={value}"]
            if name == "feature-gates"
            else [f"--extra-config=apiserver.{name}={value}"]
        )
    options += [
        f"--extra-config=etcd.{name}={value}" for name, value in etcd_arguments(settings, settings.members[0])
    ]
    start = " \\\n  ".join(["minikube start", *map(shlex.quote, options)])
    return (
        "#!/bin/sh\n"
        "set -eu\n"
        'files="$HOME/.minikube/files/etc/ssl/certs"\n'
        'mkdir -p "$files"\n'
        'cp "$(dirname "$0")/tracing.yaml" "$files/tracing.yaml"\n'
        f"{start}\n"
    )


def _full(version: str) -> str:
    """With a patch release, as minikube wants it."""
    return f"v{version}" if version.count(".") == 2 else f"v{version}.0"


def k3s_arguments(settings: Settings, member: str) -> dict[str, list[str]]:
    """A file for k3s's config.yaml.d; the plus sign adds to what other files there say."""
    lists = {
        "kube-apiserver-arg+": apiserver_arguments(settings, K3S_CONFIG),
        "etcd-arg+": etcd_arguments(settings, member),
    }
    return {key: [f"{name}={value}" for name, value in arguments] for key, arguments in lists.items()}


def k3s_environment(settings: Settings) -> str:
    """Lines for the environment file of k3s's service."""
    return "".join(f"{name}={value}\n" for name, value in environment(settings).items())
