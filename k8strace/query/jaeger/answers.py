"""Traces as Jaeger's API answers them: its own JSON, OTLP JSON, and OTLP on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from k8strace import _core
from k8strace.export import jaeger
from k8strace.query.traces import Found
from k8strace.spans import decode

__all__ = [
    "document",
    "failure",
    "failure_v3",
    "structured",
    "structured_traces",
    "summaries",
    "trace_documents",
    "traces_v3",
    "wires",
]

ERROR = 2


def structured(data: Any, *, total: int = 0, errors: Sequence[dict[str, Any]] | None = None) -> bytes:
    """
    The frame around every answer of the first API.

    Examples:
        >>> structured(["etcd"], total=1)
        b'{"data":["etcd"],"total":1,"limit":0,"offset":0,"errors":null}'
    """
    return document({"data": data, "total": total, "limit": 0, "offset": 0, "errors": errors or None})


def structured_traces(found: Iterable[Found], errors: Sequence[dict[str, Any]] = ()) -> bytes:
    """Traces in this frame."""
    return structured([], errors=errors).replace(b"[]", b"[%b]" % b",".join(trace_documents(found)), 1)


def failure(status: int, message: str) -> bytes:
    """An error in the frame of the first API."""
    return structured(None, errors=[{"code": status, "msg": message}])


def failure_v3(status: int, message: str) -> bytes:
    """An error in that of the third API."""
    return document({"error": {"httpCode": status, "message": message}})


def trace_documents(found: Iterable[Found]) -> list[bytes]:
    """Each trace as Jaeger's page has it."""
    return [
        jaeger.document(
            each.trace_id,
            [(part.wires.columns, part.rows, part.known) for part in each.parts],
            [f"{each.left_out:,} more spans are not shown"] if each.left_out else [],
        )
        for each in found
    ]


def wires(found: Found) -> Iterator[bytes]:
    """One trace as `TracesData` messages of OTLP, with our facts about its spans as attributes."""
    for part in found.parts:
        yield from part.wires.of(part.rows, part.known)


def traces_v3(found: Iterable[Found]) -> bytes:
    """Traces as OTLP JSON in the frame of the third API."""
    wire = b"".join(message for each in found for message in wires(each))
    return b'{"result":' + _core.wire_to_json(wire) + b"}"


def summaries(found: Iterable[Found]) -> bytes:
    """Traces without their spans, as the third API has them."""
    return document({"summaries": [_summary(each) for each in found]})


def _summary(found: Found) -> dict[str, Any]:
    spans = decode(b"".join(wires(found)))
    columns = ("name", "start_time_unix_nano", "end_time_unix_nano", "status_code", "parent_span_id")
    names, starts, ends, codes, parents = (spans.column(name).to_pylist() for name in columns)
    owners = [_service_of(spans, scope) for scope in spans.column("scope_spans").to_pylist()]
    services: dict[str, list[int]] = {}
    for owner, code in zip(owners, codes, strict=True):
        services.setdefault(owner, []).append(code)
    roots = sorted(
        (start, at) for at, (start, parent) in enumerate(zip(starts, parents, strict=True)) if not parent
    )
    root = roots[0][1] if roots else None
    return {
        "traceId": found.trace_id,
        **({} if root is None else {"rootServiceName": owners[root], "rootOperationName": names[root]}),
        "minStartTimeUnixNano": str(min(starts)),
        "maxEndTimeUnixNano": str(max(ends)),
        "spanCount": len(spans),
        "errorSpanCount": codes.count(ERROR),
        "services": [
            {"name": name, "spanCount": len(several), "errorSpanCount": several.count(ERROR)}
            for name, several in sorted(services.items())
        ],
    }


def _service_of(spans: Any, scope: int) -> str:
    attributes = spans.resources.column("attributes")[spans.scopes.column("resource_spans")[scope]] or ()
    return next((each["string_value"] or "" for each in attributes if each["key"] == "service.name"), "")


def document(content: Any) -> bytes:
    """JSON without spaces; halves of surrogates are question marks."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), check_circular=False).encode(
        "utf-8", "replace"
    )
