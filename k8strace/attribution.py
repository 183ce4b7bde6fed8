"""
`attribute`: Requests → `Attribution`, exact integer nanoseconds per request and phase.

Three ways to divide a request's wall time, defined in the reference ("Attribution"):

* `critical_path` (the default): the one chain of spans that the request waited for. Sums to the wall time.
* `active_share`: every instant divided among the spans active in it. Sums to the wall time.
* `self_time`: own time of every span. Sums to more than the wall time if spans overlap; the quotient is parallelism.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex, TypeAlias, overload

from k8strace import _core
from k8strace.components import by_component, component_of
from k8strace.exceptions import expect, expect_several
from k8strace.requests import Requests
from k8strace.selection import Selection
from k8strace.statistics.quantiles import is_quantile, nearest_rank
from k8strace.tables import ArrowExport, Column, Table, column_of, require, typed

if TYPE_CHECKING:
    import polars as pl

    from k8strace.statistics.composition import QuantileParts
    from k8strace.whatif import Change, Projection

__all__ = ["Attribution", "Band", "Breakdown", "Errors", "Group", "Parts", "attribute"]

Method: TypeAlias = Literal["critical_path", "active_share", "self_time"]
Overlap: TypeAlias = Literal["clip", "happens_before"]


class Attribution(ArrowExport):
    """
    Where the time of some requests went.

    It is an Arrow table: one row per request and phase, with the request's ids.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> attribution = k8strace.attribute(requests)
        >>> attribution
        Attribution(1411 requests by critical_path: apiserver, etcd, webhook)
        >>> request = requests.slowest(1)[0]
        >>> attribution.components(request.request)
        {'apiserver': 10562808, 'etcd': 3248043, 'webhook': 2056951613}
        >>> sum(attribution.phases(request.request).values()) == request.wall_ns
        True
    """

    def __init__(self, divided: Selection[Any], method: Method, overlap: Overlap) -> None:
        table = divided._joined.phase_table
        self._divided = divided
        self._method = method
        self._overlap = overlap
        self._names = table.names
        self._core = divided._divide(table.answers, method, overlap)

    def __reduce__(self) -> tuple[type[Attribution], tuple[Any, ...]]:
        return Attribution, (self._divided, self._method, self._overlap)

    @property
    def requests(self) -> Requests:
        """
        The requests whose time was divided.

        Raises:
            TypeError: The time of something else was divided: see `divided`.
        """
        if not isinstance(self._divided, Requests):
            raise TypeError(f"this is about {self._divided.TABLE}, not requests")
        return self._divided

    @property
    def divided(self) -> Selection[Any]:
        """What was divided: requests, or syncs of pods."""
        return self._divided

    @property
    def method(self) -> Method:
        """How it was divided."""
        return self._method

    @cached_property
    def phase_names(self) -> tuple[str, ...]:
        """All phases that took time in these requests, in alphabetical order."""
        return tuple(name for name, ns in zip(self._names, self._sum(self._divided._rows), strict=True) if ns)

    @cached_property
    def component_names(self) -> tuple[str, ...]:
        """All components that took time in these requests, in alphabetical order."""
        return tuple(sorted({component_of(name) for name in self.phase_names}))

    @overload
    def __getitem__(self, at: SupportsIndex) -> Parts: ...
    @overload
    def __getitem__(self, at: str) -> Column: ...
    def __getitem__(self, at: SupportsIndex | str) -> Parts | Column:
        """
        The parts of one request's time, or of one sync's; by name a column.

        Args:
            at: The request, or its index among all joined ones; or the name of a column.

        Raises:
            KeyError: It is not among those whose time was divided, or there is no such column.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> slow = requests.where(verb="list").slowest(1)
            >>> sum(k8strace.attribute(slow)[slow[0]].phases.values()) == slow[0].wall_ns
            True
        """
        if isinstance(at, str):
            return column_of(self._arrow(), at)
        index = operator.index(at)
        if index not in self._members:
            raise KeyError(
                f"{self._divided.TABLE[:-1]} {index} is not one of the {len(self):,} whose time was divided here"
            )
        return Parts({self._names[phase]: ns for phase, ns in self._core.parts(index)})

    @cached_property
    def _members(self) -> Collection[int]:
        rows = self._divided._rows
        return rows if isinstance(rows, range) else frozenset(rows)

    def phases(self, request: int) -> dict[str, int]:
        """Phase → ns of one request, by its index, as `attribution[request].phases`. Raises KeyError."""
        return self[request].phases

    def components(self, request: int) -> dict[str, int]:
        """Component → ns of one request, by its index, as `attribution[request].components`. Raises KeyError."""
        return self[request].components

    @cached_property
    def totals(self) -> dict[str, int]:
        """Phase → ns, over these requests; one inside another one of them is counted there, not twice."""
        return self._named(self._sum(self._divided.outermost()._rows))

    def _sum(self, rows: Sequence[int]) -> list[int]:
        return self._core.totals(list(rows), len(self._names))

    def _named(self, sums: Sequence[int]) -> dict[str, int]:
        return {name: ns for name, ns in zip(self._names, sums, strict=True) if ns}

    def __len__(self) -> int:
        return len(self._divided)

    def to_polars(self) -> pl.DataFrame:
        """The rows as a `polars.DataFrame`; it holds an id once for all rows of a request. Needs `k8strace[polars]`."""
        frame: pl.DataFrame = require("polars", "polars").DataFrame(Table(self._parts(views=True)))
        return frame

    def _arrow(self) -> _core.Table:
        return self._parts(views=False)

    def _parts(self, *, views: bool) -> _core.Table:
        divided = self._divided
        return _core.parts_table(
            self._core,
            divided._table,
            divided._chosen,
            (divided.TABLE[:-1], divided.IDENTITY, views),
            [(component_of(name), name) for name in self._names],
        )

    def by(
        self,
        *keys: str,
        quantiles: Sequence[float] = (0.5, 0.9, 0.99),
        long_running: bool = False,
    ) -> Breakdown:
        """
        Groups the requests, with the duration of each group and the parts of its time.

        Requests without valid times (`Request.has_valid_times`) are left out, and those inside another one of these
        (`Requests.outermost`), which includes their time.

        Args:
            keys: Columns of `Requests`, such as "verb" and "resource". None: one group of all.
            quantiles: Of the wall time, by nearest rank: each is the wall time of a real request. Each also opens a
                band: the requests from its rank up to the next quantile's, or to the slowest.
            long_running: Keep long-running requests, such as watches.

        Returns:
            The groups, most total time first.

        Raises:
            KeyError: There is no such column.
            ValueError: A quantile is not in (0, 1], or they do not ascend.

        Examples:
            >>> import k8strace
            >>> spans = k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")
            >>> attribution = k8strace.attribute(k8strace.join(spans))
            >>> slow = attribution.by("verb", "resource")[0]
            >>> slow.keys, slow.requests
            ({'verb': 'update', 'resource': 'configmaps'}, 48)
            >>> slow.quantile(0.99).wall_ns
            2070762464
        """
        expect_several(quantiles, "quantiles such as (0.5, 0.99)")
        if not all(map(is_quantile, quantiles)) or any(a >= b for a, b in pairwise(quantiles)):
            raise ValueError(f"expected ascending quantiles in (0, 1], got {tuple(quantiles)}")
        grouped = self._divided._judged(long_running=long_running)._by_key(keys, by_wall=True)
        ends = grouped.ends
        spans = [_bands(start, end, quantiles) for start, end in pairwise([0, *ends])]
        sums = iter(self._sums(grouped, [places for bands in spans for places, _ in bands]))
        groups = []
        ids, walls = (self._divided._table.column(name) for name in ("trace_id", "wall_ns"))
        for values, bands in zip(self._divided._values(keys, grouped), spans, strict=True):
            rows = [grouped.row(at) for _, at in bands]
            whole, *others = [
                self._band(places, next(sums), ids[row], walls[row])
                for (places, _), row in zip(bands, rows, strict=True)
            ]
            named = dict(zip(keys, values, strict=True))
            groups.append(Group(named, whole, dict(zip(quantiles, others, strict=True))))
        groups.sort(key=lambda group: (-group.all.wall_ns, str(group.keys)))
        return Breakdown(tuple(keys), tuple(quantiles), tuple(groups))

    def quantile(self, q: float, by: Sequence[str] = ()) -> QuantileParts:
        """
        The parts of a quantile of the wall time, which sum to it, with 95 % intervals.

        Over the same requests as `by`. It describes the requests at the quantile, which is no proof of what made them
        slow: for that use `compare`. Needs the extra `k8strace[analysis]`.

        Args:
            q: In (0, 1], by nearest rank.
            by: Columns of `Requests`. None: one group of all.

        Raises:
            KeyError: There is no such column.
            ValueError: There is no such quantile, or the parts are self times, which do not sum to the wall time.
            MissingExtraError: numpy or scipy is not installed.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> slow = k8strace.attribute(requests).quantile(0.99, by=("verb", "resource"))[0]
            >>> slow.keys, sum(slow.components.values()) == slow.wall_ns
            ({'verb': 'update', 'resource': 'configmaps'}, True)
        """
        from k8strace.statistics.composition import compositions  # imported only when it is needed
        from k8strace.statistics.population import population_of

        if self._method == "self_time":
            raise ValueError(
                "self times do not sum to the wall time: attribute by critical_path or active_share"
            )
        return compositions(population_of(self.requests, self._core, by), q, by)

    def _sums(self, grouped: _core.GroupedRows, places: list[tuple[int, int]]) -> list[_core._Summed]:
        table = self._divided._table
        status = table.column("http_status") if "http_status" in table.column_names else None
        return grouped.sums(self._core, places, status, len(self._names))

    def _band(
        self, places: tuple[int, int], summed: _core._Summed, exemplar: str, exemplar_wall_ns: int
    ) -> Band:
        wall_ns, phases, errors = summed
        return Band(
            requests=places[1] - places[0],
            wall_ns=wall_ns,
            phases={self._names[phase]: ns for phase, ns in phases},
            exemplar=exemplar,
            exemplar_wall_ns=exemplar_wall_ns,
            errors={f"{status}xx": Errors(count, ns) for status, count, ns in errors},
        )

    def what_if(self, *changes: Change) -> Projection:
        """
        How long these requests would take after changes to some of their parts.

        Every request is projected: a span starts after the siblings that had ended before it, and ends after its
        children and its own last gap. The bounds of the result cover dependences that the times do not show.

        Args:
            changes: All changes, made together. Without any, nothing changes, to the nanosecond.

        Raises:
            ValueError: A part does not exist, or the changes are too many or too fine.

        Examples:
            >>> import k8strace
            >>> from k8strace import Change
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> attribution = k8strace.attribute(requests.where(verb="create", resource="pods"))
            >>> group, = attribution.what_if(Change.latency("webhook", 1_000_000)).by()
            >>> group.after["mean_ns"].verdict
            'faster'
        """
        from k8strace.whatif import project  # imported only when it is needed

        return project(self.requests, changes)

    def __repr__(self) -> str:
        return f"Attribution({len(self)} {self._divided.TABLE} by {self._method}: {', '.join(self.component_names)})"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a request's wall time. They sum to it, for conserving methods."""

    phases: dict[str, int]
    """Phase → ns."""

    @property
    def components(self) -> dict[str, int]:
        """Component → ns."""
        return by_component(self.phases)


class Errors(NamedTuple):
    """Requests that ended in an error."""

    requests: int
    """How many."""
    wall_ns: int
    """Sum of their wall times."""


@dataclass(frozen=True, slots=True)
class Band:
    """Some requests of a group and the parts of their time. The parts sum to `wall_ns` for conserving methods."""

    requests: int
    """How many."""
    wall_ns: int
    """Sum of their wall times."""
    phases: dict[str, int]
    """Phase → sum of ns."""
    exemplar: str
    """Trace id of one of them: the slowest of all, or the one at the quantile."""
    exemplar_wall_ns: int
    """Its wall time."""
    errors: dict[str, Errors] = field(default_factory=dict)
    """Class of the HTTP status, such as "4xx" → the requests that ended with it."""

    @property
    def components(self) -> dict[str, int]:
        """Component → sum of ns."""
        return by_component(self.phases)

    @property
    def mean_wall_ns(self) -> float:
        """Mean wall time."""
        return self.wall_ns / self.requests


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of a group's wall time, with the requests from there to the next one."""

    wall_ns: int
    """The quantile: the wall time of a real request."""
    band: Band


@dataclass(frozen=True, slots=True)
class Group:
    """Requests with equal keys."""

    keys: dict[str, Any]
    """Column → value."""
    all: Band
    """All of them; the exemplar is the slowest."""
    bands: dict[float, Band]
    """Quantile → the requests from its rank to the next quantile's; the exemplar is the one at the quantile."""

    @property
    def requests(self) -> int:
        """How many."""
        return self.all.requests

    def quantile(self, q: float) -> Quantile:
        """
        One of the quantiles that were asked for.

        Raises:
            KeyError: It was not.
        """
        band = self.bands[q]
        return Quantile(band.exemplar_wall_ns, band)


class Breakdown(ArrowExport):
    """
    Groups of requests, most total time first.

    An Arrow table by itself: one row per group and band ("all", "p50", …) with `requests`, `wall_ns` (sum),
    `exemplar_wall_ns` (of band "p50": the median), `exemplar_trace_id` and one column of summed ns per phase.
    """

    def __init__(
        self, keys: tuple[str, ...], quantiles: tuple[float, ...], groups: tuple[Group, ...]
    ) -> None:
        self._keys = keys
        self._quantiles = quantiles
        self._groups = groups

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that the requests were grouped by."""
        return self._keys

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles that were asked for."""
        return self._quantiles

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups, most total time first."""
        return self._groups

    def __len__(self) -> int:
        return len(self._groups)

    @overload
    def __getitem__(self, at: int | tuple[Any, ...]) -> Group: ...
    @overload
    def __getitem__(self, at: str) -> Column: ...
    def __getitem__(self, at: int | tuple[Any, ...] | str) -> Group | Column:
        """
        A group by its place or by the values of its keys; by name a column.

        Raises:
            KeyError: There is no such group, or no such column.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> k8strace.attribute(requests).by("verb", "resource")["update", "configmaps"].requests
            48
        """
        if isinstance(at, str):
            return column_of(self._arrow(), at)
        return self._by_values[at] if isinstance(at, tuple) else self._groups[at]

    @cached_property
    def _by_values(self) -> dict[tuple[Any, ...], Group]:
        return {tuple(group.keys.values()): group for group in self._groups}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    def _arrow(self) -> _core.Table:
        rows = [
            (group, name, band)
            for group in self.groups
            for name, band in [
                ("all", group.all),
                *((f"p{q * 100:g}", band) for q, band in group.bands.items()),
            ]
        ]
        phases = sorted({phase for *_, band in rows for phase in band.phases})
        return _core.make_table(
            [
                *((key, *typed([group.keys[key] for group, *_ in rows])) for key in self.keys),
                ("band", "text", [name for _, name, _ in rows]),
                ("requests", "int", [band.requests for *_, band in rows]),
                ("wall_ns", "int", [band.wall_ns for *_, band in rows]),
                ("exemplar_wall_ns", "int", [band.exemplar_wall_ns for *_, band in rows]),
                ("exemplar_trace_id", "text", [band.exemplar for *_, band in rows]),
                *((phase, "int", [band.phases.get(phase, 0) for *_, band in rows]) for phase in phases),
            ]
        )

    def __repr__(self) -> str:
        return f"Breakdown({len(self)} groups by {', '.join(self.keys) or 'nothing'})"


def _bands(start: int, end: int, quantiles: Sequence[float]) -> list[tuple[tuple[int, int], int]]:
    """Of rows by wall time: all and the slowest, then from each quantile's row up to the next, and that row."""
    at = [start + nearest_rank(q, end - start) for q in quantiles]
    bands = zip(at, [*at[1:], end], strict=True)
    return [((start, end), end - 1), *(((first, max(last, first + 1)), first) for first, last in bands)]


def attribute(
    requests: Selection[Any], *, method: Method = "critical_path", overlap: Overlap = "clip"
) -> Attribution:
    """
    Divides the wall time of every request among components and phases, in integer nanoseconds.

    Args:
        requests: Joined requests, or syncs of pods. Not changed.
        method: "critical_path", "active_share" or "self_time".
        overlap: What the critical path does with a child that overlaps a later sibling: "clip" counts its part
            before it, "happens_before" ignores it, as Jaeger and CRISP do.

    Raises:
        TypeError: These are neither requests nor syncs.
        ValueError: An unknown method or overlap.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> etcd = k8strace.attribute(requests.where(verb="get", resource="pods")).totals
        >>> sorted(phase for phase in etcd if phase.startswith("etcd."))
        ['etcd.server', 'etcd.transport']
    """
    expect(requests, Selection, "requests, as join gives them, or syncs of pods")
    return Attribution(requests, method, overlap)
