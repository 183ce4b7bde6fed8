"""Traps in the forms of kubeadm and kind. The servers that they start are judged in `rules`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from k8strace.setup.findings import Finding
from k8strace.setup.recognise import Argument, Found, Kind, Kubeadm
from k8strace.setup.rules import covers
from k8strace.setup.versions import ALL_ETCD_FLAGS, Kubernetes

__all__ = ["kind_rules", "kubeadm_rules"]

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
    for holder in (content.get("apiServer"), (content.get("etcd") or {}).get("local")):
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
    """Values that are not strings, with their place."""
    if hasattr(arguments, "items"):
        yield from ((key, value) for key, value in arguments.items() if not isinstance(value, str))
    else:
        for at, item in enumerate(arguments or ()):
            if hasattr(item, "get") and not isinstance(item.get("value", ""), str):
                yield at, item["value"]


def kind_rules(kind: Kind, found: Found) -> Findings:
    """Traps of kind: files that stay outside the node, lists that replace, endpoints that lead nowhere."""
    for server in (
        each for each in found.servers if each.file == kind.file and each.component == "kube-apiserver"
    ):
        config = server.get("tracing-config-file")
        if config:
            yield from _brought_in(kind, config)
    yield from _replaced(kind)
    yield from _local_endpoints(kind, found)


def _brought_in(kind: Kind, config: Argument) -> Findings:
    """The file must be in the node before kubeadm can mount it into the container."""
    nodes: Any = kind.document.content.get("nodes") or ({},)
    servers = [node for node in nodes if node.get("role", "control-plane") == "control-plane"]
    without = [
        node
        for node in servers
        if not any(
            covers(str(m.get("containerPath", "")), config.value) for m in node.get("extraMounts") or ()
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


def _replaced(kind: Kind) -> Findings:
    """A merge patch replaces a list whole; kind's own list has what featureGates and runtimeConfig say."""
    content = kind.document.content
    own = [key for key in ("featureGates", "runtimeConfig") if content.get(key)]
    for patch in kind.patches:
        arguments = (patch.content.get("apiServer") or {}).get("extraArgs")
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


def _local_endpoints(kind: Kind, found: Found) -> Findings:
    for server in (each for each in found.servers if each.file == kind.file):
        for argument in server.arguments:
            host = argument.value.rpartition(":")[0].rpartition("/")[2]
            if ALL_ETCD_FLAGS.get(argument.name) == "address" and host in ("localhost", "127.0.0.1", "[::1]"):
                problem = f"{argument.value} is inside kind's node, where no receiver listens"
                better = "write the gateway of kind's network, such as 172.18.0.1:4317"
                yield Finding(kind.file, argument.line, "endpoint-local", problem, better)
