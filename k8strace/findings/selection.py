"""What detectors read: columns of the selected requests, their calls, and ns on their critical paths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, compress
from operator import add
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
    Calls of the selected requests: columns of one of the core's tables, and two more.

    `held` is the request whose time a call is in: the outermost one. `critical_ns` is its part of the critical path.
    """

    def __init__(self, columns: Mapping[str, list[Any]], held: list[int], critical_ns: list[int]) -> None:
        self.columns = columns
        self.held = held
        self.critical_ns = critical_ns

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]

    def groups(self, *names: str, kept: Callable[[int], bool] = lambda _: True) -> dict[Any, list[int]]:
        """Values of columns → places of the calls, in order."""
        groups: dict[Any, list[int]] = {}
        for at, key in enumerate(zip(*(self.columns[name] for name in names), strict=True)):
            if kept(at):
                groups.setdefault(key, []).append(at)
        return groups

    def outlay(self, places: Iterable[int]) -> Outlay:
        """The requests of these calls, and what the calls cost in each."""
        chosen = list(places)
        held, ns = map(self.held.__getitem__, chosen), map(self.critical_ns.__getitem__, chosen)
        return Outlay.of(zip(held, ns, strict=True))


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

    def column(self, name: str) -> list[Any]:
        """A column of these requests, in the order of `rows`."""
        return self.kept._list(name)

    def groups(self, *names: str, rows: Iterable[int] | None = None) -> dict[tuple[Any, ...], list[int]]:
        """Values of columns → rows, in order."""
        chosen = self.kept if rows is None else type(self.kept)(self._joined, list(rows))
        grouped = chosen._by_key(names)
        return {values: grouped.rows(at) for at, values in enumerate(chosen._values(names, grouped))}

    @cached_property
    def total_ns(self) -> int:
        """The sum of these requests' wall times."""
        return sum(self.column("wall_ns"))

    @cached_property
    def lasted(self) -> tuple[int, int]:
        """From when to when there were requests, in unix ns."""
        return self._times(self.rows) if self.rows else (0, 0)

    def wall(self, rows: Iterable[int]) -> Outlay:
        """These requests with all their wall time."""
        wall = self.of_all("wall_ns")
        chosen = list(rows)
        return Outlay(chosen, [wall[row] for row in chosen])

    # ── Where the time went ───────────────────────────────────────────────────────────────────────

    @cached_property
    def _attribution(self) -> Any:
        return attribute(self.kept)

    def phase(self, name: str) -> Outlay:
        """The requests in which a phase took time, and how much."""
        attribution = self._attribution
        if name not in attribution._names:
            return Outlay([], [])
        return Outlay(*attribution._core.spent(attribution._names.index(name), self.rows))

    def critical_within(self, windows: Sequence[tuple[int, int, int]]) -> tuple[list[int], list[int | None]]:
        """
        The time on the critical path below given spans, within given times.

        Args:
            windows: (row of the span in `Requests.spans`, from, to), unix ns.

        Returns:
            For each window: ns, and the one of these requests that contains it; None if none does.
        """
        return self._critical(*([window[at] for window in windows] for at in range(3)))

    def _critical(
        self, spans: Sequence[int], begin: Sequence[int], end: Sequence[int]
    ) -> tuple[list[int], list[int | None]]:
        """The same by columns, since one span in ten may be a call."""
        answers = self._joined.phase_table.answers
        return self._joined.core.critical_within(answers, self.rows, spans, begin, end)

    @property
    def etcd_calls(self) -> Calls:
        """
        The etcd calls of these requests that a finding can come from, by start; most calls are left out.

        They are lists, reads that a request repeats, calls that etcd refused with those beside them, and calls that end
        after their request.

        Columns: `span`, its row in `spans`, and `above`, that of the one around it; `method`, `operation`, `key` as in
        `Requests.etcd_calls`; `start_unix_nano`; `ns`, its length; `retry`, whether it repeats one that etcd refused;
        `revision` and `continued`, what it asked for, if known.
        """
        return self._calls[_TELLING]

    @property
    def webhook_calls(self) -> Calls:
        """The webhook calls of these requests, by start: columns of `Requests.webhook_calls`."""
        return self._calls["webhook_call_details"]

    @cached_property
    def by_webhook(self) -> dict[str, list[int]]:
        """Webhook → the places of its calls, in order."""
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for at, webhook in enumerate(self.webhook_calls["webhook"]):
            if webhook is not None:
                groups[webhook].append(at)
        return dict(groups)

    @property
    def conflicts(self) -> Calls:
        """Updates of these requests that conflicted with others; `critical_ns` is that of the failed attempts."""
        return self._calls["conflicts"]

    @cached_property
    def _calls(self) -> dict[str, Calls]:
        """All three, so that the critical paths are walked once."""
        tables = {name: self._columns(self._table(name), names) for name, names in _CALLS.items()}
        windows = [_windows(columns) for columns in tables.values()]
        ns, held = self._critical(*(list(chain.from_iterable(each)) for each in zip(*windows, strict=True)))
        calls, begin = {}, 0
        for table, columns in tables.items():
            end = begin + len(columns["span"])
            calls[table] = _held(columns, held[begin:end], ns[begin:end])
            begin = end
        return calls

    def _table(self, name: str) -> _core.Table:
        return self._joined.core.telling_calls(self.rows) if name == _TELLING else self._joined.named(name)

    @staticmethod
    def _columns(table: _core.Table, names: Iterable[str]) -> dict[str, list[Any]]:
        return {name: table.column(name).to_pylist() for name in names}

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

    def _times(self, rows: Iterable[int]) -> tuple[int, int]:
        chosen = list(rows)
        start, end = self.of_all("start_unix_nano"), self._ends
        return min(map(start.__getitem__, chosen)), max(map(end.__getitem__, chosen))

    @cached_property
    def _ends(self) -> list[int]:
        return [*map(add, self.of_all("start_unix_nano"), self.of_all("wall_ns"))]

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


_TELLING: Final = "etcd_call_details"
"""The one table of which only some rows are read."""

_CALLS: Final = {
    _TELLING: (
        *("span", "above", "method", "operation", "key", "start_unix_nano", "ns"),
        *("retry", "revision", "continued"),
    ),
    "webhook_call_details": (
        *("span", "request", "webhook", "client_ns"),
        *("timeout_ns", "http_status", "error"),
    ),
    "conflicts": ("span", "key", "conflicts", "from_unix_nano", "to_unix_nano"),
}
"""Tables of the core, and the columns that detectors read."""


def _windows(columns: Mapping[str, list[Any]]) -> tuple[list[int], list[int], list[int]]:
    """Where the time of each call is counted: below its span, and within its times if it has any."""
    spans = columns["span"]
    begin = columns.get("from_unix_nano", [BEFORE] * len(spans))
    return spans, begin, columns.get("to_unix_nano", [AFTER] * len(spans))


def _held(columns: Mapping[str, list[Any]], held: list[int | None], ns: list[int]) -> Calls:
    """The calls that are within the time of one of the selected requests."""
    kept = [row is not None for row in held]
    rows = [row for row in held if row is not None]
    if len(rows) < len(held):
        columns = {name: list(compress(values, kept)) for name, values in columns.items()}
        ns = list(compress(ns, kept))
    return Calls(columns, rows, ns)


def _clock(unix_nano: int) -> str:
    """Time of day in UTC."""
    return datetime.fromtimestamp(unix_nano // 10**9, UTC).strftime("%H:%M:%S")
