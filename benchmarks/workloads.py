"""Seeded workloads: what kube-apiserver 1.36 and its etcd send, at any size.

    python benchmarks/workloads.py                          # shape of 100,000 spans beside the real capture
    python benchmarks/workloads.py --spans 1000000 FILE     # and write them, like a capture
    python benchmarks/workloads.py --mix webhook            # other requests: list-heavy, write-heavy, watch-cache

Requests of all kinds, mixed as in the capture or otherwise, on a clock that only this file turns: the same
number of spans, mix and seed give the same bytes. Each process sends like OpenTelemetry's batch span processor:
after 512 spans or five seconds one message, spans by scope in the order they ended, so children first.

Go writes fields in the order of their numbers. So does the serializer of protobuf's upb, by which these
bytes are made: what it makes of a capture's messages is the capture, byte for byte.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

import baseline
from apiserver import (
    APISERVER,
    ETCD,
    GRPC,
    HTTP,
    ITSELF,
    Attributes,
    Call,
    Resource,
    Trace,
    admission,
    annotate,
    etcd_call,
    handler,
    serialize,
    served,
    storage_attributes,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

CAPTURE_136 = Path(__file__).parent.parent / "tests/data/k8s-1.36_etcd-3.6.otlp.zst"

EPOCH_NS = 1_790_000_000 * 10**9
GAP_NS = 8_000_000
"""Mean time from one request to the next."""
BATCH_SPANS = 512
BATCH_NS = 5 * 10**9

INSTANCES = {APISERVER: "apiserver-wlv32tlttr4jl3gtroqexyxapa", ETCD: "etcd-0"}
SCOPE_VERSIONS = {HTTP: "0.67.0", GRPC: "0.67.0"}

RESOURCES = (
    *(Resource("", "v1", plural) for plural in ("configmaps", "pods", "secrets", "events", "services")),
    *(Resource("", "v1", plural) for plural in ("endpoints", "serviceaccounts", "limitranges")),
    *(Resource("", "v1", plural, namespaced=False) for plural in ("nodes", "namespaces")),
    *(Resource("apps", "v1", plural) for plural in ("deployments", "replicasets")),
    Resource("coordination.k8s.io", "v1", "leases"),
    Resource("discovery.k8s.io", "v1", "endpointslices"),
    Resource("events.k8s.io", "v1", "events"),
    Resource("example.com", "v1", "widgets"),
    Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", namespaced=False),
    *(Resource("rbac.authorization.k8s.io", "v1", plural) for plural in ("roles", "rolebindings")),
    *(
        Resource("rbac.authorization.k8s.io", "v1", plural, namespaced=False)
        for plural in ("clusterroles", "clusterrolebindings")
    ),
    Resource("storage.k8s.io", "v1", "storageclasses", namespaced=False),
)
AGENTS = (
    *["k8s-load/0.1"] * 7,
    *[ITSELF] * 6,
    *["kube-scheduler/v0.0.0 (linux/amd64) kubernetes/$Format/scheduler"] * 2,
    "kube-controller-manager/v0.0.0 (linux/amd64) kubernetes/$Format/deployment-controller",
    "kube-controller-manager/v0.0.0 (linux/amd64) kubernetes/$Format/replicaset-controller",
    "kube-controller-manager/v0.0.0 (linux/amd64) kubernetes/$Format/node-controller",
)


# ── Kinds of requests ─────────────────────────────────────────────────────────────────────────────


def draw(trace: Trace, method: str, *, named: bool = True) -> Call:
    """Draw who asks for what."""
    random = trace.random
    return Call.draw(random, method, random.choice(RESOURCES), random.choice(AGENTS), named=named)


def create(trace: Trace, *, admitted: bool = False) -> None:
    """POST an object: encode it, ask the webhooks, store it."""
    call = draw(trace, "POST")
    with served(trace, call, 201), handler(trace, call, "Create", "POST") as span:
        trace.event(span, "limitedReadBody succeeded", {"len": 480})
        trace.event(span, "About to convert to expected version")
        trace.event(span, "Conversion done")
        trace.event(span, "About to store object in database")
        if admitted:
            admission(trace, call)
        with trace.span("Create etcd3", attributes=storage_attributes(call)) as stored:
            trace.event(stored, "About to Encode")
            trace.event(stored, "Encode succeeded", {"len": 812})
            trace.event(stored, "TransformToStorage succeeded")
            etcd_call(trace, "KV/Txn")
            trace.event(stored, "Txn call succeeded")
            trace.event(stored, "decode succeeded", {"len": 812})
        trace.event(span, "Write to database call succeeded", {"len": 480})
        trace.event(span, "About to write a response")
        serialize(trace, call)
        trace.event(span, "Writing http response done")


def change(trace: Trace, method: str, *, admitted: bool = False) -> None:
    """PUT or PATCH an object; the webhooks are asked during the update, by spans beside its own."""
    call = draw(trace, method)
    verb = {"PUT": "Update", "PATCH": "Patch"}[method]
    with served(trace, call), handler(trace, call, verb, method) as span:
        trace.event(span, "limitedReadBody succeeded", {"len": 480})
        trace.event(span, "About to convert to expected version")
        trace.event(span, "Conversion done")
        trace.event(span, "About to store object in database")
        with trace.span("GuaranteedUpdate etcd3", attributes=storage_attributes(call)) as stored:
            trace.event(stored, "initial value restored")
            if admitted:
                with trace.below(span):
                    admission(trace, call)
            trace.event(stored, "About to Encode")
            trace.event(stored, "Encode succeeded", {"len": 812})
            trace.event(stored, "TransformToStorage succeeded")
            trace.event(stored, "Transaction prepared")
            etcd_call(trace, "KV/Txn")
            trace.event(stored, "Txn call completed")
            trace.event(stored, "Transaction committed")
            trace.event(stored, "decode succeeded", {"len": 812})
        trace.event(span, "Object stored in database")
        serialize(trace, call)


def get(trace: Trace, *, cached: bool = False) -> None:
    """GET an object from etcd, as clients do that give no resource version, or from the watch cache."""
    call = draw(trace, "GET")
    missing = not cached and not trace.random.randrange(3)
    with served(trace, call, 404 if missing else 200), handler(trace, call, "Get", "GET") as span:
        trace.event(span, "About to Get from storage")
        known = {"audit-id": call.audit_id, "key": f"/{call.resource.plural}/{call.name}"}
        version = {"resource-version": "0" if cached else ""}
        with trace.span("cacher.Get", attributes=known | version) as looked_up:
            if not cached:
                trace.event(looked_up, "About to Get from underlying storage")
                etcd_call(trace, "KV/Range")
        serialize(trace, call)


def list_from_etcd(trace: Trace, call: Call) -> None:
    """Read a collection from etcd."""
    known: Attributes = {
        "audit-id": call.audit_id,
        "key": f"/{call.resource.plural}",
        "resourceVersion": "",
        "resourceVersionMatch": "",
        "limit": 500,
        "continue": "",
    }
    with trace.span("List(recursive=false) etcd3", attributes=known):
        etcd_call(trace, "KV/Range")


def list_all(trace: Trace, *, cached: bool = False) -> None:
    """LIST a collection from the watch cache, after asking etcd how new that must be, or not."""
    call = draw(trace, "GET", named=False)
    known = {"audit-id": call.audit_id, "type": call.resource.plural}
    with served(trace, call), handler(trace, call, "List", "LIST"):
        with trace.span("cacher.GetList", attributes=known) as looked_up:
            trace.event(looked_up, "Ready")
            if not cached:
                list_from_etcd(trace, call)
            trace.event(looked_up, "watchCache locked acquired")
            trace.event(looked_up, "watchCache fresh enough")
            trace.event(looked_up, "Listed items from cache", {"count": 40})
            trace.event(looked_up, "Filtered items", {"count": 40})
        serialize(trace, call)


def watch(trace: Trace) -> None:
    """Watch a collection, with the objects there are first."""
    call = draw(trace, "GET", named=False)
    watching = call._replace(path=call.path + "?allowWatchBookmarks=true&watch=true")
    known = {"audit-id": call.audit_id, "type": call.resource.plural}
    with served(trace, watching), handler(trace, call, "WatchList", "WATCH"):
        with trace.span("cacher.Watch", attributes=known) as opened:
            list_from_etcd(trace, call)
            trace.event(opened, "watchCache locked acquired")
            trace.event(opened, "watchCache fresh enough")
        told = {"audit-id": call.audit_id, "method": "GET", "url": call.path, "protocol": "HTTP/2.0"}
        with trace.span("WatchServer.HandleHTTP", attributes=told, us=3_000) as server:
            trace.event(server, "About to start writing response")
            trace.event(server, "Writing initial events done")


def nonresource(trace: Trace) -> None:
    """Ask for something that is no object."""
    path = trace.random.choice(("/api", "/apis", "/healthz", "/livez", "/readyz", "/version", "/openapi/v3"))
    with served(trace, draw(trace, "GET")._replace(path=path, template="")):
        trace.wait(200)


def lost_caller(trace: Trace) -> None:
    """End a watch of etcd whose CLIENT span never comes."""
    with trace.below(Span(span_id=trace.random.randbytes(8))):
        etcd_call(trace, "Watch/Watch", client=False)


def admitted_create(trace: Trace) -> None:
    """POST an object that webhooks look at."""
    create(trace, admitted=True)


def update(trace: Trace) -> None:
    """PUT an object."""
    change(trace, "PUT")


def admitted_update(trace: Trace) -> None:
    """PUT an object that webhooks look at."""
    change(trace, "PUT", admitted=True)


def patch(trace: Trace) -> None:
    """PATCH an object."""
    change(trace, "PATCH")


def admitted_patch(trace: Trace) -> None:
    """PATCH an object that webhooks look at."""
    change(trace, "PATCH", admitted=True)


def cached_get(trace: Trace) -> None:
    """GET an object from the watch cache."""
    get(trace, cached=True)


def cached_list(trace: Trace) -> None:
    """LIST a collection from the watch cache."""
    list_all(trace, cached=True)


def background(method: str) -> Callable[[Trace], None]:
    """Call etcd for no request."""
    return lambda trace: etcd_call(trace, method)


Mix = Mapping[Callable[[Trace], None], int]
"""What happens → how often."""

BACKGROUND: Mix = {
    background("KV/Range"): 133,
    background("KV/Txn"): 12,
    background("Maintenance/Status"): 11,
    lost_caller: 59,
}
MIXES: dict[str, Mix] = {
    "mixed": {
        create: 480,
        admitted_create: 75,
        get: 300,
        cached_get: 40,
        update: 120,
        admitted_update: 35,
        patch: 85,
        admitted_patch: 46,
        list_all: 50,
        cached_list: 35,
        watch: 120,
        nonresource: 100,
        **BACKGROUND,
    },
    "list-heavy": {list_all: 700, watch: 150, get: 100, cached_list: 50, **BACKGROUND},
    "write-heavy": {create: 500, update: 300, patch: 150, get: 50, **BACKGROUND},
    "webhook": {admitted_create: 450, admitted_update: 250, admitted_patch: 250, get: 50, **BACKGROUND},
    "watch-cache": {cached_get: 550, cached_list: 350, nonresource: 50, get: 50, **BACKGROUND},
}
"""By name; "mixed" is what happens in the capture, as often."""


# ── What is sent ──────────────────────────────────────────────────────────────────────────────────


class Sender:
    """The batch span processor of a process."""

    def __init__(self, service: str) -> None:
        self._resource: Attributes = {"service.instance.id": INSTANCES[service], "service.name": service}
        self._waiting: dict[str, list[Span]] = {}
        self._sent_ns = EPOCH_NS

    def end(self, now: int, scope: str, span: Span) -> Iterator[bytes]:
        """Take a span that has ended; give a message when it is time for one."""
        self._waiting.setdefault(scope, []).append(span)
        if sum(map(len, self._waiting.values())) == BATCH_SPANS or now - self._sent_ns >= BATCH_NS:
            self._sent_ns = now
            yield from self.flush()

    def flush(self) -> Iterator[bytes]:
        """Send what there is."""
        if self._waiting:
            request = ExportTraceServiceRequest()
            of_resource = request.resource_spans.add()
            annotate(of_resource.resource, self._resource)
            for scope, spans in self._waiting.items():
                of_scope = of_resource.scope_spans.add(spans=spans)
                of_scope.scope.name = scope
                of_scope.scope.version = SCOPE_VERSIONS.get(scope, "")
            self._waiting = {}
            yield request.SerializeToString()


def generate(spans: int, seed: int = 0, mix: str = "mixed") -> Iterator[bytes]:
    """Make the messages of exactly so many spans, in the order in which they are sent."""
    senders = {service: Sender(service) for service in INSTANCES}
    for end, service, scope, span in _in_order(spans, Random(seed), MIXES[mix]):
        yield from senders[service].end(end, scope, span)
    for sender in senders.values():
        yield from sender.flush()


def _in_order(spans: int, random: Random, mix: Mix) -> Iterator[tuple[int, str, str, Span]]:
    """Make requests one after the other, and give their spans in the order in which they end."""
    begin, made = EPOCH_NS, 0
    running: list[tuple[int, int, tuple[int, str, str, Span]]] = []
    while made < spans:
        begin += random.randrange(2 * GAP_NS)
        while running and running[0][0] <= begin:
            yield heapq.heappop(running)[2]
        for ended in _trace(spans - made, random, begin, mix).ended:
            heapq.heappush(running, (ended[0], made, ended))
            made += 1
    while running:
        yield heapq.heappop(running)[2]


def _trace(most: int, random: Random, begin: int, mix: Mix) -> Trace:
    """Let something happen that makes at most so many spans: the last places are for single ones."""
    (kind,) = random.choices(tuple(mix), tuple(mix.values()))
    for happen in (kind, lost_caller):
        trace = Trace(random, begin)
        happen(trace)
        if len(trace.ended) <= most:
            break
    return trace


def write(path: Path, messages: Iterable[bytes]) -> None:
    """Store messages like a capture: each behind its length as a big-endian u32, all in one zstd stream."""
    import zstandard

    with path.open("wb") as file, zstandard.ZstdCompressor(level=9).stream_writer(file) as stream:
        for message in messages:
            stream.write(len(message).to_bytes(4, "big") + message)


# ── Is it like the real thing? ────────────────────────────────────────────────────────────────────


class Shape(NamedTuple):
    """What makes spans cheap or dear to read and to join."""

    spans: int
    batches: int
    bytes_per_span: float
    attributes_per_span: float
    events_per_span: float
    event_attributes_per_span: float
    attribute_text_bytes_per_span: float
    spans_per_trace: float
    span_names: int
    attribute_keys: int
    requests_per_100_spans: float
    etcd_calls_per_100_spans: float
    spans_without_parent_per_100: float


def shape(messages: Iterable[bytes]) -> Shape:
    """Measure messages with the official classes."""
    messages = list(messages)
    spans = [span for message in messages for span in baseline.spans(message)]
    values = [value for span in spans for value in span.attributes.values()]
    events = [event for span in spans for event in span.events]
    ids = {(span.trace_id, span.span_id) for span in spans}
    known = [(span.trace_id, span.parent_span_id) in ids for span in spans]
    etcd = [span for span in spans if span.kind == baseline.CLIENT and span.scope == GRPC]
    count = len(spans)
    return Shape(
        spans=count,
        batches=len(messages),
        bytes_per_span=sum(map(len, messages)) / count,
        attributes_per_span=len(values) / count,
        events_per_span=len(events) / count,
        event_attributes_per_span=sum(len(attributes) for *_, attributes in events) / count,
        attribute_text_bytes_per_span=sum(len(v) for v in values if isinstance(v, str)) / count,
        spans_per_trace=count / len({span.trace_id for span in spans}),
        span_names=len({span.name for span in spans}),
        attribute_keys=len({key for span in spans for key in span.attributes}),
        requests_per_100_spans=100 * sum(span.is_request for span in spans) / count,
        etcd_calls_per_100_spans=100 * len(etcd) / count,
        spans_without_parent_per_100=100 * known.count(False) / count,
    )


def main() -> None:
    """Print the shape of a workload beside that of the capture it imitates, and store it if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, nargs="?", help="where to write the workload")
    parser.add_argument("--spans", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed, other spans (default: %(default)s)"
    )
    parser.add_argument("--mix", choices=MIXES, default="mixed", help="of requests (default: %(default)s)")
    options = parser.parse_args()
    messages = list(generate(options.spans, options.seed, options.mix))
    print(f"{'':30} {'workload':>12} {'1.36 capture':>12}")
    real = shape(baseline.load(CAPTURE_136))
    for name, made, recorded in zip(Shape._fields, shape(messages), real, strict=True):
        digits = "," if isinstance(made, int) else ",.2f"
        print(f"{name.replace('_', ' '):30} {made:12{digits}} {recorded:12{digits}}")
    if options.file:
        write(options.file, messages)


if __name__ == "__main__":
    main()
