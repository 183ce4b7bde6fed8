"""Spans as complete OTLP again, with the results as attributes `k8strace.…`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from k8strace import _core
from k8strace.export.protobuf import data, number
from k8strace.export.told import NOTHING, Told, chosen_rows, told
from k8strace.requests import Requests
from k8strace.spans import Spans

__all__ = ["BATCH_SPANS", "SpanWires", "otlp", "otlp_json", "otlp_requests"]

BATCH_SPANS: Final = 2_000
"""Spans per request, at most: well below the limits of receivers."""


def otlp(requests: Requests) -> Iterator[bytes]:
    """Concatenated `ExportTraceServiceRequest`s, which together are one."""
    return otlp_requests(requests)


def otlp_json(requests: Requests) -> Iterator[bytes]:
    """OTLP JSON, a request a line, as the collector's file exporter writes it."""
    return (_core.wire_to_json(wire) + b"\n" for wire in otlp_requests(requests))


def otlp_requests(requests: Requests, *, annotated: bool = True) -> Iterator[bytes]:
    """
    Requests in wire bytes, of at most `BATCH_SPANS` spans each, in the order in which the spans came.

    Args:
        requests: The requests whose spans are written. Without a selection all spans are, also those in no request.
        annotated: Whether to add the results of each span as attributes.
    """
    known = told(requests)
    return SpanWires(requests.spans).of(chosen_rows(requests, known), known if annotated else {})


class SpanWires:
    """Rows of a table of spans as requests in wire bytes."""

    def __init__(self, spans: Spans) -> None:
        self.columns = spans._columns
        self._scopes = spans._columns.column("scope_spans")
        self._resources = spans.scopes.column("resource_spans")

    def of(self, rows: Sequence[int], known: Mapping[int, Told]) -> Iterator[bytes]:
        """Requests of at most `BATCH_SPANS` rows each, in their order, with the results in `known`."""
        for start in range(0, len(rows), BATCH_SPANS):
            yield self._wire(rows[start : start + BATCH_SPANS], known)

    def _wire(self, rows: Sequence[int], known: Mapping[int, Told]) -> bytes:
        columns, out = self.columns, []
        for scope, group in groupby(rows, key=self._scopes.__getitem__):
            members = list(group)
            several = zip(members, columns.span_wires(members), strict=True)
            spans = [data(2, wire + attributes_of(known.get(row, NOTHING))) for row, wire in several]
            (resource,) = columns.resource_wires([self._resources[scope]])
            (around,) = columns.scope_wires([scope])
            out.append(data(1, resource + data(2, around + b"".join(spans))))
        return b"".join(out)


def attributes_of(known: Told) -> bytes:
    """Attributes of a span, in wire bytes. They come after the others, so they are the last with their keys."""
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
