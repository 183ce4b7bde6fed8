"""Dividing time: the critical path, active share and self time of a tree, on one clock."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import networkx as nx

from oracle.clocks import measured_offsets
from oracle.joining import Joined, Request, end_of, forest

Node = TypeVar("Node", bound=Hashable)


class Segment(NamedTuple):
    """A piece of time given to one node."""

    node: Any
    start: int
    end: int


def effective(
    tree: nx.DiGraph[Node],
    start: Mapping[Node, int],
    end: Mapping[Node, int],
    detached: Iterable[Node] = (),
) -> dict[Node, tuple[int, int]]:
    """Cut each node's interval to its parent's; a detached node's is empty."""
    empty = set(detached)
    intervals: dict[Node, tuple[int, int]] = {}
    for node in nx.topological_sort(tree):
        low, high = start[node], max(start[node], end[node])
        for parent in tree.predecessors(node):
            low, high = max(low, intervals[parent][0]), min(high, intervals[parent][1])
        intervals[node] = (low, low) if node in empty else (low, max(low, high))
    return intervals


def critical_path(
    tree: nx.DiGraph[Node],
    start: Mapping[Node, int],
    end: Mapping[Node, int],
    ids: Mapping[Node, Any],
    *,
    happens_before: bool = False,
    detached: Iterable[Node] = (),
) -> list[Segment]:
    """Walk the critical path of a tree and return its segments in order of time.

    At each step every child is looked at again. Here b ends last, so the gap to its right belongs
    to s; then b is walked, then a up to where b began, and the rest belongs to s:

    s      ├──────────────────────────────┤ ← t starts here and goes left
    a         ├─────────┤
    b              ├─────────┤
    path   s──a────b─────────s────────────

    With happens_before a child that has not ended by t is ignored instead of cut.
    """
    interval = effective(tree, start, end, detached)
    root = _root(tree)
    segments: list[Segment] = []
    windows = [(root, *interval[root])]
    while windows:
        span, a, b = windows.pop()
        t = b
        while t > a:
            candidates = [
                child
                for child in tree.successors(span)
                if interval[child][0] < interval[child][1]
                if interval[child][0] < t and interval[child][1] > a
                if not happens_before or interval[child][1] <= t
            ]
            if not candidates:
                segments.append(Segment(span, a, t))
                break
            furthest = max((min(interval[c][1], t), interval[c][1], -interval[c][0]) for c in candidates)
            tied = [
                c for c in candidates if (min(interval[c][1], t), interval[c][1], -interval[c][0]) == furthest
            ]
            child = min(tied, key=lambda c: ids[c])
            until = min(interval[child][1], t)
            if until < t:
                segments.append(Segment(span, until, t))
            since = max(interval[child][0], a)
            windows.append((child, since, until))
            t = since
    return sorted(segments, key=lambda segment: segment.start)


def active_share(
    tree: nx.DiGraph[Node],
    start: Mapping[Node, int],
    end: Mapping[Node, int],
    ids: Mapping[Node, Any],
) -> dict[Node, int]:
    """The time of each node when every instant is divided equally among the active leaves.

    The pieces lie between neighbouring boundaries of non-empty effective intervals. What does not
    divide goes, one nanosecond each, to the smallest ids.
    """
    interval = effective(tree, start, end)
    filled = [node for node in tree if interval[node][0] < interval[node][1]]
    shares = dict.fromkeys(tree, 0)
    boundaries = sorted({boundary for node in filled for boundary in interval[node]})
    for low, high in pairwise(boundaries):
        active = [node for node in filled if interval[node][0] <= low and high <= interval[node][1]]
        leaves = [node for node in active if not any(child in active for child in tree.successors(node))]
        each, left = divmod(high - low, len(leaves))
        for place, node in enumerate(sorted(leaves, key=lambda node: ids[node])):
            shares[node] += each + (place < left)
    return shares


def self_time(tree: nx.DiGraph[Node], start: Mapping[Node, int], end: Mapping[Node, int]) -> dict[Node, int]:
    """The length of each effective interval without the union of the children's."""
    interval = effective(tree, start, end)
    times = {}
    for node in tree:
        covered, reached = 0, interval[node][0]
        for low, high in sorted(interval[child] for child in tree.successors(node)):
            covered += max(0, high - max(low, reached))
            reached = max(reached, high)
        times[node] = interval[node][1] - interval[node][0] - covered
    return times


def _root(tree: nx.DiGraph[Node]) -> Node:
    (root,) = (node for node in tree if tree.in_degree(node) == 0)
    return root


def times(joined: Joined) -> tuple[dict[int, int], dict[int, int], dict[int, bytes]]:
    """The start, end and id of every row, as the functions above want them."""
    rows = joined.rows
    return (
        {row.number: row.start for row in rows},
        {row.number: row.end for row in rows},
        {row.number: row.span_id for row in rows},
    )


def wall_ns(joined: Joined, request: Request) -> int:
    """The duration of a request's root, 0 when it ends before it starts."""
    root = joined.rows[request.root]
    return end_of(root) - root.start


def clock_offsets(joined: Joined) -> dict[tuple[Any, Any], int]:
    """How far the clock of a called process is ahead of its caller's, for pairs that do not agree."""
    return measured_offsets(joined.rows, joined.pairs)


def on_one_clock(joined: Joined) -> Joined:
    """The same with every tree's times, events included, moved to the clock of its top.

    A prelude is not in its request's tree. Times never fall below 0.
    """
    offsets, rows, shifts = clock_offsets(joined), list(joined.rows), dict[int, int]()
    cut = {request.root for request in joined.requests if request.prelude == joined.parents[request.root]}
    for number in nx.topological_sort(forest(joined.parents, range(len(rows)))):
        row, above = rows[number], joined.parents[number]
        shifts[number] = 0
        if above is not None and number not in cut:
            shifts[number] = shifts[above] - offsets.get((rows[above].process, row.process), 0)
        start, end = (max(0, time + shifts[number]) for time in (row.start, row.end))
        events = tuple(event._replace(time=event.time + start - row.start) for event in row.events)
        rows[number] = row._replace(start=start, end=end, events=events)
    return joined._replace(rows=rows)
