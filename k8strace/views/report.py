"""The report: where the time went, what was read, the slowest requests, what is wrong with the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.text import Text

from k8strace.attribution import Attribution, Band, Group
from k8strace.requests import Requests
from k8strace.views.branches import request_lines, title_of
from k8strace.views.facts import (
    REASONS,
    USES,
    Process,
    findings,
    longest,
    processes,
    spans_per_source,
    top_names,
)
from k8strace.views.palette import component_colour, in_order
from k8strace.views.text import (
    Look,
    bar,
    clean,
    columns,
    component_bar,
    count,
    duration,
    flowed,
    largest_first,
    more_of,
    percent,
    plural,
    size,
    wrapped,
)

__all__ = ["Wanted", "report_lines", "requests_lines"]

TREE_LIMIT: Final = 30
"""Spans of a tree that the report shows."""

QUANTILES: Final = (0.5, 0.9, 0.99)

Cell = Text | str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the report should hold."""

    by: tuple[str, ...] = ("verb", "resource")
    """Columns to group by."""
    top: int | None = 12
    """Groups in the table; None for all."""
    slowest: int = 3
    """Requests with a call tree."""


def report_lines(attribution: Attribution, joined: Requests, look: Look, wanted: Wanted) -> list[Text]:
    """
    The whole report.

    Args:
        attribution: Where the time of the requests in question went.
        joined: All requests of the same join: what was read and what is wrong is told of all of them.
        look: Width and colours.
        wanted: What to show.
    """
    sections = [
        _headline(attribution, joined, look),
        _what_was_read(joined, look),
        _ledger(joined, look),
        _breakdown(attribution, look, wanted),
        *_slowest(attribution, look, wanted.slowest),
        _what_is_wrong(joined, look),
    ]
    return [line for section in sections if section for line in (*section, Text())][:-1]


def _heading(look: Look, title: str, rest: str = "") -> list[Text]:
    return flowed(
        [Text(title, style="bold"), *([Text(rest, style="dim")] if rest else [])], look, between="  "
    )


# ── The answer in two lines ───────────────────────────────────────────────────────────────────────


def _headline(attribution: Attribution, joined: Requests, look: Look) -> list[Text]:
    overall = _overall(attribution)
    if overall is None:
        return wrapped(_why_nothing(attribution, joined), look, indent=0, style="bold")
    chosen = f" of {len(joined):,}" if len(attribution) < len(joined) else ""
    what = f"{overall.requests:,}{chosen} {plural(overall.requests, 'API request')}"
    parts = dict(largest_first(overall.components))
    title = Text(f"{what}, {duration(overall.wall_ns)} in all", style="bold")
    return [
        *flowed([title, *component_bar(parts, overall.wall_ns, look)], look),
        bar(parts, look.width, look),
    ]


def _why_nothing(attribution: Attribution, joined: Requests) -> str:
    if not len(joined):
        return "No API requests."
    if not len(attribution):
        return f"None of {count(len(joined), 'API request')} is selected."
    return f"{count(len(attribution), 'API request')}, none of which is measured by its duration."


def _overall(attribution: Attribution) -> Band | None:
    groups = attribution.by()
    return groups[0].all if len(groups) else None


# ── What was read ─────────────────────────────────────────────────────────────────────────────────


def _what_was_read(joined: Requests, look: Look) -> list[Text]:
    spans = joined.spans
    traces = count(joined.counts["traces"], "trace")
    rest = f"{count(len(spans), 'span')} in {traces}, {count(spans.counts['batches'], 'batch')}"
    return [*_heading(look, "Read", rest), *_sources(joined, look), *_processes(joined, look)]


def _sources(joined: Requests, look: Look) -> list[Text]:
    per_source = spans_per_source(joined.spans)
    rows = [
        (
            clean(source.path),
            clean(source.format),
            size(source.bytes),
            count(source.batches, "batch"),
            count(spans, "span"),
        )
        for source, spans in zip(joined.spans.sources, per_source, strict=True)
    ]
    if len(rows) >= 12:
        return _many_sources(joined, look)
    return columns(rows, look, align="llrrr", spare={3: "batches", 1: "formats", 2: "bytes"})


def _many_sources(joined: Requests, look: Look) -> list[Text]:
    formats = Counter(source.format for source in joined.spans.sources)
    total = sum(source.bytes for source in joined.spans.sources)
    told = ", ".join(f"{clean(name)} {number_of:,}" for name, number_of in formats.most_common())
    files = count(len(joined.spans.sources), "source")
    return wrapped(f"{files}, {size(total)}: {told}", look)


def _processes(joined: Requests, look: Look, most: int = 8) -> list[Text]:
    known = processes(joined.spans, joined)
    rows = [
        (
            clean(each.service or "(no service.name)", 40),
            clean(each.instance or "(no instance id)", 60),
            _versions(each),
            count(each.spans, "span"),
        )
        for each in known[:most]
    ]
    lines = columns(rows, look, align="lllr", elastic=1, spare={2: "versions"})
    more = len(known) - most
    return [*lines, more_of(more, "process", "  ")] if more > 0 else lines


def _versions(process: Process) -> str:
    own = [clean(process.version, 30)] if process.version else []
    libraries = [
        f"{clean(name, 30)} {'/'.join(clean(version, 20) for version in sorted(versions))}"
        for name, versions in sorted(process.libraries.items())
    ]
    return clean(", ".join(own + libraries), 60)


# ── The ledger ────────────────────────────────────────────────────────────────────────────────────


def _ledger(joined: Requests, look: Look) -> list[Text]:
    ledger = joined.ledger
    used, aside = sum(ledger.used.values()), sum(ledger.set_aside.values())
    total = f"{ledger.spans:,} spans = {used:,} used + {aside:,} set aside"
    rows = [
        *((spans, "used", USES.get(use, clean(use))) for use, spans in ledger.used.items() if spans),
        *((spans, "set aside", _reason(joined, why)) for why, spans in ledger.set_aside.items() if spans),
    ]
    width = max((len(f"{spans:,}") for spans, *_ in rows), default=0)
    lines = [
        wrapped(
            text,
            look,
            mark=Text(f"{spans:>{width},}  {place:<9}  " if look.width >= 70 else f"{spans:>{width},}  "),
        )
        for spans, place, text in rows
    ]
    return [*_heading(look, "Ledger", total), *(line for each in lines for line in each)]


def _reason(joined: Requests, reason: str) -> str:
    text = REASONS.get(reason, clean(reason))
    return f"{text}: {top_names(joined, reason)}" if reason == "unrelated" else text


# ── The table ─────────────────────────────────────────────────────────────────────────────────────


def _breakdown(attribution: Attribution, look: Look, wanted: Wanted) -> list[Text]:
    overall = _overall(attribution)
    if overall is None:
        return _left_out(attribution, look)
    names = list(in_order(overall.components))
    wide = look.width >= 110
    header = [*wanted.by, "count", "p50", "p90", "p99", "total", *names, *([""] if wide else [])]
    rows: list[list[Cell]] = [
        [Text(clean(cell), style="dim") for cell in header],
        *(
            [
                *keys,
                f"{band.requests:,}",
                *waits,
                duration(band.wall_ns),
                *_composition(band, names, look, wide=wide),
            ]
            for keys, waits, band in _table(attribution, wanted)
        ),
    ]
    align = "l" * len(wanted.by) + "r" * (5 + len(names)) + ("l" if wide else "")
    return [
        *_heading(look, "Where the time went", _METHODS[attribution.method]),
        *columns(
            rows,
            look,
            align=align,
            elastic=max(len(wanted.by) - 1, 0),
            spare=_spare(len(wanted.by), names, overall, wide=wide),
        ),
        *_left_out(attribution, look),
    ]


def _spare(keys: int, names: Sequence[str], overall: Band, *, wide: bool) -> dict[int, str]:
    """Columns that a narrow table can do without, the first one first: the bar, quantiles, smaller components."""
    place = {name: keys + at for at, name in enumerate(("count", "p50", "p90", "p99", "total", *names))}
    smallest_first = [name for name, _ in reversed(largest_first(overall.components))]
    order = ("p90", "p50", *smallest_first[:-2], "total", *smallest_first[-2:], "count", "p99")
    bar = {keys + 5 + len(names): ""} if wide else {}
    return bar | {place[name]: name for name in order}


def _table(attribution: Attribution, wanted: Wanted) -> Iterator[tuple[list[Cell], list[str], Band]]:
    """The rows of the table: keys, wall quantiles, and what the time was made of."""
    (everything,) = attribution.by(quantiles=QUANTILES)
    groups = attribution.by(*wanted.by, quantiles=QUANTILES)
    shown = groups.groups[: wanted.top]
    yield _all_keys(wanted.by, "all"), _waits(everything), everything.all
    for group in shown if wanted.by else ():
        yield [_key(column, value) for column, value in group.keys.items()], _waits(group), group.all
    more = len(groups) - len(shown)
    if more:
        yield _all_keys(wanted.by, f"{more:,} more"), ["", "", ""], _together(groups.groups[len(shown) :])


def _waits(group: Group) -> list[str]:
    return [duration(group.quantile(q).wall_ns) for q in QUANTILES]


def _all_keys(by: Sequence[str], label: str) -> list[Cell]:
    return [Text(label, style="dim"), *([""] * (len(by) - 1))] if by else []


def _key(column: str, value: Any) -> Cell:
    if value is not None:
        return clean(value, 60)
    return "(no resource)" if column == "resource" else "-"


def _composition(band: Band, names: Sequence[str], look: Look, *, wide: bool) -> list[Cell]:
    parts = {name: band.components.get(name, 0) for name in names}
    shares = [Text(percent(parts[name], band.wall_ns), style=component_colour(name)) for name in names]
    return [*shares, *([bar(parts, 16, look)] if wide else [])]


def _together(groups: Sequence[Group]) -> Band:
    """What these groups come to."""
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
    )


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
        *([f"{_open_by_nature(open_ended)} ({_verbs(open_ended)})"] if len(open_ended) else []),
    ]
    return [line for each in told for line in wrapped(f"Not in here: {each}", look, style="dim")]


def _open_by_nature(requests: Requests) -> str:
    return (
        f"{count(len(requests), 'request')} that {'stays' if len(requests) == 1 else 'stay'} open by nature"
    )


def _verbs(requests: Requests) -> str:
    verbs = Counter(verb or "other" for verb in requests.column("verb"))
    return ", ".join(f"{clean(verb, 20)} {number_of:,}" for verb, number_of in verbs.most_common(4))


# ── Requests ──────────────────────────────────────────────────────────────────────────────────────


def _slowest(attribution: Attribution, look: Look, most: int) -> list[list[Text]]:
    slowest = list(longest(attribution.requests, most))
    if not slowest:
        return []
    key = "█ waited for: on the critical path   ─ open, not waited for" if look.width >= 90 else ""
    first, *others = (
        request_lines(request, attribution, look, rank=rank, limit=TREE_LIMIT)
        for rank, request in enumerate(slowest, 1)
    )
    title = "The slowest request" if len(slowest) == 1 else f"The {len(slowest)} slowest requests"
    return [[*_heading(look, title, key), *first], *others]


def requests_lines(attribution: Attribution, selected: Requests, look: Look, limit: int | None) -> list[Text]:
    """
    A table of requests in their order.

    Args:
        attribution: Where the time of the requests in the table went.
        selected: The same, and those that are left out: how many, and why, is said.
        look: Width and colours.
        limit: Rows at most; None for all.
    """
    requests = attribution.requests
    names = list(in_order(dict.fromkeys(attribution.component_names, 1)))
    header: list[Cell] = [Text(cell, style="dim") for cell in ("wall", "HTTP", "request", "trace", *names)]
    rows: list[list[Cell]] = [header]
    for request in requests[:limit]:
        parts = attribution.components(request.request)
        shares = [
            Text(percent(parts.get(name, 0), request.wall_ns), style=component_colour(name)) for name in names
        ]
        status = "-" if request.http_status is None else str(request.http_status)
        title = title_of(request) if request.counted_in is None else f"↳ {title_of(request)}"
        rows.append([duration(request.wall_ns), status, title, request.trace_id[:12], *shares])
    spare = {4 + at: name for at, name in reversed([*enumerate(names)])} | {1: "HTTP"}
    lines = columns(rows, look, align="rrll" + "r" * len(names), elastic=2, indent=0, spare=spare)
    more = len(requests) - len(rows) + 1
    return [*lines, *([more_of(more, "request")] if more > 0 else []), *_not_listed(requests, selected, look)]


def _not_listed(listed: Requests, selected: Requests, look: Look) -> list[Text]:
    """How many of the selected requests cannot be in a table by duration, and why."""
    untimed = len(selected.where(timed=False))
    open_ended = selected.where(long_running=True)
    told = []
    if len(open_ended) and not any(listed.column("long_running")):
        verb = "is" if len(open_ended) == 1 else "are"
        told.append(f"{_open_by_nature(open_ended)} {verb} not in the table: {_verbs(open_ended)}")
    if untimed:
        told.append(
            f"{count(untimed, 'request')} whose times cannot be true {'is' if untimed == 1 else 'are'} not in the table"
        )
    return [line for each in told for line in wrapped(each, look, indent=0, style="dim")]


# ── What is wrong ─────────────────────────────────────────────────────────────────────────────────


def _what_is_wrong(joined: Requests, look: Look) -> list[Text]:
    found = findings(joined.spans, joined)
    lines = [*_heading(look, "What is wrong with the data")]
    if not found:
        lines.append(Text("  Nothing."))
    elif not any(finding.wrong for finding in found):
        lines.append(Text("  Nothing. Normal, or put right:"))
    for finding in found:
        mark = Text("! ", style="bold red") if finding.wrong else Text("· ", style="dim")
        lines.extend(wrapped(finding.text, look, mark=mark))
    return lines
