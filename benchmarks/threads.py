"""Two threads beside one: the job from a file to phases, and batches that are decoded on threads of Python's own.

    python benchmarks/threads.py FILE [ROUNDS] [THREADS]     # one line of JSON; for people: --table behind them

Each run has a process of its own, and both numbers of threads take their turn in each round. Beside every figure
stand CPU time, that of the kernel in it, and page faults; and the load of the machine, since two threads cannot be
faster than one where other processes have the cores. What they could be without those is bounded by `most`: the CPU
time of one thread over that of the thread that calls, which takes its part of all work.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import memory

import k8strace
from k8strace.formats import Message, messages

STEPS = ("read", "join", "attribute")


class Cost:
    """What a step takes: wall and CPU time in s, that of the kernel, of this thread alone, and page faults."""

    def __init__(self) -> None:
        self._last = self._now()

    @staticmethod
    def _now() -> tuple[float, ...]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = used.ru_utime + used.ru_stime
        return time.perf_counter(), cpu, used.ru_stime, time.thread_time(), float(used.ru_minflt)

    def lap(self) -> dict[str, float]:
        """End a step; the next one begins."""
        now = self._now()
        spent = [after - before for before, after in zip(self._last, now, strict=True)]
        self._last = self._now()
        return dict(zip(("wall", "cpu", "system", "here", "faults"), spent, strict=True))


def job(path: str, threads: int) -> dict[str, Any]:
    """Read, join and attribute; say what each step took, and what the process held at most."""
    cost, taken = Cost(), {}
    spans = k8strace.read(path, threads=threads)
    taken["read"] = cost.lap()
    requests = k8strace.join(spans, threads=threads)
    taken["join"] = cost.lap()
    k8strace.attribute(requests)
    taken["attribute"] = cost.lap()
    return {"spans": len(spans), "peak_bytes": memory.peak(), "steps": taken}


def lock(path: str, threads: int) -> dict[str, Any]:
    """Decode the same batches on this many threads of Python's own, each all of them: batches a second, in all."""
    wires = [bytes(item.wire) for item in messages(path) if isinstance(item, Message)]
    batch = b"".join(wires[: max(1, len(wires) // 8)])
    times = max(1, (64 << 20) // len(batch))

    def work() -> None:
        for _ in range(times):
            k8strace.decode(batch)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    cost = Cost()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spent = cost.lap()
    return {"batches": times * threads, **spent}


def child(*words: object) -> dict[str, Any]:
    """Run this in a process of its own."""
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measure(path: str, rounds: int, threads: int) -> dict[str, Any]:
    """Compare; the first round is not counted."""
    numbers = (1, threads)
    runs = [{each: child("job", path, each) for each in numbers} for _ in range(rounds + 1)][1:]
    locks = [{each: child("lock", path, each) for each in numbers} for _ in range(rounds)]
    spans = runs[0][1]["spans"]

    def whole(run: dict[str, Any], key: str) -> float:
        return sum(run["steps"][step][key] for step in STEPS)

    def ratio(of: Callable[[dict[str, Any]], float], key: str) -> float:
        return median(of(run[1]) / of(run[threads]) for run in runs) if key else 0.0

    def rate(run: dict[str, Any]) -> float:
        return float(run["batches"] / run["wall"])

    return {
        "spans": spans,
        "threads": threads,
        "load_average": round(os.getloadavg()[0], 2),
        "times_faster": ratio(lambda run: whole(run, "wall"), "wall"),
        "times_faster_by_step": {
            step: ratio(lambda run, step=step: run["steps"][step]["wall"], "wall")  # type: ignore[misc]
            for step in STEPS
        },
        "most": median(whole(run[1], "cpu") / whole(run[threads], "here") for run in runs),
        "cpu": median(whole(run[threads], "cpu") / whole(run[1], "cpu") for run in runs),
        "per_span": {
            str(each): {
                step: {
                    key: median(run[each]["steps"][step][key] for run in runs) * unit / spans
                    for key, unit in (("wall", 1e9), ("cpu", 1e9), ("system", 1e9), ("faults", 1.0))
                }
                for step in STEPS
            }
            for each in numbers
        },
        "peak_bytes_per_span": {
            str(each): median(run[each]["peak_bytes"] for run in runs) / spans for each in numbers
        },
        "lock": median(rate(run[threads]) / rate(run[1]) for run in locks),
    }


def table(found: dict[str, Any]) -> list[str]:
    """Put it as people read it."""
    lines = [
        f"{found['spans']:,} spans, load {found['load_average']}",
        f"  {'':12}{'wall':>9}{'CPU':>9}{'kernel':>9}{'faults':>9}  ns a span; faults in a thousand spans",
    ]
    for threads, steps in found["per_span"].items():
        for step, cost in steps.items():
            cells = (
                f"{cost['wall']:9,.0f}{cost['cpu']:9,.0f}{cost['system']:9,.0f}{1e3 * cost['faults']:9,.0f}"
            )
            lines.append(f"  {f'{step}, {threads}':12}{cells}")
    peak = ", ".join(f"{bytes_:,.0f} on {each}" for each, bytes_ in found["peak_bytes_per_span"].items())
    return [
        *lines,
        f"  {found['threads']} threads / 1: {found['times_faster']:.2f} times as fast, CPU {found['cpu']:.2f} times",
        f"  without other processes at most {found['most']:.2f} times as fast",
        f"  peak bytes a span: {peak}",
        f"  {found['threads']} threads of Python's own decode {found['lock']:.2f} times as many batches as one",
    ]


def main(*words: str) -> None:
    """Measure and print."""
    if words[0] in ("job", "lock"):
        what, path, threads = words
        print(json.dumps({"job": job, "lock": lock}[what](path, int(threads))))
        return
    path, rounds, threads = (*(word for word in words if word != "--table"), *("5", "2")[len(words) - 1 :])[
        :3
    ]
    found = measure(str(Path(path)), int(rounds), int(threads))
    print(*(table(found) if "--table" in words else [json.dumps(found)]), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
