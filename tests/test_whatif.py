"""What if: nothing changes to the nanosecond, more time never makes less, and programs run again say the truth."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from builder import (
    Span,
    apiserver_request,
    etcd_client,
    etcd_internal,
    etcd_server,
    trace,
    verb_span,
    webhook,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Requests, dirty_batches

import k8strace
from k8strace import Change

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import programs  # noqa: E402

EXAMPLES = int(os.environ.get("K8STRACE_LAW_EXAMPLES", "60"))
law = settings(max_examples=EXAMPLES, deadline=None)
PROGRAMS = int(os.environ.get("K8STRACE_WHATIF_PROGRAMS", "100"))

PARTS = ("apiserver", "etcd", "webhook", "unattributed")


def request(*inner: Span, end: int = 1000) -> k8strace.Attribution:
    """One request from 0 to `end` whose handler `Get` is from 100 to `end` - 100."""
    get = verb_span("Get", 100, end - 100, *inner)
    root = apiserver_request("1.31", "GET", "/api/v1/namespaces/a/pods/b", 0, end, [get])
    root.children = [get]
    return attributed(trace(root).batches())


def attributed(messages: Requests) -> k8strace.Attribution:
    return k8strace.attribute(k8strace.join(k8strace.decode(messages)))


def takes(attribution: k8strace.Attribution, *changes: Change) -> tuple[int, int, int]:
    """What the first request takes: the value and its bounds."""
    estimate = attribution.what_if(*changes)[attribution.requests[0]]
    return estimate.value, estimate.low, estimate.high


def call(start: int, end: int, server: tuple[int, int] | None = None) -> Span:
    inner = [etcd_server("KV/Range", *server)] if server else []
    return etcd_client("KV/Range", start, end, *inner)


# ── Drawings ──────────────────────────────────────────────────────────────────────────────────────


def test_what_comes_after_moves_with_what_it_waited_for():
    """
    Each half as long: 100 and 100 less.

    Get  |100      a|200==400|  b|500===700|       900|
    """
    attribution = request(call(200, 400), call(500, 700))
    assert takes(attribution, Change.faster("etcd", 2)) == (800, 800, 800)
    assert takes(attribution, Change.without("etcd")) == (600, 600, 600)
    assert takes(attribution, Change.faster("apiserver", 2)) == (700, 700, 700)
    assert takes(attribution, Change.faster("etcd", "1/3")) == (1800, 1800, 1800)


def test_of_two_at_once_the_longer_one_is_waited_for():
    """
    The request was waiting for a alone.

    Calls vary: if 10 is the least of one, a takes 200 more than b, as it did: until 410, and 400 of own time come
    behind it.

    a    |200======600|            half: 200..400
    b      |250==450|              half: 250..350
    """
    attribution = request(call(200, 600), call(250, 450))
    assert takes(attribution, Change.faster("etcd", 2)) == (800, 800, 800)
    assert takes(attribution, Change.latency("etcd", 10)) == (660, 610, 810)


def test_only_the_last_one_or_all_that_had_ended():
    """
    c began after both: without a, it still waits for b, or it does not.

    a    |200=======600|
    b    |200===500|
    c                  |600=700|
    """
    b, c = etcd_client("KV/Txn", 200, 500), etcd_client("KV/Txn", 600, 700)
    attribution = request(call(200, 600), b, c)
    assert takes(attribution, Change.without("etcd:get")) == (900, 600, 900)
    estimate = attribution.what_if(Change.without("etcd:get"))[attribution.requests[0]]
    assert estimate.verdict == "cannot tell"


def test_a_call_that_outlives_its_caller_is_not_waited_for():
    """Get ended at 900 while the call went on: there was something else it waited for."""
    attribution = request(call(200, 5000))
    assert takes(attribution, Change.faster("etcd", 2)) == (1000, 1000, 1000)


def test_a_call_waits_for_its_answer_even_if_the_clocks_are_a_little_apart():
    attribution = request(call(200, 800, server=(300, 900)))
    assert takes(attribution, Change.without("etcd.server"))[0] < 1000


def test_a_part_of_a_call_can_take_another_time():
    """
    Of the call, only what is in the part.

    CLIENT  |200                700|      transport 200
    SERVER       |300      600|           server 300
    """
    attribution = request(call(200, 700, server=(300, 600)))
    assert takes(attribution, Change.faster("etcd.server", 3))[0] == 800
    assert takes(attribution, Change.latency("etcd", 50))[0] == 550
    assert takes(attribution, Change.latency("etcd.server", 50))[0] == 750
    assert takes(attribution, Change.latency("etcd.transport", 50))[0] == 850
    assert takes(attribution, Change.latency("etcd.transport", 250))[0] == 1050
    assert takes(attribution, Change.plus("etcd.server", 70))[0] == 1070
    assert takes(attribution, Change.plus("etcd", 70), Change.faster("etcd", 5))[0] == 1000 - 400 + 70


def test_a_phase_between_events_has_its_own_factor():
    """`txn`: 100 before the proposal, 200 of raft, 100 after."""
    txn = etcd_internal("txn", 300, 700)
    txn.events = [(400, "Send raft proposal"), (600, "Receive raft result")]
    server = etcd_server("KV/Txn", 300, 700, txn)
    attribution = request(etcd_client("KV/Txn", 300, 700, server))
    assert takes(attribution, Change.faster("etcd.raft", 4))[0] == 850
    assert takes(attribution, Change.without("etcd.apply"))[0] == 800
    assert takes(attribution, Change.latency("etcd.raft", 1000))[0] == 1800


def hooks(*names_and_times: tuple[str, int, int]) -> k8strace.Attribution:
    """Webhooks, 10 of whose time around the HTTP call is the API server's on each side."""
    calls = []
    for name, start, end in names_and_times:
        kind = "mutating" if name.startswith("m") else "validating"
        made = webhook(kind, start, end, (start + 10, end - 10))
        made.attributes = {"webhook": name}
        calls.append(made)
    return request(*calls)


def test_mutating_webhooks_come_one_after_the_other():
    """A latency may be late by a fiftieth: 3 of 180."""
    attribution = hooks(("m1", 200, 300), ("m2", 400, 500))
    assert takes(attribution, Change.latency("webhook", 180)) == (1200, 1200, 1206)
    assert takes(attribution, Change.latency("webhook:m2", 180))[0] == 1100
    assert takes(attribution, Change.latency("m2", 180))[0] == 1100


def test_validating_webhooks_run_at_once_even_if_one_was_over_before_the_other_began():
    """
    Both take 180 + 20: v2 ends at 310 + 200, and the rest moves by 110.

    v1   |200=300|
    v2           |310=400|
    """
    attribution = hooks(("v1", 200, 300), ("v2", 310, 400))
    assert takes(attribution, Change.latency("webhook", 180)) == (1110, 1110, 1113)
    assert takes(attribution, Change.latency("webhook:v1", 480)) == (1300, 1300, 1309)


def test_a_webhook_that_is_off_takes_the_span_around_it_along():
    attribution = hooks(("m1", 200, 300), ("m2", 400, 500))
    assert takes(attribution, Change.without("webhook:m1"))[0] == 900
    assert takes(attribution, Change.without("webhook"))[0] == 840


def test_pages_of_a_list_become_one_call():
    pages = [call(at, at + 50) for at in range(200, 700, 100)]
    listed = Span("List(recursive=true) etcd3", 150, 800, pages)
    attribution = request(listed)
    assert takes(attribution, Change.single("etcd:list"))[0] == 1000 - 4 * 50


def test_a_list_from_the_cache_reads_nothing_from_etcd():
    listed = Span("List(recursive=true) etcd3", 150, 800, [call(200, 700)])
    attribution = request(listed)
    assert takes(attribution, Change.cached(verb="get"))[0] == 350
    assert takes(attribution, Change.cached(verb="list"))[0] == 1000


def test_a_nearer_etcd_has_the_transport_of_its_fastest_calls():
    near, far = call(200, 300, server=(210, 290)), call(400, 700, server=(500, 600))
    assert takes(request(near, far), Change.same_node())[0] == 1000 - (200 - 20)


def test_a_latency_may_be_the_callees_own():
    """Transport of 20 was seen at etcd; the webhook's other side was not seen: up to 20 more for its call."""
    etcd, hook = call(500, 600, server=(510, 590)), webhook("mutating", 200, 300, (210, 290))
    assert takes(request(hook, etcd), Change.latency("webhook", 40)) == (960, 960, 980)


# ── Laws ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@law
@given(dirty_batches())
def test_without_a_change_nothing_changes(messages):
    attribution = attributed(messages)
    for changes in ([], [Change.faster(part, 1) for part in PARTS if part in attribution.component_names]):
        projection = attribution.what_if(*changes)
        walls = attribution.requests.column("wall_ns").to_pylist()
        assert [projection[request].value for request in attribution.requests] == walls
        assert [projection[request].low for request in attribution.requests] == walls
        assert [projection[request].high for request in attribution.requests] == walls


def drawn_changes(parts: Sequence[str]) -> st.SearchStrategy[Change]:
    part = st.sampled_from(parts)
    return st.one_of(
        st.builds(Change.faster, part, st.fractions("1/20", 20, max_denominator=20)),
        st.builds(Change.without, part),
        st.builds(Change.latency, part, st.integers(0, 100_000)),
        st.builds(Change.plus, part, st.integers(0, 100_000)),
        st.builds(Change.single, part),
        st.just(Change.cached()),
        st.just(Change.same_node()) if "etcd.transport" in parts else st.just(Change.cached()),
    )


def parts_of(attribution: k8strace.Attribution) -> list[str]:
    names = [f"{kind}:{name}" for kind, name in attribution.requests._joined.core.named_calls()]
    return [*attribution.requests._joined.phase_table.names, *names]


@pytest.mark.slow
@law
@given(dirty_batches(), st.data())
def test_any_changes_of_any_spans_have_an_answer(messages, data):
    """Bounds hold the value; a request is never below 0."""
    attribution = attributed(messages)
    if not (parts := parts_of(attribution)):
        return
    projection = attribution.what_if(*data.draw(st.lists(drawn_changes(parts), max_size=4)))
    for each in attribution.requests:
        estimate = projection[each]
        assert 0 <= estimate.low <= estimate.value <= estimate.high
    for group in projection.by("verb"):
        assert all(estimate.low <= estimate.value <= estimate.high for estimate in group.after.values())


@law
@given(dirty_batches(), st.data())
def test_a_part_that_takes_longer_makes_nothing_shorter(messages, data):
    """Monotone in factor, latency and what is added."""
    attribution = attributed(messages)
    if not (parts := parts_of(attribution)):
        return
    part = data.draw(st.sampled_from(parts))
    less, more = sorted(data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40))))
    pairs = [
        (Change.faster(part, Fraction(7, less)), Change.faster(part, Fraction(7, more))),
        (Change.latency(part, 37 * less), Change.latency(part, 37 * more)),
        (Change.plus(part, 37 * less), Change.plus(part, 37 * more)),
        (Change.without(part), Change.faster(part, 1)),
    ]
    for quick, slow in pairs:
        first, second = attribution.what_if(quick), attribution.what_if(slow)
        for each in attribution.requests:
            assert first[each].value <= second[each].value, (quick, slow)
            assert first[each].low <= second[each].low, (quick, slow)


@law
@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=8),
    st.integers(1, 20),
)
def test_calls_in_a_row_sum(times, factor):
    """One after the other: own time stays, and the calls take their share, with one floor at the end."""
    at, calls = 1000, []
    for gap, took in times:
        calls.append(call(at + gap, at + gap + took))
        at += gap + took
    attribution = request(*calls, end=at + 2000)
    etcd = sum(took for _, took in times)
    wall = at + 2000
    assert takes(attribution, Change.faster("etcd", factor))[0] == int(wall - etcd + Fraction(etcd, factor))
    assert takes(attribution, Change.latency("etcd", 77))[0] == wall - etcd + 77 * len(times)


@pytest.mark.slow
def test_deep_and_wide_trees_take_linear_time():
    """No recursion: a chain of 100,000 spans, and as many beside it."""
    deep = 100_000
    spans: list[programs.Ran] = []
    root = programs.program("pages", Random(1))
    step = programs.Program("cacher.GetList", "apiserver", ())
    spans.append(programs.Ran(root, 10**18, 10**18 + 10 * deep, -1))
    spans += [programs.Ran(step, 10**18 + at, 10**18 + 10 * deep - at, at - 1) for at in range(1, deep)]
    spans += [programs.Ran(step, 10**18 + 10 * at, 10**18 + 10 * at + 5, 0) for at in range(deep)]
    attribution = attributed(programs.sent(iter([spans])))
    assert takes(attribution, Change.faster("apiserver", 2))[0] > 0


# ── Programs that are run again ───────────────────────────────────────────────────────────────────

START = 1_700_000_000 * 10**9


def truth_and_projection(kind: str, part: str, factor: int) -> Iterator[tuple[Fraction, int, int, int]]:
    random = Random(f"{kind} {part} {factor}")
    made = [programs.program(kind, random) for _ in range(PROGRAMS)]
    ran = [programs.execute(each, start=START + at * 10**12) for at, each in enumerate(made)]
    attribution = attributed(programs.sent(iter(ran)))
    requests = {each.trace_id: each for each in attribution.requests.outermost()}
    projection = attribution.what_if(Change.faster(part, factor))
    for at, each in enumerate(made, 1):
        again = programs.execute(each, lambda name: Fraction(1, factor if name == part else 1))[0]
        estimate = projection[requests[at.to_bytes(16, "big").hex()]]
        yield Fraction(again.end - again.start), estimate.value, estimate.low, estimate.high


@pytest.mark.parametrize(("part", "factor"), [("etcd", 2), ("webhook", 2), ("webhook", 10), ("apiserver", 2)])
@pytest.mark.parametrize("kind", programs.KINDS)
def test_programs_run_again_take_what_was_projected(kind, part, factor):
    """Within 1 % of the wall at p95 for twice as fast, 6 % for ten times; the bounds hold the truth."""
    if (kind, part) == ("pages", "webhook"):
        pytest.skip("lists call no webhooks")
    rows = list(truth_and_projection(kind, part, factor))
    errors = sorted(abs(value - truth) / truth for truth, value, *_ in rows)
    inside = sum(low - 1 <= truth <= high + 1 for truth, _, low, high in rows)
    assert errors[int(0.95 * len(errors))] <= (Fraction(1, 100) if factor == 2 else Fraction(6, 100))
    assert inside >= 0.93 * len(rows)


# ── Groups ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def real() -> k8strace.Attribution:
    return k8strace.attribute(k8strace.join(k8strace.read(ROOT / "tests/data/k8s-1.36_etcd-3.6.otlp.zst")))


def test_groups_are_those_of_the_attribution(real):
    """The same requests, means and quantiles as `Attribution.by` says."""
    groups = {tuple(group.keys.values()): group for group in real.what_if().by("verb", "resource")}
    for group in real.by("verb", "resource"):
        projected = groups.pop(tuple(group.keys.values()))
        assert projected.requests == group.requests
        assert projected.before.mean_ns == int(Fraction(group.all.wall_ns, group.requests) + Fraction(1, 2))
        assert projected.before.p50_ns == group.quantile(0.5).wall_ns
        assert projected.before.p99_ns == group.quantile(0.99).wall_ns
        assert [each.verdict for each in projected.after.values()] == ["same"] * 3
    assert not groups


def test_a_group_seen_for_too_short_says_so(real):
    """Then the bounds are the least and the most that any of its requests takes."""
    few = next(
        group for group in real.what_if().by("verb", "resource") if group.blocks < 8 and group.requests > 1
    )
    walls = (
        real.requests.where(**few.keys, has_valid_times=True, long_running=False)
        .outermost()
        .column("wall_ns")
    )
    assert (few.after["mean_ns"].low, few.after["mean_ns"].high) == (min(walls), max(walls))


def test_the_table_has_a_row_for_each_request(real):
    projection = real.what_if(Change.faster("etcd", 2))
    table = k8strace.Table(projection._arrow())
    assert table.column("before_ns").to_pylist() == real.requests.column("wall_ns").to_pylist()
    for row in list(table)[:50]:
        assert row["low_ns"] <= row["after_ns"] <= row["high_ns"] <= row["before_ns"]


def test_only_what_was_selected_is_timed(real):
    projection = k8strace.attribute(real.requests.where(verb="list")).what_if(Change.faster("etcd", 2))
    assert {group.keys["verb"] for group in projection.by("verb")} == {"list"}
    with pytest.raises(KeyError, match="not one of the"):
        projection[real.requests.where(verb="create")[0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: Change.faster("etcd", 0), "expected a number such as 2"),
        (lambda: Change.faster("etcd", "fast"), "expected a number such as 2"),
        (lambda: Change.faster("etcd", float("nan")), "expected a number such as 2"),
        (lambda: Change.faster("etcd", "1.00000001"), "expected a number such as 2"),
        (lambda: Change.latency("etcd", -1), "expected a time from 0"),
        (lambda: Change.plus("etcd", 10**16), "expected a time from 0"),
    ],
)
def test_a_change_that_is_none_says_what_was_expected(change, message):
    with pytest.raises(ValueError, match=message):
        change()


def test_an_unknown_part_is_told_from_those_that_there_are(real):
    with pytest.raises(
        ValueError, match=r"one of apiserver, etcd, webhook.*webhook:mutate.example.com.*got 'etc'"
    ):
        real.what_if(Change.faster("etc", 2))


def test_changes_that_are_too_fine_together_are_refused(real):
    fine = [Change.faster("etcd", Fraction(at, 999_983)) for at in (999_979, 999_961, 999_959, 999_953)]
    with pytest.raises(ValueError, match="smaller numerators"):
        real.what_if(*fine)
    with pytest.raises(ValueError, match="at most 32 changes"):
        real.what_if(*[Change.plus("etcd", 1)] * 33)


def test_what_is_not_modelled_is_said(real):
    assert "queues" in real.what_if().not_modelled[0]
    assert any("watch cache" in text for text in real.what_if(Change.cached(verb="list")).not_modelled)
