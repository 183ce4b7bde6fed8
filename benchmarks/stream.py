"""What a stream costs beside joining everything at once, and what it holds as input grows.

Each prints one line of JSON, and is called in a process of its own:

    python benchmarks/stream.py speed FILE ROUNDS    # CPU time of both, ns a span, and their ratio
    python benchmarks/stream.py peak FILE COPIES     # peak memory

Both sides are called from Python, end with `attribute` and giving all memory back, and have their decoding counted
apart. A stream gives the memory of decoded batches back while it works, so that has to count on both sides.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import baseline
import memory
from spent import Spent, alone

import k8strace

SECOND = 1_000_000_000
BATCHES = 64
FULL = f"every {BATCHES} batches"
"""When to take: of a stream at full speed some three times a second. The other way is every second of recorded time."""

Steps = dict[str, int]
"""Step → ns of CPU time."""

child = partial(alone, __file__)
"""Runs one of the commands above in a process of its own."""


def growth(path: Path) -> dict[str, Any]:
    """Compare the peak memory of a process that streams some copies of a file with that at ten times as many."""
    once, tenfold = (child("peak", path, copies) for copies in (4, 40))
    return {
        "ratio": tenfold["peak_bytes"] / once["peak_bytes"],
        "spent": tenfold["spent"],
        "spans": [once["spans"], tenfold["spans"]],
        "peak_bytes": [once["peak_bytes"], tenfold["peak_bytes"]],
    }


class Laps:
    """CPU time of steps, added up."""

    def __init__(self) -> None:
        self.steps: Steps = {}
        self._last = time.process_time_ns()

    def skip(self) -> None:
        """Leave out what was done since the last lap."""
        self._last = time.process_time_ns()

    def lap(self, step: str) -> None:
        """Count what was done since the last lap."""
        now = time.process_time_ns()
        self.steps[step] = self.steps.get(step, 0) + now - self._last
        self._last = now


def at_once(messages: list[bytes]) -> Steps:
    """Join everything."""
    laps = Laps()
    spans = k8strace.decode(messages)
    laps.lap("decode")
    requests = k8strace.join(spans)
    laps.lap("join")
    attribution = k8strace.attribute(requests)
    laps.lap("attribute")
    del spans, requests, attribution
    laps.lap("free")
    return laps.steps


def streamed(messages: list[bytes], ends: list[int], *, every_second: bool) -> Steps:
    """Feed, take and attribute message by message, in recorded time."""
    stream, last = k8strace.RequestStream(), ends[0]
    laps = Laps()
    for number, (message, now) in enumerate(zip(messages, ends, strict=True), 1):
        laps.skip()
        spans = k8strace.decode(message)
        laps.lap("decode")
        stream.feed(spans, now)
        laps.lap("feed")
        if now - last >= SECOND if every_second else number % BATCHES == 0:
            taken, last = stream.take(now), now
            laps.lap("take")
            attribution = k8strace.attribute(taken)
            laps.lap("attribute")
            del taken, attribution
            laps.lap("free")
    laps.skip()
    taken = stream.flush()
    laps.lap("take")
    attribution = k8strace.attribute(taken)
    laps.lap("attribute")
    del spans, taken, attribution, stream
    laps.lap("free")
    return laps.steps


def speed(path: Path, rounds: int) -> dict[str, Any]:
    """Time both, in turns: medians of ns a span, and of the ratio within a round, decoding apart."""
    messages, ends = _recorded(path)
    spans = len(k8strace.decode(messages))
    kinds = {FULL: False, "every second": True}
    made: dict[str, list[Steps]] = {name: [] for name in ("at once", *kinds)}
    costs = []
    for _ in range(rounds):
        made["at once"].append(at_once(messages))
        for name, every_second in kinds.items():
            before = Spent.now()
            made[name].append(streamed(messages, ends, every_second=every_second))
            if name == FULL:
                costs.append(Spent.now().since(before).per(spans))
    return {
        "spent": Spent.median(costs),
        "ns_per_span": {
            name: {step: round(median(each[step] for each in steps) / spans, 1) for step in steps[0]}
            for name, steps in made.items()
        },
        "ratio": {
            name: median(_work(a) / _work(b) for a, b in zip(made["at once"], made[name], strict=True))
            for name in kinds
        },
        "with_decoding": {
            name: median(
                sum(b.values()) / sum(a.values()) for a, b in zip(made["at once"], made[name], strict=True)
            )
            for name in kinds
        },
    }


def _work(steps: Steps) -> int:
    return sum(ns for step, ns in steps.items() if step != "decode")


def _recorded(path: Path) -> tuple[list[bytes], list[int]]:
    """The messages of a file, and when the last span of each ended, as far as the ends ascend."""
    messages = [message for message in baseline.load(path) if len(k8strace.decode(message))]
    ends, latest = [], 0
    for message in messages:
        latest = max(latest, *k8strace.decode(message).column("end_time_unix_nano").to_pylist())
        ends.append(latest)
    return messages, ends


def peak(path: Path, copies: int) -> dict[str, Any]:
    """Stream copies of a file, each after the one before is forgotten; say what this process held at most."""
    messages, ends = _recorded(path)
    stream = k8strace.RequestStream()
    length = ends[-1] - ends[0] + stream.settings.window_ns
    before = Spent.now()
    for copy in range(copies):
        for message, end in zip(messages, ends, strict=True):
            now = end + copy * length
            stream.feed(message, now)
            k8strace.attribute(stream.take(now))
    spans = stream.counts["spans"]
    spent = Spent.now().since(before).per(spans)
    return {"spans": spans, "peak_bytes": memory.peak(), "spent": spent}


def main(what: str, path: str, number: str) -> None:
    """Do it here and print it."""
    commands = {"speed": speed, "peak": peak}
    print(json.dumps(commands[what](Path(path), int(number))))


if __name__ == "__main__":
    main(*sys.argv[1:])
