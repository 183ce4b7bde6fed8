"""Metrics of budgets, each with its value and its values without one block of time at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from k8strace.components import component_of
from k8strace.statistics.blocks import Blocks
from k8strace.statistics.population import Population
from k8strace.statistics.quantiles import quantile, quantiles_without
from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Floats, Ints

__all__ = ["DELTA", "FINDINGS", "NUMBERS", "Metric", "Unit", "Value", "metric_of", "numerator_of", "value_of"]

Unit: TypeAlias = Literal["ns", "share", "number", "count"]
"""The unit of a metric: ns, a share of the wall time or of the requests, a number per request, or a count."""

DELTA: Final = "delta"
"""`delta.METRIC`: the metric minus its value in the baseline."""

FINDINGS: Final = "findings"

Numerator: TypeAlias = Callable[[Population], Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of requests."""

    name: str
    """Its name as written."""
    unit: Unit
    base: str
    """Its kind: the name without `delta.` and without the argument after the next dot."""
    of: str | None = None
    """The argument: a component, a phase, a code of findings."""
    q: float | None = None
    """The quantile, if it is one."""
    delta: bool = False
    """Whether it is the change against the baseline."""


def _errors(population: Population) -> Any:
    np = require("numpy", "analysis")
    requests = population.requests
    codes = requests.column("http_status") if requests is not None else [None] * len(population)
    return np.array([code is not None and code >= 500 for code in codes], np.int64)


def _calls(component: str) -> Numerator:
    def counted(population: Population) -> Any:
        np = require("numpy", "analysis")
        known = component in population.called
        return population.calls[:, population.called.index(component)] if known else np.zeros(len(population))

    return counted


NUMBERS: Final[Mapping[str, tuple[Unit, Numerator]]] = {
    "etcd_calls": ("number", _calls("etcd")),
    "webhook_calls": ("number", _calls("webhook")),
    "error_rate": ("share", _errors),
}
"""Metrics that are a mean count per request."""

_QUANTILE: Final = re.compile(r"p([0-9]{1,2}(?:\.[0-9]+)?|100)")


def metric_of(text: Any) -> Metric:
    """
    Reads the name of a metric.

    Raises:
        ValueError: There is no such metric; the message has the names.

    Examples:
        >>> metric_of("delta.p99").delta, metric_of("p99.9").q, metric_of("share.etcd").unit
        (True, 0.999, 'share')
    """
    name = str(text)
    delta = name.startswith(f"{DELTA}.")
    plain = name.removeprefix(f"{DELTA}.")
    base, _, of = plain.partition(".")
    found = _QUANTILE.fullmatch(plain)
    if found:
        return Metric(name, "ns", plain, q=_share(found[1]), delta=delta)
    if plain in NUMBERS:
        return Metric(name, NUMBERS[plain][0], plain, delta=delta)
    if plain == "requests" or base == FINDINGS:
        return Metric(name, "count", base, of or None, delta=delta)
    kinds: dict[tuple[str, bool], Unit] = {
        ("mean", False): "ns",
        ("mean", True): "ns",
        ("share", True): "share",
        ("calls", True): "number",
    }
    if (base, bool(of)) in kinds:
        return Metric(name, kinds[base, bool(of)], base, of or None, delta=delta)
    numbers = ", ".join(NUMBERS)
    raise ValueError(
        f"expected a metric: mean, p50, p99, mean.PART, share.PART, calls.COMPONENT, {numbers}, requests, "
        f"{FINDINGS}, {FINDINGS}.CODE, or one of them after {DELTA}.; got {text!r}"
    )


def _share(percent: str) -> float:
    return float(f"{percent}e-2")


@dataclass(frozen=True, slots=True)
class Value:
    """A metric's number, its values without one block at a time, and the blocks."""

    number: float
    left_out: Floats
    blocks: Blocks


def value_of(metric: Metric, population: Population) -> Value:
    """
    Measures a population, which is not empty.

    Raises:
        ValueError: The metric is a count, which is not measured on a population.
    """
    np = require("numpy", "analysis")
    if metric.q is not None:
        left = quantiles_without(population.wall, population.blocks.of, len(population.blocks), (metric.q,))[
            :, 0
        ]
        return Value(float(quantile(population.wall, metric.q)), left, population.blocks)
    above = np.asarray(numerator_of(metric)(population), float)
    below = population.wall.astype(float) if metric.base == "share" else np.ones(len(population))
    whole = above.sum(), below.sum()
    blocks = [np.bincount(population.blocks.of, each, len(population.blocks)) for each in (above, below)]
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.nan_to_num((whole[0] - blocks[0]) / (whole[1] - blocks[1]))
    return Value(float(whole[0] / whole[1]) if whole[1] else 0.0, left, population.blocks)


def numerator_of(metric: Metric) -> Numerator:
    """The value per request of which the metric is a mean or a share."""
    if metric.base in NUMBERS:
        return NUMBERS[metric.base][1]
    if metric.base == "calls":
        return _calls(metric.of or "")
    return part_of(metric.of) if metric.of else lambda population: population.wall


def part_of(name: str) -> Numerator:
    """The ns of a component or phase per request."""

    def summed(population: Population) -> Ints:
        chosen = [phase == name or component_of(phase) == name for phase in population.phases]
        result: Ints = population.parts[:, chosen].sum(1)
        return result

    return summed
