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
    """
    bounds: dict[tuple[Any, Any], list[tuple[float, float]]] = {}
    for client, server in ((rows[a], rows[b]) for a, b in pairs):
        if client.process == server.process or client.end < client.start or server.end < server.start:
            continue
        low, high = server.end - client.end, server.start - client.start
        if client.status_code == 2 or low <= high:
            low = -math.inf if client.status_code == 2 else low
            bounds.setdefault((client.process, server.process), []).append((low, high))
    offsets = {}
    for processes, known in bounds.items():
        low, high = max(low for low, _ in known), min(high for _, high in known)
        offsets[processes] = int(max(low, 0) or min(high, 0)) if low <= high else 0
    return {processes: offset for processes, offset in offsets.items() if offset}
