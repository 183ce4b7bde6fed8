"""How often any finding of severity "warning" or above is told of a healthy simulation: none should be.

    python benchmarks/false_alarms.py --runs 200

Load comes in waves, everything is slower while it is high, and big lists come then: see `simulated.py`.
"""

from __future__ import annotations

import argparse
from collections import Counter

from interference import plan
from simulated import simulate

import k8strace

TRUE = {"list_from_etcd"}
"""Big lists are put in, and cost much."""


def bad(seed: int) -> list[str]:
    """Codes that are told of a healthy run, but for those that only inform."""
    requests = k8strace.join(k8strace.decode(simulate(plan(seed)).message))
    return [
        row["code"] for row in requests.findings() if row["severity"] != "info" and row["code"] not in TRUE
    ]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    told = [bad(seed) for seed in range(runs)]
    print(f"a warning or above in {sum(map(bool, told))} of {runs} healthy runs")
    for code, number in Counter(code for codes in told for code in codes).most_common():
        print(f"  {code}: {number}")


if __name__ == "__main__":
    main()
