"""
Batches → the bytes of a segment, and back; how far a segment can be trusted.

A plain segment (`.otlp`) is frames, one after the other:

    │ size, u32 big-endian │ ExportTraceServiceRequest as it came │ fd ff ff ff 0f │ CRC-32 │
                           └─────────────────────── size bytes ─────────────────────────┘

The last 9 bytes are part of the message in the stored file: the unknown field 536870911 (fixed32, the highest number
there is) holds the CRC-32 (zlib's) of the request as it came. Protobuf readers skip unknown fields, so whatever reads
length-delimited OTLP reads the file.

A compressed segment (`.otlp.zst`) is groups, one for each sync:

    │ 50 2a 4d 18 │ 8, u32 little-endian │ size │ CRC-32 │ one zstd frame with a checksum of its own │
    └──── a skippable frame: zstd readers pass over it ──┘└──────────── size bytes ────────────────┘

What is in the zstd frame is plain frames, so what `zstd -d` makes of the file is a plain segment.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from k8strace.exceptions import extra
from k8strace.formats.content import MESSAGE_LIMIT_BYTES
from k8strace.formats.framing import CHECKSUM_BYTES, CHECKSUM_TAG

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["DamagedError", "Layout", "Piece", "Plain", "Sealed", "Zstd", "layout_of", "seal", "walk"]

GROUP_MARK: Final = bytes.fromhex("50 2a 4d 18 08 00 00 00")

_SIZE_BYTES = 4
_TAIL_BYTES: Final = len(CHECKSUM_TAG) + CHECKSUM_BYTES
_GROUP_HEADER_BYTES: Final = len(GROUP_MARK) + _SIZE_BYTES + CHECKSUM_BYTES
_GROUP_LIMIT_BYTES: Final = 2 * MESSAGE_LIMIT_BYTES
_SEARCH = 4
"""How often the rest of a damaged segment is scanned at most, whatever a sender wrote into it."""

Sealed = tuple[bytes, bytes, bytes]
"""One frame: size, request, trailer with checksum. Not joined, since a group is joined as a whole."""


class DamagedError(Exception):
    """No frame here. Never leaves the journal."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, str(got)


class Piece(NamedTuple):
    """A part of a segment: one frame, one group, or bytes that are neither."""

    start: int
    end: int
    batches: tuple[bytes, ...]
    """Copies; none if they were not asked for."""
    damage: DamagedError | None
    """What was expected, and what came; None if it is whole."""


class Layout(Protocol):
    """How batches lie in a segment."""

    suffix: str
    """End of the file's name."""

    def encode(self, frames: Sequence[Sealed]) -> bytes:
        """One group of frames."""

    def claim(self, content: bytes, at: int) -> int:
        """Where the piece at this place says that it ends. Raises DamagedError if nothing begins here."""

    def check(self, content: bytes, at: int, end: int) -> None:
        """Raises DamagedError unless the checksum of the piece fits. Copies nothing."""

    def open(self, content: bytes, at: int, end: int) -> tuple[bytes, ...]:
        """The batches of a piece whose checksum fits. Raises DamagedError if they are none."""

    def candidates(self, content: bytes, at: int) -> Iterator[int]:
        """Places behind the damaged piece at `at` where another may begin, in order."""


def seal(batch: bytes) -> Sealed:
    """
    One batch as a frame.

    Raises:
        ValueError: It is larger than any reader takes.

    Examples:
        >>> b"".join(seal(b"")).hex(" ")
        '00 00 00 09 fd ff ff ff 0f 00 00 00 00'
    """
    size = len(batch) + _TAIL_BYTES
    if size > MESSAGE_LIMIT_BYTES:
        raise ValueError(f"expected a batch of less than {MESSAGE_LIMIT_BYTES} bytes, got {len(batch)}")
    return (
        size.to_bytes(_SIZE_BYTES, "big"),
        batch,
        CHECKSUM_TAG + zlib.crc32(batch).to_bytes(CHECKSUM_BYTES, "little"),
    )


def walk(content: bytes, layout: Layout, *, batches: bool = True) -> Iterator[Piece]:
    """
    All of a segment, piece by piece.

        │ whole │ whole │ ~ damage ~ │ whole │ whole │ ~ damage ~ ┤ end
                          └ not at the tail: rot       └ at the tail: torn

    Without batches nothing is copied or inflated.
    Damage ends where the next whole piece begins, else at the end. Where hostile content makes that too dear to
    find out, an empty piece follows the damage: what cannot be told from rot is not taken for a torn tail.

    Examples:
        >>> whole = b"".join(seal(b"one")) + b"".join(seal(b"two"))
        >>> [piece.batches for piece in walk(whole, Plain())]
        [(b'one',), (b'two',)]
        >>> [str(piece.damage) for piece in walk(whole[:-1], Plain())]
        ['None', 'expected a frame of 12 bytes, got 11']
    """
    at = 0
    while at < len(content):
        try:
            end = layout.claim(content, at)
            layout.check(content, at, end)
            yield Piece(at, end, layout.open(content, at, end) if batches else (), None)
        except DamagedError as error:
            found = _next_whole(content, at, layout)
            end = len(content) if found is None else found
            yield Piece(at, end, (), error)
            if found is None:
                yield Piece(end, end, (), None)
        at = end


def _next_whole(content: bytes, at: int, layout: Layout) -> int | None:
    """Where the next whole piece after `at` begins, else the end; None if the search costs too much."""
    allowance = _SEARCH * (len(content) - at)
    for place in layout.candidates(content, at):
        try:
            end = layout.claim(content, place)
            allowance -= end - place
            if allowance < 0:
                return None
            layout.check(content, place, end)
        except DamagedError:
            continue
        return place
    return len(content)


def _claimed(content: bytes, at: int, size: int, what: str) -> int:
    if at + size > len(content):
        raise DamagedError(f"a {what} of {size} bytes", max(0, len(content) - at))
    return at + size


def _places(content: bytes, mark: bytes, at: int) -> Iterator[int]:
    while (at := content.find(mark, at)) >= 0:
        yield at
        at += 1


class Plain:
    """Frames as they are."""

    suffix = ".otlp"

    def encode(self, frames: Sequence[Sealed]) -> bytes:
        """The frames in a row."""
        return b"".join(part for frame in frames for part in frame)

    def claim(self, content: bytes, at: int) -> int:
        """Where the frame says that it ends; its trailer must be there."""
        start = at + _SIZE_BYTES
        if start > len(content):
            raise DamagedError(f"a frame's size in {_SIZE_BYTES} bytes", len(content) - at)
        size = int.from_bytes(content[at:start], "big")
        if size < _TAIL_BYTES:
            raise DamagedError(f"a frame of {_TAIL_BYTES} bytes or more", size)
        end = _claimed(content, start, size, "frame")
        if not content.startswith(CHECKSUM_TAG, end - _TAIL_BYTES):
            raise DamagedError(f"a checksum at byte {end - _TAIL_BYTES}", "something else")
        return end

    def check(self, content: bytes, at: int, end: int) -> None:
        """The checksum is of the batch."""
        batch = memoryview(content)[at + _SIZE_BYTES : end - _TAIL_BYTES]
        _check(batch, content[end - CHECKSUM_BYTES : end])

    def open(self, content: bytes, at: int, end: int) -> tuple[bytes, ...]:
        """The batch of a frame."""
        return (content[at + _SIZE_BYTES : end - _TAIL_BYTES],)

    def candidates(self, content: bytes, at: int) -> Iterator[int]:
        """A frame begins where a trailer ends, or where a frame says that it ends, if its trailer is what is wrong."""
        ends = (place + _TAIL_BYTES for place in _places(content, CHECKSUM_TAG, at + 1))
        said = at + _SIZE_BYTES + int.from_bytes(content[at : at + _SIZE_BYTES], "big")
        return merge((said,), ends)


class Zstd:
    """Groups of frames, each compressed by itself. For one thread at a time."""

    suffix = ".otlp.zst"

    def __init__(self) -> None:
        self._zstd = _zstandard()
        self._compressor = self._zstd.ZstdCompressor(write_checksum=True, write_content_size=True)
        self._plain = Plain()

    def encode(self, frames: Sequence[Sealed]) -> bytes:
        """One group: how long it is and its checksum for zstd readers to skip, then one zstd frame."""
        packed: bytes = self._compressor.compress(self._plain.encode(frames))
        size, crc = len(packed), zlib.crc32(packed)
        return b"".join((GROUP_MARK, *(word.to_bytes(4, "little") for word in (size, crc)), packed))

    def claim(self, content: bytes, at: int) -> int:
        """Where the group says that it ends."""
        start = at + _GROUP_HEADER_BYTES
        if not content.startswith(GROUP_MARK, at):
            raise DamagedError(f"a group's header in {_GROUP_HEADER_BYTES} bytes", "something else")
        size_at = at + len(GROUP_MARK)
        size = int.from_bytes(content[size_at : size_at + _SIZE_BYTES], "little")
        if not size:  # zeros, where a power cut left a header half written: they are the checksum of nothing
            raise DamagedError("a group of 1 byte or more", 0)
        return _claimed(content, start, size, "group")

    def check(self, content: bytes, at: int, end: int) -> None:
        """The checksum is of the zstd frame."""
        start = at + _GROUP_HEADER_BYTES
        _check(memoryview(content)[start:end], content[start - CHECKSUM_BYTES : start])

    def open(self, content: bytes, at: int, end: int) -> tuple[bytes, ...]:
        """The batches of a group."""
        pieces = list(walk(self._inflate(content[at + _GROUP_HEADER_BYTES : end]), self._plain))
        damage = next((piece.damage for piece in pieces if piece.damage), None)
        if damage:
            raise DamagedError(f"{damage.expected} within a group", damage.got)
        return tuple(batch for piece in pieces for batch in piece.batches)

    def _inflate(self, packed: bytes) -> bytes:
        """Nothing is allocated by a size that may be forged."""
        try:
            size = self._zstd.get_frame_parameters(packed).content_size
            if size > _GROUP_LIMIT_BYTES:
                raise DamagedError(f"a group of at most {_GROUP_LIMIT_BYTES} bytes", size)
            inflated: bytes = self._zstd.ZstdDecompressor().decompress(packed)
        except self._zstd.ZstdError as error:
            raise DamagedError("a zstd frame", error) from None
        return inflated

    def candidates(self, content: bytes, at: int) -> Iterator[int]:
        """A group begins with its mark."""
        return _places(content, GROUP_MARK, at + 1)


def layout_of(suffix: str) -> Layout:
    """The layout of files whose names end so. Raises KeyError, MissingExtraError."""
    layouts: dict[str, Callable[[], Layout]] = {Plain.suffix: Plain, Zstd.suffix: Zstd}
    return layouts[suffix]()


def _check(data: memoryview, crc: bytes) -> None:
    found, stored = zlib.crc32(data), int.from_bytes(crc, "little")
    if found != stored:
        raise DamagedError(f"the checksum {stored:08x}", f"{found:08x}")


def _zstandard() -> ModuleType:
    with extra("serve", "a compressed segment"):
        import zstandard
    return zstandard
