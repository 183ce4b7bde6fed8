"""Any source → its requests as protobuf wire bytes, each with its place, and the damage between them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from k8strace._core import Run, inflate_all, json_to_wire
from k8strace.exceptions import DecodeError, FormatError, expect
from k8strace.formats.causes import with_cause
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
from k8strace.formats.damage import Account, Damage
from k8strace.formats.framing import PIECES, Piece, TornError
from k8strace.formats.sniffing import FORMATS, HEAD_BYTES, sniff
from k8strace.spans import Issue, Source

SCAN_LIMIT_BYTES: Final = 1 << 40
"""Bytes that `scan` and `messages` inflate at most. They hold one piece at a time: this bounds time, not memory."""


class Message(NamedTuple):
    """One `ExportTraceServiceRequest` as wire bytes, whatever its format was."""

    wire: bytes | memoryview
    """A view of the input if that is protobuf, else new bytes."""
    source: str
    format: str
    offset: int
    """Byte offset of the payload in the content."""
    size: int
    """Its bytes in the content, framing included."""
    line: int | None = None
    """In text: the line that it begins in, from 1."""
    replaced: int = 0
    """Sequences that were not UTF-8, and have been replaced."""


class Several(NamedTuple):
    """Messages and damages of one source, as the core reads them together."""

    run: Run
    source: str
    format: str

    def damages(self) -> Iterator[Damage]:
        """The first ones."""
        for offset, size, line, error, sample in self.run.damages():
            yield Damage(with_cause(error, sample), self.source, offset, size, line or None)

    def parts(self) -> list[Message | Damage]:
        """Messages and the first damages one by one, in their order."""
        data = self.run.data
        view: Slice = data if self.format.startswith("json") else memoryview(data)
        found: list[Message | Damage] = [*self.damages()]
        for start, end, offset, size, line, replaced in self.run.messages():
            wire = view[start:end]
            found.append(Message(wire, self.source, self.format, offset, size, line or None, replaced))
        return sorted(found, key=lambda part: part.offset)


Item: TypeAlias = Message | Issue | Source
Part: TypeAlias = Message | Several | Damage | Issue | Source
"""The parts of a source, with each damage as it was found."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Options of the caller, the same for every source."""

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
    Yields every request as wire bytes, for those with their own decoder. `read` and `scan` are built on it.

    Args:
        source: As for `read`.
        format: As for `read`.
        strict: As for `read`.
        progress: As for `read`.
        limit_bytes: As for `read`.

    Returns:
        For each source its messages, an `Issue` for each damage, and last a `Source` without batches that has the
        bytes in no message: together with the sizes of the messages they sum to the content.

    Raises:
        FormatError: As for `read`; for an unknown name in `format` at once, for the rest while iterating.
        DecodeError: As for `read`, while iterating. Protobuf requests are not decoded.

    Examples:
        >>> from k8strace.formats import messages
        >>> for item in messages(b'{"resourceSpans":[]}'):
        ...     item
        Message(wire=b'', source='<bytes>', format='json-lines', offset=0, size=20, line=1, replaced=0)
        Source(path='<bytes>', format='json-lines', bytes=0, batches=0)
    """
    return _kept(
        parts(source, format=format, strict=strict, progress=progress, limit_bytes=limit_bytes), strict
    )


def _kept(found: Iterator[Part], strict: bool) -> Iterator[Item]:  # noqa: FBT001
    account = None
    for part in found:
        account = account or Account(
            part.source if not isinstance(part, Source) else part.path, strict=strict
        )
        if isinstance(part, Several):
            for one in part.parts():
                yield from _told(one, account)
            account.count_more(part.run.more())
            account.micros += part.run.micros
        else:
            yield from _told(part, account)
        if isinstance(part, Source):
            account = None


def _told(part: Message | Damage | Issue | Source, account: Account) -> Iterator[Item]:
    if isinstance(part, Damage):
        yield from account.set_aside(part)
        return
    if isinstance(part, Message):
        account.sound += 1
        account.replaced += part.replaced
    elif isinstance(part, Source):
        yield from account.close()
    yield part


def parts(
    source: Readable | Iterable[Readable],
    *,
    format: str,  # noqa: A002
    strict: bool,
    progress: Progress,
    limit_bytes: int,
) -> Iterator[Part]:
    """What `messages` yields, with damage as it was found. Raises at once what `messages` raises at once."""
    base, wrapping = format_of(format)
    return _read_all(inputs(source), _Asked(base, wrapping, strict), progress, Allowance(limit_bytes))


def format_of(text: str) -> tuple[str, str]:
    """
    A format by name, and the compression that is expected around it.

    Raises:
        FormatError: There is no such format.
        TypeError: It is no text.

    Examples:
        >>> format_of("proto-frames+zstd")
        ('proto-frames', 'zstd')
    """
    expect(text, str, "a format by name")
    base, _, wrapping = text.partition("+")
    if base not in ("auto", *FORMATS) or wrapping not in ("", "gzip", "zstd"):
        raise FormatError(f"expected format to be one of {', '.join(('auto', *FORMATS))}, got {text!r}")
    return base, wrapping


def _read_all(
    opened: Sequence[Input], asked: _Asked, progress: Progress, allowance: Allowance
) -> Iterator[Part]:
    sizes = [each.size for each in opened if each.size is not None]
    with reporting(progress, sum(sizes) if len(sizes) == len(opened) else None) as tick:
        for each in opened:
            try:
                yield from _read_one(each.name, Content(ticking(each.chunks(), tick)), asked, allowance)
            except DecodeError as error:
                raise placed(error, error.offset, each.name) from None
            except FormatError as error:
                if asked.strict or not each.listed:
                    raise
                yield Issue("unreadable", each.name, 0, f"{error}; passed over", lost_bytes=each.size or 0)
                yield Source(each.name, "unknown", 0, 0)


def _read_one(name: str, stored: Content, asked: _Asked, allowance: Allowance) -> Iterator[Part]:
    kind = compression(stored.peek(4))
    if asked.wrapping not in ("", kind):
        raise FormatError(f"expected {name} in {asked.wrapping}, got {kind or 'content without compression'}")
    inflating = Inflating(stored, kind, allowance) if kind else None
    content = Content(inflating.chunks()) if inflating else stored
    base = sniff(content.peek(HEAD_BYTES), name) if asked.base == "auto" else asked.base
    label = f"{base}+{kind}" if kind else base
    taken, torn = 0, None
    try:
        for piece in PIECES[base](content):
            part = _part(piece, name, label, allowance)
            taken += _size(part)
            yield part
    except TornError as error:
        torn = error
    if inflating and inflating.fault:
        yield _corrupt_compression(name, inflating.fault, content.offset, asked)
    elif inflating and inflating.cut_at is not None:
        yield _torn_compression(name, inflating.cut_at, torn, asked)
    elif torn:
        yield _torn_message(name, torn, content.offset, asked)
    yield Source(name, label, content.offset - taken, 0)


def _size(part: Message | Damage | Several) -> int:
    """Bytes of messages, framing included."""
    if isinstance(part, Several):
        return part.run.sums()[1]
    return part.size if isinstance(part, Message) else 0


def _part(piece: Piece | Run, name: str, label: str, allowance: Allowance) -> Message | Damage | Several:
    if isinstance(piece, Run):
        return Several(piece, name, label)
    offset, size, payload, error, line, replaced = piece
    if error is None and label.startswith("zstd-frames"):
        try:
            payload = _inflated_to_wire(payload, allowance)
        except DecodeError as found:
            if found.kind == "limit":
                raise placed(found, offset) from None
            error = placed(found, offset)
    if error is not None:
        return Damage(error, name, offset, size, line)
    return Message(payload, name, label, offset, size, line, replaced)


def _torn_message(name: str, torn: TornError, end: int, asked: _Asked) -> Issue:
    if asked.strict:
        raise DecodeError(torn.expected, torn.got, "", torn.offset, "cut")
    return Issue("torn_message", name, torn.offset, str(torn), torn.line, lost_bytes=end - torn.offset)


def _corrupt_compression(name: str, fault: DecodeError, read: int, asked: _Asked) -> Issue:
    """What came before the damage is kept; if that is nothing, it is an error."""
    if asked.strict or not read:
        raise fault
    message = f"{fault}; {read} bytes of content came before, the rest is lost"
    return Issue("torn_compression", name, fault.offset, message)


def _torn_compression(name: str, cut_at: int, torn: TornError | None, asked: _Asked) -> Issue:
    if asked.strict:
        raise DecodeError("the rest of the compressed data", "its end", "", cut_at, "cut")
    inside = f"; inside, at byte {torn.offset}: {torn}" if torn else ""
    message = f"expected the rest of the compressed data, got its end{inside}"
    return Issue("torn_compression", name, cut_at, message)


def _inflated_to_wire(payload: Slice, allowance: Allowance) -> Slice:
    """A message that was compressed alone. The offset of an error in it is that of its start."""
    inner = inflate_all("zstd", payload, min(MESSAGE_LIMIT_BYTES, allowance.left))
    allowance.left -= len(inner)
    return json_to_wire(inner) if inner[:1] in (b"{", b"[") else inner


def placed(error: DecodeError, offset: int, source: str = "") -> DecodeError:
    """The same error at another offset, with the source's name first in its path."""
    path = ": ".join(filter(None, (source, error.path)))
    return DecodeError(error.expected, error.got, path, offset, error.kind)
