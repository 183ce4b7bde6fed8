"""`list_then_get`, `relist_storm`: what clients do over several requests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Selection
from k8strace.keys import client_of
from k8strace.statistics.quantiles import at_rank
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
    for (_, agent, _, resource), rows in _by_agent(selection):
        gets, lists = _runs(selection, rows)
        if gets:
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


Key = tuple[str | None, str, str | None, str]


def _by_agent(selection: Selection) -> Iterator[tuple[Key, list[int]]]:
    verb = selection.of_all("verb")
    reads = [row for row in selection.rows if verb[row] == "get" or verb[row] == "list"]
    groups = selection.groups("instance", "user_agent", "api_group", "resource", rows=reads)
    for (instance, agent, group, resource), rows in groups.items():
        if agent is not None and resource is not None and len(rows) > FEWEST_GETS:
            yield (instance, agent, group, resource), rows


def _runs(selection: Selection, rows: Sequence[int]) -> tuple[list[int], int]:
    """The gets that follow lists, and the number of these lists; `rows` by start."""
    verb, subresource = selection.of_all("verb"), selection.of_all("subresource")
    gets: list[int] = []
    lists = 0
    listed: int | None = None
    run: list[int] = []
    for row in (*rows, None):
        if row is None or verb[row] == "list":
            found = _run(selection, listed, run) if listed is not None and len(run) >= FEWEST_GETS else []
            gets += found
            lists += bool(found)
            listed, run = row, []
        elif listed is not None and subresource[row] is None:
            run.append(row)
    return gets, lists


def _run(selection: Selection, listed: int, gets: list[int]) -> list[int]:
    """The gets of a run: after the list's end, in its namespace, of different objects, without a long pause."""
    start, wall = selection.of_all("start_unix_nano"), selection.of_all("wall_ns")
    namespace, name = selection.of_all("namespace"), selection.of_all("object_name")
    end = start[listed] + wall[listed]
    gets = [row for row in gets if start[row] >= end and namespace[listed] in (None, namespace[row])]
    run: list[int] = []
    seen: set[tuple[str | None, str | None]] = set()
    for row in gets:
        if (namespace[row], name[row]) in seen:
            break
        seen.add((namespace[row], name[row]))
        run.append(row)
    if len(run) < FEWEST_GETS:
        return []
    gaps = [start[after] - start[before] for before, after in pairwise(run)]
    most = PAUSE * at_rank(sorted(gaps), 0.5)
    if start[run[0]] - end > most:
        return []
    length = next((at for at, gap in enumerate(gaps, 1) if gap > most), len(run))
    return run[:length] if length >= FEWEST_GETS else []


def relist_storm(selection: Selection) -> Iterator[Finding]:
    """Many clients that list and watch again right after an apiserver started: one finding for each start."""
    start, client, instances = map(selection.of_all, ("start_unix_nano", "client", "instance"))
    watched = _lists_before_watches(selection)
    for (instance,), fresh in selection.groups("instance", rows=watched).items():
        if len(fresh) < STORM_LISTS:
            continue
        for begin in _starts(selection, [row for row in selection.rows if instances[row] == instance]):
            lists = [row for row in fresh if begin <= start[row] < begin + STORM_NS]
            clients = {client[row] for row in lists}
            if len(lists) >= STORM_LISTS and len(clients) >= STORM_CLIENTS:
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


def _lists_before_watches(selection: Selection) -> list[int]:
    """Lists after which the same client watches the same resource: those of informers, by start."""
    names = (
        "verb",
        "user_agent",
        "instance",
        "api_group",
        "resource",
        "namespace",
        "start_unix_nano",
        "wall_ns",
    )
    verb, agent, instance, group, resource, namespace, start, wall = map(selection.of_all, names)

    def about(row: int) -> tuple[str | None, ...]:
        return agent[row], instance[row], group[row], resource[row], namespace[row]

    watches: dict[tuple[str | None, ...], list[int]] = {}
    for row in sorted(selection.requests._rows):
        if verb[row] == "watch":
            watches.setdefault(about(row), []).append(start[row])

    def is_watched(row: int) -> bool:
        begins, end = watches.get(about(row), []), start[row] + wall[row]
        at = bisect_left(begins, end)
        return at < len(begins) and begins[at] - end < WATCH_NS

    return [row for row in selection.rows if verb[row] == "list" and is_watched(row)]


def _starts(selection: Selection, rows: Sequence[int]) -> Iterator[int]:
    """When an apiserver began to serve: after a silence, or at its own first requests; `rows` by start."""
    start, wall = selection.of_all("start_unix_nano"), selection.of_all("wall_ns")
    agent, resource = selection.of_all("user_agent"), selection.of_all("resource")
    first = start[rows[0]]
    early = rows[: bisect_left(rows, first + STORM_NS, key=start.__getitem__)]
    bootstrap = [row for row in early if resource[row] in BOOTSTRAP]
    own = sum((agent[row] or "").startswith("kube-apiserver/") for row in bootstrap)
    if own >= BOOTSTRAP_REQUESTS:
        yield first
    last = first
    for row in rows:
        if start[row] - last >= SILENT_NS:
            yield start[row]
        last = max(last, start[row] + wall[row])
