"""
Keys: further columns that requests can be grouped and selected by.

A key is computed from columns: a function for each name, and steps of time of any length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

from k8strace.selecting import Condition, span_of, text_of

__all__ = ["EACH", "KEYS", "MANY", "client_of", "column_of", "key_of", "step_of", "step_text"]


class Columns(Protocol):
    """A source of columns of requests."""

    def column(self, name: str) -> list[Any]:
        """One column of all requests."""

    def named(self, name: str) -> Any:
        """A table of everything that was joined."""

    def row_names(self, rows: Iterable[int | None]) -> list[str | None]:
        """Names of spans."""

    def spending(self, component: str) -> Collection[int]:
        """Requests that spent time in a component."""


_BUILD: Final = re.compile(r" \([^()]*\)| kubernetes/[^/\s]+")


@lru_cache(4096)
def client_of(user_agent: str) -> str:
    """
    A client's name and version: its user agent without platform and commit.

    Examples:
        >>> client_of("kubectl/v1.36.2 (linux/amd64) kubernetes/5a1fd9d")
        'kubectl/v1.36.2'
        >>> client_of("kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/5a1fd9d/node-controller")
        'kube-controller-manager/v1.36.2/node-controller'
        >>> client_of("curl/8.5.0")
        'curl/8.5.0'
    """
    return _BUILD.sub("", user_agent) or user_agent


EACH: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "status": ("http_status", lambda code: f"{code // 100}xx"),
    "client": ("user_agent", client_of),
}
"""Key → the column that it is told by, and how by each of its values; by null, it is null."""


def _each(name: str) -> Callable[[Columns], list[str | None]]:
    column, told = EACH[name]
    return lambda columns: [None if value is None else told(value) for value in columns.column(column)]


def _webhook_ns(columns: Columns) -> list[dict[str, int]]:
    """For each request: webhook → how long the request waited for it."""
    calls = columns.named("webhook_calls")
    waited: list[dict[str, int]] = [{} for _ in columns.column("wall_ns")]
    told = (calls.column(each).to_pylist() for each in ("request", "webhook", "client_ns"))
    for request, name, ns in zip(*told, strict=True):
        if request is not None and name is not None:
            waited[request][name] = waited[request].get(name, 0) + (ns or 0)
    return waited


def _webhook(columns: Columns) -> list[str | None]:
    """The webhook that each request waited for longest; the first by name if several are equal."""
    return [_first(waited) for waited in _webhook_ns(columns)]


def _first(waited: Mapping[str, int]) -> str | None:
    return min(waited, key=lambda name: (-waited[name], name)) if waited else None


def _cached(columns: Columns) -> list[str | None]:
    """What a get or list of a resource was answered from; None for other and for refused requests."""
    names = ("verb", "resource", "http_status")
    asked = zip(*(columns.column(name) for name in names), strict=True)
    reads = [
        verb in ("get", "list") and resource is not None and (code is None or code < 300)
        for verb, resource, code in asked
    ]
    from_etcd, elsewhere = _read_from_etcd(columns), columns.spending("aggregator")
    return [
        ("etcd" if row in from_etcd else "watch cache") if read and row not in elsewhere else None
        for row, read in enumerate(reads)
    ]


def _read_from_etcd(columns: Columns) -> set[int]:
    """
    Requests that were answered from etcd.

    A list from the watch cache that must be up to date (Kubernetes 1.31 on) asks etcd for its revision first: one key
    of the resource, not of a namespace or an object.
    """
    calls, details = columns.named("etcd_calls"), columns.named("etcd_call_details")
    above = columns.row_names(details.column("above").to_pylist())
    verb, namespace, name = (columns.column(each) for each in ("verb", "namespace", "object_name"))
    found = set()
    told = (calls.column(each).to_pylist() for each in ("request", "operation", "key"))
    for request, operation, key, around in zip(*told, above, strict=True):
        if request is None:
            continue
        is_narrow = operation == "get" or around == "List(recursive=false) etcd3"
        places = (key or "").split("/")
        is_meant = namespace[request] in places or name[request] in places
        if verb[request] != "list" or not is_narrow or is_meant:
            found.add(request)
    return found


KEYS: Final[Mapping[str, Callable[[Columns], list[Any]]]] = {
    "status": _each("status"),
    "client": _each("client"),
    "webhook": _webhook,
    "cached": _cached,
}
"""
Key → its values, of all requests.

status: class of the HTTP status, such as "4xx".
client: user agent without its build, see `client_of`.
webhook: the admission webhook that it waited for longest. Known from Kubernetes 1.26 on.
cached: what a get or list was answered from, "watch cache" or "etcd".
"""

MANY: Final[Mapping[str, Callable[[Columns], Sequence[Collection[str]]]]] = {"webhook": _webhook_ns}
"""Keys with several values for one request: it is grouped by one value, but selected by each of them."""

_STEPS: Final = {"second": "1s", "minute": "1m", "hour": "1h", "day": "1d"}


def step_of(name: str) -> int | None:
    """
    Length of the steps, in ns, that a key cuts time into; None if it does not.

    Examples:
        >>> step_of("10s"), step_of("time:10s"), step_of("minute"), step_of("verb")
        (10000000000, 10000000000, 60000000000, None)
    """
    text = name.removeprefix("time:")
    return span_of(_STEPS.get(text, text)) or None


def column_of(name: str, columns: Columns) -> list[Any] | None:
    """The values of a key; None if there is no such key."""
    if name in KEYS:
        return KEYS[name](columns)
    step = step_of(name)
    return None if step is None else _steps(columns, step)


def _steps(columns: Columns, step: int) -> list[str | None]:
    """The beginning of the step that each request begins in; None if the request's time is not valid."""
    starts = zip(columns.column("start_unix_nano"), columns.column("has_valid_times"), strict=True)
    places = [start // step if valid else None for start, valid in starts]
    told = {place: step_text(place * step, step) for place in set(places) if place is not None}
    return [None if place is None else told[place] for place in places]


def step_text(start: int, step: int) -> str:
    """
    The step of time that an instant is in, as text: its beginning, with the digits that steps of this length need.

    Examples:
        >>> step_text(1_500_000_000, 10**9), step_text(1_500_000_000, 10**8)
        ('1970-01-01T00:00:01Z', '1970-01-01T00:00:01.500Z')
    """
    digits = next(digits for digits, unit in ((0, 10**9), (3, 10**6), (6, 10**3), (9, 1)) if step % unit == 0)
    return text_of(start // step * step, digits)


def key_of(condition: Condition) -> str:
    """
    The column of a condition: `http_status` if `status` is compared with a whole status.

    Examples:
        >>> from k8strace.selecting import condition_of
        >>> key_of(condition_of("status=403")), key_of(condition_of("status=4xx"))
        ('http_status', 'status')
    """
    is_code = condition.column == "status" and condition.wanted.isdecimal()
    return "http_status" if is_code else condition.column
