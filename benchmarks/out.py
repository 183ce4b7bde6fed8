"""Out as it came in: what tables cost that leave for polars and pandas, and groups beside polars'.

    python benchmarks/out.py FILE ROUNDS     # one line of JSON; CPU and system time, and page faults

polars starts from columns that are ready, and gives per group and band the sums that `Attribution.by` gives: both take
their turn in each round.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from spent import Spent, alone, of

import k8strace

QUANTILES = (0.5, 0.9, 0.99)

child = partial(alone, __file__)
"""Runs this in a process of its own."""


def grouped_by_polars(requests: k8strace.Requests, attribution: k8strace.Attribution) -> Callable[[], object]:
    """Give the same job for polars: bands by nearest rank, their wall times, and their parts."""
    import polars as pl

    rows, parts = requests.to_polars(), attribution.to_polars().select("request", "phase", "ns")
    keys = ["verb", "resource"]
    rank = pl.int_range(pl.len()).over(keys)
    bands = [(rank >= (pl.len().over(keys) * q).ceil() - 1).cast(pl.Int8) for q in QUANTILES]

    def group() -> object:
        judged = rows.filter(
            pl.col("has_valid_times") & ~pl.col("long_running") & pl.col("counted_in").is_null()
        )
        ranked = judged.select("request", *keys, "wall_ns", "trace_id").sort("wall_ns", "request")
        banded = ranked.with_columns(band=pl.sum_horizontal(bands))
        by = [*keys, "band"]
        walls = banded.group_by(by).agg(pl.len(), pl.col("wall_ns").sum(), pl.col("trace_id").last())
        sums = parts.join(banded.select("request", *by), on="request").group_by(*by, "phase")
        return walls, sums.agg(pl.col("ns").sum())

    return group


def main(path: str, rounds: int) -> dict[str, Any]:
    """Measure each step in turn; the first round is not counted."""
    spans = k8strace.read(path)
    requests = k8strace.join(spans)
    attribution = k8strace.attribute(requests)
    steps: dict[str, Callable[[], object]] = {
        "attribution to polars": attribution.to_polars,
        "spans to pandas": spans.to_pandas,
        "by": lambda: attribution.by("verb", "resource", quantiles=QUANTILES),
        "by, polars": grouped_by_polars(requests, attribution),
    }
    measured = [{name: of(step) for name, step in steps.items()} for _ in range(rounds + 1)][1:]
    return {
        "spans": len(spans),
        "requests": len(requests),
        "spent": {name: Spent.median(each[name].per(len(spans)) for each in measured) for name in steps},
        "polars_by_ours": median(each["by, polars"].cpu / each["by"].cpu for each in measured),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
