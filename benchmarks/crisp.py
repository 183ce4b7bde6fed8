"""
CRISP's re-timing, for comparison.

The rule that uber-research/CRISP publishes (`crisp/retimer.py` and `crisp/dependency_graph.py`, 2026-07; itself after
google/calligator), written anew. CRISP changes SERVER spans of one name; here all spans of a component are changed,
each by its own time, which is kinder to it.

A span that takes another time moves those siblings that, by the names of their call paths, once began after one of its
kind had ended; its parent follows if its first or its last child moved. Calls are changed one after the other, and
none ends before its children. A call path is all that tells two spans apart: calls of the same name are one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from programs import Ran

__all__ = ["retimed"]


@dataclass(eq=False)
class _Node:
    path: tuple[str, ...]
    component: str
    start: float
    end: float
    parent: _Node | None
    ended: float
    """When it ended before anything was changed."""
    children: list[_Node] = field(default_factory=list)
    own: float = 0.0
    """Time that is in no child."""


@dataclass
class _Known:
    """What is known of a call path."""

    after: set[tuple[str, ...]] = field(default_factory=set)
    """Of siblings that had ended before one of these began."""
    waited_for: set[tuple[str, ...]] = field(default_factory=set)
    """Of children that its spans wait for."""


def retimed(ran: Sequence[Ran], own_time_takes: Callable[[str], Fraction]) -> float:
    """
    How long an execution would take, by CRISP's rule.

    Args:
        ran: Its spans, parents first.
        own_time_takes: Component → how many times as long its own time takes.
    """
    nodes = _tree(ran)
    known = _known(nodes)
    for node in reversed(nodes):  # children first
        less = node.own * (1 - float(own_time_takes(node.component)))
        if less:
            until = max((child.end for child in node.children), default=node.start)
            _move(known, node, node.start, max(node.end - less, until))
    return nodes[0].end - nodes[0].start


def _tree(ran: Sequence[Ran]) -> list[_Node]:
    nodes: list[_Node] = []
    for span in ran:
        parent = nodes[span.parent] if span.parent >= 0 else None
        name = f"{span.program.service} {span.program.name}"
        path = (*(parent.path if parent else ()), name)
        start, end = float(span.start - ran[0].start), float(span.end - ran[0].start)
        node = _Node(path, span.program.component, start, end, parent, end)
        if parent:
            parent.children.append(node)
        nodes.append(node)
    for node in nodes:
        node.own = node.end - node.start - _covered(node)
    return nodes


def _covered(node: _Node) -> float:
    covered, until = 0.0, node.start
    for child in sorted(node.children, key=lambda child: child.start):
        covered += max(0.0, child.end - max(child.start, until))
        until = max(until, child.end)
    return covered


def _known(nodes: Sequence[_Node]) -> dict[tuple[str, ...], _Known]:
    known: dict[tuple[str, ...], _Known] = {node.path: _Known() for node in nodes}
    for node in nodes:
        latest_first = sorted(node.children, key=lambda child: child.end)[::-1]
        for at, child in enumerate(latest_first):
            if child.end < node.end:
                known[node.path].waited_for.add(child.path)
            earlier = (other.path for other in latest_first[at + 1 :] if other.end < child.start)
            known[child.path].after.update(earlier)
    return known


def _move(known: dict[tuple[str, ...], _Known], node: _Node, start: float, end: float) -> None:
    while (start, end) != (node.start, node.end):
        parent, had_ended, by = node.parent, node.end, end - node.end
        last = (
            max((child.end for child in parent.children if child.end <= parent.end), default=None)
            if parent
            else None
        )
        node.start, node.end = start, end
        if parent is None:
            return
        siblings = [child for child in parent.children if child is not node]
        for sibling in siblings:
            if node.path in known[sibling.path].after and sibling.start > had_ended:
                sibling.start, sibling.end = sibling.start + by, sibling.end + by
        behind = parent.end - last if last is not None else 0.0
        end = _last(known, parent, node, siblings).end + behind
        node, start = parent, parent.start
        if start > end:
            return


def _last(
    known: dict[tuple[str, ...], _Known], parent: _Node, node: _Node, siblings: Sequence[_Node]
) -> _Node:
    """The child that the parent is said to end after."""
    inside = [child for child in (*siblings, node) if child.ended <= parent.ended]
    waited_for = [child for child in inside if child.path in known[parent.path].waited_for]
    last = max(waited_for, key=lambda child: child.end) if waited_for else node
    later = [child for child in inside if last.end < child.end <= parent.end]
    return max(later, key=lambda child: child.end) if later else last
