"""Durations of finished requests, pushed to a collector as OTLP metrics, over HTTP."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from k8strace import _core
from k8strace.exceptions import K8straceError
from k8strace.receiver.metrics.exponential import empty, write_point
from k8strace.receiver.metrics.exposition import Reading
from k8strace.receiver.metrics.labels import component_label, resource_label, verb_label
from k8strace.receiver.metrics.tally import Observed

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

__all__ = ["MetricsPush", "PushedDurations", "metrics_url"]

INTERVAL_S: Final = 30.0
TIMEOUT_S: Final = 10.0
HEADERS: Final = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
"""Environment variables of OpenTelemetry's own exporters: `name=value`, percent-encoded, commas between them."""
MOST_ANSWER: Final = 64 << 10

REQUEST: Final = ("k8strace.request.duration", "Wall time of API requests, without those that stay open.")
COMPONENT: Final = (
    "k8strace.component.duration",
    "Time of an API request on its critical path in one component. Sums to the wall time.",
)


def metrics_url(text: str) -> str:
    """
    Where metrics are posted: an address without a path gets OTLP's.

    Raises:
        ValueError: It is no such address.

    Examples:
        >>> metrics_url("http://collector:4318"), metrics_url("https://x/otlp/metrics")
        ('http://collector:4318/v1/metrics', 'https://x/otlp/metrics')
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("expected an address such as http://collector:4318, without user or password")
    return urlunsplit(
        parts._replace(path=parts.path if parts.path.strip("/") else "/v1/metrics", fragment="")
    )


class PushedDurations:
    """
    Exponential histograms by verb and resource, and by component beside; labels are of closed sets. From any thread.

    A request whose time is in another one's, or says nothing, does not count: as in `RequestMetrics`.

    Examples:
        >>> durations = PushedDurations(start_unix_nano=1)
        >>> durations.add([Observed("7f", "get", "pods", None, 200, 9, {"etcd": 9}, True, None)])
        >>> request = durations.request(now_unix_nano=2)
        >>> [metric.name for metric in request.resource_metrics[0].scope_metrics[0].metrics]
        ['k8strace.request.duration', 'k8strace.component.duration']
    """

    def __init__(self, start_unix_nano: int) -> None:
        self._start = start_unix_nano
        self._instance = str(uuid.uuid4())
        self._lock = threading.Lock()
        self._wall: dict[tuple[str, ...], _core.Exponential] = {}
        self._parts: dict[tuple[str, ...], _core.Exponential] = {}

    def add(self, rows: Iterable[Observed]) -> None:
        """Adds requests that are final: sums take nothing back."""
        with self._lock:
            for row in rows:
                if row.measured and not row.inner:
                    self._add(row)

    def _add(self, row: Observed) -> None:
        key = (verb_label(row.verb), resource_label(row.resource))
        self._wall.setdefault(key, empty()).add(row.wall_ns)
        for component, ns in row.components.items():
            self._parts.setdefault((*key, component_label(component)), empty()).add(ns)

    def request(self, now_unix_nano: int) -> ExportMetricsServiceRequest:
        """All since the start, as one message: cumulative, so one that is lost costs nothing."""
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
        from opentelemetry.proto.metrics.v1.metrics_pb2 import (
            AGGREGATION_TEMPORALITY_CUMULATIVE as CUMULATIVE,
        )

        message = metrics_service_pb2.ExportMetricsServiceRequest()
        resource = message.resource_metrics.add()
        for key, value in (("service.name", "k8strace"), ("service.instance.id", self._instance)):
            _attribute(resource.resource.attributes.add(), key, value)
        scope = resource.scope_metrics.add()
        scope.scope.name, scope.scope.version = "k8strace", _core.__version__
        with self._lock:
            for (name, told), histograms in ((REQUEST, self._wall), (COMPONENT, self._parts)):
                metric = scope.metrics.add(name=name, description=told, unit="s")
                metric.exponential_histogram.aggregation_temporality = CUMULATIVE
                for labels, histogram in histograms.items():
                    point = metric.exponential_histogram.data_points.add(
                        start_time_unix_nano=self._start, time_unix_nano=now_unix_nano
                    )
                    for key, value in zip(("verb", "resource", "component"), labels, strict=False):
                        _attribute(point.attributes.add(), key, value)
                    write_point(histogram, point)
        return message


def _attribute(pair: Any, key: str, value: str) -> None:
    pair.key, pair.value.string_value = key, value


class _Stay(HTTPRedirectHandler):
    """Headers may hold a secret: they are sent to their destination only."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Not followed."""


class MetricsPush:
    """
    Posts the durations of finished requests every half minute, and once more at the end, in a thread of its own.

    What cannot be delivered is told once, counted, and said again with the next post, since sums are cumulative.

    Args:
        url: As `metrics_url` gives it.
        report: Is told in words what went wrong, and that it goes well again.
        interval_s: Time between posts.
        environment: Where headers are looked for.
    """

    def __init__(
        self,
        url: str,
        *,
        report: Callable[[str], object] = lambda _: None,
        interval_s: float = INTERVAL_S,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.durations = PushedDurations(time.time_ns())
        self.posts = {"delivered": 0, "failed": 0}
        self._url = url
        self._headers = _headers(environment)
        self._report = report
        self._interval = interval_s
        self._trouble = ""
        self._stop = threading.Event()
        self._opener = build_opener(_Stay)
        self._thread = threading.Thread(target=self._run, name="k8strace-metrics-push", daemon=True)

    def start(self) -> None:
        """Posts from now on."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Posts what is left, and ends."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(within_s)

    def readings(self) -> list[Reading]:
        """For Prometheus."""
        return [
            Reading(
                "counter",
                "k8strace_metrics_posts",
                "Posts of OTLP metrics, by outcome.",
                ("outcome",),
                lambda: {(outcome,): count for outcome, count in self.posts.items()},
            )
        ]

    def _run(self) -> None:
        over = False
        while not over:
            over = self._stop.wait(self._interval)
            trouble = self._post(self.durations.request(time.time_ns()).SerializeToString())
            self.posts["failed" if trouble else "delivered"] += 1
            if bool(trouble) != bool(self._trouble):
                self._report(trouble or "metrics are delivered again")
            self._trouble = trouble

    def _post(self, body: bytes) -> str:
        """What went wrong, in words; empty if nothing did."""
        headers = {"Content-Type": "application/x-protobuf", **self._headers}
        try:
            request = Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 - checked by metrics_url
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return _refused(answer.read(MOST_ANSWER))
        except (OSError, HTTPException, ValueError) as error:
            return f"metrics cannot be delivered to {self._url}: {error}"


def _refused(answer: bytes) -> str:
    """The message of a collector that rejected some."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    try:
        partial = ExportMetricsServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return ""
    rejected = partial.rejected_data_points
    return f"{rejected} data points of metrics were refused: {partial.error_message}" if rejected else ""


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    text = next((environment[name] for name in HEADERS if environment.get(name)), "")
    found = {}
    for pair in filter(None, text.split(",")):
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise K8straceError(f"expected name=value in {HEADERS[0]} or {HEADERS[1]}")
        found[unquote(name.strip())] = unquote(value.strip())
    return found
