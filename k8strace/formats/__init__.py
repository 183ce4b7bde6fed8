"""
Any file, stream or payload → `Spans`: sniffing, framing, JSON, compression.

    stored bytes ── gzip or zstd? ──→ content ── framing ──→ payloads ── zstd? JSON? ──→ wire bytes ──→ Spans
    └───────────── content.py ─────────────┘ └ framing.py ┘ └─────────── wire.py ───────────┘

Formats are told by content, never by name:

    proto-frames   u32 length, big-endian, then one protobuf request; repeated
    zstd-frames    the same, but each request, protobuf or JSON, is compressed by itself
    proto          one protobuf request
    json           one OTLP JSON document over several lines
    json-lines     one OTLP JSON document per line
    parquet        a table of spans that `k8strace export` wrote

Each may be inside one gzip or zstd stream, which its magic number tells. `sniffing.py` looks at the first 64 KiB of
content only, so that the answer is the same for files and pipes, `read` and `scan`:

* Nothing but white space: no batches.
* JSON: the first character is `{` or `[`, after `{` comes `"` or `}`, and there are no control characters.
  If the first line breaks off within the document it is `json`, else `json-lines`.
* Frames: each frame in sight begins with a request (or with zstd's magic number), and there is one.
  A request is a row of fields 1 (byte 0a), each within the frame and a ResourceSpans as far as can be seen.
  A checksum, which a receiver's segments have, may end the frame.
* Protobuf: the content itself is such a row. A frame under 16 MiB begins with 00, which no protobuf message
  does. A longer one can begin with 0a; then both rules are put to every field in sight.

Exactly one rule must fit, else `FormatError`. What comes later is checked as it is read.

Only the end of a source may be torn, as by a writer that was killed: what came before it is kept, and an
`Issue` says so. Anything else that is malformed raises `DecodeError`.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from k8strace.exceptions import expect
from k8strace.formats.content import MESSAGE_LIMIT_BYTES, Progress, Readable
from k8strace.formats.gathering import COLUMNS_FREE_BYTES, COLUMNS_PER_BYTE, Gathering
from k8strace.formats.sniffing import FORMATS
from k8strace.formats.wire import SCAN_LIMIT_BYTES, Message, Part, Several, messages, parts
from k8strace.spans import Issue, Source, Spans

__all__ = [
    "BATCH_BYTES",
    "COLUMNS_FREE_BYTES",
    "COLUMNS_PER_BYTE",
    "FORMATS",
    "MESSAGE_LIMIT_BYTES",
    "READ_LIMIT_BYTES",
    "SCAN_LIMIT_BYTES",
    "Issue",
    "Message",
    "Source",
    "messages",
    "read",
    "scan",
]

READ_LIMIT_BYTES: Final = 8 << 30
"""Inflated bytes that `read` accepts, over all sources. It holds them all in memory; callers may raise the limit."""

BATCH_BYTES: Final = 16 << 20
"""Bytes of messages per `Spans` of `scan`: the cost of a call is small, and any machine has the memory."""


def read(
    source: Readable | Iterable[Readable],
    *,
    format: str = "auto",  # noqa: A002
    strict: bool = False,
    progress: Progress = None,
    limit_bytes: int = READ_LIMIT_BYTES,
    threads: int = 1,
) -> Spans:
    """
    Reads everything into one `Spans`.

    Args:
        source: A path, a glob pattern, bytes, a binary file object, or an iterable of these.
        format: One of `FORMATS`; "auto" looks at each source's content.
        strict: Raise on a torn end too, instead of keeping what came before it.
        progress: True for a tqdm bar, or a function of (bytes done, bytes in all or None): stored bytes.
        limit_bytes: Bytes that all compressed sources together may inflate to.
        threads: With 2 or more, one decodes while another reads and inflates. The spans are the same with any number.

    Returns:
        The spans. Their `sources` say what was read, and in which format; their `issues` what was damaged.

    Raises:
        FormatError: No format fits, or several do; the message says what was seen, and which `format=` to give.
        DecodeError: Malformed content, or more than a limit. The path begins with the source's name,
            the offset is in its inflated content (of corrupt compression: in the stored bytes).
        MissingExtraError: `progress=True` without tqdm.
        ValueError: `threads` is not above 0.
        OSError: A file cannot be read, or no file matches a pattern.

    Examples:
        >>> import k8strace
        >>> spans = k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")
        >>> len(spans)
        16766
        >>> spans.sources[0].format, spans.sources[0].batches
        ('proto-frames+zstd', 39)
        >>> k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst", threads=2).counts == spans.counts
        True
    """
    expect(threads, int, "a number of threads")
    if threads < 1:
        raise ValueError(f"expected threads above 0, got {threads}")
    gathering = Gathering(strict=strict, threads=threads)
    for part in parts(source, format=format, strict=strict, progress=progress, limit_bytes=limit_bytes):
        gathering.add(part)
    return gathering.spans()


def scan(
    source: Readable | Iterable[Readable],
    *,
    format: str = "auto",  # noqa: A002
    strict: bool = False,
    progress: Progress = None,
    batch_bytes: int = BATCH_BYTES,
    limit_bytes: int = SCAN_LIMIT_BYTES,
) -> Iterator[Spans]:
    """
    Reads piece by piece. All pieces together have the spans, sources and issues that `read` gives.

    Memory is bounded by `batch_bytes` and the largest message, however large the sources are.

    Args:
        source: As for `read`.
        format: As for `read`.
        strict: As for `read`.
        progress: As for `read`.
        batch_bytes: Wire bytes per piece; the message that reaches it is the piece's last.
        limit_bytes: As for `read`.

    Returns:
        An iterator of `Spans`. Issues of a source without batches are on the next piece, or on the last.

    Raises:
        ValueError: `batch_bytes` is not above 0. The rest is as for `read`, while iterating.

    Examples:
        >>> import k8strace
        >>> sum(len(spans) for spans in k8strace.scan("tests/data/*.zst"))
        37543
    """
    if batch_bytes <= 0:
        raise ValueError(f"expected batch_bytes above 0, got {batch_bytes}")
    found = parts(source, format=format, strict=strict, progress=progress, limit_bytes=limit_bytes)
    return _pieces(found, Gathering(strict=strict), batch_bytes)


def _pieces(found: Iterable[Part], gathering: Gathering, batch_bytes: int) -> Iterator[Spans]:
    """A full piece ends before the next message, so that the end of a source stays with its last message."""
    some = False
    for part in _one_by_one_where_full(found, gathering, batch_bytes):
        if gathering.held >= batch_bytes and isinstance(part, Message):
            yield gathering.spans()
        gathering.add(part)
        some = True
    if some:
        yield gathering.spans()


def _one_by_one_where_full(found: Iterable[Part], gathering: Gathering, batch_bytes: int) -> Iterator[Part]:
    """The same parts; several messages stay together only if all of them fit into the current piece."""
    for part in found:
        if isinstance(part, Several) and gathering.held + part.run.sums()[0] >= batch_bytes:
            yield from part.parts()
            gathering.count_more(part)
        else:
            yield part
