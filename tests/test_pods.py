"""Pods as kubelets see them: every sync, call, probe and request in a table, and starts that sum exactly."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import oracle
import pytest
from streamed import METHODS
from test_requests import _each_span, _single, resent

import k8strace
from k8strace import cli
from k8strace.pods.serving import Asked, requests_served

CAPTURE = Path(__file__).parent / "data" / "node" / "k8s-1.37_kubelet.otlp.zst"


@pytest.fixture(scope="module")
def pods() -> k8strace.Pods:
    return k8strace.pods(k8strace.read(CAPTURE))


@pytest.fixture(scope="module")
def sent() -> list[oracle.Row]:
    return oracle.spans(oracle.load(CAPTURE))


def ids(rows: Any) -> set[tuple[str, str]]:
    return {(row["trace_id"], row["span_id"]) for row in rows}


def ids_of(rows: list[oracle.Row]) -> set[tuple[str, str]]:
    return {(row.trace_id.hex(), row.span_id.hex()) for row in rows}


# ── Everything is in a table ──────────────────────────────────────────────────────────────────────


def test_every_sync_is_a_row(pods: k8strace.Pods, sent: list[oracle.Row]) -> None:
    syncs = [row for row in sent if row.name in ("syncPod", "syncTerminatingPod", "syncTerminatedPod")]
    assert len(syncs) == len(pods.syncs) > 20
    assert ids_of(syncs) == ids(k8strace.Table(pods.syncs._arrow()))
    assert Counter(pods.syncs.column("name")) == Counter(row.name for row in syncs)
    assert Counter(pods.syncs.column("pod_uid")) == Counter(row.attributes["k8s.pod.uid"] for row in syncs)


def test_every_pod_is_a_row(pods: k8strace.Pods, sent: list[oracle.Row]) -> None:
    known = {
        (row.attributes["k8s.pod.uid"], row.attributes["k8s.namespace.name"], row.attributes["k8s.pod.name"])
        for row in sent
        if row.is_sync
    }
    assert known == {(pod.pod_uid, pod.namespace, pod.name) for pod in pods}
    assert {row.resource["host.name"] for row in sent if row.is_sync} == set(pods.column("node"))


def test_every_call_to_the_runtime_is_a_row_with_both_its_sides(
    pods: k8strace.Pods, sent: list[oracle.Row]
) -> None:
    made = [row for row in sent if row.is_cri and row.kind == oracle.CLIENT]
    by_id = {row.id: row for row in sent}
    answered = {
        by_id[row.trace_id, row.parent_span_id].id: row
        for row in sent
        if row.is_cri and row.kind == oracle.SERVER and (row.trace_id, row.parent_span_id) in by_id
    }
    calls = {(row["trace_id"], row["span_id"]): row for row in pods.cri_calls}
    assert ids_of(made) <= set(calls)
    assert pods.joined.counts["cri_pairs"] == len(answered) > 100
    for row in made:
        call = calls[row.trace_id.hex(), row.span_id.hex()]
        server = answered.get(row.id)
        assert call["client_ns"] == row.end - row.start
        assert call["server_ns"] == (None if server is None else server.end - server.start)
        assert call["operation"] == row.name.rpartition("/")[2]


def test_every_probe_is_a_row_and_in_no_sum(pods: k8strace.Pods, sent: list[oracle.Row]) -> None:
    """A command below a sync that had ended when it began is a probe; here no other is."""
    by_id = {row.id: row for row in sent}
    probes = []
    for row in sent:
        above = by_id.get((row.trace_id, row.parent_span_id))
        if row.is_command and above is not None and above.is_sync and row.start >= above.end:
            probes.append(row)
    assert ids_of(probes) == ids(pods.probes)
    assert len(probes) == 25
    assert Counter(pods.probes.column("failed").to_pylist()) == {False: 25}
    (first,) = [sync for sync in pods.syncs.where(pod="exec-0") if sync.detached_spans]
    assert first.async_tail_ns > 60e9
    assert first.wall_ns < 1e9


def test_a_hook_is_waited_for(pods: k8strace.Pods) -> None:
    hooks = [row for row in pods.cri_calls if row["operation"] == "ExecSync" and row["purpose"] == "sync"]
    assert {pods.syncs[row["sync"]].pod for row in hooks} == {"hook-0"}
    (pod,) = pods.where(name="hook-0")
    assert pod.ending_parts["container.hook"] == hooks[-1]["client_ns"]


def test_every_request_of_a_kubelet_is_a_row(pods: k8strace.Pods, sent: list[oracle.Row]) -> None:
    made = [row for row in sent if row.service == "kubelet" and row.kind == oracle.CLIENT and row.is_http]
    served = [row for row in sent if row.service == "kubelet" and row.kind == oracle.SERVER]
    rows = list(pods.requests)
    assert ids([row for row in rows if row["direction"] == "made"]) == ids_of(made)
    assert ids([row for row in rows if row["direction"] == "served"]) == ids_of(served)
    assert {row["http_status"] for row in rows} == {
        row.attributes.get("http.response.status_code") for row in made + served
    }


def test_housekeeping_is_counted_by_operation(pods: k8strace.Pods, sent: list[oracle.Row]) -> None:
    by_id = {row.id: row for row in sent}

    def keeps_house(row: oracle.Row) -> bool:
        above = by_id.get((row.trace_id, row.parent_span_id))
        return not row.parent_span_id or (above is not None and above.name.endswith("GarbageCollect"))

    expected = Counter(
        row.name.rpartition("/")[2]
        for row in sent
        if row.is_cri and row.kind == oracle.CLIENT and keeps_house(row)
    )
    assert {row["operation"]: row["calls"] for row in pods.housekeeping} == expected


# ── Sums ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["critical_path", "active_share"])
def test_the_parts_of_a_sync_sum_to_its_wall(pods: k8strace.Pods, method: Any) -> None:
    attribution = k8strace.attribute(pods.syncs, method=method)
    for sync in pods.syncs:
        assert sum(attribution[sync].phases.values()) == sync.wall_ns
    assert set(attribution.component_names) == {"apiserver", "kubelet", "runtime", "cni", "registry"} - (
        set() if "apiserver" in attribution.component_names else {"apiserver"}
    )


def test_starts_and_endings_sum_exactly(pods: k8strace.Pods) -> None:
    for pod in pods:
        assert sum(pod.start_parts.values()) == (pod.start_ns or 0)
        assert sum(pod.ending_parts.values()) == (pod.ending_ns or 0)
    assert sum(pods.start_totals.values()) == sum(filter(None, pods.column("start_ns")))


def test_a_start_lasts_until_the_last_container_was_started_first(
    pods: k8strace.Pods, sent: list[oracle.Row]
) -> None:
    """By the spans themselves: of `fail-0` and `init-0` each, which start containers more than once."""
    for name, which in (("fail-0", 0), ("init-0", 1), ("plain-0", 0), ("pull-0", 0)):
        syncs = [row for row in sent if row.name == "syncPod" and row.attributes["k8s.pod.name"] == name]
        below = {(row.trace_id, row.span_id) for row in syncs}
        starts = sorted(
            row.end
            for row in sent
            if (row.trace_id, row.parent_span_id) in below
            and row.kind == oracle.CLIENT
            and row.name.endswith("/StartContainer")
        )
        (pod,) = pods.where(name=name)
        assert pod.started
        assert pod.start_ns == starts[which] - min(row.start for row in syncs)


def test_what_never_started_says_what_it_waited_for(pods: k8strace.Pods) -> None:
    (volumes,) = pods.where(name="nocm-0")
    assert not volumes.started
    assert volumes.start_parts["waiting.volumes"] > 0.99 * (volumes.start_ns or 0)
    assert "unmounted volumes" in (volumes.error or "")
    (pull,) = pods.where(name="nopull-0")
    assert pull.start_parts["waiting.backoff"] > 0.9 * (pull.start_ns or 0)
    assert pull.start_parts["image.resolve"] > 0


def test_the_tree_of_a_start_is_that_of_its_syncs(pods: k8strace.Pods) -> None:
    for pod in pods:
        if pod.start_ns is None:
            continue
        path = pod.tree.graph["critical_path"]
        assert sum(end - start for _, start, end, _ in path) == pod.start_ns
        assert all(a[2] == b[1] for a, b in pairwise(path))


# ── With the API server ───────────────────────────────────────────────────────────────────────────


def test_callers_are_those_that_links_name(pods: k8strace.Pods, sent: list[oracle.Row]) -> None:
    kubelets = {row.id: row for row in sent if row.service == "kubelet" and row.kind == oracle.CLIENT}
    linked = {
        row.id: kubelets[link.trace_id, link.span_id]
        for row in sent
        for link in row.links
        if row.is_request and (link.trace_id, link.span_id) in kubelets
    }
    called = [request for request in pods.joined.requests if request.caller_service == "kubelet"]
    assert len(called) == len(linked) > 50
    for request in called:
        caller = linked[bytes.fromhex(request.trace_id), bytes.fromhex(request.span_id)]
        assert (request.caller_trace_id, request.caller_span_id) == (
            caller.trace_id.hex(),
            caller.span_id.hex(),
        )
        assert request.caller_ns == caller.end - caller.start
    answered = {row["request"] for row in pods.requests if row["request_by"] == "caller"}
    assert answered == {request.request for request in called}


def test_requests_are_tied_to_pods_and_say_how(pods: k8strace.Pods) -> None:
    for row in pods.requests:
        if row["tied_by"] == "name":
            (pod,) = pods.where(pod_uid=row["pod_uid"])
            assert row["namespace"] == pod.namespace
            assert pod.name in row["path"]
        elif row["resource"] == "pods" and row["subresource"] == "status":
            assert row["object_name"] not in pods.column("name")


def test_nearly_all_spans_have_a_use(pods: k8strace.Pods) -> None:
    ledger = pods.joined.ledger
    assert sum(ledger.used.values()) + sum(ledger.set_aside.values()) == ledger.spans
    assert ledger.set_aside["unrelated"] <= ledger.spans // 100


def test_what_a_kubelet_served_is_tied_to_the_request_that_asked_for_it(
    pods: k8strace.Pods, sent: list[oracle.Row]
) -> None:
    """By the spans themselves: the only request of an API server that names the pod and was open at that time."""
    words = {"containerLogs": "/log", "exec": "/exec", "attach": "/attach", "portForward": "/portforward"}
    expected = {}
    for row in sent:
        _, first, *rest = str(row.attributes.get("url.path", "/")).split("/")
        if row.service != "kubelet" or row.kind != oracle.SERVER or first not in words:
            continue
        wanted = f"/api/v1/namespaces/{rest[0]}/pods/{rest[1]}{words[first]}"
        asked = [
            each
            for each in sent
            if each.is_request
            and str(each.attributes.get("url.path", "")) == wanted
            and each.start <= row.start <= each.end
        ]
        expected[row.trace_id.hex()] = asked[0].trace_id.hex() if len(asked) == 1 else None
    found = {
        row["trace_id"]: None if row["request"] is None else pods.joined.requests[row["request"]].trace_id
        for row in pods.requests
        if row["trace_id"] in expected
    }
    assert found == expected
    by = Counter((row["direction"], row["request_by"]) for row in pods.requests)
    assert not by["served", "caller"]
    assert not by["made", "path"]


def served(path: str, start: int, node: str = "a") -> dict[str, Any]:
    return {"direction": "served", "path": path, "node": node, "start_unix_nano": start}


def test_a_served_request_is_tied_when_exactly_one_fits() -> None:
    def logs(request: int, start: int, end: int) -> Asked:
        return Asked(request, "pods", "log", "n", "p", "/api/v1/namespaces/n/pods/p/log", start, end)

    row = served("/containerLogs/n/p/c", 50)
    assert requests_served([row], [logs(0, 0, 100)]) == [0]
    assert requests_served([row], [logs(0, 60, 100), logs(1, 0, 40)]) == [None]  # none was open
    assert requests_served([row], [logs(0, 0, 100), logs(1, 40, 60)]) == [None]  # two were
    assert requests_served([row, row], [logs(0, 0, 100)]) == [None, None]  # it asked once
    assert requests_served([served("/exec/n/p/c", 50)], [logs(0, 0, 100)]) == [None]


def test_what_goes_through_a_nodes_proxy_is_tied_by_its_path() -> None:
    def proxied(request: int, node: str) -> Asked:
        target = f"/api/v1/nodes/{node}/proxy/stats/summary?only_cpu=true"
        return Asked(request, "nodes", "proxy", None, node, target, 0, 100)

    both = [proxied(0, "a"), proxied(1, "b")]
    assert requests_served([served("/stats/summary", 5), served("/stats/summary", 5, "b")], both) == [0, 1]


# ── Laws ──────────────────────────────────────────────────────────────────────────────────────────

Said = dict[str, Any]


def said(pods: k8strace.Pods) -> Said:
    """All that is said: every pod, every sync with its parts and tree, and every row of every table."""
    requests = pods.joined.requests
    names = {request.request: (request.trace_id, request.span_id) for request in requests}
    syncs = list(k8strace.Table(pods.syncs._arrow()))
    ids = {row["sync"]: (row["trace_id"], row["span_id"]) for row in syncs}
    divided = [k8strace.attribute(pods.syncs, method=method) for method in METHODS]  # type: ignore[arg-type]

    def named(row: dict[str, Any]) -> tuple[Any, ...]:
        known = {"request": names, "sync": ids}
        return tuple(known[key].get(value) if key in known else value for key, value in row.items())

    return {
        "pods": [{**row, "pod": None} for row in k8strace.Table(pods._arrow())],
        "syncs": {
            ids[sync.sync]: (
                {**row, "sync": None},
                sorted(sync.tree.edges),
                sync.tree.graph["critical_path"],
                [attribution[sync].phases for attribution in divided],
            )
            for sync, row in zip(pods.syncs, syncs, strict=True)
        },
        "probes": Counter(map(named, pods.probes)),
        "cri_calls": Counter(map(named, pods.cri_calls)),
        "requests": Counter(map(named, pods.requests)),
        "housekeeping": list(pods.housekeeping),
    }


@pytest.mark.parametrize("times", [1, 2])
def test_order_split_and_repetition_do_not_matter(pods: k8strace.Pods, times: int) -> None:
    again = resent(oracle.load(CAPTURE), Random(times), times)
    assert said(k8strace.pods(k8strace.decode(again))) == said(pods)


SECOND = 1_000_000_000


def test_a_stream_ends_with_the_same_syncs_and_probes(pods: k8strace.Pods) -> None:
    """What is given out again replaces what was said of its ids."""
    messages = oracle.load(CAPTURE)
    Random(7).shuffle(messages)
    stream = k8strace.RequestStream()
    syncs: dict[Any, Any] = {}
    calls: dict[Any, Any] = {}
    for now, message in enumerate(messages):
        stream.feed(k8strace.decode([message]), now_ns=now)
        take(stream.take(now_ns=now), syncs, calls)
    take(stream.flush(), syncs, calls)
    whole = said(pods)
    assert syncs == whole["syncs"]
    of_batch = {(row["trace_id"], row["span_id"]): unnumbered(row) for row in pods.cri_calls}
    assert calls == of_batch


def unnumbered(row: dict[str, Any]) -> dict[str, Any]:
    """Without what only other traces tell: the number of its sync, and the name of a container made earlier."""
    return {**row, "sync": row["sync"] is not None, "container": row["container"] is not None}


def take(requests: k8strace.Requests, syncs: dict[Any, Any], calls: dict[Any, Any]) -> None:
    part = k8strace.pods(requests)
    syncs.update(said(part)["syncs"])
    calls.update({(row["trace_id"], row["span_id"]): unnumbered(row) for row in part.cri_calls})


def test_a_sync_is_given_out_when_it_is_whole_and_later_probes_are_updates() -> None:
    """Its trace goes on for as long as the pod lives; it is not held until then."""
    messages = oracle.load(CAPTURE)
    rows = [row for row in oracle.spans(messages) if row.is_sync and row.name == "syncPod"]
    probed = next(row for row in rows if row.attributes["k8s.pod.name"] == "exec-0")
    own = [parts for parts in _each_span(messages) if parts[2].trace_id == probed.trace_id]
    stream = k8strace.RequestStream()
    for parts in own:
        if parts[2].start_time_unix_nano < probed.end:
            stream.feed(k8strace.decode([_single(parts)]), now_ns=0)
    first = k8strace.pods(stream.take(now_ns=0))
    assert probed.trace_id.hex() in first.syncs.column("trace_id")
    for parts in own:
        if parts[2].start_time_unix_nano >= probed.end:
            stream.feed(k8strace.decode([_single(parts)]), now_ns=SECOND)
    second = k8strace.pods(stream.take(now_ns=SECOND))
    assert len(second.probes) > len(first.probes)
    assert (
        second.where(name="exec-0").column("start_ns").to_pylist()
        == first.where(name="exec-0").column("start_ns").to_pylist()
    )


def test_the_page_shows_what_report_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "howto" / "pods.md").read_text("utf-8")
    shown = page.partition("\n…\n")[2].partition("\n…\n```")[0]
    assert "Why these pods started slowly" in shown
    assert cli.main(["report", "tests/data/node/k8s-1.37_kubelet.otlp.zst"]) == 0
    assert shown in capsys.readouterr().out


def section(page: str) -> str:
    """Why pods started slowly, in the page."""
    return page.partition('id="pods"')[2].partition("</section>")[0]


def test_the_page_draws_the_slowest_start(pods: k8strace.Pods) -> None:
    page = section(pods.joined.requests.to_html() or "")
    slow = pods.where(started=True).slowest(1)[0]
    assert f"The start of {slow.name}" in page
    table, _, drawn = page.partition("<h3>")
    rows = re.findall(r"<tr><th.*?</tr>", drawn)
    assert table.count("<tr><th") - 1 == len(pods.slowest(10))
    assert rows[1].count("<rect") >= 2  # open, and waited for
    assert int(re.findall(r'<data value="(\d+)"', rows[1])[0]) == slow.start_ns


def test_the_page_names_no_pod_if_it_must_not(pods: k8strace.Pods) -> None:
    page = section(pods.joined.requests.to_html(redact=True) or "")
    assert page
    for name in {*pods.column("name"), *pods.column("namespace"), *pods.column("node")}:
        assert not re.search(rf"\b{re.escape(name)}\b", page), name


def test_the_page_of_some_requests_says_nothing_of_pods(pods: k8strace.Pods) -> None:
    assert not section(pods.joined.requests.where(verb="get").to_html() or "")


# ── Several nodes ─────────────────────────────────────────────────────────────────────────────────


def other_node(name: str, skew_ns: int) -> list[Any]:
    """The same again on another node, whose runtime's clock is ahead. Runtimes do not say where they run."""
    batches = oracle.load(CAPTURE)
    for by_resource in (each for batch in batches for each in batch.resource_spans):
        attributes = {each.key: each.value for each in by_resource.resource.attributes}
        service = attributes["service.name"].string_value
        if service not in ("kubelet", "containerd"):
            del by_resource.scope_spans[:]
        if "host.name" in attributes:
            attributes["host.name"].string_value = name
        for span in (span for by_scope in by_resource.scope_spans for span in by_scope.spans):
            span.trace_id = bytes([span.trace_id[0] ^ 0x5A]) + span.trace_id[1:]
            del span.links[:]
            for each in span.attributes:
                if each.key == "k8s.pod.uid":
                    each.value.string_value += "-b"
            moved = skew_ns if service == "containerd" else 0
            span.start_time_unix_nano += moved
            span.end_time_unix_nano += moved
    return batches


def test_the_runtimes_of_two_nodes_are_two(pods: k8strace.Pods) -> None:
    both = k8strace.pods(k8strace.decode(oracle.load(CAPTURE) + other_node("kubl-1", 5 * SECOND)))
    one, other = (both.where(node=node) for node in ("kubl-0", "kubl-1"))
    assert (
        one.column("start_ns").to_pylist()
        == other.column("start_ns").to_pylist()
        == pods.column("start_ns").to_pylist()
    )
    assert [pod.start_parts for pod in one] == [pod.start_parts for pod in other]
    offsets = {
        row["client"]: row["offset_ns"] for row in both.joined.clock_offsets if row["server"] == "containerd"
    }
    assert offsets.keys() == {"kubelet/kubl-0", "kubelet/kubl-1"}
    assert offsets["kubelet/kubl-0"] == 0
    assert abs(offsets["kubelet/kubl-1"] - 5 * SECOND) < 1_000_000
