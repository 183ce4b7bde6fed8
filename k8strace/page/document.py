"""One HTML file: the first screen, the data, style and script, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from numbers import Real
from typing import Any, Final

from k8strace.attribution import Attribution, attribute
from k8strace.compare.result import Comparison
from k8strace.exceptions import expect
from k8strace.page import first
from k8strace.page.choosing import chosen_trees
from k8strace.page.comparing import changed
from k8strace.page.details import details_of
from k8strace.page.packing import Picked, pack
from k8strace.page.pods import slow_pods
from k8strace.page.redaction import PlainNames, names_of
from k8strace.requests import Requests
from k8strace.views.markup import Html, element, join
from k8strace.words import count

__all__ = ["DETAILED_SPANS", "Options", "comparison_page", "live_page", "packed_of", "page_of", "policy"]

BASE64: Final = 0.75
"""Bytes that are packed, of those of the file."""

BYTES_PER_SPAN: Final = 18
"""Bytes of a span in a tree, gzipped, about: its numbers, and a part of its details."""

MOST_SPANS: Final = 1 << 32
"""More than there are: a page without a limit has all trees."""

DETAILED_SPANS: Final = 12_000
"""Spans with attributes, events and links."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a page is made."""

    title: str | None = None
    """Its title; None: the names of the files that were read."""
    redact: bool = False
    """Names as hashes."""
    max_mb: float = 10.0
    """Megabytes of the file, about: as many trees as fit are in it."""

    def __post_init__(self) -> None:
        expect(self.max_mb, Real, "a number of megabytes")
        if not self.max_mb > 0:
            raise ValueError(f"expected max_mb above 0, got {self.max_mb!r}")


def page_of(requests: Requests, options: Options | None = None, *, served: bool = False) -> str:
    """
    The page of these requests as one HTML document. Equal input gives equal text.

    Args:
        requests: These.
        options: How.
        served: `page_app` is behind it, and gives trees that are not in it.
    """
    options = options or Options()
    names = names_of(requests) if options.redact else PlainNames()
    title = options.title or _title(requests, names)
    body, data = _made(title, requests, names, options)
    return _document(title, body, {"k8strace-data": data}, served="files" if served else "")


def packed_of(requests: Requests, options: Options) -> bytes:
    """What the script reads of these requests."""
    names = names_of(requests) if options.redact else PlainNames()
    return _data(attribute(requests), _findings(requests), names, options)[0]


def comparison_page(comparison: Comparison, options: Options | None = None) -> str:
    """
    The page of a comparison: what changed, and below it the population after; a click shows the one before.

    Each population has half of the bytes.

    Raises:
        ValueError: The comparison was not made of requests.
    """
    options = options or Options()
    sides = [side.population.requests for side in comparison._pair]
    before, after = (each for each in sides if each is not None)
    names = names_of(before, after) if options.redact else PlainNames()
    half = replace(options, max_mb=options.max_mb / 2)
    title = options.title or f"{_title(before, names)} → {_title(after, names)}"
    first_screen = _section("changed", "What changed", changed(comparison, names))
    body, data = _made(title, after, names, half, first_screen)
    _, data_before = _made(title, before, names, half)
    return _document(title, body, {"k8strace-data": data, "k8strace-before": data_before})


def _made(
    title: str, requests: Requests, names: PlainNames, options: Options, before: Html | None = None
) -> tuple[Html, bytes]:
    """The body, with something before it, and what the script reads."""
    attribution = attribute(requests)
    rows = _findings(requests)
    data, told = _data(attribution, rows, names, options)
    return _body(title, attribution, rows, names, told, before), data


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


def live_page(*, stored: bool) -> str:
    """The page without requests: its script fetches them, and the facts of the receiver."""
    sections = (
        ("now", "Now"), ("answer", ""), ("timeline", "When"), ("groups", "By verb and resource"),
        ("flame", "What requests waited for"), ("requests", "The slowest requests"), ("request", "One request"),
    )  # fmt: skip
    links = (("now", "Now"), ("groups", "Table"), ("requests", "Slowest"))
    body = join(
        _header("Where the time goes", "k8strace serve", links),
        element("main", *(_section(name, title, Html()) for name, title in sections)),
        element(
            "noscript",
            element("p", "Scripts are off: this page is drawn by one. `k8strace report` needs none."),
        ),
    )
    return _document("live", body, {}, served="live", stored=stored)


def _document(
    title: str, body: Html, data: Mapping[str, bytes], *, served: str = "", stored: bool = False
) -> str:
    connect = "connect-src 'self'; " if served else ""
    about = f' data-served="{served}"{" data-stored" if stored else ""}' if served else ""
    packed = "".join(
        f'<script type="application/octet-stream;base64" id="{name}">{base64.b64encode(each).decode()}</script>\n'
        for name, each in data.items()
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(connect)}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        '<link rel="icon" href="data:,">\n'
        f"{element('title', title + ' · k8strace')}\n<style>{_asset('page.css')}</style>\n</head>\n"
        f'<body class="k8s"{about}>\n'
        f"{body}\n"
        f'{packed}<script type="module">{_asset("page.js")}</script>\n</body>\n</html>\n'
    )


def _body(
    title: str,
    attribution: Attribution,
    rows: Sequence[dict[str, Any]],
    names: PlainNames,
    told: str,
    before: Html | None = None,
) -> Html:
    requests = attribution.requests
    groups = attribution.by("verb", "resource", quantiles=first.QUANTILES)
    spans = f"{count(len(requests.spans), 'span')} in {count(requests.joined.counts['traces'], 'trace')}"
    links = (("findings", "Findings"), ("groups", "Table"), ("ledger", "Ledger"))
    return join(
        _header("Where the time went", f"{title} · {spans}", links),
        element(
            "main",
            before or Html(),
            _section("answer", "", first.answer(groups)),
            _section("findings", "What to look at", first.found(rows, names)),
            _empty("timeline", "When"),
            _section("groups", "By verb and resource", first.groups(groups, requests)),
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


def _header(title: str, about: str, links: Sequence[tuple[str, str]]) -> Html:
    places = [element("a", text, href=f"#{to}", data_to=to) for to, text in links]
    return element(
        "header",
        element("div", element("h1", title), element("p", about, class_="faint")),
        element("nav", *places, aria_label="Sections"),
        class_="top",
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


def _data(
    attribution: Attribution, rows: Sequence[dict[str, Any]], names: PlainNames, options: Options
) -> tuple[bytes, str]:
    """What the script reads, and in words what was left out."""
    requests = attribution.requests
    examples = [row["example_trace_id"] for row in rows if row["example_trace_id"]]
    told = []

    def pick(size: int) -> Picked:
        room = int(min((BASE64 * options.max_mb * 1e6 - size) / BYTES_PER_SPAN, MOST_SPANS))
        chosen, telling = chosen_trees(requests, examples, max(room, 0))
        details = details_of(requests, chosen, names, DETAILED_SPANS)
        told.append(_left_out(len(chosen), len(details), telling, len(requests), names))
        return Picked(chosen, details, {"told": told[0], "findings": [_finding(row, names) for row in rows]})

    return pack([attribution], names, pick), told[0]


def _left_out(trees: int, details: int, telling: int, everything: int, names: PlainNames) -> str:
    """What was left out, for readers."""
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
