"""Files of spans, merged by time while they are read."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from k8strace.formats import scan
from k8strace.spans import Spans
from k8strace.stream import LATEST_NS

__all__ = ["Merged", "Piece", "Tell"]

PIECE_BYTES: Final = 8 << 10
"""Smaller messages are taken several at a time, up to this size."""

Tell = Callable[[int, int], object]
"""Called with the stored bytes read so far, and their total."""


class Piece(NamedTuple):
    """Some messages of a file."""

    time_ns: int
    """When most of its spans had ended; never earlier than the piece before it."""
    ahead_ns: int
    """How much earlier than the piece before it they really ended; 0 if they did not."""
    file: int
    """The number of the file."""
    spans: Spans


class Merged:
    """
    The pieces of several files, merged by time: always the earliest of the files' next pieces.

    ```text
    apiserver   10:00:01   10:00:06   10:00:11 ─┐
    etcd        10:00:02   10:00:07   10:00:12 ─┴→ :01 :02 :06 :07 :11 :12
    ```

    A file is open only between its first and its last piece.

    Args:
        paths: The files.
        taken: For each file, how many pieces were taken before, which are skipped. None for a file that is done.
        format: As for `read`.
        tell: Called as it goes on.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        taken: Sequence[int | None],
        *,
        format: str = "auto",  # noqa: A002
        tell: Tell | None = None,
    ) -> None:
        self.taken = list(taken)
        self._format = format
        self._tell = tell
        self._sizes = [path.stat().st_size for path in paths]
        self._done = [
            0 if taken is not None else size for taken, size in zip(taken, self._sizes, strict=True)
        ]
        self._files = [_File(path, 0) for path in paths]

    def __iter__(self) -> Iterator[Piece]:
        waiting: list[tuple[int, int]] = []
        for number, taken in enumerate(self.taken):
            if taken is not None:
                self._open(number, taken)
                self._wait(waiting, number)
                if taken == 0:
                    self._files[number].close()
        while waiting:
            _, number = heapq.heappop(waiting)
            file = self._files[number]
            if file.pieces is None:
                self._open(number, 0)
            if file.next is not None:
                piece = Piece(file.time_ns, file.ahead_ns, number, file.next)
                file.look()
                self.taken[number] = (self.taken[number] or 0) + 1
                self._wait(waiting, number)
                yield piece

    def _open(self, number: int, passing: int) -> None:
        def told(done: int, _: int | None) -> None:
            self._done[number] = done
            if self._tell is not None:
                self._tell(sum(self._done), sum(self._sizes))

        file = self._files[number]
        file.open(scan(file.path, format=self._format, batch_bytes=PIECE_BYTES, progress=told), passing)

    def _wait(self, waiting: list[tuple[int, int]], number: int) -> None:
        """Puts a file back, at the time of its next piece, or closes it."""
        file = self._files[number]
        if file.next is None:
            self.taken[number] = None
            self._done[number] = self._sizes[number]
        else:
            heapq.heappush(waiting, (file.time_ns, number))


@dataclass
class _File:
    path: Path
    time_ns: int
    """The time of the next piece."""
    ahead_ns: int = 0
    pieces: Iterator[Spans] | None = None
    next: Spans | None = None

    def open(self, pieces: Iterator[Spans], passing: int) -> None:
        """Begins to read, after the first `passing` pieces."""
        self.pieces, self.time_ns = pieces, 0
        for _ in range(passing + 1):
            self.look()

    def close(self) -> None:
        """Closes the file."""
        self.pieces = None

    def look(self) -> None:
        """Reads the next piece."""
        self.next = next(self.pieces, None) if self.pieces is not None else None
        if self.next is not None:
            told = self.next._columns.median_end() or self.time_ns
            if told >= LATEST_NS:
                told = self.time_ns
            self.ahead_ns = max(self.time_ns - told, 0)
            self.time_ns = max(self.time_ns, told)
