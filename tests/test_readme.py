"""The README shows what really comes out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CAPTURE = "tests/data/k8s-1.36_etcd-3.6.otlp.zst"


def shown() -> list[str]:
    """Lines of the demo's output in the README, without the marks of what was left out."""
    block = (ROOT / "README.md").read_text().split("```console\n$ make demo\n")[1].split("\n```")[0]
    return [line for line in block.splitlines() if line.strip() not in ("", "…")]


def output(command: list[str]) -> list[str]:
    """What a command prints, 100 columns wide; readline, where pytest loads it, tells children another width."""
    wide = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=wide)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_first_screen_is_the_demos_real_output() -> None:
    """Every line of the block stands in the report, in the same order."""
    command = [sys.executable, "-m", "k8strace", "report", CAPTURE]
    report = output(command)
    places = [-1]
    for line in shown():  # two findings may end in the same line
        places.append(report.index(line, places[-1] + 1))
    assert len(places) > 20


@pytest.mark.slow
@pytest.mark.parametrize("command", ["whatif", "compare"])
def test_the_second_screen_is_real_output(command: str) -> None:
    """What the two commands say of recordings that come along, line by line."""
    block = (
        (ROOT / "README.md")
        .read_text()
        .split(f"```console\n$ k8strace {command} tests/")[1]
        .split("\n```")[0]
    )
    asked, *lines = block.splitlines()
    run = [sys.executable, "-m", "k8strace", command, *f"tests/{asked}".split()]
    done = output(run)
    whole = lines[-1] != "…"
    told = lines if whole else lines[:-1]
    assert len(told) >= 8
    assert told == (done if whole else done[: len(told)])


def test_the_makefile_runs_that_report() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "k8strace report $(CAPTURE)" in makefile
    assert f"CAPTURE ?= {CAPTURE}" in makefile
