"""`repeated_reads`, `page_chain`: requests that read from etcd more than once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Calls, Outlay, Selection
from k8strace.words import count

__all__ = ["page_chain", "repeated_reads"]

READS: Final = frozenset({"get", "list", "keys", "count"})
"""Operations that change nothing."""

REPEATS_TOO_MUCH: Final = 0.05
"""A twentieth of all time, for what the request already knew."""

PAGES_TOO_MUCH: Final = 0.10
"""Pages bound memory, which is worth some time, but not a tenth of all."""


def repeated_reads(selection: Selection) -> Iterator[Finding]:
    """The same key at the same revision, read again by the same request: one finding for each verb and resource."""
    calls = selection.etcd_calls
    seen: dict[tuple[object, ...], list[int]] = {}
    key, retry, revision = calls["key"], calls["retry"], calls["revision"]
    for at in [at for at, operation in enumerate(calls["operation"]) if operation in READS]:
        if key[at] is not None and not retry[at]:
            seen.setdefault((calls.held[at], calls["operation"][at], key[at], revision[at]), []).append(at)
    again = [at for places in seen.values() if len(places) > 1 for at in _not_pages(calls, places)]
    for keys, places, outlay in _by_request_kind(selection, calls, again):
        yield selection.finding(
            "repeated_reads",
            "warning" if selection.share(outlay.total_ns) >= REPEATS_TOO_MUCH else "info",
            outlay,
            f"{count(len(outlay.rows), 'request')} to {_what(keys)} read the same key from etcd again:"
            f" {count(len(places), 'read')} too many, {selection.cost(outlay.total_ns)}",
            "Report it to the owner of the handler: the first answer would have been enough.",
            _where(keys),
            repeats=len(places),
        )


def page_chain(selection: Selection) -> Iterator[Finding]:
    """Lists for which the apiserver fetched page after page from etcd: one finding for each verb and resource."""
    calls = selection.etcd_calls
    chains = _lists(calls)
    again = [at for places in chains.values() for at in places[1:]]
    longest = max((len(places) for places in chains.values()), default=0)
    for keys, places, outlay in _by_request_kind(selection, calls, again):
        yield selection.finding(
            "page_chain",
            "warning" if selection.share(outlay.total_ns) >= PAGES_TOO_MUCH else "info",
            outlay,
            f"{count(len(outlay.rows), 'request')} to {_what(keys)} fetched page after page from etcd:"
            f" {count(len(places), 'page')} after the first, {selection.cost(outlay.total_ns)}",
            "A selector that few objects fit reads them all: list from the watch cache, or use larger pages.",
            _where(keys),
            pages=len(places),
            longest=longest,
        )


def _lists(calls: Calls) -> dict[object, list[int]]:
    """Span above the pages of one list → these pages in order, if there are several."""
    groups: dict[object, list[int]] = {}
    for at in [at for at, operation in enumerate(calls["operation"]) if operation == "list"]:
        if calls["method"][at] == "KV/Range" and not calls["retry"][at]:
            groups.setdefault(calls["above"][at], []).append(at)
    return {above: places for above, places in groups.items() if above is not None and len(places) > 1}


def _not_pages(calls: Calls, places: list[int]) -> list[int]:
    """The calls that repeat an earlier one; pages of one list do not repeat each other."""
    lists = {calls["above"][places[0]]}
    repeats = []
    for at in places[1:]:
        above = calls["above"][at]
        if calls["operation"][at] != "list" or above not in lists:
            repeats.append(at)
        lists.add(above)
    return repeats


VerbAndResource = tuple[str | None, str | None]


def _by_request_kind(
    selection: Selection, calls: Calls, places: Iterable[int]
) -> Iterator[tuple[VerbAndResource, list[int], Outlay]]:
    chosen = list(places)
    held = [calls.held[at] for at in chosen]
    groups: dict[VerbAndResource, list[int]] = {}
    keys = zip(*(selection.values(name, held) for name in ("verb", "resource")), strict=True)
    for at, key in zip(chosen, keys, strict=True):
        groups.setdefault(key, []).append(at)
    return ((keys, of_kind, calls.outlay(of_kind)) for keys, of_kind in groups.items())


def _what(keys: VerbAndResource) -> str:
    return " ".join(key for key in keys if key)


def _where(keys: VerbAndResource) -> list[str]:
    return [f"{name}={key or ''}" for name, key in zip(("verb", "resource"), keys, strict=True)]
