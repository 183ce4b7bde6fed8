"""Content → payloads, one per request, and what remains when the content breaks off within one."""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from k8strace.formats.content import MESSAGE_LIMIT_BYTES, Content, Slice, refuse_size

Piece: TypeAlias = tuple[int, int, Slice]
"""Offset of the payload in the content; bytes it takes up there, framing included; the payload."""

SPACE: Final = b" \t\r\n"
CHECKSUM_TAG: Final = bytes.fromhex("fd ff ff ff 0f")
"""Field 536870911, fixed32, unknown to OTLP: the CRC-32 that ends each frame of a receiver's segments."""
CHECKSUM_BYTES: Final = 4
_FRAME_HEADER_BYTES = 4
_VARINT_BYTES = 10
_PAST_ANY_DATA = 1 << 62


class TornError(Exception):
    """The content ends within a message. Never leaves this room."""

    def __init__(self, expected: str, got: str, offset: int) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got, self.offset = expected, got, offset


def _frames(content: Content) -> Iterator[Piece]:
    while header := content.take(_FRAME_HEADER_BYTES):
        start = content.offset - len(header)
        if len(header) < _FRAME_HEADER_BYTES:
            raise TornError("a frame's length in 4 bytes", f"{len(header)}", start)
        size = int.from_bytes(header, "big")
        if size > MESSAGE_LIMIT_BYTES:
            refuse_size(f"a frame of {size}", start)
        payload = content.take(size)
        if len(payload) < size:
            raise TornError(f"a frame of {size} bytes", f"{len(payload)}", start)
        yield start + _FRAME_HEADER_BYTES, _FRAME_HEADER_BYTES + size, payload


def _lines(content: Content) -> Iterator[Piece]:
    while line := content.take_line():
        if not is_blank(line):
            yield content.offset - len(line), len(line), line


def _document(content: Content) -> Iterator[Piece]:
    document = content.take_rest()
    if not is_blank(document):
        yield 0, len(document), document


def _request(content: Content) -> Iterator[Piece]:
    request = content.take_rest()
    end = _whole_fields(request)
    if end:
        yield 0, end, request[:end]
    if end < len(request):
        raise TornError("the rest of a ResourceSpans", "its end", end)


def _nothing(content: Content) -> Iterator[Piece]:
    content.take_rest()
    return iter(())


PIECES: Final[dict[str, Callable[[Content], Iterator[Piece]]]] = {
    "proto-frames": _frames,
    "zstd-frames": _frames,
    "proto": _request,
    "json": _document,
    "json-lines": _lines,
    "empty": _nothing,
}
"""By format, what takes the payloads out of a content. It raises `TornError` after the last whole one."""


def is_blank(text: Slice) -> bool:
    """Is it nothing but JSON's white space? Long text is copied only if it begins blank."""
    return not bytes(text[:64]).strip(SPACE) and not bytes(text).strip(SPACE)


def _whole_fields(request: Slice) -> int:
    """Where the last whole ResourceSpans of a cut request ends. Other errors are the decoder's to find."""
    at = 0
    while at < len(request):
        if request[at] != 0x0A:
            return len(request)
        size, start = varint(request, at + 1)
        if start + size > len(request):
            return at
        at = start + size
    return at


def varint(data: Slice, at: int) -> tuple[int, int]:
    """Value and end of a varint. One that does not end, in the data or in 10 bytes, is past any data."""
    value = 0
    for index, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    return _PAST_ANY_DATA, at
