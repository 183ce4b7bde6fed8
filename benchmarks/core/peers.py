"""The core beside pdata, the classes of the OpenTelemetry Collector: the same bytes, turn by turn.

    python benchmarks/core/peers.py               # 100,000 generated spans
    python benchmarks/core/peers.py --spans N --rounds N

Needs Go, and a module proxy or cache to take pdata from. In every round first the one decodes the file and then the
other, each in a process of its own, and what counts is the median of the ratios within a round, in CPU time.
pdata does not check that text is UTF-8; the core does. The numbers of spans and attributes must agree.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import workloads  # noqa: E402

OURS = {"a request at a time": "k8strace, a request at a time", "whole file": "k8strace, whole file"}
GOAL = 5


def write_frames(path: Path, spans: int) -> None:
    """Write generated requests, each behind its length."""
    with path.open("wb") as file:
        for message in workloads.generate(spans):
            file.write(len(message).to_bytes(4, "big") + message)


def run(command: list[str | Path], cwd: Path) -> dict[str, Any]:
    """Run a contender, and read its line of JSON."""
    output = subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, Any] = json.loads(output)
    return answer


def main() -> int:
    """Build both, let them take turns, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not shutil.which("go"):
        print("skipped: pdata is built with Go, and it is not installed")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        file, program = Path(scratch, "requests"), Path(scratch, "pdata")
        write_frames(file, options.spans)
        subprocess.run(["go", "build", "-o", program, "."], cwd=ROOT / "benchmarks/go", check=True)
        bench = ["cargo", "bench", "--quiet", "--locked", "--bench", "decode"]
        subprocess.run([*bench, "--no-run"], cwd=ROOT / "rust", check=True)
        pairs = []
        for _ in range(options.rounds):
            theirs = run([program, file, "3"], ROOT)
            ours = run([*bench, "--", file, "--rounds", "3", "--json"], ROOT / "rust")
            pairs.append((theirs, ours))
    theirs, ours = pairs[0]
    if (theirs["spans"], theirs["attributes"]) != (ours["spans"], ours["attributes"]):
        print(f"pdata and the core disagree: {theirs} {ours}")
        return 1
    print(f"{theirs['spans']:,} spans; pdata {theirs['pdata']}, {theirs['go']}; goal: {GOAL} times faster")
    for name, key in OURS.items():
        times = [(median(go["ns_per_span"]), rust["ns_per_span"][key]) for go, rust in pairs]
        ratios = sorted(go / rust for go, rust in times)
        go, rust = (median(column) for column in zip(*times, strict=True))
        print(
            f"{name:20} pdata {go:.0f} ns/span, core {rust:.0f}: "
            f"{median(ratios):.1f}x ({ratios[0]:.1f} to {ratios[-1]:.1f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
