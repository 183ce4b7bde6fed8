"""Why pods started slowly: a table of the slowest, and the start of the first as bars over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from k8strace.page.first import bar, legend, solid, table, time
from k8strace.page.redaction import PlainNames
from k8strace.pods import pods
from k8strace.requests import Requests
from k8strace.views.markup import Content, Html, element, join, parts_of
from k8strace.views.palette import component_colour
from k8strace.words import count, duration

if TYPE_CHECKING:
    import networkx as nx

    from k8strace.pods.result import Pod, Pods

__all__ = ["slow_pods"]

MOST_PODS: Final = 10
MOST_SPANS: Final = 40
"""Spans of a start that are drawn: those that take at least a hundredth of it, parents first."""

GREY: Final = "#7a7d82"


def slow_pods(requests: Requests, names: PlainNames) -> Html | None:
    """The section's body; None without a pod that starts, or if some requests were selected: it is about all."""
    if not requests._is_everything or not requests.joined.counts["syncs"]:
        return None
    slow = pods(requests).slowest()
    return _body(slow, names) if len(slow) else None


def _body(slow: Pods, names: PlainNames) -> Html:
    started = slow.where(started=True)
    lead = element("p", f"{len(started):,} of {count(len(slow), 'pod')} started.")
    heads = ("pod", "namespace", "start", "started", "where the time went")
    rows: list[list[Content]] = [
        [names.name(pod.name or pod.pod_uid), names.name(pod.namespace), time(pod.start_ns or 0),
         "yes" if pod.started else "no", bar(solid(parts_of(pod.start_parts)))]
        for pod in slow[:MOST_PODS]
    ]  # fmt: skip
    drawn = (started or slow)[0]
    return join(
        lead,
        legend(solid(parts_of(slow.start_totals))),
        table("Pods that started slowly", heads, rows, numbers={2}),
        _start(drawn, names),
    )


def _start(pod: Pod, names: PlainNames) -> Html:
    """One start: a row for each span, light while it is open, solid while the pod waits for it."""
    tree = pod.tree
    if tree is None or not pod.start_ns:
        return Html()
    title = f"The start of {names.name(pod.name or pod.pod_uid)}, {duration(pod.start_ns)}"
    rows = [
        [label, time(ns), time(critical), picture] for label, ns, critical, picture in _rows(tree, pod, names)
    ]
    return join(
        element("h3", title),
        table(title, ("span", "took", "waited for", "when"), rows, numbers={1, 2}),
    )


def _rows(tree: nx.DiGraph[str], pod: Pod, names: PlainNames) -> Iterator[tuple[str, int, int, Html]]:
    root = pod.pod_uid
    begin, whole = tree.nodes[root]["effective_start_unix_nano"], pod.start_ns or 1
    pieces: dict[str, list[tuple[int, int]]] = {}
    for node, start, end, _ in tree.graph["critical_path"]:
        pieces.setdefault(node, []).append((start, end))
    depth = {root: 0}
    drawn = 0
    for node, values in tree.nodes(data=True):
        for child in tree.successors(node):
            depth[child] = depth[node] + 1
        start, end = values["effective_start_unix_nano"], values["effective_end_unix_nano"]
        if drawn == MOST_SPANS or 100 * (end - start) < whole or start >= begin + whole:
            continue
        drawn += 1
        label = "│ " * depth[node] + names.text(values["name"])
        picture = _picture(values, (start, end), pieces.get(node, []), (begin, whole))
        yield label, end - start, values["critical_ns"], picture


def _picture(
    values: dict[str, Any], span: tuple[int, int], pieces: list[tuple[int, int]], window: tuple[int, int]
) -> Html:
    colour = component_colour(values["component"])
    colour = colour if colour.startswith("#") else GREY
    begin, whole = window

    def rect(start: int, end: int, **kind: str) -> Html:
        left, right = (min(max(at - begin, 0), whole) * 1000 / whole for at in (start, end))
        return element(
            "rect",
            x=f"{left:.2f}",
            y="1",
            width=f"{max(right - left, 1):.2f}",
            height="8",
            fill=colour,
            **kind,
        )

    told = f"from {duration(max(span[0] - begin, 0))} on for {duration(span[1] - span[0])}"
    solid_pieces = [rect(start, end) for start, end in pieces]
    return element(
        "svg", rect(*span, opacity="0.3"), *solid_pieces, class_="bar", viewBox="0 0 1000 10",
        preserveAspectRatio="none", role="img", aria_label=told,
    )  # fmt: skip
