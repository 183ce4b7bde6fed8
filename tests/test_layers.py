"""Data flows one way, and the menu is what we meant."""

import ast
import functools
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import k8strace

PACKAGE = Path(k8strace.__file__).parent

# Each room imports only rooms before it. A new room, or a new order, is a change of the design.
FLOW = [
    "exceptions",
    "_core",
    "words",
    "files",
    "tables",
    "spans",
    "formats",
    "components",
    "phases",
    "rules",
    "calltree",
    "selecting",
    "selection",
    "keys",
    "archive",
    "requests",
    "statistics",
    "whatif",
    "attribution",
    "histograms",
    "audit",
    "compare",
    "pods",
    "findings",
    "export",
    "budgets",
    "spark",
    "stream",
    "digests",
    "kafka",
    "query",
    "receiver",
    "views",
    "page",
    "__init__",
    "setup",
    "cli",
    "pytest_plugin",
    "__main__",
]

# Methods that hand their object on to a later room when they are called, so that what people ask of an object can be
# asked of it: (method, room).
FORWARD = {
    ("_repr_html_", "views"),
    ("findings", "findings"),
    ("to_html", "page"),
    ("widget", "page"),
    ("cost", "findings"),
    ("etcd_usage", "findings"),
    ("estimate_totals", "findings"),
    ("_export", "export"),
    ("stalls", "findings"),
}

PUBLIC = [
    "Attribution",
    "Audit",
    "Band",
    "Breakdown",
    "Budget",
    "BudgetsError",
    "Change",
    "Checked",
    "ClientTime",
    "ClockEvidence",
    "Column",
    "Comparison",
    "Composition",
    "ConditionError",
    "Couplings",
    "DecodeError",
    "Difference",
    "DifferenceRow",
    "Digest",
    "DigestError",
    "DigestSettings",
    "Errors",
    "Estimate",
    "Figures",
    "Finding",
    "Findings",
    "FormatError",
    "Group",
    "Histogram",
    "Histograms",
    "Issue",
    "Joined",
    "K8straceError",
    "Ledger",
    "Limit",
    "Mark",
    "Metric",
    "MissingExtraError",
    "Part",
    "Parts",
    "PartsError",
    "Pod",
    "Pods",
    "Process",
    "Projected",
    "Projection",
    "Quantile",
    "QuantileParts",
    "Request",
    "RequestStream",
    "Requests",
    "Rule",
    "RulesError",
    "SamplingError",
    "Selection",
    "Signature",
    "Slow",
    "Source",
    "Spans",
    "Stall",
    "Stalls",
    "StreamSettings",
    "StreamedRequests",
    "Sums",
    "Sync",
    "Syncs",
    "Table",
    "Taxonomy",
    "attribute",
    "check",
    "clock_evidence",
    "compare",
    "couplings",
    "decode",
    "digest",
    "join",
    "pods",
    "read",
    "read_budgets",
    "read_client_times",
    "read_rules",
    "scan",
]


def room(path: Path) -> str:
    """The room a file is in: `views/html.py` is in `views`, `spans.py` and `spans.pyi` in `spans`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".pyi").removesuffix(".py")


def files() -> list[Path]:
    return sorted(path for pattern in ("*.py", "*.pyi") for path in PACKAGE.rglob(pattern))


def imported_modules(node: ast.Import | ast.ImportFrom, path: Path) -> list[str]:
    """
    Full names of what an import statement may import.

    `from k8strace import spans` names a module or a value; both readings are returned.
    """
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    source = node.module or ""
    if node.level:
        parents = ["k8strace", *path.relative_to(PACKAGE).parts][: -node.level]
        source = ".".join([*parents, *([source] if source else [])])
    return [f"{source}.{alias.name}" for alias in node.names]


def imported_rooms(node: ast.Import | ast.ImportFrom, path: Path) -> set[str]:
    """Rooms of ours that an import statement reaches; the package itself is `__init__`."""
    ours = [name.split(".") for name in imported_modules(node, path) if name.split(".")[0] == "k8strace"]
    return {parts[1] if len(parts) > 1 and parts[1] in FLOW else "__init__" for parts in ours}


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text())


def imports(node: ast.AST, path: Path, function: str = "") -> Iterator[tuple[int, str]]:
    """
    Line and room of every import, those inside functions and `if TYPE_CHECKING` too.

    A few methods may reach forward, see FORWARD.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            reached = imported_rooms(child, path)
            yield from ((child.lineno, name) for name in reached if (function, name) not in FORWARD)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(child, path, child.name)
        else:
            yield from imports(child, path, function)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_upstream(path):
    """A module imports only rooms that come before its own in the flow."""
    here = room(path)
    assert here in FLOW, f"{here} is a new room: give it its place in FLOW"
    allowed = {here, *FLOW[: FLOW.index(here)]} - ({"__init__"} if here == "__init__" else set())
    backward = [(line, name) for line, name in imports(tree_of(path), path) if name not in allowed]
    assert not backward


# ---- inside folders ----

FLOORS = {
    "whatif": ["concurrency", "changes", "edits", "projection", "__init__"],
    "cli": [
        "exits",
        "numbers",
        "options",
        "inputs",
        "outputs",
        "pages",
        "viewing",
        "demo",
        "check",
        "compare",
        "report",
        "digest",
        "requests",
        "tree",
        "audit",
        "export",
        "whatif",
        "serve",
        "opening",
        "setup",
        "completion",
        "commands",
        "kubectl",
        "__init__",
    ],
    "cli/serve": ["options", "settings", "supervision", "logs", "showing", "paging", "running", "__init__"],
    "cli/setup": ["given", "kubeconfig", "render", "check", "cost", "probe", "__init__"],
    "digests": ["checkpoint", "merging", "rows", "result", "running", "__init__"],
    "audit": ["scanning", "log", "comparing", "__init__"],
    "export": [
        "protobuf",
        "told",
        "stacks",
        "perfetto",
        "otlp",
        "jaeger",
        "rows",
        "tables",
        "writing",
        "__init__",
    ],
    "receiver": ["metrics", "intake", "journal", "transports", "pipeline", "serving", "__init__"],
    "receiver/intake": ["limits", "answers", "sink", "identity", "visit", "readings", "__init__"],
    "receiver/journal": ["frames", "storage", "segments", "recovery", "writer", "backlog", "__init__"],
    "receiver/metrics": [
        "labels",
        "exponential",
        "tally",
        "settling",
        "exposition",
        "stream",
        "pushing",
        "__init__",
    ],
}
"""Folders whose parts have an order, the first one first. No folder has a circle, with an order or without."""


def folders() -> list[Path]:
    return sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


def arrows(folder: Path) -> dict[str, set[str]]:
    """Between the parts of a folder: a file or folder in it → those that it imports, whatever is in them."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        here = path.relative_to(folder).parts[0].removesuffix(".py")
        found.setdefault(here, set()).update(reached(tree_of(path), path, folder) - {here})
    return found


def reached(node: ast.AST, path: Path, folder: Path) -> set[str]:
    """Parts of a folder that the imports of a file reach; with the exception of `imports`."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            found |= {part for name in imported_modules(child, path) if (part := part_of(name, folder))}
        elif not (isinstance(child, ast.FunctionDef) and child.name in {method for method, _ in FORWARD}):
            found |= reached(child, path, folder)
    return found


def part_of(module: str, folder: Path) -> str:
    """Which part of a folder a name leads to; empty if none. What is no file there is a name in `__init__`."""
    own = ["k8strace", *folder.relative_to(PACKAGE).parts]
    parts = module.split(".")
    if parts[: len(own)] != own:
        return ""
    name = parts[len(own)] if len(parts) > len(own) else "__init__"
    return name if any(folder.glob(f"{name}.py*")) or (folder / name).is_dir() else "__init__"


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Names that lead back to the first of them; none if there is no such way."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            if found := walk(target, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


@pytest.mark.parametrize("folder", folders(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_there_is_no_circle_within_a_folder(folder):
    """Imports in functions and for types count: whoever reads follows them too."""
    assert circle(arrows(folder)) == []


@pytest.mark.parametrize("folder", FLOORS)
def test_parts_of_a_folder_import_only_earlier_ones(folder):
    order, found = FLOORS[folder], arrows(PACKAGE / folder)
    assert sorted(order) == sorted(found), "a new part: give it its place"
    backward = {
        (here, there) for here in order for there in found[here] if order.index(there) > order.index(here)
    }
    assert not backward


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("statement", "rooms"),
    [
        ("import k8strace", {"__init__"}),
        ("import k8strace.spans", {"spans"}),
        ("from k8strace import spans, read", {"spans", "__init__"}),
        ("from k8strace.spans import Spans", {"spans"}),
        ("from .. import requests", {"requests"}),
        ("from ..requests import Request", {"requests"}),
        ("from . import html", {"views"}),
        ("from .html import bar", {"views"}),
        ("import json", set()),
        ("from collections import abc", set()),
    ],
)
def test_an_import_reaches_the_rooms_it_names(statement, rooms):
    """The check above sees through absolute and relative imports; this is what it sees from views/text.py."""
    (node,) = ast.parse(statement).body
    assert imported_rooms(node, PACKAGE / "views" / "text.py") == rooms


def test_only_repr_html_may_reach_views_from_upstream():
    """An import inside any other function counts as one of its module."""
    source = (
        "def _repr_html_(self):\n from k8strace import views\ndef show(self):\n from k8strace import views"
    )
    assert list(imports(ast.parse(source), PACKAGE / "spans.py")) == [(4, "views")]


def test_the_menu():
    """The public names are these, and each is there."""
    assert k8strace.__all__ == PUBLIC
    assert [name for name in PUBLIC if not hasattr(k8strace, name)] == []


def test_everything_public_says_what_it_is():
    """Each public name has a docstring of its own."""
    assert [name for name in PUBLIC if not getattr(k8strace, name).__doc__] == []


def annotations(public: object) -> Iterator[tuple[object, str]]:
    """What a public class or function gives out, as (where it was written, annotation)."""
    if not isinstance(public, type):
        yield public, str(getattr(public, "__annotations__", {}).get("return", ""))
        return
    yield from (
        (public, str(kind))
        for name, kind in vars(public).get("__annotations__", {}).items()
        if name[0] != "_"
    )
    for name, member in inspect.getmembers(public):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isfunction(function):
            yield function, str(function.__annotations__.get("return", ""))


def test_what_is_handed_out_is_on_the_menu():
    """Every class of ours that a public name gives out can be imported by name."""
    classes = {
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
    }
    given = set()
    for public in (getattr(k8strace, name) for name in PUBLIC):
        for where, annotation in annotations(public):
            known = vars(sys.modules[where.__module__])
            words = set(re.findall(r"(?<![.\w])[A-Z]\w+", annotation)) & classes
            given |= {word for word in words if isinstance(known.get(word, object), type)}
    assert given - set(PUBLIC) == set()


@pytest.mark.parametrize("word", ["Kind", "Reason", "Seen", "Settings", "Tally"])
def test_a_word_that_says_little_names_one_thing(word):
    """Of classes and types at most one is called so."""
    named = [
        (path.name, node.lineno)
        for path in PACKAGE.rglob("*.py")
        for node in tree_of(path).body
        for name in (
            [node.name]
            if isinstance(node, ast.ClassDef)
            else [target.id for target in node.targets if isinstance(target, ast.Name)]
            if isinstance(node, ast.Assign)
            else [getattr(node.target, "id", "")]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if name.lstrip("_") == word
    ]
    assert len(named) <= 1, named
