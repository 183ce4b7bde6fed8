"""What a user sees of joined requests, in a form that can be put together from takes, and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import k8strace

METHODS = ("critical_path", "active_share", "self_time")
NUMBERED = ("request", "outer_request", "linked_from", "counted_in")
"""Columns that hold the numbers of requests, which ids replace here."""

Said = dict[str, Any]


def said(requests: k8strace.Requests) -> Said:
    """
    Everything: each request with its tree and its parts, and every row of every table, by trace.

    Exact repeats are left out: a stream drops them when they come.
    """
    rows = list(k8strace.Table(requests._arrow()))
    names = {row["request"]: (row["trace_id"], row["span_id"]) for row in rows}
    attributions = [k8strace.attribute(requests, method=method) for method in METHODS]  # type: ignore[arg-type]
    told = {}
    for request, row in zip(requests, rows, strict=True):
        row.update({key: names.get(row[key]) for key in NUMBERED})
        tree = request.tree
        phases = [attribution.phases(request.request) for attribution in attributions]
        nodes = {span: dict(values) for span, values in tree.nodes.items()}
        told[names[request.request]] = (row, nodes, sorted(tree.edges), tree.graph["critical_path"], phases)
    tables = {"repairs": requests.repairs, "issues": requests.issues, "etcd_calls": requests.etcd_calls}
    by_trace: dict[tuple[str, str | None], Counter[tuple[Any, ...]]] = {}
    for table, table_rows in tables.items():
        for row in table_rows:
            if row.get("kind") != "duplicate" and row.get("code") != "duplicate":
                trace = None if row.get("code") == "invalid_id" else row["trace_id"]
                values = tuple(names.get(value) if key == "request" else value for key, value in row.items())
                by_trace.setdefault((table, trace), Counter())[values] += 1
    offsets = {(row["client"], row["server"]): row for row in requests.joined.clock_offsets}
    return {"requests": told, "tables": by_trace, "clock_offsets": offsets}


def traces(requests: k8strace.Requests) -> set[str]:
    """The traces that have spans among these."""
    ids = zip(*(requests.spans.column(name).to_pylist() for name in ("trace_id", "span_id")), strict=True)
    return {trace for trace, span in ids if trace and span and trace.strip("0") and span.strip("0")}


def put_together(takes: Iterable[k8strace.stream.StreamedRequests]) -> Said:
    """What is left when each take replaced what it said it replaces; the last one leaves nothing that can change."""
    whole: Said = {"requests": {}, "tables": {}, "clock_offsets": {}}
    revisions: dict[tuple[str, str], int] = {}
    final: set[tuple[str, str]] = set()
    for taken in takes:
        for row in taken.replaced:
            name = (row["trace_id"], row["span_id"])
            assert revisions.pop(name) == row["revision"]
            assert name not in final
            del whole["requests"][name]
        final |= {name for name in revisions if name[0] in taken.released}
        part = said(taken)
        names = list(part["requests"])
        final |= {name for name, is_final in zip(names, taken.final, strict=True) if is_final}
        assert not set(names) & whole["requests"].keys(), "given out twice, and not replaced"
        revisions.update(zip(names, taken.revisions, strict=True))
        whole["requests"].update(part["requests"])
        again = traces(taken)
        kept = {key: rows for key, rows in whole["tables"].items() if key[1] not in again}
        for key, rows in part["tables"].items():
            kept[key] = kept.get(key, Counter()) + rows
        whole["tables"] = kept
        whole["clock_offsets"].update(part["clock_offsets"])
    assert final == whole["requests"].keys()
    return whole


def used(ledger: Any) -> dict[str, int]:
    """The ledger without repeats, whose number depends on how often spans were sent."""
    return {name: count for part in ledger[1:] for name, count in part.items() if name != "duplicate"}
