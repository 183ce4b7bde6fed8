"""The receiver's own pages over HTTP: `/metrics`, `/healthz` and `/readyz`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from k8strace.receiver.intake.answers import HttpAnswer, Verdict
from k8strace.receiver.metrics.exposition import Exposition

__all__ = ["plain_answer", "status_app"]

Answer = tuple[int, str, bytes]
"""HTTP status, content type, body."""

PLAIN = "text/plain; charset=utf-8"


def status_app(
    exposition: Exposition, lacks: Callable[[], str]
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    r"""
    An ASGI application. It reads of a request the path, the method and what is accepted, nothing else.

    `/healthz` answers 200 while the process lives, `/readyz` 200 while batches are accepted and 503 else.

    Args:
        exposition: What `/metrics` shows.
        lacks: Why batches are not accepted; empty while they are.

    Examples:
        >>> import asyncio
        >>> from k8strace.receiver.metrics.exposition import RequestMetrics
        >>> app = status_app(Exposition(RequestMetrics(), []), lambda: "stopping")
        >>> async def send(event):
        ...     print(event.get("status", event.get("body")))
        >>> asyncio.run(app({"type": "http", "method": "GET", "path": "/readyz", "headers": []}, None, send))
        503
        b'not accepting: stopping\n'
    """

    def metrics(accept: str) -> Answer:
        kind, text = exposition.render(accept)
        return 200, kind, text

    def readyz(_: str) -> Answer:
        reason = lacks()
        return (503, PLAIN, f"not accepting: {reason}\n".encode()) if reason else (200, PLAIN, b"accepting\n")

    def healthz(_: str) -> Answer:
        return 200, PLAIN, b"up\n"

    pages = {"/metrics": metrics, "/readyz": readyz, "/healthz": healthz}

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(f"expected an ASGI scope of http, got {scope['type']}")
        page = pages.get(scope["path"])
        if page is None:
            answer = (404, PLAIN, b"here are /metrics, /healthz and /readyz\n")
        elif scope["method"] not in ("GET", "HEAD"):
            answer = (405, PLAIN, b"GET\n")
        else:
            # In a thread: many series take a while to write, and OTLP is served in this loop.
            answer = await asyncio.to_thread(page, _accept(scope))
        await _answer(send, answer, head=scope["method"] == "HEAD")

    return application


def plain_answer(verdict: Verdict, _content_type: str) -> HttpAnswer:
    """A refusal in words."""
    body = f"{verdict.message}\n".encode()
    headers = [(b"content-type", PLAIN.encode()), (b"content-length", str(len(body)).encode())]
    return HttpAnswer(verdict.outcome.value.http, headers, body)


def _accept(scope: Any) -> str:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"accept"]
    return ",".join(values)


async def _answer(send: Any, answer: Answer, *, head: bool) -> None:
    status, kind, body = answer
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
