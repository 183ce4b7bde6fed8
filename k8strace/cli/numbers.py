"""Parsing of numbers, times and conditions in arguments. Errors say what was expected."""

from __future__ import annotations

import argparse
import re
from typing import Any, Final

from k8strace.exceptions import ConditionError
from k8strace.selecting import UNITS, condition_of, moment_of

__all__ = [
    "LEAST_WIDTH",
    "above_zero",
    "age",
    "condition",
    "from_zero",
    "moment",
    "names",
    "positive",
    "quantiles",
    "size",
    "time_ns",
    "width",
]

LEAST_WIDTH: Final = 40
"""The minimum width of all views, in columns."""
MOST_DIGITS: Final = 18

_SIZES: Final = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZES_SI: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LARGEST: Final = 1 << 60
"""The largest size, in bytes: no disk is larger."""
_YEARS: Final = 100
"""The longest time."""
_TIMES: Final = {"": 1, **{unit: ns for unit, ns in UNITS.items() if unit not in ("h", "d")}}
_AGES: Final = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def size(text: str) -> int:
    """
    A number of bytes, with or without a unit.

    Raises:
        argparse.ArgumentTypeError: It is not a size.

    Examples:
        >>> size("4096"), size("64MiB"), size("8 GiB"), size("1.5GB")
        (4096, 67108864, 8589934592, 1500000000)
    """
    found = _scaled(text, _SIZES | _SIZES_SI, "a size such as 64MiB")
    if found > _LARGEST:
        raise argparse.ArgumentTypeError(f"expected a size of at most {_LARGEST >> 40} TiB, got {text!r}")
    return int(found)


def age(text: str) -> float:
    """
    A time in seconds, with or without a unit.

    Raises:
        argparse.ArgumentTypeError: It is not a time.

    Examples:
        >>> age("10"), age("1.5s"), age("15min"), age("7d")
        (10.0, 1.5, 900.0, 604800.0)
    """
    found = _scaled(text, _AGES, "a time such as 30s, 15min, 12h or 7d")
    if found > _YEARS * 365.25 * _AGES["d"]:
        raise argparse.ArgumentTypeError(f"expected a time of at most {_YEARS} years, got {text!r}")
    return found


def _scaled(text: str, units: dict[str, Any], wanted: str) -> float:
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([a-z]{0,3})", text.strip().lower())
    if not found or found[2] not in units or not float(found[1]):
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    value: float = float(found[1]) * units[found[2]]
    return value


def from_zero(text: str) -> int:
    """
    A whole number from 0 on.

    Raises:
        argparse.ArgumentTypeError: It is something else.

    Examples:
        >>> from_zero("0"), from_zero("12")
        (0, 12)
    """
    return _whole(text, "a whole number from 0 on", least=0)


def above_zero(text: str) -> int:
    """
    A whole number above 0.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    return _whole(text, "a whole number above 0", least=1)


def width(text: str) -> int:
    """
    The width of the output in columns.

    Raises:
        argparse.ArgumentTypeError: Too few, or too many.
    """
    return _whole(text, f"a number from {LEAST_WIDTH} to 1000", least=LEAST_WIDTH, most=1000)


def _whole(text: str, wanted: str, *, least: int, most: int = 10**MOST_DIGITS) -> int:
    if not re.fullmatch(f"[0-9]{{1,{MOST_DIGITS}}}", text) or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    """
    A number above 0.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def time_ns(text: str) -> int:
    """
    A time in ns, with a unit; only 0 needs none.

    Raises:
        argparse.ArgumentTypeError: It is not a time.

    Examples:
        >>> time_ns("10ms"), time_ns("1.5s"), time_ns("250us"), time_ns("0")
        (10000000, 1500000000, 250000, 0)
    """
    found = re.fullmatch(r"([0-9]{1,15})(?:\.([0-9]{1,9}))? ?([a-zµμ]{0,3})", text.strip().lower())
    unit = _TIMES.get(found[3]) if found else None
    if not found or unit is None or (not found[3] and int(found[1]) + int(found[2] or 0)):
        raise argparse.ArgumentTypeError(f"expected a time such as 10ms, 1.5s or 250us, got {text!r}")
    fraction = found[2] or "0"
    return int(found[1]) * unit + int(int(fraction) * unit // 10 ** len(fraction))


def names(text: str) -> tuple[str, ...]:
    """
    Names, separated by commas.

    Examples:
        >>> names("verb, resource,")
        ('verb', 'resource')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def quantiles(text: str) -> tuple[float, ...]:
    """
    Quantiles, separated by commas, in ascending order.

    Raises:
        argparse.ArgumentTypeError: One is not a quantile, or there are too many.

    Examples:
        >>> quantiles("0.99,0.5,.999")
        (0.5, 0.99, 0.999)
    """
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < q <= 1 for q in found) or len(found) > MOST_QUANTILES:
        raise argparse.ArgumentTypeError(
            f"expected 1 to {MOST_QUANTILES} numbers above 0 and up to 1, such as 0.5,0.9,0.99, got {text!r}"
        )
    return tuple(found)


MOST_QUANTILES: Final = 20


def condition(text: str) -> str:
    """
    A condition on requests, checked and returned as text.

    Raises:
        argparse.ArgumentTypeError: It is not a condition.
    """
    try:
        condition_of(text)
    except ConditionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def moment(text: str) -> str:
    """
    A time, checked and returned as text: its meaning depends on the recording.

    Raises:
        argparse.ArgumentTypeError: It is not a time.
    """
    try:
        moment_of(text, (0, 0))
    except ConditionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
