"""
How text looks: safe words, numbers with units, colours, bars, columns.

Everything that came from a span passes `clean` on its way to a terminal.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from types import MappingProxyType
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from k8strace.views.palette import component_colour
from k8strace.words import count, duration, number, percent, plural, size

__all__ = [
    "LEAST_WIDTH",
    "Look",
    "bar",
    "clean",
    "columns",
    "component_bar",
    "count",
    "duration",
    "flowed",
    "largest_first",
    "more_of",
    "number",
    "percent",
    "plural",
    "render",
    "shade_of",
    "size",
    "spread",
    "tenths",
    "to_ascii",
    "wrapped",
]

LEAST_WIDTH: Final = 40
"""Columns that every view can do with."""

CLEAN_LIMIT: Final = 160
"""Characters of one piece of span text that are shown at most."""

ELLIPSIS: Final = "…"
"""Stands for what was cut off."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the text is made for."""

    width: int = 100
    """Columns; no line is longer."""
    colour: bool = False
    """With ANSI colours, or plain."""


# ── Words ─────────────────────────────────────────────────────────────────────────────────────────


def clean(text: object, limit: int = CLEAN_LIMIT) -> str:
    r"""
    Text from a span as one line that no terminal obeys, of at most `limit` characters.

    Controls (C0, C1 and so ANSI sequences), line breaks, invisible and bidirectional characters become escapes.

    Examples:
        >>> print(clean("\x1b[2Jgone\n"))
        \x1b[2Jgone\n
        >>> clean("a" * 300, limit=8)
        'aaaaaaa…'
    """
    head = str(text)[: limit + 1]
    shown = head if head.isprintable() else "".join(map(_visible, head))
    return shown if len(shown) <= limit else shown[: limit - 1] + ELLIPSIS


def _visible(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def more_of(number_of: int, noun: str, indent: str = "") -> Text:
    """
    The line below a list that was cut short.

    Examples:
        >>> more_of(1, "span").plain
        '… 1 more span'
    """
    return Text(f"{indent}… {number_of:,} more {plural(number_of, noun)}", style="dim")


# ── Numbers ───────────────────────────────────────────────────────────────────────────────────────


def tenths(part: int, whole: int) -> str:
    """
    A share to a tenth of a percent, so that few shares seen together add up.

    Examples:
        >>> tenths(616, 1000), tenths(1, 10_000), tenths(9_999, 10_000)
        ('61.6%', '<0.1%', '>99.9%')
    """
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.05:
        return "<0.1%"
    return ">99.9%" if 99.95 <= share < 100 else f"{share:.1f}%"


def largest_first(parts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The parts that are there, largest first, of equal ones by name."""
    return sorted(((name, ns) for name, ns in parts.items() if ns), key=lambda part: (-part[1], part[0]))


# ── Colours and bars ──────────────────────────────────────────────────────────────────────────────

_SHADES: Final = {"apiserver": "█", "etcd": "▓", "webhook": "▒"}
_ASCII: Final = str.maketrans(
    {"█": "#", "▓": "%", "▒": "+", "░": ":", "─": "-", "│": "|", "├": "|", "└": "`", "·": "."}
    | {"…": "~", "µ": "u", "✗": "x"}
)


def shade_of(component: str, look: Look) -> str:
    """Style of a component's bar: distinct by colour, or without colours by shade."""
    return "█" if look.colour else _SHADES.get(component, "░")


def to_ascii(text: str) -> str:
    """
    The same picture for an output that has no Unicode.

    Examples:
        >>> to_ascii("└─ ██▒ 3.1 µs")
        '`- ##+ 3.1 us'
    """
    return text.translate(_ASCII)


def bar(parts: Mapping[str, int], width: int, look: Look) -> Text:
    """Components side by side in the order given, `width` characters in all, each as long as its share."""
    shown = Text()
    for name, cells in zip(parts, spread(list(parts.values()), width), strict=True):
        shown.append(shade_of(name, look) * cells, component_colour(name))
    return shown


def spread(parts: Sequence[int], cells: int) -> list[int]:
    """
    Cells for each part: they add up, and none is off by one or more.

    Examples:
        >>> spread([1, 1, 1], 10), spread([999, 1], 10), spread([0], 10)
        ([4, 3, 3], [10, 0], [0])
    """
    whole = sum(parts)
    if not whole:
        return [0] * len(parts)
    given = [part * cells // whole for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda at: -(parts[at] * cells % whole))
    for at in by_remainder[: cells - sum(given)]:
        given[at] += 1
    return given


def component_bar(parts: Mapping[str, int], whole: int, look: Look) -> list[Text]:
    """Components by size, each with its mark and share: a legend and an answer in one, in pieces."""
    return [
        Text.assemble(
            (shade_of(name, look), component_colour(name)),
            " ",
            (clean(name), "bold"),
            " ",
            tenths(ns, whole),
        )
        for name, ns in largest_first(parts)
    ]


def flowed(pieces: Iterable[Text], look: Look, *, between: str = "   ", hang: str = "") -> list[Text]:
    """Pieces side by side, over as many lines as they take; no piece is broken."""
    lines: list[Text] = []
    for piece in pieces:
        room = look.width - (lines[-1].cell_len if lines else 0) - len(between)
        if lines and piece.cell_len <= room:
            lines[-1] = Text.assemble(lines[-1], (between, "dim"), piece)
        else:
            lines.append(Text(hang) + piece)
    return lines


# ── Lines ─────────────────────────────────────────────────────────────────────────────────────────


LEAST_TEXT: Final = 16
"""Characters that text keeps as long as a column can be left out instead."""


def columns(
    rows: Iterable[Sequence[Text | str]],
    look: Look,
    *,
    align: str,
    elastic: int = 0,
    indent: int = 2,
    spare: Mapping[int, str] = MappingProxyType({}),
    least: int = LEAST_TEXT,
    keep_ends: bool = False,
) -> list[Text]:
    """
    Rows of cells as aligned lines, each within the width. Columns are left out before text is cut.

    Args:
        rows: Cells, as many in each row as `align` has letters.
        look: Width.
        align: A letter per column: "l" or "r".
        elastic: The column that is shortened where the rows are too wide.
        indent: Spaces before each line.
        spare: Column that can be left out → its name, the first one first; a last line names those that were.
        least: Characters that the elastic column keeps as long as a column can be left out instead.
        keep_ends: Text is cut in its middle.
    """
    cells = [[Text(cell) if isinstance(cell, str) else cell.copy() for cell in row] for row in rows]
    widths = [max((cell.cell_len for cell in column), default=0) for column in zip(*cells, strict=True)]
    gap = 2 if look.width >= 90 else 1
    room = look.width - indent
    shown = _that_fit(widths, room, gap, elastic, spare, least)
    excess = _taken(widths, shown, gap) - room
    if widths and excess > 0:
        widths[elastic] = max(widths[elastic] - excess, 6)
        if keep_ends:
            cells = [
                [*row[:elastic], _cut(row[elastic], widths[elastic]), *row[elastic + 1 :]] for row in cells
            ]
    lines = [
        _line(
            [row[at] for at in shown],
            [widths[at] for at in shown],
            "".join(align[at] for at in shown),
            indent,
            gap,
        )
        for row in cells
    ]
    dropped = [spare[at] for at in range(len(widths)) if at not in shown and spare[at]]
    if dropped:
        lines += wrapped(f"Too narrow for {', '.join(dropped)}.", look, indent=indent, style="dim")
    return lines


def _that_fit(
    widths: Sequence[int], room: int, gap: int, elastic: int, spare: Iterable[int], at_least: int
) -> list[int]:
    """Places of the columns that are shown."""
    shown = list(range(len(widths)))
    least = [min(width, at_least) if at == elastic else width for at, width in enumerate(widths)]
    for column in spare:
        if _taken(least, shown, gap) <= room:
            break
        shown.remove(column)
    return shown


def _taken(widths: Sequence[int], shown: Sequence[int], gap: int) -> int:
    return sum(widths[at] for at in shown) + gap * max(len(shown) - 1, 0)


def _line(row: Sequence[Text], widths: Sequence[int], align: str, indent: int, gap: int) -> Text:
    line = Text(" " * indent)
    for at, (cell, width, side) in enumerate(zip(row, widths, align, strict=True)):
        cell.truncate(width, overflow="ellipsis")
        blank = " " * (width - cell.cell_len)
        line.append(" " * gap if at else "")
        line.append(blank if side == "r" else "")
        line.append_text(cell)
        line.append(blank if side == "l" else "")
    return line


LEAST_ENDS: Final = 12
"""Characters from which on a cell that is cut keeps its end too."""


def _cut(cell: Text, width: int) -> Text:
    """At most N characters. Names like `kube-controller-manager/v1.36.2/node-controller` keep their end."""
    if cell.cell_len <= width or width < LEAST_ENDS or cell.cell_len != len(cell):
        cell.truncate(width, overflow="ellipsis")
        return cell
    tail = (width - 1) * 3 // 5
    return Text.assemble(cell[: width - 1 - tail], ELLIPSIS, cell[-tail:])


_NUMBER_AND_UNIT: Final = re.compile(r"(?<=[0-9]) (?=(?:ns|µs|ms|s)\b)")
"""The space between a number and its unit: no line ends there."""


def wrapped(
    text: str, look: Look, *, mark: Text | None = None, indent: int = 2, style: str = ""
) -> list[Text]:
    """A sentence over as many lines as it takes, the second and later ones below the first's text."""
    lead = Text(" " * indent) + (mark or Text())
    hang = " " * lead.cell_len
    tied = _NUMBER_AND_UNIT.sub("\0", text)
    lines = [line.replace("\0", " ") for line in textwrap.wrap(tied, max(look.width - len(hang), 20))] or [""]
    return [
        lead + Text(lines[0], style=style),
        *(Text(hang) + Text(line, style=style) for line in lines[1:]),
    ]


def render(lines: Iterable[Text], look: Look) -> str:
    """The lines as a string that ends with a newline: plain, or with ANSI colours for the terminal at hand."""
    fitted = [_fitted(line, look.width) for line in lines]
    if not look.colour:
        return "".join(f"{line.plain}\n" for line in fitted)
    from rich.console import Console

    out = StringIO()
    console = Console(
        file=out, force_terminal=True, no_color=False, width=look.width + 1, legacy_windows=False
    )
    if console.color_system is None:  # a dumb terminal, but colours were asked for
        console = Console(
            file=out, force_terminal=True, no_color=False, width=look.width + 1, color_system="standard"
        )
    for line in fitted:
        console.print(line, markup=False, highlight=False, emoji=False, no_wrap=True)
    return out.getvalue()


def _fitted(line: Text, width: int) -> Text:
    line = line.copy()
    line.rstrip()
    if cell_len(line.plain) > width:
        line.truncate(width, overflow="ellipsis")
    return line
