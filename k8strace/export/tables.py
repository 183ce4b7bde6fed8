"""
Three tables as files: `spans`, `requests` and `attribution`, with the version of their schema.

The table of spans also has every span, scope and resource as it was sent (`otlp_span`, `otlp_scope`, `otlp_resource`),
so a Parquet file of spans is a complete recording that `read` takes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from k8strace import _core
from k8strace.attribution import attribute
from k8strace.calltree import KINDS
from k8strace.export.told import NOTHING, chosen_rows, told
from k8strace.requests import Requests
from k8strace.tables import ArrowExport, require

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SCHEMA_VERSION", "TABLES", "arrow", "csv_lines", "parquet", "table_of"]

SCHEMA_VERSION: Final = "1"
"""Version of all three schemas, in their metadata as `k8strace.schema_version`, beside `k8strace.table`."""

_GUARDED: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet reads a text that begins like this as a formula."""

_RAW: Final = ("otlp_span", "otlp_scope", "otlp_resource")


def table_of(requests: Requests, name: str) -> pa.Table:
    """
    One of the three tables as a pyarrow table. Needs the extra `k8strace[arrow]`.

    Raises:
        KeyError: There is no table of this name.
    """
    about = {
        "k8strace.schema_version": SCHEMA_VERSION,
        "k8strace.table": name,
        "k8strace.version": _core.__version__,
    }
    return TABLES[name](requests).replace_schema_metadata(about)


def parquet(requests: Requests, name: str, path: Path) -> None:
    """Writes one table as Parquet, compressed with zstd."""
    written = require("pyarrow.parquet", "arrow")
    written.write_table(table_of(requests, name), path, compression="zstd", row_group_size=1 << 16)


def arrow(requests: Requests, name: str, path: Path) -> None:
    """Writes one table as an Arrow IPC file (Feather, version 2)."""
    pyarrow = require("pyarrow", "arrow")
    table = table_of(requests, name)
    with pyarrow.OSFile(str(path), "wb") as out, pyarrow.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)


def csv_lines(requests: Requests, name: str) -> Iterator[bytes]:
    """One table as CSV (RFC 4180), in UTF-8. Texts that a spreadsheet would read as formulas get a leading `'`."""
    rows = _span_rows(requests, raw=False) if name == "spans" else _rows(_PLAIN[name](requests))
    columns = next(rows)
    yield _line(columns)
    for row in rows:
        yield _line([_cell(value) for value in row])


def _rows(table: ArrowExport) -> Iterator[list[Any]]:
    core = table._arrow()
    yield list(core.column_names)
    yield from map(list, zip(*(core.column(each).to_pylist() for each in core.column_names), strict=True))


def _line(cells: list[Any]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(_GUARDED) else value


# ---- the table of spans ---------------------------------------------------------------------------

_INTEGERS: Final = (
    "start_time_unix_nano",
    "end_time_unix_nano",
    "duration_ns",
    "status_code",
    "events",
    "links",
    "request",
    "critical_ns",
)


def _span_rows(requests: Requests, *, raw: bool) -> Iterator[list[Any]]:
    """The names of the columns, then a list for each span."""
    spans, known = requests.spans, told(requests)
    core = spans._columns
    scope_of = core.column("scope_spans").to_pylist()
    resource_of = spans.scopes.column("resource_spans").to_pylist()
    scopes, resources = spans.scopes, spans.resources
    names = scopes.column("name").to_pylist(), scopes.column("version").to_pylist()
    about = [_as_text(attributes) for attributes in resources.column("attributes").to_pylist()]
    wires = (
        (core.scope_wires(range(len(scopes))), core.resource_wires(range(len(resources))))
        if raw
        else ([], [])
    )
    sent = {name: core.column(name) for name in _SENT}
    yield [*_FIRST, *(_RAW if raw else ())]
    for row in chosen_rows(requests, known):
        value = {name: column[row] for name, column in sent.items()}
        scope, seen = scope_of[row], known.get(row, NOTHING)
        resource = resource_of[scope]
        start, end = (_nano(value[name]) for name in ("start_time_unix_nano", "end_time_unix_nano"))
        kind = value["kind"]
        line = [
            *(value[name] for name in ("trace_id", "span_id", "parent_span_id")),
            value["name"],
            KINDS[kind] if 0 <= kind < len(KINDS) else str(kind),
            value["service_name"],
            about[resource].get("service.instance.id"),
            names[0][scope],
            names[1][scope],
            start,
            start,
            end,
            max(end - start, 0),
            value["status_code"],
            value["status_message"],
            _as_text(value["attributes"]),
            about[resource],
            len(value["events"]),
            len(value["links"]),
            seen.request,
            seen.component,
            seen.phase,
            seen.critical_ns,
            "; ".join(seen.repairs) or None,
        ]
        if raw:
            line += [core.span_wires([row])[0], wires[0][scope], wires[1][resource]]
        yield line


_LATEST: Final = (1 << 63) - 1


def _nano(unix_nano: int) -> int:
    """The time, or the latest one possible for times after the year 2262, which are negative in the columns."""
    return _LATEST if unix_nano < 0 else unix_nano


_SENT: Final = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "service_name",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "status_code",
    "status_message",
    "attributes",
    "events",
    "links",
)
_FIRST: Final = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "service",
    "instance",
    "scope",
    "scope_version",
    "start_time",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "duration_ns",
    "status_code",
    "status_message",
    "attributes",
    "resource",
    "events",
    "links",
    "request",
    "component",
    "phase",
    "critical_ns",
    "repairs",
)
_VALUES: Final = {1: "string_value", 2: "bool_value", 3: "int_value", 4: "double_value"}


def _as_text(attributes: list[dict[str, Any]]) -> dict[str, str]:
    """Key → value as text, the last of each key; nested values and bytes are only in `otlp_span`."""
    found: dict[str, str] = {}
    for each in attributes:
        if each["type"] in _VALUES:
            value = each[_VALUES[each["type"]]]
            found[each["key"]] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def _spans(requests: Requests) -> pa.Table:
    pyarrow = require("pyarrow", "arrow")
    rows = _span_rows(requests, raw=True)
    names = next(rows)
    columns = list(zip(*rows, strict=True)) or [() for _ in names]
    texts = pyarrow.map_(pyarrow.string(), pyarrow.string())
    types = {
        "start_time": pyarrow.timestamp("ns", tz="UTC"),
        "attributes": texts,
        "resource": texts,
        **dict.fromkeys(_RAW, pyarrow.binary()),
        **dict.fromkeys(_INTEGERS, pyarrow.int64()),
    }
    arrays = [
        pyarrow.array(
            [list(each.items()) for each in column] if types.get(name) == texts else column,
            type=types.get(name, pyarrow.string()),
        )
        for name, column in zip(names, columns, strict=True)
    ]
    return pyarrow.table(arrays, names=names)


TABLES: Final[dict[str, Callable[[Requests], Any]]] = {
    "spans": _spans,
    "requests": lambda requests: requests.to_arrow(),
    "attribution": lambda requests: attribute(requests).to_arrow(),
}
"""Name → function that makes the table."""

_PLAIN: Final[dict[str, Callable[[Requests], ArrowExport]]] = {
    "requests": lambda requests: requests,
    "attribution": attribute,
}
"""The same as tables of the core, which need no library."""
