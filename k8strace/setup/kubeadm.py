"""kubeadm's `ClusterConfiguration`, new or merged into the user's own, and its patches folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from k8strace.setup.documents import Document, quoted
from k8strace.setup.flags import apiserver_arguments, environment, etcd_arguments, instance_argument
from k8strace.setup.settings import Settings
from k8strace.setup.versions import ALL_ETCD_FLAGS, Kubeadm, SetupError

__all__ = ["FOLDER", "cluster_configuration", "merged", "needs_patches", "patches"]

FOLDER: Final = "/etc/kubernetes/tracing"
"""Path of the tracing configuration, on the node and in the pod."""

CONFIG: Final = f"{FOLDER}/config.yaml"

Arguments = Sequence[tuple[str, str]]


def cluster_configuration(settings: Settings, version: Kubeadm | None) -> dict[str, Any]:
    """
    A `ClusterConfiguration` with nothing but tracing.

    Args:
        settings: What to write.
        version: Its form; None for the newest, with `apiVersion`. With a version `apiVersion` is left out, as in
            patches of kind's configuration.
    """
    form = version or settings.kubernetes.kubeadm
    head = {} if version else {"apiVersion": f"kubeadm.k8s.io/{form}"}
    content: dict[str, Any] = {**head, "kind": "ClusterConfiguration"}
    _set(content, settings, form)
    return content


def merged(document: Document, settings: Settings) -> None:
    """
    Adds tracing to the user's own `ClusterConfiguration`, in its form.

    Raises:
        SetupError: Its form is unknown.
    """
    form = str(document.content.get("apiVersion", "")).removeprefix("kubeadm.k8s.io/")
    if form not in ("v1beta3", "v1beta4"):
        raise SetupError(
            f"line {document.line(document.content, 'apiVersion')}: ClusterConfiguration {form or 'without version'}: "
            "run `kubeadm config migrate` to get v1beta3 or v1beta4 first"
        )
    _set(document.content, settings, "v1beta3" if form == "v1beta3" else "v1beta4")


def _set(content: Any, settings: Settings, form: Kubeadm) -> None:
    server = content.setdefault("apiServer", {})
    gates = _take(server, "extraArgs", ["feature-gates", "tracing-config-file"]).get("feature-gates", "")
    _put(server, apiserver_arguments(settings, CONFIG, gates), form)
    _put_variables(server, settings, form)
    _put_volume(server)
    local = content.setdefault("etcd", {}).setdefault("local", {})
    _take(local, "extraArgs", list(ALL_ETCD_FLAGS))
    _put(local, etcd_arguments(settings, _only(settings)), form)
    _put_variables(local, settings, form)


def _only(settings: Settings) -> str | None:
    """The member, if there is only one, since all members share this file."""
    return settings.members[0] if len(settings.members) == 1 else None


def _take(holder: Any, key: str, names: Sequence[str]) -> dict[str, str]:
    """Removes arguments, in either form, and returns them."""
    found: Any = holder.get(key) or []
    if hasattr(found, "keys"):
        return {name: str(found.pop(name)) for name in names if name in found}
    taken = [at for at, item in enumerate(found) if item.get("name") in names]
    return {item["name"]: str(item.get("value", "")) for item in (found.pop(at) for at in reversed(taken))}


def _put(holder: Any, arguments: Arguments, form: Kubeadm) -> None:
    """Adds arguments: a list from v1beta4 on, a map before."""
    if form == "v1beta4":
        items = holder.setdefault("extraArgs", [])
        items.extend({"name": name, "value": _text(value)} for name, value in arguments)
    else:
        holder.setdefault("extraArgs", {}).update({name: _text(value) for name, value in arguments})


def _text(value: str) -> Any:
    return quoted(value) if value in ("true", "false") or value.isdigit() else value


def _put_variables(holder: Any, settings: Settings, form: Kubeadm) -> None:
    if form == "v1beta4" and settings.has_environment:
        variables = holder.setdefault("extraEnvs", [])
        replace_named(variables, [{"name": k, "value": v} for k, v in environment(settings).items()])


def _put_volume(server: Any) -> None:
    volume = {
        "name": "tracing",
        "hostPath": FOLDER,
        "mountPath": FOLDER,
        "readOnly": True,
        "pathType": "DirectoryOrCreate",
    }
    replace_named(server.setdefault("extraVolumes", []), [volume])


def replace_named(items: Any, new: Sequence[Mapping[str, Any]]) -> None:
    """Adds named items to a list; each replaces one of the same name."""
    for item in new:
        places = [at for at, old in enumerate(items) if old.get("name") == item["name"]]
        if places:
            items[places[0]] = item
        else:
            items.append(item)


# ── The patches folder: what ClusterConfiguration cannot hold ─────────────────────────────────────


def needs_patches(settings: Settings, form: Kubeadm) -> bool:
    """Whether patches are needed: several members need an instance id each; before v1beta4 there is no environment."""
    return len(settings.members) > 1 or (settings.has_environment and form != "v1beta4")


def patches(settings: Settings, form: Kubeadm) -> dict[str, Any]:
    """Files of kubeadm's patches folders by path: one folder per member if there are several."""
    if not needs_patches(settings, form):
        return {}
    several = len(settings.members) > 1
    folders = {member: f"patches/{member}/" if several else "patches/" for member in settings.members}
    found: dict[str, Any] = {}
    for member, folder in folders.items():
        if settings.has_environment and form != "v1beta4":
            for name in ("kube-apiserver", "etcd"):
                found[f"{folder}{name}0+strategic.yaml"] = variables_patch(settings, name)
        if several:
            found[f"{folder}etcd1+json.yaml"] = [append_argument(*instance_argument(settings, member))]
    return found


def variables_patch(settings: Settings, container: str) -> dict[str, Any]:
    """A strategic merge patch of a static pod that sets the environment."""
    variables = [{"name": name, "value": value} for name, value in environment(settings).items()]
    return {"spec": {"containers": [{"name": container, "env": variables}]}}


def append_argument(name: str, value: str) -> dict[str, Any]:
    """A step of a JSON patch that appends one argument to the command of a static pod."""
    return {"op": "add", "path": "/spec/containers/0/command/-", "value": f"--{name}={value}"}
