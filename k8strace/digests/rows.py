"""The rows of a digest's requests as Parquet, a directory for each hour."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8strace.export.rows import request_rows
from k8strace.export.tables import table_of
from k8strace.requests import Requests
from k8strace.selecting import text_of
from k8strace.tables import require

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["HourlyRows"]

ROWS: Final = 1 << 14
"""Rows held in memory before they are written, at most."""

HOUR_NS: Final = 3_600_000_000_000

PART: Final = re.compile(r"part-(\d+)-\d+\.parquet")


class HourlyRows:
    """
    Rows of requests, written by the hour in which they began: `requests/hour=2026-11-27T10/part-000003-0.parquet`.

    Args:
        into: The directory.
        number: The number of the next checkpoint. Files of that checkpoint or later ones are removed, because it was
            never written.
    """

    def __init__(self, into: Path, number: int) -> None:
        self._into = into / "requests"
        self._held: list[pa.Table] = []
        self._count = self._parts = 0
        self.number = number
        for path in self._into.glob("hour=*/part-*"):
            found = PART.match(path.name)
            if found is None or int(found[1]) >= number:
                path.unlink()

    def add(self, requests: Requests) -> None:
        """Adds the rows of some requests."""
        if not len(requests):
            return
        rows = request_rows(requests)
        times = table_of(requests, "requests").select(["start_time", "end_time"])
        for at, name in enumerate(times.column_names):
            rows = rows.add_column(at + 3, name, times[name])
        self._held.append(rows)
        self._count += len(rows)
        if self._count >= ROWS:
            self._write()

    def checkpoint(self) -> None:
        """Writes the held rows; later ones belong to the next checkpoint."""
        self._write()
        self.number += 1
        self._parts = 0

    def _write(self) -> None:
        if not self._held:
            return
        pyarrow, parquet = require("pyarrow", "arrow"), require("pyarrow.parquet", "arrow")
        rows = pyarrow.concat_tables(self._held)
        for hour, chosen in _by_hour(rows):
            folder = self._into / f"hour={hour}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"part-{self.number:06d}-{self._parts}.parquet"
            parquet.write_table(chosen, path, compression="zstd", row_group_size=ROWS)
        self._held, self._count = [], 0
        self._parts += 1


def _by_hour(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Hour and its rows."""
    compute = require("pyarrow.compute", "arrow")
    hours = compute.divide(rows["start_unix_nano"], HOUR_NS)
    for hour in sorted(compute.unique(hours).to_pylist()):
        yield text_of(hour * HOUR_NS, 0)[:13], rows.filter(compute.equal(hours, hour))
