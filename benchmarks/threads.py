"""Two threads beside one, in fresh processes: the job from a file to phases, and batches on threads of Python's own.

    python benchmarks/threads.py job FILE THREADS       # read, join, attribute, once in this process
    python benchmarks/threads.py lock FILE THREADS      # so many threads decode batches, all of them each
    python benchmarks/threads.py compare FILE ROUNDS    # one and two threads in turns, and what is made of them

Each prints one line of JSON. Two threads are no faster than one where other processes have the cores: `load` says how
many wanted them. What two could be by themselves is bounded by `most`: the CPU time of the one thread over that of the
thread that calls, of two, which has its part in all that is done.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import baseline
import memory
from spent import Spent, alone

import k8strace

STEPS = ("read", "join", "attribute")
BATCH_BYTES, ALL_BYTES = 1 << 20, 64 << 20
"""Of the messages that are decoded in one call, and of all that one thread decodes."""


class Lap(NamedTuple):
    """Wall time, CPU time of the thread that calls, and what all threads cost."""

    wall: float
    here: float
    spent: Spent

    @classmethod
    def now(cls) -> Lap:
        """So far."""
        return cls(time.perf_counter(), time.thread_time(), Spent.now())

    def since(self, before: Lap) -> Lap:
        """Since then."""
        return Lap(self.wall - before.wall, self.here - before.here, self.spent.since(before.spent))


def job(path: Path, threads: int) -> dict[str, Any]:
    """Do the job once."""
    laps = [Lap.now()]
    spans = k8strace.read(path, threads=threads)
    laps.append(Lap.now())
    requests = k8strace.join(spans, threads=threads)
    laps.append(Lap.now())
    k8strace.attribute(requests)
    laps.append(Lap.now())
    steps = {name: laps[at + 1].since(laps[at]) for at, name in enumerate(STEPS)}
    return {"spans": len(spans), "peak_bytes": memory.peak(), "steps": steps}


def lock(path: Path, threads: int) -> dict[str, Any]:
    """Decode batches a second, on all threads together."""
    batch = b""
    for message in baseline.load(path):
        batch += message
        if len(batch) >= BATCH_BYTES:
            break
    times = ALL_BYTES // len(batch)

    def work() -> None:
        for _ in range(times):
            k8strace.decode(batch)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"rate": times * threads / (time.perf_counter() - begin)}


child = partial(alone, __file__)
"""Runs one of the commands above in a process of its own."""


def compare(path: Path, rounds: int) -> dict[str, Any]:
    """Let one and two take turns: medians, and ratios within a round."""
    jobs = [[child("job", path, threads) for threads in (1, 2)] for _ in range(rounds)]
    locks = [[child("lock", path, threads)["rate"] for threads in (1, 2)] for _ in range(rounds)]
    spans = jobs[0][0]["spans"]

    def laps(turn: Mapping[str, Any]) -> dict[str, Lap]:
        each = {step: Lap(wall, here, Spent(*spent)) for step, (wall, here, spent) in turn["steps"].items()}
        whole = Lap(*(sum(lap[at] for lap in each.values()) for at in (0, 1)), _sum(each.values()))  # type: ignore[misc]
        return {**each, "all": whole}

    turns = [(laps(one), laps(two)) for one, two in jobs]
    return {
        "spans": spans,
        "load": round(os.getloadavg()[0], 1),
        "times_as_fast": {
            step: median(one[step].wall / two[step].wall for one, two in turns) for step in (*STEPS, "all")
        },
        "most": {
            step: median(one[step].spent.cpu / two[step].here for one, two in turns)
            for step in (*STEPS, "all")
        },
        "spent": [
            {
                step: Spent.median(turn[side][step].spent.per(spans) for turn in turns)
                for step in (*STEPS, "all")
            }
            for side in (0, 1)
        ],
        "peak_bytes_per_span": [median(turn[side]["peak_bytes"] for turn in jobs) / spans for side in (0, 1)],
        "python_threads": median(two / one for one, two in locks),
    }


def _sum(laps: Any) -> Spent:
    return Spent(*(sum(parts) for parts in zip(*(lap.spent for lap in laps), strict=True)))


def main(what: str, path: str, number: str) -> None:
    """Do it here and print it."""
    if hasattr(os, "sched_setaffinity"):  # `make bench` keeps all others on one core
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    commands = {"job": job, "lock": lock, "compare": compare}
    print(json.dumps(commands[what](Path(path), int(number))))


if __name__ == "__main__":
    main(*sys.argv[1:])
