"""What work costs: CPU time, its part in the kernel, and page faults. One clock for all benchmarks."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, NamedTuple


class Spent(NamedTuple):
    """Seconds of CPU time, those of them in the kernel, and page faults; of a process, or of each of its spans."""

    cpu: float
    system: float
    faults: float

    @classmethod
    def now(cls) -> Spent:
        """Of this process, so far."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(usage.ru_utime + usage.ru_stime, usage.ru_stime, usage.ru_minflt + usage.ru_majflt)

    @classmethod
    def median(cls, rounds: Iterable[Spent]) -> Spent:
        """Of each, the median."""
        return cls(*map(median, zip(*rounds, strict=True)))

    def since(self, before: Spent) -> Spent:
        """Since then."""
        return Spent(*(now - then for now, then in zip(self, before, strict=True)))

    def per(self, spans: int) -> Spent:
        """Of each span."""
        return Spent(*(each / spans for each in self))


def of(work: Callable[[], object]) -> Spent:
    """Say what a call costs."""
    before = Spent.now()
    work()
    return Spent.now().since(before)


def alone(file: str, *words: object) -> dict[str, Any]:
    """Run a benchmark in a process of its own, and give the line of JSON that it prints."""
    command = [sys.executable, file, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
