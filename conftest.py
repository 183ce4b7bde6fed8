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


@contextmanager
def _locked(path: Path, how: int) -> Iterator[int]:
    """The lock file, open and locked; closing it lets go."""
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield file.fileno()
