"""What kubelets ask of the API server, and which pod it is about."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["Known", "pods_of_requests"]

EARLY_NS: Final = 10_000_000_000
"""How long before its first sync a request can be about a pod: the kubelet knows the pod from its watch."""


class Known(NamedTuple):
    """A pod, as far as requests can be told to be about it."""

    uid: str
    node: str | None
    first: int
    """When it was first seen, in ns since the epoch."""
    syncing: Sequence[tuple[int, int]]
    """When the kubelet was at work on it: (from, to)."""


def pods_of_requests(
    rows: Iterable[Mapping[str, Any]],
    uid_of_sync: Sequence[str | None],
    known: Mapping[tuple[str | None, str | None], Sequence[Known]],
) -> list[tuple[str | None, str | None]]:
    """
    Which pod each request is about, and how that is known.

    "span": it is in the tree of a sync. "name": its path names the pod, or an event of it; of several pods of that name
    the one that existed then. "time": it names only the namespace, in which the kubelet was working on one pod only.

    Args:
        rows: Rows of the table of kubelets' requests.
        uid_of_sync: Sync → its pod.
        known: (namespace, name) → the pods of that name, by when they were first seen.
    """
    in_namespace: dict[str | None, list[Known]] = {}
    for (namespace, _), pods in known.items():
        in_namespace.setdefault(namespace, []).extend(pods)
    return [_pod_of(row, uid_of_sync, known, in_namespace) for row in rows]


def _pod_of(
    row: Mapping[str, Any],
    uid_of_sync: Sequence[str | None],
    known: Mapping[tuple[str | None, str | None], Sequence[Known]],
    in_namespace: Mapping[str | None, Sequence[Known]],
) -> tuple[str | None, str | None]:
    if row["sync"] is not None and uid_of_sync[row["sync"]]:
        return uid_of_sync[row["sync"]], "span"
    name = _named(row)
    if row["namespace"] is None or row["resource"] not in _ABOUT_PODS:
        return None, None
    if name is not None:
        pods = [pod for pod in known.get((row["namespace"], name), ()) if pod.node == row["node"]]
        at = bisect_right([pod.first - EARLY_NS for pod in pods], row["start_unix_nano"])
        return (pods[at - 1].uid, "name") if at else (None, None)
    there = [
        pod.uid
        for pod in in_namespace.get(row["namespace"], ())
        if pod.node == row["node"] and any(a <= row["start_unix_nano"] < b for a, b in pod.syncing)
    ]
    return (there[0], "time") if len(there) == 1 else (None, None)


_ABOUT_PODS: Final = ("pods", "events", "serviceaccounts")


def _named(row: Mapping[str, Any]) -> str | None:
    """The name of the pod in a path. An event is named after its object, with a number behind it."""
    name: str | None = row["object_name"]
    if row["resource"] == "pods":
        return name
    return name.rpartition(".")[0] or None if name and row["resource"] == "events" else None
