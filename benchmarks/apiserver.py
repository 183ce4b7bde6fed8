"""The spans of one request, as kube-apiserver 1.36 and etcd 3.6 make them.

A `Trace` is a clock and the spans that have ended on it; the functions below it are what happens in a
request, one span inside the other:

    with trace.span("Get") as get:
        trace.event(get, "About to Get from storage")
        etcd_call(trace, "KV/Range")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from random import Random
from typing import NamedTuple
from uuid import UUID

from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span

INTERNAL, SERVER, CLIENT = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
APISERVER, ETCD = "apiserver", "etcd"

HTTP = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
GRPC = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
FILTERS = "k8s.op/apiserver/pkg/endpoints/filterlatency"
TRACING = "k8s.io/component-base/tracing"

LOCAL_PARENT, REMOTE_PARENT = 0x101, 0x301  # trace flags: sampled, and what is known of the parent

Attributes = Mapping[str, str | int]

ITSELF = "kube-apiserver/v0.0.0 (linux/amd64) kubernetes/$Format"
ENCODER = (
    '{"encodeGV":"v1","encoder":"{\\"name\\":\\"json\\",\\"pretty\\":\\"false\\",\\"strict\\":\\"false\\",'
    '\\"yaml\\":\\"false\\"}","name":"versioning"}'
)


class Resource(NamedTuple):
    """A kind of object."""

    group: str
    version: str
    plural: str
    namespaced: bool = True


class Call(NamedTuple):
    """What a client asks for; without a resource it is `/healthz` or the like."""

    method: str
    path: str
    template: str
    resource: Resource
    namespace: str
    name: str
    agent: str
    privileged: bool
    audit_id: str

    @classmethod
    def draw(cls, random: Random, method: str, resource: Resource, agent: str, *, named: bool) -> Call:
        """Draw a call for an object, or for all of them."""
        namespace = f"load-{random.randrange(4)}" if resource.namespaced else ""
        name = f"{resource.plural[:-1]}-{random.randrange(100_000):05d}-x7k2p" if named else ""
        base = f"/apis/{resource.group}" if resource.group else "/api"
        template = path = f"{base}/{resource.version}"
        if namespace:
            path, template = f"{path}/namespaces/{namespace}", f"{template}/namespaces/{{:namespace}}"
        path, template = f"{path}/{resource.plural}", f"{template}/{resource.plural}"
        if named and method != "POST":
            path, template = f"{path}/{name}", f"{template}/{{:name}}"
        audit_id = str(UUID(bytes=random.randbytes(16)))
        privileged = random.randrange(100) < 77
        return cls(method, path, template, resource, namespace, name, agent, privileged, audit_id)


class Trace:
    """The spans of a request, made on a running clock."""

    def __init__(self, random: Random, now: int) -> None:
        self.random = random
        self.now = now
        self.ended: list[tuple[int, str, str, Span]] = []
        self._above = (random.randbytes(16), b"")

    def wait(self, us: int) -> None:
        """Let about so many microseconds pass."""
        self.now += self.random.randrange(us * 500, us * 1500)

    @contextmanager
    def span(
        self,
        name: str,
        scope: str = TRACING,
        attributes: Attributes | None = None,
        *,
        kind: Span.SpanKind = INTERNAL,
        process: str = APISERVER,
        us: int = 20,
    ) -> Iterator[Span]:
        """Open a span around what happens meanwhile."""
        trace_id, parent = outer = self._above
        span = Span(
            trace_id=trace_id,
            span_id=self.random.randbytes(8),
            parent_span_id=parent,
            name=name,
            kind=kind,
            start_time_unix_nano=self.now,
            flags=REMOTE_PARENT if kind == SERVER and parent else LOCAL_PARENT,
        )
        span.status.SetInParent()
        annotate(span, attributes or {})
        self._above = (trace_id, span.span_id)
        self.wait(us)
        yield span
        self.wait(us)
        span.end_time_unix_nano = self.now
        self._above = outer
        self.ended.append((self.now, process, scope, span))

    @contextmanager
    def apart(self, name: str, scope: str) -> Iterator[None]:
        """Open a span alone in a trace of its own, around what happens meanwhile in this one."""
        inside = self._above
        self._above = (self.random.randbytes(16), b"")
        with self.span(name, scope):
            self._above = inside
            yield
        self._above = inside

    @contextmanager
    def below(self, span: Span) -> Iterator[None]:
        """Make what happens meanwhile children of another span of this trace."""
        inside = self._above
        self._above = (inside[0], span.span_id)
        yield
        self._above = inside

    def event(self, span: Span, name: str, attributes: Attributes | None = None) -> None:
        """Let something happen in a span."""
        self.wait(10)
        annotate(span.events.add(time_unix_nano=self.now, name=name), attributes or {})

    def together(self, *parts: Callable[[], None]) -> None:
        """Let parts begin at once, and go on when the last has ended."""
        begin, ends = self.now, []
        for part in parts:
            self.now = begin
            part()
            ends.append(self.now)
        self.now = max(ends)


def annotate(target: Span | Span.Event | resource_pb2.Resource, attributes: Attributes) -> None:
    """Add attributes."""
    for key, value in attributes.items():
        pair = target.attributes.add(key=key)
        if isinstance(value, int):
            pair.value.int_value = value
        else:
            pair.value.string_value = value


# ── Around the handler ────────────────────────────────────────────────────────────────────────────


@contextmanager
def served(trace: Trace, call: Call, status: int = 200) -> Iterator[None]:
    """Let the request through the filters: authentication is above it, or for most users apart from it."""
    with ExitStack() as stack:
        if call.agent == ITSELF:
            stack.enter_context(http_call(trace, call.method, f"https://127.0.0.1:6443{call.path}", 200))
        if call.privileged and call.agent != ITSELF:
            stack.enter_context(trace.span("authentication", FILTERS))
        else:
            stack.enter_context(trace.apart("authentication", FILTERS))
        name = f"{call.method} {call.template}".strip()
        stack.enter_context(trace.span(name, HTTP, request_attributes(trace, call, status), kind=SERVER))
        for name in ("audit", "constrainedimpersonation", "priorityandfairness", "authorization"):
            stack.enter_context(trace.span(name, FILTERS))
        yield


def request_attributes(trace: Trace, call: Call, status: int) -> Attributes:
    """Describe a request as otelhttp does."""
    size = trace.random.randrange(100, 4000)
    return {
        "server.address": "127.0.0.1",
        "http.request.method": call.method,
        "url.scheme": "https",
        "server.port": 6443,
        "network.peer.address": "127.0.0.1",
        "network.peer.port": trace.random.randrange(32_768, 61_000),
        "user_agent.original": call.agent,
        "client.address": "127.0.0.1",
        "url.path": call.path,
        "network.protocol.version": "2.0",
        "http.target": call.path,
        "audit-id": call.audit_id,
        **({} if call.method == "GET" else {"http.request.body.size": size}),
        "http.response.body.size": size,
        "http.response.status_code": status,
    }


def handler(trace: Trace, call: Call, name: str, verb: str) -> AbstractContextManager[Span]:
    """Enter the span named after the verb."""
    attributes = {
        "accept": "application/json",
        "audit-id": call.audit_id,
        "client": "127.0.0.1",
        "api-group": call.resource.group,
        "api-version": call.resource.version,
        "name": call.name,
        "subresource": "",
        "namespace": call.namespace,
        "protocol": "HTTP/2.0",
        "resource": call.resource.plural,
        "scope": "resource" if call.name else "cluster",
        "url": call.path,
        "user-agent": call.agent,
        "verb": verb,
    }
    return trace.span(name, attributes=attributes, us=100)


def serialize(trace: Trace, call: Call) -> None:
    """Write the answer."""
    attributes = {
        "audit-id": call.audit_id,
        "method": call.method,
        "url": call.path,
        "protocol": "HTTP/2.0",
        "mediaType": "application/json",
        "encoder": ENCODER,
    }
    size = trace.random.randrange(100, 4000)
    writer = {"writer": "*gzip.Writer" if size > 3000 else "*responsewriter.outer", "size": size}
    with trace.span("SerializeObject", attributes=attributes) as span:
        trace.event(span, "About to start writing response", writer)
        trace.event(span, "Write call succeeded", {"size": size})


# ── Below the handler ─────────────────────────────────────────────────────────────────────────────


def etcd_call(trace: Trace, method: str, *, client: bool = True) -> None:
    """Call etcd: the CLIENT span of the apiserver and the SERVER span of etcd."""
    name = f"etcdserverpb.{method}"
    attributes: dict[str, str | int] = {
        "rpc.method": name,
        "rpc.system.name": "grpc",
        "server.address": "127.0.0.1",
        "server.port": 2379,
        "rpc.response.status_code": "OK",
    }
    peer = attributes | {"server.port": trace.random.randrange(32_768, 61_000)}
    with (
        trace.span(name, GRPC, attributes, kind=CLIENT, us=300) if client else nullcontext(),
        trace.span(name, GRPC, peer, kind=SERVER, process=ETCD, us=400),
    ):
        pass


def http_call(trace: Trace, method: str, url: str, us: int) -> AbstractContextManager[Span]:
    """Call somebody over HTTP."""
    attributes: Attributes = {
        "http.request.method": method,
        "url.full": url,
        "server.address": "127.0.0.1",
        "server.port": 9443,
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
    }
    return trace.span(f"HTTP {method}", HTTP, attributes, kind=CLIENT, us=us)


def webhook(trace: Trace, call: Call, kind: str, name: str) -> None:
    """Ask one admission webhook."""
    attributes = {
        "configuration": f"{kind[0]}wh",
        "webhook": f"{name}.example.com",
        "resource": f"{call.resource.group}/{call.resource.version}, Resource={call.resource.plural}",
        "subresource": "",
        "operation": "CREATE" if call.method == "POST" else "UPDATE",
        "UID": str(UUID(bytes=trace.random.randbytes(16))),
    }
    with trace.span(f"Call {kind} webhook", attributes=attributes) as span:
        with http_call(trace, "POST", f"https://127.0.0.1:9443/{name}?timeout=2s", 2_000):
            pass
        trace.event(span, "Request completed")
        if kind == "mutating":
            trace.event(span, "Patch applied")


def admission(trace: Trace, call: Call) -> None:
    """Ask one mutating webhook, then two validating ones at once."""
    webhook(trace, call, "mutating", "mutate")
    trace.together(
        lambda: webhook(trace, call, "validating", "validate-a"),
        lambda: webhook(trace, call, "validating", "validate-b"),
    )


def storage_attributes(call: Call) -> Attributes:
    """Describe an object to the storage layer."""
    return {
        "audit-id": call.audit_id,
        "key": f"/{call.resource.plural}/{call.namespace}/{call.name}",
        "type": f"*core.{call.resource.plural[:-1].capitalize()}",
        "group": call.resource.group,
        "resource": call.resource.plural,
    }
