"""`list_from_etcd`, `list_unpaged_big`: lists that cost more than necessary."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Selection
from k8strace.words import count, duration, size

__all__ = ["list_from_etcd", "list_unpaged_big"]

WORTH_TELLING: Final = 0.01
"""Share of all time from which lists of one resource are reported."""

FROM_ETCD_TOO_MUCH: Final = 0.20
"""A fifth of all time in etcd, for objects that the apiserver has in memory."""

BIG_BYTES: Final = 1_000_000
BIG_TOO_MUCH: Final = 0.10
"""A megabyte on the wire is thousands of objects, or hundreds of big ones; kubectl asks for pages of 500."""

NEVER_CACHED: Final = frozenset({"events"})
"""kube-apiserver keeps no watch cache for them."""


def list_from_etcd(selection: Selection) -> Iterator[Finding]:
    """Lists of whole collections that went to etcd: one finding for each resource."""
    calls = selection.etcd_calls
    lists = [at for at, operation in enumerate(calls["operation"]) if operation == "list"]
    if not lists:
        return
    verb, target = (selection.values(name, calls.held) for name in ("verb", "target"))

    def could_be_cached(at: int) -> bool:
        return (
            not calls["continued"][at]
            and verb[at] == "list"
            and not _asked(target[at]) & {"limit", "continue", "resourceVersionMatch"}
        )

    listed = calls.outlay([at for at in lists if could_be_cached(at)])
    ns = dict(zip(*listed, strict=True))
    for (resource,), rows in selection.groups("resource", rows=listed.rows).items():
        outlay = type(listed)(rows, [ns[row] for row in rows])
        share = selection.share(outlay.total_ns)
        if resource not in NEVER_CACHED and share >= WORTH_TELLING:
            yield selection.finding(
                "list_from_etcd",
                "warning" if share >= FROM_ETCD_TOO_MUCH else "info",
                outlay,
                f"{count(len(rows), 'list')} of all {resource} went to etcd, which took"
                f" {selection.cost(outlay.total_ns)}; the watch cache could serve them",
                "Let the client watch (an informer), or list with resourceVersion=0; from 1.31 on the cache also"
                " serves consistent lists.",
                ["verb=list", f"resource={resource}"],
                lists=len(rows),
            )


def list_unpaged_big(selection: Selection) -> Iterator[Finding]:
    """Lists without a limit that had large answers: one finding for each resource."""
    large = selection.at_least("response_bytes", BIG_BYTES)
    if not large:
        return
    told = zip(large, *(selection.values(name, large) for name in ("verb", "target")), strict=True)
    big = [row for row, verb, target in told if verb == "list" and "limit" not in _asked(target)]
    for (resource,), rows in selection.groups("resource", rows=big).items():
        outlay = selection.wall(rows)
        largest = max(selection.values("response_bytes", rows))
        yield selection.finding(
            "list_unpaged_big",
            "warning" if selection.share(outlay.total_ns) >= BIG_TOO_MUCH else "info",
            outlay,
            f"{count(len(rows), 'list')} of {resource} without a limit had answers of up to {size(largest)}"
            f" and took {selection.cost(outlay.total_ns)}, {duration(outlay.total_ns // len(rows))} each",
            "Ask for pages (limit=500), for less (selectors, metadata only), or watch instead of listing.",
            ["verb=list", f"resource={resource}", f"response_bytes>={BIG_BYTES}"],
            lists=len(rows),
            max_bytes=largest,
        )


@lru_cache(4096)
def _asked(target: str | None) -> frozenset[str]:
    """Names of a request's query parameters that have a value."""
    return frozenset(parse_qs((target or "").partition("?")[2]))
