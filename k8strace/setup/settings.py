"""The user's settings, checked once: every `Settings` object can be rendered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from k8strace.setup import versions
from k8strace.setup.versions import SetupError

__all__ = [
    "DEFAULT_ENDPOINT",
    "DEFAULT_RATE",
    "EVERY_REQUEST",
    "TARGETS",
    "Settings",
    "Target",
    "address_of",
    "endpoint_problem",
    "rate_problem",
    "settings",
]

Target = Literal["kubeadm", "static-pod", "kind", "minikube", "k3s"]
TARGETS: Final[tuple[Target, ...]] = get_args(Target)

DEFAULT_RATE: Final = 1_000
"""Sampled requests of a million, in production."""

EVERY_REQUEST: Final = 1_000_000
"""The rate for a test cluster."""

DEFAULT_ENDPOINT: Final[dict[Target, str]] = {
    "kubeadm": "localhost:4317",
    "static-pod": "localhost:4317",
    "kind": "172.18.0.1:4317",
    "minikube": "host.minikube.internal:4317",
    "k3s": "localhost:4317",
}
"""The receiver as the control plane sees it: on its own host, or on the host outside the node's container."""

MEMBER: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")
_SCHEMES: Final = ("dns", "unix", "unix-abstract")


def endpoint_problem(endpoint: str, *, schemes: Sequence[str] = _SCHEMES) -> str | None:
    """
    What is wrong with an OTLP/gRPC endpoint; None if nothing is.

    Args:
        endpoint: Such as "localhost:4317" or "dns:///collector:4317".
        schemes: The schemes that the reader of the endpoint knows.
    """
    scheme, rest = _scheme_of(endpoint)
    if not scheme:
        return _address_problem(rest)
    if scheme not in schemes:
        known = " or ".join(["host:port", *(f"{name}://…" for name in schemes)])
        return f"it begins with {endpoint[: len(endpoint) - len(rest)]}, and only {known} is known"
    if scheme == "dns":
        return _address_problem(rest.rpartition("/")[2])
    return None if rest.startswith("/") else "the socket's path must begin with /"


def _scheme_of(endpoint: str) -> tuple[str, str]:
    """The scheme, "" if there is none, and the rest. gRPC needs no // after schemes that it knows."""
    match = re.match(r"([^:/]*)://", endpoint) or re.match(r"(dns|unix|unix-abstract):(?!\d+$)", endpoint)
    if not match:
        return "", endpoint
    return match[1], endpoint[match.end() :]


def _address_problem(address: str) -> str | None:
    match = _ADDRESS.fullmatch(address)
    if not match:
        return "it is not host:port" if ":" not in address else "it is not a host and a port"
    return None if 0 < int(match[2]) < 65536 else f"{match[2]} is not a port"


@dataclass(frozen=True, slots=True)
class Settings:
    """A cluster and its tracing to set up. Made by `settings`, which checks it."""

    kubernetes: versions.Kubernetes
    kubernetes_version: str
    """As given, without "v"."""
    etcd: versions.Etcd
    etcd_version: str
    """As given, without "v"."""
    target: Target
    endpoint: str
    """The receiver, as host:port."""
    rate: int
    """Sampled requests of a million."""
    members: tuple[str, ...]
    """etcd's members; each name becomes the member's instance id."""
    compression: Literal["gzip"] | None = None
    token: str | None = field(default=None, repr=False)
    """Bearer token for the receiver."""
    requests_per_second: float | None = None
    """API requests a second, for the forecast."""

    @property
    def has_environment(self) -> bool:
        """Whether some of it needs environment variables."""
        return self.compression is not None or self.token is not None


def settings(  # noqa: PLR0913, one keyword for each option of the command
    *,
    k8s: str,
    etcd: str,
    target: Target,
    endpoint: str | None = None,
    rate: int = DEFAULT_RATE,
    members: Sequence[str] = (),
    compression: Literal["gzip"] | None = None,
    token: str | None = None,
    requests_per_second: float | None = None,
) -> Settings:
    """
    Checks the user's settings.

    Raises:
        SetupError: It cannot be rendered; the message says what to give instead.
    """
    made = Settings(
        kubernetes=versions.kubernetes(k8s),
        kubernetes_version=k8s.strip().removeprefix("v"),
        etcd=versions.etcd(etcd),
        etcd_version=etcd.strip().removeprefix("v"),
        target=target,
        endpoint=address_of(endpoint or DEFAULT_ENDPOINT[target]),
        rate=rate,
        members=tuple(members) or ("etcd-0",),
        compression=compression,
        token=token,
        requests_per_second=requests_per_second,
    )
    for problem in (rate_problem(rate), _members_problem(made), _environment_problem(made)):
        if problem:
            raise SetupError(problem)
    return made


def address_of(endpoint: str) -> str:
    """
    The endpoint as host:port, which kube-apiserver, every etcd, kubelets and runtimes understand.

    Raises:
        SetupError: It is not host:port; the message says what to give instead.
    """
    if endpoint.startswith("unix"):
        raise SetupError(
            f"{endpoint}: kube-apiserver knows unix sockets, but etcd does not promise to, and the socket's folder "
            "must be mounted into both: give host:port"
        )
    problem = endpoint_problem(endpoint)
    if problem:
        raise SetupError(f"endpoint {endpoint!r}: {problem}: give host:port, such as localhost:4317")
    return endpoint.rpartition("/")[2]


def rate_problem(rate: int) -> str | None:
    """What is wrong with a rate of a million; None if nothing is."""
    if 0 < rate <= 1_000_000:
        return None
    return f"rate {rate}: give how many of a million requests to sample, 1 to 1000000"


def _members_problem(made: Settings) -> str | None:
    bad = [name for name in made.members if not MEMBER.fullmatch(name) or ".." in name]
    if bad:
        return f"member {bad[0]!r}: give names of lower-case letters, digits, dots and dashes"
    if len(set(made.members)) < len(made.members):
        return "two members have the same name: each needs an instance id of its own"
    if len(made.members) > 1 and made.target == "minikube":
        return "minikube runs one etcd member: give one name"
    if len(made.members) > 1 and made.target == "kind" and made.kubernetes.kind_kubeadm == "v1beta2":
        return "kind with Kubernetes 1.22 cannot give each member its instance id: give one name, or use 1.23"
    return None


def _environment_problem(made: Settings) -> str | None:
    if made.token is not None and not re.fullmatch(r"[\x21-\x7e]{1,8192}", made.token):
        return "the bearer token must be one word of printable ASCII characters"
    if not made.has_environment:
        return None
    if made.target == "minikube":
        return "minikube cannot set environment variables: leave out compression and bearer token"
    if made.target == "kind" and made.kubernetes.kind_kubeadm == "v1beta2":
        return "kind with Kubernetes 1.22 cannot set environment variables: leave out compression and bearer token"
    return None
