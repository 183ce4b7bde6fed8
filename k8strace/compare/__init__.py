"""`compare`: what differs between two populations, in parts that sum to the difference. See `comparing` for how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k8strace.attribution import Attribution
    from k8strace.compare.result import Comparison
    from k8strace.requests import Requests

__all__ = ["compare"]


def compare(
    a: Attribution | Requests,
    b: Attribution | Requests,
    by: Sequence[str] = ("verb", "resource"),
    at: Sequence[str | float] = ("mean", 0.5, 0.99),
) -> Comparison:
    """
    What changed from `a` to `b`, in parts that sum to the difference, each with its error.

    Only requests that count in latency statistics are compared, see `Attribution.by`. Needs the extra
    `k8strace[analysis]`.

    Args:
        a: Before. Requests are attributed by critical path.
        b: After.
        by: Columns of requests: requests with equal values are compared with each other, and the rest is mix. There is
            one more column, `load`: the number of requests that the instance had open when this one began.
        at: "mean", and quantiles in (0, 1].

    Raises:
        KeyError: There is no such column.
        TypeError: An argument is not requests, or `by` or `at` is a single value instead of several.
        ValueError: No requests, an unknown statistic, or parts that do not sum to the wall time.
        MissingExtraError: numpy or scipy is not installed.

    Examples:
        >>> import k8strace
        >>> old = k8strace.join(k8strace.read("tests/data/k8s-1.31_etcd-3.5.otlp.zst"))
        >>> new = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> changed = k8strace.compare(old, new)
        >>> sum(row.delta_ns for row in changed.mean.level(2)) == changed.mean.delta_ns
        True
        >>> k8strace.compare(new, old).quantile(0.99).delta_ns == -changed.quantile(0.99).delta_ns
        True
    """
    from k8strace.compare.comparing import compared  # imports numpy and scipy, so only when it is needed

    return compared(a, b, by, at)
