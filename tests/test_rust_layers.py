"""The rooms of the core stand in the order of the data, and no file goes round in a circle, inside a room neither."""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "rust" / "src"

# Each room uses only rooms before it. A new room, or a new order, is a change of the design.
FLOW = [
    "numbers",
    "error",
    "threads",
    "exponential",
    "columns",
    "decode",
    "screen",
    "arrow",
    "encode",
    "search",
    "join",
    "attribute",
    "stream",
    "archive",
    "tables",
    "retime",
    "quantiles",
    "findings",
    "python",
]

NOISE = re.compile(r"//[^\n]*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])'", re.DOTALL)
TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod \w+\s*(?:;|\{.*)", re.DOTALL)
CHILD = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?mod (\w+);", re.MULTILINE)
USE = re.compile(r"\buse ([^;]+);")
PATH = re.compile(r"\b\w+(?:::\w+)+")


def code(text: str) -> str:
    """Rust without comments, texts, and the tests at its end."""
    return TESTS.sub("", NOISE.sub("", text))


def paths_of(tree: str) -> Iterator[str]:
    """Every path of a `use` tree: `a::{b, c::{self, d}}` is a::b, a::c::self and a::c::d."""
    start = tree.find("{")
    if start < 0:
        yield tree.strip().split(" as ")[0]
        return
    depth, part, parts = 0, "", []
    for letter in tree[start + 1 : tree.rindex("}")]:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += letter
    for each in [*parts, part]:
        if each.strip():
            yield from (tree[:start].strip() + path for path in paths_of(each))


def resolve(path: str, here: tuple[str, ...], children: set[str]) -> tuple[str, ...] | None:
    """Where a path begins in our own crate: its names from the crate on. None for other crates and for types."""
    first, *rest = path.split("::")
    if first == "crate":
        return tuple(rest)
    if first == "self" or first in children:
        return (*here, *([] if first == "self" else [first]), *rest)
    above = here
    while first == "super":
        above, (first, *rest) = above[:-1], rest or [""]
    return None if above is here else (*above, first, *rest)


def uses(text: str, here: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Everything of our own crate that a file names, from the crate on; `here` is the file's own module."""
    text = code(text)
    children = set(CHILD.findall(text))
    trees = [path for tree in USE.findall(text) for path in paths_of(re.sub(r"\s+", " ", tree))]
    named = [*trees, *PATH.findall(USE.sub("", text))]
    return {found for path in named if (found := resolve(path, here, children))}


def module(path: Path) -> tuple[str, ...]:
    """`join/mod.rs` is the module join, `join/forest.rs` is join::forest."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "mod" else parts


FILES = {module(path): path for path in sorted(SOURCE.rglob("*.rs")) if path.stem not in ("lib", "tests")}


def file_of(found: tuple[str, ...]) -> tuple[str, ...]:
    """The file that says it: the longest beginning that is one."""
    return next(found[:end] for end in range(len(found), -1, -1) if found[:end] in FILES or not end)


def used_by(name: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The other files that a file uses."""
    return {file_of(found) for found in uses(FILES[name].read_text(), name)} - {name, ()}


def test_the_rooms_are_private_and_in_order():
    """`lib.rs` names them as they follow each other; what others may use is one list of names."""
    text = code((SOURCE / "lib.rs").read_text())
    assert CHILD.findall(text) == FLOW
    assert "pub mod" not in text


@pytest.mark.parametrize("name", FILES, ids="::".join)
def test_paths_point_upstream(name):
    """A file uses only rooms that come before its own, and its own."""
    backward = {"::".join(used) for used in used_by(name) if FLOW.index(used[0]) > FLOW.index(name[0])}
    assert not backward


def test_no_file_goes_round_in_a_circle():
    """Between folders and inside them; a folder's `mod.rs` is a file like any other."""
    graph = {name: used_by(name) for name in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join("::".join(name) for name in error.args[1]))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("use crate::columns::{Columns, NONE};", {"columns::Columns", "columns::NONE"}),
        (
            "use crate::join::{self, clock::{self, Hull}};",
            {"join::self", "join::clock::self", "join::clock::Hull"},
        ),
        ("use super::Seen as Other;", {"join::Seen"}),
        ("use super::super::arrow;", {"arrow"}),
        ("fn f() { crate::arrow::hex(); }", {"arrow::hex"}),
        ("mod hull;\nfn f() { hull::new() }", {"join::clock::hull::new"}),
        ("pub use child::Thing;\npub(crate) mod child;", {"join::clock::child::Thing"}),
        ("use std::sync::Arc; fn f() { Vec::<u8>::new(); Role::Request }", set()),
        ('// use crate::a::b;\nconst A: &str = "crate::a::b";', set()),
        ("#[cfg(test)]\nmod tests {\n    use crate::decode::otlp;\n}", set()),
    ],
)
def test_a_path_reaches_the_file_it_names(text, names):
    """The checks above see through trees, `super` and names of children; this is what they see from join/clock."""
    assert {"::".join(found) for found in uses(text, ("join", "clock"))} == names
