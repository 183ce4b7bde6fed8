"""What if: groups of requests before and after some changes, and what the figures know nothing of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from k8strace.views.text import Look, clean, columns, duration, percent, plural, wrapped
from k8strace.whatif import Estimate, Projected, Projection

__all__ = ["projection_lines"]

FIGURES: Final = {"mean_ns": "mean", "p50_ns": "p50", "p99_ns": "p99"}


def projection_lines(projection: Projection, look: Look, by: Sequence[str], top: int | None) -> list[Text]:
    """
    The whole answer: a sentence, a table, and what is not modelled.

    Args:
        projection: The answer.
        look: Width and colours.
        by: Columns to group by.
        top: Rows of the table; None for all.
    """
    changes = "; ".join(clean(change.text, 200) for change in projection.changes) or "as it is"
    everything = projection.by()
    if not everything:
        return wrapped(f"No API request whose time could change: {changes}.", look, indent=0, style="bold")
    groups = [group for group in projection.by(*by) if _moves(group)] if by else []
    shown = groups[:top]
    lines = [
        Text(f"What if: {changes}", style="bold"),
        Text(),
        *_sentences(everything[0], look),
        Text(),
        *_table([*everything, *shown], look, by),
    ]
    if len(groups) > len(shown):
        lines.append(
            Text(f"  {len(groups) - len(shown):,} more groups change (--top 0 shows them)", style="dim")
        )
    lines += [Text(), Text("Not modelled", style="bold")]
    for text in projection.not_modelled:
        lines += wrapped(text, look, mark=Text("· "))
    return lines


def _moves(group: Projected) -> bool:
    return any(estimate.verdict != "same" for estimate in group.after.values())


def _sentences(group: Projected, look: Look) -> list[Text]:
    mean, before = group.after["mean_ns"], group.before.mean_ns
    requests = f"{group.requests:,} {plural(group.requests, 'API request')}"
    if mean.verdict == "cannot tell":
        text = (
            f"Cannot tell what {requests} would take: what the spans leave open of who waited for whom is more than "
            f"the change is worth."
        )
    else:
        moved = duration(abs(mean.value - before))
        share = percent(abs(mean.value - before), before)
        change = {
            "same": "as long as now",
            "faster": f"{moved} less ({share})",
            "slower": f"{moved} more ({share})",
        }
        text = f"{requests} would take {change[mean.verdict]} at the mean: {duration(before)} → {duration(mean.value)}."
    return wrapped(text, look)


def _table(groups: Sequence[Projected], look: Look, by: Sequence[str]) -> list[Text]:
    header = [*by, "count", *(f"{name}{end}" for name in FIGURES.values() for end in ("", " after", " 95 %"))]
    rows = [
        [
            *_keys(group, by),
            f"{group.requests:,}",
            *(cell for name in FIGURES for cell in _cells(getattr(group.before, name), group.after[name])),
        ]
        for group in groups
    ]
    place = {name: at for at, name in enumerate(header)}
    order = ("p99 95 %", "p50 95 %", "count", "p50", "p50 after", "mean 95 %", "p99", "p99 after")
    return columns(
        [[Text(clean(cell), style="dim") for cell in header], *rows],
        look,
        align="l" * len(by) + "r" * (len(header) - len(by)),
        elastic=max(len(by) - 1, 0),
        spare={place[name]: name for name in order},
    )


def _keys(group: Projected, by: Sequence[str]) -> list[str]:
    if by and not group.keys:
        return ["all", *[""] * (len(by) - 1)]
    return [clean("-" if group.keys[name] is None else group.keys[name], 60) for name in by]


def _cells(before: int, after: Estimate) -> tuple[str, str, str]:
    told = "?" if after.verdict == "cannot tell" else duration(after.value)
    return duration(before), told, f"{duration(after.low)} … {duration(after.high)}"
