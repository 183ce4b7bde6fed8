"""Why spans are missing: the likely causes, likeliest first, from what the probe saw and the versions' rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from k8strace.setup.versions import Etcd, Gate, Kubernetes, Records

__all__ = ["Circumstances", "Reason", "causes"]


BATCH: Final = 10
"""Seconds after which a batch was certainly sent."""

SLOWEST: Final = 25
"""Seconds after which etcd's exporter has finished its backoff and sent a batch."""


class Reason(Enum):
    """What the probe saw."""

    FOUND = "the request's trace came whole"
    NO_ETCD_CALL = "the request's trace came, and it made no etcd call"
    ETCD_MISSING = "the request's trace came, but no spans of etcd"
    SAMPLED_OUT = "spans of kube-apiserver came, but not those of this request: not sampled, or lost"
    APISERVER_MISSING = "spans came, but none of kube-apiserver"
    NO_SPANS = "no spans came at all"

    @property
    def code(self) -> str:
        """For programs: "etcd-missing"."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The facts that the causes depend on."""

    status: int
    """HTTP status of the answer."""
    kubernetes: Kubernetes | None
    etcd: Etcd | None
    where: str
    """The receiver's address or the store's path."""
    waited: float
    """Seconds."""
    groups: frozenset[str] | None = None
    """The caller's groups according to kube-apiserver; None if it does not say."""
    etcd_seen: bool = False
    """Spans of etcd came, though not those of the request."""

    @property
    def privileged(self) -> bool | None:
        """Whether the caller's traceparent is obeyed; None if unknown."""
        if self.kubernetes is None or not self.kubernetes.honours_traceparent or self.groups is None:
            return None
        return bool(self.groups & {"system:masters", "system:monitoring"})


def causes(reason: Reason, seen: Circumstances) -> list[str]:
    """The likely causes, likeliest first; none if all is well."""
    return [*_refused(reason, seen), *_BY_REASON[reason](seen)]


def _refused(reason: Reason, seen: Circumstances) -> list[str]:
    if seen.status == 401 and reason is not Reason.FOUND:
        return [
            "kube-apiserver does not know the caller (401), and 1.33 and newer make no span of such a request"
        ]
    if seen.status == 403 and reason in (Reason.NO_ETCD_CALL, Reason.ETCD_MISSING):
        return ["the caller may not read this path (403), so the request never got as far as etcd"]
    return []


def _found(_: Circumstances) -> list[str]:
    return []


def _no_etcd_call(seen: Circumstances) -> list[str]:
    if seen.status >= 400:
        return []
    return ["it was answered from the watch cache: probe an object by name without a resourceVersion"]


def _etcd_missing(seen: Circumstances) -> list[str]:
    if seen.etcd_seen:
        return [
            (
                "another member of etcd answered this call than those whose spans came: `k8strace setup check` the "
                "manifest of each"
            ),
            "the span was lost: etcd drops what its full queue cannot hold; probe again",
        ]
    flag = seen.etcd.flag("enable") if seen.etcd else ""
    started = (
        f"etcd {seen.etcd.title} is not started with --{flag}=true"
        if seen.etcd
        else "etcd is not started with --enable-distributed-tracing=true (3.6 and newer; "
        "--experimental-enable-distributed-tracing=true in 3.5)"
    )
    late = (
        [
            (
                "etcd's exporter waits up to 18 s before it tries a receiver again that was not there, and its spans "
                "come in batches: give a longer --timeout"
            )
        ]
        if seen.waited < SLOWEST
        else []
    )
    return [
        *late,
        f"{started}: `k8strace setup check` its manifest",
        f"etcd's distributed-tracing-address does not lead to {seen.where}",
    ]


def _sampled_out(seen: Circumstances) -> list[str]:
    if seen.kubernetes and not seen.kubernetes.honours_traceparent:
        return [
            (
                f"Kubernetes {seen.kubernetes.name} ignores a caller's traceparent, so the rate alone decides: "
                "set samplingRatePerMillion: 1000000 for the time of the probe, or probe again and again"
            )
        ]
    if seen.privileged:
        return list(_LOST)
    known = "" if seen.privileged is None else ", as kube-apiserver itself says"
    first = (
        f"the caller is neither in system:masters nor in system:monitoring{known}, so its traceparent is ignored and "
        "the rate decides: probe with the certificate of /etc/kubernetes/super-admin.conf (kubeadm 1.29 and newer; "
        "admin.conf is no longer in system:masters), or set samplingRatePerMillion: 1000000 for the time of the probe"
    )
    old = [] if seen.kubernetes else ["before 1.33 every caller's traceparent is ignored"]
    return [first, *old]


_LOST: Final = (
    "several kube-apiservers are behind this address, and the one that answered sends its spans elsewhere",
    "the spans were lost: kube-apiserver drops what its full queue cannot hold; probe again",
)


def _apiserver_missing(seen: Circumstances) -> list[str]:
    return [*_gate(seen), *_not_started(seen)]


def _gate(seen: Circumstances) -> list[str]:
    if seen.kubernetes and seen.kubernetes.gate is Gate.REQUIRED:
        return [
            f"the gate APIServerTracing is not set, and Kubernetes {seen.kubernetes.name} has it off by default"
        ]
    return []


def _not_started(seen: Circumstances) -> list[str]:
    return [
        "kube-apiserver is not started with --tracing-config-file: `k8strace setup check` its manifest",
        (
            f"the endpoint in its TracingConfiguration does not lead to {seen.where}: inside kind, minikube and pods "
            "localhost is another place"
        ),
        *_unsampled(seen),
    ]


def _unsampled(seen: Circumstances) -> list[str]:
    """Why a cluster with tracing enabled sends no spans."""
    if seen.privileged:
        return []
    if seen.kubernetes and seen.kubernetes.honours_traceparent:
        return [
            (
                "nothing was sampled in this time: the caller is neither in system:masters nor in system:monitoring, "
                "and the rate is low or unset"
            )
        ]
    return ["nothing was sampled in this time: the rate is low or unset, and the traceparent may not count"]


def _no_spans(seen: Circumstances) -> list[str]:
    listening = (
        f"something between the control plane and {seen.where} drops the connection, such as a firewall"
    )
    etcd = (
        [f"etcd {seen.etcd.title} records every call, and none came: it is off too, or sends elsewhere"]
        if seen.etcd and seen.etcd.records is Records.ALL
        else []
    )
    short = (
        ["spans leave in batches, up to five seconds after they end: give a longer --timeout"]
        if seen.waited < BATCH
        else []
    )
    return [*_gate(seen), *_not_started(seen), listening, *etcd, *short]


_BY_REASON: Final[dict[Reason, Callable[[Circumstances], list[str]]]] = {
    Reason.FOUND: _found,
    Reason.NO_ETCD_CALL: _no_etcd_call,
    Reason.ETCD_MISSING: _etcd_missing,
    Reason.SAMPLED_OUT: _sampled_out,
    Reason.APISERVER_MISSING: _apiserver_missing,
    Reason.NO_SPANS: _no_spans,
}
