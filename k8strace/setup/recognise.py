"""Recognises files: the servers that they start and their tracing configurations, each value with its line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from k8strace.setup.clusters import MINIKUBE_CONFIG
from k8strace.setup.documents import Document, items, load, rows, table
from k8strace.setup.findings import Finding, Recognised
from k8strace.setup.manifests import component_of_pod
from k8strace.setup.versions import SetupError

__all__ = ["Argument", "Found", "KindCluster", "NodeFile", "Server", "Tracing", "recognise"]


class Argument(NamedTuple):
    """One flag, without dashes."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Server:
    """A kube-apiserver or etcd as a file starts it."""

    component: Literal["kube-apiserver", "etcd"]
    file: str
    line: int
    arguments: tuple[Argument, ...]
    mounts: tuple[str, ...] | None
    """Paths of the node that the container sees; None if that does not apply."""
    version: str | None
    """The version in the image tag or the configuration."""
    whole: bool
    """Whether these are all arguments; a patch has only some."""

    def get(self, name: str) -> Argument | None:
        """The last argument of a name."""
        return next((found for found in reversed(self.arguments) if found.name == name), None)


@dataclass(frozen=True, slots=True)
class Tracing:
    """A TracingConfiguration."""

    file: str
    document: Document


@dataclass(frozen=True, slots=True)
class NodeFile:
    """A file of a container runtime."""

    file: str
    kind: Literal["toml", "unit"]
    what: str
    text: str

    def line(self, key: str, otherwise: str = r"\A") -> int:
        """Line of a key, from 1. If it is missing, the line that the pattern `otherwise` matches."""
        found = re.search(rf"^[ \t]*{key}[ \t]*=", self.text, re.MULTILINE) or re.search(otherwise, self.text)
        return 1 if found is None else self.text[: found.start()].count("\n") + 1


@dataclass(frozen=True, slots=True)
class Kubeadm:
    """A ClusterConfiguration, by itself or in kind's configuration."""

    file: str
    document: Document
    version: str | None
    kind: bool


@dataclass(frozen=True, slots=True)
class KindCluster:
    """kind's Cluster."""

    file: str
    document: Document
    patches: tuple[Document, ...]


@dataclass(slots=True)
class Found:
    """Everything found in some files."""

    servers: list[Server] = field(default_factory=list)
    tracing: list[Tracing] = field(default_factory=list)
    kubelets: list[Tracing] = field(default_factory=list)
    node_files: list[NodeFile] = field(default_factory=list)
    kubeadm: list[Kubeadm] = field(default_factory=list)
    kinds: list[KindCluster] = field(default_factory=list)
    recognised: list[Recognised] = field(default_factory=list)
    broken: list[Finding] = field(default_factory=list)
    inside_node: bool = False
    """Whether the node is a container or a virtual machine: kind, minikube."""


def recognise(file: str, text: str, found: Found) -> None:
    """Adds the content of one file."""
    if _minikube(file, text, found) or _node_file(file, text, found):
        return
    try:
        documents = load(text)
    except SetupError as error:
        _not_yaml(file, str(error), found)
        return
    if not documents:
        found.recognised.append(Recognised(file, 1, "not recognised: empty"))
    for document in documents:
        what = _document(file, document, found)
        found.recognised.append(Recognised(file, document.line(document.content), what))


def _not_yaml(file: str, problem: str, found: Found) -> None:
    line, _, words = problem.removeprefix("line ").partition(": ")
    found.broken.append(Finding(file, int(line), "yaml", words, "repair the YAML, or leave the file out"))


def _document(file: str, document: Document, found: Found) -> str:
    content = document.content
    if isinstance(content, Sequence) and not isinstance(content, str):
        return _json_patch(file, document, found)
    if not isinstance(content, Mapping):
        return "not recognised: no mapping"
    kind = content.get("kind")
    if _is_tracing(content):
        return _tracing(file, document, found)
    if kind is None:
        return _k3s(file, document, found)
    reader = _READERS.get(str(kind))
    return reader(file, document, found) if reader else f"not checked: kind {kind}"


# ── One reader per kind ───────────────────────────────────────────────────────────────────────────


def _is_tracing(content: Any) -> bool:
    """Whether it is, or is meant as, a TracingConfiguration: by its kind, a misspelt kind, or its keys."""
    kind = str(content.get("kind") or "").lower()
    version = str(content.get("apiVersion") or "")
    its_own = version.startswith("apiserver.config.k8s.io/")
    return (
        any(str(key).lower() == "samplingratepermillion" for key in content)
        or kind == "tracingconfiguration"
        or ("trac" in kind and (its_own or not version))
        or (its_own and not kind)
    )


def _tracing(file: str, document: Document, found: Found) -> str:
    found.tracing.append(Tracing(file, document))
    return "TracingConfiguration"


def _pod(file: str, document: Document, found: Found) -> str:
    component = component_of_pod(document.content)
    if component is None:
        return "not checked: a pod of something else"
    name, container = component
    version = image_version(str(container.get("image", "")))
    found.servers.append(
        Server(
            "etcd" if name == "etcd" else "kube-apiserver",
            file,
            document.line(container),
            tuple(_command(document, container)),
            tuple(_pod_mounts(document.content, container)),
            version,
            whole=True,
        )
    )
    return f"static pod of {name} {version or '(no version in the image tag)'}"


def image_version(image: str) -> str | None:
    """The tag of an image if it is a version: "v1.33.1"."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return tag if re.match(r"v?\d+\.\d+", tag) else None


def _command(document: Document, container: Any) -> Iterator[Argument]:
    for key in ("command", "args"):
        words = items(container.get(key))
        for at, word in enumerate(words):
            line = document.line(words, at)
            parts = shlex.split(str(word), comments=True) if " --" in str(word) else [str(word)]
            yield from (argument for part in parts if (argument := _flag(part, line, words, at)))


def _flag(word: str, line: int, words: Any, at: int) -> Argument | None:
    """A flag; its value may be the next word."""
    if not word.startswith("-"):
        return None
    name, separator, value = word.lstrip("-").partition("=")
    following = str(words[at + 1]) if at + 1 < len(words) else "-"
    if not separator:
        value = "true" if following.startswith("-") else following
    return Argument(name, value, line)


def _pod_mounts(pod: Any, container: Any) -> Iterator[str]:
    volumes = {str(volume.get("name")) for volume in rows(table(pod.get("spec")).get("volumes"))}
    for mount in rows(container.get("volumeMounts")):
        if str(mount.get("name")) in volumes:
            yield str(mount.get("mountPath", ""))


def _cluster(
    file: str, document: Document, found: Found, *, kind_version: str | None = None, kind: bool = False
) -> str:
    content = document.content
    version = kind_version or _release(content.get("kubernetesVersion"))
    found.kubeadm.append(Kubeadm(file, document, version, kind))
    server = table(content.get("apiServer"))
    local = table(table(content.get("etcd")).get("local"))
    mounts = tuple(str(volume.get("mountPath", "")) for volume in rows(server.get("extraVolumes")))
    if server.get("extraArgs"):
        arguments = tuple(_extra(document, server["extraArgs"]))
        line = document.line(content, "apiServer")
        found.servers.append(Server("kube-apiserver", file, line, arguments, mounts, version, whole=True))
    if local.get("extraArgs"):
        tag = str(local.get("imageTag") or "")
        arguments = tuple(_extra(document, local["extraArgs"]))
        line = document.line(content, "etcd")
        found.servers.append(
            Server("etcd", file, line, arguments, None, image_version(f":{tag}"), whole=True)
        )
    return f"kubeadm ClusterConfiguration {content.get('apiVersion', '')}".strip()


def _release(version: Any) -> str | None:
    match = re.search(r"1\.\d+(\.\d+)?", str(version or ""))
    return match[0] if match else None


def _extra(document: Document, arguments: Any) -> Iterator[Argument]:
    """Reads extraArgs of kubeadm, a map or a list."""
    if isinstance(arguments, Mapping):
        for name, value in arguments.items():
            yield Argument(str(name), _word(value), document.line(arguments, name))
    else:
        for at, item in enumerate(items(arguments)):
            if isinstance(item, Mapping):
                yield Argument(
                    str(item.get("name", "")), _word(item.get("value")), document.line(arguments, at)
                )


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kind(file: str, document: Document, found: Found) -> str:
    content = document.content
    if not str(content.get("apiVersion", "")).startswith("kind.x-k8s.io/"):
        return f"not checked: kind Cluster of {content.get('apiVersion', 'no group')}"
    nodes = rows(content.get("nodes"))
    images = [image_version(str(node.get("image", ""))) for node in nodes]
    version = next(filter(None, images), None)
    patches = tuple(_embedded(file, document, content, found))
    patches += tuple(patch for node in nodes for patch in _embedded(file, document, node, found))
    found.kinds.append(KindCluster(file, document, patches))
    found.inside_node = True
    for patch in patches:
        if patch.content.get("kind") == "ClusterConfiguration":
            _cluster(file, patch, found, kind_version=version, kind=True)
    return f"kind Cluster with {len(patches)} kubeadm patches"


def _embedded(file: str, document: Document, holder: Any, found: Found) -> Iterator[Document]:
    """YAML inside kubeadmConfigPatches; a literal block begins on the line after its mark."""
    texts = items(holder.get("kubeadmConfigPatches"))
    for at, text in enumerate(texts):
        try:
            inner = load(str(text), offset=document.line(texts, at))
        except SetupError as error:
            _not_yaml(file, str(error), found)
            continue
        yield from (each for each in inner if isinstance(each.content, Mapping))


def _json_patch(file: str, document: Document, found: Found) -> str:
    """Reads patches for kubeadm and kubectl that append flags to a command; others are ignored."""
    steps = document.content
    if not all(isinstance(step, Mapping) and "op" in step and "path" in step for step in steps):
        return "not recognised: a list"
    words = [
        (str(step.get("value", "")), document.line(steps, at))
        for at, step in enumerate(steps)
        if str(step["path"]).startswith("/spec/containers/")
    ]
    arguments = tuple(flag for word, line in words if (flag := _flag(word, line, [word], 0)))
    component: Literal["kube-apiserver", "etcd"] = (
        "etcd" if any("distributed-tracing" in each.name for each in arguments) else "kube-apiserver"
    )
    found.servers.append(Server(component, file, 1, arguments, None, None, whole=False))
    return f"JSON patch of {component}"


def _k3s(file: str, document: Document, found: Found) -> str:
    content = document.content
    lists: dict[str, Literal["kube-apiserver", "etcd"]] = {
        "kube-apiserver-arg": "kube-apiserver",
        "etcd-arg": "etcd",
    }
    keys = [key for key in content if str(key).removesuffix("+") in lists]
    for key in keys:
        words = (
            content[key]
            if isinstance(content[key], Sequence) and not isinstance(content[key], str)
            else [content[key]]
        )
        arguments = tuple(
            flag
            for at, word in enumerate(words)
            if (
                flag := _flag(
                    f"--{word}",
                    document.line(words, at) if words is content[key] else document.line(content, key),
                    [word],
                    0,
                )
            )
        )
        component = lists[str(key).removesuffix("+")]
        found.servers.append(
            Server(component, file, document.line(content, key), arguments, None, None, whole=True)
        )
    if keys:
        return "k3s configuration"
    return "not checked: a patch of a pod" if "spec" in content else "not recognised: no kind"


def _kubelet(file: str, document: Document, found: Found) -> str:
    content = document.content
    if content.get("tracing") is None and "KubeletTracing" not in table(content.get("featureGates")):
        return "not checked: KubeletConfiguration without tracing"
    found.kubelets.append(Tracing(file, document))
    return "KubeletConfiguration"


_READERS: Final[dict[str, Callable[[str, Document, Found], str]]] = {
    "Pod": _pod,
    "ClusterConfiguration": _cluster,
    "Cluster": _kind,
    "KubeletConfiguration": _kubelet,
}


_NODE_FILES: Final[tuple[tuple[str, Literal["toml", "unit"], str], ...]] = (
    (r"^\s*\[crio\.tracing\]", "toml", "configuration of CRI-O"),
    (
        r"^\s*\[plugins\..?io\.containerd\.(tracing\.processor|internal)\.v1\.",
        "toml",
        "configuration of containerd",
    ),
    (r"^\s*Environment\s*=\s*[\"']?OTEL_", "unit", "environment of containerd"),
)
"""A pattern in the file, its kind, and its name in messages."""


def _node_file(file: str, text: str, found: Found) -> bool:
    """Whether it is a file of a container runtime with settings of tracing."""
    for pattern, kind, what in _NODE_FILES:
        if re.search(pattern, text, re.MULTILINE):
            found.node_files.append(NodeFile(file, kind, what, text))
            found.recognised.append(Recognised(file, 1, what))
            return True
    return False


def _minikube(file: str, text: str, found: Found) -> bool:
    """Whether it is a script that starts minikube: its flags go to the servers, and only one folder is mounted."""
    if not re.search(r"^\s*minikube +start\b", text, re.MULTILINE):
        return False
    begin = text[: re.search(r"^\s*minikube +start\b", text, re.MULTILINE).start()].count("\n") + 1  # type: ignore[union-attr]
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    release = next(
        (word.partition("=")[2] for word in words if word.startswith("--kubernetes-version=")), None
    )
    gates = [word.partition("=")[2] for word in words if word.startswith("--feature-gates=")]
    extra = [word.removeprefix("--extra-config=") for word in words if word.startswith("--extra-config=")]
    for component, prefix in (("kube-apiserver", "apiserver."), ("etcd", "etcd.")):
        pairs = [each.removeprefix(prefix).partition("=") for each in extra if each.startswith(prefix)]
        arguments = [Argument(name, value, begin) for name, _, value in pairs]
        if component == "kube-apiserver":
            arguments += [Argument("feature-gates", value, begin) for value in gates]
        if arguments:
            mounts = (MINIKUBE_CONFIG.rpartition("/")[0],) if component == "kube-apiserver" else None
            version = release if component == "kube-apiserver" else None
            found.servers.append(
                Server(component, file, begin, tuple(arguments), mounts, version, whole=True)  # type: ignore[arg-type]
            )
    found.recognised.append(Recognised(file, begin, "minikube start"))
    found.inside_node = True
    return True
