"""Files that people really have, rebuilt from public reports, give the answers that were worked out by hand."""

import json
from pathlib import Path

import pytest

import k8strace

FIELD = Path(__file__).parent / "data" / "field"
EXPECTED = {name: each["expect"] for name, each in json.loads((FIELD / "expected.json").read_text()).items()}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_field_input_is_read_as_expected(name):
    """Spans, requests, wall times, and what was set aside; or an error that names the cause."""
    expected = EXPECTED[name]
    if "error" in expected:
        with pytest.raises(k8strace.K8straceError, match=expected["error"]) as error:
            k8strace.read(FIELD / name)
        assert name in str(error.value)
        return
    spans = k8strace.read(FIELD / name)
    requests = k8strace.join(spans)
    if "spans" in expected:
        assert len(spans) == expected["spans"]
    if "requests" in expected:
        assert len(requests) == expected["requests"]
    if "wall_ns" in expected:
        assert sorted(request.wall_ns for request in requests) == expected["wall_ns"]
    if "long_running_requests" in expected:
        assert len(requests.where(long_running=True)) == expected["long_running_requests"]
    if "p99_ns" in expected:
        assert k8strace.attribute(requests).by()[0].quantile(0.99).wall_ns == expected["p99_ns"]
    if "total_wall_ns" in expected:
        assert sum(requests.column("wall_ns")) == expected["total_wall_ns"]
    if "issues" in expected:
        assert len(spans.issues) == len(expected["issues"])
        for issue, facts in zip(spans.issues, expected["issues"], strict=True):
            assert facts.pop("says", "") in issue.message
            assert {key: getattr(issue, key) for key in facts} == facts


@pytest.mark.parametrize("name", [name for name in EXPECTED if "issues" in EXPECTED[name]])
def test_scanning_a_field_input_says_the_same(name):
    """Piece by piece: the same spans and the same words."""
    whole, parts = k8strace.read(FIELD / name), list(k8strace.scan(FIELD / name, batch_bytes=1))
    assert sum(map(len, parts)) == len(whole)
    assert {issue.message for part in parts for issue in part.issues} == {
        issue.message for issue in whole.issues
    }


def test_all_field_inputs_are_there():
    """Every input has an answer, every answer an input."""
    assert {path.name for path in FIELD.iterdir()} - {"expected.json"} == set(EXPECTED)
