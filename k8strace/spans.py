"""Bytes → `Spans`: one column per span field, and nothing of the message lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeGuard,
    runtime_checkable,
)

from k8strace import _core
from k8strace.exceptions import expect
from k8strace.tables import ArrowExport, Column, Table

if TYPE_CHECKING:
    from array import array
    from mmap import mmap

__all__ = ["Issue", "Source", "Spans", "decode"]

Buffer: TypeAlias = "bytes | bytearray | memoryview | array[int] | mmap"


class Source(NamedTuple):
    """One source, or the part of it that some spans come from: the parts' numbers add up."""

    path: str
    """Path, the file object's name, "<bytes>" or "<stream>"."""
    format: str
    """As detected or given, such as "proto-frames+zstd". Blank content without a given format is "empty"."""
    bytes: int
    """Bytes of inflated content, framing and a torn end included."""
    batches: int
    """Messages: each one `ExportTraceServiceRequest`."""


class Issue(NamedTuple):
    """What was not read as it stands: what is wrong, where, and how much of it there is."""

    code: Literal[
        "torn_message",
        "torn_compression",
        "not_json",
        "not_otlp",
        "malformed",
        "zeros",
        "checksum",
        "compression",
        "limit",
        "unreadable",
        "more_damage",
        "other_signal",
        "replaced_text",
        "id_length",
        "time_unit",
        "microseconds",
    ]
    source: str
    offset: int
    """Byte offset of the place in the content; of "torn_compression" of the end of the stored compressed bytes."""
    message: str
    line: int | None = None
    """Line of the place, from 1, in text."""
    affected: int = 1
    """How many places, messages or spans."""
    lost_bytes: int = 0
    """Bytes of content that were left out."""

    @property
    def severity(self) -> Literal["info", "warning", "error"]:
        """What it means: "info" for what is normal or was put right, "error" for a missing end, else "warning"."""
        if self.code.startswith("torn"):
            return "error"
        return "info" if self.code in ("other_signal", "replaced_text", "microseconds") else "warning"


@runtime_checkable
class _Message(Protocol):
    """A protobuf message, such as `ExportTraceServiceRequest`."""

    DESCRIPTOR: Any
    """What kind of message it is."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802


_MESSAGES: Final = {
    "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
    "opentelemetry.proto.trace.v1.TracesData",  # the same fields, for files
}


class Spans(ArrowExport):
    """
    Decoded spans, one row each, in order of arrival.

    An Arrow table by itself: `polars.DataFrame(spans)`, `pyarrow.table(spans)`, DuckDB and pandas take it as it is.
    Columns, types and null rules are in the reference, "Columns". Text columns are views into the texts, which live
    as long as the spans or any table made of them.

    Examples:
        >>> import k8strace
        >>> spans = k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")
        >>> spans
        Spans(16766 spans in 39 batches, 2 processes: apiserver, etcd)
        >>> spans.column("name")[0]
        'etcdserverpb.Maintenance/Status'
        >>> spans.attributes("http.target")[-1] is None
        True
    """

    __slots__ = ("_columns", "_issues", "_sources")

    def __init__(
        self, columns: _core.SpanColumns, sources: Sequence[Source] = (), issues: Sequence[Issue] = ()
    ) -> None:
        self._columns = columns
        self._sources = tuple(sources)
        self._issues = tuple(issues)

    def _arrow(self) -> _core.Table:
        return self._columns.table("spans")

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def counts(self) -> dict[str, int]:
        """How many batches, spans, attributes, events, links and so on were decoded."""
        return dict(self._columns.counts())

    @property
    def sources(self) -> tuple[Source, ...]:
        """What was read: path, detected format, bytes, batches. Empty after `decode`."""
        return self._sources

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Damage that did not stop reading, such as a torn last frame."""
        return self._issues

    @property
    def nbytes(self) -> tuple[int, int]:
        """Bytes held: (columns, texts that the columns point into)."""
        return self._columns.nbytes

    @property
    def processes(self) -> list[dict[str, Any]]:
        """
        The processes that sent the spans: `service`, `instance` (None if not sent) and resource `attributes`.

        A process is told by service name and `service.instance.id`, or by the whole resource if there is no id.
        """
        return [
            {"service": service, "instance": instance, "attributes": dict(attributes)}
            for service, instance, attributes in self._columns.processes()
        ]

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns of the span table, in order."""
        return self._columns.column_names("spans")

    def column(self, name: str) -> Column:
        """
        One column of the span table, without making the others.

        Raises:
            KeyError: There is none of this name; the message has those that there are.
        """
        if name not in self.column_names:
            raise KeyError(f"there is no column {name!r} of spans, but {', '.join(self.column_names)}")
        return Column(self._columns.column(name))

    def __getitem__(self, name: str) -> Column:
        return self.column(name)

    def attributes(self, key: str) -> Column:
        """
        The values of one attribute key, one per span.

        The type is that of the values; text if they are of several types, with nested values as JSON.
        Null where a span has no such attribute. Of a key that a span repeats the last value counts.
        """
        expect(key, str, "the key of an attribute")
        return Column(self._columns.attribute(key))

    def with_attributes(self, *keys: str) -> Table:
        """
        The span table with a column more for each key, called `attributes.KEY`, as `attributes` gives it.

        For SQL and frames, which do not look into lists easily.

        Examples:
            >>> import k8strace
            >>> spans = k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")
            >>> spans.with_attributes("http.target").column_names[-1]
            'attributes.http.target'
        """
        columns = [(f"attributes.{key}", self._columns.attribute(key)) for key in keys]
        return Table(self._arrow().with_columns(columns))

    def to_otlp(self, *, split: Literal["trace_id"] = "trace_id") -> Table:
        """
        The spans as OTLP again, one message for each trace: what a shuffle by trace moves.

        Messages after one another are one message again, so `decode(b"".join(…))` reads any of them together.

        Args:
            split: What a message holds: all spans of one trace id, in their order. There is no other way yet.

        Returns:
            One row per trace, by id (of zeros: spans without one): `trace_id`, `spans`, `start_unix_nano` of the first,
            `end_unix_nano` of the last to end, and `otlp`, the message.

        Raises:
            ValueError: It is to be split by something else.
            MemoryError: Each message has its resources and scopes by itself, and for all of them there is no memory.

        Examples:
            >>> import k8strace
            >>> spans = k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")
            >>> traces = spans.to_otlp(split="trace_id")
            >>> len(traces), sum(traces["spans"].to_pylist()) == len(spans)
            (2338, True)
            >>> len(k8strace.decode(b"".join(traces["otlp"].to_pylist()))) == len(spans)
            True
        """
        if split != "trace_id":
            raise ValueError(f"expected split='trace_id', got {split!r}")
        return Table(_core.split_by_trace(self._columns))

    @property
    def scopes(self) -> Table:
        """One row per `ScopeSpans` message; the span column `scope_spans` points here."""
        return Table(self._columns.table("scopes"))

    @property
    def resources(self) -> Table:
        """One row per `ResourceSpans` message; the scope column `resource_spans` points here."""
        return Table(self._columns.table("resources"))

    @property
    def odd_ids(self) -> Table:
        """
        Ids of a wrong length, which the span table shows as null: row of the span, field, bytes.

        `link` is null for the span's own ids, else it tells which of the span's links, counted from 0.
        """
        return Table(self._columns.table("odd_ids"))

    def __reduce__(self) -> tuple[Callable[..., Spans], tuple[Any, ...]]:
        return _decoded_again, (self._columns.batch_wires(), self._sources, self._issues)

    def __repr__(self) -> str:
        processes = self.processes
        services = ", ".join(sorted({process["service"] or "unnamed" for process in processes}))
        return (
            f"Spans({len(self)} spans in {self.counts['batches']} batches, {len(processes)} processes"
            f"{': ' if services else ''}{services})"
        )


def _decoded_again(wires: Sequence[bytes], sources: Sequence[Source], issues: Sequence[Issue]) -> Spans:
    return Spans(_core.decode(wires), sources, issues)


def decode(data: Buffer | _Message | Iterable[Buffer | _Message], /) -> Spans:
    """
    Decodes OTLP trace requests.

    Args:
        data: One `ExportTraceServiceRequest` as a buffer or as the object of opentelemetry-proto, or an iterable of
            them. Several requests concatenated in one buffer are one valid request. Texts are copied.

    Returns:
        The spans, in order of arrival. Unknown fields are skipped; everything else is kept.

    Raises:
        DecodeError: The bytes are not protobuf, or text is not UTF-8: what was expected, what came, and where.
        TypeError: This is neither bytes nor a message nor an iterable of them.

    Examples:
        >>> import k8strace
        >>> from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
        >>> request = ExportTraceServiceRequest()
        >>> _ = request.resource_spans.add().scope_spans.add().spans.add(name="Get", kind=1)
        >>> k8strace.decode(request)
        Spans(1 spans in 1 batches, 1 processes: unnamed)
        >>> len(k8strace.decode([request, request.SerializeToString()]))
        2
    """
    parts: Iterable[Any] = data if _is_series(data) else [data]
    return Spans(_core.decode([_wire(part) for part in parts]))


def _is_series(data: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(data, Iterable) and not (isinstance(data, (str, _Message)) or _is_buffer(data))


def _is_buffer(data: Any) -> bool:
    try:
        memoryview(data)
    except TypeError:
        return False
    return True


def _wire(data: Any) -> bytes | memoryview:
    if isinstance(data, bytes):
        return data
    if isinstance(data, _Message) and data.DESCRIPTOR.full_name in _MESSAGES:
        return data.SerializeToString()
    if not _is_buffer(data):
        message = f"expected bytes, another buffer or an ExportTraceServiceRequest, got {type(data).__name__}"
        raise TypeError(message)
    view = memoryview(data)
    return view if view.format == "B" else view.cast("B")
