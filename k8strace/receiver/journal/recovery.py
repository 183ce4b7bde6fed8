"""After a crash: what the last segments hold, and where their torn ends are cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from k8strace.exceptions import DecodeError
from k8strace.receiver.journal.frames import DamagedError, layout_of, walk
from k8strace.receiver.journal.segments import DAMAGED, SegmentName, segments_in
from k8strace.receiver.journal.storage import OsStorage, Storage

__all__ = ["Recovered", "batches_of", "recover", "replay"]


class Recovered(NamedTuple):
    """Damage of a segment, and what was done about it."""

    file: str
    """Its name now."""
    cut_bytes: int
    """How much was cut off its end; 0 if nothing was."""
    reason: str
    """What was expected, what came, and where; and what was done, if it was not cutting."""


def recover(storage: Storage) -> list[Recovered]:
    """
    Checks every segment that was not closed: cuts its torn end, and closes it.

    What is not at the end was safe once, and has rotted. It is never cut: the file is set aside whole, with the name
    `….damaged`, and `replay` reads around the damage. A segment that resists, on a disk that fails, is left as it is.
    """
    found: list[Recovered] = []
    for segment in segments_in(storage):
        if segment.is_open and not segment.is_damaged:
            try:
                found += _recover(storage, segment)
            except OSError as error:
                found.append(Recovered(segment.name, 0, f"left as it is: {error}"))
    return found


def _recover(storage: Storage, segment: SegmentName) -> list[Recovered]:
    content = storage.read(segment.name)
    layout = layout_of(segment.suffix)
    pieces = [(piece.start, piece.damage) for piece in walk(content, layout, batches=False)]
    damage = [(start, reason) for start, reason in pieces if reason]
    if not damage:
        return _close(storage, segment, len(content), len(content))
    at, reason = damage[0]
    if pieces[-1] != damage[0]:
        return _set_aside(storage, segment, f"at byte {at}: {reason}")
    cut = len(content) - at
    return [
        *_close(storage, segment, at, len(content)),
        Recovered(segment.closed, cut, f"at byte {at}: {reason}"),
    ]


def _close(storage: Storage, segment: SegmentName, size: int, was: int) -> list[Recovered]:
    """Syncs what remains, even if no sender was told that it is stored: from now on readers rely on it."""
    handle = storage.open_append(segment.name, create=False)
    try:
        if size < was:
            storage.truncate(handle, size)
        storage.sync(handle)
    finally:
        storage.close(handle)
    if size:
        storage.rename(segment.name, segment.closed)
    else:
        storage.remove(segment.name)
    storage.sync_dir()
    return []


def _set_aside(storage: Storage, segment: SegmentName, reason: str) -> list[Recovered]:
    name = segment.name + DAMAGED
    storage.rename(segment.name, name)
    storage.sync_dir()
    return [Recovered(name, 0, f"{reason}; whole batches follow, so it was set aside uncut")]


def replay(
    directory: str | os.PathLike[str],
    *,
    on_damage: Callable[[Recovered], object] | None = None,
    storage: Callable[[Path], Storage] = OsStorage,
) -> Iterator[bytes]:
    """
    Yields every stored batch as it came, oldest first, those of the segment being written included.

    Args:
        directory: The journal's.
        on_damage: Called for damage; reading continues after it. The torn end of an open segment is no damage.
        storage: How to read.

    Raises:
        DecodeError: Damage, and no `on_damage` to tell.
        OSError: The disk cannot be read.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from k8strace.receiver import Journal
        >>> with TemporaryDirectory() as directory:
        ...     with Journal(directory) as journal:
        ...         journal.append(b"a batch")
        ...     list(replay(directory))
        [b'a batch']
    """
    disk = storage(Path(directory))
    try:
        for segment in segments_in(disk):
            yield from batches_of(disk, segment, on_damage)
    finally:
        disk.release()


def batches_of(
    storage: Storage, segment: SegmentName, on_damage: Callable[[Recovered], object] | None
) -> Iterator[bytes]:
    """Yields the batches of one segment, as `replay` says."""
    try:
        name, content = _read(storage, segment)
    except FileNotFoundError:  # past keeping, and removed meanwhile
        return
    for piece in walk(content, layout_of(segment.suffix)):
        if piece.damage and not (segment.is_open and piece.end == len(content)):
            _tell(name, piece.start, piece.damage, on_damage)
        yield from piece.batches


def _read(storage: Storage, segment: SegmentName) -> tuple[str, bytes]:
    """Its name and content. It may have been closed since it was listed."""
    try:
        return segment.name, storage.read(segment.name)
    except FileNotFoundError:
        return segment.closed, storage.read(segment.closed)


def _tell(name: str, at: int, damage: DamagedError, on_damage: Callable[[Recovered], object] | None) -> None:
    if on_damage is None:
        raise DecodeError(damage.expected, damage.got, name, at)
    on_damage(Recovered(name, 0, f"at byte {at}: {damage}"))
