"""The audit log beside the spans, as text and as a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from k8strace.audit import REASONS, Audit
from k8strace.tables import Table
from k8strace.views.breakdown import heading
from k8strace.views.palette import component_colour
from k8strace.views.text import Look, clean, columns, count, duration, more_of, percent, wrapped

__all__ = ["audit_lines", "audit_record"]


def audit_record(audit: Audit, table: Table, cost: Table) -> dict[str, Any]:
    """All of it as one object."""
    log = audit.log
    return {
        "requests": len(audit.requests),
        "found": audit.found,
        "events": log.read,
        "without_spans": log.without_spans,
        "damaged": log.damaged,
        "too_large": log.too_large,
        "annotations": [{**row, "reasons": reasons_in(row["reasons"])} for row in table],
        "cost": list(cost),
    }


def reasons_in(text: str) -> dict[str, int]:
    """
    Reason → how many differ for it.

    Examples:
        >>> reasons_in("retry 3, streamed 1"), reasons_in("")
        ({'retry': 3, 'streamed': 1}, {})
    """
    return {name: int(number) for name, number in (each.rsplit(" ", 1) for each in text.split(", ") if each)}


def audit_lines(
    audit: Audit, table: Table, cost: Table, by: Sequence[str], look: Look, top: int | None
) -> list[Text]:
    """
    kube-apiserver's measurements beside those of the spans, then costs.

    Args:
        audit: The log and the requests.
        table: Of `Audit.table`.
        cost: Of `Requests.cost`.
        by: Columns that the costs are summed by.
        look: Width and colours.
        top: Rows of costs; None for all.
    """
    sections = [_answer(audit, look), _annotations(table, look), _costs(cost, by, look, top)]
    return [line for section in sections if section for line in (*section, Text())][:-1]


def _answer(audit: Audit, look: Look) -> list[Text]:
    log = audit.log
    both = f"{audit.found:,} of {count(len(audit.requests), 'request')} are in the audit log"
    told = [
        f"{both} ({count(log.read, 'event')}), joined by audit id.",
        *([f"! {count(log.without_spans, 'request')} of the log have no span."] if log.without_spans else []),
        *([f"! {count(log.damaged, 'place')} of the log could not be read."] if log.damaged else []),
        *(
            [f"! {count(log.too_large, 'event')} of the log are too large to be meant."]
            if log.too_large
            else []
        ),
    ]
    return [line for each in told for line in wrapped(each, look, indent=0, style="bold")]


_HEADER: Final = ("annotation", "requests", "spans", "log", "median", "p99", "differ", "why")


def _annotations(table: Table, look: Look) -> list[Text]:
    rows = list(table)
    title = heading(look, "kube-apiserver's own measurements", "difference as a share of wall time")
    if not rows:
        text = "The log has none: they are written above 500 ms, and not by Kubernetes 1.34.0-6 and 1.35.0-3."
        return [*title, *wrapped(text, look)]
    cells: list[list[Text | str]] = [
        [
            clean(row["annotation"]),
            f"{row['requests']:,}",
            duration(row["ours_ns"]),
            duration(row["theirs_ns"]),
            f"{row['median_share']:.2%}",
            f"{row['p99_share']:.2%}",
            f"{row['differ']:,}",
            row["reasons"],
        ]
        for row in rows
    ]
    header: list[Text | str] = [Text(name, style="dim") for name in _HEADER]
    shown = columns([header, *cells], look, align="lrrrrrrl", elastic=7, spare={2: "spans", 3: "log"})
    used = dict.fromkeys(reason for row in rows for reason in reasons_in(row["reasons"]))
    legend = [line for reason in used for line in wrapped(f"{reason}: {REASONS[reason]}.", look, style="dim")]
    return [*title, *shown, *legend]


def _costs(cost: Table, by: Sequence[str], look: Look, top: int | None) -> list[Text]:
    parts = [
        name for name in cost.column_names if name.endswith("_ns") and name != "wall_ns" and name not in by
    ]
    names = [name.removesuffix("_ns") for name in parts]
    rows = list(cost)
    header: list[Text | str] = [Text(name, style="dim") for name in (*by, "requests", "total", *names)]
    cells: list[list[Text | str]] = [
        [
            *(clean(row[key], 60) if row[key] is not None else "-" for key in by),
            f"{row['requests']:,}",
            duration(row["wall_ns"]),
            *(
                Text(percent(row[part], row["wall_ns"]), style=component_colour(name))
                for part, name in zip(parts, names, strict=True)
            ),
        ]
        for row in rows[:top]
    ]
    lines = columns(
        [header, *cells], look, align="l" * len(by) + "r" * (2 + len(names)), elastic=0, keep_ends=True
    )
    more = len(rows) - len(cells)
    return [
        *heading(look, "Cost", "share of wall time"),
        *lines,
        *([more_of(more, "group", "  ")] if more else []),
    ]
