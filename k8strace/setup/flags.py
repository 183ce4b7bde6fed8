"""The arguments, the environment and the files that configure tracing, for any target."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from k8strace.setup.settings import Settings
from k8strace.setup.versions import Gate

__all__ = [
    "GATE",
    "apiserver_arguments",
    "environment",
    "etcd_arguments",
    "instance_argument",
    "tracing_configuration",
    "without_gate",
]

GATE: Final = "APIServerTracing"

Argument = tuple[str, str]


def tracing_configuration(settings: Settings) -> dict[str, Any]:
    """The content of the file that `--tracing-config-file` names."""
    return {
        "apiVersion": f"apiserver.config.k8s.io/{settings.kubernetes.writes}",
        "kind": "TracingConfiguration",
        "endpoint": settings.endpoint,
        "samplingRatePerMillion": settings.rate,
    }


def apiserver_arguments(settings: Settings, config: str, gates: str = "") -> list[Argument]:
    """
    Arguments of kube-apiserver, names without dashes.

    Args:
        settings: What to write.
        config: Path of the tracing configuration, as kube-apiserver sees it.
        gates: Feature gates that are already set, and are kept.
    """
    gates = without_gate(gates)
    if settings.kubernetes.gate is Gate.REQUIRED:
        gates = ",".join([*filter(None, [gates]), f"{GATE}=true"])
    return [*([("feature-gates", gates)] if gates else []), ("tracing-config-file", config)]


def without_gate(gates: str) -> str:
    """A list of feature gates without `APIServerTracing`."""
    return ",".join(gate for gate in gates.split(",") if gate and gate.partition("=")[0].strip() != GATE)


def etcd_arguments(settings: Settings, member: str | None) -> list[Argument]:
    """Arguments of one etcd member, names without dashes; None leaves the instance id to a file per member."""
    flag = settings.etcd.flag
    arguments = [(flag("enable"), "true"), (flag("address"), settings.endpoint)]
    return [*arguments, instance_argument(settings, member)] if member else arguments


def instance_argument(settings: Settings, member: str) -> Argument:
    """The argument that distinguishes one member's spans from another's."""
    return settings.etcd.flag("instance-id"), member


def environment(settings: Settings) -> dict[str, str]:
    """Variables that the OpenTelemetry SDK inside kube-apiserver and etcd reads."""
    variables: dict[str, str] = {}
    if settings.compression:
        variables["OTEL_EXPORTER_OTLP_COMPRESSION"] = settings.compression
    if settings.token:
        variables["OTEL_EXPORTER_OTLP_HEADERS"] = "authorization=Bearer%20" + quote(settings.token, safe="")
    return variables
