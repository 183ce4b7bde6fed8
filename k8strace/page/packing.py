"""Requests, their parts and their trees as the page's script reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from k8strace.attribution import Attribution, Method, attribute
from k8strace.components import component_of
from k8strace.page.columns import Columns
from k8strace.page.redaction import PlainNames
from k8strace.requests import Requests, join
from k8strace.spans import decode
from k8strace.views.palette import component_colour, in_order, phase_colours

__all__ = ["Picked", "pack"]

METHODS: Final[Sequence[Method]] = ("critical_path", "active_share", "self_time")

_HIDDEN: Final = ("namespace", "object_name", "instance", "user_agent")
"""Columns of names."""

_SIGNED: Final = frozenset({"start", "duration", "cut_start", "cut_end", "waited"})


class Picked(NamedTuple):
    """What is in the page beside the requests and their parts."""

    trees: Sequence[int] = ()
    """Indices of requests of the first population whose trees are shown."""
    details: Mapping[int, Any] = MappingProxyType({})
    """Index of such a request → details of its spans."""
    more: Mapping[str, Any] = MappingProxyType({})
    """What else the script needs."""


def pack(
    populations: Sequence[Attribution],
    names: PlainNames,
    pick: Callable[[int], Picked] = lambda _: Picked(),
) -> bytes:
    """
    Columns of all these requests, one population after the other, gzipped; see `Columns`.

    Args:
        populations: By critical path. No request is in two of them.
        names: How names are shown.
        pick: Bytes that requests and parts take, about → what else is in it.
    """
    populations = populations or [attribute(join(decode(b"")))]
    columns = Columns()
    requests = [each.requests for each in populations]
    base = min((start for each in requests for start in each.column("start_unix_nano")), default=0)
    _add_numbers(columns, requests, base)
    _add_places(columns, requests)
    _add_texts(columns, requests, names)
    _add_parts(columns, populations)
    picked = pick(columns.size)
    place = {row: at for at, row in enumerate(requests[0]._rows)}
    _add_trees(columns, requests[0], picked.trees, names)
    head = {
        "version": 1,
        "base": str(base),
        "redacted": names.redacts,
        "findings": [],
        "told": "",
        "trees": [place[row] for row in picked.trees],
        "details": {place[row]: detail for row, detail in picked.details.items()},
        "methods": list(METHODS),
    }
    return columns.packed(head | dict(picked.more))


def _add_numbers(columns: Columns, populations: Sequence[Requests], base: int) -> None:
    def all_of(*names: str) -> Iterable[Any]:
        tables = (map(each.column, names) for each in populations)
        return chain.from_iterable(zip(*table, strict=True) for table in tables)

    columns.add_ascending("start", [start - base for (start,) in all_of("start_unix_nano")])
    columns.add("wall", [ns for (ns,) in all_of("wall_ns")])
    for name in ("spans", "etcd_call_count", "pre_start_ns", "async_tail_ns"):
        columns.add(name, [value for (value,) in all_of(name)])
    columns.add("status", [(status or 0) % (1 << 31) for (status,) in all_of("http_status")])
    columns.add("prelude", [0 if ns is None else ns + 1 for (ns,) in all_of("prelude_ns")])
    flags = all_of("long_running", "has_valid_times", "complete")
    columns.add("flags", [long + 2 * valid + 4 * whole for long, valid, whole in flags])
    ids = "".join(trace.rjust(32, "0") for (trace,) in all_of("trace_id"))
    columns.add_bytes("trace_id", bytes.fromhex(ids))


def _add_places(columns: Columns, populations: Sequence[Requests]) -> None:
    """Requests that others are in, or are linked from: their places from 1 on; 0 if there is none in the page."""
    for name in ("counted_in", "linked_from"):
        places: list[int] = []
        for each in populations:
            values = each.column(name)
            begin = len(places) + 1
            if any(value is not None for value in values):
                known = {row: at for at, row in enumerate(each._rows, begin)}
                places += [known.get(value, 0) for value in values]
            else:
                places += [0] * len(values)
        columns.add(name, places)


def _add_texts(columns: Columns, populations: Sequence[Requests], names: PlainNames) -> None:
    def all_of(name: str) -> Iterable[Any]:
        return chain.from_iterable(each.column(name) for each in populations)

    for name in ("verb", "resource", "subresource", "incomplete_cause"):
        columns.add_texts(name, all_of(name))
    for name in _HIDDEN:
        columns.add_texts(name, map(names.name, all_of(name)) if names.redacts else all_of(name))
    targets = zip(*map(all_of, ("resource", "target", "name")), strict=True)
    columns.add_texts(
        "what",
        (
            None if known else names.text((target or name).partition("?")[0])
            for known, target, name in targets
        ),
    )


def _add_parts(columns: Columns, populations: Sequence[Attribution]) -> None:
    """For each method: how many parts each request has, then their phases and ns."""
    totals: Counter[str] = Counter()
    for each in populations:
        totals.update(each.totals)
    known = sorted({name for each in populations for name in each._names})
    number = {name: at for at, name in enumerate(known)}
    shown = in_order(dict.fromkeys(known, 1) | totals)
    colours = phase_colours(shown)
    columns.head["phases"] = known
    columns.head["colours"] = [colours[name] for name in known]
    columns.head["order"] = list(shown)
    columns.head["shades"] = {name: component_colour(name) for name in map(component_of, shown)}
    divided = [_divided(each, [number[name] for name in each._names]) for each in populations]
    for method in METHODS:
        packed = [each[method] for each in divided]
        for name, column in zip(("count", "phase", "ns"), zip(*packed, strict=True), strict=True):
            columns.add_bytes(f"{method}.{name}", b"".join(column))


def _divided(attribution: Attribution, numbers: Sequence[int]) -> dict[str, tuple[bytes, bytes, bytes]]:
    """Method → its columns. Most requests have the same parts by every method; these are written once."""
    requests, first = attribution.requests, attribution._core
    rows = list(requests._rows)
    others = {method: attribute(requests, method=method)._core for method in METHODS[1:]}
    return {
        METHODS[0]: first.packed(rows, numbers),
        **{method: core.packed(rows, numbers, first) for method, core in others.items()},
    }


def _add_trees(columns: Columns, requests: Requests, chosen: Sequence[int], names: PlainNames) -> None:
    joined = requests._joined
    trees, span_names = joined.core.trees(chosen, joined.phase_table.answers)
    for name, data in trees:
        columns.add_bytes(f"tree.{name}", data, signed=name in _SIGNED)
    columns.head["names"] = [names.text(name[:1_000]) for name in span_names]
    columns.head["processes"] = [
        [service, names.name(instance)] for service, instance in joined.core.processes()
    ]
