"""What a receiver holds for readers: the last requests that its stream emitted, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from k8strace.requests import Requests

__all__ = ["Held", "Provider"]

MOST_SPANS: Final = 200_000
"""About 100 MiB."""
MOST_TAKES: Final = 10_000


class Provider(Protocol):
    """Where requests are looked for."""

    def populations(self) -> Sequence[Requests]:
        """Populations of requests, the latest first. No request is in two of them."""


class Held:
    """
    Listens to a stream, and keeps the requests of its last takes. From any thread.

    What a later take replaced is not found any more.

    Args:
        most_spans: Spans that are kept, background calls too; beyond, the oldest takes go.
        most_takes: Takes that are kept.

    Examples:
        >>> import k8strace
        >>> stream, held = k8strace.RequestStream(), Held()
        >>> stream.feed(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"), now_ns=0)
        >>> held(stream.take(now_ns=0))
        >>> held(stream.flush())
        >>> [len(population) for population in held.populations()]
        [699, 712]
    """

    def __init__(self, most_spans: int = MOST_SPANS, most_takes: int = MOST_TAKES) -> None:
        self._most_spans, self._most_takes = most_spans, most_takes
        self._lock = threading.Lock()
        self._takes: deque[Requests] = deque()
        self._spans = 0
        self.version = 0
        """Grows with every take that changes what is kept."""

    def __call__(self, taken: Requests) -> None:
        """Holds them: a listener for the receiver."""
        replaced = [(row["trace_id"], row["span_id"]) for row in getattr(taken, "replaced", ())]
        if not replaced and not len(taken):
            return
        with self._lock:
            if replaced:
                self._takes = deque(_without(take, frozenset(replaced)) for take in self._takes)
            if len(taken):
                self._takes.append(taken)
                self._spans += len(taken.spans)
            self.version += 1
            while len(self._takes) > 1 and (
                self._spans > self._most_spans or len(self._takes) > self._most_takes
            ):
                self._spans -= len(self._takes.popleft().spans)

    def populations(self) -> Sequence[Requests]:
        """The takes, the latest first."""
        with self._lock:
            return list(reversed(self._takes))


def _without(take: Requests, replaced: Iterable[tuple[str, str]]) -> Requests:
    ids = zip(take.column("trace_id"), take.column("span_id"), strict=True)
    rows = [row for row, each in zip(take._rows, ids, strict=True) if each not in replaced]
    return take if len(rows) == len(take) else take._with(rows)
