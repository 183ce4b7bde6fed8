"""The figures to reach: what is promised, what is aimed at, and whether a result is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spent import Spent


class Goal(NamedTuple):
    """One ratio, or one size."""

    number: int
    what: str
    floor: float | None
    """What CI asks for; None: measured by hand."""
    goal: float
    beyond: float
    lower_is_better: bool = False

    def reached(self, value: float, wanted: float | None) -> bool:
        """Whether a value is at least as good as another."""
        if wanted is None:
            return True
        return value <= wanted if self.lower_is_better else value >= wanted

    def verdict(self, value: float) -> str:
        """Say how far a value gets."""
        if self.reached(value, self.beyond):
            return "beyond"
        if self.reached(value, self.goal):
            return "met"
        return "missed" if self.reached(value, self.floor) else "BELOW FLOOR"


class Figure(NamedTuple):
    """What was measured for a goal."""

    value: float
    spent: Spent | None = None
    """What our side of it costs a span: of a ratio, the one that is ours."""


LOWER = True
GOALS = {
    goal.number: goal
    for goal in (
        Goal(1, "upb parse + tuples / decode", 12, 25, 40),
        Goal(2, "the job in Python / decode, join, attribute", 20, 50, 80),
        Goal(3, "upb parse alone / decode, fresh pages", 1.6, 3, 5),
        Goal(4, "ptars / decode to Arrow", 4, 8, 12),
        Goal(5, "prost / core decode", 3.5, 6, 8),
        Goal(6, "Go pdata / core decode", None, 5, 8),
        Goal(7, "core decode / deep skip, one call, fresh pages", 1.8, 1.3, 1.25, LOWER),
        Goal(8, "join + attribution, ns/span, 5 M / 20 k", 2.2, 1.6, 1.3, LOWER),
        Goal(9, "peak memory of scan, 10x input / 1x", 1.3, 1.1, 1.05, LOWER),
        Goal(10, "columns without the wire, bytes/span", 300, 254, 200, LOWER),
        Goal(11, "one request's tree / all trees", 1 / 20, 1 / 100, 1 / 1000, LOWER),
        Goal(12, "join, attribute / feed, take, attribute", 0.5, 0.7, 0.8),
        Goal(13, "peak memory of a stream, 10x input / 1x", 1.3, 1.1, 1.05, LOWER),
        Goal(14, "by(verb, resource): polars / ours", 1, 3, 5),
        Goal(15, "attribution to polars, s a million spans", 0.15, 0.075, 0.05, LOWER),
        Goal(16, "spans to pandas, s a million spans", 1.5, 0.75, 0.5, LOWER),
        Goal(17, "file to phases: commit before / now", 1.5, 2.2, 3),
        Goal(18, "peak from file to phases, bytes/span", 620, 520, 485, LOWER),
        Goal(19, "join + attribution, instructions/span", 1700, 1200, 800, LOWER),
        Goal(20, "serve, durable / grpcio that throws away", 0.4, 0.6, 0.8),
        Goal(21, "file to phases, wall: two threads / one", 1.6, 1.85, 1.95),
        Goal(22, "decoding on two threads of Python's / on one", 1.6, 1.85, 1.95),
    )
}

HELD_INSTEAD: Mapping[int, float] = {3: 1.1, 12: 0.4}
"""Floors so near that a busy machine can miss them → what the gate of CI holds then.
The floors stay as they are: the table and `--check` say that they are missed, and so does the gate."""

Results = Mapping[str, Mapping[int, Figure]]
"""Workload → number of the goal → what was measured."""


def figure(value: float | None) -> str:
    """Write a number as it is read best."""
    if value is None:
        return "by hand"
    if 0 < value < 0.05:
        return f"1/{1 / value:,.0f}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


HEAD = ("workload", "measured", "", "CPU", "kernel", "faults")
"""Of the span that our side takes: ns, those of them in the kernel, and page faults of a thousand spans."""


def table(results: Results, skipped: Mapping[int, str]) -> list[str]:
    """Put goals and results side by side: a row for each workload."""
    lines = [_row(["", "", "floor", "goal", "beyond", *HEAD])]
    for number, goal in GOALS.items():
        asked = [str(number), goal.what, figure(goal.floor), figure(goal.goal), figure(goal.beyond)]
        found = [(name, values[number]) for name, values in results.items() if number in values]
        if not found:
            lines.append(_row([*asked, "-", f"({skipped[number]})" if number in skipped else ""]))
        for name, each in found:
            costs = _costs(each.spent) if each.spent else []
            lines.append(_row([*asked, name, figure(each.value), goal.verdict(each.value), *costs]))
            asked = [""] * len(asked)
    return lines


def _costs(spent: Spent) -> list[str]:
    return [f"{1e9 * spent.cpu:,.0f}", f"{1e9 * spent.system:,.0f}", f"{1e3 * spent.faults:,.0f}"]


WIDTHS = (3, -46, 8, 7, 7, -15, 9, -12, 7, 7, 7)
"""Of the columns; negative: to the left."""


def _row(cells: Sequence[str]) -> str:
    padded = (
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, width in zip(cells, WIDTHS, strict=False)
    )
    return " ".join(padded).rstrip()


def below_floor(results: Results) -> list[str]:
    """Say what is worse than promised."""
    return [
        f"#{number} {GOALS[number].what}, {workload}: {figure(each.value)}, the floor is {figure(GOALS[number].floor)}"
        for workload, values in results.items()
        for number, each in values.items()
        if not GOALS[number].reached(each.value, GOALS[number].floor)
    ]


def gate(
    results: Results, rows: Mapping[str, Sequence[int]], skipped: Mapping[int, str]
) -> list[tuple[bool, str]]:
    """Say of each of these rows of each workload whether CI may pass, and why."""
    return [_held(number, results[name], skipped) for name, numbers in rows.items() for number in numbers]


def _held(number: int, values: Mapping[int, Figure], skipped: Mapping[int, str]) -> tuple[bool, str]:
    goal = GOALS[number]
    if number in skipped:
        return True, f"skip  #{number} {goal.what}: {skipped[number]}"
    value = values[number].value
    line = f"#{number} {goal.what}: {figure(value)}, floor {figure(goal.floor)}"
    holds = goal.reached(value, goal.floor)
    if not holds and number in HELD_INSTEAD:
        holds = goal.reached(value, HELD_INSTEAD[number])
        line += f", MISSED; held at {figure(HELD_INSTEAD[number])}"
    return holds, ("pass  " if holds else "FAIL  ") + line
