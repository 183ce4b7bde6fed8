"""One HTML file: the first screen, the data, style and script, and the policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from k8strace.attribution import Attribution, attribute
from k8strace.components import component_of
from k8strace.page import first
from k8strace.page.choosing import chosen_trees
from k8strace.page.columns import Columns
from k8strace.page.details import details_of
from k8strace.page.pods import slow_pods
from k8strace.page.redaction import PlainNames, names_of
from k8strace.requests import Requests
from k8strace.views.markup import Html, element, join
from k8strace.views.palette import component_colour, in_order, phase_colours
from k8strace.words import count

__all__ = ["Options", "pack", "page_of"]

BYTES_PER_SPAN: Final = 13
"""Of a tree in the file, about: its numbers, compressed, in base64."""

BYTES_PER_REQUEST: Final = 60
"""Of a request's row, about."""

DETAILED_SPANS: Final = 12_000
"""Spans with attributes, events and links."""

TEXTS: Final = (
    "verb", "resource", "subresource", "namespace", "object_name", "instance", "user_agent", "incomplete_cause", "what"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """How a page is made."""

    title: str | None = None
    """Its title; None: the names of the files that were read."""
    redact: bool = False
    """Names as hashes."""
    max_mb: float = 10.0
    """Megabytes of the file, about: as many trees are in it."""


def page_of(requests: Requests, options: Options | None = None) -> str:
    """The page of these requests as one HTML document. Equal input gives equal text."""
    options = options or Options()
    names = names_of(requests) if options.redact else PlainNames()
    attribution = attribute(requests)
    rows = _findings(requests)
    data, told = pack(attribution, rows, names, options)
    title = options.title or _title(requests, names)
    return _document(title, _body(title, attribution, rows, names, told), data)


def _findings(requests: Requests) -> list[dict[str, Any]]:
    return list(requests.findings())


def _title(requests: Requests, names: PlainNames) -> str:
    sources = [str(names.name(source.path)) for source in requests.spans.sources]
    known = [source.replace("\\", "/").rpartition("/")[2] for source in sources[:2]]
    more = f" and {len(sources) - 2:,} more" if len(sources) > 2 else ""
    return ", ".join(known) + more or "k8strace"


# ── The document ──────────────────────────────────────────────────────────────────────────────────


@cache
def _asset(name: str) -> str:
    return (files("k8strace.page") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def policy(connect: str = "") -> str:
    """The content security policy: this script, this style, nothing else."""
    return (
        f"default-src 'none'; script-src {_hash(_asset('page.js'))}; style-src {_hash(_asset('page.css'))}; "
        f"img-src data:; {connect}base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _document(title: str, body: Html, data: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"{element('title', title + ' · k8strace')}\n<style>{_asset('page.css')}</style>\n</head>\n"
        '<body class="k8s">\n'
        f"{body}\n"
        f'<script type="application/octet-stream;base64" id="k8strace-data">{data}</script>\n'
        f'<script type="module">{_asset("page.js")}</script>\n</body>\n</html>\n'
    )


def _body(
    title: str, attribution: Attribution, rows: Sequence[dict[str, Any]], names: PlainNames, told: str
) -> Html:
    requests = attribution.requests
    spans = f"{count(len(requests.spans), 'span')} in {count(requests.joined.counts['traces'], 'trace')}"
    links = [
        element("a", text, href=f"#{to}", data_to=to)
        for to, text in (("findings", "Findings"), ("groups", "Table"), ("ledger", "Ledger"))
    ]
    return join(
        element(
            "header",
            element(
                "div", element("h1", "Where the time went"), element("p", title, " · ", spans, class_="faint")
            ),
            element("nav", *links, aria_label="Sections"),
            class_="top",
        ),
        element(
            "main",
            _section("answer", "", first.answer(attribution)),
            _section("findings", "What to look at", first.found(rows, names)),
            _empty("timeline", "When"),
            _section("groups", "By verb and resource", first.groups(attribution)),
            _empty("flame", "What requests waited for"),
            _section("requests", "The slowest requests", first.slowest(attribution, names)),
            _empty("request", "One request"),
            *_slow_pods(requests, names),
            _section("graph", "Who calls whom", first.dependencies(requests)),
            _section(
                "ledger", "The ledger", join(element("p", told, id="left-out"), first.ledger(requests, names))
            ),
        ),
        element("noscript", element("p", "Scripts are off: the first screen is here, the drawings are not.")),
    )


def _slow_pods(requests: Requests, names: PlainNames) -> list[Html]:
    body = slow_pods(requests, names)
    return [] if body is None else [_section("pods", "Why these pods started slowly", body)]


def _section(name: str, title: str, content: Html) -> Html:
    head = element("h2", title) if title else element("h2", "The answer", class_="hidden")
    return element("section", head, element("div", content, class_="body"), id=name)


def _empty(name: str, title: str) -> Html:
    """A place that only the script fills."""
    return element(
        "section", element("h2", title), element("div", class_="body"), id=name, hidden="hidden"
    )  # fmt: skip


# ── The data ──────────────────────────────────────────────────────────────────────────────────────


def pack(
    attribution: Attribution, rows: Sequence[dict[str, Any]], names: PlainNames, options: Options
) -> tuple[str, str]:
    """What the script reads, in base64; and what was left out of it, in words."""
    requests = attribution.requests
    columns = Columns()
    base = min(requests.column("start_unix_nano"), default=0)
    _add_requests(columns, requests, base, names)
    _add_parts(columns, attribution)
    room = options.max_mb * 1e6 - BYTES_PER_REQUEST * len(requests)
    examples = [row["example_trace_id"] for row in rows if row["example_trace_id"]]
    chosen, telling = chosen_trees(requests, examples, max(int(room / BYTES_PER_SPAN), 0))
    _add_trees(columns, requests, chosen, names)
    details = details_of(requests, chosen, names, DETAILED_SPANS)
    told = _left_out(len(chosen), len(details), telling, len(requests), names)
    place = {row: at for at, row in enumerate(requests._rows)}
    more = {
        "version": 1,
        "base": str(base),
        "told": told,
        "redacted": names.redacts,
        "findings": [_finding(row, names) for row in rows],
        "trees": [place[row] for row in chosen],
        "details": {place[row]: detail for row, detail in details.items()},
        "methods": list(_METHODS),
    }
    return columns.packed(more), told


def _left_out(trees: int, details: int, telling: int, everything: int, names: PlainNames) -> str:
    """What a reader must know of what is not here."""
    if trees == everything:
        told = "The call trees of all requests are in this page"
    else:
        told = (
            f"The call trees of {trees:,} of {count(everything, 'request')} are in this page: {telling:,} that "
            "findings name or that are the slowest of their kind, the others a uniform sample. All sums are over all "
            "requests"
        )
    if details < trees:
        told += f"; attributes, events and links are here of {details:,} of them"
    return f"{told}. {'Names are hashes. ' if names.redacts else ''}".strip()


def _finding(row: dict[str, Any], names: PlainNames) -> dict[str, Any]:
    return {
        "code": row["code"],
        "where": [names.text(each) for each in row["where"]],
        "trace": row["example_trace_id"],
    }


_METHODS: Final = ("critical_path", "active_share", "self_time")


def _add_requests(columns: Columns, requests: Requests, base: int, names: PlainNames) -> None:
    columns.add_ascending("start", [start - base for start in requests.column("start_unix_nano")])
    columns.add("wall", requests.column("wall_ns"))
    for name in ("spans", "etcd_call_count", "pre_start_ns", "async_tail_ns"):
        columns.add(name, requests.column(name))
    columns.add("status", [(status or 0) % (1 << 31) for status in requests.column("http_status")])
    columns.add("prelude", [0 if ns is None else ns + 1 for ns in requests.column("prelude_ns")])
    flags = zip(*map(requests.column, ("long_running", "has_valid_times", "complete")), strict=True)
    columns.add("flags", [long + 2 * valid + 4 * whole for long, valid, whole in flags])
    place = {row: at + 1 for at, row in enumerate(requests._rows)}
    for name in ("counted_in", "linked_from"):
        columns.add(name, [place.get(row, 0) for row in requests.column(name)])
    ids = b"".join(bytes.fromhex(trace).rjust(16, b"\0") for trace in requests.column("trace_id"))
    columns.add_bytes("trace_id", ids)
    for name in TEXTS[:-1]:
        values = requests.column(name)
        hidden = name in ("namespace", "object_name", "instance", "user_agent")
        columns.add_texts(name, [names.name(value) for value in values] if hidden else values)
    targets = zip(*map(requests.column, ("resource", "target", "name")), strict=True)
    columns.add_texts(
        "what",
        [
            None if known else names.text((target or name).partition("?")[0])
            for known, target, name in targets
        ],
    )


def _add_parts(columns: Columns, attribution: Attribution) -> None:
    """Of each method: how many parts every request has, and their phases and ns, one after the other."""
    requests = attribution.requests
    totals = attribution.totals
    shown = in_order(dict.fromkeys(attribution._names, 1) | totals)
    columns.head["phases"] = list(attribution._names)
    colours = phase_colours(shown)
    columns.head["colours"] = [colours[name] for name in attribution._names]
    columns.head["order"] = list(shown)
    columns.head["shades"] = {name: component_colour(name) for name in map(component_of, shown)}
    for method in _METHODS:
        core = (attribution if method == attribution.method else attribute(requests, method=method))._core
        parts = [core.parts(row) for row in requests._rows]
        columns.add(f"{method}.count", [len(each) for each in parts])
        columns.add(f"{method}.phase", [phase for each in parts for phase, _ in each])
        columns.add(f"{method}.ns", [ns for each in parts for _, ns in each])


_SIGNED: Final = frozenset({"start", "duration", "cut_start", "cut_end", "waited"})


def _add_trees(columns: Columns, requests: Requests, chosen: Sequence[int], names: PlainNames) -> None:
    joined = requests._joined
    trees, span_names = joined.core.trees(chosen, joined.phase_table.answers)
    for name, data in trees:
        columns.add_bytes(f"tree.{name}", data, signed=name in _SIGNED)
    columns.head["names"] = [names.text(name[:1_000]) for name in span_names]
    columns.head["processes"] = [
        [service, names.name(instance)] for service, instance in joined.core.processes()
    ]
