"""
The exact difference of two means: first mix, then within each cell calls × time per call and own time.

    cell z, share π, mean wall w, mean ns μ of a component, calls n per request, ns t per call; ¯ is the mean of both

    mix      Δπ (w̄ - w̄ of all)
    own      π̄ Δμ                       for components that are not called
    calls    π̄ Δn t̄                     for called ones: more calls,
    latency  π̄ n̄ Δt                     or longer calls

With two columns there are two steps: the mix of the first column, then within it the mix of the second. So another
column never changes the results for the columns before it. If only one population has a cell, its means are used for
both, so all of it is mix; if only one has calls, their length is used for both, so all of it is calls.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from k8strace.compare.pairs import Layout, Pair, Sums
from k8strace.statistics.rounding import round_fraction, round_to_sum
from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Floats

__all__ = ["MIX", "calls_of", "decompose", "inner_labels", "labels", "rounded", "total"]

MIX: Final = "mix"
"""The part of a difference that comes from other requests, not from the same ones taking longer."""

Label = tuple[tuple[Any, ...], str]
"""Path and part of a row."""


def calls_of(component: str) -> str:
    """
    The part that is the number of calls.

    Examples:
        >>> calls_of("etcd")
        'etcd calls'
    """
    return f"{component} calls"


def labels(layout: Layout) -> list[list[Label]]:
    """
    The rows of every level, in order.

    Levels 0 to the number of columns have mix and components for each prefix of a cell's key. One more level has calls
    and phases for each cell and component.
    """
    levels = [
        [(prefix, part) for prefix in layout.prefixes(level) for part in (MIX, *layout.components)]
        for level in range(layout.depth + 1)
    ]
    inner = [((*key, component), part) for key in layout.keys for component, part in inner_labels(layout)]
    return [*levels, inner]


def inner_labels(layout: Layout) -> list[tuple[str, str]]:
    """(component, part) of the innermost rows of a cell, component by component."""
    rows = [(MIX, MIX)]
    for component in layout.components:
        if component in layout.called:
            rows.append((component, calls_of(component)))
        rows += [
            (component, p)
            for p, at in zip(layout.phases, layout.component_of_phase, strict=True)
            if layout.components[at] == component
        ]
    return rows


def total(pair: Pair) -> int:
    """The difference of the mean wall times, in whole ns."""
    before, after = (
        Fraction(int(side.population.wall.sum()), len(side.population)) for side in (pair.before, pair.after)
    )
    return round_fraction(after - before)


def decompose(layout: Layout, before: Sums, after: Sums) -> list[Floats]:
    """For each level the numbers of its rows, in the order of `labels`."""
    np = require("numpy", "analysis")
    both = (before, after)
    share = np.ones(1)
    mix = np.zeros(1)
    levels = []
    above: Any = None
    for level in range(layout.depth + 1):
        first = layout.first(level)
        sums = [(np.add.reduceat(each.requests, first), np.add.reduceat(each.ns, first, 0)) for each in both]
        means = _borrowed([_over(ns, count[:, None]) for count, ns in sums])
        wall = (means[0].sum(1) + means[1].sum(1)) / 2
        if level:
            up = layout.above(level)
            shares = [_over(count, outer[up]) for (count, _), (outer, _) in zip(sums, above[0], strict=True)]
            shares = _borrowed(shares)
            mean = (shares[0] + shares[1]) / 2
            moved = (shares[1] - shares[0]) * (wall - above[1][up])
            mix = mix[up] * mean + share[up] * moved
            share = share[up] * mean
        within = share[:, None] * (means[1] - means[0])
        levels.append(np.column_stack([mix, _components(layout, within)]).ravel())
        above = (sums, wall)
    levels.append(_innermost(layout, both, mix, share, within))
    return levels


def _over(values: Any, counts: Any) -> Any:
    """Quotients; NaN if the divisor is 0."""
    np = require("numpy", "analysis")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts > 0, values / counts, np.nan)


def _borrowed(pair: list[Any]) -> list[Any]:
    """Replaces NaN by the other population's value; 0 if both are NaN."""
    np = require("numpy", "analysis")
    before, after = pair
    unknown = np.isnan(before), np.isnan(after)
    if not (unknown[0].any() or unknown[1].any()):
        return [before, after]
    neither = unknown[0] & unknown[1]
    known = np.where(unknown[0], after, before), np.where(unknown[1], before, after)
    return [np.where(neither, 0.0, each) for each in known]


def _components(layout: Layout, by_phase: Any) -> Any:
    np = require("numpy", "analysis")
    summed = np.zeros((len(by_phase), len(layout.components)))
    for phase, component in enumerate(layout.component_of_phase):
        summed[:, component] += by_phase[:, phase]
    return summed


def _innermost(layout: Layout, both: tuple[Sums, Sums], mix: Any, share: Any, within: Any) -> Any:
    """Mix, then calls and phases of each component."""
    np = require("numpy", "analysis")
    columns = [mix]
    for at, component in enumerate(layout.components):
        phases = [phase for phase, of in enumerate(layout.component_of_phase) if of == at]
        own = within[:, phases]
        if component in layout.called:
            calls, longer = _calls(both, layout.called.index(component), phases, share)
            counted = ~np.isnan(calls)
            columns.append(np.where(counted, calls, 0.0))
            own = np.where(counted[:, None], longer, own)
        columns += list(own.T)
    return np.column_stack(columns).ravel()


def _calls(both: tuple[Sums, Sums], at: int, phases: list[int], share: Any) -> tuple[Any, Any]:
    """
    For each cell the part of more calls, for each phase the part of longer ones; NaN if there is time without a call.

    That happens if calls cannot be separated from the time before them: it stays own time.
    """
    np = require("numpy", "analysis")
    counts = [each.calls[:, at] for each in both]
    per_request = _borrowed([_over(count, each.requests) for count, each in zip(counts, both, strict=True)])
    times = [each.ns[:, phases] for each in both]
    uncalled = [(ns.sum(1) > 0) & (count <= 0) for ns, count in zip(times, counts, strict=True)]
    length = _borrowed([_over(ns, count[:, None]) for ns, count in zip(times, counts, strict=True)])
    calls = share * (per_request[1] - per_request[0]) * (length[0].sum(1) + length[1].sum(1)) / 2
    longer = (share * (per_request[0] + per_request[1]) / 2)[:, None] * (length[1] - length[0])
    return np.where(uncalled[0] | uncalled[1], np.nan, calls), longer


def rounded(layout: Layout, levels: list[Any], whole: int) -> list[list[int]]:
    """The same in whole ns: every level sums to `whole`, and the rows within a row sum to that row."""
    sums = {(): whole}
    result: list[list[int]] = []
    for level in range(layout.depth + 1):
        width = 1 + len(layout.components)
        rows = levels[level].reshape(-1, width)
        prefixes = layout.prefixes(level)
        if level:
            sums = _split(sums, prefixes, rows.sum(1))
        result.append(
            [
                ns
                for prefix, row in zip(prefixes, rows, strict=True)
                for ns in round_to_sum(row.tolist(), sums[prefix])
            ]
        )
    result.append(_split_inner(layout, result[-1], levels[-1]))
    return result


def _split(sums: dict[Any, int], prefixes: list[Any], values: Any) -> dict[Any, int]:
    """Sums for longer prefixes, which add up to those of the shorter ones."""
    below: dict[Any, list[int]] = {}
    for at, prefix in enumerate(prefixes):
        below.setdefault(prefix[:-1], []).append(at)
    found = {}
    for prefix, places in below.items():
        for at, ns in zip(places, round_to_sum([values[at] for at in places], sums[prefix]), strict=True):
            found[prefixes[at]] = ns
    return found


def _split_inner(layout: Layout, outer: list[int], inner: Any) -> list[int]:
    rows = [component for component, _ in inner_labels(layout)]
    parts = (MIX, *layout.components)
    result: list[int] = []
    for cell, values in enumerate(inner.reshape(-1, len(rows)).tolist()):
        for at, part in enumerate(parts):
            own = [value for value, component in zip(values, rows, strict=True) if component == part]
            result += round_to_sum(own, outer[cell * len(parts) + at])
    return result
