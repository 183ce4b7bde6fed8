"""Views of a comparison: sentences first, then its parts, then the cells; as text, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.text import Text

from k8strace.compare.result import Comparison, Difference, DifferenceRow
from k8strace.components import component_of
from k8strace.statistics.errors import NOT_ENOUGH
from k8strace.views.markup import FAINT, Html, element, page, table
from k8strace.views.palette import component_colour
from k8strace.views.text import Look, clean, columns, count, duration, wrapped

__all__ = ["comparison_html", "comparison_lines", "comparison_markdown", "escaped", "sentence"]

MOST_ROWS: Final = 12
"""Rows of a shortened table, at most."""

_BAR: Final = 12
"""Characters of each half of a bar; half as many in a narrow output, so that the interval fits."""
_NARROW: Final = 96


# ── Sentences ─────────────────────────────────────────────────────────────────────────────────────


def sentence(difference: Difference) -> str:
    """
    One statistic in words.

    Examples:
        >>> from k8strace.compare.result import Difference, DifferenceRow
        >>> more = DifferenceRow((), "etcd", 190_000_000, 150_000_000, 230_000_000, "rose", 0.001)
        >>> sentence(Difference("p99", 0.99, 10**9, 1_212_000_000, 212_000_000, 172_000_000, 252_000_000, "rose",
        ...                     66_000_000, (more,), ()))
        'p99 rose by 212 ms ± 40.0 ms, from 1.00 s to 1.21 s: +190 ms etcd.'
    """
    name, change = difference.name, _with_error(difference)
    seen = difference.smallest_seen_ns
    if difference.verdict == NOT_ENOUGH:
        return f"{name} {signed(difference.delta_ns)}: {NOT_ENOUGH}, fewer than eight blocks."
    if difference.verdict in ("rose", "fell"):
        ends = f"from {duration(difference.before_ns)} to {duration(difference.after_ns)}"
        return f"{name} {difference.verdict} by {change}, {ends}: {_parts(difference)}."
    parts = [row for row in difference.summary if row.told]
    told = f" Told apart: {_listed(parts)}." if parts else ""
    if difference.verdict == "same":
        return f"{name} is the same: {duration(difference.after_ns)}, changed by {change}, less than matters.{told}"
    return f"{name}: cannot tell, {change}; a change of {duration(seen or 0)} would have been seen.{told}"


def _with_error(difference: Difference) -> str:
    """The size of a change and half of its interval."""
    half = ((difference.high_ns or 0) - (difference.low_ns or 0)) // 2
    told = difference.verdict in ("rose", "fell")
    change = duration(abs(difference.delta_ns)) if told else signed(difference.delta_ns)
    return f"{change} ± {duration(half)}"


def _parts(difference: Difference) -> str:
    told = [row for row in difference.summary if row.told]
    return _listed(told) if told else "no part can be told apart"


def _listed(rows: Iterable[DifferenceRow]) -> str:
    ordered = sorted(rows, key=lambda row: -abs(row.delta_ns))
    return ", ".join(f"{signed(row.delta_ns)} {_part(row)}" for row in ordered)


def _part(row: DifferenceRow) -> str:
    """The name of a part in a sentence."""
    if row.part.endswith(" calls"):
        return f"{'more' if row.delta_ns > 0 else 'fewer'} {row.part} per request"
    return clean(row.part)


def signed(ns: int) -> str:
    return f"{'+' if ns > 0 else '-' if ns < 0 else ''}{duration(abs(ns))}"


# ── Tables ────────────────────────────────────────────────────────────────────────────────────────


def where(row: DifferenceRow) -> str:
    words = [("none" if value is None else clean(value)) for value in row.path]
    return " ".join(words) or "all"


def interval(row: DifferenceRow) -> str:
    if row.low_ns is None or row.high_ns is None:
        return "-"
    return f"{signed(row.low_ns)} … {signed(row.high_ns)}"


def places_told(difference: Difference) -> list[DifferenceRow]:
    """The rows that differ from zero and are not in the summary: per cell, by size."""
    least = 1 if difference.at == "mean" else 10**6
    return [row for row in difference.told if len(row.path) >= least]


def _bar(ns: int, most: int, half: int) -> Text:
    """A bar to the left of the middle for what fell, to the right for what rose."""
    cells = min(round(half * abs(ns) / most), half) if most else 0
    left, right = (cells, 0) if ns < 0 else (0, cells)
    return Text(f"{' ' * (half - left)}{'█' * left}│{'█' * right}{' ' * (half - right)}")


def comparison_lines(comparison: Comparison, look: Look) -> Iterator[Text]:
    """A comparison for a terminal."""
    yield from wrapped(populations(comparison), look, indent=0, style="dim")
    yield Text()
    for difference in comparison:
        yield from wrapped(sentence(difference), look, indent=0, style="bold")
    for difference in comparison:
        yield Text()
        yield Text(f"Parts of the {difference.name}: {signed(difference.delta_ns)}", style="bold")
        yield from _summary_lines(difference, look)
        places = places_told(difference)
        if places:
            yield Text()
            yield Text("  where, of what is told apart", style="dim")
            yield from _place_lines(comparison, difference, places[:MOST_ROWS], look)
        if len(places) > MOST_ROWS:
            yield Text(f"  … {len(places) - MOST_ROWS:,} more with --json", style="dim")


def populations(comparison: Comparison) -> str:
    before, after = (
        f"{count(requests, 'request')} in {count(blocks, 'block')} of time"
        for requests, blocks in zip(comparison.requests, comparison.blocks, strict=True)
    )
    return f"Before: {before}. After: {after}. Alike by {', '.join(comparison.by) or 'nothing'}."


def _summary_lines(difference: Difference, look: Look) -> list[Text]:
    most = max((abs(row.delta_ns) for row in difference.summary), default=0)
    half = _BAR if look.width >= _NARROW else _BAR // 2
    rows = [
        (
            Text(row.part, style=component_colour(component_of(row.part.partition(" ")[0]))),
            signed(row.delta_ns),
            _bar(row.delta_ns, most, half),
            interval(row),
            row.verdict,
        )
        for row in difference.summary
    ]
    return columns(rows, look, align="lrlrl", spare={2: "the bar", 3: "the interval"})


def _place_lines(
    comparison: Comparison, difference: Difference, places: Sequence[DifferenceRow], look: Look
) -> list[Text]:
    rows = []
    for row in places:
        found = comparison.exemplars(difference.at, row)
        shown = [request.trace_id[:8] for request in found] if found else ["-", "-"]
        rows.append((where(row), row.part, signed(row.delta_ns), interval(row), *shown))
    head = ("where", "part", "change", "95 % interval", "before", "after")
    return columns([head, *rows], look, align="llrrll", spare={3: "the interval", 4: "", 5: "traces"})


def comparison_markdown(comparison: Comparison) -> str:
    """A comparison for a comment on a pull request."""
    lines = [f"**{escaped(sentence(difference))}**  " for difference in comparison]
    lines += ["", escaped(populations(comparison))]
    for difference in comparison:
        lines += ["", f"| Part of the {difference.name} | Change | 95 % interval | |", "|---|---:|---:|---|"]
        lines += [
            f"| {escaped(row.part)} | {signed(row.delta_ns)} | {interval(row)} | {row.verdict} |"
            for row in difference.summary
        ]
        places = places_told(difference)[:MOST_ROWS]
        if places:
            lines += ["", "| Where | Part | Change | 95 % interval |", "|---|---|---:|---:|"]
        lines += [
            f"| {escaped(where(row))} | {escaped(row.part)} | {signed(row.delta_ns)} | {interval(row)} |"
            for row in places
        ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text from spans, escaped for Markdown."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|!" else char for char in text)


def comparison_html(comparison: Comparison) -> str:
    """A comparison for a notebook: sentences, and bars to both sides."""
    blocks = [element("div", element("b", sentence(difference))) for difference in comparison]
    blocks.append(element("div", populations(comparison), style=FAINT))
    for difference in comparison:
        most = max((abs(row.delta_ns) for row in difference.summary), default=0)
        rows = [
            (row.part, signed(row.delta_ns), _html_bar(row, most), interval(row), row.verdict)
            for row in difference.summary
        ]
        head = (f"part of the {difference.name}", "change", "", "95 % interval", "")
        blocks.append(table(head, rows, "lrlrl"))
        found = _example(comparison, difference)
        if found:
            blocks.append(found)
    return page(*blocks)


def _html_bar(row: DifferenceRow, most: int) -> Html:
    """A bar from the middle to the left for what fell, to the right for what rose."""
    share = 50 * abs(row.delta_ns) / most if most else 0.0
    start = 50 - share if row.delta_ns < 0 else 50.0
    colour = "#b3401f" if row.delta_ns > 0 else "#1f6fb3"
    faint = "1" if row.told else ".45"
    filled = element(
        "div",
        "",
        style=f"position:absolute;left:{start:.2f}%;width:{share:.2f}%;top:0;bottom:0;"
        f"background:{colour};opacity:{faint}",
    )
    middle = element("div", "", style="position:absolute;left:50%;top:-2px;bottom:-2px;border-left:1px solid")
    label = f"{signed(row.delta_ns)} {row.part}"
    box = "position:relative;width:240px;height:12px"
    return element("div", filled, middle, style=box, role="img", aria_label=label)


def _example(comparison: Comparison, difference: Difference) -> Html | None:
    """The two requests that show the largest row, side by side when opened."""
    from k8strace.views.notebook import html_of

    rows = difference.told
    found = comparison.exemplars(difference.at, rows[0]) if rows else None
    if not found:
        return None
    title = f"{where(rows[0])}: {rows[0].part}, one request before and one after"
    sides = [
        element("div", element("b", side), Html(html_of(request)), style="flex:1;min-width:420px")
        for side, request in zip(("before", "after"), found, strict=True)
    ]
    return element(
        "details",
        element("summary", title),
        element("div", *sides, style="display:flex;flex-wrap:wrap;gap:12px"),
    )
