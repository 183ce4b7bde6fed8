"""`Pods`: a row per pod, with its start and ending, and tables of what its kubelet did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, overload

from k8strace import _core
from k8strace.exceptions import expect_count
from k8strace.pods.drawing import start_tree
from k8strace.pods.facts import Facts, took
from k8strace.pods.lives import ENDING_PARTS, START_PARTS
from k8strace.pods.syncs import Syncs
from k8strace.requests import Joined
from k8strace.selection import fits
from k8strace.tables import ArrowExport, Column, Table

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["Pod", "Pods"]


@dataclass(frozen=True, slots=True, repr=False)
class Pod:
    """One pod, as its kubelet saw it."""

    pod: int
    """Index among all pods, by when they were first seen."""
    pod_uid: str
    namespace: str | None
    name: str | None
    node: str | None
    """`host.name` of its kubelet."""
    first_seen_unix_nano: int
    """Start of its first sync."""
    last_seen_unix_nano: int
    """End of its last sync or probe."""
    syncs: int
    errors: int
    """Syncs that failed."""
    error: str | None
    """Why the last of these failed, in the kubelet's words."""
    probes: int
    """Commands that the kubelet ran in its containers beside its syncs."""
    probe_failures: int
    requests: int
    """What the kubelet asked of the API server about it: see `Pods.requests`."""
    started: bool
    """Its containers were started in the recording."""
    start_unix_nano: int | None
    """Start of its first sync; None if it began before the recording."""
    start_ns: int | None
    """From there until the last of its containers was started, or for as long as the kubelet tried."""
    start_parts: Mapping[str, int]
    """What that time was made of: part → ns, in the order of `START_PARTS`. They sum to it."""
    ending_ns: int | None
    """From its first `syncTerminatingPod` to the end of its last `syncTerminatedPod`; None without."""
    ending_parts: Mapping[str, int]
    _pods: Pods = field(compare=False)

    @property
    def what(self) -> str:
        """Which it is: "web-0 -n shop"."""
        return f"{self.name or self.pod_uid}" + (f" -n {self.namespace}" if self.namespace else "")

    @property
    def tree(self) -> nx.DiGraph[str] | None:
        """
        Its start as one tree: the pod, its syncs below it, and what they waited for. None if it has no start.

        As the tree of a request, which `k8strace.calltree.build_call_tree` describes; its root is called "start".
        """
        return self._pods._tree(self)

    def __repr__(self) -> str:
        if self.start_ns is None:
            told = "began before the recording"
        else:
            told = f"{'started in' if self.started else 'not started for'} {self.start_ns / 1e6:.3f} ms"
        return f"Pod({self.what}, {told}, {self.syncs} syncs)"

    def _repr_html_(self) -> str:
        from k8strace.views.pods import pod_html

        return pod_html(self)


_PLAIN: Final = [f.name for f in fields(Pod) if f.name not in ("start_parts", "ending_parts", "_pods")]
_KINDS: Final = {
    "pod_uid": "text",
    "namespace": "text",
    "name": "text",
    "node": "text",
    "error": "text",
    "started": "bool",
}


class Pods(ArrowExport):
    """
    Pods, or a selection of them, by when they were first seen. Frozen: `where` and `slowest` give new ones.

    An Arrow table by itself, one row per pod: the fields of `Pod`, and a column of ns for each part of a start and of
    an ending, such as `start_sandbox_cni_ns`; null where there is no start. A pod without a uid is in no row.

    Examples:
        >>> import k8strace
        >>> pods = k8strace.pods(k8strace.read("tests/data/node/k8s-1.37_kubelet.otlp.zst"))
        >>> slow = pods.slowest(1)[0]
        >>> sum(slow.start_parts.values()) == slow.start_ns
        True
    """

    def __init__(self, facts: Facts, rows: Sequence[int] | None = None) -> None:
        self._facts = facts
        self._rows = range(len(facts.of_pod)) if rows is None else rows

    @property
    def joined(self) -> Joined:
        """What is said of everything that was joined, selected or not: API requests, counts, the ledger and so on."""
        return self._facts.requests.joined

    @property
    def syncs(self) -> Syncs:
        """The syncs of these pods, by start; those of no pod too if nothing was selected."""
        if self._is_everything:
            return self._facts.all_syncs
        chosen = self._uids
        return self._facts.all_syncs.where(pod_uid=lambda uid: uid in chosen)

    @property
    def probes(self) -> Table:
        """
        The probes of these pods that run a command; those of no pod here too if nothing was selected.

        `pod_uid`, `namespace`, `name`, `node`, `start_unix_nano`, `start_time`, `end_time`, `wall_ns`, `failed`: the
        call did not come back well, which a command that says no does not make it do; `error`; `trace_id` and
        `span_id` of its CLIENT span. Probes over HTTP, TCP and gRPC are not traced.
        """
        facts = self._facts
        rows = [
            (uid, call)
            for uid, call in zip(facts.pod_of_call, facts.calls, strict=True)
            if call["purpose"] == "probe" and (uid in self._uids or (uid is None and self._is_everything))
        ]
        pods = {row["pod_uid"]: row for row in facts.rows}
        of_pod = [pods.get(uid or "", {}) for uid, _ in rows]
        calls = [call for _, call in rows]
        return _table(
            [
                ("pod_uid", "text", [uid for uid, _ in rows]),
                ("namespace", "text", [pod.get("namespace") for pod in of_pod]),
                ("name", "text", [pod.get("name") for pod in of_pod]),
                ("node", "text", [call["node"] for call in calls]),
                *_times([call["start_unix_nano"] for call in calls], [took(call) for call in calls]),
                ("failed", "bool", [call["error"] is not None for call in calls]),
                ("error", "text", [call["error"] for call in calls]),
                ("trace_id", "text", [call["trace_id"] for call in calls]),
                ("span_id", "text", [call["span_id"] for call in calls]),
            ]
        )

    @property
    def cri_calls(self) -> Table:
        """
        The calls to container runtimes for these pods, by start; if nothing was selected, all calls.

        `sync` (index; null outside syncs), `purpose`: "sync" (waited for), "probe", "housekeeping", "served" (exec,
        logs, port-forward), "unknown" (what it was for never arrived); `method`, `operation`, `node`, `runtime`,
        `container` as the runtime names it, its id if its creation is not among what was joined; `status`, `error`,
        `start_unix_nano`, `start_time`, `end_time`, `client_ns`, `server_ns`, `transport_ns`; null where a side is
        not here.
        """
        table = self._facts.requests._joined.named("cri_calls")
        if self._is_everything:
            return Table(table)
        return Table(table.take([at for at, uid in enumerate(self._facts.pod_of_call) if uid in self._uids]))

    @property
    def housekeeping(self) -> Table:
        """
        What kubelets ask of their runtimes for no pod's sync: relisting, statistics, garbage collection.

        One row per operation, most calls first: `operation`, `calls`, `errors`, `total_ns`, `p50_ns` and `p99_ns` of
        the CLIENT spans, by nearest rank. No rows if pods were selected, for it is about none of them.

        Examples:
            >>> import k8strace
            >>> pods = k8strace.pods(k8strace.read("tests/data/node/k8s-1.37_kubelet.otlp.zst"))
            >>> [row["operation"] for row in pods.housekeeping][:1]
            ['ContainerStatus']
        """
        found: dict[str, list[dict[str, Any]]] = {}
        for call in self._facts.calls:
            if call["purpose"] == "housekeeping" and self._is_everything:
                found.setdefault(call["operation"], []).append(call)
        rows = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
        latency = [sorted(map(took, calls)) for _, calls in rows]
        return _table(
            [
                ("operation", "text", [operation for operation, _ in rows]),
                ("calls", "int", [len(calls) for _, calls in rows]),
                ("errors", "int", [sum(1 for call in calls if call["error"]) for _, calls in rows]),
                ("total_ns", "int", [sum(ns) for ns in latency]),
                ("p50_ns", "int", [ns[(len(ns) + 1) // 2 - 1] for ns in latency]),
                ("p99_ns", "int", [ns[-(-len(ns) * 99 // 100) - 1] for ns in latency]),
            ]
        )

    @property
    def requests(self) -> Table:
        """
        HTTP requests of kubelets about these pods; if nothing was selected, all that they made or served.

        `direction`: "made" (to the API server) or "served"; `node`, `method`, `path`, `verb`, `resource`,
        `subresource`, `namespace`, `object_name`, `http_status`, `error`, `start_unix_nano`, `start_time`, `end_time`,
        `wall_ns` as the kubelet saw it; `sync`.

        `request`: index of the API request that answered it, or that it served, and `request_by`, how that is known.
        "caller": the spans say so. "path": of the API requests that lead to its path it is the only one that was open
        when this began, and this is the only one that fits it.

        `pod_uid`, and `tied_by`, how that is known. "span": in the tree of a sync. "name": the path names the pod, or
        an event of it. "time": it names only the namespace, in which the kubelet was then at work on one pod alone.
        """
        rows = self._facts.asked
        if not self._is_everything:
            rows = [row for row in rows if row["pod_uid"] in self._uids]
        columns = [(name, _REQUEST_KINDS.get(name, "text"), [row[name] for row in rows]) for name in _REQUEST]
        times = _times([row["start_unix_nano"] for row in rows], [row["wall_ns"] for row in rows])
        return _table([*columns, *times])

    @cached_property
    def _uids(self) -> frozenset[str]:
        return frozenset(self.column("pod_uid"))

    @property
    def _is_everything(self) -> bool:
        return self._rows == range(len(self._facts.of_pod))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Pod]:
        return (self._pod(row) for row in self._rows)

    @overload
    def __getitem__(self, at: int) -> Pod: ...
    @overload
    def __getitem__(self, at: slice) -> Pods: ...
    @overload
    def __getitem__(self, at: str) -> Column: ...
    def __getitem__(self, at: int | slice | str) -> Pod | Pods | Column:
        if isinstance(at, str):
            return self.column(at)
        return Pods(self._facts, self._rows[at]) if isinstance(at, slice) else self._pod(self._rows[at])

    def _pod(self, row: int) -> Pod:
        values = dict(self._facts.rows[row])
        for parts in ("start_parts", "ending_parts"):
            values[parts] = {part: ns for part, ns in values[parts].items() if ns}
        return Pod(**values, _pods=self)

    def where(self, **conditions: Any) -> Pods:
        """
        The pods that fit all conditions, in the same order.

        Args:
            conditions: Field of `Pod` → a value that it equals, a collection of values that it is in, or a function
                that says whether a value fits.

        Raises:
            KeyError: There is no such field.

        Examples:
            >>> import k8strace
            >>> pods = k8strace.pods(k8strace.read("tests/data/node/k8s-1.37_kubelet.otlp.zst"))
            >>> pods.where(started=False, errors=lambda errors: errors > 0).column("name").to_pylist()
            ['nopull-0', 'nocm-0']
        """
        tests = [(self._all(name), fits(wanted)) for name, wanted in conditions.items()]
        return Pods(
            self._facts, [row for row in self._rows if all(test(values[row]) for values, test in tests)]
        )

    def slowest(self, count: int | None = None) -> Pods:
        """
        The pods that took longest to start first; of equal ones the earlier. Without those that have no start here.

        Args:
            count: At most this many; None for all.
        """
        expect_count(count)
        took = self._all("start_ns")
        rows = [row for row in self._rows if took[row] is not None]
        return Pods(self._facts, sorted(rows, key=lambda row: (-took[row], row))[:count])

    def _all(self, name: str) -> list[Any]:
        if name not in _PLAIN:
            raise KeyError(f"there is no column {name!r} of pods, but {', '.join(_PLAIN)}")
        return [row[name] for row in self._facts.rows]

    @property
    def start_totals(self) -> dict[str, int]:
        """What the starts of these pods were made of: part → ns, largest first; they sum to the sum of `start_ns`."""
        totals = dict.fromkeys(START_PARTS, 0)
        for row in self._rows:
            for part, ns in self._facts.rows[row]["start_parts"].items():
                totals[part] += ns
        return {part: ns for part, ns in sorted(totals.items(), key=lambda item: -item[1]) if ns}

    def _arrow(self) -> _core.Table:
        rows = [self._facts.rows[row] for row in self._rows]
        parts = [
            (f"{of}_{part.replace('.', '_')}_ns", of, part)
            for of, names in (("start", START_PARTS), ("ending", ENDING_PARTS))
            for part in names
        ]
        return _core.make_table(
            [
                *((name, _KINDS.get(name, "int"), [row[name] for row in rows]) for name in _PLAIN),
                *(
                    (f"{name}_time", "instant", [row[f"{name}_unix_nano"] for row in rows])
                    for name in ("first_seen", "last_seen", "start")
                ),
                *(
                    (
                        column,
                        "int",
                        [None if row[f"{of}_ns"] is None else row[f"{of}_parts"][part] for row in rows],
                    )
                    for column, of, part in parts
                ),
            ]
        )

    def _tree(self, pod: Pod) -> nx.DiGraph[str] | None:
        start = self._facts.lives[pod.pod_uid].start
        if start is None:
            return None
        return start_tree(pod, start, self._facts.all_syncs)

    def __repr__(self) -> str:
        total = len(self._facts.of_pod)
        if len(self) < total:
            return f"Pods({len(self)} of {total} pods)"
        probes = sum(1 for call in self._facts.calls if call["purpose"] == "probe")
        return f"Pods({total} pods, {len(self._facts.sync_rows)} syncs, {probes} probes)"

    def _repr_html_(self) -> str:
        from k8strace.views.pods import pods_html

        return pods_html(self)


_REQUEST: Final = (
    "direction",
    "node",
    "method",
    "path",
    "verb",
    "resource",
    "subresource",
    "namespace",
    "object_name",
    "http_status",
    "error",
    "request",
    "request_by",
    "sync",
    "pod_uid",
    "tied_by",
    "trace_id",
    "span_id",
)
_REQUEST_KINDS: Final = dict.fromkeys(("http_status", "request", "sync"), "int")


def _table(columns: list[tuple[str, str, list[Any]]]) -> Table:
    return Table(_core.make_table(columns))


def _times(starts: list[int], took: list[int]) -> list[tuple[str, str, list[Any]]]:
    """The columns that say when something began and ended."""
    return [
        ("start_unix_nano", "int", starts),
        ("start_time", "instant", starts),
        ("end_time", "instant", [start + ns for start, ns in zip(starts, took, strict=True)]),
        ("wall_ns", "int", took),
    ]
