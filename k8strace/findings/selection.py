"""What detectors read: columns of the selected requests, their calls, and ns on their critical paths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from k8strace import _core
from k8strace.attribution import attribute
from k8strace.findings.finding import Finding, Severity
from k8strace.words import duration, percent

if TYPE_CHECKING:
    from k8strace.formats.client_times import ClientTime
    from k8strace.requests import Requests

__all__ = ["Calls", "Outlay", "Selection"]

Made = TypeVar("Made")

BEFORE, AFTER = -(2**63), 2**63 - 1
"""Any time."""

WHOLE: Final = 0.75
"""A finding that covers this share of the recording lasts all the time, so its sentence has no times."""


class Outlay(NamedTuple):
    """Requests and what something costs in each."""

    rows: list[int]
    """Their indices, each once."""
    ns: list[int]
    """The cost in each, on its critical path."""

    @property
    def total_ns(self) -> int:
        """All together."""
        return sum(self.ns)

    @staticmethod
    def of(pairs: Iterable[tuple[int, int]]) -> Outlay:
        """From (request, ns) pairs; those of one request are added."""
        sums: defaultdict[int, int] = defaultdict(int)
        for row, ns in pairs:
            sums[row] += ns
        return Outlay(list(sums), list(sums.values()))


class Calls:
    """
    Calls of the selected requests: one of the core's tables, with two more columns. Lists are made when asked for.

    `held` is the request whose time a call is in: the outermost one. `critical_ns` is its part of the critical path.
    """

    def __init__(self, table: _core.Table) -> None:
        self._table = table
        self._lists: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._lists:
            self._lists[name] = self._table.column(name).to_pylist()
        return self._lists[name]

    @property
    def held(self) -> list[int]:
        """For each call its request."""
        return self["held"]

    def groups(self, *names: str, places: Sequence[int] | None = None) -> dict[Any, list[int]]:
        """Values of columns → places of the calls, or of some of them, in order."""
        columns = [self._table.column(name) for name in names]
        grouped = _core.GroupedRows(places, len(self), [*map(_core.Codes.of, columns)])
        return {
            tuple(column[first] for column in columns): grouped.rows(at)
            for at, first in enumerate(grouped.first)
        }

    def grouped(self, *names: str, by: str | None = None) -> _core.GroupedRows:
        """The places in groups of equal values, each in order, or by the numbers of a column."""
        codes = [_core.Codes.of(self._table.column(name)) for name in names]
        return _core.GroupedRows(None, len(self), codes, self._table.column(by) if by else None)

    def own(self, name: str) -> _core.Column:
        """A column of the core."""
        return self._table.column(name)

    def outlay(self, places: Sequence[int] | None = None) -> Outlay:
        """The requests of these calls, or of all, and what the calls cost in each."""
        return Outlay(*_core.sum_by(self._table.column("held"), self._table.column("critical_ns"), places))


class Selection:
    """
    The requests that findings are about: those with a meaningful latency, without those inside another one of them.

    A row is the index of a request among all that were joined. Everything is read by column, nothing span by span.
    """

    def __init__(self, requests: Requests, client_times: Sequence[ClientTime] = ()) -> None:
        self.requests = requests
        self.client_times = client_times
        """What clients measured, if it was given."""
        kept = requests._judged()
        self.kept = (
            kept if isinstance(kept._rows, range) else type(requests)(requests._joined, sorted(kept._rows))
        )
        self.rows: Sequence[int] = self.kept._rows
        """By start."""
        self._joined = self.joined = requests._joined
        """Everything that was joined with them."""
        self._made: dict[object, Any] = {}

    def once(self, make: Callable[[Selection], Made]) -> Made:
        """The result of a function of these requests, which is computed once."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]  # type: ignore[no-any-return]

    # ── Columns ───────────────────────────────────────────────────────────────────────────────────

    def of_all(self, name: str) -> list[Any]:
        """A column of all joined requests, indexed by row."""
        return self._joined.column(name)

    @cached_property
    def whole(self) -> _core.GroupedRows:
        """These requests as one group, which stays in the core."""
        return self.kept._by_key(())

    def own(self, name: str) -> _core.Column:
        """A column of all joined requests, in the core."""
        return self._joined.table.column(name)

    def values(self, name: str, rows: Sequence[int]) -> list[Any]:
        """A column of these rows, in their order."""
        return self._joined.values(name, "requests", rows)

    def at_least(self, name: str, number: int) -> list[int]:
        """The rows whose number in a column is at least that; null is none."""
        return self.whole.at_least(self.own(name), number).all()

    def among(self, name: str, *texts: str | None) -> list[int]:
        """The rows whose text in a column is one of these; None is null."""
        return self.whole.among(self.own(name), texts).all()

    def groups(
        self, *names: str, rows: Iterable[int] | None = None, fewest: int = 1
    ) -> dict[tuple[Any, ...], list[int]]:
        """Values of columns → rows, in order; groups of fewer rows are left out."""
        codes = [self._joined.codes(name, "requests") for name in names]
        grouped = (
            self.whole.by(codes)
            if rows is None
            else _core.GroupedRows(list(rows), len(self._joined.core), codes)
        )
        sizes = [end - begin for begin, end in pairwise([0, *grouped.ends])]
        large = [at for at, size in enumerate(sizes) if size >= fewest]
        first = grouped.first
        keys = zip(*(self.values(name, [first[at] for at in large]) for name in names), strict=True)
        return {key: grouped.rows(at) for key, at in zip(keys, large, strict=True)}

    @cached_property
    def total_ns(self) -> int:
        """The sum of these requests' wall times."""
        return sum(self.whole.totals(self.own("wall_ns")))

    @cached_property
    def lasted(self) -> tuple[int, int]:
        """From when to when there were requests, in unix ns."""
        return self._times(self.rows)

    def wall(self, rows: Iterable[int]) -> Outlay:
        """These requests with all their wall time."""
        chosen = list(rows)
        return Outlay(chosen, self.values("wall_ns", chosen))

    # ── Where the time went ───────────────────────────────────────────────────────────────────────

    @cached_property
    def _attribution(self) -> Any:
        return attribute(self.kept)

    @cached_property
    def _phases_ns(self) -> list[int]:
        totals: list[int] = self._attribution._core.totals(self.rows, len(self._attribution._names))
        return totals

    def phase_ns(self, name: str) -> int:
        """How much time a phase took of these requests."""
        names = self._attribution._names
        return self._phases_ns[names.index(name)] if name in names else 0

    def phase(self, name: str, least_ns: int = 1, rows: Sequence[int] | None = None) -> Outlay:
        """Of these requests, or of some rows, those in which a phase took at least that time, and how much."""
        if not self.phase_ns(name):
            return Outlay([], [])
        attribution, of = self._attribution, self.rows if rows is None else rows
        return Outlay(*attribution._core.spent(attribution._names.index(name), of, least_ns))

    def critical_within(self, windows: Sequence[tuple[int, int, int]]) -> tuple[list[int], list[int | None]]:
        """
        The time on the critical path below given spans, within given times.

        Args:
            windows: (row of the span in `Requests.spans`, from, to), unix ns.

        Returns:
            For each window: ns, and the one of these requests that contains it; None if none does.
        """
        return self._joined.core.critical_within(self.rows, windows)

    @cached_property
    def etcd_calls(self) -> Calls:
        """
        The etcd calls of these requests that a finding can come from, by start; most calls are left out.

        They are lists, reads that a request repeats, calls that etcd refused with those beside them, and calls that end
        after their request.

        Columns: `span`, its row in `spans`, and `above`, that of the one around it; `method`, `operation`, `key` as in
        `Requests.etcd_calls`; `start_unix_nano`; `ns`, its length; `retry`, whether it repeats one that etcd refused;
        `revision` and `continued`, what it asked for, if known.
        """
        return self._held(self._joined.core.telling_calls(self.rows))

    @cached_property
    def webhook_calls(self) -> Calls:
        """The webhook calls of these requests, by start: columns of `Requests.webhook_calls`."""
        return self._held(self._joined.named("webhook_call_details"))

    @cached_property
    def conflicts(self) -> Calls:
        """Updates of these requests that conflicted with others; `critical_ns` is that of the failed attempts."""
        return self._held(self._joined.named("conflicts"))

    def _held(self, calls: _core.Table) -> Calls:
        """The calls that are within the time of one of these requests."""
        return Calls(self._joined.core.held_calls(self.rows, calls))

    # ── Findings ──────────────────────────────────────────────────────────────────────────────────

    def share(self, ns: int) -> float:
        """`ns` divided by all time."""
        return ns / self.total_ns if self.total_ns else 0.0

    def cost(self, ns: int) -> str:
        """A part of all time as sentences show it: "57% of all time (18.2 s)"."""
        return f"{self.percent(ns)} of all time ({duration(ns)})"

    def percent(self, ns: int) -> str:
        """A part of all time in per cent."""
        return percent(ns, self.total_ns).replace("·", "0%")

    def _when(self, first: int, last: int) -> str:
        """The end of a sentence: when its requests were, unless that is most of the recording."""
        begin, end = self.lasted
        if last - first >= WHOLE * (end - begin):
            return ""
        return f", from {_clock(first)} to {_clock(last)} UTC"

    def _times(self, rows: Sequence[int]) -> tuple[int, int]:
        return self._joined.core.lasted(rows) or (0, 0)

    def finding(
        self,
        code: str,
        severity: Severity,
        outlay: Outlay,
        sentence: str,
        fix: str,
        where: Iterable[str],
        **evidence: float,
    ) -> Finding:
        """
        A finding about some of these requests.

        Args:
            code: As in `Finding`.
            severity: As in `Finding`.
            outlay: Its requests, at least one, and what it costs in each.
            sentence: Without the times and the full stop, which are added.
            fix: What to do.
            where: Conditions that select its requests.
            evidence: Numbers that the sentence is based on.
        """
        start, end = self._times(outlay.rows)
        most = max(outlay.ns)
        dearest = min(row for ns, row in zip(outlay.ns, outlay.rows, strict=True) if ns == most)
        return Finding(
            code=code,
            severity=severity,
            sentence=f"{sentence}{self._when(start, end)}.",
            fix=fix,
            requests=len(outlay.rows),
            ns=outlay.total_ns,
            share=self.share(outlay.total_ns),
            start_unix_nano=start,
            end_unix_nano=end,
            where=tuple(where),
            example_trace_id=self._joined.table.column("trace_id")[dearest],
            evidence=evidence,
        )


def _clock(unix_nano: int) -> str:
    """Time of day in UTC."""
    return datetime.fromtimestamp(unix_nano // 10**9, UTC).strftime("%H:%M:%S")
