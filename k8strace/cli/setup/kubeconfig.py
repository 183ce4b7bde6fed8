"""kubectl's server and credentials: `kubectl config view` resolves contexts, and this module reads its output."""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from k8strace.setup.versions import SetupError

__all__ = ["namespace_of", "probe_options"]

SECONDS: Final = 30
"""Time that kubectl, or a credentials plugin, may take."""


def probe_options(kubectl: Sequence[str], folder: Path) -> list[str]:
    """
    The server and the credentials of a context, as options of `setup probe`.

    Args:
        kubectl: kubectl's options that choose the context, such as `--context`.
        folder: Where data of the configuration is written to files that only their owner may read.

    Raises:
        SetupError: There is no kubectl or no such context, or its kind of credentials cannot be used.
    """
    view = json.loads(_told("config", "view", "--minify", "--flatten", "--raw", "--output=json", *kubectl))
    cluster, user = _only(view, "clusters", "cluster"), _only(view, "users", "user")
    if not cluster.get("server"):
        raise SetupError("kubectl has no cluster: give --context or --kubeconfig")
    if user.get("username") or user.get("auth-provider"):
        raise SetupError("this user has a password or an auth-provider, which cannot be used here")
    found = _credential(user["exec"]) if user.get("exec") else {}
    contents = {
        "ca-file": _decoded(cluster.get("certificate-authority-data")),
        "client-cert": found.get("clientCertificateData") or _decoded(user.get("client-certificate-data")),
        "client-key": found.get("clientKeyData") or _decoded(user.get("client-key-data")),
        "token-file": found.get("token") or user.get("token"),
    }
    paths = {
        "ca-file": cluster.get("certificate-authority"),
        "client-cert": user.get("client-certificate"),
        "client-key": user.get("client-key"),
        "token-file": user.get("tokenFile"),
    }
    files = {name: _written(folder / name, text) if text else paths[name] for name, text in contents.items()}
    given = [f"--{name}={path}" for name, path in files.items() if path]
    skips = ["--insecure-skip-tls-verify"] if cluster.get("insecure-skip-tls-verify") else []
    return [f"--server={cluster['server']}", *given, *skips]


def namespace_of(kubectl: Sequence[str]) -> str:
    """The namespace of the context."""
    view = json.loads(_told("config", "view", "--minify", "--output=json", *kubectl))
    return str(_only(view, "contexts", "context").get("namespace") or "default")


def _told(*arguments: str, program: str = "kubectl", environment: Mapping[str, str] | None = None) -> str:
    """The output of a program; its own message if it fails."""
    if shutil.which(program) is None:
        raise SetupError(f"{program} is not installed, or not on the PATH")
    try:
        done = subprocess.run(  # noqa: S603, what kubectl itself would run
            [program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"{program} took more than {SECONDS} s") from None
    if done.returncode:
        raise SetupError(f"{program}: {done.stderr.strip().removeprefix('error: ') or done.returncode}")
    return done.stdout


def _only(view: Mapping[str, Any], many: str, one: str) -> dict[str, Any]:
    """The one entry that --minify leaves; empty if there is none."""
    entries = view.get(many) or [{}]
    return entries[0].get(one) or {}


def _decoded(data: str | None) -> str | None:
    try:
        return base64.b64decode(data, validate=True).decode() if data else None
    except (binascii.Error, UnicodeDecodeError):
        raise SetupError("a certificate or key in kubectl's configuration is not base64 of PEM") from None


def _written(place: Path, text: str) -> Path:
    place.touch(mode=0o600)
    place.write_text(text)
    return place


def _credential(asked: Mapping[str, Any]) -> dict[str, str]:
    """The status of an ExecCredential, as kubectl's own plugins for credentials print it."""
    own = {entry["name"]: entry["value"] for entry in asked.get("env") or ()}
    info = {"apiVersion": asked.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = {**os.environ, **own, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    told = _told(*(asked.get("args") or ()), program=asked["command"], environment=environment)
    try:
        status = json.loads(told)["status"]
        return {key: value for key, value in status.items() if isinstance(value, str)}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SetupError(f"{asked['command']}: expected an ExecCredential with a status") from None
