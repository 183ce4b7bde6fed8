"""
The typed face of the compiled core. Columns cross this border; spans do not.

Private: import from `k8strace`. All times are integer nanoseconds.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol, Self, TypeAlias, final, type_check_only

from _typeshed import ReadableBuffer

from k8strace.exceptions import DecodeError

__all__ = [
    "DEBUG",
    "About",
    "Answers",
    "AttributedRequests",
    "ClockEvidence",
    "Codes",
    "Column",
    "Couplings",
    "Explained",
    "Exponential",
    "GroupedRows",
    "Inflater",
    "JoinedSpans",
    "JsonReader",
    "RequestBuffer",
    "RetimedRequests",
    "Run",
    "SpanColumns",
    "SpanStream",
    "SpanView",
    "Table",
    "__version__",
    "clock_evidence",
    "clock_evidence_of",
    "couplings_of",
    "decode",
    "dependencies",
    "find_traces",
    "inflate_all",
    "jaeger_trace",
    "join",
    "join_part_of",
    "json_to_wire",
    "json_to_wire_within",
    "json_too_deep",
    "make_table",
    "operations",
    "parts_table",
    "retimed_table",
    "screen",
    "split_by_trace",
    "split_frames",
    "sum_by",
    "trace_rows",
    "varints",
    "weighted_quantiles",
    "wire_to_json",
]

DEBUG: Final[bool]
"""True for a build without optimisation."""

__version__: Final[str]

@final
class Table:
    """Named columns of equal length, read by other libraries through the Arrow PyCapsule interface."""

    def __len__(self) -> int: ...
    @property
    def column_names(self) -> list[str]: ...
    def column(self, name: str) -> Column:
        """One column. Raises KeyError."""
    def with_columns(self, columns: Sequence[tuple[str, Column]]) -> Table:
        """These columns behind its own. Raises ValueError if one is of another length."""

    def take(self, rows: Sequence[int]) -> Table:
        """The rows at these places, in this order. Raises IndexError."""
    def judged(self, rows: Sequence[int] | None, long_running: bool) -> list[int]:
        """
        Those of these rows, or of all, that latency statistics are about.

        With possible times, not open by nature unless that is wanted, none inside another one of these. Raises
        IndexError.
        """
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

@final
class Column:
    """One column, read by other libraries through the Arrow PyCapsule interface."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...
    def take(self, rows: Sequence[int]) -> Column:
        """The values at these places, in this order. Raises IndexError."""
    def packed(self, rows: Sequence[int] | None = None) -> bytes:
        """
        The integers of these rows, or of all: 8 bytes each, as the machine stores them; null is 0.

        Raises IndexError, TypeError for anything but integers.
        """
    def or_else(self, other: Column) -> Column:
        """These integers, and where there is none those of another column. Raises IndexError, TypeError."""
    @property
    def type_name(self) -> str:
        """Arrow's name of the type."""
    @property
    def null_count(self) -> int: ...
    def to_pylist(self) -> list[Any]:
        """All values as Python objects; null is None."""
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...

@final
class SpanColumns:
    """Decoded spans."""

    def __len__(self) -> int: ...
    def counts(self) -> list[tuple[str, int]]:
        """Counts by name: batches, spans, attributes, events, links and so on."""
    @property
    def nbytes(self) -> tuple[int, int]:
        """Bytes held: (columns, texts)."""
    @staticmethod
    def column_names(table: str) -> list[str]:
        """Names of the columns of one table. Raises KeyError."""
    def table(self, table: str) -> Table:
        """One of "spans", "scopes", "resources", "odd_ids". Raises KeyError."""
    def column(self, name: str) -> Column:
        """One column of the span table. Raises KeyError."""
    def attribute(self, key: str) -> Column:
        """The values of one attribute key, one per span."""
    def odd_lengths(self) -> list[tuple[str, int, int, int]]:
        """Ids of a wrong length: (field, its length, the right one, how many)."""
    def start_times(self) -> tuple[int, int]:
        """The earliest and the latest start; zeros if there is no span."""
    def median_end(self) -> int | None:
        """The median of the ends that are told; None if none is."""
    def span_wires(self, rows: Sequence[int]) -> list[bytes]:
        """The `Span` messages of these rows, as wire bytes. Raises IndexError."""
    def scope_wires(self, rows: Sequence[int]) -> list[bytes]:
        """The `ScopeSpans` messages of these rows of "scopes", without their spans. Raises IndexError."""
    def resource_wires(self, rows: Sequence[int]) -> list[bytes]:
        """The `ResourceSpans` messages of these rows of "resources", without their scopes. Raises IndexError."""
    def batch_wires(self) -> list[bytes]:
        """
        The requests as they came, as wire bytes.

        Raises ValueError if the spans are not in the order of their batches.
        """
    def processes(self) -> list[tuple[str, str | None, list[tuple[str, str | None]]]]:
        """Distinct processes: (service, instance id, resource attributes as text)."""

_Sums: TypeAlias = list[tuple[int, float, int]]
"""Part of the recording, by how much its calls were longer than others like them, together, and how many they were."""

_Edits: TypeAlias = tuple[
    int,
    Sequence[int],
    Sequence[Sequence[tuple[int, int]]],
    Sequence[Sequence[int]],
    Sequence[int],
    Sequence[tuple[str, int, int, Sequence[bool] | None, Sequence[tuple[int, int]]]],
    Sequence[int],
]
"""
What is otherwise: units in a ns; the set of every named call, 0 of none; by set and phase the units that a ns of own
time takes, at most and at least, and the bits of the changes of calls that it is part of; by set the bits of those
that the named call is itself; the changes of calls (what happens, ns, ns more if its other side is not here, request →
whether there, and by named call from which time on, and up to which, a call that took longer still does); and the
number of each signature's group of siblings that run together, 0 for none.
"""

_Figures: TypeAlias = tuple[
    int, int, tuple[tuple[int, int, int], tuple[int, int, int]], int, int, list[tuple[int, int]]
]
"""
Of a group, times in ns: count; sum; median and 99th percentile, each with the ends of what another recording's may be;
least; most; and of each block count and sum.
"""

@final
class Answers:
    """The rules' answers about the signatures of a join."""

@final
class JoinedSpans:
    """Spans joined into call trees, with their signatures."""

    def __len__(self) -> int: ...
    def is_apiserver(self, service: str) -> bool:
        """Whether a service is an API server here."""
    def resource(self, key: str, table: str) -> list[str | None]:
        """An attribute of the resource of each request's SERVER span, or each sync's span, as text."""
    def counts(self) -> list[tuple[str, int]]:
        """Counts by name: traces, requests, rpc_pairs, cri_pairs, background_calls, syncs."""
    def ledger(self) -> list[tuple[str, bool, int]]:
        """(role, is a use, spans), in the ledger's order."""
    def roles(self) -> Sequence[int]:
        """The role of every span, as a place in the ledger's order."""
    def table(self, table: str) -> Table:
        """
        One of the tables.

        "requests", "repairs", "issues", "clock_offsets", "etcd_calls", "etcd_call_details" (of the same calls),
        "webhook_calls", "webhook_call_details" (of the same calls), "conflicts", "silences", "syncs", "cri_calls" or "kubelet_requests". Raises ValueError.
        """
    def issues_with(self, torn: Sequence[tuple[str, str, int, str]]) -> Table:
        """The table "issues" behind what was torn on reading: code, severity, how many, and what in words."""
    def held(self, stalls: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int, int]]:
        """What stalls (process, from, to) held up: (stall, row of a span, from, to). Raises IndexError."""
    def telling_calls(self, requests: Sequence[int]) -> Table:
        """
        The etcd calls of these requests that a finding can be made of: rows of "etcd_call_details". Raises IndexError.

        Lists, reads that a request repeats, refused calls with those beside them, and calls that outlast their request.
        """
    def interference(self, fewest: int, blocks: int) -> list[tuple[int, list[int], list[_Sums], list[_Sums]]]:
        """
        Members of etcd with so many heavy calls and more, and calls that began meanwhile beside others like them.

        Of each: heavy calls; rows of the calls that began during one; sums of logarithms of times, of those calls and
        of the placebo; the same of ns.
        """
    def greatest_trace_ids(self, requests: Sequence[int]) -> tuple[int, int, int]:
        """
        How many traces requests are in, and the greatest of the first and of the last halves of their ids.

        Raises IndexError.
        """
    def lengths(self, spans: Sequence[int]) -> list[int]:
        """How long spans took, in ns. Raises IndexError."""
    def signatures(self) -> list[tuple[str, str, int, str, str | None, bool, str | None, str | None]]:
        """Distinct (service, scope, kind, name, parent, leaf, request verb, detail)."""
    def events(self) -> list[tuple[int, int, str]]:
        """Distinct (signature number, event name number, event name)."""
    def answers(
        self,
        phase: Sequence[int],
        events: Sequence[tuple[int, int, int | None, int | None]],
        phases: int,
        blame: tuple[Sequence[int], Sequence[bool], Sequence[Sequence[int]], Sequence[Sequence[int]]],
    ) -> Answers:
        """
        The rules' answers, which may be used with this join only.

        Phase of every signature; (signature, event name, before, after); how many phases there are; and about calls:
        kind of every signature (0 for none), whether its phases stay, the context below a kind of call in a context,
        and phase by context and phase. Raises ValueError if these do not fit each other and the signatures.
        """
    def attribute(
        self, answers: Answers, method: str, overlap: str, requests: Sequence[int] | None
    ) -> AttributedRequests:
        """Divides the wall time of these requests, or of all. Raises IndexError, ValueError."""
    def attribute_syncs(
        self, answers: Answers, method: str, overlap: str, until: Sequence[int | None] | None
    ) -> AttributedRequests:
        """
        Divides the wall time of syncs: of each up to an instant, or not at all where it is None; without any, of all.

        Raises ValueError.
        """
    def named_calls(self) -> list[tuple[str, str]]:
        """Calls that have a name: ("webhook" or "etcd", name), numbered from 1 on."""
    def retime(
        self, answers: Answers, edits: _Edits, requests: Sequence[int], like: RetimedRequests | None
    ) -> RetimedRequests:
        """
        How long these requests take if some parts take another time.

        `like`: the answer for the same changes by other times; what they do not touch is taken from it. Raises
        IndexError, ValueError.
        """
    def blocks(self, requests: Sequence[int], count: int) -> bytes:
        """Request → its block of time; 0 for those that are not among these. Raises IndexError."""
    def explain(self, request: int, answers: Answers) -> Explained:
        """The tree of one request. Raises IndexError, ValueError."""
    def told(self, requests: Sequence[int], answers: Answers) -> list[tuple[int, int, str, str, int, int]]:
        """
        Of every span in the trees of these requests.

        Request, row, trace id, span id, phase, ns on the critical path. Raises IndexError, ValueError.
        """
    def span_views(self, requests: Sequence[int], answers: Answers) -> list[list[SpanView]]:
        """The spans of these requests, of each in preorder. Raises IndexError, ValueError."""
    def explain_sync(self, sync: int, answers: Answers) -> Explained:
        """The tree of one sync. Raises IndexError, ValueError."""
    def critical_within(
        self, requests: Sequence[int], windows: Sequence[tuple[int, int, int]]
    ) -> tuple[list[int], list[int | None]]:
        """
        What lies on these requests' critical paths below spans and within times; none of these is inside another one.

        `windows`: (row of a span, from, to), unix ns. Per window: ns, and the request that holds the span; None if none
        of these does. Raises IndexError.
        """
    def held_calls(self, requests: Sequence[int], table: Table) -> Table:
        """
        The rows of a table about calls that these requests hold, in its order; none of these is inside another one.

        `span` has the row of a call's span; `from_unix_nano` and `to_unix_nano`, if there are such columns, the times
        that count. Two more columns: `held`, the request, and `critical_ns`, the call's part of its critical path.
        Raises IndexError, RuntimeError.
        """
    def gets_after_lists(
        self, reads: GroupedRows, fewest: int, pause: int
    ) -> list[tuple[int, list[int], int]]:
        """
        In groups of gets and lists, by start, the gets that follow a list one by one.

        A run is after the list's end and in its namespace, of different objects, of `fewest` and more; a pause `pause`
        times as long as the median one ends it. (Group, gets, how many lists), of groups with such. Raises IndexError.
        """
    def lists_before_watches(
        self, requests: Sequence[int] | None, rows: GroupedRows, within: int
    ) -> list[int]:
        """
        Those of `rows`, lists, after which the same client watches the same resource, less than `within` ns later.

        `requests`: by start, among them the watches; None for all. Raises IndexError.
        """
    def after_silence(self, rows: GroupedRows, group: int, silent: int) -> list[int]:
        """Those of a group, by start, that begin when none of it was open for so many ns. Raises IndexError."""
    def lasted(self, requests: Sequence[int]) -> tuple[int, int] | None:
        """From when to when some requests lasted, in unix ns; None of none. Raises IndexError."""
    def trees(self, requests: Sequence[int], answers: Answers) -> tuple[list[tuple[str, bytes]], list[str]]:
        """The trees of these requests as columns of varints by name, and span names. Raises IndexError, ValueError."""
    def processes(self) -> list[tuple[str, str | None]]:
        """Service and instance id of every process."""
    def calls(
        self, answers: Answers, group: Sequence[int], requests: Sequence[int] | None
    ) -> list[tuple[int, int, int, int]]:
        """Calls between groups of phases, in these requests or in all: (from, to, calls, ns).

        Raises IndexError, ValueError.
        """
    def call_counts(
        self, answers: Answers, group: Sequence[int], groups: int, requests: Sequence[int]
    ) -> bytes:
        """
        Calls into each group of phases, per request: requests × groups numbers of 8 bytes, as the machine stores them.

        Raises IndexError, ValueError.
        """

@final
class SpanView:
    """What people want to know of one span."""

    @property
    def row(self) -> int: ...
    @property
    def parent(self) -> int:
        """Row of the parent; 4294967295 for none."""
    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> int: ...
    @property
    def status_code(self) -> int: ...
    @property
    def status_message(self) -> str: ...
    @property
    def error(self) -> str | None:
        """Status message of an error, else the text of the last event that tells of one."""
    @property
    def service(self) -> str: ...
    @property
    def instance(self) -> str | None: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def raw_start(self) -> int: ...
    @property
    def raw_end(self) -> int: ...
    @property
    def events(self) -> list[tuple[int, str]]:
        """(time, name), in the order of the message."""
    @property
    def attributes(self) -> list[tuple[str, str | None]]:
        """(key, text), in the order of the message."""

@final
class Explained:
    """The tree of one request, in preorder."""

    @property
    def span(self) -> list[SpanView]: ...
    @property
    def phase(self) -> Sequence[int]:
        """Phase number of each span's own time."""
    @property
    def time(self) -> list[tuple[int, int, int, int]]:
        """(effective start, effective end, critical ns, self ns) of each span."""
    @property
    def segments(self) -> list[tuple[int, int, int, int]]:
        """The critical path, earliest first: (place of the span, from, to, phase number)."""

@final
class AttributedRequests:
    """Parts of the wall time of every request."""

    def __len__(self) -> int: ...
    def parts(self, request: int) -> list[tuple[int, int]]:
        """(phase number, ns) of one request; empty for one that there is not."""
    def packed(
        self, requests: Sequence[int], numbers: Sequence[int], than: AttributedRequests | None = None
    ) -> tuple[bytes, bytes, bytes]:
        """
        How many parts these requests have, their phases, and their ns, as varints.

        One more than each has, or 0 where they are the same as in `than`; phases of the others as `numbers` has them.
        Raises ValueError for a phase that has no number.
        """
    def matrix(self, requests: Sequence[int], group: Sequence[int], groups: int) -> bytes:
        """
        Parts in ns by group of phases, per request: requests × groups numbers of 8 bytes, as the machine stores them.

        Raises ValueError for a group that is none.
        """
    def grouped(
        self, requests: Sequence[int], group: Sequence[int], names: Sequence[str]
    ) -> list[dict[str, int]]:
        """
        Parts in ns by group of phases, of each request: those that it has, by their names.

        Raises ValueError for a group that has no name.
        """
    def spent(self, phase: int, requests: Sequence[int], least: int = 1) -> tuple[list[int], list[int]]:
        """Those of these requests that one phase took so many ns of and more, and how many."""
    def column(self, phase: int) -> list[int]:
        """Time of one phase in every request, in ns; 0 where it has none."""
    def totals(self, requests: Sequence[int], phases: int) -> list[int]:
        """Sums per phase number over these requests."""

def parts_table(
    attributed: AttributedRequests,
    roots: Table,
    rows: Sequence[int] | None,
    beside: tuple[str, Sequence[str], bool],
    names: Sequence[tuple[str, str]],
) -> Table:
    """
    The parts of these rows of a table, or of all, one row for each part.

    `beside`: what the column of the rows is called, columns of the table that stand beside it, and whether their texts
    are views, which copy nothing; `names`: component and name of every phase. Raises IndexError, ValueError.
    """

@final
class Codes:
    """Which rows of a column have equal values."""

    def __new__(cls, codes: Sequence[int]) -> Self: ...
    @staticmethod
    def of(column: Column) -> Codes:
        """Of a column's values. Raises TypeError for lists and structs."""
    @staticmethod
    def steps(start: Column, valid: Column, step: int) -> Codes:
        """Of steps of time, in ns; rows that are not valid have the same code. Raises TypeError."""
    def at(self, column: Column) -> Codes:
        """
        Of other rows, each with the code of the row that a column of integers tells; those that it tells none of are alike.

        Raises IndexError, TypeError.
        """
    def __len__(self) -> int: ...

_Summed: TypeAlias = tuple[int, list[tuple[int, int]], list[tuple[int, int, int]]]
"""
Sum of wall times; phase number and ns, of those that took time; hundreds of the status, how many, sum of their wall
times.
"""

@final
class GroupedRows:
    """Rows in groups, in the order of their first rows; each group's as they came, or by wall time and row."""

    def __new__(
        cls, rows: Sequence[int] | None, known: int, keys: Sequence[Codes], wall: Column | None = None
    ) -> Self:
        """Of some of `known` rows, or of all. `keys`: codes of all rows. Raises IndexError, TypeError."""
    def by(self, keys: Sequence[Codes]) -> GroupedRows:
        """All these rows grouped anew. Raises IndexError."""
    def at_least(self, column: Column, least: int) -> GroupedRows:
        """Those whose integer is at least that, in one group; null is none. Raises IndexError, TypeError."""
    def among(self, column: Column, texts: Sequence[str | None]) -> GroupedRows:
        """Those whose text is one of these, in one group; None is null. Raises IndexError, TypeError."""
    def __len__(self) -> int: ...
    @property
    def ends(self) -> list[int]:
        """Group → where its rows end."""
    @property
    def first(self) -> list[int]:
        """Group → the first of its rows."""
    def row(self, place: int) -> int:
        """The row at a place. Raises IndexError."""
    def all(self) -> list[int]:
        """All rows, group after group."""
    def rows(self, group: int) -> list[int]:
        """The rows of a group. Raises IndexError."""
    def numbers(self) -> bytes:
        """The number of each row's group, as the rows came: 8 bytes each, as the machine stores them."""
    def coded(self, codes: Sequence[int]) -> Codes:
        """The code of each row's group, of groups of all rows. Raises IndexError."""
    def totals(self, column: Column) -> list[int]:
        """Group → the sum of a column of integers; null counts as nothing. Raises IndexError, TypeError."""
    def distinct(self, column: Column) -> list[int]:
        """Group → how many different integers a column has. Raises IndexError, TypeError."""
    def sums(
        self,
        attributed: AttributedRequests,
        places: Sequence[tuple[int, int]],
        status: Column | None,
        phases: int,
    ) -> list[_Summed]:
        """What the rows between places sum up to, grouped by wall time. Raises IndexError, ValueError."""
    def durations(
        self, attributed: AttributedRequests, component: Sequence[int], empty: Exponential
    ) -> list[list[tuple[int | None, Exponential]]]:
        """
        Group → its wall times, and those of each component where it took time.

        `component`: phase → its number. `empty`: what they are added to. Raises ValueError.
        """

def sum_by(keys: Column, numbers: Column, rows: Sequence[int] | None = None) -> tuple[list[int], list[int]]:
    """
    Sums of integers by key, of some rows or all: the keys in the order in which they come first, and their sums.

    Rows with null in either are left out. Raises IndexError, TypeError.
    """

@final
class About:
    """Which rows of a table are about each of some roots."""

    def __new__(cls, table: Table, column: str, roots: int) -> Self:
        """`column`: the one that tells the root of each row, or null. Raises KeyError, TypeError."""
    def of(self, roots: Sequence[int] | None) -> Table:
        """The rows about these roots, or about any, in the table's order."""

_Durations: TypeAlias = tuple[int, int, int, tuple[int, int] | None, list[tuple[int, int]]]
"""Count, zeros, sum, shortest and longest, and index and count of each bucket."""

@final
class Exponential:
    """Durations in buckets whose limits grow by a factor."""

    def __new__(cls, scale: int, most_buckets: int, told: _Durations | None = None) -> Self:
        """None, or what `told` gave of one of this scale. Raises ValueError."""
    def add(self, ns: int) -> None:
        """Adds one duration."""
    def merged(self, other: Exponential) -> Exponential:
        """The sum of two. Raises OverflowError."""
    def at(self, place: int) -> int | None:
        """The value at a place among the sorted ones, from 0 on, within the relative error; None of none."""
    def told(self) -> _Durations:
        """All of it but the scale."""
    @property
    def scale(self) -> int:
        """How fine the buckets are."""
    @property
    def most_buckets(self) -> int:
        """From the first to the last one at most."""
    @property
    def relative_error(self) -> float:
        """How far a value may be from what is said of it, as a share of it."""
    def __eq__(self, other: object, /) -> bool: ...
    @staticmethod
    def index_of(value: float, scale: int) -> int:
        """The bucket of a value above 0 in s, whose upper limit is in it."""

_Process: TypeAlias = tuple[str, str | None, str]
"""Service, instance id, and what else tells it apart."""

@final
class ClockEvidence:
    """What calls say of clocks, in some part of all spans."""

    def __new__(cls, json: str | None = None) -> Self: ...
    def to_json(self) -> str:
        """All of it; equal evidence, equal text."""
    def merged(self, other: ClockEvidence) -> ClockEvidence:
        """With that of another part."""
    def counts(self) -> tuple[int, int]:
        """Calls; SERVER spans whose caller is missing."""

def clock_evidence_of(joined: JoinedSpans) -> ClockEvidence:
    """What spans that are joined already say of clocks."""

def clock_evidence(
    spans: SpanColumns, apiserver: Sequence[str], clock: ClockEvidence | None
) -> ClockEvidence:
    """What these spans say of clocks, when everything else says so much."""

def join_part_of(spans: SpanColumns, apiserver: Sequence[str], clock: ClockEvidence) -> JoinedSpans:
    """Joins spans that are a part of all."""

@final
class Couplings:
    """What couples traces: links, and halves of requests that can meet."""

    def __new__(
        cls, links: bytes, meetings: Sequence[tuple[_Process, Sequence[int], Sequence[bool], bytes]]
    ) -> Self: ...
    def parts(self) -> tuple[bytes, list[tuple[_Process, list[int], list[bool], bytes]]]:
        """All of it: what makes it again."""
    @staticmethod
    def merged(parts: Sequence[Couplings]) -> Couplings:
        """Those of several pieces."""
    def counts(self) -> tuple[int, int]:
        """Links; places where halves can meet."""
    def groups(self) -> Table:
        """`trace_id` and `group` of traces that are coupled with others."""
    @staticmethod
    def crossings(parts: Sequence[Couplings]) -> int:
        """How many couplings go from one of these parts to another."""

def couplings_of(spans: SpanColumns, whole: Couplings | None) -> Couplings:
    """What couples the traces of these spans; with `whole`, also which targets of its links are here."""

def split_by_trace(spans: SpanColumns) -> Table:
    """One OTLP message for each trace. Raises MemoryError."""

@final
class RetimedRequests:
    """How long requests took, and how long they take now."""

    def __len__(self) -> int: ...
    def ns(self, of: str) -> list[int]:
        """Of every request: "before", "all" or "last"; 0 for those that were not chosen. Raises ValueError."""
    def took(self) -> list[tuple[int, int, int, int]]:
        """
        How long calls took that are set to another time, by change and name.

        The change's place among those of calls, the number of the named call (0 for none), 5th and 95th percentile, ns.
        """
    def figures(
        self, blocks: bytes, count: int, grouped: GroupedRows, group: int, spread: float
    ) -> tuple[_Figures, _Figures, _Figures]:
        """Of a group: before, and in both readings. Raises IndexError.

        `spread`: standard errors on each side of a quantile.
        """

def retimed_table(
    runs: Sequence[RetimedRequests],
    requests: Table,
    rows: Sequence[int] | None,
    identity: Sequence[str],
) -> Table:
    """
    These requests, or all, with columns of their table, and how long they take: before, after, at least and at most.

    After is the first reading; the others are what else it may be. Raises IndexError.
    """

_Taken: TypeAlias = tuple[JoinedSpans, SpanColumns, list[int], list[bool], list[tuple[str, str, int]], bytes]
"""
Joined spans, the spans; of each request its revision, and whether it is final; (trace id, span id, revision) of what
they replace; ids of traces that are released, 16 bytes each.
"""

@final
class SpanStream:
    """An endless series of spans. Threads take turns."""

    def __new__(
        cls,
        apiserver: Sequence[str],
        *,
        window_ns: int,
        max_age_ns: int,
        max_spans: int,
        max_traces: int,
        max_trace_spans: int,
        max_bytes: int,
        early: bool = True,
    ) -> Self: ...
    def feed(self, spans: SpanColumns, now_ns: int) -> None:
        """Adds decoded spans."""
    def take(self, now_ns: int) -> _Taken:
        """Emits what is due."""
    def flush(self) -> _Taken:
        """Emits all that is left."""
    def counts(self) -> list[tuple[str, int]]:
        """Counts by name."""
    def ledger(self) -> list[tuple[str, bool, int]]:
        """(role, is a use, spans), in the ledger's order, over all that was emitted."""
    def held(self) -> tuple[SpanColumns, bytes, list[tuple[int, int]]]:
        """All held spans of traces; of each trace 16 bytes of id, and when its first and its last span came."""
    def pick_up(self, spans: SpanColumns, ids: bytes, times: Sequence[tuple[int, int]], now_ns: int) -> None:
        """Takes in what another stream held at this time."""
    def hear(self, clock: ClockEvidence) -> None:
        """Takes what others know of clocks and services."""
    def released(self) -> bytes:
        """The last traces that were released, 8 bytes each."""
    def know_released(self, keys: bytes) -> None:
        """What `released` gave."""

@final
class Inflater:
    """Inflates a gzip or zstd stream that arrives in pieces, to at most `limit` bytes in all."""

    def __new__(cls, kind: str, limit: int, /, window_bytes: int = 134217728) -> Inflater: ...
    def feed(self, chunk: ReadableBuffer, /) -> bytes:
        """The next piece of output. While `pending`, there is more: feed `b""`. Raises DecodeError."""
    @property
    def pending(self) -> bool: ...
    @property
    def zeros_at(self) -> int | None:
        """Where zeros begin behind the last member or frame."""
    def finish(self) -> bool:
        """True if the input ended where a member or frame ends, False if it was cut."""

@final
class Run:
    """Many messages of a content at once, and what stands between them and is none."""

    def __len__(self) -> int: ...
    @property
    def data(self) -> bytes:
        """What the messages' wire is part of."""
    def messages(self) -> list[tuple[int, int, int, int, int, int]]:
        """Of each: where its wire begins and ends in `data`, offset, size, line (0: no text), texts replaced."""
    def sums(self) -> tuple[int, int, int]:
        """Of all messages: bytes of wire, sizes, texts replaced."""
    @property
    def micros(self) -> int:
        """How many messages have times in µs."""
    def places(self) -> tuple[bytes, bytes]:
        """Offsets (u64) and sizes (u32) of those that are not empty, as the machine stores them."""
    def damages(self) -> list[tuple[int, int, int, DecodeError, bytes]]:
        """Of the first damages: offset, size, line, error, first bytes."""
    def more(self) -> list[tuple[str, int, int]]:
        """What more there is: kind, how many, bytes."""
    @property
    def torn(self) -> tuple[int, int, int, DecodeError, bytes] | None:
        """What the content ends within."""

def split_frames(data: bytes, at: int, base: int, limit: int, /) -> tuple[Run, int]:
    """
    The whole frames of `data` from `at` on, up to what needs a closer look, and where they end.

    `base`: the offset of the first byte of `data` in its content. Copies nothing.
    """

@final
class JsonReader:
    """Takes a stream of JSON values apart, each of at most `limit` bytes."""

    def __new__(cls, limit: int, /) -> JsonReader: ...
    def read(self, chunk: ReadableBuffer, /, last: bool = False) -> Run:
        """
        The next messages. While `pending`, there are more: read `b""`.

        Raises DecodeError for a value above the limit, MemoryError.
        """
    @property
    def pending(self) -> bool: ...

@final
class RequestBuffer:
    """Requests that are decoded together; what is not sound is left out."""

    KINDS: Final[list[str]]
    def __new__(cls, per_byte: int, free_bytes: int, threads: int, /) -> RequestBuffer:
        """
        None yet. Their columns may need `free_bytes`, and `per_byte` for each byte.

        With several threads, one decodes while more are added; what comes of it is the same.
        """
    def __len__(self) -> int: ...
    def add(self, wire: ReadableBuffer, /) -> None:
        """Takes one request, or a copy of it. Raises MemoryError."""
    def add_run(self, run: Run) -> None:
        """Takes each message. With several threads `run` is held until they are decoded."""
    def add_empty(self) -> None:
        """Takes an empty request, which is only counted."""
    def decode(self) -> tuple[SpanColumns, bytes, list[tuple[int, DecodeError]], list[tuple[int, int]]]:
        """
        Columns; by request 0 or the number, from 1, in `KINDS`; the first errors; texts replaced by request.

        Raises MemoryError if the columns may need more than can be had.
        """

def decode(buffers: Sequence[ReadableBuffer]) -> SpanColumns:
    """Decodes one request per buffer into one set of columns. Raises DecodeError."""

def jaeger_trace(
    trace_id: str,
    parts: Sequence[
        tuple[
            SpanColumns, Sequence[tuple[int, tuple[int | None, str | None, str | None, int, Sequence[str]]]]
        ]
    ],
    warnings: Sequence[str],
) -> bytes:
    """
    One trace in Jaeger's own JSON, of rows of spans and what is told of each, with warnings about all of it.

    What is told of a span: request, component, phase, critical ns, repairs in words. Raises IndexError.
    """

def join(spans: SpanColumns, apiserver: Sequence[str], threads: int) -> JoinedSpans:
    """
    Joins spans into call trees. `apiserver`: names of API servers; without any they are recognised.

    `threads`: how many work at most, here and whenever the time of these requests is divided.
    """

def make_table(columns: Sequence[tuple[str, str, list[Any]]]) -> Table:
    """
    A table of (name, "text" | "int" | "float" | "bool" | "ints" | "instant", values or None). Raises TypeError.

    An "int" beyond 64 bits, such as a sum of absurd times, becomes the greatest or least there is.
    """

def weighted_quantiles(
    base: bytes, parts: bytes, weights: bytes, choices: Sequence[int], shares: Sequence[float]
) -> list[list[int]]:
    """
    For each choice of parts, a bit each, and each share: the smallest value that so much of the weight is not above.

    A value is that of `base` plus those of the parts chosen, each as many values behind each other. All come as the
    machine stores them, 8 bytes each: whole numbers, and weights as floating point. Raises ValueError.
    """

def varints(values: Sequence[int], signed: bool) -> bytes:
    """Numbers as LEB128 varints, zigzag if they are signed."""

def json_to_wire(data: ReadableBuffer, /) -> bytes:
    """One OTLP JSON document as wire bytes. Raises DecodeError."""

def wire_to_json(data: ReadableBuffer, /) -> bytes:
    """One `ExportTraceServiceRequest` as a line of OTLP JSON. Raises DecodeError."""

def inflate_all(kind: str, data: ReadableBuffer, limit: int, /) -> bytes:
    """All of `data`, which must be complete, inflated to at most `limit` bytes. Raises DecodeError."""

@type_check_only
class _Limits(Protocol):
    @property
    def spans_per_request(self) -> int: ...
    @property
    def attributes(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def links(self) -> int: ...
    @property
    def value_bytes(self) -> int: ...
    @property
    def value_depth(self) -> int: ...
    @property
    def span_bytes(self) -> int: ...
    @property
    def columns_per_byte(self) -> int: ...
    @property
    def columns_free_bytes(self) -> int: ...

def screen(wire: bytes, limits: _Limits, /) -> tuple[bytes, int, list[tuple[str, int]]]:
    """
    Looks through one request: wire without what is over a limit, spans left in it, and (reason, count) of what was cut.

    The wire is the same object if nothing was cut. Raises DecodeError.
    """

def json_to_wire_within(text: bytes, limit: int, /) -> bytes | None:
    """The same as `json_to_wire`; None if the wire would be longer than `limit` bytes. Raises DecodeError."""

def json_too_deep(text: bytes, limit: int, /) -> int | None:
    """Where JSON is deeper than `limit` objects and arrays; None if it is not."""

_Asked: TypeAlias = tuple[
    str | None,
    str | None,
    int | None,
    bool | None,
    tuple[int, int],
    tuple[int, int],
    Sequence[tuple[str, str]],
]
"""
What a span must be like: service, name, kind, whether it failed, start from and to, duration from and to (ns, both
included), and attributes as text. None asks for nothing.
"""

def find_traces(takes: Sequence[SpanColumns], wanted: _Asked, limit: int) -> list[str]:
    """Ids of the traces with a span that is all of it, the one with the latest such span first."""

def trace_rows(takes: Sequence[SpanColumns], trace_ids: Sequence[bytes]) -> list[list[tuple[int, int]]]:
    """For each trace, (take, row) of its spans in the order in which they came."""

def operations(takes: Sequence[SpanColumns]) -> list[tuple[str, str, int]]:
    """Every (service, span name, kind), sorted."""

def dependencies(takes: Sequence[SpanColumns], start: tuple[int, int]) -> list[tuple[str, str, int]]:
    """(service of the parent, service of the child, children that began in this time, both ends included), sorted."""
