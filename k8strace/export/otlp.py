"""Spans as OTLP again, whole, with what is told of them as attributes `k8strace.…`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from k8strace import _core
from k8strace.export.protobuf import data, number
from k8strace.export.told import NOTHING, Told, chosen_rows, told
from k8strace.requests import Requests

__all__ = ["BATCH_SPANS", "otlp", "otlp_json", "otlp_requests"]

BATCH_SPANS: Final = 2_000
"""Spans per request: well below what receivers take at once."""


def otlp(requests: Requests) -> Iterator[bytes]:
    """`ExportTraceServiceRequest`s after one another, which together are one."""
    return otlp_requests(requests)


def otlp_json(requests: Requests) -> Iterator[bytes]:
    """OTLP JSON, a request a line, as the collector's file exporter writes it."""
    return (_core.wire_to_json(wire) + b"\n" for wire in otlp_requests(requests))


def otlp_requests(requests: Requests, *, annotated: bool = True) -> Iterator[bytes]:
    """
    Requests in wire bytes, of at most `BATCH_SPANS` spans each, in the order in which the spans came.

    Args:
        requests: Whose spans; if nothing was selected, all that were read, those in no request too.
        annotated: Add what is told of each span.
    """
    columns = requests.spans._columns
    known = told(requests)
    rows = chosen_rows(requests, known)
    scopes = columns.column("scope_spans").to_pylist()
    of_resource = requests.spans.scopes.column("resource_spans").to_pylist()
    for start in range(0, len(rows), BATCH_SPANS):
        out = []
        for scope, several in groupby(rows[start : start + BATCH_SPANS], key=scopes.__getitem__):
            members = list(several)
            spans = [
                data(2, wire + (attributes_of(known.get(row, NOTHING)) if annotated else b""))
                for row, wire in zip(members, columns.span_wires(members), strict=True)
            ]
            (resource,) = columns.resource_wires([of_resource[scope]])
            (around,) = columns.scope_wires([scope])
            out.append(data(1, resource + data(2, around + b"".join(spans))))
        yield b"".join(out)


def attributes_of(known: Told) -> bytes:
    """Attributes of a span, in wire bytes: behind the others, so that they are the last of their keys."""
    if known.component is None:
        return b""
    parts = [
        _attribute("k8strace.component", data(1, known.component)),
        _attribute("k8strace.phase", data(1, known.phase or "")),
        _attribute("k8strace.critical_ns", number(3, known.critical_ns)),
    ]
    if known.repairs:
        values = b"".join(data(1, data(1, text)) for text in known.repairs)
        parts.append(_attribute("k8strace.repairs", data(5, values)))
    return b"".join(parts)


def _attribute(key: str, value: bytes) -> bytes:
    return data(9, data(1, key) + data(2, value))
