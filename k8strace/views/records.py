"""The same as plain records, ready for JSON: one per request, one per report, one per tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from k8strace.attribution import Attribution, Group
from k8strace.components import by_component
from k8strace.pods import pods
from k8strace.pods.syncs import Syncs
from k8strace.requests import Request, Requests
from k8strace.views.breakdown import Wanted, groups_of
from k8strace.views.facts import findings, longest, processes, spans_per_source
from k8strace.views.pods import pods_record, sync_records
from k8strace.whatif import Projection

__all__ = ["projection_record", "report_record", "request_records", "tree_record"]

_FIRST: Final = (
    "trace_id",
    "span_id",
    "name",
    "verb",
    "resource",
    "subresource",
    "namespace",
    "user_agent",
    "http_status",
    "start_unix_nano",
    "wall_ns",
)
_LAST: Final = (
    "complete",
    "incomplete_cause",
    "object_name",
    "api_group",
    "api_version",
    "http_method",
    "target",
    "instance",
    "long_running",
    "prelude_ns",
    "pre_start_ns",
    "async_tail_ns",
    "spans",
    "outer_request",
    "linked_from",
    "counted_in",
    "retries",
    "conflicts",
    "audit_id",
    "response_bytes",
    "has_valid_times",
)
_CALL: Final = (
    "method",
    "key",
    "status",
    "client_ns",
    "server_ns",
    "transport_ns",
    "span_id",
    "start_unix_nano",
)


def request_records(attribution: Attribution) -> Iterator[dict[str, Any]]:
    """
    One record per request, in order: what it was, where its time went, its etcd calls and repairs.

    `components` and `phases` hold integer nanoseconds and sum to `wall_ns` (self time: to at least that).
    """
    requests = attribution.requests
    first = zip(*(requests.column(name) for name in _FIRST), strict=True)
    last = zip(*(requests.column(name) for name in _LAST), strict=True)
    calls, repairs = _calls(requests), _repairs(requests)
    for row, head, tail in zip(requests.column("request"), first, last, strict=True):
        record = dict(zip(_FIRST, head, strict=True))
        phases = attribution.phases(row)
        record["components"] = by_component(phases)
        record["phases"] = phases
        record["etcd_calls"] = calls.get(row, [])
        record["repairs"] = repairs.get(row, [])
        record.update(zip(_LAST, tail, strict=True))
        yield record


def _calls(requests: Requests) -> dict[int | None, list[dict[str, Any]]]:
    table = requests.etcd_calls
    grouped: dict[int | None, list[dict[str, Any]]] = {}
    columns = (table.column(name).to_pylist() for name in _CALL)
    for request, *values in zip(table.column("request").to_pylist(), *columns, strict=True):
        grouped.setdefault(request, []).append(dict(zip(_CALL, values, strict=True)))
    return grouped


def _repairs(requests: Requests) -> dict[int | None, list[str]]:
    """Kinds, each once, in the order in which they first came."""
    columns = (requests.repairs.column(name).to_pylist() for name in ("request", "kind"))
    grouped: dict[int | None, dict[str, None]] = {}
    for request, kind in zip(*columns, strict=True):
        grouped.setdefault(request, {})[kind] = None
    return {request: list(kinds) for request, kinds in grouped.items()}


# ── The report ────────────────────────────────────────────────────────────────────────────────────


def _rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table as JSON has them: their times are in ns."""
    return [{name: value for name, value in row.items() if not name.endswith("_time")} for row in rows]


def report_record(attribution: Attribution, joined: Requests, wanted: Wanted) -> dict[str, Any]:
    """
    The report as one object. Counts are of everything that was read; `selected` and what follows, of the selection.

    Args:
        attribution: Where the time of the requests in question went.
        joined: All requests of the same join.
        wanted: What to group by, with which quantiles, in which order, and how many of the longest requests to add.
    """
    everything = joined.joined
    ledger, counts = everything.ledger, everything.counts
    return {
        "batches": joined.spans.counts["batches"],
        "spans": len(joined.spans),
        **{
            key: counts[key]
            for key in ("traces", "requests", "rpc_pairs", "cri_pairs", "background_calls", "syncs")
        },
        "outermost_requests": len(joined.outermost()),
        "orphans": ledger.set_aside["orphan"],
        "duplicates": ledger.set_aside["duplicate"] + ledger.set_aside["conflict"],
        "ledger": ledger._asdict(),
        "sources": _sources(joined),
        "processes": _processes(joined),
        "issues": _issues(joined),
        "clock_offsets": _rows(everything.clock_offsets),
        "findings": _rows(wanted.findings(attribution.requests)),
        "stalls": _rows(attribution.requests.stalls()),
        "method": attribution.method,
        "selected": len(attribution),
        "long_running": len(attribution.requests.where(long_running=True)),
        "by": list(wanted.by),
        "groups": [_group(group, wanted.quantiles) for group in groups_of(attribution, wanted)],
        "slowest": [_slow(request, attribution) for request in longest(attribution.requests, wanted.slowest)],
        "pods": pods_record(pods(joined)) if counts["syncs"] else None,
    }


def _sources(joined: Requests) -> list[dict[str, Any]]:
    spans = spans_per_source(joined.spans)
    return [
        {**source._asdict(), "spans": number_of}
        for source, number_of in zip(joined.spans.sources, spans, strict=True)
    ]


def _processes(joined: Requests) -> list[dict[str, Any]]:
    return [
        {
            "service": each.service,
            "instance": each.instance,
            "version": each.version,
            "spans": each.spans,
            "libraries": {name: sorted(versions) for name, versions in sorted(each.libraries.items())},
        }
        for each in processes(joined.spans, joined)
    ]


def _issues(joined: Requests) -> list[dict[str, Any]]:
    return [
        {"code": each.code, "wrong": each.wrong, "count": each.count, "message": each.text}
        for each in findings(joined.spans, joined)
    ]


def _group(group: Group, asked: Sequence[float]) -> dict[str, Any]:
    quantiles = {f"p{q * 100:g}_ns": group.quantile(q).wall_ns for q in asked}
    return {
        **group.keys,
        "count": group.requests,
        "wall_ns": group.all.wall_ns,
        **quantiles,
        "errors": {
            status: {"count": errors.requests, "wall_ns": errors.wall_ns}
            for status, errors in group.all.errors.items()
        },
        "components": group.all.components,
        "phases": group.all.phases,
        "slowest_trace_id": group.all.exemplar,
    }


def _slow(request: Request, attribution: Attribution) -> dict[str, Any]:
    return {
        **{name: getattr(request, name) for name in _FIRST},
        "components": attribution.components(request.request),
        "phases": attribution.phases(request.request),
    }


# ── Trees ─────────────────────────────────────────────────────────────────────────────────────────


def tree_record(attribution: Attribution, syncs: Syncs | None = None) -> dict[str, Any]:
    """The requests and syncs of a trace as one object, each with the spans of its call tree in preorder."""
    requests = list(attribution.requests)
    records = [
        {**record, "tree": _tree(request)}
        for record, request in zip(request_records(attribution), requests, strict=True)
    ]
    roots = [*requests, *(syncs or ())]
    return {
        "trace_id": roots[0].trace_id,
        "requests": records,
        "syncs": sync_records(syncs) if syncs else [],
    }


def _tree(request: Request) -> dict[str, Any]:
    tree = request.tree
    parent = {child: above for above, child in tree.edges}
    spans = [
        {"span_id": span_id, "parent": parent.get(span_id), **tree.nodes[span_id]} for span_id in tree.nodes
    ]
    path = [
        {"span_id": span_id, "start_unix_nano": start, "end_unix_nano": end, "phase": phase}
        for span_id, start, end, phase in tree.graph["critical_path"]
    ]
    return {"spans": spans, "critical_path": path}


# ── What if ───────────────────────────────────────────────────────────────────────────────────────


def projection_record(projection: Projection, by: tuple[str, ...]) -> dict[str, Any]:
    """
    A projection as one object: `changes` in words, `groups` and `not_modelled`.

    Each group has its `by` columns, `requests`, `blocks`, `before` and `after`: `mean_ns`, `p50_ns` and `p99_ns`; in
    `after` each with `value`, `low`, `high` and `verdict`.
    """
    return {
        "changes": [change.text for change in projection.changes],
        "by": list(by),
        "groups": [
            {
                **group.keys,
                "requests": group.requests,
                "blocks": group.blocks,
                "before": asdict(group.before),
                "after": {name: asdict(estimate) for name, estimate in group.after.items()},
            }
            for group in projection.by(*by)
        ],
        "not_modelled": list(projection.not_modelled),
    }
