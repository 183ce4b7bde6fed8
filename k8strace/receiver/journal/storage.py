"""What the journal needs of a disk, and the operating system's disk."""

from __future__ import annotations

import errno
import os
import stat
import time
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from k8strace.receiver.intake.sink import UnavailableError

__all__ = ["OsStorage", "Storage", "Stored"]

LOCK_NAME: Final = ".lock"
"""Hidden, so that `DIR/*` means the segments."""

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_POSIX: Final = ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_DIRECTORY")
"""Flags that a store needs. On a system without them the rest of the receiver still works."""
_NEVER_FOLLOW: Final = sum(
    getattr(os, flag, 0) for flag in _POSIX[:3]
)  # nor wait for the other end of a pipe


class Stored(NamedTuple):
    """One file of the directory."""

    name: str
    size: int
    """In bytes."""
    modified_s: float
    """When it was last written, in seconds since 1970."""


class Storage(Protocol):
    """
    One directory, and the steps by which bytes get to it. Each may raise OSError, and then nothing is known of it.

    A power cut takes away whatever was not synced: data by `sync`, names by `sync_dir`.
    """

    def lock(self) -> None:
        """
        Makes the directory if it is missing, and keeps other processes out. Raises UnavailableError.

        Once it is locked: the same for a new directory if the path leads to ours no more.
        """

    def check(self, handle: int | None = None, name: str = "") -> None:
        """Raises FileNotFoundError unless the path still leads here, and the name to the file of this handle."""

    def release(self) -> None:
        """Lets other processes in."""

    def list(self) -> list[Stored]:
        """The regular files, in no order."""

    def read(self, name: str) -> bytes:
        """All of one file."""

    def open_append(self, name: str, *, create: bool) -> int:
        """A handle for the four functions below. A file to be created must not be there, another must."""

    def write(self, handle: int, data: bytes) -> None:
        """Appends all of it, or raises; after an error any part may be on disk."""

    def sync(self, handle: int) -> None:
        """Syncs what was written. After an error the data is lost: do not call it again."""

    def truncate(self, handle: int, size: int) -> None:
        """Cuts the file."""

    def close(self, handle: int) -> None:
        """Closes the handle. It promises nothing about the data."""

    def rename(self, old: str, new: str) -> None:
        """Gives a file another name."""

    def remove(self, name: str) -> None:
        """Removes a file."""

    def sync_dir(self) -> None:
        """Syncs the directory: names that were created, changed and removed."""


class OsStorage:
    """
    A directory of this machine: mode 0700 if it is made here, its files 0600. Symbolic links in it are not followed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as directory:
        ...     storage = OsStorage(directory)
        ...     handle = storage.open_append("a", create=True)
        ...     storage.write(handle, b"bytes")
        ...     storage.close(handle)
        ...     [(file.name, file.size) for file in storage.list()]
        [('a', 5)]
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        if any(not hasattr(os, flag) for flag in _POSIX):
            raise UnavailableError("a store needs a POSIX system", reason="storage")
        self.path = Path(directory)
        self._lock: int | None = None

    @cached_property
    def _directory(self) -> int:
        """Every name is looked up in this directory, whatever becomes of its path."""
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def lock(self) -> None:
        """Makes the directory if it is missing or was replaced, and keeps other processes out."""
        if self._lock is not None:
            if _same(self.path, self._directory):
                return
            self.release()
        self._make_directory()
        handle = os.open(
            LOCK_NAME, os.O_RDWR | os.O_CREAT | _NEVER_FOLLOW, _FILE_MODE, dir_fd=self._directory
        )
        try:
            _lock_file(handle)
        except BlockingIOError:
            os.close(handle)
            message = f"expected {self.path} to be free, but another process writes its journal there"
            raise UnavailableError(message, reason="storage") from None
        except BaseException:
            os.close(handle)
            raise
        self._lock = handle

    def _make_directory(self) -> None:
        """Each new name of the path is safe before anything in the directory is said to be."""
        new = [path for path in (self.path, *self.path.parents) if not path.exists()]
        for path in reversed(new):
            path.mkdir(_DIRECTORY_MODE, exist_ok=True)
            _sync_directory(path.parent)

    def check(self, handle: int | None = None, name: str = "") -> None:
        """Raises FileNotFoundError unless the path still leads here, and the name to the file of this handle."""
        if not _same(self.path, self._directory):
            raise FileNotFoundError(
                errno.ENOENT, "expected the store to stay, got another or none", str(self.path)
            )
        if handle is not None and not _same(name, handle, self._directory):
            told = "expected the file that is written to stay, got another or none"
            raise FileNotFoundError(errno.ENOENT, told, str(self.path / name))

    def release(self) -> None:
        """Lets other processes in. The lock file stays: removing it would let two of them hold a lock each."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if "_directory" in self.__dict__:
            os.close(self._directory)
            del self.__dict__["_directory"]

    def list(self) -> list[Stored]:
        """The regular files, in no order."""
        found = []
        for name in os.listdir(self._directory):  # noqa: PTH208 - a path may lead elsewhere by now
            try:
                status = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
            except FileNotFoundError:  # removed meanwhile
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(Stored(name, status.st_size, status.st_mtime))
        return found

    def read(self, name: str) -> bytes:
        """All of one file, as far as it goes now."""
        handle = os.open(name, os.O_RDONLY | _NEVER_FOLLOW, dir_fd=self._directory)
        with os.fdopen(handle, "rb", buffering=0) as file:
            return file.readall()

    def open_append(self, name: str, *, create: bool) -> int:
        """A handle to append with. A file to be created must not be there, not even as a link; another must."""
        made = os.O_CREAT | os.O_EXCL if create else 0
        flags = os.O_WRONLY | os.O_APPEND | made | _NEVER_FOLLOW
        return os.open(name, flags, _FILE_MODE, dir_fd=self._directory)

    def write(self, handle: int, data: bytes) -> None:
        """Appends all of it, or raises; after an error any part may be on disk."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]

    def sync(self, handle: int) -> None:
        """What was written is safe when this returns."""
        _sync_data(handle)

    def truncate(self, handle: int, size: int) -> None:
        """Cuts the file."""
        os.ftruncate(handle, size)

    def close(self, handle: int) -> None:
        """Gives the handle back."""
        os.close(handle)

    def rename(self, old: str, new: str) -> None:
        """Gives a file another name."""
        os.rename(old, new, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def remove(self, name: str) -> None:
        """Removes a file."""
        os.unlink(name, dir_fd=self._directory)

    def sync_dir(self) -> None:
        """Syncs the directory: names that were created, changed and removed."""
        os.fsync(self._directory)


def _same(path: str | os.PathLike[str], handle: int, directory: int | None = None) -> bool:
    """Whether the path, within a directory or absolute, leads to the file that the handle has open."""
    try:
        return os.path.samestat(os.stat(path, dir_fd=directory), os.fstat(handle))
    except FileNotFoundError:
        return False


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock_file(handle: int) -> None:
    """Held until the process ends, in any way. Waits a moment for a process that is just ending."""
    import fcntl

    for _ in range(10):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return None


def _sync_data(handle: int) -> None:
    """
    To the medium: macOS keeps it in the drive's cache unless asked by a call of its own.

    The size is part of it. The time of writing need not be.
    """
    import fcntl

    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(handle)
