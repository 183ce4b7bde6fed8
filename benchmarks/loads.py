"""
Simulated populations: what is compared where the truth is known.

Requests follow each other under a load that remembers: the logarithm of the time in etcd goes up and down with an
autoregressive process whose correlation falls to 1/e within so many requests, as a queue's does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from k8strace.statistics.population import Population, _bucket

__all__ = ["by_load", "simulated"]

PHASES: Final = (
    "apiserver.decode",
    "apiserver.handler",
    "apiserver.storage.encode",
    "etcd.raft",
    "etcd.read",
    "etcd.transport",
    "webhook.mutating",
    "webhook.validating",
    "aggregator.server",
    "unattributed",
)
MEAN_NS: Final = np.array([2e5, 6e5, 1e5, 1.5e6, 8e5, 3e5, 8e5, 4e5, 0, 5e4])
CALLED: Final = ("etcd", "webhook")
KEYS: Final = (("get", "pods"), ("list", "pods"), ("create", "pods"), ("patch", "configmaps"))
SHARES: Final = (0.5, 0.1, 0.25, 0.15)
SIZE: Final = (0.5, 2.0, 1.5, 1.2)


def load(rng: np.random.Generator, requests: int, memory: float) -> Any:
    """How busy the cluster is as each request begins: mean 0, variance 1, remembered for so many requests."""
    from scipy.signal import lfilter

    keep = np.exp(-1 / memory)
    steps = rng.standard_normal(requests) * np.sqrt(1 - keep**2)
    steps[0] = rng.standard_normal()
    return lfilter([1.0], [1.0, -keep], steps)


def simulated(
    rng: np.random.Generator,
    requests: int,
    memory: float,
    change: str = "",
    by: float = 1.0,
    instances: int = 1,
    shared: float = 0.0,
) -> Population:
    """
    Requests under load, each an independent draw of everything.

    Args:
        rng: Where chance comes from.
        requests: How many.
        memory: Of the load, in requests.
        change: A component whose times are `by` times as long, "etcd calls" (so many times more), or "mix" (lists).
        by: The factor.
        instances: Of the API server; each request comes to one of them by chance.
        shared: How much of the variance of their load is that of all of them.
    """
    shares = np.array(SHARES)
    if change == "mix":
        shares[1] *= by
    cell = rng.choice(len(KEYS), requests, p=shares / shares.sum())
    parts = (
        MEAN_NS
        * np.array(SIZE)[cell][:, None]
        * np.exp(0.5 * rng.standard_normal((requests, len(PHASES))) - 0.125)
    )
    etcd, webhook = (np.array([phase.startswith(name) for phase in PHASES]) for name in CALLED)
    instance, busy = None, load(rng, requests, memory)
    if instances > 1:
        instance = rng.integers(0, instances, requests)
        own = np.array([load(rng, requests, memory) for _ in range(instances)])
        busy = np.sqrt(shared) * busy + np.sqrt(1 - shared) * own[instance, np.arange(requests)]
    parts[:, etcd] *= np.exp(0.5 * busy)[:, None]
    parts[:, webhook] *= (cell >= 2)[:, None]
    calls = np.column_stack([1 + (cell == 1) * rng.integers(0, 3, requests), 2 * (cell >= 2)])
    parts[:, etcd] *= calls[:, :1]
    if change == "etcd calls":
        more = rng.poisson(by - 1, requests) if by > 1 else np.zeros(requests)
        parts[:, etcd] *= ((calls[:, 0] + more) / calls[:, 0])[:, None]
        calls[:, 0] += more.astype(int)
    elif change != "mix" and change:
        parts[:, [phase.startswith(change) for phase in PHASES]] *= by
    start = np.cumsum(rng.exponential(1e6, requests)).astype(np.int64)
    return Population(
        parts.astype(np.int64), PHASES, calls.astype(np.int64), CALLED, KEYS, cell, start, instance
    )


def by_load(own: Population) -> Population:
    """The same, whose cells are told by how many requests were open as each began, too."""
    begun = np.searchsorted(own.start_ns, own.start_ns, "left")
    ended = np.searchsorted(np.sort(own.start_ns + own.wall), own.start_ns, "right")
    keys: dict[tuple[Any, ...], int] = {}
    loads = zip(own.cell.tolist(), (begun - ended).tolist(), strict=True)
    cell = [keys.setdefault((*own.keys[at], _bucket(count)), len(keys)) for at, count in loads]
    return replace(own, cell=np.array(cell), keys=tuple(keys))
