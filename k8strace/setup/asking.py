"""One request to kube-apiserver over HTTPS, marked so that its trace can be found."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from k8strace.setup.versions import SetupError

__all__ = ["Answer", "Server", "UnreachableError", "ask", "groups_of", "metrics_of", "server", "version_of"]

OK: Final = 200
CREATED: Final = 201
MAX_BODY: Final = 1 << 20
"""Bytes read of an answer, at most."""
MAX_METRICS: Final = 256 << 20
"""The same for `/metrics`, which is large if there are many resources."""


class UnreachableError(SetupError):
    """kube-apiserver did not answer. The message says why, and what to try."""


@dataclass(frozen=True, slots=True)
class Server:
    """The address of kube-apiserver and the caller's credentials. Made by `server`."""

    host: str
    port: int
    context: ssl.SSLContext = field(repr=False)
    token: str | None = field(default=None, repr=False)
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """kube-apiserver's answer, and the ids that mark the request."""

    status: int
    trace_id: str
    """The trace id in the `traceparent` that was sent."""
    user_agent: str
    """Unique to this request."""


def server(
    url: str,
    *,
    token: str | None = None,
    ca_file: Path | None = None,
    client_cert: Path | None = None,
    client_key: Path | None = None,
    verify: bool = True,
) -> Server:
    """
    Checks an address and loads the files.

    Raises:
        SetupError: The address is not https://host[:port], or a file cannot be used.
    """
    parts = urlsplit(url if "://" in url else f"https://{url}")
    try:
        port = parts.port or 443
    except ValueError:
        port = 0
    if (
        parts.scheme != "https"
        or not parts.hostname
        or not port
        or parts.username
        or parts.path not in ("", "/")
    ):
        raise SetupError(f"expected a server such as https://10.0.0.1:6443, got {url!r}")
    if token is not None and not re.fullmatch(r"[\x21-\x7e]+", token):
        raise SetupError("the token is not one word of printable ASCII characters")
    if (client_key is not None) and client_cert is None:
        raise SetupError("a client key needs its certificate: give --client-cert too")
    return Server(parts.hostname, port, _context(ca_file, client_cert, client_key, verify=verify), token)


def _context(ca_file: Path | None, cert: Path | None, key: Path | None, *, verify: bool) -> ssl.SSLContext:
    where = ca_file
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        where = cert
        if cert is not None:
            # Without a password an encrypted key is an error, not a question at the terminal.
            context.load_cert_chain(str(cert), str(key) if key else None, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise SetupError(f"{where}: {error.strerror or error}") from None
    return context


def ask(to: Server, path: str, *, counts: bool = True) -> Answer:
    """
    Sends one GET with a sampled `traceparent` and a user agent of its own.

    Args:
        to: kube-apiserver.
        path: What to get.
        counts: False for a request that only makes spans flow; its user agent says so.

    Raises:
        UnreachableError: No answer came.
        SetupError: The path is not valid.
    """
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    agent = f"k8strace-probe{'' if counts else '-warm-up'}/{trace_id}"
    headers = {"traceparent": f"00-{trace_id}-{span_id}-01", "User-Agent": agent}
    status, _ = _call(to, "GET", path, headers)
    return Answer(status, trace_id, agent)


def groups_of(to: Server) -> frozenset[str] | None:
    """The groups that kube-apiserver says the caller is in; None if it does not say (1.28 and newer do)."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    headers = {"User-Agent": "k8strace-probe-groups", "Content-Type": "application/json"}
    try:
        status, body = _call(
            to, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", headers, json.dumps(review)
        )
        said = json.loads(body)["status"]["userInfo"]["groups"] if status == CREATED else None
    except (SetupError, ValueError, LookupError, TypeError):
        return None
    return frozenset(map(str, said)) if isinstance(said, list) else None


def version_of(to: Server) -> str | None:
    """What kube-apiserver says its version is; None if it does not say."""
    try:
        status, body = _call(to, "GET", "/version", {"User-Agent": "k8strace-probe-version"})
        said = json.loads(body).get("gitVersion") if status == 200 else None
    except (SetupError, ValueError, AttributeError):
        return None
    return said if isinstance(said, str) and re.fullmatch(r"v1\.\d+\.\d+[\w.+-]*", said) else None


def metrics_of(to: Server) -> list[str]:
    """
    The lines of kube-apiserver's `/metrics` that count requests; the megabytes around them are not kept.

    Raises:
        UnreachableError: No answer came, or the caller may not read it.
    """
    headers = {"Accept": "text/plain", "User-Agent": "k8strace-cost", **_credentials(to)}
    with _explained(to), closing(_connection(to)) as connection:
        connection.request("GET", "/metrics", headers=headers)
        response = connection.getresponse()
        if response.status != OK:
            raise UnreachableError(
                f"https://{to.host}:{to.port}/metrics answered {response.status}: the caller must be allowed to get "
                "the nonResourceURL /metrics, as the ClusterRole system:monitoring is"
            )
        found, left = [], MAX_METRICS
        while left > 0 and (line := response.readline(MAX_BODY)):
            left -= len(line)
            if line.startswith(b"apiserver_request_total{"):
                found.append(line.decode("utf-8", "replace"))
    return found


def _connection(to: Server) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(to.host, to.port, timeout=to.timeout, context=to.context)


def _credentials(to: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {to.token}"} if to.token else {}


@contextmanager
def _explained(to: Server) -> Iterator[None]:
    """Turns errors of the connection into messages."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"https://{to.host}:{to.port}: {error.verify_message}: give the cluster's CA with --ca-file"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableError(f"https://{to.host}:{to.port}: {words}") from None


def _call(
    to: Server, method: str, path: str, headers: Mapping[str, str], body: str | None = None
) -> tuple[int, bytes]:
    if not re.fullmatch(r"/[\x21-\x7e]*", path):
        raise SetupError(f"expected a path such as /api/v1/namespaces/default, got {path!r}")
    headers = {"Accept": "application/json", **headers, **_credentials(to)}
    with _explained(to), closing(_connection(to)) as connection:
        connection.request(method, path, body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(MAX_BODY)
