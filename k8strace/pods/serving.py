"""Which API request a kubelet served: logs, exec, attach, port-forward and what goes through a node's proxy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["Asked", "asked_of_kubelet", "requests_served"]

_SUBRESOURCE: Final = {
    "containerLogs": "log",
    "exec": "exec",
    "attach": "attach",
    "portForward": "portforward",
}
"""First word of a kubelet's path → the subresource of the pod that leads there."""

Key = tuple[str | None, ...]


class Asked(NamedTuple):
    """An API request, and what its kubelet was asked for."""

    request: int
    resource: str | None
    subresource: str | None
    namespace: str | None
    object_name: str | None
    target: str | None
    start: int
    """In ns since the epoch."""
    end: int

    @property
    def key(self) -> Key | None:
        """What its kubelet is asked for; None if it is asked for nothing."""
        if self.resource == "nodes" and self.subresource == "proxy":
            path = (self.target or "").partition("?")[0].partition("/proxy")[2]
            return "proxy", self.object_name, path.rstrip("/")
        if self.resource == "pods" and self.subresource in _SUBRESOURCE.values():
            return self.subresource, self.namespace, self.object_name
        return None


def requests_served(rows: Sequence[Mapping[str, Any]], asked: Iterable[Asked]) -> list[int | None]:
    """
    The API request that each row served: the only one open for its path when it began, and fit by no other row.

    No span links the two: kubelets begin a trace of their own.

    Args:
        rows: Rows of the table of kubelets' requests.
        asked: API requests.
    """
    if all(row["direction"] != "served" for row in rows):
        return [None] * len(rows)
    by_key: dict[Key, list[Asked]] = {}
    for each in asked:
        if each.key is not None:
            by_key.setdefault(each.key, []).append(each)
    fitting = [
        [
            each.request
            for key in _keys(row)
            for each in by_key.get(key, ())
            if each.start <= row["start_unix_nano"] <= each.end
        ]
        for row in rows
    ]
    wanted = Counter(request for requests in fitting for request in requests)
    return [each[0] if len(each) == 1 and wanted[each[0]] == 1 else None for each in fitting]


def _keys(row: Mapping[str, Any]) -> Iterator[Key]:
    if row["direction"] != "served":
        return
    path = row["path"] or ""
    yield "proxy", row["node"], path.rstrip("/")
    pod = asked_of_kubelet(row)
    if pod:
        yield pod["subresource"], pod["namespace"], pod["object_name"]


def asked_of_kubelet(row: Mapping[str, Any]) -> dict[str, str]:
    """The pod and subresource in a path such as `/exec/NAMESPACE/POD/CONTAINER`; empty if there is none."""
    match (row["path"] or "").strip("/").split("/"):
        case [first, namespace, pod, *_] if row["direction"] == "served" and first in _SUBRESOURCE:
            names = ("resource", "subresource", "namespace", "object_name")
            return dict(zip(names, ("pods", _SUBRESOURCE[first], namespace, pod), strict=True))
    return {}
