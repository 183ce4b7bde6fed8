"""
Conditions and times as people write them: `verb=list`, `wall>100ms`, `-10m`, `14:05`.

One place reads them, for the command line and for Python. What is read is a column's name, an operator and a value;
the caller says what the columns are.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from fractions import Fraction
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from k8strace.exceptions import ConditionError, expect

__all__ = [
    "Condition",
    "Moment",
    "ValueType",
    "as_text",
    "condition_of",
    "moment_of",
    "named",
    "predicate_of",
    "span_of",
    "text_of",
]

ValueType: TypeAlias = Literal["text", "int", "bool"]

Moment: TypeAlias = int | datetime | str | None
"""A time: unix ns, with a zone, as people write it, or open."""

UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # the micro sign
    "μs": 1_000,  # the Greek letter
    "ms": 1_000_000,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3_600 * 10**9,
    "d": 86_400 * 10**9,
}
"""Unit → ns."""

DAY_NS: Final = UNITS["d"]

_NUMBER: Final = re.compile(r"([+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?) ?([a-zµμ]{0,3})")
_CONDITION: Final = re.compile(r"\s*([^=!<>~]*?)\s*(==|!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]{1,9}))?)?Z?")
_DATE: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,]([0-9]{1,9}))?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?",
    re.IGNORECASE,
)
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class Condition(NamedTuple):
    """One condition, as it was written."""

    column: str
    operator: str
    """One of = != < > <= >= ~"""
    wanted: str
    text: str
    """All of it."""


def condition_of(text: str) -> Condition:
    """
    Reads one condition.

    Raises:
        ConditionError: There is no column or no operator in it.

    Examples:
        >>> condition_of("wall >= 100ms")
        Condition(column='wall', operator='>=', wanted='100ms', text='wall >= 100ms')
        >>> condition_of("resource.k8s.node.name=").wanted
        ''
    """
    expect(text, str, 'a condition such as "verb=list"')
    found = _CONDITION.fullmatch(text)
    if not found or not found[1]:
        raise ConditionError(f"expected COLUMN=VALUE (or != < > <= >= ~), got {text!r}")
    return Condition(found[1], "=" if found[2] == "==" else found[2], found[3], text)


# ── Conditions ────────────────────────────────────────────────────────────────────────────────────


def predicate_of(
    condition: Condition, kind: ValueType, *, is_time: bool, any_case: bool
) -> Callable[[Any], bool]:
    """
    What a condition asks of a value of its column.

    `=` takes the value itself or a pattern with * ? []; nothing means none. `!=` is whatever `=` is not, none too.
    `~` looks for a regular expression. The others compare: numbers as numbers, text as text.

    Args:
        condition: As it was read.
        kind: What the column holds.
        is_time: It holds durations in ns: units are taken.
        any_case: Upper and lower case are the same.

    Raises:
        ConditionError: The value does not fit the operator and the column.

    Examples:
        >>> fits = predicate_of(condition_of("wall_ns>1.5ms"), "int", is_time=True, any_case=False)
        >>> fits(1_500_000), fits(1_500_001), fits(None)
        (False, True, False)
    """
    if condition.operator == "~":
        return _looks_for(condition, any_case=any_case)
    if condition.operator in _ORDER:
        return _compares(condition, kind, is_time=is_time)
    same = _is(condition, is_time=is_time, any_case=any_case)
    return same if condition.operator == "=" else lambda value: not same(value)


def _looks_for(condition: Condition, *, any_case: bool) -> Callable[[Any], bool]:
    try:
        search = re.compile(condition.wanted, re.IGNORECASE if any_case else 0).search
    except (re.error, OverflowError, RecursionError) as error:
        raise ConditionError(
            f"expected a regular expression behind ~, got {condition.text!r}: {error}"
        ) from error
    return lambda value: value is not None and search(as_text(value)) is not None


def _is(condition: Condition, *, is_time: bool, any_case: bool) -> Callable[[Any], bool]:
    wanted = condition.wanted
    if not wanted:
        return lambda value: value is None
    if is_time and (number := _time(condition)) is not None:
        return lambda value: bool(value == number)
    if is_time and not set(wanted) & set("*?["):
        raise ConditionError(
            f"expected a time such as 100ms behind {condition.operator}, got {condition.text!r}"
        )
    pattern = re.compile(translate(wanted), re.IGNORECASE if any_case else 0).match
    exact = wanted.lower() if any_case else wanted

    def same(value: Any) -> bool:
        if value is None:
            return False
        text = as_text(value)
        return (text.lower() if any_case else text) == exact or pattern(text) is not None

    return same


def as_text(value: Any) -> str:
    """A value as conditions write it: numbers and truth as in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compares(condition: Condition, kind: ValueType, *, is_time: bool) -> Callable[[Any], bool]:
    compare, bound = _ORDER[condition.operator], _bound(condition, kind, is_time=is_time)
    if isinstance(bound, str):
        return lambda value: value is not None and compare(value, bound)
    if kind == "int":
        return lambda value: value is not None and compare(value, bound)
    return lambda value: (number := _plain(value)) is not None and compare(number, bound)


def _bound(condition: Condition, kind: ValueType, *, is_time: bool) -> int | Fraction | str:
    """What values are compared with."""
    if kind == "bool":
        raise ConditionError(
            f"{condition.column} is true or false: expected =, != or ~, got {condition.text!r}"
        )
    if is_time and (number := _time(condition)) is not None:
        return number
    if (plain := _plain(condition.wanted)) is not None:
        return plain
    if kind == "text" and condition.wanted:
        return condition.wanted
    wanted = "time such as 100ms" if is_time else "number"
    raise ConditionError(f"expected a {wanted} behind {condition.operator}, got {condition.text!r}")


def _time(condition: Condition) -> int | Fraction | None:
    """Of a duration, in ns. A number alone is ns only where the name says so: `wall>100` does not mean ns."""
    if not condition.column.endswith("_ns") and _plain(condition.wanted) is not None:
        raise ConditionError(f"expected a time with its unit, such as 100ms, got {condition.text!r}")
    return _number_with_unit(condition.wanted)


def _number_with_unit(text: str) -> int | Fraction | None:
    found = _NUMBER.fullmatch(text.lower())
    if not found or found[2] not in UNITS:
        return None
    return _whole(Fraction(found[1]) * UNITS[found[2]])


def _plain(text: Any) -> int | Fraction | None:
    """A number without a unit."""
    if isinstance(text, int):
        return text
    found = _NUMBER.fullmatch(text) if text is not None else None
    return _whole(Fraction(found[1])) if found and not found[2] else None


def _whole(number: Fraction) -> int | Fraction:
    return number.numerator if number.denominator == 1 else number


# ── Times ─────────────────────────────────────────────────────────────────────────────────────────


def span_of(text: str) -> int | None:
    """
    A length of time with its unit, in ns; None if it is none.

    Examples:
        >>> span_of("10s"), span_of("1.5m"), span_of("500ms"), span_of("10"), span_of("soon")
        (10000000000, 90000000000, 500000000, None, None)
    """
    number = _number_with_unit(text)
    return int(number) if number is not None and number >= 0 else None


def moment_of(
    asked: Moment, recorded: tuple[int, int], *, name: str = "time", after: int | None = None
) -> int | None:
    """
    A time in unix ns; None stays open.

    Args:
        asked: Unix ns; a `datetime` with a zone; or text: RFC 3339 (without a zone: UTC), a length of time before the
            end of the recording ("-10m", "10m"), or a clock time of the recording in UTC ("14:05", "14:05:30.5"). Of
            a recording of several days the last such time within it.
        recorded: When the recording begins and ends.
        name: Of what is asked, for the error.
        after: A clock time is later than this: "23:50" to "00:10".

    Raises:
        ConditionError: It is none of these.

    Examples:
        >>> noon = 1_700_049_600_000_000_000
        >>> moment_of("-10m", (0, noon)) - noon, moment_of("12:00", (noon - 10**12, noon + 10**12)) - noon
        (-600000000000, 0)
        >>> moment_of("2023-11-15T13:00:00+01:00", (0, 0)) == noon
        True
    """
    if asked is None or (isinstance(asked, int) and not isinstance(asked, bool)):
        return asked
    if isinstance(asked, datetime):
        return _of_datetime(asked, name)
    text = str(asked).strip()
    if (length := span_of(text.removeprefix("-"))) is not None and text != "-":
        return recorded[1] - length
    if found := _CLOCK.fullmatch(text):
        return _of_clock(found, recorded, after)
    return _of_date(text, name)


def _of_datetime(asked: datetime, name: str) -> int:
    if asked.tzinfo is None:
        raise ConditionError(f"expected a {name} with a zone, got {asked!r}")
    passed = asked - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed.days * 86_400 + passed.seconds) * 10**9 + passed.microseconds * 1_000


def _of_clock(found: re.Match[str], recorded: tuple[int, int], after: int | None) -> int:
    hour, minute, second, fraction = (found[at] or "0" for at in (1, 2, 3, 4))
    of_day = (int(hour) * 3_600 + int(minute) * 60 + int(second)) * 10**9 + int(fraction.ljust(9, "0"))
    begin, end = recorded
    days = range(begin // DAY_NS, end // DAY_NS + 1)
    last = days[-1] * DAY_NS + of_day
    candidates = (last, last - DAY_NS) if len(days) > 1 else (last,)
    moment = min(candidates, key=lambda at: max(begin - at, at - end, 0))
    return moment + DAY_NS if after is not None and moment <= after else moment


def _of_date(text: str, name: str) -> int:
    found = _DATE.fullmatch(text)
    try:
        whole = found and datetime.fromisoformat(
            f"{found[1]}T{found[2] or '00:00'}{(found[4] or 'Z').upper()}"
        )
    except ValueError:
        whole = None
    if not found or not whole:
        raise ConditionError(
            f"expected a {name} such as 2026-11-26T14:05:00Z, 14:05 (of the recording, UTC) or "
            f"-10m (before its end), got {text!r}"
        )
    return _of_datetime(whole, name) + int((found[3] or "0").ljust(9, "0"))


def text_of(unix_nano: int, digits: int = 0) -> str:
    """
    A time as RFC 3339 in UTC, with this many digits after the second.

    Examples:
        >>> text_of(1_700_049_600_000_000_000), text_of(1_700_049_600_500_000_000, 3)
        ('2023-11-15T12:00:00Z', '2023-11-15T12:00:00.500Z')
    """
    seconds, ns = divmod(unix_nano, 10**9)
    whole = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{f'{ns:09}'[:digits]}Z" if digits else f"{whole}Z"


def named(known: Collection[str], column: str) -> str:
    """
    A column by its name, or by its name without `_ns`.

    Examples:
        >>> named(["wall_ns", "verb"], "wall"), named(["wall_ns", "verb"], "verb")
        ('wall_ns', 'verb')
    """
    return f"{column}_ns" if column not in known and f"{column}_ns" in known else column


def names_of(apiserver: str | Sequence[str] | None) -> list[str]:
    """Names of services, however many were given."""
    expect(apiserver, str | Iterable | None, "the name of a service, or several")
    return [apiserver] if isinstance(apiserver, str) else list(apiserver or ())
