"""
Component → colour, the same in every view.

Each component has four shades of one hue. All of them stand out from white and from the dark backgrounds of editors
by at least 3 to 1, what WCAG asks of graphics: their relative luminance lies between 0.15 and 0.30.
So one table serves light and dark themes; `tests/test_notebook.py` measures it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias
from zlib import crc32

from k8strace.components import component_of

__all__ = ["COMPONENTS", "FALLBACKS", "component_colour", "in_order", "phase_colours"]

Shades: TypeAlias = tuple[str, str, str, str]

COMPONENTS: Final[dict[str, Shades]] = {
    "apiserver": ("#277aed", "#4490ff", "#126adb", "#3486f9"),  # blue
    "etcd": ("#c26300", "#e07509", "#aa5705", "#d26c01"),  # orange
    "webhook": ("#cd3ec6", "#e457dd", "#bb29b5", "#d94bd2"),  # magenta
    "kms": ("#008c87", "#10a29c", "#007b76", "#009892"),  # teal
    "aggregator": ("#19912d", "#37a644", "#008020", "#2a9c39"),  # green
    "egress": ("#99774f", "#ae8b63", "#896840", "#a48259"),  # brown
    "upstream": ("#cd5267", "#d67383", "#c74056", "#d26376"),  # rose
    "kubelet": ("#5a7eaf", "#7592bc", "#4f72a4", "#6889b6"),  # steel
    "runtime": ("#9e61ca", "#af7cd3", "#9652c5", "#a76fcf"),  # purple
    "cni": ("#238a71", "#29a284", "#207f68", "#26987b"),  # sea green
    "registry": ("#61862d", "#729d34", "#597b29", "#6a9231"),  # moss
    "unattributed": ("#7a7d82", "#8f9297", "#6b6e73", "#85888d"),  # grey
}
"""Our components, in the order in which views show them: the base shade first."""

FALLBACKS: Final[tuple[Shades, ...]] = (
    ("#8565f0", "#987dff", "#7754de", "#9070fc"),  # violet
    ("#e33e5d", "#fb5670", "#d0294e", "#f04b67"),  # red
    ("#7a8401", "#8e9903", "#6b7401", "#848f09"),  # olive
    ("#0089a6", "#019fc0", "#0b7891", "#0294b4"),  # cyan
    ("#ab688f", "#c27ca4", "#9b587f", "#b7729a"),  # mauve
)
"""For components of users' own rules."""


def component_colour(component: str) -> str:
    """
    The colour of a component, as `#rrggbb`. One of a user's own gets a fallback, by its name alone.

    Examples:
        >>> component_colour("etcd")
        '#c26300'
    """
    return _shades(component)[0]


def phase_colours(phases: Iterable[str]) -> dict[str, str]:
    """
    Phase → colour: shades of its component's, in the order given; what is unattributed is grey.

    Examples:
        >>> phase_colours(["etcd.server", "etcd.transport", "apiserver.unattributed"])
        {'etcd.server': '#c26300', 'etcd.transport': '#e07509', 'apiserver.unattributed': '#7a7d82'}
    """
    colours: dict[str, str] = {}
    seen: dict[str, int] = {}
    for phase in phases:
        hue = "unattributed" if phase.endswith(".unattributed") else component_of(phase)
        shades = _shades(hue)
        colours[phase] = shades[seen.get(hue, 0) % len(shades)]
        seen[hue] = seen.get(hue, 0) + 1
    return colours


def in_order(parts: dict[str, int]) -> dict[str, int]:
    """
    Phases or components with their ns, as bars show them: component by component, the longest phase first.

    Our components come first, in the order of `COMPONENTS`, then those of users by name, then what is unattributed.
    """
    known = [name for name in COMPONENTS if name != "unattributed"]

    def place(part: tuple[str, int]) -> tuple[int, str, int, str]:
        component = component_of(part[0])
        unattributed = len(known) + (component == "unattributed")
        return (known.index(component) if component in known else unattributed, component, -part[1], part[0])

    return dict(sorted(parts.items(), key=place))


def _shades(component: str) -> Shades:
    if component in COMPONENTS:
        return COMPONENTS[component]
    return FALLBACKS[crc32(component.encode("utf-8", "surrogatepass")) % len(FALLBACKS)]
