"""How often `head_of_line` is told, and told where there is none: over simulations, so that the truth is known.

    python benchmarks/interference.py --runs 1000

Healthy runs have big lists that slow nobody, but come while the load is high and everything is slower. Planted ones are
the same, and calls that begin on the first member while a big list is open there take 2 to 10 ms longer.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from random import Random
from statistics import median
from typing import Any, NamedTuple

from simulated import Plan, simulate

import k8strace
from k8strace.findings import Selection
from k8strace.findings.interference import head_of_line


def plan(seed: int) -> Plan:
    """A healthy run."""
    random = Random(seed)
    return Plan(
        seed,
        seconds=random.choice([15.0, 25.0]),
        per_second=random.choice([30.0, 80.0, 150.0]),
        members=random.choice([1, 3]),
        workers=64,
        heavy_every=random.choice([0.2, 0.5, 1.0]),
        heavy_seconds=random.choice([0.03, 0.06, 0.15]),
        heavy_with_load=random.choice([True, True, False]),
    )


def planted(seed: int) -> Plan:
    """The same with more calls, and big lists slow those on their member."""
    random, healthy = Random(seed + 1_000_000), plan(seed)
    healthy.seconds, healthy.per_second, healthy.heavy_every = 25.0, random.choice([80.0, 150.0]), 0.3
    healthy.interference = random.choice([0.002, 0.005, 0.01])
    return healthy


class Told(NamedTuple):
    """What was told of a run."""

    findings: list[dict[str, Any]]
    """The evidence of each."""
    true_ns: int


def told(of: Plan) -> Told:
    """Simulates a run and looks at it."""
    run = simulate(of)
    requests = k8strace.join(k8strace.decode(run.message))
    return Told([dict(each.evidence) for each in head_of_line(Selection(requests))], run.interference_ns)


def alarms(seeds: range) -> Iterator[int]:
    """Healthy runs in which something is told."""
    return (seed for seed in seeds if told(plan(seed)).findings)


def ratios(seeds: range) -> Iterator[tuple[float, bool]]:
    """Of planted runs in which it is told: how much, by the truth; and whether that lies in the interval."""
    for seed in seeds:
        run = told(planted(seed))
        if run.findings:
            (found,) = run.findings
            true_ns = run.true_ns / found["calls"]
            yield found["mean_ns"] / true_ns, found["low_ns"] <= true_ns <= found["high_ns"]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="healthy runs; a fifth as many planted ones")
    runs = parser.parse_args().runs
    wrong = list(alarms(range(runs)))
    print(f"healthy: told in {len(wrong)} of {runs} runs: {wrong}")
    found = list(ratios(range(runs // 5)))
    print(f"planted: told in {len(found)} of {runs // 5} runs")
    if found:
        print(f"median of what is told by the truth: {median(ratio for ratio, _ in found):.3f}")
        print(f"the truth is in the interval in {sum(within for _, within in found)} of {len(found)}")


if __name__ == "__main__":
    main()
