"""Requests that a stream emitted and may still replace: counters take them when they are final."""

from __future__ import annotations

from typing import NamedTuple

from k8strace.receiver.metrics.tally import Observed, observe
from k8strace.requests import Requests

__all__ = ["Changes", "Settling"]


class Changes(NamedTuple):
    """What one take changes."""

    emitted: list[Observed]
    """Requests of this take."""
    replaced: list[tuple[Observed, int]]
    """Requests of earlier takes that are no longer valid, with the time of their take."""
    final: list[Observed]
    """Requests of this take and of earlier ones that no later take replaces: each once."""


class Settling:
    """
    Follows the takes of a stream.

    ```text
    take      emitted            replaced    final
    1         A, B
    2         A (a late span)    A
    3                                        A as in take 2, B       released: no span came for the window
    ```

    What replaces a request of a take that was not seen here is not told: it was told before a restart.

    Examples:
        >>> import k8strace
        >>> stream, settling = k8strace.RequestStream(), Settling()
        >>> stream.feed(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"), now_ns=0)
        >>> first, last = (settling.take(taken, 0) for taken in (stream.take(now_ns=0), stream.flush()))
        >>> len(first.emitted), len(first.final), len(last.emitted), len(last.final)
        (712, 0, 699, 1411)
    """

    def __init__(self) -> None:
        self._open: dict[str, list[tuple[Observed, int]]] = {}
        """Trace id → its requests, with the time of their take."""
        self._foreign: set[str] = set()
        """Held traces of which a request was emitted that was not seen here."""

    def take(self, taken: Requests, now_ns: int) -> Changes:
        """What this take changes; requests of a batch are final."""
        changes = Changes([], [], [])
        for trace in dict.fromkeys(row["trace_id"] for row in getattr(taken, "replaced", ())):
            if trace in self._open:
                changes.replaced.extend(self._open.pop(trace))
            else:
                self._foreign.add(trace)
        released = getattr(taken, "released", ())
        for trace in released:
            for row, _ in self._open.pop(trace, ()):
                changes.final.append(row)
        for row, is_final in zip(observe(taken), getattr(taken, "final", [True] * len(taken)), strict=True):
            if row.trace_id in self._foreign:
                continue
            changes.emitted.append(row)
            if is_final:
                changes.final.append(row)
            else:
                self._open.setdefault(row.trace_id, []).append((row, now_ns))
        self._foreign.difference_update(released)
        return changes
