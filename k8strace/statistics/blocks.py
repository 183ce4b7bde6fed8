"""
Blocks of time: what errors are computed from, by leaving one out.

Requests that follow each other wait in the same queue, so they are not independent. Whole stretches of time nearly are.
A block is such a stretch in one instance.

    instance a  | || ||| |    | || |  |||| || |   | |
    instance b  |  | | | ||   ||       | |  |  || | |
    time       |────0────|────1────|────2────|────3────|      equal durations, gaps of the recording left out
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Ints

__all__ = ["BLOCKS", "LEAST_BLOCKS", "Blocks", "blocks_of", "times_of"]

BLOCKS: Final = 16
"""Blocks of a population. With more, neighbouring blocks would be correlated; fewer make errors less certain."""

LEAST_BLOCKS: Final = 8
"""With fewer there is not enough time to tell."""

_GAP_SHARE: Final = 8
_GAP_STEPS: Final = 64
"""
A gap without requests does not count as time of the recording if it is longer than an eighth of the rest, and than 64
median steps from one request to the next: another file begins, or there was no traffic.
"""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks that have requests, in the order of their instances and of time."""

    of: Ints
    """Request → its block."""
    time: Ints
    """Block → its stretch of time; empty stretches have no number."""
    instance: Ints
    """Block → its instance, in the same way."""

    def some(self, requests: Ints) -> Blocks:
        """The blocks of some of the requests."""
        return _blocks(self.time[self.of[requests]], self.instance[self.of[requests]])

    def __len__(self) -> int:
        return len(self.time)

    @property
    def times(self) -> int:
        """How many stretches of time have requests."""
        return int(self.time.max()) + 1 if len(self.time) else 0

    @property
    def instances(self) -> int:
        """How many instances have requests."""
        return int(self.instance.max()) + 1 if len(self.instance) else 0


def blocks_of(start_ns: Ints, instance: Ints, count: int = BLOCKS) -> Blocks:
    """
    The blocks of some requests.

    Args:
        start_ns: Starts of the requests, in any order.
        instance: Numbers of their instances.
        count: How many stretches of time.

    Examples:
        >>> import numpy as np
        >>> found = blocks_of(np.array([0, 10, 20, 30, 39, 39]), np.array([0, 0, 0, 0, 0, 7]), 4)
        >>> found.of.tolist(), found.time.tolist(), found.instance.tolist()
        ([0, 1, 2, 3, 3, 4], [0, 1, 2, 3, 3], [0, 0, 0, 0, 1])
    """
    return _blocks(times_of(start_ns, count), instance)


def _blocks(times: Ints, instances: Ints) -> Blocks:
    np = require("numpy", "analysis")
    times, instances = _dense(times), _dense(instances)
    count = int(times.max(initial=0)) + 1
    both, of = np.unique(instances * count + times, return_inverse=True)
    return Blocks(of.reshape(-1), both % count, both // count)


def _dense(numbers: Ints) -> Ints:
    """The same numbers, without gaps from 0 on."""
    np = require("numpy", "analysis")
    dense: Ints = np.unique(numbers, return_inverse=True)[1].reshape(-1)
    return dense


def times_of(start_ns: Ints, count: int = BLOCKS) -> Ints:
    """
    The stretch of time of each request, from 0 to `count` - 1. All are equally long; some may be empty.

    Args:
        start_ns: Starts of the requests, in any order.
        count: How many.

    Examples:
        >>> import numpy as np
        >>> times_of(np.array([0, 10, 20, 30, 39]), 4).tolist()
        [0, 1, 2, 3, 3]
    """
    np = require("numpy", "analysis")
    order = np.argsort(start_ns, kind="stable")
    steps = np.diff(start_ns[order], prepend=start_ns[order[:1]])
    time = np.cumsum(_without_gaps(steps))
    blocks: Ints = np.empty(len(start_ns), np.int64)
    length = time[-1] + 1 if len(time) else 1
    blocks[order] = np.minimum(time * count // length, count - 1)
    return blocks


def _without_gaps(steps: Ints) -> Ints:
    """Steps between starts; 0 where a gap is no part of the recording."""
    np = require("numpy", "analysis")
    usual = np.median(steps[1:]) if len(steps) > 1 else 0
    kept: Ints = steps.copy()
    for longest in np.argsort(-steps, kind="stable").tolist():
        silence = int(steps[longest])
        if silence * _GAP_SHARE <= kept.sum() - silence or silence <= _GAP_STEPS * usual:
            break
        kept[longest] = 0
    return kept
