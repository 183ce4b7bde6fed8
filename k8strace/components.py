"""
The taxonomy: which component spent the time, and on what.

Every nanosecond of a request belongs to one *phase*, such as `apiserver.storage.encode`; its *component* is the part
before the first dot. Phases come from one table of rules, applied once per distinct *signature* and never per span:

    Signature(service, scope, kind, name, parent, leaf, request_verb, detail)  ──rules, first match wins──→  phase
    (signature, event name)                                      ──the same rule's events──→  phase from there on
    (calls around the span, phase)                               ──`below`──→  phase within the call

So your own rule is a Python object or function, and costs nothing per span.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = [
    "CLIENT",
    "INTERNAL",
    "SERVER",
    "UNATTRIBUTED",
    "Mark",
    "Rule",
    "Signature",
    "Taxonomy",
    "below",
    "by_component",
    "component_of",
    "takes_over",
]

_ROOT: Final = "*net/http/otelhttp"
_GRPC: Final = "*otelgrpc"
_TRACING: Final = "k8s.io/component-base/tracing"

INTERNAL: Final = 1
SERVER: Final = 2
CLIENT: Final = 3
"""`SpanKind` numbers of the `.proto`."""

UNATTRIBUTED: Final = "unattributed"
"""Phase of time that no rule explains. It is always shown, never divided among the others."""


class Signature(NamedTuple):
    """What rules can use of a span."""

    service: str
    """`service.name` of the resource."""
    scope: str
    """Instrumentation scope name."""
    kind: int
    """`SpanKind` number: 1 internal, 2 server, 3 client."""
    name: str
    """Span name."""
    parent: str | None
    """Name of the parent span, after repairs. None at the root of an outermost request and at the top of a tree."""
    leaf: bool
    """CLIENT: no SERVER span below it; SERVER: no INTERNAL span below it; otherwise: no child."""
    request_verb: str | None
    """Kubernetes verb of the innermost request, "nonresource" for `/healthz` and the like, None outside requests."""
    detail: str | None = None
    """
    What the default rules need from attributes and events. For an HTTP call of the apiserver that is not below
    `Call … webhook`, its target: "webhook", "aggregator" (the request itself is forwarded), "api" (another request of
    the API) or "webhook_or_aggregator" (unknown). For `SerializeObject`: "interleaved" if it was encoded or compressed
    while it was written. For `syncPod`: "volumes" if it failed because they were missing. For a container runtime's
    HTTP call: "resolve" if it looks up an image without fetching it. For `authorization` and `Get` in a request that
    is answered beyond the apiserver: "kubelet" (exec, attach, port-forward, log, a node's proxy) or "upstream" (the
    proxy of a pod or a service). Otherwise None.
    """


class Mark(NamedTuple):
    """How an event changes the phase of its span's own time. None is the span's own phase."""

    before: str | None = None
    """Phase of the time before it, if it is the first event with a rule and the sender dropped none."""
    after: str | None = None
    """Phase from it on, up to the next event with a rule."""


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule of the taxonomy: the phase of the own time of matching spans.

    None is no condition. Text conditions are shell patterns and case-sensitive; event names are not.

    Examples:
        >>> from k8strace import Rule, Signature
        >>> rule = Rule("mesh.sidecar", service="envoy")
        >>> rule(Signature("envoy", "", 2, "ingress", None, True, "get"))
        'mesh.sidecar'
    """

    phase: str
    """Dotted name; the part before the first dot is the component."""
    name: str | None = None
    """Pattern of the span name."""
    service: str | None = None
    """Pattern of the service name."""
    scope: str | None = None
    """Pattern of the scope name."""
    kind: int | None = None
    """`SpanKind` number."""
    parent: str | None = None
    """Pattern of the parent's name; a span without a parent does not match."""
    leaf: bool | None = None
    """See `Signature.leaf`."""
    request_verb: str | None = None
    """Pattern of the request's verb; a span outside requests does not match."""
    detail: str | None = None
    """Pattern of `Signature.detail`; a span without one does not match."""
    events: Mapping[str, Mark] = field(default_factory=dict, hash=False)
    """Event name → change of phase."""

    def __call__(self, signature: Signature) -> str | None:
        """The phase, if the signature fits."""
        fits = (
            self.kind in (None, signature.kind)
            and self.leaf in (None, signature.leaf)
            and _like(self.name, signature.name)
            and _like(self.service, signature.service)
            and _like(self.scope, signature.scope)
            and _like(self.parent, signature.parent)
            and _like(self.request_verb, signature.request_verb)
            and _like(self.detail, signature.detail)
        )
        return self.phase if fits else None


def _like(pattern: str | None, text: str | None) -> bool:
    if pattern is None or pattern == text:
        return True
    return text is not None and _is_pattern(pattern) and fnmatchcase(text, pattern)


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text or "[" in text


RuleFunction: TypeAlias = Callable[[Signature], str | None]
"""A rule may be any function from a signature to a phase, or to None if it does not apply."""


def component_of(phase: str) -> str:
    """
    The component of a phase: the part before the first dot.

    Examples:
        >>> component_of("etcd.raft")
        'etcd'
    """
    return phase.partition(".")[0]


_TAKES_OVER: Final = frozenset({"aggregator", "webhook"})
"""Components whose calls take over everything below them."""


def by_component(phases: Mapping[str, int]) -> dict[str, int]:
    """
    Parts by phase → parts by component, with the same sum.

    Examples:
        >>> by_component({"etcd.raft": 2, "apiserver.audit": 1, "etcd": 3})
        {'etcd': 5, 'apiserver': 1}
    """
    components: dict[str, int] = {}
    for phase, ns in phases.items():
        component = component_of(phase)
        components[component] = components.get(component, 0) + ns
    return components


def below(call: str, phase: str) -> str:
    """
    What a phase becomes below a call.

    A span that no rule knows belongs to the call above it. A webhook, and a server that requests are sent on to,
    answer for all that they cause, and the rest of the name says who did it.

    Args:
        call: Component of the call; the phase of one that a container runtime does in parts.
        phase: Phase of a span somewhere below it, by k8strace's own rules.

    Examples:
        >>> below("webhook", "unattributed"), below("aggregator", "etcd.raft"), below("etcd", "etcd.raft")
        ('webhook.server', 'aggregator.etcd', 'etcd.raft')
        >>> below("runtime.sandbox", "unattributed"), below("runtime.sandbox", "cni.setup")
        ('runtime.sandbox', 'cni.setup')
    """
    component = component_of(phase)
    if component == UNATTRIBUTED:
        return call if "." in call else f"{call}.server"
    return f"{call}.{component}" if call in _TAKES_OVER and call != component else phase


def takes_over(call: str) -> bool:
    """Whether a call of this component takes over everything below it, not only spans without a rule."""
    return call in _TAKES_OVER


def _api(phase: str, name: str, events: Mapping[str, Mark] | None = None, **conditions: Any) -> Rule:
    """A rule for an inner span of the apiserver."""
    return Rule(
        f"apiserver.{phase}", name=name, service="apiserver", kind=INTERNAL, events=events or {}, **conditions
    )


def _http(phase: str, **conditions: Any) -> Rule:
    """A rule for an HTTP call of the apiserver."""
    return Rule(phase, service="apiserver", kind=CLIENT, scope=_ROOT, **conditions)


def _webhook(kind: str) -> tuple[Rule, ...]:
    """
    A webhook's time is that of its HTTP call; without one, up to the event that ends it.

    The rest of the span around it is the apiserver's: the review encoded, the answer decoded, the patch applied. That
    is known of kube-apiserver's own span; one of the same name from another instrumentation is the call.
    """
    name, phase, own = f"Call {kind} webhook", f"webhook.{kind}", "apiserver.admission.webhook"
    inner: dict[str, Any] = {"name": name, "service": "apiserver", "kind": INTERNAL}
    return (
        Rule(phase, leaf=True, events={"Request completed": Mark(phase, own)}, **inner),
        Rule(own, scope=_TRACING, **inner),
        Rule(phase, **inner),
        _http(phase, parent=name),
    )


def _from(phase: str | None) -> Mark:
    """The event begins a phase of the apiserver; None: what follows is the span's own."""
    return Mark(after=phase and f"apiserver.{phase}")


def _both(before: str, after: str | None = None) -> Mark:
    """The event ends one phase and begins another."""
    return Mark(f"apiserver.{before}", after and f"apiserver.{after}")


_READ_BODY = {"limitedReadBody succeeded": _both("read_body"), "limitedReadBody failed": _both("read_body")}
_WRITE_RESPONSE = {"About to write a response": _from("response"), "Writing http response done": _from(None)}
_DECODE = {
    "About to convert to expected version": _from("decode"),
    "Conversion done": _from(None),
}
_WATCH_CACHE = {
    "Ready": _from("watchcache.wait"),
    "watchCache locked acquired": _from("watchcache.wait"),
    "watchCache fresh enough": _from("watchcache"),
    "Listed items from cache": _from("watchcache"),
}
_ENCODE = {
    "About to Encode": _from("storage.encode"),
    "Encode succeeded": _from("storage.transform"),
    "TransformToStorage succeeded": _from("storage"),
}


def _write(phase: str) -> dict[str, Mark]:
    """Events of a response that is written."""
    names = ("About to start writing response", "Write call succeeded", "Write call failed")
    return dict.fromkeys(names, _from(f"serialize.{phase}"))


def _beyond(phase: str, detail: str) -> tuple[Rule, ...]:
    """
    The wait for a server beyond the apiserver.

    It is in the innermost filter, authorization, since connecting has no span; of a log, in writing the response.
    """
    inner: dict[str, Any] = {"service": "apiserver", "kind": INTERNAL, "detail": detail}
    writing = {"About to write a response": Mark(after=phase), "Writing http response done": _from(None)}
    return (
        Rule(phase, name="authorization", **inner),
        Rule("apiserver.unattributed", name="Get", events=_WATCH_CACHE | writing, **inner),
    )


_KMS = {
    "About to decrypt DEK using remote service": Mark(after="kms.decrypt"),
    "DEK decryption succeeded": _from("storage.transform"),
    "DEK decryption failed": _from("storage.transform"),
}

_KUBELET: Final = "k8s.io/kubernetes/pkg/kubelet"
_CRI: Final = {
    "RunPodSandbox": "sandbox",
    "StopPodSandbox": "sandbox.stop",
    "PullImage": "image",
    "CreateContainer": "container.create",
    "StartContainer": "container.start",
    "StopContainer": "container.stop",
    "RemoveContainer": "container.remove",
    "ExecSync": "exec",
    "*": "status",
}
"""Call to a container runtime → what it does. What is below a call is the call's, but for what has a rule."""


def _node(phase: str, name: str, **conditions: Any) -> Rule:
    """A rule for a span of a kubelet or a container runtime."""
    return Rule(phase, name=name, **{"kind": INTERNAL, **conditions})


def _in_sandbox(phase: str, name: str) -> tuple[Rule, ...]:
    """The same below the call that makes a sandbox: before containerd 2.1 without a span between."""
    return tuple(_node(phase, name, parent=parent) for parent in ("cri.sandbox.*", "*/RunPodSandbox"))


_NODE_RULES: Final[tuple[Rule, ...]] = (
    # A pod's sync. Up to its first call the kubelet makes directories and waits for volumes, which is nearly all of it.
    _node("kubelet.volumes", "syncPod", scope=_KUBELET, detail="volumes"),
    _node("kubelet.sync", "syncPod", scope=_KUBELET, events={"first call": Mark("kubelet.volumes")}),
    _node("kubelet.terminate", "syncTerminat*Pod", scope=_KUBELET),
    Rule("apiserver.call", service="kubelet", kind=CLIENT, scope=_ROOT),
    # What the runtime does for it.
    *(
        Rule(f"runtime.{does}", name=f"runtime.v1*.*/{call}", kind=CLIENT, scope=_GRPC)
        for call, does in _CRI.items()
    ),
    *_in_sandbox("runtime.sandbox.create_task", "container.NewTask"),
    *_in_sandbox("runtime.sandbox.start_task", "*task.Start"),
    _node("cni.remove", "cni.Remove"),
    _node("cni.setup", "cni.*"),
    Rule("registry.resolve", name="remotes.docker.resolver.HTTPRequest", kind=CLIENT, detail="resolve"),
    Rule("registry.fetch", name="remotes.docker.resolver.HTTPRequest", kind=CLIENT),
    _node("registry.fetch", "pkg.unpack.unpacker.fetchLayer"),
    _node("runtime.image.unpack", "pkg.unpack.unpacker.unpack*"),
)

_RULES: Final[tuple[RuleFunction, ...]] = (
    *_NODE_RULES,
    # The request's SERVER span: the filter chain around the handler, and the handler itself where it has no span.
    Rule("apiserver.watch", service="apiserver", scope=_ROOT, kind=SERVER, request_verb="watch"),
    Rule("apiserver.handler", service="apiserver", scope=_ROOT, kind=SERVER, request_verb="nonresource"),
    Rule("apiserver.filters", service="apiserver", scope=_ROOT, kind=SERVER),
    # Filters. From 1.34 on they are nested, and the innermost, authorization, also holds handlers without a span.
    _api("authentication", "authentication"),
    _api("audit", "audit"),
    _api("impersonation", "*impersonation"),
    _api("flowcontrol.to_authorization", "priorityandfairness"),
    _api("watch", "authorization", request_verb="watch"),
    _api("handler", "authorization", request_verb="nonresource"),
    *_beyond("upstream.kubelet", "kubelet"),
    *_beyond("upstream", "upstream"),
    _api("authorization.to_handler", "authorization"),
    # Handlers.
    _api(
        "unattributed",
        "Create",
        _READ_BODY
        | _DECODE
        | {
            "About to store object in database": _from("admission"),
            "Write to database call succeeded": _from(None),
            "Write to database call failed": _from(None),
        }
        | _WRITE_RESPONSE,
    ),
    _api("unattributed", "Update", _READ_BODY | _DECODE | _WRITE_RESPONSE),
    _api("unattributed", "Patch", _READ_BODY | _WRITE_RESPONSE),
    _api(
        "unattributed",
        "Delete",
        _READ_BODY | {"Decoded delete options": _both("decode")} | _WRITE_RESPONSE,
    ),
    _api("unattributed", "Get", _WATCH_CACHE | _WRITE_RESPONSE),
    _api(
        "unattributed",
        "List",
        {"Listing from storage done": _from("response"), "Writing http response done": _from(None)},
    ),
    _api("watch", "WatchList"),
    _api("watch", "WatchServer.HandleHTTP"),
    _api("serialize.encode", "SerializeObject", _write("encode_and_write"), detail="interleaved"),
    _api("serialize.encode", "SerializeObject", _write("write")),
    # The watch cache. Waiting for freshness is separate from reading.
    _api("watchcache", "cacher*", _WATCH_CACHE),
    # Storage. In an update, admission runs inside GuaranteedUpdate, before the object is encoded.
    _api(
        "storage",
        "Create etcd3",
        _ENCODE | {"Txn call succeeded": _from("storage.decode"), "decode succeeded": _from(None)},
    ),
    _api(
        "storage",
        "GuaranteedUpdate etcd3",
        _ENCODE
        | {
            "initial value restored": _from("admission"),
            "Retry value restored": _from("admission"),
            "Transaction committed": _from("storage.decode"),
            "decode succeeded": _from(None),
        },
    ),
    _api("storage.list", "List(recursive=*) etcd3"),
    _api(
        "storage",
        "Get etcd3",
        {
            "Get call succeeded": _from("storage.transform"),
            "TransformFromStorage succeeded": _from("storage.decode"),
            "decode succeeded": _from(None),
        },
    ),
    _api("storage.transform", "Transform*Storage with envelopeTransformer", _KMS),
    # Calls out of the apiserver. `below` is for the spans below them.
    *_webhook("mutating"),
    *_webhook("validating"),
    _http("webhook.admission", detail="webhook"),
    _http("webhook.or_aggregator", detail="webhook_or_aggregator"),
    _http("apiserver.call", detail="api"),
    _http("aggregator"),
    Rule("egress.dial", name="Proxy via *", service="apiserver", kind=INTERNAL),
    # etcd. Without its SERVER span a call cannot be separated from the network; a stream, not from the work on pages.
    Rule("etcd.stream", name="etcdserverpb.KV/RangeStream", scope=_GRPC, kind=CLIENT),
    Rule("etcd.opaque", name="etcdserverpb.*", scope=_GRPC, kind=CLIENT, leaf=True),
    Rule("etcd.transport", name="etcdserverpb.*", scope=_GRPC, kind=CLIENT),
    Rule("etcd.server", name="etcdserverpb.*", scope=_GRPC, kind=SERVER, leaf=True),
    Rule("etcd.grpc", name="etcdserverpb.*", scope=_GRPC, kind=SERVER),
    Rule("etcd.watch", name="watch", scope="go.etcd.io/etcd*", kind=INTERNAL),
    Rule("etcd.read", name="range*", scope="go.etcd.io/etcd*", kind=INTERNAL),
    Rule(
        "etcd.apply",
        scope="go.etcd.io/etcd*",
        kind=INTERNAL,
        events={"Send raft proposal": Mark(after="etcd.raft"), "Receive raft result": Mark()},
    ),
)


_OWN_IDS: Final = frozenset(map(id, _RULES))
"""A rule is found among many by itself, not by its fields; a copy has other ids."""


class _Answer(NamedTuple):
    """The result of the rules for a signature."""

    phase: str
    events: Mapping[str, Mark]
    yields: bool


_REMEMBERED: Final = 4096
"""Results that a taxonomy caches, at most: real clusters have some hundreds of signatures."""


class Taxonomy:
    """
    An ordered table of rules; the first that matches wins. Frozen: `with_rule` gives a new one.

    Examples:
        >>> import k8strace
        >>> taxonomy = k8strace.Taxonomy().with_rule(k8strace.Rule("mesh.sidecar", service="envoy"))
        >>> taxonomy.phase(k8strace.Signature("envoy", "", 2, "ingress", None, True, "get"))
        'mesh.sidecar'

        A rule may also be a function, if patterns are not enough:

        >>> taxonomy = taxonomy.with_rule(lambda s: "etcd.compaction" if "Compact" in s.name else None)
    """

    __slots__ = ("_answer", "_by_name", "_general", "_rules")

    def __init__(self, rules: Sequence[RuleFunction] = _RULES) -> None:
        self._rules = tuple(rules)
        # Most rules have one name: only they, and rules without a fixed name, are tried for spans of that name.
        names = {rule.name for rule in rules if isinstance(rule, Rule)} - {None}
        exact = [name for name in names if name is not None and not _is_pattern(name)]
        self._by_name = {name: tuple(rule for rule in rules if _may_fit(rule, name)) for name in exact}
        self._general = tuple(rule for rule in rules if _may_fit(rule, None))
        # The next batch has the signatures of this one. Bounded, since senders choose the names.
        self._answer = lru_cache(_REMEMBERED)(self._ask)

    @property
    def rules(self) -> tuple[RuleFunction, ...]:
        """The rules, in the order in which they are tried."""
        return self._rules

    @property
    def phases(self) -> frozenset[str]:
        """Every phase that a rule names, also below calls that take over; those of functions are unknown."""
        rules = [rule for rule in self._rules if isinstance(rule, Rule)]
        marked = (phase for rule in rules for mark in rule.events.values() for phase in mark if phase)
        named = {UNATTRIBUTED, *(rule.phase for rule in rules), *marked}
        return frozenset(named | {below(call, phase) for call in _TAKES_OVER for phase in named})

    def with_rule(self, rule: RuleFunction) -> Taxonomy:
        """A taxonomy that tries `rule` before all others."""
        return Taxonomy((rule, *self._rules))

    def phase(self, signature: Signature) -> str:
        """The phase of a signature; `UNATTRIBUTED` if no rule matches."""
        return self.resolve(signature)[0]

    def resolve(self, signature: Signature) -> tuple[str, Mapping[str, Mark]]:
        """
        The phase of a signature, and its events: event name in lower case → mark.

        Some thousand results are cached, so a rule must always give the same result for a signature.
        """
        return self._answer(signature)[:2]

    def yields(self, signature: Signature) -> bool:
        """Whether the phase changes below a call (see `below`). That of your own rule does not."""
        return self._answer(signature).yields

    def _ask(self, signature: Signature) -> _Answer:
        for rule in self._by_name.get(signature.name, self._general):
            phase = rule(signature)
            if phase is not None:
                return _Answer(phase, _marks(rule), id(rule) in _OWN_IDS or rule in _RULES)
        return _Answer(UNATTRIBUTED, {}, yields=True)

    def __reduce__(self) -> tuple[type[Taxonomy], tuple[Sequence[RuleFunction]]]:
        """Copy and pickle the rules, without the cache."""
        return Taxonomy, (self._rules,)

    def __repr__(self) -> str:
        return f"Taxonomy({len(self._rules)} rules)"


def _may_fit(rule: RuleFunction, name: str | None) -> bool:
    """Whether the rule can fit a span of this name; None: a name that no rule spells out."""
    if not isinstance(rule, Rule) or rule.name is None:
        return True
    return _is_pattern(rule.name) if name is None else _like(rule.name, name)


def _marks(rule: RuleFunction) -> Mapping[str, Mark]:
    return {name.casefold(): mark for name, mark in rule.events.items()} if isinstance(rule, Rule) else {}


OWN: Final = Taxonomy()
"""The default taxonomy, shared by all calls without one, so that they share its cache."""
