"""Every shape that kube-apiserver and etcd send, version by version: what was sent, and the tree that comes of it.

A drawing has one line per span: indented by depth, then start-end in microseconds after `EPOCH`, effective times.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builder import (
    CLIENT,
    FILTERS,
    HTTP,
    SERVER,
    Span,
    Trace,
    batches,
    etcd_client,
    etcd_internal,
    etcd_server,
    trace,
    verb_span,
    webhook,
)
from shapes import (
    EARLY,
    EPOCH,
    NEW,
    OLD,
    PODS,
    TEMPLATE,
    US,
    drawn,
    handler,
    joined,
    sent,
    server,
    shape_1_22,
    shape_1_28,
    shape_1_32,
    shape_1_33,
    shape_1_34,
    shape_1_34_privileged,
    txn,
)

import k8strace


def kinds(requests: k8strace.Requests) -> dict[str, int]:
    """How often each repair was made."""
    return dict(Counter(row["kind"] for row in requests.repairs))


def check(requests: k8strace.Requests, drawing: str, **repairs: int) -> k8strace.Request:
    """The first request is as drawn, by these repairs, and its time is divided without a rest."""
    request = requests[0]
    assert drawn(request) == "\n".join(line[8:] for line in drawing.strip("\n").splitlines()[:-1])
    assert kinds(requests) == repairs
    for method in ("critical_path", "active_share"):
        phases = k8strace.attribute(requests, method=method).phases(request.request)
        assert sum(phases.values()) == request.wall_ns
    return request


def test_1_22_has_nothing_between_the_request_and_etcd() -> None:
    check(
        joined(*shape_1_22()),
        """
        KubernetesAPI 0-100
          etcdserverpb.KV/Txn 20-80
            etcdserverpb.KV/Txn 21-79
        """,
    )


def test_1_28_hangs_on_an_authentication_that_has_ended() -> None:
    check(
        joined(*shape_1_28()),
        """
        KubernetesAPI 0-100
          authentication 1-5
          Create 10-95
            Create etcd3 20-75
              etcdserverpb.KV/Txn 25-70
                etcdserverpb.KV/Txn 26-69
            SerializeObject 80-90
        """,
        authentication_children=2,
        serialize_sibling=1,
    )


def test_1_32_serializes_inside_the_handler() -> None:
    check(
        joined(*shape_1_32()),
        """
        POST /api/v1/namespaces/{:namespace}/pods 0-100
          authentication 1-5
          Create 10-95
            Create etcd3 20-75
              etcdserverpb.KV/Txn 25-70
                etcdserverpb.KV/Txn 26-69
            SerializeObject 80-90
        """,
        authentication_children=1,
    )


def test_1_33_lasts_as_long_as_its_handler_and_finds_its_authentication() -> None:
    requests = joined(*shape_1_33())
    request = check(
        requests,
        """
        POST /api/v1/namespaces/{:namespace}/pods 10-90
          Create 15-90
            Create etcd3 25-70
              etcdserverpb.KV/Txn 30-65
                etcdserverpb.KV/Txn 31-64
            SerializeObject 75-85
        """,
        root_extended=1,
        split_authentication=1,
    )
    assert (request.wall_ns, request.prelude_ns, request.async_tail_ns) == (80 * US, 10 * US, 0)
    assert request.tree.nodes[request.span_id]["raw_end_unix_nano"] == EPOCH + 12 * US
    (row,) = (row for row in requests.repairs if row["kind"] == "root_extended")
    assert row["field"] == "end_time_unix_nano"
    assert (int(row["before"]), int(row["after"])) == (EPOCH + 12 * US, EPOCH + 90 * US)
    assert requests.joined.ledger.used["prelude"] == 1
    assert requests.joined.ledger.set_aside["authentication"] == 0


def test_1_33_does_not_wait_for_what_is_detached() -> None:
    #  POST              ├┤                           → 10-90
    #    Create             ├──────────────┤
    #      Create etcd3        ├────────────────┤        outlives its parent: an asynchronous tail
    #    SerializeObject                        ├──┤     began when Create was over
    create = verb_span("Create", 15, 90, Span("Create etcd3", 20, 120))
    late = Span("SerializeObject", 130, 140)
    request = joined(trace(server(TEMPLATE, 10, 12, create, late, attributes=EARLY)))[0]
    assert (request.wall_ns, request.async_tail_ns) == (80 * US, 50 * US)


def test_1_33_without_a_handler_waits_for_all_that_the_server_span_caused() -> None:
    calls = [etcd_client("KV/Range", 15, 30), etcd_client("KV/Range", 40, 70)]
    request = joined(trace(server(TEMPLATE, 10, 12, *calls, attributes=EARLY)))[0]
    assert request.wall_ns == 60 * US


@pytest.mark.parametrize("attributes", [OLD, NEW, {}, {"http.target": PODS}])
def test_only_a_method_without_a_status_tells_of_an_early_end(attributes: dict[str, Any]) -> None:
    requests = joined(trace(server("GET", 10, 12, handler(15, 90), attributes=attributes)))
    assert kinds(requests) == {}
    assert (requests[0].wall_ns, requests[0].async_tail_ns) == (2 * US, 78 * US)


NESTED = """
        POST /api/v1/namespaces/{:namespace}/pods 10-100
          audit 12-98
            constrainedimpersonation 12-98
              priorityandfairness 12-98
                authorization 12-98
                  Create 15-95
                    Create etcd3 25-75
                      etcdserverpb.KV/Txn 30-70
                        etcdserverpb.KV/Txn 31-69
                    SerializeObject 80-90
        """


def test_1_34_nests_its_filters_and_splits_authentication_off() -> None:
    request = check(joined(*shape_1_34()), NESTED, split_authentication=1)
    assert request.prelude_ns == 10 * US


def test_1_34_has_the_authentication_of_privileged_callers_above_the_request() -> None:
    request = check(joined(*shape_1_34_privileged()), NESTED, prelude=1)
    assert request.prelude_ns == 10 * US


def test_1_35_has_new_names_for_the_same() -> None:
    request = check(joined(*shape_1_34(attributes=NEW)), NESTED, split_authentication=1)
    assert (request.http_method, request.http_status, request.target) == ("POST", 201, PODS)


# ── Split authentication: joined only if nothing else fits ────────────────────────────────────────


def test_one_authentication_that_fits_two_requests_joins_neither() -> None:
    first, around = shape_1_34()
    second, _ = shape_1_34(trace_id=2)
    requests = joined(first, second, around)
    assert kinds(requests) == {}
    assert requests.joined.ledger.set_aside["authentication"] == 1


def test_one_request_that_fits_two_authentications_gets_neither() -> None:
    request, around = shape_1_34()
    _, other = shape_1_34(trace_id=2, late=2)
    assert kinds(joined(request, around, other)) == {}


def test_neighbours_that_fit_only_their_own_are_all_joined() -> None:
    traces = [part for n in range(50) for part in shape_1_34(trace_id=n + 1, at=200 * n)]
    requests = joined(*traces)
    assert kinds(requests) == {"split_authentication": 50}
    assert {request.prelude_ns for request in requests} == {10 * US}


def test_too_many_neighbours_are_not_told_apart() -> None:
    traces = [part for n in range(200) for part in shape_1_34(trace_id=n + 1)]
    assert kinds(joined(*traces)) == {}


@pytest.mark.parametrize(("late", "joins"), [(0, 1), (50, 1), (51, 0)])
def test_the_two_are_at_most_fifty_microseconds_apart(late: int, joins: int) -> None:
    assert kinds(joined(*shape_1_34(late=late))).get("split_authentication", 0) == joins


def test_an_authentication_alone_is_a_401_or_was_sampled_apart() -> None:
    _, around = shape_1_34()
    other_process = Span("authentication", 0, 101, scope=FILTERS, process=("apiserver", "apiserver-b"))
    request, _ = shape_1_34(trace_id=2)
    requests = joined(around, trace(other_process, trace_id=77), trace(request.roots[0], trace_id=2))
    assert kinds(requests) == {"split_authentication": 1}
    assert requests.joined.ledger.set_aside["authentication"] == 1


# ── etcd ──────────────────────────────────────────────────────────────────────────────────────────


def test_etcd_3_7_has_spans_inside() -> None:
    inside = etcd_internal("txn", 32, 58, events=[(35, "Send raft proposal"), (55, "Receive raft result")])
    call = etcd_client("KV/Txn", 30, 60, etcd_server("KV/Txn", 31, 59, inside))
    requests = joined(trace(server("KubernetesAPI", 0, 100, verb_span("Create", 10, 90, call))))
    assert "        txn 32-58" in drawn(requests[0]).splitlines()
    assert k8strace.attribute(requests).phases(0)["etcd.raft"] == 20 * US


UNAVAILABLE = {"rpc.response.status_code": "UNAVAILABLE"}


def test_attempts_of_one_call_are_siblings_and_counted() -> None:
    #  Create      ├─────────────────────────────────────┤
    #    KV/Txn      ├──┤ ├──┤ ├─────┤                      refused, refused, done
    #    KV/Range                         ├──┤              another method: no retry
    attempts = [
        etcd_client("KV/Txn", 12, 20, attributes=UNAVAILABLE),
        etcd_client("KV/Txn", 25, 30, attributes={"rpc.grpc.status_code": 14}),
        txn(35, 60),
        etcd_client("KV/Range", 65, 70),
    ]
    request = joined(trace(server("KubernetesAPI", 0, 100, verb_span("Create", 10, 90, *attempts))))[0]
    assert (request.etcd_call_count, request.retries) == (4, 2)


@pytest.mark.parametrize(
    ("attributes", "start"), [({"rpc.response.status_code": "OK"}, 30), ({}, 30), (UNAVAILABLE, 15)]
)
def test_only_a_call_after_a_refused_one_is_a_retry(attributes: dict[str, Any], start: int) -> None:
    calls = [etcd_client("KV/Txn", 12, 20, attributes=attributes), etcd_client("KV/Txn", start, 40)]
    request = joined(trace(server("KubernetesAPI", 0, 100, verb_span("Create", 10, 90, *calls))))[0]
    assert request.retries == 0


NAMES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


@pytest.mark.parametrize(("number", "name"), list(enumerate(NAMES)))
def test_a_status_is_one_enum_however_it_is_written(number: int, name: str) -> None:
    camel = "OK" if name == "OK" else "".join(word.capitalize() for word in name.split("_"))
    american = camel.replace("Cancelled", "Canceled")
    writings: list[dict[str, str | int]] = [
        {"rpc.grpc.status_code": number},
        {"rpc.grpc.status_code": str(number)},
        {"rpc.response.status_code": american},
        {"rpc.response.status_code": camel},
        {"rpc.response.status_code": name},
        {"rpc.response.status_code": str(number)},
        {"rpc.grpc.status_code": number, "rpc.response.status_code": american},
    ]
    calls = [etcd_client("KV/Txn", n, n + 1, attributes=attributes) for n, attributes in enumerate(writings)]
    requests = joined(trace(server("KubernetesAPI", 0, 100, *calls)))
    assert set(requests[0].etcd_calls["status"].to_pylist()) == {name}


# ── Requests in requests ──────────────────────────────────────────────────────────────────────────


def test_a_webhook_that_calls_back_is_linked_and_not_summed() -> None:
    #  trace 1  POST pods ─ Create ─ Call mutating webhook ─ HTTP POST
    #  trace 2  GET configmaps      link: HTTP POST (span 4 of trace 1)
    outer = trace(
        server(TEMPLATE, 0, 100, verb_span("Create", 10, 90, webhook("mutating", 20, 60, (21, 59))))
    )
    inner = trace(server("GET", 30, 50, verb_span("Get", 32, 48), links=[(1, 4)]), trace_id=2)
    requests = joined(outer, inner)
    assert [request.linked_from for request in requests] == [None, 0]
    assert [request.outer_request for request in requests] == [None, None]
    assert [request.spans for request in requests] == [4, 2]


def test_a_link_into_nothing_or_into_itself_says_nothing() -> None:
    outer = trace(server("GET", 0, 100, links=[(9, 9)]))
    inner = trace(server("GET", 30, 50, verb_span("Get", 32, 48), links=[(2, 2)]), trace_id=2)
    assert [request.linked_from for request in joined(outer, inner)] == [None, None]


def test_the_loopback_client_is_the_caller_of_its_request() -> None:
    call = Span("HTTP GET", 0, 100, [server("GET", 5, 95)], CLIENT, HTTP)
    requests = joined(trace(call))
    assert len(requests) == 1
    assert requests.joined.ledger.set_aside["caller"] == 1


def test_an_aggregated_server_has_a_request_of_its_own_inside_the_proxied_one() -> None:
    metrics = {
        "http.method": "GET",
        "http.target": "/apis/metrics.k8s.io/v1beta1/nodes",
        "http.status_code": 200,
    }
    served = Span(
        "GET /apis/metrics.k8s.io/v1beta1/nodes", 20, 80, [], SERVER, HTTP,
        process=("apiserver", "metrics"), attributes=metrics,
    )  # fmt: skip
    proxied = server(
        "GET /apis/metrics.k8s.io/v1beta1/nodes", 0, 100, Span("HTTP GET", 10, 90, [served], CLIENT, HTTP)
    )
    requests = joined(trace(proxied))
    assert [(r.instance, r.outer_request, r.spans) for r in requests] == [
        ("apiserver-a", None, 3),
        ("metrics", 0, 1),
    ]


# ── Names ─────────────────────────────────────────────────────────────────────────────────────────

ITEM = "/api/v1/namespaces/default/pods/web"
T = {
    "verb": "GET",
    "url": ITEM,
    "resource": "pods",
    "namespace": "default",
    "name": "web",
    "api-version": "v1",
}
WAYS = {
    "old attributes": ("KubernetesAPI", {"http.method": "GET", "http.target": ITEM}, {}),
    "old attributes, otelhttp 0.20": ("HTTP GET", {"http.method": "GET", "http.target": ITEM}, {}),
    "new attributes": ("GET", {"http.request.method": "GET", "url.path": ITEM}, {}),
    "both": (
        "GET",
        {"http.method": "GET", "http.request.method": "GET", "http.target": ITEM, "url.path": ITEM},
        {},
    ),
    "method in the name only": ("HTTP GET", {"http.target": ITEM}, {}),
    "template and handler": ("GET /api/v1/namespaces/{:namespace}/pods/{:name}", {}, T),
    "handler's url": ("KubernetesAPI", {"http.method": "GET"}, {"verb": "GET", "url": ITEM}),
    "handler alone": ("KubernetesAPI", {}, T),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_asked_for_is_found_in_every_versions_names(way: str) -> None:
    name, attributes, of_handler = WAYS[way]
    request = joined(
        trace(server(name, 0, 9, verb_span("Get", 1, 8, attributes=of_handler), attributes=attributes))
    )[0]
    asked = (request.verb, request.resource, request.namespace, request.object_name, request.api_version)
    assert asked == ("get", "pods", "default", "web", "v1")


LIST = "GET /api/v1/namespaces/{:namespace}/pods"
VERBS = [
    ({"http.target": PODS + "?watch=true"}, "List", {}, "watch"),
    ({"url.path": PODS, "url.query": "watch=true"}, "List", {}, "watch"),
    ({"url.path": PODS}, "List", {"verb": "LIST"}, "list"),
    ({"url.path": PODS}, "WatchList", {"verb": "WATCH"}, "watch"),
    ({}, "List", {"verb": "WATCH"}, "watch"),
    ({}, "List", {"verb": "LIST"}, "list"),
    ({}, "WatchList", {}, "watch"),
]


@pytest.mark.parametrize(("attributes", "span", "of_handler", "verb"), VERBS)
def test_a_watch_is_told_from_a_list(
    attributes: dict[str, Any], span: str, of_handler: dict[str, Any], verb: str
) -> None:
    tree = server(LIST, 0, 9, verb_span(span, 1, 8, attributes=of_handler), attributes=attributes)
    request = joined(trace(tree))[0]
    assert (request.verb, request.resource, request.long_running) == (verb, "pods", verb == "watch")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "what",
    ["pods/web/exec", "pods/web/attach", "pods/web/portforward", "pods/web/proxy/x", "services/web/proxy"],
)
def test_connections_have_the_verb_of_the_metrics(method: str, what: str) -> None:
    target = f"/api/v1/namespaces/default/{what}?command=ls"
    request = joined(trace(server(method, 0, 9, attributes={"http.method": method, "http.target": target})))[
        0
    ]
    assert (request.verb, request.long_running) == ("connect", True)


# ── Orphans ───────────────────────────────────────────────────────────────────────────────────────


def orphan(span: Span, trace_id: int = 1) -> Trace:
    """A tree whose parent never arrived."""
    return trace(span, trace_id=trace_id, parent_span_id=999)


def with_orphan(root: Span, lost: Span, first_id: int = 50) -> list[Any]:
    """A trace with a second tree in it, whose top names a parent that is not there."""
    messages = sent(trace(root), orphan(lost))
    for message in messages:
        for by_scope in (scope for rs in message.resource_spans for scope in rs.scope_spans):
            for span in by_scope.spans:
                if span.parent_span_id == (999).to_bytes(8, "big"):
                    span.span_id = first_id.to_bytes(8, "big")
    return messages


def adopted(root: Span, lost: Span) -> k8strace.Requests:
    return k8strace.join(k8strace.decode(with_orphan(root, lost)))


def test_an_etcd_span_without_its_caller_goes_to_the_one_open_call_that_contains_it() -> None:
    call = etcd_client("KV/Txn", 20, 80)
    requests = adopted(server("KubernetesAPI", 0, 100, call), etcd_server("KV/Txn", 30, 70))
    request = check(
        requests,
        """
        KubernetesAPI 0-100
          etcdserverpb.KV/Txn 20-80
            etcdserverpb.KV/Txn 30-70
        """,
        orphan_rpc=1,
    )
    (row,) = requests.repairs
    assert (row["before"], row["after"]) == (f"{999:016x}", f"{2:016x}")
    assert (request.incomplete_cause, requests.joined.counts["rpc_pairs"]) == ("span_lost", 1)


@pytest.mark.parametrize(
    "calls",
    [
        [etcd_client("KV/Txn", 20, 80), etcd_client("KV/Txn", 25, 85)],  # two fit
        [etcd_client("KV/Txn", 20, 80, etcd_server("KV/Txn", 21, 79))],  # it is served already
        [etcd_client("KV/Range", 20, 80)],  # another RPC
        [etcd_client("KV/Txn", 40, 80)],  # it does not contain it
        [],
    ],
)
def test_an_etcd_span_that_could_be_anywhere_stays_alone(calls: list[Span]) -> None:
    requests = adopted(server("KubernetesAPI", 0, 100, *calls), etcd_server("KV/Txn", 30, 70))
    assert kinds(requests) == {}
    assert requests.joined.ledger.set_aside["orphan"] == 1
    assert requests[0].complete is False


def test_an_orphan_goes_where_its_link_points() -> None:
    outer = trace(server("KubernetesAPI", 0, 100, verb_span("Create", 10, 90)))
    lost = Span("mutate", 20, 30, process=("webhook", "w"), links=[(1, 2)])
    requests = joined(outer, trace(lost, trace_id=2, parent_span_id=999))
    check(
        requests,
        """
        KubernetesAPI 0-100
          Create 10-90
            mutate 20-30
        """,
        orphan_link=1,
    )
    assert [row["after"] for row in requests.repairs] == [f"{1:032x}/{2:016x}"]
    assert f"{2:032x}/{1:016x}" in requests[0].tree


def test_a_link_to_two_spans_or_to_what_hangs_on_the_orphan_says_nothing() -> None:
    outer = trace(server("KubernetesAPI", 0, 100, verb_span("Create", 10, 90)))
    two = trace(Span("a", 20, 30, links=[(1, 1), (1, 2)]), trace_id=2, parent_span_id=999)
    below = trace(Span("b", 20, 30, [Span("c", 21, 29)], links=[(3, 2)]), trace_id=3, parent_span_id=999)
    assert kinds(joined(outer, two, below)) == {}


def test_two_orphans_that_link_each_other_make_no_circle() -> None:
    first = trace(Span("a", 20, 30, links=[(3, 1)]), trace_id=2, parent_span_id=999)
    second = trace(Span("b", 21, 29, links=[(2, 1)]), trace_id=3, parent_span_id=999)
    assert kinds(joined(first, second)) == {"orphan_link": 1}


def test_a_watch_below_the_span_that_waits_for_it_makes_no_circle() -> None:
    asked = {"http.method": "GET", "http.target": "/api/v1/pods?watch=true"}
    watch = Span("GET", 0, 100, kind=SERVER, scope=HTTP, attributes=asked)
    requests = joined(trace(Span("cacher.Watch", 20, 30, [watch]), parent_span_id=999))
    assert kinds(requests) == {}
    assert requests["verb"].to_pylist() == ["watch"]


# ── Times ─────────────────────────────────────────────────────────────────────────────────────────

TIMES = [
    ((EPOCH + 9, EPOCH), "end_before_start", 0),
    ((0, EPOCH), "zero_time", EPOCH),
    ((EPOCH, 0), "zero_time", 0),
    ((0, 0), "zero_time", 0),
    ((EPOCH, 2**62), "absurd_time", 2**62 - EPOCH),
    ((2**63, 2**64 - 1), "absurd_time", 0),
]


@pytest.mark.parametrize(("times", "code", "wall_ns"), TIMES)
def test_times_that_cannot_be_are_kept_and_left_out_of_latency(
    times: tuple[int, int], code: str, wall_ns: int
) -> None:
    messages = batches(trace(server("GET", *times)), trace(server("GET", EPOCH, EPOCH + 5), trace_id=2))
    requests = k8strace.join(k8strace.decode(messages))
    (odd,) = requests.where(has_valid_times=False)
    assert odd.wall_ns == wall_ns
    raw = odd.tree.nodes[odd.span_id]
    assert (raw["raw_start_unix_nano"], raw["raw_end_unix_nano"]) == times
    assert [row["code"] for row in requests.issues if row["severity"] == "warning"] == [code]
    assert len(requests.slowest()) == 1
    (group,) = k8strace.attribute(requests).by()
    assert (group.requests, group.all.wall_ns) == (1, 5)


@pytest.mark.parametrize("times", [times for times, *_ in TIMES])
def test_times_that_cannot_be_say_nothing_of_what_came_before_a_request(times: tuple[int, int]) -> None:
    """Those of an `authentication` above it, and of a caller."""
    request = server("GET", EPOCH, EPOCH + 5, process=("apiserver", "b"))
    above = Span("authentication", *times, [server("GET", EPOCH, EPOCH + 5)], scope=FILTERS)
    caller = Span("HTTP GET", *times, [request], CLIENT, HTTP)
    requests = k8strace.join(k8strace.decode(batches(trace(above), trace(caller, trace_id=2))))
    assert requests["prelude_ns"].to_pylist() == [None, None]
    assert requests["caller_ns"].to_pylist() == [None, None]
    assert requests["caller_span_id"].to_pylist() == [None, f"{1:016x}"]


# ── Ids ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_parent_id_of_a_wrong_length_makes_a_root_and_a_row() -> None:
    messages = sent(trace(server("GET", 0, 9)))
    messages[0].resource_spans[0].scope_spans[0].spans[0].parent_span_id = b"short"
    requests = k8strace.join(k8strace.decode(messages))
    assert len(requests) == 1
    assert [(row["code"], row["request"], row["detail"]) for row in requests.issues] == [
        ("bad_parent", 0, "parent_span_id has 5 bytes")
    ]


IDS = [
    (b"", b"\1" * 8, "no trace_id"),
    (bytes(16), b"\1" * 8, "trace_id is all zero"),
    (b"\1" * 16, bytes(8), "span_id is all zero"),
    (b"\1" * 15, b"\1" * 9, "trace_id has 15 bytes, span_id has 9 bytes"),
]


@pytest.mark.parametrize(("trace_id", "span_id", "detail"), IDS)
def test_a_span_without_a_usable_id_says_what_is_wrong_with_it(
    trace_id: bytes, span_id: bytes, detail: str
) -> None:
    messages = sent(trace(server("GET", 0, 9)))
    span = messages[0].resource_spans[0].scope_spans[0].spans[0]
    span.trace_id, span.span_id = trace_id, span_id
    requests = k8strace.join(k8strace.decode(messages))
    assert requests.joined.ledger.set_aside["invalid_id"] == 1
    assert [(row["code"], row["detail"]) for row in requests.issues] == [("invalid_id", detail)]


@pytest.mark.parametrize("order", [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
def test_copies_and_conflicts_are_the_same_in_any_order(order: list[int]) -> None:
    plain, rich = sent(trace(server("GET", 0, 9))), sent(trace(server("GET", 0, 9, events=[(1, "more")])))
    requests = k8strace.join(k8strace.decode([(plain, rich)[which][0] for which in order]))
    assert requests.joined.ledger.set_aside["conflict"] == requests.joined.ledger.set_aside["duplicate"] == 1
    assert [event for _, event in requests[0].tree.nodes[requests[0].span_id]["events"]] == ["more"]


def test_a_repeated_batch_changes_nothing_but_the_ledger() -> None:
    messages = sent(*shape_1_34())
    once, twice = k8strace.join(k8strace.decode(messages)), k8strace.join(k8strace.decode(messages * 2))
    assert [drawn(request) for request in twice] == [drawn(request) for request in once]
    assert twice.joined.ledger.set_aside["duplicate"] == len(once.spans)


# ── Whether a request is whole ────────────────────────────────────────────────────────────────────


def flagged(request: Span, flags: int) -> k8strace.Requests:
    messages = sent(trace(request, parent_span_id=999))
    for scope in messages[0].resource_spans[0].scope_spans:
        for span in scope.spans:
            span.flags = flags
    return k8strace.join(k8strace.decode(messages))


@pytest.mark.parametrize(("flags", "cause"), [(0, None), (0x301, None), (0x300, None), (0x101, "span_lost")])
def test_a_caller_that_was_not_recorded_takes_nothing_from_a_request(flags: int, cause: str | None) -> None:
    """Bit 8: the sender knows where the parent is; bit 9: in another process."""
    requests = flagged(server("GET", 0, 9), flags)
    assert (requests[0].complete, requests[0].incomplete_cause) == (cause is None, cause)
    assert [row["code"] for row in requests.issues] == ["parent_lost"] * (cause is not None)


def test_each_cause_of_an_incomplete_request_has_its_name() -> None:
    unserved = server("GET", 0, 9, etcd_client("KV/Range", 1, 8))
    assert joined(trace(unserved))[0].incomplete_cause == "etcd_not_traced"
    trimmed = server("GET", 0, 9, verb_span("Get", 1, 8, dropped_events_count=3))
    requests = joined(trace(trimmed))
    assert requests[0].incomplete_cause == "dropped"
    assert [(row["code"], row["count"]) for row in requests.issues] == [("dropped", 3)]


def test_the_table_of_issues_has_torn_sources_too(capture_131: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.otlp.zst"
    torn.write_bytes(capture_131.read_bytes()[:-1000])
    spans = k8strace.read(torn)
    rows = list(k8strace.join(spans).issues)
    assert [(row["code"], row["severity"]) for row in rows[: len(spans.issues)]] == [
        (issue.code, "error") for issue in spans.issues
    ]
    assert len(spans.issues) > 0
    assert {row["code"] for row in rows} >= {"authentication_children", "serialize_sibling"}
