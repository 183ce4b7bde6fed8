"""No setting is dead: each is read by what it is said to change, or nothing reads it and it goes."""

from __future__ import annotations

import argparse
import ast
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

import k8strace
from k8strace.cli.commands import parser
from k8strace.receiver import Limits

PACKAGE = Path(k8strace.__file__).parent
TESTS = Path(__file__).parent
RUST = PACKAGE.parent / "rust" / "src"


@cache
def attributes_read(*folders: Path, but: tuple[str, ...] = ()) -> set[str]:
    """Names of attributes that Python code reads, outside of some files."""
    found = set()
    for path in (path for folder in folders for path in folder.rglob("*.py") if path.name not in but):
        nodes = ast.walk(ast.parse(path.read_text()))
        found |= {
            each.attr for each in nodes if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Load)
        }
    return found


@cache
def names_in(folder: Path) -> str:
    return "\n".join(path.read_text() for path in folder.rglob("*.rs"))


@pytest.mark.parametrize("name", [each.name for each in fields(Limits)])
def test_a_limit_is_read(name):
    """By the receiver, or by the screen, which takes limits by name."""
    read = attributes_read(PACKAGE / "receiver", but=("limits.py",))
    assert name in read or name in names_in(RUST / "screen") + names_in(RUST / "python")


@pytest.mark.parametrize("name", [each.name for each in fields(k8strace.StreamSettings)])
def test_a_setting_of_a_stream_is_read(name):
    assert f"settings.{name}" in names_in(RUST / "stream")


@cache
def changed_in_tests() -> set[str]:
    """Settings that tests give another value: by keyword, or by a name that a test is parametrised with."""
    found: set[str] = set()
    for path in (*TESTS.glob("test_receiver_*.py"), TESTS / "test_http_server.py", TESTS / "test_stream.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
                "Limits",
                "StreamSettings",
            ):
                found |= {each.arg for each in node.keywords if each.arg}
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "parametrize":
                found |= {
                    each.value
                    for each in ast.walk(node)
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                }
    return found


@pytest.mark.parametrize(
    "name", [each.name for kind in (Limits, k8strace.StreamSettings) for each in fields(kind)]
)
def test_some_test_shows_what_a_setting_changes(name):
    assert name in changed_in_tests()


def options() -> list[str]:
    (commands,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    return sorted({each.dest for each in commands.choices["serve"]._actions} - {"help"})


@pytest.mark.parametrize("name", options())
def test_an_option_of_serve_is_read(name):
    assert name in attributes_read(PACKAGE) or name.endswith("_listen")
