"""Batches go in, and are there: files, rotation, retention, two writers, a full disk, and what is refused."""

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lying_storage import Faults, LyingStorage

import k8strace
from k8strace.exceptions import DecodeError, MissingExtraError
from k8strace.formats import messages
from k8strace.receiver import Journal, Recovered, UnavailableError, replay
from k8strace.receiver.journal.storage import OsStorage


@pytest.fixture(scope="module")
def wire(capture_136) -> list[bytes]:
    return [bytes(item.wire) for item in messages(capture_136) if hasattr(item, "wire")]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("k8strace-*"))


def fill(directory: Path, batches, **settings) -> None:
    with Journal(directory, **settings) as journal:
        for batch in batches:
            journal.append(batch)


def leave_open(directory: Path, *batches: bytes) -> Path:
    """What a process that was killed leaves: the segment has its open name."""
    fill(directory, batches)
    (path,) = directory.glob("*.otlp")
    return path.rename(path.with_name(path.name.replace(".otlp", ".open.otlp")))


# ---- files ----------------------------------------------------------------------------------------


def test_only_the_owner_may_read(tmp_path):
    """0700 and 0600, whatever the umask allows."""
    before = os.umask(0)
    try:
        fill(tmp_path / "a" / "journal", [b"batch"])
    finally:
        os.umask(before)
    files = [*(tmp_path / "a" / "journal").iterdir()]
    assert len(files) == 2, "a segment and the lock"
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700


def test_the_segment_has_an_open_name_until_it_is_closed(tmp_path):
    """UTC time and sequence; `*.otlp` means both kinds."""
    with Journal(tmp_path) as journal:
        journal.append(b"batch")
        (active,) = names(tmp_path)
    (closed,) = names(tmp_path)
    assert active == closed.replace(".otlp", ".open.otlp")
    began = time.strptime(closed, "k8strace-%Y%m%dT%H%M%SZ-000001.otlp")
    assert time.time() - time.mktime(began) + time.timezone < 60


def test_nothing_is_made_before_there_is_something_to_keep(tmp_path):
    fill(tmp_path, [])
    assert names(tmp_path) == []


@pytest.mark.parametrize("act", ["create", "append", "read", "lock"])
def test_a_link_in_the_directory_is_not_followed(act, tmp_path):
    """Somebody put one there that points at a file of ours: the file stays as it is, and unread."""
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    directory = tmp_path / "journal"
    directory.mkdir()
    for name in ("link", ".lock"):
        (directory / name).symlink_to(target)
    storage = OsStorage(directory)
    acts = {
        "create": lambda: storage.open_append("link", create=True),
        "append": lambda: storage.open_append("link", create=False),
        "read": lambda: storage.read("link"),
        "lock": storage.lock,
    }
    with pytest.raises(OSError, match="File exists" if act == "create" else "symbolic links"):
        acts[act]()
    assert storage.list() == []
    assert target.read_bytes() == b"precious"


def test_a_pipe_with_a_segments_name_does_not_stop_the_start(tmp_path):
    """Nobody writes to it, so opening it would wait for ever."""
    os.mkfifo(tmp_path / "k8strace-20260101T000000Z-000001.open.otlp")
    fill(tmp_path, [b"batch"])
    assert list(replay(tmp_path)) == [b"batch"]


def test_a_pipe_that_takes_a_files_place_does_not_stop_a_reader(tmp_path):
    """Between the listing and the opening."""
    os.mkfifo(tmp_path / "pipe")
    assert OsStorage(tmp_path).read("pipe") == b""


def test_a_file_that_goes_while_it_is_listed_is_not_there(tmp_path, monkeypatch):
    """Retention removes while readers list."""
    (tmp_path / "there").touch()
    monkeypatch.setattr(os, "listdir", lambda _: ["gone", "there"])
    assert [file.name for file in OsStorage(tmp_path).list()] == ["there"]


@pytest.mark.skipif(sys.platform != "linux", reason="macOS syncs by fcntl")
def test_acknowledged_means_that_the_system_was_asked_to_sync(tmp_path, monkeypatch):
    """In this order: the directory's own name, the segment's name, the segment's data. Then append returns."""
    synced: list[tuple[str, str]] = []

    def noting(name):
        call = getattr(os, name)
        return lambda handle: (
            synced.append((name, str(Path(f"/proc/self/fd/{handle}").readlink()))) or call(handle)
        )

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, noting(name))
    directory = tmp_path / "journal"
    with Journal(directory) as journal:
        journal.append(b"batch")
        (segment,) = directory.glob("*.otlp")
        assert synced == [("fsync", str(tmp_path)), ("fsync", str(directory)), ("fdatasync", str(segment))]


def test_two_journals_do_not_share_a_directory(tmp_path):
    """Not in one process, not in two; and the second may have it when the first is done."""
    code = f"from k8strace.receiver import Journal; Journal({str(tmp_path)!r})"
    with Journal(tmp_path):
        with pytest.raises(UnavailableError, match=r"expected .* to be free, but another process") as caught:
            Journal(tmp_path)
        assert caught.value.reason == "storage"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "UnavailableError: expected" in other.stderr
    fill(tmp_path, [b"mine now"])


def test_a_directory_that_cannot_be_used_is_said_at_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"cannot use .*/file/journal: .*Not a directory"):
        Journal(tmp_path / "file" / "journal")


# ---- growing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_segment_can_be_read_while_it_grows(compression, wire, tmp_path):
    """After each acknowledgement a reader sees what was acknowledged, without waiting for the end."""
    spans = 0
    with Journal(tmp_path, compression=compression) as journal:
        for batch in wire[:8]:
            journal.append(batch)
            spans += len(k8strace.decode(batch))
            assert len(k8strace.read(f"{tmp_path}/*.otlp*")) == spans


def test_a_segment_is_closed_when_it_is_full(tmp_path):
    """Ten frames of 1,017 bytes, at least 3,000 to a segment: 3, 3, 3, 1."""
    fill(tmp_path, [bytes(1000)] * 10, segment_bytes=3_000)
    assert names(tmp_path) == [path.name for path in sorted(tmp_path.glob("*-00000[1-4].otlp"))]
    assert [path.stat().st_size for path in sorted(tmp_path.glob("*.otlp"))] == [3_039] * 3 + [1_013]


def test_a_segment_is_closed_when_it_is_old(tmp_path, monkeypatch):
    """Though nothing comes any more."""
    monkeypatch.setattr("k8strace.receiver.journal.writer._HOUSEKEEPING_S", 0.02)
    with Journal(tmp_path, segment_age_s=1.0) as journal:
        journal.append(b"batch")
        assert ".open." in names(tmp_path)[0]
        until = time.monotonic() + 20
        while ".open." in names(tmp_path)[0] and time.monotonic() < until:
            time.sleep(0.05)
        assert ".open." not in names(tmp_path)[0]
        journal.append(b"another")
        assert journal.counts["segments"] == 2


def test_the_oldest_segments_make_room(tmp_path):
    """Ten segments of 1,017 bytes and room for four: six are removed, and counted; the newest remain."""
    (tmp_path / "notes.otlp").write_bytes(bytes(100_000))
    with Journal(tmp_path, segment_bytes=1, retain_bytes=4 * 1_017) as journal:
        for number in range(10):
            journal.append(b"%d" % number + bytes(999))
        assert journal.counts["removed"] == 6
    assert [batch[:1] for batch in replay(tmp_path)] == [b"6", b"7", b"8", b"9"]
    assert (tmp_path / "notes.otlp").exists(), "not ours"


def test_what_is_written_is_not_removed_for_its_size(tmp_path):
    """A bound smaller than one segment keeps the one that is open."""
    with Journal(tmp_path, retain_bytes=1) as journal:
        journal.append(bytes(1_000))
        journal._segments.retain()
        assert len(list(replay(tmp_path))) == 1


def test_old_segments_are_removed(tmp_path):
    """At the start too: an hour and a second after it was last written one goes, a minute before that it stays."""
    fill(tmp_path, [b"1", b"2", b"3"], segment_bytes=1)
    first, second, _ = sorted(tmp_path.glob("*.otlp"))
    os.utime(first, (0, time.time() - 3_601))
    os.utime(second, (0, time.time() - 3_540))
    fill(tmp_path, [], retain_age_s=3_600)
    assert list(replay(tmp_path)) == [b"2", b"3"]


def test_sequence_goes_on_where_it_was(tmp_path):
    """Order does not depend on the clock."""
    for number in range(3):
        fill(tmp_path, [b"%d" % number])
    for at, path in enumerate(sorted(tmp_path.glob("*.otlp"), key=lambda path: path.name[-11:])):
        path.rename(tmp_path / f"k8strace-{2030 - at}0101T000000Z-00000{at + 1}.otlp")
    assert list(replay(tmp_path)) == [b"0", b"1", b"2"]


# ---- after a crash --------------------------------------------------------------------------------


def test_a_torn_end_is_cut_and_told(tmp_path):
    """Five of eighteen bytes of the last frame are missing."""
    path = leave_open(tmp_path, b"first", b"torn!")
    os.truncate(path, 18 + 13)
    with Journal(tmp_path) as journal:
        (told,) = journal.recovered
        assert told == (
            path.name.replace(".open", ""),
            13,
            "at byte 18: expected a frame of 14 bytes, got 9",
        )
        assert journal.counts["cut_bytes"] == 13
    assert (tmp_path / told.file).stat().st_size == 18
    assert list(replay(tmp_path)) == [b"first"]


@pytest.mark.parametrize("zeros", [1, 3, 4, 512, 4096])
def test_a_tail_of_zeros_is_read_around_before_a_start_and_cut_by_it(tmp_path, wire, zeros):
    """Where a file system had grown the file before the power went. `report` need not wait for the start."""
    path = leave_open(tmp_path, *wire[:3])
    path.write_bytes(path.read_bytes() + bytes(zeros))
    before = k8strace.read(path)
    with Journal(tmp_path) as journal:
        assert [told.cut_bytes for told in journal.recovered] == [zeros]
    (closed,) = tmp_path.glob("k8strace-*")
    assert len(before) == len(k8strace.read(closed, strict=True)) > 0
    assert list(replay(tmp_path)) == wire[:3]


def test_what_was_left_whole_is_closed_and_nothing_is_told(tmp_path):
    leave_open(tmp_path, b"first", b"second")
    with Journal(tmp_path) as journal:
        assert journal.recovered == []
    assert ".open." not in names(tmp_path)[0]
    assert list(replay(tmp_path)) == [b"first", b"second"]


def test_a_segment_of_which_nothing_is_left_goes(tmp_path):
    os.truncate(leave_open(tmp_path, b"first"), 5)
    with Journal(tmp_path) as journal:
        assert [told.cut_bytes for told in journal.recovered] == [5]
    assert names(tmp_path) == []


def test_rot_within_a_segment_is_not_cut(tmp_path):
    """Whole batches follow: the file is set aside as it is, and read around the damage."""
    path = leave_open(tmp_path, b"first", b"second", b"third")
    rotten = path.read_bytes().replace(b"second", b"Second")
    path.write_bytes(rotten)
    with Journal(tmp_path) as journal:
        (told,) = journal.recovered
        assert told.file == path.name + ".damaged"
        assert told.cut_bytes == 0
        assert "whole batches follow" in told.reason
        journal.append(b"fourth")
    assert (tmp_path / told.file).read_bytes() == rotten
    found: list[Recovered] = []
    assert list(replay(tmp_path, on_damage=found.append)) == [b"first", b"third", b"fourth"]
    assert [each.file for each in found] == [told.file]
    with Journal(tmp_path) as journal:
        assert journal.recovered == [], "told once"


def test_rot_that_nobody_listens_to_raises(tmp_path):
    """Not skipped in silence: the file, the place, what was expected."""
    fill(tmp_path, [b"first", b"second"])
    (path,) = tmp_path.glob("*.otlp")
    path.write_bytes(path.read_bytes().replace(b"first", b"First"))
    with pytest.raises(DecodeError, match=rf"^expected the checksum .*, got .* - at {path.name} \(byte 0\)$"):
        list(replay(tmp_path))


def test_the_end_of_an_open_segment_may_be_on_its_way(tmp_path):
    """Half a frame is what a reader sees while the writer writes: that is no damage."""
    path = leave_open(tmp_path, b"first", b"second")
    os.truncate(path, 30)
    assert list(replay(tmp_path)) == [b"first"]


def test_what_was_closed_is_not_looked_through_again(tmp_path):
    """Nor touched: a start takes as long as what was open takes, however much is kept."""
    fill(tmp_path, [b"first", b"second"])
    (path,) = tmp_path.glob("*.otlp")
    path.write_bytes(path.read_bytes()[:-1])
    with Journal(tmp_path) as journal:
        assert journal.recovered == []
    assert path.exists()


def test_a_segment_that_is_removed_while_they_are_listed_is_past(tmp_path):
    """The reader was at the first when retention took the second."""
    fill(tmp_path, [b"1", b"2", b"3"], segment_bytes=1)
    reading = replay(tmp_path)
    assert next(reading) == b"1"
    sorted(tmp_path.glob("*.otlp"))[1].unlink()
    assert list(reading) == [b"3"]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
def test_no_file_is_left_open(tmp_path):
    """Not by the journal, by a reader, by a second journal that was refused, nor by one that could not start."""
    fill(tmp_path, [b"batch"])
    before = open_files()
    with Journal(tmp_path) as journal:
        journal.append(b"batch")
        during = open_files()
        with pytest.raises(UnavailableError):
            Journal(tmp_path)
        assert open_files() == during
    list(replay(tmp_path))
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UnavailableError, match="cannot use"):
        Journal(tmp_path)
    assert open_files() == before


def test_a_segment_that_is_closed_while_it_is_listed_is_read(tmp_path, monkeypatch):
    path = leave_open(tmp_path, b"first")
    read = OsStorage.read

    def late(self, name):
        if path.exists():
            path.rename(path.with_name(path.name.replace(".open", "")))
        return read(self, name)

    monkeypatch.setattr(OsStorage, "read", late)
    assert list(replay(tmp_path)) == [b"first"]


def test_a_disk_that_fails_at_the_start_is_told_and_left_alone():
    """The segment keeps its name for the next start, and the journal takes batches."""
    disk = LyingStorage()
    handle = disk.open_append("k8strace-20260101T000000Z-000001.open.otlp", create=True)
    disk.write(handle, b"torn")
    disk.faults = Faults(failing=lambda _, name: errno.EIO if name == "truncate" else None)
    with Journal("", storage=lambda _: disk) as journal:
        assert journal.recovered == [
            (next(iter(disk.seen)), 0, "left as it is: [Errno 5] Input/output error")
        ]
        journal.append(b"batch")


@pytest.mark.alone
@pytest.mark.slow
def test_a_start_takes_no_more_than_two_seconds_a_gibibyte(tmp_path, wire):
    """Best of five, on 128 MiB of one open segment."""
    path = leave_open(tmp_path, *wire)
    content = path.read_bytes()
    path.write_bytes(content * (1 + (128 << 20) // len(content)))
    size, took_s = path.stat().st_size, []
    for _ in range(5):
        start = time.perf_counter()
        with Journal(tmp_path) as journal:
            took_s.append(time.perf_counter() - start)
            assert journal.recovered == []
        path.with_name(path.name.replace(".open", "")).rename(path)
    assert min(took_s) <= 2 * size / (1 << 30)


# ---- acknowledging --------------------------------------------------------------------------------


@pytest.mark.alone
def test_one_sync_answers_many(tmp_path, capsys):
    """Thirty-two threads, fifty batches each: far fewer syncs than batches, and nobody waits long."""
    took_s: list[float] = []

    def send(sender: int) -> None:
        for number in range(50):
            start = time.perf_counter()
            journal.append(b"%d/%d" % (sender, number))
            took_s.append(time.perf_counter() - start)

    with Journal(tmp_path) as journal, ThreadPoolExecutor(32) as pool:
        list(pool.map(send, range(32)))
        counts = journal.counts
    with capsys.disabled():
        p50, p99 = sorted(took_s)[800], sorted(took_s)[1584]
        sys.stdout.write(f" append p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, {counts['syncs']} syncs ")
    assert counts["batches"] == 1_600
    assert counts["syncs"] <= 400
    found = list(replay(tmp_path))
    assert sorted(found) == sorted(
        b"%d/%d" % (sender, number) for sender in range(32) for number in range(50)
    )
    for sender in range(32):
        mine = [batch for batch in found if batch.startswith(b"%d/" % sender)]
        assert mine == [b"%d/%d" % (sender, number) for number in range(50)], "in the order they were sent"


def test_syncs_are_an_interval_apart():
    """Eight senders, 20 ms: within half a second twenty-six syncs at most, and more than a few."""
    disk = LyingStorage()
    stop = time.monotonic() + 0.5

    def send(_):
        while time.monotonic() < stop:
            journal.append(b"")

    with Journal("", storage=lambda _: disk, sync_interval_ms=20) as journal, ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
        assert 5 <= journal.counts["syncs"] <= 27


def test_a_group_is_bounded(monkeypatch):
    """What waits is written in several groups once it is larger than one."""
    monkeypatch.setattr("k8strace.receiver.journal.writer.GROUP_BYTES", 1_000)
    disk = LyingStorage()
    with Journal("", storage=lambda _: disk, sync_interval_ms=20) as journal:
        for answer in [journal.submit(bytes(500)) for _ in range(20)]:
            answer.result()
        assert 10 <= journal.counts["syncs"] <= 20


def test_closing_answers_everyone(tmp_path):
    """What was submitted before is stored, what comes after is told to go elsewhere. Twice is once."""
    journal = Journal(tmp_path, sync_interval_ms=20)
    answers = [journal.submit(b"%d" % number) for number in range(100)]
    journal.close()
    assert all(answer.done() and answer.exception() is None for answer in answers)
    with pytest.raises(UnavailableError, match="is closed") as caught:
        journal.append(b"late")
    assert caught.value.reason == "draining"
    journal.close()
    assert list(replay(tmp_path)) == [b"%d" % number for number in range(100)]


def test_closing_does_not_wait_for_a_stuck_disk_for_longer_than_it_may():
    """It says that it is not closed; once the disk goes on, it is."""
    stuck, goes_on = threading.Event(), threading.Event()

    def listen(_):
        stuck.set()
        goes_on.wait(10)

    journal = Journal("", storage=lambda _: LyingStorage(), on_sync=listen)
    journal.submit(b"")
    assert stuck.wait(5)
    assert journal.close(0.05) is False
    goes_on.set()
    assert journal.close() is True


def test_a_batch_that_nobody_waits_for_is_not_stored(tmp_path, monkeypatch):
    """Its future was cancelled while the disk was busy with another; its neighbours are stored."""
    busy, free, sync = threading.Event(), threading.Event(), OsStorage.sync
    monkeypatch.setattr(
        OsStorage, "sync", lambda self, handle: busy.set() or (free.wait(20) and sync(self, handle))
    )
    with Journal(tmp_path) as journal:
        journal.submit(b"first")
        assert busy.wait(20)
        answers = [journal.submit(batch) for batch in (b"second", b"unwanted", b"third")]
        assert answers[1].cancel()
        free.set()
    assert list(replay(tmp_path)) == [b"first", b"second", b"third"]


def test_each_sync_is_told():
    """In seconds; and a listener that fails is not the senders' trouble."""
    heard: list[float] = []

    def listen(seconds: float) -> None:
        heard.append(seconds)
        raise RuntimeError

    with Journal("", storage=lambda _: LyingStorage(), on_sync=listen) as journal:
        journal.append(b"first")
        journal.append(b"second")
    assert len(heard) == 2
    assert all(0 <= each < 1 for each in heard)
    assert journal.counts["batches"] == journal.counts["errors"] == 2


# ---- refusing -------------------------------------------------------------------------------------


def test_a_failing_disk_is_asked_again_after_a_pause(monkeypatch):
    """Meanwhile batches are refused without touching it; then they are taken, and the trouble is forgotten."""
    monkeypatch.setattr("k8strace.receiver.journal.writer._FIRST_PAUSE_S", 1.0)
    broken = [True]
    disk = LyingStorage(
        faults=Faults(failing=lambda *_: errno.ENOSPC if broken[0] and disk.steps[-1] == "write" else None)
    )
    with Journal("", storage=lambda _: disk) as journal:
        with pytest.raises(UnavailableError, match="No space left on device") as caught:
            journal.append(b"first")
        assert caught.value.reason == "storage"
        assert caught.value.retry_after_s >= 1
        assert "No space left" in journal.trouble
        steps = len(disk.steps)
        with pytest.raises(UnavailableError, match="No space left on device"):
            journal.append(b"at once")
        assert len(disk.steps) == steps
        broken[0] = False
        time.sleep(1.0)
        journal.append(b"later")
        assert journal.trouble == ""
        assert journal.counts["errors"] == 1


def test_pauses_grow_and_end_at_two_seconds(monkeypatch):
    """A twentieth of a second, then twice as long each time."""
    now = [1000.0]
    monkeypatch.setattr("k8strace.receiver.journal.writer.time.monotonic", lambda: now[0])
    from k8strace.receiver.journal.writer import _Trouble

    trouble, pauses = _Trouble(), []
    for _ in range(40):
        trouble.note("")
        pauses.append(trouble.again_at_s - now[0])
    assert [round(pause, 3) for pause in pauses[:8]] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert pauses[-1] == 2.0


def test_nobody_waits_for_ever_when_the_writer_fails_in_a_way_nobody_thought_of(monkeypatch):
    """Any exception refuses the group. One that ends the thread refuses what it had, and what comes."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with Journal("", storage=lambda _: LyingStorage()) as journal:
        monkeypatch.setattr(journal._segments, "commit", lambda _: 1 / 0)
        with pytest.raises(UnavailableError, match="division by zero"):
            journal.append(b"batch")
        later = []

        def dying(_):
            later.extend(journal.submit(b"later") for _ in range(2))
            later[0].cancel()
            raise ZeroDivisionError

        monkeypatch.setattr(journal, "_answer", dying)
        with pytest.raises(UnavailableError, match="the writer has stopped"):
            journal.append(b"batch")
        with pytest.raises(UnavailableError, match="the writer has stopped"):
            later[1].result(5)
        journal._writer.join()
        with pytest.raises(UnavailableError, match="is closed"):
            journal.append(b"batch")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_after_a_fork_the_child_is_refused(tmp_path):
    """The writer stayed with the parent. Without an answer the child would wait for ever."""
    code = f"""if True:
        import os
        from k8strace.receiver import Journal, UnavailableError
        with Journal({str(tmp_path)!r}) as journal:
            journal.append(b"first")
            child = os.fork()
            if not child:
                try:
                    journal.append(b"second")
                except UnavailableError:
                    os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            journal.append(b"third")
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    assert list(replay(tmp_path)) == [b"first", b"third"]


@pytest.mark.parametrize(
    "setting",
    [
        {"sync_interval_ms": 20.1},
        {"sync_interval_ms": -1},
        {"sync_interval_ms": float("nan")},
        {"segment_bytes": 0},
        {"segment_age_s": 0},
        {"retain_bytes": 0},
        {"retain_age_s": -1},
        {"compression": "gzip"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant_are_refused(setting, tmp_path):
    """Before anything is touched; the message names the setting."""
    with pytest.raises(ValueError, match=f"expected {next(iter(setting))} .*, got"):
        Journal(tmp_path / "journal", **setting)
    assert not (tmp_path / "journal").exists()


def test_without_the_library_compression_says_which_extra_brings_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtraError, match=r"k8strace\[serve\]"):
        Journal(tmp_path, compression="zstd")


@pytest.fixture
def small_disk(tmp_path):
    """Eight MiB, if this user may mount one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_full_disk_refuses_and_a_freed_one_takes(small_disk, compression):
    """Eight MiB fill up; every batch is stored or refused; with room again, the journal goes on by itself."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 << 20))
    kept, refused = [], 0
    with Journal(small_disk, compression=compression, segment_bytes=1 << 20) as journal:
        for number in range(100):
            batch = b"%d:" % number + os.urandom(100_000)
            try:
                journal.append(batch)
                kept.append(batch)
            except UnavailableError:
                refused += 1
                assert "No space left on device" in journal.trouble
                if refused == 20:
                    ballast.unlink()
                time.sleep(0.01)
            if len(kept) == 60:
                break
        assert refused >= 20
        assert journal.trouble == ""
    assert list(replay(small_disk)) == kept
