"""
Patterns to plant into recorded traffic, drawn by hand: which requests they concern, and what they cost.

Every plant draws its requests with the spans that kube-apiserver 1.34 and newer sends, at seeded times within the
recording, with lengths drawn by a seeded generator. What it costs is added up from the drawing, never asked of us.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from builder import (
    CLIENT,
    FILTERS,
    HTTP,
    SERVER,
    Span,
    Trace,
    etcd_client,
    etcd_internal,
    etcd_server,
    trace,
)

MS: Final = 1_000_000


@dataclass
class Plant:
    """What was planted."""

    traces: list[Trace] = field(default_factory=list)
    requests: int = 0
    """Requests that the finding concerns."""
    ns: int = 0
    """What it costs them."""
    evidence: dict[str, float] = field(default_factory=dict)

    def add(self, other: Plant) -> None:
        """The other one beside this one."""
        self.traces += other.traces
        self.requests += other.requests
        self.ns += other.ns
        for name, number in other.evidence.items():
            self.evidence[name] = self.evidence.get(name, 0) + number


class Garden:
    """A recording to plant in: times within it, ids and lengths by a seed."""

    def __init__(self, seed: int, begin: int, end: int, instance: str) -> None:
        self.random = random.Random(seed)
        self.begin, self.end = begin, end
        self.apiserver = ("apiserver", instance)
        self.tag = f"plant{seed}"

    def when(self) -> int:
        return self.random.randrange(self.begin, self.end - 10_000 * MS)

    def long(self, low: int, high: int) -> int:
        """A length between so many ms, to the nanosecond."""
        return self.random.randrange(low * MS, high * MS)

    def request(self, verb: str, path: str, start: int, end: int, *inner: Span, **given: Any) -> Trace:
        """One request, its filters in no time, and its handler from 1 µs after its start to 1 µs before its end."""
        status, agent, handler = (
            given.pop("status", 200),
            given.pop("agent", "planter/1.0"),
            given.pop("handler", None),
        )
        method = {
            "list": "GET",
            "get": "GET",
            "create": "POST",
            "update": "PUT",
            "patch": "PATCH",
            "watch": "GET",
        }[verb]
        attributes = {
            "http.request.method": method,
            "http.target": path,
            "http.response.status_code": status,
            "user_agent.original": agent,
            **given,
        }
        children = list(inner)
        if handler is not None:
            children = [Span(handler, start + 1000, end - 1000, list(inner), process=self.apiserver)]
        root = Span(f"{method} planted", start, end, children, SERVER, HTTP, self.apiserver, attributes)
        return trace(root, trace_id=self.random.getrandbits(128))

    def call(self, method: str, start: int, end: int, key: str = "", **inner: int) -> Span:
        """A call to etcd with etcd's own spans, which tell the key; `range` reads one key or all below it."""
        name = "txn" if method == "KV/Txn" else "range"
        about: dict[str, Any] = {"range_begin": f"/registry{key}", **inner}
        if key.endswith("/"):
            about["range_end"] = f"/registry{key[:-1]}0"
        server = etcd_server(
            method, start + 10, end - 10, etcd_internal(name, start + 20, end - 20, attributes=about)
        )
        return etcd_client(method, start, end, server, process=self.apiserver)


def repeated_reads(garden: Garden) -> Plant:
    """A get that reads its key two to four times: |-1-| |-2-| |-3-|, all but the first."""
    plant = Plant()
    for number in range(garden.random.randrange(3, 9)):
        at = start = garden.when()
        key = f"/{garden.tag}/ns/{number}"
        calls = []
        for repeat in range(garden.random.randrange(2, 5)):
            at += garden.long(1, 3)
            end = at + garden.long(1, 9)
            calls.append(garden.call("KV/Range", at, end, key))
            plant.ns += end - at if repeat else 0
            plant.evidence["repeats"] = plant.evidence.get("repeats", 0) + bool(repeat)
            at = end
        path = f"/api/v1/namespaces/ns/{garden.tag}/{number}"
        plant.traces.append(garden.request("get", path, start, at + garden.long(1, 3), *calls, handler="Get"))
        plant.requests += 1
    return plant


def page_chain(garden: Garden) -> Plant:
    """A list that fetches pages, each from another key on: all but the first."""
    plant = Plant()
    for _ in range(garden.random.randrange(3, 9)):
        start = at = garden.when()
        pages = []
        for page in range(garden.random.randrange(2, 7)):
            at += garden.long(1, 3)
            end = at + garden.long(1, 9)
            pages.append(garden.call("KV/Range", at, end, f"/{garden.tag}/{page}/"))
            plant.ns += end - at if page else 0
            plant.evidence["pages"] = plant.evidence.get("pages", 0) + bool(page)
            at = end
        lists = Span("List(recursive=true) etcd3", start + MS, at + MS // 2, pages, process=garden.apiserver)
        path = f"/api/v1/{garden.tag}?labelSelector=a%3Db&limit=500"
        plant.traces.append(garden.request("list", path, start, at + MS, lists, handler="List"))
        plant.requests += 1
    return plant


def list_then_get(garden: Garden) -> Plant:
    """A list, then a get of each of its objects, one after the other: the gets."""
    plant = Plant()
    agent = f"{garden.tag}-client/1.0 (linux/amd64) kubernetes/5a1fd9d"
    for run in range(garden.random.randrange(1, 4)):
        start = garden.begin + (run + 1) * (garden.end - garden.begin) // 5
        end = start + garden.long(1, 9)
        path = f"/api/v1/namespaces/ns/{garden.tag}"
        plant.traces.append(garden.request("list", path, start, end, agent=agent, handler="List"))
        for number in range(garden.random.randrange(5, 20)):
            start = end + garden.long(2, 4)
            end = start + garden.long(1, 9)
            plant.traces.append(
                garden.request("get", f"{path}/{number}", start, end, agent=agent, handler="Get")
            )
            plant.requests += 1
            plant.ns += end - start
    plant.evidence["gets"] = plant.requests
    return plant


def update_conflicts(garden: Garden) -> Plant:
    """Updates that lose: from `initial value restored` to the last `Retry value restored`."""
    plant = Plant(evidence={"conflicts": 0})
    for number in range(garden.random.randrange(3, 9)):
        start = garden.when()
        begin = at = start + garden.long(1, 3)
        events = [(begin, "initial value restored")]
        calls = []
        conflicts = garden.random.randrange(1, 6)
        for _ in range(conflicts + 1):
            end = at + garden.long(1, 5)
            calls.append(garden.call("KV/Txn", at + 1000, end - 1000, f"/{garden.tag}/{number}"))
            events.append((end, "Retry value restored"))
            at = end
        last = events.pop()[0]
        plant.ns += events[-1][0] - begin
        plant.evidence["conflicts"] += conflicts
        update = Span(
            "GuaranteedUpdate etcd3",
            start + 2000,
            last + 1000,
            calls,
            process=garden.apiserver,
            attributes={"key": f"/{garden.tag}/{number}"},
            events=events,
        )
        path = f"/api/v1/namespaces/ns/{garden.tag}/{number}"
        plant.traces.append(garden.request("patch", path, start, last + MS, update, handler="Patch"))
        plant.requests += 1
    return plant


def etcd_retries(garden: Garden) -> Plant:
    """Calls that etcd refuses, and again: from the start of one attempt to that of the next."""
    plant = Plant(evidence={"retries": 0})
    for number in range(garden.random.randrange(3, 9)):
        start = garden.when()
        first = at = start + garden.long(1, 3)
        calls = []
        for _ in range(garden.random.randrange(1, 4)):
            end = at + garden.long(1, 3)
            refused = {"rpc.response.status_code": "UNAVAILABLE"}
            calls.append(etcd_client("KV/Range", at, end, process=garden.apiserver, attributes=refused))
            at = end + garden.long(1, 9)
            plant.evidence["retries"] += 1
        plant.ns += at - first
        end = at + garden.long(1, 9)
        calls.append(garden.call("KV/Range", at, end, f"/{garden.tag}/{number}"))
        path = f"/api/v1/namespaces/ns/{garden.tag}/{number}"
        plant.traces.append(garden.request("get", path, start, end + MS, *calls, handler="Get"))
        plant.requests += 1
    return plant


def refused_requests(garden: Garden) -> Plant:
    """Creates that admission refuses after it has waited and tried again: all of their time."""
    plant = Plant()
    for _ in range(garden.random.randrange(8, 40)):
        start = garden.when()
        end = start + garden.long(900, 1900)
        path = f"/api/v1/namespaces/ns/{garden.tag}"
        stored = [
            (start + 100_000, "About to store object in database"),
            (end - 2000, "Write to database call failed"),
        ]
        create = Span("Create", start + 1000, end - 1000, process=garden.apiserver, events=stored)
        plant.traces.append(garden.request("create", path, start, end, create, status=403))
        plant.requests += 1
        plant.ns += end - start
    plant.evidence["admission_retried"] = plant.requests
    return plant


def _hooked(garden: Garden, lengths: tuple[int, int], call: dict[str, Any]) -> tuple[Trace, int]:
    start = garden.when()
    begin = start + garden.long(1, 3)
    end = begin + garden.random.randrange(*lengths)
    http = Span("HTTP POST", begin, end, [], CLIENT, HTTP, garden.apiserver, call)
    around = {"webhook": f"{garden.tag}.example.com", "configuration": garden.tag, "operation": "CREATE"}
    hook = Span(
        "Call validating webhook",
        begin - 1000,
        end + 1000,
        [http],
        process=garden.apiserver,
        attributes=around,
    )
    path = f"/api/v1/namespaces/ns/{garden.tag}"
    return garden.request("create", path, start, end + MS, hook, status=201, handler="Create"), end - begin


def webhook_slow(garden: Garden) -> Plant:
    """A webhook that takes some hundred ms: its HTTP calls."""
    plant = Plant()
    answered = {"url.full": "https://w/validate?timeout=10s", "http.response.status_code": 200}
    for _ in range(garden.random.randrange(30, 60)):
        traced, ns = _hooked(garden, (100 * MS, 900 * MS), answered)
        plant.traces.append(traced)
        plant.requests += 1
        plant.ns += ns
    plant.evidence["calls"] = plant.requests
    return plant


def webhook_timeout(garden: Garden) -> Plant:
    """A webhook that does not answer within its two seconds."""
    plant = Plant()
    failed = {"url.full": "https://w/validate?timeout=2s", "error.type": "context.deadlineExceededError"}
    for _ in range(garden.random.randrange(3, 9)):
        traced, ns = _hooked(garden, (2000 * MS, 2001 * MS), failed)
        plant.traces.append(traced)
        plant.requests += 1
        plant.ns += ns
    plant.evidence["timeouts"] = plant.requests
    return plant


def webhook_fails_open(garden: Garden) -> Plant:
    """A webhook that refuses connections, and requests that succeed all the same."""
    plant = Plant()
    failed = {"url.full": "https://w/validate?timeout=2s", "error.type": "connection refused"}
    for _ in range(garden.random.randrange(3, 9)):
        traced, ns = _hooked(garden, (1 * MS, 3 * MS), failed)
        plant.traces.append(traced)
        plant.requests += 1
        plant.ns += ns
    plant.evidence["failed"] = plant.requests
    return plant


def list_from_etcd(garden: Garden) -> Plant:
    """Lists of everything that go to etcd: the calls."""
    plant = Plant()
    for _ in range(garden.random.randrange(20, 40)):
        start = garden.when()
        begin = start + garden.long(1, 3)
        end = begin + garden.long(100, 400)
        call = garden.call("KV/Range", begin, end, f"/{garden.tag}/")
        lists = Span("List(recursive=true) etcd3", begin - 1000, end + 1000, [call], process=garden.apiserver)
        plant.traces.append(
            garden.request("list", f"/api/v1/{garden.tag}", start, end + MS, lists, handler="List")
        )
        plant.requests += 1
        plant.ns += end - begin
    return plant


def list_unpaged_big(garden: Garden) -> Plant:
    """Lists with answers of megabytes: all of their time."""
    plant = Plant()
    for _ in range(garden.random.randrange(3, 9)):
        start = garden.when()
        end = start + garden.long(10, 90)
        size = {"http.response.body.size": garden.random.randrange(1_000_000, 90_000_000)}
        path = f"/api/v1/{garden.tag}?resourceVersion=0"
        plant.traces.append(garden.request("list", path, start, end, handler="List", **size))
        plant.requests += 1
        plant.ns += end - start
    plant.evidence["lists"] = plant.requests
    return plant


def work_after_client_left(garden: Garden) -> Plant:
    """Requests that are answered with a timeout while their call to etcd goes on: what it lasts longer."""
    plant = Plant()
    for number in range(garden.random.randrange(3, 9)):
        start = garden.when()
        end = start + garden.long(10, 90)
        left = garden.long(10, 900)
        call = garden.call("KV/Range", start + MS, end + left, f"/{garden.tag}/{number}")
        path = f"/api/v1/namespaces/ns/{garden.tag}/{number}"
        plant.traces.append(garden.request("get", path, start, end, call, status=504))
        plant.requests += 1
        plant.ns += left
    plant.evidence["timeouts"] = plant.requests
    return plant


def relist_storm(garden: Garden) -> Plant:
    """An apiserver that is back after 7 s of silence; clients list each of their resources and watch it: the lists."""
    plant = Plant()
    garden.apiserver = ("apiserver", f"{garden.tag}-apiserver")
    plant.traces.append(
        garden.request("get", "/api/v1/nodes/a", garden.begin, garden.begin + MS, handler="Get")
    )
    clients = garden.random.randrange(3, 9)
    for client in range(clients):
        for resource in range(7):
            start = garden.begin + garden.long(8_000, 9_000)
            end = start + garden.long(1, 90)
            path, agent = f"/api/v1/{garden.tag}{resource}", f"{garden.tag}-client{client}/1.0"
            cached = f"{path}?resourceVersion=0"
            plant.traces.append(garden.request("list", cached, start, end, agent=agent, handler="List"))
            watch = (f"{path}?watch=true", end + MS, end + 900 * MS)
            plant.traces.append(garden.request("watch", *watch, agent=agent))
            plant.requests += 1
            plant.ns += end - start
    plant.evidence["clients"] = clients
    return plant


def cache_wait(garden: Garden) -> Plant:
    """Gets from the watch cache: from `Ready` to `watchCache fresh enough`, where that is a millisecond and more."""
    plant = Plant()
    for number in range(garden.random.randrange(30, 60)):
        start = garden.when()
        ready = start + garden.long(1, 3)
        waited = garden.long(20, 100) if number % 4 else garden.random.randrange(MS)
        fresh = ready + waited
        end = fresh + garden.long(1, 9)
        events = [(ready, "Ready"), (ready + waited // 2, "watchCache locked acquired")]
        events.append((fresh, "watchCache fresh enough"))
        cached = Span("cacher.Get", ready - 1000, end - 2000, process=garden.apiserver, events=events)
        path = f"/api/v1/namespaces/ns/{garden.tag}/{number}"
        plant.traces.append(garden.request("get", path, start, end, cached, handler="Get"))
        if waited >= MS:
            plant.requests += 1
            plant.ns += waited
    return plant


def flowcontrol_queue(garden: Garden) -> Plant:
    """Requests that wait in priorityandfairness until authorization begins: that, where it is 10 ms and more."""
    plant = Plant()
    clients = set()
    for number in range(garden.random.randrange(10, 40)):
        start = garden.when()
        waited = garden.long(20, 400) if number % 4 else garden.random.randrange(9 * MS)
        served = start + 1000 + waited
        end = served + garden.long(1, 9)
        agent = f"{garden.tag}-{number % 3}/1.0"
        handler = Span("Get", served, end - 1000, process=garden.apiserver)
        inner = Span("authorization", served, end - 1000, [handler], scope=FILTERS, process=garden.apiserver)
        queued = Span(
            "priorityandfairness", start + 1000, end - 1000, [inner], scope=FILTERS, process=garden.apiserver
        )
        path = f"/api/v1/namespaces/ns/{garden.tag}/{number}"
        plant.traces.append(garden.request("get", path, start, end, queued, agent=agent))
        if waited >= 10 * MS:
            plant.requests += 1
            plant.ns += waited
            clients.add(agent)
    plant.evidence["clients"] = len(clients)
    return plant


def client_hammers(garden: Garden) -> Plant:
    """A client that gets one object for some seconds, 1 to 9 ms after each answer."""
    plant = Plant()
    agent = f"{garden.tag}-client/1.0"
    at = garden.begin + garden.long(1_000, 2_000)
    path = f"/api/v1/namespaces/ns/{garden.tag}"
    for _ in range(garden.random.randrange(250, 400)):
        end = at + garden.long(20, 60)
        plant.traces.append(garden.request("get", f"{path}/one", at, end, agent=agent, handler="Get"))
        plant.requests += 1
        plant.ns += end - at
        at = end + garden.long(1, 9)
    return plant


def etcd_transport(garden: Garden) -> Plant:
    """Calls that etcd answers soon, 100 to 300 ms from it: the call but for the part of it that etcd's own span has."""
    plant = Plant()
    for number in range(garden.random.randrange(60, 90)):
        start = garden.when()
        begin = start + garden.long(1, 3)
        served = begin + garden.long(50, 150)
        answered = served + garden.long(1, 3)
        end = answered + garden.long(50, 150)
        inside = etcd_internal(
            "range",
            served + 10,
            answered - 10,
            attributes={"range_begin": f"/registry/{garden.tag}/{number}"},
        )
        server = etcd_server("KV/Range", served, answered, inside)
        call = etcd_client("KV/Range", begin, end, server, process=garden.apiserver)
        path = f"/api/v1/namespaces/ns/{garden.tag}/{number}"
        plant.traces.append(garden.request("get", path, start, end + MS, call, handler="Get"))
        plant.requests += 1
        plant.ns += end - begin - (answered - served)
    return plant


def retries_cost(garden: Garden) -> Plant:
    """Updates that lose, and calls that etcd refuses: the cost of both, and how often each happened."""
    plant = Plant()
    for _ in range(12):
        plant.add(update_conflicts(garden))
        plant.add(etcd_retries(garden))
    return plant


def etcd_raft_share(garden: Garden) -> Plant:
    """Creates whose transaction waits from `Send raft proposal` to `Receive raft result`."""
    plant = Plant()
    for number in range(garden.random.randrange(60, 90)):
        start = at = garden.when() + garden.long(1, 3)
        sent = at + garden.long(1, 3)
        received = sent + garden.long(200, 400)
        end = received + garden.long(1, 3)
        events = [(sent, "Send raft proposal"), (received, "Receive raft result")]
        inside = etcd_internal(
            "txn", start + 20, end - 20, attributes={"success_first_type": "put"}, events=events
        )
        server = etcd_server("KV/Txn", start + 10, end - 10, inside)
        call = etcd_client("KV/Txn", start, end, server, process=garden.apiserver)
        path = f"/api/v1/namespaces/ns/{garden.tag}"
        key = {"key": f"/{garden.tag}/{number}"}
        create = Span(
            "Create etcd3", start - 1000, end + 1000, [call], process=garden.apiserver, attributes=key
        )
        plant.traces.append(
            garden.request("create", path, start - MS, end + MS, create, status=201, handler="Create")
        )
        plant.requests += 1
        plant.ns += received - sent
    return plant


def etcd_opaque(garden: Garden) -> Plant:
    """Calls to etcd without etcd's own span."""
    plant = Plant()
    for number in range(garden.random.randrange(30, 60)):
        start = garden.when()
        begin = start + garden.long(1, 3)
        end = begin + garden.long(100, 200)
        call = etcd_client("KV/Range", begin, end, process=garden.apiserver)
        reads = Span(
            "Get etcd3",
            begin - 1000,
            end + 1000,
            [call],
            process=garden.apiserver,
            attributes={"key": f"/{garden.tag}/{number}"},
        )
        path = f"/api/v1/namespaces/ns/{garden.tag}/{number}"
        plant.traces.append(garden.request("get", path, start, end + MS, reads, handler="Get"))
        plant.requests += 1
        plant.ns += end - begin
    return plant


def etcd_stream(garden: Garden) -> Plant:
    """Lists in a stream: the call but for the part of it in which etcd's own span is open."""
    plant = Plant()
    for _ in range(garden.random.randrange(20, 40)):
        start = garden.when()
        begin = start + garden.long(1, 3)
        served = begin + garden.long(1, 3)
        answered = served + garden.long(10, 30)
        end = answered + garden.long(50, 90)
        inside = etcd_internal("range_streaming", served + 10, answered - 10)
        server = etcd_server("KV/RangeStream", served, answered, inside)
        call = etcd_client("KV/RangeStream", begin, end, server, process=garden.apiserver)
        lists = Span("List(recursive=true) etcd3", begin - 1000, end + 1000, [call], process=garden.apiserver)
        path = f"/api/v1/{garden.tag}?limit=5000"
        plant.traces.append(garden.request("list", path, start, end + MS, lists, handler="List"))
        plant.requests += 1
        plant.ns += end - begin - (answered - served)
    return plant


def spans_lost(garden: Garden) -> Plant:
    """Requests of which a span's parent never came, or a sender dropped events: all of their time."""
    plant = Plant(evidence={"span_lost": 0, "dropped": 0})
    for number in range(garden.random.randrange(4, 20)):
        start = garden.when()
        end = start + garden.long(10, 90)
        path = f"/api/v1/namespaces/ns/{garden.tag}/{number}"
        drops = number % 3 == 0
        handler = Span(
            "Get", start + 1000, end - 1000, process=garden.apiserver, dropped_events_count=int(drops)
        )
        request = garden.request("get", path, start, end, handler)
        plant.traces.append(request)
        if not drops:
            left = Span("Get etcd3", start + 2000, end - 2000, process=garden.apiserver)
            plant.traces.append(Trace(request.trace_id, [left], parent_span_id=77, first_span_id=50))
        plant.requests += 1
        plant.ns += end - start
        plant.evidence["dropped" if drops else "span_lost"] += 1
    return plant


PLANTS: Final[dict[str, Callable[[Garden], Plant]]] = {
    plant.__name__: plant
    for plant in (
        repeated_reads,
        page_chain,
        list_then_get,
        update_conflicts,
        etcd_retries,
        refused_requests,
        webhook_slow,
        webhook_timeout,
        webhook_fails_open,
        list_from_etcd,
        list_unpaged_big,
        work_after_client_left,
        relist_storm,
        cache_wait,
        flowcontrol_queue,
        retries_cost,
        etcd_raft_share,
        etcd_opaque,
        etcd_stream,
        client_hammers,
        etcd_transport,
        spans_lost,
    )
}

SUMS: Final = frozenset({"cache_wait", "etcd_transport", "retries_cost"})
"""
Codes with one finding about all requests, of which the recording has some itself, too little to be told.

What it has is what is told of another plant, minus that one's drawing.
"""
