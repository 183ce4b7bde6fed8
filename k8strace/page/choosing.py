"""Which requests' trees are in a page, when not all of them fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from zlib import crc32

from k8strace.requests import Requests

__all__ = ["chosen_trees"]

SLOWEST_OF_A_GROUP: Final = 3
SLOWEST: Final = 50


def chosen_trees(requests: Requests, named: Iterable[str], most_spans: int) -> tuple[list[int], int]:
    """
    Rows whose trees are shown, the most useful first, and where the uniform sample among them begins.

    First those that findings name, the slowest of each verb and resource, and the slowest of all; then a sample
    that is uniform over the rest, by a hash of the trace id, so that it is deterministic.

    Args:
        requests: Of these.
        named: Trace ids that findings name.
        most_spans: Spans in all trees together. The first tree is there however large it is.
    """
    spans = dict(zip(requests._rows, requests.column("spans"), strict=True))
    telling = list(dict.fromkeys(_telling(requests, frozenset(named))))
    traces = dict(zip(requests._rows, requests.column("trace_id"), strict=True))
    rest = sorted(set(requests._rows) - set(telling), key=lambda row: (crc32(traces[row].encode()), row))
    chosen: list[int] = []
    room = most_spans
    first_of_sample = 0
    for row in [*telling, *rest]:
        if spans[row] <= room or not chosen:
            chosen.append(row)
            room -= spans[row]
            first_of_sample += row in telling if len(chosen) <= len(telling) else 0
    return chosen, first_of_sample


def _telling(requests: Requests, named: frozenset[str]) -> Iterator[int]:
    traces = requests.column("trace_id")
    yield from (row for row, trace in zip(requests._rows, traces, strict=True) if trace in named)
    ranked = requests.slowest(long_running=True)
    seen: dict[tuple[str | None, str | None], int] = {}
    verbs, resources = ranked.column("verb"), ranked.column("resource")
    for row, verb, resource in zip(ranked._rows, verbs, resources, strict=True):
        seen[verb, resource] = seen.get((verb, resource), 0) + 1
        if seen[verb, resource] <= SLOWEST_OF_A_GROUP:
            yield row
    yield from ranked._rows[:SLOWEST]
