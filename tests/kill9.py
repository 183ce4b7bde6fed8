"""
Kill -9 under load, and an oracle outside the killed process.

    parent                                          child, killed at a random moment
    ┌───────────────┐        acknowledged id        ┌───────────────────────────────┐
    │ Expectations  │ ◀──────── a pipe ──────────── │ senders → whatever is tested  │
    └───────────────┘                               └───────────────┬───────────────┘
            └──────── compares ───────── what a restart finds ◀──── disk

A batch is made from its id alone, so the parent knows each without having been told. An id is written to the pipe
once its batch is acknowledged, in one write smaller than a pipe keeps whole: what was said survives the speaker.

Run as a program it is the child for a `Journal`:

    python tests/kill9.py DIRECTORY ROUND [none|zstd]

For another child, give `acknowledged_until_killed` its command, or record in `Expectations` what senders in the parent
were told, and kill the server yourself.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SENDERS = 6


class BatchId(NamedTuple):
    """Which batch: its round of the test, who sent it, and the how many-th it is."""

    round: int
    sender: int
    number: int

    def line(self) -> bytes:
        return b"%d %d %d\n" % self


def batch_of(which: BatchId) -> bytes:
    """A request of 1 to 200 spans; one in twenty is large enough that its write takes a while to the page cache."""
    rng = random.Random(repr(which))
    request = ExportTraceServiceRequest()
    part = request.resource_spans.add()
    service = part.resource.attributes.add(key="service.name")
    service.value.string_value = which.line().decode()
    spans = part.scope_spans.add().spans
    for number in range(rng.randint(1, 200)):
        span = spans.add(trace_id=rng.randbytes(16), span_id=rng.randbytes(8), name=f"span {number}")
        span.start_time_unix_nano = 1_700_000_000_000_000_000 + number
        span.end_time_unix_nano = span.start_time_unix_nano + 1_000
    if rng.random() < 0.05:
        spans[0].attributes.add(key="noise").value.bytes_value = rng.randbytes(1_500_000)
    return request.SerializeToString()


def id_of(batch: bytes) -> BatchId:
    """Which batch says that it is this one."""
    request = ExportTraceServiceRequest.FromString(batch)
    return BatchId(*map(int, request.resource_spans[0].resource.attributes[0].value.string_value.split()))


@dataclass
class Expectations:
    """What was acknowledged, ever."""

    acknowledged: set[BatchId] = field(default_factory=set)

    def check(self, stored: Iterable[bytes]) -> int:
        """Nothing acknowledged is missing, and nothing differs from what was sent. Returns how many are stored."""
        found = []
        for batch in stored:
            found.append(id_of(batch))
            assert batch == batch_of(found[-1]), f"{found[-1]} is corrupt"
        lost = self.acknowledged - set(found)
        assert not lost, f"{len(lost)} acknowledged batches are lost, such as {min(lost)}"
        assert len(found) == len(set(found)), "stored twice"
        return len(found)


def acknowledged_until_killed(command: Sequence[str], delay_s: Callable[[], float]) -> set[BatchId]:
    """Starts a child, lets it acknowledge something, and so much later kills it. The ids that it wrote."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    first = child.stdout.readline()
    killer = threading.Timer(delay_s(), os.kill, (child.pid, signal.SIGKILL))
    killer.start()
    lines = [first, *child.stdout]
    killer.join()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL, "it ended by itself"
    return {BatchId(*map(int, line.split())) for line in lines if line.endswith(b"\n")}


def journal_command(directory: Path, number: int, compression: str) -> list[str]:
    """The child below."""
    return [sys.executable, __file__, str(directory), str(number), compression]


def send(append: Callable[[bytes], object], number: int, sender: int) -> None:
    """One sender: never ends by itself."""
    made = 0
    while True:
        which = BatchId(number, sender, made)
        append(batch_of(which))
        os.write(1, which.line())
        made += 1


def main(directory: str, number: str, compression: str) -> None:
    """Senders that append to one journal until somebody kills the process."""
    from k8strace.receiver import Journal

    journal = Journal(directory, segment_bytes=4 << 20, compression=compression)
    for sender in range(SENDERS):
        threading.Thread(target=send, args=(journal.append, int(number), sender), daemon=True).start()
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
