"""
After a start: which stored batches a stream must see again to continue as if it had never stopped.

    segments:  │ 40 │ 41 │ 42 │ 43 ┤ the last one
                    └ context ┘└ recent ┘

Traces that were open when the process ended had spans within the window before the last segment began, or later: those
segments are recent. Earlier spans of such a trace are not older than its longest age: those segments are context.
Traces with spans in context only were emitted before the process ended.
"""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from k8strace.receiver.journal.recovery import Recovered, batches_of
from k8strace.receiver.journal.segments import SegmentName, in_order
from k8strace.receiver.journal.storage import OsStorage, Storage, Stored

__all__ = ["StoredBatch", "backlog"]

MARGIN_S: Final = 10.0
"""The join may be behind the store, and names of segments have whole seconds only."""


class StoredBatch(NamedTuple):
    """One acknowledged batch, read back."""

    batch: bytes
    is_recent: bool
    """Its traces may have been open."""


class _Segment(NamedTuple):
    name: SegmentName
    began_s: float
    ended_s: float
    size: int


def backlog(
    directory: str | os.PathLike[str],
    *,
    window_s: float,
    max_age_s: float,
    most_bytes: int,
    on_damage: Callable[[Recovered], object],
    storage: Callable[[Path], Storage] = OsStorage,
) -> Iterator[StoredBatch]:
    """
    Yields the stored batches that a stream with these settings must see again, oldest first.

    Args:
        directory: The journal's, before anything new is stored.
        window_s: How long a trace waits for spans.
        max_age_s: How old a trace may become.
        most_bytes: Of context, files that would be more all together are left out, the oldest first.
        on_damage: Is told of what cannot be read; reading goes on behind it.
        storage: How to read.

    Raises:
        OSError: The disk cannot be read.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from k8strace.receiver import Journal
        >>> with TemporaryDirectory() as directory:
        ...     with Journal(directory) as journal:
        ...         journal.append(b"a batch")
        ...     list(backlog(directory, window_s=10, max_age_s=600, most_bytes=1 << 30, on_damage=print))
        [StoredBatch(batch=b'a batch', is_recent=True)]
    """
    disk = storage(Path(directory))
    try:
        segments = _segments(disk.list())
        recent = _after(segments, segments[-1].began_s - window_s - MARGIN_S) if segments else []
        context = _after(segments, recent[0].began_s - window_s - max_age_s - MARGIN_S) if recent else []
        for segment in _within(
            context[: len(context) - len(recent)], most_bytes - sum(s.size for s in recent)
        ):
            yield from (
                StoredBatch(batch, is_recent=False) for batch in batches_of(disk, segment.name, on_damage)
            )
        for segment in recent:
            yield from (
                StoredBatch(batch, is_recent=True) for batch in batches_of(disk, segment.name, on_damage)
            )
    finally:
        disk.release()


def _segments(files: list[Stored]) -> list[_Segment]:
    """Oldest first."""
    found = {file.name: file for file in files}
    return [
        _Segment(name, _began_s(name), found[name.name].modified_s, found[name.name].size)
        for name in in_order(found)
    ]


def _began_s(name: SegmentName) -> float:
    return calendar.timegm(time.strptime(name.stem.split("-")[1], "%Y%m%dT%H%M%SZ"))


def _after(segments: list[_Segment], since_s: float) -> list[_Segment]:
    """The last ones, from the first that was written since then: nothing in between is left out."""
    first = next((at for at, each in enumerate(segments) if each.ended_s >= since_s), len(segments) - 1)
    return segments[first:]


def _within(segments: list[_Segment], most_bytes: int) -> list[_Segment]:
    """The last ones, up to this many bytes."""
    size, kept = 0, len(segments)
    while kept and size + segments[kept - 1].size <= most_bytes:
        kept -= 1
        size += segments[kept].size
    return segments[kept:]
