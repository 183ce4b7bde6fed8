"""What each client, or whatever else requests have in common, costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from k8strace import _core
from k8strace.attribution import attribute
from k8strace.components import by_component
from k8strace.tables import Table

if TYPE_CHECKING:
    from k8strace.requests import Requests

__all__ = ["cost_of"]

ALWAYS: Final = ("apiserver", "etcd")
"""Components that have a column even where they took no time."""


def cost_of(requests: Requests, keys: Sequence[str], *, long_running: bool = False) -> Table:
    """See `Requests.cost`."""
    kept = requests._judged(long_running=long_running)
    attribution = attribute(kept)
    groups = kept._grouped(keys)
    names = sorted({*ALWAYS, *attribution.component_names})
    parts = {
        values: by_component(attribution._named(attribution._sum(rows))) for values, rows in groups.items()
    }
    wall = kept._joined.column("wall_ns")
    total = {values: sum(map(wall.__getitem__, rows)) for values, rows in groups.items()}
    order = sorted(groups, key=lambda values: (-total[values], str(values)))
    calls, bytes_sent = (kept._joined.column(name) for name in ("etcd_call_count", "response_bytes"))
    return Table(
        _core.make_table(
            [
                *((key, "text", [_text(values[at]) for values in order]) for at, key in enumerate(keys)),
                ("requests", "int", [len(groups[values]) for values in order]),
                ("wall_ns", "int", [total[values] for values in order]),
                *((f"{name}_ns", "int", [parts[values].get(name, 0) for values in order]) for name in names),
                ("etcd_calls", "int", [sum(calls[row] for row in groups[values]) for values in order]),
                (
                    "response_bytes",
                    "int",
                    [sum(bytes_sent[row] or 0 for row in groups[values]) for values in order],
                ),
            ]
        )
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
