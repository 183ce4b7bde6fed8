"""What the page's script reads: columns of numbers, behind a head in JSON, gzipped."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, Final

from k8strace import _core

__all__ = ["Columns"]

LEVEL: Final = 5
"""Level of gzip; 6 takes a third more time for 2 % fewer bytes."""

_DENSE: Final = re.compile(r"start|wall|prelude|trace_id|.*\.ns")
"""Columns that do not compress."""


class Columns:
    """
    Columns by name. A number is a LEB128 varint; in a signed column it is zigzag.

    Written as: length of the head (4 bytes, little endian), head, and the columns, one after the other. The head is
    JSON: what else the page needs, and `columns`, name → [bytes, signed, numbers].
    """

    def __init__(self) -> None:
        self._columns: dict[str, tuple[bytes, bool]] = {}
        self.head: dict[str, Any] = {}

    def add(self, name: str, values: Sequence[int], *, signed: bool = False) -> None:
        """Numbers below 2**63."""
        self._columns[name] = _core.varints(values, signed), signed

    def add_bytes(self, name: str, data: bytes, *, signed: bool = False) -> None:
        """Varints as they are."""
        self._columns[name] = data, signed

    def add_ascending(self, name: str, values: Sequence[int]) -> None:
        """Numbers as differences from the one before; most of them small."""
        steps = [after - before for before, after in pairwise([0, *values])]
        self.add(name, steps, signed=True)

    def add_texts(self, name: str, values: Iterable[Any]) -> None:
        """Texts as indices into a list in the head, which begins with null."""
        values = list(values)
        known = {value: at for at, value in enumerate(dict.fromkeys(chain([None], values)))}
        self.add(name, list(map(known.__getitem__, values)))
        self.head.setdefault("texts", {})[name] = list(known)

    @property
    def size(self) -> int:
        """About how many bytes the columns take once gzipped: times and ids as many as before, words an eighth."""
        return sum(
            len(data) // (1 if _DENSE.fullmatch(name) else 8) for name, (data, _) in self._columns.items()
        )

    def packed(self, more: Mapping[str, Any]) -> bytes:
        """All of it, gzipped."""
        sizes = {name: [len(data), signed] for name, (data, signed) in self._columns.items()}
        head = json.dumps({**self.head, **more, "columns": sizes}, separators=(",", ":")).encode()
        body = b"".join(data for data, _ in self._columns.values())
        whole = len(head).to_bytes(4, "little") + head + body
        return gzip.compress(whole, LEVEL, mtime=0)
