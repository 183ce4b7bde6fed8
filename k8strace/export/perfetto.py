"""
A trace for Perfetto: protobuf TrackEvents, times in ns.

    critical path   lane 1  |== list pods ==================|   |== get …
                            |decode|…|etcd.transport|…|write|          slices of category "critical"
    apiserver       lane 1  |== List ======================|           slices of category "span"
                    lane 2     |== SerializeObject ==|                 overlapping siblings have lanes of their own

The slices of category "critical" with a phase's name sum to the phase's ns in `Attribution.totals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from math import inf
from typing import Any, NamedTuple

from k8strace.components import component_of
from k8strace.export.protobuf import data, number
from k8strace.export.told import explained
from k8strace.requests import Requests

__all__ = ["perfetto"]

_SEQUENCE = 1
_BEGIN, _END = 1, 2
_CLEARED = 1


class Slice(NamedTuple):
    """One interval with a name."""

    start: int
    end: int
    name: str
    category: str
    notes: tuple[tuple[str, str | int], ...] = ()


def perfetto(requests: Requests) -> Iterator[bytes]:
    """The packets of a `Trace`, each as a field of it."""
    writer = _Writer()
    yield writer.first()
    yield from writer.process("critical path", _critical(requests))
    for process, slices in _processes(requests).items():
        yield from writer.process(process, _nested(slices))


def _critical(requests: Requests) -> Iterator[list[Slice]]:
    """Lanes of requests, each with the parts of its critical path inside."""
    joined = requests._joined
    names = joined.phase_table.names
    around = []
    parts: dict[Slice, list[Slice]] = {}
    for request in requests.outermost():
        tree = joined.core.explain(request.request, joined.phase_table.answers)
        start, end, *_ = tree.time[0]
        notes = (("trace_id", request.trace_id), ("request", request.request))
        whole = Slice(start, max(start, end), request.what, "request", notes)
        around.append(whole)
        parts[whole] = [
            Slice(a, b, names[phase], "critical", (("component", component_of(names[phase])),))
            for _, a, b, phase in tree.segments
            if b > a
        ]
    for lane in _apart(around):
        yield [slice_ for whole in lane for slice_ in (whole, *parts[whole])]


def _processes(requests: Requests) -> dict[str, list[Slice]]:
    names = requests._joined.phase_table.names
    found: dict[str, list[Slice]] = {}
    for _, tree in explained(requests):
        for view, phase, (_, _, critical_ns, _) in zip(tree.span, tree.phase, tree.time, strict=True):
            process = f"{view.service} {view.instance}" if view.instance else view.service
            notes: list[tuple[str, str | int]] = [
                ("k8strace.component", component_of(names[phase])),
                ("k8strace.critical_ns", critical_ns),
                ("trace_id", view.trace_id),
                ("span_id", view.span_id),
            ]
            notes += [(key, text) for key, text in view.attributes if text is not None]
            one = Slice(view.start, max(view.start, view.end), view.name, "span", tuple(notes))
            found.setdefault(process or "unnamed", []).append(one)
    return found


def _apart(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Divides slices into lanes without overlaps: each into the first lane that is free."""
    lanes: list[list[Slice]] = []
    open_ones: list[tuple[int, int]] = []
    free: list[int] = []
    for each in _by_start(slices):
        while open_ones and open_ones[0][0] <= each.start:
            heappush(free, heappop(open_ones)[1])
        at = heappop(free) if free else len(lanes)
        if at == len(lanes):
            lanes.append([])
        lanes[at].append(each)
        heappush(open_ones, (each.end, at))
    return lanes


def _nested(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Divides slices into lanes in which any two are nested or disjoint: each into the first lane where it fits."""
    lanes: list[list[Slice]] = []
    open_ones: list[tuple[int, int]] = []
    rooms = _Rooms()
    for each in _by_start(slices):
        while open_ones and open_ones[0][0] <= each.start:
            rooms.close(heappop(open_ones)[1])
        at = rooms.first(each.end)
        if at == len(lanes):
            lanes.append([])
        lanes[at].append(each)
        rooms.open(at, each.end)
        heappush(open_ones, (each.end, at))
    return lanes


def _by_start(slices: Iterable[Slice]) -> list[Slice]:
    return sorted(slices, key=lambda one: (one.start, -one.end))


class _Rooms:
    """
    Until when a slice may last in each lane: the end of its innermost open slice.

    A tree of maxima finds the first lane with enough room without looking at all of them.
    """

    def __init__(self) -> None:
        self._ends: list[list[int]] = [[]]
        self._most: list[float] = [inf, inf]

    def first(self, end: int) -> int:
        """The first lane in which a slice may last until `end`; lanes that have had none yet come last."""
        if self._most[1] < end:
            self._grow()
        size, at = len(self._ends), 1
        while at < size:
            at = 2 * at + (self._most[2 * at] < end)
        return at - size

    def open(self, lane: int, end: int) -> None:
        """A slice begins."""
        self._ends[lane].append(end)
        self._tell(lane)

    def close(self, lane: int) -> None:
        """Its innermost slice is over."""
        self._ends[lane].pop()
        self._tell(lane)

    def _tell(self, lane: int) -> None:
        ends, at = self._ends[lane], lane + len(self._ends)
        self._most[at] = ends[-1] if ends else inf
        while at := at // 2:
            self._most[at] = max(self._most[2 * at], self._most[2 * at + 1])

    def _grow(self) -> None:
        """Twice as many lanes."""
        size = len(self._ends)
        self._ends += [[] for _ in range(size)]
        self._most = [inf] * 4 * size
        for lane in range(size):
            self._tell(lane)


class _Writer:
    """Numbers tracks, and writes packets."""

    def __init__(self) -> None:
        self._tracks = 0

    def first(self) -> bytes:
        return data(1, number(10, _SEQUENCE) + number(13, _CLEARED))

    def process(self, name: str, lanes: Iterable[list[Slice]]) -> Iterator[bytes]:
        process = self._track()
        described = data(3, number(1, process) + data(6, name))
        yield data(1, data(60, number(1, process) + described) + number(10, _SEQUENCE))
        for at, lane in enumerate(lanes, 1):
            track = self._track()
            about = number(1, track) + data(2, f"lane {at}") + number(5, process)
            yield data(1, data(60, about) + number(10, _SEQUENCE))
            yield from _events(track, lane)

    def _track(self) -> int:
        self._tracks += 1
        return self._tracks


def _events(track: int, lane: Iterable[Slice]) -> Iterator[bytes]:
    """Begin and end events in the order of time, ends first."""
    open_ends: list[int] = []
    for each in lane:
        while open_ends and open_ends[-1] <= each.start:
            yield _packet(open_ends.pop(), number(9, _END) + number(11, track))
        notes = b"".join(data(4, _note(key, value)) for key, value in each.notes)
        event = number(9, _BEGIN) + number(11, track) + data(22, each.category) + data(23, each.name) + notes
        yield _packet(each.start, event)
        open_ends.append(each.end)
    while open_ends:
        yield _packet(open_ends.pop(), number(9, _END) + number(11, track))


def _note(key: str, value: Any) -> bytes:
    return data(10, key) + (number(4, value) if isinstance(value, int) else data(6, value))


def _packet(time: int, event: bytes) -> bytes:
    return data(1, number(8, time) + data(11, event) + number(10, _SEQUENCE))
