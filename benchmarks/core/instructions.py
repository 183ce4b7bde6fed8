"""How many instructions a span costs: counted by callgrind, so the same on a busy machine as on a quiet one.

    python benchmarks/core/instructions.py             # print them beside the budgets and the stored counts
    python benchmarks/core/instructions.py --check     # exit code 1 beyond a budget, or 5 % above a stored count
    python benchmarks/core/instructions.py --store     # these are the counts from now on

The file is the capture of Kubernetes 1.36, the build the one of `cargo bench`. Counts depend on the compiler and
the C library: store them anew, in a commit of its own, when either changes. Without valgrind nothing is counted:
the exit code is then 0, and the reason is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
CAPTURE = ROOT / "tests/data/k8s-1.36_etcd-3.6.otlp.zst"
STORED = Path(__file__).with_name("instructions.json")
TOLERANCE = 1.05

STEPS = ("decode_whole", "decode_apart", "arrow", "join", "attribute", "stream")
"""What follows `measured_` in the names of the functions of `rust/benches/instructions.rs`."""
SUMS = {
    "decode": ("decode_whole",),
    "decode, a call for each request": ("decode_apart",),
    "columns to Arrow": ("arrow",),
    "join": ("join",),
    "critical path and phases": ("attribute",),
    "join, critical path and phases": ("join", "attribute"),
    "stream, beside decoding and phases": ("stream",),
}
BUDGETS = {"decode": 4000, "decode, a call for each request": 4000, "join, critical path and phases": 1700}


def build() -> Path:
    """Build the bench as `cargo bench` does, and say where it is."""
    command = ["cargo", "bench", "--locked", "--bench", "instructions", "--no-run", "--message-format=json"]
    output = subprocess.run(command, cwd=ROOT / "rust", check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in output.splitlines()]
    paths = [message["executable"] for message in messages if message.get("executable")]
    return Path(paths[-1])


def count(program: Path, step: str, file: Path) -> tuple[int, int]:
    """Count the instructions of one step, and the spans that it works on."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={scratch}/out",
            f"--toggle-collect=*measured_{step}*",
            str(program),
            str(file),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    collected = re.search(r"Collected : (\d+)", done.stderr)
    spans = re.match(r"(\d+) spans", done.stdout)
    if not collected or not spans:
        sys.exit(f"cannot read what callgrind said:\n{done.stderr}")
    return int(collected[1]), int(spans[1])


def environment() -> dict[str, str]:
    """Give an environment of the same size every time: the stack begins behind it."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def per_span(program: Path, file: Path) -> dict[str, int]:
    """Count everything, per span."""
    counts = {step: count(program, step, file) for step in STEPS}
    return {
        name: round(sum(counts[step][0] for step in steps) / counts[steps[0]][1])
        for name, steps in SUMS.items()
    }


def faults(counts: Mapping[str, int], stored: Mapping[str, int]) -> list[str]:
    """Say what is dearer than it may be. A budget that the stored count misses too is not a fault, but a miss."""
    return [
        *(
            f"{name}: {counts[name]}, and the budget is {most}"
            for name, most in BUDGETS.items()
            if counts[name] > most >= stored.get(name, 0)
        ),
        *(
            f"{name}: {now}, {now / stored[name] - 1:.1%} above the stored {stored[name]}"
            for name, now in counts.items()
            if name in stored and now > stored[name] * TOLERANCE
        ),
    ]


def main() -> int:
    """Count, print, and judge if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=CAPTURE)
    parser.add_argument(
        "--check", action="store_true", help="fail beyond a budget or above the stored counts"
    )
    parser.add_argument("--store", action="store_true", help="store these counts")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        print("skipped: instructions are counted by valgrind, and it is not installed")
        return 0
    counts = per_span(build(), options.file)
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    print(f"{'instructions a span':34} {'now':>6} {'stored':>7} {'budget':>7}")
    for name, now in counts.items():
        budget = BUDGETS.get(name)
        verdict = "" if budget is None else "met" if now <= budget else f"missed by {now / budget:.1f}x"
        print(f"{name:34} {now:>6,} {stored.get(name, 0):>7,} {budget or '':>7} {verdict}")
    if options.store:
        STORED.write_text(json.dumps(counts, indent=2) + "\n")
    wrong = faults(counts, stored) if options.check else []
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
