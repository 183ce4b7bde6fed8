"""
Finished requests summed up, in bounded memory: counts, durations by component, the slowest.

One pass over the columns gives a row of facts per request (`observe`); tallies add rows. Durations are counted by their
value rounded up to three significant digits: 900 counters for every power of ten that occurs, and any quantile is at
most one percent too high. Limits such as 2.5 ms have three digits, so histograms made of these counters are exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from k8strace.attribution import Attribution, attribute
from k8strace.components import component_of
from k8strace.requests import Requests

__all__ = ["Durations", "Group", "Observed", "Recent", "Slow", "Tally", "observe", "rounded_up"]

SLOWEST: Final = 10
"""Requests that a tally remembers by name."""

GROUPS: Final = 512
"""Pairs of verb and resource that a tally tells apart; all later ones are one, of "other"."""

Key = tuple[str | None, str | None]
"""(verb, resource), as sent."""


class Observed(NamedTuple):
    """What a tally needs of one request."""

    trace_id: str
    verb: str | None
    resource: str | None
    namespace: str | None
    http_status: int | None
    wall_ns: int
    components: dict[str, int]
    """Component → ns on the critical path; they sum to `wall_ns`."""
    measured: bool
    """It counts for latency: not long-running, and with valid times."""
    incomplete_cause: str | None
    inner: bool = False
    """Its time is in that of another request."""


def observe(requests: Requests) -> list[Observed]:
    """
    One row per request, in order.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> rows = observe(requests)
        >>> len(rows), sum(row.measured for row in rows)
        (1411, 1293)
        >>> all(sum(row.components.values()) == row.wall_ns for row in rows)
        True
    """
    names = ("trace_id", "verb", "resource", "namespace", "http_status", "wall_ns")
    times = zip(requests.column("has_valid_times"), requests.column("long_running"), strict=True)
    columns = (
        *map(requests.column, names),
        _components(attribute(requests)),
        [valid and not long_running for valid, long_running in times],
        requests.column("incomplete_cause"),
        [around is not None for around in requests.column("counted_in")],
    )
    return list(map(_row, zip(*columns, strict=True)))


_row: Final = partial(tuple.__new__, Observed)
"""`Observed._make`, without a call of Python for each request."""


def _components(attribution: Attribution) -> list[dict[str, int]]:
    """`Attribution.components` of every request, in order."""
    of_phases = [component_of(name) for name in attribution._names]
    names = list(dict.fromkeys(of_phases))
    numbers = {name: number for number, name in enumerate(names)}
    requests = list(attribution.requests.column("request"))
    return attribution._core.grouped(requests, [numbers[name] for name in of_phases], names)


def by_verb_and_resource(rows: Iterable[Observed]) -> dict[Key, list[Observed]]:
    """The same requests by what they ask for, in order."""
    found: defaultdict[Key, list[Observed]] = defaultdict(list)
    for row in rows:
        found[row.verb, row.resource].append(row)
    return found


def rounded_up(ns: int) -> int:
    """
    The next number with at most three significant digits.

    Examples:
        >>> [rounded_up(ns) for ns in (0, 999, 1_000, 1_001, 2_500_000, 2_500_001, 9_991)]
        [0, 999, 1000, 1010, 2500000, 2510000, 10000]
    """
    scale = _SCALES[bisect_left(_SCALED_FROM, ns)]
    return -(-ns // scale) * scale


_SCALES: Final[tuple[int, ...]] = tuple(int(10**power) for power in range(18))
_SCALED_FROM: Final = tuple(1000 * scale for scale in _SCALES[:-1])


class Durations:
    """
    Some durations: how many, their sum, and where they lie.

    Examples:
        >>> durations = Durations()
        >>> for ns in range(1, 101):
        ...     durations.add(ns * 1_000_000)
        >>> durations.count, durations.total_ns, durations.quantile(0.5), durations.quantile(0.99)
        (100, 5050000000, 50000000, 99000000)
        >>> durations.up_to([25_000_000, 1_000_000_000])
        [25, 100]
    """

    __slots__ = ("count", "counts", "total_ns")

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        """Duration, rounded up → how many."""
        self.count = 0
        self.total_ns = 0

    def add(self, *durations_ns: int) -> None:
        """Adds durations in ns."""
        self.counts.update(map(rounded_up, durations_ns))
        self.count += len(durations_ns)
        self.total_ns += sum(durations_ns)

    def remove(self, ns: int) -> None:
        """Takes one back that was added."""
        self.counts[rounded_up(ns)] -= 1
        self.count -= 1
        self.total_ns -= ns

    def merge(self, other: Durations) -> None:
        """Adds all of another's."""
        self.counts.update(other.counts)
        self.count += other.count
        self.total_ns += other.total_ns

    def quantile(self, q: float) -> int:
        """The quantile by nearest rank in ns, at most one percent too high; 0 if there are no durations."""
        rank, seen = max(-(-self.count * round(q * 1000) // 1000), 1), 0
        for ns in sorted(self.counts):
            seen += self.counts[ns]
            if seen >= rank:
                return ns
        return 0

    def up_to(self, limits: Iterable[int]) -> list[int]:
        """For each of some ascending limits in ns, how many durations are not above it."""
        ascending, seen, answers = deque(sorted(self.counts.items())), 0, []
        for limit in limits:
            while ascending and ascending[0][0] <= limit:
                seen += ascending.popleft()[1]
            answers.append(seen)
        return answers


class Group:
    """Requests of one verb and resource."""

    __slots__ = ("components", "requests", "wall")

    def __init__(self) -> None:
        self.requests = 0
        """All of them; `wall` has those that count for latency."""
        self.wall = Durations()
        self.components: Counter[str] = Counter()
        """Component → ns of what `wall` has."""

    def add(self, rows: Sequence[Observed]) -> None:
        """Adds requests."""
        measured = [row for row in rows if row.measured]
        self.requests += len(rows)
        self.wall.add(*(row.wall_ns for row in measured))
        components = self.components
        for row in measured:
            for component, ns in row.components.items():
                components[component] += ns

    def remove(self, row: Observed) -> None:
        """Takes one back that was added."""
        self.requests -= 1
        if row.measured:
            self.wall.remove(row.wall_ns)
            self.components.subtract(row.components)

    def merge(self, other: Group) -> None:
        """Adds all of another's."""
        self.requests += other.requests
        self.wall.merge(other.wall)
        self.components.update(other.components)


class Slow(NamedTuple):
    """One of the slowest requests."""

    wall_ns: int
    trace_id: str
    row: Observed


class Tally:
    """
    Sums over requests. One that late spans replace is removed, and added as it is now.

    One inside another is counted beside the others, and its time only there.

    Examples:
        >>> import k8strace
        >>> tally = Tally()
        >>> tally.add(observe(k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))))
        >>> tally.requests, tally.groups["update", "configmaps"].requests
        (1411, 48)
        >>> tally.slowest()[0].wall_ns
        2070762464
    """

    def __init__(self) -> None:
        self.requests = 0
        self.updates = 0
        """Requests that were removed."""
        self.inner = 0
        """Requests inside others; `requests` and `groups` have them not."""
        self.groups: dict[Key, Group] = {}
        self.incomplete: Counter[str] = Counter()
        """Cause → requests."""
        self._slowest: list[Slow] = []
        """The least slow of them first."""

    def add(self, rows: Iterable[Observed]) -> None:
        """Adds requests."""
        rows = list(rows)
        outer = [row for row in rows if not row.inner]
        self.inner += len(rows) - len(outer)
        self.requests += len(outer)
        for key, group in by_verb_and_resource(outer).items():
            self._group(key).add(group)
        self.incomplete.update(row.incomplete_cause for row in outer if row.incomplete_cause is not None)
        for row in outer:
            if row.measured and (len(self._slowest) < SLOWEST or row.wall_ns >= self._slowest[0].wall_ns):
                self._remember(Slow(row.wall_ns, row.trace_id, row))

    def remove(self, row: Observed) -> None:
        """Takes one back that was added."""
        self.updates += 1
        if row.inner:
            self.inner -= 1
            return
        self.requests -= 1
        self._group((row.verb, row.resource)).remove(row)
        if row.incomplete_cause is not None:
            self.incomplete[row.incomplete_cause] -= 1
        self._slowest = [slow for slow in self._slowest if slow.row != row]

    def merge(self, other: Tally) -> None:
        """Adds all of another's."""
        self.requests += other.requests
        self.updates += other.updates
        self.inner += other.inner
        self.incomplete.update(other.incomplete)
        for key, group in other.groups.items():
            self._group(key).merge(group)
        for slow in other._slowest:
            self._remember(slow)

    def slowest(self) -> list[Slow]:
        """The slowest, slowest first."""
        return sorted(self._slowest, key=lambda slow: (-slow.wall_ns, slow.trace_id))

    def total(self) -> Group:
        """All groups together."""
        whole = Group()
        for group in self.groups.values():
            whole.merge(group)
        return whole

    def _group(self, key: Key) -> Group:
        if key not in self.groups:
            key = key if len(self.groups) < GROUPS else ("other", "other")
            self.groups.setdefault(key, Group())
        return self.groups[key]

    def _remember(self, slow: Slow) -> None:
        # By time and id alone: of one trace, two requests may take equally long, and their rows have no order.
        if len(self._slowest) < SLOWEST or slow[:2] > self._slowest[0][:2]:
            self._slowest.append(slow)
            self._slowest.sort(key=lambda each: each[:2])
            del self._slowest[:-SLOWEST]


class Recent:
    """
    Tallies of the last minutes, and of all time: one for each slot of time, added up on request.

    Args:
        slot_ns: Length of a slot, in ns.
        slots: How many are recent.

    Examples:
        >>> recent = Recent(slot_ns=10, slots=2)
        >>> row = Observed("7f", "get", "pods", None, 200, 5, {"apiserver": 5}, True, None)
        >>> recent.add([row], now_ns=0)
        >>> recent.add([row], now_ns=10)
        >>> recent.tally(now_ns=15).requests, recent.tally(now_ns=25).requests, recent.tally(now_ns=99).requests
        (2, 1, 0)
        >>> recent.total().requests
        2
    """

    def __init__(self, *, slot_ns: int = 10_000_000_000, slots: int = 30) -> None:
        self._slot_ns = slot_ns
        self._most = slots
        self._slots: deque[tuple[int, Tally]] = deque()
        self._older = Tally()

    @property
    def span_ns(self) -> int:
        """How far back it reaches, in ns."""
        return self._slot_ns * self._most

    def add(self, rows: Iterable[Observed], now_ns: int) -> None:
        """Adds requests that were finished now."""
        slot = now_ns // self._slot_ns
        if not self._slots or self._slots[-1][0] < slot:
            self._slots.append((slot, Tally()))
            if len(self._slots) > self._most:
                self._older.merge(self._slots.popleft()[1])
        self._slots[-1][1].add(rows)

    def remove(self, row: Observed, added_ns: int) -> None:
        """Takes one back from the slot of the time when it was added."""
        slot = added_ns // self._slot_ns
        at = next((tally for number, tally in self._slots if number == slot), self._older)
        at.remove(row)

    def tally(self, now_ns: int) -> Tally:
        """All that is not too old, as one."""
        oldest = now_ns // self._slot_ns - self._most
        return _merged(tally for slot, tally in self._slots if slot > oldest)

    def total(self) -> Tally:
        """All since the start, as one."""
        return _merged([self._older, *(tally for _, tally in self._slots)])


def _merged(tallies: Iterable[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.merge(tally)
    return whole
