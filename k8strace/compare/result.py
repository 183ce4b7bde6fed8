"""The result of a comparison: differences, their rows, and requests that show them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex, overload

from k8strace import _core
from k8strace.compare.exemplars import near_mean, near_wall
from k8strace.compare.pairs import Pair
from k8strace.exceptions import expect
from k8strace.requests import Request
from k8strace.statistics.errors import NOT_ENOUGH
from k8strace.statistics.quantiles import is_quantile
from k8strace.tables import ArrowExport, Column, Table

__all__ = ["Comparison", "Difference", "DifferenceRow", "expect_statistic", "name_of"]

TOLD: tuple[str, ...] = ("rose", "fell")
"""Verdicts of differences that are not zero."""


def name_of(at: str | float) -> str:
    """
    The name of a statistic.

    Examples:
        >>> name_of("mean"), name_of(0.99), name_of(0.999)
        ('mean', 'p99', 'p99.9')
    """
    return at if isinstance(at, str) else f"p{at * 100:g}"


def expect_statistic(at: object) -> None:
    """Raises ValueError if it is neither "mean" nor a quantile."""
    if at != "mean" and not is_quantile(at):
        raise ValueError(f'expected "mean" or a quantile in (0, 1], got {at!r}')


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """One part of a difference."""

    path: tuple[Any, ...]
    """The prefix of a cell's key, and at the innermost level the component. For a quantile: the columns."""
    part: str
    """ "mix", "dependence", a component, "COMPONENT calls", or a phase."""
    delta_ns: int
    """Its part of the difference."""
    low_ns: int | None
    """The true value is between `low_ns` and `high_ns` in 95 of 100 cases; None if there are too few blocks."""
    high_ns: int | None
    verdict: str
    """"rose", "fell", "same" (less than matters), "cannot tell" or "not enough time to tell"."""
    p: float | None
    """Probability of a difference this large by chance, corrected for the number of rows of the same kind."""

    @property
    def told(self) -> bool:
        """Whether it differs from zero."""
        return self.verdict in TOLD

    def record(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return {
            "path": [*self.path],
            "part": self.part,
            "delta_ns": self.delta_ns,
            "low_ns": self.low_ns,
            "high_ns": self.high_ns,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of one statistic of the wall time, and its parts."""

    name: str
    """"mean", "p99" and so on."""
    at: str | float
    """"mean", or the quantile."""
    before_ns: int
    after_ns: int
    delta_ns: int
    """After minus before, to the nearest ns."""
    low_ns: int | None
    high_ns: int | None
    verdict: str
    """As that of a row."""
    smallest_seen_ns: int | None
    """The smallest change that these recordings would show in nine of ten cases."""
    summary: tuple[DifferenceRow, ...]
    """Mix, calls and components over all cells, with the innermost mix separate. They sum to `delta_ns`."""
    rows: tuple[DifferenceRow, ...]
    """All levels. Rows with equally long paths are one level, and sum to `delta_ns`."""

    def level(self, length: int) -> tuple[DifferenceRow, ...]:
        """The rows whose path has this length."""
        return tuple(row for row in self.rows if len(row.path) == length)

    @property
    def told(self) -> list[DifferenceRow]:
        """The rows that differ from zero, largest first."""
        return sorted((row for row in self.rows if row.told), key=lambda row: -abs(row.delta_ns))

    def record(self) -> dict[str, Any]:
        """As it stands in JSON, without examples."""
        numbers = ("before_ns", "after_ns", "delta_ns", "low_ns", "high_ns", "verdict", "smallest_seen_ns")
        return {
            **{name: getattr(self, name) for name in numbers},
            "summary": [row.record() for row in self.summary],
            "rows": [row.record() for row in self.rows],
        }


@dataclass(frozen=True, slots=True)
class Comparison(ArrowExport):
    """
    What changed between two populations, with its error.

    `[]` with an index gives a `Difference`, with a name a column. It is an Arrow table: one row per statistic, path and
    part.
    """

    by: tuple[str, ...]
    """The columns of the cells' keys."""
    requests: tuple[int, int]
    """Numbers of compared requests."""
    blocks: tuple[int, int]
    """Blocks of time with requests."""
    differences: tuple[Difference, ...]
    """In the order of `at`."""
    _pair: Pair = field(repr=False, compare=False)

    @overload
    def __getitem__(self, at: int) -> Difference: ...
    @overload
    def __getitem__(self, at: str) -> Column: ...
    def __getitem__(self, at: int | str) -> Difference | Column:
        """A difference by index, or a column by name. Raises KeyError."""
        if isinstance(at, str):
            return self.column(at)
        expect(at, SupportsIndex, "a place or the name of a column; for a quantile there is quantile(q)")
        return self.differences[at]

    def __iter__(self) -> Iterator[Difference]:
        return iter(self.differences)

    def __len__(self) -> int:
        return len(self.differences)

    @property
    def names(self) -> list[str]:
        """Names of the compared statistics."""
        return [difference.name for difference in self.differences]

    @property
    def mean(self) -> Difference:
        """The difference of the means. Raises KeyError."""
        return self._of("mean")

    def quantile(self, q: float) -> Difference:
        """
        The difference of a quantile.

        Raises:
            KeyError: It was not compared; the message has the names of those that were.
            ValueError: There is no such quantile.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> changed = k8strace.compare(requests.where(verb="get"), requests.where(verb="list"), by=())
            >>> changed.quantile(0.99).name, changed.mean.at
            ('p99', 'mean')
        """
        return self._of(q)

    def _of(self, at: str | float) -> Difference:
        expect_statistic(at)
        for difference in self.differences:
            if difference.at == at:
                return difference
        raise KeyError(f"{name_of(at)} was not compared, but {', '.join(self.names)}")

    @property
    def enough(self) -> bool:
        """Whether the recordings are long enough for errors."""
        return all(difference.verdict != NOT_ENOUGH for difference in self.differences)

    @property
    def rows(self) -> Table:
        """One row per statistic, path and part."""
        return Table(self._arrow())

    def exemplars(self, at: str | float, row: DifferenceRow) -> tuple[Request, Request] | None:
        """
        A request of each population that shows a row: the one nearest the mean of that part in that cell.

        For a quantile, those nearest the quantile. None if one of the populations has no such request, or was not made
        from requests.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> changed = k8strace.compare(requests.where(verb="get"), requests.where(verb="list"), by=())
            >>> row = changed.mean.level(0)[1]
            >>> before, after = changed.exemplars("mean", row)
            >>> before.verb, after.verb
            ('get', 'list')
        """
        found = self._of(at)
        if found.at == "mean":
            return near_mean(self._pair, row.path, row.part)
        return near_wall(self._pair, (found.before_ns, found.after_ns))

    def record(self) -> dict[str, Any]:
        """As it stands in JSON: what was compared, and for each statistic its difference with its rows."""
        made = {difference.name: difference.record() for difference in self.differences}
        for difference in self.differences:
            for row, record in zip(difference.rows, made[difference.name]["rows"], strict=True):
                found = self.exemplars(difference.at, row) if row.told else None
                if found:
                    record["examples"] = {"before": found[0].trace_id, "after": found[1].trace_id}
        sides = zip(("before", "after"), self.requests, self.blocks, strict=True)
        counts = {side: {"requests": count, "blocks": blocks} for side, count, blocks in sides}
        return {"by": [*self.by], **counts, **made}

    def to_html(
        self,
        path: str | PathLike[str] | None = None,
        *,
        title: str | None = None,
        redact: bool = False,
        max_mb: float = 10.0,
    ) -> str | None:
        """
        The page of this comparison: what changed, and the requests that were compared; as `Requests.to_html`.

        Raises:
            OSError: The file cannot be written.

        Examples:
            >>> import k8strace
            >>> old = k8strace.join(k8strace.read("tests/data/k8s-1.31_etcd-3.5.otlp.zst"))
            >>> new = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> html = k8strace.compare(old.where(verb="get"), new.where(verb="get")).to_html()
            >>> "What changed" in html
            True
        """
        from k8strace.page import Options, comparison_page

        text = comparison_page(self, Options(title=title, redact=redact, max_mb=max_mb))
        if path is None:
            return text
        Path(path).write_text(text, encoding="utf-8", newline="\n")
        return None

    def _arrow(self) -> _core.Table:
        rows = [(difference.name, row) for difference in self.differences for row in difference.rows]
        return _core.make_table(
            [
                ("at", "text", [name for name, _ in rows]),
                ("path", "text", [json.dumps(row.path, ensure_ascii=False) for _, row in rows]),
                ("part", "text", [row.part for _, row in rows]),
                *(
                    (name, "int", [getattr(row, name) for _, row in rows])
                    for name in ("delta_ns", "low_ns", "high_ns")
                ),
                ("verdict", "text", [row.verdict for _, row in rows]),
            ]
        )

    def __repr__(self) -> str:
        told = ", ".join(f"{each.name} {each.delta_ns / 1e6:+.3f} ms ({each.verdict})" for each in self)
        return f"Comparison({self.requests[0]:,} and {self.requests[1]:,} requests: {told})"

    def _repr_html_(self) -> str:
        from k8strace.views.comparison import comparison_html

        return comparison_html(self)
