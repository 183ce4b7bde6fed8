"""
A disk that keeps only what was synced, and fails when it is told to.

It holds what a program sees now, and what the platter has. Between the two lie the changes since the last sync;
a power cut keeps any of them, none, or half of one.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from k8strace.receiver.journal.storage import Stored

SECTOR_BYTES = 64
"""Smaller than a real one, so that small tests tear in many places."""


@dataclass
class Inode:
    seen: bytearray = field(default_factory=bytearray)
    """What a program reads."""
    kept: bytes = b""
    """What a power cut leaves for certain."""
    shrunk: bool = False
    """It was cut since the last sync."""
    unsyncable: bool = False
    """A sync failed. Whoever asks again hears yes, as on Linux, and nothing is kept."""
    modified_s: float = 0.0


@dataclass
class Faults:
    """Which steps fail, by number or by name."""

    cut_at: int | None = None
    """The power goes within this step: nothing succeeds any more."""
    failing: Callable[[int, str], int | None] = lambda *_: None
    """(Step, name of the operation) → errno, None for success."""


class LyingStorage:
    """`Storage` in memory. Give the object itself as `storage=lambda _: lying`."""

    def __init__(self, seed: int = 0, faults: Faults | None = None, disk: dict[str, Inode] | None = None):
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.seen = dict(disk or {})
        self.kept = dict(disk or {})
        """The names that a power cut leaves for certain."""
        self.changes: list[Callable[[dict[str, Inode]], object]] = []
        """To the names, since they were synced; each happens whole or not at all."""
        self.removed: list[bytes] = []
        """Content of removed files."""
        self.handles: dict[int, Inode] = {}
        self.steps: list[str] = []
        self.now_s = 1_700_000_000.0
        self.dying = False
        self.left: dict[str, Inode] | None = None
        """The disk after the power cut."""

    # ---- failing --------------------------------------------------------------------------------------

    def _step(self, name: str) -> None:
        at = len(self.steps)
        self.steps.append(name)
        if self.left is not None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if at == self.faults.cut_at:
            self.dying = True
        error = self.faults.failing(at, name)
        if error is not None:
            raise OSError(error, os.strerror(error))

    def cut_power(self) -> dict[str, Inode]:
        """The disk as the next start finds it."""
        if self.left is None:
            self.left = self._survivors()
        return self.left

    def _die(self) -> None:
        """The power goes within a step, after it had its effect on what programs see."""
        if self.dying:
            self.cut_power()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _survivors(self) -> dict[str, Inode]:
        """The names that were synced, some changes to them since, and of each file what is left."""
        names = dict(self.kept)
        all_or_some = self.random.choice((0.0, 0.5, 1.0))
        for change in self.changes:
            if self.random.random() < all_or_some:
                change(names)
        return {name: self._after_cut(inode) for name, inode in names.items()}

    def _after_cut(self, inode: Inode) -> Inode:
        content = self._torn(inode)
        return Inode(bytearray(content), content, modified_s=inode.modified_s)

    def _torn(self, inode: Inode) -> bytes:
        """What was synced, and of the rest a beginning, with its last sector, or any, garbled or empty."""
        if inode.shrunk and self.random.random() < 0.5:
            return inode.kept
        safe = min(len(inode.kept), len(inode.seen))
        rest = bytearray(inode.seen[safe:])
        rest = rest[: self.random.choice((0, len(rest), self.random.randint(0, len(rest))))]
        harm = self.random.choice(("none", "garbled", "zeros", "hole"))
        sectors = range(0, len(rest), SECTOR_BYTES)
        if sectors and harm != "none":
            at = self.random.choice(sectors) if harm == "hole" else sectors[-1]
            size = len(rest[at : at + SECTOR_BYTES])
            rest[at : at + size] = self.random.randbytes(size) if harm == "garbled" else bytes(size)
        if len(inode.seen) > safe and self.random.random() < 0.2:
            rest += bytes(self.random.randint(1, 2 * SECTOR_BYTES))  # a size that came before its data
        return bytes(inode.seen[:safe]) + bytes(rest)

    def acts(self, name: str) -> list[str]:
        """The steps of one kind so far."""
        return [step for step in self.steps if step == name]

    def newest(self) -> str:
        """The file that was made last."""
        return list(self.seen)[-1]

    # ---- the protocol ---------------------------------------------------------------------------------

    def lock(self):
        pass

    def check(self, handle=None, name=""):
        pass

    def release(self):
        pass

    def list(self):
        self._step("list")
        self._die()
        return [Stored(name, len(inode.seen), inode.modified_s) for name, inode in self.seen.items()]

    def read(self, name):
        self._step("read")
        self._die()
        if name not in self.seen:
            raise FileNotFoundError(errno.ENOENT, name)
        return bytes(self.seen[name].seen)

    def open_append(self, name, *, create):
        self._step("open")
        if create == (name in self.seen):
            raise OSError(errno.EEXIST if create else errno.ENOENT, name)
        if create:
            made = Inode(modified_s=self.now_s)
            self._change(lambda names: names.update({name: made}))
        self._die()
        handle = max(self.handles, default=2) + 1
        self.handles[handle] = self.seen[name]
        return handle

    def write(self, handle, data):
        inode = self.handles[handle]
        try:
            self._step("write")
        except OSError:
            inode.seen += data[: self.random.randint(0, len(data))]  # as much as fitted
            raise
        inode.seen += data
        inode.modified_s = self.now_s
        self._die()

    def sync(self, handle):
        inode = self.handles[handle]
        try:
            self._step("sync")
        except OSError:
            inode.unsyncable = True
            raise
        self._die()
        if not inode.unsyncable:
            inode.kept, inode.shrunk = bytes(inode.seen), False

    def truncate(self, handle, size):
        self._step("truncate")
        inode = self.handles[handle]
        assert size <= len(inode.seen)
        del inode.seen[size:]
        inode.shrunk = True
        self._die()

    def close(self, handle):
        self._step("close")
        self.handles.pop(handle)
        self._die()

    def rename(self, old, new):
        self._step("rename")
        self._change(lambda names: names.update({new: names.pop(old)} if old in names else {}))
        self._die()

    def remove(self, name):
        self._step("remove")
        if name not in self.seen:
            raise FileNotFoundError(errno.ENOENT, name)
        self.removed.append(bytes(self.seen[name].seen))
        self._change(lambda names: names.pop(name, None))
        self._die()

    def sync_dir(self):
        self._step("sync_dir")
        self._die()
        self.kept, self.changes = dict(self.seen), []

    def _change(self, change) -> None:
        change(self.seen)
        self.changes.append(change)
