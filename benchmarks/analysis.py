"""How far comparisons, projections and budgets can be trusted: simulations whose truth is known.

    python benchmarks/analysis.py                  # the table of figures and goals, at the size of the documentation
    python benchmarks/analysis.py --small          # the same at a size for CI: half a minute
    python benchmarks/analysis.py --resume done.jsonl --only injected    # in turns: what is done is kept
    python benchmarks/analysis.py bootstrap --pairs 200
    python benchmarks/analysis.py alarms --requests 5000 --memory 50 --pairs 1000 --instances 3 --shared 0.5
    python benchmarks/analysis.py found --runs 500 --only etcd
    python benchmarks/analysis.py budgets --pairs 200
    python benchmarks/analysis.py speed --requests 1000000

The load of `loads.py` is remembered for `--memory` requests.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import baseline
import numpy as np
import programs
import properties
import whatif
from loads import by_load, simulated
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace
from k8strace import Change
from k8strace.budgets.metrics import metric_of
from k8strace.budgets.reading import Budget, Limit
from k8strace.budgets.verdicts import _measured
from k8strace.compare.comparing import compare_populations
from k8strace.statistics.errors import LEVEL, Errors
from k8strace.statistics.population import Population
from k8strace.statistics.quantiles import quantile, quantiles_without

SEED: Final = 20261126
ROOT: Final = Path(__file__).parent.parent
CAPTURE: Final = ROOT / "tests/data/k8s-1.36_etcd-3.6.otlp.zst"
CAPTURED: Final = 1411
"""Requests in it."""
LATER_NS: Final = 60 * 10**9
PAIRS: Final = Path(os.environ.get("K8STRACE_WHATIF_PAIRS", ROOT.parent / "shared/captures/whatif"))
"""Three recordings of one load with other webhooks, which a clone need not have."""

INJECTED: Final = ("apiserver", "etcd", "webhook", "etcd calls", "mix")
FEW: Final = 5000
"""Requests of each side in which a change is to be found."""
PAIRED: Final = {"etcd calls": 100_000, "mix": 100_000}
"""Requests from which the share of a change's row is found, `FEW` for others: these few requests differ by it."""


# ── False alarms ──────────────────────────────────────────────────────────────────────────────────


def p_values(before: Population, after: Population, q: float = 0.99) -> tuple[float, float]:
    """How likely the differences of the mean and of a quantile are by chance, as `compare` says."""
    means, quantiles = [], []
    for side, sign in ((before, -1), (after, 1)):
        ns, count = (np.bincount(side.blocks.of, of, len(side.blocks)) for of in (side.wall, None))
        means.append(sign * ((ns.sum() - ns) / (count.sum() - count))[:, None])
        quantiles.append(sign * quantiles_without(side.wall, side.blocks.of, len(side.blocks), (q,)))
    of_means = np.array([after.wall.mean() - before.wall.mean()])
    of_quantiles = np.array([float(quantile(after.wall, q) - quantile(before.wall, q))])
    blocks = before.blocks, after.blocks
    mean = Errors(of_means, tuple(means), blocks)
    return float(mean.p[0]), float(Errors(of_quantiles, tuple(quantiles), blocks).p[0])


def bootstrapped(rng: np.random.Generator, before: Population, after: Population) -> tuple[float, float]:
    """The same by the usual bootstrap, which draws requests one by one; 200 draws."""
    moved: list[list[float]] = [[], []]
    for _ in range(200):
        a, b = (side.wall[rng.integers(0, len(side), len(side))] for side in (before, after))
        moved[0].append(b.mean() - a.mean())
        moved[1].append(float(np.quantile(b, 0.99) - np.quantile(a, 0.99)))
    return tuple(2 * min(np.mean(np.array(each) > 0), np.mean(np.array(each) < 0)) for each in moved)  # type: ignore[return-value]


def alarms(
    rng: np.random.Generator,
    requests: int,
    memory: float,
    pairs: int,
    test: Callable[..., Any],
    instances: tuple[int, float] = (1, 0.0),
) -> list[float]:
    """Shares of pairs without any difference that are told apart, by mean and by p99."""
    found = np.array(
        [
            test(*(simulated(rng, requests, memory, "", 1.0, *instances) for _ in range(2)))
            for _ in range(pairs)
        ]
    )
    return (found < LEVEL).mean(0).tolist()


# ── What is found ─────────────────────────────────────────────────────────────────────────────────


def found(
    rng: np.random.Generator,
    change: str,
    runs: int,
    errors: float,
    *,
    equal: bool = False,
    load: bool = False,
    pairs: int = 300,
) -> list[float]:
    """
    How an injected change is found.

    Args:
        rng: Where chance comes from.
        change: Which, one of `INJECTED`.
        runs: How often it is tried.
        errors: Its size, in standard errors of its row.
        equal: Standard errors of pairs without any difference, and not of pairs with the change.
        load: Cells are told by load, too; standard errors are those of cells that are not.
        pairs: So many tell the standard error.

    Returns:
        The factor, and how often the row has at least 95 % of the true difference, the right sign, and is told apart.
    """
    per_one = _truth(rng, change, 1.2) / 0.2
    by = 1 + errors * _error(rng, change, 1.0, pairs) / per_one
    if not equal:  # what takes longer also varies more
        by = 1 + errors * _error(rng, change, by, pairs) / per_one
    truth = _truth(rng, change, by)
    hits = np.array([_hit(rng, change, by, truth, load=load) for _ in range(runs)], float)
    return [by, *hits.mean(0).tolist()]


def _row(comparison: Any, change: str) -> Any:
    return next(row for row in comparison.mean.summary if row.part == change)


def _error(rng: np.random.Generator, change: str, by: float, pairs: int) -> float:
    """The standard deviation of a change's row in so many pairs that have it."""
    rows = [_row(_compared(_sides(rng, change, by)), change) for _ in range(pairs)]
    return float(np.std([row.delta_ns for row in rows]))


def _sides(rng: np.random.Generator, change: str, by: float) -> list[Population]:
    return [simulated(rng, FEW, 50), simulated(rng, FEW, 50, change, by)]


def _same(seed: int, requests: int, change: str, by: float) -> list[Population]:
    """The same requests without a change and with it: the difference is the change alone."""
    return [simulated(np.random.default_rng(seed), requests, 50, *each) for each in (("", 1.0), (change, by))]


def _compared(sides: list[Population], *, load: bool = False) -> Any:
    before, after = map(by_load, sides) if load else sides
    return compare_populations(before, after, (), ("mean",))


def _truth(rng: np.random.Generator, change: str, by: float) -> float:
    """The difference of the mean that a change makes, from many requests."""
    before, after = _same(int(rng.integers(1 << 40)), max(100_000, 4 * PAIRED.get(change, 0)), change, by)
    return float(after.wall.mean() - before.wall.mean())


def _hit(rng: np.random.Generator, change: str, by: float, truth: float, *, load: bool) -> list[bool]:
    row = _row(_compared(_sides(rng, change, by), load=load), change)
    told = row.low_ns is not None and not row.low_ns <= 0 <= row.high_ns
    same = _same(int(rng.integers(1 << 40)), PAIRED.get(change, FEW), change, by)
    paired = _compared(same, load=load)
    share = _row(paired, change).delta_ns / paired.mean.delta_ns if paired.mean.delta_ns else 0.0
    return [share >= 0.95, (row.delta_ns > 0) == (truth > 0), told]


def false_fails(rng: np.random.Generator, pairs: int) -> float:
    """How often one of two budgets fails that allow no rise at all, where there is none: per pair and budget."""
    limit = Limit(0.0, relative=True, most=True, text="+0%")
    budgets = [Budget("b", metric_of(metric), (limit,)) for metric in ("delta.mean", "delta.p99")]
    failed = 0
    for _ in range(pairs):
        sides = [simulated(rng, 3000, 50) for _ in range(2)]
        failed += sum(_measured(budget, sides).verdict == "fail" for budget in budgets)
    return failed / (pairs * len(budgets))


# ── Speed ─────────────────────────────────────────────────────────────────────────────────────────


def compare_seconds(rng: np.random.Generator, requests: int) -> float:
    """CPU time of a comparison of so many requests of ten parts, half of them on each side: mean, p50 and p99."""
    sides = [simulated(rng, requests // 2, 50) for _ in range(2)]
    compare_populations(*(simulated(rng, 1000, 50) for _ in range(2)), ("verb", "resource"))
    began = time.process_time()
    compare_populations(*sides, ("verb", "resource"))
    return time.process_time() - began


def what_if_seconds(requests: int) -> float:
    """CPU time of a projection of a million requests by verb and resource, from so many: it grows with their number."""
    attribution = k8strace.attribute(k8strace.join(k8strace.decode(copies(requests))))
    began = time.process_time()
    attribution.what_if(Change.faster("etcd", 2)).by("verb", "resource")
    return (time.process_time() - began) * 1_000_000 / len(attribution.requests)


def copies(requests: int) -> Iterator[bytes]:
    """A recording that comes along, again and again with other trace ids and later, until there are so many."""
    messages = [ExportTraceServiceRequest.FromString(each) for each in baseline.load(CAPTURE)]
    spans = [
        span
        for message in messages
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    for copy in range(-(-requests // CAPTURED)):
        for span in spans:
            span.trace_id = copy.to_bytes(2, "big") + span.trace_id[2:]
            span.start_time_unix_nano += LATER_NS
            span.end_time_unix_nano += LATER_NS
            for event in span.events:
                event.time_unix_nano += LATER_NS
            for link in span.links:
                link.trace_id = copy.to_bytes(2, "big") + link.trace_id[2:]
        yield from (message.SerializeToString() for message in messages)


# ── The table ─────────────────────────────────────────────────────────────────────────────────────


class Figure(NamedTuple):
    """One row: what is promised, and what was measured."""

    what: str
    goal: str
    measured: str
    met: bool


class Size(NamedTuple):
    """How much is tried."""

    cases: int = 100_000
    pairs: int = 1000
    runs: int = 500
    programs: int = 1000
    budgets: int = 1000
    compared: int = 1_000_000
    projected: int = 100_000
    errors: int = 300
    """Pairs that tell a standard error."""

    def times(self, scale: float) -> Size:
        """So much of it."""
        return Size(*(max(10, round(each * scale)) for each in self))


SMALL: Final = Size(200, 60, 10, 60, 20, 40_000, 3000, 30)
"""For CI: what is far off shows."""

LOADS: Final = {
    "memory of 50 requests": (5000, 50.0, (1, 0.0)),
    "memory of 500 requests": (50_000, 500.0, (1, 0.0)),
    "three instances, half of the load their own": (5000, 50.0, (3, 0.5)),
    "three instances, each with its own load": (5000, 50.0, (3, 0.0)),
}

Figures = Iterator[Figure]
Step = Callable[[np.random.Generator, Size], Figures]


def _laws(_: np.random.Generator, size: Size) -> Figures:
    broken = len(properties.failures(0, size.cases))
    laws = f"sums, antisymmetry, refinement, A = A is 0: {size.cases:,} cases"
    yield Figure(laws, "0 failures", f"{broken} failures", not broken)


def _false_alarms(load: str, rng: np.random.Generator, size: Size) -> Figures:
    requests, memory, instances = LOADS[load]
    shares = alarms(rng, requests, memory, size.pairs, p_values, instances)
    apart = max(0.015, 3 * (0.05 * 0.95 / size.pairs) ** 0.5)  # what a small run cannot tell from 5 %
    for of, share in zip(("mean", "p99"), shares, strict=True):
        what = f"false alarms, {load}, {of}: {size.pairs:,} pairs"
        yield Figure(what, "5 ± 1.5 %", f"{share:.1%}", abs(share - 0.05) <= apart)


def _injected(change: str, rng: np.random.Generator, size: Size) -> Figures:
    by, share, sign, told = found(rng, change, size.runs, 2.8, pairs=size.errors)
    what = f"{change} × {by:.3f}, 2.8 standard errors: {size.runs:,} runs"
    yield Figure(f"{what}: row has ≥ 95 % of it", "99 %", f"{share:.1%}", share >= 0.99)
    yield Figure(f"{what}: right sign", "99 %", f"{sign:.1%}", sign >= 0.99 - 1 / size.runs)
    least = 0.7 - 3 * (0.2 / size.runs) ** 0.5
    yield Figure(f"{what}: told apart", "75 % can be", f"{told:.1%}", told >= least)


def _programs(kind: str, _: np.random.Generator, size: Size) -> Figures:
    for row in whatif.simulated(kind, size.programs):
        what = f"what if, {row.programs:,} programs ({row.kind}), {row.component} × {row.factor}"
        crisp = f" (CRISP {row.crisp_error:.1%})"
        yield Figure(
            f"{what}: error at p95", f"≤ {row.goal:.0%}", f"{row.error:.0e}{crisp}", row.error <= row.goal
        )
        least = 0.95 if size.programs >= 1000 else 0.9
        yield Figure(f"{what}: truth within bounds", "≥ 95 %", f"{row.inside:.1%}", row.inside >= least)


def _recordings(_: np.random.Generator, __: Size) -> Figures:
    for way in (*whatif.WAYS, "without webhooks") if PAIRS.is_dir() else ():
        cases = whatif.unchanged(PAIRS) if way == "without webhooks" else whatif.judged(PAIRS, way)
        inside = sum(each[0] for each in cases) / len(cases)
        what = f"what if, recordings of one load, {way}: {len(cases)} cases within the interval"
        yield Figure(what, "≥ 93 %", f"{inside:.1%}", inside >= 0.93)


def _budgets(rng: np.random.Generator, size: Size) -> Figures:
    fails = false_fails(rng, size.budgets)
    what = f"budgets that allow no rise, equal pairs: {size.budgets:,} pairs"
    chance = 3 * (0.02 * 0.98 / size.budgets) ** 0.5  # what a run of this size cannot tell from 2 %
    yield Figure(what, "≤ 2 % fail", f"{fails:.1%}", fails <= 0.02 + chance)


def _speed(rng: np.random.Generator, size: Size) -> Figures:
    seconds = compare_seconds(rng, size.compared)
    most = 3.0 if size.compared >= 1_000_000 else 1.5
    what = f"compare {size.compared:,} requests × 10 parts, one core"
    yield Figure(what, "3 s a million", f"{seconds:.2f} s", seconds <= most)
    seconds = what_if_seconds(size.projected)
    what = f"what if, a million requests of 12 spans, from {size.projected:,}"
    yield Figure(what, "3 s", f"{seconds:.2f} s", seconds <= (3 if size.projected >= 100_000 else 6))


STEPS: Final[dict[str, Step]] = {
    "laws": _laws,
    **{f"false alarms, {load}": partial(_false_alarms, load) for load in LOADS},
    **{f"injected, {change}": partial(_injected, change) for change in INJECTED},
    **{f"programs, {kind}": partial(_programs, kind) for kind in programs.KINDS},
    "recordings": _recordings,
    "budgets": _budgets,
    "speed": _speed,
}
"""What the table is made of, in its order."""


def measured(step: str, size: Size, seed: int = SEED) -> list[Figure]:
    """The figures of a step, which do not depend on other steps."""
    return [*STEPS[step](np.random.default_rng([seed, *step.encode()]), size)]


def _table(asked: argparse.Namespace) -> int:
    """How many figures miss their goal."""
    size = (SMALL if asked.small else Size()).times(asked.scale)
    known = _known(asked.resume, [asked.seed, *size])
    print("| What | Goal | Measured | |\n|---|---|---|---|")
    missed = 0
    for step in STEPS:
        if asked.only not in step:
            continue
        figures = known.get(step) or measured(step, size, asked.seed)
        if asked.resume and step not in known:
            with asked.resume.open("a") as kept:
                kept.write(json.dumps([step, [asked.seed, *size], figures], default=bool) + "\n")
        for what, goal, value, met in figures:
            print(f"| {what} | {goal} | {value} | {'' if met else 'missed'} |", flush=True)
            missed += not met
    return missed


def _known(path: Path | None, size: list[int]) -> dict[str, list[Figure]]:
    """Steps that a file has, of the same size and seed."""
    lines = path.read_text().splitlines() if path and path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {step: [Figure(*each) for each in figures] for step, of, figures in rows if of == size}


# ── Commands ──────────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints tables in Markdown. 1 if a figure of the table misses its goal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("table", "bootstrap", "alarms", "found", "budgets", "speed"),
        default="table",
    )
    parser.add_argument("--small", action="store_true", help="the table at a size for CI")
    parser.add_argument("--scale", type=float, default=1.0, help="so much of the table's size (default 1)")
    parser.add_argument("--only", default="", metavar="WORDS", help="steps, or changes, whose name has this")
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="keeps what is done, and goes on from there"
    )
    parser.add_argument("--requests", type=int)
    parser.add_argument("--memory", type=float)
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument(
        "--shared", type=float, default=0.0, help="how much of their load is that of all of them"
    )
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args(arguments)
    rng = np.random.default_rng(asked.seed)
    if asked.what == "table":
        return int(_table(asked) > 0)
    if asked.what in ("bootstrap", "alarms"):
        _alarms(asked, rng)
    if asked.what == "found":
        _found(asked, rng)
    if asked.what == "budgets":
        print(f"False fails of budgets that allow no rise: {false_fails(rng, asked.pairs or 200):.1%}")
    if asked.what == "speed":
        requests = asked.requests or 1_000_000
        print(f"compare {requests:,} requests: {compare_seconds(rng, requests):.2f} s of one core")
        print(
            f"what if, a million requests, from {requests // 10:,}: {what_if_seconds(requests // 10):.2f} s"
        )
    return 0


def _alarms(asked: argparse.Namespace, rng: np.random.Generator) -> None:
    both = [(asked.requests or 5000, asked.memory or 50.0), (asked.requests or 50_000, asked.memory or 500.0)]
    tests: dict[str, Callable[..., Any]] = {"blocks (k8strace)": p_values}
    if asked.what != "alarms":
        tests = {"requests one by one (bootstrap)": lambda a, b: bootstrapped(rng, a, b), **tests}
        both = both[:1]
    print("| Resampled | Requests | Memory | Pairs | False alarms, mean | p99 |\n|---|---|---|---|---|---|")
    for name, test in tests.items():
        for requests, memory in both[: 1 if asked.memory else 2]:
            pairs = asked.pairs or (200 if "bootstrap" in name else 1000)
            mean, high = alarms(rng, requests, memory, pairs, test, (asked.instances, asked.shared))
            print(f"| {name} | {requests:,} | {memory:g} | {pairs:,} | {mean:.1%} | {high:.1%} |", flush=True)


def _found(asked: argparse.Namespace, rng: np.random.Generator) -> None:
    ways: dict[str, dict[str, Any]] = {
        "2.8 of equal pairs": {"errors": 2.8, "equal": True},
        "2.8": {"errors": 2.8},
        "3.5": {"errors": 3.5},
        "2.8, cells by load": {"errors": 2.8, "load": True},
    }
    print("| Changed | Standard errors | Factor | Row ≥ 95 % of it | Right sign | Told apart |")
    print("|---|---|---|---|---|---|")
    for way, given in ways.items():
        for change in (each for each in INJECTED if asked.only in each):
            by, *shares = found(rng, change, asked.runs, pairs=asked.pairs or 300, **given)
            told = " | ".join(f"{share:.1%}" for share in shares)
            print(f"| {change} | {way} | {by:.3f} | {told} |", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
