"""One function per group of traps. The versions' rules come from the table."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final

from k8strace.setup import versions
from k8strace.setup.findings import Finding
from k8strace.setup.flags import GATE, without_gate
from k8strace.setup.kubeadm import CONFIG
from k8strace.setup.recognise import Argument, Found, Server, Tracing
from k8strace.setup.settings import endpoint_problem
from k8strace.setup.versions import ALL_ETCD_FLAGS, Etcd, Gate, Kubernetes, Name, Records

__all__ = [
    "apiserver_rules",
    "covers",
    "endpoint_rules",
    "etcd_rules",
    "rate_rules",
    "tracing_rules",
]

Findings = Iterator[Finding]

_KIND: Final = "TracingConfiguration"
_CONFIG_KEYS: Final = ("apiVersion", "kind", "endpoint", "samplingRatePerMillion")


# ── TracingConfiguration ──────────────────────────────────────────────────────────────────────────


def tracing_rules(tracing: Tracing, rules: Kubernetes | None) -> Findings:
    """Traps in a TracingConfiguration; without a version those that are traps in all versions."""
    yield from _config_kind(tracing)
    yield from _config_version(tracing, rules)
    yield from _unknown_keys(tracing, rules)
    content = tracing.document.content
    if "endpoint" in content:
        yield from endpoint_rules(
            tracing.file, tracing.document.line(content, "endpoint"), str(content["endpoint"])
        )
    yield from _config_rate(tracing)


def _config_kind(tracing: Tracing) -> Findings:
    """A wrong kind; a server accepts a file without kind."""
    content = tracing.document.content
    kind = content.get("kind") or _KIND
    if kind != _KIND:
        problem = f"kube-apiserver does not start with kind: {str(kind)[:60]}"
        line = tracing.document.line(content, "kind")
        yield Finding(tracing.file, line, "config-kind", problem, f"write kind: {_KIND}")


def _config_version(tracing: Tracing, rules: Kubernetes | None) -> Findings:
    """A wrong version; a server accepts a file without version."""
    content = tracing.document.content
    if not content.get("apiVersion"):
        return
    group, _, version = str(content.get("apiVersion", "")).rpartition("/")
    accepted = rules.accepts if rules else versions.KUBERNETES[-1].accepts
    if group == "apiserver.config.k8s.io" and version in accepted:
        return
    best = rules.writes if rules else "v1beta1"
    where = f"Kubernetes {rules.name}" if rules else "kube-apiserver"
    yield Finding(
        tracing.file,
        tracing.document.line(content, "apiVersion"),
        "config-version",
        f"{where} does not read TracingConfiguration {str(content['apiVersion'])[:60]}",
        f"write apiVersion: apiserver.config.k8s.io/{best}",
    )


def _unknown_keys(tracing: Tracing, rules: Kubernetes | None) -> Findings:
    for key in tracing.document.content:
        if key in _CONFIG_KEYS:
            continue
        near = difflib.get_close_matches(str(key).lower(), [known.lower() for known in _CONFIG_KEYS], 1, 0.5)
        known = next((name for name in _CONFIG_KEYS if [name.lower()] == near), None)
        strict = rules is not None and rules.strict
        effect = (
            "stops kube-apiserver"
            if strict
            else "is ignored before 1.32 and stops kube-apiserver from there on"
        )
        yield Finding(
            tracing.file,
            tracing.document.line(tracing.document.content, key),
            "config-unknown-key",
            f"the key {str(key)[:60]!r} {effect}",
            f"write {known}" if known else "take it out: only endpoint and samplingRatePerMillion are known",
            lower=rules is not None and not rules.strict,
        )


def _config_rate(tracing: Tracing) -> Findings:
    content = tracing.document.content
    line = tracing.document.line(content, "samplingRatePerMillion")
    nothing = "no request is sampled, unless a privileged caller of 1.33 or newer asks for it"
    yield from rate_rules(tracing.file, line, content.get("samplingRatePerMillion"), nothing)


def rate_rules(
    file: str, line: int, rate: Any, nothing: str, better: str = "samplingRatePerMillion: 1000"
) -> Findings:
    """Traps in a rate of a million. `nothing`: the effect of 0."""
    if rate is None or (rate == 0 and not isinstance(rate, bool)):
        yield Finding(file, line, "rate-none", nothing, f"write {better}")
    elif isinstance(rate, (int, float)) and not isinstance(rate, bool) and rate == rate // 1:
        yield from _rate(file, line, int(rate), better)
    else:
        problem = f"{better.partition(':')[0].partition(' ')[0]} {str(rate)[:40]!r} is not a whole number"
        yield Finding(file, line, "rate-range", problem, "write a number without quotes, such as 1000")


def _rate(file: str, line: int, rate: int, better: str) -> Findings:
    if not 0 <= rate <= 1_000_000:
        yield Finding(
            file, line, "rate-range", f"the rate {rate} is not between 0 and 1000000", f"write {better}"
        )
    elif rate == 1_000_000:
        problem = "every request is sampled, which is too much for production"
        yield Finding(file, line, "rate-all", problem, f"write {better}, or keep it in a test cluster")


def endpoint_rules(
    file: str, line: int, endpoint: str, schemes: tuple[str, ...] = ("dns", "unix", "unix-abstract")
) -> Findings:
    """Traps in an OTLP/gRPC endpoint."""
    problem = endpoint_problem(endpoint, schemes=schemes)
    if problem:
        address = endpoint.rpartition("//")[2].partition("/")[0] or "localhost"
        address = address if ":" in address else f"{address}:4317"
        yield Finding(
            file, line, "endpoint", f"the endpoint {endpoint[:80]!r}: {problem}", f"write {address[:80]}"
        )


# ── kube-apiserver ────────────────────────────────────────────────────────────────────────────────


def apiserver_rules(server: Server, rules: Kubernetes | None) -> Findings:
    """Traps in how kube-apiserver is started."""
    config = server.get("tracing-config-file")
    gates = [argument for argument in server.arguments if argument.name == "feature-gates"]
    yield from _gate(server, config, gates, rules)
    if config:
        yield from _mounted(server, config)


def _gate(
    server: Server, config: Argument | None, gates: list[Argument], rules: Kubernetes | None
) -> Findings:
    setting, value = _gate_setting(gates)
    if setting is None:
        if config and rules and rules.gate is Gate.REQUIRED and server.whole:
            both = ",".join([*filter(None, [gates[-1].value if gates else ""]), f"{GATE}=true"])
            problem = f"Kubernetes {rules.name} ignores the configuration: the gate {GATE} is off by default"
            yield Finding(server.file, config.line, "gate-missing", problem, f"add --feature-gates={both}")
        return
    yield from _gate_set(server, setting, value, config, rules)


def _gate_set(
    server: Server, setting: Argument, value: str, config: Argument | None, rules: Kubernetes | None
) -> Findings:
    rest = without_gate(setting.value)
    without = f"write --feature-gates={rest}" if rest else "take --feature-gates out"
    state = rules.gate if rules else None
    name = f"Kubernetes {rules.name}" if rules else "Kubernetes"
    if state is Gate.REMOVED:
        problem = f"{name} has no gate {GATE} any more and does not start"
        yield Finding(server.file, setting.line, "gate-removed", problem, without)
    elif value != "true":
        code, effect = (
            ("gate-locked", "does not start") if state is Gate.LOCKED else ("gate-off", "does not trace")
        )
        better = f"write {GATE}=true" if state is Gate.REQUIRED else without
        yield Finding(server.file, setting.line, code, f"{name} {effect} with {GATE}={value[:20]}", better)
    elif config is None and server.whole:
        problem = f"the gate {GATE} alone traces nothing: there is no --tracing-config-file"
        yield Finding(
            server.file, setting.line, "config-missing", problem, f"add --tracing-config-file={CONFIG}"
        )


def _gate_setting(gates: list[Argument]) -> tuple[Argument | None, str]:
    """The argument that sets the gate, and its value."""
    for argument in reversed(gates):
        for gate in argument.value.split(","):
            name, _, value = gate.partition("=")
            if name.strip() == GATE:
                return argument, value.strip().lower()
    return None, ""


def _mounted(server: Server, config: Argument) -> Findings:
    if server.mounts is None or any(covers(mount, config.value) for mount in server.mounts):
        return
    yield Finding(
        server.file,
        config.line,
        "file-not-mounted",
        f"no volume is mounted at {config.value[:120]}: kube-apiserver does not find the file and does not start",
        f"add a hostPath volume of {config.value[:120]} and a mount of it there (for kubeadm: extraVolumes)",
    )


def covers(mount: str, path: str) -> bool:
    """Whether a mount contains a path."""
    return path == mount or path.startswith(mount.rstrip("/") + "/")


# ── etcd ──────────────────────────────────────────────────────────────────────────────────────────


def etcd_rules(server: Server, rules: Etcd | None, found: Found) -> Findings:
    """Traps in how etcd is started."""
    flags = [argument for argument in server.arguments if argument.name in ALL_ETCD_FLAGS]
    if rules:
        for flag in flags:
            yield from _flag_name(server, flag, rules)
    if flags and server.whole:
        prefix = rules.prefix if rules else "experimental-" * flags[0].name.startswith("experimental-")
        yield from _enabled(server, flags, prefix)
        yield from _instance_id(server, flags, prefix, found)
    for flag in flags:
        yield from _flag_value(server, flag)
    if rules and rules.records is Records.CHILDREN and _is_on(flags) and not _sampled(found):
        yield Finding(
            server.file,
            flags[0].line,
            "etcd-children-only",
            f"etcd {rules.title} records only what a traced kube-apiserver sampled, and no such is among these files",
            "trace kube-apiserver too, with samplingRatePerMillion above 0, and check its TracingConfiguration as well",
        )


def _flag_name(server: Server, flag: Argument, rules: Etcd) -> Findings:
    which: Name = ALL_ETCD_FLAGS[flag.name]
    if flag.name in rules.flags:
        return
    if flag.name in rules.deprecated_flags:
        problem = f"etcd {rules.title} warns of --{flag.name}, and 3.7 does not start with it"
        yield Finding(server.file, flag.line, "etcd-flag-old", problem, f"write --{rules.flag(which)}")
        return
    better = (
        f"write --{rules.flag(which)}" if which in rules.names else "take it out, or use etcd 3.5.11 or newer"
    )
    problem = f"etcd {rules.title} has no --{flag.name} and does not start"
    yield Finding(server.file, flag.line, "etcd-flag", problem, better)


def _is_on(flags: list[Argument]) -> bool:
    return any(ALL_ETCD_FLAGS[flag.name] == "enable" and flag.value == "true" for flag in flags)


def _enabled(server: Server, flags: list[Argument], prefix: str) -> Findings:
    if not _is_on(flags):
        problem = "tracing flags are set, but tracing is not enabled"
        yield Finding(
            server.file, flags[0].line, "etcd-off", problem, f"add --{prefix}enable-distributed-tracing=true"
        )


def _instance_id(server: Server, flags: list[Argument], prefix: str, found: Found) -> Findings:
    mine = _instance(server)
    others = [other for other in found.servers if other.component == "etcd" and other is not server]
    if mine is None:
        if any(_instance(other) for other in others if not other.whole):
            return  # a patch per member sets it
        problem = "there is no instance id: the spans of all members look like those of one"
        better = f"add --{prefix}distributed-tracing-instance-id=NAME, another for each member"
        yield Finding(server.file, flags[0].line, "etcd-instance-id", problem, better)
    elif any((other := _instance(each)) and other.value == mine.value and each.whole for each in others):
        problem = f"two members have the instance id {mine.value[:60]!r}"
        yield Finding(
            server.file, mine.line, "etcd-instance-id", problem, "give each member a name of its own"
        )


def _instance(server: Server) -> Argument | None:
    return next(
        (a for a in server.arguments if ALL_ETCD_FLAGS.get(a.name) == "instance-id" and a.value), None
    )


def _flag_value(server: Server, flag: Argument) -> Findings:
    which = ALL_ETCD_FLAGS[flag.name]
    if which == "address":
        yield from endpoint_rules(server.file, flag.line, flag.value, ("dns",))
    if which == "sampling-rate":
        if flag.value.lstrip("-").isdigit():
            yield from _rate(
                server.file, flag.line, int(flag.value[:20]), f"--{flag.name}=0, to follow the apiserver"
            )
        else:
            problem = f"the rate {flag.value[:40]!r} is not a whole number"
            yield Finding(server.file, flag.line, "rate-range", problem, f"write --{flag.name}=0")


def _sampled(found: Found) -> bool:
    rates = [each.document.content.get("samplingRatePerMillion") for each in found.tracing]
    return any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)
