"""Populations whose truth is known, because it was put in."""

from __future__ import annotations

import numpy as np

from k8strace.statistics.population import Population

PHASES = ("apiserver.decode", "apiserver.handler", "etcd.raft", "etcd.transport", "webhook.mutating")
CALLED = ("etcd", "webhook")


def population(parts, calls=None, cells=None, start_ns=None, phases=PHASES, called=CALLED):
    """Requests from rows of parts; one call per called component that took time, one cell, a request a ms."""
    parts = np.array(parts, np.int64).reshape(-1, len(phases))
    if calls is None:
        of = [[at for at, phase in enumerate(phases) if phase.startswith(name)] for name in called]
        calls = np.array([parts[:, places].any(axis=1) for places in of]).T
    cells = [()] * len(parts) if cells is None else cells
    keys: dict[tuple, int] = {}
    cell = np.array([keys.setdefault(tuple(key), len(keys)) for key in cells], np.int64)
    start = np.arange(len(parts)) * 1_000_000 if start_ns is None else np.array(start_ns)
    calls = np.array(calls, np.int64).reshape(-1, len(called))
    return Population(parts, tuple(phases), calls, tuple(called), tuple(keys), cell, start)
