"""Pods: why they started slowly, in the terminal and in HTML; the trees of syncs and of starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from k8strace.attribution import attribute
from k8strace.components import component_of
from k8strace.pods.result import Pod, Pods
from k8strace.pods.syncs import Sync, Syncs
from k8strace.views.branches import rooted_lines
from k8strace.views.markup import Html, element, facts, legend, page, parts_of, swatches, table
from k8strace.views.palette import component_colour
from k8strace.views.text import (
    Look,
    clean,
    columns,
    count,
    duration,
    flowed,
    largest_first,
    more_of,
    percent,
    wrapped,
)
from k8strace.views.waterfall import waterfall

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["pod_html", "pods_html", "pods_lines", "pods_record", "sync_html", "sync_lines", "sync_records"]

MOST_ROWS: Final = 8
MOST_DRAWN: Final = 1
TREE_LIMIT: Final = 24
GROUPS: Final = ("waiting", "sandbox", "image", "container", "kubelet", "runtime", "api", "other")
"""What comes before the first dot of the parts of a start."""


def _in_groups(parts: Mapping[str, int]) -> dict[str, int]:
    groups = dict.fromkeys(GROUPS, 0)
    for part, ns in parts.items():
        groups[component_of(part)] += ns
    return groups


def _title(pod: Pod) -> str:
    took = duration(pod.start_ns or 0)
    return f"{clean(pod.what)}  {took}" + ("" if pod.started else ", not started")


def _particulars(pod: Pod) -> Iterator[str]:
    if pod.node:
        yield f"node {clean(pod.node, 60)}"
    yield count(pod.syncs, "sync")
    if pod.errors:
        yield f"{pod.errors:,} failed"
    if pod.probes:
        yield count(pod.probes, "probe")


def _phases(tree: nx.DiGraph[str]) -> dict[str, int]:
    phases: dict[str, int] = {}
    for _, start, end, phase in tree.graph["critical_path"]:
        phases[phase] = phases.get(phase, 0) + end - start
    return phases


# ── In the terminal ───────────────────────────────────────────────────────────────────────────────


def pods_lines(pods: Pods, look: Look, *, most: int = MOST_ROWS) -> list[Text]:
    """Why these pods started slowly: a table of the slowest, what their starts were made of, the first as a tree."""
    slow = pods.slowest()
    if not len(slow):
        return []
    shown = list(slow[:most])
    totals = _in_groups(pods.start_totals)
    used = [group for group in GROUPS if totals[group]]
    head: list[Text | str] = [Text(cell, style="dim") for cell in ("pod", "start", *used)]
    rows = [head]
    for pod in shown:
        groups = _in_groups(pod.start_parts)
        took = duration(pod.start_ns or 0)
        shares = [percent(groups[group], pod.start_ns or 0) for group in used]
        rows.append([clean(pod.what, 60), took if pod.started else f"({took})", *shares])
    more = len(slow) - len(shown)
    started = len(slow.where(started=True))
    told = f"{started:,} of {count(len(slow), 'pod')} started; (…): not started"
    return [
        *flowed(
            [Text("Why these pods started slowly", style="bold"), Text(told, style="dim")], look, between="  "
        ),
        *columns(rows, look, align="l" + "r" * (1 + len(used)), elastic=0),
        *([more_of(more, "pod", "  ")] if more > 0 else []),
        *_most_of(pods, look),
        *_first_tree(slow, look),
    ]


def _most_of(pods: Pods, look: Look) -> list[Text]:
    """The largest parts of all starts."""
    totals = pods.start_totals
    pieces = [
        Text.assemble((part, component_colour(component_of(part))), f" {duration(ns)}")
        for part, ns in largest_first(totals)[:6]
    ]
    return flowed(pieces, look, between=" · ", hang="  ")


def _first_tree(slow: Pods, look: Look) -> list[Text]:
    """The slowest pod that did start; of none, the one that tried longest."""
    for pod in (slow.where(started=True) or slow)[:MOST_DRAWN]:
        tree = pod.tree
        if tree is not None:
            told = [] if not pod.error else wrapped(f"✗ {clean(pod.error, 300)}", look, style="red")
            drawn = rooted_lines(_title(pod), _particulars(pod), _phases(tree), tree, look, limit=TREE_LIMIT)
            return [Text(), *drawn, *told]
    return []


def sync_lines(syncs: Syncs, look: Look, limit: int | None) -> list[Text]:
    """The trees of syncs, one after the other."""
    attribution = attribute(syncs)
    blocks = [
        rooted_lines(
            f"{clean(sync.what)}  {duration(sync.wall_ns)}",
            _of_sync(sync),
            attribution[sync].phases,
            sync.tree,
            look,
            limit=limit,
        )
        for sync in syncs
    ]
    return [line for block in blocks for line in (*block, Text())][:-1]


def _of_sync(sync: Sync) -> Iterator[str]:
    yield f"trace {sync.trace_id}"
    if sync.node:
        yield f"node {clean(sync.node, 60)}"
    if sync.update_type:
        yield clean(sync.update_type, 20)
    yield count(sync.spans, "span")
    yield count(sync.cri_call_count, "runtime call")
    if sync.detached_spans:
        yield f"{count(sync.detached_spans, 'span')} that it did not wait for"
    if sync.error:
        yield "failed"


# ── For programs ──────────────────────────────────────────────────────────────────────────────────


def pods_record(pods: Pods) -> dict[str, Any]:
    """Pods as one object: what their starts were made of, each pod, housekeeping calls."""
    return {
        "count": len(pods),
        "syncs": len(pods.syncs),
        "probes": len(pods.probes),
        "start_parts": pods.start_totals,
        "pods": [_pod_record(pod) for pod in pods],
        "housekeeping": list(pods.housekeeping),
    }


_FIELDS: Final = (
    "pod_uid",
    "namespace",
    "name",
    "node",
    "first_seen_unix_nano",
    "last_seen_unix_nano",
    "syncs",
    "errors",
    "error",
    "probes",
    "probe_failures",
    "requests",
    "started",
    "start_unix_nano",
    "start_ns",
    "start_parts",
    "ending_ns",
    "ending_parts",
)


def _pod_record(pod: Pod) -> dict[str, Any]:
    return {name: getattr(pod, name) for name in _FIELDS}


def sync_records(syncs: Syncs) -> list[dict[str, Any]]:
    """Syncs with their parts and the spans of their trees in preorder."""
    attribution = attribute(syncs)
    return [_sync_record(sync, attribution[sync].phases) for sync in syncs]


def _sync_record(sync: Sync, phases: Mapping[str, int]) -> dict[str, Any]:
    tree = sync.tree
    parent = {child: above for above, child in tree.edges}
    components: dict[str, int] = {}
    for phase, ns in phases.items():
        components[component_of(phase)] = components.get(component_of(phase), 0) + ns
    names = [name for name in Sync.__dataclass_fields__ if not name.startswith("_") and name != "sync"]
    spans = [{"span_id": node, "parent": parent.get(node), **tree.nodes[node]} for node in tree.nodes]
    path = [
        {"span_id": node, "start_unix_nano": start, "end_unix_nano": end, "phase": phase}
        for node, start, end, phase in tree.graph["critical_path"]
    ]
    return {
        **{name: getattr(sync, name) for name in names},
        "components": components,
        "phases": dict(phases),
        "tree": {"spans": spans, "critical_path": path},
    }


# ── In a notebook ─────────────────────────────────────────────────────────────────────────────────


def _drawn(tree: nx.DiGraph[str], root: str) -> Html:
    phases = _phases(tree)
    colours = {part.name: part.colour for part in parts_of(phases)}
    return element("div", legend(parts_of(phases)), waterfall(tree, root, colours, ()))


def sync_html(sync: Sync) -> str:
    """Its facts in one line, and its spans over time."""
    tree = sync.tree
    return page(
        facts(f"{sync.what}, {duration(sync.wall_ns)}", *_of_sync(sync)), _drawn(tree, next(iter(tree)))
    )


def pod_html(pod: Pod) -> str:
    """Its facts in one line, and its start over time."""
    tree = pod.tree
    head = facts(_title(pod) if tree is not None else repr(pod), *_particulars(pod))
    failed = element("div", clean(pod.error, 600)) if pod.error else ""
    return page(head, failed, "" if tree is None else _drawn(tree, pod.pod_uid))


def pods_html(pods: Pods) -> str:
    """The slowest few, and what their starts were made of."""
    rows = [
        (
            pod.what,
            duration(pod.start_ns or 0),
            "yes" if pod.started else "no",
            ", ".join(f"{part} {duration(ns)}" for part, ns in largest_first(pod.start_parts)[:4]),
        )
        for pod in pods.slowest(MOST_ROWS)
    ]
    return page(
        facts(count(len(pods), "pod"), count(len(pods.syncs), "sync"), count(len(pods.probes), "probe")),
        swatches(parts_of(dict(pods.start_totals))),
        table(("slowest to start", "start", "started", "largest parts"), rows, "lrll"),
    )
