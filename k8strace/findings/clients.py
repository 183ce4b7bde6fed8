"""`list_then_get`, `relist_storm`: what clients do over several requests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from k8strace import _core
from k8strace.findings.finding import Finding
from k8strace.findings.selection import Selection
from k8strace.keys import client_of
from k8strace.words import count

__all__ = ["list_then_get", "relist_storm"]

FEWEST_GETS: Final = 5
"""Getting this many objects one by one is not chance."""

PAUSE: Final = 10
"""A pause of ten times the usual one ends a run of gets."""

GETS_TOO_MUCH: Final = 0.10
"""A tenth of all time for what was in the list."""

STORM_NS: Final = 30_000_000_000
"""Informers are back within seconds; a client that comes later is not part of the storm."""

SILENT_NS: Final = 5_000_000_000
"""An apiserver that serves nothing for this long was down: controllers alone ask every second or two."""

WATCH_NS: Final = 5_000_000_000
"""An informer starts its watch as soon as it has processed the list."""

STORM_LISTS: Final = 20
STORM_CLIENTS: Final = 3
STORM_TOO_MUCH: Final = 0.10

BOOTSTRAP: Final = frozenset({"clusterroles", "clusterrolebindings", "priorityclasses", "flowschemas"})
"""Resources that the apiserver itself requests in quick succession when it starts, and only then."""

BOOTSTRAP_REQUESTS: Final = 20


def list_then_get(selection: Selection) -> Iterator[Finding]:
    """Clients that list a resource and then get its objects one by one: one finding for each client and resource."""
    joined = selection.joined
    keys = [joined.codes(name, "requests") for name in ("instance", "user_agent", "api_group", "resource")]
    reads = selection.whole.among(selection.own("verb"), ("get", "list")).by(keys)
    agents, resources = (selection.values(name, reads.first) for name in ("user_agent", "resource"))
    for at, gets, lists in joined.core.gets_after_lists(reads, FEWEST_GETS, PAUSE):
        agent, resource = agents[at], resources[at]
        if agent is not None and resource is not None:
            outlay = selection.wall(gets)
            yield selection.finding(
                "list_then_get",
                "warning" if selection.share(outlay.total_ns) >= GETS_TOO_MUCH else "info",
                outlay,
                f"{client_of(agent)} listed {resource} {count(lists, 'time')} and then got them one by one:"
                f" {count(len(gets), 'get')}, {selection.cost(outlay.total_ns)}",
                "Let the client use the list's answer, or watch: one request instead of one for each object.",
                [f"user_agent={agent}", "verb=get", f"resource={resource}"],
                lists=lists,
                gets=len(gets),
            )


def relist_storm(selection: Selection) -> Iterator[Finding]:
    """Many clients that list and watch again right after an apiserver started: one finding for each start."""
    joined = selection.joined
    chosen = selection.requests._chosen
    by_start = None if chosen is None else sorted(chosen)
    watched = joined.core.lists_before_watches(by_start, selection.whole, WATCH_NS)
    by_instance = selection.whole.by([joined.codes("instance", "requests")])
    served = {selection.own("instance")[first]: at for at, first in enumerate(by_instance.first)}
    for (instance,), fresh in selection.groups("instance", rows=watched, fewest=STORM_LISTS).items():
        fresh.sort()
        begun = selection.values("start_unix_nano", fresh)
        for begin in _starts(selection, by_instance, served[instance]):
            lists = fresh[bisect_left(begun, begin) : bisect_left(begun, begin + STORM_NS)]
            if len(lists) < STORM_LISTS:
                continue
            clients = set(selection.values("client", lists))
            if len(clients) >= STORM_CLIENTS:
                outlay = selection.wall(lists)
                yield selection.finding(
                    "relist_storm",
                    "warning" if selection.share(outlay.total_ns) >= STORM_TOO_MUCH else "info",
                    outlay,
                    f"{count(len(clients), 'client')} listed again after an apiserver started:"
                    f" {count(len(lists), 'list')} within 30 s, {selection.cost(outlay.total_ns)}",
                    "Expected after a restart; WatchList (1.32 on) and resourceVersion=0 make it cheap.",
                    ["verb=list", *([f"instance={instance}"] if instance else [])],
                    lists=len(lists),
                    clients=len(clients),
                )


def _starts(selection: Selection, by_instance: _core.GroupedRows, instance: int) -> Iterator[int]:
    """When an apiserver began to serve: after a silence, or at its own first requests."""
    rows = by_instance.rows(instance)
    start = selection.own("start_unix_nano")
    early = rows[: bisect_left(rows, start[rows[0]] + STORM_NS, key=start.__getitem__)]
    told = zip(*(selection.values(name, early) for name in ("resource", "user_agent")), strict=True)
    bootstrap = [agent or "" for resource, agent in told if resource in BOOTSTRAP]
    if sum(agent.startswith("kube-apiserver/") for agent in bootstrap) >= BOOTSTRAP_REQUESTS:
        yield start[rows[0]]
    again = selection.joined.core.after_silence(by_instance, instance, SILENT_NS)
    yield from selection.values("start_unix_nano", again)
