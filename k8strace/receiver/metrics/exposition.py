"""
What the receiver tells Prometheus: OpenMetrics with trace ids as exemplars.

The receiver's own counters are read at each scrape; only final requests are summed here, as they arrive.
Every label value is from a closed set (`labels.py`), so no sender decides how many series there are.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace.exceptions import extra
from k8strace.receiver.metrics.labels import code_label, component_label, resource_label, verb_label
from k8strace.receiver.metrics.tally import Observed, by_verb_and_resource

if TYPE_CHECKING:
    from prometheus_client.core import HistogramMetricFamily, Metric

__all__ = ["Exposition", "Histogram", "Reading", "RequestMetrics"]

LIMITS_NS: Final = tuple(
    int(step * 10**power) for power in range(5, 11) for step in (1, 2.5, 5) if step * 10**power <= 5e10
)
"""Upper limits of the buckets of API requests, in ns: 100 µs, 250 µs, 500 µs, 1 ms, … 50 s."""

WRITE_LIMITS_NS: Final = tuple(limit // 10 for limit in LIMITS_NS)
"""The same for syncs and acknowledgements: 10 µs, … 5 s."""


Example = tuple[str, int, float]
"""A request that stands for its bucket: trace id, ns, and when it was counted, in seconds since 1970."""


class Histogram:
    """
    Durations by bucket, with the latest example of each bucket.

    Examples:
        >>> histogram = Histogram(limits_ns=(1_000, 10_000))
        >>> for ns in (5, 1_000, 1_001, 70_000):
        ...     histogram.add(ns)
        >>> histogram.cumulative(), histogram.total_ns
        ([2, 3, 4], 72006)
    """

    __slots__ = ("_counts", "_limits", "examples", "total_ns")

    def __init__(self, limits_ns: tuple[int, ...] = LIMITS_NS) -> None:
        self._limits = limits_ns
        self._counts = [0] * (len(limits_ns) + 1)
        self.total_ns = 0
        self.examples: list[Example | None] = [None] * (len(limits_ns) + 1)

    def add(self, ns: int) -> None:
        """Adds one duration."""
        self.add_examples([("", ns)], 0.0)

    def add_examples(self, durations: Iterable[tuple[str, int]], unix_s: float) -> None:
        """Adds durations in ns, each with a trace id, which makes it its bucket's example unless it is empty."""
        limits, counts, examples = self._limits, self._counts, self.examples
        for trace_id, ns in durations:
            at = bisect_left(limits, ns)
            counts[at] += 1
            self.total_ns += ns
            if trace_id:
                examples[at] = (trace_id, ns, unix_s)

    def cumulative(self) -> list[int]:
        """How many are not above each limit, and at the end how many there are."""
        counts, seen = [], 0
        for count in self._counts:
            seen += count
            counts.append(seen)
        return counts

    def into(self, family: HistogramMetricFamily, labels: Iterable[str]) -> None:
        """Adds this as one series to a family of prometheus_client."""
        names = [*(_seconds(limit) for limit in self._limits), "+Inf"]
        buckets = [
            (name, count, _exemplar(example))
            for name, count, example in zip(names, self.cumulative(), self.examples, strict=True)
        ]
        family.add_metric(list(labels), buckets, sum_value=self.total_ns / 1e9)


def _seconds(ns: int) -> str:
    return repr(ns / 1e9)


def _exemplar(example: Example | None) -> Any:
    from prometheus_client.samples import Exemplar

    if example is None:
        return None
    trace_id, ns, unix_s = example
    return Exemplar({"trace_id": trace_id}, ns / 1e9, round(unix_s, 3))


class RequestMetrics:
    """
    Final requests: rate, errors and duration by verb and resource, and where the time went by component.

    Safe to use from several threads. Prometheus takes nothing back, so a request counts when it changes no more.

    Examples:
        >>> metrics = RequestMetrics()
        >>> metrics.add([Observed("7f", "get", "widgets", None, 200, 9, {"etcd": 9}, True, None)])
        >>> [family.name for family in metrics.families()][:2]
        ['k8strace_requests', 'k8strace_request_duration_seconds']
    """

    def __init__(self, *, clock_s: Callable[[], float] = time.time) -> None:
        self._clock = clock_s
        self._lock = threading.Lock()
        self._codes: Counter[tuple[str, str, str]] = Counter()
        self._wall: dict[tuple[str, str], Histogram] = {}
        self._parts: dict[tuple[str, str, str], Histogram] = {}
        self._incomplete: Counter[str] = Counter()
        self._updates = 0
        self._inner = 0

    def add(self, rows: Iterable[Observed], updates: int = 0) -> None:
        """Adds requests that are final, and how many were changed before they are."""
        now, rows = self._clock(), list(rows)
        outer = [row for row in rows if not row.inner]
        with self._lock:
            self._updates += updates
            self._inner += len(rows) - len(outer)
            self._incomplete.update(row.incomplete_cause for row in outer if row.incomplete_cause is not None)
            for (verb, resource), group in by_verb_and_resource(outer).items():
                self._add((verb_label(verb), resource_label(resource)), group, now)

    def _add(self, key: tuple[str, str], rows: Sequence[Observed], now: float) -> None:
        for status, count in Counter(row.http_status for row in rows).items():
            self._codes[*key, code_label(status)] += count
        wall: list[tuple[str, int]] = []
        parts: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for row in rows:
            if row.measured:
                wall.append((row.trace_id, row.wall_ns))
                for component, ns in row.components.items():
                    parts[component].append((row.trace_id, ns))
        if wall:
            self._wall.setdefault(key, Histogram()).add_examples(wall, now)
        for component, each in parts.items():
            part = (component_label(component), *key)
            self._parts.setdefault(part, Histogram()).add_examples(each, now)

    def families(self) -> Iterator[Metric]:
        """The metrics at this moment, for prometheus_client."""
        with self._lock:
            yield from list(self._families())

    def _families(self) -> Iterator[Metric]:
        from prometheus_client.core import HistogramMetricFamily

        yield _counter(
            "k8strace_requests",
            "API requests whose spans are joined, by verb, resource and class of HTTP status.",
            ("verb", "resource", "code"),
            {key: count for key, count in self._codes.items()},  # noqa: C416 - a mapping of any key length
        )
        wall = HistogramMetricFamily(
            "k8strace_request_duration_seconds",
            "Wall time of API requests. Without watches and others that stay open by their nature.",
            labels=("verb", "resource"),
        )
        for key, histogram in self._wall.items():
            histogram.into(wall, key)
        yield wall
        parts = HistogramMetricFamily(
            "k8strace_component_duration_seconds",
            "Time of an API request on its critical path in one component. Sums to the wall time.",
            labels=("component", "verb", "resource"),
        )
        for part, histogram in self._parts.items():
            histogram.into(parts, part)
        yield parts
        yield _counter(
            "k8strace_incomplete_requests",
            "API requests with spans that are known to be missing, by cause.",
            ("cause",),
            {(cause,): count for cause, count in self._incomplete.items()},
        )
        yield _counter(
            "k8strace_request_updates",
            "API requests that late spans changed before they were counted.",
            (),
            {(): self._updates},
        )
        yield _counter(
            "k8strace_inner_requests",
            "API requests inside other API requests, whose time has theirs. No other count has them.",
            (),
            {(): self._inner},
        )


class Reading(NamedTuple):
    """One metric family, read at each scrape."""

    kind: str
    """ "counter", "gauge", "info" or "histogram"."""
    name: str
    """Without `_total` or `_info`."""
    help: str
    labels: tuple[str, ...]
    read: Callable[[], Mapping[tuple[str, ...], Any]]
    """Label values → number; of an info metric, without labels → its labels; of a histogram → `Histogram`."""


Values = Mapping[tuple[str, ...], Any]
"""Label values → what was read."""


def one(read: Callable[[], Any]) -> Callable[[], Values]:
    """A reading without labels."""
    return lambda: {(): read()}


class Exposition:
    """
    All metrics of one receiver, as text.

    Args:
        requests: Finished requests.
        readings: Everything else.

    Raises:
        MissingExtraError: prometheus_client is not installed.

    Examples:
        >>> waiting = Reading("gauge", "k8strace_queue_bytes", "Waiting.", (), lambda: {(): 7})
        >>> exposition = Exposition(RequestMetrics(), [waiting], process=False)
        >>> kind, text = exposition.render("application/openmetrics-text; version=1.0.0")
        >>> kind.split(";")[0], b"k8strace_queue_bytes 7.0" in text
        ('application/openmetrics-text', True)
    """

    def __init__(
        self, requests: RequestMetrics, readings: Iterable[Reading], *, process: bool = True
    ) -> None:
        with extra("serve", "a receiver with metrics"):
            from prometheus_client import CollectorRegistry, ProcessCollector
        self._requests = requests
        self.readings = list(readings)
        """May be added to, while parts of a receiver are made."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        if process:
            ProcessCollector(registry=self._registry)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks its collectors."""
        yield from self._requests.families()
        for reading in self.readings:
            yield _FAMILIES[reading.kind](reading.name, reading.help, reading.labels, reading.read())

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """
        The content type and the text, in the format that an `Accept` header asks for.

        OpenMetrics has the exemplars; the older format of Prometheus has no place for them.
        """
        from prometheus_client.exposition import choose_encoder

        encode, kind = choose_encoder(accept)
        return kind, encode(self._registry)


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], Any]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], Any]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _info(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], Any]) -> Metric:
    from prometheus_client.core import InfoMetricFamily

    return _filled(InfoMetricFamily(name, text, labels=labels), values)


def _histogram(
    name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], Histogram]
) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=labels)
    for key, histogram in values.items():
        histogram.into(family, key)
    return family


def _filled(family: Any, values: Mapping[tuple[str, ...], Any]) -> Metric:
    for key, value in values.items():
        family.add_metric(list(key), value)
    metric: Metric = family
    return metric


_FAMILIES: Final[dict[str, Callable[..., Metric]]] = {
    "counter": _counter,
    "gauge": _gauge,
    "info": _info,
    "histogram": _histogram,
}
