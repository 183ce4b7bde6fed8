"""kube-apiserver's own measurements, from its audit log, as truth."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import audit  # noqa: E402

RECORDING = ROOT.parent / "shared" / "captures" / "k8s-1.37_etcd-3.7_audit"
SPANS, LOG = (RECORDING.with_name(RECORDING.name + ending) for ending in (".otlp.zst", ".audit.jsonl.zst"))


@pytest.fixture(scope="module")
def compared() -> dict[str, list[audit.Beside]]:
    if not LOG.exists():
        pytest.skip(f"the recording with its audit log is not here: {RECORDING}")
    return audit.compare(SPANS, LOG)


@pytest.mark.parametrize(("annotation", "requests"), [("mutating-webhook", 278), ("validating-webhook", 241)])
def test_a_webhooks_time_is_what_the_apiserver_measured(
    compared: dict[str, list[audit.Beside]], annotation: str, requests: int
) -> None:
    """Mutating webhooks summed, of the validating ones, which run at once, the longest."""
    rows = compared[annotation]
    assert len(rows) == requests
    assert audit.quantile(rows, 0.99) <= 0.015
    assert audit.quantile(rows, 0.5) <= 0.002


def test_the_table_in_the_reference_is_what_the_command_prints(
    compared: dict[str, list[audit.Beside]],
) -> None:
    page = (ROOT / "docs" / "reference" / "components.md").read_text()
    assert "\n".join(audit.lines(compared)) in page


@pytest.mark.parametrize(
    ("text", "ns"), [("87.5µs", 87_500), ("1.25ms", 1_250_000), ("1m2.5s", 62_500_000_000), ("0s", 0)]
)
def test_durations_are_read_as_go_writes_them(text: str, ns: int) -> None:
    assert audit.duration_ns(text) == ns
