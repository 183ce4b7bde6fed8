"""The table that `k8strace serve` shows while it runs: rates, where the time went, the slowest, what the data lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from rich.text import Text

from k8strace.receiver.metrics.tally import Group, Slow, Tally
from k8strace.views.palette import in_order
from k8strace.views.text import (
    Look,
    bar,
    clean,
    columns,
    component_bar,
    count,
    duration,
    largest_first,
    number,
    percent,
    size,
    tenths,
    wrapped,
)

__all__ = ["Snapshot", "live_lines", "log_line"]

Shown = TypeVar("Shown")

BAR_CELLS: Final = 24
"""Columns of the bars in the table."""

NO_RESOURCE: Final = "(no resource)"
"""As in the report: `/healthz` and the like."""

HEADINGS: Final = 7
"""Lines of headings, of "more" and between the sections."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known at one moment."""

    mode: str
    """What acknowledged means."""
    listening: Sequence[str]
    """Transports with their addresses."""
    uptime_s: float
    recent: Tally
    """Requests of the last minutes."""
    recent_s: float
    """How long these minutes are: up to now, from the start at most."""
    spans_per_s: float
    requests_per_s: float
    spans: int
    """Spans acknowledged since the start."""
    requests: int
    """Joined since the start, without those inside others."""
    inner: int = 0
    """Joined since the start, inside others: their time is part of those."""
    lacks: Mapping[str, int] = field(default_factory=dict)
    """What is wrong with the data, in words → how many since the start. Those that are 0 are not shown."""
    queue_bytes: int = 0
    held_spans: int = 0
    """Spans that wait for the rest of their trace, or may still be joined by late ones."""
    ready: bool = True


def live_lines(now: Snapshot, look: Look, height: int = 40) -> list[Text]:
    """
    The picture, at most `height` lines of at most `look.width` columns.

    Examples:
        >>> now = Snapshot("memory: …", ["grpc 127.0.0.1:4317"], 3, Tally(), 3, 0.0, 0.0, 0, 0)
        >>> print(live_lines(now, Look(width=60))[-1].plain)
        Waiting for spans.
    """
    head = _head(now, look)
    if not now.spans:
        return [*head, Text(), Text("Waiting for spans.", style="bold")][-height:]
    head, data = [*head, *_answer(now, look)], _data(now, look)
    slow, groups = now.recent.slowest(), now.recent.groups
    for_rows = height - len(head) - len(data) - HEADINGS
    shown_groups, shown_slow = _room(for_rows, len(groups), len(slow))
    sections = [head, _table(now, look, shown_groups), _slowest(slow[:shown_slow], look), data]
    lines = [line for section in sections if section for line in (*section, Text())][:-1]
    for line in lines:
        line.truncate(look.width, overflow="ellipsis")
    return lines[:height]


def _room(rows: int, groups: int, slow: int) -> tuple[int, int]:
    """
    How many groups and slow requests fit: a third for the slow ones, and what one does not need for the other.

    Examples:
        >>> _room(12, 90, 10), _room(12, 3, 10), _room(12, 90, 0), _room(1, 5, 5)
        ((8, 4), (3, 9), (12, 0), (1, 0))
    """
    rows = max(rows, 1)
    shown_slow = min(slow, max(rows // 3, rows - groups))
    return min(groups, rows - shown_slow), shown_slow


def log_line(now: Snapshot) -> str:
    """
    The same in one line, for a log.

    Examples:
        >>> print(log_line(Snapshot("memory: …", [], 3, Tally(), 3, 1200.0, 80.0, 3600, 240, lacks={"orphans": 2})))
        1,200 spans/s, 80.0 requests/s; 3,600 spans, 240 requests since the start; 2 orphans
    """
    whole = now.recent.total().wall
    lately = (
        [f"p50 {duration(whole.quantile(0.5))}, p99 {duration(whole.quantile(0.99))} lately"]
        if whole.count
        else []
    )
    rates = f"{number(now.spans_per_s)} spans/s, {number(now.requests_per_s)} requests/s"
    since = f"{count(now.spans, 'span')}, {count(now.requests, 'request')} since the start"
    return "; ".join([rates, *lately, since, *_lacks(now)])


def _lacks(now: Snapshot) -> list[str]:
    return [f"{number_of:,} {clean(what)}" for what, number_of in now.lacks.items() if number_of]


def _heading(title: str, rest: str = "") -> Text:
    return Text.assemble((title, "bold"), ("  " if rest else "", ""), (rest, "dim"))


# ── Parts ─────────────────────────────────────────────────────────────────────────────────────────


def _head(now: Snapshot, look: Look) -> list[Text]:
    state = (
        f"{'up' if now.ready else 'stopped after'} {_clock(now.uptime_s)}",
        "dim" if now.ready else "bold",
    )
    where = " · ".join(clean(each) for each in now.listening)
    title = Text.assemble(("k8strace serve", "bold"), "  ", state)
    about = [line for text in (where, clean(now.mode, 400)) for line in wrapped(text, look, indent=0)]
    return [title, *(Text(line.plain, style="dim") for line in about)]


def _wide(look: Look, wide: Shown, narrow: Shown) -> Shown:
    return wide if look.width >= 100 else narrow


def _clock(seconds: float) -> str:
    """
    A long time in its two largest units.

    Examples:
        >>> _clock(7.4), _clock(187), _clock(3 * 3600 + 5 * 60), _clock(90000)
        ('7 s', '3 min 7 s', '3 h 5 min', '1 d 1 h')
    """
    whole = int(seconds)
    sizes = (("d", whole // 86_400), ("h", whole // 3_600 % 24), ("min", whole // 60 % 60), ("s", whole % 60))
    told = [f"{value} {unit}" for unit, value in sizes if value]
    first = next((at for at, (_, value) in enumerate(sizes) if value), 3)
    return " ".join(f"{value} {unit}" for unit, value in sizes[first : first + 2] if value) if told else "0 s"


def _answer(now: Snapshot, look: Look) -> list[Text]:
    whole = now.recent.total()
    parts = dict(largest_first(whole.components))
    rates = Text(f"{number(now.spans_per_s)} spans/s   {number(now.requests_per_s)} requests/s", style="bold")
    if not parts:
        return [Text(), rates]
    shares = Text("   ").join(component_bar(parts, whole.wall.total_ns, look))
    one_line = Text("   ").join([rates, shares])
    fits = one_line.cell_len <= look.width
    return [Text(), *([one_line] if fits else [rates, shares]), bar(parts, look.width, look)]


def _table(now: Snapshot, look: Look, most: int) -> list[Text]:
    ranked = sorted(
        now.recent.groups.items(), key=lambda item: (-item[1].wall.total_ns, -item[1].requests, str(item[0]))
    )
    shown, rest = ranked[:most], ranked[most:]
    rows = [
        (clean(verb or "-", 20), clean(resource or NO_RESOURCE, 40), group)
        for (verb, resource), group in shown
    ]
    if rest:
        others = Group()
        for _, group in rest:
            others.merge(group)
        rows.append((f"{len(rest)} more", "", others))
    if not rows:
        return []
    head = (
        "verb",
        "resource",
        "count",
        "per s",
        "p50",
        "p99",
        _wide(look, "where the time went", "time"),
        "",
    )
    cells = [tuple(Text(cell, style="dim") for cell in head), *(_row(row, now, look) for row in rows)]
    title = _heading("Requests", f"of the last {_clock(now.recent_s)}, most total time first")
    return [title, *columns(cells, look, align="llrrrrll", elastic=1)]


def _row(row: tuple[str, str, Group], now: Snapshot, look: Look) -> tuple[Text | str, ...]:
    verb, resource, group = row
    wall = group.wall
    most = largest_first(group.components)[:1]
    told = "".join(f"{clean(name)} {percent(ns, wall.total_ns)}" for name, ns in most)
    return (
        verb,
        resource,
        f"{group.requests:,}",
        number(group.requests / max(now.recent_s, 1)),
        duration(wall.quantile(0.5)) if wall.count else "",
        duration(wall.quantile(0.99)) if wall.count else "",
        bar(in_order(dict(group.components)), _wide(look, BAR_CELLS, 10), look),
        told,
    )


def _slowest(slow: Sequence[Slow], look: Look) -> list[Text]:
    if not slow:
        return []
    cells = [_slow_cells(each, look) for each in slow]
    return [_heading("Slowest", "of these"), *columns(cells, look, align="rlll", elastic=1)]


def _slow_cells(slow: Slow, look: Look) -> tuple[Text | str, ...]:
    row = slow.row
    namespace = f" -n {row.namespace}" if row.namespace else ""
    what = clean(f"{row.verb or '-'} {row.resource or NO_RESOURCE}{namespace}", 80)
    most = largest_first(row.components)[: 2 if look.width >= 110 else 1]
    parts = [f"{clean(name)} {tenths(ns, row.wall_ns)}" for name, ns in most]
    return (
        duration(slow.wall_ns),
        what,
        Text(clean(row.trace_id[: _wide(look, 32, 12)], 32), style="dim"),
        " · ".join(parts),
    )


def _data(now: Snapshot, look: Look) -> list[Text]:
    since = f"{count(now.spans, 'span')}, {count(now.requests, 'request')} since the start"
    held = f"{count(now.held_spans, 'span')} held, {size(now.queue_bytes)} queued"
    inside = [f"{count(now.inner, 'request')} inside others"] if now.inner else []
    known = [held, *inside, *(_lacks(now) or ["nothing is known to be missing"])]
    return [_heading("Data", since), *wrapped("; ".join(known), look)]
