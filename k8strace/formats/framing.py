"""Content → payloads, one per request; damage between them; and the rest if the content ends within one."""

import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from k8strace._core import JsonReader, Run, split_frames
from k8strace.exceptions import DecodeError
from k8strace.formats import content as contents
from k8strace.formats.causes import with_cause
from k8strace.formats.content import Content, Slice, refuse_size


class Piece(NamedTuple):
    """A part of the content: a payload, or what is wrong with it."""

    offset: int
    """Where the payload begins."""
    size: int
    """Bytes that it takes up, framing included."""
    payload: Slice
    """Protobuf, or a zstd frame of it; empty if something is wrong."""
    error: DecodeError | None = None
    line: int | None = None
    """In text: the line it begins in, from 1."""
    replaced: int = 0
    """Sequences that were not UTF-8."""


SPACE: Final = b" \t\r\n"
CHECKSUM_TAG: Final = bytes.fromhex("fd ff ff ff 0f")
"""Field 536870911, fixed32, unknown to OTLP: the CRC-32 that ends each frame of a receiver's segments."""
CHECKSUM_BYTES: Final = 4
_TAIL_BYTES = len(CHECKSUM_TAG) + CHECKSUM_BYTES
_FRAME_HEADER_BYTES = 4
_FIELD_1 = 0x0A
ZEROS_BYTES: Final = 16
"""From this many zeros on it is not a row of empty requests, but an end that the file system lost."""
_VARINT_BYTES = 10
_PAST_ANY_DATA = 1 << 62


class TornError(Exception):
    """The content ends within a message. Not raised outside `formats`."""

    def __init__(self, expected: str, got: str, offset: int, line: int | None = None) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got, self.offset, self.line = expected, got, offset, line


def _frames(content: Content) -> Iterator[Piece | Run]:
    """The core takes whole frames, many at once. Here are the others: damaged, or across two chunks."""
    while True:
        run = content.run(split_frames, contents.MESSAGE_LIMIT_BYTES)
        if run is not None:
            yield run
        elif (piece := _frame(content)) is not None:
            yield piece
        else:
            return


def _zstd_frames(content: Content) -> Iterator[Piece]:
    while (piece := _frame(content)) is not None:
        yield piece


def _frame(content: Content) -> Piece | None:
    """The next frame, or what is there instead; None at the end."""
    header = content.take(_FRAME_HEADER_BYTES)
    if not header:
        return None
    start = content.offset - len(header)
    size = int.from_bytes(header, "big")
    if not size and (zeros := _zeros(content, start)):
        return zeros
    if len(header) < _FRAME_HEADER_BYTES:
        raise TornError("a frame's length in 4 bytes", f"{len(header)}", start)
    if size > contents.MESSAGE_LIMIT_BYTES:
        refuse_size(f"a frame of {size}", start)
    payload = content.take(size)
    if len(payload) < size:
        raise TornError(f"a frame of {size} bytes", f"{len(payload)}", start)
    error = check(payload, start + _FRAME_HEADER_BYTES)
    return Piece(start + _FRAME_HEADER_BYTES, _FRAME_HEADER_BYTES + size, b"" if error else payload, error)


def _zeros(content: Content, start: int) -> Piece | None:
    """A run of zeros; the first four, at `start`, are read. It ends a multiple of four behind `start`."""
    ahead = content.peek(ZEROS_BYTES - _FRAME_HEADER_BYTES)
    if len(ahead) < ZEROS_BYTES - _FRAME_HEADER_BYTES or ahead.strip(b"\0"):
        return None
    content.take_zeros(_FRAME_HEADER_BYTES)
    size = content.offset - start
    if not content.peek(1):
        raise TornError("a frame", f"{size} zeros up to the end", start)
    return Piece(start, size, b"", DecodeError("a frame", f"{size} zeros", "", start, "zeros"))


def check(payload: Slice, offset: int) -> DecodeError | None:
    """The error of a frame whose checksum, if it has one, is wrong."""
    at = len(payload) - _TAIL_BYTES
    if at < 0 or payload[at : at + len(CHECKSUM_TAG)] != CHECKSUM_TAG:
        return None
    stored = int.from_bytes(payload[-CHECKSUM_BYTES:], "little")
    found = zlib.crc32(memoryview(payload)[:at])
    if found == stored:
        return None
    return DecodeError(f"a frame with the checksum {stored:08x}", f"{found:08x}", "", offset, "checksum")


def _values(content: Content) -> Iterator[Run]:
    reader = JsonReader(contents.MESSAGE_LIMIT_BYTES)
    for chunk in content.chunks():
        yield from _runs(reader, chunk, last=False)
    yield from _runs(reader, b"", last=True)


def _runs(reader: JsonReader, chunk: Slice, *, last: bool) -> Iterator[Run]:
    more = True
    while more:
        run = reader.read(chunk, last=last)
        yield run
        if run.torn:
            offset, _, line, fault, sample = run.torn
            error = with_cause(fault, sample)
            raise TornError(error.expected, error.got, offset, line)
        more, chunk = reader.pending, b""


def _request(content: Content) -> Iterator[Piece]:
    request = content.take_rest()
    end = _whole_fields(request)
    if end:
        error = check(request[:end], 0)
        yield Piece(0, end, b"" if error else request[:end], error)
    if end < len(request):
        zeros = not bytes(request[end:]).strip(b"\0")
        raise TornError("the rest of a ResourceSpans", "zeros up to the end" if zeros else "its end", end)


def _parquet(content: Content) -> Iterator[Piece]:
    from k8strace.formats.parquet import requests_of  # an optional library

    stored = content.take_rest()
    size = len(stored)
    for payload in requests_of(stored):
        yield Piece(0, size, payload)
        size = 0


def _nothing(content: Content) -> Iterator[Piece]:
    content.take_rest()
    return iter(())


PIECES: Final[dict[str, Callable[[Content], Iterator[Piece | Run]]]] = {
    "proto-frames": _frames,
    "zstd-frames": _zstd_frames,
    "proto": _request,
    "json": _values,
    "json-lines": _values,
    "parquet": _parquet,
    "empty": _nothing,
}
"""Format → how its payloads are read. Raises `TornError` after the last whole one."""


def _whole_fields(request: Slice) -> int:
    """Where the last whole ResourceSpans of a cut request ends. Other errors are left to the decoder."""
    at = 0
    while at < len(request):
        if request[at] != _FIELD_1:
            return at if not bytes(request[at:]).strip(b"\0") else len(request)
        size, start = varint(request, at + 1)
        if start + size > len(request):
            return at
        at = start + size
    return at


def varint(data: Slice, at: int) -> tuple[int, int]:
    """Value and end of a varint. If it does not end, in the data or in 10 bytes, both are beyond any data."""
    value = 0
    for index, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    return _PAST_ANY_DATA, at
