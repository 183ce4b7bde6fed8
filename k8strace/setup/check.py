"""`check`: finds every known trap in existing files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k8strace.setup import cluster_rules, node_rules, rules, versions
from k8strace.setup.documents import MAX_BYTES
from k8strace.setup.findings import Finding, Recognised
from k8strace.setup.recognise import Found, Server, recognise
from k8strace.setup.versions import Etcd, Kubernetes, SetupError

__all__ = ["Report", "check", "check_paths"]

SUFFIXES: Final = (".yaml", ".yml", ".json", ".sh", ".toml", ".conf")
"""Files of a folder that are read."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and what was found."""

    findings: tuple[Finding, ...]
    """By file and line."""
    recognised: tuple[Recognised, ...]
    """What each document was recognised as, in order."""
    notes: tuple[str, ...]
    """What could not be checked, and why."""

    @property
    def errors(self) -> int:
        """The number of findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def check_paths(paths: Sequence[Path], *, k8s: str | None = None, etcd: str | None = None) -> Report:
    """
    Checks files, and in folders the YAML files and scripts at any depth.

    Raises:
        SetupError: A version is not in the table, or a file cannot be read.
    """
    return check([(str(path), _read(path)) for path in _files(paths)], k8s=k8s, etcd=etcd)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = [each for each in sorted(path.rglob("*")) if each.suffix in SUFFIXES and each.is_file()]
        if not inside:
            raise SetupError(f"{path}: no YAML file in this folder")
        yield from inside


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SetupError(f"{path}: more than {MAX_BYTES} bytes, which no manifest has")
        return content.decode("utf-8")
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SetupError(f"{path}: not UTF-8 text") from None


def check(files: Sequence[tuple[str, str]], *, k8s: str | None = None, etcd: str | None = None) -> Report:
    """
    Finds every known trap in some files, which are checked together.

    Args:
        files: (name, text) of each.
        k8s: Kubernetes version; None for the one in images and configurations.
        etcd: etcd version; None for the one in image tags.

    Raises:
        SetupError: A version is not in the table.
    """
    found = Found()
    for name, text in files:
        recognise(os.fspath(name), text, found)
    judge = _Judge(found, k8s, etcd)
    findings = sorted({*found.broken, *judge.findings()})
    return Report(tuple(findings), tuple(found.recognised), tuple(judge.notes()))


class _Judge:
    """Finds each document's version, and applies the rules."""

    def __init__(self, found: Found, k8s: str | None, etcd: str | None) -> None:
        self._found = found
        self._k8s = versions.kubernetes(k8s) if k8s else None
        self._etcd = versions.etcd(etcd) if etcd else None
        self._unknown: set[str] = set()

    def findings(self) -> Iterator[Finding]:
        found = self._found
        for server in found.servers:
            yield from self._version_problem(server)
            if server.component == "etcd":
                yield from rules.etcd_rules(server, self._etcd_of(server), found)
            else:
                yield from rules.apiserver_rules(server, self._k8s_of(server.version))
        for tracing in found.tracing:
            yield from rules.tracing_rules(tracing, self._k8s_of(self._common_version()))
        for kubeadm in found.kubeadm:
            yield from cluster_rules.kubeadm_rules(
                kubeadm, self._k8s_of(kubeadm.version or self._common_version())
            )
        for kind in found.kinds:
            yield from cluster_rules.kind_rules(kind, found)
        yield from cluster_rules.local_endpoints(found)
        for each in found.kubelets:
            yield from node_rules.kubelet_rules(
                each.file, each.document, self._k8s_of(self._common_version())
            )
        for file in found.node_files:
            yield from node_rules.node_rules(file)

    def _version_problem(self, server: Server) -> Iterator[Finding]:
        """A version in the file that is not in the table."""
        given = self._etcd if server.component == "etcd" else self._k8s
        if given or not server.version:
            return
        table, code = (
            (versions.etcd, "etcd-version")
            if server.component == "etcd"
            else (versions.kubernetes, "kubernetes-version")
        )
        try:
            table(server.version)
        except SetupError as error:
            yield Finding(server.file, server.line, code, str(error), "use a version of the table")

    def _k8s_of(self, version: str | None) -> Kubernetes | None:
        if self._k8s:
            return self._k8s
        try:
            if version:
                return versions.kubernetes(version)
            self._missing("Kubernetes", "--k8s 1.33")
        except SetupError:
            pass  # said once, as a finding
        return None

    def _etcd_of(self, server: Server) -> Etcd | None:
        if self._etcd:
            return self._etcd
        try:
            if server.version:
                return versions.etcd(server.version)
            self._missing("etcd", "--etcd 3.5.24")
        except SetupError:
            pass  # said once, as a finding
        return None

    def _missing(self, what: str, option: str) -> None:
        self._unknown.add(
            f"the version of {what} is not in these files: what depends on it was not checked; give {option}"
        )

    def _common_version(self) -> str | None:
        """The version of the kube-apiservers in these files, if all have the same."""
        servers = {each.version for each in self._found.servers if each.component == "kube-apiserver"}
        known = {version for version in servers if version}
        return known.pop() if len(known) == 1 else None

    def notes(self) -> list[str]:
        return sorted(self._unknown)
