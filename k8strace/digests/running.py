"""Spans in, sums and rows out: a stream that is saved and restored at every checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from k8strace import _core
from k8strace.archive import ClockEvidence
from k8strace.attribution import attribute
from k8strace.components import OWN, Taxonomy
from k8strace.digests.checkpoint import Blobs, write_checkpoint
from k8strace.digests.merging import Piece
from k8strace.digests.result import Slow, slowest_of
from k8strace.digests.rows import HourlyRows
from k8strace.histograms import KEYS, Histograms
from k8strace.requests import Requests, _Join
from k8strace.selecting import names_of
from k8strace.spans import Spans, decode

__all__ = ["DigestSettings", "Running"]

SECOND: Final = 1_000_000_000

TAKE_SPANS: Final = 1 << 15
"""Spans after which whole requests are taken from the stream."""

MOST_ISSUES: Final = 20
"""Issues that are kept as text, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestSettings:
    """
    How a digest is made. It can be resumed only with the settings it was begun with.

    Raises:
        ValueError: A number is not positive.
    """

    by: tuple[str, ...] = KEYS
    """Columns of `Requests` to group by."""
    window_ns: int = 30 * SECOND
    """A trace is counted when no span of it has come for this long, by the times in the files."""
    max_age_ns: int = 600 * SECOND
    """A trace is counted at the latest this long after its first span, even if spans still come."""
    max_spans: int = 1_000_000
    """Spans held at most, which bounds the memory. If there are more, the oldest traces are counted as they are."""
    most_groups: int = 1_000
    """Groups at most, as in `Histograms`."""
    checkpoint_spans: int = 2_000_000
    """Spans between two checkpoints."""
    rows: bool = True
    """Whether to write the rows of all requests as Parquet, by the hour. Needs the extra `k8strace[arrow]`."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int) and not isinstance(value, bool) and not 0 < value < 1 << 63:
                raise ValueError(f"expected {each.name} from 1 to 2^63 - 1, got {value!r}")


class Running:
    """
    A digest that is being made.

    At every checkpoint the whole state is written and read back, whether the process ends there or not. So a digest
    that was killed and resumed is equal to one that was not.
    """

    def __init__(
        self,
        into: Path,
        settings: DigestSettings,
        taxonomy: Taxonomy | None,
        apiserver: str | Sequence[str] | None,
    ) -> None:
        self._into = into
        self._settings = settings
        self._taxonomy = taxonomy or OWN
        self._apiserver = names_of(apiserver)
        self._number = 0
        self._histograms = Histograms(settings.by, most_groups=settings.most_groups)
        self._hours = Histograms(("hour",), most_groups=settings.most_groups)
        self._clock = ClockEvidence()
        self._counts: Counter[str] = Counter()
        self._incomplete: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._set_aside: Counter[str] = Counter()
        self._slowest: tuple[Slow, ...] = ()
        self._issues: list[str] = []
        self._now = self._since_take = self._since_checkpoint = self._held = 0
        self._stream = self._new_stream()
        self._rows = HourlyRows(into, 0) if settings.rows else None

    def _new_stream(self) -> _core.SpanStream:
        s = self._settings
        return _core.SpanStream(
            self._apiserver,
            window_ns=s.window_ns,
            max_age_ns=s.max_age_ns,
            max_spans=s.max_spans,
            max_traces=s.max_spans,
            max_trace_spans=s.max_spans,
            max_bytes=s.max_spans << 10,
            early=False,
        )

    def resume(self, told: Mapping[str, Any], blobs: Blobs) -> None:
        """Resumes from a checkpoint."""
        self._number = told["number"]
        self._histograms = Histograms.from_bytes(blobs["histograms"])
        self._hours = Histograms.from_bytes(blobs["hours"])
        self._clock = ClockEvidence(blobs["clock"].decode())
        self._counts = Counter(told["counts"])
        self._incomplete = Counter(told["incomplete"])
        _, used, set_aside = told["ledger"]
        self._used, self._set_aside = Counter(used), Counter(set_aside)
        self._slowest = tuple(Slow(*each) for each in told["slowest"])
        self._issues = list(told["issues"])
        self._now = told["now"]
        if self._rows is not None:
            self._rows = HourlyRows(self._into, self._number)
        self._pick_up(told["times"], blobs)

    def feed(self, pieces: Iterator[Piece], told: Mapping[str, Any], taken: Sequence[int | None]) -> None:
        """Sums up all pieces. `told`: further state for checkpoints; `taken`: pieces of each file that were read."""
        often = min(TAKE_SPANS, self._settings.checkpoint_spans, max(self._settings.max_spans // 2, 1))
        for piece in pieces:
            self._feed(piece)
            if self._since_take >= often:
                self._sum_up(self._stream.take(self._now))
                self._since_take = 0
                if self._since_checkpoint >= self._settings.checkpoint_spans:
                    self._checkpoint(told, taken)
        self._sum_up(self._stream.flush())
        self._checkpoint(told, taken, finished=True)

    def _feed(self, piece: Piece) -> None:
        spans = piece.spans
        late_ns = max(self._now - piece.time_ns, 0) + piece.ahead_ns
        if late_ns > self._settings.window_ns:
            self._counts["out_of_order"] += len(spans)
        idle_ns = self._now + self._settings.window_ns
        if piece.time_ns > idle_ns:
            # A gap in time: emit what is idle before time jumps past its maximum age.
            self._sum_up(self._stream.take(idle_ns))
        self._now = max(self._now, piece.time_ns)
        self._stream.feed(spans._columns, self._now)
        self._since_take += len(spans)
        self._since_checkpoint += len(spans)
        self._counts["issues"] += len(spans.issues)
        room = MOST_ISSUES - len(self._issues)
        self._issues += [str(issue) for issue in spans.issues[:room]] if room > 0 else []

    def _sum_up(self, taken: _core._Taken) -> None:
        core, columns, *_ = taken
        if not len(columns):
            return
        requests = Requests(_Join(Spans(columns), self._taxonomy, core))
        self._clock += ClockEvidence._of(_core.clock_evidence_of(core))
        if not len(requests):
            return
        attribution = attribute(requests)
        self._histograms += Histograms.of(
            attribution, *self._settings.by, most_groups=self._settings.most_groups
        )
        self._hours += Histograms.of(attribution, "hour", most_groups=self._settings.most_groups)
        self._counts["requests"] += len(requests)
        self._incomplete.update(filter(None, requests.column("incomplete_cause")))
        self._slowest = slowest_of([*self._slowest, *_slow(requests)])
        if self._rows is not None:
            self._rows.add(requests)

    def _checkpoint(
        self, told: Mapping[str, Any], taken: Sequence[int | None], *, finished: bool = False
    ) -> None:
        if self._rows is not None:
            self._rows.checkpoint()
        self._number += 1
        self._settle()
        columns, ids, times = self._stream.held()
        held = _core.split_by_trace(columns)
        blobs = {
            "histograms": self._histograms.to_bytes(),
            "hours": self._hours.to_bytes(),
            "clock": self._clock.text.encode(),
            "spans": b"".join(held.column("otlp").to_pylist()),
            "ids": ids,
            "released": self._stream.released(),
        }
        state = {
            **told,
            "number": self._number,
            "finished": finished,
            "settings": asdict(self._settings),
            "counts": {name: self._counts[name] for name in sorted(self._counts)},
            "incomplete": dict(sorted(self._incomplete.items())),
            "ledger": [self._counts["spans"] - self._held, dict(self._used), dict(self._set_aside)],
            "slowest": self._slowest,
            "issues": self._issues,
            "now": self._now,
            "times": times,
            "taken": list(taken),
        }
        write_checkpoint(self._into, state, blobs)
        self._since_checkpoint = 0
        self._stream = self._new_stream()
        self._pick_up(times, blobs)

    def _settle(self) -> None:
        """Adds the counts of this stream to those of the streams before it."""
        counts = dict(self._stream.counts())
        before, self._held = self._held, counts["held"]
        self._counts["spans"] += counts["spans"] - before
        self._counts["batches"] += counts["batches"] - (1 if before else 0)
        for name in counts.keys() - {"spans", "batches", "held", "held_traces", "held_bytes", "updates"}:
            self._counts[name] += counts[name]
        for name, is_use, count in self._stream.ledger():
            (self._used if is_use else self._set_aside)[name] += count

    def _pick_up(self, times: Sequence[Sequence[int]], blobs: Blobs) -> None:
        """Restores the spans of a checkpoint."""
        self._stream.hear(self._clock._told)
        if blobs["spans"]:
            spans = decode(blobs["spans"])
            self._held = len(spans)
            pairs = [(born, active) for born, active in times]
            self._stream.pick_up(spans._columns, blobs["ids"], pairs, self._now)
        else:
            self._held = 0
        self._stream.know_released(blobs["released"])


def _slow(requests: Requests) -> list[Slow]:
    names = ("wall_ns", "trace_id", "span_id", "verb", "resource", "http_status", "start_unix_nano")
    slow = requests._judged().slowest(10)
    return [Slow(*row) for row in zip(*map(slow.column, names), strict=True)]
