"""The first screen of a comparison: sentences, parts as bars to both sides, and where they are, with examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from k8strace.compare.result import Comparison, Difference, DifferenceRow
from k8strace.components import component_of
from k8strace.page.first import table, time
from k8strace.page.redaction import PlainNames
from k8strace.views.comparison import interval, places_told, populations, sentence, signed, where
from k8strace.views.markup import Content, Html, element, join, nanoseconds
from k8strace.views.palette import component_colour

__all__ = ["changed"]

MOST_PLACES: Final = 12
NUMBERS: Final = {1, 2}


def changed(comparison: Comparison, names: PlainNames) -> Html:
    """What changed, the answer first; each difference with its parts, which sum to it."""
    sentences = [
        element("p", sentence(each), class_="lead" if at == 0 else "sentence")
        for at, each in enumerate(comparison)
    ]
    about = element("p", names.text(populations(comparison)), class_="faint")
    return join(*sentences, about, *(_difference(comparison, each, names) for each in comparison))


def _difference(comparison: Comparison, difference: Difference, names: PlainNames) -> Html:
    title = f"Parts of the {difference.name}"
    most = max((abs(row.delta_ns) for row in difference.summary), default=0)
    rows: list[list[Content]] = [
        [*_part(row, most), _examples(comparison, difference, row)] for row in difference.summary
    ]
    ends = element(
        "p", "from ", time(difference.before_ns), " to ", time(difference.after_ns), ": ",
        _change(difference.delta_ns, id=f"delta-{difference.name}"), class_="faint",
    )  # fmt: skip
    heads = ("part", "change", "95 % interval", "fell, rose", "verdict", "one of each")
    return join(
        element("h3", title),
        ends,
        table(title, heads, rows, numbers=NUMBERS),
        _places(comparison, difference, names),
    )


def _part(row: DifferenceRow, most: int) -> list[Content]:
    return [row.part, _change(row.delta_ns), interval(row), diverging(row, most), row.verdict]


def _change(ns: int, **attributes: str) -> Html:
    told = nanoseconds(ns)
    return element("data", signed(ns), value=str(ns), title=told, **attributes)


def diverging(row: DifferenceRow, most: int) -> Html:
    """A bar from the middle: to the left what fell, to the right what rose; light if it cannot be told from 0."""
    width = 500 * abs(row.delta_ns) / most if most else 0.0
    colour = component_colour(component_of(row.part.partition(" ")[0]))
    bar = element(
        "rect", x=f"{500 - width if row.delta_ns < 0 else 500:.2f}", y="1", width=f"{max(width, 1):.2f}", height="8",
        fill=colour if colour.startswith("#") else "#7a7d82", opacity="1" if row.told else "0.35",
    )  # fmt: skip
    middle = element("rect", x="499", y="0", width="2", height="10", class_="middle")
    return element(
        "svg", bar, middle, class_="bar", viewBox="0 0 1000 10", preserveAspectRatio="none", role="img",
        aria_label=f"{signed(row.delta_ns)} {row.part}",
    )  # fmt: skip


def _places(comparison: Comparison, difference: Difference, names: PlainNames) -> Html:
    """Where parts rose or fell, with a request of each population that shows it."""
    shown = places_told(difference)[:MOST_PLACES]
    if not shown:
        return Html()
    title = f"Where the {difference.name} changed"
    rows = [
        [names.text(where(row)), _change(row.delta_ns), interval(row), row.part,
         _examples(comparison, difference, row)]
        for row in shown
    ]  # fmt: skip
    heads: Sequence[str] = ("where", "change", "95 % interval", "part", "one of each")
    return table(title, heads, rows, numbers=NUMBERS)


def _examples(comparison: Comparison, difference: Difference, row: DifferenceRow) -> Html:
    """The script makes a button of it that opens both."""
    found = comparison.exemplars(difference.at, row)
    if found is None:
        return Html("·")
    before, after = found
    told = f"{before.trace_id[:8]}, {after.trace_id[:8]}"
    return element("code", told, data_before=before.trace_id, data_after=after.trace_id)
