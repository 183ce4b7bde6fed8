"""Methods that write an object as files of other tools."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["FileExport"]

Out: TypeAlias = "str | os.PathLike[str]"


class FileExport:
    """One method for each format of `k8strace.export`, which has the rules and the errors. Each returns its path."""

    __slots__ = ()

    def to_perfetto(self, out: Out) -> Path:
        """A trace for https://ui.perfetto.dev: spans by process, and critical paths, in ns."""
        return self._export("perfetto", out)

    def to_speedscope(self, out: Out) -> Path:
        """A profile for https://www.speedscope.app: critical paths as stacks."""
        return self._export("speedscope", out)

    def to_folded(self, out: Out) -> Path:
        """Critical paths as folded stacks, for flamegraph.pl and inferno."""
        return self._export("folded", out)

    def to_pprof(self, out: Out) -> Path:
        """Critical paths as a profile for `go tool pprof`."""
        return self._export("pprof", out)

    def to_jaeger(self, out: Out) -> Path:
        """Spans as the JSON that Jaeger's UI opens."""
        return self._export("jaeger", out)

    def to_otlp(self, out: Out) -> Path:
        """Spans as OTLP in protobuf, with component, phase, critical ns and repairs as attributes `k8strace.…`."""
        return self._export("otlp", out)

    def to_otlp_json(self, out: Out) -> Path:
        """The same as OTLP JSON, a request a line."""
        return self._export("otlp-json", out)

    def to_parquet(self, out: Out, *, table: str = "spans") -> Path:
        """One of the tables "spans", "requests" and "attribution" as Parquet. `read` takes that of spans."""
        return self._export("parquet", out, table=table)

    def to_arrow_file(self, out: Out, *, table: str = "spans") -> Path:
        """One of these tables as an Arrow IPC file."""
        return self._export("arrow", out, table=table)

    def to_csv(self, out: Out, *, table: str = "requests") -> Path:
        """One of these tables as CSV. Texts that a spreadsheet would read as formulas get a leading `'`."""
        return self._export("csv", out, table=table)

    def _export(self: Any, to: str, out: Out, **options: Any) -> Path:
        from k8strace.export import export

        (path,) = export(self, to, out, **options)
        return path
