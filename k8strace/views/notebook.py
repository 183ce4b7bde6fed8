"""
What a notebook shows: the bodies of `_repr_html_`.

Few rows and totals, whatever the size; see `markup` for what it is made of and how text from spans is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import singledispatch
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from k8strace.attribution import Attribution, Breakdown, attribute
from k8strace.calltree import KINDS
from k8strace.components import by_component
from k8strace.requests import Request, Requests
from k8strace.spans import Spans
from k8strace.tables import Table
from k8strace.views.markup import (
    FAINT,
    Content,
    Html,
    bar,
    element,
    facts,
    join,
    legend,
    nanoseconds,
    page,
    parts_of,
    swatches,
    table,
)
from k8strace.views.text import count, duration
from k8strace.views.waterfall import waterfall

if TYPE_CHECKING:
    from k8strace.attribution import Band, Group

__all__ = ["html_of"]

MOST_ROWS: Final = 10
"""Rows of a table that stands for more."""

MOST_GROUPS: Final = 15

MOST_CELL: Final = 80
"""Characters of a value that is no text."""

MOST_DRAWN: Final = 20_000
"""Spans of a request whose tree is drawn; of a larger one the composition is shown."""


@singledispatch
def html_of(shown: object) -> str:
    """The body of `_repr_html_` of a result."""
    raise TypeError(f"expected a result of k8strace, got {type(shown).__name__}")


# ── Spans ─────────────────────────────────────────────────────────────────────────────────────────


@html_of.register
def _spans(spans: Spans) -> str:
    """How many spans from which processes and files, what is damaged, and the first few."""
    counts = spans.counts
    kinds = [count(counts[name], name[:-1]) for name in ("attributes", "events", "links") if name in counts]
    title = f"{count(len(spans), 'span')} in {count(counts['batches'], 'batch')}"
    return page(
        facts(title, *kinds),
        _sources(spans),
        _processes(spans),
        _first_spans(spans),
    )


def _sources(spans: Spans) -> Html:
    lines = [
        element("div", f"{source.path}: {source.format}, {source.bytes:,} bytes, {source.batches:,} batches")
        for source in islice(spans.sources, MOST_ROWS)
    ]
    damage = [element("div", "damaged: ", str(issue)) for issue in islice(spans.issues, MOST_ROWS)]
    return join(
        *lines,
        _more(len(spans.sources) - len(lines), "source"),
        *damage,
        _more(len(spans.issues) - len(damage), "issue"),
    )


def _processes(spans: Spans) -> Html:
    processes = spans.processes
    rows = [
        (process["service"], process["instance"], _attributes(process["attributes"]))
        for process in processes[:MOST_ROWS]
    ]
    shown = table(("process", "instance", "resource"), rows)
    return join(shown, _more(len(processes) - len(rows), "process"))


def _attributes(attributes: Mapping[str, Any]) -> str:
    """Further attributes of a resource, the first few."""
    more = [item for item in attributes.items() if item[0] not in ("service.name", "service.instance.id")]
    return ", ".join(f"{key}={value}" for key, value in more[:4]) + (", …" if len(more) > 4 else "")


def _first_spans(spans: Spans) -> Html:
    names = ("name", "service_name", "kind", "start_time_unix_nano", "end_time_unix_nano", "trace_id")
    columns = [spans.column(name) for name in names]
    rows: list[tuple[Content, ...]] = []
    for at in range(min(len(spans), 5)):
        name, service, kind, start, end, trace_id = (column[at] for column in columns)
        rows.append((name, service, _kind(kind), _time((end or 0) - (start or 0)), trace_id))
    shown = table(("first spans", "service", "kind", "duration", "trace"), rows, "lllrl")
    return join(shown, _more(len(spans) - len(rows), "span")) if rows else shown


@html_of.register
def _table(rows: Table) -> str:
    """The first few rows, texts as they are and the rest as Python writes it."""
    shown = [tuple(_cell(value) for value in row.values()) for row in rows[:MOST_ROWS]]
    return str(join(table(tuple(rows.column_names), shown), _more(len(rows) - len(shown), "row")))


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else repr(value)[:MOST_CELL]


def _kind(kind: int | None) -> str:
    return KINDS[kind] if kind is not None and 0 <= kind < len(KINDS) else str(kind)


# ── Requests ──────────────────────────────────────────────────────────────────────────────────────


@html_of.register
def _requests(requests: Requests) -> str:
    """The slowest few with their compositions, and the ledger of all spans."""
    counts, ledger = requests.joined.counts, requests.joined.ledger
    short = requests.where(long_running=False)
    shown = short or requests
    title = (
        count(len(requests), "request")
        if len(requests) == counts["requests"]
        else f"{len(requests):,} of {count(counts['requests'], 'request')}"
    )
    slowest = shown.slowest(MOST_ROWS)
    compositions = _compositions(slowest)
    rows = [_request_row(*pair) for pair in zip(slowest, compositions, strict=True)]
    return page(
        facts(title, count(counts["traces"], "trace"), count(counts["background_calls"], "background call")),
        swatches(parts_of({component: 1 for parts in compositions for component in parts})),
        table(("slowest", "status", "wall", "etcd calls", "where the time went"), rows, "lrrrl"),
        _more(len(shown) - len(rows), "request"),
        _long_running(len(requests) - len(short) if len(short) else 0),
        _ledger("used", ledger.used),
        _ledger("set aside", ledger.set_aside),
    )


def _request_row(request: Request, components: Mapping[str, int]) -> tuple[Content, ...]:
    return (
        request.what,
        request.http_status,
        _time(request.wall_ns),
        request.etcd_call_count,
        element("div", bar(parts_of(components), 12, "150px"), style="width:150px"),
    )


def _compositions(slowest: Requests) -> list[dict[str, int]]:
    """Component → ns of each. Small trees are done one by one; for large ones the core divides all requests at once."""
    if max(slowest.column("spans"), default=0) <= MOST_DRAWN // MOST_ROWS:
        return [by_component(_critical(request.tree.graph["critical_path"])) for request in slowest]
    attribution = attribute(slowest)
    return [attribution.components(request.request) for request in slowest]


def _ledger(title: str, counts: Mapping[str, int]) -> Html:
    known = [f"{name} {number:,}" for name, number in counts.items() if number]
    return element("div", f"Spans {title}: {', '.join(known) or 'none'}.", style=f"{FAINT};font-size:12px")


# ── One request ───────────────────────────────────────────────────────────────────────────────────


@html_of.register
def _request(request: Request) -> str:
    """Its facts in one line, the composition of its wall time, and its spans over time."""
    if request.spans > MOST_DRAWN:
        note = f"Its {request.spans:,} spans are too many to draw here."
        return page(
            _request_facts(request),
            _composition(attribute(request._requests).phases(request.request)),
            element("div", note, style=FAINT),
        )
    tree = request.tree
    phases = _critical(tree.graph["critical_path"])
    colours = {part.name: part.colour for part in parts_of(phases)}
    return page(
        _request_facts(request),
        _composition(phases),
        waterfall(tree, request.span_id, colours, request.repairs),
    )


def _request_facts(request: Request) -> Html:
    calls = request.etcd_call_count
    items: list[Content] = [
        None if request.http_status is None else f"HTTP {request.http_status}",
        _time(request.wall_ns),
        count(request.spans, "span"),
        count(calls, "etcd call") if calls else "no etcd calls",
        "complete" if request.complete else f"incomplete: {request.incomplete_cause or 'unknown'}",
        request.prelude_ns and join("authentication before it ", _time(request.prelude_ns)),
        request.pre_start_ns and join("cut before it ", _time(request.pre_start_ns)),
        request.async_tail_ns and join("cut after it ", _time(request.async_tail_ns)),
        request.user_agent,
    ]
    return facts(request.what, *(item for item in items if item))


def _composition(phases: Mapping[str, int]) -> Html:
    parts = parts_of(phases)
    return join(bar(parts), legend(parts))


def _critical(path: Iterable[tuple[str, int, int, str]]) -> dict[str, int]:
    phases: dict[str, int] = {}
    for _, start, end, phase in path:
        phases[phase] = phases.get(phase, 0) + end - start
    return phases


# ── Attribution ───────────────────────────────────────────────────────────────────────────────────


@html_of.register
def _attribution(attribution: Attribution) -> str:
    """What the time of all requests was made of, and that of the slow ones among them. Watches are left out."""
    long_running = len(attribution.requests.where(long_running=True))
    method = f"by {attribution.method.replace('_', ' ')}"
    breakdown = attribution.by()
    if not breakdown:
        return page(facts("no requests", method), _long_running(long_running))
    everything = breakdown[0].all
    return page(
        facts(
            count(everything.requests, "request"),
            join(_time(everything.wall_ns), " wall time"),
            method,
            *_excess(everything),
        ),
        _composition(everything.phases),
        table(("requests", "how many", "mean wall", "where the time went"), _bands(breakdown), "lrrl"),
        _long_running(long_running),
    )


def _excess(band: Band) -> list[Content]:
    """How many times the wall time the parts are, for the method that does not conserve it."""
    parts = sum(band.phases.values())
    return (
        [f"parts are {parts / band.wall_ns:.2f} times that"] if band.wall_ns and parts != band.wall_ns else []
    )


def _bands(breakdown: Breakdown) -> list[tuple[Content, ...]]:
    """All requests, and those of each quantile's band, one row each."""
    (group,) = breakdown
    edges = [_quantile(q) for q in breakdown.quantiles]
    ends = [f"to {edge}" for edge in edges[1:]] + ["and slower"]
    named = [
        (f"{edge} {end}", group.bands[q])
        for edge, end, q in zip(edges, ends, breakdown.quantiles, strict=True)
    ]
    return [
        (name, band.requests, _time(round(band.mean_wall_ns)), _share_bar(band, 320))
        for name, band in [("all", group.all), *named]
    ]


@html_of.register
def _breakdown(breakdown: Breakdown) -> str:
    """One row per group: its quantiles, and under each what that band of requests was made of."""
    heads = [*(breakdown.keys or ("group",)), "requests", "wall", "all", *map(_quantile, breakdown.quantiles)]
    rows = [_group_row(group, breakdown) for group in islice(breakdown, MOST_GROUPS)]
    shown = {component: 1 for group in islice(breakdown, MOST_GROUPS) for component in group.all.components}
    by = " and ".join(breakdown.keys)
    return page(
        facts(count(len(breakdown), "group") + (f" by {by}" if by else ""), "most total time first"),
        swatches(parts_of(shown)),
        table(heads, rows, "l" * len(breakdown.keys or "x") + "rrl"),
        _more(len(breakdown) - len(rows), "group"),
    )


def _group_row(group: Group, breakdown: Breakdown) -> list[Content]:
    keys = list(group.keys.values()) or ["all"]
    return [
        *(key if key is None else str(key) for key in keys),
        group.requests,
        _time(group.all.wall_ns),
        join(element("div", "mean ", _time(round(group.all.mean_wall_ns))), _share_bar(group.all)),
        *(
            join(element("div", _time(group.quantile(q).wall_ns)), _share_bar(group.bands[q]))
            for q in breakdown.quantiles
        ),
    ]


def _share_bar(band: Band, width: int = 96) -> Html:
    return element("div", bar(parts_of(band.components), 10, f"{width}px"), style=f"width:{width}px")


# ── Words for all of them ─────────────────────────────────────────────────────────────────────────


def _time(ns: int) -> Html:
    """A duration for people, with the exact one in its tooltip."""
    return element("span", duration(ns), title=nanoseconds(ns), style="white-space:nowrap")


def _quantile(q: float) -> str:
    return f"p{q * 100:g}"


def _more(number: int, thing: str) -> Html:
    return element("div", f"… {count(number, f'more {thing}')}", style=FAINT) if number > 0 else Html()


def _long_running(number: int) -> Html:
    if not number:
        return Html()
    text = f"{count(number, 'long-running request')}, such as watches, left out."
    return element("div", text, style=f"{FAINT};font-size:12px")
