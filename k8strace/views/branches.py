"""
One request in the terminal: title, parts of its time, and its call tree with bars over time.

    span                  took   waited   0             90 ms
    Create               90 ms     8 ms   █────────────────█
    ├ Call webhook       40 ms    40 ms    ██████                full: on the critical path, the request waits for it
    └ Create etcd3       45 ms     5 ms          ▒────────▒      half: so for a part of its time in this cell
      └ KV/Txn           40 ms    40 ms          ██████████      line: open, but the request waits for others
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.text import Text

from k8strace.attribution import Attribution
from k8strace.components import component_of
from k8strace.requests import Request
from k8strace.views.palette import component_colour
from k8strace.views.text import (
    Look,
    clean,
    component_bar,
    count,
    duration,
    flowed,
    largest_first,
    more_of,
    wrapped,
)

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["request_lines", "rooted_lines", "title_of", "tree_lines"]

_LEAST_NAME: Final = 14
"""Characters that guides leave for a name, at least."""

_LEAST_BAR: Final = 10
"""Width below which bars are left out."""

MOST_ERROR: Final = 300
"""Characters of an error shown, at most."""

ERROR: Final = 2
"""`StatusCode` of the `.proto`."""

_NUMBER: Final = 8
"""Columns of a duration, such as "1,234 µs"."""


class Row(NamedTuple):
    """A span with its place in the tree."""

    span_id: str
    branches: str
    """A letter for each level above: "├" or "└" before the name, "│" or " " further out."""


def title_of(request: Request) -> str:
    """
    What it asked for, written as for kubectl, without control characters.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> title_of(requests.slowest(1)[0])
        'update configmaps cm-3 -n load-1'
    """
    if not request.resource:
        path = (request.target or "").partition("?")[0]
        return clean(f"{request.verb or ''} {path or request.name}".strip())
    resource = request.resource + (f"/{request.subresource}" if request.subresource else "")
    namespace = f"-n {request.namespace}" if request.namespace else ""
    parts = (request.verb, resource, request.object_name, namespace)
    return " ".join(clean(part, 80) for part in parts if part)


def tree_lines(attribution: Attribution, look: Look, limit: int | None) -> list[Text]:
    """Everything about its requests, one after the other."""
    blocks = [request_lines(request, attribution, look, limit=limit) for request in attribution.requests]
    return [line for block in blocks for line in (*block, Text())][:-1]


def request_lines(
    request: Request, attribution: Attribution, look: Look, *, rank: int = 0, limit: int | None = None
) -> list[Text]:
    """
    Everything about one request.

    Args:
        request: One that `attribution` was made of.
        attribution: Where its time went.
        look: Width and colours.
        rank: Its place among the slowest; 0 for none.
        limit: Spans of its tree at most, those that it waited for first; None for all.
    """
    title = f"{title_of(request)}  {duration(request.wall_ns)}"
    phases = attribution.phases(request.request)
    return rooted_lines(title, _particulars(request), phases, request.tree, look, rank=rank, limit=limit)


def rooted_lines(
    title: str,
    particulars: Iterable[str],
    phases: Mapping[str, int],
    tree: nx.DiGraph[str],
    look: Look,
    *,
    rank: int = 0,
    limit: int | None = None,
) -> list[Text]:
    """Everything about a call tree, whatever its root is: see `request_lines`."""
    lead = f"{rank}. " if rank else ""
    hang = " " * max(len(lead), 2)
    parts: dict[str, int] = {}
    for phase, ns in phases.items():
        parts[component_of(phase)] = parts.get(component_of(phase), 0) + ns
    return [
        *wrapped(title, look, mark=Text(lead or hang, style="bold"), indent=0, style="bold"),
        *flowed((Text(piece, style="dim") for piece in particulars), look, between=" · ", hang=hang),
        *flowed(component_bar(parts, sum(parts.values()), look), look, hang=hang),
        _fitting(hang, _phases(phases), look.width),
        *_tree(tree, look, hang, limit),
    ]


def _particulars(request: Request) -> Iterator[str]:
    yield f"trace {request.trace_id}"
    if request.http_status is not None:
        yield f"HTTP {request.http_status}"
    if request.user_agent:
        yield clean(request.user_agent.partition(" ")[0], 40)
    if not request.complete:
        yield f"incomplete: {clean(request.incomplete_cause or '').replace('_', ' ')}"
    yield count(request.spans, "span")
    yield count(request.etcd_call_count, "etcd call")
    if request.prelude_ns:
        yield f"authentication {duration(request.prelude_ns)} before it"


def _phases(phases: Mapping[str, int]) -> Iterator[Text]:
    for phase, ns in largest_first(phases):
        yield Text.assemble((clean(phase), component_colour(component_of(phase))), f" {duration(ns)}")


def _fitting(hang: str, pieces: Iterable[Text], width: int) -> Text:
    """The first pieces that fit on one line."""
    line = Text(hang)
    for piece in pieces:
        between = " · " if line.cell_len > len(hang) else ""
        if between and line.cell_len + len(between) + piece.cell_len > width:
            break
        line = Text.assemble(line, (between, "dim"), piece)
    return line


# ── The tree ──────────────────────────────────────────────────────────────────────────────────────


def _tree(tree: nx.DiGraph[str], look: Look, hang: str, limit: int | None) -> list[Text]:
    rows = list(_preorder(tree, _kept(tree, limit)))
    numbers = 2 * (_NUMBER + 1)
    room = look.width - len(hang) - numbers
    deepest = max(len(row.branches) for row in rows)
    most = max(look.width // 2, deepest + _LEAST_NAME)
    with_bars = room - most - 2 >= _LEAST_BAR
    most = most if with_bars else room
    room_for_guides = most - _LEAST_NAME
    step = 2 if 2 * deepest <= room_for_guides else 1
    guides = [_guides(row.branches, step, room_for_guides) for row in rows]
    names = [_name(tree.nodes[row.span_id], lead) for row, lead in zip(rows, guides, strict=True)]
    width = min(max(name.cell_len for name in names), most)
    bars = _Bars(tree, rows[0].span_id, max(room - width - 2, 1))
    lines = [_header(hang, width, bars if with_bars else None)]
    for row, name in zip(rows, names, strict=True):
        node = tree.nodes[row.span_id]
        name.truncate(width, overflow="ellipsis", pad=True)
        waited = duration(node["critical_ns"]) if node["critical_ns"] else "·"
        figures = f" {duration(node['duration_ns']):>{_NUMBER}} {waited:>{_NUMBER}}"
        drawn = ("  ", bars.bar(row.span_id)) if with_bars else ()
        lines.append(Text.assemble(hang, name, figures, *drawn))
        lines.extend(_error(node, row, hang, step, room_for_guides, look))
    left_out = len(tree) - len(rows)
    return [*lines, more_of(left_out, "span", hang)] if left_out else lines


def _header(hang: str, width: int, bars: _Bars | None) -> Text:
    axis = "  0" + duration(bars.wall_ns).rjust(bars.cells - 1) if bars else ""
    return Text(f"{hang}{'span':<{width}} {'took':>{_NUMBER}} {'waited':>{_NUMBER}}{axis}", style="dim")


def _name(node: Mapping[str, Any], guides: str) -> Text:
    text = clean(node["name"])
    webhook = node["attributes"].get("webhook")
    if webhook and text.endswith(" webhook"):
        text = f"{text.removeprefix('Call ')} {clean(webhook, 60)}"
    name = Text.assemble((guides, "dim"), (text, component_colour(node["component"])))
    if node["kind"] == "SERVER" and guides:
        name.append(f" @{clean(node['service'], 20)}", "dim")
    if node["status_code"] == ERROR or node["error"]:
        name.append(" ✗", "bold red")
    return name


_OPEN: Final = str.maketrans("├└", "│ ")


def _error(node: Mapping[str, Any], row: Row, hang: str, step: int, room: int, look: Look) -> list[Text]:
    """What went wrong in a span, in its sender's words, below its name."""
    if not node["error"]:
        return []
    mark = Text.assemble(hang, (_guides(row.branches.translate(_OPEN), step, room), "dim"), "  ")
    text = f"✗ {clean(node['error'], MOST_ERROR)}"
    return wrapped(text, look, mark=mark, indent=0, style="red")


def _kept(tree: nx.DiGraph[str], limit: int | None) -> set[str] | None:
    """The spans that fit, those waited for longest first, each with all spans above it; None for all."""
    if limit is None or len(tree) <= limit:
        return None
    nodes = tree.nodes
    kept: set[str] = set()
    for span_id in sorted(tree, key=lambda each: (-nodes[each]["critical_ns"], -nodes[each]["duration_ns"])):
        above = _missing_above(tree, span_id, kept)
        if len(kept) + len(above) <= limit:
            kept.update(above)
        if len(kept) == limit:
            break
    return kept or {next(iter(tree))}


def _missing_above(tree: nx.DiGraph[str], span_id: str, kept: set[str]) -> list[str]:
    """The span and the spans above it that are not kept yet."""
    path = []
    at: str | None = span_id
    while at is not None and at not in kept:
        path.append(at)
        at = next(iter(tree.predecessors(at)), None)
    return path


def _preorder(tree: nx.DiGraph[str], kept: set[str] | None) -> Iterator[Row]:
    waiting = [(next(iter(tree)), "", "")]
    while waiting:
        span_id, branches, below = waiting.pop()
        yield Row(span_id, branches)
        children = [each for each in tree.successors(span_id) if kept is None or each in kept]
        for child in reversed(children):
            last = child == children[-1]
            waiting.append((child, below + ("└" if last else "├"), below + (" " if last else "│")))


def _guides(branches: str, step: int, room: int) -> str:
    """
    The branches before a name, every level further right than the one above it.

    Where even one character a level is too much, outer levels are counted instead: by as many as keep the levels
    of one page in place.

    Examples:
        >>> _guides("│ └", 2, 20), _guides("│ └", 1, 20), _guides(" " * 40 + "└", 1, 20)
        ('│   └ ', '│ └', '+33      └')
    """
    hidden = 0
    if len(branches) * step > room:
        page = max(room // 2, 1)
        hidden = -(-(len(branches) - room) // page) * page + 3
    lead = f"+{hidden}".ljust(3) if hidden else ""
    return lead + "".join(branch.ljust(step) for branch in branches[hidden:])


# ── Bars ──────────────────────────────────────────────────────────────────────────────────────────


class _Bars:
    """The request's time cut into cells, and what every span does in each."""

    def __init__(self, tree: nx.DiGraph[str], root: str, cells: int) -> None:
        self._tree = tree
        self.cells = cells
        self._start: int = tree.nodes[root]["effective_start_unix_nano"]
        self.wall_ns: int = tree.nodes[root]["effective_end_unix_nano"] - self._start
        self._critical: dict[str, dict[int, int]] = {}
        for span_id, start, end, _ in tree.graph["critical_path"]:
            waited = self._critical.setdefault(span_id, {})
            for cell, ns in self._per_cell(start - self._start, end - self._start):
                waited[cell] = waited.get(cell, 0) + ns

    def bar(self, span_id: str) -> Text:
        """A span's line: where it is open, and where the request waits for it."""
        node = self._tree.nodes[span_id]
        start, end = (node[f"effective_{side}_unix_nano"] - self._start for side in ("start", "end"))
        critical = self._critical.get(span_id, {})
        open_in = list(self._per_cell(start, end))
        drawn = "".join(_mark(critical.get(cell, 0), ns) for cell, ns in open_in)
        return Text(" " * open_in[0][0]).append(drawn, component_colour(node["component"]))

    def _per_cell(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The cells of an interval, at least one, with its nanoseconds in each."""
        for cell in range(self._cell(start), self._cell(max(end - 1, start)) + 1):
            yield cell, max(min(end, self._edge(cell + 1)) - max(start, self._edge(cell)), 0)

    def _cell(self, ns: int) -> int:
        return min(ns * self.cells // max(self.wall_ns, 1), self.cells - 1)

    def _edge(self, cell: int) -> int:
        """The first nanosecond of a cell."""
        return -(-cell * self.wall_ns // self.cells)


def _mark(critical_ns: int, open_ns: int) -> str:
    """The mark of a cell: the request waits for the span mostly, partly or hardly, while it is open in the cell."""
    if 10 * critical_ns <= open_ns:
        return "─"
    return "█" if 2 * critical_ns >= open_ns else "▒"
