"""Search of traces over populations of requests: a trace is whole, whichever takes its spans are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

from k8strace import _core
from k8strace.export.otlp import SpanWires
from k8strace.export.told import Told, told
from k8strace.requests import Requests, _Join

if TYPE_CHECKING:
    from k8strace.query.held import Provider

__all__ = ["Found", "Part", "SpanQuery", "Traces"]

END: Final = (1 << 64) - 1
MOST_SPANS: Final = 50_000
"""Spans of one answer, at most. A larger trace is cut, with a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanQuery:
    """Conditions on one span of a trace, all of which must hold; None is no condition. Times are in ns."""

    service: str | None = None
    """`service.name` of its resource."""
    operation: str | None = None
    """Its name."""
    kind: int | None = None
    """`SpanKind`."""
    error: bool | None = None
    """Whether its status says that it failed."""
    start_unix_nano: int = 0
    """It began then or later."""
    end_unix_nano: int = END
    """It began then or earlier."""
    least_ns: int = 0
    """Of its duration."""
    most_ns: int = END
    attributes: Mapping[str, str] | None = None
    """Values as text: of the span, its scope, its resource, or one of its events."""
    limit: int = 100
    """Traces, the one with the latest such span first."""


class Part(NamedTuple):
    """What one population has of a trace."""

    wires: SpanWires
    rows: Sequence[int]
    """Of the population's spans, in the order in which they came."""
    known: Mapping[int, Told]
    """Our facts about these spans, by row."""


class Found(NamedTuple):
    """One trace."""

    trace_id: str
    parts: Sequence[Part]
    """The latest population first."""
    left_out: int
    """Spans beyond what an answer may have."""

    @property
    def spans(self) -> int:
        """How many spans it has, without those left out."""
        return sum(len(part.rows) for part in self.parts)


class Traces:
    """
    Traces that are held, to be searched. From any thread.

    Args:
        provider: Where they are.

    Examples:
        >>> import k8strace
        >>> class Provider:
        ...     def populations(self):
        ...         return [k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))]
        >>> traces = Traces(Provider())
        >>> traces.services()
        ['apiserver', 'etcd']
        >>> [(found.trace_id[:8], found.spans) for found in traces.find(SpanQuery(operation="Create", limit=2))]
        [('42300064', 11), ('73f03076', 11)]
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._known: WeakKeyDictionary[_Join, _Population] = WeakKeyDictionary()

    def find(self, query: SpanQuery) -> list[Found]:
        """Traces with a span that fits, the one with the latest such span first. Of large ones fewer than `limit`."""
        populations = self._provider.populations()
        asked = (
            query.service,
            query.operation,
            query.kind,
            query.error,
            (max(query.start_unix_nano, 0), min(query.end_unix_nano, END)),
            (max(query.least_ns, 0), min(query.most_ns, END)),
            list((query.attributes or {}).items()),
        )
        return self._of(populations, _core.find_traces(_columns(populations), asked, query.limit))

    def get(self, trace_ids: Iterable[str]) -> list[Found]:
        """Those of these traces that are here. Ids are 32 hex digits."""
        return self._of(self._provider.populations(), list(trace_ids))

    def services(self) -> list[str]:
        """Every `service.name`, sorted."""
        return sorted({service for service, _, _ in self.operations()})

    def operations(self) -> list[tuple[str, str, int]]:
        """Every (service, span name, kind), sorted."""
        return _core.operations(_columns(self._provider.populations()))

    def dependencies(self, start_unix_nano: int, end_unix_nano: int) -> list[tuple[str, str, int]]:
        """(service of the parent, service of the child, children that began in this time), sorted."""
        within = max(start_unix_nano, 0), min(max(end_unix_nano, 0), END)
        return _core.dependencies(_columns(self._provider.populations()), within)

    def _of(self, populations: Sequence[Requests], trace_ids: Sequence[str]) -> list[Found]:
        places = _core.trace_rows(_columns(populations), [bytes.fromhex(each) for each in trace_ids])
        found: list[Found] = []
        left = MOST_SPANS
        for trace_id, rows in zip(trace_ids, places, strict=True):
            if not rows or (found and len(rows) > left):
                continue
            found.append(self._found(populations, trace_id, rows[:MOST_SPANS], len(rows)))
            left -= len(rows)
        return found

    def _found(
        self, populations: Sequence[Requests], trace_id: str, places: Sequence[tuple[int, int]], spans: int
    ) -> Found:
        rows: dict[int, list[int]] = {}
        for take, row in places:
            rows.setdefault(take, []).append(row)
        parts, seen = [], set[bytes]()
        for take, several in rows.items():
            population = populations[take]
            # A span that was sent again is kept once: its wire bytes are equal.
            fresh = [
                row
                for row, wire in zip(several, population.spans._columns.span_wires(several), strict=True)
                if wire not in seen and not seen.add(wire)  # type: ignore[func-returns-value]
            ]
            if fresh:
                parts.append(self._population(population).part(population, trace_id, fresh))
        return Found(trace_id, parts, spans - len(places))

    def _population(self, population: Requests) -> _Population:
        known = self._known.get(population._joined)
        if known is None:
            known = self._known[population._joined] = _Population(population)
        return known


class _Population:
    """What is made once of a population, for all traces of an answer."""

    def __init__(self, requests: Requests) -> None:
        self._wires = SpanWires(requests.spans)
        self._rows: dict[str, list[int]] = {}
        for row, trace_id in zip(requests._rows, requests.column("trace_id"), strict=True):
            self._rows.setdefault(trace_id, []).append(row)

    def part(self, requests: Requests, trace_id: str, rows: Sequence[int]) -> Part:
        return Part(self._wires, rows, told(requests._with(self._rows.get(trace_id, []))))


def _columns(populations: Iterable[Requests]) -> list[_core.SpanColumns]:
    return [population.spans._columns for population in populations]
