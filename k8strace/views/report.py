"""The report: what is wrong and costs most, where the time went, the slowest requests, and what was read."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from rich.text import Text

from k8strace.attribution import Attribution, Band
from k8strace.pods import pods
from k8strace.requests import Requests
from k8strace.views.branches import request_lines, title_of
from k8strace.views.breakdown import Wanted, breakdown_lines, heading, open_by_nature, verbs_of
from k8strace.views.facts import (
    REASONS,
    USES,
    Finding,
    Process,
    findings,
    longest,
    processes,
    spans_per_source,
    top_names,
)
from k8strace.views.palette import component_colour, in_order
from k8strace.views.pods import pods_lines
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

Cell = Text | str


def report_lines(attribution: Attribution, joined: Requests, look: Look, wanted: Wanted) -> list[Text]:
    """
    The whole report.

    Args:
        attribution: Where the time of the requests in question went.
        joined: All requests of the same join: what was read and what is wrong is told of all of them.
        look: Width and colours.
        wanted: What to show.
    """
    found = findings(joined.spans, joined)
    sections = [
        _answers(attribution, look, wanted),
        _headline(attribution, joined, look),
        breakdown_lines(attribution, look, wanted),
        *_slowest(attribution, look, wanted.slowest),
        pods_lines(pods(joined), look) if joined.joined.counts["syncs"] else [],
        *_data(joined, found, look, in_full=wanted.verbose or any(each.wrong for each in found)),
    ]
    return [line for section in sections if section for line in (*section, Text())][:-1]


def _data(joined: Requests, found: list[Finding], look: Look, *, in_full: bool) -> list[list[Text]]:
    """What was read, what became of it, and what is wrong with it."""
    if not in_full:
        return [_in_short(joined, look)]
    return [_what_was_read(joined, look), _ledger(joined, look), _what_is_wrong(found, look)]


# ── The answer ────────────────────────────────────────────────────────────────────────────────────

MOST_ANSWERS: Final = 3
"""Findings shown without --verbose, at most."""

_MARKS: Final = {"error": ("! ", "bold red"), "warning": ("! ", "bold yellow"), "info": ("· ", "dim")}


def _answers(attribution: Attribution, look: Look, wanted: Wanted) -> list[Text]:
    """What is wrong, the worst and most costly first: what to do, and an example. Else that nothing is."""
    found = wanted.findings(attribution.requests)
    if not found:
        return []
    shown = found if wanted.verbose else found[:MOST_ANSWERS]
    told: set[str] = set()
    lines = [line for each in shown for line in _answer(each, look, told)]
    more = len(found) - len(shown)
    return [
        *lines,
        *([Text(f"  … {count(more, 'more finding')} with --verbose", style="dim")] if more else []),
    ]


def _answer(finding: dict[str, Any], look: Look, told: set[str]) -> list[Text]:
    """A sentence; for warnings and errors also the fix, unless shown before, and an example."""
    sign, style = _MARKS[finding["severity"]]
    is_bad = finding["severity"] != "info"
    lines = wrapped(
        clean(finding["sentence"], 600),
        look,
        mark=Text(sign, style=style),
        indent=0,
        style="bold" if is_bad else "",
    )
    if not is_bad:
        return lines
    if finding["fix"] not in told:
        lines += wrapped(clean(finding["fix"], 600), look)
        told.add(finding["fix"])
    if finding["example_trace_id"]:
        lines += wrapped(f"Example: trace {clean(finding['example_trace_id'], 40)}", look, style="dim")
    return lines


# ── All of it in two lines ────────────────────────────────────────────────────────────────────────


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


# ── What was read, in short ───────────────────────────────────────────────────────────────────────


def _in_short(joined: Requests, look: Look) -> list[Text]:
    """What was read and what became of it, where nothing is wrong with it."""
    spans, ledger = joined.spans, joined.joined.ledger
    used, aside = sum(ledger.used.values()), sum(ledger.set_aside.values())
    traces, batches = count(joined.joined.counts["traces"], "trace"), count(spans.counts["batches"], "batch")
    return [
        *wrapped(f"Read: {count(len(spans), 'span')} in {traces}, {batches}.", look, indent=0, style="dim"),
        *wrapped(
            f"Ledger: {ledger.spans:,} spans = {used:,} used + {aside:,} set aside. Nothing is wrong with the data.",
            look,
            indent=0,
            style="dim",
        ),
    ]


# ── What was read ─────────────────────────────────────────────────────────────────────────────────


def _what_was_read(joined: Requests, look: Look) -> list[Text]:
    spans = joined.spans
    traces = count(joined.joined.counts["traces"], "trace")
    rest = f"{count(len(spans), 'span')} in {traces}, {count(spans.counts['batches'], 'batch')}"
    return [*heading(look, "Read", rest), *_sources(joined, look), *_processes(joined, look)]


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
    ledger = joined.joined.ledger
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
    return [*heading(look, "Ledger", total), *(line for each in lines for line in each)]


def _reason(joined: Requests, reason: str) -> str:
    text = REASONS.get(reason, clean(reason))
    return f"{text}: {top_names(joined, reason)}" if reason == "unrelated" else text


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
    return [[*heading(look, title, key), *first], *others]


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
    untimed = len(selected.where(has_valid_times=False))
    open_ended = selected.where(long_running=True)
    told = []
    if len(open_ended) and not any(listed.column("long_running")):
        verb = "is" if len(open_ended) == 1 else "are"
        told.append(f"{open_by_nature(open_ended)} {verb} not in the table: {verbs_of(open_ended)}")
    if untimed:
        told.append(
            f"{count(untimed, 'request')} whose times cannot be true {'is' if untimed == 1 else 'are'} not in the table"
        )
    return [line for each in told for line in wrapped(each, look, indent=0, style="dim")]


# ── What is wrong ─────────────────────────────────────────────────────────────────────────────────


def _what_is_wrong(found: list[Finding], look: Look) -> list[Text]:
    lines = [*heading(look, "What is wrong with the data")]
    if not found:
        lines.append(Text("  Nothing."))
    elif not any(finding.wrong for finding in found):
        lines.append(Text("  Nothing. Normal, or put right:"))
    for finding in found:
        mark = Text("! ", style="bold red") if finding.wrong else Text("· ", style="dim")
        lines.extend(wrapped(finding.text, look, mark=mark))
    return lines
