"""Tracing in a node's kubelet and container runtime, per version: files, and how to apply them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from k8strace.setup.documents import dump
from k8strace.setup.files import File
from k8strace.setup.settings import DEFAULT_RATE, address_of, rate_problem
from k8strace.setup.versions import Gate, Kubelet, Runtime, SetupError, kubelet

__all__ = ["Node", "node", "render_node", "sampler"]

DEFAULT_ENDPOINT: Final = "localhost:4317"
"""The receiver's address, as the node sees it."""

PLUGIN_SINCE: Final = (1, 6)
"""First containerd that traces. Before 2.0 its plugins are configured, from 2.0 on the environment."""
ENVIRONMENT_SINCE: Final = (2, 0)


@dataclass(frozen=True, slots=True)
class Node:
    """The programs on a node that are to trace, and how. Made by `node`, which checks it."""

    kubelet: Kubelet | None
    runtime: Runtime | None
    runtime_version: tuple[int, int] | None
    """Major and minor release; None for the newest."""
    endpoint: str
    rate: int
    """Sampled syncs and calls of a million."""

    @property
    def by_environment(self) -> bool:
        """Whether the runtime is a containerd that is configured by its environment."""
        return (
            self.runtime == "containerd" and (self.runtime_version or ENVIRONMENT_SINCE) >= ENVIRONMENT_SINCE
        )


def node(
    *,
    k8s: str | None = None,
    runtime: Runtime | None = None,
    runtime_version: str | None = None,
    endpoint: str | None = None,
    rate: int = DEFAULT_RATE,
) -> Node:
    """
    Checks the user's settings.

    Args:
        k8s: Version of the kubelet; None leaves the kubelet alone.
        runtime: Container runtime; None leaves it alone.
        runtime_version: Its version; None for the newest.
        endpoint: The receiver, as host:port.
        rate: Sampled syncs and calls of a million.

    Raises:
        SetupError: It cannot be rendered; the message says what to give instead.
    """
    problem = rate_problem(rate)
    if problem:
        raise SetupError(problem)
    if runtime_version is not None and runtime is None:
        raise SetupError("a runtime's version without a runtime: give --runtime too")
    release = None if runtime_version is None else _release(runtime, runtime_version)
    return Node(
        kubelet=None if k8s is None else kubelet(k8s),
        runtime=runtime,
        runtime_version=release,
        endpoint=address_of(endpoint or DEFAULT_ENDPOINT),
        rate=rate,
    )


def _release(runtime: Runtime | None, version: str) -> tuple[int, int]:
    match = re.fullmatch(r"v?(\d+)\.(\d+)(?:\.\d+)?(?:[-+~].*)?", version.strip())
    if not match:
        raise SetupError(f"expected a version of {runtime} such as 2.1 or 1.7.27, got {version!r}")
    release = int(match[1]), int(match[2])
    if runtime == "containerd" and release < PLUGIN_SINCE:
        raise SetupError(f"containerd {release[0]}.{release[1]} cannot trace: the first that can is 1.6")
    return release


def render_node(wanted: Node) -> dict[str, File]:
    """
    Everything that enables tracing in a node: path within the output folder → file.

    Raises:
        MissingExtraError: ruamel.yaml is not installed.
    """
    files = {**_kubelet(wanted), **_runtime(wanted)}
    return {**files, "node/README.md": File(_page(wanted, files), "how to apply, check and undo it", "")}


def _kubelet(wanted: Node) -> dict[str, File]:
    if wanted.kubelet is None:
        return {}
    gates = {"featureGates": {"KubeletTracing": True}} if wanted.kubelet.gate is Gate.REQUIRED else {}
    content = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        **gates,
        "tracing": {"endpoint": wanted.endpoint, "samplingRatePerMillion": wanted.rate},
    }
    text = dump(
        content,
        comment="Merge it into the kubelet's configuration. The endpoint is host:port, never http://.",
    )
    return {"node/kubelet.yaml": File(text, "where the kubelet sends spans, and of how many", KUBELET_PLACE)}


KUBELET_PLACE: Final = "/var/lib/kubelet/config.yaml"


def sampler(rate: int) -> str:
    """A rate of a million as a share, as OpenTelemetry writes it."""
    return f"{rate / 1_000_000:.6f}".rstrip("0").rstrip(".") if rate < 1_000_000 else "1"


def _runtime(wanted: Node) -> dict[str, File]:
    if wanted.runtime is None:
        return {}
    if wanted.runtime == "crio":
        place = "/etc/crio/crio.conf.d/90-tracing.conf"
        return {
            "node/crio.conf": File(_crio(wanted), "where CRI-O sends spans, and of how many calls", place)
        }
    if wanted.by_environment:
        place = "/etc/systemd/system/containerd.service.d/90-tracing.conf"
        return {
            "node/containerd.service.conf": File(
                _environment(wanted), "where containerd sends spans, and of how many calls", place
            )
        }
    return {
        "node/containerd.toml": File(
            _plugin(wanted),
            "where containerd sends spans, and of how many calls",
            "/etc/containerd/config.toml",
        )
    }


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def _crio(wanted: Node) -> str:
    return _lines(
        "# Read by CRI-O. The endpoint is host:port, never http://.",
        "[crio.tracing]",
        "enable_tracing = true",
        f'tracing_endpoint = "{wanted.endpoint}"',
        f"tracing_sampling_rate_per_million = {wanted.rate}",
    )


def _environment(wanted: Node) -> str:
    return _lines(
        "# Environment of containerd 2.0 and newer. The endpoint begins with http://, which means: not encrypted.",
        "[Service]",
        f"Environment=OTEL_EXPORTER_OTLP_ENDPOINT=http://{wanted.endpoint}",
        "Environment=OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        "Environment=OTEL_SERVICE_NAME=containerd",
        "Environment=OTEL_TRACES_SAMPLER=parentbased_traceidratio",
        f"Environment=OTEL_TRACES_SAMPLER_ARG={sampler(wanted.rate)}",
    )


def _plugin(wanted: Node) -> str:
    share = sampler(wanted.rate)
    return _lines(
        "# Append it to the configuration of containerd 1.6 or 1.7, whose version must be 2.",
        '[plugins."io.containerd.tracing.processor.v1.otlp"]',
        f'  endpoint = "{wanted.endpoint}"',
        '  protocol = "grpc"',
        "  insecure = true",
        "",
        '[plugins."io.containerd.internal.v1.tracing"]',
        f"  sampling_ratio = {share if '.' in share else share + '.0'}",
        '  service_name = "containerd"',
    )


# ── The page beside the files ─────────────────────────────────────────────────────────────────────


def _page(wanted: Node, files: dict[str, File]) -> str:
    rows = [f"| `{name}` | {file.what} | {file.place} |" for name, file in files.items()]
    table = "\n".join(["| File | What it does | Where it goes |", "|---|---|---|", *rows])
    sections = [
        "# Switch tracing on: the node",
        "`k8strace setup render` wrote these files here and changed nothing else.",
        table,
        "## Apply, node by node",
        _numbered(_steps(wanted)),
        "## Undo",
        "Take out what was added, and restart the same services.",
        "## What to expect",
        "\n".join(f"- {line}" for line in _expect(wanted)),
    ]
    return "\n\n".join(sections) + "\n"


def _numbered(steps: Sequence[str]) -> str:
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def _steps(wanted: Node) -> list[str]:
    steps = [
        f"Start what takes the spans at {wanted.endpoint}, such as `k8strace serve`, on each node or beyond it."
    ]
    if wanted.runtime == "crio":
        steps.append("Copy `crio.conf` to its place, then `sudo systemctl restart crio`.")
    elif wanted.by_environment:
        steps.append("Copy `containerd.service.conf` to its place, then `sudo systemctl daemon-reload`.")
        steps.append("`sudo systemctl restart containerd`. Containers go on running.")
    elif wanted.runtime:
        steps.append("Append `containerd.toml` to its place, then `sudo systemctl restart containerd`.")
    if wanted.kubelet is not None:
        steps.append(f"Merge `kubelet.yaml` into {KUBELET_PLACE}, then `sudo systemctl restart kubelet`.")
    return steps


def _expect(wanted: Node) -> list[str]:
    lines = [
        f"{wanted.rate:,} of a million are sampled. A kubelet decides for all that it asks of its runtime."
    ]
    if wanted.kubelet is not None:
        lines.append(_GATES[wanted.kubelet.gate])
        lines.append("A kubelet loses the spans of its last five seconds when it stops.")
    if wanted.runtime is None:
        lines.append(
            "Without the runtime's spans a call to it is one span: what took long in it is not seen."
        )
    return lines


_GATES: Final = {
    Gate.REQUIRED: "The feature gate KubeletTracing is off by default in this version, so the file sets it.",
    Gate.ON: "The feature gate KubeletTracing is on by default in this version: nothing sets it.",
    Gate.LOCKED: "The feature gate KubeletTracing is on for good in this version: do not set it.",
}
