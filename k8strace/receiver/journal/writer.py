"""
Batches that survive: an acknowledged one is written and synced, and is there after a crash or a power cut.

    append ─┐                                  ┌ one write
    append ─┼─→ waiting ─→ the writer thread ──┤          ──→ all of them are answered
    submit ─┘              takes all at once   └ one sync

While one group is synced the next gathers, so the number of syncs follows from the disk, not from the senders.
How batches lie in the files is said in `journal_frames`, which files there are in `segments`.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

from k8strace.receiver.intake.sink import UnavailableError
from k8strace.receiver.journal.frames import Plain, Sealed, Zstd, layout_of, seal
from k8strace.receiver.journal.recovery import Recovered, recover
from k8strace.receiver.journal.segments import JournalCounts, Rules, Segments
from k8strace.receiver.journal.storage import OsStorage, Storage
from k8strace.receiver.metrics.exposition import WRITE_LIMITS_NS, Histogram, Reading, Values, one

__all__ = ["Journal"]

GROUP_BYTES: Final = 8 << 20
"""A group is written once it has this size, however many batches wait: memory holds it twice."""

_LONGEST_INTERVAL_MS = 20
_SUFFIXES: Final = {"none": Plain.suffix, "zstd": Zstd.suffix}
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_HOUSEKEEPING_S = 1.0
"""How often the age of the segment and the disk are checked while no batch arrives."""


class _Waiting(NamedTuple):
    frame: Sealed
    answer: Future[None]

    @property
    def batch(self) -> bytes:
        return self.frame[1]


@dataclass(slots=True)
class _Trouble:
    """A failing disk is tried again after a pause that doubles each time."""

    failures: int = 0
    again_at_s: float = 0.0
    """Of the monotonic clock."""
    error: str = ""
    size: int = 0
    """Bytes of the group that the disk did not take."""

    def note(self, error: str, size: int = 0) -> None:
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self.failures, 16))
        self.failures += 1
        self.again_at_s = time.monotonic() + pause_s
        self.error = error
        self.size = size


class Journal:
    """
    A directory of segments that any OTLP reader reads, one writer to a directory.

    Args:
        directory: Made with mode 0700 if it is missing.
        sync_interval_ms: Syncs are at least so far apart, so a lone batch after a pause is synced at once and one in
            a crowd waits at most this long, plus the sync. At most 20.
        segment_bytes: A segment is closed when it is so large, or larger by one group.
        segment_age_s: Seconds after which a segment is closed.
        retain_bytes: The oldest closed segments are removed while all together are larger; None for no bound.
        retain_age_s: Seconds after its last write that a closed segment is removed; None for no bound.
        compression: "zstd" compresses each group by itself. Needs the extra `serve`.
        storage: How to get at the directory.
        on_sync: Hears how long each sync took, in seconds, on the writer thread.
        on_trouble: Hears what the disk says when it fails, and "" when it works again, on the writer thread.

    Raises:
        ValueError: An argument is out of range.
        UnavailableError: The directory cannot be used, or another process does.
        MissingExtraError: The library for `compression` is not installed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import k8strace
        >>> from k8strace.formats import messages
        >>> batch = next(messages("tests/data/k8s-1.36_etcd-3.6.otlp.zst")).wire
        >>> with TemporaryDirectory() as directory:
        ...     with Journal(directory) as journal:
        ...         journal.append(bytes(batch))
        ...         journal.counts["batches"]
        ...     len(k8strace.read(f"{directory}/*.otlp")) == len(k8strace.decode(batch))
        1
        True
    """

    def __init__(  # noqa: PLR0913 - each is a setting with a name
        self,
        directory: str | os.PathLike[str],
        *,
        sync_interval_ms: float = 2.0,
        segment_bytes: int = 64 << 20,
        segment_age_s: float = 3600.0,
        retain_bytes: int | None = 8 << 30,
        retain_age_s: float | None = None,
        compression: Literal["none", "zstd"] = "none",
        storage: Callable[[Path], Storage] = OsStorage,
        on_sync: Callable[[float], object] | None = None,
        on_trouble: Callable[[str], object] | None = None,
    ) -> None:
        rules = Rules(segment_bytes, segment_age_s, retain_bytes, retain_age_s)
        _check(sync_interval_ms, compression, asdict(rules))
        self.directory = Path(directory)
        self._interval_s = sync_interval_ms / 1000
        self._on_sync = on_sync
        self.syncs = Histogram(WRITE_LIMITS_NS)
        """How long the disk took to write and sync."""
        self._on_trouble = on_trouble
        self._tally = JournalCounts()
        self._trouble = _Trouble()
        self._changed = Condition()
        self._queue: deque[_Waiting] = deque()
        self._group: list[_Waiting] = []
        self._closing = False
        self._next_sync_s = 0.0
        layout = layout_of(_SUFFIXES[compression])
        self._storage = storage(self.directory)
        try:
            self._storage.lock()
            self.recovered: list[Recovered] = recover(self._storage)
            """What a crash left behind, and what became of it."""
            self._segments = Segments(self._storage, layout, rules, self._tally)
        except OSError as error:
            self._storage.release()
            raise UnavailableError(f"cannot use {self.directory}: {error}", reason="storage") from error
        except BaseException:
            self._storage.release()
            raise
        self._tally.cut_bytes = sum(each.cut_bytes for each in self.recovered)
        self._writer = Thread(target=self._run, name="k8strace-journal", daemon=True)
        self._writer.start()

    def append(self, batch: bytes) -> None:
        """
        Stores one `ExportTraceServiceRequest`: when this returns, it is written and synced. For any thread.

        Raises:
            UnavailableError: It is not stored, or not for certain. The same batch may be stored later.
            ValueError: It is larger than 1 GiB.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> with TemporaryDirectory() as directory, Journal(directory) as journal:
            ...     journal.append(b"")
            ...     journal.counts["syncs"]
            1
        """
        self.submit(batch).result()

    def submit(self, batch: bytes) -> Future[None]:
        """
        The same without waiting: the future has a result once the batch is stored, else an UnavailableError.

        What waits is held in memory, and is bounded by nothing here. A batch whose future is cancelled in time is
        not stored.

        Raises:
            UnavailableError: The journal is closed.
            ValueError: It is larger than 1 GiB.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> with TemporaryDirectory() as directory, Journal(directory) as journal:
            ...     answers = [journal.submit(b"") for _ in range(3)]
            >>> [answer.result() for answer in answers]
            [None, None, None]
        """
        waiting = _Waiting(seal(batch), Future())
        with self._changed:
            if self._closing or not self._writer.is_alive():
                raise UnavailableError(f"the journal in {self.directory} is closed", reason="draining")
            self._queue.append(waiting)
            if len(self._queue) == 1:
                self._changed.notify_all()
        return waiting.answer

    @property
    def counts(self) -> dict[str, int]:
        """
        What happened since the start: batches and bytes stored, syncs, segments begun and removed, bytes cut, errors.

        `vanished`: segments and directories that another process removed while they were in use.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> with TemporaryDirectory() as directory, Journal(directory) as journal:
            ...     list(journal.counts)
            ['batches', 'bytes', 'syncs', 'segments', 'removed', 'cut_bytes', 'vanished', 'errors']
        """
        return asdict(self._tally)

    @property
    def trouble(self) -> str:
        """What is wrong with the store, with its path; empty if it took the last batch, or would take it again."""
        return self._trouble.error and self._unwritable(self._trouble.error)

    def readings(self) -> list[Reading]:
        """What metrics report about it."""

        def count(name: str) -> Callable[[], Values]:
            return one(lambda: self.counts[name])

        told = (
            ("batches", "Batches that were stored."),
            ("bytes", "The same in bytes."),
            ("syncs", "Writes that were synced; several batches share one."),
            ("segments", "Files that were begun."),
            ("removed", "Files that were removed to keep what is stored within its bounds."),
            ("cut_bytes", "Torn ends that were cut at the start."),
            (
                "vanished",
                "Files and folders that another process removed while they were in use. Their content is lost.",
            ),
            ("errors", "Failed writes and syncs. Nothing of them was acknowledged."),
        )
        return [
            *(Reading("counter", f"k8strace_journal_{name}", help_, (), count(name)) for name, help_ in told),
            Reading(
                "histogram",
                "k8strace_journal_sync_seconds",
                "How long the disk took to write and sync.",
                (),
                one(lambda: self.syncs),
            ),
        ]

    def close(self, timeout_s: float | None = None) -> bool:
        """
        Answers everything that was submitted, closes the segment, and lets other processes in. Twice is once.

        Args:
            timeout_s: Returns after this many seconds even if the disk is stuck; None waits for it.

        Returns:
            Whether it is closed. If not, that goes on; what was answered is stored all the same.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> with TemporaryDirectory() as directory:
            ...     journal = Journal(directory)
            ...     journal.close(timeout_s=10)
            ...     journal.append(b"")
            Traceback (most recent call last):
            k8strace.receiver.intake.sink.UnavailableError: the journal in ... is closed
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout_s)
        return not self._writer.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- on the writer thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._segments.retain()
            while self._take():
                if self._group:
                    self._answer(self._group)
                    self._group = []
                else:
                    self._keep_house()
        finally:
            self._finish()

    def _keep_house(self) -> None:
        """While no batch arrives: checks that the store is unchanged, or works again after a failure."""
        trouble = self._trouble
        if time.monotonic() < trouble.again_at_s:
            return
        try:
            self._segments.watch()
            if trouble.error:
                self._segments.probe(trouble.size)
            self._segments.turn()
            self._segments.retain()
        except Exception as error:  # noqa: BLE001 - as in `_answer`
            self._fail(error, trouble.size)
        else:
            self._succeed()

    def _finish(self) -> None:
        """However the thread ends, no caller waits for it without end, and the directory is free."""
        with self._changed:
            self._closing = True
            left = [each for each in self._queue if each.answer.set_running_or_notify_cancel()]
            self._queue.clear()
        self._refuse(
            [each for each in self._group if not each.answer.done()] + left, "the writer has stopped"
        )
        self._segments.close()
        self._storage.release()

    def _take(self) -> bool:
        """Fills the group with waiting batches, as many as fit; leaves it empty if none arrives. False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing, _HOUSEKEEPING_S)
            if not self._queue:
                return not self._closing
            self._changed.wait_for(lambda: self._closing, self._next_sync_s - time.monotonic())
            group: list[_Waiting] = []
            size = 0
            while self._queue and size < GROUP_BYTES:
                group.append(self._queue.popleft())
                size += len(group[-1].batch)
        self._group = [each for each in group if each.answer.set_running_or_notify_cancel()]
        return True

    def _answer(self, group: list[_Waiting]) -> None:
        if time.monotonic() < self._trouble.again_at_s:
            return self._refuse(group, self._trouble.error)
        self._next_sync_s = time.monotonic() + self._interval_s
        try:
            took_s = self._segments.commit([each.frame for each in group])
        except Exception as error:  # noqa: BLE001 - a sender that waits without end is worse off than a refused one
            self._fail(error, sum(len(each.batch) for each in group))
            return self._refuse(group, self._trouble.error)
        self._succeed()
        for each in group:
            each.answer.set_result(None)
        self.syncs.add(round(took_s * 1e9))
        return self._tell(self._on_sync, took_s)

    def _fail(self, error: Exception, size: int) -> None:
        before = self._trouble.error
        self._tally.errors += 1
        self._trouble.note(str(error) or type(error).__name__, size)
        if self._trouble.error != before:
            self._tell(self._on_trouble, self.trouble)

    def _succeed(self) -> None:
        if self._trouble.error:
            self._trouble = _Trouble()
            self._tell(self._on_trouble, "")

    def _unwritable(self, error: str) -> str:
        return f"the journal in {self.directory} cannot be written: {error}"

    def _refuse(self, group: list[_Waiting], error: str) -> None:
        """Each gets an error of its own, since each raises it on a thread of its own."""
        for each in group:
            each.answer.set_exception(UnavailableError(self._unwritable(error), reason="storage"))

    def _tell(self, listener: Callable[[Any], object] | None, what: object) -> None:
        try:
            if listener is not None:
                listener(what)
        except Exception:  # noqa: BLE001 - a listener's trouble is not the journal's
            self._tally.errors += 1


def _check(sync_interval_ms: float, compression: str, bounds: Mapping[str, float | None]) -> None:
    """Refuses settings that make no sense."""
    if not 0 <= sync_interval_ms <= _LONGEST_INTERVAL_MS:
        raise ValueError(f"expected sync_interval_ms in 0…{_LONGEST_INTERVAL_MS}, got {sync_interval_ms}")
    if compression not in _SUFFIXES:
        raise ValueError(f"expected compression to be one of {', '.join(_SUFFIXES)}, got {compression!r}")
    for name, bound in bounds.items():
        if bound is not None and not bound > 0:
            raise ValueError(f"expected {name} above 0, got {bound}")
