"""
Blocks of time: what is resampled where an error is asked for.

Requests that follow each other wait for the same queue, so they are no independent witnesses; whole stretches of time
nearly are. Instances share their load and their etcd, so a block is a stretch of time in all of them.

    requests    | || ||| |    | || |  |||| || |   | |
    blocks     |────0────|────1────|────2────|────3────|      equal durations, gaps of the recording left out
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Ints

__all__ = ["BLOCKS", "LEAST_BLOCKS", "blocks_of"]

BLOCKS: Final = 16
"""Blocks of a population. More would be shorter than the memory of the load, fewer tell less."""

LEAST_BLOCKS: Final = 8
"""With fewer there is not enough time to tell."""

_GAP_SHARE: Final = 8
_GAP_STEPS: Final = 64
"""
A silence that is longer than one part in 8 of the time outside it, and than 64 usual steps from one request to the
next, does not count as time of the recording: another file begins, or there was no traffic.
"""


def blocks_of(start_ns: Ints, count: int = BLOCKS) -> Ints:
    """
    The block of each request, from 0 to `count` - 1. Blocks last equally long; one may be empty.

    Args:
        start_ns: Starts of the requests, in any order.
        count: How many.

    Examples:
        >>> import numpy as np
        >>> blocks_of(np.array([0, 10, 20, 30, 39]), 4).tolist()
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
    """Steps between starts, with silences that are no part of the recording cut to nothing."""
    np = require("numpy", "analysis")
    usual = np.median(steps[1:]) if len(steps) > 1 else 0
    kept: Ints = steps.copy()
    for longest in np.argsort(-steps, kind="stable").tolist():
        silence = int(steps[longest])
        if silence * _GAP_SHARE <= kept.sum() - silence or silence <= _GAP_STEPS * usual:
            break
        kept[longest] = 0
    return kept
