"""A Parquet file of spans that `k8strace export` wrote → its messages."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from k8strace.exceptions import DecodeError
from k8strace.formats.content import Slice
from k8strace.tables import require

__all__ = ["requests_of"]

_COLUMNS = ["otlp_resource", "otlp_scope", "otlp_span"]
_VERSIONS = (b"1",)


def requests_of(content: Slice) -> Iterator[bytes]:
    """
    Requests in wire bytes, some thousand spans each.

    Raises:
        DecodeError: This is no table of spans of ours, or no Parquet.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = require("pyarrow", "arrow")
    written = require("pyarrow.parquet", "arrow")
    try:
        file = written.ParquetFile(io.BytesIO(content))
        _check(file.schema_arrow)
        for batch in file.iter_batches(batch_size=4096, columns=_COLUMNS):
            yield _request(batch)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DecodeError("a Parquet file", " ".join(str(error).split())[:200], "", 0, "malformed") from None


def _check(schema: Any) -> None:
    metadata = schema.metadata or {}
    version, table = metadata.get(b"k8strace.schema_version"), metadata.get(b"k8strace.table", b"")
    if version is None:
        raise DecodeError("Parquet that `k8strace export` wrote", "another table", "", 0, "not_otlp")
    if version not in _VERSIONS:
        got = version.decode(errors="replace")
        raise DecodeError("version 1 of the schema", f"version {got}: update k8strace", "", 0, "not_otlp")
    if table != b"spans":
        got = f"the table of {table.decode(errors='replace')}"
        raise DecodeError("the table of spans", got, "", 0, "not_otlp")


def _request(batch: Any) -> bytes:
    rows = zip(*(batch.column(name).to_pylist() for name in _COLUMNS), strict=True)
    out = []
    for (resource, scope), several in groupby(rows, key=lambda row: row[:2]):
        spans = b"".join(_field(2, span or b"") for *_, span in several)
        out.append(_field(1, (resource or b"") + _field(2, (scope or b"") + spans)))
    return b"".join(out)


def _field(number: int, message: bytes) -> bytes:
    size, length = len(message), bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes([number << 3 | 2]) + length + message
