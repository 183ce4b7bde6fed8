"""
The rules of tracing, per version of Kubernetes and etcd: one table, read by `render`, `check`, `probe` and the docs.

`SOURCES` names the source of every column. A new release is a new row.
"""
# ruff: noqa: FBT003 - the table is read by its columns

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, get_args

from k8strace.exceptions import K8straceError

__all__ = [
    "ETCD",
    "KUBELET",
    "KUBERNETES",
    "RUNTIMES",
    "SOURCES",
    "Etcd",
    "Gate",
    "Kubelet",
    "Kubernetes",
    "Records",
    "Runtime",
    "SetupError",
    "etcd",
    "etcd_number",
    "kubelet",
    "kubernetes",
    "kubernetes_minor",
]


class SetupError(K8straceError, ValueError):
    """Settings or files that cannot be used. The message says what to give instead."""


class Gate(Enum):
    """State of the feature gate `APIServerTracing`."""

    REQUIRED = "off by default: must be set to true"
    ON = "on by default"
    LOCKED = "on and locked: setting it to false stops the apiserver"
    REMOVED = "removed: setting it at all stops the apiserver"


class Records(Enum):
    """Which calls etcd records, by their parent's sampling."""

    ALL = "every call, sampled by the apiserver or not"
    CHILDREN = "only calls of sampled callers, and no flag changes that"
    RATE = "only calls of sampled callers, unless a sampling rate is set"


Config = Literal["v1alpha1", "v1beta1", "v1"]
Kubeadm = Literal["v1beta2", "v1beta3", "v1beta4"]
Name = Literal["enable", "address", "service-name", "instance-id", "sampling-rate"]


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """The rules of one minor release of Kubernetes."""

    minor: int
    gate: Gate
    accepts: tuple[Config, ...]
    """Versions of `TracingConfiguration` that kube-apiserver reads."""
    writes: Config
    """The version that `render` writes."""
    strict: bool
    """Whether an unknown key in `TracingConfiguration` stops the apiserver."""
    honours_traceparent: bool
    """Whether the `traceparent` of callers in `system:masters` or `system:monitoring` is obeyed."""
    kubeadm: Kubeadm
    """Newest form of kubeadm's `ClusterConfiguration`."""
    kind_kubeadm: Kubeadm
    """The form that kind generates, which its patches must match."""
    spans_per_request: int
    """Spans of a sampled request, etcd's included, on average."""

    @property
    def name(self) -> str:
        """A name such as "1.33"."""
        return f"1.{self.minor}"


_A: Final[tuple[Config, ...]] = ("v1alpha1",)
_B: Final[tuple[Config, ...]] = ("v1alpha1", "v1beta1")
_C: Final[tuple[Config, ...]] = ("v1alpha1", "v1beta1", "v1")

# fmt: off
KUBERNETES: Final[tuple[Kubernetes, ...]] = (
    #                         accepts, writes,  strict, traceparent, kubeadm, kind's,  spans
    Kubernetes(22, Gate.REQUIRED, _A, "v1alpha1", False, False, "v1beta3", "v1beta2", 3),
    Kubernetes(23, Gate.REQUIRED, _A, "v1alpha1", False, False, "v1beta3", "v1beta3", 3),
    Kubernetes(24, Gate.REQUIRED, _A, "v1alpha1", False, False, "v1beta3", "v1beta3", 3),
    Kubernetes(25, Gate.REQUIRED, _A, "v1alpha1", False, False, "v1beta3", "v1beta3", 3),
    Kubernetes(26, Gate.REQUIRED, _A, "v1alpha1", False, False, "v1beta3", "v1beta3", 7),
    Kubernetes(27, Gate.ON,       _B, "v1beta1",  False, False, "v1beta3", "v1beta3", 7),
    Kubernetes(28, Gate.ON,       _B, "v1beta1",  False, False, "v1beta3", "v1beta3", 7),
    Kubernetes(29, Gate.ON,       _B, "v1beta1",  False, False, "v1beta3", "v1beta3", 7),
    Kubernetes(30, Gate.ON,       _B, "v1beta1",  False, False, "v1beta3", "v1beta3", 7),
    Kubernetes(31, Gate.ON,       _B, "v1beta1",  False, False, "v1beta4", "v1beta3", 7),
    Kubernetes(32, Gate.ON,       _B, "v1beta1",  True,  False, "v1beta4", "v1beta3", 7),
    Kubernetes(33, Gate.ON,       _B, "v1beta1",  True,  True,  "v1beta4", "v1beta3", 7),
    Kubernetes(34, Gate.LOCKED,   _C, "v1",       True,  True,  "v1beta4", "v1beta3", 10),
    Kubernetes(35, Gate.LOCKED,   _C, "v1",       True,  True,  "v1beta4", "v1beta3", 10),
    Kubernetes(36, Gate.LOCKED,   _C, "v1",       True,  True,  "v1beta4", "v1beta4", 10),
    Kubernetes(37, Gate.REMOVED,  _C, "v1",       True,  True,  "v1beta4", "v1beta4", 10),
)
# fmt: on

Runtime = Literal["containerd", "crio"]
RUNTIMES: Final[tuple[Runtime, ...]] = get_args(Runtime)
"""Container runtimes that trace."""


@dataclass(frozen=True, slots=True)
class Kubelet:
    """The rules of kubelets, from a minor release of Kubernetes on."""

    since: int
    gate: Gate
    """State of the feature gate `KubeletTracing`."""
    stage: str


KUBELET: Final[tuple[Kubelet, ...]] = (
    Kubelet(25, Gate.REQUIRED, "alpha"),
    Kubelet(27, Gate.ON, "beta"),
    Kubelet(34, Gate.LOCKED, "general"),
)

Number = tuple[int, int, int]

_OLD: Final = "experimental-"
_BARE: Final[dict[Name, str]] = {
    "enable": "enable-distributed-tracing",
    "address": "distributed-tracing-address",
    "service-name": "distributed-tracing-service-name",
    "instance-id": "distributed-tracing-instance-id",
    "sampling-rate": "distributed-tracing-sampling-rate",
}
_NO_RATE: Final = tuple(name for name in _BARE if name != "sampling-rate")


@dataclass(frozen=True, slots=True)
class Etcd:
    """The rules of a range of etcd releases."""

    since: Number
    below: Number | None
    """First release after the range; None for the newest range."""
    prefix: str
    """Prefix of each flag's name."""
    names: tuple[Name, ...]
    """Flags that exist."""
    records: Records
    old_names: Literal["only", "deprecated", "removed"]
    """State of the names with the prefix `experimental-`."""
    note: str = field(default="")

    def flag(self, name: Name) -> str:
        """The full name of a flag, without dashes."""
        return self.prefix + _BARE[name]

    @property
    def flags(self) -> tuple[str, ...]:
        """Full names of all tracing flags to use."""
        return tuple(self.flag(name) for name in self.names)

    @property
    def deprecated_flags(self) -> tuple[str, ...]:
        """Full names that still work, with a warning."""
        return tuple(_OLD + _BARE[name] for name in self.names) if self.old_names == "deprecated" else ()

    @property
    def title(self) -> str:
        """A name such as "3.5.0 to 3.5.4" or "3.7 and newer"."""
        first = ".".join(map(str, self.since if self.since[:2] == (3, 5) else self.since[:2]))
        if self.below is None:
            return f"{first} and newer"
        if self.below[2]:
            return f"{first} to {self.below[0]}.{self.below[1]}.{self.below[2] - 1}"
        return f"{first} and newer 3.5" if self.since[:2] == (3, 5) else first


ETCD: Final[tuple[Etcd, ...]] = (
    Etcd(
        (3, 5, 0),
        (3, 5, 5),
        _OLD,
        _NO_RATE,
        Records.ALL,
        "only",
        "records every call, whatever the apiserver samples: as many spans a second as etcd has calls",
    ),
    Etcd(
        (3, 5, 5),
        (3, 5, 11),
        _OLD,
        _NO_RATE,
        Records.CHILDREN,
        "only",
        "records a call only if its caller sampled it: etcdctl and other untraced clients leave no spans",
    ),
    Etcd((3, 5, 11), (3, 6, 0), _OLD, tuple(_BARE), Records.RATE, "only"),
    Etcd((3, 6, 0), (3, 7, 0), "", tuple(_BARE), Records.RATE, "deprecated"),
    Etcd((3, 7, 0), None, "", tuple(_BARE), Records.RATE, "removed"),
)

ALL_ETCD_FLAGS: Final = {prefix + bare: name for prefix in (_OLD, "") for name, bare in _BARE.items()}
"""Every name that some etcd had for a flag → the flag."""

SOURCES: Final[dict[str, str]] = {
    "gate": "kubernetes/apiserver `pkg/features/kube_features.go`, branches release-1.22 to release-1.36, and master",
    "accepts": "kubernetes/apiserver `pkg/apis/apiserver/install/install.go`, same branches",
    "strict": "kubernetes/apiserver `pkg/server/options/tracing.go`, strict codec from release-1.32 on",
    "honours_traceparent": "kubernetes/kubernetes#127053; kubernetes/apiserver `pkg/endpoints/filters/traces.go`",
    "endpoint": "kubernetes/component-base `tracing/api/v1/config.go` and, always insecure, `tracing/utils.go`",
    "kubeadm": "kubernetes/kubernetes `cmd/kubeadm/app/apis/kubeadm/v1beta3/types.go` and `v1beta4/types.go`",
    "super-admin.conf": "kubernetes/kubernetes#121305: admin.conf left system:masters in kubeadm 1.29",
    "kind_kubeadm": "kubernetes-sigs/kind `pkg/cluster/internal/kubeadm/config.go`",
    "minikube": "kubernetes/minikube `site/content/en/docs/tutorials/audit-policy.md`",
    "k3s": "docs.k3s.io, `k3s server` and the configuration file; not run by us",
    "etcd": "etcd-io/etcd `server/embed/config_tracing.go` and `help.go` at each tag; etcd#14310, #16935, #16951",
    "kubelet": "kubernetes/kubernetes `pkg/features/kube_features.go` (KEP-2831), and for what it refuses "
    "`pkg/kubelet/apis/config/validation/validation.go`",
    "containerd": "containerd/containerd `docs/tracing.md` and the table of deprecated properties in `RELEASES.md`",
    "CRI-O": "cri-o/cri-o `tutorials/tracing.md`",
    "spans_per_request": "mean over the recordings in `tests/data`: 7.0 (1.27), 7.0 (1.31), 10.2 (1.36); "
    "1.22 to 1.25 by reading the source",
}
"""Column or rule → its source."""


def kubernetes_minor(version: str) -> int:
    """
    The minor release of a Kubernetes version: 33 for "1.33", "v1.33.4" and "v1.33.4+k3s1".

    Raises:
        SetupError: It is not a version.
    """
    match = re.fullmatch(r"v?1\.(\d{1,3})(\.\d+)?([-+].*)?", version.strip())
    if not match:
        raise SetupError(f"expected a Kubernetes version such as 1.33 or v1.33.4, got {version!r}")
    return int(match[1])


def kubernetes(version: str) -> Kubernetes:
    """
    The rules of a Kubernetes version.

    Raises:
        SetupError: It is not a version, or not in the table.

    Examples:
        >>> kubernetes("v1.33.4").writes
        'v1beta1'
    """
    minor = kubernetes_minor(version)
    if minor < KUBERNETES[0].minor:
        raise SetupError(f"Kubernetes 1.{minor} cannot trace: the first that can is {KUBERNETES[0].name}")
    if minor > KUBERNETES[-1].minor:
        raise SetupError(
            f"Kubernetes 1.{minor} is newer than our table, which ends at {KUBERNETES[-1].name}: "
            "use that one's rules only after reading the release notes"
        )
    return KUBERNETES[minor - KUBERNETES[0].minor]


def kubelet(version: str) -> Kubelet:
    """
    The rules of the kubelet of a Kubernetes version.

    Raises:
        SetupError: It is not a version, or one whose kubelet cannot trace.

    Examples:
        >>> kubelet("v1.26.4").gate.name
        'REQUIRED'
    """
    minor = kubernetes_minor(version)
    fitting = [rules for rules in KUBELET if rules.since <= minor]
    if not fitting:
        raise SetupError(f"the kubelet of Kubernetes 1.{minor} cannot trace: the first that can is 1.25")
    return fitting[-1]


def etcd_number(version: str) -> Number:
    """
    An etcd version as three numbers: (3, 5, 24) for "3.5.24", "v3.5.24" and the image tag "3.5.24-0".

    Raises:
        SetupError: It is not a version, or it is "3.5", whose patch releases differ.
    """
    match = re.fullmatch(r"v?(\d+)\.(\d+)(?:\.(\d+))?([-+].*)?", version.strip())
    if not match:
        raise SetupError(f"expected an etcd version such as 3.5.24 or 3.6, got {version!r}")
    if match[1] == "3" and match[2] == "5" and match[3] is None:
        raise SetupError("etcd 3.5 changed its tracing within 3.5: give the patch too, such as 3.5.24")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def etcd(version: str) -> Etcd:
    """
    The rules of an etcd version.

    Raises:
        SetupError: It is not a version, or not in the table.

    Examples:
        >>> etcd("3.5.24-0").flag("enable")
        'experimental-enable-distributed-tracing'
    """
    number = etcd_number(version)
    for rules in ETCD:
        if rules.since <= number and (rules.below is None or number < rules.below) and number[0] == 3:
            return rules
    raise SetupError(f"etcd {version} is not in our table: it begins at 3.5.0 and knows major version 3 only")
