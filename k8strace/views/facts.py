"""Facts about spans and their join: what was read, and what is wrong with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress, pairwise
from typing import Any, Final

from k8strace.components import SERVER
from k8strace.requests import Requests
from k8strace.spans import Spans
from k8strace.views.text import clean, count, duration

__all__ = [
    "REASONS",
    "USES",
    "Finding",
    "Process",
    "findings",
    "longest",
    "processes",
    "roles_in_trace",
    "spans_per_source",
    "top_names",
]

USES: Final = {
    "request": "in call trees of requests",
    "prelude": "authentication above requests",
    "background": "etcd calls without a request",
    "sync": "syncs of pods, with their probes",
    "kubelet": "the kubelet's housekeeping, and what it was asked for",
    "runtime": "the container runtime's own work",
}
"""Use in the ledger → what it means."""

REASONS: Final = {
    "duplicate": "exact repeats of spans already read",
    "conflict": "ids seen before, with other content; the richer span was kept",
    "invalid_id": "no valid trace or span id",
    "orphan": "the span above never arrived",
    "root_missing": "parts of requests whose SERVER span never arrived",
    "caller": "calls of traced clients to the API server",
    "authentication": "authentication without its request: split traces, and 401s",
    "unrelated": "no part of any API request or pod",
}
"""Reason for setting aside in the ledger → what it means."""


# ── What was read ─────────────────────────────────────────────────────────────────────────────────


def spans_per_source(spans: Spans) -> list[int]:
    """Spans of each of `spans.sources`, in their order."""
    ends = list(accumulate(source.batches for source in spans.sources))
    if len(ends) == 1:
        return [len(spans)]
    batch_of = spans.resources.column("batch").to_pylist()
    per_batch: Counter[int] = Counter()
    for resource, number_of in _spans_per_resource(spans).items():
        per_batch[batch_of[resource]] += number_of
    return [sum(per_batch[batch] for batch in range(*part)) for part in pairwise([0, *ends])]


def _spans_per_resource(spans: Spans) -> Counter[int]:
    resource_of = spans.scopes.column("resource_spans").to_pylist()
    found: Counter[int] = Counter()
    for scope, number_of in Counter(spans.column("scope_spans").to_pylist()).items():
        found[resource_of[scope]] += number_of
    return found


@dataclass(slots=True)
class Process:
    """Processes of one service and instance."""

    service: str | None
    instance: str | None
    spans: int = 0
    version: str | None = None
    """Its version: `service.version`, or the user agent of an apiserver's requests to itself."""
    libraries: dict[str, set[str]] = field(default_factory=dict)
    """Instrumentation library → its versions."""


def processes(spans: Spans, requests: Requests) -> list[Process]:
    """The processes that sent the spans, most spans first, with their versions."""
    found: dict[tuple[str | None, str | None], Process] = {}
    by_resource: list[Process] = []
    for attributes in map(_text_attributes, spans.resources.column("attributes").to_pylist()):
        key = attributes.get("service.name"), attributes.get("service.instance.id")
        process = found.setdefault(key, Process(*key))
        process.version = process.version or attributes.get("service.version")
        by_resource.append(process)
    _count_spans(spans, by_resource)
    _note_libraries(spans, by_resource)
    _note_user_agents(requests, found.values())
    return sorted(found.values(), key=lambda each: (-each.spans, each.service or "", each.instance or ""))


def _text_attributes(attributes: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    pairs = ((each["key"], each["string_value"]) for each in attributes or ())
    return {key: value for key, value in pairs if value}


def _count_spans(spans: Spans, by_resource: list[Process]) -> None:
    for resource, number_of in _spans_per_resource(spans).items():
        by_resource[resource].spans += number_of


def _note_libraries(spans: Spans, by_resource: list[Process]) -> None:
    columns = (spans.scopes.column(name).to_pylist() for name in ("resource_spans", "name", "version"))
    for resource, name, version in zip(*columns, strict=True):
        if name and version:
            library = name.rpartition("/")[2]
            by_resource[resource].libraries.setdefault(library, set()).add(version.removeprefix("semver:"))


_OWN_AGENT: Final = re.compile(r"kube-apiserver/(v\d+\.\d+\.[^\s/]+)")


def _note_user_agents(requests: Requests, known: Iterable[Process]) -> None:
    """An apiserver calls itself and names its version. Unstamped builds say v0.0.0, which does not count."""
    agents = set(zip(requests.column("instance"), requests.column("user_agent"), strict=True))
    told: dict[str | None, set[str]] = {}
    for instance, agent in agents:
        match = _OWN_AGENT.match(agent or "")
        if match and not match[1].startswith("v0.0.0"):
            told.setdefault(instance, set()).add(match[1])
    for process in known:
        versions = told.get(process.instance, set())
        if (
            requests._joined.core.is_apiserver(process.service or "")
            and not process.version
            and len(versions) == 1
        ):
            (process.version,) = versions


def longest(requests: Requests, most: int | None) -> Requests:
    """The longest first, at most N. Long-running ones only if there are no others."""
    usual = requests.slowest(most)
    return usual if len(requests.where(long_running=False)) else requests.slowest(most, long_running=True)


# ── What is wrong ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about the data."""

    code: str
    """One word for machines."""
    count: int
    """How many spans, calls, requests or files."""
    text: str
    """A sentence for people, free of controls."""
    wrong: bool = True
    """False for what is normal, or was repaired."""


def findings(spans: Spans, requests: Requests) -> list[Finding]:
    """What is wrong with the data, then what is normal or was repaired, but worth knowing."""
    found = [
        *_torn(spans),
        *_no_requests(spans, requests),
        *_etcd_not_traced(requests),
        *_set_aside(requests),
        *_may_lack_spans(requests),
        *_dropped(spans),
        *_clocks(requests),
        *_outside(requests),
        *_repaired(requests),
    ]
    return sorted(found, key=lambda finding: not finding.wrong)


def _torn(spans: Spans) -> Iterator[Finding]:
    for issue in spans.issues:
        wrong = issue.severity != "info"
        if issue.code.startswith("torn"):
            text = f"{issue.source} is torn at byte {issue.offset:,}: {issue.message}. What came before was read."
        else:
            text = f"{issue.source}: {issue.message}."
        yield Finding(issue.code, issue.affected, clean(text, 600), wrong)


def _no_requests(spans: Spans, requests: Requests) -> Iterator[Finding]:
    if requests.joined.counts["requests"]:
        return
    services = sorted({clean(each["service"] or "unnamed", 40) for each in spans.processes})
    seen = f"they come from {', '.join(services[:8])}" if services else "there are no spans"
    yield Finding(
        "no_requests",
        0,
        "There is no API request here: a request is a SERVER span of the HTTP server scope (otelhttp) in an API"
        f" server; {seen}.{_could_be(spans, _with_ids(requests))}",
    )


def _could_be(spans: Spans, known: Sequence[bool]) -> str:
    """The SERVER spans that a request could be, and how to say so. Those without a usable id could not."""
    alike: Counter[tuple[str, str]] = Counter()
    resources = [_text_attributes(each) for each in spans.resources.column("attributes").to_pylist()]
    services = [
        resources[row].get("service.name", "") for row in spans.scopes.column("resource_spans").to_pylist()
    ]
    libraries = [name or "" for name in spans.scopes.column("name").to_pylist()]
    kinds, scopes = (spans.column(each).to_pylist() for each in ("kind", "scope_spans"))
    rows = zip(kinds, scopes, spans.column("name").to_pylist(), strict=True)
    for kind, scope, name in compress(rows, known):
        library = libraries[scope]
        is_http = library.endswith("net/http/otelhttp") if library else _HTTP_NAME.match(name or "")
        if kind == SERVER and is_http:
            alike[services[scope], library.rpartition("/")[2]] += 1
    return "".join(
        f" {count(number_of, 'SERVER span')} of service {clean(service or 'unnamed', 40)}"
        + (
            f" {'has' if number_of == 1 else 'have'} no scope name: something on the way dropped it."
            if not library
            else f" with scope {library} could be: if it is one, say so with --apiserver {clean(service, 40)},"
            f" or join(…, apiserver={clean(service, 40)!r})."
        )
        for (service, library), number_of in alike.most_common(3)
    )


def _with_ids(requests: Requests) -> list[bool]:
    """Span → it has a usable id."""
    core = requests._joined.core
    without = [name for name, *_ in core.ledger()].index("invalid_id")
    return [place != without for place in core.roles()]


_HTTP_NAME: Final = re.compile(
    r"(?:HTTP )?(?:GET|PUT|POST|PATCH|DELETE|HEAD|OPTIONS|CONNECT)\b|KubernetesAPI$"
)


def _etcd_not_traced(requests: Requests) -> Iterator[Finding]:
    servers = requests.etcd_calls.column("server_ns")
    missing, calls = servers.null_count, len(servers)
    if not missing:
        return
    yield Finding(
        "etcd_not_traced",
        missing,
        f"{missing:,} of {count(calls, 'etcd call')} came without etcd's own span: etcd was not traced, or its spans"
        " were lost. Their time is etcd.opaque: etcd and the network together.",
    )


def top_names(requests: Requests, role: str, most: int = 3) -> str:
    """The commonest names of the spans with a role: "etcdserverpb.Watch/Watch 59"."""
    return _commonest(_names(requests, role), most)


def _commonest(counted: Counter[str], most: int = 3) -> str:
    names = counted.most_common(most + 1)
    shown = [f"{clean(name, 60)} {number_of:,}" for name, number_of in names[:most]]
    return ", ".join([*shown, "…"] if len(names) > most else shown)


def _names(requests: Requests, role: str, services: Sequence[str] = ()) -> Counter[str]:
    """Name → spans with a role, of some services or of all."""
    core = requests._joined.core
    number = [name for name, *_ in core.ledger()].index(role)
    rows = [row for row, place in enumerate(core.roles()) if place == number]
    if services:
        of = requests.spans._columns.column("service_name")
        rows = [row for row in rows if of[row] in services]
    names = requests.spans._columns.column("name")
    return Counter(names[row] for row in rows)


def roles_in_trace(requests: Requests, prefix: str) -> Counter[str]:
    """Role in the ledger → spans, of all traces whose id begins so."""
    core = requests._joined.core
    names = [name for name, *_ in core.ledger()]
    traces = requests.spans.column("trace_id").to_pylist()
    return Counter(
        names[place]
        for trace, place in zip(traces, core.roles(), strict=True)
        if (trace or "").startswith(prefix)
    )


def _set_aside(requests: Requests) -> Iterator[Finding]:
    aside = requests.joined.ledger.set_aside
    if aside["root_missing"]:
        yield _root_missing(requests, aside["root_missing"])
    if aside["orphan"]:
        yield from _orphans(requests, aside["orphan"])
    if aside["duplicate"]:
        text = f"{count(aside['duplicate'], 'span')} came more than once. Each was counted once."
        yield Finding("duplicate", aside["duplicate"], text)
    if aside["conflict"]:
        what = count(aside["conflict"], "span")
        text = f"{what} came with an id that another span has. The richer span of each pair was used."
        yield Finding("conflict", aside["conflict"], text)
    if aside["invalid_id"]:
        text = f"{count(aside['invalid_id'], 'span')} came without a valid trace or span id."
        yield Finding("invalid_id", aside["invalid_id"], text)


def _root_missing(requests: Requests, number_of: int) -> Finding:
    text = (
        f"{count(number_of, 'span')} of requests whose own span never arrived: {top_names(requests, 'root_missing')}."
        " A request's own span is sent last: these were still open when the recording ended, or their spans were"
        " lost. They are in no sum."
    )
    return Finding("root_missing", number_of, text)


_OF_A_WATCH: Final = ("etcdserverpb.Watch/Watch", "watch")
"""etcd's side of a watch, and since 3.7 the span inside."""
_OF_A_NODE: Final = ("kubelet", "containerd", "crio", "cri-o")
"""Services of a node: what they send below spans that never arrived lies before the recording, or after its end."""


def _orphans(requests: Requests, number_of: int) -> Iterator[Finding]:
    names = _names(requests, "orphan")
    watches = names["etcdserverpb.Watch/Watch"]
    of_watches = sum(names.pop(name, 0) for name in _OF_A_WATCH) if watches else 0
    on_nodes = _names(requests, "orphan", _OF_A_NODE)
    names -= on_nodes
    of_runtime = on_nodes.total()
    if of_watches:
        what = "is etcd's side of a watch" if of_watches == 1 else "are etcd's side of watches"
        text = (
            f"{count(of_watches, 'span')} (etcdserverpb.Watch/Watch) {what} whose caller's span never arrived."
            " That is normal: the caller ends its span when its watch stream ends, if at all."
        )
        yield Finding("orphan", of_watches, text, wrong=False)
    if of_runtime:
        text = (
            f"{count(of_runtime, 'span')} of kubelets and container runtimes below spans that never arrived."
            " That is normal at both ends of a recording: a kubelet sends nothing in its last five seconds."
        )
        yield Finding("orphan", of_runtime, text, wrong=False)
    if lost := number_of - of_watches - of_runtime:
        text = (
            f"{count(lost, 'span')} below spans that never arrived: {_commonest(names)}."
            " Those were lost on the way, or lie outside the recording. They are in no sum."
        )
        yield Finding("orphan", lost, text)


def _may_lack_spans(requests: Requests) -> Iterator[Finding]:
    causes = Counter(requests.column("incomplete_cause"))
    if causes["span_lost"]:
        text = (
            f"{count(causes['span_lost'], 'request')} may lack spans:"
            " in the same trace are spans whose parent never arrived."
        )
        yield Finding("span_lost", causes["span_lost"], text)


def _dropped(spans: Spans) -> Iterator[Finding]:
    for what in ("attribute", "event", "link"):
        dropped = sum(filter(None, spans.column(f"dropped_{what}s_count").to_pylist()))
        if dropped:
            text = f"The senders dropped {count(dropped, what)} of their spans: more than their limits allow."
            yield Finding(f"dropped_{what}s", dropped, text)


def _clocks(requests: Requests) -> Iterator[Finding]:
    for row in requests.joined.clock_offsets:
        between = f"{clean(row['server'], 60)} and {clean(row['client'], 60)}"
        if row["verdict"] == "contradiction":
            text = (
                f"The clocks of {between} fit no single offset: {count(row['pairs'], 'call')} contradict each other"
                f" by up to {duration(row['low_ns'] - row['high_ns'])}. Clocks drift, several processes share a name,"
                " or spans end late. No time was moved; where etcd begins and ends can be off by that much."
            )
            yield Finding("clock_contradiction", row["pairs"], text)
        elif row["offset_ns"]:
            yield Finding("clock_offset", row["pairs"], _corrected(row))
        if row["set_aside"]:
            text = (
                f"Of {count(row['pairs'], 'call')} between {between}, {row['set_aside']:,} contradict the rest: a span"
                " ended late. They were set aside when the clocks were compared, and are in all sums."
            )
            yield Finding("clock_set_aside", row["set_aside"], text, wrong=False)


def _corrected(row: Mapping[str, Any]) -> str:
    side = "ahead of" if row["offset_ns"] > 0 else "behind"
    bounds = (("at least ", row["low_ns"]), ("at most ", row["high_ns"]))
    told = " and ".join(f"{word}{duration(ns)}" for word, ns in bounds if ns is not None)
    return (
        f"The clock of {clean(row['server'], 60)} was {duration(abs(row['offset_ns']))} {side} that of"
        f" {clean(row['client'], 60)}, by {count(row['pairs'], 'call')} ({told}). Its spans were moved by that."
    )


def _outside(requests: Requests) -> Iterator[Finding]:
    """Spans beyond their request's interval. Long-running requests are watched, not measured."""
    usual = requests.where(long_running=False)
    for column, when in (("async_tail_ns", "after its end"), ("pre_start_ns", "before its start")):
        beyond = [ns for ns in usual.column(column) if ns]
        if beyond:
            text = (
                f"{count(len(beyond), 'request')} had spans {when.replace('its', 'their')}, by up to"
                f" {duration(max(beyond))}. What lies outside a request is in no sum."
            )
            yield Finding(column, len(beyond), text, wrong=False)


_MOVED: Final = (
    "{were} moved from below `authentication`, which was over, to the request."
    " That is how kube-apiserver up to 1.32 sends them."
)
_PRELUDE: Final = (
    "had `authentication` above {them}: it comes before the request and is in no sum."
    " That is how kube-apiserver sends them from 1.34 on."
)
_SPLIT: Final = (
    "{were} joined to `authentication` in another trace, where each fits nothing else."
    " kube-apiserver from 1.33 on begins a new trace after it for most callers."
)
_EXTENDED: Final = (
    "{were} ended before the handling was over, and last as long as it."
    " That is how kube-apiserver 1.33 sends them."
)
_LOST: Final = "whose caller never arrived"
_BESIDE: Final = "{were} moved below the span that ran {them}: kube-apiserver sends them side by side."

_REPAIRS: Final = {
    "authentication_children": (_MOVED, False),
    "serialize_sibling": (f"(SerializeObject) {_BESIDE}", False),
    "webhook_sibling": (f"(webhook calls) {_BESIDE}", False),
    "prelude": (_PRELUDE, False),
    "split_authentication": (_SPLIT, False),
    "root_extended": (_EXTENDED, False),
    "microseconds": (
        "{were} widened by 1 µs, up to the end of what {them} waited for: these times are in µs, cut from finer ones.",
        False,
    ),
    "unended_parent": (
        "of watches {were} put below {them} filters: kube-apiserver never ends the span between, so it is never sent.",
        False,
    ),
    "orphan_link": (f"{_LOST} {{were}} put where a link of {{them}} points.", True),
    "orphan_rpc": (f"{_LOST} {{were}} put under the one open call of the same name around {{them}}.", True),
    "cycle": (
        "{were} cut from the span above: the parents ran in a circle, now cut at the earliest start.",
        True,
    ),
}
"""Kind → what was done and why, and whether that is a defect of this recording."""
_OF_REQUESTS: Final = ("prelude", "split_authentication", "root_extended")


def _repaired(requests: Requests) -> Iterator[Finding]:
    kinds = Counter(requests.repairs.column("kind").to_pylist())
    for kind, number_of in sorted(kinds.items()):
        if kind in ("duplicate", "conflict"):  # the ledger has them
            continue
        text, wrong = _REPAIRS.get(kind, ("{were} repaired.", False))
        words = {"were": "was", "them": "it"} if number_of == 1 else {"were": "were", "them": "them"}
        noun = "request" if kind in _OF_REQUESTS else "span"
        yield Finding(kind, number_of, f"{count(number_of, noun)} {text.format(**words)}", wrong)
