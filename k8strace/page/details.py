"""What is known of single spans beside their times: attributes, events, links, errors, repairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from k8strace import _core
from k8strace.page.redaction import PlainNames
from k8strace.requests import Requests
from k8strace.views.text import clean

__all__ = ["details_of"]

MOST_TEXT: Final = 2_000
"""Characters of one text."""

MOST_ROWS: Final = 64
"""Attributes, events or links of one span."""


def details_of(requests: Requests, rows: Iterable[int], names: PlainNames, most_spans: int) -> dict[int, Any]:
    """
    Spans of each request in preorder, with its repairs, until there are `most_spans`.

    A span is [span id, trace id if it is another, raw start, raw end, status message, error, attributes, events,
    links]; times are from the request's start, those of events too.
    """
    joined = requests._joined
    shown = _fitting(requests, rows, most_spans)
    links, starts = requests.spans.column("links"), joined.column("start_unix_nano")
    repairs, texts = _repairs_of(requests, shown), _Texts(names)
    trees = joined.core.span_views(shown, joined.phase_table.answers)
    return {
        row: {
            "spans": [_span(view, views[0], starts[row], links[view.row], texts) for view in views],
            "repairs": [_repair(each, names) for each in repairs.get(row, ())],
        }
        for row, views in zip(shown, trees, strict=True)
    }


def _fitting(requests: Requests, rows: Iterable[int], most_spans: int) -> list[int]:
    """The first of these rows that fit."""
    sizes, shown = requests._joined.column("spans"), []
    for row in rows:
        if sizes[row] <= most_spans:
            most_spans -= sizes[row]
            shown.append(row)
    return shown


def _repairs_of(requests: Requests, rows: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Request → the rows of its repairs."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in requests._with(rows).repairs:
        found.setdefault(row["request"], []).append(row)
    return found


def _span(
    view: _core.SpanView,
    root: _core.SpanView,
    start: int,
    links: list[dict[str, Any]] | None,
    texts: _Texts,
) -> list[Any]:
    return [
        view.span_id,
        None if view.trace_id == root.trace_id else view.trace_id,
        view.raw_start - start,
        view.raw_end - start,
        texts.text(view.status_message),
        texts.text(view.error),
        [[texts.key(key), texts.value(key, value)] for key, value in view.attributes[:MOST_ROWS]],
        [[at - start, texts.text(name)] for at, name in view.events[:MOST_ROWS]],
        [[each["trace_id"], each["span_id"]] for each in (links or [])[:MOST_ROWS]],
    ]


class _Texts:
    """Texts as they are shown, cached, since most repeat."""

    def __init__(self, names: PlainNames) -> None:
        self.key = cache(lambda key: clean(key, 200))
        self.text = cache(lambda text: clean(names.text(text), MOST_TEXT) if text else None)
        self._text = cache(lambda text: clean(text, MOST_TEXT))
        self._names = names

    def value(self, key: str, text: str | None) -> str | None:
        """The value of an attribute."""
        shown = self._names.value(key, text)
        return None if shown is None else self._text(shown)


def _repair(row: dict[str, Any], names: PlainNames) -> list[Any]:
    told = [row["span_id"], row["kind"], row.get("field"), row.get("before"), row.get("after")]
    return [each if each is None else clean(names.text(str(each)), 200) for each in told]
