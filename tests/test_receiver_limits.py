"""Limits are named, above zero and documented; what is over one is counted under one of a closed set of reasons."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest

from k8strace._core import screen
from k8strace.receiver import REASONS, Limits, Rejections
from k8strace.receiver.intake.limits import RETRYABLE

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "limits.md"
NAMES = [each.name for each in fields(Limits)]
MIB = 1 << 20


def rows(heading: str) -> list[list[str]]:
    """Cells of the table below a heading of the page."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# ── Settings ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_is_above_zero(name: str, value: int):
    with pytest.raises(ValueError, match=f"expected {name} above 0, got {value}"):
        replace(Limits(), **{name: value})


@pytest.mark.parametrize(
    ("name", "most"), [("request_bytes", (1 << 28) - 1), ("value_depth", 32), ("json_depth", 127)]
)
def test_a_limit_beyond_what_we_can_read_is_refused(name: str, most: int):
    room = {"in_flight_bytes": 1 << 40}
    assert getattr(replace(Limits(**room), **{name: most}), name) == most
    with pytest.raises(ValueError, match=f"expected {name} of at most {most}"):
        replace(Limits(**room), **{name: most + 1})


def test_a_request_must_fit_into_the_budget():
    with pytest.raises(ValueError, match="in_flight_bytes"):
        Limits(request_bytes=2 * MIB, in_flight_bytes=MIB)


def test_limits_do_not_change():
    with pytest.raises(FrozenInstanceError):
        Limits().attributes = 1  # type: ignore[misc]


def test_as_many_bare_spans_as_are_taken_always_have_room():
    """The free part of the columns is for requests of the smallest spans there are."""
    limits = Limits(columns_per_byte=1)
    span = b"\x12\x1c\x0a\x10" + b"\1" * 16 + b"\x12\x08" + b"\1" * 8
    body = span * limits.spans_per_request
    wire = b"\x12" + _varint(len(body)) + body
    _, accepted, cut = screen(b"\x0a" + _varint(len(wire)) + wire, limits)
    assert (accepted, cut) == (limits.spans_per_request, [])


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


# ── Counters ──────────────────────────────────────────────────────────────────────────────────────


def test_only_known_reasons_are_counted():
    rejections = Rejections()
    with pytest.raises(KeyError):
        rejections.add("a reason of its own")
    assert set(rejections.counts()) == set(REASONS)
    assert set(rejections.counts().values()) == {0}


def test_counts_from_many_threads_add_up():
    rejections = Rejections()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(lambda: [rejections.add("utf8", 2) for _ in range(2_000)])
    assert rejections["utf8"] == 32_000
    assert repr(rejections) == "Rejections({'utf8': 32000})"


# ── The page ──────────────────────────────────────────────────────────────────────────────────────


def parsed(text: str) -> float:
    """A default as the page writes it: 64 MiB, 1,024, 30 s."""
    number, _, unit = text.replace(",", "").partition(" ")
    return float(number) * {"KiB": 1 << 10, "MiB": MIB, "KiB/s": 1 << 10}.get(unit, 1)


def test_the_page_has_every_setting_with_its_default():
    documented = {row[0].strip("`"): parsed(row[1]) for row in rows("Settings")}
    assert documented == {name: getattr(Limits(), name) for name in NAMES}


def test_the_page_has_every_reason_with_its_unit():
    documented = {row[0].strip("`"): row[1] for row in rows("Reasons")}
    assert documented == dict(REASONS)


def test_what_is_to_be_sent_again_is_counted_as_refused():
    """The page says of which reasons a sender is told so."""
    documented = {row[0].strip("`") for row in rows("Reasons") if row[2].endswith("to be sent again")}
    assert documented == set(RETRYABLE)


def test_the_page_names_only_reasons_that_there_are():
    named = {word for row in rows("Settings") for word in re.findall(r"`(\w+)`", row[3])}
    assert named <= set(REASONS)
