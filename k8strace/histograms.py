"""
Requests summed up so that parts add up to the whole: exact sums, and durations in buckets, for each group.

    part ─ join ─ attribute ─ Histograms.of ─┐
    part ─ join ─ attribute ─ Histograms.of ─┴ + → the same as one join of everything, bit by bit

The result does not depend on the order or the division into parts.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, reduce
from itertools import pairwise
from typing import Any, Final, NamedTuple, overload

from k8strace import _core
from k8strace.attribution import Attribution, Band, Breakdown, Errors, Group
from k8strace.components import component_of
from k8strace.exceptions import expect
from k8strace.statistics.quantiles import nearest_rank
from k8strace.tables import ArrowExport, Column, column_of, typed

__all__ = ["Histogram", "Histograms", "Sums"]

SCALE: Final = 7
"""128 buckets for each power of two, a relative error of 0.27 %."""

ALL_BUCKETS: Final = 1 << 31
"""More buckets than are ever needed, so the scale stays as it is."""

MOST_GROUPS: Final = 1_000
"""Groups, at most; further ones are summed up together."""

KEYS: Final = ("verb", "resource")
"""The default keys of groups."""

FORMAT: Final = 1
"""Version of `to_bytes`."""


class Histogram:
    """
    Durations in buckets whose limits grow by a factor, as in OTLP: bucket `i` has `(base**i, base**(i + 1)]` seconds.

    Their count and their sum are exact, quantiles are within `relative_error`. Immutable and picklable.

    Args:
        scale: Resolution of the buckets: `base` is `2**(2**-scale)`.
        most_buckets: Buckets from the first to the last, at most. If there are more, neighbours are merged, and the
            scale is reduced.

    Examples:
        >>> from k8strace import Histogram
        >>> durations = Histogram.of([0, 1_000_000_000, 1_500_000_000, 3_000_000_000])
        >>> durations.count, durations.zeros, durations.total_ns
        (4, 1, 5500000000)
        >>> f"{durations.quantile(0.5):,} ns ± {durations.relative_error:.2%}"
        '997,292,400 ns ± 0.27%'
        >>> durations + Histogram() == durations
        True
    """

    __slots__ = ("_core",)

    def __init__(self, *, scale: int = SCALE, most_buckets: int = ALL_BUCKETS) -> None:
        self._core = _core.Exponential(scale, most_buckets)

    @classmethod
    def _of(cls, core: _core.Exponential) -> Histogram:
        made: Histogram = cls.__new__(cls)
        made._core = core
        return made

    @classmethod
    def _told(cls, scale: int, most_buckets: int, told: _core._Durations) -> Histogram:
        return cls._of(_core.Exponential(scale, most_buckets, told))

    @classmethod
    def of(cls, durations: Iterable[int]) -> Histogram:
        """A histogram of durations in ns; negative ones count as zero."""
        made = cls()
        for ns in durations:
            made._core.add(ns)
        return made

    @property
    def scale(self) -> int:
        """Resolution of the buckets."""
        return self._core.scale

    @property
    def relative_error(self) -> float:
        """Maximum error of a quantile as a share of the true one, plus half a nanosecond."""
        return self._core.relative_error

    @property
    def count(self) -> int:
        """How many."""
        return self._core.told()[0]

    @property
    def zeros(self) -> int:
        """Number of durations of zero or less."""
        return self._core.told()[1]

    @property
    def total_ns(self) -> int:
        """Their sum."""
        return self._core.told()[2]

    @property
    def range_ns(self) -> tuple[int, int] | None:
        """The shortest and the longest; None if there are none."""
        return self._core.told()[3]

    @property
    def buckets(self) -> dict[int, int]:
        """Index → count, ascending, without empty buckets."""
        return dict(self._core.told()[4])

    def quantile(self, q: float) -> int | None:
        """
        The quantile by nearest rank, in ns, within `relative_error`; None if there are no durations.

        Raises:
            ValueError: It is not in (0, 1].
        """
        if not 0 < q <= 1:
            raise ValueError(f"expected a quantile in (0, 1], got {q}")
        count = self.count
        return self._core.at(nearest_rank(q, count)) if count else None

    def __add__(self, other: object) -> Histogram:
        return (
            Histogram._of(self._core.merged(other._core)) if isinstance(other, Histogram) else NotImplemented
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._core == other._core

    def __hash__(self) -> int:
        return hash((self.count, self.total_ns))

    def __reduce__(self) -> tuple[Callable[..., Histogram], tuple[Any, ...]]:
        return Histogram._told, (self._core.scale, self._core.most_buckets, self._core.told())

    def __repr__(self) -> str:
        return f"Histogram({self.count} durations, {self.total_ns} ns)"


@dataclass(frozen=True, slots=True)
class Sums:
    """Requests with equal keys, summed up."""

    keys: dict[str, Any]
    """Column → value."""
    all: Band
    """Exact sums; the exemplar is the slowest request, the first by trace id if several are equal."""
    wall: Histogram
    """Histogram of their wall times."""
    components: dict[str, Histogram]
    """Component → histogram of its time in requests where it took time; by name."""

    @property
    def requests(self) -> int:
        """How many."""
        return self.all.requests

    def quantile(self, q: float) -> int:
        """A quantile of the wall time in ns, within the error of `wall`. Raises ValueError if `q` is not in (0, 1]."""
        return self.wall.quantile(q) or 0

    def __add__(self, other: object) -> Sums:
        if not isinstance(other, Sums):
            return NotImplemented
        components = dict(self.components)
        for name, durations in other.components.items():
            components[name] = components[name] + durations if name in components else durations
        return Sums(
            self.keys,
            _sum_of_bands(self.all, other.all),
            self.wall + other.wall,
            dict(sorted(components.items())),
        )


class Histograms(ArrowExport):
    """
    Groups of requests, summed up. `a + b` of parts is equal to the result for everything, bit by bit, in any order.

    `[]` with the values of the keys gives a group. It pickles, and equal ones have equal bytes.

    It is an Arrow table: one row per group and component, null for the wall time, with `count`, `total_ns`,
    `min_ns`, `max_ns`, and OTLP's `scale`, `zero_count`, `bucket_offset` and `bucket_counts` of durations in seconds.

    Examples:
        >>> import k8strace
        >>> first, second = (
        ...     k8strace.Histograms.of(
        ...         k8strace.attribute(k8strace.join(k8strace.read(f"tests/data/{name}.otlp.zst")))
        ...     )
        ...     for name in ("k8s-1.27_etcd-3.5", "k8s-1.36_etcd-3.6")
        ... )
        >>> both = first + second
        >>> both
        Histograms(2645 requests in 103 groups by verb, resource)
        >>> both["update", "configmaps"].requests
        96
        >>> k8strace.Histograms.from_bytes(both.to_bytes()) == both
        True
    """

    def __init__(
        self,
        keys: Sequence[str],
        groups: Iterable[Sums] = (),
        *,
        left_out: int = 0,
        most_groups: int = MOST_GROUPS,
        others: Sums | None = None,
    ) -> None:
        """
        Makes one from groups.

        Args:
            keys: The columns that were grouped by.
            groups: One for each combination of their values.
            left_out: Number of requests that are not in latency statistics: long-running ones, those with impossible
                times, those inside others.
            most_groups: Groups at most, at least 1. If there are more, those with the least hashes of their keys stay,
                which are the same ones in any order of parts; `others` is the sum of the rest.
            others: The sum of the groups above `most_groups`.

        Raises:
            ValueError: `most_groups` is not above 0.
        """
        if most_groups < 1:
            raise ValueError(f"expected most_groups above 0, got {most_groups}")
        self._keys = tuple(keys)
        self._left_out = left_out
        self._most_groups = most_groups
        kept = sorted(groups, key=_place)
        self._hashed = {_values(group): group for group in kept[:most_groups]}
        rest = [_nameless(group) for group in kept[most_groups:]]
        self._others = reduce(_sum, rest if others is None else [others, *rest]) if rest or others else None

    @classmethod
    def of(cls, attribution: Attribution, *keys: str, most_groups: int = MOST_GROUPS) -> Histograms:
        """
        Groups requests and sums them up, the same requests as in `Attribution.by`.

        Args:
            attribution: The attribution of the requests.
            keys: Columns of `Requests`; by default "verb" and "resource".
            most_groups: As for `Histograms`.

        Raises:
            KeyError: There is no such column.
            ValueError: `most_groups` is not above 0.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> slow = k8strace.Histograms.of(k8strace.attribute(requests))["update", "configmaps"]
            >>> slow.requests, slow.wall.total_ns == sum(slow.all.components.values())
            (48, True)
            >>> slow.all.exemplar_wall_ns, abs(slow.quantile(0.99) / 2_070_762_464 - 1) < slow.wall.relative_error
            (2070762464, True)
        """
        expect(attribution, Attribution, "an attribution, as attribute gives it")
        keys = keys or KEYS
        divided = attribution._divided
        judged = divided._judged()
        grouped = judged._by_key(keys, by_wall=True)
        places = list(pairwise([0, *grouped.ends]))
        rows = zip(
            divided._values(keys, grouped),
            places,
            attribution._sums(grouped, places),
            _durations(attribution, grouped),
            strict=True,
        )
        table = divided._table
        slowest = _Slowest(grouped, table.column("trace_id"), table.column("wall_ns"))
        groups = []
        for values, place, summed, (wall, components) in rows:
            band = _in_order(attribution._band(place, summed, *slowest.of(*place)))
            groups.append(Sums(dict(zip(keys, values, strict=True)), band, wall, components))
        return cls(keys, groups, left_out=len(divided) - len(judged), most_groups=most_groups)

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that requests were grouped by."""
        return self._keys

    @cached_property
    def groups(self) -> tuple[Sums, ...]:
        """The groups, most total time first."""
        return tuple(sorted(self._hashed.values(), key=lambda group: (-group.all.wall_ns, str(group.keys))))

    @property
    def others(self) -> Sums | None:
        """The sum of groups above `most_groups`, if there are any."""
        return self._others

    @cached_property
    def total(self) -> Sums:
        """All requests together."""
        empty = Sums({}, Band(0, 0, {}, "", 0), Histogram(), {})
        parts = [*self._hashed.values(), *([] if self._others is None else [self._others])]
        return reduce(_sum, (_nameless(group) for group in parts), empty)

    @property
    def requests(self) -> int:
        """Number of requests that were summed up."""
        return self.total.requests

    @property
    def left_out(self) -> int:
        """Number of requests left out: long-running ones, those with impossible times, and those inside others."""
        return self._left_out

    def breakdown(self, quantiles: Sequence[float] = (0.5, 0.9, 0.99)) -> Breakdown:
        """
        The same as `Attribution.by`, with quantiles within the error.

        The parts of requests at a quantile are not known, so those bands have none.

        """
        return Breakdown(
            self._keys,
            tuple(quantiles),
            tuple(Group(group.keys, group.all, _bands(group, quantiles)) for group in self.groups),
        )

    def __len__(self) -> int:
        return len(self._hashed)

    def __iter__(self) -> Iterator[Sums]:
        return iter(self.groups)

    @overload
    def __getitem__(self, at: int | tuple[Any, ...]) -> Sums: ...
    @overload
    def __getitem__(self, at: str) -> Column: ...
    def __getitem__(self, at: int | tuple[Any, ...] | str) -> Sums | Column:
        """
        A group by index or by the values of its keys; by name a column.

        Raises:
            KeyError: There is no such group, or no such column.
        """
        if isinstance(at, str):
            return column_of(self._arrow(), at)
        return self._hashed[at] if isinstance(at, tuple) else self.groups[at]

    def __add__(self, other: object) -> Histograms:
        """
        The sum of both.

        Raises:
            ValueError: They are grouped by other columns.
        """
        if not isinstance(other, Histograms):
            return NotImplemented
        if other._keys != self._keys:
            raise ValueError(f"expected groups by {', '.join(self._keys)}, got {', '.join(other._keys)}")
        groups = dict(self._hashed)
        for values, group in other._hashed.items():
            groups[values] = groups[values] + group if values in groups else group
        others = [each._others for each in (self, other) if each._others is not None]
        return Histograms(
            self._keys,
            groups.values(),
            left_out=self._left_out + other._left_out,
            most_groups=min(self._most_groups, other._most_groups),
            others=reduce(_sum, others) if others else None,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histograms) and self._told() == other._told()

    def __hash__(self) -> int:
        return hash((self._keys, len(self)))

    def __reduce__(self) -> tuple[Callable[[bytes], Histograms], tuple[bytes]]:
        return Histograms.from_bytes, (self.to_bytes(),)

    def to_bytes(self) -> bytes:
        """All of it as bytes; equal ones give equal bytes."""
        return zlib.compress(json.dumps(self._told(), separators=(",", ":")).encode(), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Histograms:
        """
        The reverse of `to_bytes`.

        Raises:
            ValueError: The bytes are something else.
        """
        try:
            told = json.loads(zlib.decompress(data))
            if told["format"] != FORMAT:
                raise ValueError(f"expected histograms of format {FORMAT}, got {told['format']}")
            return cls(
                told["keys"],
                (_sums_of(told["keys"], group) for group in told["groups"]),
                left_out=told["left_out"],
                most_groups=told["most_groups"],
                others=told["others"] and _sums_of((), told["others"]),
            )
        except (zlib.error, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"expected the bytes of histograms, got {len(data):,} others ({error})"
            ) from error

    def _told(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "keys": list(self._keys),
            "left_out": self._left_out,
            "most_groups": self._most_groups,
            "groups": [_told_of(group) for group in self._hashed.values()],
            "others": None if self._others is None else _told_of(self._others),
        }

    def _arrow(self) -> _core.Table:
        rows = [
            (group, component, durations)
            for group in [*self.groups, *([] if self._others is None else [self._others])]
            for component, durations in [(None, group.wall), *group.components.items()]
        ]
        ranges = [durations.range_ns or (None, None) for *_, durations in rows]
        dense = [_dense(durations.buckets) for *_, durations in rows]
        return _core.make_table(
            [
                *((key, *typed([group.keys.get(key) for group, *_ in rows])) for key in self._keys),
                ("component", "text", [component for _, component, _ in rows]),
                ("count", "int", [durations.count for *_, durations in rows]),
                ("total_ns", "int", [durations.total_ns for *_, durations in rows]),
                ("min_ns", "int", [least for least, _ in ranges]),
                ("max_ns", "int", [most for _, most in ranges]),
                ("scale", "int", [durations.scale for *_, durations in rows]),
                ("zero_count", "int", [durations.zeros for *_, durations in rows]),
                ("bucket_offset", "int", [offset for offset, _ in dense]),
                ("bucket_counts", "ints", [counts for _, counts in dense]),
            ]
        )

    def __repr__(self) -> str:
        return f"Histograms({self.requests} requests in {len(self)} groups by {', '.join(self._keys) or 'nothing'})"


class _Slowest(NamedTuple):
    """The slowest request of a group, by trace id; the first if several are equal."""

    grouped: _core.GroupedRows
    trace_id: _core.Column
    wall_ns: _core.Column

    def of(self, start: int, end: int) -> tuple[str, int]:
        """The slowest of the rows in a range."""
        row = self.grouped.row
        first, most = end - 1, self.wall_ns[row(end - 1)]
        while first > start and self.wall_ns[row(first - 1)] == most:
            first -= 1
        return min(self.trace_id[row(at)] for at in range(first, end)), most


def _durations(
    attribution: Attribution, grouped: _core.GroupedRows
) -> list[tuple[Histogram, dict[str, Histogram]]]:
    """For each group the histogram of its wall times, and by name those of its components."""
    names = sorted({component_of(name) for name in attribution._names})
    numbers = [names.index(component_of(name)) for name in attribution._names]
    found = []
    for (_, wall), *parts in grouped.durations(attribution._core, numbers, Histogram()._core):
        of = {names[number]: Histogram._of(core) for number, core in parts if number is not None}
        found.append((Histogram._of(wall), of))
    return found


def _values(group: Sums) -> tuple[Any, ...]:
    return tuple(group.keys.values())


def _place(group: Sums) -> bytes:
    """A hash of the keys, which is the same on every machine."""
    return _place_of(*group.keys.values())


@lru_cache(1 << 14, typed=True)
def _place_of(*values: Any) -> bytes:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).digest()


def _nameless(group: Sums) -> Sums:
    return replace(group, keys={})


def _sum(one: Sums, other: Sums) -> Sums:
    return one + other


def _sum_of_bands(one: Band, other: Band) -> Band:
    errors = dict(one.errors)
    for name, (requests, wall_ns) in other.errors.items():
        before = errors.get(name, Errors(0, 0))
        errors[name] = Errors(before.requests + requests, before.wall_ns + wall_ns)
    slowest = max(one, other, key=lambda band: (band.requests > 0, band.exemplar_wall_ns))
    if one.requests and other.requests and one.exemplar_wall_ns == other.exemplar_wall_ns:
        slowest = min(one, other, key=lambda band: band.exemplar)
    phases = dict(one.phases)
    for name, ns in other.phases.items():
        phases[name] = phases.get(name, 0) + ns
    return Band(
        requests=one.requests + other.requests,
        wall_ns=one.wall_ns + other.wall_ns,
        phases=dict(sorted(phases.items())),
        exemplar=slowest.exemplar,
        exemplar_wall_ns=slowest.exemplar_wall_ns,
        errors=dict(sorted(errors.items())),
    )


def _in_order(band: Band) -> Band:
    """Parts sorted by name, so that equal sums have equal bytes."""
    return replace(band, phases=dict(sorted(band.phases.items())), errors=dict(sorted(band.errors.items())))


def _bands(group: Sums, quantiles: Sequence[float]) -> dict[float, Band]:
    count = group.requests
    ranks = [nearest_rank(q, count) for q in quantiles]
    ends = [*ranks[1:], count]
    return {
        q: Band(max(end - rank, 1), 0, {}, "", group.quantile(q))
        for q, rank, end in zip(quantiles, ranks, ends, strict=True)
    }


def _dense(buckets: Mapping[int, int]) -> tuple[int, list[int]]:
    """Index of the first bucket, and the counts from there on."""
    if not buckets:
        return 0, []
    first, last = min(buckets), max(buckets)
    return first, [buckets.get(index, 0) for index in range(first, last + 1)]


def _told_of(group: Sums) -> list[Any]:
    band = group.all
    return [
        list(_values(group)),
        [band.requests, band.wall_ns, band.phases, band.exemplar, band.exemplar_wall_ns, band.errors],
        _told_histogram(group.wall),
        {name: _told_histogram(durations) for name, durations in group.components.items()},
    ]


def _told_histogram(histogram: Histogram) -> list[Any]:
    return [histogram._core.scale, histogram._core.most_buckets, histogram._core.told()]


def _sums_of(keys: Sequence[str], told: list[Any]) -> Sums:
    values, (requests, wall_ns, phases, exemplar, exemplar_wall_ns, errors), wall, components = told
    band = Band(
        requests,
        wall_ns,
        phases,
        exemplar,
        exemplar_wall_ns,
        {name: Errors(*pair) for name, pair in errors.items()},
    )
    of = {name: _histogram_of(durations) for name, durations in components.items()}
    return Sums(dict(zip(keys, values, strict=True)), band, _histogram_of(wall), of)


def _histogram_of(told: list[Any]) -> Histogram:
    scale, most_buckets, (count, zeros, total_ns, range_ns, buckets) = told
    ascending = [(index, number) for index, number in buckets]
    return Histogram._told(
        scale, most_buckets, (count, zeros, total_ns, range_ns and tuple(range_ns), ascending)
    )
