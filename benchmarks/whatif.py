"""How far projections can be trusted: programs that run again with a change, and recordings of one load with others.

python benchmarks/whatif.py --programs 1000
python benchmarks/whatif.py --pairs DIRECTORY    # w0, w10, w50: .otlp.zst and .webhook.jsonl.zst
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random
from statistics import median_low
from typing import Any, Final, NamedTuple

import crisp
import programs
import zstandard

import k8strace
from k8strace import Change, Estimate, Projected, Projection

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


class Simulated(NamedTuple):
    """Projections of programs of one kind against running them again."""

    kind: str
    component: str
    factor: int
    programs: int
    error: float
    """At p95, as a share of the wall time."""
    crisp_error: float
    crisp_close: float
    """How many of CRISP's are within 1 % of the truth."""
    inside: float
    """How many truths are within the two readings."""

    @property
    def goal(self) -> float:
        """Largest error that is well."""
        return 0.01 if self.factor == 2 else 0.06


def simulated(kind: str, count: int) -> Iterator[Simulated]:
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
        errors, crisps, inside = [], [], 0

        def speed(of: str, changed: str = component, times: int = factor) -> Fraction:
            return Fraction(1, times if of == changed else 1)

        for at, each in enumerate(made):
            span = programs.execute(each, speed)[0]
            truth = span.end - span.start
            found = projected[by_trace[(at + 1).to_bytes(16, "big").hex()]]
            errors.append(abs(found.value - truth) / truth)
            crisps.append(abs(crisp.retimed(before[at], speed) - truth) / truth)
            inside += found.low - 1 <= truth <= found.high + 1
        yield Simulated(
            kind, component, factor, count, _p95(errors), _p95(crisps), _close(crisps), inside / count
        )


def _p95(errors: list[Any]) -> float:
    return float(sorted(errors)[int(0.95 * len(errors))])


def _close(errors: list[Any]) -> float:
    return sum(error <= 0.01 for error in errors) / len(errors)


def handled(path: Path) -> dict[str, list[int]]:
    """Webhook → ns that its handler took, each time."""
    found: dict[str, list[int]] = {}
    with path.open("rb") as stored:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stored)):
            call = json.loads(line)
            name = call["path"].strip("/") + ".example.com"
            found.setdefault(name, []).append(call["end"] - call["start"])
    return found


JUDGED: Final = ("mean_ns", "p50_ns")
WAYS: Final = ("handlers' mean", "handlers' median", "nominal delay")


def pairs(folder: Path) -> None:
    """Each recording predicted from each other one, by what is known of the webhooks."""
    for way in WAYS:
        cases = judged(folder, way)
        inside, close = sum(each[0] for each in cases), sum(any(each) for each in cases)
        print(f"{way:<18} of {len(cases)}: inside the interval {inside}, inside or within 5 % {close}")
    cases = unchanged(folder)
    inside, close = sum(each[0] for each in cases), sum(any(each) for each in cases)
    print(
        f"{'without webhooks':<18} of {len(cases)}: inside the interval {inside}, inside or within 5 % {close}"
    )


def unchanged(folder: Path) -> list[tuple[bool, bool]]:
    """The same of requests that call no webhook, at least 20 of a kind: each recording as it is, for each other one."""
    said = {name: _groups(each.what_if()) for name, each in _recorded(folder).items()}
    found = []
    for a, b in itertools.permutations(DELAYS_NS, 2):
        for kind in (said[a].keys() & said[b].keys()) - set(KINDS):
            before, after = said[a][kind], said[b][kind]
            if before.requests >= 20 and min(before.blocks, after.blocks) >= 8:
                found += [_verdict(before.after[name], getattr(after.before, name)) for name in JUDGED]
    return found


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


def judge(projected: Projection, truth: Projection) -> list[tuple[bool, bool]]:
    """For mean and p50 of each kind of request: inside the interval? within 5 %?"""
    said, true = _groups(projected), _groups(truth)
    cases = itertools.product(KINDS, JUDGED)
    return [_verdict(said[kind].after[name], getattr(true[kind].before, name)) for kind, name in cases]


def _groups(projection: Projection) -> dict[tuple[Any, ...], Projected]:
    return {tuple(group.keys.values()): group for group in projection.by("verb", "resource")}


def _verdict(said: Estimate, true: int) -> tuple[bool, bool]:
    return said.low <= true <= said.high, abs(said.value - true) <= true * 0.05


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
        print(
            "| Programs | Faster | Error at p95 | Goal | Truth within bounds, goal 95 % | CRISP: at p95 | within 1 % |"
        )
        print("|---|---|---|---|---|---|---|")
        for row in (row for kind in programs.KINDS for row in simulated(kind, asked.programs)):
            print(
                f"| {row.programs:,} {row.kind} | {row.component} × {row.factor} | {row.error:.1e} | {row.goal:.0%} | "
                f"{row.inside:.1%} | {row.crisp_error:.1%} | {row.crisp_close:.0%} |"
            )


if __name__ == "__main__":
    main()
