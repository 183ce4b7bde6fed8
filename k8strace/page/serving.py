"""
The page while it is served: the document, search, one trace, and facts of the receiver.

    /TOKEN/           the document                 /TOKEN/requests?…   requests that are wanted, packed
    /TOKEN/trace?id=  one trace, packed            /TOKEN/now          facts, JSON

The token is in the path, so that links work, with scripts off too. Without it nothing is shown. Other sites read
nothing: no CORS, and `Site.hosts` refuses names that are not this machine's.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

from k8strace.attribution import attribute
from k8strace.exceptions import K8straceError
from k8strace.page.details import details_of
from k8strace.page.document import DETAILED_SPANS, policy
from k8strace.page.packing import Picked, pack
from k8strace.page.redaction import PlainNames
from k8strace.query import Provider, Wanted, search, traces_of
from k8strace.requests import Requests

__all__ = ["page_app"]

AT_ONCE: Final = 2
"""Answers being worked on at most; above that, clients are told to retry."""
MOST_QUERY: Final = 2_048
"""Bytes of a query, at most."""
MOST_SPANS: Final = 250_000
"""Spans of a trace that is drawn, at most."""
DEFAULT_LIMIT: Final = 1_000

HTML, PACKED, JSON, PLAIN = (
    "text/html; charset=utf-8", "application/octet-stream", "application/json", "text/plain; charset=utf-8"
)  # fmt: skip

Answer = tuple[int, str, bytes]
"""HTTP status, content type, body."""


def page_app(
    token: str,
    document: Callable[[], str],
    held: Provider,
    stored: Provider | None = None,
    now: Callable[[], Mapping[str, Any]] = dict,
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    r"""
    An ASGI application that serves the page below `/TOKEN/`. Reads are all it answers.

    Args:
        token: Who knows it may look.
        document: Makes the HTML.
        held: Where requests and traces are looked for.
        stored: Where they are looked for if what is stored is wanted, or a trace is not held.
        now: What the receiver says of itself.

    Examples:
        >>> import asyncio
        >>> from k8strace.query import Held
        >>> app = page_app("secret", lambda: "<!doctype html>", Held())
        >>> async def send(event):
        ...     print(event.get("status", event.get("body")))
        >>> asyncio.run(app({"type": "http", "method": "GET", "path": "/guess/", "query_string": b""}, None, send))
        404
        b'not here: the address that was printed has the token in it\n'
    """
    everything = stored or held
    pages: dict[str, Callable[[dict[str, str]], Answer]] = {
        "": lambda _: (200, HTML, document().encode()),
        "requests": lambda query: _requests(everything if query.get("stored") else held, query),
        "trace": lambda query: _trace([held, everything], query.get("id", "")),
        "now": lambda _: (200, JSON, json.dumps(now()).encode()),
    }
    room = asyncio.Semaphore(AT_ONCE)

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(f"expected an ASGI scope of http, got {scope['type']}")
        head = scope["method"] == "HEAD"
        await _send(send, await _answer(pages, token, scope, room), head=head)

    return application


async def _answer(
    pages: Mapping[str, Callable[[dict[str, str]], Answer]], token: str, scope: Any, room: asyncio.Semaphore
) -> Answer:
    given, _, name = scope["path"].removeprefix("/").partition("/")
    if not hmac.compare_digest(given.encode(), token.encode()) or name not in pages:
        return 404, PLAIN, b"not here: the address that was printed has the token in it\n"
    if scope["method"] not in ("GET", "HEAD"):
        return 405, PLAIN, b"GET\n"
    query = scope["query_string"]
    if len(query) > MOST_QUERY:
        return 414, PLAIN, b"expected a shorter query\n"
    asked = {key: values[-1] for key, values in parse_qs(query.decode("latin-1")).items()}
    if room.locked():
        return 503, PLAIN, b"busy: come again\n"
    async with room:
        # In a thread: packing takes a while, and other connections are in this loop.
        return await asyncio.to_thread(_made, pages[name], asked)


def _made(page: Callable[[dict[str, str]], Answer], asked: dict[str, str]) -> Answer:
    try:
        return page(asked)
    except (K8straceError, ValueError, OverflowError) as error:
        return 400, PLAIN, f"{error}\n".encode()
    except OSError as error:  # a file of the store was removed while it was read
        return 500, PLAIN, f"the store cannot be read: {error.strerror}\n".encode()


def _requests(provider: Provider, query: Mapping[str, str]) -> Answer:
    found = search(provider.populations(), _wanted(query))
    in_order = [each._with(sorted(each._rows)) for each in reversed(found)]
    return 200, PACKED, pack([attribute(each) for each in in_order], PlainNames())


def _wanted(query: Mapping[str, str]) -> Wanted:
    def number(name: str, unit: float = 1) -> int | None:
        return round(float(query[name]) * unit) if query.get(name) else None

    minutes = number("minutes", 60e9)
    return Wanted(
        trace_id=query.get("trace"),
        verb=query.get("verb"),
        resource=query.get("resource"),
        namespace=query.get("namespace"),
        status=query.get("status"),
        least_ns=number("slower_ms", 1e6),
        most_ns=number("faster_ms", 1e6),
        start_unix_nano=number("start_ns") if minutes is None else time.time_ns() - minutes,
        end_unix_nano=number("end_ns"),
        conditions=(query["where"],) if query.get("where") else (),
        limit=number("limit") or DEFAULT_LIMIT,
    )


def _trace(providers: Sequence[Provider], trace_id: str) -> Answer:
    """The first population that has it, with as many trees and details as fit."""
    for provider in providers if trace_id else ():
        for _, requests in traces_of(search(provider.populations(), Wanted(trace_id=trace_id, limit=1)), 1):
            return 200, PACKED, _whole(requests)
    return 404, PLAIN, b"there is no such trace any more\n"


def _whole(requests: Requests) -> bytes:
    def pick(_: int) -> Picked:
        trees, room = [], MOST_SPANS
        for row, spans in zip(requests._rows, requests.column("spans"), strict=True):
            if spans <= room:
                trees.append(row)
                room -= spans
        return Picked(trees, details_of(requests, trees, PlainNames(), DETAILED_SPANS))

    return pack([attribute(requests)], PlainNames(), pick)


async def _send(send: Any, answer: Answer, *, head: bool) -> None:
    status, kind, body = answer
    headers = {
        "content-type": kind,
        "content-length": str(len(body)),
        "content-security-policy": policy("connect-src 'self'; ") + "; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        **({"retry-after": "1"} if status == 503 else {}),
    }
    told = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": b"" if head else body})
