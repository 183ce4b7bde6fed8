"""
One request's call tree as rows of bars over time.

    Create           |░░▓░░░░░░░░░░░░▓░░|   light: the span is open
      Call webhook   |   ▓▓▓▓▓          |   solid: the request waits for it, on the critical path
      Create etcd3   |        ▓░░░░░▓   |
        KV/Txn       |         ▓▓▓▓▓    |

The picture is bounded for every request: at most N rows, at most N pieces per row. The numbers are not cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace.views.markup import FAINT, RULE, Html, element, join, nanoseconds
from k8strace.views.palette import component_colour, phase_colours
from k8strace.views.text import count, duration

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["MOST_PIECES", "MOST_ROWS", "waterfall"]

MOST_ROWS: Final = 60
MOST_PIECES: Final = 40
"""Pieces of one span's critical path that are drawn, the longest."""

_DEEPEST_INDENT: Final = 24

_GRID: Final = (
    "background-image:linear-gradient(to right,rgba(128,128,128,.28) 1px,transparent 1px);"
    "background-size:25% 100%"
)
_LABEL: Final = "flex:0 0 36%;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_TIME: Final = "flex:0 0 72px;text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap"
_BADGE: Final = "border:1px solid currentColor;border-radius:3px;padding:0 3px;margin-left:5px;font-size:10px"
_RED: Final = "background:#c8203f;border-color:#c8203f;color:#fff"


class Window(NamedTuple):
    """The time that the bars span: the request's own."""

    start: int
    end: int

    def percent(self, start: int, end: int) -> tuple[float, float]:
        """Left edge and width of an interval, inside the window, in percent."""
        whole = max(self.end - self.start, 1)
        left = min(max(start, self.start), self.end)
        right = max(min(end, self.end), left)
        return 100 * (left - self.start) / whole, 100 * (right - left) / whole


def waterfall(
    tree: nx.DiGraph[str], root: str, colours: Mapping[str, str], repairs: Iterable[Mapping[str, Any]]
) -> Html:
    """
    The spans of a request in preorder, at most `MOST_ROWS` of them.

    Args:
        tree: What `Request.tree` gives.
        root: Span id of the request.
        colours: Phase → colour of the pieces that the request waited for.
        repairs: Rows of `Requests.repairs`; spans in them are marked.
    """
    window = Window(
        tree.nodes[root]["effective_start_unix_nano"], tree.nodes[root]["effective_end_unix_nano"]
    )
    pieces: dict[str, list[tuple[int, int, str]]] = {}
    for span_id, start, end, phase in tree.graph["critical_path"]:
        pieces.setdefault(span_id, []).append((start, end, phase))
    repaired: dict[str, list[Mapping[str, Any]]] = {}
    for row in repairs:
        repaired.setdefault(row["span_id"], []).append(row)
    rows = [
        element(
            "div",
            _label(tree, span_id, depth, repaired.get(span_id, [])),
            _track(tree.nodes[span_id], window, pieces.get(span_id, []), colours),
            _time(tree.nodes[span_id]),
            style="display:flex;align-items:center;height:19px",
        )
        for span_id, depth in _preorder(tree, root)
    ]
    more = len(tree) - len(rows)
    if more:
        rows.append(element("div", f"… {count(more, 'more span')}", style=FAINT))
    scroll = "max-height:30em;overflow:auto;margin:4px 0"
    return element("div", _axis(window), *rows, style=scroll)


def _preorder(tree: nx.DiGraph[str], root: str) -> Iterator[tuple[str, int]]:
    """Span id and depth of the first `MOST_ROWS`."""
    waiting = [(root, 0)]
    for _ in range(MOST_ROWS):
        if not waiting:
            return
        span_id, depth = waiting.pop()
        yield span_id, depth
        waiting.extend((child, depth + 1) for child in reversed(list(tree.successors(span_id))))


def _label(tree: nx.DiGraph[str], span_id: str, depth: int, repairs: list[Mapping[str, Any]]) -> Html:
    """Name, the service where it changes, and what is to be noted."""
    span = tree.nodes[span_id]
    parent = next(tree.predecessors(span_id), None)
    title = [f"{span['name']} ({span['service']}, {span['kind']})"]
    notes: list[Html] = []
    if parent is None or tree.nodes[parent]["service"] != span["service"]:
        notes.append(element("span", f" {span['service']}", style=FAINT))
    if span["status_code"] == 2 or span["error"]:
        title.append(f"error: {span['error'] or 'no message'}")
        notes.append(element("span", "error", style=f"{_BADGE};{_RED}"))
    if repairs:
        title += [f"repaired ({row['kind']}): its parent as sent was {row['before']}" for row in repairs]
        notes.append(element("span", "repaired", style=_BADGE))
    indent = f"{_LABEL};padding-left:{min(depth, _DEEPEST_INDENT) * 10}px;box-sizing:border-box"
    return element("div", span["name"], *notes, title="; ".join(title), style=indent)


def _track(
    span: Mapping[str, Any], window: Window, pieces: list[tuple[int, int, str]], colours: Mapping[str, str]
) -> Html:
    """The span's bar: all of it light, the pieces that the request waited for solid."""
    left, width = window.percent(span["start_unix_nano"], span["end_unix_nano"])
    whole = _box(left, width, component_colour(span["component"]), _when(span, window), opacity=0.32)
    longest = sorted(pieces, key=lambda piece: (piece[0] - piece[1], piece[0]))[:MOST_PIECES]
    solid = [
        _box(
            *window.percent(start, end),
            colours.get(phase) or phase_colours([phase])[phase],
            _what(phase, start, end),
        )
        for start, end, phase in sorted(longest)
    ]
    style = f"flex:1 1 0;position:relative;height:100%;margin:0 6px;overflow:hidden;{_GRID}"
    return element("div", whole, *solid, style=style)


def _what(phase: str, start: int, end: int) -> str:
    return f"{phase}: {nanoseconds(end - start)}"


def _when(span: Mapping[str, Any], window: Window) -> str:
    """Where a span lies, exactly."""
    text = f"{nanoseconds(span['duration_ns'])}, from {nanoseconds(span['start_unix_nano'] - window.start)}"
    waited = f"the request waited {nanoseconds(span['critical_ns'])} for its own time"
    late = span["end_unix_nano"] - window.end
    return f"{text}; {waited}" + (f"; ends {nanoseconds(late)} after the request" if late > 0 else "")


def _box(left: float, width: float, colour: str, title: str, opacity: float | None = None) -> Html:
    faded = "" if opacity is None else f";opacity:{opacity}"
    place = f"left:min({left:.3f}%,calc(100% - 2px));width:{width:.3f}%;min-width:2px"
    style = f"position:absolute;top:4px;height:11px;border-radius:2px;{place};background:{colour}{faded}"
    return element("div", title=title, style=style)


def _time(span: Mapping[str, Any]) -> Html:
    return element("div", duration(span["duration_ns"]), title=nanoseconds(span["duration_ns"]), style=_TIME)


def _axis(window: Window) -> Html:
    """Quarters of the request's time above the bars."""
    whole = window.end - window.start
    ticks = [
        element(
            "span",
            duration(whole * quarter // 4) if quarter else "0",
            style=f"position:absolute;left:{25 * quarter}%;padding-left:3px",
        )
        for quarter in range(4)
    ]
    label = element("div", "span", style=f"{_LABEL};{FAINT}")
    scale = element(
        "div", *ticks, style=f"flex:1 1 0;position:relative;height:18px;margin:0 6px;{FAINT};{_GRID}"
    )
    total = element("div", "duration", style=f"{_TIME};{FAINT}")
    return element(
        "div", join(label, scale, total), style=f"display:flex;font-size:11px;border-bottom:{RULE}"
    )
