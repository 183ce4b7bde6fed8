"""Requests by client, or by any other key: what each group costs, and how it uses etcd."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from k8strace import _core
from k8strace.attribution import attribute
from k8strace.components import by_component
from k8strace.statistics.quantiles import nearest_rank
from k8strace.tables import Table

if TYPE_CHECKING:
    from k8strace.requests import Requests

__all__ = ["cost_of", "etcd_usage_of"]

ALWAYS: Final = ("apiserver", "etcd")
"""Components that always have a column, even if they took no time."""


def cost_of(requests: Requests, keys: Sequence[str], *, long_running: bool = False) -> Table:
    """See `Requests.cost`."""
    kept = requests._judged(long_running=long_running)
    attribution = attribute(kept)
    grouped = kept._by_key(keys, by_wall=True)
    places = [*pairwise([0, *grouped.ends])]
    parts = [
        (wall_ns, by_component({attribution._names[phase]: ns for phase, ns in phases}))
        for wall_ns, phases, _ in grouped.sums(attribution._core, places, None, len(attribution._names))
    ]
    calls, bytes_sent = (
        grouped.totals(kept._table.column(name)) for name in ("etcd_call_count", "response_bytes")
    )
    values = kept._values(keys, grouped)
    order = sorted(range(len(values)), key=lambda at: (-parts[at][0], str(values[at])))
    names = sorted({*ALWAYS, *attribution.component_names})
    return Table(
        _core.make_table(
            [
                *(
                    (key, "text", [_text(values[at][place]) for at in order])
                    for place, key in enumerate(keys)
                ),
                ("requests", "int", [places[at][1] - places[at][0] for at in order]),
                ("wall_ns", "int", [parts[at][0] for at in order]),
                *((f"{name}_ns", "int", [parts[at][1].get(name, 0) for at in order]) for name in names),
                ("etcd_calls", "int", [calls[at] for at in order]),
                ("response_bytes", "int", [bytes_sent[at] for at in order]),
            ]
        )
    )


def etcd_usage_of(requests: Requests, keys: Sequence[str]) -> Table:
    """See `Requests.etcd_usage`."""
    joined = requests._joined
    calls = joined.about("etcd_calls", requests._chosen)
    request, operation = calls.column("request"), calls.column("operation")
    took = calls.column("client_ns").or_else(calls.column("server_ns"))
    codes = [joined.codes(key, requests.TABLE).at(request) for key in keys]
    grouped = _core.GroupedRows(None, len(calls), [*codes, _core.Codes.of(operation)], took)
    first = grouped.first
    asked = request.take(first).to_pylist()
    values = list(
        zip(
            *(joined.values(key, requests.TABLE, asked) for key in keys),
            operation.take(first).to_pylist(),
            strict=True,
        )
    )
    places = [*pairwise([0, *grouped.ends])]
    order = sorted(range(len(values)), key=lambda at: (places[at][0] - places[at][1], str(values[at])))

    def ranked(q: float) -> list[int]:
        return [
            took[grouped.row(begin + nearest_rank(q, end - begin))]
            for begin, end in map(places.__getitem__, order)
        ]

    made, total = grouped.distinct(request), grouped.totals(took)
    return Table(
        _core.make_table(
            [
                *((key, "text", [_text(values[at][of]) for at in order]) for of, key in enumerate(keys)),
                ("operation", "text", [values[at][-1] for at in order]),
                ("requests", "int", [made[at] for at in order]),
                ("calls", "int", [places[at][1] - places[at][0] for at in order]),
                ("total_ns", "int", [total[at] for at in order]),
                ("p50_ns", "int", ranked(0.5)),
                ("p99_ns", "int", ranked(0.99)),
            ]
        )
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
