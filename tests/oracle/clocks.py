"""Clocks: how far that of one process is ahead of another's."""

from __future__ import annotations

import math
from typing import Any

from oracle.rows import Row


def measured_offsets(rows: list[Row], pairs: list[tuple[int, int]]) -> dict[tuple[Any, Any], int]:
    """How far the clock of a called process is ahead of its caller's, for pairs that do not agree.

    A call is sent before it is served, and served before it is answered:

    client   c1 ├───────────────┤ c2          s2 - c2 <= offset <= s1 - c1
    server       s1 ├──────┤ s2

    Of what all pairs allow, the offset is the point nearest 0; when they allow nothing, it is 0.
    A caller that gave up, which is an ERROR, did not wait for the end of s: it bounds only from above.
    Otherwise a server span longer than its client span allows nothing by itself, and is not asked.
    Spans end late now and then: calls that contradict the rest are not asked while they are few.
    """
    bounds: dict[tuple[Any, Any], list[tuple[float, float]]] = {}
    for client, server in ((rows[a], rows[b]) for a, b in pairs):
        if client.process == server.process or client.end < client.start or server.end < server.start:
            continue
        low, high = server.end - client.end, server.start - client.start
        if client.status_code == 2 or low <= high:
            low = -math.inf if client.status_code == 2 else low
            bounds.setdefault((client.process, server.process), []).append((low, high))
    offsets = {processes: _nearest_zero(known) for processes, known in bounds.items()}
    return {processes: offset for processes, offset in offsets.items() if offset}


def _nearest_zero(known: list[tuple[float, float]]) -> int:
    """The offset nearest 0 that contradicts the fewest calls, 0 if those are too many.

    Few are 1 in 200; where there are not many, 3, but not more than 1 in 5. When few calls alone speak against 0, and
    for less than a millisecond, or against each other, they are late.
    """
    few = max(len(known) // 200, min(3, len(known) // 5))
    against_zero = _contradicted(known, 0)
    low, high = max(low for low, _ in known), min(high for _, high in known)
    if against_zero <= few and (low > high or max(low, -high) <= 1_000_000):
        return 0
    ends = {end for bound in known for end in bound if not math.isinf(end)}
    contradicted, nearest = min((_contradicted(known, end), abs(end)) for end in ends)
    if contradicted > (few if low > high else 0):
        return 0
    return int(
        next(end for end in sorted(ends) if (_contradicted(known, end), abs(end)) == (contradicted, nearest))
    )


def _contradicted(known: list[tuple[float, float]], offset: float) -> int:
    return sum(not low <= offset <= high for low, high in known)
