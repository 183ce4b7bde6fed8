"""What every test may use: the captures, and how long Hypothesis searches."""

import os
from pathlib import Path

import hypothesis
import pytest

DATA = Path(__file__).parent / "data"

# Deterministic, so that a red run is red again; `slow` looks for what nobody has met yet.
hypothesis.settings.register_profile("fast", max_examples=40, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("slow", max_examples=2_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session")
def capture_127() -> Path:
    """Recording of kube-apiserver 1.27 and etcd 3.5."""
    return DATA / "k8s-1.27_etcd-3.5.otlp.zst"


@pytest.fixture(scope="session")
def capture_131() -> Path:
    """Recording of kube-apiserver 1.31 and etcd 3.5."""
    return DATA / "k8s-1.31_etcd-3.5.otlp.zst"


@pytest.fixture(scope="session")
def capture_136() -> Path:
    """Recording of kube-apiserver 1.36 and etcd 3.6."""
    return DATA / "k8s-1.36_etcd-3.6.otlp.zst"


@pytest.fixture(scope="session", params=["1.27_etcd-3.5", "1.31_etcd-3.5", "1.36_etcd-3.6"])
def capture(request: pytest.FixtureRequest) -> Path:
    """Each of the three recordings in turn."""
    return DATA / f"k8s-{request.param}.otlp.zst"
