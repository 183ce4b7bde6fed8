"""`Change`: a change to a part of requests, such as a faster etcd."""

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
"""The largest numerator and denominator of a factor."""


@dataclass(frozen=True, slots=True)
class Change:
    """
    One change to make. Made by the functions below; `what_if` takes several together.

    A *part* is a component ("etcd"), a phase ("etcd.raft"), a webhook ("webhook:NAME") or an operation of etcd calls
    ("etcd:get"; see `Requests.etcd_calls`). The last two also work without the prefix before the colon.
    A *call* of a part is an outermost span with own time in it: the HTTP call of a webhook, the CLIENT span of an etcd
    call, the span around a phase.

    Examples:
        >>> import k8strace
        >>> k8strace.Change.faster("etcd", 2)
        Change(etcd 2 times as fast)
    """

    kind: ChangeKind
    part: str = ""
    """Empty if the change is about requests."""
    factor: Fraction = Fraction(1)
    """How many times as fast."""
    ns: int = 0
    """A time."""
    conditions: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    """Conditions on requests, in the two forms of `Requests.where`."""

    @staticmethod
    def faster(part: str, times: float | str | Fraction) -> Change:
        """
        The time of a part is divided by this number; below 1, it takes longer.

        Raises:
            ValueError: The number is not from 1/1,000,000 to 1,000,000, or no fraction of numbers of that size.
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

        A named webhook or etcd call is not made at all: the API server's work for this call alone, in the span around
        it, takes no time either.
        """
        return Change("without", part)

    @staticmethod
    def latency(part: str, ns: int) -> Change:
        """
        Every call of a part takes this long, as its caller sees it, transport included.

        The time of a call outside of the part stays. Raises ValueError for a time below 0 or above eleven days.
        """
        return Change("latency", part, ns=_time(ns))

    @staticmethod
    def plus(part: str, ns: int) -> Change:
        """Every call of a part takes this much longer. Raises ValueError for a time below 0 or above eleven days."""
        return Change("plus", part, ns=_time(ns))

    @staticmethod
    def cached(*conditions: str, **where: Any) -> Change:
        """
        Requests of verb get or list are served from the watch cache: they read nothing from etcd.

        Args:
            conditions: As in `Requests.where`, such as "resource=pods"; none for all gets and lists.
            where: As in `Requests.where`.
        """
        return Change("cached", conditions=conditions, where=where)

    @staticmethod
    def single(part: str) -> Change:
        """In each request only the first call of a part is made: n calls become one."""
        return Change("single", part)

    @staticmethod
    def same_node() -> Change:
        """Etcd is on the API server's node: transport takes at most as long as in the fastest 5 % of its calls."""
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
