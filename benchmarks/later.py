"""A recording again and again, each time later and with other trace ids: as many spans as are wanted, with little work.

    python benchmarks/later.py FILE COPIES OUT [SECONDS]    # so long from one copy to the next

Ids and times have a fixed width on the wire, so each copy is the bytes of the first with some numbers replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from k8strace import formats

SECOND = 1_000_000_000

IDS = {(1, 2, 2, 1), (1, 2, 2, 13, 1)}
"""Fields of trace ids: of a span, and of its links."""

TIMES = {(1, 2, 2, 7), (1, 2, 2, 8), (1, 2, 2, 11, 1)}
"""Fields of times: start, end, and those of events."""

MESSAGES = {(1,), (1, 2), (1, 2, 2), (1, 2, 2, 11), (1, 2, 2, 13)}


def fields(wire: bytes) -> Iterator[tuple[tuple[int, ...], int]]:
    """Path and offset of every field of fixed width and of every text, in some messages."""
    todo = [(0, len(wire), ())]
    while todo:
        at, end, path = todo.pop()
        while at < end:
            key, at = varint(wire, at)
            here = (*path, key >> 3)
            if key & 7 == 2:
                size, at = varint(wire, at)
                if here in MESSAGES:
                    todo.append((at, at + size, here))
                yield here, at
                at += size
            elif key & 7 == 0:
                _, at = varint(wire, at)
            else:
                yield here, at
                at += 8 if key & 7 == 1 else 4


def varint(wire: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while True:
        byte = wire[at]
        at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, at


class Later:
    """A recording in frames, and where its ids and times stand."""

    def __init__(self, path: Path) -> None:
        frames, at, ids, times = [], 0, [], []
        found = (part for part in formats.messages(path) if isinstance(part, formats.Message))
        for message in found:
            wire = bytes(message.wire)
            frames.append(len(wire).to_bytes(4, "big") + wire)
            for field, offset in fields(wire):
                if field in IDS:
                    ids.append(at + 4 + offset)
                elif field in TIMES:
                    times.append(at + 4 + offset)
            at += len(wire) + 4
        self.wire = np.frombuffer(b"".join(frames), np.uint8)
        self.frames = np.cumsum([0, *map(len, frames)])
        self._ids, self._times = (np.array(each, np.int64)[:, None] + np.arange(8) for each in (ids, times))

    def copy(self, number: int, later_ns: int) -> np.ndarray:
        """All of it, later by so much, with ids that no other number has."""
        wire = self.wire.copy()
        for places, add in ((self._ids, number * 0x9E3779B97F4A7C15 % 2**64), (self._times, later_ns)):
            numbers = np.ascontiguousarray(wire[places]).view("<u8")
            wire[places] = (numbers + np.uint64(add)).view(np.uint8)
        return wire

    def write(self, path: Path, copies: int, step_ns: int) -> None:
        """Some copies behind one another, as frames."""
        with path.open("wb") as out:
            for number in range(copies):
                out.write(self.copy(number, number * step_ns).data)


if __name__ == "__main__":
    source, copies, target, *step = sys.argv[1:]
    Later(Path(source)).write(Path(target), int(copies), int(step[0] if step else 60) * SECOND)
