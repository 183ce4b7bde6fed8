"""Nothing is said to be wrong where nothing is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import k8strace

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import healthy  # noqa: E402

SHARED = ROOT.parent / "shared" / "captures"
"""Recordings that a clone need not have."""
RECORDED = sorted(
    [*SHARED.glob("k8s-*.otlp.zst"), *SHARED.glob("whatif/*.zst"), *SHARED.glob("faults/f-sham.*")]
)
RECORDED = [path for path in RECORDED if path.name.endswith(".otlp.zst")]

# By how they were made: webhooks of 50 ms; one call in 200 is longer than its timeout; failurePolicy is Ignore.
TRUE = {"webhook_slow", "webhook_timeout", "webhook_fails_open"}

RUNS = int(os.environ.get("K8STRACE_HEALTHY_RUNS", "5"))
"""How many simulations are tried; 200 before a release."""


@pytest.mark.slow
def test_no_simulation_has_a_warning() -> None:
    assert dict(healthy.alarms(range(RUNS))) == {}


@pytest.mark.slow
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_no_healthy_recording_has_a_warning_but_true_ones(path: Path) -> None:
    assert healthy.warnings(k8strace.join(k8strace.read(path))) <= TRUE
