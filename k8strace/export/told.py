"""Results for each span: component, phase, critical ns, repairs."""

from __future__ import annotations

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
    outer = joined.column("outer_request")
    chosen = set(requests._rows)
    for row in requests._rows:
        if outer[row] not in chosen:
            yield row, joined.core.explain(row, joined.phase_table.answers)


def told(requests: Requests) -> dict[int, Told]:
    """Row of the span table → results, for the spans of these requests."""
    names = requests._joined.phase_table.names
    repaired = _repairs(requests)
    found: dict[int, Told] = {}
    for request, tree in explained(requests):
        for view, phase, (_, _, critical_ns, _) in zip(tree.span, tree.phase, tree.time, strict=True):
            name = names[phase]
            words = tuple(repaired.get((view.trace_id, view.span_id), ()))
            found[view.row] = Told(request, component_of(name), name, critical_ns, words)
    return found


def _repairs(requests: Requests) -> dict[tuple[str, str], list[str]]:
    words: dict[tuple[str, str], list[str]] = {}
    for row in requests.repairs:
        change = f": {row['field']} {row['before']} -> {row['after']}" if row["field"] else ""
        words.setdefault((row["trace_id"], row["span_id"]), []).append(f"{row['kind']}{change}")
    return words


def chosen_rows(requests: Requests, known: dict[int, Told]) -> Sequence[int]:
    """The spans to write: all that were read, or those in the trees of a selection."""
    return range(len(requests.spans)) if requests._is_everything else sorted(known)
