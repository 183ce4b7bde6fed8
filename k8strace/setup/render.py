"""`render`: settings → the files to write, each with its place and purpose. Touches no disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from k8strace.setup import clusters, pages
from k8strace.setup.documents import dump, load
from k8strace.setup.files import File
from k8strace.setup.flags import tracing_configuration
from k8strace.setup.kubeadm import CONFIG, cluster_configuration, merged, patches
from k8strace.setup.manifests import patched, pod_patches
from k8strace.setup.settings import Settings, Target
from k8strace.setup.versions import Kubeadm, SetupError

__all__ = ["Own", "render"]

_CONFIG_COMMENT = "Read by kube-apiserver (--tracing-config-file). The endpoint is host:port, never http://."


@dataclass(frozen=True, slots=True)
class Own:
    """A user's file, of which a changed copy is made."""

    name: str
    """For messages."""
    text: str


def render(settings: Settings, own: tuple[Own, ...] = ()) -> dict[str, File]:
    """
    Everything that enables tracing for these versions and this target.

    Args:
        settings: What to write.
        own: The user's static pods or `ClusterConfiguration`; the result then has copies of them with tracing added.

    Returns:
        Path within the output folder → file; README.md says how to use them.

    Raises:
        SetupError: One of the user's files is not what the target needs.
        MissingExtraError: ruamel.yaml is not installed.
    """
    if own and settings.target not in ("kubeadm", "static-pod"):
        raise SetupError(f"{settings.target} has no files of yours to put tracing into: leave out --from")
    files = _WRITERS[settings.target](settings, own)
    return {**files, "README.md": File(pages.readme(settings, files), "this page", "")}


def _config(settings: Settings, path: str = "tracing/config.yaml", place: str = CONFIG) -> dict[str, File]:
    text = dump(tracing_configuration(settings), comment=_CONFIG_COMMENT)
    return {path: File(text, "where kube-apiserver sends spans, and of how many requests", place)}


def _kubeadm(settings: Settings, own: tuple[Own, ...]) -> dict[str, File]:
    form = settings.kubernetes.kubeadm
    if own:
        text, form = _merged_configuration(settings, own)
    else:
        text = dump(
            cluster_configuration(settings, None),
            comment="Only what tracing needs: merge it into your ClusterConfiguration.",
        )
    configuration = File(
        text,
        "flags, environment and the mounted folder of kube-apiserver, flags of etcd",
        "kubeadm --config",
        secret=settings.token is not None and form == "v1beta4",
    )
    found = patches(settings, form)
    return {**_config(settings), "cluster-configuration.yaml": configuration, **_patch_files(settings, found)}


def _merged_configuration(settings: Settings, own: tuple[Own, ...]) -> tuple[str, Kubeadm]:
    """The user's one file with tracing added to its ClusterConfiguration, and its form."""
    if len(own) > 1:
        raise SetupError(f"kubeadm needs one file of yours, got {len(own)}")
    documents = _load(own[0])
    wanted = [
        d
        for d in documents
        if isinstance(d.content, Mapping) and d.content.get("kind") == "ClusterConfiguration"
    ]
    if len(wanted) != 1:
        raise SetupError(f"{own[0].name}: expected one ClusterConfiguration, got {len(wanted)}")
    _named(own[0], lambda: merged(wanted[0], settings))
    text = "---\n".join(dump(document.content) for document in documents)
    return text, "v1beta4" if str(wanted[0].content["apiVersion"]).endswith("v1beta4") else "v1beta3"


def _load(own: Own) -> Any:
    return _named(own, lambda: load(own.text))


def _named(own: Own, step: Callable[[], Any]) -> Any:
    """Runs a step; errors name the file."""
    try:
        return step()
    except SetupError as error:
        raise SetupError(f"{own.name}: {error}") from None


def _patch_files(settings: Settings, found: Mapping[str, Any], place: str = "") -> dict[str, File]:
    return {
        path: File(
            dump(content),
            _PATCH_PURPOSE[path.rpartition("/")[2].partition("+")[2]],
            place or "kubeadm's patches folder, or kubectl patch --local",
            secret=settings.token is not None and "strategic" in path,
        )
        for path, content in found.items()
    }


_PATCH_PURPOSE: Final = {
    "json.yaml": "flags to append to the command",
    "strategic.yaml": "environment, volume and mount to add",
}


def _static_pod(settings: Settings, own: tuple[Own, ...]) -> dict[str, File]:
    if not own:
        return {**_config(settings), **_patch_files(settings, pod_patches(settings))}
    files = _config(settings)
    for file in own:
        files |= _patched_manifests(settings, file)
    return files


def _patched_manifests(settings: Settings, own: Own) -> dict[str, File]:
    """Copies of a user's manifest: one, or one per member if it is etcd's and there are several."""
    several = len(settings.members) > 1
    files = {}
    for member in settings.members:
        document = _named(own, lambda: _one_pod(own))
        name = _named(own, partial(patched, document, settings, member))
        folder = f"manifests/{member}/" if several and name == "etcd" else "manifests/"
        files[f"{folder}{name}.yaml"] = File(
            dump(document.content),
            f"your {name} manifest with tracing put in",
            f"/etc/kubernetes/manifests/{name}.yaml",
            secret=settings.token is not None,
        )
    return files


def _one_pod(own: Own) -> Any:
    documents = load(own.text)
    if (
        len(documents) != 1
        or not isinstance(documents[0].content, Mapping)
        or documents[0].content.get("kind") != "Pod"
    ):
        raise SetupError("expected one Pod, as in /etc/kubernetes/manifests")
    return documents[0]


def _kind(settings: Settings, _: tuple[Own, ...]) -> dict[str, File]:
    form = settings.kubernetes.kind_kubeadm
    comment = "Run kind in this folder: the host paths below begin here."
    if form == "v1beta4":
        comment += "\nkind replaces its own list of apiServer.extraArgs by the one below: if you set featureGates or\n"
        comment += "runtimeConfig in this file, repeat them there as feature-gates and runtime-config."
    cluster = File(
        dump(clusters.kind_cluster(settings), comment=comment),
        "one control-plane node per etcd member, folders mounted, kubeadm patched",
        "kind --config",
        secret=settings.token is not None and form == "v1beta4",
    )
    found = _patch_files(settings, patches(settings, form), f"{clusters.PATCHES} in the node, by the mount")
    return {**_config(settings, place=f"{CONFIG} in the node, by the mount"), "kind.yaml": cluster, **found}


def _minikube(settings: Settings, _: tuple[Own, ...]) -> dict[str, File]:
    script = File(
        clusters.minikube(settings),
        "puts tracing.yaml where minikube syncs it from, and starts minikube with the flags",
        "run it here",
        executable=True,
    )
    return {**_config(settings, "tracing.yaml", clusters.MINIKUBE_CONFIG), "start.sh": script}


def _k3s(settings: Settings, _: tuple[Own, ...]) -> dict[str, File]:
    files = _config(settings, "tracing.yaml", clusters.K3S_CONFIG)
    several = len(settings.members) > 1
    for member in settings.members:
        files[f"{member}/90-tracing.yaml" if several else "90-tracing.yaml"] = File(
            dump(clusters.k3s_arguments(settings, member)),
            "flags of kube-apiserver and etcd" + (f" on the server {member}" if several else ""),
            "/etc/rancher/k3s/config.yaml.d/90-tracing.yaml",
        )
    if settings.has_environment:
        files["k3s.env"] = File(
            clusters.k3s_environment(settings),
            "environment of the k3s process: lines to append",
            "/etc/systemd/system/k3s.service.env",
            secret=settings.token is not None,
        )
    return files


_WRITERS: Final[dict[Target, Callable[[Settings, tuple[Own, ...]], dict[str, File]]]] = {
    "kubeadm": _kubeadm,
    "static-pod": _static_pod,
    "kind": _kind,
    "minikube": _minikube,
    "k3s": _k3s,
}
