"""Histograms and exact sums of parts are those of the whole."""

from __future__ import annotations

import pickle
import random
from functools import lru_cache, reduce
from operator import add
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import k8strace
from k8strace import Histogram, Histograms

DATA = Path(__file__).parent / "data"
RECORDINGS = ("k8s-1.27_etcd-3.5", "k8s-1.36_etcd-3.6")
Q = (0.01, 0.5, 0.9, 0.99, 1.0)


@lru_cache
def requests_of(name: str) -> k8strace.Requests:
    return k8strace.join(k8strace.read(DATA / f"{name}.otlp.zst"))


def summed(requests: k8strace.Requests, *keys: str, most_groups: int = 1_000) -> Histograms:
    return Histograms.of(k8strace.attribute(requests), *keys, most_groups=most_groups)


def parts_of(requests: k8strace.Requests, many: int, seed: int) -> list[k8strace.Requests]:
    """Every request in one of so many parts; one inside another stays with it."""
    draw = random.Random(seed)
    around = requests.column("counted_in")
    of = [draw.randrange(many) for _ in around]
    for row in range(len(of)):
        outer = row
        while (above := around[outer]) is not None:
            outer = above
        of[row] = of[outer]
    return [requests._with([row for row, part in enumerate(of) if part == each]) for each in range(many)]


# ---- laws -----------------------------------------------------------------------------------------

durations = st.lists(st.integers(-5, 2**62), max_size=40)


@given(durations, durations, durations)
def test_histograms_add_up_in_any_order(one, two, three):
    a, b, c = map(Histogram.of, (one, two, three))
    assert a + b == b + a
    assert (a + b) + c == a + (b + c) == Histogram.of([*three, *one, *two])
    assert a + Histogram() == a


@given(durations.filter(bool), st.sampled_from(Q))
def test_count_and_sum_are_exact_and_a_quantile_is_within_the_error(values, q):
    histogram = Histogram.of(values)
    true = sorted(values)[-(-len(values) * round(q * 100) // 100) - 1]
    assert (histogram.count, histogram.total_ns) == (len(values), sum(values))
    assert histogram.range_ns == (min(values), max(values))
    off = abs((histogram.quantile(q) or 0) - max(true, 0))
    assert true <= 0 or off <= true * histogram.relative_error * (1 + 1e-9) + 1


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("keys", [(), ("verb", "resource", "namespace", "status"), ("client",)])
def test_parts_add_up_to_the_whole_bit_by_bit(recording, keys):
    requests = requests_of(recording)
    whole = summed(requests, *keys)
    for many in (2, 7):
        parts = [summed(part, *keys) for part in parts_of(requests, many, seed=many)]
        left, right = reduce(add, parts), reduce(lambda sum_, part: part + sum_, reversed(parts))
        assert left == right == whole
        assert left.to_bytes() == right.to_bytes() == whole.to_bytes()


def test_groups_beyond_the_limit_are_the_same_ones_however_parts_are_added():
    requests = requests_of(RECORDINGS[1])
    whole = summed(requests, most_groups=5)
    assert len(whole) == 5
    assert whole.others is not None
    parts = [summed(part, most_groups=5) for part in parts_of(requests, 9, seed=1)]
    random.Random(3).shuffle(parts)
    assert reduce(add, parts) == whole
    exact = summed(requests)
    assert whole.total == exact.total
    for group in whole:
        assert group == exact[tuple(group.keys.values())]


# ---- against the batch ----------------------------------------------------------------------------


@pytest.mark.parametrize("recording", RECORDINGS)
def test_sums_are_those_of_the_attribution_and_quantiles_are_within_the_error(recording):
    requests = requests_of(recording)
    attribution = k8strace.attribute(requests)
    exact = attribution.by("verb", "resource", quantiles=Q)
    found = summed(requests)
    assert {tuple(group.keys.values()) for group in found} == {tuple(group.keys.values()) for group in exact}
    for group in exact:
        sums = found[tuple(group.keys.values())]
        assert sums.all.requests == group.requests == sums.wall.count
        assert sums.all.wall_ns == group.all.wall_ns == sums.wall.total_ns
        assert sums.all.phases == group.all.phases
        assert sums.all.errors == group.all.errors
        assert sums.all.exemplar_wall_ns == group.all.exemplar_wall_ns
        assert {name: each.total_ns for name, each in sums.components.items()} == group.all.components
        for q in Q:
            true = group.quantile(q).wall_ns
            assert abs(sums.quantile(q) - true) <= sums.wall.relative_error * true + 1
    judged = len(requests) - found.left_out
    assert judged == sum(group.requests for group in exact) == found.requests
    assert [group.keys for group in found.breakdown()] == [group.keys for group in exact]


# ---- hand-over ------------------------------------------------------------------------------------


def test_it_pickles_and_comes_back_from_bytes():
    whole = summed(requests_of(RECORDINGS[1]), "verb", "http_status", "long_running")
    assert pickle.loads(pickle.dumps(whole)) == whole == Histograms.from_bytes(whole.to_bytes())
    histogram = whole.total.wall
    assert pickle.loads(pickle.dumps(histogram)) == histogram


@pytest.mark.parametrize("data", [b"", b"nothing of the kind", Histograms(("verb",)).to_bytes()[:-9]])
def test_other_bytes_are_an_error(data):
    with pytest.raises(ValueError, match="expected the bytes of histograms"):
        Histograms.from_bytes(data)


def test_other_keys_do_not_add_up():
    with pytest.raises(ValueError, match="expected groups by verb, got resource"):
        Histograms(("verb",)) + Histograms(("resource",))


def test_rows_for_arrow_hold_the_buckets():
    pytest.importorskip("pyarrow")
    whole = summed(requests_of(RECORDINGS[1]))
    rows = whole.to_arrow().to_pylist()
    walls = [row for row in rows if row["component"] is None]
    assert len(walls) == len(whole)
    for row in walls:
        group = whole[row["verb"], row["resource"]]
        assert row["count"] == group.requests == row["zero_count"] + sum(row["bucket_counts"])
        assert row["total_ns"] == group.all.wall_ns
        dense = dict(enumerate(row["bucket_counts"], row["bucket_offset"]))
        assert {at: count for at, count in dense.items() if count} == group.wall.buckets
