"""Inputs that people really have: whose time it was. The right answers are in `data/field/expected.json`."""

import json
from pathlib import Path
from typing import Any

import pytest

import k8strace

FIELD = Path(__file__).parent / "data" / "field"
EXPECTED: dict[str, Any] = json.loads((FIELD / "expected.json").read_text())


@pytest.mark.parametrize(
    ("name", "components"),
    [("d1-traced-webhook.json", "components"), ("d3-aggregated-same-name.json", "outer_components")],
)
def test_a_server_that_traces_itself_does_not_take_the_blame_away(name: str, components: str) -> None:
    expected = EXPECTED[name]["expect"]
    requests = k8strace.join(k8strace.read(FIELD / name))
    attribution = k8strace.attribute(requests)
    assert len(requests) == expected["requests"]
    assert attribution.components(0) == expected[components]
    (group,) = attribution.by()
    assert group.all.components == expected[components]


def test_a_request_inside_another_is_there_and_counted_once() -> None:
    requests = k8strace.join(k8strace.read(FIELD / "d3-aggregated-same-name.json"))
    assert requests.column("counted_in").to_pylist() == [None, 0]
    assert sum(k8strace.attribute(requests).totals.values()) == requests[0].wall_ns
    inner = requests.where(outer_request=0)
    assert sum(k8strace.attribute(inner).totals.values()) == inner[0].wall_ns
