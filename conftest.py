"""
What holds for every test, also for the examples.

Every Python example in README.md and docs/ is a test, run from the root of the repository. Tests run beside one
another (`-n auto`), but one that is marked `alone` has the machine to itself.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parent
os.environ.pop("COLUMNS", None)  # what is printed does not hang on whose terminal runs the tests
SLOW_SECONDS = 1.0
FLAGS = ELLIPSIS | NORMALIZE_WHITESPACE

collect_ignore = ["docs/conf.py", "tests/typing"]  # read by sphinx, and by mypy


class ConsoleBlockParser(PythonCodeBlockParser):
    """The same for blocks marked `pycon`, as GitHub colours a session with prompts."""

    def __init__(self) -> None:
        super().__init__(doctest_optionflags=FLAGS)
        self.codeblock_parser = CodeBlockParser("pycon", PythonEvaluator())


def enter_root(namespace: dict[str, Any]) -> None:
    namespace["_left"] = Path.cwd()
    os.chdir(ROOT)


def leave_root(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_left"])


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=FLAGS), ConsoleBlockParser(), SkipParser()],
    patterns=["README.md", "docs/**/*.md", "docs/*.md"],
    setup=enter_root,
    teardown=leave_root,
).pytest()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Share the machine with the other workers of this run, or wait until they pause and take it alone."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    run = Path(item.config.getoption("basetemp")).parent  # a worker's own folder lies in that of the run
    how = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    # Who waits to be alone keeps its turn, so that nobody overtakes it.
    with _locked(run / "turn", fcntl.LOCK_EX) as turn, _locked(run / "machine", how):
        fcntl.flock(turn, fcntl.LOCK_UN)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """How much processor time the test takes, whatever else the machine does."""
    before = _cpu_seconds()
    try:
        return (yield)
    finally:
        item.user_properties.append(("cpu_seconds", _cpu_seconds() - before))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that should be marked `slow`, so that `-m "not slow"` stays quick."""
    reports = [report for each in ("passed", "failed") for report in terminalreporter.getreports(each)]
    took = {
        report.nodeid: dict(report.user_properties).get("cpu_seconds", 0)
        for report in reports
        if report.when == "call" and "slow" not in report.keywords
    }
    late = sorted(((cpu, test) for test, cpu in took.items() if cpu > SLOW_SECONDS), reverse=True)
    if late:
        terminalreporter.section(f"take more than {SLOW_SECONDS:g} s of processor time: mark them slow")
        for cpu, test in late:
            terminalreporter.line(f"{cpu:6.2f} s  {test}")


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextmanager
def _locked(path: Path, how: int) -> Iterator[int]:
    """The lock file, open and locked; closing it lets go."""
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield file.fileno()
