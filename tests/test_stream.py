"""A stream gives what `join` gives over everything, each request as early as it can, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import oracle
import pytest
from builder import SERVER, Span, apiserver_request, batches, etcd_client, etcd_server, trace, verb_span
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from shapes import SHAPES, sent, shape_1_34
from strategies import Requests, dirty_batches
from streamed import put_together, said, used
from test_laws import EXAMPLES
from test_requests import _each_span, _single, resent

import k8strace

ROOT = Path(__file__).parent.parent

law = settings(max_examples=EXAMPLES, deadline=None)
WIDE = k8strace.StreamSettings(window_ns=1 << 40, max_age_ns=1 << 41)


def streamed(
    messages: Requests, random: Random, stream: k8strace.RequestStream
) -> list[k8strace.stream.StreamedRequests]:
    """Feeds the messages with a take now and then, all of it within the window, and flushes."""
    takes, now = [], 0
    for message in messages:
        now += random.choice([0, 0, 1, 1_000])
        stream.feed(message, now)
        if random.random() < 0.4:
            takes.append(stream.take(now))
    return [*takes, stream.flush()]


def check_counts(stream: k8strace.RequestStream) -> None:
    """Every span that was fed is somewhere."""
    counts = stream.counts
    assert counts["spans"] == sum(counts[name] for name in ("held", "repeats", "released", "discarded"))


def check_same(messages: Requests, random: Random, times: int = 1) -> None:
    """A stream of the messages, resent in any order, split and number, ends where `join` of all begins."""
    everything = k8strace.join(k8strace.decode(messages))
    stream = k8strace.RequestStream(WIDE)
    takes = streamed(resent(messages, random, times), random, stream)
    assert put_together(takes) == said(everything)
    check_counts(stream)
    assert (stream.counts["held"], stream.counts["discarded"]) == (0, 0)
    expected = used(everything.joined.ledger)
    expected["invalid_id"] *= times  # what has no id cannot be told from its copy
    assert used(stream.ledger) == expected
    assert stream.ledger.spans == stream.counts["spans"]


# ── The same as the batch ─────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@law
@given(dirty_batches(), st.randoms(use_true_random=False), st.sampled_from([1, 1, 2]))
def test_any_order_split_and_repetition_ends_where_join_ends(
    messages: Requests, random: Random, times: int
) -> None:
    check_same(messages, random, times)


@pytest.mark.slow
@law
@given(dirty_batches(full=True), st.randoms(use_true_random=False))
def test_spans_with_all_details_end_where_join_ends(messages: Requests, random: Random) -> None:
    check_same(messages, random)


@pytest.mark.slow
@law
@given(st.lists(st.sampled_from(range(len(SHAPES))), max_size=6), st.randoms(use_true_random=False))
def test_shapes_of_all_versions_end_where_join_ends(which: list[int], random: Random) -> None:
    far = random.choice([30, 60, 200, 10_000])
    messages = sent(*(part for at, shape in enumerate(which) for part in SHAPES[shape](at + 1, far * at)))
    for message in messages:
        skew = random.choice([0, 0, 50_000, -90_000])
        for by_resource in message.resource_spans:
            for by_scope in by_resource.scope_spans:
                for span in by_scope.spans:
                    span.start_time_unix_nano += skew
                    span.end_time_unix_nano += skew
    check_same(messages, random, random.choice([1, 2]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_capture_shuffled_ends_where_join_ends(capture: Path, seed: int) -> None:
    messages, random = oracle.load(capture), Random(seed)
    random.shuffle(messages)
    everything = k8strace.join(k8strace.decode(messages))
    stream = k8strace.RequestStream(WIDE)
    assert put_together(streamed(messages, random, stream)) == said(everything)
    assert stream.ledger == everything.joined.ledger
    check_counts(stream)


# ── When a request is given out ───────────────────────────────────────────────────────────────────

SECOND = 1_000_000_000


def request(trace_id: int = 1, at: int = 100) -> list[ExportTraceServiceRequest]:
    """A request that writes once: what the apiserver sends of it, and what etcd does."""
    write = etcd_client("KV/Txn", at + 20, at + 60, etcd_server("KV/Txn", at + 25, at + 50))
    create = verb_span("Create", at + 10, at + 90, write)
    root = apiserver_request("1.31", "POST", "/api/v1/pods", at, at + 100, [create])
    return batches(trace(root, trace_id=trace_id))


def singles(messages: Requests) -> Requests:
    """One message for each span."""
    return [_single(parts) for parts in _each_span(messages)]


@pytest.mark.parametrize("order", list(permutations(range(1, 5))))
def test_a_request_is_out_at_the_first_take_after_its_last_span_and_no_earlier(
    order: tuple[int, ...],
) -> None:
    """Its root ends last, and so comes last; the others in any order."""
    spans = singles(request())
    root = next(each for each in spans if not each.resource_spans[0].scope_spans[0].spans[0].parent_span_id)
    others = [span for span in spans if span is not root]
    stream = k8strace.RequestStream()
    given = []
    for now, span in enumerate([*(others[at - 1] for at in order), root]):
        stream.feed(span, now)
        given.append(len(stream.take(now)))
    assert given == [0, 0, 0, 0, 1]


def test_a_request_without_its_etcd_span_waits_for_the_window() -> None:
    apiserver, _etcd = request()
    stream = k8strace.RequestStream(k8strace.StreamSettings(window_ns=10 * SECOND))
    stream.feed(apiserver, SECOND)
    assert len(stream.take(11 * SECOND - 1)) == 0
    (only,) = stream.take(11 * SECOND)
    assert only.incomplete_cause == "etcd_not_traced"
    assert stream.counts["held"] == 0


def test_a_half_of_a_split_request_waits_for_the_other() -> None:
    """Since 1.33 `authentication` is in a trace of its own, and something nearer may still come."""
    stream = k8strace.RequestStream()
    for each in sent(*shape_1_34()):
        stream.feed(each, 0)
    assert len(stream.take(0)) == 0
    (only,) = stream.take(stream.settings.window_ns)
    assert only.prelude_ns == 10_000


def test_a_late_span_gives_an_update_that_names_what_it_replaces() -> None:
    stream = k8strace.RequestStream()
    for message in request():
        stream.feed(message, 0)
    (first,) = stream.take(0)
    late = Span("Object stored", 120, 130)
    root = apiserver_request("1.31", "POST", "/api/v1/pods", 100, 200, [late])
    message = singles(batches(trace(root)))[-1]
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.span_id, span.parent_span_id = (99).to_bytes(8, "big"), bytes.fromhex(first.span_id)
    stream.feed(message, 5)
    update = stream.take(5)
    assert [(request.span_id, request.spans) for request in update] == [(first.span_id, first.spans + 1)]
    assert update.revisions == (1,)
    assert list(update.replaced) == [{"trace_id": first.trace_id, "span_id": first.span_id, "revision": 0}]
    assert stream.counts["updates"] == 1
    assert stream.ledger.spans == 6


def test_a_repeat_is_no_update() -> None:
    stream = k8strace.RequestStream()
    for now in range(3):
        for message in request():
            stream.feed(message, now)
        taken = stream.take(now)
        assert len(taken) == (now == 0)
        assert len(taken.replaced) == 0
    assert (stream.counts["repeats"], stream.ledger.set_aside["duplicate"]) == (10, 10)


def test_a_trace_that_was_idle_for_the_window_is_forgotten() -> None:
    """What comes after is another trace, and says so: its revision is 0."""
    stream = k8strace.RequestStream(k8strace.StreamSettings(window_ns=10))
    first, second = singles(request())[:1], singles(request())[1:]
    stream.feed(first[0], 0)
    assert len(stream.take(9).spans) == 0
    assert len(stream.take(10).spans) == 1
    for message in second:
        stream.feed(message, 11)
    assert len(stream.flush().spans) == 4
    assert stream.counts["updates"] == 0


def test_time_that_goes_backwards_counts_as_the_latest() -> None:
    stream = k8strace.RequestStream(k8strace.StreamSettings(window_ns=10))
    stream.feed(request()[0], 100)
    assert len(stream.take(5).spans) == 0
    stream.feed(request(2)[0], 3)
    assert len(stream.take(110).spans) == 2 * 4


def test_a_call_that_shows_a_skewed_clock_moves_what_was_given_out() -> None:
    """The first call agrees with equal clocks. The second needs etcd's to be 40 ns ahead: both are moved then."""
    stream = k8strace.RequestStream(k8strace.StreamSettings(window_ns=10))
    skewed = request(2, at=1_000)
    for span in skewed[1].resource_spans[0].scope_spans[0].spans:
        span.start_time_unix_nano += 40
        span.end_time_unix_nano += 40
    agreeing = request(1)
    for span in agreeing[1].resource_spans[0].scope_spans[0].spans:
        span.start_time_unix_nano, span.end_time_unix_nano = 155, 160
    for message in agreeing:
        stream.feed(message, 0)
    first = stream.take(0)
    assert [row["verdict"] for row in first.joined.clock_offsets] == ["agree"]
    for message in skewed:
        stream.feed(message, 1)
    rest = [stream.take(1), stream.take(10), stream.take(11), stream.flush()]
    everything = k8strace.join(k8strace.decode([*agreeing, *skewed]))
    assert [row["verdict"] for row in everything.joined.clock_offsets] == ["offset"]
    assert put_together([first, *rest]) == said(everything)
    assert stream.counts["updates"] >= 1


def drifting(number: int) -> Requests:
    """A request a second; etcd's clock is ahead by 1 ms, and by 50 us more each second."""
    at = number * SECOND
    messages = request(number, at=at)
    for message in messages:
        for by_scope in message.resource_spans[0].scope_spans:
            for span in by_scope.spans:
                ahead = 1_000_000 + at // 20_000 if span.kind == SERVER and "etcd" in span.name else 0
                span.start_time_unix_nano += ahead
                span.end_time_unix_nano += ahead
    return messages


@pytest.mark.parametrize("window_ns", [3 * SECOND, 1 << 40])
def test_a_drift_is_measured_from_calls_that_were_let_go_too(window_ns: int) -> None:
    """What the last take says of the clocks is what `join` of everything says, to the last bit."""
    messages = [message for number in range(1, 121) for message in drifting(number)]
    everything = k8strace.join(k8strace.decode(messages))
    assert [row["verdict"] for row in everything.joined.clock_offsets] == ["drift"]
    stream = k8strace.RequestStream(k8strace.StreamSettings(window_ns=window_ns))
    takes = []
    for at, message in enumerate(messages):
        stream.feed(message, at // 2 * SECOND)
        takes.append(stream.take(at // 2 * SECOND))
    takes.append(stream.flush())
    assert list(takes[-1].joined.clock_offsets) == list(everything.joined.clock_offsets)
    whole = put_together(takes)
    assert whole["requests"].keys() == said(everything)["requests"].keys()
    if window_ns > 120 * SECOND:
        assert whole == said(everything)


# ── Limits ────────────────────────────────────────────────────────────────────────────────────────


def test_a_trace_that_never_ends_is_given_out_at_its_age() -> None:
    """The window never passes, since a span comes every second."""
    stream = k8strace.RequestStream(k8strace.StreamSettings(max_age_ns=60 * SECOND))
    stream.feed(request()[0], 0)
    takes = []
    for second in range(1, 61):
        late = request()[0]
        late.resource_spans[0].scope_spans[0].spans[0].span_id = (1_000 + second).to_bytes(8, "big")
        stream.feed(late, second * SECOND)
        takes.append(stream.take(second * SECOND))
        check_counts(stream)
    assert [len(taken) for taken in takes] == [0] * 59 + [1]
    assert takes[-1][0].incomplete_cause == "evicted"
    assert stream.counts["evicted_age"] == 1


LIMITS = [
    ("max_spans", 50, "evicted_spans"),
    ("max_traces", 10, "evicted_traces"),
    ("max_bytes", 20_000, "evicted_bytes"),
]


@pytest.mark.parametrize(("limit", "value", "counted"), LIMITS)
def test_over_a_limit_the_oldest_traces_go_first_and_are_counted(
    limit: str, value: int, counted: str
) -> None:
    stream = k8strace.RequestStream(k8strace.StreamSettings(**{limit: value}))
    given = []
    for number in range(1, 101):
        stream.feed(request(number)[0], number)
        taken = stream.take(number)
        given += [int(request.trace_id, 16) for request in taken]
        assert {request.incomplete_cause for request in taken} <= {"evicted"}
        check_counts(stream)
    assert given == list(range(1, len(given) + 1))
    assert 0 < stream.counts[counted] == len(given) < 100
    held = {"max_spans": "held", "max_traces": "held_traces", "max_bytes": "held_bytes"}[limit]
    assert stream.counts[held] <= value


def test_what_was_given_out_in_order_is_never_evicted() -> None:
    """Forty times the limit goes through, a quarter of it is held at a time."""
    settings = k8strace.StreamSettings(max_spans=100, window_ns=5)
    stream = k8strace.RequestStream(settings)
    for number in range(1, 1_001):
        stream.feed(request(number)[0], number)
        stream.feed(request(number)[1], number)
        assert len(stream.take(number)) == 1
        check_counts(stream)
    assert stream.counts["spans"] >= 40 * settings.max_spans
    evicted = {name: count for name, count in stream.counts.items() if name.startswith("evicted") and count}
    assert (evicted, stream.counts["discarded"]) == ({}, 0)


def test_a_trace_of_too_many_spans_is_given_out_in_parts() -> None:
    stream = k8strace.RequestStream(k8strace.StreamSettings(max_trace_spans=10))
    root = apiserver_request("1.31", "GET", "/healthz", 0, 100, [Span("part", 1, 2) for _ in range(33)])
    stream.feed(batches(trace(root))[0], 0)
    assert stream.counts["evicted_trace_spans"] == 3
    taken = stream.flush()
    assert len(taken.spans) == 35
    check_counts(stream)


def test_what_is_never_taken_does_not_grow() -> None:
    """A flood of traces of one span each: twice the limit is held, the rest is discarded, and counted."""
    stream = k8strace.RequestStream(k8strace.StreamSettings(max_spans=100))
    for number in range(1, 1_000):
        stream.feed(singles(request(number))[0], number)
        assert stream.counts["held"] <= 200
        check_counts(stream)
    assert stream.counts["discarded"] == 999 - 200


def test_spans_without_ids_are_given_out_at_the_next_take() -> None:
    (message,) = singles(request())[:1]
    message.resource_spans[0].scope_spans[0].spans[0].trace_id = b""
    stream = k8strace.RequestStream(k8strace.StreamSettings(max_spans=10))
    for _ in range(25):
        stream.feed(message, 0)
    check_counts(stream)
    assert stream.counts["discarded"] == 22
    assert stream.take(0).joined.ledger.set_aside["invalid_id"] == 3
    assert stream.counts["held"] == 0


@pytest.mark.parametrize(
    "setting", ["window_ns", "max_age_ns", "max_spans", "max_traces", "max_trace_spans", "max_bytes"]
)
@pytest.mark.parametrize("value", [0, -1, 1 << 63, 1.5])
def test_settings_are_positive_and_whole(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"expected {setting} from 1 to"):
        k8strace.StreamSettings(**{setting: value})


# ── What is fed ───────────────────────────────────────────────────────────────────────────────────


def test_a_batch_that_cannot_be_decoded_leaves_no_trace() -> None:
    stream = k8strace.RequestStream()
    whole = request()[0].SerializeToString()
    stream.feed(whole, 0)
    before = stream.counts
    with pytest.raises(k8strace.DecodeError):
        stream.feed(whole[:-3], 5)
    assert stream.counts == before
    stream.feed(request()[1], 0)
    assert len(stream.take(0)) == 1


def test_bytes_messages_and_decoded_spans_are_the_same_to_it() -> None:
    apiserver, etcd = request()
    for feed in (bytes, bytearray, memoryview):
        stream = k8strace.RequestStream()
        stream.feed(feed(apiserver.SerializeToString()), 0)
        stream.feed(k8strace.decode(etcd), 0)
        assert len(stream.take(0)) == 1


def test_nothing_fed_is_nothing_taken() -> None:
    stream = k8strace.RequestStream()
    stream.feed(b"", 0)
    assert (len(stream.take(1)), len(stream.flush()), stream.ledger.spans) == (0, 0, 0)
    assert repr(stream) == "RequestStream(0 spans of 0 traces held)"


@pytest.mark.parametrize("now", [-1, 1 << 64])
def test_a_time_that_does_not_fit_is_refused(now: int) -> None:
    stream = k8strace.RequestStream()
    with pytest.raises(ValueError, match="expected a time"):
        stream.take(now)
    with pytest.raises(ValueError, match="expected a time"):
        stream.feed(b"", now)


def test_rules_of_ones_own_are_asked_once_for_a_signature_over_all_takes() -> None:
    asked = []

    def rule(signature: k8strace.Signature) -> str | None:
        asked.append(signature)
        return "mine" if signature.name == "Create" else None

    stream = k8strace.RequestStream(taxonomy=k8strace.Taxonomy().with_rule(rule))
    for number in (1, 2):
        for message in request(number):
            stream.feed(message, 0)
        assert k8strace.attribute(stream.take(0)).totals["mine"] > 0
    assert len(asked) == len(set(asked)) > 0


def test_threads_take_turns() -> None:
    stream = k8strace.RequestStream()
    messages = [message for number in range(1, 401) for message in request(number)]
    with ThreadPoolExecutor(4) as pool:
        feeding = [pool.submit(stream.feed, message, 0) for message in messages]
        takes = [pool.submit(stream.take, 0) for _ in range(50)]
        found = sum(len(each.result()) for each in takes)
        for each in feeding:
            each.result()
    assert found + len(stream.flush()) == 400
    check_counts(stream)


# ── Memory ────────────────────────────────────────────────────────────────────────────────────────

CHILD = """
import sys
sys.path.insert(0, "tests")
import k8strace
from test_stream import request
from k8strace.stream import StreamSettings

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

stream = k8strace.RequestStream(StreamSettings(window_ns=2_000))
for number in range(1, int(sys.argv[1]) + 1):
    for message in request(number, at=number):
        stream.feed(message, number)
    if number % 100 == 0:
        k8strace.attribute(stream.take(number))
print(peak(), stream.counts["held"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_ten_times_the_input_takes_no_more_memory() -> None:
    """Peak of a process of its own: at most a tenth more than with 1x, both long past the window."""

    def child(requests: int) -> tuple[int, int]:
        command = [sys.executable, "-c", CHILD, str(requests)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        peak, held = map(int, done.stdout.split())
        return peak, held

    (once, held), (tenfold, held_then) = child(6_000), child(60_000)
    assert held == held_then
    assert tenfold <= 1.1 * once
