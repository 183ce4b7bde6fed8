"""Parameters of a query, read as Jaeger reads them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final
from urllib.parse import parse_qs

from k8strace.exceptions import K8straceError
from k8strace.query.traces import END, SpanQuery

__all__ = [
    "KINDS",
    "MOST_TRACES",
    "ParameterError",
    "Parameters",
    "duration_ns",
    "kind_of",
    "query_of",
    "trace_id_of",
]

KINDS: Final = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_NUMBERS: Final = {name: kind for kind, name in KINDS.items()}
LOOKBACK_NS: Final = 48 * 3600 * 10**9
"""How far back a search without a start goes."""
DEPENDENCIES_MS: Final = 24 * 3600 * 1000
DEFAULT_TRACES: Final = 100
MOST_TRACES: Final = 1_500
"""Traces of one answer, at most; Jaeger's page asks for no more."""
MOST_FIELDS: Final = 100
_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(ns|us|µs|μs|ms|s|m|h)")


class ParameterError(K8straceError, ValueError):
    """A parameter that cannot be read. The message names it."""


def duration_ns(text: str) -> int:
    """
    A duration as Go writes it, in ns.

    Raises:
        ParameterError: It is none.

    Examples:
        >>> duration_ns("1.5ms"), duration_ns("1h2m3s"), duration_ns("100us"), duration_ns("0")
        (1500000, 3723000000000, 100000, 0)
    """
    sign, digits = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if digits == "0":
        return 0
    parts, at = Fraction(0), 0
    while part := _PART.match(digits, at):
        parts += Fraction(part[1] if part[1][-1] != "." else part[1] + "0") * _UNITS[part[2]]
        at = part.end()
    if not digits or at != len(digits) or parts >= 1 << 63:
        raise ParameterError(f"expected a duration such as 1.5ms, got {text[:40]!r}")
    return sign * int(parts)


def trace_id_of(text: str) -> str:
    """
    A trace id as we have it: hex, with the zeros in front that Jaeger leaves out; from base64 too.

    Raises:
        ParameterError: It is none.

    Examples:
        >>> trace_id_of("1a2B"), trace_id_of("AAAAAAAAAAAAAAAAAAAaKw==")
        ('00000000000000000000000000001a2b', '00000000000000000000000000001a2b')
    """
    if re.fullmatch(r"[0-9a-fA-F]{1,32}", text):
        return text.lower().zfill(32)
    if 22 <= len(text) <= 24:
        try:
            raw = base64.b64decode(text.replace("-", "+").replace("_", "/").rstrip("=") + "==", validate=True)
        except (ValueError, binascii.Error):
            raw = b""
        if len(raw) == 16:
            return raw.hex()
    raise ParameterError(f"expected a trace id of up to 32 hex digits, got {text[:40]!r}")


class Parameters:
    """
    The parameters of one request.

    Args:
        query: Behind the `?`.
        now_ns: Unix time, what times are reckoned from that are not given.

    Raises:
        ParameterError: There are too many, or they are no text.
    """

    def __init__(self, query: bytes, now_ns: int) -> None:
        self._now = now_ns
        try:
            text = query.decode("ascii")
            self._values = parse_qs(text, max_num_fields=MOST_FIELDS, errors="strict")
        except ValueError:
            raise ParameterError(
                f"expected at most {MOST_FIELDS} parameters in percent-encoded UTF-8"
            ) from None

    def text(self, *names: str) -> str:
        """The first value of the first of these names that has one; empty if none has."""
        return next((self._values[name][0] for name in names if self._values.get(name)), "")

    def _read(self, name: str, kind: Callable[[str], Any], text: str) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            raise ParameterError(f"unable to parse param '{name}': {error}") from None

    def _time_ns(self, name: str, unit_ns: int, default: int) -> int:
        text = self.text(name)
        return self._read(name, _integer, text) * unit_ns if text else default

    def trace_ids(self) -> list[str]:
        """Those that are asked for by name."""
        return [self._read("traceID", trace_id_of, text) for text in self._values.get("traceID", ())]

    def search(self) -> SpanQuery:
        """What `/api/traces` looks for. Raises ParameterError."""
        least, most = (self._duration(name) for name in ("minDuration", "maxDuration"))
        service = self.text("service")
        if not service:
            raise ParameterError("parameter 'service' is required")
        if least and most and most < least:
            raise ParameterError("'maxDuration' should be greater than 'minDuration'")
        return query_of(
            self._tags(),
            service=service,
            operation=self.text("operation") or None,
            start_unix_nano=self._time_ns("start", 1000, self._now - LOOKBACK_NS),
            end_unix_nano=self._time_ns("end", 1000, self._now),
            least_ns=least,
            most_ns=most or END,
            limit=self._limit("limit"),
        )

    def search_v3(self) -> SpanQuery:
        """What `/api/v3/traces` looks for. Raises ParameterError."""
        start, end = (
            self._moment(f"query.startTime{edge}", f"query.start_time_{edge.lower()}")
            for edge in ("Min", "Max")
        )
        if start is None or end is None:
            raise ParameterError("query.startTimeMin and query.startTimeMax are required")
        if start >= end:
            raise ParameterError("query.startTimeMin must be before query.startTimeMax")
        attributes = self.text("query.attributes")
        return query_of(
            self._read("query.attributes", _json_tags, attributes) if attributes else {},
            service=self.text("query.serviceName", "query.service_name") or None,
            operation=self.text("query.operationName", "query.operation_name") or None,
            start_unix_nano=start,
            end_unix_nano=end,
            least_ns=self._duration("query.durationMin", "query.duration_min"),
            most_ns=self._duration("query.durationMax", "query.duration_max") or END,
            limit=self._limit("query.searchDepth", "query.search_depth", "query.num_traces"),
        )

    def dependencies(self) -> tuple[int, int]:
        """From when to when, in ns: `endTs` and `lookback` are in ms. Raises ParameterError."""
        end = self._time_ns("endTs", 10**6, self._now)
        return end - self._time_ns("lookback", 10**6, DEPENDENCIES_MS * 10**6), end

    def kind(self) -> int | None:
        """`spanKind`; 0 for an unknown word, None if it is missing."""
        return kind_of(self.text("spanKind", "span_kind"))

    def _duration(self, *names: str) -> int:
        text = self.text(*names)
        return max(self._read(names[0], duration_ns, text), 0) if text else 0

    def _moment(self, *names: str) -> int | None:
        text = self.text(*names)
        return self._read(names[0], _rfc3339_ns, text) if text else None

    def _limit(self, *names: str) -> int:
        text = self.text(*names)
        limit = self._read(names[0], _integer, text) if text else DEFAULT_TRACES
        if limit <= 0:
            raise ParameterError(f"expected '{names[0]}' above 0, got {limit}")
        return min(limit, MOST_TRACES)

    def _tags(self) -> dict[str, str]:
        found = {}
        for text in self._values.get("tag", ()):
            key, colon, value = text.partition(":")
            if not colon:
                raise ParameterError(f"malformed 'tag' parameter, expecting key:value, received: {text[:80]}")
            found[key] = value
        for text in self._values.get("tags", ()):
            found |= self._read("tags", _json_tags, text)
        return found


def kind_of(text: str) -> int | None:
    """
    The number of a kind; None for empty text, and 0, which none of our spans has, for an unknown word.

    Examples:
        >>> kind_of("server"), kind_of(""), kind_of("waiter")
        (2, None, 0)
    """
    return _NUMBERS.get(text.lower(), 0) if text else None


def query_of(tags: Mapping[str, str], **wanted: Any) -> SpanQuery:
    """The search: tags that Jaeger makes of fields become conditions on the fields."""
    rest = dict(tags)
    error = rest.pop("error", None)
    status = {"ERROR": True, "OK": False}.get(rest.pop("otel.status_code", ""))
    return SpanQuery(
        error=status if error is None else error == "true",
        kind=kind_of(rest.pop("span.kind", "")),
        attributes=rest,
        **wanted,
    )


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise ParameterError(f"expected a whole number, got {text[:40]!r}")
    return int(text)


def _json_tags(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ParameterError("malformed 'tags' parameter, expecting a JSON object of texts")
    return found


def _rfc3339_ns(text: str) -> int:
    """Grafana sends the `+` of a zone unescaped, so that it arrives as a space."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+ -]\d\d:\d\d)", text)
    try:
        if found:
            zone = found[3].upper().replace("Z", "+00:00").replace(" ", "+")
            at = datetime.fromisoformat(found[1].upper() + zone).astimezone(UTC)
            whole = at - datetime(1970, 1, 1, tzinfo=UTC)
            return (whole.days * 86_400 + whole.seconds) * 10**9 + int((found[2] or "").ljust(9, "0") or 0)
    except (ValueError, OverflowError):
        pass
    raise ParameterError(f"expected a time such as 2026-11-27T10:00:00Z, got {text[:40]!r}")
