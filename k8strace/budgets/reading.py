"""Budgets in a file: limits on a metric of a selection of requests."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from k8strace.budgets.metrics import Metric, metric_of
from k8strace.exceptions import BudgetsError
from k8strace.selecting import span_of

__all__ = ["Budget", "Limit", "read_budgets"]

_KEYS: Final = ("name", "where", "metric", "max", "min")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Limit:
    """The maximum or minimum of a metric."""

    value: float
    """ns for times, otherwise a plain number; for a relative limit the share of the value before."""
    relative: bool
    """Whether it is a share of the value before: 0.1 is 10 % more."""
    most: bool
    """True for at most, False for at least."""
    text: str
    """As it was written."""

    def __str__(self) -> str:
        return f"{'at most' if self.most else 'at least'} {self.text}"


@dataclass(frozen=True, slots=True)
class Budget:
    """One condition: a metric of some requests, and its limit."""

    name: str
    metric: Metric
    limits: tuple[Limit, ...]
    conditions: tuple[str, ...] = ()
    """As on the command line: "verb=list"."""
    wanted: tuple[tuple[str, Any], ...] = ()
    """Column and value, or values."""
    line: int = 0
    """Line in its file, from 1; 0 without a file."""

    @property
    def where(self) -> str:
        """The selection of requests, as text."""
        wanted = (f"{column}={_words(value)}" for column, value in self.wanted)
        return " ".join([*self.conditions, *wanted]) or "all"


def _words(value: Any) -> str:
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)


def read_budgets(source: str | Path) -> list[Budget]:
    """
    Reads budgets from a TOML file.

    Each `[[budget]]` has a `metric`, `max` or `min` or both, and may have a `name` and `where`: a table of columns and
    values, or conditions as on the command line. See the how-to, "Hold budgets in CI".

    Args:
        source: Path of the file.

    Raises:
        BudgetsError: It is malformed; the message has the budget and what was expected.
        OSError: It cannot be read.

    Examples:
        >>> from k8strace.budgets import read_budgets
        >>> [str(limit) for budget in read_budgets("tests/data/budgets.toml") for limit in budget.limits][:2]
        ['at most 4s', 'at most 2']
    """
    path = Path(source)
    try:
        text = path.read_text("utf-8")
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BudgetsError(f"{path}: not TOML: {error}") from error
    tables = content.get("budget")
    if (
        not isinstance(tables, list)
        or not all(isinstance(each, dict) for each in tables)
        or set(content) != {"budget"}
    ):
        raise BudgetsError(
            f"{path}: expected [[budget]] and nothing else, got {', '.join(content) or 'nothing'}"
        )
    lines = [at for at, line in enumerate(text.splitlines(), 1) if line.strip().startswith("[[budget]]")]
    lines += [0] * len(tables)
    return [_budget(f"{path}, budget {at + 1}", table, lines[at]) for at, table in enumerate(tables)]


def _budget(source: str, table: Mapping[str, Any], line: int) -> Budget:
    unknown = [key for key in table if key not in _KEYS]
    if unknown:
        raise BudgetsError(f"{source}: expected {', '.join(_KEYS)}, got {unknown[0]!r}")
    try:
        metric = metric_of(table.get("metric"))
    except ValueError as error:
        raise BudgetsError(f"{source}: {error}") from error
    limits = tuple(
        _limit(source, metric, table[key], most=key == "max") for key in ("max", "min") if key in table
    )
    if not limits:
        raise BudgetsError(f"{source}: expected max or min")
    conditions, wanted = _where(source, table.get("where", {}))
    budget = Budget("", metric, limits, conditions, wanted, line)
    name = table.get("name") or f"{metric.name} of {budget.where} {' and '.join(map(str, limits))}"
    return Budget(str(name), metric, limits, conditions, wanted, line)


def _where(source: str, where: Any) -> tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]:
    if isinstance(where, str):
        return (where,), ()
    if isinstance(where, list) and all(isinstance(each, str) for each in where):
        return tuple(where), ()
    if isinstance(where, dict):
        return (), tuple(where.items())
    raise BudgetsError(
        f"{source}: expected where as a table, a condition or a list of conditions, got {where!r}"
    )


def _limit(source: str, metric: Metric, given: Any, *, most: bool) -> Limit:
    """Reads a limit: ns or a time with its unit, a number, a share, or a change."""
    text = str(given).strip()
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise BudgetsError(f"{source}: expected a number or text as a limit, got {given!r}")
    percent = text.removesuffix("%").strip()
    if text.endswith("%") and _NUMBER.fullmatch(percent) and (metric.delta or metric.unit != "ns"):
        return Limit(float(percent) / 100, metric.delta, most, text)
    if not isinstance(given, str):
        return Limit(
            float(given), relative=False, most=most, text=f"{given} ns" if metric.unit == "ns" else text
        )
    ns = span_of(text.lstrip("+-")) if metric.unit == "ns" else None
    if ns is not None:
        return Limit(float(-ns if text.startswith("-") else ns), relative=False, most=most, text=text)
    if _NUMBER.fullmatch(text) and metric.unit != "ns":
        return Limit(float(text), relative=False, most=most, text=text)
    raise BudgetsError(f"{source}: expected {_expected(metric)}, got {given!r}")


def _expected(metric: Metric) -> str:
    what = {"ns": 'a time such as "800ms", or ns', "share": 'a share such as 0.4 or "40%"'}.get(
        metric.unit, "a number"
    )
    return f'{what}, or a change such as "+10%"' if metric.delta else what
