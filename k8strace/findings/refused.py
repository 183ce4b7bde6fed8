"""`refused_requests`: time of requests that were answered with an error."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from k8strace.findings.finding import Finding
from k8strace.findings.selection import Outlay, Selection
from k8strace.words import count, duration

__all__ = ["refused_requests"]

WORTH_TELLING: Final = 0.01
"""Share of all time from which refusals of one kind are reported."""

TOO_MUCH: Final = 0.10
"""A tenth of all time without a result is a warning."""

EXPECTED: Final = frozenset({404, 409})
"""Answers that clients expect: to a check whether an object exists, and to an update that names its version."""

TOO_MUCH_EXPECTED: Final = 0.25
"""For these answers a quarter of all time is a warning."""

RETRIED_NS: Final = 200_000_000
"""The apiserver's own admission takes microseconds. If it takes this long, it waited for something and retried."""

_FIXES: Final = {
    400: "Ask the owner of the client, or of the webhook: the request cannot succeed as it is.",
    401: "Renew the client's credentials: it keeps sending invalid ones.",
    403: "Give the client's account the permission or what admission needs (quota, service account), or stop it.",
    404: "Let the client watch instead of asking for objects that do not exist.",
    409: "Let the client read again before it writes, or use server-side apply: it writes to an old version.",
    422: "Correct the object that the client sends: validation refuses it.",
    429: "Slow the client down, or give its flow more seats (flowcontrol).",
    504: "Find out what the requests waited for: the example's call tree shows it.",
}

_FIX_CLIENT: Final = "Ask the owner of the client: the request cannot succeed as it is."
_FIX_SERVER: Final = "Look at the example's call tree and at the apiserver's log: the error is the server's."


def refused_requests(selection: Selection) -> Iterator[Finding]:
    """One finding for each verb, resource and status that took enough time."""
    refused = selection.at_least("http_status", 400)
    for key, rows in selection.groups("verb", "resource", "http_status", rows=refused).items():
        outlay = selection.wall(rows)
        if selection.share(outlay.total_ns) >= WORTH_TELLING:
            yield _finding(selection, outlay, *key)


def _finding(selection: Selection, outlay: Outlay, verb: str, resource: str | None, status: int) -> Finding:
    limit = TOO_MUCH_EXPECTED if status in EXPECTED or resource is None else TOO_MUCH
    severe = selection.share(outlay.total_ns) >= limit
    retried = _retried(selection, outlay)
    what = f"{verb} {resource or 'health, metrics and the like'}"
    were = "was" if len(outlay.rows) == 1 else "were"
    waited = f"; in {len(retried.rows):,} admission waited and retried" if retried.rows else ""
    fix = _FIXES.get(status, _FIX_SERVER if status >= 500 else _FIX_CLIENT)
    return selection.finding(
        "refused_requests",
        "warning" if severe else "info",
        outlay,
        f"{count(len(outlay.rows), 'request')} to {what} {were} refused with {_named(status)}"
        f" and took {selection.cost(outlay.total_ns)}{waited}",
        f"{fix} Each waited {duration(retried.total_ns // len(retried.rows))} in admission."
        if retried.rows
        else fix,
        [f"verb={verb}", *([f"resource={resource}"] if resource else []), f"http_status={status}"],
        http_status=status,
        admission_retried=len(retried.rows),
        admission_ns=retried.total_ns,
    )


def _retried(selection: Selection, outlay: Outlay) -> Outlay:
    """Those that spent at least half their time, and long, in the apiserver's own admission: it retried."""
    ns = dict(zip(*selection.phase("apiserver.admission", rows=outlay.rows), strict=True))
    wall = dict(zip(*outlay, strict=True))
    return Outlay.of(
        (row, ns[row]) for row in outlay.rows if ns.get(row, 0) >= max(RETRIED_NS, wall[row] // 2)
    )


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
