"""
`compare`: what differs between two populations, in parts that sum to the difference, with errors.

    mean       Δ = mix + Σ over cells (own + calls + latency)           see `mean`
    quantile   Δ = mix + Σ over components + dependence                  see `quantile`

Errors come from leaving out whole blocks of time, see `k8strace.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Final

from k8strace.attribution import Attribution, attribute
from k8strace.compare import mean, quantile
from k8strace.compare.pairs import Layout, Pair
from k8strace.compare.result import Comparison, Difference, DifferenceRow, expect_statistic, name_of
from k8strace.exceptions import expect, expect_several
from k8strace.requests import Requests
from k8strace.statistics.blocks import LEAST_BLOCKS
from k8strace.statistics.errors import (
    LEVEL,
    NOT_ENOUGH,
    Errors,
    band_ns,
    false_discoveries,
    verdict_of,
)
from k8strace.statistics.population import Population, population_of
from k8strace.statistics.quantiles import quantile as quantile_of
from k8strace.statistics.quantiles import quantiles_without
from k8strace.statistics.rounding import round_fraction, round_to_sum
from k8strace.tables import require

__all__ = ["Comparison", "Difference", "DifferenceRow", "compare_populations", "compared"]

SAMPLE: Final = 16_384
"""Requests of each population for the errors of a quantile's parts, at most; of more, an even sample."""


def compared(
    a: Attribution | Requests,
    b: Attribution | Requests,
    by: Sequence[str] = ("verb", "resource"),
    at: Sequence[str | float] = ("mean", 0.5, 0.99),
) -> Comparison:
    """See `k8strace.compare`."""
    before, after = (_population(each, by) for each in (a, b))
    return compare_populations(before, after, by, at)


def _population(side: Attribution | Requests, by: Sequence[str]) -> Population:
    expect(side, Requests | Attribution, "requests or an attribution of them")
    attribution = attribute(side) if isinstance(side, Requests) else side
    if attribution.method == "self_time":
        raise ValueError("self times do not sum to the wall time: compare critical_path or active_share")
    return population_of(attribution.requests, attribution._core, by)


def compare_populations(
    before: Population,
    after: Population,
    by: Sequence[str] = (),
    at: Sequence[str | float] = ("mean", 0.5, 0.99),
) -> Comparison:
    """
    The same for populations as arrays, such as simulated ones.

    Args:
        before: Its `keys` are by these columns.
        after: Likewise.
        by: The columns.
        at: As for `compare`.

    Raises:
        TypeError: `at` is a single statistic instead of several.
        ValueError: No requests, or an unknown statistic.
    """
    expect_several(at, '"mean" and quantiles, such as ("mean", 0.99)')
    for each in at:
        expect_statistic(each)
    for side, name in ((before, "before"), (after, "after")):
        if not len(side):
            raise ValueError(f"expected requests to compare, got none {name}")
    pair = Pair.of(before, after)
    quantiles = tuple(float(each) for each in at if each != "mean")
    made = {difference.at: difference for difference in _quantiles(pair, tuple(by), quantiles)}
    if "mean" in at:
        made["mean"] = _mean(pair)
    return Comparison(
        tuple(by),
        (len(before), len(after)),
        (before.blocks.times, after.blocks.times),
        tuple(made[each if each == "mean" else float(each)] for each in at),
        pair,
    )


# ── Mean ──────────────────────────────────────────────────────────────────────────────────────────


def _mean(pair: Pair) -> Difference:
    np = require("numpy", "analysis")
    layout = pair.layout
    whole = mean.total(pair)
    labels = [label for level in mean.labels(layout) for label in level]
    groups = _summary_groups(layout)

    def numbers(before: Any, after: Any) -> Any:
        levels = mean.decompose(layout, before, after)
        inner = levels[-1].reshape(len(layout.keys), -1).sum(0)
        summary = [inner[places].sum() for places in groups.values()]
        return np.concatenate([[levels[0].sum()], summary, *levels])

    a, b = pair.before, pair.after
    errors = Errors(
        numbers(a.all, b.all),
        (
            np.array([numbers(a.all.minus(block), b.all) for block in a.by_block]),
            np.array([numbers(a.all, b.all.minus(block)) for block in b.by_block]),
        ),
        pair.blocks,
    )
    levels = mean.decompose(layout, a.all, b.all)
    whole_rows = mean.rounded(layout, levels, whole)
    inner = np.array(whole_rows[-1], dtype=object).reshape(len(layout.keys), -1).sum(0)
    summary = [int(sum(inner[places])) for places in groups.values()]
    walls = [side.population.wall for side in pair]
    means = [round_fraction(Fraction(int(wall.sum()), len(wall))) for wall in walls]
    return _difference(
        "mean",
        (means[0], means[0] + whole),
        whole,
        errors,
        [((), part) for part in groups],
        summary,
        labels,
        [ns for level in whole_rows for ns in level],
    )


def _summary_groups(layout: Layout) -> dict[str, list[int]]:
    """Part of the summary → its indices among the innermost rows of a cell."""
    groups: dict[str, list[int]] = {}
    for at, (component, part) in enumerate(mean.inner_labels(layout)):
        groups.setdefault(part if part == mean.calls_of(component) else component, []).append(at)
    return groups


# ── Quantiles ─────────────────────────────────────────────────────────────────────────────────────


def _quantiles(pair: Pair, by: tuple[str, ...], at: tuple[float, ...]) -> list[Difference]:
    if not at:
        return []
    np = require("numpy", "analysis")
    cells = len(pair.layout.keys)
    values = quantile.decompose(*quantile.ranked(pair), cells, at)
    whole, sides = _quantiles_left_out(pair, at)
    parts = [(by, part) for part in (mean.MIX, *pair.layout.components, quantile.DEPENDENCE)]
    found = []
    for place, q in enumerate(at):
        delta = quantile.total(pair, q)
        rounded = round_to_sum(values[place].tolist(), delta)
        signed = (-whole[0][:, place, None], whole[1][:, place, None])
        errors = Errors(
            np.concatenate([[delta], values[place]]),
            tuple(np.hstack([one, many[:, place]]) for one, many in zip(signed, sides, strict=True)),
            pair.blocks,
        )
        ends = tuple(quantile_of(side.population.wall, q) for side in pair)
        found.append(_difference(q, ends, delta, errors, parts, rounded, [], []))
    return found


def _quantiles_left_out(pair: Pair, at: tuple[float, ...]) -> tuple[list[Any], list[Any]]:
    """For each population, leaving out one block at a time: its quantiles, and the parts of the differences."""
    np = require("numpy", "analysis")
    cells, blocks = len(pair.layout.keys), [len(each) for each in pair.blocks]
    if min(each.times for each in pair.blocks) < LEAST_BLOCKS:
        width = len(pair.layout.components) + 2
        return [np.zeros((count, len(at))) for count in blocks], [
            np.zeros((count, len(at), width)) for count in blocks
        ]
    few = quantile.ranked(pair, SAMPLE)
    parts = [
        np.array([quantile.decompose(*_without(few, side, block), cells, at) for block in range(count)])
        for side, count in enumerate(blocks)
    ]
    populations = [side.population for side in pair]
    return [quantiles_without(each.wall, each.blocks.of, len(each.blocks), at) for each in populations], parts


def _without(both: tuple[Any, Any], side: int, block: int) -> tuple[Any, Any]:
    before, after = both
    return (before.without(block), after) if side == 0 else (before, after.without(block))


# ── Both ──────────────────────────────────────────────────────────────────────────────────────────


def _difference(
    at: str | float,
    ends: Sequence[int],
    delta: int,
    errors: Errors,
    summary: list[Any],
    summary_ns: list[int],
    labels: list[Any],
    ns: list[int],
) -> Difference:
    """`errors` has the numbers of the total, of the summary and of the rows, in this order."""
    band = band_ns(*ends)
    of_summary = slice(1, 1 + len(summary))
    of_rows = slice(1 + len(summary), None)
    (whole,) = _rows([((), "all")], [delta], errors.some(slice(0, 1)), band, None)
    short = _moving(_rows(summary, summary_ns, errors.some(of_summary), band, Errors.together))
    rows = _moving(_rows(labels, ns, errors.some(of_rows), band, _by_rows)) if labels else short
    seen = round(float(errors.smallest_seen()[0])) if errors.enough else None
    return Difference(
        name_of(at),
        at,
        ends[0],
        ends[1],
        delta,
        whole.low_ns,
        whole.high_ns,
        whole.verdict,
        seen,
        short,
        rows,
    )


def _by_rows(errors: Errors) -> Any:
    return false_discoveries(errors.p)


def _rows(
    labels: list[Any], ns: list[int], errors: Errors, band: float, adjust: Any
) -> tuple[DifferenceRow, ...]:
    """Rows with their intervals and verdicts."""
    if not errors.enough:
        return tuple(
            DifferenceRow(path, part, value, None, None, NOT_ENOUGH, None)
            for (path, part), value in zip(labels, ns, strict=True)
        )
    p = errors.p if adjust is None else adjust(errors)
    wide, narrow = errors.half_width(LEVEL), errors.half_width(2 * LEVEL)
    return tuple(
        DifferenceRow(
            path,
            part,
            value,
            round(value - wide[at]),
            round(value + wide[at]),
            verdict_of(value, p[at], narrow[at], band),
            float(p[at]),
        )
        for at, ((path, part), value) in enumerate(zip(labels, ns, strict=True))
    )


def _moving(rows: Iterable[DifferenceRow]) -> tuple[DifferenceRow, ...]:
    """Without those that are 0 in every block."""
    return tuple(row for row in rows if row.delta_ns or row.low_ns is None or row.low_ns or row.high_ns)
