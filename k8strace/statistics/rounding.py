"""Whole numbers that keep a sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

__all__ = ["round_fraction", "round_to_sum"]


def round_fraction(value: Fraction) -> int:
    """
    The nearest whole number, halves away from 0, so that -x rounds to minus what x rounds to.

    Examples:
        >>> round_fraction(Fraction(5, 2)), round_fraction(Fraction(-5, 2))
        (3, -3)
    """
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


def round_to_sum(values: Sequence[float], total: int) -> list[int]:
    """
    Whole numbers near `values` that sum to `total`, by largest remainder; of equal remainders the earlier goes first.

    Values and total with the opposite sign give the same numbers with the opposite sign.

    Examples:
        >>> round_to_sum([1.25, 2.5, 3.25], 7), round_to_sum([-1.25, -2.5, -3.25], -7)
        ([1, 3, 3], [-1, -3, -3])
    """
    whole = [math.trunc(value) for value in values]
    missing = total - sum(whole)
    step = 1 if missing > 0 else -1
    left = [step * (value - part) for value, part in zip(values, whole, strict=True)]
    each, over = divmod(abs(missing), len(whole)) if whole else (0, 0)
    for place in sorted(range(len(whole)), key=lambda at: -left[at])[:over]:
        whole[place] += step
    return [part + step * each for part in whole]
