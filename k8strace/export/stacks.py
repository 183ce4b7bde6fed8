"""
The critical paths of requests as stacks: folded stacks, speedscope and pprof.

    list pods;List;etcdserverpb.KV/Range;etcd.transport 812345
    └ what ──┘└ spans from the request down ┘└ phase ──┘ └ ns ┘

Every ns of the outermost requests is in one stack, so the weights of all stacks that end in a phase sum to the phase's
ns in `Attribution.totals`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any, Final

from k8strace import _core
from k8strace.export.protobuf import data, number, numbers
from k8strace.requests import Request, Requests

__all__ = ["DEEPEST", "Stacks", "folded", "pprof", "speedscope"]

DEEPEST: Final = 500
"""Maximum depth: deeper spans are counted in their ancestor at this depth."""

_TOP: Final = 0


class Stacks:
    """
    The stacks of some requests, as a tree with each prefix once.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> stacks = Stacks(requests)
        >>> sum(ns for _, ns, _ in stacks) == sum(k8strace.attribute(requests).totals.values())
        True
    """

    def __init__(self, requests: Requests) -> None:
        self._places: dict[tuple[int, str], int] = {}
        self._above: list[tuple[int, str]] = [(_TOP, "")]
        self._weights: dict[int, list[int]] = {}
        phases = requests._joined.phase_table
        for request in requests.outermost():
            self._add(request, requests._joined.core.explain(request.request, phases.answers), phases.names)

    def _add(self, request: Request, explained: Any, phases: tuple[str, ...]) -> None:
        top = self._below(_TOP, _label(request))
        places = {explained.span[0].row: (top, 0)}
        rows = [view.row for view in explained.span]
        for view in explained.span[1:]:
            place, depth = places[view.parent]
            deeper = depth < DEEPEST
            places[view.row] = (self._below(place, view.name) if deeper else place, depth + deeper)
        for node, start, end, phase in explained.segments:
            if end > start:
                weight = self._weights.setdefault(self._below(places[rows[node]][0], phases[phase]), [0, 0])
                weight[0] += end - start
                weight[1] += 1

    def _below(self, place: int, frame: str) -> int:
        found = self._places.setdefault((place, frame), len(self._above))
        if found == len(self._above):
            self._above.append((place, frame))
        return found

    def __iter__(self) -> Iterator[tuple[list[str], int, int]]:
        """For each stack its frames from the outermost to the innermost, ns, and number of pieces."""
        return ((self._frames(place), ns, pieces) for place, (ns, pieces) in self._weights.items())

    def _frames(self, place: int) -> list[str]:
        frames = []
        while place != _TOP:
            place, frame = self._above[place]
            frames.append(frame)
        return frames[::-1]


def _label(request: Request) -> str:
    """What was asked for, without object names, which would make each request distinct."""
    what = request.resource or (request.target or "").partition("?")[0]
    if request.subresource:
        what = f"{what}/{request.subresource}"
    return " ".join(part for part in (request.verb or request.name, what) if part)


def folded(requests: Requests) -> Iterator[bytes]:
    """Folded stacks: frames separated by `;`, a space, ns. In frames `;` becomes `,`, and line breaks are replaced."""
    for frames, ns, _ in Stacks(requests):
        names = (" ".join(frame.split()).replace(";", ",") or "-" for frame in frames)
        yield f"{';'.join(names)} {ns}\n".encode()


def speedscope(requests: Requests) -> Iterator[bytes]:
    """One profile of speedscope's own format, sampled, in ns."""
    frames: dict[str, int] = {}
    samples, weights = [], []
    for names, ns, _ in Stacks(requests):
        samples.append([frames.setdefault(name, len(frames)) for name in names])
        weights.append(ns)
    profile = {
        "type": "sampled",
        "name": "critical path",
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }
    document = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": f"k8strace {_core.__version__}",
        "name": f"{len(requests)} requests",
        "activeProfileIndex": 0,
        "profiles": [profile],
        "shared": {"frames": [{"name": name} for name in frames]},
    }
    yield json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def pprof(requests: Requests) -> Iterator[bytes]:
    """A gzipped pprof profile: `samples` are pieces of critical paths, `wall` is in ns. A frame is a function."""
    texts: dict[str, int] = {"": 0}
    functions: dict[str, int] = {}

    def text(value: str) -> int:
        return texts.setdefault(value, len(texts))

    def value_type(field: int, kind: str, unit: str) -> bytes:
        return data(field, number(1, text(kind)) + number(2, text(unit)))

    out = [value_type(1, "samples", "count"), value_type(1, "wall", "nanoseconds")]
    for frames, ns, pieces in Stacks(requests):
        stack = [functions.setdefault(name, len(functions) + 1) for name in reversed(frames)]
        out.append(data(2, numbers(1, stack) + numbers(2, (pieces, ns))))
    for name, place in functions.items():
        line = number(1, place)
        out.append(data(4, number(1, place) + data(4, line)))
        out.append(data(5, number(1, place) + number(2, text(name)) + number(3, text(name))))
    starts, walls = requests.column("start_unix_nano"), requests.column("wall_ns")
    out.append(number(9, min(starts, default=0)))
    end = max((start + wall for start, wall in zip(starts, walls, strict=True)), default=0)
    out.append(number(10, end - min(starts, default=0)))
    out.append(number(14, text("wall")))
    out.append(b"".join(data(6, value) for value in texts))
    yield gzip.compress(b"".join(out), mtime=0)
