"""
What requests can be grouped and selected by beside their own columns.

A key is computed from columns: a function of them for each name, and times cut into steps of any length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

from k8strace.selecting import Condition, span_of, text_of

__all__ = ["KEYS", "client_of", "column_of", "key_of", "step_of"]


class Columns(Protocol):
    """Where columns of requests come from."""

    def column(self, name: str) -> list[Any]:
        """One column of all requests."""


def _status(columns: Columns) -> list[str | None]:
    return [None if code is None else f"{code // 100}xx" for code in columns.column("http_status")]


def _client(columns: Columns) -> list[str | None]:
    return [agent and client_of(agent) for agent in columns.column("user_agent")]


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


KEYS: Final[Mapping[str, Callable[[Columns], list[Any]]]] = {
    "status": _status,
    "client": _client,
}
"""
Key → its values, of all requests.

status: class of the HTTP status, such as "4xx".
client: user agent without its build, see `client_of`.
"""

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
    """Where the step begins that each request begins in; None where that cannot be true."""
    digits = next(digits for digits, unit in ((0, 10**9), (3, 10**6), (6, 10**3), (9, 1)) if step % unit == 0)
    starts = zip(columns.column("start_unix_nano"), columns.column("timed"), strict=True)
    places = [start // step if timed else None for start, timed in starts]
    told = {place: text_of(place * step, digits) for place in set(places) if place is not None}
    return [None if place is None else told[place] for place in places]


def key_of(condition: Condition) -> str:
    """
    The column that a condition is about: `status` of a whole status is `http_status`.

    Examples:
        >>> from k8strace.selecting import condition_of
        >>> key_of(condition_of("status=403")), key_of(condition_of("status=4xx"))
        ('http_status', 'status')
    """
    is_code = condition.column == "status" and condition.wanted.isdecimal()
    return "http_status" if is_code else condition.column
