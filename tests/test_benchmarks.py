"""The workload is the same for all and like the real thing, and a time is printed only for equal answers."""

import hashlib
import json
import resource
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from k8strace import _core

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import baseline  # noqa: E402
import chart  # noqa: E402
import goals  # noqa: E402
import rounds  # noqa: E402
import run  # noqa: E402
import workloads  # noqa: E402
from spent import Spent, of  # noqa: E402

SMALL = 2_000

needs_release = pytest.mark.skipif(_core.DEBUG, reason="benchmarks refuse a debug build")


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    return list(workloads.generate(SMALL))


@pytest.fixture(scope="module")
def many() -> list[bytes]:
    return list(workloads.generate(20_000))


@pytest.fixture(scope="module")
def requests(messages) -> list[ExportTraceServiceRequest]:
    return [ExportTraceServiceRequest.FromString(message) for message in messages]


# ---- the workload ---------------------------------------------------------------------------------


def test_a_seed_gives_the_same_bytes_on_every_machine(messages):
    """Stored results speak of these bytes. Who changes the workload changes the digest, and measures again."""
    digest = hashlib.sha256(b"".join(messages)).hexdigest()
    assert digest == "b22e52caaf5f23b9b80a18fd69926832358e8a108faea3fc2ec3d8e47792a57e"
    assert list(workloads.generate(SMALL, seed=1)) != messages


@pytest.mark.parametrize("spans", [1, 2, 500, SMALL])
def test_there_are_exactly_as_many_spans_as_asked_for(spans):
    """Counted by the official classes."""
    assert workloads.shape(workloads.generate(spans)).spans == spans


@pytest.mark.parametrize(
    ("mix", "field", "least", "most"),
    [
        ("list-heavy", "events_per_span", 0.2, 0.7),
        ("write-heavy", "events_per_span", 1.0, 1.4),
        ("webhook", "spans_per_trace", 9.0, 12.0),
        ("watch-cache", "etcd_calls_per_100_spans", 0.5, 3.0),
    ],
)
def test_other_mixes_differ_in_what_their_names_say(mix, field, least, most):
    """Lists write few events, creations many; webhooks make long traces; the watch cache spares etcd."""
    made = workloads.shape(workloads.generate(SMALL, mix=mix))
    assert made.spans == SMALL
    assert least <= getattr(made, field) <= most


def test_messages_are_what_a_batch_span_processor_sends(requests):
    """One process and at most 512 spans a message, each scope once."""
    for request in requests:
        (of_resource,) = request.resource_spans
        scopes = [part.scope.name for part in of_resource.scope_spans]
        assert len(scopes) == len(set(scopes))
        assert sum(len(part.spans) for part in of_resource.scope_spans) <= 512


def test_the_processes_take_turns(many):
    """A message of etcd comes between those of the apiserver."""
    services = [next(baseline.spans(message)).resource["service.name"] for message in many]
    assert set(services) == {"apiserver", "etcd"}
    assert sum(a != b for a, b in pairwise(services)) >= 5


def test_spans_of_a_scope_come_in_the_order_they_ended(requests):
    """Inner ones before outer ones: children before parents."""
    parts = [part for request in requests for part in request.resource_spans[0].scope_spans]
    assert all(
        a.end_time_unix_nano <= b.end_time_unix_nano for part in parts for a, b in pairwise(part.spans)
    )


def test_children_are_within_their_parents(messages):
    """Nobody's time is cut off, so that the workload exercises the join and not the clipping."""
    spans = {span.span_id: span for message in messages for span in baseline.spans(message)}
    inside = [(span, spans[span.parent_span_id]) for span in spans.values() if span.parent_span_id in spans]
    assert all(parent.start <= span.start <= span.end <= parent.end for span, parent in inside)


@pytest.mark.slow
def test_the_workload_has_the_shape_of_the_capture(many, capture_136):
    """Everything that makes spans cheap or dear is within a tenth of the real thing, but names and keys."""
    made, real = workloads.shape(many), workloads.shape(baseline.load(capture_136))
    sizes = {"spans", "batches", "span_names", "attribute_keys"}
    per_span = [name for name in workloads.Shape._fields if name not in sizes]
    far = {name: getattr(made, name) / getattr(real, name) for name in per_span}
    assert {name: ratio for name, ratio in far.items() if not 0.9 < ratio < 1.1} == {}
    assert 100 <= made.span_names <= real.span_names
    assert 40 <= made.attribute_keys <= real.attribute_keys


def field_numbers(message: bytes) -> Iterator[int]:
    """The field numbers of a protobuf message, in the order in which they are written."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, kind = divmod(varint(), 8)
        yield number
        first = varint() if kind in (0, 2) else 0
        at += {0: 0, 1: 8, 2: first, 5: 4}[kind]


def test_fields_are_written_in_the_order_of_their_numbers(requests):
    """As Go writes them: a decoder may be quick at that order, and real senders keep to it."""
    spans = [s for request in requests for part in request.resource_spans[0].scope_spans for s in part.spans]
    for message in [*requests, *spans, *(event for span in spans for event in span.events)]:
        numbers = list(field_numbers(message.SerializeToString()))
        assert numbers == sorted(numbers)


def test_the_serializer_gives_back_the_bytes_of_a_capture(capture):
    """So what it makes of the workload is what a Go process would have sent."""
    for message in baseline.load(capture):
        assert ExportTraceServiceRequest.FromString(message).SerializeToString() == message


# ---- the run --------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_release
def test_the_contenders_agree_on_a_workload(tmp_path, messages):
    """Every request's wall time and phases are equal, else `measure` raises."""
    path = tmp_path / "small.otlp.zst"
    workloads.write(path, messages)
    measured = rounds.measure("small", path, rounds=1, seconds=0)
    assert measured.spans == SMALL
    assert measured.times_faster("baseline").median > 0


@pytest.mark.parametrize(
    "theirs",
    [{"a": [3, {"etcd": 3}]}, {"a": [2, {"etcd": 2}], "b": [0, {}]}, {}],
    ids=["another time", "a request more", "a request less"],
)
def test_different_answers_are_refused(theirs):
    """A time for another answer is no time."""
    first = {
        name: {"answers": answers, "facts": {"spans": 1}}
        for name, answers in {"k8strace": {"a": [2, {"etcd": 2}]}, "baseline": theirs}.items()
    }
    with pytest.raises(rounds.DifferentAnswersError, match="small: 1 of 1 requests differ"):
        rounds.check_equal("small", first)


@pytest.mark.slow
@needs_release
def test_a_quick_run_prints_and_stores_what_it_measured(tmp_path, capsys):
    """From the command line to the file."""
    stored = tmp_path / "result.json"
    assert run.main(["--quick", "--spans", str(SMALL), "--rounds", "1", "--json", str(stored)]) == 0
    printed = capsys.readouterr().out
    assert "k8s-1.36: 16,766 spans" in printed
    assert "at least 15x wanted" in printed
    result = json.loads(stored.read_text())
    assert [each["spans"] for each in result["workloads"]] == [16_766, SMALL]
    assert result["machine"]["versions"]["protobuf"] in printed


def spread_of(ratio: float) -> rounds.Measured:
    """A measurement in which the baseline takes so many times as long as we do."""
    lap = {"baseline": {"cpu": {"read": ratio}}, "k8strace": {"cpu": {"read": 1.0}}}
    return rounds.Measured("k8s-1.36", spans=1, stored_bytes=1, first={}, rounds=[lap])


@pytest.mark.parametrize(("ratio", "met", "verdict"), [(15.0, True, "PASS"), (14.9, False, "FAIL")])
def test_a_goal_is_met_from_its_floor_on(ratio, met, verdict, capsys):
    """Fifteen times on the 1.36 capture."""
    assert run.print_goals([spread_of(ratio)]) is met
    assert capsys.readouterr().out.startswith(verdict)


@pytest.mark.slow
@needs_release
def test_those_who_start_from_memory_have_read_the_same(tmp_path, messages):
    """Every name, time, event, key and text, else `measure_decoders` raises."""
    path = tmp_path / "small.otlp.zst"
    workloads.write(path, messages)
    measured = rounds.measure_decoders("small", path, rounds=1, seconds=0)
    assert rounds.decoder_ratios(measured).keys() >= {1, 2, 3}
    facts = measured.first["decode"]["facts"]
    assert sum(name.startswith("read_") for name in facts) == 5


def test_who_has_read_something_else_is_refused():
    """One attribute more is other work."""
    first = {
        name: {"answers": {}, "facts": {"spans": 1, "read_keys": keys}}
        for name, keys in {"k8strace": "1 a", "baseline": "2 b"}.items()
    }
    with pytest.raises(rounds.DifferentAnswersError, match="not read the same"):
        rounds.check_equal("small", first)


@pytest.mark.parametrize(
    ("number", "value", "verdict"),
    [
        *((1, 11.9, "BELOW FLOOR"), (1, 12, "missed"), (1, 25, "met"), (1, 40, "beyond")),
        *((10, 301, "BELOW FLOOR"), (10, 300, "missed"), (10, 254, "met"), (10, 200, "beyond")),
        (6, 1, "missed"),
    ],
)
def test_a_goal_says_how_far_a_result_gets(number, value, verdict):
    """Higher is better for a ratio, lower for a size; what has no floor cannot be below it."""
    assert goals.GOALS[number].verdict(value) == verdict
    assert bool(goals.below_floor({"w": {number: goals.Figure(value)}})) is (verdict == "BELOW FLOOR")


def test_the_gate_holds_known_misses_where_they_are(monkeypatch):
    """A floor that was never reached does not stop every change, but getting worse does."""
    held = goals.GOALS[3].floor - 0.2
    monkeypatch.setattr(goals, "HELD_INSTEAD", {3: held})
    values = {1: goals.Figure(11.0), 3: goals.Figure(held), 10: goals.Figure(100.0)}

    def lines(values, *numbers, skipped=None):
        return goals.gate({"a": values}, {"a": numbers}, skipped or {})

    assert [holds for holds, _ in lines(values, 1, 3, 10)] == [False, True, True]
    assert "MISSED" in lines(values, 3)[0][1]
    assert not lines({3: goals.Figure(held - 0.1)}, 3)[0][0]
    assert lines({}, 14, skipped={14: "polars is not installed"})[0][0]


def test_the_table_has_a_row_per_goal_and_workload():
    """Beside each figure what it costs: ns of a span, those in the kernel, page faults of a thousand spans."""
    figures = {"a": {1: goals.Figure(30.0, Spent(2e-7, 5e-8, 0.012))}, "b": {1: goals.Figure(11.0)}}
    head, *rows = ([*filter(None, line.split("  "))] for line in goals.table(figures, {4: "not installed"}))
    assert [each.strip() for each in head][-4:] == ["measured", "CPU", "kernel", "faults"]
    assert len(rows) == len(goals.GOALS) + 1
    assert [each.strip() for each in rows[0]][-4:] == ["30 met", "200", "50", "12"]
    assert "11 BELOW FLOOR" in rows[1][-1]
    assert [each.split()[-1] for each in rows[4][-2:]] == ["-", "installed)"]


def test_what_work_costs_is_counted_from_the_kernel():
    """Memory that is written for the first time is a page fault for each page."""
    pages = 4096
    spent = of(lambda: bytearray(pages * resource.getpagesize()).count(1))
    assert spent.faults >= pages / 512, "huge pages at most"
    assert spent.cpu >= spent.system >= 0


def test_the_chart_is_an_svg_with_a_bar_each():
    """Well-formed, on a logarithmic scale."""
    from xml.etree import ElementTree as ET

    root = ET.fromstring(chart.svg("a < b", {"k8strace: decode": 100.0, "upb": 1000.0}))
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if "x" in each.attrib]
    assert len(bars) == 2


def test_a_debug_build_is_refused(monkeypatch, capsys):
    """Its times mean nothing."""
    monkeypatch.setattr(_core, "DEBUG", True)
    assert run.main(["--quick"]) == 2
    assert "debug build" in capsys.readouterr().err
