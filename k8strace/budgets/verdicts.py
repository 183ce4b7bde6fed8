"""Verdicts of budgets: pass, fail, or cannot tell, with the largest part and an example."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf
from typing import Any, Final, Literal, TypeAlias

from k8strace.attribution import Attribution, attribute
from k8strace.budgets.metrics import FINDINGS, Metric, Value, numerator_of, value_of
from k8strace.budgets.reading import Budget, Limit
from k8strace.components import component_of
from k8strace.exceptions import BudgetsError, expect, expect_several
from k8strace.findings import DETECTORS
from k8strace.requests import Requests
from k8strace.statistics.composition import compositions
from k8strace.statistics.errors import Errors
from k8strace.statistics.population import Population, population_of
from k8strace.tables import require
from k8strace.words import duration, number

__all__ = ["BROKEN", "CANNOT_TELL", "KEPT", "Checked", "Verdict", "check", "worst_of"]

Verdict: TypeAlias = Literal["pass", "fail", "cannot tell"]

KEPT: Final[Verdict] = "pass"
BROKEN: Final[Verdict] = "fail"
CANNOT_TELL: Final[Verdict] = "cannot tell"

FAIL_LEVEL: Final = 0.01
"""Probability that a kept budget fails, at most."""

PASS_LEVEL: Final = 0.05
"""Probability that a broken budget passes, at most."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of one budget."""

    budget: Budget
    verdict: Verdict
    detail: str
    """A sentence with the value and the limit."""
    requests: int = 0
    """The number of requests it was measured on."""
    value: float | None = None
    """ns, a share or a number; for `delta.…` the change. None if there is nothing to measure."""
    low: float | None = None
    """The true value is above `low` in 99 of 100 cases; None for a count, and with too few blocks."""
    high: float | None = None
    """The true value is below `high` in 95 of 100 cases; None as for `low`."""
    part: str | None = None
    """The largest part of it; for a change, the part that changed most."""
    example_trace_id: str | None = None
    """A request that shows it."""

    def record(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return {
            "name": self.budget.name,
            "metric": self.budget.metric.name,
            "where": self.budget.where,
            "limits": [str(limit) for limit in self.budget.limits],
            **{
                name: getattr(self, name)
                for name in (
                    "verdict",
                    "value",
                    "low",
                    "high",
                    "requests",
                    "part",
                    "example_trace_id",
                    "detail",
                )
            },
        }


def worst_of(checked: Iterable[Checked]) -> Verdict:
    """Fail if one fails; else cannot tell if one cannot tell; else pass."""
    verdicts = {each.verdict for each in checked}
    return next((verdict for verdict in (BROKEN, CANNOT_TELL) if verdict in verdicts), KEPT)


def check(
    requests: Requests | Attribution,
    budgets: Iterable[Budget],
    baseline: Requests | Attribution | None = None,
) -> list[Checked]:
    """
    Measures budgets.

    A budget fails if its limit is broken with 99 % confidence, passes if it is kept with 95 % confidence, and otherwise
    is "cannot tell". Needs the extra `k8strace[analysis]`.

    Args:
        requests: The requests to measure.
        budgets: From `read_budgets`.
        baseline: The requests that `delta.…` compares with.

    Raises:
        BudgetsError: A budget is about a change and there is no baseline, or it names an unknown column, part or code
            of findings.
        MissingExtraError: numpy or scipy is not installed.
        TypeError: These are no requests, or no budgets.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> budgets = k8strace.read_budgets("tests/data/budgets.toml")
        >>> [(each.budget.name, each.verdict) for each in k8strace.check(requests, budgets)]
        [('creates of pods', 'pass'), ('a get is one call at most', 'pass')]
    """
    expect(requests, Requests | Attribution, "requests or an attribution of them")
    expect(baseline, Requests | Attribution | None, "requests or an attribution of them as the baseline")
    expect_several(budgets, "budgets, as read_budgets gives them", Iterable)
    budgets = list(budgets)
    for each in budgets:
        expect(each, Budget, "a budget, as read_budgets gives it")
    now = requests if isinstance(requests, Attribution) else attribute(requests)
    before = baseline if baseline is None or isinstance(baseline, Attribution) else attribute(baseline)
    return [_checked(budget, now, before) for budget in budgets]


def _checked(budget: Budget, now: Attribution, before: Attribution | None) -> Checked:
    if budget.metric.delta and before is None:
        raise BudgetsError(f"{budget.name}: a change needs a baseline")
    sides = [now] if not budget.metric.delta or before is None else [now, before]
    _is_there(budget, sides)
    chosen = [_chosen(budget, side) for side in sides]
    if budget.metric.unit == "count":
        return _counted(budget, [requests for requests, _ in chosen])
    populations = [population for _, population in chosen]
    empty = [name for name, each in zip(("", " in the baseline"), populations, strict=False) if not len(each)]
    if empty:
        return Checked(budget, CANNOT_TELL, f"there are no requests {budget.where}{empty[0]}")
    return _measured(budget, populations)


def _is_there(budget: Budget, sides: list[Attribution]) -> None:
    """Raises BudgetsError for a name that nothing can have: a typo must not pass."""
    name = budget.metric.of
    if name is None:
        return
    if budget.metric.base == FINDINGS:
        known, what = {detector.__name__ for detector in DETECTORS}, "a code of findings"
    else:
        known, what = set().union(*map(_parts, sides)), "a component or a phase"
    if name not in known:
        near = get_close_matches(name, known, 3) or sorted(each for each in known if "." not in each)
        raise BudgetsError(f"{budget.name}: expected {what} such as {', '.join(near)}, got {name!r}")


def _parts(side: Attribution) -> set[str]:
    """Components and phases that the rules name, or that requests have."""
    phases = {*side.requests.taxonomy.phases, *side.requests._joined.phase_table.names}
    return phases | {component_of(phase) for phase in phases}


def _chosen(budget: Budget, side: Attribution) -> tuple[Requests, Population]:
    try:
        requests = side.requests.where(*budget.conditions, **dict(budget.wanted))
    except (KeyError, ValueError) as error:
        raise BudgetsError(f"{budget.name}: {error.args[0]}") from error
    return requests, population_of(requests, side._core, ())


# ── Counts ────────────────────────────────────────────────────────────────────────────────────────


def _counted(budget: Budget, sides: list[Requests]) -> Checked:
    """Checks a count of requests or findings, which has no error."""
    found = [_count(budget.metric, requests) for requests in sides]
    value = found[0][0] - (found[1][0] if len(found) > 1 else 0)
    limits = [(limit, _relative_count(limit, found)) for limit in budget.limits]
    broken = [limit for limit, most in limits if (value > most if limit.most else value < most)]
    verdict = BROKEN if broken else KEPT
    detail = f"{budget.metric.name} is {value:,}, {_said(broken or budget.limits)}"
    _, part, example = found[0]
    return Checked(budget, verdict, detail, len(sides[0]), value, part=part, example_trace_id=example)


def _relative_count(limit: Limit, found: list[Any]) -> float:
    return limit.value * found[1][0] if limit.relative else limit.value


def _count(metric: Metric, requests: Requests) -> tuple[int, str | None, str | None]:
    """The count, and of the first finding the code and the example."""
    if metric.base != FINDINGS:
        return len(requests), None, next((request.trace_id for request in requests[:1]), None)
    found = [row for row in requests.findings() if metric.of in (None, row["code"])]
    first = found[0] if found else {}
    return len(found), first.get("code"), first.get("example_trace_id")


# ── Measurements ──────────────────────────────────────────────────────────────────────────────────


def _measured(budget: Budget, sides: list[Population]) -> Checked:
    metric = budget.metric
    values = [value_of(metric, side) for side in sides]
    change = values[0].number - (values[1].number if len(values) > 1 else 0.0)
    tests = [_test(limit, values) for limit in budget.limits]
    verdicts = [verdict for verdict, _ in tests]
    verdict = worst(verdicts)
    low, high = _bounds(values)
    at = next(at for at, each in enumerate(verdicts) if each == verdict)
    part, example = _shown(metric, sides)
    detail = f"{_sentence(metric, values, change)}, {_said([budget.limits[at]] if verdict != KEPT else budget.limits)}"
    if verdict == CANNOT_TELL:
        detail += f": {tests[at][1]}"
    return Checked(budget, verdict, detail, len(sides[0]), change, low, high, part, example)


def worst(verdicts: list[Verdict]) -> Verdict:
    """The worst verdict of several limits."""
    return next((verdict for verdict in (BROKEN, CANNOT_TELL) if verdict in verdicts), KEPT)


def _test(limit: Limit, values: list[Value]) -> tuple[Verdict, str]:
    """Tests whether the value is above its limit, or below it."""
    factor = 1 + limit.value if limit.relative else 1.0
    fixed = 0.0 if limit.relative else limit.value
    sign = 1 if limit.most else -1
    errors = _errors(values, factor)
    over = sign * (float(errors.values[0]) - fixed)
    if not errors.enough:
        return CANNOT_TELL, "not enough time to tell, fewer than eight blocks"
    if over > float(errors.half_width(2 * FAIL_LEVEL)[0]):
        return BROKEN, ""
    if over + float(errors.half_width(2 * PASS_LEVEL)[0]) <= 0:
        return KEPT, ""
    return CANNOT_TELL, "chance alone could make that difference"


def _errors(values: list[Value], factor: float = 1.0) -> Errors:
    """Errors of the value, or of the value minus `factor` times the one before."""
    np = require("numpy", "analysis")
    weights = (1.0, -factor)[: len(values)]
    whole = sum(weight * each.number for weight, each in zip(weights, values, strict=True))
    left = tuple(weight * each.left_out[:, None] for weight, each in zip(weights, values, strict=True))
    return Errors(np.array([whole]), left, tuple(each.blocks for each in values))


def _bounds(values: list[Value]) -> tuple[float | None, float | None]:
    errors = _errors(values)
    if not errors.enough:
        return None, None
    value = float(errors.values[0])
    least = 0.0 if len(values) == 1 else -inf
    return (
        max(value - float(errors.half_width(2 * FAIL_LEVEL)[0]), least),
        value + float(errors.half_width(2 * PASS_LEVEL)[0]),
    )


def _shown(metric: Metric, sides: list[Population]) -> tuple[str | None, str | None]:
    """The largest part of the metric, or the one that changed most, and the trace of an example."""
    np = require("numpy", "analysis")
    now = sides[0]
    if metric.q is not None:
        parts = [compositions(side, metric.q, ()).groups[0].components for side in sides]
        at = int(abs(now.wall - value_of(metric, now).number).argmin())
    else:
        own = [side.parts[:, _columns(side, metric)].mean(0) for side in sides]
        names = [[side.phases[at] for at in _columns(side, metric)] for side in sides]
        parts = [dict(zip(of, ns.tolist(), strict=True)) for of, ns in zip(names, own, strict=True)]
        at = int(np.asarray(numerator_of(metric)(now)).argmax())
    change = {
        name: parts[0].get(name, 0) - parts[-1].get(name, 0) * (len(parts) > 1)
        for part in parts
        for name in part
    }
    part = max(change, key=lambda name: change[name], default=None)
    request = now.requests[at] if now.requests is not None else None
    return part, request.trace_id if request else None


def _columns(side: Population, metric: Metric) -> list[int]:
    """The phases that a metric is about; for a count of calls, all phases of the called component."""
    about = metric.of or metric.base.removesuffix("_calls")
    own = [at for at, phase in enumerate(side.phases) if about in (phase, component_of(phase))]
    return own or list(range(len(side.phases)))


# ── Words ─────────────────────────────────────────────────────────────────────────────────────────


def _sentence(metric: Metric, values: list[Value], change: float) -> str:
    if len(values) == 1:
        return f"{metric.name} is {_shown_as(metric, values[0].number)}"
    before, after = values[1].number, values[0].number
    moved = "rose" if change > 0 else "fell" if change < 0 else "did not change"
    by = f" by {_shown_as(metric, abs(change))}" if change else ""
    share = f" ({100 * change / before:+.1f} %)" if before and change else ""
    return f"{metric.name.partition('.')[2]} {moved}{by}{share}, to {_shown_as(metric, after)}"


def _shown_as(metric: Metric, value: float) -> str:
    if metric.unit == "ns":
        return duration(round(value))
    return f"{100 * value:.1f} %" if metric.unit == "share" else number(value)


def _said(limits: Iterable[Limit]) -> str:
    return "allowed " + (" and ".join(map(str, limits)))
