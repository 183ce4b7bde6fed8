"""The taxonomy: what every rule looks like in what real senders send, and how users add to it."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from builder import (
    CLIENT,
    FILTERS,
    GRPC,
    HTTP,
    INTERNAL,
    SERVER,
    TRACING,
    Span,
    apiserver_request,
    etcd_client,
    etcd_internal,
    etcd_server,
    trace,
    verb_span,
    webhook,
)

import k8strace
from k8strace.components import UNATTRIBUTED, Mark, Rule, Signature, Taxonomy, below, component_of

TAXONOMY = Taxonomy()
RULES = [rule for rule in TAXONOMY.rules if isinstance(rule, Rule)]


def phases_of(rule: Rule) -> set[str]:
    """The phases that a rule can give."""
    return {rule.phase, *(phase for mark in rule.events.values() for phase in mark if phase)}


PHASES = set().union(*map(phases_of, RULES), {UNATTRIBUTED})
BELOW = {below(call, phase) for call in ("aggregator", "etcd", "webhook") for phase in PHASES}


def request(*inner: Span, method: str = "GET", target: str = "/api/v1/namespaces/a/pods/b") -> Span:
    """100 ns, with nothing between the SERVER span and what is inside."""
    root = apiserver_request("1.31", method, target, 0, 100, [])
    root.children = list(inner)
    return root


def joined(*spans: Span) -> k8strace.Requests:
    return k8strace.join(k8strace.decode(trace(*spans).batches()))


def phases(*inner: Span, **how: str) -> dict[str, int]:
    """The phases of a request, without the filters around what is inside."""
    found = k8strace.attribute(joined(request(*inner, **how))).phases(0)
    return {phase: ns for phase, ns in found.items() if phase != "apiserver.filters"}


def fired(requests: k8strace.Requests) -> set[int]:
    """Which rules decided about some span."""
    signatures = [Signature(*row) for row in requests._joined.core.signatures()]
    return {next((at for at, rule in enumerate(TAXONOMY.rules) if rule(s)), -1) for s in signatures} - {-1}


# ── What is in the captures ───────────────────────────────────────────────────────────────────────

IN_CAPTURES = {
    "apiserver.admission",
    "apiserver.admission.webhook",
    "apiserver.audit",
    "apiserver.authentication",
    "apiserver.authorization.to_handler",
    "apiserver.decode",
    "apiserver.filters",
    "apiserver.flowcontrol.to_authorization",
    "apiserver.handler",
    "apiserver.impersonation",
    "apiserver.read_body",
    "apiserver.response",
    "apiserver.serialize.encode",
    "apiserver.serialize.encode_and_write",
    "apiserver.serialize.write",
    "apiserver.storage",
    "apiserver.storage.decode",
    "apiserver.storage.encode",
    "apiserver.storage.list",
    "apiserver.storage.transform",
    "apiserver.unattributed",
    "apiserver.watch",
    "apiserver.watchcache",
    "apiserver.watchcache.wait",
    "etcd.server",
    "etcd.transport",
    "webhook.mutating",
    "webhook.validating",
}
NEVER_IN_1_36 = {"apiserver.authentication"}  # it is a prelude there, or a trace of its own
SINCE_1_34 = {
    "apiserver.audit",
    "apiserver.authorization.to_handler",
    "apiserver.flowcontrol.to_authorization",
    "apiserver.impersonation",
    "apiserver.serialize.encode_and_write",  # lists are streamed since 1.33
}


def test_the_phases_of_real_requests_are_a_closed_list(capture: Path) -> None:
    found = set(k8strace.attribute(k8strace.join(k8strace.read(capture))).phase_names)
    assert found == IN_CAPTURES - (NEVER_IN_1_36 if "1.36" in capture.name else SINCE_1_34)


# What the captures cannot show: the phase of the rule, and a request in which it fires.
# No KMS plugin was configured, no proxy to dial through and no aggregated server; etcd was traced, and before 3.7;
# every webhook call had its own span.
BEYOND_CAPTURES = {
    "Get etcd3": ("apiserver.storage", lambda: [Span("Get etcd3", 10, 90)]),
    "KMS": ("apiserver.storage.transform", lambda: [transform(10, 90)]),
    "mutating webhook without its call": ("webhook.mutating", lambda: [lone_call("mutating")]),
    "validating webhook without its call": ("webhook.validating", lambda: [lone_call("validating")]),
    "mutating webhook, other span": ("webhook.mutating", lambda: [other_call("mutating")]),
    "validating webhook, other span": ("webhook.validating", lambda: [other_call("validating")]),
    "webhook before 1.26": (
        "webhook.admission",
        lambda: [http("POST", "https://a.b:443/mutate?timeout=10s")],
    ),
    "POST without a URL": ("webhook.or_aggregator", lambda: [http("POST")]),
    "another request of the API": (
        "apiserver.call",
        lambda: [http("GET", "https://[::1]:6443/api/v1/nodes/n")],
    ),
    "aggregated server": ("aggregator", lambda: [http("GET", "https://a.b:443/api/v1/namespaces/a/pods/b")]),
    "egress": ("egress.dial", lambda: [Span("Proxy via grpc protocol over uds", 10, 90)]),
    "etcd not traced": ("etcd.opaque", lambda: [etcd_client("KV/Range", 10, 90)]),
    "a stream of pages": ("etcd.stream", lambda: [etcd_client("KV/RangeStream", 10, 90)]),
    "etcd 3.7": ("etcd.grpc", lambda: [served_by_etcd(etcd_internal("range", 30, 70))]),
    "etcd 3.7 read": ("etcd.read", lambda: [served_by_etcd(etcd_internal("range", 30, 70))]),
    "etcd 3.7 write": ("etcd.apply", lambda: [served_by_etcd(etcd_internal("txn", 30, 70))]),
    "etcd 3.7 watch": ("etcd.watch", lambda: [served_by_etcd(etcd_internal("watch", 30, 70))]),
}


def http(method: str, url: str | None = None, *inner: Span, above: str = "HTTP ") -> Span:
    attributes = {"http.request.method": method} | ({"url.full": url} if url else {})
    return Span(f"{above}{method}", 10, 90, list(inner), kind=CLIENT, scope=HTTP, attributes=attributes)


def lone_call(kind: str) -> Span:
    return Span(f"Call {kind} webhook", 10, 90, events=[(70, "Request completed")])


def other_call(kind: str) -> Span:
    call = webhook(kind, 10, 90, (20, 80))
    call.scope = "somewhere.else"
    return call


def transform(start: int, end: int, *events: tuple[int, str]) -> Span:
    return Span("TransformFromStorage with envelopeTransformer", start, end, events=list(events))


def served(start: int, end: int) -> Span:
    return Span("POST /mutate", start, end, kind=SERVER, scope=HTTP, process=("policy", "policy-0"))


def served_by_etcd(inner: Span) -> Span:
    return etcd_client("KV/Txn", 10, 90, etcd_server("KV/Txn", 20, 80, inner))


@pytest.mark.parametrize("shown", BEYOND_CAPTURES)
def test_what_captures_cannot_show_is_shown_by_what_a_sender_would_send(shown: str) -> None:
    phase, make = BEYOND_CAPTURES[shown]
    assert phases(*make())[phase] > 0


NODE = Path(__file__).parent / "data" / "node" / "k8s-1.37_kubelet.otlp.zst"

# Spans of kubelets and container runtimes that the capture has not, and their phases.
ON_A_NODE = [
    (Signature("kubelet", HTTP, CLIENT, "HTTP POST", "syncPod", True, None), "apiserver.call"),
    (
        Signature(
            "kubelet", GRPC, CLIENT, "runtime.v1.RuntimeService/RemoveContainer", "syncPod", True, None
        ),
        "runtime.container.remove",
    ),
    (
        Signature(
            "containerd",
            "t",
            INTERNAL,
            "container.NewTask",
            "runtime.v1.RuntimeService/RunPodSandbox",
            True,
            None,
        ),
        "runtime.sandbox.create_task",
    ),
    (
        Signature(
            "containerd", "t", INTERNAL, "task.Start", "runtime.v1.RuntimeService/RunPodSandbox", True, None
        ),
        "runtime.sandbox.start_task",
    ),
    (
        Signature("containerd", "t", INTERNAL, "pkg.unpack.unpacker.fetchLayer", "unpack", True, None),
        "registry.fetch",
    ),
    (
        Signature("apiserver", "t", INTERNAL, "authorization", "audit", True, "connect", "upstream"),
        "upstream",
    ),
    (
        Signature("apiserver", "t", INTERNAL, "Get", "authorization", True, "get", "upstream"),
        "apiserver.unattributed",
    ),
]


@pytest.mark.parametrize(("signature", "phase"), ON_A_NODE)
def test_what_the_capture_of_a_node_has_not_has_rules_too(signature: Signature, phase: str) -> None:
    assert TAXONOMY.phase(signature) == phase


def test_every_rule_fires(capture_127: Path, capture_131: Path, capture_136: Path) -> None:
    captures = (capture_127, capture_131, capture_136)
    real = set().union(*(fired(k8strace.join(k8strace.read(capture))) for capture in captures))
    node = real | fired(k8strace.join(k8strace.read(NODE)))
    asked = {next(at for at, rule in enumerate(TAXONOMY.rules) if rule(s)) for s, _ in ON_A_NODE}
    assert not asked & node, "a capture shows it"
    made = {shown: fired(joined(request(*make()))) for shown, (_, make) in BEYOND_CAPTURES.items()}
    assert node | asked | set().union(*made.values()) == set(range(len(TAXONOMY.rules)))
    for shown, (phase, _) in BEYOND_CAPTURES.items():
        assert phase in {RULES[at].phase for at in made[shown] - real}, "a capture shows it"


def test_every_phase_has_a_component_of_the_closed_list() -> None:
    components = {"apiserver", "etcd", "webhook", "kms", "aggregator", "egress", "unattributed"}
    components |= {"kubelet", "runtime", "cni", "registry", "upstream"}
    assert {component_of(phase) for phase in PHASES} == components


# ── Phases, from the events that each version sends ───────────────────────────────────────────────


def span(name: str, start: int, end: int, *events: tuple[int, str], inner: tuple[Span, ...] = ()) -> Span:
    return Span(name, start, end, list(inner), events=list(events))


def test_a_create_is_read_decoded_admitted_stored_and_answered() -> None:
    #           read  own  decode  own  admission  etcd3          own  response own
    # Create  10 ├─────┼────┼───────┼────┼─────────┼──────────────┼────┼────────┤ 100
    #                 20   25      35   40        50             70   80       90
    stored = span(
        "Create etcd3",
        50,
        68,
        (51, "About to Encode"),
        (54, "Encode succeeded"),
        (56, "TransformToStorage succeeded"),
        (64, "Txn call succeeded"),
        (67, "decode succeeded"),
        inner=(etcd_client("KV/Txn", 57, 63, etcd_server("KV/Txn", 58, 62)),),
    )
    create = span(
        "Create",
        10,
        99,
        (20, "limitedReadBody succeeded"),
        (25, "About to convert to expected version"),
        (35, "Conversion done"),
        (40, "About to store object in database"),
        (70, "Write to database call succeeded"),
        (80, "About to write a response"),
        (90, "Writing http response done"),
        inner=(stored,),
    )
    assert phases(create, method="POST") == {
        "apiserver.read_body": 10,
        "apiserver.decode": 10,
        "apiserver.admission": 10 + 2,  # until the database call says that it is done
        "apiserver.storage": 1 + 1 + 1 + 1,
        "apiserver.storage.encode": 3,
        "apiserver.storage.transform": 2,
        "apiserver.storage.decode": 3,
        "etcd.transport": 2,
        "etcd.server": 4,
        "apiserver.response": 10,
        "apiserver.unattributed": 5 + 5 + 10 + 9,
    }


def test_an_update_with_a_conflict_admits_and_encodes_twice() -> None:
    update = span(
        "GuaranteedUpdate etcd3",
        10,
        90,
        (15, "initial value restored"),
        (25, "About to Encode"),
        (27, "Encode succeeded"),
        (28, "TransformToStorage succeeded"),
        (29, "Transaction prepared"),
        (40, "Txn call completed"),
        (41, "Retry value restored"),
        (51, "About to Encode"),
        (53, "Encode succeeded"),
        (54, "TransformToStorage succeeded"),
        (55, "Transaction prepared"),
        (70, "Txn call completed"),
        (71, "Transaction committed"),
        (79, "decode succeeded"),
        inner=(etcd_client("KV/Txn", 30, 40), etcd_client("KV/Txn", 56, 70)),
    )
    assert phases(update, method="PUT") == {
        "apiserver.admission": 10 + 10,
        "apiserver.storage.encode": 2 + 2,
        "apiserver.storage.transform": 1 + 1,
        "etcd.opaque": 10 + 14,
        "apiserver.storage.decode": 8,
        "apiserver.storage": 5 + (2 + 1) + (2 + 1) + 11,
    }


def test_webhooks_of_an_update_are_not_admission() -> None:
    update = span("GuaranteedUpdate etcd3", 10, 90, (20, "initial value restored"), (70, "About to Encode"))
    sent = verb_span("Update", 5, 95, update, webhook("validating", 30, 60, (31, 59)))
    assert phases(sent, method="PUT") == {
        "apiserver.unattributed": 10,
        "apiserver.storage": 10,
        "apiserver.admission": 20,
        "webhook.validating": 28,
        "apiserver.admission.webhook": 2,
        "apiserver.storage.encode": 20,
    }


@pytest.mark.parametrize("name", ["cacher list", "cacher.GetList", "cacher.Get"])
def test_waiting_for_the_watch_cache_is_told_from_reading_it(name: str) -> None:
    cacher = span(
        name,
        10,
        90,
        (20, "Ready"),
        (30, "watchCache locked acquired"),
        (60, "watchCache fresh enough"),
        (80, "Listed items from cache"),
        (85, "Filtered items"),
    )
    assert phases(cacher) == {"apiserver.watchcache": 10 + 30, "apiserver.watchcache.wait": 40}


def test_a_response_is_encoded_and_then_written() -> None:
    sent = span(
        "SerializeObject", 10, 90, (70, "About to start writing response"), (85, "Write call succeeded")
    )
    assert phases(sent) == {"apiserver.serialize.encode": 60, "apiserver.serialize.write": 20}


def test_a_response_that_is_encoded_while_it_is_written_is_both() -> None:
    events = [
        (30, "About to start writing response"),
        (50, "Write call succeeded"),
        (85, "Write call succeeded"),
    ]
    assert phases(span("SerializeObject", 10, 90, *events)) == {
        "apiserver.serialize.encode": 20,
        "apiserver.serialize.encode_and_write": 60,
    }


def test_a_secret_waits_for_its_key() -> None:
    sent = transform(
        10,
        90,
        (20, "About to decode encrypted object"),
        (30, "About to decrypt DEK using remote service"),
        (75, "DEK decryption succeeded"),
    )
    assert phases(sent) == {"apiserver.storage.transform": 20 + 15, "kms.decrypt": 45}


def test_a_get_from_storage_is_transformed_and_decoded() -> None:
    sent = span(
        "Get etcd3",
        10,
        90,
        (60, "Get call succeeded"),
        (65, "TransformFromStorage succeeded"),
        (80, "Decode succeeded"),  # as it is written since 1.37
        inner=(etcd_client("KV/Range", 20, 55),),
    )
    assert phases(sent) == {
        "apiserver.storage": 10 + 5 + 10,
        "etcd.opaque": 35,
        "apiserver.storage.transform": 5,
        "apiserver.storage.decode": 15,
    }


def test_nested_filters_keep_only_the_time_before_the_next_one() -> None:
    # 1.34: audit contains impersonation contains flow control contains authorization contains Get
    inner = verb_span("Get", 60, 90)
    names = ["audit", "constrainedimpersonation", "priorityandfairness", "authorization"]
    for name, start in zip(reversed(names), (50, 30, 20, 10), strict=True):
        inner = Span(name, start, 90, [inner], scope=FILTERS)
    assert phases(inner) == {
        "apiserver.audit": 10,
        "apiserver.impersonation": 10,
        "apiserver.flowcontrol.to_authorization": 20,
        "apiserver.authorization.to_handler": 10,
        "apiserver.unattributed": 30,
    }


@pytest.mark.parametrize(
    ("target", "phase"),
    [
        ("/api/v1/pods?watch=true", "apiserver.watch"),
        ("/healthz", "apiserver.handler"),
        ("/api/v1/pods", "apiserver.filters"),
    ],
)
def test_a_request_without_a_handler_span_is_what_it_asks_for(target: str, phase: str) -> None:
    assert k8strace.attribute(joined(request(target=target))).phases(0) == {phase: 100}


def test_a_call_is_opaque_transport_or_grpc_by_what_is_below_it() -> None:
    assert phases(etcd_client("KV/Range", 10, 90)) == {"etcd.opaque": 80}
    server = etcd_server("KV/Range", 20, 80)
    assert phases(etcd_client("KV/Range", 10, 90, server)) == {"etcd.transport": 20, "etcd.server": 60}
    inside = etcd_server("KV/Range", 20, 80, etcd_internal("range", 30, 70))
    assert phases(etcd_client("KV/Range", 10, 90, inside)) == {
        "etcd.transport": 20,
        "etcd.grpc": 20,
        "etcd.read": 40,
    }


def test_what_no_rule_knows_is_unattributed_and_shown() -> None:
    odd = Span("newInKubernetes2", 10, 90, scope="somewhere.else")
    assert phases(odd) == {UNATTRIBUTED: 80}


# ── On whose behalf ───────────────────────────────────────────────────────────────────────────────


def test_what_a_webhook_causes_is_the_webhooks() -> None:
    # CLIENT      20 ├────────────────────────────┤ 80
    # SERVER         25 ├─────────────────────┤ 75      policy
    # engine            30 ├──────────────┤ 70
    # etcd                     40 ├──┤ 50               called by it
    called = etcd_client("KV/Range", 40, 50, etcd_server("KV/Range", 42, 48))
    engine = Span("ENGINE/RULE", 30, 70, [called], scope="engine", process=("policy", "policy-0"))
    answered = served(25, 75)
    answered.children = [engine]
    assert phases(webhook("validating", 10, 90, (20, 80), answered)) == {
        "apiserver.admission.webhook": 20,
        "webhook.validating": 10,
        "webhook.server": 10 + 30,
        "webhook.etcd": 10,
    }


def test_what_an_aggregated_server_causes_is_the_aggregators() -> None:
    # CLIENT     10 ├────────────────────────────────┤ 90
    # SERVER        15 ├──────────────────────────┤ 85      the same request, in the other server
    # etcd SERVER         20 ├────┤ 40                      without a CLIENT span
    # CLIENT                        50 ├───────┤ 80         its own webhook
    # policy                           55 ├─┤ 75
    inner = apiserver_request("1.35", "GET", "/apis/a.b/v1/things", 15, 85, [])
    inner.children = [
        etcd_server("KV/Range", 20, 40),
        webhook("validating", 50, 80, (50, 80), served(55, 75)),
    ]
    outer = apiserver_request("1.35", "GET", "/apis/a.b/v1/things", 0, 100, [])
    outer.children = [http("GET", None, inner)]
    requests = joined(outer)
    attribution = k8strace.attribute(requests)
    assert attribution.phases(0) == {
        "apiserver.filters": 20,
        "aggregator": 10,
        "aggregator.apiserver": 20,
        "aggregator.etcd": 20,
        "aggregator.webhook": 30,
    }
    assert attribution.phases(1) == {
        "apiserver.filters": 20,
        "etcd.server": 20,
        "webhook.validating": 10,
        "webhook.server": 20,
    }
    assert attribution.totals == attribution.phases(0)
    (call,) = requests[1].etcd_calls
    assert (call["client_ns"], call["server_ns"], call["transport_ns"], call["request"]) == (
        None,
        20,
        None,
        1,
    )
    assert requests.graph.edges["apiserver", "aggregator"]["calls"] == 1


def test_a_rule_of_ones_own_wins_over_the_call_above() -> None:
    answered = served(30, 70)
    called = webhook("validating", 10, 90, (20, 80), answered)
    taxonomy = k8strace.Taxonomy().with_rule(Rule("policy.engine", service="policy"))
    sent = k8strace.decode(trace(request(called)).batches())
    found = k8strace.attribute(k8strace.join(sent, taxonomy=taxonomy)).phases(0)
    assert (found["policy.engine"], found["webhook.validating"]) == (40, 20)


def test_a_call_is_told_by_its_span_or_ends_with_its_event() -> None:
    assert phases(lone_call("mutating")) == {"webhook.mutating": 60, "apiserver.admission.webhook": 20}
    failed = Span("Call validating webhook", 10, 90)
    assert phases(failed) == {"webhook.validating": 80}


@pytest.mark.parametrize(
    ("method", "url", "phase"),
    [
        # What 1.22 to 1.25 send for a webhook, below the SERVER span itself.
        ("POST", "https://policy.ops.svc:443/validate?timeout=10s", "webhook.admission"),
        # A webhook behind an aggregated API.
        ("POST", "https://policy.ops.svc:443/apis/admission.a.b/v1/reviews?timeout=5s", "webhook.admission"),
        # The request itself, sent on, with the timeout that kubectl asks for.
        ("POST", "https://10.0.0.9:443/api/v1/namespaces/a/pods?timeout=32s", "aggregator"),
        ("POST", None, "webhook.or_aggregator"),
        ("GET", None, "aggregator"),
        # Delegated authorization, and the apiserver asking itself.
        (
            "POST",
            "https://10.0.0.1/apis/authorization.k8s.io/v1/subjectaccessreviews?timeout=10s",
            "apiserver.call",
        ),
        ("GET", "https://[::1]:6443/api/v1/namespaces/a", "apiserver.call"),
    ],
)
@pytest.mark.parametrize("keys", [("http.request.method", "url.full"), ("http.method", "http.url")])
def test_whom_an_http_call_is_for(method: str, url: str | None, phase: str, keys: tuple[str, str]) -> None:
    attributes = {keys[0]: method} | ({keys[1]: url} if url else {})
    call = Span(method, 10, 90, kind=CLIENT, scope=HTTP, attributes=attributes)
    assert phases(call, method="POST", target="/api/v1/namespaces/a/pods") == {phase: 80}


# ── Rules ─────────────────────────────────────────────────────────────────────────────────────────

GET = Signature("apiserver", TRACING, INTERNAL, "Get", "authorization", False, "get")


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ({}, True),
        ({"name": "Get"}, True),
        ({"name": "get"}, False),
        ({"name": "G*"}, True),
        ({"name": "?et"}, True),
        ({"name": "[A-F]et"}, False),
        ({"name": "Ge"}, False),
        ({"service": "api*", "scope": "*tracing", "kind": INTERNAL}, True),
        ({"service": "etcd"}, False),
        ({"kind": SERVER}, False),
        ({"parent": "auth*"}, True),
        ({"parent": "Create"}, False),
        ({"leaf": False}, True),
        ({"leaf": True}, False),
        ({"request_verb": "get"}, True),
        ({"request_verb": "*"}, True),
        ({"request_verb": "list"}, False),
        ({"name": "Get", "request_verb": "list"}, False),
    ],
)
def test_a_rule_fits_when_all_of_its_conditions_do(conditions: dict[str, Any], fits: bool) -> None:
    assert Rule("mine", **conditions)(GET) == ("mine" if fits else None)


def test_what_a_span_does_not_have_fits_no_pattern() -> None:
    alone = Signature("apiserver", GRPC, CLIENT, "etcdserverpb.KV/Range", None, True, None)
    assert Rule("mine", parent="*")(alone) is None
    assert Rule("mine", request_verb="*")(alone) is None
    assert Rule("mine")(alone) == "mine"


def test_the_first_rule_that_answers_wins_and_the_newest_is_asked_first() -> None:
    older = Taxonomy().with_rule(Rule("older", name="Get"))
    assert older.phase(GET) == "older"
    assert older.with_rule(Rule("newer", name="G*")).phase(GET) == "newer"
    assert older.with_rule(Rule("other", name="List")).phase(GET) == "older"
    assert older.with_rule(lambda _: None).phase(GET) == "older"
    assert older.with_rule(lambda signature: f"by.{signature.name}").phase(GET) == "by.Get"
    assert older.rules[1:] == Taxonomy().rules


def test_a_taxonomy_is_not_changed_by_one_made_from_it() -> None:
    plain = Taxonomy()
    plain.with_rule(Rule("mine"))
    assert plain.phase(GET) == "apiserver.unattributed"
    assert plain.rules == Taxonomy().rules


def test_a_taxonomy_of_ones_own_rules_knows_no_others() -> None:
    assert Taxonomy([Rule("mine", name="List")]).resolve(GET) == (UNATTRIBUTED, {})


def test_events_belong_to_the_rule_that_answered() -> None:
    marks = {"Start": Mark(after="mine.work")}
    taxonomy = Taxonomy().with_rule(Rule("mine", name="Get", events=marks))
    assert taxonomy.resolve(GET) == ("mine", {"start": Mark(None, "mine.work")})
    assert taxonomy.with_rule(Rule("newer", name="Get")).resolve(GET) == ("newer", {})


@pytest.mark.parametrize(("phase", "component"), [("etcd.raft", "etcd"), ("a.b.c", "a"), ("plain", "plain")])
def test_the_component_is_the_text_before_the_first_dot(phase: str, component: str) -> None:
    assert component_of(phase) == component


# ── The page about it ─────────────────────────────────────────────────────────────────────────────


def test_the_reference_lists_every_phase_and_no_other() -> None:
    page = Path(__file__).parent.parent / "docs" / "reference" / "components.md"
    rows = [line.split("|") for line in page.read_text().splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in row[1].replace("`", "").replace(",", " ").split()]
    assert sorted(listed) == sorted(PHASES | BELOW)
    assert all(cell.strip() for row in rows for cell in row[1:-1])


def test_a_rule_is_asked_once_about_a_signature() -> None:
    """The next batch has the same signatures, and a rule may be any function, a slow one too."""
    asked: list[Signature] = []
    taxonomy = Taxonomy().with_rule(asked.append)
    answers = [taxonomy.resolve(GET), taxonomy.resolve(GET._replace(name="List")), taxonomy.resolve(GET)]
    assert asked == [GET, GET._replace(name="List")]
    assert answers[0] == answers[2] != answers[1]


def test_a_taxonomy_survives_pickle_and_copy() -> None:
    """A process of its own is sent the rules; what they answered before stays behind."""
    taxonomy = Taxonomy([Rule("mine", name="Get")])
    taxonomy.resolve(GET)
    for other in (pickle.loads(pickle.dumps(taxonomy)), copy.deepcopy(taxonomy)):
        assert (other.rules, other.resolve(GET)) == (taxonomy.rules, ("mine", {}))
