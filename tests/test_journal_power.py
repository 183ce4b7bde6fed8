"""A power cut at every step: what was acknowledged is there, whole, and nothing else is."""

import errno
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import zstandard
from lying_storage import Faults, Inode, LyingStorage

from k8strace.receiver import Journal, UnavailableError, replay
from k8strace.receiver.journal.frames import Plain, Zstd, seal
from k8strace.receiver.journal.recovery import recover
from k8strace.receiver.journal.segments import JournalCounts, Rules, Segments

LAYOUTS = {"plain": Plain, "zstd": Zstd}
KEEP = Rules(segment_bytes=900, segment_age_s=1e9, retain_bytes=None, retain_age_s=None)
REMOVE = Rules(segment_bytes=900, segment_age_s=1e9, retain_bytes=2_500, retain_age_s=None)


@dataclass
class History:
    """What a sender knows."""

    sent: list[bytes] = field(default_factory=list)
    acknowledged: list[bytes] = field(default_factory=list)


def groups(seed: int, count: int = 14) -> list[list[bytes]]:
    """Batches that tell themselves apart, none to 300 bytes of noise behind a number."""
    rng = random.Random(seed)
    numbers = iter(range(10_000))
    return [
        [
            b"%d/%d:" % (seed, next(numbers)) + rng.randbytes(rng.randint(0, 300))
            for _ in range(rng.randint(1, 4))
        ]
        for _ in range(count)
    ]


def write(disk: LyingStorage, layout, rules, batches: list[list[bytes]], history: History) -> None:
    """What the journal's thread does, from start to close, with every group told to the sender."""
    try:
        recover(disk)
        segments = Segments(disk, layout, rules, JournalCounts(), clock=lambda: disk.now_s)
    except OSError:  # the power is gone
        return
    for group in batches:
        history.sent += group
        try:
            segments.commit([seal(batch) for batch in group])
        except OSError:
            continue
        history.acknowledged += group
    segments.close()


def stored(disk: dict[str, Inode]) -> list[bytes]:
    """What a start without further mishap finds."""
    storage = LyingStorage(disk=disk)
    recover(storage)
    found, damaged = [], []
    found += replay("", storage=lambda _: storage, on_damage=damaged.append)
    assert [each for each in damaged if not each.file.endswith(".damaged")] == [], "a closed segment is whole"
    return found


def check(history: History, found: list[bytes], removed: list[bytes]) -> None:
    lost = [batch for batch in history.acknowledged if batch not in set(found)]
    removed = [inflated(content) for content in removed]
    assert [batch for batch in lost if not any(batch in content for content in removed)] == []
    assert set(found) <= set(history.sent), "invented or corrupt"
    assert len(found) == len(set(found)), "stored twice"
    assert found == sorted(found, key=history.sent.index), "out of order"


def inflated(content: bytes) -> bytes:
    """As the zstd library reads a file, if it is compressed."""
    if not content.startswith(b"\x50\x2a\x4d\x18"):
        return content
    with zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True) as reader:
        return reader.readall()


def crash_points(layout: str, rules: Rules, seed: int) -> Iterator[int]:
    """Every step of a run, so that each is the last one once."""
    whole = LyingStorage(seed)
    write(whole, LAYOUTS[layout](), rules, groups(seed), History())
    return iter(range(len(whole.steps) + 1))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rules", [KEEP, REMOVE], ids=["keep", "remove"])
def test_a_power_cut_at_any_step_loses_nothing_that_was_acknowledged(layout, rules):
    """Each step of twenty histories, two cuts at each: acknowledged is there, and what is there was sent."""
    points = 0
    for seed in range(20):
        for at in crash_points(layout, rules, seed):
            for cut in range(2):
                history = History()
                disk = LyingStorage(1000 * seed + cut, Faults(cut_at=at))
                write(disk, LAYOUTS[layout](), rules, groups(seed), history)
                check(history, stored(disk.cut_power()), disk.removed if rules is REMOVE else [])
                points += 1
    assert points >= 2_000


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_power_cut_during_recovery_loses_nothing_either(layout):
    """The start after a cut is cut at each of its own steps, goes on at the next start, and is cut again."""
    points = 0
    for seed in range(60):
        history = History()
        first = LyingStorage(seed, Faults(cut_at=random.Random(seed).randint(10, 60)))
        write(first, LAYOUTS[layout](), KEEP, groups(seed, 8), history)
        for at in range(12):
            again = History(list(history.sent), list(history.acknowledged))
            second = LyingStorage(seed + at, Faults(cut_at=at), disk=copied(first.cut_power()))
            write(second, LAYOUTS[layout](), KEEP, groups(1000 + seed, 4), again)
            check(again, stored(second.cut_power()), [])
            points += 1
    assert points >= 700


def copied(disk: dict[str, Inode]) -> dict[str, Inode]:
    return {
        name: Inode(bytearray(inode.seen), inode.kept, modified_s=inode.modified_s)
        for name, inode in disk.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_disk_that_fails_now_and_then_and_then_loses_power(layout):
    """Errors at a tenth of all steps, of every kind: what was acknowledged between them survives the cut."""
    refused = 0
    for seed in range(150):
        history = History()
        faults = random.Random(seed)
        cut_at = faults.randint(20, 150)

        def failing(at, _, faults=faults):
            return faults.choice((errno.EIO, errno.ENOSPC)) if at > 3 and faults.random() < 0.1 else None

        disk = LyingStorage(seed, Faults(cut_at, failing))
        write(disk, LAYOUTS[layout](), KEEP, groups(seed, 20), history)
        check(history, stored(disk.cut_power()), [])
        refused += len(history.sent) - len(history.acknowledged)
    assert refused > 150


REFUSED = ["open", "write", "sync"]
"""Steps between a batch and its acknowledgement, besides `sync_dir` behind a new name."""


@pytest.mark.usefixtures("quick_retry")
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("step", [*REFUSED, "sync_dir", "rename", "close", "list", "truncate", "remove"])
def test_after_any_failure_the_journal_takes_batches_again(step, error):
    """
    Four times each, seventy-two failures in all: a batch that is not safe is refused as to be sent again.

    What comes after is stored, without anybody's help. A failure to clean up refuses nothing.
    """
    armed: set[str] = set()

    def failing(_, name):
        found = name in armed
        armed.discard(name)
        return error if found else None

    disk, history = LyingStorage(1, Faults(failing=failing)), History()
    with Journal("", storage=lambda _: disk, sync_interval_ms=0, segment_bytes=1) as journal:
        for nth in range(4):
            armed |= {step, "write"} if step in ("truncate", "remove") else {step}
            refused = [send(journal, b"%d/%d" % (nth, number), history) for number in range(3)]
            assert refused.count("storage") == (step not in ("rename", "close", "list"))
            assert not armed, "the failure was never met"
        assert journal.counts["errors"] == 4
    check(history, stored(disk.cut_power()), [])


@pytest.fixture
def quick_retry(monkeypatch):
    monkeypatch.setattr("k8strace.receiver.journal.writer._FIRST_PAUSE_S", 0.0)


def send(journal, batch: bytes, history: History) -> str:
    """Why it was refused; empty if it was not."""
    history.sent.append(batch)
    try:
        journal.append(batch)
    except UnavailableError as error:
        return error.reason
    history.acknowledged.append(batch)
    return ""


@pytest.mark.usefixtures("quick_retry")
def test_a_segment_whose_sync_failed_is_not_written_again():
    """Linux says yes the second time, and the data is gone: so there is no second time for that file."""
    failed = []

    def failing(_, name):
        if name == "sync" and len(disk.acts("sync")) == 3:
            failed.append(disk.newest())
            return errno.EIO
        return None

    disk, history = LyingStorage(2, Faults(failing=failing)), History()
    with Journal("", storage=lambda _: disk, sync_interval_ms=0) as journal:
        answers = [send(journal, b"%d" % number, history) for number in range(6)]
        assert answers == ["", "", "storage", "", "", ""]
        assert disk.newest() != failed[0]
        assert bytes(disk.seen[failed[0]].seen) == Plain().encode([seal(b"0"), seal(b"1")]), (
            "cut back to what was safe"
        )
    check(history, stored(disk.cut_power()), [])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_that_change_are_made_safe_at_once(layout):
    """After each rename and removal the directory is synced: by rotation, retention, and recovery."""
    disk = LyingStorage(3)
    write(disk, LAYOUTS[layout](), REMOVE, groups(3), History())
    left = copied(disk.cut_power())
    for name, inode in list(left.items())[:3]:
        torn = name.replace(".otlp", ".open.otlp")
        left[torn] = Inode(
            inode.seen[: -5 * (name != min(left))], bytes(inode.seen), modified_s=inode.modified_s
        )
        del left[name]
    rot = b"".join(Plain().encode([seal(batch)]) for batch in (b"rot", b"whole")).replace(b"rot", b"Rot")
    left["k8strace-20260101T000000Z-000099.open.otlp"] = Inode(bytearray(rot), rot)
    again = LyingStorage(3, disk=left)
    assert any(each.file.endswith(".damaged") for each in recover(again))
    for steps in (disk.steps, again.steps):
        changes = [
            (step, after) for step, after in pairwise([*steps, "the end"]) if step in ("rename", "remove")
        ]
        assert changes
        assert {after for _, after in changes} <= {"sync_dir", "remove"}, changes
