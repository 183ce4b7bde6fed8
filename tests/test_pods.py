"""Pods as kubelets see them: every sync, call, probe and request in a table, and starts that sum exactly."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import oracle
import pytest

import k8strace

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
    assert sum(pods.start_totals().values()) == sum(filter(None, pods.column("start_ns")))


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
    called = [request for request in pods.joined if request.caller_service == "kubelet"]
    assert len(called) == len(linked) > 50
    for request in called:
        caller = linked[bytes.fromhex(request.trace_id), bytes.fromhex(request.span_id)]
        assert (request.caller_trace_id, request.caller_span_id) == (
            caller.trace_id.hex(),
            caller.span_id.hex(),
        )
        assert request.caller_ns == caller.end - caller.start
    answered = {row["request"] for row in pods.requests} - {None}
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
