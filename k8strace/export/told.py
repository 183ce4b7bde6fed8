"""Results for each span: component, phase, critical ns, repairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from k8strace.components import component_of
from k8strace.requests import Requests

__all__ = ["Told", "chosen_rows", "explained", "told"]


class Told(NamedTuple):
    """The results for one span."""

    request: int | None
    """The request whose time includes it."""
    component: str | None
    phase: str | None
    """The phase of its own time."""
    critical_ns: int
    """Its ns on the critical path."""
    repairs: tuple[str, ...]
    """In words."""


NOTHING = Told(None, None, None, 0, ())


def explained(requests: Requests) -> Iterator[tuple[int, Any]]:
    """Every outermost request, and its tree from the core."""
    joined = requests._joined
    for row in _outermost(requests):
        yield row, joined.core.explain(row, joined.phase_table.answers)


def told(requests: Requests) -> dict[int, Told]:
    """Row of the span table → results, for the spans of these requests."""
    joined = requests._joined
    names = joined.phase_table.names
    components = [component_of(name) for name in names]
    repaired = _repairs(requests)
    spans = joined.core.told(_outermost(requests), joined.phase_table.answers)
    return {
        row: Told(
            request, components[phase], names[phase], critical_ns, repaired.get((trace_id, span_id), ())
        )
        for request, row, trace_id, span_id, phase, critical_ns in spans
    }


def _outermost(requests: Requests) -> list[int]:
    outer = requests._joined.column("outer_request")
    chosen = set(requests._rows)
    return [row for row in requests._rows if outer[row] not in chosen]


def _repairs(requests: Requests) -> dict[tuple[str, str], tuple[str, ...]]:
    words: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in requests.repairs:
        change = f": {row['field']} {row['before']} -> {row['after']}" if row["field"] else ""
        words[row["trace_id"], row["span_id"]].append(f"{row['kind']}{change}")
    return {span: tuple(each) for span, each in words.items()}


def chosen_rows(requests: Requests, known: dict[int, Told]) -> Sequence[int]:
    """The spans to write: all that were read, or those in the trees of a selection."""
    return range(len(requests.spans)) if requests._is_everything else sorted(known)
