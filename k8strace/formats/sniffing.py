"""The format of a content, from its first bytes. The rules are in the docstring of `k8strace.formats`."""

import re
from collections.abc import Callable
from typing import Final

from k8strace._core import JsonReader
from k8strace.exceptions import FormatError
from k8strace.formats.causes import of_content
from k8strace.formats.content import MESSAGE_LIMIT_BYTES, is_zstd
from k8strace.formats.framing import CHECKSUM_BYTES, CHECKSUM_TAG, SPACE, ZEROS_BYTES, varint

HEAD_BYTES: Final = 64 << 10
"""How much content is looked at."""

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8."""

FORMATS: Final = ("proto-frames", "zstd-frames", "proto", "json", "json-lines", "parquet")
"""What `format=` takes besides "auto". "+gzip" or "+zstd" may follow, as in `Source.format`, and is checked."""

_CONTROL = bytes(set(range(0x20)) - set(SPACE) - {0x1B, 0x1E})  # colour escapes, RFC 7464 separators
_DOCUMENT = re.compile(rb'(?:\A|[\n\x1e\xbf])[ \t\r\[]*(?P<begin>\{\s*(?:["}]|\Z)|\[\s*\])')
"""A line that begins as a document does, or with a byte order mark before it."""
_FIELD_1 = 0x0A
_RESOURCE_SPANS_TAGS = (0x0A, 0x12, 0x1A)  # resource, scope_spans, schema_url
_NO_END = 1 << 63


def sniff(head: bytes, name: str) -> str:
    """The one format that fits, or "empty". Raises `FormatError` if none fits, or several."""
    if len(head) < HEAD_BYTES and not head.removeprefix(BYTE_ORDER_MARK).strip(SPACE):
        return "empty"
    shown = _without_zero_ends(head)
    fitting = [base for base, fits in _RULES.items() if shown and fits(shown)]
    if len(fitting) == 1:
        return fitting[0]
    verdict = f"which fits {' and '.join(fitting)}" if fitting else "which fits no format that is known here"
    begins = f"{head[:8].hex(' ')} ({head[:16]!r})"
    cause = "" if fitting else of_content(head)
    looks = f"it looks like {cause}; " if cause else ""
    advice = f"name it with --format, in Python format=, one of {', '.join(FORMATS)}"
    raise FormatError(f"{name} begins with {begins}, {verdict}; {looks}{'or ' if looks else ''}{advice}")


def _without_zero_ends(head: bytes) -> bytes:
    """Without long runs of zeros at both ends, which a file system or a rotation left there."""
    begin, end = len(head) - len(head.lstrip(b"\0")), len(head.rstrip(b"\0"))
    return head[begin if begin >= ZEROS_BYTES else 0 : end if len(head) - end >= ZEROS_BYTES else len(head)]


def _looks_like_json(head: bytes) -> bool:
    """Without raw control characters: nearly all protobuf has some, JSON and lines of logs never."""
    text = head.partition(bytes(ZEROS_BYTES))[0]
    return text.translate(None, _CONTROL) == text and _DOCUMENT.search(text) is not None


def _first_line_is_cut(head: bytes) -> bool:
    """Does the first document have more than one line?"""
    found = _DOCUMENT.search(head)
    line, newline, _ = head[found.start("begin") if found else 0 :].partition(b"\n")
    if not newline:
        return False
    run = JsonReader(MESSAGE_LIMIT_BYTES).read(line, last=True)
    return run.torn is not None and not len(run) and not run.damages()


def _looks_like_request(head: bytes, at: int = 0, end: int = _NO_END) -> bool:
    """
    Is head[at:end] a sequence of ResourceSpans, as far as it is visible? A checksum may end it.

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
    """Does every frame in the head begin as `fits` says? Empty frames are allowed, but one must not be empty."""
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
    "parquet": lambda head: head.startswith(b"PAR1"),
}
