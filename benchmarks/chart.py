"""One chart, written by hand: ns a span of each contender, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import ceil, floor, log10

ROW, BAR, LEFT, WIDTH, RIGHT, TOP = 26, 16, 300, 420, 90, 46
COLOURS = {True: "#2a6fb0", False: "#9aa3ad"}


def svg(title: str, ns_per_span: Mapping[str, float]) -> str:
    """Draw one bar per contender, the shortest first; ours, whose names say so, stand out."""
    rows = sorted(ns_per_span.items(), key=lambda row: row[1])
    low, high = floor(log10(rows[0][1])), ceil(log10(rows[-1][1]))
    height = TOP + ROW * len(rows) + 30

    def x(ns: float) -> float:
        return LEFT + WIDTH * (log10(ns) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" role="img">',
        "<style>text { font: 13px sans-serif }</style>",
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="12" y="24" font-weight="bold" fill="#222222">{escape(title)}</text>',
    ]
    for power in range(low, high + 1):
        at, bottom = x(10**power), TOP + ROW * len(rows)
        parts.append(f'<line x1="{at:.1f}" y1="{TOP - 4}" x2="{at:.1f}" y2="{bottom}" stroke="#dddddd"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555555">{10**power:,} ns</text>'
        )
    for place, (name, ns) in enumerate(rows):
        y = TOP + ROW * place
        colour = COLOURS[name.startswith("k8strace")]
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end" fill="#222222">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{x(ns) - LEFT:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{x(ns) + 6:.1f}" y="{y + 13}" fill="#222222">{ns:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
