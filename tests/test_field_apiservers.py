"""Inputs that people have: which service is the apiserver, what stays open, and who called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import k8strace
from k8strace.views.facts import findings

FIELD = Path(__file__).parent / "data" / "field"


def joined(name: str, **options: Any) -> k8strace.Requests:
    return k8strace.join(k8strace.read(FIELD / f"{name}.json"), **options)


def renamed(name: str, service: str, **more: str) -> bytes:
    """The same, from a service of another name, with more attributes of its resource."""
    document = json.loads((FIELD / f"{name}.json").read_text())
    for resource in document["resourceSpans"]:
        for attribute in resource["resource"]["attributes"]:
            if attribute["value"]["stringValue"] in ("apiserver", "kube-apiserver-cluster-a"):
                attribute["value"]["stringValue"] = service
                resource["resource"]["attributes"] += [
                    {"key": key, "value": {"stringValue": value}} for key, value in more.items()
                ]
                break
    return json.dumps(document).encode()


def read(data: bytes, tmp_path: Path) -> k8strace.Spans:
    (tmp_path / "spans.json").write_bytes(data)
    return k8strace.read(tmp_path / "spans.json")


def test_a_renamed_apiserver_is_recognised_and_rules_for_the_apiserver_hold() -> None:
    requests = joined("d5-renamed-apiserver")
    assert len(requests) == 1
    assert k8strace.attribute(requests).components(0) == {"apiserver": 5_000_000, "etcd": 5_000_000}


def test_an_apiserver_can_be_named_and_then_no_other_is_one() -> None:
    assert len(joined("d5-renamed-apiserver", apiserver="kube-apiserver-cluster-a")) == 1
    assert len(joined("d5-renamed-apiserver", apiserver=["apiserver", "other"])) == 0


def test_a_stream_recognises_a_renamed_apiserver_from_a_later_batch(tmp_path: Path) -> None:
    """The span that tells comes last."""
    data = json.loads((FIELD / "d5-renamed-apiserver.json").read_text())["resourceSpans"]
    stream = k8strace.RequestStream()
    for resource in reversed(data):
        stream.feed(read(json.dumps({"resourceSpans": [resource]}).encode(), tmp_path), 0)
    assert len(stream.take(0)) == 1
    named = k8strace.RequestStream(apiserver="other")
    named.feed(k8strace.read(FIELD / "d5-renamed-apiserver.json"), 0)
    assert len(named.flush()) == 0


def test_spans_without_scopes_are_named() -> None:
    spans = k8strace.read(FIELD / "d9-scopes-lost.json")
    (finding,) = findings(spans, k8strace.join(spans))
    assert "1 SERVER span of service apiserver has no scope name" in finding.text


def test_server_spans_that_could_be_requests_are_named_with_what_to_say() -> None:
    spans = k8strace.read(FIELD / "d5-renamed-apiserver.json")
    (finding, *_) = findings(spans, k8strace.join(spans, apiserver="none"))
    assert "1 SERVER span of service kube-apiserver-cluster-a with scope otelhttp" in finding.text
    assert "--apiserver kube-apiserver-cluster-a" in finding.text


def test_an_answer_of_101_is_long_running() -> None:
    requests = joined("d7-console-101")
    assert requests.column("long_running").to_pylist().count(True) == 1
    assert k8strace.attribute(requests).by()[0].quantile(0.99).wall_ns == 10_000_000


@pytest.mark.parametrize("name", ["f1-one-member-only-fails", "f2-etcd-calls-all-failed"])
def test_a_call_that_failed_bounds_a_clock_from_one_side_and_the_clocks_agree(name: str) -> None:
    requests = joined(name)
    assert {row["verdict"] for row in requests.joined.clock_offsets} == {"agree"}
    assert sum(requests.column("wall_ns")) == len(requests) * 10_000_000
    assert not [finding for finding in findings(requests.spans, requests) if finding.code.startswith("clock")]


def test_any_attribute_of_the_resource_is_a_key(tmp_path: Path) -> None:
    data = renamed("d5-renamed-apiserver", "apiserver", **{"k8s.cluster.name": "blue"})
    requests = k8strace.join(read(data, tmp_path))
    key = "resource.k8s.cluster.name"
    assert len(requests.where(**{key: "blue"})) == 1
    assert len(requests.where(**{key: None})) == 0
    assert k8strace.attribute(requests).by(key)[0].keys == {key: "blue"}
