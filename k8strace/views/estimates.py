"""Totals that were estimated from sampled traces."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from k8strace.views.text import Look, columns, wrapped
from k8strace.words import duration

__all__ = ["estimate_lines"]


def estimate_lines(totals: dict[str, Any], look: Look) -> list[Text]:
    """
    The lines below the report.

    Args:
        totals: `rate` and `rows` of `Requests.estimate_totals`, or `why_not`.
        look: Width and colours.
    """
    if "why_not" in totals:
        return [Text(), *wrapped(f"Totals cannot be estimated: {totals['why_not']}.", look, indent=0)]
    rows = [
        (
            row["quantity"],
            *(_told(row["quantity"], row[name]) for name in ("recorded", "estimate", "low", "high")),
        )
        for row in totals["rows"]
    ]
    heading = Text(f"Estimated totals  {100 * totals['rate']:.4g}% of the traces were recorded", style="bold")
    header = ("", "recorded", "estimate", "at least", "at most")
    return [Text(), heading, *columns([header, *rows], look, align="lrrrr")]


def _told(quantity: str, value: float) -> str:
    return duration(round(value)) if quantity.endswith("_ns") else f"{value:,.0f}"
