"""
`stalls`: when a process stood still while another waited for it.

A process is *silent* while none of its spans or events starts or ends. It is *due* if another process waits for it:

```
called      a call into it is open, and its SERVER span begins only after the silence
answered    its own call was answered, and ends only after the silence
stood       its own spans that serve a caller stand still far longer than spans of their name usually do
opaque      the same for calls with a CLIENT span only: they may wait for the called process
queued      requests begin all at once after the silence, before any was answered
```

A single wait proves little, so two must agree. How long is too long is set by the recording itself: see `tails`. A slow
network makes calls wait too, but each by itself, before and after; a stopped process releases all of them at one
moment, and was quick before and after. A process that waits for a stopped one is silent as well, but wakes up later: of
silences at the same time, the one that ends first is reported. For an etcd that sends no spans, see `untraced`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace import _core
from k8strace.exceptions import expect
from k8strace.findings.finding import Finding
from k8strace.findings.selection import Outlay, Selection
from k8strace.findings.tails import (
    APART,
    LEAST_NS,
    MANY,
    SHORTEST_NS,
    is_each_late,
    is_slow_around,
    unusual,
)
from k8strace.findings.untraced import Call, Unanswered, calls_of, unanswered
from k8strace.tables import Table
from k8strace.words import count, duration

if TYPE_CHECKING:
    from k8strace.requests import Requests

__all__ = [
    "ERROR_RATE",
    "Process",
    "Stall",
    "Stalls",
    "process_stall",
    "stall_table",
    "stalls",
    "usual_stalls",
]

ERROR_RATE: Final = 0.01
"""Expected number of healthy silences of a process, in a recording, that are taken for a stall."""
BROKEN_SHARE: Final = 0.01
"""Share of all time from which a process that stood still is an error."""
NEAR: Final = 64
"""A silence is compared with this many earlier ones."""
MANY_LOST: Final = 0.5
"""If this share of the requests lost spans, spans that seem to stand still may wait for calls that were lost."""

KINDS: Final = ("called", "answered", "stood", "opaque", "queued")
"""The ways in which others waited, see above."""


class Process(NamedTuple):
    """A process by `service.name`, and by `service.instance.id` if it was sent."""

    service: str
    """ "apiserver or etcd" if etcd sends no spans and the apiserver did nothing while etcd did not answer."""
    instance: str | None

    @property
    def text(self) -> str:
        """The name in sentences."""
        return f"{self.service} ({self.instance})" if self.instance else self.service


@dataclass(frozen=True, slots=True)
class Stall:
    """A process that stood still while another waited for it."""

    process: Process
    start_unix_nano: int
    """Its last sign of life before."""
    end_unix_nano: int
    """Its first sign of life after."""
    evidence: dict[str, int] = field(default_factory=dict)
    """
    `called`, `answered`, `stood`, `opaque`, `queued`: how many waited, in each way; `wait_ns`: how long two of them
    waited; `usual_ns`: the limit that waits for this process exceed in one of a hundred recordings.
    """
    requests: tuple[int, ...] = ()
    """Indices of the requests that it held up: those that the process served, or that had a call open to it."""
    request_ns: tuple[int, ...] = ()
    """How long it held up each of them, on its critical path."""

    @property
    def ns(self) -> int:
        """How long it held up all requests, as a sum."""
        return sum(self.request_ns)

    def is_same_time(self, other: Stall) -> bool:
        """Whether both share some time."""
        return self.start_unix_nano < other.end_unix_nano and other.start_unix_nano < self.end_unix_nano


def stalls(requests: Requests, *, error_rate: float = ERROR_RATE) -> list[Stall]:
    """
    When processes stood still while others waited for them, by start. See `Requests.stalls`.

    Examples:
        >>> import k8strace
        >>> stalls(k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")))
        []
    """
    expect(error_rate, Real, "an error rate above 0")
    if error_rate <= 0:
        raise ValueError(f"expected an error rate above 0, got {error_rate!r}")
    return _stalls(Selection(requests), error_rate)


class Stalls(Table):
    """One row per stall; iterating gives dictionaries with process, evidence and requests inside."""

    __slots__ = ()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in super().__iter__():
            process = {"service": row.pop("service"), "instance": row.pop("instance")}
            nested = {name: json.loads(row[name]) for name in ("evidence", "requests")}
            yield {"process": process, **row, **nested}


def stall_table(requests: Requests, error_rate: float) -> Stalls:
    """See `Requests.stalls`."""
    found = stalls(requests, error_rate=error_rate)
    ids = requests._joined.column("trace_id") if found else []
    columns: list[tuple[str, str, list[Any]]] = [
        ("service", "text", [one.process.service for one in found]),
        ("instance", "text", [one.process.instance for one in found]),
        ("start_unix_nano", "int", [one.start_unix_nano for one in found]),
        ("end_unix_nano", "int", [one.end_unix_nano for one in found]),
        ("start_time", "instant", [one.start_unix_nano for one in found]),
        ("end_time", "instant", [one.end_unix_nano for one in found]),
        ("evidence", "text", [json.dumps(one.evidence) for one in found]),
        ("requests", "text", [json.dumps([ids[row] for row in one.requests]) for one in found]),
        ("ns", "int", [one.ns for one in found]),
    ]
    return Stalls(_core.make_table(columns))


def process_stall(selection: Selection) -> Iterator[Finding]:
    """Processes that stood still while others waited for them."""
    of: dict[Process, list[Stall]] = {}
    for stall in selection.once(usual_stalls):
        of.setdefault(stall.process, []).append(stall)
    for process, each in of.items():
        outlay = Outlay.of(pair for one in each for pair in zip(one.requests, one.request_ns, strict=True))
        if not outlay.rows:
            continue
        lengths = sorted(one.end_unix_nano - one.start_unix_nano for one in each)
        times = f"{count(len(each), 'time')} for {duration(lengths[len(lengths) // 2])} (median)"
        yield selection.finding(
            "process_stall",
            "error" if selection.share(outlay.total_ns) >= BROKEN_SHARE else "warning",
            outlay,
            f"{process.text} stood still {times if len(each) > 1 else f'for {duration(lengths[0])}'}"
            f" and held up {count(len(outlay.rows), 'request')}: {selection.cost(outlay.total_ns)}",
            "Look at its machine at that time: a process that was stopped or swapped out, a processor limit, a disk.",
            [],
            stalls=len(each),
            longest_ns=lengths[-1],
            stalled_ns=sum(lengths),
        )


def usual_stalls(selection: Selection) -> list[Stall]:
    """The stalls at the default error rate."""
    return _stalls(selection, ERROR_RATE)


def _stalls(selection: Selection, error_rate: float) -> list[Stall]:
    joined = selection.requests._joined
    core = joined.core
    lossy = len(selection.among("incomplete_cause", "span_lost")) > MANY_LOST * len(selection.rows)
    first = _first_awake(_stood_still(joined.named("silences"), error_rate))
    found = sorted(one for one in first if not (lossy and one.is_of_own_spans))
    held: list[list[tuple[int, int]]] = [[] for _ in found]
    windows = core.held([(one.process, one.start, one.end) for one in found])
    ns, rows = selection.critical_within([(row, start, end) for _, row, start, end in windows])
    for (stall, *_), each, row in zip(windows, ns, rows, strict=True):
        if row is not None:
            held[stall].append((row, each))
    is_all = len(selection.requests) == len(core)
    told = [one.told(Outlay.of(of)) for one, of in zip(found, held, strict=True) if of or is_all]
    more = (one for one in _untraced(selection, error_rate) if not any(map(one.is_same_time, told)))
    return sorted([*told, *more], key=lambda one: (one.start_unix_nano, one.end_unix_nano))


def _untraced(selection: Selection, error_rate: float) -> Iterator[Stall]:
    """Stops that show in calls to an etcd that sends no spans."""
    if not selection.phase_ns("etcd.opaque"):
        return
    calls, is_traced = calls_of(selection.joined.named("etcd_call_details"))
    if is_traced:
        return
    for (service, instance), own in _by_caller(selection, calls).items():
        silences = _silences_of(selection, service, instance)
        for each in unanswered(own, error_rate):
            who = (
                Process(f"{service} or etcd", instance) if each.is_still(silences) else Process("etcd", None)
            )
            yield _unanswered(selection, who, each)


def _by_caller(selection: Selection, calls: Iterable[Call]) -> dict[tuple[str, str | None], list[Call]]:
    """Process → its calls. If several processes call, calls outside of requests are left out."""
    instances = selection.of_all("instance")
    services = {one["instance"]: one["service"] for one in selection.requests.spans.processes}
    known = set(instances)
    only = next(iter(known)) if len(known) == 1 else None
    callers: dict[tuple[str, str | None], list[Call]] = {}
    for call, request in zip(
        calls, selection.joined.named("etcd_calls").column("request").to_pylist(), strict=True
    ):
        if request is not None or len(known) == 1:
            instance = only if request is None else instances[request]
            callers.setdefault((services.get(instance, "apiserver"), instance), []).append(call)
    return callers


def _silences_of(selection: Selection, service: str, instance: str | None) -> list[tuple[int, int]]:
    table = selection.joined.named("silences")
    columns = ("service", "instance", "start_unix_nano", "end_unix_nano")
    rows = zip(*(table.column(name).to_pylist() for name in columns), strict=True)
    return [(start, end) for who, which, start, end in rows if (who, which) == (service, instance)]


def _unanswered(selection: Selection, who: Process, each: Unanswered) -> Stall:
    windows = [(call.span, max(each.start, call.start), min(each.end, call.end)) for call in each.calls]
    ns, rows = selection.critical_within(windows)
    held = Outlay.of((row, one) for row, one in zip(rows, ns, strict=True) if row is not None)
    evidence = {**dict.fromkeys(KINDS, 0), "opaque": len(each.calls)}
    evidence |= {"wait_ns": each.wait_ns, "usual_ns": each.usual_ns}
    return Stall(who, each.start, each.end, evidence, tuple(held.rows), tuple(held.ns))


class _Silence(NamedTuple):
    """A row of the core's table "silences"."""

    start: int
    end: int
    process: int
    service: str
    instance: str | None
    called: int
    called_ns: int
    answered: int
    answered_ns: int
    stood: int
    stood_ns: int
    opaque: int
    opaque_ns: int
    apart_ns: int
    uneven_ns: int
    queued: int
    sent: int
    calls: int
    around: int
    slow_around: int
    busy: bool
    longest_ns: int
    """The longest wait between two processes, or of two that agree: usual waits are computed from it."""
    agreed_ns: int
    """How long two waited, each shown by its own evidence; 0 if there are no two."""
    usual_ns: int = 0
    """The limit above which a wait for this process is unusual."""

    @property
    def is_of_calls(self) -> bool:
        """Each call was slow, not the process: calls around it too, a third of those sent in it, or all alike."""
        late = 2 * self.sent > 3 * self.called > 0
        return late or is_slow_around(self.slow_around, self.around) or self.is_each_by_itself

    @property
    def is_of_own_spans(self) -> bool:
        """The only evidence is that its own spans stood still: no calls, no queue."""
        return not (self.called or self.answered or self.opaque or self.queued)

    @property
    def is_each_by_itself(self) -> bool:
        """Calls ended one after the other, all about equally late, and nothing inside the process stood still."""
        return not self.stood and is_each_late(self.apart_ns, self.uneven_ns, self.agreed_ns)

    def told(self, held: Outlay) -> Stall:
        """With the requests that it held up."""
        evidence = {kind: getattr(self, kind) for kind in KINDS}
        evidence |= {"wait_ns": self.agreed_ns, "usual_ns": self.usual_ns}
        who = Process(self.service, self.instance)
        return Stall(who, self.start, self.end, evidence, tuple(held.rows), tuple(held.ns))


_COLUMNS: Final = [
    {"start": "start_unix_nano", "end": "end_unix_nano"}.get(name, name) for name in _Silence._fields[:-1]
]


def _stood_still(table: _core.Table, error_rate: float) -> Iterator[_Silence]:
    """The silences of each process in which others waited longer than usual."""
    busy, process, longest, agreed = (
        table.column(name).to_pylist() for name in ("busy", "process", "longest_ns", "agreed_ns")
    )
    of: dict[int, list[int]] = {}
    for at, ns in enumerate(longest):
        if ns and not busy[at]:
            of.setdefault(process[at], []).append(at)
    calls, called, answered = (table.column(name).to_pylist() for name in ("calls", "called", "answered"))
    for places in of.values():
        waited = sum(called[at] + answered[at] for at in places)
        short = [SHORTEST_NS] * min(max(0, calls[places[0]] - waited), MANY)
        waits = [longest[at] for at in places]
        bound = unusual(waits, short, error_rate=error_rate, least=LEAST_NS, apart=APART)
        if bound < math.inf:
            long = table.take([at for at in places if agreed[at] > bound])
            columns = [long.column(name).to_pylist() for name in _COLUMNS]
            told = map(_Silence._make, zip(*columns, [round(bound)] * len(long), strict=True))
            yield from (one for one in told if not one.is_of_calls)


def _first_awake(silences: Iterable[_Silence]) -> list[_Silence]:
    """Of silences at the same time only the one that ends first: a process that wakes up later waited for it."""
    kept: list[_Silence] = []
    for late in sorted(silences, key=lambda one: (one.end, one.start, one.process)):
        if not any(_is_same_time(late, other) for other in kept[-NEAR:]):
            kept.append(late)
    return kept


def _is_same_time(one: _Silence, other: _Silence) -> bool:
    """They share at least half of the shorter one."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared > 0 and 2 * shared >= min(one.end - one.start, other.end - other.start)
