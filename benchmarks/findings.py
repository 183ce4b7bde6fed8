"""What answers cost: findings, cost by client and the table by time, by what join and attribution take together.

    python benchmarks/findings.py [RECORDING …]       # without: a million generated spans

Each round joins and attributes anew, so nothing is known of an earlier one. CPU time of this process, the least of all
rounds of each step. The aim is a ratio of at most 1.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import workloads

import k8strace
from k8strace import _core

SPANS = 1_000_000


class Clock:
    """The least CPU seconds that each step took."""

    def __init__(self) -> None:
        self.least: dict[str, float] = {}

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        """Takes a step, and what it made."""
        begin = time.process_time()
        made = step()
        took = time.process_time() - begin
        self.least[name] = min(self.least.get(name, took), took)
        return made


def ratio(spans: k8strace.Spans, rounds: int) -> tuple[float, dict[str, float]]:
    """What answers took by what join and attribution took, and the seconds of each step."""
    clock = Clock()
    for _ in range(rounds):
        requests = clock("join", lambda: k8strace.join(spans))
        attribution = clock("attribute", lambda requests=requests: k8strace.attribute(requests))
        clock("findings", requests.findings)
        clock("cost", lambda requests=requests: requests.cost("client"))
        clock("by 10s", lambda attribution=attribution: attribution.by("time:10s"))
    least = clock.least
    answers = least["findings"] + least["cost"] + least["by 10s"]
    return answers / (least["join"] + least["attribute"]), least


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spans", type=int, default=SPANS, help="how many are generated without a recording")
    parser.add_argument("recordings", nargs="*")
    asked = parser.parse_args()
    if _core.DEBUG:
        parser.error("this is a debug build")
    if asked.recordings:
        spans = k8strace.read(asked.recordings)
    else:
        spans = k8strace.decode(b"".join(workloads.generate(asked.spans)))
    found, seconds = ratio(spans, asked.rounds)
    print(f"{len(spans):,} spans, {os.cpu_count()} processors")
    for name, took in seconds.items():
        print(f"{name:10} {took:.3f} s")
    print(f"ratio      {found:.2f}")


if __name__ == "__main__":
    main()
