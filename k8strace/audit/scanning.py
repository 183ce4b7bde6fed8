"""
Events from the bytes of an audit log, without the bodies of requests and responses.

A log is a sequence of JSON lines of events, or of lists of them (`EventList`). Only requested fields are kept; all
other values are skipped unread, however long. What is kept of one event is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, Final

__all__ = ["EVENT_BYTES", "Scanner"]

EVENT_BYTES: Final = 1 << 20
"""Bytes kept of one event, at most: names, URIs and annotations, no bodies."""

_SPACE: Final = re.compile(rb"[\s,]*")
_STRING: Final = rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"'
_FLAT: Final = rb'(?:[^"{}\[\]\n]++|' + _STRING + rb")*+"
_PLAIN: Final = re.compile(rb'(?:[^"{}\[\]\n]++|' + _STRING + rb"|\{" + _FLAT + rb"\}|\[" + _FLAT + rb"\])*+")
"""Everything up to a bracket of a nested object or array, or to what the end of a piece cuts."""
_TEXT: Final = re.compile(rb'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+')  # JSON has no line break within a string
_SCALAR: Final = re.compile(rb'[^\s,:"{}\[\]]*')
_PREFIX: Final = re.compile(rb'[^"{}\[\]\n]*+')
"""What a container runtime writes before each line: `2026-11-26T14:05:00Z stdout F `."""
_LINE: Final = re.compile(rb"[^\n]*")


class _DamageError(Exception):
    """The bytes are not JSON here, or end."""


class Scanner:
    """
    Reads one log.

    Args:
        chunks: Its bytes, in pieces.
        fields: Fields of an event that are kept.
    """

    def __init__(self, chunks: Iterator[bytes], fields: Collection[str]) -> None:
        self._chunks = chunks
        self._fields = frozenset(fields)
        self._data = b""
        self._at = 0
        self._kept: list[bytes] | None = None
        self._room = 0
        self.events = 0
        """Events so far."""
        self.damaged = 0
        """Places that are not JSON, or are cut; reading goes on at the next line."""
        self.too_large = 0
        """Events left out because more than `EVENT_BYTES` would have to be kept."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while self._next() is not None:
            try:
                yield from self._value_at_top()
            except _DamageError:
                self.damaged += 1
                self._kept = None
                if not self._begins_a_line():
                    self._take(_LINE)

    def _value_at_top(self) -> Iterator[dict[str, Any]]:
        if self._data[self._at] in b"[]":
            self._at += 1  # an array of events, or its end
        elif self._data[self._at] == ord("{"):
            yield from self._object(is_list=False)
        else:
            self._take(_PREFIX)
            if self._peek() != ord("{"):
                raise _DamageError
            yield from self._object(is_list=False)

    def _object(self, *, is_list: bool) -> Iterator[dict[str, Any]]:
        """The object as an event, or the events in its `items`."""
        self._expect(b"{")
        found: dict[str, bytes] = {}
        self._room = EVENT_BYTES
        while self._next() != ord("}"):
            name = self._name()
            if name == "items" and not is_list and self._next() == ord("["):
                yield from self._items()
            elif name in self._fields:
                found[name] = self._value(kept=True)
            else:
                self._value(kept=False)
        self._expect(b"}")
        yield from self._event(found)

    def _items(self) -> Iterator[dict[str, Any]]:
        self._expect(b"[")
        while self._next() != ord("]"):
            if self._data[self._at] == ord("{"):
                yield from self._object(is_list=True)
            else:
                self._value(kept=False)
        self._expect(b"]")
        self._room = EVENT_BYTES

    def _event(self, found: dict[str, bytes]) -> Iterator[dict[str, Any]]:
        if not found.keys() - {"kind", "metadata"}:
            return
        self.events += 1
        if self._room < 0:
            self.too_large += 1
            return
        try:
            yield {name: json.loads(value) for name, value in found.items()}
        except (ValueError, RecursionError):
            self.damaged += 1

    # ── Values ────────────────────────────────────────────────────────────────────────────────────

    def _name(self) -> str:
        if self._next() != ord('"'):
            raise _DamageError
        name = self._value(kept=True).decode("utf-8", "replace")[1:-1]
        if self._next() != ord(":"):
            raise _DamageError
        self._at += 1
        return name

    def _value(self, *, kept: bool) -> bytes:
        """Skips one value, and keeps it if there is room."""
        first = self._next()
        self._kept = [] if kept else None
        if first == ord('"'):
            self._string()
        elif first in (ord("{"), ord("[")):
            self._nested()
        else:
            begin, here = self._at, self._data
            self._take(_SCALAR)
            if (begin, here) == (self._at, self._data):
                raise _DamageError
        value = b"".join(self._kept or ())
        self._kept = None
        return value

    def _string(self) -> None:
        self._pass(1)
        self._take(_TEXT)
        self._expect(b'"')

    def _nested(self) -> None:
        """An object or an array, with whatever is inside."""
        self._pass(1)
        depth = 1
        while depth:
            self._take(_PLAIN)
            sign = self._peek()
            if sign == ord('"'):
                self._string()
                continue
            self._pass(1)
            if sign == ord("\n"):
                if self._begins_a_line():
                    raise _DamageError
                continue
            depth += 1 if sign in b"{[" else -1

    # ── Bytes ─────────────────────────────────────────────────────────────────────────────────────

    def _next(self) -> int | None:
        """The next byte that is not a space; None at the end."""
        self._kept = None
        self._take(_SPACE)
        return self._data[self._at] if self._at < len(self._data) else None

    def _begins_a_line(self) -> bool:
        """Whether an event begins here, at the start of a line: then the one before it was cut."""
        while len(self._data) - self._at < 2 and self._more():
            pass
        return self._data[max(self._at - 1, 0) : self._at + 2] == b'\n{"'

    def _peek(self) -> int:
        if self._at >= len(self._data) and not self._more():
            raise _DamageError
        return self._data[self._at]

    def _expect(self, sign: bytes) -> None:
        if self._peek() != sign[0]:
            raise _DamageError
        self._pass(1)

    def _take(self, pattern: re.Pattern[bytes]) -> None:
        """Skips everything that the pattern matches, over any number of pieces."""
        while True:
            found = pattern.match(self._data, self._at)
            self._pass((found.end() if found else self._at) - self._at)
            if len(self._data) - self._at > 1 or not self._more():  # one byte: a backslash, perhaps
                return

    def _pass(self, size: int) -> None:
        if self._kept is not None:
            self._room -= size
            if self._room >= 0:
                self._kept.append(self._data[self._at : self._at + size])
        self._at += size

    def _more(self) -> bool:
        chunk = next((chunk for chunk in self._chunks if chunk), b"")
        behind = min(self._at, 1)  # whether a line begins here is seen from the byte before
        self._data = self._data[self._at - behind :] + bytes(chunk)
        self._at = behind
        return bool(chunk)
