"""Where bytes come from: paths, patterns, streams and buffers; inflated, and read in slices."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import IO, Any, Final, Literal, NoReturn, TypeAlias

from k8strace._core import Inflater, Run
from k8strace.exceptions import DecodeError, expect, extra

MESSAGE_LIMIT_BYTES: Final = 1 << 30
"""Size of a message, stored and inflated, at most. Protobuf's own limit is 2 GiB, that of receivers 64 MiB or less."""

CHUNK_BYTES: Final = 1 << 20
"""Bytes per read from a file. One message in each straddles two reads and is copied. Later stages hold several times
this much memory; larger reads cost more of it and save no time."""

BytesLike: TypeAlias = bytes | bytearray | memoryview
Readable: TypeAlias = str | os.PathLike[str] | BytesLike | IO[bytes]
Progress: TypeAlias = Callable[[int, int | None], object] | bool | None
Slice: TypeAlias = bytes | memoryview

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_ZSTD = tuple(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
_GZIP_MAGIC = b"\x1f\x8b"
_ROTATED = re.compile(r"(?P<name>.+)\.(?P<number>\d{1,9})(\.gz|\.zst)?")


# ---- opening --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Input:
    """A source before it is read: its name, its stored size if known, and how to get its bytes."""

    name: str
    size: int | None
    chunks: Callable[[], Iterator[bytes]]
    listed: bool = False
    """It was found in a directory, not named itself."""


def inputs(source: Readable | Iterable[Readable]) -> list[Input]:
    """All sources, with patterns, directories and iterables expanded. Nothing is opened yet."""
    if isinstance(source, str):
        return [each for name in matching(source) for each in _files(Path(name))]
    if isinstance(source, os.PathLike):
        return _files(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return [Input("<bytes>", memoryview(source).nbytes, lambda: _buffer_chunks(source))]
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return [Input(name if isinstance(name, str) else "<stream>", None, lambda: _stream_chunks(source))]
    expect(source, Iterable, "a path, a pattern, bytes, a file, or several of them")
    return [each for one in source for each in inputs(one)]


def matching(name: str) -> list[str]:
    """The files of a pattern, sorted. A name that exists is not a pattern, whatever characters it has."""
    if not has_magic(name) or Path(name).exists():
        return [name]
    found = sorted(glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        raise FileNotFoundError(f"expected files that match {name!r}, got none")
    return found


def _files(path: Path) -> list[Input]:
    """The file, or those of a directory: not hidden ones, and not what is in directories below it."""
    if not path.is_dir():
        return [_file(path)]
    found = [each for each in path.iterdir() if each.is_file() and not each.name.startswith(".")]
    if not found:
        raise FileNotFoundError(f"expected files in the directory {str(path)!r}, got none")
    return [_file(each, listed=True) for each in sorted(found, key=lambda each: rotation(each.name))]


def rotation(name: str) -> tuple[str, int, str]:
    """
    Where a file stands among those that were rotated: older ones first.

    Examples:
        >>> sorted(["t.json", "t.json.1", "t.json.10.gz", "t.json.2.gz"], key=rotation)
        ['t.json.10.gz', 't.json.2.gz', 't.json.1', 't.json']
        >>> sorted(["t.json", "t-2026-11-26T10-00-00.000.json"], key=rotation)
        ['t-2026-11-26T10-00-00.000.json', 't.json']
    """
    numbered = _ROTATED.fullmatch(name)
    return (numbered["name"], -int(numbered["number"]), name) if numbered else (name, 0, name)


def _file(path: Path, *, listed: bool = False) -> Input:
    status = path.stat()
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    return Input(str(path), size, lambda: _file_chunks(path), listed)


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        yield from _stream_chunks(file)


def _stream_chunks(file: Any) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        if not isinstance(chunk, bytes):
            raise TypeError(f"expected a file in binary mode, got one that reads {type(chunk).__name__}")
        yield chunk


def _buffer_chunks(data: BytesLike) -> Iterator[bytes]:
    """Bytes are passed on as they are. What can change under us is copied."""
    if isinstance(data, bytes):
        return iter([data])
    view = memoryview(data).cast("B")
    return (bytes(view[at : at + CHUNK_BYTES]) for at in range(0, len(view), CHUNK_BYTES))


# ---- handing out ----------------------------------------------------------------------------------


class Content:
    """The bytes of one source, forwards only. A slice of one chunk is a view, one across chunks a copy."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0
        self.offset = 0
        """Bytes taken so far."""

    def peek(self, size: int) -> bytes:
        """The next `size` bytes without taking them; fewer only at the end."""
        while len(self._chunk) - self._at < size and (more := next(self._chunks, None)) is not None:
            self._chunk, self._at = self._chunk[self._at :] + more, 0
        return self._chunk[self._at : self._at + size]

    def take(self, size: int) -> Slice:
        """The next `size` bytes; fewer only at the end. Memory is for what is there, not what was asked."""
        pieces: list[Slice] = []
        while size and self._refill():
            pieces.append(self._advance(min(len(self._chunk), self._at + size)))
            size -= len(pieces[-1])
        return _joined(pieces)

    def run(self, split: Callable[[bytes, int, int, int], tuple[Run, int]], limit: int) -> Run | None:
        """What `split` takes of the chunk that is being read, messages up to a limit; None if that is nothing."""
        if not self._refill():
            return None
        taken, end = split(self._chunk, self._at, self.offset - self._at, limit)
        if end == self._at:
            return None
        self._advance(end)
        return taken

    def take_zeros(self, step: int) -> None:
        """Takes zero bytes, `step` at a time, and less at the end, as long as there is nothing else."""
        while (ahead := self.peek(CHUNK_BYTES)) and not ahead[:step].strip(b"\0"):
            zeros = len(ahead) - len(ahead.lstrip(b"\0"))
            self._advance(self._at + (zeros if zeros == len(ahead) else zeros - zeros % step))

    def take_rest(self) -> Slice:
        """Everything to the end."""
        pieces: list[Slice] = []
        while self._refill():
            pieces.append(self._advance(len(self._chunk)))
            self._check_size(pieces)
        return _joined(pieces)

    def chunks(self) -> Iterator[Slice]:
        """The rest in pieces of at most `CHUNK_BYTES`."""
        while self._refill():
            yield self._advance(min(len(self._chunk), self._at + CHUNK_BYTES))

    def _refill(self) -> bool:
        while self._at == len(self._chunk):
            more = next(self._chunks, None)
            if more is None:
                return False
            self._chunk, self._at = more, 0
        return True

    def _advance(self, end: int) -> memoryview:
        piece = memoryview(self._chunk)[self._at : end]
        self._at = end
        self.offset += len(piece)
        return piece

    def _check_size(self, pieces: Sequence[Slice]) -> None:
        size = sum(map(len, pieces))
        if size > MESSAGE_LIMIT_BYTES:
            refuse_size("more", self.offset - size)


def _joined(pieces: Sequence[Slice]) -> Slice:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def refuse_size(got: str, offset: int) -> NoReturn:
    """Raises the `DecodeError` of a message above the limit."""
    raise DecodeError(f"a message of at most {MESSAGE_LIMIT_BYTES} bytes", got, "", offset, "limit")


# ---- inflating ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Allowance:
    """How many bytes may still come out of compressed sources."""

    left: int


def compression(magic: bytes) -> Literal["", "gzip", "zstd"]:
    """Which stream begins with these four bytes."""
    if magic == _ZSTD_MAGIC or magic in _SKIPPABLE_ZSTD:
        return "zstd"
    return "gzip" if magic.startswith(_GZIP_MAGIC) else ""


def is_zstd(head: bytes, at: int, end: int) -> bool:
    """Can head[at:end] be a zstd frame, as far as it can be seen?"""
    return end - at > len(_ZSTD_MAGIC) and _ZSTD_MAGIC.startswith(head[at : at + 4])


class Inflating:
    """The content of a compressed source, and whether its end is missing."""

    def __init__(self, stored: Content, kind: str, allowance: Allowance) -> None:
        self._stored = stored
        self._allowance = allowance
        self._inflater = Inflater(kind, allowance.left)
        self.cut_at: int | None = None
        """Where the stored bytes end, if they end too early."""
        self.fault: DecodeError | None = None
        """Why the content ends, if the stored bytes are corrupt."""

    def chunks(self) -> Iterator[bytes]:
        """The content, some 1 MiB at a time at most, whatever the sender made of them."""
        try:
            yield from self._whole()
        except DecodeError as error:
            if error.kind != "compression":
                raise
            self.fault = error

    def _whole(self) -> Iterator[bytes]:
        for chunk in self._stored.chunks():
            yield self._inflated(chunk)
            while self._inflater.pending:
                yield self._inflated(b"")
        if not self._inflater.finish():
            self.cut_at = self._stored.offset
        elif self._inflater.zeros_at is not None:
            self.cut_at = self._inflater.zeros_at

    def _inflated(self, chunk: Slice) -> bytes:
        out = self._inflater.feed(chunk)
        self._allowance.left -= len(out)
        return out


# ---- progress -------------------------------------------------------------------------------------


def ticking(chunks: Iterator[bytes], tick: Callable[[int], object]) -> Iterator[bytes]:
    """The same chunks; `tick` hears the size of each."""
    for chunk in chunks:
        tick(len(chunk))
        yield chunk


@contextmanager
def reporting(progress: Progress, total: int | None) -> Iterator[Callable[[int], object]]:
    """A function to call with the size of every chunk."""
    if progress is True:
        with _bar(total) as bar:
            yield bar.update
    elif callable(progress):
        yield _Counted(progress, total).add
    else:
        yield lambda _: None


@dataclass(slots=True)
class _Counted:
    tell: Callable[[int, int | None], object]
    total: int | None
    done: int = 0

    def add(self, size: int) -> None:
        self.done += size
        self.tell(self.done, self.total)


def _bar(total: int | None) -> Any:
    with extra("progress", "progress=True, instead of a function (done, total),", "tqdm"):
        from tqdm.auto import tqdm
    return tqdm(total=total, unit="B", unit_scale=True, desc="reading")
