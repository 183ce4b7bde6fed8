"""
The journal's files: one that is written, and closed ones until they are too many or too old.

    k8strace-20260801T120000Z-000041.otlp        closed: complete, and never written again
    k8strace-20260801T130000Z-000042.open.otlp   being written, or left so by a process that died

`DIR/*.otlp` means all of them. For one thread at a time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from k8strace.receiver.journal.frames import Layout, Sealed
    from k8strace.receiver.journal.storage import Storage

__all__ = ["JournalCounts", "Rules", "SegmentName", "Segments", "segments_in"]

OPEN: Final = ".open"
DAMAGED: Final = ".damaged"
PROBE: Final = ".probe"
"""Hidden, so that `DIR/*` means the segments."""

_NAME = re.compile(
    r"(?P<stem>k8strace-\d{8}T\d{6}Z-(?P<sequence>\d{6,}))(?P<open>\.open)?"
    r"(?P<suffix>\.otlp(?:\.zst)?)(?P<damaged>\.damaged)?",
    re.ASCII,
)


class SegmentName(NamedTuple):
    """What a file's name says."""

    name: str
    stem: str
    sequence: int
    suffix: str
    """Which layout it has."""
    is_open: bool
    """It may have a torn end."""
    is_damaged: bool
    """Set aside, since something is wrong with it that is not a torn end."""

    @property
    def closed(self) -> str:
        """Its name once it is complete."""
        return self.stem + self.suffix


def segment_name(name: str) -> SegmentName | None:
    """
    None for files that are not ours.

    Examples:
        >>> segment_name("k8strace-20260801T130000Z-000042.open.otlp").closed
        'k8strace-20260801T130000Z-000042.otlp'
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    is_open, is_damaged = found["open"] is not None, found["damaged"] is not None
    return SegmentName(name, found["stem"], int(found["sequence"]), found["suffix"], is_open, is_damaged)


def in_order(names: Iterable[str]) -> list[SegmentName]:
    """The segments among these files, oldest first."""
    found = (segment_name(name) for name in names)
    return sorted((each for each in found if each is not None), key=lambda each: (each.sequence, each.name))


def segments_in(storage: Storage) -> list[SegmentName]:
    """All segments of a directory, oldest first."""
    return in_order(file.name for file in storage.list())


@dataclass(frozen=True, slots=True)
class Rules:
    """When a segment is closed, and when it is removed. Sizes in bytes, ages in seconds."""

    segment_bytes: int
    segment_age_s: float
    retain_bytes: int | None
    """All segments together; None for no bound."""
    retain_age_s: float | None
    """Since a segment was last written; None for no bound."""


@dataclass(slots=True)
class JournalCounts:
    """Counts of a journal since it was opened. Written by one thread."""

    batches: int = 0
    bytes: int = 0
    syncs: int = 0
    segments: int = 0
    removed: int = 0
    cut_bytes: int = 0
    vanished: int = 0
    errors: int = 0


@dataclass(slots=True)
class _Active:
    """The segment that is being written."""

    name: SegmentName
    handle: int
    began_s: float
    synced_bytes: int = 0
    """End of what is surely on disk: where to cut when the rest cannot be trusted."""


class Segments:
    """Groups of frames on disk, each safe when `commit` returns."""

    def __init__(
        self,
        storage: Storage,
        layout: Layout,
        rules: Rules,
        tally: JournalCounts,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._layout = layout
        self._rules = rules
        self._tally = tally
        self._clock = clock
        self._active: _Active | None = None
        self._sequence = max((each.sequence for each in segments_in(storage)), default=0)

    def commit(self, frames: Sequence[Sealed]) -> float:
        """
        Writes a group and syncs it. Closes the segment if it is full.

        Returns:
            How long the sync took, in seconds.

        Raises:
            FileNotFoundError: The segment or the directory was removed. The next group gets a new one.
            OSError: The group is not stored. The segment is cut back to what was safe, and never written again:
                after a failed sync the system may have dropped what it could not write, and say yes the next time.
        """
        data = self._layout.encode(frames)
        active = self._active or self._begin()
        try:
            self._storage.write(active.handle, data)
            took_s = self._sync(active)
        except BaseException:
            self._abandon(active)
            raise
        self.watch()
        active.synced_bytes += len(data)
        self._tally.bytes += len(data)
        self._tally.batches += len(frames)
        self.turn()
        return took_s

    def watch(self) -> None:
        """
        Whether what was stored is still there. Ask after a sync: a file that was removed is not safe.

        Raises:
            FileNotFoundError: The segment or the directory was removed or replaced. Now there is a directory again.
        """
        active = self._active
        try:
            self._storage.check(*(() if active is None else (active.handle, active.name.name)))
        except FileNotFoundError:
            self._tally.vanished += 1
            if active is not None:
                self._abandon(active)
            self._storage.lock()
            raise

    def probe(self, size: int) -> None:
        """Raises OSError unless this many bytes can be stored now. None of them stay."""
        with suppress(FileNotFoundError):
            self._storage.remove(PROBE)
        handle = self._storage.open_append(PROBE, create=True)
        try:
            self._storage.write(handle, bytes(size))
            self._storage.sync(handle)
        finally:
            self._storage.close(handle)
            self._storage.remove(PROBE)

    def turn(self) -> None:
        """Closes the segment if it is full or old."""
        active = self._active
        if active is None:
            return
        is_old = time.monotonic() - active.began_s >= self._rules.segment_age_s
        if is_old or active.synced_bytes >= self._rules.segment_bytes:
            self.close()

    def close(self) -> None:
        """Closes the segment. If that fails it keeps its open name, and is checked at the next start."""
        active, self._active = self._active, None
        if active is None:
            return
        try:
            self._storage.close(active.handle)
            self._storage.rename(active.name.name, active.name.closed)
            self._storage.sync_dir()
        except OSError:
            self._tally.errors += 1
        self.retain()

    def retain(self) -> None:
        """Removes the oldest closed segments while they are too old or all together too large."""
        try:
            self._remove(self._superfluous())
        except OSError:
            self._tally.errors += 1

    def _begin(self) -> _Active:
        """A new file, whose name is safe before anything in it is."""
        self.watch()
        self._sequence += 1
        began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        stem = f"k8strace-{began}-{self._sequence:06}"
        name = stem + OPEN + self._layout.suffix
        handle = self._storage.open_append(name, create=True)
        parsed = SegmentName(name, stem, self._sequence, self._layout.suffix, is_open=True, is_damaged=False)
        self._active = _Active(parsed, handle, time.monotonic())
        try:
            self._storage.sync_dir()
        except BaseException:
            self._abandon(self._active)
            raise
        self._tally.segments += 1
        return self._active

    def _sync(self, active: _Active) -> float:
        before = time.perf_counter()
        self._storage.sync(active.handle)
        self._tally.syncs += 1
        return time.perf_counter() - before

    def _abandon(self, active: _Active) -> None:
        """Each step is a service to readers, not needed for safety: on a broken disk each may fail."""
        self._active = None
        with suppress(OSError):
            self._storage.truncate(active.handle, active.synced_bytes)
        with suppress(OSError):
            self._storage.close(active.handle)
        if not active.synced_bytes:
            with suppress(OSError):
                self._storage.remove(active.name.name)

    def _superfluous(self) -> list[str]:
        """
        Names of the segments to remove, oldest first.

            │ too old │ within retain_bytes only without it │ kept │ kept │ being written: never removed │
        """
        rules, current = self._rules, self._active.name.name if self._active else None
        files = {file.name: file for file in self._storage.list()}
        segments = [files[each.name] for each in in_order(files)]
        total = sum(file.size for file in segments)
        names = []
        for file in segments:
            is_old = rules.retain_age_s is not None and self._clock() - file.modified_s > rules.retain_age_s
            is_too_much = rules.retain_bytes is not None and total > rules.retain_bytes
            if file.name != current and (is_old or is_too_much):
                names.append(file.name)
                total -= file.size
        return names

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            self._storage.remove(name)
            self._tally.removed += 1
        if names:
            self._storage.sync_dir()
