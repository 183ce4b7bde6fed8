"""Spans as Jaeger's own JSON, which its UI and Grafana open: results as tags, repairs as warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from k8strace import _core
from k8strace.export.told import NOTHING, Told, chosen_rows, told
from k8strace.requests import Requests

__all__ = ["Part", "document", "jaeger"]

Part: TypeAlias = tuple[_core.SpanColumns, Sequence[int], Mapping[int, Told]]
"""Spans, the rows of a trace in the order in which they came, and results by row."""


def jaeger(requests: Requests) -> Iterator[bytes]:
    """One answer of Jaeger's API, its traces in the order in which they came."""
    known = told(requests)
    rows_of: dict[str, list[int]] = {}
    ids = requests.spans.column("trace_id").to_pylist()
    for row in chosen_rows(requests, known):
        if ids[row] is not None:
            rows_of.setdefault(ids[row], []).append(row)
    yield b'{"data":['
    for at, (trace_id, rows) in enumerate(rows_of.items()):
        yield b",\n" if at else b"\n"
        yield document(trace_id, [(requests.spans._columns, rows, known)])
    yield b'\n],"total":0,"limit":0,"offset":0,"errors":null}\n'


def document(trace_id: str, parts: Iterable[Part], warnings: Sequence[str] = ()) -> bytes:
    """One trace as Jaeger's UI has it, with warnings about it as a whole."""
    parts_with_results = [
        (columns, [(row, known.get(row, NOTHING)) for row in rows]) for columns, rows, known in parts
    ]
    return _core.jaeger_trace(trace_id, parts_with_results, warnings)
