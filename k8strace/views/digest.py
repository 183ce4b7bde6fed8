"""The report of a digest: where the time went in files of any size, by the hour, and what is uncertain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.text import Text

from k8strace.attribution import Group
from k8strace.digests import Digest, Slow
from k8strace.histograms import Histograms
from k8strace.selecting import text_of
from k8strace.views.breakdown import Wanted, heading, in_order_of, table_lines
from k8strace.views.facts import REASONS
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
    plural,
    wrapped,
)

__all__ = ["digest_lines", "digest_record"]

EVICTED: Final = {
    "evicted_age": "were older than the limit",
    "evicted_spans": "did not fit (max_spans)",
    "evicted_traces": "were too many",
    "evicted_trace_spans": "had too many spans",
    "evicted_bytes": "took too many bytes",
}
"""Why a trace was counted before it was whole."""


def digest_lines(digest: Digest, look: Look, wanted: Wanted) -> list[Text]:
    """The whole report."""
    everything = _group(digest.histograms, wanted)
    if not everything.requests:
        return [Text("No API requests.", style="bold"), *_read(digest, look)]
    error = digest.histograms.total.wall.relative_error
    hours = Wanted(by=("hour",), top=None, quantiles=wanted.quantiles)
    by_hour = table_lines(everything, _groups(digest.hours, hours), look, hours)
    sections = [
        _headline(everything, look),
        [
            *heading(look, "Where the time went", f"on the critical path; quantiles within {error:.1%}"),
            *table_lines(everything, _groups(digest.histograms, wanted), look, wanted),
            *_left_out(digest, look),
        ],
        [*heading(look, "By hour"), by_hour[0], *by_hour[2:]],  # without the line of all hours
        [*heading(look, "The slowest requests"), *_slowest(digest.slowest, look)],
        _read(digest, look),
    ]
    return [line for section in sections for line in (*section, Text())][:-1]


def _quantiles(wanted: Wanted) -> list[float]:
    return sorted({*wanted.quantiles, 0.99})


def _groups(histograms: Histograms, wanted: Wanted) -> list[Group]:
    return in_order_of(wanted, histograms.breakdown(_quantiles(wanted)))


def _group(histograms: Histograms, wanted: Wanted) -> Group:
    """Everything, as a group."""
    whole = Histograms((), [histograms.total])
    return whole.breakdown(_quantiles(wanted))[0]


def _headline(everything: Group, look: Look) -> list[Text]:
    band = everything.all
    what = f"{band.requests:,} {plural(band.requests, 'API request')}, {duration(band.wall_ns)} in all"
    parts = dict(largest_first(band.components))
    return [
        *flowed([Text(what, style="bold"), *component_bar(parts, band.wall_ns, look)], look),
        bar(parts, look.width, look),
    ]


def _left_out(digest: Digest, look: Look) -> list[Text]:
    histograms = digest.histograms
    left_out, others = histograms.left_out, histograms.others
    told = [
        *(
            [f"{count(left_out, 'request')} that stay open by nature or are part of others"]
            if left_out
            else []
        ),
        *([f"{count(others.requests, 'request')} of groups beyond {len(histograms):,}"] if others else []),
    ]
    return [line for each in told for line in wrapped(f"Not in here: {each}", look, style="dim")]


def _slowest(slowest: tuple[Slow, ...], look: Look) -> list[Text]:
    rows = [
        (
            clean(slow.verb or "-", 20),
            clean(slow.resource or "(no resource)", 40),
            duration(slow.wall_ns),
            text_of(slow.start_unix_nano, 0),
            clean(slow.trace_id, 40),
        )
        for slow in slowest
    ]
    return columns(rows, look, align="llrll", spare={3: ""})


# ── What was read, and what could not be known ────────────────────────────────────────────────────


def _read(digest: Digest, look: Look) -> list[Text]:
    ledger = digest.ledger
    used, aside = sum(ledger.used.values()), sum(ledger.set_aside.values())
    spans, batches = count(digest.counts["spans"], "span"), count(digest.counts["batches"], "batch")
    files = count(len(digest.files), "file")
    lines = wrapped(f"Read: {spans} in {batches}, {files}.", look, indent=0, style="dim")
    lines += wrapped(
        f"Ledger: {ledger.spans:,} spans = {used:,} used + {aside:,} set aside.", look, indent=0, style="dim"
    )
    told = list(_unknown(digest))
    if not told:
        return [*lines, *wrapped("Nothing came late, and nothing was cut.", look, indent=0, style="dim")]
    return [*lines, *(line for each in told for line in wrapped(each, look, mark=Text("· "), indent=0))]


def _unknown(digest: Digest) -> Iterator[str]:
    """What is uncertain, and what is wrong with the data."""
    counts = digest.counts
    if not digest.finished:
        yield "It is not finished: the same command goes on."
    for reason, spans in digest.ledger.set_aside.items():
        if spans:
            yield f"{count(spans, 'span')} set aside: {REASONS.get(reason, reason)}"
    if late := counts.get("late_traces", 0):
        yield f"{count(late, 'trace')} came again after being counted: their late spans are not joined to them"
    for name, why in EVICTED.items():
        if traces := counts.get(name, 0):
            yield f"{count(traces, 'trace')} {why} and were counted as they were"
    if spans := counts.get("discarded", 0):
        yield f"{count(spans, 'span')} did not fit at all and were not joined: one message held too many"
    if spans := counts.get("out_of_order", 0):
        yield f"{count(spans, 'span')} were further back in time than the window: their traces may be torn"
    for cause, requests in digest.incomplete.items():
        yield f"{count(requests, 'request')} incomplete: {cause.replace('_', ' ')}"
    if issues := counts.get("issues", 0):
        yield f"{count(issues, 'issue')} in files, first: {clean(digest.issues[0], 300)}"


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────


def digest_record(digest: Digest, wanted: Wanted) -> dict[str, Any]:
    """All of it, for programs; durations in integer ns."""
    return {
        "finished": digest.finished,
        "files": digest.files,
        "counts": digest.counts,
        "incomplete": digest.incomplete,
        "ledger": digest.ledger._asdict(),
        "relative_error": digest.histograms.total.wall.relative_error,
        "left_out": digest.histograms.left_out,
        "groups": [_record(group, wanted) for group in _groups(digest.histograms, wanted)],
        "hours": [_record(group, wanted) for group in digest.hours.breakdown(_quantiles(wanted))],
        "slowest": [slow._asdict() for slow in digest.slowest],
        "issues": digest.issues,
    }


def _record(group: Group, wanted: Wanted) -> dict[str, Any]:
    return {
        **group.keys,
        "count": group.requests,
        "wall_ns": group.all.wall_ns,
        **{f"p{q * 100:g}_ns": group.quantile(q).wall_ns for q in wanted.quantiles},
        "errors": {status: errors._asdict() for status, errors in group.all.errors.items()},
        "components": group.all.components,
        "phases": group.all.phases,
        "slowest_trace_id": group.all.exemplar,
    }
