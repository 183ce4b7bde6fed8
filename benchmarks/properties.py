"""
Laws of differences, tried on populations drawn at random: with ties, zeros, cells that only one has, and few requests.

    python benchmarks/properties.py --cases 100000

Small populations are the hard ones: of many requests, mistakes of one hide. Prints how many cases broke a law, and
the seed of the first ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from k8strace.compare import mean, quantile
from k8strace.compare.pairs import Pair
from k8strace.statistics.population import Population

PHASES = ("apiserver.decode", "apiserver.handler", "etcd.raft", "etcd.transport", "webhook.mutating")
CALLED = ("etcd", "webhook")
VERBS = ("get", "list", None)
RESOURCES = ("pods", "nodes")
AT = (0.5, 0.99)

Rows = list[dict[mean.Label, int]]


def drawn(rng: np.random.Generator) -> Population:
    """A population of 1 to 24 requests."""
    count = int(rng.integers(1, 25))
    shape = (count, len(PHASES))
    scale = rng.choice([0, 9, 3_000_000_000], shape)
    parts = (rng.random(shape) * (scale + 1)).astype(np.int64)
    calls = rng.integers(0, 4, (count, len(CALLED)))
    kind = rng.integers(0, len(VERBS) * len(RESOURCES), count)
    return _population(parts, calls, [(VERBS[at % len(VERBS)], RESOURCES[at // len(VERBS)]) for at in kind])


def _population(parts: np.ndarray, calls: np.ndarray, keys: list[tuple[str | None, ...]]) -> Population:
    known: dict[tuple[str | None, ...], int] = {}
    cell = np.array([known.setdefault(key, len(known)) for key in keys], np.int64)
    return Population(
        parts, PHASES, calls, CALLED, tuple(known), cell, np.arange(len(parts), dtype=np.int64) * 1_000_000
    )


def _coarser(own: Population, columns: int) -> Population:
    return _population(own.parts, own.calls, [own.keys[cell][:columns] for cell in own.cell.tolist()])


def rows_of(pair: Pair) -> Rows:
    """Of each level: path and part → ns."""
    levels = mean.decompose(pair.layout, pair.before.all, pair.after.all)
    whole = mean.rounded(pair.layout, levels, mean.total(pair))
    return [
        dict(zip(names, ns, strict=True)) for names, ns in zip(mean.labels(pair.layout), whole, strict=True)
    ]


def _quantile_parts(pair: Pair) -> np.ndarray:
    return quantile.decompose(*quantile.ranked(pair), len(pair.layout.keys), AT)


def broken(before: Population, after: Population) -> Iterator[str]:
    """The laws that two populations break."""
    pair = Pair.of(before, after)
    back = Pair(pair.after, pair.before)
    rows = rows_of(pair)
    means = [Fraction(int(side.parts.sum()), len(side)) for side in (before, after)]
    if any(abs(sum(level.values()) - (means[1] - means[0])) > Fraction(1, 2) for level in rows):
        yield "every level of a mean sums to its difference"
    if len({sum(level.values()) for level in rows}) > 1:
        yield "all levels have one sum"
    if [{label: -ns for label, ns in level.items()} for level in rows_of(back)] != rows:
        yield "the other way round is the opposite"
    for columns in (0, 1):
        coarse = rows_of(Pair.of(_coarser(before, columns), _coarser(after, columns)))
        if coarse[: columns + 1] != rows[: columns + 1]:
            yield "a further column changes nothing that was said"
    if any(any(level.values()) for level in rows_of(Pair.of(before, before))):
        yield "nothing differs from itself"
    parts = _quantile_parts(pair)
    true = [_nearest_rank(after, q) - _nearest_rank(before, q) for q in AT]
    if [round(each) for each in parts.sum(1).tolist()] != true:
        yield "the parts of a quantile sum to its difference"
    if (parts != -_quantile_parts(back)).any():
        yield "the other way round is the opposite, of a quantile"
    if _quantile_parts(Pair.of(before, before)).any():
        yield "no quantile differs from itself"


def _nearest_rank(own: Population, q: float) -> int:
    """By definition: the smallest that at least so many are not above."""
    walls = sorted(own.parts.sum(axis=1).tolist())
    return next(wall for at, wall in enumerate(walls, 1) if Fraction(at, len(walls)) >= Fraction(str(q)))


def failures(first: int, cases: int) -> dict[int, list[str]]:
    """Seed → the laws that its populations broke."""
    found = {}
    for seed in range(first, first + cases):
        rng = np.random.default_rng(seed)
        laws = list(broken(drawn(rng), drawn(rng)))
        if laws:
            found[seed] = laws
    return found


def main() -> None:
    """Prints how many broke a law."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    asked = parser.parse_args()
    found = failures(asked.first, asked.cases)
    print(f"{asked.cases:,} cases from seed {asked.first:,}: {len(found):,} broke a law")
    for seed, laws in list(found.items())[:5]:
        print(f"  seed {seed}: {'; '.join(laws)}")


if __name__ == "__main__":
    main()
