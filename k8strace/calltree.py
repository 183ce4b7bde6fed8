"""One request → `networkx.DiGraph`: an arborescence from the request's SERVER span down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from k8strace import _core
from k8strace.components import component_of

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["build_call_tree"]

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


def build_call_tree(explained: _core.Explained, phases: Sequence[str]) -> nx.DiGraph[str]:
    """
    The call tree of one request. Nodes are span ids in hex, edges point from parent to child, in order of start.

    A span of another trace, put here by its link, is the node `trace_id/span_id`. Each node carries `name`,
    `service`, `instance`, `kind` ("SERVER"), `phase` and `component` of its own time, `start_unix_nano` and
    `end_unix_nano` (repaired), `raw_start_unix_nano` and `raw_end_unix_nano` (as sent),
    `effective_start_unix_nano` and `effective_end_unix_nano` (inside its ancestors), `duration_ns`, `critical_ns`,
    `self_ns`, `status_code`, `status_message`, `attributes`, `events` [(time_unix_nano, name)] and `error`: what went
    wrong in the sender's words, of the status or of an event (`exception.message`, `err`), None if nothing did.
    The graph carries `critical_path`: [(span_id, start_unix_nano, end_unix_nano, phase)], earliest first.
    """
    import networkx as nx  # takes longer than all of k8strace; most sessions look at tables first

    views = explained.span
    ids = {view.row: _node(view, views[0]) for view in views}
    tree: nx.DiGraph[str] = nx.DiGraph()
    for view, phase, (start, end, critical_ns, self_ns) in zip(
        views, explained.phase, explained.time, strict=True
    ):
        tree.add_node(
            ids[view.row],
            name=view.name,
            service=view.service,
            instance=view.instance,
            kind=KINDS[view.kind] if 0 <= view.kind < len(KINDS) else str(view.kind),
            phase=phases[phase],
            component=component_of(phases[phase]),
            start_unix_nano=view.start,
            end_unix_nano=view.end,
            raw_start_unix_nano=view.raw_start,
            raw_end_unix_nano=view.raw_end,
            effective_start_unix_nano=start,
            effective_end_unix_nano=end,
            duration_ns=max(view.end - view.start, 0),
            critical_ns=critical_ns,
            self_ns=self_ns,
            status_code=view.status_code,
            status_message=view.status_message,
            error=view.error,
            attributes=dict(view.attributes),
            events=list(view.events),
        )
    # The first span is the root; its own parent, if any, is outside this request.
    tree.add_edges_from((ids[view.parent], ids[view.row]) for view in views[1:])
    tree.graph["critical_path"] = [
        (ids[views[node].row], start, end, phases[phase]) for node, start, end, phase in explained.segments
    ]
    return tree


def _node(view: _core.SpanView, root: _core.SpanView) -> str:
    return view.span_id if view.trace_id == root.trace_id else f"{view.trace_id}/{view.span_id}"
