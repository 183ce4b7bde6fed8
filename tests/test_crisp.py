"""CRISP's re-timing as we restate it, against the cases of CRISP's own tests (2710c0b9, `tests/test_retimer.py`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import crisp
from programs import Program, Ran

Spans = list[tuple[str, str, str | None, int, int]]
"""Id, operation, parent, start and end."""

ONLY_CHILD: Spans = [("R", "OR", None, 0, 300), ("X", "OX", "R", 50, 250)]
TWO: Spans = [("R", "OR", None, 0, 1000), ("A", "OA", "R", 0, 200), ("B", "OB", "R", 300, 600)]
CHAIN: Spans = [
    ("R", "OR", None, 0, 1000),
    ("A", "OA", "R", 0, 100),
    ("B", "OB", "R", 200, 500),
    ("C", "OC", "R", 700, 900),
]
NESTED: Spans = [("R", "OR", None, 0, 1000), ("A", "OA", "R", 0, 900), ("B", "OB", "R", 100, 200)]
TWICE: Spans = [
    ("P", "OP", None, 0, 1000),
    ("B1", "Ob", "P", 0, 100),
    ("B2", "Ob", "P", 200, 300),
    ("C", "Oc", "P", 0, 1000),
]
THREE_LEVELS: Spans = [
    ("GG", "OGG", None, 100, 1000),
    ("P", "OP", "GG", 150, 950),
    ("A", "OA", "P", 150, 250),
    ("B", "OB", "P", 300, 500),
]

CASES = {
    "an only child that ends later": (ONLY_CHILD, "X", (50, 300), {"X": (50, 300), "R": (0, 350)}),
    "an only child that ends earlier": (ONLY_CHILD, "X", (50, 200), {"X": (50, 200), "R": (0, 250)}),
    "a root": ([("R", "OR", None, 0, 100)], "R", (0, 150), {"R": (0, 150)}),
    "a sibling that began after it, later": (TWO, "A", (0, 250), {"B": (350, 650)}),
    "a sibling that began after it, earlier": (TWO, "A", (0, 150), {"B": (250, 550)}),
    "a chain": (
        CHAIN,
        "B",
        (200, 600),
        {"A": (0, 100), "B": (200, 600), "C": (800, 1000), "R": (0, 1100)},
    ),
    "a sibling that ran at once": (NESTED, "B", (150, 250), {"A": (0, 900), "R": (0, 1000)}),
    "one that ends last now": (NESTED, "B", (850, 950), {"A": (0, 900), "R": (0, 1050)}),
    "a start that moves": (TWO, "A", (-50, 150), {"A": (-50, 150), "R": (0, 950)}),
    "the second of two of one name": (TWICE, "B2", (500, 600), {"B1": (0, 100), "B2": (500, 600)}),
    "the first of two of one name": (TWICE, "B1", (0, 150), {"B1": (0, 150), "B2": (250, 350)}),
    "three levels": (
        THREE_LEVELS,
        "A",
        (150, 290),
        {"A": (150, 290), "B": (340, 540), "P": (150, 990), "GG": (100, 1040)},
    ),
}


def _ran(spans: Spans) -> list[Ran]:
    places = {name: place for place, (name, *_) in enumerate(spans)}
    return [
        Ran(Program(operation, "", ()), start, end, -1 if parent is None else places[parent])
        for _, operation, parent, start, end in spans
    ]


@pytest.mark.parametrize("case", CASES)
def test_our_restatement_moves_what_crisp_moves(case):
    spans, moved, (start, end), expected = CASES[case]
    names, first = [name for name, *_ in spans], spans[0][3]
    found = crisp.moved(_ran(spans), names.index(moved), start - first, end - first)
    by_name = {name: (a + first, b + first) for name, (a, b) in zip(names, found, strict=True)}
    assert {name: by_name[name] for name in expected} == expected
