"""The traps by code, with severity and meaning. A code never changes its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

__all__ = ["TRAPS", "Finding", "Recognised", "Trap"]

Severity = Literal["error", "warning"]


class Trap(NamedTuple):
    """One way to get no traces, or too many."""

    severity: Severity
    meaning: str


TRAPS: Final[dict[str, Trap]] = {
    "yaml": Trap("error", "the file is not YAML, or repeats a key"),
    "kubernetes-version": Trap("error", "this Kubernetes cannot trace, or is not in the table"),
    "etcd-version": Trap("error", "this etcd cannot trace, or is not in the table"),
    "gate-missing": Trap("error", "1.22 to 1.26 ignore the configuration unless APIServerTracing=true"),
    "gate-off": Trap("error", "APIServerTracing=false switches tracing off"),
    "gate-locked": Trap("error", "from 1.34 on APIServerTracing=false stops kube-apiserver"),
    "gate-removed": Trap("error", "from 1.37 on setting APIServerTracing stops kube-apiserver"),
    "config-version": Trap("error", "kube-apiserver does not read this version of TracingConfiguration"),
    "config-kind": Trap("error", "kube-apiserver does not start with another kind than TracingConfiguration"),
    "config-unknown-key": Trap(
        "error", "from 1.32 on an unknown key stops kube-apiserver; before, it is ignored"
    ),
    "config-missing": Trap("error", "tracing flags or gates, but no --tracing-config-file"),
    "file-not-mounted": Trap("error", "--tracing-config-file names a file that the container cannot see"),
    "endpoint": Trap("error", "the endpoint is not host:port; http:// is the usual mistake"),
    "endpoint-local": Trap("warning", "localhost inside kind's or minikube's node is the node itself"),
    "rate-range": Trap("error", "the sampling rate is not a whole number from 0 to 1000000"),
    "rate-all": Trap("warning", "every request is sampled: too much for production"),
    "rate-none": Trap(
        "warning", "no request is sampled, unless a privileged caller asks for it (1.33 and newer)"
    ),
    "kubeadm-form": Trap(
        "error", "arguments or environment in a form that this version of kubeadm's API does not have"
    ),
    "kubeadm-version": Trap("error", "this Kubernetes' kubeadm does not read this version of its API"),
    "kind-list": Trap("warning", "the patch replaces kind's own list of arguments, with its gates and APIs"),
    "etcd-flag": Trap("error", "this etcd does not know the flag, so it does not start"),
    "etcd-flag-old": Trap("warning", "the flag's old name is deprecated, and gone in 3.7"),
    "etcd-off": Trap("error", "tracing flags, but tracing is not enabled"),
    "etcd-instance-id": Trap("warning", "without its own instance id each member looks like the others"),
    "kubelet-gate": Trap(
        "error", "a kubelet that is told to trace does not start while the gate KubeletTracing is off"
    ),
    "kubelet-off": Trap("error", "the gate KubeletTracing alone traces nothing"),
    "runtime-off": Trap("error", "the container runtime has settings of tracing, and does not trace"),
    "runtime-plugin": Trap(
        "warning", "containerd 2.2 and newer take their tracing from the environment alone"
    ),
    "runtime-protocol": Trap("error", "containerd's endpoint, port and protocol do not fit each other"),
    "toml": Trap("error", "the file is not TOML, or repeats a key"),
    "etcd-children-only": Trap(
        "warning", "this etcd records nothing but calls that a traced apiserver sampled"
    ),
}


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One trap, where it is and what to do."""

    file: str
    line: int
    code: str
    problem: str
    advice: str
    """What to write instead."""
    lower: bool = False
    """Whether its severity is lowered, because it does no harm in this version yet."""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return "warning" if self.lower else TRAPS[self.code].severity


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file was recognised as."""

    file: str
    line: int
    what: str
    """In a few words; begins with "not " if nothing was checked in it."""
