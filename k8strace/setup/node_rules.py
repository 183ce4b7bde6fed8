"""
Tracing in a node's files, and every known trap in it: the kubelet's configuration, and its runtime's.

    KubeletConfiguration           tracing, featureGates
    containerd 1.6, 1.7            config.toml, two plugins
    containerd 2.0 and newer       the environment of its unit
    CRI-O                          [crio.tracing]
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8strace.setup.documents import Document, table
from k8strace.setup.findings import Finding
from k8strace.setup.recognise import NodeFile
from k8strace.setup.rules import endpoint_rules, rate_rules
from k8strace.setup.versions import Gate, Kubernetes, SetupError, kubelet

__all__ = ["kubelet_rules", "node_rules"]

Findings = Iterator[Finding]

GATE: Final = "KubeletTracing"
PROTOCOLS: Final = {"grpc": "4317", "http/protobuf": "4318"}
"""Protocols that containerd has → their usual port."""


# ── The kubelet ───────────────────────────────────────────────────────────────────────────────────


def kubelet_rules(file: str, document: Document, rules: Kubernetes | None) -> Findings:
    """Traps in a KubeletConfiguration; without a version those that are traps in all versions."""
    content = document.content
    yield from _kubelet_gate(file, document, rules)
    tracing = content.get("tracing")
    if not isinstance(tracing, Mapping):
        return
    if "endpoint" in tracing:
        line = document.line(tracing, "endpoint")
        yield from endpoint_rules(file, line, str(tracing["endpoint"]))
    rate = "samplingRatePerMillion"
    at = document.line(tracing, rate) if rate in tracing else document.line(content, "tracing")
    yield from rate_rules(file, at, tracing.get(rate), "no work on a pod is sampled")
    for key in tracing:
        if key not in ("endpoint", "samplingRatePerMillion"):
            problem = f"the kubelet does not know the key {str(key)[:60]!r}"
            advice = "take it out: only endpoint and samplingRatePerMillion are known"
            yield Finding(
                file, document.line(tracing, key), "config-unknown-key", problem, advice, lower=True
            )


def _kubelet_gate(file: str, document: Document, rules: Kubernetes | None) -> Findings:
    content = document.content
    gates = table(content.get("featureGates"))
    is_set, traces = GATE in gates, content.get("tracing") is not None
    line = document.line(gates, GATE) if is_set else document.line(content, "tracing" if traces else None)
    try:
        state = kubelet(rules.name).gate if rules else None
    except SetupError as error:
        yield Finding(file, line, "kubernetes-version", str(error), "use 1.25 or newer")
        return
    on = str(gates.get(GATE)).lower() == "true"
    if traces and (is_set or state is Gate.REQUIRED) and not on:
        problem = f"the kubelet does not start: it is told to trace, and the gate {GATE} is off"
        better = f"take {GATE} out" if is_set and state not in (None, Gate.REQUIRED) else f"add {GATE}: true"
        yield Finding(file, line, "kubelet-gate", problem, better)
    elif is_set and state is Gate.LOCKED:
        problem = (
            f"the gate {GATE} is on for good from 1.34, and a release that drops it does not start with it"
        )
        yield Finding(file, line, "kubelet-gate", problem, f"take {GATE} out", lower=True)
    if on and not traces:
        problem = f"the gate {GATE} alone traces nothing: there is no tracing"
        yield Finding(
            file, line, "kubelet-off", problem, "add tracing with endpoint and samplingRatePerMillion"
        )


# ── Its container runtime ─────────────────────────────────────────────────────────────────────────


def node_rules(each: NodeFile) -> Findings:
    """Traps in a file of a container runtime."""
    yield from {"toml": _toml, "unit": _unit}[each.kind](each)


def _toml(each: NodeFile) -> Findings:
    try:
        content = tomllib.loads(each.text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        problem = " ".join(str(error).split())[:160]
        yield Finding(each.file, int(line[1]) if line else 1, "toml", problem, "repair the TOML")
        return
    crio = table(content.get("crio")).get("tracing")
    if isinstance(crio, Mapping):
        yield from _crio(each, crio)
    plugins = table(content.get("plugins"))
    exporter, sampling = (plugins.get(name) for name in (EXPORTER, SAMPLING))
    if isinstance(exporter, Mapping):
        yield from _exporter(each, exporter, content.get("version"))
    if isinstance(sampling, Mapping) and "sampling_ratio" in sampling:
        yield from _share(
            each, each.line("sampling_ratio"), sampling["sampling_ratio"], "sampling_ratio = 0.001"
        )


EXPORTER: Final = "io.containerd.tracing.processor.v1.otlp"
SAMPLING: Final = "io.containerd.internal.v1.tracing"


def _crio(each: NodeFile, tracing: Mapping[str, Any]) -> Findings:
    if tracing.get("enable_tracing") is not True:
        line = each.line("enable_tracing", r"\[crio\.tracing\]")
        yield Finding(each.file, line, "runtime-off", "CRI-O does not trace", "write enable_tracing = true")
    if "tracing_endpoint" in tracing:
        endpoint = str(tracing["tracing_endpoint"])
        yield from endpoint_rules(each.file, each.line("tracing_endpoint"), endpoint, ("dns", "unix"))
    key = "tracing_sampling_rate_per_million"
    line = each.line(key, r"\[crio\.tracing\]")
    yield from rate_rules(each.file, line, tracing.get(key), "CRI-O samples nothing", f"{key} = 1000")


def _exporter(each: NodeFile, exporter: Mapping[str, Any], version: Any) -> Findings:
    if isinstance(version, int) and version > 2:
        problem = "containerd 2.2 and newer do not read where to send spans from here"
        advice = "set OTEL_EXPORTER_OTLP_ENDPOINT in the environment of its unit"
        yield Finding(each.file, each.line("version"), "runtime-plugin", problem, advice)
    endpoint, protocol = str(exporter.get("endpoint") or ""), str(exporter.get("protocol") or "http/protobuf")
    if not endpoint:
        line = each.line("endpoint", re.escape(EXPORTER))
        yield Finding(
            each.file, line, "runtime-off", "containerd is told no endpoint", 'write endpoint = "…"'
        )
        return
    line = each.line("endpoint")
    if protocol == "grpc":
        yield from endpoint_rules(each.file, line, endpoint, ("dns", "unix"))
        yield from _port(each, line, endpoint, protocol)
    else:
        yield from _url(each, line, endpoint, protocol)


def _unit(each: NodeFile) -> Findings:
    """The environment in a systemd unit."""
    known = {name: (value, line) for name, value, line in environment(each.text)}

    def get(name: str, default: tuple[str, int] = ("", 1)) -> tuple[str, int]:
        return known.get(
            f"OTEL_EXPORTER_OTLP_TRACES_{name}", known.get(f"OTEL_EXPORTER_OTLP_{name}", default)
        )

    endpoint, line = get("ENDPOINT")
    disabled, at = known.get("OTEL_SDK_DISABLED", ("", 1))
    if disabled.lower() == "true" or not endpoint:
        problem = "OTEL_SDK_DISABLED is true" if endpoint else "containerd is told no endpoint"
        advice = "take it out" if endpoint else "add OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317"
        yield Finding(each.file, at, "runtime-off", problem, advice)
        return
    yield from _url(each, line, endpoint, get("PROTOCOL", ("http/protobuf", line))[0])
    if "OTEL_TRACES_SAMPLER" not in known:
        problem = "every call that no kubelet sampled is sampled by containerd itself"
        advice = "add OTEL_TRACES_SAMPLER=parentbased_traceidratio and OTEL_TRACES_SAMPLER_ARG=0.001"
        yield Finding(each.file, line, "rate-all", problem, advice)
    elif "OTEL_TRACES_SAMPLER_ARG" in known:
        share, line = known["OTEL_TRACES_SAMPLER_ARG"]
        yield from _share(each, line, share, "OTEL_TRACES_SAMPLER_ARG=0.001")


def environment(text: str) -> Iterator[tuple[str, str, int]]:
    """Name, value and line of every variable that a systemd unit sets."""
    for number, line in enumerate(text.splitlines(), 1):
        words = re.match(r"\s*Environment\s*=(.*)", line)
        if not words:
            continue
        try:
            pairs = shlex.split(words[1])
        except ValueError:
            continue
        for name, separator, value in (pair.partition("=") for pair in pairs):
            if separator:
                yield name, value, number


def _url(each: NodeFile, line: int, endpoint: str, protocol: str) -> Findings:
    if protocol not in PROTOCOLS:
        problem = f"containerd does not speak {protocol[:40]!r}, and does not trace"
        yield Finding(each.file, line, "runtime-protocol", problem, "write grpc or http/protobuf")
    elif not re.match(r"https?://", endpoint):
        problem = f"the endpoint {endpoint[:80]!r} is no URL, which containerd needs here"
        yield Finding(
            each.file, line, "runtime-protocol", problem, f"write http://{endpoint.rpartition('/')[2][:80]}"
        )
    else:
        yield from _port(each, line, endpoint, protocol)


def _port(each: NodeFile, line: int, endpoint: str, protocol: str) -> Findings:
    """The usual port of the other protocol."""
    port = endpoint.rstrip("/").rpartition(":")[2].partition("/")[0]
    other = next((name for name, usual in PROTOCOLS.items() if usual == port and name != protocol), None)
    if other:
        problem = f"port {port} is for {other}, and containerd sends {protocol}"
        advice = f"use port {PROTOCOLS[protocol]}, or the protocol {other}"
        yield Finding(each.file, line, "runtime-protocol", problem, advice, lower=True)


def _share(each: NodeFile, line: int, share: Any, better: str) -> Findings:
    """A share of calls, from 0 to 1."""
    try:
        rate = float(share) * 1_000_000
    except (TypeError, ValueError):
        rate = -1
    if not 0 <= rate <= 1_000_000:
        problem = f"the share {str(share)[:40]!r} is not between 0 and 1"
        yield Finding(each.file, line, "rate-range", problem, f"write {better}")
    else:
        yield from rate_rules(each.file, line, rate // 1, "containerd samples nothing of its own", better)
