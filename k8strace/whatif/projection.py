"""`Projection`: how long requests would take after some changes, with bounds."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, SupportsIndex, TypeAlias, overload

from k8strace import _core
from k8strace.exceptions import expect
from k8strace.requests import Requests
from k8strace.tables import ArrowExport, Column, column_of
from k8strace.whatif.changes import Change
from k8strace.whatif.edits import Edits

__all__ = ["Estimate", "Figures", "Projected", "Projection", "project"]

Verdict: TypeAlias = Literal["faster", "slower", "same", "cannot tell"]

BLOCKS: Final = 16
"""Blocks of time that a recording is cut into: requests of different blocks are nearly independent."""
FEWEST_BLOCKS: Final = 8
"""With requests in fewer blocks the variance of a group cannot be estimated."""
SPREAD: Final = 2.131 * math.sqrt(2)
"""
Standard errors on each side of an interval: 97.5 % of Student's t with 15 degrees of freedom, times √2, since the other
recording varies as much as this one.
"""

APART: Final = 0.1
"""
Standard deviation between recordings of one load, as a share of the time that no change sets, beyond the variation
within each recording. `benchmarks/whatif.py --pairs` measures it.
"""

NOT_MODELLED: Final = (
    "queues that shrink or grow: calls that wait for each other in etcd, in a webhook or for a processor",
    "retries, conflicts and timeouts that would happen or not happen",
    "what clients do if they are answered sooner or later",
)
_MORE: Final = {
    "cached": "what reading from the watch cache takes, and that it may be older than etcd",
    "same_node": "etcd and the API server sharing the processors and disks of one node",
}
_STREAMED: Final = (
    "how much of a stream from etcd is etcd's own time, and how much the API server's work on its pages: "
    "the interval covers both"
)
_LATENCY: Final = (
    "whether a latency is that of every whole call, as its caller sees it, or the minimum of the callee's own time: "
    "the far end of the interval is for the minimum, with calls that vary above it as they did, and with the mean "
    "transport of the calls to etcd added to calls whose other side sent no spans"
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of some wall times."""

    mean_ns: int
    """Rounded."""
    p50_ns: int
    """By nearest rank, so that of a real request."""
    p99_ns: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure after the changes."""

    value: int
    """The figure in ns, if a span waits for all siblings that had ended before it began."""
    low: int
    """
    `low` to `high` contains, 19 times out of 20, the figure of another recording as long as this one. It covers chance,
    differences between recordings (a tenth of the time that the changes do not set), and unknown dependences among
    spans.
    """
    high: int
    verdict: Verdict
    """Compared with before; "cannot tell" if unknown dependences move it further than the changes do."""


@dataclass(frozen=True, slots=True)
class Projected:
    """Requests with equal keys, before and after."""

    keys: dict[str, Any]
    """Column → value."""
    requests: int
    """How many."""
    before: Figures
    after: dict[str, Estimate]
    """Name of a figure, such as "mean_ns" → its estimate."""
    blocks: int
    """
    In how many of the 16 blocks of time there are such requests. With fewer than 8 their variance is unknown: then
    `low` and `high` are the least and the most that any of them takes.
    """


class Projection(ArrowExport):
    """
    How long some requests would take after some changes. Frozen.

    It is an Arrow table, one row per request: `request`, `trace_id`, `verb`, `resource`, `before_ns`, `after_ns`, and
    `low_ns` and `high_ns`, the bounds for unknown dependences among spans.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> projection = k8strace.attribute(requests).what_if(k8strace.Change.faster("webhook", 2))
        >>> projection
        Projection(1411 requests: webhook 2 times as fast)
        >>> slow = projection.by("verb", "resource")[0]
        >>> slow.keys, slow.before.mean_ns > slow.after["mean_ns"].value
        ({'verb': 'update', 'resource': 'configmaps'}, True)
    """

    def __init__(self, requests: Requests, changes: Sequence[Change]) -> None:
        self._requests = requests
        self._changes = tuple(changes)
        edits = Edits(requests, changes)
        core, table = requests._joined.core, requests._joined.phase_table
        rows = list(requests._rows)
        near = core.retime(table.answers, edits.row(), rows, None)
        self._runs, self._kept = [near], near
        if any(change.kind == "latency" for change in self._changes):
            self._runs.append(core.retime(table.answers, edits.far_row(near.took()), rows, near))
            self._kept = core.retime(table.answers, edits.kept_row(), rows, near)

    @property
    def requests(self) -> Requests:
        """The requests that were projected."""
        return self._requests

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes."""
        return self._changes

    @property
    def not_modelled(self) -> tuple[str, ...]:
        """Effects that the figures do not include."""
        kinds = {change.kind for change in self._changes}
        more = [text for kind, text in _MORE.items() if kind in kinds]
        streamed = [_STREAMED] if "etcd.stream" in self._requests._joined.phase_table.names else []
        latency = [_LATENCY] if len(self._runs) > 1 else []
        return (*NOT_MODELLED, *more, *streamed, *latency)

    def __len__(self) -> int:
        return len(self._requests)

    @overload
    def __getitem__(self, at: SupportsIndex) -> Estimate: ...
    @overload
    def __getitem__(self, at: str) -> Column: ...
    def __getitem__(self, at: SupportsIndex | str) -> Estimate | Column:
        """
        How long one request would take, with the bounds for unknown dependences among its spans; by name a column.

        Args:
            at: The request, or its index among all joined ones; or the name of a column.

        Raises:
            KeyError: It is not among the projected requests, or there is no such column.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> slow = requests.slowest(1)
            >>> k8strace.attribute(slow).what_if(k8strace.Change.faster("etcd", 1))[slow[0]].value == slow[0].wall_ns
            True
        """
        if isinstance(at, str):
            return column_of(self._arrow(), at)
        index = operator.index(at)
        if index not in self._members:
            raise KeyError(f"request {index} is not one of the {len(self):,} projected requests")
        before = self._before[index]
        readings = [of[index] for of in self._readings]
        return _estimate(before, readings, readings)

    @cached_property
    def _members(self) -> frozenset[int]:
        return frozenset(self._requests._rows)

    @cached_property
    def _before(self) -> list[int]:
        return self._runs[0].ns("before")

    @cached_property
    def _readings(self) -> list[list[int]]:
        return [run.ns(of) for run in self._runs for of in ("all", "last")]

    def by(self, *keys: str, long_running: bool = False) -> tuple[Projected, ...]:
        """
        How long groups of requests would take.

        As in `Attribution.by`, requests without valid times and those inside another one of these are left out.

        Args:
            keys: Columns of `Requests`, such as "verb" and "resource". Without any, one group of all.
            long_running: Keep long-running requests, such as watches.

        Returns:
            The groups, most time before first.

        Raises:
            KeyError: There is no such column.
        """
        requests = self._requests._judged(long_running=long_running)
        blocks = requests._joined.core.blocks(list(requests._rows), BLOCKS)
        grouped = requests._by_key(keys)
        groups = [
            self._group(dict(zip(keys, values, strict=True)), grouped, at, blocks)
            for at, values in enumerate(requests._values(keys, grouped))
        ]
        return tuple(
            sorted(groups, key=lambda group: (-group.before.mean_ns * group.requests, str(group.keys)))
        )

    def _group(self, keys: dict[str, Any], grouped: _core.GroupedRows, at: int, blocks: bytes) -> Projected:
        runs = [run.figures(blocks, BLOCKS, grouped, at, SPREAD) for run in self._runs]
        readings = [_Sample(one) for run in runs for one in run[1:]]
        left = (
            runs[0]
            if self._kept is self._runs[0]
            else self._kept.figures(blocks, BLOCKS, grouped, at, SPREAD)
        )
        before, kept = _Sample(runs[0][0]).figures, _Sample(left[1]).figures
        after = {}
        for name in ("mean_ns", "p50_ns", "p99_ns"):
            values = [getattr(sample.figures, name) for sample in readings]
            ends = [end for sample in readings for end in sample.interval(name, getattr(kept, name))]
            after[name] = _estimate(getattr(before, name), values, ends)
        counts = [count for count, _ in runs[0][0][-1]]
        return Projected(keys, sum(counts), before, after, sum(count > 0 for count in counts))

    def _arrow(self) -> _core.Table:
        requests = self._requests
        identity = ("trace_id", "verb", "resource")
        return _core.retimed_table(self._runs, requests._table, requests._chosen, identity)

    def __repr__(self) -> str:
        return f"Projection({len(self)} requests: {'; '.join(change.text for change in self._changes) or 'as it is'})"


class _Sample:
    """Figures of a group in one reading, and their variation."""

    def __init__(self, row: _core._Figures) -> None:
        self._count, self._sum, (self._p50, self._p99), self._least, self._most, self._blocks = row

    @property
    def figures(self) -> Figures:
        return Figures(_rounded(self._sum, self._count), self._p50[0], self._p99[0])

    def interval(self, name: str, kept: int) -> tuple[int, int]:
        """
        The interval of another recording's figure: it covers differences between blocks and between recordings.

        With too few blocks: the least and the most.

        Args:
            name: The figure's name.
            kept: The part of the figure that no change sets, ns.
        """
        if sum(count > 0 for count, _ in self._blocks) < FEWEST_BLOCKS:
            return self._least, self._most
        value, low, high = self._varying(name)
        apart = SPREAD * APART * kept
        return max(0, math.floor(value - math.hypot(value - low, apart))), math.ceil(
            value + math.hypot(high - value, apart)
        )

    def _varying(self, name: str) -> tuple[int, float, float]:
        """A figure and its interval over blocks: a jackknife for a mean, Woodruff's interval for a quantile."""
        if name != "mean_ns":
            return self._p50 if name == "p50_ns" else self._p99
        without = [
            (self._sum - ns) / (self._count - count) for count, ns in self._blocks if 0 < count < self._count
        ]
        middle = math.fsum(without) / len(without)
        squares = math.fsum((each - middle) ** 2 for each in without)
        half = SPREAD * math.sqrt(squares * (len(without) - 1) / len(without))
        mean = self.figures.mean_ns
        return mean, mean - half, mean + half


def _rounded(total: int, count: int) -> int:
    return (2 * total + count) // (2 * count) if count else 0


def _estimate(before: int, readings: Sequence[int], ends: Sequence[int]) -> Estimate:
    value = readings[0]
    open_ns = max(readings) - min(readings)
    verdict: Verdict = "faster" if value < before else "slower" if value > before else "same"
    return Estimate(value, min(ends), max(ends), "cannot tell" if open_ns > abs(value - before) else verdict)


def project(requests: Requests, changes: Sequence[Change]) -> Projection:
    """How long requests would take after some changes. See `Attribution.what_if`."""
    for change in changes:
        expect(change, Change, 'a change such as Change.latency("etcd", 1_000_000)')
    return Projection(requests, changes)
