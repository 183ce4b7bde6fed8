"""The page beside the rendered files: what each does, in which order to apply, how to check, how to undo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from k8strace.setup import steps
from k8strace.setup.files import File
from k8strace.setup.settings import DEFAULT_RATE, EVERY_REQUEST, Settings
from k8strace.setup.versions import Gate, Records

__all__ = ["TITLES", "File", "forecast", "readme"]

TITLES: Final = {
    "kubeadm": "kubeadm",
    "static-pod": "static pods on running nodes",
    "kind": "kind",
    "minikube": "minikube",
    "k3s": "k3s",
}


def readme(settings: Settings, files: Mapping[str, File]) -> str:
    """The page, in Markdown."""
    sections = [
        f"# Switch tracing on: {TITLES[settings.target]}",
        _versions(settings),
        "## The files",
        _table(files),
        *_secret(files),
        "## Apply, in this order",
        _numbered(steps.apply(settings, files)),
        "## Check",
        _numbered(steps.check(settings)),
        "## Undo",
        _numbered(steps.undo(settings)),
        "## What to expect",
        _bullets([*forecast(settings), *_rules(settings)]),
    ]
    return "\n\n".join(sections) + "\n"


def _versions(settings: Settings) -> str:
    return (
        f"For Kubernetes {settings.kubernetes_version} and etcd {settings.etcd_version}.\n"
        "`k8strace setup render` wrote these files here and changed nothing else."
    )


def _table(files: Mapping[str, File]) -> str:
    rows = [f"| `{name}` | {file.what} | {file.place} |" for name, file in files.items()]
    return "\n".join(["| File | What it does | Where it goes |", "|---|---|---|", *rows])


def _secret(files: Mapping[str, File]) -> list[str]:
    secret = [f"`{name}`" for name, file in files.items() if file.secret]
    if not secret:
        return []
    warning = (
        f"{', '.join(secret)}: with the bearer token in it, so only you may read it. Delete this folder when done.\n"
        "The connection is not encrypted, and neither is the token on its way: use it on the node or inside a "
        "protected network only."
    )
    return [warning]


def _numbered(items: list[str]) -> str:
    return "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1)).rstrip()


def _bullets(items: list[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def forecast(settings: Settings) -> list[str]:
    """How many spans a second to expect: requests, times the rate, times the spans of a request, and what etcd adds."""
    per_second = settings.requests_per_second or 1_000
    sampled = per_second * settings.rate / 1_000_000
    spans = settings.kubernetes.spans_per_request
    premise = "" if settings.requests_per_second else " (give yours with --requests-per-second)"
    sampling = (
        f"{settings.rate:,} of a million requests are sampled. At {per_second:,g} API requests a second{premise} "
        f"that is {sampled:,g} a second, and with about {spans} spans each {sampled * spans:,g} spans a second."
    )
    lines = [sampling]
    if settings.etcd.records is Records.ALL:
        lines.append(
            f"This etcd records every call as well: about {per_second:,g} more spans a second, "
            "as a request makes about one call."
        )
    lines.append(_other_rate(settings))
    return lines


def _other_rate(settings: Settings) -> str:
    """The rate for the other kind of cluster."""
    if settings.rate == EVERY_REQUEST:
        return (
            "Every request is sampled: right for a test cluster, too much for production. "
            f"There, render with `--rate {DEFAULT_RATE}`."
        )
    return (
        f"In a test cluster sample every request: render with `--rate {EVERY_REQUEST}`. At 10 API requests a second "
        f"that is about {10 * settings.kubernetes.spans_per_request} spans a second."
    )


def _rules(settings: Settings) -> list[str]:
    """Sentences about the versions' rules."""
    return [_GATE_WORDS[settings.kubernetes.gate], _traceparent(settings), *_etcd_words(settings), *_GENERAL]


_GATE_WORDS: Final = {
    Gate.REQUIRED: "The feature gate APIServerTracing is off by default in this version, so the files set it.",
    Gate.ON: "The feature gate APIServerTracing is on by default in this version: nothing sets it.",
    Gate.LOCKED: "The feature gate APIServerTracing is locked on: do not set it, false stops kube-apiserver.",
    Gate.REMOVED: "The feature gate APIServerTracing is gone: setting it at all stops kube-apiserver.",
}

_GENERAL: Final = [
    "Spans leave in batches, up to five seconds after they end. A full queue drops them without a word.",
    "The connection to the receiver is never encrypted.",
]


def _traceparent(settings: Settings) -> str:
    if settings.kubernetes.honours_traceparent:
        return (
            "A caller in system:masters (with kubeadm from 1.29 on: super-admin.conf, not admin.conf) or "
            "system:monitoring can have one request traced by sending a `traceparent` header with the sampled flag; "
            "from other callers it is ignored."
        )
    return "A caller's `traceparent` header is ignored in this version: the rate alone decides."


def _etcd_words(settings: Settings) -> list[str]:
    note = settings.etcd.note
    return [f"This etcd {note}."] if note else []
