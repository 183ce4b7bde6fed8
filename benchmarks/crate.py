"""What the crate's own benches and counters say: they are run as they are, and read.

Needs cargo; the counts of instructions need valgrind, pdata needs Go. What is missing is skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rounds import FRESH

ROOT = Path(__file__).parent.parent
INSTRUCTIONS = ROOT / "benchmarks/core/instructions.py"
PEERS = ROOT / "benchmarks/core/peers.py"
BENCH = ("cargo", "bench", "--locked", "--quiet")
GROWN = ("20_000", "5_000_000")
GROWN_NEEDS_KIB = 10 << 20


RATIOS = (
    (5, "core decode", "prost / k8strace", "k8strace, a request at a time", {}),
    (7, "core decode, fresh pages", "k8strace, whole file / deep skip", "k8strace, whole file", FRESH),
)
"""Rows of the goals: what it is stored as, the ratio, our side of it, and the environment of the bench."""


class SkippedError(Exception):
    """Why something was not measured."""


def decode(path: Path, rounds: int, environment: Mapping[str, str]) -> dict[str, Any]:
    """Rows 5 and 7: the core's decode beside prost and the deep skip."""
    words = ("--bench", "decode", "--", path.resolve(), "--rounds", rounds, "--json")
    return _json(*BENCH, *words, environment=environment)


def join(path: Path, rounds: int) -> dict[str, Any]:
    """Row 8: what join and attribution of a span cost among five million, and among 20,000."""
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable: +(\d+)", meminfo.read_text()) if meminfo.exists() else None
    if found and int(found[1]) < GROWN_NEEDS_KIB:
        raise SkippedError("five million spans need 10 GB of free memory")
    sizes = [word for size in GROWN for word in ("--spans", size)]
    return _json(*BENCH, "--bench", "join", "--", path.resolve(), *sizes, "--rounds", rounds, "--json")


def _json(*command: object, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    if not shutil.which("cargo"):
        raise SkippedError("cargo is not installed")
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT / "rust",
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | (environment or {}),
    )
    if done.returncode:
        raise SkippedError(f"`{' '.join(map(str, command))}` ended with exit code {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def instructions(*, check: bool = False) -> tuple[dict[str, int], bool]:
    """Count the instructions a span costs; say whether they are within budget (always, unless checked)."""
    if not INSTRUCTIONS.exists():
        raise SkippedError(f"there is no {INSTRUCTIONS.relative_to(ROOT)}")
    if not (shutil.which("valgrind") and shutil.which("cargo")):
        raise SkippedError("valgrind or cargo is not installed")
    command = [sys.executable, str(INSTRUCTIONS), *(["--check"] if check else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    rows = re.findall(r"^(\S.*?) {2,}([\d,]+) +[\d,]+\b.*$", done.stdout, re.MULTILINE)
    if not rows:
        raise SkippedError("the counts cannot be read; run benchmarks/core/instructions.py")
    if check:
        print(done.stdout, end="")
    return {name: int(number.replace(",", "")) for name, number in rows}, done.returncode == 0


def pdata(spans: int, rounds: int) -> dict[str, float]:
    """Row 6: build the Go module, and let it and the core take turns on generated spans."""
    if not shutil.which("go"):
        raise SkippedError("Go is not installed")
    command = [sys.executable, str(PEERS), "--spans", str(spans), "--rounds", str(rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    found = re.search(
        r"^a request at a time +pdata ([\d.]+) ns/span, core ([\d.]+): ([\d.]+)x", done.stdout, re.MULTILINE
    )
    if done.returncode or not found:
        raise SkippedError("benchmarks/core/peers.py failed; are Go's modules there?")
    theirs, ours, ratio = map(float, found.groups())
    return {"ns_per_span": theirs, "ours_ns_per_span": ours, "ratio": ratio}
