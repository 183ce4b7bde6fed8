"""Every table that a result gives out, found by walking the properties of the results' classes."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any

import k8strace
from k8strace.tables import ArrowExport

__all__ = ["results_of", "tables_among", "tables_of"]


def tables_of(thing: Any) -> dict[str, ArrowExport]:
    """Name → every property of it that is a table."""
    properties = inspect.getmembers_static(
        type(thing), lambda it: isinstance(it, (property, cached_property))
    )
    values = {name: getattr(thing, name) for name, _ in properties if not name.startswith("_")}
    return {name: value for name, value in values.items() if isinstance(value, ArrowExport)}


def results_of(requests: k8strace.Requests, pods: k8strace.Pods) -> dict[str, Any]:
    """Name → every result, and what its methods give."""
    attribution = k8strace.attribute(requests)
    few, stream = requests.where(verb="delete"), k8strace.RequestStream()
    stream.feed(requests.spans, now_ns=0)
    return {
        "Spans": requests.spans,
        "Requests": requests,
        "Joined": requests.joined,
        "Request": requests.slowest(1)[0],
        "Attribution": attribution,
        "Breakdown": attribution.by("verb", "resource"),
        "Projection": k8strace.attribute(few).what_if(k8strace.Change.faster("etcd", 2)),
        "Histograms": k8strace.Histograms.of(attribution),
        "QuantileParts": attribution.quantile(0.99),
        "Comparison": k8strace.compare(few, requests.where(verb="get"), by=()),
        "Pods": pods,
        "Syncs": pods.syncs,
        "StreamedRequests": stream.flush(),
        "Audit": k8strace.Audit(requests, b""),
        "findings": requests.findings(),
        "stalls": requests.stalls(),
        "cost": requests.cost("client"),
        "etcd_usage": requests.etcd_usage("verb"),
        "estimate_totals": requests.estimate_totals(0.5),
        "to_otlp": requests.spans.to_otlp(split="trace_id"),
        "groups": k8strace.couplings(requests.spans).groups,
        "with_attributes": requests.spans.with_attributes("http.target"),
    }


def tables_among(results: dict[str, Any]) -> dict[str, ArrowExport]:
    """Name → every table: the results that are some, and all properties that are."""
    found = {name: result for name, result in results.items() if isinstance(result, ArrowExport)}
    for name, result in results.items():
        found |= {f"{name}.{each}": table for each, table in tables_of(result).items()}
    return found
