"""
What Prometheus is told, read with the parser of prometheus_client.

Expected values are worked out from the joined requests by plain loops over their columns.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import batches_of
from test_metrics_push import expected_sums, points

import k8strace
from k8strace.formats import messages
from k8strace.receiver import Meta, Places, Receiver
from k8strace.receiver.metrics.exposition import LIMITS_NS, Exposition, Histogram, Reading, RequestMetrics
from k8strace.receiver.metrics.labels import COMPONENTS, RESOURCES, VERBS
from k8strace.receiver.metrics.pushing import PushedDurations
from k8strace.receiver.metrics.settling import Settling
from k8strace.receiver.metrics.stream import stream_readings
from k8strace.receiver.metrics.tally import Durations, Observed, Recent, Tally, observe, rounded_up

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def row(wall_ns=1, *, trace_id="7f" * 16, verb="get", resource="pods", components=None, **facts):
    defaults = {
        "namespace": None,
        "http_status": 200,
        "measured": True,
        "incomplete_cause": None,
    }
    parts = {"apiserver": wall_ns} if components is None else components
    return Observed(
        trace_id=trace_id,
        verb=verb,
        resource=resource,
        wall_ns=wall_ns,
        components=parts,
        **{**defaults, **facts},
    )


def samples(rows, readings=(), accept=OPENMETRICS, clock_s=lambda: 1_700_000_000.5):
    """(sample name, labels) → sample, from the text that a scrape gives."""
    metrics = RequestMetrics(clock_s=clock_s)
    metrics.add(rows)
    kind, text = Exposition(metrics, readings, process=False).render(accept)
    assert kind.startswith(accept.partition(";")[0])
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample
        for family in families
        for sample in family.samples
    }


def value(found, name, **labels):
    return found[name, frozenset(labels.items())].value


@pytest.fixture(scope="module")
def recorded():
    return k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))


def test_requests_of_a_recording_are_counted_by_verb_resource_and_code(recorded):
    """Each request once; custom resources are other, paths are nonresource."""
    found = samples(observe(recorded))
    expected = Counter()
    columns = (recorded.column(name) for name in ("verb", "resource", "http_status"))
    for verb, resource, status in zip(*columns, strict=True):
        label = "nonresource" if resource is None else resource if resource in RESOURCES else "other"
        code = "none" if status is None else f"{status // 100}xx"
        expected[verb if verb in VERBS else "other", label, code] += 1
    counted = {
        tuple(dict(labels)[key] for key in ("verb", "resource", "code")): sample.value
        for (name, labels), sample in found.items()
        if name == "k8strace_requests_total"
    }
    assert counted == expected
    assert sum(counted.values()) == len(recorded)


def test_durations_of_a_recording_fall_into_their_buckets(recorded):
    """Each bucket has as many requests as have no more wall time than its limit; watches are in none."""
    found = samples(observe(recorded))
    pods = [
        request.wall_ns
        for request in recorded.where(
            verb="create", resource="pods", has_valid_times=True, long_running=False
        )
    ]
    for limit in (*(ns / 1e9 for ns in LIMITS_NS), math.inf):
        (counted,) = (
            sample.value
            for (name, labels), sample in found.items()
            if name == "k8strace_request_duration_seconds_bucket"
            and {("verb", "create"), ("resource", "pods")} <= labels
            and float(dict(labels)["le"]) == limit
        )
        assert counted == sum(ns <= limit * 1e9 for ns in pods)
    assert value(found, "k8strace_request_duration_seconds_sum", verb="create", resource="pods") == (
        pytest.approx(sum(pods) / 1e9)
    )
    watches = frozenset({("verb", "watch"), ("resource", "pods")})
    assert ("k8strace_request_duration_seconds_count", watches) not in found


def test_components_sum_to_the_wall_time(recorded):
    """Over all components, the time of a verb and resource is that of its requests."""
    found = samples(observe(recorded))
    parts, wall = Counter(), {}
    for (name, labels), sample in found.items():
        known = dict(labels)
        if name == "k8strace_component_duration_seconds_sum":
            parts[known["verb"], known["resource"]] += sample.value
        elif name == "k8strace_request_duration_seconds_sum":
            wall[known["verb"], known["resource"]] = sample.value
    assert parts == pytest.approx(wall)


def test_buckets_carry_the_trace_id_of_their_latest_request():
    """2 ms and 2.2 ms share a bucket: the later one is its exemplar, at the time when it was counted."""
    found = samples([row(2_000_000, trace_id="aa" * 16), row(2_200_000, trace_id="bb" * 16)])
    key = frozenset({("verb", "get"), ("resource", "pods"), ("le", "0.0025")})
    exemplar = found["k8strace_request_duration_seconds_bucket", key].exemplar
    assert exemplar.labels == {"trace_id": "bb" * 16}
    assert exemplar.value == 0.0022
    assert float(exemplar.timestamp) == 1_700_000_000.5
    part = frozenset({*key, ("component", "apiserver")})
    assert found["k8strace_component_duration_seconds_bucket", part].exemplar == exemplar


def test_the_older_format_of_prometheus_has_no_exemplars_and_is_still_whole():
    """A scraper that does not ask for OpenMetrics gets plain text."""
    metrics = RequestMetrics()
    metrics.add([row(5)])
    kind, text = Exposition(metrics, [], process=False).render("text/plain")
    assert kind.startswith("text/plain")
    assert b"k8strace_requests_total{" in text
    assert b"trace_id" not in text


@pytest.mark.parametrize("hostile", ['"} 1\nk8strace_fake 1', "a" * 10_000, "\x1b[2J", "pöds", "\ud800"])
def test_senders_cannot_make_series(hostile):
    """Ten thousand unheard-of verbs, resources and components are one: other."""
    rows = [
        row(9, verb=f"{hostile}{n}", resource=f"{hostile}{n}", components={f"{hostile}{n}": 9})
        for n in range(100)
    ]
    found = samples(rows)
    assert value(found, "k8strace_requests_total", verb="other", resource="other", code="2xx") == 100
    parts = [labels for name, labels in found if name == "k8strace_component_duration_seconds_count"]
    assert [dict(labels)["component"] for labels in parts] == ["other"]


def test_unfinished_requests_are_counted_beside_the_others():
    """A watch has no duration; a lost span is a cause."""
    found = samples(
        [
            row(5),
            row(9, verb="watch", measured=False),
            row(5, incomplete_cause="span_lost"),
        ]
    )
    assert value(found, "k8strace_requests_total", verb="get", resource="pods", code="2xx") == 2
    assert value(found, "k8strace_requests_total", verb="watch", resource="pods", code="2xx") == 1
    assert value(found, "k8strace_incomplete_requests_total", cause="span_lost") == 1
    assert value(found, "k8strace_request_duration_seconds_count", verb="get", resource="pods") == 2


def test_readings_are_read_when_somebody_scrapes():
    """A gauge, a counter by reason, an info, a histogram."""
    histogram = Histogram(limits_ns=(1000,))
    histogram.add(1001)
    readings = [
        Reading("gauge", "k8strace_queue_bytes", "q", (), lambda: {(): 7}),
        Reading("counter", "k8strace_rejected", "r", ("reason",), lambda: {("utf8",): 3}),
        Reading("info", "k8strace_mode", "m", (), lambda: {(): {"mode": "memory"}}),
        Reading("histogram", "k8strace_sync_seconds", "s", (), lambda: {(): histogram}),
    ]
    found = samples([], readings)
    assert value(found, "k8strace_queue_bytes") == 7
    assert value(found, "k8strace_rejected_total", reason="utf8") == 3
    assert value(found, "k8strace_mode_info", mode="memory") == 1
    assert value(found, "k8strace_sync_seconds_bucket", le="+Inf") == 1
    assert value(found, "k8strace_sync_seconds_bucket", le="1e-06") == 0


def test_our_components_are_those_of_the_taxonomy():
    """The set is closed, and has what the rules name."""
    of_requests = {"apiserver", "etcd", "webhook", "kms", "aggregator", "egress", "upstream", "unattributed"}
    assert of_requests | {"kubelet", "runtime", "cni", "registry"} == COMPONENTS


# ── Late spans ────────────────────────────────────────────────────────────────────────────────────


def shuffled(capture, seed):
    """The batches of a recording in another order, as a collector with several consumers sends them."""
    batches = batches_of(capture)
    random.Random(seed).shuffle(batches)
    return batches


def sums(requests):
    """What the library says: ns by verb and resource, and by component beside."""
    wall, parts = expected_sums(requests)
    return {**wall, **parts}


def pushed_sums(message):
    names = ("k8strace.request.duration", "k8strace.component.duration")
    return {
        labels: round(point.sum * 1e9) for name in names for labels, point in points(message, name).items()
    }


def scraped_sums(metrics):
    _, text = Exposition(metrics, [], process=False).render(OPENMETRICS)
    return {
        tuple(sample.labels[key] for key in ("verb", "resource", "component") if key in sample.labels): round(
            sample.value * 1e9
        )
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name in ("k8strace_request_duration_seconds_sum", "k8strace_component_duration_seconds_sum")
    }


@pytest.mark.parametrize("capture", ["k8s-1.27_etcd-3.5", "k8s-1.36_etcd-3.6"])
@pytest.mark.parametrize("seed", range(1, 4))
def test_whatever_comes_late_the_sums_are_those_of_the_whole_recording(capture, seed):
    """
    Some traces look whole before all their spans are in: they are emitted again, and count as they are in the end.

    So do those that a call emits again because it shows that clocks differ.
    """
    capture = Path(f"tests/data/{capture}.otlp.zst")
    stream = k8strace.RequestStream(k8strace.StreamSettings(window_ns=1_000))
    settling, live = Settling(), Recent(slot_ns=5, slots=4)
    scraped, pushed = RequestMetrics(), PushedDurations(start_unix_nano=1)
    updates = counted = 0

    def show(taken, now_ns):
        nonlocal updates, counted
        changes = settling.take(taken, now_ns)
        updates, counted = updates + len(changes.replaced), counted + len(changes.final)
        scraped.add(changes.final, updates=len(changes.replaced))
        pushed.add(changes.final)
        for each, added_ns in changes.replaced:
            live.remove(each, added_ns)
        live.add(changes.emitted, now_ns)

    for now_ns, batch in enumerate(shuffled(capture, seed)):
        stream.feed(batch, now_ns)
        show(stream.take(now_ns), now_ns)
    assert counted == 0
    show(stream.flush(), 100)
    joined = k8strace.join(k8strace.read(str(capture)))
    assert updates > 0 or (capture.stem, seed) == ("k8s-1.27_etcd-3.5.otlp", 2)
    assert counted == len(joined)
    assert pushed_sums(pushed.request(2)) == scraped_sums(scraped) == sums(joined)
    whole = Tally()
    whole.add(observe(joined))
    told = live.total()
    assert (told.requests, told.inner, told.slowest()) == (whole.requests, whole.inner, whole.slowest())
    assert {
        key: (group.requests, +group.wall.counts, +group.components) for key, group in told.groups.items()
    } == {key: (group.requests, +group.wall.counts, +group.components) for key, group in whole.groups.items()}


def test_a_request_counts_when_its_trace_is_released():
    """Until then no span has come for the window, and it may change."""
    capture = "tests/data/k8s-1.36_etcd-3.6.otlp.zst"
    stream = k8strace.RequestStream(k8strace.StreamSettings(window_ns=10))
    stream.feed(k8strace.read(capture), 0)
    settling = Settling()
    first, early = settling.take(stream.take(0), 0), settling.take(stream.take(9), 9)
    assert first.emitted
    assert first.final == early.final == []
    assert len(settling.take(stream.take(10), 10).final) == len(k8strace.join(k8strace.read(capture)))
    assert settling.take(stream.flush(), 11) == ([], [], [])


def test_what_was_emitted_before_a_restart_is_not_counted_when_it_is_replaced():
    """One sees all takes, one only those of the second half: it counts the traces that the first half had not."""
    batches = shuffled(Path("tests/data/k8s-1.36_etcd-3.6.otlp.zst"), 1)
    stream, whole, second_half = k8strace.RequestStream(), Settling(), Settling()
    before, counted, late = set(), set(), set()
    for now, batch in enumerate([*batches, b""]):
        stream.feed(batch, now)
        taken = stream.take(now) if now < len(batches) else stream.flush()
        counted |= {row.trace_id for row in whole.take(taken, now).final}
        if now < len(batches) // 2:
            before.update(taken.column("trace_id"))
        else:
            late |= {row.trace_id for row in second_half.take(taken, now).final}
    assert before
    assert late == counted - before


# ── Sums in bounded memory ────────────────────────────────────────────────────────────────────────


def test_quantiles_are_at_most_one_percent_too_high(recorded):
    """Beside sorted wall times, by nearest rank."""
    walls = sorted(recorded.where(has_valid_times=True, long_running=False).column("wall_ns"))
    durations = Durations()
    for ns in walls:
        durations.add(ns)
    for q in (0.01, 0.5, 0.9, 0.99, 1.0):
        true = walls[math.ceil(q * len(walls)) - 1]
        assert true <= durations.quantile(q) <= true * 1.01
    assert durations.total_ns == sum(walls)


def test_rounding_up_keeps_order_and_limits():
    """Never below the value, never more than one percent above, and whatever is rounded stays."""
    for ns in [*range(5_000), *(3**power for power in range(5, 45))]:
        assert ns <= rounded_up(ns) <= ns * 1.01
        assert rounded_up(rounded_up(ns)) == rounded_up(ns)
    assert all(rounded_up(limit) == limit for limit in LIMITS_NS)


def test_a_tally_has_bounded_memory_under_unheard_of_resources():
    """Ten thousand resources: 512 groups and one for the others, ten slow requests; nothing uncounted."""
    tally = Tally()
    tally.add([row(number, resource=f"r{number}") for number in range(10_000)])
    assert len(tally.groups) == 513
    assert sum(group.requests for group in tally.groups.values()) == tally.requests == 10_000
    assert [slow.wall_ns for slow in tally.slowest()] == list(range(9_999, 9_989, -1))


def test_requests_of_one_trace_that_take_equally_long_are_all_counted():
    """A sender can write any time: rows that have no order (None and text, parts of their time) need none."""
    alike = [
        row(5, resource=None),
        row(5, resource="pods"),
        row(5, verb=None),
        *(row(5, components={"apiserver": 5 - ns, "etcd": ns}) for ns in range(1, 4)),
    ]
    recent = Recent(slot_ns=10, slots=100)
    for number, each in enumerate(alike * 3):
        recent.add([each], now_ns=10 * number)
    tally = recent.total()
    assert tally.requests == 18
    assert [slow.wall_ns for slow in tally.slowest()] == [5] * 10


def test_tallies_of_parts_make_the_tally_of_the_whole(recorded):
    """However the requests are cut into slots."""
    rows = observe(recorded)
    whole, recent = Tally(), Recent(slot_ns=10, slots=10)
    whole.add(rows)
    for at in range(0, len(rows), 200):
        recent.add(rows[at : at + 200], now_ns=at // 20)
    merged = recent.tally(now_ns=len(rows) // 20)
    assert (merged.requests, merged.slowest()) == (whole.requests, whole.slowest())
    assert {key: (group.requests, group.wall.counts) for key, group in merged.groups.items()} == {
        key: (group.requests, group.wall.counts) for key, group in whole.groups.items()
    }


def test_what_counts_is_a_counter_and_nothing_else_is():
    """
    Over everything that is there: a counter is one that never falls, and its samples end in _total.

    What grows while spans come and is there no more after a flush is a gauge.
    """
    stream = k8strace.RequestStream()
    receiver = Receiver(stream, Places())
    try:
        before = values(receiver.exposition)
        receiver.pipeline.accept(
            bytes(next(messages("tests/data/k8s-1.36_etcd-3.6.otlp.zst")).wire), Meta("grpc")
        )
        receiver.pipeline.drain(20)
        after = values(receiver.exposition)
    finally:
        receiver.stop(5)
    kinds = {family.name: family.type for family in parsed(receiver.exposition)}
    gauges = {"k8strace_held_spans", "k8strace_held_traces", "k8strace_held_bytes"}
    gauges |= {"k8strace_ready", "k8strace_in_flight_bytes", "k8strace_queue_bytes", "k8strace_queue_batches"}
    gauges.add("k8strace_http_connections")
    assert {name for name, kind in kinds.items() if kind == "gauge" and "process_" not in name} == gauges
    for family in parsed(receiver.exposition):
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{family.name}_total"}
        assert not family.name.endswith(("_total", "_count"))
    assert all(value >= before.get(key, 0) for key, value in after.items() if key[0].endswith("_total"))
    assert after["k8strace_joined_spans_total", ()] > 0
    assert (
        sum(after["k8strace_ended_spans_total", (("fate", fate),)] for fate in FATES)
        == after["k8strace_joined_spans_total", ()]
    )


FATES = ("repeats", "released", "discarded")


def test_every_count_of_a_stream_has_a_metric():
    """None is forgotten when the stream counts something new."""
    counts = dict.fromkeys(k8strace.RequestStream().counts, 0) | {"spans": 1}
    shown = {
        (reading.name, labels)
        for reading in stream_readings(lambda: {name: at for at, name in enumerate(counts, 1)})
        for labels in reading.read()
    }
    assert len(shown) == len(counts) - 1, "batches are counted by the pipeline"


def parsed(exposition):
    return list(text_string_to_metric_families(exposition.render("application/openmetrics-text")[1].decode()))


def values(exposition):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parsed(exposition)
        for sample in family.samples
        if family.name.startswith("k8strace")
    }
