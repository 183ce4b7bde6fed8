"""Joined requests as pyarrow tables without indices and with Spark's types, the same from one process and from many."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from k8strace.attribution import attribute
from k8strace.requests import Requests
from k8strace.tables import require

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["attribution_rows", "offset_rows", "plain", "request_rows"]

_RELATIVES: Final = ("outer_request", "linked_from", "counted_in")
"""Columns with the index of another request. Parts have no common index, so its ids replace it."""

_LEFT_OUT: Final = ("request", "start_time", "end_time", *_RELATIVES)
"""Spark's timestamps have no ns."""


def request_rows(joined: Requests) -> pa.Table:
    """
    Joined requests as the rows of `requests`, as one process gives them.

    Examples:
        >>> import k8strace
        >>> from k8strace.export.rows import request_rows
        >>> rows = request_rows(k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")))
        >>> rows.num_rows, rows.column_names[:3]
        (1411, ['trace_id', 'span_id', 'name'])
    """
    table = joined.to_arrow()
    everyone = joined.joined.requests.to_arrow()
    for name in _RELATIVES:
        for key in ("trace_id", "span_id"):
            table = table.append_column(f"{name}_{key}", everyone[key].take(table[name]))
    return plain(table.drop_columns(list(_LEFT_OUT)).append_column("phases", _phases(joined)))


def attribution_rows(joined: Requests) -> pa.Table:
    """Joined requests as the rows of `attribution`: one per request and phase, as `Attribution` without its index."""
    return plain(attribute(joined).to_arrow().drop_columns(["request"]))


def offset_rows(joined: Requests) -> pa.Table:
    """Clock offsets, as `Joined.clock_offsets` without timestamps."""
    return plain(joined.joined.clock_offsets.to_arrow().drop_columns(["at_time"]))


def _phases(joined: Requests) -> pa.Array:
    """Phase → ns of each request."""
    pa = require("pyarrow", "arrow")
    parts = attribute(joined).to_arrow()
    many = Counter(parts["request"].to_pylist())
    ends = list(accumulate((many[request] for request in joined.column("request")), initial=0))
    keys, ns = parts["phase"].cast(pa.string()), parts["ns"]
    return pa.MapArray.from_arrays(pa.array(ends, pa.int32()), keys.combine_chunks(), ns.combine_chunks())


def plain(table: pa.Table) -> pa.Table:
    """The table in types that Spark has: no dictionaries, no large types."""
    pa = require("pyarrow", "arrow")
    return table.cast(pa.schema([pa.field(each.name, _plain(each.type)) for each in table.schema]))


def _plain(kind: Any) -> Any:
    pa = require("pyarrow", "arrow")
    types = pa.types
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([pa.field(each.name, _plain(each.type)) for each in kind])
    return {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}.get(kind, kind)
