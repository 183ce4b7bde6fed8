"""
`RequestStream`: an endless series of batches → `Requests`, each as soon as it is whole, in bounded memory.

No threads, no clock, no files: the caller feeds, tells the time, and takes.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from k8strace import _core
from k8strace.components import OWN, Taxonomy
from k8strace.exceptions import expect
from k8strace.requests import Ledger, Requests, _Join, ledger_of
from k8strace.selecting import names_of
from k8strace.spans import Spans, decode
from k8strace.tables import Table

if TYPE_CHECKING:
    from k8strace.spans import Buffer, _Message

__all__ = ["RequestStream", "StreamSettings", "StreamedRequests"]

SECOND: Final = 1_000_000_000

LATEST_NS: Final = 1 << 62
"""Times from here on, from the year 2116, tell nothing."""

ID: Final = 32
"""Characters of a trace id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """
    How long a `RequestStream` waits, and how much it holds.

    Raises:
        ValueError: A setting is not positive, or too large.
    """

    window_ns: int = 10 * SECOND
    """A trace that receives no span for this long is emitted and released. SDKs hold spans back for 5 s."""
    max_age_ns: int = 600 * SECOND
    """This long after its first span a trace is emitted and released, even if spans still arrive."""
    max_spans: int = 1_000_000
    """Spans held at most. When a limit is exceeded, the oldest traces are emitted first."""
    max_traces: int = 1_000_000
    """Traces held at most."""
    max_trace_spans: int = 1_000_000
    """Spans held at most of one trace."""
    max_bytes: int = 1 << 30
    """Bytes held at most for spans, estimated from the size of the batches that they came in."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, int) or not 0 < value < 1 << 63:
                raise ValueError(f"expected {each.name} from 1 to 2^63 - 1, got {value!r}")


class StreamedRequests(Requests):
    """
    What one `take` of a `RequestStream` emitted: requests like any other, and what they replace.

    `where`, `slowest` and slices are plain `Requests`.
    """

    __slots__ = ("_final", "_released", "_replaced", "_revisions")

    def __init__(
        self,
        joined: _Join,
        revisions: Sequence[int],
        final: Sequence[bool],
        replaced: Table,
        released: bytes,
    ) -> None:
        super().__init__(joined)
        self._revisions = tuple(revisions)
        self._final = tuple(final)
        self._replaced = replaced
        self._released = released

    def __reduce__(self) -> tuple[type[Requests], tuple[Any, ...]]:
        # What a stream joined says why it cannot be pickled.
        return Requests, (self._joined, self._rows)

    @property
    def revisions(self) -> Sequence[int]:
        """One per request: how often its trace was emitted before; 0 for the first time."""
        return self._revisions

    @property
    def replaced(self) -> Table:
        """
        Requests emitted earlier that are no longer valid: `trace_id`, `span_id` and `revision`.

        Most are in this take again, with the next revision; one that is not is gone.
        """
        return self._replaced

    @property
    def final(self) -> Sequence[bool]:
        """One per request: whether its trace is released, so that no later take replaces it."""
        return self._final

    @property
    def released(self) -> Sequence[str]:
        """
        Ids of traces that this take released, or the stream since the take before, if requests of them were emitted.

        What earlier takes emitted of them and nothing replaced is final. So is what this take has of them, if `final`
        says so; if not, spans came after the release, and make a new trace of the same id.
        """
        ids = self._released.hex()
        return tuple(ids[at : at + ID] for at in range(0, len(ids), ID))

    def _of_traces(self, trace_ids: Container[str]) -> StreamedRequests:
        """Those of some traces, with what they replace."""
        joined, part = self._joined, StreamedRequests.__new__(StreamedRequests)
        kept = [at for at, trace in enumerate(self.column("trace_id")) if trace in trace_ids]
        Requests.__init__(part, joined, [self._rows[at] for at in kept])
        part._revisions = tuple(self._revisions[at] for at in kept)
        part._final = tuple(self._final[at] for at in kept)
        part._released = bytes.fromhex("".join(trace for trace in self.released if trace in trace_ids))
        rows = [(row["trace_id"], row["span_id"], row["revision"]) for row in self._replaced]
        part._replaced = _replaced([row for row in rows if row[0] in trace_ids])
        return part


class RequestStream:
    """
    Joins spans that arrive in batches, without end, in any order and more than once.

    A trace is emitted by the first `take` after it is whole: it holds a request or a sync of a pod, every parent that
    its spans name, and the SERVER span of each call to etcd or a container runtime. Otherwise it is emitted when it is
    idle for the window, too old, or evicted. It is kept until it has been idle for the window: late spans emit it
    again, and the result says what it replaces. "Streams" in the explanation says what is equal to `join` over
    everything, and what is not.

    Methods may be called from several threads; they take turns.

    Args:
        settings: Limits.
        taxonomy: Who spent the time; None for the rules that come with k8strace.
        apiserver: `service.name` of the API servers, as in `join`. None: they are recognised; what was released
            before that is not emitted again.

    Examples:
        >>> import k8strace
        >>> stream = k8strace.RequestStream()
        >>> stream.feed(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"), now_ns=0)
        >>> stream.take(now_ns=0)
        Requests(712 requests in 712 traces, 650 etcd calls, 0 of them in the background)
        >>> stream.flush()
        Requests(699 requests in 1626 traces, 763 etcd calls, 161 of them in the background)
        >>> stream.counts["held"]
        0
    """

    __slots__ = ("_core", "_settings", "_taxonomy")

    def __init__(
        self,
        settings: StreamSettings | None = None,
        *,
        taxonomy: Taxonomy | None = None,
        apiserver: str | Sequence[str] | None = None,
    ) -> None:
        expect(settings, StreamSettings | None, "settings of a stream")
        self._settings = settings or StreamSettings()
        self._taxonomy = taxonomy or OWN
        limits = {each.name: getattr(self._settings, each.name) for each in fields(StreamSettings)}
        self._core = _core.SpanStream(names_of(apiserver), **limits)

    @property
    def settings(self) -> StreamSettings:
        """The limits."""
        return self._settings

    def feed(self, batch: Buffer | _Message | Spans, /, now_ns: int) -> None:
        """
        Takes spans in.

        Args:
            batch: One `ExportTraceServiceRequest` as a buffer or a message, or spans that were decoded already.
            now_ns: The time in ns, of any clock that does not jump. A time before the latest one counts as the latest.

        Raises:
            DecodeError: The bytes are malformed. The stream is unchanged.
            ValueError: The time is negative or 2^64 ns or more.
        """
        spans = batch if isinstance(batch, Spans) else decode(batch)
        self._core.feed(spans._columns, _time(now_ns))

    def take(self, now_ns: int) -> StreamedRequests:
        """
        Emits the traces that are finished, idle or evicted, with all requests and background calls in them.

        Args:
            now_ns: The time, as in `feed`.

        Raises:
            ValueError: The time is negative or 2^64 ns or more.
        """
        return self._requests(self._core.take(_time(now_ns)))

    def flush(self) -> StreamedRequests:
        """Emits everything that was not emitted yet, and releases all traces. Counts and clocks stay."""
        return self._requests(self._core.flush())

    def _requests(self, taken: _core._Taken) -> StreamedRequests:
        core, columns, revisions, final, replaced, released = taken
        joined = _Join(Spans(columns), self._taxonomy, core)
        return StreamedRequests(joined, revisions, final, _replaced(replaced), released)

    @property
    def counts(self) -> dict[str, int]:
        """
        What was fed and what became of it: `spans` = `held` + `repeats` + `released` + `discarded`.

        `batches` and `spans` were fed. Of the spans, `held` are in memory, `repeats` were held already when they
        arrived, `released` were emitted and dropped from memory, and `discarded` were evicted and never taken.
        `held_traces`, and `held_bytes`, an estimate. `updates`: traces emitted again. `late_traces`: traces that
        came again after they were released, of the last 262,144. `evicted_age`, `evicted_trace_spans`,
        `evicted_spans`, `evicted_traces` and `evicted_bytes`: traces emitted early, by the limit they exceeded.
        `process_pairs_forgotten`: pairs of processes whose clocks are measured again.
        """
        return dict(self._core.counts())

    @property
    def ledger(self) -> Ledger:
        """What became of all emitted spans, as they were last emitted, and of all repeats."""
        return ledger_of(self._core.ledger())

    def __repr__(self) -> str:
        counts = self.counts
        return f"RequestStream({counts['held']} spans of {counts['held_traces']} traces held)"


def _replaced(rows: Sequence[tuple[str, str, int]]) -> Table:
    traces, spans, revisions = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    columns: list[tuple[str, str, list[Any]]] = [
        ("trace_id", "text", traces),
        ("span_id", "text", spans),
        ("revision", "int", revisions),
    ]
    return Table(_core.make_table(columns))


def _time(now_ns: int) -> int:
    if not 0 <= now_ns < 1 << 64:
        raise ValueError(f"expected a time from 0 to 2^64 - 1 ns, got {now_ns}")
    return now_ns
