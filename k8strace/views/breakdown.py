"""The table of a report: groups of requests with their durations, errors and the parts of their time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from k8strace.attribution import Attribution, Band, Errors, Group
from k8strace.components import component_of
from k8strace.keys import step_of
from k8strace.requests import Requests
from k8strace.selecting import moment_of, text_of
from k8strace.views.palette import component_colour, in_order
from k8strace.views.text import (
    LEAST_TEXT,
    Look,
    bar,
    clean,
    columns,
    count,
    duration,
    flowed,
    largest_first,
    percent,
    wrapped,
)

if TYPE_CHECKING:
    from k8strace.formats.client_times import ClientTime
    from k8strace.formats.content import Readable

__all__ = [
    "Wanted",
    "breakdown_lines",
    "groups_of",
    "heading",
    "in_order_of",
    "open_by_nature",
    "table_lines",
    "verbs_of",
]

QUANTILES: Final = (0.5, 0.9, 0.99)

BAR: Final = 16
"""Characters of the bar of a row."""

LOAD: Final = 10
"""Characters of the bar for the number of requests."""

LEAST_KEY: Final = 28
"""Characters of a single key, as long as another column can be left out instead."""

MOST_STEPS: Final = 500
"""If there are at most this many steps of time, those without requests are shown too."""

Cell = Text | str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of a report."""

    by: tuple[str, ...] = ("verb", "resource")
    """Columns to group by."""
    top: int | None = 12
    """Groups in the table; None for all. Steps of time are all shown."""
    slowest: int = 3
    """Requests with a call tree."""
    quantiles: tuple[float, ...] = QUANTILES
    """Quantiles of the wall time, ascending."""
    sort: str | None = None
    """Order of groups: a key of `SORTS`; None for time if it is the first key, else "total"."""
    phases: bool = False
    """Whether to show the phases of each group."""
    verbose: bool = False
    """Whether to show everything that was read, and all findings."""
    client_times: Sequence[ClientTime] = ()
    """Clients' own times, for findings."""
    audit: Readable | None = None
    """The audit log, for findings."""

    def findings(self, requests: Requests) -> list[dict[str, Any]]:
        """What is wrong in these requests."""
        return list(requests.findings(client_times=self.client_times, audit=self.audit))


# ── Order ─────────────────────────────────────────────────────────────────────────────────────────

SORTS: Final = {
    "total": lambda group: group.all.wall_ns,
    "count": lambda group: group.requests,
    "errors": lambda group: sum(errors.requests for errors in group.all.errors.values()),
    "p99": lambda group: group.quantile(0.99).wall_ns,
}
"""What groups can be sorted by, the largest first."""


def groups_of(attribution: Attribution, wanted: Wanted) -> list[Group]:
    """The groups, in the order of the options."""
    quantiles = sorted({*wanted.quantiles, 0.99})
    return in_order_of(wanted, attribution.by(*wanted.by, quantiles=quantiles))


def in_order_of(wanted: Wanted, groups: Iterable[Group]) -> list[Group]:
    """Sorts groups, which come with most time first."""
    if wanted.sort is None and wanted.by and step_of(wanted.by[0]):
        return sorted(groups, key=lambda group: (group.keys[wanted.by[0]] or "", -group.all.wall_ns))
    return sorted(groups, key=SORTS[wanted.sort or "total"], reverse=True)


# ── The table ─────────────────────────────────────────────────────────────────────────────────────


def heading(look: Look, title: str, rest: str = "") -> list[Text]:
    """A title, and what it is about."""
    return flowed(
        [Text(title, style="bold"), *([Text(rest, style="dim")] if rest else [])], look, between="  "
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the table; without a band, a step of time without requests."""

    keys: list[Cell]
    group: Group | None
    band: Band | None


def breakdown_lines(attribution: Attribution, look: Look, wanted: Wanted) -> list[Text]:
    """The table with its heading, and the requests that are not in it."""
    quantiles = sorted({*wanted.quantiles, 0.99})
    everything = next(iter(attribution.by(quantiles=quantiles)), None)
    if everything is None:
        return _left_out(attribution, look)
    return [
        *heading(look, "Where the time went", _METHODS[attribution.method]),
        *table_lines(everything, groups_of(attribution, wanted), look, wanted),
        *_left_out(attribution, look),
    ]


def table_lines(everything: Group, groups: Sequence[Group], look: Look, wanted: Wanted) -> list[Text]:
    """The table of some groups, below a row of everything."""
    table = _Table(everything.all, look, wanted)
    rows = list(_rows(everything, groups, wanted))
    most = max((row.band.requests for row in rows[1:] if row.band), default=0)
    cells = [table.header(), *(table.cells(row, most) for row in rows)]
    least = LEAST_KEY if len(wanted.by) == 1 else LEAST_TEXT
    lines = columns(
        cells,
        look,
        align=table.align(),
        elastic=max(len(wanted.by) - 1, 0),
        spare=table.spare(),
        least=least,
        keep_ends=True,
    )
    return _with_phases(lines, rows, look) if wanted.phases else lines


class _Table:
    """The columns of the table, their cells, and which are left out in a narrow output."""

    def __init__(self, overall: Band, look: Look, wanted: Wanted) -> None:
        self.names = list(in_order(overall.components))
        self.statuses = [*overall.errors]
        self.overall = overall
        self.look = look
        self.wanted = wanted
        self.is_timeline = len(wanted.by) == 1 and step_of(wanted.by[0]) is not None
        self.has_bar = look.width >= 110 or self.is_timeline

    def header(self) -> list[Cell]:
        quantiles = [f"p{q * 100:g}" for q in self.wanted.quantiles]
        load = ["load"] if self.is_timeline else []
        names = [*self.wanted.by, *load, "count", *self.statuses, *quantiles, "total", *self.names]
        return [Text(clean(cell), style="dim") for cell in [*names, *([""] if self.has_bar else [])]]

    def align(self) -> str:
        numbers = 1 + len(self.statuses) + len(self.wanted.quantiles) + 1 + len(self.names)
        keys = "l" * (len(self.wanted.by) + self.is_timeline)
        return keys + "r" * numbers + ("l" if self.has_bar else "")

    def cells(self, row: _Row, most: int) -> list[Cell]:
        band, width = row.band, len(self.align())
        if band is None:
            return [*row.keys, "", "0", *[""] * (width - len(row.keys) - 2)]
        waits = [duration(row.group.quantile(q).wall_ns) if row.group else "" for q in self.wanted.quantiles]
        parts = {name: band.components.get(name, 0) for name in self.names}
        return [
            *row.keys,
            *([self._load(band, most)] if self.is_timeline else []),
            f"{band.requests:,}",
            *(_errors(band.errors.get(status), band) for status in self.statuses),
            *waits,
            duration(band.wall_ns),
            *(Text(percent(ns, band.wall_ns), style=component_colour(name)) for name, ns in parts.items()),
            *([bar(parts, BAR, self.look)] if self.has_bar else []),
        ]

    def _load(self, band: Band, most: int) -> Text:
        """A bar of the number of requests, relative to the largest step; nothing for the row of all."""
        if band.requests > most:
            return Text()
        return Text(
            ("█" if self.look.colour else "#") * max(round(LOAD * band.requests / max(most, 1)), 1), "cyan"
        )

    def spare(self) -> dict[int, str]:
        """Columns to leave out of a narrow table, in this order."""
        quantiles = [f"p{q * 100:g}" for q in self.wanted.quantiles]
        keys = len(self.wanted.by) + self.is_timeline
        names = ["count", *self.statuses, *quantiles, "total", *self.names]
        place = {name: keys + at for at, name in enumerate(names)}
        smallest_first = [name for name, _ in reversed(largest_first(self.overall.components))]
        middle = [*reversed(quantiles[1:-1]), *quantiles[: len(quantiles) > 1]]
        errors = self.statuses[::-1]
        order = [
            *middle,
            *smallest_first[:-3],
            *errors,
            *smallest_first[-3:-2],
            "total",
            *smallest_first[-2:],
            "count",
        ]
        order += quantiles[-1:]
        asked = [*errors] if self.wanted.sort == "errors" else [self.wanted.sort]
        # What the rows are sorted by goes last.
        by_order = {place[name]: name for name in sorted(order, key=asked.__contains__)}
        if not self.is_timeline:
            return ({keys + len(names): ""} if self.has_bar else {}) | by_order
        return {place[name]: name for name in smallest_first} | by_order  # the bar has the shares too


def _errors(errors: Errors | None, band: Band) -> Cell:
    """The number of errors, and their share of the time."""
    if errors is None:
        return Text("·", style="dim")
    return Text(f"{errors.requests:,} {percent(errors.wall_ns, band.wall_ns)}", style="red")


def _rows(everything: Group, groups: Sequence[Group], wanted: Wanted) -> Iterator[_Row]:
    yield _Row(_all_keys(wanted.by, "all"), everything, everything.all)
    if not wanted.by:
        return
    step = step_of(wanted.by[0])
    shown = groups if step and wanted.sort is None else groups[: wanted.top]
    told = _times(shown, wanted.by[0]) if step else {}
    last = None
    for group in shown:
        place = _place(group.keys[wanted.by[0]], step)
        if step and len(wanted.by) == 1 and wanted.sort is None:
            yield from _empty(last, place, step)
        last = place
        keys = [_key(column, value) for column, value in group.keys.items()]
        yield _Row([told.get(keys[0], keys[0]), *keys[1:]], group, group.all)
    if len(shown) < len(groups):
        rest = groups[len(shown) :]
        yield _Row(_all_keys(wanted.by, f"{len(rest):,} more"), None, _together(rest))


def _place(value: Any, step: int | None) -> int | None:
    """Number of a step of time."""
    at = moment_of(value, (0, 0)) if step and value is not None else None
    return None if at is None or step is None else at // step


def _empty(last: int | None, place: int | None, step: int) -> Iterator[_Row]:
    """The steps without requests between two steps."""
    if last is None or place is None or place - last > MOST_STEPS:
        return
    for number in range(last + 1, place):
        yield _Row([_clock(text_of(number * step, 0 if step % 10**9 == 0 else 9))], None, None)


def _times(groups: Iterable[Group], column: str) -> dict[Cell, str]:
    """Times without the date, if all are on one day."""
    values = {str(group.keys[column]) for group in groups if group.keys[column]}
    if len({value[:10] for value in values}) > 1:
        return {value: value.replace("T", " ").removesuffix("Z") for value in values}
    return {value: _clock(value) for value in values}


def _clock(text: str) -> str:
    return re.sub(r"^.*T|Z$", "", text)


LEAST_PHASE: Final = 200
"""A phase is shown if it took at least this part of the time (one in N)."""


def _phases(band: Band) -> list[Text]:
    shown = [(name, ns) for name, ns in largest_first(band.phases) if LEAST_PHASE * ns >= band.wall_ns]
    return [
        Text.assemble((clean(name), component_colour(component_of(name))), " ", percent(ns, band.wall_ns))
        for name, ns in shown
    ]


def _with_phases(lines: list[Text], rows: Sequence[_Row], look: Look) -> list[Text]:
    """Adds the phases of its time below each row."""
    told = [lines[0]]
    for line, row in zip(lines[1:], rows, strict=False):
        told.append(line)
        if row.band:
            parts = [
                Text.assemble(
                    (clean(name), component_colour(name.partition(".")[0])),
                    " ",
                    percent(ns, row.band.wall_ns),
                )
                for name, ns in largest_first(row.band.phases)
                if 200 * ns >= row.band.wall_ns
            ]
            told += flowed(parts, look, between="  ", hang="    ")
    return [*told, *lines[len(rows) + 1 :]]


def _all_keys(by: Sequence[str], label: str) -> list[Cell]:
    return [Text(label, style="dim"), *([""] * (len(by) - 1))] if by else []


def _key(column: str, value: Any) -> Cell:
    if value is not None:
        return clean(value, 60)
    return "(no resource)" if column == "resource" else "-"


def _together(groups: Sequence[Group]) -> Band:
    """The sum of these groups."""
    bands = [group.all for group in groups]
    phases: Counter[str] = Counter()
    for band in bands:
        phases.update(band.phases)
    slowest = max(bands, key=lambda band: band.exemplar_wall_ns)
    return Band(
        requests=sum(band.requests for band in bands),
        wall_ns=sum(band.wall_ns for band in bands),
        phases=dict(phases),
        exemplar=slowest.exemplar,
        exemplar_wall_ns=slowest.exemplar_wall_ns,
        errors=_errors_of(bands),
    )


def _errors_of(bands: Sequence[Band]) -> dict[str, Errors]:
    found: dict[str, Errors] = {}
    for band in bands:
        for status, errors in band.errors.items():
            so_far = found.get(status, Errors(0, 0))
            found[status] = Errors(so_far.requests + errors.requests, so_far.wall_ns + errors.wall_ns)
    return found


_METHODS: Final = {
    "critical_path": "share of wall time on the critical path",
    "active_share": "each instant divided among the active spans",
    "self_time": "self time: more than 100% where spans overlap",
}


def _left_out(attribution: Attribution, look: Look) -> list[Text]:
    requests = attribution.requests
    inner = len(requests) - len(requests.outermost())
    open_ended = requests.where(long_running=True)
    told = [
        *([f"{count(inner, 'request')} that happened inside others, whose time has theirs"] if inner else []),
        *([f"{open_by_nature(open_ended)} ({verbs_of(open_ended)})"] if len(open_ended) else []),
    ]
    return [line for each in told for line in wrapped(f"Not in here: {each}", look, style="dim")]


def open_by_nature(requests: Requests) -> str:
    """The number of long-running requests."""
    return (
        f"{count(len(requests), 'request')} that {'stays' if len(requests) == 1 else 'stay'} open by nature"
    )


def verbs_of(requests: Requests) -> str:
    """Their most common verbs, with the number of each."""
    verbs = Counter(verb or "other" for verb in requests.column("verb"))
    return ", ".join(f"{clean(verb, 20)} {number_of:,}" for verb, number_of in verbs.most_common(4))
