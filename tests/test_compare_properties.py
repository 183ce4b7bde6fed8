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
@pytest.mark.parametrize("step", [step for step in analysis.STEPS if step != "speed"])
def test_every_figure_meets_its_goal_at_a_small_size(step):
    """`benchmarks/analysis.py` at a size for CI: what is far off shows."""
    found = analysis.measured(step, analysis.SMALL)
    assert found or step == "recordings"  # which a clone need not have
    assert [figure for figure in found if not figure.met] == []


@pytest.mark.slow
@pytest.mark.alone
def test_a_million_requests_take_seconds():
    """From fewer of them, with room for a noisy machine."""
    for figure in analysis.measured("speed", analysis.SMALL):
        assert figure.met, figure


def test_the_table_goes_on_where_it_was_left(tmp_path, capsys, monkeypatch):
    def step(rng, size):
        made.append(size.cases)
        yield analysis.Figure(f"draw {rng.integers(1000)}", "none", "1", met=np.bool_(True))

    made: list[int] = []
    monkeypatch.setattr(analysis, "STEPS", {"one": step, "two": step})
    kept = ["--resume", str(tmp_path / "done.jsonl")]
    tables = []
    for arguments in (["--only", "two"], [], []):
        assert analysis.main([*kept, *arguments]) == 0
        tables.append(capsys.readouterr().out.splitlines()[2:])
    assert made == [100_000] * 2
    assert tables[0] == tables[1][1:]
    assert tables[1] == tables[2]
    analysis.main([*kept, "--scale", "0.5"])
    assert made == [100_000] * 2 + [50_000] * 2
