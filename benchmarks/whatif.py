"""How far projections can be trusted: programs that run again with a change, and recordings of one load with others.

python benchmarks/whatif.py --programs 1000
python benchmarks/whatif.py --pairs DIRECTORY    # w0, w10, w50: .otlp.zst and .webhook.jsonl.zst
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random
from statistics import median_low
from typing import Any, Final

import programs
import zstandard

import k8strace
from k8strace import Change

START: Final = 1_700_000_000 * 10**9
APART: Final = 10**11
CHANGES: Final = (("etcd", 2), ("etcd", 10), ("webhook", 2), ("webhook", 10), ("apiserver", 2))
DELAYS_NS: Final = {"w0": 0, "w10": 10_000_000, "w50": 50_000_000}
KINDS: Final = (
    ("create", "pods"),
    ("create", "configmaps"),
    ("update", "configmaps"),
    ("patch", "configmaps"),
)


def simulated(kind: str, count: int) -> None:
    """Each program's projection against running it again."""
    rng = Random(7)
    made = [programs.program(kind, rng) for _ in range(count)]
    before = [programs.execute(each, start=START + at * APART) for at, each in enumerate(made)]
    requests = k8strace.join(k8strace.decode(programs.sent(iter(before)))).outermost()
    by_trace = {request.trace_id: request for request in requests}
    attribution = k8strace.attribute(requests)
    for component, factor in CHANGES:
        if component not in attribution.component_names:
            continue
        projected = attribution.what_if(Change.faster(component, factor))
        errors, inside = [], 0
        for at, each in enumerate(made):
            span = programs.execute(each, lambda of, c=component, k=factor: Fraction(1, k if of == c else 1))[
                0
            ]
            truth = span.end - span.start
            found = projected[by_trace[(at + 1).to_bytes(16, "big").hex()]]
            errors.append(abs(found.value - truth) / truth)
            inside += found.low - 1 <= truth <= found.high + 1
        p95 = float(sorted(errors)[int(0.95 * count)])
        print(f"{kind:<12} {component:<10} x{factor:<3} error at p95 {p95:.1e}   inside {inside / count:.1%}")


def handled(path: Path) -> dict[str, list[int]]:
    """Webhook → ns that its handler took, each time."""
    found: dict[str, list[int]] = {}
    with path.open("rb") as stored:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stored)):
            call = json.loads(line)
            name = call["path"].strip("/") + ".example.com"
            found.setdefault(name, []).append(call["end"] - call["start"])
    return found


WAYS: Final = ("handlers' mean", "handlers' median", "nominal delay")


def pairs(folder: Path) -> None:
    """Each recording predicted from each other one, by what is known of the webhooks."""
    for way in WAYS:
        cases = judged(folder, way)
        inside, close = sum(each[0] for each in cases), sum(any(each) for each in cases)
        print(f"{way:<18} of {len(cases)}: inside the interval {inside}, inside or within 5 % {close}")


def judged(folder: Path, way: str) -> list[tuple[bool, bool]]:
    """Inside the interval? Within 5 %? Of each case of the six ordered pairs."""
    recorded = _recorded(folder)
    return [
        verdict
        for a, b in itertools.permutations(DELAYS_NS, 2)
        for verdict in judge(recorded[a].what_if(*_changes(folder, b, way)), recorded[b].what_if())
    ]


@cache
def _recorded(folder: Path) -> dict[str, k8strace.Attribution]:
    return {
        name: k8strace.attribute(k8strace.join(k8strace.read(folder / f"{name}.otlp.zst")))
        for name in DELAYS_NS
    }


def _changes(folder: Path, to: str, way: str) -> list[Change]:
    if way == "nominal delay":
        return [Change.latency("webhook", DELAYS_NS[to])]
    middle = median_low if way == "handlers' median" else _mean
    return [
        Change.latency(hook, middle(ns)) for hook, ns in handled(folder / f"{to}.webhook.jsonl.zst").items()
    ]


def _mean(ns: list[int]) -> int:
    return sum(ns) // len(ns)


def judge(projected: Any, truth: Any) -> list[tuple[bool, bool]]:
    """For mean and p50 of each kind of request: inside the interval? within 5 %?"""
    said = {tuple(group.keys.values()): group for group in projected.by("verb", "resource")}
    true = {tuple(group.keys.values()): group for group in truth.by("verb", "resource")}
    found = []
    for kind, name in itertools.product(KINDS, ("mean_ns", "p50_ns")):
        expected, answer = getattr(true[kind].before, name), said[kind].after[name]
        found.append((answer.low <= expected <= answer.high, abs(answer.value - expected) <= expected * 0.05))
    return found


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=1000, metavar="N", help="of each kind (default 1000)")
    parser.add_argument("--pairs", type=Path, metavar="DIRECTORY", help="the recordings instead")
    asked = parser.parse_args()
    if asked.pairs:
        pairs(asked.pairs)
    else:
        for kind in programs.KINDS:
            simulated(kind, asked.programs)


if __name__ == "__main__":
    main()
