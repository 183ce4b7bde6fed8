"""Every nanosecond of a request is given to someone, exactly once, and to whom the definitions say."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import oracle
import pytest
from builder import (
    HTTP,
    SERVER,
    Span,
    apiserver_request,
    batches,
    etcd_client,
    etcd_server,
    trace,
    verb_span,
    webhook,
)
from hypothesis import assume, given, settings
from strategies import Requests, clean_trees, dirty_batches

import k8strace
from k8strace.components import Mark, below

CONSERVING = ("critical_path", "active_share")
METHODS = (*CONSERVING, "self_time")


def joined(sent: Requests, taxonomy: k8strace.Taxonomy | None = None) -> k8strace.Requests:
    return k8strace.join(k8strace.decode(sent), taxonomy=taxonomy)


def of(*spans: Span, taxonomy: k8strace.Taxonomy | None = None) -> k8strace.Requests:
    return joined(trace(*spans).batches(), taxonomy)


def get(*inner: Span, start: int = 0, end: int = 100, **fields: Any) -> Span:
    """A request with nothing between it and what is inside."""
    root = apiserver_request("1.31", "GET", "/api/v1/namespaces/a/pods/b", start, end, [], **fields)
    root.children = list(inner)
    return root


BY_NAME = k8strace.Taxonomy().with_rule(lambda signature: signature.name or "unnamed")
"""The phase of a span is its name, whatever its events say."""


# ── Against the oracle ────────────────────────────────────────────────────────────────────────────


def check(requests: k8strace.Requests, expected: oracle.Joined) -> None:
    """Trees, paths and own times are the oracle's, and everything adds up."""
    moved = oracle.on_one_clock(expected)
    start, end, ids = oracle.times(moved)
    found = {(request.trace_id, request.span_id): request for request in requests}
    for request in expected.requests:
        root = moved.rows[request.root]
        actual = found[root.trace_id.hex(), root.span_id.hex()]
        tree, wall = actual.tree, oracle.wall_ns(moved, request)
        path = oracle.critical_path(request.tree, start, end, ids)
        name = {node: oracle.node_name(moved.rows, node, request.root) for node in request.tree}
        assert whole_segments(tree) == [(name[s.node], s.start, s.end) for s in path]
        critical = Counter(dict.fromkeys(name.values(), 0))
        for segment in path:
            critical[name[segment.node]] += segment.end - segment.start
        own = oracle.self_time(request.tree, start, end)
        assert dict(tree.nodes(data="critical_ns")) == dict(critical)
        assert dict(tree.nodes(data="self_ns")) == {name[node]: ns for node, ns in own.items()}
        assert actual.wall_ns == wall == sum(critical.values())


def whole_segments(tree: Any) -> list[tuple[str, int, int]]:
    """The critical path without the cuts at events. Pieces of one span that touch are one segment."""
    whole: list[tuple[str, int, int]] = []
    for span_id, start, end, _ in tree.graph["critical_path"]:
        if whole and whole[-1][0] == span_id:
            assert whole[-1][2] == start
            whole[-1] = (span_id, whole[-1][1], end)
        else:
            whole.append((span_id, start, end))
    return whole


def check_sums(requests: k8strace.Requests) -> None:
    walls = requests.column("wall_ns").to_pylist()
    for overlap in ("clip", "happens_before"):
        for method in CONSERVING:
            attribution = k8strace.attribute(requests, method=method, overlap=overlap)
            assert [sum(attribution.phases(at).values()) for at in range(len(requests))] == walls
            assert [sum(attribution.components(at).values()) for at in range(len(requests))] == walls
            # A request inside another one is counted there.
            assert sum(attribution.totals.values()) == sum(requests.outermost().column("wall_ns"))
    own = k8strace.attribute(requests, method="self_time")
    for request in requests:
        times = sum(ns for _, ns in request.tree.nodes(data="self_ns"))
        assert sum(own.phases(request.request).values()) == times >= request.wall_ns


def check_shares(requests: k8strace.Requests, expected: oracle.Joined) -> None:
    """The active share of all spans of a name. `requests` have `BY_NAME`."""
    moved = oracle.on_one_clock(expected)
    start, end, ids = oracle.times(moved)
    attribution = k8strace.attribute(requests, method="active_share")
    found = {(r.trace_id, r.span_id): attribution.phases(r.request) for r in requests}
    for request in expected.requests:
        root = moved.rows[request.root]
        shares: Counter[str] = Counter()
        for node, ns in oracle.active_share(request.tree, start, end, ids).items():
            shares[moved.rows[node].name or "unnamed"] += ns
        assert found[root.trace_id.hex(), root.span_id.hex()] == dict(+shares)


@pytest.mark.slow
def test_paths_and_own_times_of_a_capture_are_the_oracles(capture: Path) -> None:
    check(k8strace.join(k8strace.read(capture)), oracle.joined_capture(capture))


def test_the_sums_of_a_capture_are_exact(capture: Path) -> None:
    check_sums(k8strace.join(k8strace.read(capture)))


@pytest.mark.slow
def test_the_active_shares_of_a_capture_are_the_oracles(capture_131: Path) -> None:
    requests = k8strace.join(k8strace.read(capture_131), taxonomy=BY_NAME)
    check_shares(requests, oracle.joined_capture(capture_131))


@given(dirty_batches())
def test_paths_shares_and_own_times_of_dirty_trees_are_the_oracles(sent: Requests) -> None:
    expected = oracle.join(oracle.spans(sent))
    check(joined(sent), expected)
    check_shares(joined(sent, BY_NAME), expected)


@pytest.mark.slow
@given(dirty_batches(full=True))
def test_sums_are_exact_whatever_was_sent(sent: Requests) -> None:
    check_sums(joined(sent))


@given(clean_trees())
def test_paths_shares_and_own_times_of_clean_trees_are_the_oracles(sent: Requests) -> None:
    expected = oracle.join(oracle.spans(sent))
    check(joined(sent), expected)
    check_shares(joined(sent, BY_NAME), expected)
    check_sums(joined(sent))


# ── Phases, against the baseline ──────────────────────────────────────────────────────────────────


@cache
def baseline() -> ModuleType:
    path = Path(__file__).parent.parent / "benchmarks" / "baseline.py"
    spec = importlib.util.spec_from_file_location("baseline", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault("baseline", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


def phases_of(trees: Any, taxonomy: k8strace.Taxonomy) -> Iterator[tuple[tuple[str, str], dict[str, int]]]:
    """What the baseline makes of trees: request -> phase -> ns."""

    @cache
    def resolve(signature: Any) -> tuple[str, Any]:
        return taxonomy.resolve(k8strace.Signature(*signature))

    phases = baseline().Phases(
        trees,
        lambda s: resolve(s)[0],
        lambda s, event: resolve(s)[1].get(event.casefold()),
        below,
        lambda s: taxonomy.yields(k8strace.Signature(*s)),
    )
    for root in trees.requests:
        result = phases.request(root)
        parts = {phase: ns for phase, ns in result.phases.items() if ns}
        yield (result.trace_id.hex(), result.span_id.hex()), parts


def found_phases(requests: k8strace.Requests) -> dict[tuple[str, str], dict[str, int]]:
    attribution = k8strace.attribute(requests)
    return {(r.trace_id, r.span_id): attribution.phases(r.request) for r in requests}


@pytest.mark.slow
def test_the_phases_of_a_capture_are_the_baselines(capture: Path) -> None:
    read = [span for message in baseline().load(capture) for span in baseline().spans(message)]
    requests = k8strace.join(k8strace.read(capture))
    assert not any(requests.joined.clock_offsets.column("offset_ns").to_pylist())
    assert found_phases(requests) == dict(phases_of(baseline().Trees(read), requests.taxonomy))


@given(dirty_batches())
def test_the_phases_of_dirty_trees_are_the_baselines(sent: Requests) -> None:
    expected = oracle.join(oracle.spans(sent))
    read = [s for message in sent for s in baseline().spans(message.SerializeToString())]
    trees = baseline().Trees(read)
    kept = {number for number, role in enumerate(expected.roles) if role != "duplicate"}
    assume(set(trees.by_id.values()) == kept)  # of equally rich copies the baseline keeps the first
    # The baseline joins by the times as sent, as we do, and knows of no clocks: it divides the corrected times.
    moved = oracle.on_one_clock(expected).rows
    trees.spans = [
        span._replace(
            start=row.start,
            end=row.end,
            events=[
                (event.time, name, attributes)
                for event, (_, name, attributes) in zip(row.events, span.events, strict=True)
            ],
        )
        for span, row in zip(read, moved, strict=True)
    ]
    requests = joined(sent)
    assert found_phases(requests) == dict(phases_of(trees, requests.taxonomy))


# ── Drawn by hand ─────────────────────────────────────────────────────────────────────────────────


def by_name(spans: str, **how: Any) -> dict[str, int]:
    """Attribute spans written `name,parent,start,end`; the first is the request. Name -> ns."""
    made: dict[str, Span] = {}
    for name, parent, start, end in (span.split(",")[:4] for span in spans.split()):
        made[name] = Span(name, int(start), int(end))
        if parent != "-":
            made[parent].children.append(made[name])
    root = next(iter(made.values()))
    root.kind, root.scope = SERVER, HTTP
    return k8strace.attribute(of(root, taxonomy=BY_NAME), **how).phases(0)


# The cases of Jaeger's user interface: spans, then the sections it draws. Its fifth is below: it needs kinds.
JAEGER = [
    ("C,-,1,101 D,C,20,40 E,C,50,60", "C60-101 E50-60 C40-50 D20-40 C1-20"),
    ("X,-,1,101 A,X,10,50 C,X,20,60", "X60-101 C20-60 X1-20"),
    ("A,-,100,140 B,A,200,500", "A100-140"),
    ("A,-,1,31 B,A,40,80 C,B,50,60", "A1-31"),
    ("A,-,1,30 B,A,15,35 C,B,10,25", "B25-30 C15-25 A1-15"),
    ("A,-,1,30 B,A,15,35 C,B,20,40", "C20-30 B15-20 A1-15"),
    ("A,-,10,30 B,A,5,35", "B10-30"),
    ("A,-,10,30 B,A,1,5", "A10-30"),
]


@pytest.mark.parametrize(("spans", "sections"), JAEGER)
def test_happens_before_gives_the_sums_of_jaegers_sections(spans: str, sections: str) -> None:
    sums: Counter[str] = Counter()
    for name, (start, end) in ((s[0], s[1:].split("-")) for s in sections.split()):
        sums[name] += int(end) - int(start)
    assert by_name(spans, overlap="happens_before") == dict(sums)


def test_nobody_waits_for_a_consumer() -> None:
    """Jaeger's fifth case, below a request: A left a message, and what B and C did with it is not waited for."""
    consumer = Span("B", 10, 20, kind=5, children=[Span("C", 12, 14)])
    root = Span("R", 1, 31, kind=SERVER, scope=HTTP, children=[Span("A", 1, 31, kind=4, children=[consumer])])
    for method in METHODS:
        assert k8strace.attribute(of(root, taxonomy=BY_NAME), method=method).phases(0) == {"A": 30}
    consumer.kind = 1
    assert k8strace.attribute(of(root, taxonomy=BY_NAME)).phases(0) == {"A": 20, "B": 8, "C": 2}


def test_clip_counts_the_part_of_an_overlapping_sibling_that_jaeger_leaves_out() -> None:
    assert by_name("X,-,1,101 A,X,10,50 C,X,20,60") == {"X": 41 + 9, "A": 10, "C": 40}


DIVISIONS = {
    # spans, then name -> (critical path, active share, self time), each worked out on paper
    "one alone": ("s,-,0,9", {"s": (9, 9, 9)}),
    "touching": ("s,-,0,10 a,s,1,4 b,s,4,8", {"s": (3, 3, 3), "a": (3, 3, 3), "b": (4, 4, 4)}),
    "overlapping": ("s,-,0,10 a,s,1,5 b,s,3,8", {"s": (3, 3, 3), "a": (2, 3, 4), "b": (5, 4, 5)}),
    "equal": ("s,-,0,8 a,s,2,5 b,s,2,5", {"s": (5, 5, 5), "a": (3, 2, 3), "b": (0, 1, 3)}),
    "empty": ("s,-,0,8 a,s,3,3 b,s,8,8", {"s": (8, 8, 8)}),
    "backwards": ("s,-,0,8 a,s,5,3", {"s": (8, 8, 8)}),
    "around its parent": ("s,-,2,8 a,s,0,9", {"a": (6, 6, 6)}),
    "beside its parent": ("s,-,4,8 a,s,0,4 b,s,8,9", {"s": (4, 4, 4)}),
    "outliving its parent": ("s,-,0,9 a,s,1,5 c,a,3,8", {"s": (5, 5, 5), "a": (2, 2, 2), "c": (2, 2, 2)}),
    "ten of them": (
        "s,-,0,20 " + " ".join(f"{name},s,{2 * at},{2 * at + 1}" for at, name in enumerate("abcdefghij")),
        {"s": (10, 10, 10)} | dict.fromkeys("abcdefghij", (1, 1, 1)),
    ),
}


@pytest.mark.parametrize("drawn", DIVISIONS)
def test_time_is_divided_as_drawn(drawn: str) -> None:
    spans, expected = DIVISIONS[drawn]
    for at, method in enumerate(METHODS):
        assert by_name(spans, method=method) == {n: ns[at] for n, ns in expected.items() if ns[at]}


def test_serialization_beside_its_verb_span_is_not_counted_twice() -> None:
    """Real figures of a LIST of 1.31, where SerializeObject is sent beside List though it happened inside."""
    sent = get(
        verb_span("List", 1_000, 44_260_912), Span("SerializeObject", 2_330, 44_260_589), end=44_261_000
    )
    for method in METHODS:
        phases = k8strace.attribute(of(sent, taxonomy=BY_NAME), method=method).phases(0)
        assert phases == {
            sent.name: 1_000 + 88,
            "List": 1_330 + 323,
            "SerializeObject": 44_258_259,
        }


@pytest.mark.parametrize("end", [100, 99, 0])
def test_a_request_that_does_not_last_has_no_phases(end: int) -> None:
    requests = of(get(verb_span("Get", 100, 120), start=100, end=end))
    for method in METHODS:
        attribution = k8strace.attribute(requests, method=method)
        assert attribution.phases(0) == attribution.components(0) == attribution.totals == {}
        assert attribution.phase_names == attribution.component_names == ()
        groups = [(g.requests, g.quantile(0.5).wall_ns, g.all.phases) for g in attribution.by("verb")]
        assert groups == ([(1, 0, {})] if end == 100 else [])  # an end before the start is no latency
    assert requests[0].wall_ns == 0
    assert requests[0].tree.graph["critical_path"] == []


# ── Events ────────────────────────────────────────────────────────────────────────────────────────

RULE = k8strace.Rule(
    "mine.idle", name="Job", events={"Start": Mark("mine.wait", "mine.work"), "Stop": Mark(after=None)}
)


def job(*events: tuple[int, str], **fields: Any) -> dict[str, int]:
    """The phases of a request that is one `Job` from 10 to 90, less the 20 ns outside it."""
    span = Span("Job", 10, 90, events=list(events), **fields)
    taxonomy = k8strace.Taxonomy().with_rule(RULE)
    found = [k8strace.attribute(of(get(span), taxonomy=taxonomy), method=m).phases(0) for m in METHODS]
    assert found[0] == found[1] == found[2]  # nothing is at work beside it
    assert found[0].pop("apiserver.filters") == 20
    return found[0]


def test_a_rules_events_cut_the_time_of_its_span() -> None:
    # Job     10 ├────────┬───────────┬──────┤ 90
    #                   Start 30     Stop 70
    #           wait        work        idle
    expected = {"mine.wait": 20, "mine.work": 40, "mine.idle": 20}
    assert job((30, "Start"), (70, "Stop")) == expected
    assert job((70, "Stop"), (30, "Start"), (50, "unknown")) == expected, (
        "the order of sending does not matter"
    )
    assert job((30, "START"), (70, "stop")) == expected, "nor does case: versions differ"


def test_without_events_all_time_is_the_spans_own() -> None:
    assert job() == {"mine.idle": 80}


def test_what_dropped_events_would_have_begun_is_not_guessed() -> None:
    assert job((30, "Start"), dropped_events_count=1) == {"mine.idle": 20, "mine.work": 60}


def test_before_belongs_to_the_first_event_only() -> None:
    assert job((30, "Stop"), (50, "Start")) == {"mine.idle": 40, "mine.work": 40}
    assert job((30, "Start"), (50, "Start")) == {"mine.wait": 20, "mine.work": 60}


def test_of_events_at_one_time_the_last_sent_decides() -> None:
    assert job((50, "Start"), (50, "Stop")) == {"mine.wait": 40, "mine.idle": 40}
    assert job((50, "Stop"), (50, "Start")) == {"mine.idle": 40, "mine.work": 40}


def test_events_outside_the_span_still_say_what_goes_on_in_it() -> None:
    assert job((0, "Start")) == {"mine.work": 80}
    assert job((10, "Start")) == {"mine.work": 80}
    assert job((90, "Start")) == {"mine.wait": 80}
    assert job((95, "Start")) == {"mine.wait": 80}


def test_events_cut_only_the_spans_own_time() -> None:
    # Job     10 ├──────────┬────────────────┤ 90
    # child          20 ├───┼───┤ 60
    #                     Start 40
    #            wait   child      work
    span = Span("Job", 10, 90, [Span("child", 20, 60)], events=[(40, "Start")])
    requests = of(get(span), taxonomy=k8strace.Taxonomy().with_rule(RULE))
    phases = k8strace.attribute(requests).phases(0)
    assert phases == {"apiserver.filters": 20, "mine.wait": 10, "unattributed": 40, "mine.work": 30}


def test_raft_is_between_the_proposal_and_its_result() -> None:
    events = [(40, "Send raft proposal"), (70, "Receive raft result")]
    txn = Span("txn", 35, 75, scope="go.etcd.io/etcd", process=("etcd", "etcd-0"), events=events)
    served = etcd_server("KV/Txn", 32, 80, txn)
    called = verb_span("Create", 10, 90, etcd_client("KV/Txn", 30, 85, served))
    assert k8strace.attribute(of(get(called))).phases(0) == {
        "apiserver.filters": 20,
        "apiserver.unattributed": 25,
        "etcd.transport": 7,
        "etcd.grpc": 8,
        "etcd.apply": 10,
        "etcd.raft": 30,
    }


def test_a_function_rule_is_asked_once_for_each_signature() -> None:
    asked: list[k8strace.Signature] = []

    def rule(signature: k8strace.Signature) -> str | None:
        asked.append(signature)
        return "mine.get" if signature.name == "Get" else None

    taxonomy = k8strace.Taxonomy().with_rule(rule)
    root = get(*(verb_span("Get", at, at + 1) for at in range(1, 99)))
    requests = joined(batches(*(trace(root, trace_id=at) for at in range(1, 20))), taxonomy)
    for method in METHODS:
        assert k8strace.attribute(requests, method=method).totals["mine.get"] == 19 * 98
    assert [request.tree.number_of_nodes() for request in requests] == [99] * 19
    assert sorted(signature.name for signature in asked) == ["GET", "Get"]


def test_methods_and_overlaps_that_there_are_not_are_refused() -> None:
    requests = of(get())
    with pytest.raises(ValueError, match="expected method"):
        k8strace.attribute(requests, method="guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected overlap"):
        k8strace.attribute(requests, overlap="guess")  # type: ignore[arg-type]


def test_a_selection_is_attributed_as_part_of_the_whole(capture_136: Path) -> None:
    everyone = k8strace.join(k8strace.read(capture_136))
    lists = everyone.where(verb="list")
    whole, part = k8strace.attribute(everyone), k8strace.attribute(lists)
    assert [part.phases(r.request) for r in lists] == [whole.phases(r.request) for r in lists]
    assert sum(part.totals.values()) == sum(lists.column("wall_ns"))
    assert len(part) == len(lists) == len(part.requests)


def test_webhooks_that_run_at_once_share_their_time_or_the_last_has_it() -> None:
    # Create       10 ├───────────────────────┤ 90
    # validating     20 ├─────────┤ 60
    # validating       30 ├────────────┤ 80
    calls = [webhook("validating", 20, 60, (20, 60)), webhook("validating", 30, 80, (30, 80))]
    requests = of(get(verb_span("Create", 10, 90, *calls)))
    for method, ns in (("critical_path", 60), ("active_share", 60), ("self_time", 90)):
        assert k8strace.attribute(requests, method=method).phases(0)["webhook.validating"] == ns


# ── Groups ────────────────────────────────────────────────────────────────────────────────────────


def nearest_rank(ordered: list[Any], per_mille: int) -> int:
    """Place of the smallest value that at least so many thousandths of the values do not exceed."""
    return -(-per_mille * len(ordered) // 1000) - 1


QUANTILES = {0.07: 70, 0.5: 500, 0.55: 550, 0.9: 900, 0.999: 999, 1.0: 1000}


@pytest.mark.parametrize("method", METHODS)
def test_groups_bands_and_quantiles_are_those_of_plain_python(capture_131: Path, method: Any) -> None:
    requests = k8strace.join(k8strace.read(capture_131))
    attribution = k8strace.attribute(requests, method=method)
    groups = attribution.by("verb", "resource", quantiles=tuple(QUANTILES))
    usual = sorted(
        (r for r in requests if not r.long_running),
        key=lambda r: (str((r.verb, r.resource)), r.wall_ns, r.request),
    )
    expected = {
        key: list(members)
        for _, group in groupby(usual, key=lambda r: str((r.verb, r.resource)))
        for members in [list(group)]
        for key in [(members[0].verb, members[0].resource)]
    }
    assert {(g.keys["verb"], g.keys["resource"]): g.requests for g in groups} == {
        key: len(members) for key, members in expected.items()
    }
    for group in groups:
        members = expected[group.keys["verb"], group.keys["resource"]]
        check_band(group.all, members, members[-1], attribution)
        first = [nearest_rank(members, per_mille) for per_mille in QUANTILES.values()]
        for q, at, until in zip(QUANTILES, first, [*first[1:], len(members)], strict=True):
            assert group.quantile(q).wall_ns == members[at].wall_ns
            assert group.quantile(q).band == group.bands[q]
            check_band(group.bands[q], members[at:until] or [members[at]], members[at], attribution)
    walls = [group.all.wall_ns for group in groups]
    assert walls == sorted(walls, reverse=True)


def check_band(
    band: Any, members: list[k8strace.Request], exemplar: k8strace.Request, attribution: k8strace.Attribution
) -> None:
    phases: Counter[str] = Counter()
    for request in members:
        phases.update(attribution.phases(request.request))
    wall = sum(request.wall_ns for request in members)
    assert (band.requests, band.wall_ns, band.mean_wall_ns) == (len(members), wall, wall / len(members))
    assert band.phases == dict(phases)
    assert (band.exemplar, band.exemplar_wall_ns) == (exemplar.trace_id, exemplar.wall_ns)
    if attribution.method in CONSERVING:
        assert sum(band.phases.values()) == sum(band.components.values()) == wall


def test_a_quantile_is_the_wall_time_of_the_request_at_its_rank() -> None:
    """Of 100 requests of 1 to 100 ns the quantile q is 100 q, though 0.07 * 100 is a little more than 7."""
    roots = [trace(get(end=wall), trace_id=wall) for wall in range(1, 101)]
    attribution = k8strace.attribute(joined(batches(*roots)))
    for percent in range(1, 101):
        (group,) = attribution.by(quantiles=(percent / 100,))
        assert group.quantile(percent / 100).wall_ns == percent


def test_no_key_makes_one_group_and_no_requests_none(capture_127: Path) -> None:
    requests = k8strace.join(k8strace.read(capture_127))
    (group,) = k8strace.attribute(requests).by()
    assert (group.keys, group.requests) == ({}, len(requests.where(long_running=False)))
    assert len(k8strace.attribute(requests.where(verb="fly")).by("verb")) == 0


def test_watches_are_left_out_unless_asked_for(capture_136: Path) -> None:
    attribution = k8strace.attribute(k8strace.join(k8strace.read(capture_136)))
    usual, everyone = attribution.by("verb"), attribution.by("verb", long_running=True)
    assert "watch" not in {group.keys["verb"] for group in usual}
    assert sum(group.requests for group in everyone) == len(attribution)
    assert {g.keys["verb"]: g.requests for g in everyone}["watch"] > 0


@pytest.mark.parametrize("quantiles", [(0,), (1.1,), (-0.5,), (0.9, 0.5), (0.5, 0.5)])
def test_quantiles_that_are_none_are_refused(quantiles: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascending quantiles"):
        k8strace.attribute(of(get())).by("verb", quantiles=quantiles)


def test_an_unknown_key_or_quantile_is_a_key_error() -> None:
    attribution = k8strace.attribute(of(get()))
    with pytest.raises(KeyError):
        attribution.by("colour")
    with pytest.raises(KeyError):
        attribution.by("verb")[0].quantile(0.42)


# ── Arrow ─────────────────────────────────────────────────────────────────────────────────────────


def schema(table: Any) -> dict[str, str]:
    table = k8strace.Table(table._arrow())
    return {name: table.column(name).type_name for name in table.column_names}


def test_an_attribution_is_a_table_of_request_and_phase(capture_127: Path) -> None:
    requests = k8strace.join(k8strace.read(capture_127)).where(verb="create")
    attribution = k8strace.attribute(requests)
    ids = dict.fromkeys(("trace_id", "span_id"), "LargeUtf8")
    words = dict.fromkeys(("verb", "resource", "component", "phase"), "Dictionary(UInt32, Utf8)")
    assert schema(attribution) == {"request": "Int64", **ids, **words, "ns": "Int64"}
    assert {name: kind for name, kind in schema(requests).items() if name in {**ids, "verb": ""}} == {
        **ids,
        "verb": words["verb"],
    }, "the same types as in the requests' own table"
    rows = list(k8strace.Table(attribution._arrow()))
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row["span_id"]] += row["ns"]
        assert row["component"] == row["phase"].partition(".")[0]
    assert dict(sums) == {request.span_id: request.wall_ns for request in requests}


def test_a_breakdown_is_a_table_of_group_and_band(capture_127: Path) -> None:
    attribution = k8strace.attribute(k8strace.join(k8strace.read(capture_127)))
    groups = attribution.by("verb", "http_status", "complete", quantiles=(0.5, 0.999))
    rows = list(k8strace.Table(groups._arrow()))
    found = schema(groups)
    assert dict(list(found.items())[:8]) == {
        "verb": "LargeUtf8",
        "http_status": "Int64",
        "complete": "Boolean",
        "band": "LargeUtf8",
        "requests": "Int64",
        "wall_ns": "Int64",
        "exemplar_wall_ns": "Int64",
        "exemplar_trace_id": "LargeUtf8",
    }
    phases = list(found)[8:]
    assert phases == sorted(phases)
    assert [row["band"] for row in rows] == ["all", "p50", "p99.9"] * len(groups)
    assert all(sum(row[phase] for phase in phases) == row["wall_ns"] for row in rows)
    assert [row["requests"] for row in rows if row["band"] == "all"] == [group.requests for group in groups]


@settings(max_examples=20)
@given(dirty_batches())
def test_groups_of_dirty_requests_have_each_request_once(sent: Requests) -> None:
    requests = joined(sent)
    groups = k8strace.attribute(requests).by("verb", "resource", long_running=True)
    kept = requests.where(has_valid_times=True).outermost()
    assert sum(group.requests for group in groups) == len(kept)
    assert sum(sum(group.all.phases.values()) for group in groups) == sum(kept["wall_ns"])
