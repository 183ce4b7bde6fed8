"""Any source → its requests as protobuf wire bytes, each with its place, and the damage that was survived."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from k8strace._core import inflate_all, json_is_cut, json_to_wire
from k8strace.exceptions import DecodeError, FormatError
from k8strace.formats.content import (
    MESSAGE_LIMIT_BYTES,
    Allowance,
    Content,
    Inflating,
    Input,
    Progress,
    Readable,
    Slice,
    compression,
    inputs,
    reporting,
    ticking,
)
from k8strace.formats.framing import PIECES, TornError
from k8strace.formats.sniffing import FORMATS, HEAD_BYTES, sniff
from k8strace.spans import Issue, Source

SCAN_LIMIT_BYTES: Final = 1 << 40
"""What `scan` and `messages` inflate at most. They hold a piece at a time: this bounds hours, not memory."""


class Message(NamedTuple):
    """One `ExportTraceServiceRequest` in wire bytes, whatever it was stored as."""

    wire: bytes | memoryview
    """A view of what was read if that was protobuf, else bytes of its own."""
    source: str
    format: str
    offset: int
    """Byte offset of the payload in the content."""
    size: int
    """Bytes that it takes up in the content, framing included."""


Item: TypeAlias = Message | Issue | Source


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the caller wants of every source."""

    base: str
    wrapping: str
    strict: bool


def messages(
    source: Readable | Iterable[Readable],
    *,
    format: str = "auto",  # noqa: A002
    strict: bool = False,
    progress: Progress = None,
    limit_bytes: int = SCAN_LIMIT_BYTES,
) -> Iterator[Item]:
    """
    Yields every request as wire bytes: what `read` and `scan` stand on, for those with their own decoder.

    Args:
        source: As for `read`.
        format: As for `read`.
        strict: As for `read`.
        progress: As for `read`.
        limit_bytes: As for `read`.

    Returns:
        For each source its messages, then an `Issue` if its end is torn, then a `Source` of no batches with
        the bytes that no message took up: sizes and bytes of a source's items add up to its content.

    Raises:
        FormatError: As for `read`; for an unknown name in `format` at once, for the rest while iterating.
        DecodeError: As for `read`, while iterating. What protobuf requests hold is not looked at.

    Examples:
        >>> from k8strace.formats import messages
        >>> for item in messages(b'{"resourceSpans":[]}'):
        ...     item
        Message(wire=b'', source='<bytes>', format='json-lines', offset=0, size=20)
        Source(path='<bytes>', format='json-lines', bytes=0, batches=0)
    """
    base, _, wrapping = format.partition("+")
    if base not in ("auto", *FORMATS) or wrapping not in ("", "gzip", "zstd"):
        raise FormatError(f"expected format to be one of {', '.join(('auto', *FORMATS))}, got {format!r}")
    return _read_all(inputs(source), _Asked(base, wrapping, strict), progress, Allowance(limit_bytes))


def _read_all(
    opened: Sequence[Input], asked: _Asked, progress: Progress, allowance: Allowance
) -> Iterator[Item]:
    sizes = [each.size for each in opened if each.size is not None]
    with reporting(progress, sum(sizes) if len(sizes) == len(opened) else None) as tick:
        for each in opened:
            try:
                yield from _read_one(each.name, Content(ticking(each.chunks(), tick)), asked, allowance)
            except DecodeError as error:
                raise placed(error, error.offset, each.name) from None


def _read_one(name: str, stored: Content, asked: _Asked, allowance: Allowance) -> Iterator[Item]:
    kind = compression(stored.peek(4))
    if asked.wrapping not in ("", kind):
        raise FormatError(f"expected {name} in {asked.wrapping}, got {kind or 'content without compression'}")
    inflating = Inflating(stored, kind, allowance) if kind else None
    content = Content(inflating.chunks()) if inflating else stored
    base = sniff(content.peek(HEAD_BYTES), name) if asked.base == "auto" else asked.base
    label = f"{base}+{kind}" if kind else base
    taken, torn = 0, None
    try:
        for offset, size, payload in PIECES[base](content):
            yield Message(_to_wire(base, payload, offset, allowance), name, label, offset, size)
            taken += size
    except TornError as error:
        torn = error
    if inflating and inflating.cut_at is not None:
        yield _torn_compression(name, inflating.cut_at, torn, asked)
    elif torn:
        yield _torn_message(name, torn, asked)
    yield Source(name, label, content.offset - taken, 0)


def _torn_message(name: str, torn: TornError, asked: _Asked) -> Issue:
    if asked.strict:
        raise DecodeError(torn.expected, torn.got, "", torn.offset)
    return Issue("torn_message", name, torn.offset, str(torn))


def _torn_compression(name: str, cut_at: int, torn: TornError | None, asked: _Asked) -> Issue:
    if asked.strict:
        raise DecodeError("the rest of the compressed data", "its end", "", cut_at)
    inside = f"; inside, at byte {torn.offset}: {torn}" if torn else ""
    message = f"expected the rest of the compressed data, got its end{inside}"
    return Issue("torn_compression", name, cut_at, message)


def _to_wire(base: str, payload: Slice, offset: int, allowance: Allowance) -> Slice:
    """
    The payload as protobuf.

    An error within a message that was compressed by itself is placed at its start.
    """
    try:
        if base == "zstd-frames":
            return _inflated_to_wire(payload, allowance)
        return json_to_wire(payload) if base in ("json", "json-lines") else payload
    except DecodeError as error:
        # A line that a newline ends was written whole, so it is malformed and not torn.
        if base == "json" or (base == "json-lines" and payload[-1:] != b"\n"):
            _check_torn(payload, offset)
        raise placed(error, offset + (0 if base == "zstd-frames" else error.offset)) from None


def _inflated_to_wire(payload: Slice, allowance: Allowance) -> Slice:
    inner = inflate_all("zstd", payload, min(MESSAGE_LIMIT_BYTES, allowance.left))
    allowance.left -= len(inner)
    return json_to_wire(inner) if inner[:1] == b"{" else inner


def _check_torn(document: Slice, offset: int) -> None:
    if json_is_cut(document):
        raise TornError("the rest of the JSON document", "its end", offset)


def placed(error: DecodeError, offset: int, source: str = "") -> DecodeError:
    """The same error at another offset, with the source's name at the head of its path."""
    path = ": ".join(filter(None, (source, error.path)))
    return DecodeError(error.expected, error.got, path, offset)
