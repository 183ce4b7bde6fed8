"""Calls that waited behind a heavy one are told, by how much, and others are not: simulations whose truth is known."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import interference as simulations  # noqa: E402

import k8strace  # noqa: E402
from k8strace.findings.exposure import effect  # noqa: E402

RUNS = int(os.environ.get("K8STRACE_INTERFERENCE_RUNS", "8"))
"""How many healthy simulations are tried, and at least five planted ones; 1,000 before a release."""


@pytest.mark.slow
def test_heavy_calls_that_slow_nobody_are_not_told() -> None:
    """The error rate: at most one run in a hundred, with big lists that come while all is slow."""
    assert len(list(simulations.alarms(range(RUNS)))) <= RUNS // 100


@pytest.mark.slow
def test_heavy_calls_that_slow_others_are_told_and_by_how_much() -> None:
    runs = max(5, RUNS // 5)
    found = list(simulations.ratios(range(runs)))
    assert len(found) >= 0.9 * runs
    assert median(ratio for ratio, _ in found) == pytest.approx(1, abs=0.1)
    assert sum(within for _, within in found) >= 0.8 * len(found)


def test_a_slow_member_is_told_with_the_requests_that_waited_for_it() -> None:
    run = simulations.simulate(simulations.planted(2))
    requests = k8strace.join(k8strace.decode(run.message))
    (found,) = [row for row in requests.findings() if row["code"] == "head_of_line"]
    assert len(requests.where(*found["where"])) >= found["requests"] > 0
    assert found["evidence"]["low_ns"] < found["evidence"]["mean_ns"] < found["evidence"]["high_ns"]
    assert found["ns"] == pytest.approx(run.interference_ns, rel=0.1)


def test_the_same_in_every_block_has_no_error() -> None:
    """Two blocks, one call in each, 5 above those it is compared with."""
    found = effect({0: (5, 1), 1: (5, 1)})
    assert (found.mean, found.error, found.blocks, found.calls) == (5, 0, 2, 2)


@pytest.mark.parametrize("blocks", [0, 1, 2, 7])
def test_few_blocks_are_not_enough_to_be_sure(blocks: int) -> None:
    sums = {block: (100.0 + block, 10) for block in range(blocks)}
    assert not effect(sums).is_sure
