"""What is set aside of a source: a row for each damage, up to a limit."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from k8strace.exceptions import DecodeError
from k8strace.spans import Issue

MOST_ROWS: Final = 100
"""Damages of one source that have a row each, at most. One more row counts the rest."""

SIGNALS: Final = ("metrics", "logs", "profiles")

_CODES: Final[dict[str, Any]] = {
    "json": "not_json",
    "cut": "not_json",
    "not_otlp": "not_otlp",
    "zeros": "zeros",
    "checksum": "checksum",
    "compression": "compression",
    "limit": "limit",
}


class Damage(NamedTuple):
    """A part of a source that is not a request with traces."""

    error: DecodeError
    source: str
    offset: int
    """Where it begins in the content. The error's own offset may be within it."""
    size: int
    line: int | None


class Account:
    """What was read of one source so far."""

    def __init__(self, source: str, *, strict: bool) -> None:
        self.source = source
        self.sound = 0
        """Messages that were read."""
        self.replaced = 0
        """Texts that were not UTF-8."""
        self.micros = 0
        """Messages whose times are in µs."""
        self._strict = strict
        self._signals: Counter[str] = Counter()
        self._signals_at = (0, 0)
        self._first: DecodeError | None = None
        self._rows = self._more = self._more_bytes = 0

    def set_aside(self, damage: Damage) -> Iterator[Issue]:
        """
        The row of a damage, if it has one of its own.

        Raises:
            DecodeError: If strict, unless it is a message of another signal: that is sound.
        """
        error = damage.error
        if error.kind in SIGNALS:
            self.count_signal(error.kind, 1, damage.size)
            return
        placed = self._placed(error)
        if self._strict:
            raise placed from None
        if error.kind != "zeros":
            self._first = self._first or placed
        self._rows += 1
        if self._rows > MOST_ROWS:
            self._more += 1
            self._more_bytes += damage.size
            return
        code = _CODES.get(error.kind, "malformed")
        yield Issue(code, self.source, damage.offset, _sentence(damage), damage.line, 1, damage.size)

    def count_more(self, more: Iterable[tuple[str, int, int]]) -> None:
        """Damages beyond those that have rows: kind, how many, bytes."""
        for kind, count, size in more:
            if kind in SIGNALS:
                self.count_signal(kind, count, size)
            elif count:
                self._more += count
                self._more_bytes += size

    def count_signal(self, kind: str, messages: int, size: int) -> None:
        """Messages of another signal are valid, and left out."""
        self._signals[kind] += messages
        self._signals_at = (messages, self._signals_at[1] + size)

    def close(self) -> Iterator[Issue]:
        """
        The rows that count, once the source is read.

        Raises:
            DecodeError: Nothing of it could be read: the first damage.
        """
        if self._first and not self.sound and not self._signals:
            raise self._first from None
        if self._more:
            text = f"{self._more} more places are damaged, {self._more_bytes} bytes in all"
            yield Issue("more_damage", self.source, 0, text, None, self._more, self._more_bytes)
        if self._signals:
            yield self._signals_row()
        if self.replaced:
            what = "text is not UTF-8, and was" if self.replaced == 1 else "texts are not UTF-8, and were"
            text = f"{self.replaced} {what} read with replacement characters (U+FFFD)"
            yield Issue("replaced_text", self.source, 0, text, None, self.replaced)
        if self.micros:
            text = (
                f"times in µs: {self.micros} trace{'s have' if self.micros > 1 else ' has'} them so in Jaeger's or"
                " Zipkin's JSON; what is shorter is not told, and spans that seem to end before their children by"
                " one are widened by one"
            )
            yield Issue("microseconds", self.source, 0, text, None, self.micros)

    def _signals_row(self) -> Issue:
        count = self._signals.total()
        kinds = " or ".join(kind for kind in SIGNALS if self._signals[kind])
        each = ", ".join(f"{self._signals[kind]} {kind}" for kind in SIGNALS if self._signals[kind])
        detail = f" ({each})" if len(self._signals) > 1 else ""
        only = "" if self.sound else "; there are no traces here"
        text = f"{count} message{' is' if count == 1 else 's are'} {kinds}, left out{detail}{only}"
        return Issue("other_signal", self.source, 0, text, None, count, self._signals_at[1])

    def _placed(self, error: DecodeError) -> DecodeError:
        path = (
            error.path
            if error.path.startswith(self.source)
            else ": ".join(filter(None, (self.source, error.path)))
        )
        return DecodeError(error.expected, error.got, path, error.offset, error.kind)


def _sentence(damage: Damage) -> str:
    line = f"line {damage.line}, " if damage.line else ""
    return f"{line}{damage.error}; {damage.size} bytes left out"
