"""
CRISP's re-timing, for comparison.

The rule that uber-research/CRISP publishes (`crisp/retimer.py` and `crisp/dependency_graph.py`, 2026-07; itself after
google/calligator), written anew. CRISP changes SERVER spans of one name; here all spans of a component are changed,
each by its own time, which is kinder to it.

A span that takes another time moves those siblings that, by the names of their call paths, once began after one of its
kind had ended; its parent follows if its first or its last child moved. Calls are changed one after the other, and
none ends before its children. A call path is all that tells two spans apart: calls of the same name are one.

`tests/test_crisp.py` holds it to the cases of CRISP's own tests. Where a clone of CRISP is at hand, its code can be run
on the same programs:

    git clone https://github.com/uber-research/CRISP && git -C CRISP checkout 2710c0b9
    python benchmarks/crisp.py CRISP --programs 300
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, Final

import programs
from programs import Ran

__all__ = ["moved", "retimed"]

CHANGES: Final = (("etcd", 2), ("etcd", 10), ("webhook", 2), ("webhook", 10), ("apiserver", 2))
START: Final = 10**15
EQUAL: Final = 1e-6
"""Of the wall time: CRISP computes with floats of unix times."""


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


def moved(ran: Sequence[Ran], place: int, start: float, end: float) -> list[tuple[float, float]]:
    """Starts and ends of all spans, from the beginning of the first one, after one was moved there."""
    nodes = _tree(ran)
    _move(_known(nodes), nodes[place], start, end)
    return [(node.start, node.end) for node in nodes]


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


# ── CRISP itself ──────────────────────────────────────────────────────────────────────────────────


def published(ran: Sequence[Ran], own_time_takes: Callable[[str], Fraction]) -> float:
    """As `retimed`, by the code of a clone of CRISP, which must be importable."""
    from crisp.dependency_graph import DependencyGraph  # type: ignore[import-not-found]
    from crisp.graph import Graph  # type: ignore[import-not-found]
    from crisp.retimer import Retimer  # type: ignore[import-not-found]

    root = ran[0].program
    graph = Graph(_jaeger(ran), root.service, root.name, "", "")
    retimer = Retimer(DependencyGraph(graph=graph))
    own = [node.own for node in _tree(ran)]
    for place in reversed(range(len(ran))):
        node = graph.nodeHT[str(place)]
        less = own[place] * (1 - float(own_time_takes(ran[place].program.component)))
        if less:
            until = max((child.endTime for child in node.children), default=node.startTime)
            retimer.retime_node(graph, node.sid, node.startTime, max(node.endTime - less, until))
    return float(graph.rootNode.endTime - graph.rootNode.startTime)


def _jaeger(ran: Sequence[Ran]) -> dict[str, Any]:
    kinds = {programs.INTERNAL: "internal", programs.SERVER: "server", programs.CLIENT: "client"}
    spans = [
        {
            "traceID": "1",
            "spanID": str(place),
            "operationName": span.program.name,
            "startTime": int(span.start),
            "duration": int(span.end - span.start),
            "processID": span.program.service,
            "tags": [{"key": "span.kind", "type": "string", "value": kinds[span.program.kind]}],
            "references": [{"refType": "CHILD_OF", "traceID": "1", "spanID": str(span.parent)}]
            if span.parent >= 0
            else [],
        }
        for place, span in enumerate(ran)
    ]
    services = {span.program.service for span in ran}
    processes = {name: {"serviceName": name, "tags": []} for name in services}
    return {"data": [{"traceID": "1", "spans": spans, "processes": processes}]}


def main() -> None:
    """Prints how often the rule written anew and CRISP's own code say the same."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clone", type=Path, help="of uber-research/CRISP")
    parser.add_argument("--programs", type=int, default=300, metavar="N", help="of each kind (default 300)")
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.clone))
    logging.disable(logging.CRITICAL)
    print("| Programs | Faster | Equal | Furthest apart, of the wall |\n|---|---|---|---|")
    for kind in programs.KINDS:
        random = Random(7)
        ran = [programs.execute(programs.program(kind, random), start=START) for _ in range(asked.programs)]
        for component, times in CHANGES:
            if not (apart := _apart(ran, component, times)):
                continue
            equal = sum(each <= EQUAL for each in apart)
            print(f"| {kind} | {component} × {times} | {equal:,} of {len(apart):,} | {max(apart):.1e} |")


def _apart(ran: Sequence[Sequence[Ran]], component: str, times: int) -> list[float]:
    """Of each execution with such a component, as a share of its wall time."""

    def speed(of: str) -> Fraction:
        return Fraction(1, times if of == component else 1)

    return [
        abs(retimed(each, speed) - published(each, speed)) / float(each[0].end - each[0].start)
        for each in ran
        if any(span.program.component == component for span in each)
    ]


if __name__ == "__main__":
    main()
