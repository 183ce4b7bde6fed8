"""Differences of means and quantiles: sums, signs, closed cases, and statsmodels as the oracle."""

import os
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import CALLED, PHASES, population

import k8strace
from k8strace.compare import mean, quantile
from k8strace.compare.comparing import compare_populations
from k8strace.compare.pairs import Pair
from k8strace.statistics.blocks import Blocks
from k8strace.statistics.errors import Errors
from k8strace.statistics.population import Population

EXAMPLES = int(os.environ.get("K8STRACE_COMPARE_EXAMPLES", "40"))
AT = (0.5, 0.99)

# ---- laws ----

NS = st.one_of(st.just(0), st.integers(1, 9), st.integers(0, 3 * 10**9))
REQUEST = st.tuples(
    st.tuples(*[NS] * len(PHASES)),
    st.tuples(*[st.integers(0, 3)] * len(CALLED)),
    st.tuples(st.sampled_from(["get", "list", None]), st.sampled_from(["pods", "nodes"])),
)
POPULATIONS = st.lists(REQUEST, min_size=1, max_size=24).map(
    lambda rows: population(*zip(*rows, strict=True))
)


def coarser(own: Population, columns: int) -> Population:
    """The same, told by fewer columns."""
    keys = [own.keys[cell][:columns] for cell in own.cell]
    return population(own.parts, own.calls, keys, own.start_ns)


def mean_rows(before: Population, after: Population) -> list[dict]:
    """Per level: (path, part) → ns."""
    pair = Pair.of(before, after)
    levels = mean.decompose(pair.layout, pair.before.all, pair.after.all)
    whole = mean.rounded(pair.layout, levels, mean.total(pair))
    return [
        dict(zip(names, ns, strict=True)) for names, ns in zip(mean.labels(pair.layout), whole, strict=True)
    ]


def quantile_parts(before: Population, after: Population) -> np.ndarray:
    pair = Pair.of(before, after)
    return quantile.decompose(*quantile.ranked(pair), len(pair.layout.keys), AT)


def true_difference(before: Population, after: Population) -> Fraction:
    sums = [Fraction(int(side.parts.sum()), len(side)) for side in (before, after)]
    return sums[1] - sums[0]


@settings(max_examples=EXAMPLES, deadline=None)
@given(POPULATIONS, POPULATIONS)
def test_the_parts_of_a_mean_sum_to_its_difference_at_every_level(before, after):
    for level in mean_rows(before, after):
        assert abs(sum(level.values()) - true_difference(before, after)) <= Fraction(1, 2)


@settings(max_examples=EXAMPLES, deadline=None)
@given(POPULATIONS, POPULATIONS)
def test_what_is_within_something_sums_to_it(before, after):
    """Everything below ("list", …) sums to everything at ("list",)."""
    *outer, inner = mean_rows(before, after)
    for above, below in zip(outer, [*outer[1:], inner], strict=True):
        for path in {path for path, _ in above}:
            whole = sum(ns for (at, _), ns in above.items() if at == path)
            assert whole == sum(ns for (at, _), ns in below.items() if at[: len(path)] == path)
    for (*cell, component), part in inner:
        whole = sum(ns for (path, _), ns in inner.items() if path == (*cell, component))
        assert outer[-1][tuple(cell), component] == whole, part


@settings(max_examples=EXAMPLES, deadline=None)
@given(POPULATIONS, POPULATIONS)
def test_the_other_way_round_everything_has_the_other_sign(before, after):
    for there, back in zip(mean_rows(before, after), mean_rows(after, before), strict=True):
        assert there == {label: -ns for label, ns in back.items()}
    assert (quantile_parts(before, after) == -quantile_parts(after, before)).all()


@settings(max_examples=EXAMPLES, deadline=None)
@given(POPULATIONS, POPULATIONS)
def test_a_further_column_changes_nothing_that_was_said(before, after):
    fine = mean_rows(before, after)
    for columns in (0, 1):
        coarse = mean_rows(coarser(before, columns), coarser(after, columns))
        assert coarse[: columns + 1] == fine[: columns + 1]


@settings(max_examples=EXAMPLES, deadline=None)
@given(POPULATIONS)
def test_a_population_does_not_differ_from_itself(same):
    assert not any(any(level.values()) for level in mean_rows(same, same))
    assert not quantile_parts(same, same).any()


@settings(max_examples=EXAMPLES, deadline=None)
@given(POPULATIONS, POPULATIONS)
def test_the_parts_of_a_quantile_sum_to_its_difference(before, after):
    """The truth: sorted walls, and the smallest that at least q of all are not above."""

    def by_definition(own: Population, q: float) -> int:
        walls = sorted(own.parts.sum(axis=1).tolist())
        return next(wall for at, wall in enumerate(walls, 1) if Fraction(at, len(walls)) >= Fraction(str(q)))

    for q, parts in zip(AT, quantile_parts(before, after), strict=True):
        assert round(parts.sum()) == by_definition(after, q) - by_definition(before, q)


@settings(max_examples=max(EXAMPLES // 4, 5), deadline=None)
@given(POPULATIONS, POPULATIONS)
def test_a_comparison_says_the_same_both_ways(before, after):
    there, back = (
        compare_populations(*pair, ("verb", "resource")) for pair in ((before, after), (after, before))
    )
    for one, other in zip(there.differences, back.differences, strict=True):
        told = {(row.path, row.part): row.delta_ns for row in one.rows}
        assert told == {(row.path, row.part): -row.delta_ns for row in other.rows}
        assert sum(row.delta_ns for row in one.summary) == one.delta_ns
        levels = defaultdict(int)
        for row in one.rows:
            levels[len(row.path)] += row.delta_ns
        assert set(levels.values()) <= {one.delta_ns}


# ---- closed cases ----


def one_phase(ns, calls=None, cells=None, phase="apiserver.handler"):
    """Requests of one phase."""
    parts = np.zeros((len(ns), len(PHASES)), np.int64)
    parts[:, PHASES.index(phase)] = ns
    return population(parts, calls, cells)


def test_what_is_the_same_in_every_block_does_not_differ():
    """It has no error: rows of parts without any are left out, and the whole is told."""
    same = population([[100, 0, 300, 0, 0]] * 64)
    found = compare_populations(same, same)
    assert {(each.verdict, each.delta_ns, each.low_ns, each.high_ns) for each in found} == {("same", 0, 0, 0)}


def test_mix_alone():
    """Of 4 requests 1 is long, then 2: means 325 and 550. Shares move by a quarter, cells differ by 900."""
    before = one_phase([100, 100, 100, 1000], cells=[("get",)] * 3 + [("list",)])
    after = one_phase([100, 100, 1000, 1000], cells=[("get",)] * 2 + [("list",)] * 2)
    rows = mean_rows(before, after)[1]
    assert sum(ns for (_, part), ns in rows.items() if part == "mix") == 225
    assert not any(ns for (_, part), ns in rows.items() if part != "mix")
    # each cell against the mean of both means, 437.5: -1/4 · (100 - 437.5), 1/4 · (1000 - 437.5)
    assert sorted(ns for (_, part), ns in rows.items() if part == "mix" and ns) == [84, 141]


def test_calls_and_their_length():
    """2 calls of 10 become 3 of 20: 1 more at 15 on average, and 2.5 that are longer by 10."""
    before = one_phase([20] * 4, [(2, 0)] * 4, phase="etcd.raft")
    after = one_phase([60] * 4, [(3, 0)] * 4, phase="etcd.raft")
    inner = mean_rows(before, after)[-1]
    assert inner[("etcd",), "etcd calls"] == 15
    assert inner[("etcd",), "etcd.raft"] == 25


def test_calls_that_only_one_has_are_calls():
    before, after = one_phase([0] * 3), one_phase([30] * 3, phase="webhook.mutating")
    inner = mean_rows(before, after)[-1]
    assert inner[("webhook",), "webhook calls"] == 30
    assert inner[("webhook",), "webhook.mutating"] == 0


def test_time_without_a_call_is_own_time():
    before, after = (one_phase([ns] * 3, [(0, 0)] * 3, phase="etcd.raft") for ns in (10, 40))
    inner = mean_rows(before, after)[-1]
    assert inner[("etcd",), "etcd.raft"] == 30
    assert inner[("etcd",), "etcd calls"] == 0


def test_a_cell_that_is_new_is_mix():
    before = one_phase([10] * 4, cells=[("get",)] * 4)
    after = one_phase([10, 10, 500, 500], cells=[("get",)] * 2 + [("list",)] * 2)
    rows = mean_rows(before, after)[1]
    assert sum(ns for (_, part), ns in rows.items() if part == "mix") == 245
    for parts in quantile_parts(before, after)[1:]:
        assert parts[0] == 490  # the p99


def test_a_component_that_is_longer_by_the_same_everywhere_is_all_of_every_quantile():
    random = np.random.default_rng(5)
    parts = random.integers(0, 10**6, (500, len(PHASES)))
    longer = parts + np.array([0, 0, 7000, 0, 0])
    for found in quantile_parts(population(parts), population(longer)):
        assert found == pytest.approx(
            [0, 0, 7000, 0, 0], abs=1e-6
        )  # mix, apiserver, etcd, webhook, dependence


def test_the_same_times_that_go_together_are_dependence():
    """Two parts of 0 or 10: never long together, then always. The p99 is 10, then 20; no part changed by itself."""
    half = np.array([0, 10] * 50)
    apart, together = np.zeros((100, 5), int), np.zeros((100, 5), int)
    apart[:, 1], apart[:, 2] = half, 10 - half
    together[:, 1], together[:, 2] = half, half
    found = quantile_parts(population(apart), population(together))[1]
    assert found[-1] == pytest.approx(10)
    assert abs(found[:-1]).max() == 0


# ---- oracles ----


@pytest.mark.slow
def test_means_are_those_of_oaxaca_and_blinder():
    """Two-fold, with the mean of both coefficients: explained is mix, unexplained the rest."""
    oaxaca = pytest.importorskip("statsmodels.stats.oaxaca")
    random = np.random.default_rng(3)
    cells = ["get", "list", "create"]
    sides = []
    for shares, slow in (((0.5, 0.3, 0.2), 1.0), ((0.3, 0.3, 0.4), 1.4)):
        cell = random.choice(3, 400, p=shares)
        parts = random.integers(1, 10**6, (400, len(PHASES))) * (1 + cell[:, None]) * slow
        sides.append(population(parts, cells=[(cells[at],) for at in cell]))
    rows = mean_rows(*sides)[1]
    wall = np.concatenate([side.wall for side in sides]).astype(float)
    names = np.array([side.keys[at][0] for side in sides for at in side.cell])
    dummies = np.column_stack([(names == cell).astype(float) for cell in cells])
    group = np.repeat([0.0, 1.0], 400)
    model = oaxaca.OaxacaBlinder(wall, np.column_stack([dummies, group]), 3, hasconst=True, swap=False)
    unexplained, explained, gap = model.two_fold(two_fold_type="reimers").params[:3]
    mix = sum(ns for (_, part), ns in rows.items() if part == "mix")
    assert abs(mix) == pytest.approx(abs(explained), abs=1)
    assert abs(sum(rows.values()) - mix) == pytest.approx(abs(unexplained), abs=1)
    assert abs(sum(rows.values())) == pytest.approx(abs(gap), abs=1)
    assert np.sign(mix) * np.sign(sum(rows.values())) == np.sign(explained) * np.sign(gap)


def test_mix_of_quantiles_is_that_of_dinardo_fortin_and_lemieux():
    """Reweighted to the other's shares, written out: every request repeated as often as its weight says."""
    random = np.random.default_rng(4)
    sides = []
    for counts in ((60, 20), (30, 50)):
        cell = np.repeat([0, 1], counts)
        ns = random.integers(1, 10**6, len(cell)) * (1 + 3 * cell)
        sides.append((cell, ns, counts))

    def reweighted(of, to, q: float) -> int:
        (cell, ns, own), (*_, wanted) = of, to
        walls = sorted(
            wall for at, wall in zip(cell, ns, strict=True) for _ in range(wanted[at] * own[1 - at])
        )
        return walls[-(-len(walls) * round(q * 100) // 100) - 1]

    a, b = sides
    found = quantile_parts(*(one_phase(ns, cells=[(str(at),) for at in cell]) for cell, ns, _ in sides))
    for q, parts in zip(AT, found, strict=True):
        mix = (reweighted(a, b, q) - reweighted(a, a, q) + reweighted(b, b, q) - reweighted(b, a, q)) / 2
        assert parts[0] == mix


def test_a_small_mix_moves_a_quantile_as_its_influence_function_says():
    """
    RIF: a share more of a cell moves the quantile q by (q's share - F_cell(q)) / f(q).

    Two cells of exponential times, told by their distribution functions; nothing is drawn.
    """
    means, counts = np.array([1e6, 3e6]), ((50_000, 50_000), (49_000, 51_000))

    def side(of: tuple[int, ...]) -> Population:
        times = [-mean * np.log1p(-(np.arange(n) + 0.5) / n) for mean, n in zip(means, of, strict=True)]
        return one_phase(np.concatenate(times).round(), cells=[(str(at),) for at in np.repeat([0, 1], of)])

    before, after = (np.array(each) / sum(each) for each in counts)
    middle = (before + after) / 2
    found = quantile_parts(*(side(each) for each in counts))
    for q, parts in zip(AT, found, strict=True):
        low, high = 0.0, 1e9
        for _ in range(200):
            at = (low + high) / 2
            low, high = (at, high) if middle @ -np.expm1(-at / means) < q else (low, at)
        density = middle @ (np.exp(-at / means) / means)
        expected = (after - before) @ (q + np.expm1(-at / means)) / density
        assert parts[0] == pytest.approx(expected, rel=0.005, abs=1 / (100_000 * density))  # to a rank


# ---- errors ----


WAVE = np.cos(np.pi * (np.arange(16) + 0.5) / 16)


def variance_of(*added):
    """Of instances with 16 blocks each: what each block adds to one number."""
    count = 16 * len(added)
    blocks = Blocks(np.zeros(0, int), np.tile(np.arange(16), len(added)), np.repeat(range(len(added)), 16))
    left_out = -np.concatenate(added)[:, None] / (count - 1)
    return float(Errors(np.ones(1), (left_out,), (blocks,)).se[0] ** 2)


def test_instances_that_go_up_and_down_together_are_no_two_witnesses():
    """Each alone has v. Two that are one and the same: of their mean v, and not v / 2; of opposite ones v / 2."""
    one = variance_of(WAVE)
    assert one > 0
    assert variance_of(WAVE, WAVE) == pytest.approx(one)
    assert variance_of(WAVE, -WAVE) == pytest.approx(one / 2)


def test_an_instance_that_is_always_slower_is_no_error():
    """What differs between instances all the time is not chance."""
    assert variance_of(WAVE + 1, WAVE - 1) == pytest.approx(variance_of(WAVE, WAVE))


def test_too_little_time_is_said():
    short = population(np.full((5, 5), 10**6))
    found = compare_populations(short, short)
    assert {row.verdict for each in found for row in each.rows} == {"not enough time to tell"}
    assert not found.enough
    assert all(row.low_ns is None for row in found.mean.rows)


def test_a_difference_that_matters_to_nobody_is_the_same():
    random = np.random.default_rng(1)
    parts = random.integers(900_000, 1_100_000, (4000, 5))
    found = compare_populations(population(parts), population(parts + 1000), at=("mean",))
    assert found.mean.delta_ns == 5000
    assert found.mean.verdict == "same"


@pytest.mark.parametrize("name", ["etcd", "webhook", "apiserver"])
def test_what_changed_is_found(name):
    random = np.random.default_rng(2)
    before, after = (random.exponential(2e6, (4000, 5)) for _ in range(2))
    after[:, [phase.startswith(name) for phase in PHASES]] *= 1.3
    found = compare_populations(population(before), population(after))
    for difference in found:
        told = {row.part for row in difference.summary if row.told}
        assert told == {name}, difference.name
        assert all(row.verdict == "rose" for row in difference.told)


def test_requests_that_show_a_row_are_near_its_mean():
    requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
    attribution = k8strace.attribute(requests)
    changed = k8strace.compare(requests.where(verb="get"), requests.where(verb="create"), by=())
    row = next(row for row in changed.mean.level(0) if row.part == "etcd")
    for verb, found in zip(("get", "create"), changed.exemplars("mean", row), strict=True):
        assert found.verb == verb
        own = requests.where(verb=verb, long_running=False)
        ns = [attribution.components(each.request).get("etcd", 0) for each in own]
        near = abs(attribution.components(found.request).get("etcd", 0) - np.mean(ns))
        assert near == min(abs(np.array(ns) - np.mean(ns)))


def test_self_times_are_refused():
    requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
    own = k8strace.attribute(requests, method="self_time")
    with pytest.raises(ValueError, match="do not sum"):
        k8strace.compare(own, own)
    with pytest.raises(ValueError, match="got none"):
        k8strace.compare(requests, requests.where(verb="nothing"))
    with pytest.raises(ValueError, match="a quantile in"):
        k8strace.compare(requests, requests, at=(1.5,))
    with pytest.raises(KeyError, match="no column"):
        k8strace.compare(requests, requests, by=("colour",))


def test_load_is_a_column():
    """Three requests of one instance: the second begins in the first, the third when both are over."""
    requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
    found = k8strace.compare(requests, requests, by=("load",), at=("mean",))
    assert {row.path for row in found.mean.level(1)} <= {("0",), ("1",), ("2-3",), ("4-7",), ("8-15",)}
