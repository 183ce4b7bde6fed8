"""How to apply, check and undo the files, per target. Text, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from k8strace.setup.clusters import PATCHES
from k8strace.setup.settings import Settings
from k8strace.setup.versions import Gate

if TYPE_CHECKING:
    from k8strace.setup.files import File

__all__ = ["apply", "check", "undo"]


def _run(*commands: str) -> str:
    """Commands below the text of a step."""
    return "\n".join(["", "", "   ```sh", *(f"   {command}" for command in commands), "   ```", ""])


_COPY = "On every control-plane node, as kube-apiserver does not start without this file:" + _run(
    "sudo install -D -m 0644 tracing/config.yaml /etc/kubernetes/tracing/config.yaml"
)
_BACK_UP = (
    "On every node, keep the old manifests outside their folder, as the kubelet runs every file in there:"
    + _run(
        "sudo mkdir -p /root/before-tracing",
        "sudo cp -p /etc/kubernetes/manifests/etcd.yaml /root/before-tracing/",
        "sudo cp -p /etc/kubernetes/manifests/kube-apiserver.yaml /root/before-tracing/",
    )
)
_EACH = "On each node, and only when the one before is healthy again:"
_WAIT_ETCD = "kubectl -n kube-system get pods -l component=etcd   # wait until all are Running and ready"
_WAIT_APISERVER = "kubectl get --raw /readyz   # wait until it says ok"
_RESTORE = (
    "Put the old manifests back. "
    + _EACH
    + _run(
        "sudo cp -p /root/before-tracing/etcd.yaml /root/before-tracing/kube-apiserver.yaml /etc/kubernetes/manifests/",
        _WAIT_APISERVER,
    )
)
_REMOVE = "When no kube-apiserver uses it any more, on every node:" + _run(
    "sudo rm -r /etc/kubernetes/tracing"
)


def apply(settings: Settings, files: Mapping[str, File]) -> list[str]:
    """The steps, in order."""
    return [_receiver(settings), *_APPLY[settings.target](settings, files)]


def _receiver(settings: Settings) -> str:
    host, _, port = settings.endpoint.rpartition(":")
    if host in _LOOPBACK:
        options = "" if port == "4317" else f" --grpc-listen 127.0.0.1:{port}"
        note = "On the node itself; with several control-plane nodes, on each."
    else:
        options = f" --grpc-listen {_listen(settings)} --insecure-network"
        note = "kube-apiserver and etcd send in plain text: only in a network that you trust."
    return (
        f"Start what takes the spans at {settings.endpoint}, as the control plane sees it. {note} "
        "Without a receiver nothing breaks, but spans are lost:"
        + _run(f"k8strace serve{options}")
        + "\n   An OpenTelemetry collector can be there instead."
    )


_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def _listen(settings: Settings) -> str:
    """The address on which a receiver or the probe must listen for this endpoint."""
    host, _, port = settings.endpoint.rpartition(":")
    if host in _LOOPBACK:
        return f"127.0.0.1:{port}"
    return f"0.0.0.0:{port}" if settings.target == "minikube" else settings.endpoint


def _kubeadm(_: Settings, files: Mapping[str, File]) -> list[str]:
    folders = sorted({name.rpartition("/")[0] for name in files if name.startswith("patches/")})
    option = f" --patches {PATCHES}" if folders else ""
    config = f"--config cluster-configuration.yaml{option}"
    return [
        _COPY,
        *_copy_patches(folders),
        "A new cluster: put what is in `cluster-configuration.yaml` into your own file, and go on at Check after"
        + _run(f"sudo kubeadm init --config FILE{option}"),
        "A running cluster: unless you gave `--from`, take what it has and render again with `--from mine.yaml`:"
        + _run(
            "kubectl -n kube-system get configmap kubeadm-config -o jsonpath='{.data.ClusterConfiguration}' > mine.yaml"
        ),
        _BACK_UP,
        _EACH + _run(f"sudo kubeadm init phase etcd local {config}", _WAIT_ETCD),
        _EACH + _run(f"sudo kubeadm init phase control-plane apiserver {config}", _WAIT_APISERVER),
        "Once, so that upgrades keep it:"
        + _run("sudo kubeadm init phase upload-config kubeadm --config cluster-configuration.yaml"),
    ]


def _copy_patches(folders: list[str]) -> list[str]:
    if not folders:
        return []
    one = len(folders) == 1
    return [
        "On every control-plane node, "
        + ("" if one else "with the folder named after its member, ")
        + "and remember that every later `kubeadm upgrade` needs the same `--patches`:"
        + _run(f"sudo mkdir -p {PATCHES}", f"sudo cp {folders[0] if one else 'patches/MEMBER'}/* {PATCHES}/")
    ]


def _static_pod(settings: Settings, files: Mapping[str, File]) -> list[str]:
    own = {name.rpartition("/")[2] for name in files if name.startswith("manifests/")}
    several = len(settings.members) > 1
    if own:
        return [_COPY, _BACK_UP, *_own(own, several=several)]
    return [_COPY, _BACK_UP, *_by_patch(settings)]


def _own(names: set[str], *, several: bool) -> list[str]:
    folder = {"etcd.yaml": "manifests/MEMBER" if several else "manifests", "kube-apiserver.yaml": "manifests"}
    waits = {"etcd.yaml": _WAIT_ETCD, "kube-apiserver.yaml": _WAIT_APISERVER}
    copies = [
        _EACH + _run(f"sudo cp {folder[name]}/{name} /etc/kubernetes/manifests/{name}", wait)
        for name, wait in waits.items()
        if name in names
    ]
    return [
        "The manifests of your nodes differ in their addresses: render each node's from its own.",
        *copies,
    ]


def _by_patch(settings: Settings) -> list[str]:
    folder = "patches" if len(settings.members) == 1 else "patches/MEMBER"
    etcd = [f"{folder}/etcd0+json", *([f"{folder}/etcd1+strategic"] if settings.has_environment else [])]
    server = ["patches/kube-apiserver0+json", "patches/kube-apiserver1+strategic"]
    commands = [*_patch_commands("etcd", etcd), *_patch_commands("kube-apiserver", server)]
    versions = f"--k8s {settings.kubernetes_version} --etcd {settings.etcd_version}"
    return [
        "Make each node's new manifests from its old ones; this changes nothing in the cluster. "
        "Or render again with `--from` for each manifest, and get them whole, comments kept:"
        + _run(*commands),
        "Read them:"
        + _run(f"k8strace setup check {versions} new-etcd.yaml new-kube-apiserver.yaml tracing/config.yaml"),
        _EACH + _run("sudo cp new-etcd.yaml /etc/kubernetes/manifests/etcd.yaml", _WAIT_ETCD),
        _EACH
        + _run(
            "sudo cp new-kube-apiserver.yaml /etc/kubernetes/manifests/kube-apiserver.yaml", _WAIT_APISERVER
        ),
    ]


def _patch_commands(name: str, patches: list[str]) -> list[str]:
    """One `kubectl patch --local` per patch, each on the result of the one before."""
    commands = []
    source = f"/root/before-tracing/{name}.yaml"
    for number, patch in enumerate(patches, 1):
        result = f"new-{name}.yaml" if number == len(patches) else f"new-{name}-{number}.yaml"
        kind = patch.rpartition("+")[2]
        sudo = "sudo " if source.startswith("/root/") else ""
        commands.append(
            f"{sudo}kubectl patch --local -f {source} --type {kind} --patch-file {patch}.yaml -o yaml > {result}"
        )
        source = result
    return commands


def _kind(settings: Settings, _: Mapping[str, File]) -> list[str]:
    version = settings.kubernetes_version
    image = f"kindest/node:v{version}" + ("" if version.count(".") == 2 else ".X")
    return [
        "`localhost` in a node is the node itself; the host is the gateway of kind's network, and the receiver must "
        "listen there. If this names another address than the endpoint above, render again with `--endpoint`:"
        + _run("docker network inspect kind --format '{{range .IPAM.Config}}{{.Gateway}} {{end}}'"),
        "In this folder, with an image that your kind knows:"
        + _run(f"kind create cluster --config kind.yaml --image {image}"),
        "See that the node's etcd is the one above:"
        + _run(
            "kubectl -n kube-system get pods -l component=etcd -o jsonpath='{.items[*].spec.containers[0].image}'"
        ),
    ]


def _minikube(_: Settings, __: Mapping[str, File]) -> list[str]:
    return [
        "Copy `tracing.yaml` to the one folder that minikube both brings into the node and mounts into kube-apiserver, "
        "and start. The script does both:" + _run("minikube stop", "sh start.sh"),
        "minikube takes the etcd that belongs to the Kubernetes version. See that it is the one above:"
        + _run("kubectl -n kube-system get pod etcd-minikube -o jsonpath='{.spec.containers[0].image}'"),
    ]


def _k3s(settings: Settings, files: Mapping[str, File]) -> list[str]:
    each = "90-tracing.yaml" if len(settings.members) == 1 else "MEMBER/90-tracing.yaml"
    variables = _run("sudo sh -c 'cat k3s.env >> /etc/systemd/system/k3s.service.env'")
    gates = "If your configuration sets feature-gates already, put both into one argument, with a comma."
    return [
        "k3s has etcd spans only with the embedded etcd (`cluster-init: true`, or several servers): SQLite has none.",
        "On every server:"
        + _run(
            "sudo install -D -m 0644 tracing.yaml /etc/rancher/k3s/tracing.yaml",
            f"sudo install -D -m 0644 {each} /etc/rancher/k3s/config.yaml.d/90-tracing.yaml",
        ),
        *(["On every server, the environment:" + variables] if "k3s.env" in files else []),
        *([gates] if settings.kubernetes.gate is Gate.REQUIRED else []),
        _EACH + _run("sudo systemctl restart k3s", _WAIT_APISERVER),
    ]


_APPLY = {
    "kubeadm": _kubeadm,
    "static-pod": _static_pod,
    "kind": _kind,
    "minikube": _minikube,
    "k3s": _k3s,
}


def check(settings: Settings) -> list[str]:
    """How to check the files before, and the cluster after."""
    versions = f"--k8s {settings.kubernetes_version} --etcd {settings.etcd_version}"
    return [
        "Before, in this folder:" + _run(f"k8strace setup check {versions} ."),
        "After, where the endpoint leads to, with `k8strace serve` ended for as long as it takes. The probe takes the "
        "spans itself, and shows where the time of one request went:"
        + _run(
            f"k8strace setup probe --server https://ADDRESS:6443 --listen {_listen(settings)} "
            "--ca-file certificate-authority.pem --client-cert client-certificate.pem --client-key client-key.pem"
        )
        + "\n   If another receiver has the port and writes to a file, give `--store FILE` instead of `--listen`.",
    ]


def undo(settings: Settings) -> list[str]:
    """How to restore the state before."""
    return _UNDO[settings.target]


_UNDO = {
    "kubeadm": [
        _RESTORE,
        "Take the same lines out of the ClusterConfiguration:"
        + _run("kubectl -n kube-system edit configmap kubeadm-config"),
        _REMOVE,
    ],
    "static-pod": [_RESTORE, _REMOVE],
    "kind": ["Delete the cluster, and create it without `--config kind.yaml`:" + _run("kind delete cluster")],
    "minikube": [
        "minikube remembers its options for as long as the cluster lives, so:"
        + _run("minikube delete", "rm ~/.minikube/files/etc/ssl/certs/tracing.yaml", "minikube start")
    ],
    "k3s": [
        "Take the lines of `k3s.env` out of `/etc/systemd/system/k3s.service.env` if you added them. "
        + _EACH
        + _run(
            "sudo rm /etc/rancher/k3s/config.yaml.d/90-tracing.yaml /etc/rancher/k3s/tracing.yaml",
            "sudo systemctl restart k3s",
            _WAIT_APISERVER,
        )
    ],
}
