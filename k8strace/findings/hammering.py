"""`client_hammers`: a client that repeats the same request, and so makes a large part of the load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Selection
from k8strace.statistics.quantiles import at_rank
from k8strace.words import count, duration, percent

__all__ = ["client_hammers"]

SAME: Final = 0.10
"""For requests about one object: a tenth of all requests and of all time. Healthy recordings have at most 2 %."""

ALIKE: Final = 0.25
"""For one verb and resource, but different objects: a quarter. Healthy recordings have at most 10 %."""

FEWEST: Final = 100
"""Fewer requests are no load."""

TOO_MUCH: Final = 0.20
"""A fifth of all time is worth a look."""

PAUSE_NS: Final = 50_000_000
"""The median pause in a loop is at most this; leases and probes come every second or two."""

LEASES: Final = "leases"
"""Every node renews its own: many processes with one user agent."""


def client_hammers(selection: Selection) -> Iterator[Finding]:
    """One finding for each client and request."""
    least = max(FEWEST, round(SAME * len(selection.joined.core)))
    for (client, verb, resource), rows in selection.groups(
        "client", "verb", "resource", fewest=least
    ).items():
        if client is None or resource is None:
            continue
        names = ("namespace", "object_name", "subresource")
        (_, name, sub), same = max(
            selection.groups(*names, rows=rows).items(), key=lambda item: (len(item[1]), str(item[0]))
        )
        what = f"{resource}/{sub}" if sub else resource
        where = [f"client={client}", f"verb={verb}", f"resource={resource}"]
        if name is not None and _is_loop(selection, same, SAME):
            yield _finding(selection, same, f"{client} sent {verb} {what} {name}", where)
        elif verb == "list" and _is_loop(selection, same, SAME):
            yield _finding(selection, same, f"{client} sent the same list of {what}", where)
        elif resource != LEASES and _is_loop(selection, rows, ALIKE):
            yield _finding(selection, rows, f"{client} sent {verb} {resource}", where)


def _is_loop(selection: Selection, rows: Sequence[int], least: float) -> bool:
    """
    Whether requests are a large part of all requests and time, with short pauses, and mostly without conflicts.

    Measured against everything that was joined: a large part of a selection may be a small part of the load.
    """
    if len(rows) < least * len(selection.joined.core):
        return False
    if sum(number > 0 for number in selection.values("conflicts", rows)) * 2 > len(rows):
        return False
    gaps = _gaps(selection, rows)
    soon = bool(gaps) and at_rank(gaps, 0.5) <= PAUSE_NS
    return soon and selection.share(selection.wall(rows).total_ns) >= least


def _gaps(selection: Selection, rows: Sequence[int]) -> list[int]:
    """Times between the starts of requests, the shortest first."""
    return sorted(then - start for start, then in pairwise(selection.values("start_unix_nano", rows)))


def _finding(selection: Selection, rows: Sequence[int], what: str, where: Sequence[str]) -> Finding:
    outlay, gap = selection.wall(rows), at_rank(_gaps(selection, rows), 0.5)
    return selection.finding(
        "client_hammers",
        "warning" if selection.share(outlay.total_ns) >= TOO_MUCH else "info",
        outlay,
        f"{what} {count(len(rows), 'time')}, mostly {duration(gap)} apart: {percent(len(rows), len(selection.rows))} of"
        f" all requests, {selection.cost(outlay.total_ns)}",
        "Find out why the client loops: let it watch, let it wait longer between tries, or give its flow fewer seats.",
        where,
        gap_ns=gap,
    )
