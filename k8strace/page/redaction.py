"""Names that could identify a cluster, as hashes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

from k8strace.requests import Requests

__all__ = ["Names", "PlainNames", "names_of"]

COLUMNS: Final = ("namespace", "object_name", "instance", "user_agent", "target")
"""Columns of requests that name users' things."""

KEPT_KEYS: Final = re.compile(
    r"(http|rpc|net|network|server|url\.scheme|otel|telemetry|code|error|exception\.type|type|verb|resource|operation"
    r"|limit|rev|range_end|isUnary|success|count|size|protocol|accept|content-?type|encode.*|decode.*|resourceVersion.*)"
    r"(\.(method|request\.method|status_code|response\.status_code|flavor|protocol\..*|scheme|system|service"
    r"|grpc\.status_code|request\.size|response\.size|wrote_bytes|read_bytes|sdk\..*))?",
    re.IGNORECASE,
)
"""Attributes whose values are the protocol's words, not names."""

_PIECE: Final = re.compile(r"[^\s/\"'`(),;=?&]+")
_NUMBER: Final = re.compile(r"[-+]?[0-9.,]+(ns|µs|ms|s|m|h|%)?|true|false|null|v[0-9]\w*|", re.IGNORECASE)


class PlainNames:
    """Everything as it was sent."""

    redacts = False

    def name(self, text: Any) -> Any:
        """A name."""
        return text

    def text(self, text: str) -> str:
        """A text that may contain names."""
        return text

    def value(self, key: str, text: str | None) -> str | None:  # noqa: ARG002
        """The value of an attribute."""
        return text


class Names(PlainNames):
    """
    Names as hashes: equal names have equal ones, in one file and whenever it is made of the same input.

    The key of the hash is made of all names in the data, so names cannot be guessed one by one.
    """

    redacts = True

    def __init__(self, names: Iterable[str]) -> None:
        known = sorted(set(names))
        joined = "\0".join(known).encode("utf-8", "surrogatepass")
        self._key = blake2b(joined, digest_size=32).digest()
        self._known = {piece for name in known for piece in (name, *_PIECE.findall(name))}

    def name(self, text: Any) -> Any:
        """Its hash, such as "x1f0c22aa"; empty text and numbers stay."""
        if not isinstance(text, str) or _NUMBER.fullmatch(text):
            return text
        hashed = blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=4)
        return f"x{hashed.hexdigest()}"

    def text(self, text: str) -> str:
        """The text with known names as hashes."""
        whole = self.name(text) if text in self._known else text
        return _PIECE.sub(lambda found: self._piece(found[0]), whole)

    def _piece(self, piece: str) -> str:
        bare = piece.rstrip(".:")
        return self.name(bare) + piece[len(bare) :] if bare in self._known else piece

    def value(self, key: str, text: str | None) -> str | None:
        """A value stays if it is a number, or one of the protocol's words."""
        return text if text is None or KEPT_KEYS.fullmatch(key) else self.name(text)


_WORDS: Final = frozenset({"api", "apis", "healthz", "livez", "readyz", "metrics", "version", "openapi"})


def names_of(*populations: Requests) -> Names:
    """All names in these requests."""
    return Names(set().union(*map(_names, populations)))


def _names(requests: Requests) -> set[str]:
    found = {text for name in COLUMNS for text in requests.column(name) if text}
    found |= {text for column in _called(requests) for text in column if text}
    found |= {source.path for source in requests.spans.sources}
    for process in requests.spans.processes:
        found |= {text for text in process["attributes"].values() if text}
        found -= {process["service"]}
    resources = {
        text for name in ("resource", "verb", "subresource") for text in requests.column(name) if text
    }
    return found - resources - _WORDS


def _called(requests: Requests) -> Sequence[Sequence[str | None]]:
    calls = requests.webhook_calls
    webhooks = [calls.column(name).to_pylist() for name in ("webhook", "configuration")]
    return [*webhooks, requests.etcd_calls.column("key").to_pylist()]
