"""
How much longer the calls took that began at certain times: within strata, with an error from blocks of time.

Calls of one block and one kind, under about the same load, are compared with each other. Neighbouring calls are alike,
so the error comes from leaving out one block at a time (delete-one jackknife), never from the number of calls.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, TypeAlias

__all__ = ["BLOCKS", "Effect", "Sums", "effect"]

BLOCKS: Final = 16
"""Parts of a recording."""
FEWEST_BLOCKS: Final = 8
"""With fewer, the recording is too short for an answer."""
CRITICAL: Final = 4.8
"""Student's t for 0.1 % on one side, with seven degrees of freedom (the fewest blocks)."""
INTERVAL: Final = 2.37
"""The same for 5 % on both sides."""


Sums: TypeAlias = dict[int, tuple[float, int]]
"""Block → sum of the differences between values and those they are compared with, and the number of values."""


class Effect(NamedTuple):
    """How much larger values of one group are than those of another, on average."""

    mean: float
    error: float
    """Its standard error; infinite with fewer blocks than two."""
    blocks: int
    """Blocks that have values of both groups."""
    calls: int
    """Values of the first group in these blocks."""

    @property
    def is_sure(self) -> bool:
        """Larger, at an error rate of 0.1 %."""
        return self.blocks >= FEWEST_BLOCKS and self.mean > CRITICAL * self.error

    @property
    def interval(self) -> tuple[float, float]:
        """Of the mean, 95 %."""
        return self.mean - INTERVAL * self.error, self.mean + INTERVAL * self.error


def effect(sums: Sums) -> Effect:
    """
    The mean of such sums, and its error.

    Examples:
        >>> effect({0: (10.0, 10), 1: (12.0, 10), 2: (8.0, 10)})
        Effect(mean=1.0, error=0.1154..., blocks=3, calls=30)
    """
    blocks, total, calls = (
        len(sums),
        sum(above for above, _ in sums.values()),
        sum(n for _, n in sums.values()),
    )
    if blocks < 2:
        return Effect(total / calls if calls else 0.0, math.inf, blocks, calls)
    without = [(total - above) / (calls - number) for above, number in sums.values()]
    middle = sum(without) / blocks
    variance = (blocks - 1) / blocks * sum((each - middle) ** 2 for each in without)
    return Effect(total / calls, math.sqrt(variance), blocks, calls)
