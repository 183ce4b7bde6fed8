"""The job at a million spans, from a file to phases: its time, its page faults and its peak, in fresh processes.

    python benchmarks/million.py job FILE             # read, join, attribute, once in this process
    python benchmarks/million.py upb FILE             # the official classes parse the same messages, and no more
    python benchmarks/million.py compare FILE ROUNDS  # both in turns, and what is made of them

Each prints one line of JSON. Row 17 of the goals compares with an earlier commit. That is not built each time: what it
took is stored as a ratio to the official classes, which both were measured beside. To measure it anew:

    git worktree add build/before COMMIT              # with a release build of the core, as `make dev` makes it
    PYTHONPATH=build/before python benchmarks/million.py compare FILE 9
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import memory
from spent import Spent, alone, of

BEFORE: Final = {"commit": "ab0ecbe", "by_upb": 0.90}
"""
From a file to phases at the commit before threads and reused memory, over the official classes' parse alone:
0.74 to 0.99 in three rounds on a machine full of other work. Measure it anew on an idle one before a result is claimed.
"""


def job(path: Path) -> dict[str, Any]:
    """Do the job once."""
    import k8strace

    kept: list[k8strace.Attribution] = []
    spent = of(lambda: kept.append(k8strace.attribute(k8strace.join(k8strace.read(path)))))
    return {"spans": len(kept[0].requests.spans), "spent": spent, "peak_bytes": memory.peak()}


def upb(path: Path) -> dict[str, Any]:
    """Parse alone; inflating the file is not counted."""
    import baseline
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    messages = baseline.load(path)
    kept: list[ExportTraceServiceRequest] = []
    spent = of(lambda: kept.extend(map(ExportTraceServiceRequest.FromString, messages)))
    return {"spent": spent, "peak_bytes": memory.peak()}


child = partial(alone, __file__)
"""Runs one of the commands above in a process of its own."""


def compare(path: Path, rounds: int) -> dict[str, Any]:
    """Let both take turns: medians, and the ratio within a round."""
    turns = [(child("job", path), child("upb", path)) for _ in range(rounds)]
    spans = turns[0][0]["spans"]
    by_upb = [ours["spent"][0] / theirs["spent"][0] for ours, theirs in turns]
    spent, upb = (Spent.median(Spent(*turn[side]["spent"]).per(spans) for turn in turns) for side in (0, 1))
    return {
        "spans": spans,
        "by_upb": median(by_upb),
        "by_upb_range": [min(by_upb), max(by_upb)],
        "faster_than_before": BEFORE["by_upb"] / median(by_upb),
        "peak_bytes_per_span": median(ours["peak_bytes"] for ours, _ in turns) / spans,
        "spent": spent,
        "upb_spent": upb,
    }


def main(what: str, path: str, *rounds: str) -> None:
    """Do it here and print it."""
    commands = {"job": job, "upb": upb, "compare": compare}
    print(json.dumps(commands[what](Path(path), *map(int, rounds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
