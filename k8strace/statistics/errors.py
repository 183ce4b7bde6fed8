"""
Errors of differences: leave one block of one instance out, and see how much the result changes.

    e_k = (K - 1)(mean of θ without a block - θ without block k)          what block k adds, for each population
    d_j = √2 Σ e_k cos(π j (k + ½)/n) / K,  j = 1 … n/2                   how much of that are slow waves of n blocks
    var = mean of d_j²                                                    for each population; they add up
    t   = θ / √(var before + var after),  degrees of freedom by Satterthwaite, of n/2 waves each (Welch's test)

All waves together would be the jackknife. Where load is correlated over more than a block, slow waves are higher than
fast ones, and only they give the error. Where it is not, all waves are alike, and only degrees of freedom are lost.

Several instances have two such errors: that of stretches of time over all of them, and the sum of each instance's own.
If instances are independent, both hold; if they share load or etcd, only the first. The larger one counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace.statistics.blocks import LEAST_BLOCKS, Blocks
from k8strace.tables import require

if TYPE_CHECKING:
    from k8strace.statistics.arrays import Floats

__all__ = ["LEVEL", "NOT_ENOUGH", "Errors", "band_ns", "false_discoveries", "verdict_of"]

LEVEL: Final = 0.05
"""How often a difference may be reported where there is none."""

NOT_ENOUGH: Final = "not enough time to tell"
"""Verdict where there are too few blocks."""

POWER: Final = 0.9
"""How often the smallest difference that can be seen is found."""

_DRAWS: Final = 2000
_SEED: Final = 0x6B387374


def band_ns(before: float, after: float) -> float:
    """Differences smaller than this do not matter: 1 % of the larger value, or 100 µs if that is more."""
    return max(0.01 * max(abs(before), abs(after)), 100_000.0)


@dataclass(frozen=True)
class Errors:
    """
    The errors of numbers that were computed together.

    `left_out` holds for each population one row per block, with the numbers as they would be without it, and `blocks`
    what these blocks are.
    """

    values: Floats
    left_out: tuple[Floats, ...]
    blocks: tuple[Blocks, ...]

    @property
    def enough(self) -> bool:
        """There are enough blocks."""
        return all(each.times >= LEAST_BLOCKS for each in self.blocks)

    def some(self, places: slice) -> Errors:
        """The same for some of the numbers."""
        return Errors(self.values[places], tuple(each[:, places] for each in self.left_out), self.blocks)

    @cached_property
    def _populations(self) -> list[_Varying]:
        return [_varying(*each) for each in zip(self.left_out, self.blocks, strict=True)]

    @cached_property
    def se(self) -> Floats:
        """Standard errors."""
        np = require("numpy", "analysis")
        errors: Floats = np.sqrt(sum(each.variance for each in self._populations))
        return errors

    @cached_property
    def df(self) -> Floats:
        """Degrees of freedom."""
        np = require("numpy", "analysis")
        whole = sum(each.variance for each in self._populations)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = whole**2 / sum(each.variance**2 / each.df for each in self._populations)
        fewest = min(len(each.waves) for each in self._populations)
        result: Floats = np.where(np.isfinite(found), found, fewest)
        return result

    @cached_property
    def p(self) -> Floats:
        """Two-sided p-values; 1 where the value is 0."""
        np = require("numpy", "analysis")
        special = require("scipy.special", "analysis")
        result: Floats = np.where(
            self.values == 0, 1.0, 2 * special.stdtr(self.df, -abs(self._t(self.values, self.se)))
        )
        return result

    def _t(self, values: Any, se: Any) -> Any:
        np = require("numpy", "analysis")
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values == 0, 0.0, values / se)

    def half_width(self, level: float = LEVEL) -> Floats:
        """Half of the interval that holds the true value in 1 - `level` of all cases."""
        special = require("scipy.special", "analysis")
        width: Floats = special.stdtrit(self.df, 1 - level / 2) * self.se
        return width

    def smallest_seen(self) -> Floats:
        """The smallest difference that is found in nine cases of ten."""
        special = require("scipy.special", "analysis")
        found: Floats = (special.stdtrit(self.df, 1 - LEVEL / 2) + special.stdtrit(self.df, POWER)) * self.se
        return found

    def together(self) -> Floats:
        """
        p-values for all of them at once: where nothing differs, none is below 0.05 in 95 of 100 cases.

        Westfall and Young's step-down of the greatest |t|. Chance is drawn by weighting the waves at random,
        with the same weights for all numbers, so that numbers that vary together are not counted twice.
        """
        np = require("numpy", "analysis")
        t = abs(self._t(self.values, self.se))
        drawn = self._drawn()
        order = np.argsort(-t, kind="stable")
        greatest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
        found = (1 + (greatest >= t[order]).sum(0)) / (1 + len(drawn))
        adjusted = np.empty(len(t))
        adjusted[order] = np.maximum.accumulate(found)
        result: Floats = np.where(self.values == 0, 1.0, np.maximum(adjusted, self.p))
        return result

    def _drawn(self) -> Floats:
        """|t| of each number in draws where nothing differs."""
        np = require("numpy", "analysis")
        random = np.random.default_rng(_SEED)
        moved = sum(
            random.standard_normal((_DRAWS, len(each.waves))) @ each.waves / np.sqrt(len(each.waves))
            for each in self._populations
        )
        freedom = sum(len(each.waves) for each in self._populations)
        return abs(self._t(moved, self.se * np.sqrt(random.chisquare(freedom, (_DRAWS, 1)) / freedom)))


class _Varying(NamedTuple):
    """How much a population's numbers vary."""

    variance: Floats
    df: Floats
    waves: Floats
    """Wave × number: the mean of their squares is the variance."""


def _varying(left_out: Floats, blocks: Blocks) -> _Varying:
    np = require("numpy", "analysis")
    added = (len(left_out) - 1) * (left_out.mean(0) - left_out)
    together = np.zeros((blocks.times, added.shape[1]))
    np.add.at(together, blocks.time, added)
    waves = _slow_waves(together) / max(len(left_out), 1)
    variance = (waves**2).mean(0)
    df = np.full(len(variance), len(waves))
    apart = [_slow_waves(added[blocks.instance == each]) / len(left_out) for each in range(blocks.instances)]
    if len(apart) > 1:
        own = [(each**2).mean(0) for each in apart]
        larger = sum(own) > variance
        with np.errstate(divide="ignore", invalid="ignore"):
            of_own = sum(own) ** 2 / sum(each**2 / len(of) for each, of in zip(own, apart, strict=True))
            scale = np.where(larger & (variance > 0), np.sqrt(sum(own) / variance), 1.0)
        variance, df, waves = (
            np.where(larger, sum(own), variance),
            np.where(larger, of_own, df),
            waves * scale,
        )
    return _Varying(variance, df, waves)


def _slow_waves(added: Floats) -> Floats:
    """The slower half of the cosine waves of what each block adds."""
    np = require("numpy", "analysis")
    count = len(added)
    wave = np.arange(1, max(count // 2, 1) + 1)[:, None]
    result: Floats = np.cos(np.pi * wave * (np.arange(count) + 0.5) / count) @ added * np.sqrt(2)
    return result


def false_discoveries(p: Floats) -> Floats:
    """
    Benjamini and Hochberg's q-values: of the rows with q below 0.05, at most one in twenty is wrong.

    Examples:
        >>> import numpy as np
        >>> false_discoveries(np.array([0.01, 0.5, 0.02])).round(3).tolist()
        [0.03, 0.5, 0.03]
    """
    np = require("numpy", "analysis")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1)
    result: Floats = q
    return result


def verdict_of(value: float, p: float, half_90: float, band: float) -> str:
    """
    The verdict on a difference: "rose", "fell", "same" (certainly smaller than `band`), or "cannot tell".

    Args:
        value: The difference.
        p: How likely a difference as large is by chance.
        half_90: Half of its 90 % interval.
        band: Differences within it do not matter.
    """
    if abs(value) + half_90 <= band:
        return "same"
    if p < LEVEL and abs(value) >= band:
        return "rose" if value > 0 else "fell"
    return "cannot tell"
