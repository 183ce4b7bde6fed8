"""One function that writes every format."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from k8strace.exceptions import FormatError
from k8strace.export.jaeger import jaeger
from k8strace.export.otlp import otlp, otlp_json
from k8strace.export.perfetto import perfetto
from k8strace.export.stacks import folded, pprof, speedscope
from k8strace.export.tables import TABLES, arrow, csv_lines, parquet
from k8strace.requests import Requests

__all__ = ["FORMATS", "TABLES", "export"]

Chunks: TypeAlias = Callable[[Requests], Iterator[bytes]]

_STREAMS: Final[dict[str, Chunks]] = {
    "perfetto": perfetto,
    "speedscope": speedscope,
    "folded": folded,
    "pprof": pprof,
    "jaeger": jaeger,
    "otlp": otlp,
    "otlp-json": otlp_json,
}


def _csv(requests: Requests, table: str, path: Path) -> None:
    with path.open("wb") as out:
        out.writelines(csv_lines(requests, table))


_TABULAR: Final[dict[str, tuple[Callable[[Requests, str, Path], None], str]]] = {
    "parquet": (parquet, "spans"),
    "arrow": (arrow, "spans"),
    "csv": (_csv, "requests"),
}
"""Format → function that writes a table, and the default table of a single file."""

FORMATS: Final = (*_STREAMS, *_TABULAR)
"""All formats of `export`."""


def export(
    requests: Requests, to: str, out: str | os.PathLike[str], *, table: str | None = None
) -> list[Path]:
    """
    Writes requests in another tool's format.

    A file appears only when it is complete: it is written under another name first.

    Args:
        requests: The requests to write. Without a selection OTLP, Jaeger's JSON and the tables have all spans that were
            read, also those in no request.
        to: One of `FORMATS`.
        out: Path of the file. For "parquet", "arrow" and "csv" a file if the path ends in the format's name or `table`
            is given, else a directory for all three tables, which is created. "-" is standard output, for formats
            other than tables.
        table: One of "spans", "requests" and "attribution", into one file.

    Returns:
        The files that were written.

    Raises:
        FormatError: An unknown format or table, a table for a format that has none, or tables to standard output.
        MissingExtraError: "parquet" and "arrow" need the extra `k8strace[arrow]`.
        OSError: It cannot be written.

    Examples:
        >>> import k8strace, tempfile
        >>> from k8strace.export import export
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (path,) = export(requests, "folded", f"{folder}/stacks.txt")
        ...     lines = path.read_text().splitlines()
        >>> sum(int(line.rpartition(" ")[2]) for line in lines) == sum(k8strace.attribute(requests).totals.values())
        True
    """
    if to not in FORMATS:
        raise FormatError(f"expected a format to export to, one of {', '.join(FORMATS)}; got {to!r}")
    if table is not None and (table not in TABLES or to not in _TABULAR):
        known = f"{', '.join(TABLES)}, of {', '.join(_TABULAR)}"
        raise FormatError(f"expected a table, one of {known}; got {table!r} of {to}")
    if to in _TABULAR and os.fspath(out) == "-":
        raise FormatError(f"expected a file or a directory for {to}: tables do not go to standard output")
    if to in _TABULAR:
        return _tables(requests, to, Path(out), table)
    if os.fspath(out) == "-":
        sys.stdout.buffer.writelines(_STREAMS[to](requests))
        return []
    return [_whole(Path(out), lambda path: _write(path, _STREAMS[to](requests)))]


def _tables(requests: Requests, to: str, out: Path, table: str | None) -> list[Path]:
    write, usual = _TABULAR[to]
    if table is not None or (out.suffix == f".{to}" and not out.is_dir()):
        name = table or usual
        return [_whole(out, lambda path: write(requests, name, path))]
    out.mkdir(parents=True, exist_ok=True)
    return [
        _whole(out / f"{name}.{to}", lambda path, name=name: write(requests, name, path))  # type: ignore[misc]
        for name in TABLES
    ]


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    with path.open("wb") as out:
        out.writelines(chunks)


def _whole(path: Path, write: Callable[[Path], None]) -> Path:
    """Writes a temporary file, and renames it when it is complete."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
    return path
