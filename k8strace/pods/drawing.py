"""A pod's start as one tree, which the views of requests can draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from k8strace.components import component_of
from k8strace.pods.lives import Stretch
from k8strace.pods.syncs import Syncs

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["start_tree"]


class Named(Protocol):
    """The pod."""

    @property
    def pod_uid(self) -> str:
        """Its uid."""

    @property
    def node(self) -> str | None:
        """Where it runs."""

    @property
    def name(self) -> str | None:
        """Name of the root."""


def start_tree(pod: Named, start: Stretch, syncs: Syncs) -> nx.DiGraph[str]:
    """
    The pod above its syncs, as `k8strace.calltree.build_call_tree` makes the tree of one; a span is `trace_id/span_id`.

    The time in no sync is the pod's own, in phases `waiting.…`.
    """
    import networkx as nx  # takes long to import

    tree: nx.DiGraph[str] = nx.DiGraph()
    root = pod.pod_uid
    waited = sum(end - begin for begin, end, _ in start.waits)
    tree.add_node(root, **_root(pod, start, waited))
    path = [(root, begin, end, phase) for begin, end, phase in start.waits]
    for number, until in start.syncs:
        sync = syncs._row(number)
        part = sync.tree
        names = {node: f"{sync.trace_id}/{node}" for node in part}
        critical = dict.fromkeys(part, 0)
        for node, begin, end, phase in part.graph["critical_path"]:
            if begin < until:
                critical[node] += min(end, until) - begin
                path.append((names[node], begin, min(end, until), phase))
        for node, values in part.nodes(data=True):
            tree.add_node(names[node], **{**values, "critical_ns": critical[node]})
        tree.add_edge(root, names[next(iter(part))])
        tree.add_edges_from((names[above], names[below]) for above, below in part.edges)
    tree.graph["critical_path"] = sorted(path, key=lambda piece: piece[1:3])
    return tree


def _root(pod: Named, start: Stretch, waited: int) -> dict[str, Any]:
    phase = start.waits[0][2] if start.waits else "kubelet.sync"
    when = {
        f"{kind}{side}_unix_nano": at for kind in ("", "raw_", "effective_") for side, at in _sides(start)
    }
    return {
        "name": "start",
        "service": pod.name or pod.pod_uid,
        "instance": pod.node,
        "kind": "INTERNAL",
        "phase": phase,
        "component": component_of(phase),
        **when,
        "duration_ns": start.ns,
        "critical_ns": waited,
        "self_ns": waited,
        "status_code": 0,
        "status_message": "",
        "error": None,
        "attributes": {},
        "events": [],
    }


def _sides(start: Stretch) -> tuple[tuple[str, int], ...]:
    return ("start", start.start), ("end", start.end)
