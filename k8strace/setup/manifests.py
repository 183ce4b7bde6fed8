"""Static pods: patches for any node, or the user's own manifests with tracing added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from k8strace.setup.documents import Document, items, rows, table
from k8strace.setup.flags import apiserver_arguments, environment, etcd_arguments
from k8strace.setup.kubeadm import CONFIG, FOLDER, append_argument, replace_named
from k8strace.setup.settings import Settings
from k8strace.setup.versions import ALL_ETCD_FLAGS, SetupError

__all__ = ["component_of_pod", "patched", "pod_patches"]

APISERVER = "kube-apiserver"
ETCD = "etcd"


def _mount() -> dict[str, Any]:
    return {"name": "tracing", "mountPath": FOLDER, "readOnly": True}


def _volume() -> dict[str, Any]:
    return {"name": "tracing", "hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"}}


def pod_patches(settings: Settings) -> dict[str, Any]:
    """Patches by path, named as kubeadm expects; etcd's in one folder per member if there are several."""
    several = len(settings.members) > 1
    files: dict[str, Any] = {
        "patches/kube-apiserver0+json.yaml": [
            append_argument(*argument) for argument in apiserver_arguments(settings, CONFIG)
        ],
        "patches/kube-apiserver1+strategic.yaml": _apiserver_patch(settings),
    }
    for member in settings.members:
        folder = f"patches/{member}/" if several else "patches/"
        arguments = etcd_arguments(settings, member)
        files[f"{folder}etcd0+json.yaml"] = [append_argument(*argument) for argument in arguments]
        if settings.has_environment:
            container = {"name": ETCD, "env": _variables(settings)}
            files[f"{folder}etcd1+strategic.yaml"] = {"spec": {"containers": [container]}}
    return files


def _apiserver_patch(settings: Settings) -> dict[str, Any]:
    container: dict[str, Any] = {"name": APISERVER}
    if settings.has_environment:
        container["env"] = _variables(settings)
    container["volumeMounts"] = [_mount()]
    return {"spec": {"containers": [container], "volumes": [_volume()]}}


def _variables(settings: Settings) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in environment(settings).items()]


def component_of_pod(pod: Any) -> tuple[str, Any] | None:
    """Whether a static pod runs kube-apiserver or etcd, and its container; None for another pod."""
    for container in rows(table(pod.get("spec")).get("containers")):
        words = [str(word) for word in [*items(container.get("command")), *items(container.get("args"))]]
        program = words[0].rpartition("/")[2] if words else ""
        image = str(container.get("image", "")).partition("@")[0].rpartition("/")[2].partition(":")[0]
        for name in (APISERVER, ETCD):
            if name in (program, container.get("name"), image):
                return name, container
    return None


def patched(document: Document, settings: Settings, member: str) -> str:
    """
    Adds tracing to the user's own static pod and returns which one it is. Other arguments, comments and order stay.

    Raises:
        SetupError: It is neither kube-apiserver nor etcd, or its command is not a list of flags.
    """
    found = component_of_pod(document.content)
    if found is None:
        raise SetupError(
            f"line {document.line(document.content)}: this pod is neither kube-apiserver nor etcd"
        )
    name, container = found
    holder = "command" if container.get("command") else "args"
    words = container.get(holder)
    if not words or any(not isinstance(word, str) or " " in word.strip() for word in words):
        raise SetupError(f"line {document.line(container)}: the command of {name} is not a list of flags")
    if name == APISERVER:
        gates = _take(words, ["feature-gates", "tracing-config-file"]).get("feature-gates", "")
        _append(words, apiserver_arguments(settings, CONFIG, gates))
        replace_named(_list(container, "volumeMounts"), [_mount()])
        replace_named(_list(document.content["spec"], "volumes"), [_volume()])
    else:
        _take(words, list(ALL_ETCD_FLAGS))
        _append(words, etcd_arguments(settings, member))
    if settings.has_environment:
        replace_named(_list(container, "env"), _variables(settings))
    return name


def _list(holder: Any, key: str) -> Any:
    if holder.get(key) is None:
        holder[key] = []
    return holder[key]


def _take(words: Any, names: Sequence[str]) -> dict[str, str]:
    """Removes flags, as `--name=value` or as two words, and returns their values."""
    taken: dict[str, str] = {}
    at = 0
    while at < len(words):
        name, separator, value = words[at].partition("=")
        if name.lstrip("-") not in names or not name.startswith("-"):
            at += 1
            continue
        words.pop(at)
        if not separator and at < len(words) and not words[at].startswith("-"):
            value = words.pop(at)
        old = taken.get(name.lstrip("-"))
        taken[name.lstrip("-")] = f"{old},{value}" if old else value
    return taken


def _append(words: Any, arguments: Sequence[tuple[str, str]]) -> None:
    words.extend(f"--{name}={value}" for name, value in arguments)
