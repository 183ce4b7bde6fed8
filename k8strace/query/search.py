"""Search over populations of requests: a pure function, with a bounded answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from k8strace.exceptions import ConditionError
from k8strace.requests import Requests

__all__ = ["MOST", "Wanted", "search", "traces_of"]

MOST: Final = 5_000
"""Requests of one answer, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    Conditions on requests, all of which must hold; None is no condition.

    Raises:
        ConditionError: A status or a limit is none.

    Examples:
        >>> Wanted(verb="list", status="5xx", limit=20).limit
        20
        >>> Wanted(status="bad")
        Traceback (most recent call last):
        ...
        k8strace.exceptions.ConditionError: expected a status such as 403, 5xx or errors, got 'bad'
    """

    trace_id: str | None = None
    """In hex, or the beginning of it."""
    verb: str | None = None
    resource: str | None = None
    namespace: str | None = None
    status: str | None = None
    """ "403", "5xx", or "errors" for all from 400 on."""
    least_ns: int | None = None
    """Of wall time."""
    most_ns: int | None = None
    """Of wall time, itself included."""
    start_unix_nano: int | None = None
    """Requests that began then or later."""
    end_unix_nano: int | None = None
    """And before this."""
    conditions: tuple[str, ...] = ()
    """More of them, as `Requests.where` reads them."""
    limit: int = 100
    """Requests, the latest first."""

    def __post_init__(self) -> None:
        if self.status is not None:
            _status_test(self.status)
        if not 0 < self.limit <= MOST:
            raise ConditionError(f"expected a limit from 1 to {MOST}, got {self.limit}")


def search(populations: Iterable[Requests], wanted: Wanted) -> list[Requests]:
    """
    The latest requests that fit, as selections of their populations.

    Args:
        populations: Joined requests, the latest population first: it stops at the first that is all too old once it
            has enough.
        wanted: What to look for.

    Returns:
        At most `wanted.limit` requests in all, in every selection the latest first. Populations without any are left
        out.

    Raises:
        ConditionError: One of the conditions cannot be read.

    Examples:
        >>> import k8strace
        >>> from k8strace.query import Wanted, search
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> search([requests], Wanted(verb="list", resource="configmaps", limit=3))
        [Requests(3 of 1411 requests)]
        >>> search([requests], Wanted(trace_id="ffff"))
        []
    """
    found: list[tuple[int, int, int]] = []  # start, minus the place of the population, row
    known = list[Requests]()
    for population in populations:
        if len(found) >= wanted.limit and _latest(population) < found[wanted.limit - 1][0]:
            break
        at = -len(known)
        known.append(population)
        fitting = _fitting(population, wanted)
        starts = fitting.column("start_unix_nano")
        found += [(start, at, row) for start, row in zip(starts, fitting._rows, strict=True)]
        found.sort(reverse=True)
        del found[wanted.limit :]
    rows: dict[int, list[int]] = {}
    for _, at, row in found:
        rows.setdefault(-at, []).append(row)
    return [known[at]._with(chosen) for at, chosen in sorted(rows.items())]


def traces_of(found: Iterable[Requests], limit: int) -> list[tuple[str, Requests]]:
    """
    The traces of some requests, at most N: trace id, and all of its requests in the same join.

    In the order of `found`: for all of `search`, the traces of the latest requests of every population first.
    """
    traces: dict[str, Requests] = {}
    for selection in found:
        by_trace: dict[str, list[int]] = {}
        for row, trace in enumerate(selection._all("trace_id")):
            by_trace.setdefault(trace, []).append(row)
        for trace in selection.column("trace_id"):
            if len(traces) >= limit:
                return list(traces.items())
            traces.setdefault(trace, selection._with(by_trace[trace]))
    return list(traces.items())


def _latest(population: Requests) -> int:
    return max(population.column("start_unix_nano"), default=0)


def _fitting(population: Requests, wanted: Wanted) -> Requests:
    tests = [(column, test(value)) for column, test, value in _asked(wanted) if value is not None]
    conditions = dict[str, Callable[[Any], bool]]()
    for column, test in tests:
        conditions[column] = _both(conditions[column], test) if column in conditions else test
    return population.where(*wanted.conditions, **conditions)


def _asked(wanted: Wanted) -> Sequence[tuple[str, Callable[[Any], Callable[[Any], bool]], Any]]:
    """Column, test, and the value to test against."""
    trace = None if wanted.trace_id is None else wanted.trace_id.lower()
    return (
        ("trace_id", lambda begin: lambda value: value.startswith(begin), trace),
        ("verb", _is, wanted.verb),
        ("resource", _is, wanted.resource),
        ("namespace", _is, wanted.namespace),
        ("http_status", _status_test, wanted.status),
        ("wall_ns", lambda least: lambda ns: ns >= least, wanted.least_ns),
        ("wall_ns", lambda most: lambda ns: ns <= most, wanted.most_ns),
        ("start_unix_nano", lambda since: lambda at: at >= since, wanted.start_unix_nano),
        ("start_unix_nano", lambda until: lambda at: at < until, wanted.end_unix_nano),
    )


def _both(one: Callable[[Any], bool], other: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: one(value) and other(value)


def _is(wanted: str) -> Callable[[Any], bool]:
    return lambda value: bool(value == wanted)


def _status_test(wanted: str) -> Callable[[Any], bool]:
    if wanted == "errors":
        return lambda status: status >= 400
    if len(wanted) == 3 and wanted[0].isdigit() and wanted.endswith("xx"):
        return lambda status: status // 100 == int(wanted[0])
    if wanted.isdecimal():
        return lambda status: status == int(wanted)
    raise ConditionError(f"expected a status such as 403, 5xx or errors, got {wanted!r}")
