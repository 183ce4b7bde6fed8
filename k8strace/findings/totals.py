"""Totals of all requests, estimated from sampled traces, with their intervals."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Final

from k8strace import _core
from k8strace.exceptions import SamplingError, expect
from k8strace.findings.sampling import inferred, is_all
from k8strace.tables import Table

if TYPE_CHECKING:
    from k8strace.requests import Requests

__all__ = ["estimated_totals"]

NORMAL: Final = 1.959964
"""95 % of the normal distribution lie within this many standard deviations."""

_THRESHOLD: Final = re.compile(r"(?:^|,)\s*ot=[^,]*?th:([0-9a-f]{1,14})")


def estimated_totals(requests: Requests, rate: float | None) -> Table:
    """See `Requests.estimate_totals`."""
    kept = requests._judged()
    used = _rate(kept, rate)
    trace_id = kept.column("trace_id").to_pylist()
    quantities = {
        "requests": [1] * len(kept),
        "wall_ns": kept.column("wall_ns").to_pylist(),
        "etcd_calls": kept.column("etcd_call_count").to_pylist(),
    }
    rows = {name: _estimate(trace_id, values, used) for name, values in quantities.items()}
    estimates = {name: total / used for name, (total, _) in rows.items()}
    return Table(
        _core.make_table(
            [
                ("quantity", "text", list(rows)),
                ("recorded", "int", [total for total, _ in rows.values()]),
                ("rate", "float", [used] * len(rows)),
                ("estimate", "float", list(estimates.values())),
                (
                    "low",
                    "float",
                    [max(estimates[name] - error, total) for name, (total, error) in rows.items()],
                ),
                ("high", "float", [estimates[name] + error for name, (_, error) in rows.items()]),
            ]
        )
    )


def _estimate(trace_id: Sequence[str], values: Sequence[int], rate: float) -> tuple[int, float]:
    """The sum, and half of its interval (Horvitz and Thompson): a trace is sampled as a whole."""
    sums: dict[str, int] = {}
    for trace, value in zip(trace_id, values, strict=True):
        sums[trace] = sums.get(trace, 0) + value
    variance = (1 - rate) / rate**2 * sum(value * value for value in sums.values())
    return sum(sums.values()), NORMAL * math.sqrt(variance)


def _rate(requests: Requests, given: float | None) -> float:
    if given is not None:
        expect(given, Real, "a rate above 0 and at most 1")
        if not 0 < given <= 1:
            raise SamplingError(f"expected a rate above 0 and at most 1, got {given}")
        return given
    states = {state for state in requests.spans.column("trace_state").to_pylist() if state}
    told = {found[1] for state in states if (found := _THRESHOLD.search(state))}
    if len(told) == 1:
        return 1 - int(told.pop().ljust(14, "0"), 16) / 2**56
    if told:
        raise SamplingError(
            f"the spans' tracestate has {len(told)} different rates: give one, or select by it"
        )
    sampling = inferred(requests.column("trace_id"))
    if sampling is None:
        raise SamplingError(
            "the rate is not known: the trace ids are too few, or were not chosen by OpenTelemetry's ratio sampler"
            " (tail sampling, or several rates); give the rate"
        )
    return 1.0 if is_all(sampling) else sampling.rate
