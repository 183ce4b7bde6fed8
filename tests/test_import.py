"""Importing k8strace is quick, brings no heavy libraries, and warns of a debug build."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import k8strace
from k8strace import _core

HEAVY = {"duckdb", "google.protobuf", "grpc", "numpy", "opentelemetry", "pandas", "polars", "pyarrow", "tqdm"}

TIMED_IMPORT = """
import json, sys, time
start = time.perf_counter()
import k8strace
print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))
"""

IMPORT_OF_A_DEBUG_BUILD = """
import importlib, warnings
warnings.simplefilter("ignore")
import k8strace
from k8strace import _core
_core.DEBUG = {debug}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    importlib.reload(k8strace)
print(*(f"{{w.category.__name__}}: {{w.message}}" for w in caught))
"""


def in_a_fresh_interpreter(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_takes_less_than_150_ms():
    """The median of seven, each in an interpreter of its own, after one that fills the caches."""
    runs = [json.loads(in_a_fresh_interpreter(TIMED_IMPORT))[0] for _ in range(8)]
    assert statistics.median(runs[1:]) < 0.150


def test_import_brings_no_heavy_library():
    """What only some users need is imported where they need it."""
    _, modules = json.loads(in_a_fresh_interpreter(TIMED_IMPORT))
    assert HEAVY.isdisjoint(modules)


def test_the_build_under_test_is_a_release_build():
    """`make` builds the core in release; a debug build would make every figure wrong."""
    assert _core.DEBUG is False


def test_a_debug_build_warns_on_import():
    """One RuntimeWarning that says what to do about it."""
    warning = in_a_fresh_interpreter(IMPORT_OF_A_DEBUG_BUILD.format(debug=True))
    assert warning.startswith("RuntimeWarning: ")
    assert "debug build" in warning


def test_a_release_build_is_silent():
    """Nothing is said when nothing is wrong."""
    assert in_a_fresh_interpreter(IMPORT_OF_A_DEBUG_BUILD.format(debug=False)).strip() == ""


def test_the_package_says_it_is_typed():
    """Type checkers read our annotations only beside py.typed."""
    assert (Path(k8strace.__file__).parent / "py.typed").exists()
