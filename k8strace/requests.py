"""`join`: Spans → `Requests`, one row per API request, with its repairs and the ledger of every span."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace import _core
from k8strace.calltree import build_call_tree
from k8strace.components import OWN, Taxonomy, by_component, component_of
from k8strace.exceptions import expect, expect_several
from k8strace.files import FileExport
from k8strace.keys import EACH, KEYS, MANY, column_of, key_of, step_of, step_text
from k8strace.phases import PhaseTable, phase_table
from k8strace.selecting import (
    Condition,
    Moment,
    ValueType,
    condition_of,
    moment_of,
    named,
    names_of,
    predicate_of,
)
from k8strace.selection import Selection, fits
from k8strace.spans import Issue, Spans
from k8strace.tables import Shown, Table

if TYPE_CHECKING:
    import networkx as nx

    from k8strace.archive import ClockEvidence
    from k8strace.formats.client_times import ClientTime
    from k8strace.formats.content import Readable

RESOURCE: Final = "resource."
"""Columns that begin so are attributes of the resource that sent the root span."""

BY_DEFAULT: Final = ("critical_path", "clip")
"""How wall time is divided if nobody asks for anything else."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

__all__ = ["Joined", "Ledger", "Request", "Requests", "join"]


class Ledger(NamedTuple):
    """Every span has one place: `spans` = sum of `used` + sum of `set_aside`."""

    spans: int
    """Spans in."""
    used: dict[str, int]
    """Use → spans: in a request's tree, above it as its prelude, in the tree of a background call."""
    set_aside: dict[str, int]
    """Reason → spans."""


def ledger_of(rows: Sequence[tuple[str, bool, int]]) -> Ledger:
    """The ledger as the core has it: (role, is a use, spans)."""
    return Ledger(
        spans=sum(count for *_, count in rows),
        used={name: count for name, is_use, count in rows if is_use},
        set_aside={name: count for name, is_use, count in rows if not is_use},
    )


class Joined:
    """
    What is said of everything that was joined, whatever was selected of it. See `Requests.joined`.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.31_etcd-3.5.otlp.zst"))
        >>> joined = requests.where(verb="list").joined
        >>> joined
        Joined(1452 requests in 2040 traces)
        >>> joined.ledger.spans == sum(joined.ledger.used.values()) + sum(joined.ledger.set_aside.values())
        True
        >>> joined.ledger.set_aside["orphan"]
        52
    """

    __slots__ = ("_join",)

    def __init__(self, join: _Join) -> None:
        self._join = join

    @property
    def spans(self) -> Spans:
        """The spans."""
        return self._join.spans

    @property
    def requests(self) -> Requests:
        """All requests."""
        return Requests(self._join)

    @property
    def counts(self) -> dict[str, int]:
        """How many traces, requests and so on were joined.

        `rpc_pairs`: gRPC CLIENT spans with their SERVER span, of the apiserver and etcd; `cri_pairs`: the same of
        kubelets and container runtimes. `background_calls`, and `syncs` of pods.
        """
        return dict(self._join.counts)

    @property
    def ledger(self) -> Ledger:
        """What became of every span."""
        return ledger_of(self._join.core.ledger())

    @property
    def clock_offsets(self) -> Table:
        """
        Offsets of called processes' clocks against their callers', measured from the calls between them.

        One row per pair of processes: `client` and `server`, each a service with its instance id, or its host;
        `verdict`; `offset_ns`, what was taken off the server's times, as it was at `at_unix_nano` (`at_time`); its
        bounds `low_ns` and `high_ns` (null: unbounded); `drift_ppm`; `pairs` of spans, and how many of them were
        `set_aside`. A span that ends late, because its process waited for a processor, contradicts the others. At
        most 1 in 200 pairs is set aside, or 3 where there are few, and only if the others agree.
        Verdicts: "agree" (0 is within the bounds: nothing was moved), "offset", "drift" (only a steadily changing
        offset fits) and "contradiction" (none does: several processes under one name, or a stepped clock;
        nothing was moved).
        """
        return Table(self._join.core.table("clock_offsets"))

    @property
    def recorded(self) -> tuple[int, int]:
        """When the first request began and the last one ended, in ns since 1970; zeros if there is none."""
        return self._join.recorded

    def __repr__(self) -> str:
        counts = self.counts
        return f"Joined({counts['requests']} requests in {counts['traces']} traces)"


@dataclass(frozen=True, slots=True, repr=False)
class Request(Shown):
    """One API request: a SERVER span of the apiserver and everything below it."""

    request: int
    """Index among all joined requests, by (start, trace id, span id)."""
    trace_id: str
    span_id: str
    """Of the SERVER span, in hex."""
    name: str
    """Name of the SERVER span."""
    verb: str | None
    """Kubernetes verb: get, list, watch, create, …; the HTTP method in lower case off the resources."""
    api_group: str | None
    """None for the core group."""
    api_version: str | None
    resource: str | None
    """Plural name, such as "pods"; None for `/healthz` and the like."""
    subresource: str | None
    namespace: str | None
    object_name: str | None
    http_method: str | None
    http_status: int | None
    target: str | None
    """Request URI, or its path where the version tells no more."""
    user_agent: str | None
    audit_id: str | None
    """The apiserver's own id of it, as in its audit log. From 1.26 on; before 1.34 only where a handler had a span."""
    response_bytes: int | None
    """How long the body of the answer was, as it was sent."""
    instance: str | None
    """`service.instance.id` of the apiserver."""
    start_unix_nano: int
    wall_ns: int
    """End minus start of the SERVER span; 0 if it ends before it starts."""
    prelude_ns: int | None
    """
    Time from the start of an `authentication` span above the request to the request's start. Not in `wall_ns`. None
    also if the times of one of them cannot be.
    """
    pre_start_ns: int
    """How long before the request's start its earliest span began. Cut off, so not in any sum."""
    async_tail_ns: int
    """How long after the request's end its last span ended. Cut off, so not in any sum."""
    spans: int
    """Spans in its tree, those of requests inside it included."""
    etcd_call_count: int
    """etcd calls in its tree."""
    retries: int
    """How many of them repeat one that etcd refused as UNAVAILABLE, where attempts are spans (Kubernetes 1.34 on)."""
    conflicts: int
    """Failed attempts at updates in its tree: another client had written the object in between."""
    outer_request: int | None
    """Index of the request that this one happened in."""
    linked_from: int | None
    """
    Index of the request that caused this one, by a span link. It is not in that one's tree, nor in its sums:
    kube-apiserver begins a new trace for callers it does not trust, such as a webhook that calls back.
    """
    caller_service: str | None
    """
    `service.name` of a traced client that made it, such as "kubelet": of the CLIENT span that is its parent, or that
    one of its links names, outside requests.
    """
    caller_trace_id: str | None
    caller_span_id: str | None
    """Of that span, in hex."""
    caller_ns: int | None
    """
    How long that span lasted. Minus `wall_ns`, it is the time outside the request. None also if its times cannot be.
    """
    counted_in: int | None
    """
    Index of the request whose time contains this one's: `outer_request`, or `linked_from` if this one began while that
    one ran. Sums over requests that include that one leave this one out.
    """
    long_running: bool
    """
    It stays open by its nature (watch, exec, log, …, and every answer with 101), and is left out of latency statistics.
    """
    has_valid_times: bool
    """Its start and end are set, in order, and before the year 2116. Otherwise it is left out of latency statistics."""
    complete: bool
    """Nothing is known to be missing from its tree. A caller that was not recorded does not count."""
    incomplete_cause: str | None
    """
    "evicted": a stream had to emit it early. "etcd_not_traced": an etcd call without a SERVER span.
    "span_lost": a span of its trace names a parent that never arrived. "dropped": a sender dropped attributes,
    events or links of its spans.
    """
    _requests: Requests = field(compare=False)

    @property
    def tree(self) -> nx.DiGraph[str]:
        """Its call tree, made when asked for. See `k8strace.calltree.build_call_tree` for what the nodes carry."""
        return self._requests._tree(self.request)

    @property
    def phases(self) -> dict[str, int]:
        """Phase → ns on its critical path; they sum to `wall_ns`. For many requests `attribute` is quicker."""
        return self._requests._phases(self.request)

    @property
    def components(self) -> dict[str, int]:
        """Component → ns on its critical path; they sum to `wall_ns`."""
        return by_component(self.phases)

    @property
    def etcd_calls(self) -> Table:
        """The etcd calls that it made itself, by start: rows of `Requests.etcd_calls`."""
        return self._about("etcd_calls")

    @property
    def webhook_calls(self) -> Table:
        """Its calls to admission webhooks, by start: rows of `Requests.webhook_calls`."""
        return self._about("webhook_calls")

    @property
    def repairs(self) -> Table:
        """What was repaired in it: rows of `Requests.repairs`."""
        return self._about("repairs")

    @property
    def issues(self) -> Table:
        """What was repaired, looks wrong or is missing in it: rows of `Requests.issues`."""
        return self._about("issues")

    def _about(self, table: str) -> Table:
        return self._requests._joined.of(table, [self.request])

    @property
    def index(self) -> int:
        """Its place among all joined requests, from 0: the column `request` of every table, a key of `Attribution`."""
        return self.request

    @property
    def start_time(self) -> datetime:
        """`start_unix_nano` as a time with the zone UTC, to the microsecond."""
        return _instant(self.start_unix_nano)

    @property
    def end_time(self) -> datetime:
        """When it ended, in the same way."""
        return _instant(self.start_unix_nano + self.wall_ns)

    @property
    def what(self) -> str:
        """What it asked for, in a few words: "list pods -n kube-system"."""
        parts = [self.verb or self.name, self.resource or (self.target or "").partition("?")[0]]
        if self.subresource:
            parts[1] += f"/{self.subresource}"
        if self.namespace:
            parts.append(f"-n {self.namespace}")
        return " ".join(part for part in parts if part)

    def __index__(self) -> int:
        return self.request

    def __repr__(self) -> str:
        ms = self.wall_ns / 1e6
        return f"Request({self.what}, {ms:.3f} ms, {self.spans} spans, {self.etcd_call_count} etcd calls)"


_FIELDS: Final = [f.name for f in fields(Request) if not f.name.startswith("_")]


class _Join:
    """What all selections of one join share."""

    def __init__(
        self,
        spans: Spans,
        taxonomy: Taxonomy,
        core: _core.JoinedSpans,
        apiservers: list[str] | None = None,
        added: Mapping[str, list[Any]] | None = None,
        clock: ClockEvidence | None = None,
    ) -> None:
        self._clock = clock
        self.spans = spans
        self.taxonomy = taxonomy
        self.core = core
        self._apiservers = apiservers
        """Which services were said to be API servers; None if a stream joined these spans."""
        self._added = added or {}
        self.columns: dict[tuple[str, str], list[Any]] = {
            ("requests", name): values for name, values in self._added.items()
        }
        self._several: dict[str, list[Any]] = {}
        self._codes: dict[tuple[str, str], _core.Codes] = {}
        self._tables: dict[str, _core.Table] = {}
        self.judged: dict[bool, Sequence[int]] = {}
        """Rows of `Requests._judged` of everything, by whether long-running ones are kept."""
        self._about: dict[str, _core.About] = {}

    def __reduce__(self) -> tuple[Callable[..., _Join], tuple[Any, ...]]:
        if self._apiservers is None:
            raise TypeError(
                "requests of a stream cannot be pickled, for they depend on what else it has seen: "
                "pickle what `to_arrow()` gives, or join the spans by themselves"
            )
        return _joined, (self.spans, self.taxonomy, self._apiservers, self._added, self._clock)

    def with_column(self, name: str, values: list[Any]) -> _Join:
        """The same with one more column of requests."""
        added = {**self._added, name: values}
        return _Join(self.spans, self.taxonomy, self.core, self._apiservers, added, self._clock)

    @property
    def table(self) -> _core.Table:
        return self.named("requests")

    def column(self, name: str, table: str = "requests") -> list[Any]:
        if (table, name) not in self.columns:
            key = name.removeprefix(RESOURCE)
            self.columns[table, name] = (
                self._column(name, table) if key == name else self.core.resource(key, table)
            )
        return self.columns[table, name]

    def values(self, name: str, table: str, rows: Sequence[int]) -> list[Any]:
        """Some values of a column, without making the others if it can be helped."""
        if (table, name) in self.columns:
            values = self.columns[table, name]
            return [values[row] for row in rows]
        own = self.own(name, table)
        if own is not None:
            return own.take(rows).to_pylist()
        if table == "requests" and name in EACH:
            column, told = EACH[name]
            return [None if value is None else told(value) for value in self.values(column, table, rows)]
        step = step_of(name) if table == "requests" else None
        if step is not None:
            times = (self.values(each, table, rows) for each in ("start_unix_nano", "has_valid_times"))
            return [step_text(at, step) if valid else None for at, valid in zip(*times, strict=True)]
        return [self.column(name, table)[row] for row in rows]

    def codes(self, name: str, table: str) -> _core.Codes:
        """Which rows have equal values in a column, told by the core where the column is its own."""
        expect(name, str, "the name of a column")
        if (table, name) not in self._codes:
            self._codes[table, name] = self._coded(name, table)
        return self._codes[table, name]

    def _coded(self, name: str, table: str) -> _core.Codes:
        own = self.own(name, table)
        if own is not None:
            return _core.Codes.of(own)
        if (table, name) in self.columns or table != "requests":
            return _core.Codes(_numbered(self.column(name, table)))
        if name in EACH:
            column, _ = EACH[name]
            distinct = _core.GroupedRows(None, len(self.core), [self.codes(column, table)])
            return distinct.coded(_numbered(self.values(name, table, distinct.first)))
        step = step_of(name)
        if step is not None and step < 2**63:
            return _core.Codes.steps(
                self.table.column("start_unix_nano"), self.table.column("has_valid_times"), step
            )
        return _core.Codes(_numbered(self.column(name, table)))

    def own(self, name: str, table: str) -> _core.Column | None:
        """A column of the core, unless it was added or is made of others."""
        own = self.named(table)
        is_own = name in own.column_names and not (table == "requests" and name in self._added)
        return own.column(name) if is_own else None

    def _column(self, name: str, table: str) -> list[Any]:
        if table != "requests":
            return self._plain(name, table)
        if name in self.table.column_names:
            return self.table.column(name).to_pylist()
        values = column_of(name, self)
        if values is None:
            known = ", ".join((*self.table.column_names, *KEYS))
            names = [*self.table.column_names, *KEYS]
            low = name.lower()
            near = [each for each in names if low in each] or get_close_matches(low, names)
            meant = f" (did you mean {' or '.join(near[:2])}?)" if near else ""
            raise KeyError(
                f"there is no column {name!r} of requests{meant}, but {known}, steps of time such as 10s, minute or "
                f"hour, and {RESOURCE}KEY"
            )
        return values

    def _plain(self, name: str, table: str) -> list[Any]:
        names = self.named(table).column_names
        if name not in names:
            raise KeyError(
                f"there is no column {name!r} of {table}, but {', '.join(names)}, and {RESOURCE}KEY"
            )
        return self.named(table).column(name).to_pylist()

    def row_names(self, rows: Iterable[int | None]) -> list[str | None]:
        """Names of spans."""
        names = self.spans._columns.column("name")
        return [None if row is None else names[row] for row in rows]

    def spending(self, component: str) -> Collection[int]:
        """Requests that spent time in a component, on their critical paths."""
        phases = [at for at, name in enumerate(self.phase_table.names) if component_of(name) == component]
        rows = range(len(self.core))
        return {row for phase in phases for row in self.divided.spent(phase, rows)[0]}

    def test(self, text: str) -> tuple[list[Any], Callable[[Any], bool]]:
        """A column, and the test that a written condition makes of its values."""
        condition = condition_of(text)
        name = self.name_of(condition)
        fits = predicate_of(
            condition, self._value_type(name), is_time=name.endswith("_ns"), any_case=name == "verb"
        )
        return self.found_by(name, fits, all if condition.operator == "!=" else any)

    def found_by(
        self, name: str, fits: Callable[[Any], bool], several: Callable[[Iterable[bool]], bool] = any
    ) -> tuple[list[Any], Callable[[Any], bool]]:
        """A column as conditions see it, and what they ask: of a key with several values, of each of them."""
        if name not in MANY:
            return self.column(name), fits
        if name not in self._several:
            self._several[name] = [[*values] or [None] for values in MANY[name](self)]
        return self._several[name], lambda values: several(map(fits, values))

    def name_of(self, condition: Condition) -> str:
        """The column that a condition is about."""
        return named(self.table.column_names, key_of(condition))

    def _value_type(self, name: str) -> ValueType:
        if name not in self.table.column_names:
            return "text"
        arrow = self.table.column(name).type_name.lower()
        return "bool" if arrow.startswith("bool") else "int" if "int" in arrow else "text"

    @cached_property
    def recorded(self) -> tuple[int, int]:
        """When the first request began, and when the last one ended; zeros if there is none."""
        columns = (self.column(name) for name in ("start_unix_nano", "wall_ns", "has_valid_times"))
        times = [(start, start + wall) for start, wall, valid in zip(*columns, strict=True) if valid]
        return min((start for start, _ in times), default=0), max((end for _, end in times), default=0)

    @cached_property
    def phase_table(self) -> PhaseTable:
        return phase_table(self.core, self.taxonomy)

    @cached_property
    def divided(self) -> _core.AttributedRequests:
        """The wall time of all requests, divided as it is by default."""
        return self.core.attribute(self.phase_table.answers, *BY_DEFAULT, None)

    def of(self, name: str, requests: Sequence[int]) -> Table:
        """
        The rows of a table that are about these requests, in their order.

        All that there are, those about no request too, if nothing was selected.
        """
        table = self.named(name)
        if requests == range(len(self.core)):
            return Table(table)
        return Table(self.about(name, requests))

    def about(self, name: str, requests: Sequence[int] | None) -> _core.Table:
        """The rows of a table that are about these requests, or about any."""
        if name not in self._about:
            self._about[name] = _core.About(self.named(name), "request", len(self.core))
        return self._about[name].of(requests)

    def named(self, name: str) -> _core.Table:
        """A table of everything that was joined, made once."""
        if name not in self._tables:
            self._tables[name] = self.core.table(name)
        return self._tables[name]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many requests, syncs and so on there are, see `Joined.counts`."""
        return dict(self.core.counts())

    def size(self, table: str) -> int:
        """How many rows "requests" or "syncs" has, known before it is made."""
        return self.counts[table]


class Requests(Selection[Request], FileExport):
    """
    The API requests of some spans, or a selection of them. Frozen: `where` and `slowest` give new ones.

    An Arrow table by itself, one row per request; the columns are the fields of `Request`, and its start and end as
    times. By index it gives a `Request`, by slice a selection, by name a column.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> requests
        Requests(1411 requests in 2338 traces, 1413 etcd calls, 161 of them in the background)
        >>> requests.where(verb="list", resource="configmaps").slowest(2)
        Requests(2 of 1411 requests)
        >>> requests.where(verb="create", wall_ns=lambda ns: ns > 2_000_000_000)
        Requests(1 of 1411 requests)
    """

    TABLE = "requests"
    IDENTITY = ("trace_id", "span_id", "verb", "resource")

    __slots__ = ()

    _joined: _Join

    def _with(self, rows: Sequence[int]) -> Requests:
        return Requests(self._joined, rows)

    @property
    def spans(self) -> Spans:
        """The spans that were joined, whatever was selected."""
        return self._joined.spans

    @property
    def joined(self) -> Joined:
        """What is said of everything that was joined, selected or not: counts, the ledger, clock offsets and so on."""
        return Joined(self._joined)

    @property
    def taxonomy(self) -> Taxonomy:
        """Who spent the time: the rules that `tree`, `graph` and `attribute` go by."""
        return self._joined.taxonomy

    def _row(self, row: int) -> Request:
        values = {name: self._joined.column(name)[row] for name in _FIELDS}
        return Request(**values, _requests=self)

    def _divide(self, answers: _core.Answers, method: str, overlap: str) -> _core.AttributedRequests:
        if (method, overlap) == BY_DEFAULT and 2 * len(self) > len(self._joined.core):
            return self._joined.divided  # made once, for all who ask
        return self._joined.core.attribute(answers, method, overlap, self._chosen)

    def _measured(self, *, long_running: bool) -> Requests:
        """Those whose times can be true, and that do not stay open by nature."""
        is_valid, is_open = self._all("has_valid_times"), self._all("long_running")
        return self._with([row for row in self._rows if is_valid[row] and (long_running or not is_open[row])])

    def _judged(self, *, long_running: bool = False) -> Requests:
        if not self._is_everything:
            return super()._judged(long_running=long_running)
        known = self._joined.judged  # asked by all who sum up
        if long_running not in known:
            known[long_running] = super()._judged(long_running=long_running)._rows
        return self._with(known[long_running])

    def find(self, trace_id: str) -> Requests:
        """The requests of a trace, by its id in hex or the beginning of it."""
        expect(trace_id, str, "a trace id in hex")
        return self.where(trace_id=lambda known: known.startswith(trace_id.lower()))

    def where(self, *conditions: str, **wanted: Any) -> Requests:
        """
        The requests that fit all conditions, in the same order.

        Args:
            conditions: As on the command line: a column, one of `= != < > <= >= ~`, and a value. `=` takes patterns
                with `* ? []`, and nothing for none; `~` a regular expression; times a unit ("wall>100ms").
            wanted: Column name → a value that it equals, a collection of values that it is in,
                or a function that says whether a value fits. `resource.KEY` is any attribute of the resource
                that sent the SERVER span, as text; None where it has none.

        Raises:
            KeyError: There is no such column.
            ConditionError: A condition cannot be read.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> requests.where(**{"resource.service.name": "apiserver", "verb": "delete"})
            Requests(18 of 1411 requests)
            >>> requests.where("verb=LIST", "wall>=10ms")
            Requests(28 of 1411 requests)
        """
        tests = [
            *(self._joined.test(text) for text in conditions),
            *(self._joined.found_by(name, _test(value, name)) for name, value in wanted.items()),
        ]
        return Requests(
            self._joined, [row for row in self._rows if all(test(col[row]) for col, test in tests)]
        )

    def with_column(self, name: str, values: Sequence[Any]) -> Requests:
        """
        The same requests with one more column, to select and group by.

        Args:
            name: What it is called.
            values: Of all joined requests, by their index; text or None.

        Raises:
            ValueError: There are more or fewer values than joined requests.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> teams = [f"team-{(namespace or '?')[-1]}" for namespace in requests.column("namespace")]
            >>> requests.with_column("team", teams).where("team=team-3")
            Requests(167 of 1411 requests)
        """
        expect(name, str, "the name of a column")
        expect_several(values, "a value for each joined request")
        joined = self._joined
        if len(values) != len(joined.core):
            raise ValueError(f"expected {len(joined.core)} values, one per joined request, got {len(values)}")
        return Requests(joined.with_column(name, list(values)), self._rows)

    def between(self, start: Moment = None, end: Moment = None) -> Requests:
        """
        The requests that began at `start` or later, and before `end`, in the same order.

        Consecutive ranges give every request once. Requests without valid times are left out, unless both ends are
        open.

        Args:
            start: Unix ns; a `datetime` with a zone; or text: RFC 3339, "10m" before the end of the recording, or
                "14:05", a clock time of the recording in UTC (of several days: the last within it). None: open.
            end: The same; a clock time is one after the start.

        Raises:
            ConditionError: A time is none of these.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> requests.between("-5s")
            Requests(8 of 1411 requests)
            >>> requests.between("-10s", "-5s")
            Requests(47 of 1411 requests)
        """
        recorded = self._joined.recorded
        since = moment_of(start, recorded, name="start")
        until = moment_of(end, recorded, name="end", after=since)
        if since is None and until is None:
            return self
        begun, valid = (self._joined.column(name) for name in ("start_unix_nano", "has_valid_times"))
        first, last = since or 0, 2**64 if until is None else until
        return Requests(
            self._joined, [row for row in self._rows if valid[row] and first <= begun[row] < last]
        )

    def slowest(self, count: int | None = None, *, long_running: bool = False) -> Requests:
        """
        The longest requests first; of equally long ones the earlier first. Requests without valid times are left out.

        Args:
            count: At most this many; None for all.
            long_running: Keep watches and other requests that stay open by their nature.

        Raises:
            ValueError: The count is negative.
        """
        return self._measured(long_running=long_running)._by_length(count)

    def outermost(self) -> Requests:
        """
        Those whose time is not part of another one's here, in the same order. Sums over them count no time twice.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/field/d3-aggregated-same-name.json"))
            >>> requests.outermost()
            Requests(1 of 2 requests)
        """
        around = self._all("counted_in")
        within = [row for row in self._rows if around[row] is not None]
        if not within:
            return self
        chosen = set(self._rows)
        inside: dict[int | None, bool] = {None: False}
        out = {row for row in within if _is_inside(around[row], around, chosen, inside)}
        return self._with([row for row in self._rows if row not in out]) if out else self

    @property
    def repairs(self) -> Table:
        """
        What was changed in these requests; if nothing was selected, all changes, those outside requests too.

        Kind, request, trace and span id, name, and the field with its value before and after, as text.
        A parent is a span id, of another trace `trace_id/span_id`; times are in ns. A span set aside for another one
        with its id, a duplicate or conflict, has no field. The explanation, "Repairs", has the rules.
        """
        return self._joined.of("repairs", self._rows)

    @property
    def issues(self) -> Table:
        """
        What was repaired, looks wrong or is missing in these requests. One row each.

        If nothing was selected, also what was set aside as damage, or was torn on reading.
        Columns: `code`; `severity`, "info" for what versions do and OTLP allows, "warning" for damage, "error" for the
        missing end of a source; `request`, `trace_id` and `span_id` where there are such; `count`, in spans for a tree
        without its parent; `detail`, in words.

        Examples:
            >>> import k8strace
            >>> issues = k8strace.join(k8strace.read("tests/data/k8s-1.31_etcd-3.5.otlp.zst")).issues
            >>> {row["code"] for row in issues if row["severity"] != "info"}
            {'orphan'}
        """
        torn = self._joined.spans.issues if self._is_everything else ()
        if not torn:
            return self._joined.of("issues", self._rows)
        rows = [(issue.code, issue.severity, issue.affected, _where(issue)) for issue in torn]
        return Table(self._joined.core.issues_with(rows))

    @property
    def etcd_calls(self) -> Table:
        """
        The etcd calls that these requests made themselves. The reference, "Tables of results", has the columns.

        If nothing was selected, every etcd call of the apiserver, those in the background too: their `request` is null.

        `operation` has the classes of etcd's own coverage tests: get, list, count, keys, optimistic_put,
        optimistic_delete, lease, compaction, health, and watch and status. Before etcd 3.7 the key of a call is not
        known on etcd's side: a call that no span of the apiserver explains is a plain `range` or `txn`.
        """
        return self._joined.of("etcd_calls", self._rows)

    @property
    def webhook_calls(self) -> Table:
        """
        The calls of these requests to admission webhooks, by start. Told from Kubernetes 1.26 on.

        Columns: `request`, `trace_id` and `span_id` of the HTTP call (of the span around it, if that is all there is),
        `kind` ("mutating" or "validating"), `webhook` and `configuration` by name, `operation` (CREATE, …),
        `start_unix_nano`, `start_time`, `end_time`, `client_ns`, `timeout_ns` (null if the URL tells none),
        `http_status` of the answer, `error` (null if nothing went wrong), and `span`, the row in `spans`. A webhook
        that denies a request answers with 200.

        Examples:
            >>> import k8strace
            >>> calls = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")).webhook_calls
            >>> len(calls), sorted(set(calls.column("webhook").to_pylist()))[:2]
            (465, ['mutate.example.com', 'validate-a.example.com'])
            >>> [call["error"] for call in calls if call["error"]][0]
            'context deadline exceeded'
        """
        return self._joined.of("webhook_calls", self._rows)

    def findings(self, *, client_times: Sequence[ClientTime] = (), audit: Readable | None = None) -> Table:
        """
        What is wrong in these requests, in words, with what it costs: the worst first.

        Left out are requests whose latency says nothing: watches and the like, requests with impossible times, and
        those inside another one of these. The reference, "Findings", says what each `code` means.

        Args:
            client_times: How long clients waited for these requests, see `read_client_times`; a finding says how much
                longer that was than the spans.
            audit: The audit log of the same time, for what kube-apiserver measured itself; see `Audit`.

        Returns:
            One row per finding: `code`; `severity`, "info", "warning" or "error"; `sentence` and `fix`, in words;
            `requests`, how many; `ns` of their critical paths that it concerns, and its `share` of all wall time;
            `start_unix_nano` and `end_unix_nano`; `where`, conditions that select its requests; `example_trace_id`;
            `evidence`, numbers by name.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> worst = next(iter(requests.findings()))
            >>> worst["code"], worst["severity"], worst["requests"]
            ('webhook_slow', 'warning', 168)
        """
        from k8strace.findings import findings_of

        return findings_of(self, client_times, audit)

    def estimate_totals(self, rate: float | None = None) -> Table:
        """
        Totals over all requests, estimated from a sample of traces.

        The requests of `Attribution.by` count. Traces are sampled whole, so the interval comes from sums per trace. It
        does not include the error of the rate, where trace ids tell it: one part in the number of traces.

        Args:
            rate: Share of the traces that was recorded, above 0 and at most 1. None: taken from `tracestate`, or from
                the trace ids.

        Returns:
            One row for each of "requests", "wall_ns" and "etcd_calls": `quantity`, `recorded`, `rate`, and `estimate`
            with its 95 % interval from `low` to `high`.

        Raises:
            SamplingError: The rate is not known, and why.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> row = next(iter(requests.estimate_totals(rate=0.5)))
            >>> row["recorded"], row["estimate"], round(row["low"])
            (1293, 2586.0, 2486)
        """
        from k8strace.findings import estimated_totals

        return estimated_totals(self, rate)

    def stalls(self, *, error_rate: float = 0.01) -> Table:
        """
        When processes stood still while others waited for them, by start. See the explanation, "Findings".

        It looks at all spans that were joined. It lists the stalls that held up requests of this selection whose
        latency can be judged, and names those requests.

        Args:
            error_rate: Expected number of false stalls per process in a recording. A smaller one finds only longer
                stalls.

        Returns:
            One row per stall; iterating gives `process` (`service`, `instance`), `start_unix_nano`, `end_unix_nano`,
            `evidence` (numbers by name), `requests` (their trace ids), and `ns`, what it took of their critical paths.
            As columns the process is two, and evidence and requests are JSON.

        Raises:
            ValueError: `error_rate` is not above 0.

        Examples:
            >>> import k8strace
            >>> len(k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")).stalls())
            0
        """
        from k8strace.findings import stall_table

        return stall_table(self, error_rate)

    def cost(self, *keys: str, long_running: bool = False) -> Table:
        """
        What these requests cost, by client or any other column, the most costly first.

        Each request is in one group, and the parts of its time sum to its wall time, so all columns sum exactly. The
        requests of `Attribution.by` count: those with valid times, and of requests inside others only the outermost.

        Args:
            keys: Columns or keys of requests, such as "client", the user agent without its build. None: one row.
            long_running: Keep watches and other requests that stay open by their nature.

        Returns:
            One row per group: the keys, as text; `requests`; `wall_ns`; ns on the critical path for each component,
            `apiserver_ns`, `etcd_ns` and so on; `etcd_calls`; `response_bytes`, where they are told.

        Raises:
            KeyError: There is no such column.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> by_client, (total,) = requests.cost("client"), requests.cost()
            >>> [(row["client"], row["requests"]) for row in by_client][:2]
            [('k8s-load/0.1', 517), ('kube-controller-manager/v0.0.0/replicaset-controller', 48)]
            >>> sum(by_client.column("etcd_ns").to_pylist()) == total["etcd_ns"]
            True
        """
        from k8strace.findings import cost_of

        return cost_of(self, keys, long_running=long_running)

    def to_html(
        self,
        path: str | PathLike[str] | None = None,
        *,
        title: str | None = None,
        redact: bool = False,
        max_mb: float = 10.0,
    ) -> str | None:
        """
        The page of these requests: one HTML file that needs no network and no server. Equal input, equal bytes.

        Its first screen is readable with scripts off. The explanation, "The page", says what it shows.

        Args:
            path: Where it is written; None: it is returned.
            title: Its title; None: the names of the files that were read.
            redact: Names of objects, namespaces, hosts, clients and webhooks as hashes, to show it to others.
            max_mb: Megabytes that the file has at most, about: as many call trees are in it. Sums are of all.

        Returns:
            The page, or None if it was written.

        Raises:
            OSError: The file cannot be written.
            ValueError: max_mb is not above 0.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> html = requests.where(verb="delete").to_html()
            >>> html.startswith("<!doctype html>"), "default-src 'none'" in html
            (True, True)
        """
        from k8strace.page import Options, page_of

        text = page_of(self, Options(title=title, redact=redact, max_mb=max_mb))
        if path is None:
            return text
        Path(path).write_text(text, encoding="utf-8", newline="\n")
        return None

    def widget(self, *, redact: bool = False, max_mb: float = 4.0) -> Any:
        """
        The page of these requests as a widget of a notebook: an `anywidget.AnyWidget`. Needs `k8strace[notebook]`.

        Where widgets are not drawn, as in a notebook that was exported, it shows what the requests show by themselves.

        Args:
            redact: Names as hashes, as in `to_html`.
            max_mb: Megabytes that go to the browser at most, about; as many call trees are in it.

        Raises:
            MissingExtraError: anywidget is not installed.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> shown = requests.where(verb="delete").widget()
            >>> shown.static["text/plain"]
            'Requests(18 of 1411 requests)'
        """
        from k8strace.page import Options, widget_of

        return widget_of(self, Options(redact=redact, max_mb=max_mb))

    def etcd_usage(self, *keys: str) -> Table:
        """
        How these requests use etcd: calls and their latency, per group of requests and operation.

        Args:
            keys: Columns of requests; none for all requests together.

        Returns:
            One row per group and operation, most calls first: the keys, `operation`, `requests` that made such
            calls, `calls`, `total_ns` of their CLIENT spans (of the SERVER span where there is no other), and
            `p50_ns` and `p99_ns` by nearest rank.

        Examples:
            >>> import k8strace
            >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
            >>> usage = requests.etcd_usage("verb")
            >>> [(row["verb"], row["operation"], row["calls"]) for row in usage][:2]
            [('create', 'optimistic_put', 508), ('get', 'get', 260)]
        """
        from k8strace.findings import etcd_usage_of

        return etcd_usage_of(self, keys)

    @property
    def graph(self) -> nx.DiGraph[str]:
        """
        Who called whom in these requests: a graph of components. If nothing was selected, over all joined spans.

        Each edge has `calls` and `total_ns`, the sum of the called spans' durations.

        Examples:
            >>> import k8strace
            >>> graph = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")).graph
            >>> graph.edges["apiserver", "etcd"]["calls"]
            1252
        """
        import networkx as nx  # see calltree

        table = self._joined.phase_table
        components = sorted({component_of(phase) for phase in table.names})
        group = [components.index(component_of(name)) for name in table.names]
        graph: nx.DiGraph[str] = nx.DiGraph()
        for caller, called, calls, total_ns in self._joined.core.calls(table.answers, group, self._chosen):
            graph.add_edge(components[caller], components[called], calls=calls, total_ns=total_ns)
        return graph

    def _phases(self, request: int) -> dict[str, int]:
        table = self._joined.phase_table
        parts = self._joined.core.attribute(table.answers, "critical_path", "clip", [request])
        return {table.names[phase]: ns for phase, ns in parts.parts(request)}

    def _tree(self, request: int) -> nx.DiGraph[str]:
        table = self._joined.phase_table
        explained = self._joined.core.explain(request, table.answers)
        return build_call_tree(explained, table.names)

    def __repr__(self) -> str:
        total = len(self._joined.core)
        if len(self) < total:
            return f"Requests({len(self)} of {total} requests)"
        counts = self.joined.counts
        calls = len(self.etcd_calls)
        return (
            f"Requests({total} requests in {counts['traces']} traces, {calls} etcd calls, "
            f"{counts['background_calls']} of them in the background)"
        )


def _numbered(values: Iterable[Any]) -> list[int]:
    """Equal values have equal numbers."""
    known: dict[Any, int] = {}
    return [known.setdefault(value, len(known)) for value in values]


def _instant(unix_nano: int) -> datetime:
    return _EPOCH + timedelta(microseconds=unix_nano // 1_000)


def _is_inside(
    at: int | None, around: Sequence[int | None], chosen: Collection[int], inside: dict[int | None, bool]
) -> bool:
    """Whether `at` or one around it is chosen. `inside` remembers, so that deep nesting costs linear time."""
    path = []
    while at is not None and at not in inside and at not in chosen:
        path.append(at)
        at = around[at]
    found = at in chosen or inside[at]
    inside.update(dict.fromkeys(path, found))
    return found


def _where(issue: Issue) -> str:
    return f"{issue.source}, byte {issue.offset}: {issue.message}"


def _test(wanted: Any, name: str) -> Callable[[Any], bool]:
    return fits(wanted.lower() if name == "verb" and isinstance(wanted, str) else wanted)


def join(
    spans: Spans,
    *,
    taxonomy: Taxonomy | None = None,
    apiserver: str | Sequence[str] | None = None,
    clock: ClockEvidence | None = None,
    threads: int = 1,
) -> Requests:
    """
    Joins apiserver spans with the etcd spans they caused: one call tree per API request.

    Parents are found by (trace id, parent span id), over all batches, in any order. Known shapes of kube-apiserver
    are repaired, each repair is a row, and the ledger accounts for every span.

    Args:
        spans: Decoded spans. Not changed.
        taxonomy: Rules for who spent the time; None for k8strace's own.
        apiserver: `service.name` of the API servers, one or several, and of no others. None: the service
            "apiserver", and those that are recognised by scopes and span names that only Kubernetes' server library
            sends.
        clock: Of spans that are a part of all: the sum of `clock_evidence` over all parts. Then clocks, and which
            services are API servers, are judged by all, and this part's rows are those of a join of everything, if it
            holds whole groups of `couplings`.
        threads: How many work at most, here and whenever the time of these requests is divided. All answers are the
            same with any number.

    Raises:
        TypeError: These are no spans, or another argument is none of what it can be.
        ValueError: `threads` is not above 0.

    Examples:
        >>> import k8strace
        >>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.27_etcd-3.5.otlp.zst"))
        >>> requests.slowest(1)[0]
        Request(create pods -n load-2, 2056.176 ms, 13 spans, 1 etcd calls)
        >>> requests.joined.counts["rpc_pairs"]
        1308
    """
    expect(spans, Spans, "spans, as read and decode give them")
    expect(taxonomy, Taxonomy | None, "a taxonomy, as read_rules gives it")
    expect(threads, int, "a number of threads")
    if threads < 1:
        raise ValueError(f"expected threads above 0, got {threads}")
    return Requests(_joined(spans, taxonomy or OWN, names_of(apiserver), clock=clock, threads=threads))


def _joined(
    spans: Spans,
    taxonomy: Taxonomy,
    apiservers: list[str],
    added: Mapping[str, list[Any]] | None = None,
    clock: ClockEvidence | None = None,
    threads: int = 1,
) -> _Join:
    columns = spans._columns
    core = (
        _core.join(columns, apiservers, threads)
        if clock is None
        else _core.join_part_of(columns, apiservers, clock._told)
    )
    return _Join(spans, taxonomy, core, apiservers, added, clock)
