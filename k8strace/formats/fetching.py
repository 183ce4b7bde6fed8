"""Traces that another tool holds, over its HTTP API: bounded in time, count and bytes."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import IO, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from k8strace.exceptions import FormatError

__all__ = ["Bounds", "fetch"]

_CHUNK_BYTES: Final = 1 << 16
_LIST_BYTES: Final = 16 << 20
"""Bytes of a list of services or of a search result, at most."""


@dataclass(slots=True)
class Bounds:
    """How much is fetched at most, over all servers."""

    traces: int = 1_000
    bytes: int = 256 << 20
    seconds: float = 60.0
    reached: list[str] = field(default_factory=list)
    """Which limit ended it, in words."""


class _Named(io.BytesIO):
    """A document and where it came from."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def fetch(
    source: str,
    since_ns: int,
    until_ns: int,
    *,
    services: Sequence[str] = (),
    bounds: Bounds | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[IO[bytes]]:
    """
    Asks Jaeger or Tempo for the traces of API servers.

    Args:
        source: "jaeger=URL" or "tempo=URL": where its HTTP API is. A user and a password in the URL are sent as basic
            authorization, to this server and no other: redirects are refused.
        since_ns: From this time on, in unix ns.
        until_ns: Before this time.
        services: `service.name` of API servers. None: "apiserver"; where Jaeger has no such service, all that it has.
        bounds: How much; what ended the fetching early is noted in it.
        headers: Sent with every question, such as `Authorization` and `X-Scope-OrgID`.

    Returns:
        Documents, for `read`, each with its address as `name`. One that a bound cut is the last one, and torn.

    Raises:
        FormatError: Another source, or an answer that is none.
        OSError: The server cannot be reached, or refuses.
    """
    kind, _, address = source.partition("=")
    parts = urlsplit(address)
    if kind not in _ASK or parts.scheme not in ("http", "https") or not parts.hostname:
        raise FormatError(f"expected jaeger=URL or tempo=URL, with http or https, got {source!r}")
    server = _Server(address, bounds or Bounds(), dict(headers or {}))
    return _until_spent(server, _ASK[kind](server, since_ns, until_ns, list(services)))


class _SpentError(OSError):
    """No answer came while there was time."""


def _until_spent(server: _Server, documents: Iterator[IO[bytes]]) -> Iterator[IO[bytes]]:
    """A server that falls silent takes nothing away from what came before."""
    try:
        yield from documents
    except _SpentError:
        if not server.traces:
            raise


def _jaeger(server: _Server, since_ns: int, until_ns: int, services: list[str]) -> Iterator[IO[bytes]]:
    for service in services or _known(server):
        if server.is_spent():
            return
        asked = {
            "service": service,
            "start": since_ns // 1000,
            "end": until_ns // 1000,
            "limit": server.bounds.traces - server.traces,
        }
        document = server.get("/api/traces", asked)
        server.count(document.getvalue().count(b'"processes"'))
        yield document


def _known(server: _Server) -> list[str]:
    names = server.json("/api/services", {}).get("data") or []
    return ["apiserver"] if "apiserver" in names else [str(name) for name in names]


def _tempo(server: _Server, since_ns: int, until_ns: int, services: list[str]) -> Iterator[IO[bytes]]:
    for service in services or ["apiserver"]:
        asked = {
            "q": f"{{resource.service.name={json.dumps(service)}}}",
            "start": since_ns // 10**9,
            "end": -(-until_ns // 10**9),
            "limit": server.bounds.traces - server.traces,
        }
        found = server.json("/api/search", asked).get("traces") or []
        for trace in found:
            if server.is_spent():
                return
            yield _tempo_trace(server, str(trace.get("traceID", "")))
            server.count(1)


def _tempo_trace(server: _Server, trace: str) -> IO[bytes]:
    """By the second API; by the first where the second is missing."""
    try:
        return server.get(f"/api/v2/traces/{quote(trace, safe='')}", {})
    except HTTPError as error:
        if error.code != 404:
            raise
        return server.get(f"/api/traces/{quote(trace, safe='')}", {})


_ASK: Final = {"jaeger": _jaeger, "tempo": _tempo}


class _Stay(HTTPRedirectHandler):
    """Headers for one server are sent to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Redirects are errors."""


class _Server:
    """One server, and what it may still send."""

    def __init__(self, address: str, bounds: Bounds, headers: dict[str, str]) -> None:
        parts = urlsplit(address)
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        self._base = urlunsplit(
            (parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", "")
        )
        self._headers = {"Accept": "application/json", **headers}
        self._opener = build_opener(_Stay)
        self._ends = time.monotonic() + bounds.seconds
        self._left = bounds.bytes
        self.bounds = bounds
        self.traces = 0

    def count(self, traces: int) -> None:
        """Counts bytes that have come."""
        self.traces += traces
        if self.traces >= self.bounds.traces:
            self._note(f"{self.bounds.traces:,} traces")

    def is_spent(self) -> bool:
        """A bound was reached."""
        if time.monotonic() >= self._ends:
            self._note(f"{self.bounds.seconds:g} s")
        return bool(self.bounds.reached)

    def _note(self, bound: str) -> None:
        if bound not in self.bounds.reached:
            self.bounds.reached.append(bound)

    def json(self, path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A small answer."""
        content = self.get(path, asked, at_most=_LIST_BYTES)
        try:
            answer = json.loads(content.getvalue())
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise FormatError(f"expected a JSON object from {content.name}, got {content.getvalue()[:60]!r}")
        return answer

    def get(self, path: str, asked: Mapping[str, Any], at_most: int | None = None) -> _Named:
        """The answer of the server, within the limits."""
        url = f"{self._base}{path}"
        query = f"{url}?{urlencode(asked)}" if asked else url
        wait = max(0.1, self._ends - time.monotonic())
        request = Request(query, headers=self._headers)  # noqa: S310 - http and https only, see `fetch`
        try:
            with self._opener.open(request, timeout=wait) as answer:
                return _Named(self._content(answer, self._left if at_most is None else at_most), url)
        except HTTPError:
            raise
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                self._note(f"{self.bounds.seconds:g} s")
                raise _SpentError(f"{url} cannot be read: no answer within {wait:.1f} s") from None
            raise OSError(f"{url} cannot be read: {reason}") from None

    def _content(self, answer: HTTPResponse, at_most: int) -> bytes:
        out = bytearray()
        while chunk := answer.read1(min(_CHUNK_BYTES, at_most - len(out))):
            out += chunk
            self._left -= len(chunk)
            if len(out) >= at_most:
                self._note(f"{self.bounds.bytes:,} bytes")
                break
            if time.monotonic() >= self._ends:
                self._note(f"{self.bounds.seconds:g} s")
                break
        return bytes(out)
