"""What could be otherwise: a `Change` of a part, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Real
from typing import Any, Final, Literal, TypeAlias

from k8strace.exceptions import expect

__all__ = ["LONGEST_NS", "Change"]

ChangeKind: TypeAlias = Literal["faster", "without", "latency", "plus", "cached", "single", "same_node"]

LONGEST_NS: Final = 10**15
"""Longest time of a change: eleven days."""
_FINEST: Final = 10**6
"""Of a factor's numerator and denominator."""


@dataclass(frozen=True, slots=True)
class Change:
    """
    One thing that could be otherwise. Made by the functions below; several together are given to `what_if`.

    A *part* is a component ("etcd"), a phase ("etcd.raft"), the name of a webhook ("webhook:NAME") or what an etcd call
    is for ("etcd:get"; see `Requests.etcd_calls`). The last two also without what is before the colon.
    A *call* of a part is a span with own time in it that is below no other such: the HTTP call of a webhook, the CLIENT
    span of an etcd call, the span around a phase.

    Examples:
        >>> import k8strace
        >>> k8strace.Change.faster("etcd", 2)
        Change(etcd 2 times as fast)
    """

    kind: ChangeKind
    part: str = ""
    """Empty where the change is about requests."""
    factor: Fraction = Fraction(1)
    """How many times as fast."""
    ns: int = 0
    """A time."""
    conditions: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    """Which requests, as in `Requests.where`, and in the same two forms."""

    @staticmethod
    def faster(part: str, times: float | str | Fraction) -> Change:
        """
        A part takes this many times less time; below 1, more.

        Raises:
            ValueError: The number is not from 1/1,000,000 to 1,000,000, or not told by numbers of that size.
        """
        try:
            factor = Fraction(times if isinstance(times, (Fraction, int)) else str(times).strip())
        except (ValueError, ZeroDivisionError):
            factor = Fraction(0)
        if factor <= 0 or max(factor.numerator, factor.denominator) > _FINEST:
            raise ValueError(f"expected a number such as 2, 1.5 or 1/3, got {times!r}")
        return Change("faster", part, factor=factor)

    @staticmethod
    def without(part: str) -> Change:
        """
        A part takes no time.

        A webhook or an etcd call that is named is not made at all: what the API server does for that call alone, in
        the span around it, goes too.
        """
        return Change("without", part)

    @staticmethod
    def latency(part: str, ns: int) -> Change:
        """
        Every call of a part takes that long, as its caller sees it: transport is in it.

        What of a call is not in the part stays. Raises ValueError for a time below 0 or above eleven days.
        """
        return Change("latency", part, ns=_time(ns))

    @staticmethod
    def plus(part: str, ns: int) -> Change:
        """Every call of a part takes that much longer. Raises ValueError for a time below 0 or above eleven days."""
        return Change("plus", part, ns=_time(ns))

    @staticmethod
    def cached(*conditions: str, **where: Any) -> Change:
        """
        Such requests of verb get or list are served from the watch cache: they read nothing from etcd.

        Args:
            conditions: As in `Requests.where`, such as "resource=pods"; nothing for all of them.
            where: As there.
        """
        return Change("cached", conditions=conditions, where=where)

    @staticmethod
    def single(part: str) -> Change:
        """Of the calls of a part only the first in each request is made: n calls become one."""
        return Change("single", part)

    @staticmethod
    def same_node() -> Change:
        """Etcd is on the API server's node: transport takes at most what it takes in the fastest 5 % of its calls."""
        return Change("same_node", "etcd.transport")

    @property
    def text(self) -> str:
        """In words."""
        named = (f"{name}={value}" for name, value in self.where.items())
        shown = ", ".join((*self.conditions, *named)) or "get and list"
        return {
            "faster": f"{self.part} {_number(self.factor)} times as fast",
            "without": f"without {self.part}",
            "latency": f"every call of {self.part} takes {_duration(self.ns)}",
            "plus": f"every call of {self.part} takes {_duration(self.ns)} more",
            "cached": f"served from the watch cache: {shown}",
            "single": f"one call of {self.part} a request",
            "same_node": "etcd on the same node",
        }[self.kind]

    def __repr__(self) -> str:
        return f"Change({self.text})"


def _time(ns: int) -> int:
    expect(ns, Real, "a time in ns")
    if not 0 <= ns <= LONGEST_NS:
        raise ValueError(f"expected a time from 0 to {LONGEST_NS:,} ns, got {ns:,}")
    return int(ns)


def _number(factor: Fraction) -> str:
    plain = f"{float(factor):.6g}"
    return plain if Fraction(plain) == factor else str(factor)


def _duration(ns: int) -> str:
    unit, name = next(((unit, name) for unit, name in _UNITS if ns >= unit), (1, "ns"))
    return f"{ns / unit:.15g} {name}"


_UNITS: Final = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"))
