"""Requests, their trees and their repairs are those that the oracle finds, whatever was sent and however."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import oracle
import pytest
from builder import (
    CLIENT,
    ETCD,
    FILTERS,
    HTTP,
    SERVER,
    Process,
    Span,
    apiserver_request,
    batches,
    etcd_client,
    etcd_server,
    trace,
    verb_span,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from strategies import Requests, clean_trees, dirty_batches

import k8strace

# What was counted in the captures with the official classes and dictionaries, when they were made.
FACTS = """
                             1.27    1.31    1.36
spans                       10363   10414   16766
traces                       2044    2040    2338
requests                     1420    1452    1411
etcd_calls                   1308    1302    1413
etcd_ranges                   543     515     620
etcd_txns                     761     773     775
etcd_calls_in_requests       1165    1146    1252
background_calls              143     156     161
etcd_servers                 1358    1354    1472
rpc_pairs                    1308    1302    1413
orphans                        50      52      59
cri_pairs                       0       0       0
syncs                           0       0       0
"""
LATEST = 1 << 62  # ns since the epoch
NESTING = 8  # a request counts in the trees of at most this many requests around it


def joined(sent: Requests) -> k8strace.Requests:
    return k8strace.join(k8strace.decode(sent))


def roles(requests: k8strace.Requests) -> list[str]:
    """The role of each span; a copy with other content is a duplicate to the oracle."""
    names = [*requests.joined.ledger.used, *requests.joined.ledger.set_aside]
    read = [names[role] for role in requests._joined.core.roles()]
    return ["duplicate" if role == "conflict" else role for role in read]


# ── The captures ──────────────────────────────────────────────────────────────────────────────────


def test_counts_are_those_published_with_the_captures(capture: Path) -> None:
    versions, *lines = (line.split() for line in FACTS.strip().splitlines())
    at = next(at for at, version in enumerate(versions) if f"k8s-{version}_" in capture.name)
    expected = {name: int(numbers[at]) for name, *numbers in lines}
    spans = k8strace.read(capture)
    requests = k8strace.join(spans)
    calls, ledger = list(requests.etcd_calls), requests.joined.ledger
    named = zip(spans.column("kind").to_pylist(), spans.column("name").to_pylist(), strict=True)
    assert expected == {
        "spans": len(spans),
        "etcd_calls": len(calls),
        "etcd_ranges": sum(call["method"] == "KV/Range" for call in calls),
        "etcd_txns": sum(call["method"] == "KV/Txn" for call in calls),
        "etcd_calls_in_requests": sum(call["request"] is not None for call in calls),
        "etcd_servers": sum(kind == SERVER and name.startswith("etcdserverpb.") for kind, name in named),
        "orphans": ledger.set_aside["orphan"],
        **requests.joined.counts,
    }
    assert ledger.spans == len(spans) == sum(ledger.used.values()) + sum(ledger.set_aside.values())


@pytest.mark.slow
def test_each_range_and_txn_that_etcd_served_is_joined_to_its_call(capture: Path) -> None:
    expected = oracle.joined_capture(capture)
    served = {
        row.number
        for row in expected.rows
        if row.service == "etcd" and row.name in ("etcdserverpb.KV/Range", "etcdserverpb.KV/Txn")
    }
    assert served
    assert served <= {server for _, server in expected.pairs}
    requests = k8strace.join(k8strace.read(capture))
    calls = [call for call in requests.etcd_calls if call["method"] in ("KV/Range", "KV/Txn")]
    assert len(calls) == len(served)
    assert all(call["server_ns"] is not None for call in calls)


@pytest.mark.slow
def test_the_join_of_a_capture_is_the_oracles(capture: Path) -> None:
    check_join(k8strace.join(k8strace.read(capture)), oracle.joined_capture(capture))


# What kube-apiserver wrote on its handler's span, to what Kubernetes calls the verb.
VERBS = {
    "GET": {"get"},
    "LIST": {"list"},
    "WATCH": {"watch"},
    "POST": {"create"},
    "PUT": {"update"},
    "PATCH": {"patch"},
    "APPLY": {"patch"},
    "DELETE": {"delete", "deletecollection"},
}


@pytest.mark.slow
def test_what_a_request_asks_for_is_what_its_handler_wrote_down(capture: Path) -> None:
    expected = oracle.joined_capture(capture)
    found = by_root(k8strace.join(k8strace.read(capture)))
    checked = 0
    for request in expected.requests:
        actual = found[expected.rows[request.root].id]
        for child in request.tree:
            handler = expected.rows[child]
            if "scope" not in handler.attributes or "verb" not in handler.attributes:
                continue
            if handler.name == "List" and handler.attributes["verb"] == "GET":
                continue  # a list of one by name: the handler writes GET, the audit log says list
            checked += 1
            wrote = handler.attributes
            assert actual.verb in VERBS[wrote["verb"]]
            assert actual.resource == wrote["resource"]
            assert (actual.target or "").partition("?")[0] == wrote["url"]
            assert (actual.user_agent or "")[:1024] == wrote["user-agent"]
            whole = (wrote["scope"] != "resource") and wrote["verb"] == "DELETE"
            assert (actual.verb == "deletecollection") is whole
            if "namespace" in wrote:  # since 1.29
                assert (actual.api_group or "") == wrote["api-group"]
                assert actual.api_version == wrote["api-version"]
                assert (actual.namespace or "") == wrote["namespace"]
                assert (actual.object_name or "") == wrote["name"]
                assert (actual.subresource or "") == wrote["subresource"]
    assert checked > 1_000


@pytest.mark.slow
def test_status_and_user_agent_are_read_from_each_versions_attributes(capture: Path) -> None:
    """1.27 says http.status_code and http.user_agent, 1.31 user_agent.original, 1.36 http.response.status_code."""
    expected = oracle.joined_capture(capture)
    found = by_root(k8strace.join(k8strace.read(capture)))
    for request in expected.requests:
        row = expected.rows[request.root]
        actual, sent = found[row.id], row.attributes
        assert actual.http_status == sent.get("http.response.status_code", sent.get("http.status_code"))
        assert actual.user_agent == sent.get("user_agent.original", sent.get("http.user_agent"))
        assert actual.http_method == sent.get("http.request.method", sent.get("http.method"))
        assert actual.target == sent["http.target"]
        assert actual.instance == row.resource["service.instance.id"]
    assert {actual.http_status for actual in found.values()} >= {200, 201, 403, 404, 409, 422, 500}


def test_list_watch_and_get_are_told_apart(capture: Path) -> None:
    requests = k8strace.join(k8strace.read(capture))
    for request in requests.where(http_method="GET", verb=("get", "list", "watch"), subresource=None):
        path, _, query = (request.target or "").partition("?")
        watches = any(part in ("watch=1", "watch=true") for part in query.split("&"))
        named = path.rstrip("/").rsplit("/", 1)[-1] != request.resource
        assert request.verb == ("get" if named else "watch" if watches else "list")
        assert request.long_running is watches
    assert {request.verb for request in requests} >= {"get", "list", "watch"}


@pytest.mark.slow
def test_etcd_calls_say_what_their_spans_say(capture: Path) -> None:
    expected = oracle.joined_capture(capture)
    rows, servers = expected.rows, dict(expected.pairs)
    numbers = {"0": "OK", "1": "CANCELLED"}
    told = {}
    for row in rows:
        if not row.is_etcd_client or expected.roles[row.number] == "duplicate":
            continue
        server = rows[servers[row.number]]
        sent, above = row.attributes, expected.parents[row.number]
        status = sent.get("rpc.response.status_code", sent.get("rpc.grpc.status_code"))
        told[row.id] = (
            row.name.removeprefix("etcdserverpb."),
            None if above is None else rows[above].attributes.get("key"),
            numbers.get(str(status), status),
            row.end - row.start,
            server.end - server.start,
            (row.end - row.start) - (server.end - server.start),
        )
    table = k8strace.join(k8strace.read(capture)).etcd_calls
    columns = ("method", "key", "status", "client_ns", "server_ns", "transport_ns")
    assert told == {ids_in(call): tuple(call[name] for name in columns) for call in table}
    assert set(table["status"].to_pylist()) >= {"OK"}
    assert any(table["key"].to_pylist())


@pytest.mark.slow
def test_a_request_has_the_calls_and_the_repairs_that_happened_in_it(capture: Path) -> None:
    expected = oracle.joined_capture(capture)
    found = by_root(k8strace.join(k8strace.read(capture)))
    repaired = Counter((repair.trace_id, repair.span_id) for repair in expected.repairs)
    for request in expected.requests:
        actual, rows = found[expected.rows[request.root].id], [expected.rows[i] for i in request.tree]
        assert actual.spans == len(rows)
        assert actual.etcd_call_count == sum(row.is_etcd_client for row in rows)
        assert actual.complete is (actual.incomplete_cause is None)
        if actual.outer_request is None and not any(row.is_request for row in rows[1:]):
            assert [ids_in(call) for call in actual.etcd_calls] == [
                row.id for row in sorted(rows, key=lambda row: row.start) if row.is_etcd_client
            ]
            assert len(actual.repairs) == sum(repaired[row.id] for row in rows)


# ── Against the oracle ────────────────────────────────────────────────────────────────────────────


def ids(row: Any) -> oracle.Id:
    return bytes.fromhex(row.trace_id), bytes.fromhex(row.span_id)


def ids_in(row: dict[str, Any]) -> oracle.Id:
    return bytes.fromhex(row["trace_id"]), bytes.fromhex(row["span_id"])


def by_root(requests: k8strace.Requests) -> dict[oracle.Id, k8strace.Request]:
    return {ids(request): request for request in requests}


def check_join(requests: k8strace.Requests, expected: oracle.Joined) -> None:
    assert roles(requests) == expected.roles
    assert requests.joined.counts["rpc_pairs"] + requests.joined.counts["cri_pairs"] == len(expected.pairs)
    both_sides = {end: expected.rows[end].is_cri for pair in expected.pairs for end in pair}
    assert requests.joined.counts["cri_pairs"] == sum(
        both_sides[a] and both_sides[b] for a, b in expected.pairs
    )
    background = [row for row in expected.rows if row.is_etcd_client]
    assert requests.joined.counts["background_calls"] == sum(
        expected.roles[row.number] == "background" for row in background
    )
    assert Counter(repairs(requests)) == Counter(oracle_repairs(expected))
    found = by_root(requests)
    assert len(found) == len(expected.requests)
    moved = oracle.on_one_clock(expected).rows
    for request in expected.requests:
        actual = found[expected.rows[request.root].id]
        check_request(actual, request, moved)
        assert actual.prelude_ns == prelude_ns(request, expected.rows)


def check_request(actual: k8strace.Request, expected: oracle.Request, rows: list[oracle.Row]) -> None:
    name = {number: oracle.node_name(rows, number, expected.root) for number in expected.tree}
    assert set(actual.tree) == set(name.values())
    assert set(actual.tree.edges) == {(name[a], name[b]) for a, b in expected.tree.edges}
    root = rows[expected.root]
    assert actual.wall_ns == max(0, root.end - root.start)
    inside = [rows[number] for number in expected.tree]
    assert actual.spans == len(inside)
    assert actual.pre_start_ns == root.start - min(row.start for row in inside)
    assert actual.async_tail_ns == max(0, max(row.end for row in inside) - root.end)


def prelude_ns(request: oracle.Request, sent: list[oracle.Row]) -> int | None:
    """As the one process that sent both saw it; None without usable times."""
    if request.prelude is None or not all(
        oracle.good_times(sent[at]) for at in (request.root, request.prelude)
    ):
        return None
    return max(0, sent[request.root].start - sent[request.prelude].start)


def repairs(requests: k8strace.Requests) -> Iterator[tuple[Any, ...]]:
    for row in requests.repairs:
        twin = row["kind"] in ("duplicate", "conflict")
        yield row["kind"], row["trace_id"], row["span_id"], *(() if twin else (row["before"], row["after"]))


def oracle_repairs(expected: oracle.Joined) -> Iterator[tuple[Any, ...]]:
    for row in expected.repairs:
        twin = row.kind in ("duplicate", "conflict")
        ends = [_written(end) for end in (row.before, row.after)]
        kind = "cycle" if row.kind == "self_parent" else row.kind
        yield kind, row.trace_id.hex(), row.span_id.hex(), *(() if twin else ends)


def _written(end: bytes | int | None) -> str | None:
    """A time, a span id, or a trace id and a span id."""
    if not isinstance(end, bytes):
        return end if end is None else str(end)
    return f"{end[:16].hex()}/{end[16:].hex()}" if len(end) > 16 else end.hex()


def nested_too_deep(expected: oracle.Joined) -> bool:
    around = Counter(i for request in expected.requests for i in request.tree if expected.rows[i].is_request)
    return max(around.values(), default=0) > NESTING


@pytest.mark.slow
@given(dirty_batches())
def test_the_join_of_dirty_spans_is_the_oracles(sent: Requests) -> None:
    expected = oracle.join(oracle.spans(sent))
    assume(not nested_too_deep(expected))
    check_join(joined(sent), expected)


@pytest.mark.slow
@given(clean_trees())
def test_the_join_of_a_clean_tree_is_the_oracles(sent: Requests) -> None:
    check_join(joined(sent), oracle.join(oracle.spans(sent)))


@pytest.mark.slow
@given(dirty_batches(full=True))
def test_every_span_has_one_place_in_the_ledger(sent: Requests) -> None:
    """Whatever its ids, times and attributes. To us all times after 2116 are one, and an odd parent id is none."""
    rows = [
        row._replace(start=min(row.start, LATEST), end=min(row.end, LATEST)) for row in oracle.spans(sent)
    ]
    expected, requests = oracle.join(rows), joined(sent)
    ledger = requests.joined.ledger
    assert ledger.spans == len(rows) == sum(ledger.used.values()) + sum(ledger.set_aside.values())
    assert len(requests) == len(expected.requests)
    if not any(repair.kind == "conflict" for repair in expected.repairs):
        assert roles(requests) == expected.roles


# ── Order, split and repetition ───────────────────────────────────────────────────────────────────


def resent(sent: Requests, random: Random, times: int = 1) -> Requests:
    """The same spans, shuffled over messages of any size, each of them sent so many times."""
    single = [message for message in map(_single, _each_span(sent)) for _ in range(times)]
    random.shuffle(single)
    packed: Requests = []
    for message in single:
        if not packed or random.random() < 0.5:
            packed.append(ExportTraceServiceRequest())
        packed[-1].MergeFrom(message)
    return packed


def _each_span(sent: Requests) -> Iterator[tuple[Any, Any, Any]]:
    for message in sent:
        for by_resource in message.resource_spans:
            for by_scope in by_resource.scope_spans:
                for span in by_scope.spans:
                    yield by_resource, by_scope, span


def _single(parts: tuple[Any, Any, Any]) -> ExportTraceServiceRequest:
    by_resource, by_scope, span = parts
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add(resource=by_resource.resource)
    resource_spans.scope_spans.add(scope=by_scope.scope).spans.add().CopyFrom(span)
    return message


def everything(requests: k8strace.Requests) -> dict[str, Any]:
    """All that is said about requests, apart from the count of repeats."""
    methods = ("critical_path", "active_share", "self_time")
    attributions = [k8strace.attribute(requests, method=method) for method in methods]
    ledger = requests.joined.ledger
    twice = ("duplicate", "invalid_id")
    return {
        "requests": list(requests),
        "phases": [[each.phases(request.request) for request in requests] for each in attributions],
        "trees": [dict(request.tree.nodes(data=True)) for request in requests],
        "edges": [set(request.tree.edges) for request in requests],
        "calls": [tuple(call.items()) for call in requests.etcd_calls],
        "repairs": Counter(row for row in repairs(requests) if row[0] != "duplicate"),
        "clocks": {tuple(row.items()) for row in requests.joined.clock_offsets},
        "used": ledger.used,
        "set_aside": {name: count for name, count in ledger.set_aside.items() if name not in twice},
        "background": requests.joined.counts["background_calls"],
        "traces": requests.joined.counts["traces"],
    }


@pytest.mark.slow
@given(dirty_batches(), st.randoms(use_true_random=False))
def test_order_split_and_repetition_change_only_the_count_of_repeats(sent: Requests, random: Random) -> None:
    once = joined(sent)
    shuffled = joined(resent(sent, random))
    assert everything(shuffled) == everything(once)
    assert shuffled.joined.ledger == once.joined.ledger
    again = joined(resent(sent, random, times=2))
    assert everything(again) == everything(once)
    aside = once.joined.ledger.set_aside
    sent_again = len(once.spans) - aside["invalid_id"]
    assert again.joined.ledger.set_aside["duplicate"] == aside["duplicate"] + sent_again
    assert again.joined.ledger.set_aside["invalid_id"] == 2 * aside["invalid_id"]


def test_a_capture_delivered_twice_and_backwards_is_the_same(capture_136: Path) -> None:
    sent = oracle.load(capture_136)
    once, again = joined(sent), joined([*sent, *reversed(sent)])
    assert list(again) == list(once)
    assert again.joined.ledger.set_aside["duplicate"] == len(once.spans)
    first, second = k8strace.attribute(once), k8strace.attribute(again)
    assert [first.phases(at) for at in range(len(once))] == [second.phases(at) for at in range(len(once))]


# ── One shape at a time ───────────────────────────────────────────────────────────────────────────


def sent(*spans: Span, **how: int) -> k8strace.Requests:
    return joined(trace(*spans, **how).batches())


def aside(requests: k8strace.Requests) -> dict[str, int]:
    return {name: count for name, count in requests.joined.ledger.set_aside.items() if count}


def get(*inner: Span, start: int = 0, end: int = 100, **fields: Any) -> Span:
    return apiserver_request("1.31", "GET", "/api/v1/namespaces/a/pods/b", start, end, list(inner), **fields)


def test_nothing_gives_no_requests() -> None:
    requests = k8strace.join(k8strace.decode(b""))
    assert len(requests) == 0
    assert list(requests) == []
    assert requests.joined.ledger.spans == 0


def test_spans_without_a_usable_id_take_part_in_nothing() -> None:
    (message,) = trace(get(verb_span("Get", 10, 90))).batches()
    scope = message.resource_spans[0].scope_spans[0]
    trace_id, span_id = (1).to_bytes(16, "big"), (9).to_bytes(8, "big")
    for odd in [
        (b"", span_id),
        (bytes(16), span_id),
        (trace_id[1:], span_id),
        (trace_id, bytes(8)),
        (trace_id, b""),
    ]:
        scope.spans.add(trace_id=odd[0], span_id=odd[1], name="Get", kind=SERVER)
    requests = joined([message])
    assert aside(requests) == {"invalid_id": 5}
    assert len(requests) == 1
    assert requests.joined.counts["traces"] == 1


@pytest.mark.parametrize("parent", [b"\0" * 8, b"\1", b"\1" * 9])
def test_a_parent_id_of_zeros_or_of_a_wrong_length_is_no_parent(parent: bytes) -> None:
    (message,) = trace(etcd_client("KV/Range", 0, 5)).batches()
    message.resource_spans[0].scope_spans[0].spans[0].parent_span_id = parent
    requests = joined([message])
    assert requests.joined.ledger.used["background"] == 1
    assert aside(requests) == {}


def test_of_two_spans_with_one_id_the_richer_stays_whichever_came_first() -> None:
    plain, rich = (trace(Span("Get", 0, 9, scope=HTTP, kind=SERVER)).batches()[0] for _ in range(2))
    rich.resource_spans[0].scope_spans[0].spans[0].attributes.add(
        key="http.method"
    ).value.string_value = "PUT"
    for order in ([plain, rich], [rich, plain], [plain, rich, plain, rich, rich]):
        requests = joined(order)
        assert requests[0].http_method == "PUT"
        assert aside(requests) == {"conflict": 1} | ({"duplicate": 3} if len(order) > 2 else {})
        (conflict,) = (row for row in requests.repairs if row["kind"] == "conflict")
        assert conflict["request"] == 0


def test_equally_rich_spans_with_one_id_leave_the_same_one_in_any_order() -> None:
    def version(code: int) -> ExportTraceServiceRequest:
        return trace(get(attributes={"http.status_code": code})).batches()[0]

    left = {joined([version(a), version(b)])[0].http_status for a, b in [(200, 404), (404, 200)]}
    assert len(left) == 1


def test_a_span_that_is_its_own_parent_is_a_top() -> None:
    (message,) = trace(get()).batches()
    for span in (span for _, _, span in _each_span([message])):
        if span.kind == SERVER:
            span.parent_span_id = span.span_id
    requests = joined([message])
    assert [row["kind"] for row in requests.repairs] == ["cycle"]
    assert aside(requests) == {}
    assert requests[0].spans == 2


def test_a_caller_is_the_parent_or_the_linked_span_and_only_that() -> None:
    # trace 1   HTTP GET ─ GET …                 its parent: caller
    # trace 2   HTTP GET   ← link of GET …       its link: caller
    # trace 3   HTTP GET ─ Dial ─ GET …          neither: unrelated
    caller = Span("HTTP GET", 0, 9, kind=CLIENT, scope=HTTP)
    requests = joined(
        batches(
            trace(Span("HTTP GET", 0, 9, [get(links=[(2, 1)])], CLIENT, HTTP), trace_id=1),
            trace(caller, trace_id=2),
            trace(Span("HTTP GET", 0, 9, [Span("Dial", 1, 2, [get()])], CLIENT, HTTP), trace_id=3),
        )
    )
    assert aside(requests) == {"caller": 2, "unrelated": 2}
    assert len(requests) == 2


def test_what_hangs_beside_a_request_below_its_caller_is_unrelated() -> None:
    requests = sent(Span("HTTP GET", 0, 9, [get(), Span("Dial", 1, 2)], CLIENT, HTTP))
    assert aside(requests) == {"caller": 1, "unrelated": 1}


def test_a_link_of_a_span_set_aside_makes_no_caller() -> None:
    """The copy that goes has the same link as the one that stays, but to another span."""
    stays = trace(get(links=[(2, 1)], attributes={"a": "b"})).batches()
    goes = trace(get(links=[(3, 1)])).batches()
    calls = [trace(Span("HTTP GET", 0, 9, kind=CLIENT, scope=HTTP), trace_id=n).batches()[0] for n in (2, 3)]
    requests = joined([*stays, *goes, *calls])
    assert aside(requests)["caller"] == 1
    assert aside(requests)["unrelated"] == 1


def test_authentication_above_authentication_above_a_request_is_not_a_failed_one() -> None:
    inner = Span("authentication", 0, 100, [get()], scope=FILTERS)
    requests = sent(Span("authentication", 0, 100, [inner], scope=FILTERS))
    assert requests.joined.ledger.used["prelude"] == 1
    assert aside(requests) == {"unrelated": 1}


def test_a_prelude_is_timed_but_in_no_sum() -> None:
    request = get(verb_span("Get", 20, 90), start=10)
    requests = sent(Span("authentication", 3, 101, [request], scope=FILTERS))
    (only,) = requests
    assert (only.prelude_ns, only.wall_ns, only.spans) == (7, 90, 3)
    assert sum(k8strace.attribute(requests).phases(0).values()) == 90


def test_a_request_without_its_server_span_is_root_missing() -> None:
    requests = sent(verb_span("Get", 0, 9, etcd_client("KV/Range", 1, 8)), parent_span_id=77)
    assert aside(requests) == {"root_missing": 2}
    assert len(requests) == 0


def test_a_call_that_etcd_did_not_trace_is_incomplete_not_wrong() -> None:
    (only,) = sent(get(verb_span("Get", 10, 90, etcd_client("KV/Range", 20, 80))))
    assert (only.complete, only.incomplete_cause) == (False, "etcd_not_traced")
    (call,) = only.etcd_calls
    assert (call["client_ns"], call["server_ns"], call["transport_ns"]) == (60, None, None)


def test_the_status_of_a_call_is_one_word_in_every_version() -> None:
    """Up to 1.35 a number, in 1.36 "Canceled", from 1.37 "CANCELLED"."""
    ways = [("rpc.grpc.status_code", 4), ("rpc.response.status_code", "DeadlineExceeded")]
    ways.append(("rpc.response.status_code", "DEADLINE_EXCEEDED"))
    calls = [etcd_client("KV/Txn", 0, 1, attributes={key: value}) for key, value in ways]
    assert sent(*calls).etcd_calls.column("status").to_pylist() == ["DEADLINE_EXCEEDED"] * 3
    calls = [etcd_client("KV/Txn", 0, 1, attributes={"rpc.response.status_code": "Canceled"})]
    assert sent(*calls).etcd_calls.column("status").to_pylist() == ["CANCELLED"]


def test_a_request_inside_a_request_is_one_of_its_own_and_a_part_of_the_outer() -> None:
    inner = get(verb_span("Get", 40, 50), start=35, end=60)
    requests = sent(get(verb_span("Create", 10, 90, Span("HTTP GET", 30, 70, [inner], CLIENT, HTTP))))
    outer, below = requests
    assert (outer.outer_request, below.outer_request) == (None, outer.request)
    assert (outer.spans, below.spans) == (7, 3)
    assert set(below.tree) < set(outer.tree)


# ── Clocks ────────────────────────────────────────────────────────────────────────────────────────

MS = 1_000_000


def call(at: int, ahead: int, server: tuple[int, int], process: Process = ETCD) -> Span:
    """A call of 10 ms; the server handles it so many ms after its start, by a clock that is ahead."""
    handled = etcd_server("KV/Txn", (at + server[0]) * MS + ahead, (at + server[1]) * MS + ahead)
    handled.process = process
    return etcd_client("KV/Txn", at * MS, (at + 10) * MS, handled)


def handled_by(requests: k8strace.Requests) -> list[tuple[int, int]]:
    """Start and end of etcd's spans in the first request, after correction, in µs."""
    nodes = [data for _, data in requests[0].tree.nodes(data=True) if data["service"] == "etcd"]
    return [(node["start_unix_nano"] // 1_000, node["end_unix_nano"] // 1_000) for node in nodes]


def test_a_server_5_ms_ahead_is_moved_to_the_nearest_point_that_fits_all_pairs() -> None:
    # pair 1   client [100,110)  server [103,106) + 5    bounds (106+5)-110 =  1 … 8 = (103+5)-100
    # pair 2   client [120,130)  server [122,129) + 5    bounds (129+5)-130 =  4 … 7 = (122+5)-120
    #                                                    both                  4 … 7, nearest 0: 4
    verb = verb_span("Update", 90 * MS, 190 * MS, call(100, 5 * MS, (3, 6)), call(120, 5 * MS, (2, 9)))
    requests = sent(get(verb, start=0, end=200 * MS))
    (offset,) = requests.joined.clock_offsets
    assert (offset["client"], offset["server"]) == ("apiserver/apiserver-a", "etcd/etcd-0")
    assert [offset[key] for key in ("low_ns", "high_ns", "offset_ns", "pairs")] == [4 * MS, 7 * MS, 4 * MS, 2]
    assert offset["verdict"] == "offset"
    assert handled_by(requests) == [(104_000, 107_000), (123_000, 130_000)]


def test_a_server_behind_is_moved_forward_with_its_events() -> None:
    late = call(100, -20 * MS, (1, 9))
    late.children[0].children.append(
        Span(
            "txn",
            82 * MS,
            88 * MS,
            scope="go.etcd.io/etcd",
            process=ETCD,
            events=[(83 * MS, "Send raft proposal")],
        )
    )
    requests = sent(get(verb_span("Update", 90 * MS, 190 * MS, late), end=200 * MS))
    (offset,) = requests.joined.clock_offsets
    assert [offset[key] for key in ("low_ns", "high_ns", "offset_ns")] == [-21 * MS, -19 * MS, -19 * MS]
    assert handled_by(requests) == [(100_000, 108_000), (101_000, 107_000)]
    # the event is 1 ms after the start of txn, whatever the clock said
    assert k8strace.attribute(requests).phases(0)["etcd.raft"] == 5 * MS


def test_raw_times_stay_in_the_tree_beside_the_repaired() -> None:
    requests = sent(get(verb_span("Update", 90 * MS, 190 * MS, call(100, 5 * MS, (5, 6))), end=200 * MS))
    (node,) = (data for _, data in requests[0].tree.nodes(data=True) if data["service"] == "etcd")
    assert (node["raw_start_unix_nano"], node["raw_end_unix_nano"]) == (110 * MS, 111 * MS)
    assert (node["start_unix_nano"], node["end_unix_nano"]) == (109 * MS, 110 * MS)


def test_contradicting_bounds_correct_nothing() -> None:
    """Ahead once and behind once: two machines under one name, or a clock that was set."""
    verb = verb_span("Update", 90 * MS, 190 * MS, call(100, 50 * MS, (3, 6)), call(120, -50 * MS, (3, 6)))
    requests = sent(get(verb, end=200 * MS))
    (offset,) = requests.joined.clock_offsets
    assert (offset["verdict"], offset["offset_ns"]) == ("contradiction", 0)
    assert offset["low_ns"] > offset["high_ns"]
    assert handled_by(requests) == [(153_000, 156_000), (73_000, 76_000)]


def test_clocks_that_can_agree_are_left_alone() -> None:
    requests = sent(get(verb_span("Update", 90 * MS, 190 * MS, call(100, 0, (0, 10))), end=200 * MS))
    assert [row["offset_ns"] for row in requests.joined.clock_offsets] == [0]
    assert handled_by(requests) == [(100_000, 110_000)]


def test_each_pair_of_processes_has_its_own_offset() -> None:
    other = ("etcd", "etcd-1")
    verb = verb_span("Update", 90 * MS, 190 * MS, call(100, 0, (3, 6)), call(120, 50 * MS, (3, 6), other))
    requests = sent(get(verb, end=200 * MS))
    offsets = {row["server"]: row["offset_ns"] for row in requests.joined.clock_offsets}
    assert offsets == {"etcd/etcd-0": 0, "etcd/etcd-1": 46 * MS}
