"""Syncs: each time a kubelet works on a pod, as the root of a call tree of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from k8strace import _core
from k8strace.calltree import build_call_tree
from k8strace.exceptions import expect
from k8strace.selection import Selection

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["Sync", "Syncs"]


@dataclass(frozen=True, slots=True, repr=False)
class Sync:
    """One sync of a pod: `syncPod`, `syncTerminatingPod` or `syncTerminatedPod`, and everything below it."""

    sync: int
    """Index among all syncs, by (start, trace id, span id)."""
    trace_id: str
    span_id: str
    """Of its span, in hex."""
    name: str
    """ "syncPod", "syncTerminatingPod" or "syncTerminatedPod"."""
    pod_uid: str | None
    namespace: str | None
    pod: str | None
    """Name of the pod."""
    node: str | None
    """`host.name` of the kubelet; its instance id where it tells no host."""
    update_type: str | None
    """Why `syncPod` was called: "create", "update", "sync" or "kill"."""
    start_unix_nano: int
    wall_ns: int
    """End minus start of its span; 0 if it ends before it starts."""
    spans: int
    """Spans in its tree, those that it did not wait for included."""
    cri_call_count: int
    """Calls to the container runtime that it waited for."""
    detached_spans: int
    """Spans below it that it did not wait for, such as those of probes. They are in no sum of it."""
    async_tail_ns: int
    """How long after its end the last span below it ended. In no sum."""
    error: str | None
    """Why it failed, as the kubelet wrote it; None if it did not."""
    has_valid_times: bool
    """Start and end are set, in order, and before the year 2116."""
    complete: bool
    """Its trace was not emitted early by a stream."""
    _syncs: Syncs = field(compare=False)

    @property
    def tree(self) -> nx.DiGraph[str]:
        """Its call tree, made when asked for. See `k8strace.calltree.build_call_tree` for what the nodes carry."""
        return self._syncs._tree(self.sync)

    @property
    def what(self) -> str:
        """What it did, in a few words: "syncPod web-0 -n shop"."""
        parts = [self.name, self.pod or self.pod_uid or "", f"-n {self.namespace}" if self.namespace else ""]
        return " ".join(part for part in parts if part)

    def __index__(self) -> int:
        return self.sync

    def __repr__(self) -> str:
        failed = ", failed" if self.error else ""
        return f"Sync({self.what}, {self.wall_ns / 1e6:.3f} ms, {self.cri_call_count} calls{failed})"

    def _repr_html_(self) -> str:
        from k8strace.views.pods import sync_html

        return sync_html(self)


_FIELDS: Final = [f.name for f in fields(Sync) if not f.name.startswith("_")]


class Syncs(Selection[Sync]):
    """
    Syncs of pods, or a selection of them. Frozen: `where` and `slowest` give new ones.

    An Arrow table by itself, one row per sync; the columns are the fields of `Sync`. `k8strace.attribute` divides
    their time as it does that of requests, among the components `kubelet`, `runtime`, `cni` and `registry`.

    Examples:
        >>> import k8strace
        >>> syncs = k8strace.pods(k8strace.read("tests/data/node/k8s-1.37_kubelet.otlp.zst")).syncs
        >>> slow = syncs.where(name="syncPod", error=None).slowest(1)
        >>> attribution = k8strace.attribute(slow)
        >>> sum(attribution[slow[0]].phases.values()) == slow[0].wall_ns
        True
    """

    TABLE = "syncs"
    IDENTITY = ("trace_id", "span_id", "name", "namespace", "pod")

    __slots__ = ()

    def _with(self, rows: Sequence[int]) -> Syncs:
        return Syncs(self._joined, rows)

    def _row(self, row: int) -> Sync:
        return Sync(**{name: self._all(name)[row] for name in _FIELDS}, _syncs=self)

    def _divide(self, answers: _core.Answers, method: str, overlap: str) -> _core.AttributedRequests:
        until: list[int | None] | None = None
        if not self._is_everything:
            until = [None] * len(self._all("sync"))
            for row in self._rows:
                until[row] = LATEST
        return self._joined.core.attribute_syncs(answers, method, overlap, until)

    def where(self, **conditions: Any) -> Syncs:
        """
        The syncs that fit all conditions, in the same order: see `Requests.where`.

        Raises:
            KeyError: There is no such column.
        """
        return self._where(**conditions)

    def slowest(self, count: int | None = None) -> Syncs:
        """
        The longest syncs first; of equally long ones the earlier first. Those without valid times are left out.

        Args:
            count: At most this many; None for all.
        """
        return self._where(has_valid_times=True)._by_length(count)

    def find(self, trace_id: str) -> Syncs:
        """The syncs of a trace, by its id in hex or the beginning of it."""
        expect(trace_id, str, "a trace id in hex")
        return self._where(trace_id=lambda known: known.startswith(trace_id.lower()))

    def _tree(self, sync: int) -> nx.DiGraph[str]:
        table = self._joined.phase_table
        return build_call_tree(self._joined.core.explain_sync(sync, table.answers), table.names)

    def __repr__(self) -> str:
        total = len(self._all("sync"))
        return f"Syncs({len(self)} of {total} syncs)" if len(self) < total else f"Syncs({total} syncs)"


LATEST: Final = (1 << 63) - 1
"""The last instant that there is, in ns since the epoch."""
