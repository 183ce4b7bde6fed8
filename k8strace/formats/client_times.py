"""How long clients waited for their requests: JSON lines, plain or compressed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from k8strace import _core
from k8strace.exceptions import FormatError

__all__ = ["ClientTime", "read_client_times"]

LIMIT: Final = 1 << 30
"""Bytes of text that are read, at most."""

_KINDS: Final = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}


class ClientTime(NamedTuple):
    """One request as its client saw it."""

    audit_id: str
    """From the header `Audit-Id` of the answer."""
    wall_ns: int
    """From when it was sent until all of the answer was there."""


def read_client_times(path: str | os.PathLike[str]) -> list[ClientTime]:
    """
    Reads what clients measured: a JSON object on each line, with `audit_id` and `wall_ns`; other keys are ignored.

    Args:
        path: A file, plain or compressed with gzip or zstd.

    Raises:
        FormatError: A line is something else; the message says which one and what was expected.
        DecodeError: The compression is damaged, or the text is longer than 1 GiB.

    Examples:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        ...     _ = file.write('{"audit_id": "5a1f", "wall_ns": 1500000}')
        ...     file.flush()
        ...     read_client_times(file.name)
        [ClientTime(audit_id='5a1f', wall_ns=1500000)]
    """
    data = Path(path).read_bytes()
    kind = next((kind for magic, kind in _KINDS.items() if data.startswith(magic)), None)
    text = _core.inflate_all(kind, data, LIMIT) if kind else data
    return [_time(line, number, path) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _time(line: bytes, number: int, path: object) -> ClientTime:
    try:
        row: Any = json.loads(line)
        audit_id, wall_ns = row["audit_id"], row["wall_ns"]
    except (ValueError, TypeError, KeyError, RecursionError):
        audit_id = wall_ns = None
    if not isinstance(audit_id, str) or not isinstance(wall_ns, int):
        raise FormatError(
            f"{path}, line {number}: expected an object with audit_id and wall_ns, got {line[:60]!r}"
        )
    return ClientTime(audit_id, wall_ns)
