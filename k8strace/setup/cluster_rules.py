"""Traps in the forms of kubeadm and kind. The servers that they start are checked in `rules`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from k8strace.setup.documents import items, rows, table
from k8strace.setup.findings import Finding
from k8strace.setup.recognise import Argument, Found, KindCluster, Kubeadm
from k8strace.setup.rules import covers
from k8strace.setup.versions import ALL_ETCD_FLAGS, Kubernetes

__all__ = ["kind_rules", "kubeadm_rules", "local_endpoints"]

Findings = Iterator[Finding]


def kubeadm_rules(kubeadm: Kubeadm, rules: Kubernetes | None) -> Findings:
    """Traps in the form of a ClusterConfiguration."""
    content = kubeadm.document.content
    form = str(content.get("apiVersion", "")).rpartition("/")[2]
    if not form and kubeadm.kind and rules:
        form = rules.kind_kubeadm
    if form == "v1beta4" and rules and not kubeadm.kind and rules.kubeadm != "v1beta4":
        line = kubeadm.document.line(content, "apiVersion")
        problem = f"kubeadm of Kubernetes {rules.name} does not read v1beta4"
        yield Finding(
            kubeadm.file, line, "kubeadm-version", problem, "write kubeadm.k8s.io/v1beta3, arguments as a map"
        )
    for holder in (content.get("apiServer"), table(content.get("etcd")).get("local")):
        if form and hasattr(holder, "get"):
            yield from _form(kubeadm, holder, form)


def _form(kubeadm: Kubeadm, holder: Any, form: str) -> Findings:
    arguments = holder.get("extraArgs")
    line = kubeadm.document.line(holder, "extraArgs")
    is_map, lists = hasattr(arguments, "items"), form == "v1beta4"
    if arguments and is_map == lists:
        has, wants = (
            ("a map", "a list of name and value") if is_map else ("a list", "a map of names to values")
        )
        problem = f"extraArgs is {has}, and {form} reads {wants}"
        yield Finding(kubeadm.file, line, "kubeadm-form", problem, f"write {wants}")
    if "extraEnvs" in holder and not lists:
        line = kubeadm.document.line(holder, "extraEnvs")
        problem = f"{form} has no extraEnvs: kubeadm drops the environment"
        better = "put it into a patches folder (`k8strace setup render` writes one), or use v1beta4"
        yield Finding(kubeadm.file, line, "kubeadm-form", problem, better)
    for at, value in _not_text(arguments):
        line = kubeadm.document.line(arguments, at)
        problem = f"the value {str(value).lower()[:40]} is not text, and kubeadm reads only text"
        yield Finding(
            kubeadm.file, line, "kubeadm-form", problem, f'write "{str(value).lower()[:40]}", in quotes'
        )


def _not_text(arguments: Any) -> Iterator[tuple[Any, Any]]:
    """Values that are not strings, and where they are."""
    if hasattr(arguments, "items"):
        yield from ((key, value) for key, value in arguments.items() if not isinstance(value, str))
    else:
        for at, item in enumerate(items(arguments)):
            if hasattr(item, "get") and not isinstance(item.get("value", ""), str):
                yield at, item["value"]


def kind_rules(kind: KindCluster, found: Found) -> Findings:
    """Traps of kind: files that stay outside the node, and lists that replace."""
    for server in (
        each for each in found.servers if each.file == kind.file and each.component == "kube-apiserver"
    ):
        config = server.get("tracing-config-file")
        if config:
            yield from _brought_in(kind, config)
    yield from _replaced(kind)


def _brought_in(kind: KindCluster, config: Argument) -> Findings:
    """The file must be in the node before kubeadm can mount it into the container."""
    nodes = rows(kind.document.content.get("nodes")) or [{}]
    servers = [node for node in nodes if node.get("role", "control-plane") == "control-plane"]
    without = [
        node
        for node in servers
        if not any(
            covers(str(m.get("containerPath", "")), config.value) for m in rows(node.get("extraMounts"))
        )
    ]
    if without:
        problem = (
            f"{len(without)} of {len(servers)} nodes have no extraMounts that bring in {config.value[:120]}"
        )
        folder = config.value.rpartition("/")[0][:120]
        better = f"add extraMounts with containerPath: {folder} to each"
        yield Finding(
            kind.file, kind.document.line(kind.document.content, "nodes"), "file-not-mounted", problem, better
        )


def _replaced(kind: KindCluster) -> Findings:
    """A merge patch replaces a whole list; kind's own list holds featureGates and runtimeConfig."""
    content = kind.document.content
    own = [key for key in ("featureGates", "runtimeConfig") if content.get(key)]
    for patch in kind.patches:
        arguments = table(patch.content.get("apiServer")).get("extraArgs")
        if own and isinstance(arguments, list):
            names = {item.get("name") for item in arguments if hasattr(item, "get")}
            lost = [
                key
                for key in own
                if {"featureGates": "feature-gates"}.get(key, "runtime-config") not in names
            ]
            if lost:
                problem = f"the patch's list of extraArgs replaces kind's, and {' and '.join(lost)} are lost"
                line = patch.line(patch.content, "apiServer")
                yield Finding(kind.file, line, "kind-list", problem, "repeat them in the patch's list")


def local_endpoints(found: Found) -> Findings:
    """Endpoints on localhost, if the node is a container or a virtual machine: localhost is then inside it."""
    if not found.inside_node:
        return
    better = "write the host as the node sees it: the gateway of kind's network, or host.minikube.internal"
    for file, line, endpoint in _endpoints(found):
        if endpoint.rpartition(":")[0].rpartition("/")[2] in ("localhost", "127.0.0.1", "[::1]"):
            problem = f"{endpoint[:80]} is inside the node, where no receiver listens"
            yield Finding(file, line, "endpoint-local", problem, better)


def _endpoints(found: Found) -> Iterator[tuple[str, int, str]]:
    for server in found.servers:
        for argument in server.arguments:
            if ALL_ETCD_FLAGS.get(argument.name) == "address":
                yield server.file, argument.line, argument.value
    for tracing in found.tracing:
        content = tracing.document.content
        line = tracing.document.line(content, "endpoint")
        yield tracing.file, line, str(content.get("endpoint", "localhost:4317"))
