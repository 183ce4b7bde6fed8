"""Contenders take turns: answers compared first, then time, round by round, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

from contenders import CONTENDERS, DECODERS, JOB
from spent import Spent

HERE = Path(__file__).parent


class Spread(NamedTuple):
    """What the rounds gave."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.1f}x ({self.low:.1f} to {self.high:.1f})"


class Child:
    """The process of one contender on one file."""

    def __init__(
        self, name: str, path: Path, *, collect: bool = True, environment: Mapping[str, str] | None = None
    ) -> None:
        command = [
            sys.executable,
            str(HERE / "contenders.py"),
            name,
            str(path),
            *([] if collect else ["no-gc"]),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )

    def ask(self, order: str) -> dict[str, Any]:
        """Give an order and wait for what comes of it."""
        assert self._process.stdin
        assert self._process.stdout
        print(order, file=self._process.stdin, flush=True)
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError(f"a contender ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


@dataclass
class Measured:
    """What came of one workload."""

    workload: str
    spans: int
    stored_bytes: int
    first: dict[str, dict[str, Any]]
    """Contender → its first run: facts, times, memory."""
    rounds: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    """Per round: contender → mean time of each step."""

    def ns_per_span(self, contender: str, step: str, clock: str = "cpu") -> float:
        """Median over the rounds."""
        return float(median(each[contender][clock].get(step, 0) for each in self.rounds)) / self.spans

    def spent(self, contender: str, steps: Sequence[str]) -> Spent:
        """What some steps of a contender cost a span: medians."""
        cpu, system, faults = (
            median(self.total(contender, clock, steps)) / self.spans for clock in ("cpu", "system", "faults")
        )
        return Spent(cpu / 1e9, system / 1e9, faults)

    def total(self, contender: str, clock: str = "cpu", steps: Sequence[str] = JOB) -> list[float]:
        """Time of the job in each round, in ns."""
        return [sum(each[contender][clock].get(step, 0) for step in steps) for each in self.rounds]

    def times_faster(self, rival: str, clock: str = "cpu", steps: Sequence[str] = JOB) -> Spread:
        """Time of a rival's job over that of our steps, round by round."""
        return self.ratio(rival, JOB, "k8strace", steps, clock)

    def ratio(
        self, above: str, its: Sequence[str], below: str, steps: Sequence[str], clock: str = "cpu"
    ) -> Spread:
        """Time of some steps of a contender over that of some steps of another, round by round."""
        pairs = zip(self.total(above, clock, its), self.total(below, clock, steps), strict=True)
        return Spread.of([theirs / ours for theirs, ours in pairs])


class DifferentAnswersError(Exception):
    """The contenders disagree, so their times mean nothing."""


def measure(name: str, path: Path, rounds: int, seconds: float, *, collect: bool = True) -> Measured:
    """Compare all answers of the contenders on a file; if they are equal, time them."""
    return _take_turns(CONTENDERS, ("k8strace", "baseline"), name, path, rounds, seconds, collect=collect)


def measure_decoders(name: str, path: Path, rounds: int, seconds: float, *, collect: bool = True) -> Measured:
    """The same for those who start from messages in memory; what each has read must be equal too."""
    return _take_turns(DECODERS, ("decode", "tuples"), name, path, rounds, seconds, collect=collect)


FRESH = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072"}
"""What makes glibc hand memory back when it is freed, so that each repetition begins on fresh pages."""


def measure_fresh(name: str, path: Path, rounds: int, seconds: float) -> Measured:
    """Decode and the official parse alone, from messages in memory, both on fresh pages each time."""
    with ExitStack() as stack:
        who = ("decode", "upb")
        children = {each: stack.enter_context(Child(each, path, environment=FRESH)) for each in who}
        return _in_turns(name, path, children, rounds, seconds, ("decode", "decode"))


def _take_turns(
    who: Mapping[str, Any],
    answering: tuple[str, str],
    name: str,
    path: Path,
    rounds: int,
    seconds: float,
    *,
    collect: bool,
) -> Measured:
    with ExitStack() as stack:
        children = {each: stack.enter_context(Child(each, path, collect=collect)) for each in who}
        return _in_turns(name, path, children, rounds, seconds, answering)


def _in_turns(
    name: str,
    path: Path,
    children: Mapping[str, Child],
    rounds: int,
    seconds: float,
    answering: tuple[str, str],
) -> Measured:
    first = {each: child.ask("answers") for each, child in children.items()}
    check_equal(name, first, answering)
    spans = first[answering[0]]["facts"]["spans"]
    measured = Measured(name, spans, path.stat().st_size, first)
    for each in range(rounds):
        order = list(children)[:: 1 if each % 2 else -1]
        measured.rounds.append({who: children[who].ask(f"run {seconds}") for who in order})
    return measured


def check_equal(
    name: str, first: dict[str, dict[str, Any]], who: tuple[str, str] = ("k8strace", "baseline")
) -> None:
    """Check that every request has the same wall time and phases for both who answer, and all read the same."""
    ours, theirs = (first[each]["answers"] for each in who)
    spans = {each["facts"]["spans"] for each in first.values()}
    read = {
        tuple(fact for fact in each["facts"].items() if fact[0].startswith("read_"))
        for each in first.values()
    }
    if len(read) > 1:
        raise DifferentAnswersError(f"{name}: the contenders have not read the same: {read}")
    wrong = [request for request in ours.keys() | theirs.keys() if ours.get(request) != theirs.get(request)]
    if wrong or len(spans) > 1:
        detail = f", the first: {wrong[0]}: {ours.get(wrong[0])} != {theirs.get(wrong[0])}" if wrong else ""
        raise DifferentAnswersError(f"{name}: {len(wrong)} of {len(ours)} requests differ{detail}; {spans=}")


ALL = ("decode", "join", "attribute")
RIVALS = {
    1: ("tuples", ("decode",), ("decode",)),
    2: ("tuples", ALL, ALL),
    3: ("upb", ("decode",), ("decode",)),
    4: ("ptars", ("decode",), ("decode", "arrow")),
}
"""Number of the goal → the rival, its steps, and ours."""


def decoder_ratios(measured: Measured) -> dict[int, Spread]:
    """Rows 1 to 4."""
    return {
        number: measured.ratio(rival, its, "decode", ours)
        for number, (rival, its, ours) in RIVALS.items()
        if rival in measured.first
    }


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and those that it starts meanwhile, on one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
