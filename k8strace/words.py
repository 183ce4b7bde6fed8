"""Numbers and nouns as text for people."""

from __future__ import annotations

from typing import Final

__all__ = ["count", "duration", "number", "percent", "plural", "size"]

_UNITS: Final = (("ns", 1), ("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000))


def count(number_of: int, noun: str) -> str:
    """
    A number and its noun.

    Examples:
        >>> count(1, "span"), count(16766, "span"), count(2, "batch")
        ('1 span', '16,766 spans', '2 batches')
    """
    return f"{number_of:,} {plural(number_of, noun)}"


def plural(number_of: int, noun: str) -> str:
    """
    The noun as it follows a number.

    Examples:
        >>> plural(1, "request"), plural(0, "request"), plural(2, "process")
        ('request', 'requests', 'processes')
    """
    return noun + ("" if number_of == 1 else "es" if noun.endswith(("ch", "s")) else "s")


def duration(ns: int) -> str:
    """
    Nanoseconds in a suitable unit, with three significant digits.

    Examples:
        >>> [duration(ns) for ns in (0, 812, 1_234, 99_960, 2_070_762_464, 2_520_000_000_000)]
        ['0 ns', '812 ns', '1.23 µs', '100 µs', '2.07 s', '2,520 s']
    """
    fitting = (pair for pair in _UNITS if abs(ns) < 999.5 * pair[1])
    unit, size = next(fitting, _UNITS[-1])
    return f"{ns} ns" if size == 1 else f"{number(ns / size)} {unit}"


def number(value: float) -> str:
    """
    Three significant digits, never fewer than those of the integer part.

    Examples:
        >>> number(9.996), number(52.25), number(1234.5)
        ('10.0', '52.2', '1,234')
    """
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:,.{digits}f}"


def size(number_of_bytes: int) -> str:
    """
    Bytes in a suitable unit.

    Examples:
        >>> size(734), size(4_906_343)
        ('734 B', '4.91 MB')
    """
    scaled = float(number_of_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if scaled < 999.5 or unit == "GB":
            break
        scaled /= 1000
    return f"{number_of_bytes} B" if unit == "B" else f"{number(scaled)} {unit}"


def percent(part: int, whole: int) -> str:
    """
    A share in few characters; zero is a dot, which is easy to skip.

    Examples:
        >>> percent(0, 9), percent(1, 5000), percent(1, 30), percent(2, 3), percent(4999, 5000), percent(9, 9)
        ('·', '<0.1%', '3.3%', '67%', '99.9%', '100%')
    """
    if not part or not whole:
        return "·"
    share = 100 * part / whole
    if share < 0.1:
        return "<0.1%"
    if 99.5 <= share < 100:
        return f"{min(share, 99.9):.1f}%"
    return f"{share:.0f}%" if share >= 9.95 else f"{share:.1f}%"
