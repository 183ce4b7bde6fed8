"""Importing k8strace is quick, brings no heavy libraries, and warns of a debug build."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import k8strace
from k8strace import _core

HEAVY = {"duckdb", "google.protobuf", "grpc", "numpy", "opentelemetry", "pandas", "polars", "pyarrow", "tqdm"}

TIMED_IMPORT = """
import json, sys, time
start = time.process_time()
import k8strace
print(json.dumps([time.process_time() - start, sorted(sys.modules)]))
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


@pytest.mark.alone
def test_import_takes_less_than_150_ms():
    """Of its own: the median of five, each in an interpreter of its own, after one that fills the caches."""
    runs = [json.loads(in_a_fresh_interpreter(TIMED_IMPORT))[0] for _ in range(6)]
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


WITHOUT_POSIX = """
import importlib, os, pkgutil, socket, sys
kept = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL", "O_TRUNC", "O_APPEND")
for module, names in ((os, [name for name in dir(os) if name.startswith("O_") and name not in kept]),
                      (os, ["fdatasync", "fork", "geteuid", "getuid"]), (socket, ["AF_UNIX", "SOCK_CLOEXEC"])):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.modules.update(dict.fromkeys(("fcntl", "pwd", "resource", "termios")))
import k8strace
names = [found.name for found in pkgutil.walk_packages(k8strace.__path__, "k8strace.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
from k8strace.receiver import Journal, UnavailableError
try:
    Journal("nowhere")
except UnavailableError as error:
    print(len(names) > 80, error)
"""


@pytest.mark.slow
def test_every_module_is_imported_on_systems_that_are_not_posix():
    """Without the flags, sockets and modules that other systems lack; only a store needs them, and says so."""
    assert in_a_fresh_interpreter(WITHOUT_POSIX).strip() == "True a store needs a POSIX system"
