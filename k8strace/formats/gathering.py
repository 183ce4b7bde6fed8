"""Parts of sources → `Spans`: messages are decoded together; each invalid one is left out alone."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from k8strace._core import RequestBuffer, SpanColumns
from k8strace.exceptions import DecodeError
from k8strace.formats.damage import MOST_ROWS, SIGNALS, Account, Damage
from k8strace.formats.wire import Message, Part, Several, placed
from k8strace.spans import Issue, Source, Spans

COLUMNS_PER_BYTE: Final = 2
"""Bytes of columns per byte of input, as the receiver's `columns_per_byte`. Real spans need two thirds of one."""

COLUMNS_FREE_BYTES: Final = 8 << 20
"""Bytes of columns for any input, as the receiver's `columns_free_bytes`."""

_UNITS: Final = ((1_200_000_000_000_000, "microseconds"), (1_200_000_000_000, "milliseconds"))
"""The years 2008 to 2046 in another unit; the end is about twice the start."""


class _Run(NamedTuple):
    """The messages of one source, from the number `first` on."""

    account: Account
    format: str
    first: int


class Gathering:
    """Collects parts of sources, and makes one `Spans` of those since the last call."""

    def __init__(self, *, strict: bool, threads: int = 1) -> None:
        self._strict = strict
        self._threads = threads
        self._account: Account | None = None
        self._begin()

    def _begin(self) -> None:
        self._buffer = RequestBuffer(COLUMNS_PER_BYTE, COLUMNS_FREE_BYTES, self._threads)
        self._offsets, self._sizes = array("Q"), array("I")
        self._runs: list[_Run] = []
        self._sources: list[Source] = []
        self._open_source = False
        self._issues: list[Issue | Account] = []
        self.held = 0
        """Bytes of messages."""

    def add(self, part: Part) -> None:
        """Adds one part. Raises DecodeError if it is damage, and strict."""
        if isinstance(part, Issue):
            self._issues.append(part)
        elif isinstance(part, Source):
            self._count(part)
            self._issues.append(self._of(part.path))
            self._account, self._open_source = None, False
        elif isinstance(part, Damage):
            self._issues.extend(self._of(part.source).set_aside(part))
        elif isinstance(part, Several):
            self._several(part)
        else:
            self._message(part)

    def _of(self, source: str) -> Account:
        self._account = self._account or Account(source, strict=self._strict)
        return self._account

    def _message(self, message: Message) -> None:
        self._sound(message, 1, message.size, message.replaced)
        if message.wire:
            self._buffer.add(message.wire)
            self._offsets.append(message.offset)
            self._sizes.append(message.size)
            self.held += len(message.wire)
        else:
            self._buffer.add_empty()

    def _several(self, part: Several) -> None:
        run = part.run
        for damage in part.damages():
            self._issues.extend(self._of(part.source).set_aside(damage))
        self.count_more(part)
        if len(run):
            wire, size, replaced = run.sums()
            self._sound(part, len(run), size, replaced)
            self._buffer.add_run(run)
            for places, more in zip((self._offsets, self._sizes), run.places(), strict=True):
                places.frombytes(more)
            self.held += wire

    def count_more(self, part: Several) -> None:
        """Counts what has no row of its own: further damages, times in µs."""
        account = self._of(part.source)
        account.count_more(part.run.more())
        account.micros += part.run.micros

    def _sound(self, part: Message | Several, messages: int, size: int, replaced: int) -> None:
        """Notes these messages before they are decoded."""
        account = self._of(part.source)
        if not self._runs or self._runs[-1].account is not account:
            self._runs.append(_Run(account, part.format, len(self._buffer)))
        account.sound += messages
        account.replaced += replaced
        self._count(Source(part.source, part.format, size, messages))

    def _count(self, part: Source) -> None:
        """Adds to the row of the source: the sum of its messages and of the `Source` that ends it."""
        if self._open_source:
            last = self._sources[-1]
            size, batches = last.bytes + part.bytes, last.batches + part.batches
            self._sources[-1] = last._replace(bytes=size, batches=batches)
        else:
            self._sources.append(part)
        self._open_source = True

    def spans(self) -> Spans:
        """
        All since the last call, decoded.

        Raises:
            DecodeError: Damage, if strict; a source of which nothing could be read.
            MemoryError: It does not fit.
        """
        columns, verdicts, errors, replaced = self._buffer.decode()
        self._replaced(replaced)
        found = [*self._left_out(verdicts, errors)]
        for each in self._issues:
            found.extend(each.close() if isinstance(each, Account) else [each])
        found.extend(_oddities(columns, ", ".join(row.path for row in self._sources[:3])))
        spans = Spans(columns, self._sources, found)
        self._begin()
        return spans

    def _bounds(self) -> Iterator[tuple[_Run, int, int]]:
        ends = [run.first for run in self._runs[1:]] + [len(self._offsets)]
        for run, end in zip(self._runs, ends, strict=True):
            yield run, run.first, end

    def _replaced(self, replaced: Iterable[tuple[int, int]]) -> None:
        counts = Counter(dict(replaced))
        for run, first, end in self._bounds() if counts else ():
            texts = sum(count for at, count in counts.items() if first <= at < end)
            if texts and self._strict:
                raise DecodeError("UTF-8 text", "other bytes", run.account.source, 0, "utf8")
            run.account.replaced += texts

    def _left_out(self, verdicts: bytes, errors: Iterable[tuple[int, DecodeError]]) -> Iterator[Issue]:
        if not any(verdicts):
            return
        by_message = dict(errors)
        for run, first, end in self._bounds():
            kinds = Counter(verdicts[first:end])
            for number, count in kinds.items():
                kind = RequestBuffer.KINDS[number - 1] if number else "utf8"
                if kind == "utf8":
                    continue
                run.account.sound -= count
                at = (index for index in range(first, end) if verdicts[index] == number)
                rows = () if kind in SIGNALS else tuple(islice(at, MOST_ROWS))
                for index in rows:
                    yield from run.account.set_aside(self._damage(run, index, by_message.get(index), kind))
                run.account.count_more([(kind, count - len(rows), sum(self._sizes[index] for index in at))])

    def _damage(self, run: _Run, index: int, error: DecodeError | None, kind: str) -> Damage:
        offset, size = self._offsets[index], self._sizes[index]
        error = error or DecodeError("a sound message", "another one that is not", "", 0, kind)
        stored_as_is = run.format.partition("+")[0] in ("proto", "proto-frames")
        where = placed(error, offset + (error.offset if stored_as_is else 0), run.account.source)
        return Damage(where, run.account.source, offset, size, None)


def _oddities(columns: SpanColumns, source: str) -> Iterator[Issue]:
    """What decodes but must be a mistake: ids of other lengths, times in another unit."""
    for field, length, due, count in columns.odd_lengths():
        text = (
            f"{count} {field}s have {length} bytes instead of {due}: they stand for no span that others can refer to;"
            " have the exporter write them in full length, with zeros before them"
        )
        yield Issue("id_length", source, 0, text, None, count)
    earliest, latest = columns.start_times()
    for least, unit in _UNITS:
        if least <= earliest and latest < 2 * least:
            text = f"start times look like {unit} (such as {earliest}); OTLP has nanoseconds: all durations are wrong"
            yield Issue("time_unit", source, 0, text, None, len(columns))
