"""The reference names what there is: settings, counts, options, exit codes, and every public name with its fields."""

from __future__ import annotations

import argparse
import inspect
import posixpath
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import k8strace
from k8strace.cli.commands import parser

DOCS = Path(__file__).parent.parent / "docs"
CLI = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
STREAM = (DOCS / "reference" / "stream.md").read_text(encoding="utf-8")
UNITS = {"s": 10**9, "min": 60 * 10**9, "GiB": 1 << 30}


def test_every_setting_of_a_stream_has_its_default():
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) ?(\w*) \|", STREAM, re.MULTILINE)
    told = {name: int(number.replace(",", "")) * UNITS.get(unit, 1) for name, number, unit in rows}
    settings = k8strace.StreamSettings()
    assert told == {each.name: getattr(settings, each.name) for each in fields(settings)}


def test_every_count_of_a_stream_is_named():
    named = re.findall(r"`(\w+)`", STREAM.partition("`RequestStream.counts`:")[2].partition("\n`spans` =")[0])
    assert sorted(named) == sorted(k8strace.RequestStream().counts)


def commands(of: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command, those of commands too."""
    yield name, of
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each, command in action.choices.items():
                yield from commands(command, f"{name} {each}".strip())


def test_every_option_is_named():
    """On the page of the command line, or on that of the command."""
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    options = {
        (name, option)
        for name, command in commands(parser())
        for action in command._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
        if option.startswith("--")
    }
    assert len(options) > 50
    assert sorted(each for each in options if not re.search(rf"{each[1]}\b", pages)) == []


def test_every_option_of_the_reference_exists():
    known = {
        option for _, command in commands(parser()) for a in command._actions for option in a.option_strings
    }
    assert sorted({*re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", CLI)} - known) == []


def test_exit_codes_are_those_of_the_commands():
    """Each code that a command's help tells is in a table of the page, and no other."""
    helps = "".join(command.format_help().partition("exit codes:")[2] for _, command in commands(parser()))
    told = {int(code) for code in re.findall(r"^  (\d+) +\w", helps, re.MULTILINE)}
    assert {0, 1, 2, 130, 141} <= told
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", CLI, re.MULTILINE)} == told


def test_every_extra_is_named_where_one_installs():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    page = (DOCS / "howto" / "install.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`k8strace\[(\w+)\]`", page))
    assert named == set(project["optional-dependencies"]) - {"all"}


def members(public: type) -> set[str]:
    """What our own classes give it, fields too."""
    ours = [base for base in public.__mro__ if base.__module__.startswith("k8strace")]
    names = {name for base in ours for name in (*vars(base), *inspect.get_annotations(base))}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.slow
def test_the_api_reference_has_every_public_name_with_its_fields(tmp_path):
    """As sphinx lists them in the index of objects of that page alone."""
    inventory = pytest.importorskip("sphinx.util.inventory", reason="sphinx makes the reference")
    (tmp_path / "api.md").write_text((DOCS / "reference" / "api.md").read_text())
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-c", DOCS, "-D", "root_doc=api"]
    subprocess.run([*command, tmp_path, tmp_path / "out"], check=True, capture_output=True)
    with (tmp_path / "out" / "objects.inv").open("rb") as file:
        listed = {
            name for kind in inventory.InventoryFile.load(file, "", posixpath.join).values() for name in kind
        }
    missing = []
    for name in k8strace.__all__:
        public = getattr(k8strace, name)
        wanted = members(public) if inspect.isclass(public) else set()
        missing += [
            each
            for each in (f"k8strace.{name}", *(f"k8strace.{name}.{m}" for m in wanted))
            if each not in listed
        ]
    assert sorted(missing) == []
