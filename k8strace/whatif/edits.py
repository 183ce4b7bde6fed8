"""Changes as the core takes them: factors of own time by phase, and changes of calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from k8strace import _core
from k8strace.components import Signature, component_of
from k8strace.requests import Requests
from k8strace.whatif.changes import LONGEST_NS, Change
from k8strace.whatif.concurrency import STREAMED, together

__all__ = ["Edits"]

_Took: TypeAlias = Sequence[tuple[int, int, int, int]]
"""As `RetimedRequests.took` gives it."""

_FINE: Final = 1 << 30
"""Parts of a ns, if times are set: results are exact to the ns for calls of up to a second."""
_LARGEST: Final = 1 << 58
"""The largest factor, in units."""
_MOST: Final = 32
"""Changes of calls at once, at most."""
_FACTORS: Final = ("faster", "without")
_LATE: Final = 50
"""Timers are late, on a busy machine by one part in this many: webhooks that slept 50 ms took 51 ms."""
_SERVED_FROM_CACHE: Final = ("get", "list")
_OPS: Final = {
    "latency": "takes",
    "plus": "plus",
    "cached": "gone",
    "single": "once",
    "same_node": "at_most",
    "without": "gone",
}


@dataclass(frozen=True, slots=True)
class _Part:
    """A part, in terms of these requests."""

    phases: frozenset[str]
    names: frozenset[int]
    """Numbers of named calls; empty for any call."""


class Edits:
    """
    Some changes, prepared for the core.

    Raises:
        ValueError: A part does not exist, there are too many changes, or their factors have no common denominator.
    """

    def __init__(self, requests: Requests, changes: Sequence[Change]) -> None:
        self._requests = requests
        self._core = requests._joined.core
        self._phases = requests._joined.phase_table.names
        self._changes = tuple(changes)
        self._parts = [self._part(change) for change in self._changes]
        self._on_calls = [
            at
            for at, (change, part) in enumerate(zip(self._changes, self._parts, strict=True))
            if change.kind not in _FACTORS or (change.kind == "without" and part.names)
        ]
        if len(self._on_calls) > _MOST:
            raise ValueError(f"expected at most {_MOST} changes of calls at once, got {len(self._on_calls)}")
        self._classes = self._classed()

    @property
    def transport_ns(self) -> int | None:
        """Mean transport of the calls to etcd that have spans of both sides; None if there are none."""
        seen = self._transports()
        return sum(seen) // len(seen) if seen else None

    def row(self) -> _core._Edits:
        """For the core: a latency is that of every whole call, as its caller sees it."""
        return self._row()

    def far_row(self, took: _Took) -> _core._Edits:
        """
        The same if a latency is the minimum of the callee's own time.

        Calls vary above it as they did, the longest twentieth no more than the others. Timers are late by a fiftieth.
        Transport is added to calls whose other side sent no span.

        Args:
            took: How long the calls took, from the core.
        """
        varies: dict[int, dict[int, tuple[int, int]]] = {}
        for at, name, least, most in took:
            varies.setdefault(at, {})[name] = least, most
        late = [
            replace(change, ns=min(change.ns + change.ns // _LATE, LONGEST_NS))
            if change.kind == "latency"
            else change
            for change in self._changes
        ]
        return Edits(self._requests, late)._row(self.transport_ns or 0, varies)

    def kept_row(self) -> _core._Edits:
        """The same if every call whose latency is set takes no time: the rest is as recorded."""
        none = [replace(change, ns=0) if change.kind == "latency" else change for change in self._changes]
        return Edits(self._requests, none).row()

    def _row(
        self, unseen_ns: int = 0, varies: Mapping[int, Mapping[int, tuple[int, int]]] = MappingProxyType({})
    ) -> _core._Edits:
        kinds = sorted(
            {*self._classes, frozenset(range(len(self._changes)))} if not self._named else {*self._classes},
            key=sorted,
        )
        unit, factors = self._factors(kinds)
        return (
            unit,
            [kinds.index(kind) for kind in self._classes] if self._named else [],
            factors,
            [[self._bits(kind, phase) for phase in self._phases] for kind in kinds],
            [self._whole(kind) for kind in kinds],
            [
                self._call(self._changes[at], unseen_ns, varies.get(place, {}))
                for place, at in enumerate(self._on_calls)
            ],
            together([Signature._make(row) for row in self._core.signatures()]),
        )

    # ── Parts ─────────────────────────────────────────────────────────────────────────────────────

    def _part(self, change: Change) -> _Part:
        if change.kind == "cached":
            return _Part(frozenset(self._those(_is_read_of_etcd)), frozenset())
        return self._phase_part(change.part) or self._named_part(change.part) or self._unknown(change.part)

    def _those(self, fits: Callable[[str], bool]) -> list[str]:
        return [phase for phase in self._phases if fits(phase)]

    def _phase_part(self, part: str) -> _Part | None:
        phases = self._those(lambda phase: phase == part or component_of(phase) == part)
        phases = phases or self._those(lambda phase: phase.startswith(f"{part}."))
        return _Part(frozenset(phases), frozenset()) if phases else None

    def _named_part(self, part: str) -> _Part | None:
        numbered = list(enumerate(self._core.named_calls(), 1))
        for text in (part, f"webhook:{part}", f"etcd:{part}"):
            found = [(number, kind) for number, (kind, name) in numbered if f"{kind}:{name}" == text]
            if found:
                phases = self._those(lambda phase, kind=found[0][1]: component_of(phase) == kind)  # type: ignore[misc]
                return _Part(frozenset(phases), frozenset(number for number, _ in found))
        return None

    def _unknown(self, part: str) -> _Part:
        calls = [f"{kind}:{name}" for kind, name in self._core.named_calls()]
        components = sorted({component_of(phase) for phase in self._phases})
        if not components:
            raise ValueError(f"expected requests with a part {part!r}, got none")
        shown = [*components, *sorted(calls)[:20]]
        raise ValueError(
            f"expected a part of these requests, one of {', '.join(shown)}, or a phase such as etcd.server; "
            f"got {part!r}"
        )

    # ── Sets of changes that apply below a named call ─────────────────────────────────────────────

    @property
    def _named(self) -> bool:
        return any(part.names for part in self._parts)

    def _classed(self) -> list[frozenset[int]]:
        """Number of a named call, 0 for none → the changes that apply below it."""
        if not self._named:
            return []
        return [
            frozenset(at for at, part in enumerate(self._parts) if not part.names or number in part.names)
            for number in range(len(self._core.named_calls()) + 1)
        ]

    def _factors(self, kinds: Sequence[frozenset[int]]) -> tuple[int, list[list[tuple[int, int]]]]:
        """Units in a ns, and for each set and phase how many units a ns becomes."""
        table = [[self._factor(kind, phase) for phase in self._phases] for kind in kinds]
        unit = lcm(*(factor.denominator for row in table for factor in row))
        unit *= (
            _FINE if any(self._changes[at].kind in ("latency", "same_node") for at in self._on_calls) else 1
        )
        if max((unit, *(int(factor * unit) for row in table for factor in row))) > _LARGEST:
            raise ValueError(
                "expected factors with smaller numerators and denominators, for all changes together"
            )
        return unit, [
            [
                (_slow(phase, factor, unit), int(factor * unit))
                for phase, factor in zip(self._phases, row, strict=True)
            ]
            for row in table
        ]

    def _factor(self, kind: Collection[int], phase: str) -> Fraction:
        factor = Fraction(1)
        for at in sorted(kind):
            if phase in self._parts[at].phases and at not in self._on_calls:
                change = self._changes[at]
                factor *= 0 if change.kind == "without" else 1 / change.factor
        return factor

    # ── Changes of calls ──────────────────────────────────────────────────────────────────────────

    def _bits(self, kind: Collection[int], phase: str) -> int:
        on = (bit for bit, at in enumerate(self._on_calls) if at in kind and phase in self._parts[at].phases)
        return sum(1 << bit for bit in on)

    def _whole(self, kind: Collection[int]) -> int:
        """Changes that remove the call together with the span around it."""
        on = enumerate(self._on_calls)
        return sum(1 << bit for bit, at in on if at in kind and self._changes[at].kind == "without")

    def _call(
        self, change: Change, unseen_ns: int, varies: Mapping[int, tuple[int, int]]
    ) -> tuple[str, int, int, list[bool] | None, list[tuple[int, int]]]:
        ns = self._floor_ns() if change.kind == "same_node" else change.ns
        chosen = self._chosen(change) if change.kind == "cached" else None
        by_name = [varies.get(name, (0, 0)) for name in range(max(varies, default=-1) + 1)]
        return _OPS[change.kind], ns, unseen_ns if change.kind == "latency" else 0, chosen, by_name

    def _chosen(self, change: Change) -> list[bool]:
        fitting = self._requests.where(*change.conditions, **change.where).where(verb=_SERVED_FROM_CACHE)
        chosen = [False] * len(self._core)
        for row in fitting._rows:
            chosen[row] = True
        return chosen

    def _floor_ns(self) -> int:
        seen = sorted(self._transports())
        return seen[-(-len(seen) // 20) - 1] if seen else 0

    def _transports(self) -> list[int]:
        column: list[Any] = self._requests._joined.named("etcd_calls").column("transport_ns").to_pylist()
        return [max(0, ns) for ns in column if ns is not None]


def _is_read_of_etcd(phase: str) -> bool:
    return component_of(phase) == "etcd" or f"{phase}.".startswith("apiserver.storage.")


def _slow(phase: str, factor: Fraction, unit: int) -> int:
    """In the reading that saves least: a faster sender saves nothing for callers that process what it sends."""
    return unit if phase in STREAMED and factor < 1 else int(factor * unit)
