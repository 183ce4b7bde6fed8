"""
A pod's start and ending, divided exactly.

    syncs     |create     |   |sync|        |sync        |  each divided by its critical path
    start     |████████████░░░█████░░░░░░░░░████████|       from the first sync to the last container's start
                            between   backoff       └ the rest of the sync is not the start's
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from k8strace.components import component_of

__all__ = [
    "ENDING_OF_PHASE",
    "ENDING_PARTS",
    "START_OF_PHASE",
    "START_PARTS",
    "Life",
    "Piece",
    "Started",
    "Stretch",
    "life_of",
    "parts_of",
]

START_OF_PHASE: Final = {
    "cni.setup": "sandbox.cni",
    "runtime.sandbox.create_task": "sandbox.task_create",
    "runtime.sandbox.start_task": "sandbox.task_start",
    "runtime.sandbox": "sandbox.other",
    "registry.resolve": "image.resolve",
    "registry.fetch": "image.fetch",
    "runtime.image.unpack": "image.unpack",
    "runtime.image": "image.other",
    "runtime.container.create": "container.create",
    "runtime.container.start": "container.start",
    "runtime.exec": "container.hook",
    "kubelet.volumes": "waiting.volumes",
}
ENDING_OF_PHASE: Final = {
    "runtime.exec": "container.hook",
    "runtime.container.stop": "container.stop",
    "cni.remove": "sandbox.cni",
    "runtime.sandbox.stop": "sandbox.stop",
}
_OF_COMPONENT: Final = {"kubelet": "kubelet", "runtime": "runtime.other", "apiserver": "api", "etcd": "api"}
_BACKOFF: Final = "waiting.backoff"
_BETWEEN: Final = "waiting.between_syncs"
_REST: Final = ("kubelet", "runtime.other", "api", "other")

START_PARTS: Final = (*START_OF_PHASE.values(), _BACKOFF, _BETWEEN, *_REST)
"""What a start is made of. `api`: requests of the sync to the API server. `other`: phases of a user's own rules."""
ENDING_PARTS: Final = (*ENDING_OF_PHASE.values(), _BETWEEN, *_REST)
"""What an ending is made of."""


class Piece(NamedTuple):
    """One sync of a pod."""

    sync: int
    """Index among all syncs."""
    name: str
    update_type: str | None
    start: int
    """In ns since the epoch."""
    end: int
    error: str | None


class Started(NamedTuple):
    """A call that started a container."""

    sync: int
    end: int
    """When it ended, in ns since the epoch."""
    container: str | None
    """As the runtime names it; None where it does not."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a pod's life: an interval, the syncs in it, and what is between them."""

    start: int
    end: int
    syncs: tuple[tuple[int, int], ...]
    """(sync, up to when it counts, in ns since the epoch)."""
    waits: tuple[tuple[int, int, str], ...]
    """(from, to, part) of the time in no sync."""

    @property
    def ns(self) -> int:
        """How long it lasted."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Life:
    """A pod's start and ending."""

    start: Stretch | None
    """None if it began before the recording."""
    started: bool
    """Its containers were started; otherwise `start` lasts as long as the kubelet tried."""
    ending: Stretch | None
    """None if it does not end in the recording."""


def life_of(pieces: Sequence[Piece], calls: Iterable[Started], ran: Callable[[int], bool]) -> Life:
    """
    Start and ending of one pod.

    Args:
        pieces: Its syncs, by start.
        calls: The calls of these that started containers, without those that failed.
        ran: Whether a sync called the container runtime.
    """
    syncs = [piece for piece in pieces if piece.name == "syncPod"]
    last = [piece for piece in pieces if piece.name != "syncPod"]
    ending = _stretch(last, max(piece.end for piece in last)) if last else None
    if not syncs or syncs[0].update_type != "create" or not (ran(syncs[0].sync) or syncs[0].error):
        # The kubelet knew it before, or found it running when it was itself started.
        return Life(None, started=False, ending=ending)
    up = _up(syncs, list(calls))
    tried = last[0].start if last else max(piece.end for piece in syncs)
    end = max(tried if up is None else up, syncs[0].start)
    return Life(_stretch([p for p in syncs if p.start < end], end), started=up is not None, ending=ending)


def _up(syncs: Sequence[Piece], calls: list[Started]) -> int | None:
    """
    When the last of its containers was started for the first time.

    If the runtime names no containers, a first start looks like a restart: then the first sync that started any counts.
    """
    by_sync = {piece.sync: piece for piece in syncs}
    # What an update starts is a container added later, for debugging.
    calls = [call for call in calls if by_sync[call.sync].update_type != "update"] or calls
    first: dict[str | None, Started] = {}
    for call in sorted(calls, key=lambda call: call.end):
        first.setdefault(_without_attempt(call.container), call)
    if not first:
        return None
    if None not in first:
        return max(call.end for call in first.values())
    well = [piece.sync for piece in syncs if any(call.sync == piece.sync for call in calls)]
    clean = [sync for sync in well if not by_sync[sync].error] or well
    return max(call.end for call in calls if call.sync == clean[0])


_ATTEMPT: Final = re.compile(r"_\d+$")


def _without_attempt(container: str | None) -> str | None:
    """The name of a container without the number of its attempt."""
    return None if container is None else _ATTEMPT.sub("", container)


def _stretch(pieces: Sequence[Piece], end: int) -> Stretch:
    """The syncs up to `end`. Should two overlap, the earlier one counts until the later one begins."""
    starts = [*(piece.start for piece in pieces), end]
    syncs, waits = [], []
    for piece, (_, following) in zip(pieces, pairwise(starts), strict=True):
        until = min(max(following, piece.start), end)
        syncs.append((piece.sync, until))
        if piece.end < until:
            waits.append((max(piece.end, piece.start), until, _why(piece)))
    return Stretch(pieces[0].start, max(end, pieces[0].start), tuple(syncs), tuple(waits))


def _why(before: Piece) -> str:
    """What a pod waits for after a sync. After one that failed the kubelet backs off, longer each time."""
    return _BACKOFF if before.error else _BETWEEN


def parts_of(
    stretch: Stretch | None,
    names: Sequence[str],
    phases: Callable[[int, int], Mapping[str, int]],
    table: Mapping[str, str],
) -> dict[str, int]:
    """
    What a stretch is made of: part → ns. The parts sum to its length.

    Args:
        stretch: None has no parts.
        names: All parts that there are.
        phases: (sync, until) → phase → ns.
        table: Phase → part.
    """
    parts = dict.fromkeys(names, 0)
    if stretch is None:
        return parts
    for sync, until in stretch.syncs:
        for phase, ns in phases(sync, until).items():
            part = table.get(phase) or _OF_COMPONENT.get(component_of(phase), "other")
            parts[part] += ns
    for start, end, part in stretch.waits:
        parts[part] += end - start
    return parts
