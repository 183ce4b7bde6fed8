"""The first screen: plain HTML and SVG, without styles in attributes, so that the page's policy can be strict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from k8strace.attribution import Attribution, Band, Breakdown, Group
from k8strace.page.redaction import PlainNames
from k8strace.requests import Requests
from k8strace.views.facts import REASONS, USES, findings
from k8strace.views.markup import Content, Html, Part, element, join, nanoseconds, parts_of
from k8strace.views.palette import component_colour
from k8strace.words import count, duration, percent

__all__ = ["QUANTILES", "answer", "dependencies", "found", "groups", "ledger", "slowest"]

QUANTILES: Final = (0.5, 0.9, 0.99)

MOST_GROUPS: Final = 15

MOST_REQUESTS: Final = 10

GREY: Final = "#7a7d82"

MOST_FINDINGS: Final = 5
"""Findings that are shown without a click."""

FEW: Final = 4
"""Parts that are not worth a click."""


# ── The answer ────────────────────────────────────────────────────────────────────────────────────


def answer(groups: Breakdown) -> Html:
    """How much time, and what it was made of: a sentence, a bar, and its legend with every part to the nanosecond."""
    bands = [group.all for group in groups]
    if not bands:
        return element("p", "No API request with a duration that can be judged.", class_="lead")
    phases: Counter[str] = sum((Counter(band.phases) for band in bands), Counter())
    components: Counter[str] = sum((Counter(band.components) for band in bands), Counter())
    requests, wall_ns = sum(band.requests for band in bands), sum(band.wall_ns for band in bands)
    parts = solid(parts_of(phases))
    shares = ", ".join(f"{percent(ns, wall_ns)} {name}" for name, ns in components.most_common(4))
    lead = element(
        "p", element("b", count(requests, "API request")), " took ", time(wall_ns, id="total"),
        f" in all: {shares}.", class_="lead",
    )  # fmt: skip
    return join(lead, bar(parts, "bar big"), legend(parts))


def solid(parts: Iterable[Part]) -> list[Part]:
    """Pieces with colours for SVG."""
    return [part if part.colour.startswith("#") else part._replace(colour=GREY) for part in parts]


def bar(parts: Sequence[Part], kind: str = "bar") -> Html:
    """A composition, as wide as its container."""
    total = sum(part.ns for part in parts) or 1
    pieces, at = [], 0.0
    for part in parts:
        width = 1000 * part.ns / total
        title = element("title", f"{part.name}: {nanoseconds(part.ns)} ({percent(part.ns, total)})")
        pieces.append(
            element(
                "rect",
                title,
                x=f"{at:.2f}",
                y="0",
                width=f"{max(width, 0.5):.2f}",
                height="10",
                fill=part.colour,
            )
        )
        at += width
    told = ", ".join(f"{part.name} {percent(part.ns, total)}" for part in parts) or "no time"
    return element(
        "svg", *pieces, class_=kind, viewBox="0 0 1000 10", preserveAspectRatio="none", role="img", aria_label=told
    )  # fmt: skip


def legend(parts: Sequence[Part]) -> Html:
    """Colour, name, time and share of every piece; those below a hundredth are one click away."""
    total = sum(part.ns for part in parts) or 1
    small = [part for part in parts if 100 * part.ns < total]
    if len(small) < FEW:
        return _legend(parts, total)
    large = [part for part in parts if part not in small]
    summary = element("summary", f"{len(small)} smaller parts")
    return element(
        "div", _legend(large, total), element("details", summary, _legend(small, total), class_="faint")
    )


def _legend(parts: Iterable[Part], total: int) -> Html:
    items = [
        element("li", swatch(part.colour), element("span", part.name, class_="name"), " ", time(part.ns),
                element("span", f" {percent(part.ns, total)}", class_="faint"))
        for part in parts
    ]  # fmt: skip
    return element("ul", *items, class_="legend")


def swatch(colour: str) -> Html:
    """A square of a colour."""
    square = element("rect", width="10", height="10", rx="2", fill=colour)
    return element("svg", square, class_="swatch", viewBox="0 0 10 10", aria_hidden="true")


def time(ns: int, **attributes: str) -> Html:
    """A rounded duration; its value and its tooltip are exact."""
    return element("data", duration(ns), value=str(ns), title=nanoseconds(ns), **attributes)


# ── What is wrong ─────────────────────────────────────────────────────────────────────────────────


def found(rows: Sequence[Mapping[str, Any]], names: PlainNames) -> Html:
    """Findings as sentences, the worst first."""
    if not rows:
        return element("p", "Nothing stands out. The table says where the time went.", class_="faint")
    items = [
        element(
            "li",
            element("span", row["severity"], class_=f"badge {row['severity']}"),
            element("p", names.text(row["sentence"]), class_="sentence"),
            element("p", names.text(row["fix"]), class_="faint"),
            data_finding=str(at),
        )
        for at, row in enumerate(rows)
    ]
    first, more = items[:MOST_FINDINGS], items[MOST_FINDINGS:]
    rest = element("summary", f"{count(len(more), 'more finding')}")
    return join(
        element("ol", *first, class_="findings"),
        element("details", rest, element("ol", *more, class_="findings")) if more else Html(),
    )


# ── Groups ────────────────────────────────────────────────────────────────────────────────────────


def groups(by: Breakdown, requests: Requests) -> Html:
    """The table by verb and resource: quantiles, time, parts, errors."""
    broken = _errors(requests)
    rows = [_group(group, broken) for group in by.groups[:MOST_GROUPS]]
    heads = ("verb", "resource", "requests", "p50", "p90", "p99", "total", "where the time went", "errors")
    more = len(by) - len(rows)
    note = element("p", f"… {count(more, 'more group')}", class_="faint more") if more > 0 else Html()
    return join(table("Requests by verb and resource", heads, rows, numbers={2, 3, 4, 5, 6, 8}), note)


def _group(group: Group, broken: Mapping[tuple[Any, Any], Counter[int]]) -> list[Content]:
    keys = group.keys["verb"], group.keys["resource"]
    statuses = broken.get(keys, Counter())
    told = ", ".join(f"{number_of:,} of {status}" for status, number_of in sorted(statuses.items()))
    errors = element("span", f"{statuses.total():,}", class_="error", title=told) if statuses else Html("·")
    return [
        keys[0], keys[1] or "(no resource)", group.requests,
        *(time(group.quantile(q).wall_ns) for q in QUANTILES),
        time(group.all.wall_ns), composition(group.all), errors,
    ]  # fmt: skip


def composition(band: Band) -> Html:
    """The bar of a row: components."""
    return bar(solid(parts_of(band.components)))


def _errors(requests: Requests) -> dict[tuple[Any, Any], Counter[int]]:
    """Requests with status 400 and above, per verb and resource, of those in the table."""
    told: dict[tuple[Any, Any], Counter[int]] = {}
    shown = requests._judged()
    for verb, resource, status in zip(*map(shown.column, ("verb", "resource", "http_status")), strict=True):
        if status is not None and status >= 400:
            told.setdefault((verb, resource), Counter())[status] += 1
    return told


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Content]], numbers: set[int]) -> Html:
    """A table; the cells of its first column are row headers."""
    sides = ["n" if at in numbers else None for at in range(len(heads))]
    head = element(
        "tr",
        *(element("th", text, scope="col", class_=side) for text, side in zip(heads, sides, strict=True)),
    )
    body = [
        element(
            "tr",
            *(
                element("td" if at else "th", cell, class_=sides[at], scope=None if at else "row")
                for at, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    whole = element(
        "table", element("caption", caption, class_="hidden"), element("thead", head), element("tbody", *body)
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


# ── Requests ──────────────────────────────────────────────────────────────────────────────────────


def slowest(attribution: Attribution, names: PlainNames) -> Html:
    """The slowest requests, with what they waited for."""
    rows = []
    for request in attribution.requests.slowest(MOST_REQUESTS):
        parts = solid(parts_of(attribution.components(request.request)))
        rows.append(
            [names.text(request.what), names.name(request.object_name), request.http_status,
             time(request.wall_ns), bar(parts), element("code", request.trace_id[:16])]
        )  # fmt: skip
    heads = ("request", "object", "status", "wall time", "where the time went", "trace")
    return table("The slowest requests", heads, rows, numbers={2, 3})


# ── Who calls whom ────────────────────────────────────────────────────────────────────────────────


def dependencies(requests: Requests) -> Html:
    """Components and the calls between them, as a picture and as a table."""
    edges = [
        (a, b, data["calls"], data["total_ns"]) for a, b, data in requests.graph.edges(data=True) if a != b
    ]
    edges.sort(key=lambda edge: (-edge[3], edge[:2]))
    if not edges:
        return element("p", "No calls between components.", class_="faint")
    rows = [[caller, called, calls, time(ns)] for caller, called, calls, ns in edges]
    heads = ("caller", "called", "calls", "time in them")
    return join(_picture(edges), table("Calls between components", heads, rows, numbers={2, 3}))


def _picture(edges: Sequence[tuple[str, str, int, int]]) -> Html:
    """Layers from left to right by the longest path from a caller; enough for few nodes."""
    layer = _layers(edges)
    depth: Counter[int] = Counter()
    place: dict[str, tuple[int, int]] = {}
    for node in sorted(layer, key=lambda name: (layer[name], name)):
        place[node] = (20 + 320 * layer[node], 24 + 76 * depth[layer[node]])
        depth[layer[node]] += 1
    most = max(ns for *_, ns in edges) or 1
    lines = [_edge(place[caller], place[called], calls, ns, ns / most) for caller, called, calls, ns in edges]
    boxes = [_box(name, at) for name, at in place.items()]
    width, height = 150 + max(x for x, _ in place.values()), 60 + max(y for _, y in place.values())
    told = "; ".join(f"{a} calls {b} {calls:,} times, {duration(ns)}" for a, b, calls, ns in edges)
    return element(
        "svg", *lines, *boxes, class_="graph", viewBox=f"0 0 {width} {height}", width=str(width), height=str(height),
        role="img", aria_label=told,
    )  # fmt: skip


def _layers(edges: Sequence[tuple[str, str, int, int]]) -> dict[str, int]:
    """Node → its layer. Cycles end after as many rounds as there are nodes."""
    layer = {node: 0 for caller, called, *_ in edges for node in (caller, called)}
    for _ in range(len(layer) - 1):
        for caller, called, *_ in edges:
            if layer[called] <= layer[caller] < len(layer) - 1 and (called, caller) not in {
                e[:2] for e in edges
            }:
                layer[called] = layer[caller] + 1
    return layer


def _box(name: str, at: tuple[int, int]) -> Html:
    x, y = at
    frame = element("rect", x=str(x), y=str(y), width="120", height="32", rx="6", fill=component_colour(name))
    text = element("text", name[:16], x=str(x + 60), y=str(y + 21), text_anchor="middle", class_="node")
    return element("g", frame, text)


def _edge(start: tuple[int, int], end: tuple[int, int], calls: int, ns: int, weight: float) -> Html:
    (x1, y1), (x2, y2) = (start[0] + 120, start[1] + 16), (end[0], end[1] + 16)
    bend = (x1 + x2) // 2
    line = element(
        "path", d=f"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}", class_="edge",
        stroke_width=f"{1.5 + 6 * weight:.1f}",
    )  # fmt: skip
    label = element(
        "text",
        f"{calls:,} calls, {duration(ns)}",
        x=str(bend),
        y=str((y1 + y2) // 2 - 8),
        text_anchor="middle",
    )
    return element("g", line, label)


# ── The ledger ────────────────────────────────────────────────────────────────────────────────────


def ledger(requests: Requests, names: PlainNames) -> Html:
    """What became of every span, and what is wrong with the data."""
    told = requests.joined.ledger
    places: list[tuple[Content, ...]] = [
        *(("used", USES.get(use, use), spans) for use, spans in told.used.items() if spans),
        *(("set aside", REASONS.get(why, why), spans) for why, spans in told.set_aside.items() if spans),
    ]
    used, aside = sum(told.used.values()), sum(told.set_aside.values())
    total = element("p", f"{told.spans:,} spans = {used:,} used + {aside:,} set aside")
    wrong = [
        element("li", element("span", kind, class_=f"badge {kind}"), " ", names.text(each.text))
        for each in findings(requests.spans, requests)
        for kind in ("warning" if each.wrong else "info",)
    ]
    return join(
        total,
        table("What became of every span", ("place", "what", "spans"), places, numbers={2}),
        element("h3", "What is wrong with the data"),
        element("ul", *wrong, class_="issues") if wrong else element("p", "Nothing."),
    )
