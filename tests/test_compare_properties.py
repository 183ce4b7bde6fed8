"""The laws of differences on populations drawn at random, and every figure of comparisons at a size for CI."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import analysis
import properties

from k8strace.compare import mean

CASES = int(os.environ.get("K8STRACE_COMPARE_CASES", "250"))
"""`benchmarks/properties.py` tries 100,000."""


@pytest.mark.slow
def test_no_case_breaks_a_law():
    assert properties.failures(0, CASES) == {}


@pytest.mark.parametrize("by", [1, -1])
def test_a_nanosecond_too_much_breaks_one(monkeypatch, by):
    """The checks can fail: one row of the innermost level is wrong by one."""
    right = mean.rounded

    def wrong(*arguments):
        levels = right(*arguments)
        levels[-1][-1] += by
        return levels

    monkeypatch.setattr(mean, "rounded", wrong)
    broken = properties.failures(0, 1)[0]
    assert "all levels have one sum" in broken
    assert "the other way round is the opposite" in broken
    assert "nothing differs from itself" in broken


@pytest.mark.slow
def test_every_figure_meets_its_goal_at_a_small_size():
    """`benchmarks/analysis.py` at a size for CI: what is far off shows."""
    found = [*analysis.figures(np.random.default_rng(20261126), analysis.SMALL)]
    assert len(found) > 50
    assert [figure for figure in found if not figure.met] == []


@pytest.mark.slow
@pytest.mark.alone
def test_a_million_requests_take_seconds():
    """From fewer of them, with room for a noisy machine."""
    for figure in analysis.speeds(np.random.default_rng(1), analysis.SMALL):
        assert figure.met, figure
