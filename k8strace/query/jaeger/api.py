"""
Jaeger's HTTP API over traces that are held: what Grafana's data source and Jaeger's page ask for.

    GET /api/services                     GET /api/v3/services
    GET /api/services/{name}/operations   GET /api/v3/operations?service=
    GET /api/operations?service=          GET /api/v3/traces?query.…
    GET /api/traces?service=              GET /api/v3/traces/{id}
    GET /api/traces/{id}                  GET /api/v3/trace-summaries?query.…
    GET /api/dependencies?endTs=
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from k8strace.query.jaeger import answers
from k8strace.query.jaeger.parameters import KINDS, ParameterError, Parameters, trace_id_of
from k8strace.query.traces import Traces

__all__ = ["query_app"]

AT_ONCE: Final = 2
"""Answers that are being made; the others wait, and beyond `WAITING` are told to try again."""
WAITING: Final = 32

JSON: Final = b"application/json"


class Answer(NamedTuple):
    """What is sent."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


class NotFoundError(Exception):
    """Not found. The message is Jaeger's."""


def query_app(
    traces: Traces,
    admits: Callable[[bytes], bool] = lambda _: True,
    *,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    r"""
    An ASGI application that reads: it takes GET and HEAD, and no body.

    Args:
        traces: What is looked for.
        admits: Whether who sent this `Authorization` header may read.
        clock_ns: Unix time, for searches that do not say until when.

    Examples:
        >>> import asyncio
        >>> class Nothing:
        ...     def populations(self):
        ...         return []
        >>> async def send(event):
        ...     print(event.get("status", event.get("body")))
        >>> scope = {"type": "http", "method": "GET", "path": "/api/services", "headers": [], "query_string": b""}
        >>> asyncio.run(query_app(Traces(Nothing()))(scope, None, send))
        200
        b'{"data":[],"total":0,"limit":0,"offset":0,"errors":null}'
    """
    return _App(traces, admits, clock_ns)


class _App:
    def __init__(self, traces: Traces, admits: Callable[[bytes], bool], clock_ns: Callable[[], int]) -> None:
        self._traces = traces
        self._admits = admits
        self._clock = clock_ns
        self._threads = ThreadPoolExecutor(AT_ONCE, "k8strace-query")
        self._waiting = 0

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(f"expected an ASGI scope of http, got {scope['type']}")
        status, body, more = await self._answered(scope)
        headers = [(b"content-type", JSON), (b"content-length", str(len(body)).encode()), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answered(self, scope: Any) -> Answer:
        fail = answers.failure_v3 if scope["path"].startswith("/api/v3/") else answers.failure
        if scope["method"] not in ("GET", "HEAD"):
            return Answer(405, fail(405, "expected GET"), [(b"allow", b"GET, HEAD")])
        sent = b",".join(value for name, value in scope["headers"] if name.lower() == b"authorization")
        if not self._admits(sent):
            return Answer(401, fail(401, "expected a bearer token"), [(b"www-authenticate", b"Bearer")])
        if self._waiting >= WAITING:
            return Answer(503, fail(503, "too many queries at once"), [(b"retry-after", b"1")])
        self._waiting += 1
        try:
            look = asyncio.get_running_loop().run_in_executor(self._threads, self._look, scope)
            return Answer(200, await look)
        except ParameterError as error:
            return Answer(400, fail(400, str(error)))
        except NotFoundError as error:
            return Answer(404, fail(404, str(error)))
        finally:
            self._waiting -= 1

    def _look(self, scope: Any) -> bytes:
        path = scope.get("raw_path") or scope["path"].encode()
        parts = [unquote(part) for part in path.decode("ascii", "replace").strip("/").split("/")]
        asked = Parameters(scope.get("query_string", b""), self._clock())
        match parts:
            case ["api", "services"]:
                services = self._traces.services()
                return answers.structured(services, total=len(services))
            case ["api", "services", service, "operations"]:
                names = sorted({name for name, _ in self._operations(service, None)})
                return answers.structured(names, total=len(names))
            case ["api", "operations"]:
                return self._all_operations(asked)
            case ["api", "traces"]:
                return self._search(asked)
            case ["api", "traces", trace_id]:
                return answers.structured_traces(self._trace(trace_id))
            case ["api", "dependencies"]:
                return self._dependencies(asked)
            case ["api", "v3", *rest]:
                return self._look_v3(rest, asked)
        raise NotFoundError("expected a path of Jaeger's API, such as /api/services")

    def _look_v3(self, parts: list[str], asked: Parameters) -> bytes:
        match parts:
            case ["services"]:
                return answers.document({"services": self._traces.services()})
            case ["operations"]:
                found = self._operations(asked.text("service"), asked.kind())
                operations = [{"name": name, "spanKind": kind or "internal"} for name, kind in found]
                return answers.document({"operations": operations})
            case ["traces"]:
                found_traces = self._traces.find(asked.search_v3())
                if not found_traces:
                    raise NotFoundError("No traces found")
                return answers.traces_v3(found_traces)
            case ["traces", trace_id]:
                return answers.traces_v3(self._trace(trace_id))
            case ["trace-summaries"]:
                return answers.summaries(self._traces.find(asked.search_v3()))
        raise NotFoundError("expected a path of Jaeger's API, such as /api/v3/services")

    def _operations(self, service: str, kind: int | None) -> list[tuple[str, str]]:
        """(name, kind in words) of a service."""
        return [
            (name, KINDS.get(number, ""))
            for owner, name, number in self._traces.operations()
            if owner == service and kind in (None, number)
        ]

    def _all_operations(self, asked: Parameters) -> bytes:
        service = asked.text("service")
        if not service:
            raise ParameterError("parameter 'service' is required")
        found = self._operations(service, asked.kind())
        return answers.structured(
            [{"name": name, "spanKind": kind} for name, kind in found], total=len(found)
        )

    def _search(self, asked: Parameters) -> bytes:
        trace_ids = asked.trace_ids()
        found = self._traces.get(trace_ids) if trace_ids else self._traces.find(asked.search())
        here = {each.trace_id for each in found}
        errors = [
            {"msg": "trace not found", "traceID": trace_id} for trace_id in trace_ids if trace_id not in here
        ]
        return answers.structured_traces(found, errors)

    def _trace(self, text: str) -> Sequence[Any]:
        found = self._traces.get([trace_id_of(text)])
        if not found:
            raise NotFoundError("trace not found")
        return found

    def _dependencies(self, asked: Parameters) -> bytes:
        service = asked.text("service")
        links = [
            {"parent": parent, "child": child, "callCount": calls}
            for parent, child, calls in self._traces.dependencies(*asked.dependencies())
            if service in ("", parent, child)
        ]
        return answers.structured(links)
