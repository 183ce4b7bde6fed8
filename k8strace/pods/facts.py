"""What was joined about pods, read once: their syncs, calls to the runtime, requests of kubelets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from k8strace.pods.asking import Known, pods_of_requests
from k8strace.pods.lives import (
    ENDING_OF_PHASE,
    ENDING_PARTS,
    START_OF_PHASE,
    START_PARTS,
    Life,
    Piece,
    Started,
    life_of,
    parts_of,
)
from k8strace.pods.serving import Asked, asked_of_kubelet, requests_served
from k8strace.pods.syncs import Syncs
from k8strace.requests import Requests
from k8strace.tables import Table

__all__ = ["Facts", "took"]


class Facts:
    """What all selections of pods share: everything that was joined, read once."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.all_syncs = Syncs(requests._joined)
        self.core = requests._joined.core
        named = requests._joined.named
        self.sync_rows = list(Table(named("syncs")))
        self.calls = list(Table(named("cri_calls")))

    def __reduce__(self) -> tuple[type[Facts], tuple[Requests]]:
        return Facts, (self.requests,)

    @cached_property
    def of_pod(self) -> dict[str, list[dict[str, Any]]]:
        """Pod → its syncs, by start; pods by when they were first seen."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.sync_rows:
            if row["pod_uid"] and row["has_valid_times"]:
                found.setdefault(row["pod_uid"], []).append(row)
        return found

    @cached_property
    def uid_of_sync(self) -> list[str | None]:
        """Sync → its pod."""
        return [row["pod_uid"] for row in self.sync_rows]

    @cached_property
    def pod_of_call(self) -> list[str | None]:
        """Call to a runtime → its pod."""
        return [None if call["sync"] is None else self.uid_of_sync[call["sync"]] for call in self.calls]

    @cached_property
    def lives(self) -> dict[str, Life]:
        """Pod → its start and ending."""
        started: dict[str | None, list[Started]] = {}
        waited = [0] * len(self.sync_rows)
        for uid, call in zip(self.pod_of_call, self.calls, strict=True):
            if call["purpose"] != "sync" or call["sync"] is None:
                continue
            waited[call["sync"]] += 1
            if call["operation"] == "StartContainer" and not call["error"]:
                end = call["start_unix_nano"] + (call["client_ns"] or 0)
                started.setdefault(uid, []).append(Started(call["sync"], end, call["container"]))
        return {
            uid: life_of([_piece(row) for row in rows], started.get(uid, []), lambda sync: waited[sync] > 0)
            for uid, rows in self.of_pod.items()
        }

    @cached_property
    def divided(self) -> dict[tuple[int, int], dict[str, int]]:
        """(sync, until) → phase → ns, of all stretches."""
        until: list[int | None] = [None] * len(self.sync_rows)
        for life in self.lives.values():
            for stretch in filter(None, (life.start, life.ending)):
                for sync, end in stretch.syncs:
                    until[sync] = end
        table = self.requests._joined.phase_table
        parts = self.core.attribute_syncs(table.answers, "critical_path", "clip", until)
        return {
            (sync, end): {table.names[phase]: ns for phase, ns in parts.parts(sync)}
            for sync, end in enumerate(until)
            if end is not None
        }

    def parts(self, sync: int, until: int) -> dict[str, int]:
        """Phase → ns of one sync of these stretches."""
        return self.divided[sync, until]

    @cached_property
    def asked(self) -> list[dict[str, Any]]:
        """The requests of kubelets, each with its pod and how that is known."""
        rows = list(Table(self.requests._joined.named("kubelet_requests")))
        known: dict[tuple[str | None, str | None], list[Known]] = {}
        for uid, syncs in self.of_pod.items():
            at_work = [(row["start_unix_nano"], row["start_unix_nano"] + row["wall_ns"]) for row in syncs]
            pod = Known(uid, syncs[0]["node"], syncs[0]["start_unix_nano"], at_work)
            known.setdefault((syncs[0]["namespace"], syncs[0]["pod"]), []).append(pod)
        served = requests_served(rows, self.open_upstream())
        for row, request in zip(rows, served, strict=True):
            row["request_by"] = (
                "caller" if row["request"] is not None else "path" if request is not None else None
            )
            row["request"] = request if row["request"] is None else row["request"]
            row.update(asked_of_kubelet(row))
        about = pods_of_requests(rows, self.uid_of_sync, known)
        return [{**row, "pod_uid": uid, "tied_by": how} for row, (uid, how) in zip(rows, about, strict=True)]

    def open_upstream(self) -> Iterator[Asked]:
        """API requests, with what they ask kubelets for."""
        names = (*Asked._fields[:-2], "start_unix_nano", "wall_ns")
        columns = [self.requests._joined.column(name) for name in names]
        return (Asked._make((*row[:-1], row[-2] + row[-1])) for row in zip(*columns, strict=True))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One row per pod."""
        probes: dict[str | None, list[dict[str, Any]]] = {}
        for uid, call in zip(self.pod_of_call, self.calls, strict=True):
            if call["purpose"] == "probe":
                probes.setdefault(uid, []).append(call)
        asked: dict[str | None, int] = {}
        for row in self.asked:
            asked[row["pod_uid"]] = asked.get(row["pod_uid"], 0) + 1
        return [
            self._row(number, uid, probes.get(uid, []), asked.get(uid, 0))
            for number, uid in enumerate(self.of_pod)
        ]

    def _row(self, number: int, uid: str, probes: list[dict[str, Any]], asked: int) -> dict[str, Any]:
        syncs, life = self.of_pod[uid], self.lives[uid]
        failed = [row["error"] for row in syncs if row["error"]]
        ends = [row["start_unix_nano"] + row["wall_ns"] for row in syncs]
        ends += [row["start_unix_nano"] + took(row) for row in probes]
        return {
            "pod": number,
            "pod_uid": uid,
            "namespace": syncs[0]["namespace"],
            "name": syncs[0]["pod"],
            "node": syncs[0]["node"],
            "first_seen_unix_nano": syncs[0]["start_unix_nano"],
            "last_seen_unix_nano": max(ends),
            "syncs": len(syncs),
            "errors": len(failed),
            "error": failed[-1] if failed else None,
            "probes": len(probes),
            "probe_failures": sum(1 for row in probes if row["error"]),
            "requests": asked,
            "started": life.started,
            "start_unix_nano": life.start and life.start.start,
            "start_ns": life.start and life.start.ns,
            "start_parts": parts_of(life.start, START_PARTS, self.parts, START_OF_PHASE),
            "ending_ns": life.ending and life.ending.ns,
            "ending_parts": parts_of(life.ending, ENDING_PARTS, self.parts, ENDING_OF_PHASE),
        }


def _piece(row: Mapping[str, Any]) -> Piece:
    start = row["start_unix_nano"]
    return Piece(row["sync"], row["name"], row["update_type"], start, start + row["wall_ns"], row["error"])


def took(call: Mapping[str, Any]) -> int:
    """How long a call took on its CLIENT side, or, if that is not here, on its SERVER side."""
    return next((call[side] for side in ("client_ns", "server_ns") if call[side] is not None), 0)
