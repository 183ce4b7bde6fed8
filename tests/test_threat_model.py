"""The threat model says only what a test shows: each of its lines names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "explanation" / "threat-model.md"


def lines() -> list[list[str]]:
    """Cells of every line of the page's tables."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows if "| Shown by" not in row]


@cache
def functions_of(module: str) -> set[str]:
    path = TESTS / f"{module}.py"
    found = ast.walk(ast.parse(path.read_text())) if path.is_file() else ()
    return {each.name for each in found if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_page_has_lines():
    assert len(lines()) >= 19


@pytest.mark.parametrize("line", lines(), ids=lambda line: line[0][:40])
def test_a_line_names_tests_that_exist(line):
    assert len(line) == 3
    named = re.findall("`(.*?)::(.*?)`", line[2])
    assert named
    assert [f"{module}::{test}" for module, test in named if test not in functions_of(module)] == []
