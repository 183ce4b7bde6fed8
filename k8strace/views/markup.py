"""
HTML from text and numbers: elements, composition bars, tables.

No scripts, no links, no style sheets: what is made here works in Jupyter, VS Code, Colab and a saved page, in light
and dark themes, and asks no network for anything. Whatever is not `Html` is escaped when it enters an element, so
that nothing from a span can be forgotten.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from k8strace.views.palette import in_order, phase_colours
from k8strace.views.text import clean, duration, percent

__all__ = [
    "FAINT",
    "Html",
    "Part",
    "bar",
    "element",
    "escape",
    "facts",
    "join",
    "legend",
    "nanoseconds",
    "page",
    "parts_of",
    "swatches",
    "table",
]

TEXT_LIMIT: Final = 1_000
"""Characters of one text that are shown; the rest is an ellipsis."""

FAINT: Final = "opacity:.72"
"""Style of what comes second."""

RULE: Final = "1px solid rgba(128,128,128,.35)"

OTHERS: Final = "repeating-linear-gradient(45deg,#7a7d82 0 3px,rgba(122,125,130,.35) 3px 6px)"


MOST_PARTS: Final = 12
"""Pieces of a composition with their own colours."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content: TypeAlias = Html | str | int | None
"""What an element may hold; what is not `Html` is escaped, None is a dash."""


def escape(text: object) -> Html:
    r"""
    Any text as HTML text or attribute value: what does not show is written out, and at most `TEXT_LIMIT` is shown.

    Examples:
        >>> escape("<b title='x'>\u202etxt.exe\x00")
        '&lt;b title=&#x27;x&#x27;&gt;\\u202etxt.exe\\x00'
    """
    return Html(html.escape(clean(text, TEXT_LIMIT)))


def element(name: str, *children: Content, **attributes: str | None) -> Html:
    """
    One element. Attributes that are None are left out; `class_` stands for `class`, `aria_label` for `aria-label`.

    Examples:
        >>> element("b", "a < b", title='say "x"')
        '<b title="say &quot;x&quot;">a &lt; b</b>'
    """
    written = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    return Html(f"<{name}{''.join(written)}>{join(*children)}</{name}>")


def join(*children: Content) -> Html:
    """Contents, one after the other."""
    return Html("".join(child if isinstance(child, Html) else escape(_or_dash(child)) for child in children))


def _or_dash(content: Content) -> str:
    return "-" if content is None else f"{content:,}" if isinstance(content, int) else content


def page(*children: Content) -> Html:
    """What one `_repr_html_` gives. Notebooks look for no formulas in it: `$…$` in a span's name stays as sent."""
    style = (
        "font:13px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;max-width:1040px;text-align:left"
    )
    return element("div", *children, class_="k8strace tex2jax_ignore mathjax_ignore", style=style)


def nanoseconds(ns: int) -> str:
    """A duration to the last digit: "2,025,146,446 ns"."""
    return f"{ns:,} ns"


# ── Compositions ──────────────────────────────────────────────────────────────────────────────────


class Part(NamedTuple):
    """One piece of a composition."""

    name: str
    ns: int
    colour: str


def parts_of(phases: Mapping[str, int]) -> list[Part]:
    """
    The pieces of a bar and its legend; they sum to what the phases sum to.

    At most `MOST_PARTS` are told apart, component by component. The others, and those that are under a thousandth of
    the whole, are one piece at the end.
    """
    ranked = sorted(phases.items(), key=lambda part: (-part[1], part[0]))
    total = sum(phases.values())
    told = [part for part in ranked[:MOST_PARTS] if part[1] * 1_000 >= total] or ranked[:1]
    if len(ranked) == len(told) + 1:
        told = ranked  # one that is small has a name
    shown = in_order(dict(told))
    colours = phase_colours(shown)
    parts = [Part(name, ns, colours[name]) for name, ns in shown.items()]
    rest = ranked[len(told) :]
    if rest:
        parts.append(Part(f"{len(rest)} smaller", sum(ns for _, ns in rest), OTHERS))
    return parts


def bar(parts: Sequence[Part], height: int = 14, width: str = "100%") -> Html:
    """The pieces side by side, each as wide as its share; the exact numbers are in the tooltips."""
    total = sum(part.ns for part in parts)
    style = f"display:flex;width:{width};height:{height}px;border-radius:3px;overflow:hidden"
    label = "; ".join(f"{part.name} {percent(part.ns, total)}" for part in parts) or "nothing"
    solid = [part for part in parts if part.ns]
    pieces = [_piece(part, total, last=part is solid[-1]) for part in solid]
    return element("div", *pieces, role="img", aria_label=label, style=style)


def _piece(part: Part, total: int, *, last: bool) -> Html:
    share = 100 * part.ns / total
    gap = ";box-shadow:inset -1px 0 rgba(255,255,255,.55)" if share > 1 and not last else ""
    return element(
        "div",
        title=f"{part.name}: {nanoseconds(part.ns)} ({percent(part.ns, total)})",
        style=f"flex:0 1 {share:.3f}%;min-width:1px;background:{part.colour}{gap}",
    )


def legend(parts: Sequence[Part]) -> Html:
    """Colour, name, duration and share of every piece."""
    total = sum(part.ns for part in parts)
    items = [
        element(
            "span",
            element("span", style=f"{_SWATCH};background:{part.colour}"),
            part.name,
            element("span", f" {duration(part.ns)} · {percent(part.ns, total)}", style=FAINT),
            title=nanoseconds(part.ns),
            style="white-space:nowrap",
        )
        for part in parts
    ]
    return element(
        "div", *items, style="display:flex;flex-wrap:wrap;gap:1px 16px;margin:4px 0 2px;font-size:12px"
    )


_SWATCH: Final = "display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px"


# ── Lines and tables ──────────────────────────────────────────────────────────────────────────────


def facts(title: Content, *items: Content) -> Html:
    """A heading, and the main fact in one line."""
    rest = join(*(element("span", " · ", item) for item in items))
    return element("div", element("b", title), element("span", rest, style=FAINT), style="margin:2px 0 6px")


def swatches(parts: Sequence[Part]) -> Html:
    """Colours and names: one legend for many bars."""
    items = [
        element("span", element("span", style=f"{_SWATCH};background:{part.colour}"), part.name)
        for part in parts
    ]
    return element("div", *items, style="display:flex;flex-wrap:wrap;gap:1px 16px;font-size:12px")


def table(heads: Sequence[str], rows: Iterable[Sequence[Content]], numbers: str = "") -> Html:
    """
    A table that scrolls when it is long.

    Args:
        heads: Column heads.
        rows: Contents; strings are escaped.
        numbers: One letter per column: "r" aligns it right, anything else left.
    """
    sides = ["right" if letter == "r" else "left" for letter in numbers.ljust(len(heads))]
    body = [_row("td", row, sides, f"border-top:{RULE}") for row in rows]
    whole = element(
        "table",
        element("thead", _row("th", heads, sides, "")),
        element("tbody", *body),
        style="border-collapse:collapse;border:0;margin:0;table-layout:auto;font-size:inherit;"
        "font-variant-numeric:tabular-nums;overflow-wrap:anywhere",
    )
    return element("div", whole, style="max-height:36em;overflow:auto;margin:4px 0")


def _row(kind: str, cells: Sequence[Content], sides: Sequence[str], style: str) -> Html:
    # Notebooks and documentation themes style table cells, so each cell has its own style.
    cell = "padding:3px 12px 3px 0;border:0;vertical-align:middle;max-width:34em"
    written = [
        element(kind, content, style=f"{cell};text-align:{side}{_unbroken(content)}")
        for content, side in zip(cells, sides, strict=True)
    ]
    return element("tr", *written, style=f"background:transparent;border:0;{style}")


def _unbroken(content: Content) -> str:
    """Only long words are broken, so that a name in the data cannot make the table as wide as it likes."""
    short = isinstance(content, str) and not isinstance(content, Html) and len(content) <= 32
    return ";white-space:nowrap" if short else ""
