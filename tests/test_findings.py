"""Findings: what is wrong, in words, with its cost."""

import os
import re
from functools import cache
from pathlib import Path

import pytest
from builder import batches
from planted import PLANTS, Garden

import k8strace
from k8strace.findings import DETECTORS

DATA = Path(__file__).parent / "data"
REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "findings.md"
CAPTURES = sorted(DATA.glob("k8s-*.otlp.zst"))
CODES = [detector.__name__ for detector in DETECTORS]
SEEDS = range(int(os.environ.get("K8STRACE_PLANTED_SEEDS", "2")))

# What is truly wrong in the recordings, by how they were made: webhooks with Nagle's algorithm on take 50 ms, and one
# call in 200 stalls for 2.5 s, longer than the timeout of 2 s; failurePolicy is Ignore.
TRUE = {"webhook_slow", "webhook_timeout", "webhook_fails_open"}

# Several per cent of the time of the recording, so that they may be told, too, of what is planted for another code.
FOLLOWS = {
    "update_conflicts": {"retries_cost"},
    "etcd_retries": {"retries_cost", "etcd_opaque"},
    "webhook_timeout": {"webhook_slow", "webhook_fails_open"},
    "webhook_fails_open": {"webhook_slow"},
    "work_after_client_left": {"refused_requests"},
}


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_section_in_the_reference(code):
    section = re.search(rf"^## {code}\n(.*?)(?=^## |\Z)", REFERENCE.read_text(), re.DOTALL | re.MULTILINE)
    assert section, f"no section about {code}"
    for part in ("**Means**", "**Told by**", "**Do**", "**Mistaken for**"):
        assert part in section[1]


def test_nothing_is_wrong_with_no_requests():
    none = k8strace.join(k8strace.decode(b""))
    assert list(none.findings()) == []


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_healthy_recordings_have_no_warning_but_true_ones(path):
    found = k8strace.join(k8strace.read(path)).findings()
    assert {row["code"] for row in found if row["severity"] != "info"} <= TRUE


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_conditions_select_at_least_the_requests_that_are_told(path):
    requests = k8strace.join(k8strace.read(path))
    for row in requests.findings():
        assert len(requests.where(*row["where"])) >= row["requests"], row["code"]
        assert 0 <= row["share"] <= 1
        assert row["start_unix_nano"] < row["end_unix_nano"]
        assert len(requests.find(row["example_trace_id"])) >= 1


# ── What was planted is found, and nothing else ───────────────────────────────────────────────────

BASE = DATA / "k8s-1.36_etcd-3.6.otlp.zst"


@cache
def before() -> tuple[list[dict], int, int, str]:
    """Findings of the recording as it is; from when to when it lasts; its apiserver."""
    requests = k8strace.join(k8strace.read(BASE))
    starts = requests.column("start_unix_nano")
    return list(requests.findings()), min(starts), max(starts), requests.column("instance")[0]


def identity(row):
    return row["code"], tuple(row["where"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("code", PLANTS)
def test_what_is_planted_is_found_with_its_requests_and_its_ns(code, seed, tmp_path):
    """Precision 1 and recall 1: the finding has the planted requests and ns, and no other one has changed."""
    base, begin, end, instance = before()
    garden = Garden(seed, begin, end, instance)
    plant = PLANTS[code](garden)
    file = tmp_path / "planted.otlp"
    file.write_bytes(b"".join(message.SerializeToString() for message in batches(*plant.traces)))
    rows = list(k8strace.join(k8strace.read([BASE, file])).findings())
    known = {identity(row): row for row in base}
    new = [
        row
        for row in rows
        if row["code"] == code and row["requests"] != known.get(identity(row), {}).get("requests")
    ]
    (found,) = new
    was = known.get(identity(found), {"requests": 0, "ns": 0, "evidence": {}})
    assert found["requests"] - was["requests"] == plant.requests
    assert found["ns"] - was["ns"] == plant.ns
    for name, number in plant.evidence.items():
        assert found["evidence"][name] - was["evidence"].get(name, 0) == number
    others = {row["code"] for row in rows if known.get(identity(row), {}).get("ns") != row["ns"]}
    assert others <= {code} | FOLLOWS.get(code, set())
