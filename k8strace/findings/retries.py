"""`update_conflicts`, `etcd_retries`, `retries_cost`: work that failed and was repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Outlay, Selection
from k8strace.words import count

__all__ = ["etcd_retries", "retries_cost", "update_conflicts"]

TOO_MUCH: Final = 0.05
"""Some conflicts are normal, and cost a few parts in a thousand; a twentieth of all time is not."""

REFUSED_SHARE: Final = 0.01
"""A healthy etcd refuses nothing, so a hundredth of all time is a warning."""

WORTH_TELLING: Final = 0.01
"""Share of all time from which the sum is reported."""

MOST: Final = 2 / 3
"""A client with at least this share of the conflicts is named."""


def update_conflicts(selection: Selection) -> Iterator[Finding]:
    """Updates that conflicted with others and were retried inside the apiserver."""
    conflicts = selection.conflicts
    if not len(conflicts):
        return
    outlay = conflicts.outlay()
    attempts = sum(conflicts["conflicts"])
    per_key: Counter[str | None] = Counter()
    for key, number in zip(conflicts["key"], conflicts["conflicts"], strict=True):
        per_key[key] += number
    key, most = max(per_key.items(), key=lambda item: (item[1], str(item[0])))
    on = f", {most:,} of them on {key}" if key and most > attempts / 2 and len(per_key) > 1 else ""
    on = f", all on {key}" if key and len(per_key) == 1 else on
    client, lost = _client(selection)
    by = f", by {client}" if client and lost >= MOST * attempts else ""
    yield selection.finding(
        "update_conflicts",
        "warning" if selection.share(outlay.total_ns) >= TOO_MUCH else "info",
        outlay,
        f"Updates conflicted and were retried {count(attempts, 'time')}{on}{by}: {selection.cost(outlay.total_ns)}",
        "Find the clients that write the same object (cost by client); let one of them do it, or less often.",
        ["conflicts>0"],
        conflicts=attempts,
        updates=len(conflicts),
        objects=len(per_key),
    )


def _client(selection: Selection) -> tuple[str | None, int]:
    """The client with the most conflicts, and how many."""
    conflicts = selection.conflicts
    per_client: Counter[str | None] = Counter()
    clients = selection.values("client", conflicts.held)
    for client, number in zip(clients, conflicts["conflicts"], strict=True):
        per_client[client] += number
    return max(per_client.items(), key=lambda item: (item[1], str(item[0])))


def etcd_retries(selection: Selection) -> Iterator[Finding]:
    """Calls that etcd refused as UNAVAILABLE and that the apiserver retried."""
    outlay, repeats = _refused(selection)
    if repeats:
        yield selection.finding(
            "etcd_retries",
            "warning" if selection.share(outlay.total_ns) >= REFUSED_SHARE else "info",
            outlay,
            f"etcd refused {count(repeats, 'call')} as unavailable, and the apiserver retried:"
            f" {selection.cost(outlay.total_ns)}",
            "Look at etcd's log at that time: a leader election, a full disk, a member that was restarted.",
            ["retries>0"],
            retries=repeats,
        )


def retries_cost(selection: Selection) -> Iterator[Finding]:
    """All work that failed and was repeated, if there is some of both kinds."""
    conflicts = selection.conflicts
    refused, repeats = _refused(selection, besides=frozenset(conflicts["span"]))
    if not (len(conflicts) and repeats):
        return
    again = conflicts.outlay()
    outlay = Outlay.of([*zip(*again, strict=True), *zip(*refused, strict=True)])
    attempts = sum(conflicts["conflicts"])
    if selection.share(outlay.total_ns) >= WORTH_TELLING:
        yield selection.finding(
            "retries_cost",
            "info",
            outlay,
            f"Work that failed and was repeated took {selection.cost(outlay.total_ns)}:"
            f" {count(attempts, 'conflict')} of updates and {count(repeats, 'call')} refused by etcd",
            "See update_conflicts and etcd_retries: this is the most that mending both can save.",
            [],
            conflicts=attempts,
            retries=repeats,
        )


def _refused(selection: Selection, besides: frozenset[int] = frozenset()) -> tuple[Outlay, int]:
    """
    What the calls cost that etcd refused, each up to the start of the next attempt.

    `besides`: spans whose calls are left out, because their time is counted elsewhere.
    """
    calls = selection.etcd_calls
    if not any(calls["retry"]):
        return Outlay([], []), 0
    told = [at for at, above in enumerate(calls["above"]) if above not in besides]
    groups = calls.groups("above", "method", places=told)
    pairs = [
        (first, then)
        for places in groups.values()
        for first, then in pairwise(places)
        if calls["retry"][then]
    ]
    start = calls["start_unix_nano"]
    windows = [(calls["above"][then], start[first], start[then]) for first, then in pairs]
    ns, held = selection.critical_within(windows)
    return Outlay.of((row, each) for row, each in zip(held, ns, strict=True) if row is not None), len(pairs)
