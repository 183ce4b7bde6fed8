"""OTLP metrics out of `serve`: exponential histograms, and how they are delivered."""

from __future__ import annotations

import http.server
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from serving import EXPORT, batches_of, serving

import k8strace
from k8strace._core import Exponential
from k8strace.receiver.metrics.exponential import BUCKETS, FINEST, empty
from k8strace.receiver.metrics.labels import component_label, resource_label, verb_label
from k8strace.receiver.metrics.pushing import MetricsPush, PushedDurations, metrics_url
from k8strace.receiver.metrics.tally import Observed, observe

# ── Histograms ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.floats(1e-9, 1e9), st.integers(1, FINEST))
def test_a_bucket_is_that_of_opentelemetrys_own_sdk(value, scale):
    """Its mapping is the oracle; at a limit, where logarithms round, both may be one off."""
    mapping = pytest.importorskip(
        "opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.logarithm_mapping"
    )
    own, theirs = Exponential.index_of(value, scale), mapping.LogarithmMapping(scale).map_to_index(value)
    nearest = round(math.log2(value) * 2**scale)
    at_a_limit = abs(math.log2(value) * 2**scale - nearest) < 1e-6
    assert own == theirs or (at_a_limit and abs(own - theirs) == 1)


@given(st.integers(-30, 30), st.integers(-4, FINEST))
def test_a_power_of_two_is_the_upper_limit_of_its_bucket(power, scale):
    limit = (Exponential.index_of(2.0**power, scale) + 1) * 2.0**-scale
    assert math.ceil(power / 2.0**-scale) * 2.0**-scale == limit


@given(st.lists(st.integers(0, 10**14), max_size=300))
def test_every_duration_is_in_its_bucket(durations):
    histogram = empty()
    for ns in durations:
        histogram.add(ns)
    count, zeros, total_ns, _, told = histogram.told()
    buckets = dict(told)
    base = 2.0 ** (2.0**-histogram.scale)
    expected = Counter(
        math.ceil(math.log2(ns / 1e9) * 2.0**histogram.scale - 1e-9) - 1 for ns in durations if ns
    )
    assert sum(buckets.values()) == sum(expected.values())
    assert (count, zeros) == (len(durations), durations.count(0))
    assert total_ns == sum(durations)
    indices = sorted(buckets)
    assert not indices or indices[-1] - indices[0] < BUCKETS
    for ns in filter(None, durations):
        index = Exponential.index_of(ns / 1e9, histogram.scale)
        assert buckets[index] > 0
        assert base**index * (1 - 1e-9) <= ns / 1e9 <= base ** (index + 1) * (1 + 1e-9)


def test_the_same_durations_in_any_order_are_the_same_histogram():
    one, other = empty(), empty()
    durations = [10**power * digit for power in range(2, 12) for digit in (1, 3, 7)]
    for ns in durations:
        one.add(ns)
    for ns in reversed(durations):
        other.add(ns)
    assert one == other


# ── What is counted ───────────────────────────────────────────────────────────────────────────────────────────────────


def points(request: ExportMetricsServiceRequest, name: str) -> dict[tuple[str, ...], Any]:
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    (metric,) = [each for each in scope.metrics if each.name == name]
    assert (metric.unit, metric.exponential_histogram.aggregation_temporality) == ("s", 2)
    return {
        tuple(each.value.string_value for each in point.attributes): point
        for point in metric.exponential_histogram.data_points
    }


def expected_sums(requests: k8strace.Requests) -> tuple[Counter[Any], Counter[Any]]:
    """ns by verb and resource, and by component: from the library's attribution."""
    wall, parts = Counter[Any](), Counter[Any]()
    for row in observe(requests):
        if row.measured and not row.inner:
            key = verb_label(row.verb), resource_label(row.resource)
            wall[key] += row.wall_ns
            for component, ns in row.components.items():
                parts[*key, component_label(component)] += ns
    return wall, parts


def assert_sums(request: ExportMetricsServiceRequest, requests: k8strace.Requests) -> None:
    for name, expected in zip(
        ("k8strace.request.duration", "k8strace.component.duration"), expected_sums(requests), strict=True
    ):
        found = points(request, name)
        assert set(found) == set(expected)
        for key, ns in expected.items():
            assert found[key].sum == pytest.approx(ns / 1e9, rel=1e-12)
            counted = found[key].zero_count + sum(found[key].positive.bucket_counts)
            assert counted == found[key].count > 0


def test_parts_sum_to_the_wall_time(capture):
    requests = k8strace.join(k8strace.read(capture))
    durations = PushedDurations(start_unix_nano=5)
    durations.add(observe(requests))
    assert_sums(durations.request(now_unix_nano=7), requests)


def test_senders_cannot_make_series():
    durations = PushedDurations(start_unix_nano=5)
    row = Observed("7f", "verb", "res", None, 200, 5, {"etcd": 5}, True, None)
    durations.add(row._replace(verb=f"v{at}", resource=f"r{at}") for at in range(1_000))
    assert set(points(durations.request(now_unix_nano=7), "k8strace.request.duration")) == {
        ("other", "other")
    }


# ── Delivery ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Collector:
    """Takes posts, and answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, Any, bytes]] = []
        self.status, self.answer = 200, b""
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.posts.append((self.path, self.headers, body))
                self.send_response(collector.status)
                if collector.status == 302:
                    self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", str(len(collector.answer)))
                self.end_headers()
                self.wfile.write(collector.answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join(10)


def wait_for(true: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_trouble_is_told_once_and_nothing_is_lost():
    told: list[str] = []
    row = Observed("7f", "get", "pods", None, 200, 10**9, {"etcd": 10**9}, True, None)
    with collector() as there:
        there.status = 503
        headers = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc,x-scope=k8s"}
        push = MetricsPush(metrics_url(there.url), report=told.append, interval_s=0.05, environment=headers)
        push.durations.add([row])
        push.start()
        wait_for(lambda: push.posts["failed"] >= 3)
        assert len(told) == 1
        assert "503" in told[0]
        assert "abc" not in told[0]
        there.status = 200
        wait_for(lambda: push.posts["delivered"] >= 1)
        push.durations.add([row])
        push.stop(10)
    assert told[1:] == ["metrics are delivered again"]
    path, sent, body = there.posts[-1]
    assert path == "/v1/metrics"
    assert sent["Content-Type"] == "application/x-protobuf"
    assert (sent["Authorization"], sent["X-Scope"]) == ("Bearer abc", "k8s")
    (point,) = points(ExportMetricsServiceRequest.FromString(body), "k8strace.request.duration").values()
    assert (point.count, point.sum) == (2, 2.0)


@pytest.mark.parametrize("kind", ["redirect", "refused in part", "nobody"])
def test_what_is_not_taken_is_told(kind):
    told: list[str] = []
    with collector() as there:
        url = there.url
        if kind == "redirect":
            there.status = 302
        elif kind == "refused in part":
            partial = {"rejected_data_points": 3, "error_message": "too many"}
            there.answer = ExportMetricsServiceResponse(partial_success=partial).SerializeToString()
        else:
            url = "http://127.0.0.1:9"
        push = MetricsPush(metrics_url(url), report=told.append, interval_s=0.05, environment={})
        push.start()
        wait_for(lambda: push.posts["failed"] >= 1)
        push.stop(10)
    assert len(told) == 1
    if kind == "refused in part":
        assert told[0] == "3 data points of metrics were refused: too many"


@pytest.mark.parametrize(
    "text", ["", "collector:4318", "ftp://x", "http://", "http://user:secret@x", "grpc://x"]
)
def test_no_address_for_metrics(text, capsys):
    from k8strace.cli import main

    with pytest.raises(ValueError, match="expected an address"):
        metrics_url(text)
    with pytest.raises(SystemExit, match="2"):
        main(["serve", "--metrics-to", text])
    assert "secret" not in capsys.readouterr().err


@pytest.mark.slow
def test_serve_delivers_what_the_library_says_in_whatever_order_spans_come(capture_136):
    """
    At the end at the latest; and Prometheus is told how often.

    Batches come one by one in a random order, with takes between them: some requests are joined in part at first.
    """
    batches = batches_of(capture_136)
    random.Random(5).shuffle(batches)
    with collector() as there, serving("--metrics-to", there.url, "--window", "1m") as process:
        with grpc.insecure_channel(process.address("grpc")) as channel:
            for batch in batches:
                channel.unary_unary(EXPORT)(batch, timeout=60, wait_for_ready=True)
                time.sleep(0.1)
        assert process.metric("k8strace_metrics_posts_total") >= 0
        assert process.metric("k8strace_request_updates_total") > 0
        process.stop()
    request = ExportMetricsServiceRequest.FromString(there.posts[-1][2])
    assert_sums(request, k8strace.join(k8strace.read(str(capture_136))))
