"""`compare`: two populations → a difference that sums to the difference, with its error. See `comparing` for how."""

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
    Says what changed from `a` to `b`: parts that sum to the difference, each with its error.

    Compared are the requests that latency statistics are about, see `Attribution.by`. Needs the extra
    `k8strace[analysis]`.

    Args:
        a: Before. Requests are attributed by critical path.
        b: After.
        by: Columns of requests: what is alike is compared with each other, and the rest is mix. `load` is a column
            more: how many requests the instance had open as this one began.
        at: "mean", and quantiles in (0, 1].

    Raises:
        KeyError: There is no such column.
        TypeError: These are no requests, or `by` or `at` is one instead of several.
        ValueError: No requests, a statistic that is none, or parts that do not sum to the wall time.
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
    from k8strace.compare.comparing import compared  # only who compares waits for what it needs

    return compared(a, b, by, at)
