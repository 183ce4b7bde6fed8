"""How often something is said to be wrong where nothing is: over simulations, and over recordings of healthy processes.

    python benchmarks/healthy.py --runs 200 RECORDING …

The simulations are those of `stalls.py` without a fault: their load comes in waves, and everything is slower
while it is high. Some have big lists that go to etcd, which may be told;
nothing else of severity "warning" or above may.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

from simulated import simulate
from stalls import plan

import k8strace

BIG_LISTS: Final = {"list_from_etcd", "head_of_line"}
"""What is true of runs with big lists."""


def warnings(requests: k8strace.Requests) -> set[str]:
    """Codes of what is said to be wrong."""
    return {row["code"] for row in requests.findings() if row["severity"] != "info"}


def alarms(seeds: range) -> Iterator[tuple[int, set[str]]]:
    """Healthy runs in which something is said to be wrong, and what."""
    for seed in seeds:
        drawn = plan(seed)
        told = warnings(k8strace.join(k8strace.decode(simulate(drawn).message)))
        if told := told - (BIG_LISTS if drawn.heavy_every else set()):
            yield seed, told


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200, help="simulations")
    parser.add_argument("recordings", nargs="*", help="of which all that is said to be wrong is printed")
    asked = parser.parse_args()
    wrong = dict(alarms(range(asked.runs)))
    print(f"simulations: {len(wrong)} of {asked.runs} with a warning: {wrong or 'none'}")
    for path in asked.recordings:
        print(f"{path}: {', '.join(sorted(warnings(k8strace.join(k8strace.read(path))))) or 'no warning'}")


if __name__ == "__main__":
    main()
