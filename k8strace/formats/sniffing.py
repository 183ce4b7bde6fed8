"""Which format a content has, from its first bytes. The rule is in the room's docstring."""

from collections.abc import Callable
from typing import Final

from k8strace._core import json_is_cut
from k8strace.exceptions import FormatError
from k8strace.formats.content import MESSAGE_LIMIT_BYTES, is_zstd
from k8strace.formats.framing import CHECKSUM_BYTES, CHECKSUM_TAG, SPACE, varint

HEAD_BYTES: Final = 64 << 10
"""How much content is looked at."""

FORMATS: Final = ("proto-frames", "zstd-frames", "proto", "json", "json-lines")
"""What `format=` takes besides "auto". "+gzip" or "+zstd" behind it, as in `Source.format`, is checked."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CONTROL = bytes(set(range(0x20)) - set(SPACE))
_FIELD_1 = 0x0A
_RESOURCE_SPANS_TAGS = (0x0A, 0x12, 0x1A)  # resource, scope_spans, schema_url
_NO_END = 1 << 63


def sniff(head: bytes, name: str) -> str:
    """The one format that fits, or "empty". Raises `FormatError` if none fits, or several."""
    if len(head) < HEAD_BYTES and not head.strip(SPACE):
        return "empty"
    fitting = [base for base, fits in _RULES.items() if fits(head)]
    if len(fitting) == 1:
        return fitting[0]
    verdict = f"which fits {' and '.join(fitting)}" if fitting else "which fits no format that is known here"
    begins = f"{head[:8].hex(' ')} ({head[:16]!r})"
    advice = f"name it with format=, one of {', '.join(FORMATS)}"
    raise FormatError(f"{name} begins with {begins}, {verdict}; {advice}")


def _looks_like_json(head: bytes) -> bool:
    """Raw control characters are in nearly all protobuf, and never in JSON."""
    text = _unindented(head)
    opens = text[:1] == b"[" or (text[:1] == b"{" and text[1:].lstrip(SPACE)[:1] in (b"", b'"', b"}"))
    return opens and head.translate(None, _CONTROL) == head


def _unindented(head: bytes) -> bytes:
    return head.removeprefix(_BYTE_ORDER_MARK).lstrip(SPACE)


def _first_line_is_cut(head: bytes) -> bool:
    line, newline, _ = _unindented(head).partition(b"\n")
    return bool(newline) and json_is_cut(line)


def _looks_like_request(head: bytes, at: int = 0, end: int = _NO_END) -> bool:
    """
    Is head[at:end] a row of ResourceSpans, as far as it can be seen? A checksum may end it.

        0a  size  │ 0a|12|1a  size  …  │ 0a  size  │ …  │ fd ff ff ff 0f  CRC-32
        └ field 1 └ known field        └ field 1        └ at the very end
          within    within the            within
          the end   ResourceSpans         the end
    """
    while at < min(end, len(head)):
        if at + len(CHECKSUM_TAG) + CHECKSUM_BYTES == end and CHECKSUM_TAG.startswith(
            head[at : at + len(CHECKSUM_TAG)]
        ):
            return True
        size, start = varint(head, at + 1)
        stop = start + size
        if head[at] != _FIELD_1:
            return False
        if start > at + 1 and (stop > end or not _begins_resource_spans(head, start, stop)):
            return False
        at = stop
    return True


def _begins_resource_spans(head: bytes, at: int, end: int) -> bool:
    if at >= min(end, len(head)):
        return True
    size, start = varint(head, at + 1)
    return head[at] in _RESOURCE_SPANS_TAGS and (start == at + 1 or start + size <= end)


def _looks_like_frames(head: bytes, fits: Callable[[bytes, int, int], bool]) -> bool:
    """Does every frame in the head begin as `fits` says? Empty ones may be among them, but prove nothing."""
    at, proof = 0, False
    while at + 4 < len(head):
        size = int.from_bytes(head[at : at + 4], "big")
        at += 4
        if size and (size > MESSAGE_LIMIT_BYTES or not fits(head, at, at + size)):
            return False
        proof = proof or size > 0
        at += size
    return proof


_RULES: Final[dict[str, Callable[[bytes], bool]]] = {
    "proto-frames": lambda head: _looks_like_frames(head, _looks_like_request),
    "zstd-frames": lambda head: _looks_like_frames(head, is_zstd),
    "proto": _looks_like_request,
    "json": lambda head: _looks_like_json(head) and _first_line_is_cut(head),
    "json-lines": lambda head: _looks_like_json(head) and not _first_line_is_cut(head),
}
