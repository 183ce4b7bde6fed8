"""A process that is killed loses nothing that it acknowledged."""

import random
import sys
from pathlib import Path

import pytest
from kill9 import BatchId, Expectations, acknowledged_until_killed, batch_of, id_of, journal_command

from k8strace.receiver import Journal, replay

ROUNDS = 30
"""Of a kill and a restart each; a third of them with compressed segments."""


def torn_bytes(directory: Path) -> dict[str, int]:
    """By file, what is behind its last whole frame, found by sizes alone. Plain segments only."""
    torn = {}
    for path in directory.glob("*.open.otlp"):
        content, at = path.read_bytes(), 0
        while at + 4 <= len(content) and at + 4 + int.from_bytes(content[at : at + 4], "big") <= len(content):
            at += 4 + int.from_bytes(content[at : at + 4], "big")
        if at < len(content):
            torn[path.name.replace(".open", "")] = len(content) - at
    return torn


@pytest.mark.slow
def test_kill_9_under_load(tmp_path, capsys):
    """
    Thirty times: six senders, a kill within a quarter of a second, a start, and everything ever acknowledged is there.

    Nothing is corrupt, nothing is stored twice, and every torn end is told with its size.
    """
    rng, expected, torn, cut = random.Random(9), Expectations(), 0, 0
    for number in range(ROUNDS):
        compression = "zstd" if number % 3 == 2 else "none"
        directory = tmp_path / str(number // 6)  # so that later rounds start on what earlier ones left
        if number % 6 == 0:
            expected = Expectations()
        command = journal_command(directory, number, compression)
        expected.acknowledged |= acknowledged_until_killed(command, lambda: rng.uniform(0, 0.25))
        ends = torn_bytes(directory)
        with Journal(directory) as journal:
            told = {each.file: each.cut_bytes for each in journal.recovered}
        assert told.items() >= ends.items()
        assert all(each.cut_bytes for each in journal.recovered), "nothing but torn ends"
        cut += sum(told.values())
        torn += len(told)
        stored = expected.check(replay(directory))
        assert stored >= len(expected.acknowledged)
    with capsys.disabled():
        sys.stdout.write(f" {ROUNDS} kills, {torn} torn ends of {cut} bytes ")


def test_the_oracle_sees_what_is_lost_corrupt_and_doubled():
    """It is of no use if it is always content."""
    first, second = BatchId(1, 2, 3), BatchId(1, 2, 4)
    assert id_of(batch_of(first)) == first
    expected = Expectations({first})
    assert expected.check([batch_of(first), batch_of(second)]) == 2
    for stored, complaint in [
        ([batch_of(second)], "1 acknowledged batches are lost"),
        ([batch_of(first)] * 2, "stored twice"),
        ([batch_of(first) + b"\x0a\x00"], "is corrupt"),
    ]:
        with pytest.raises(AssertionError, match=complaint):
            expected.check(stored)
