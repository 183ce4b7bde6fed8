"""YAML in and out: keeps comments, order and quotes of a user's file, and the line of every value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING, Any

from k8strace.setup.versions import SetupError
from k8strace.tables import require

if TYPE_CHECKING:
    from ruamel.yaml import YAML

__all__ = ["Document", "block", "dump", "items", "line_of", "load", "quoted", "rows", "table"]

MAX_BYTES = 4 << 20
"""A longer file is not a manifest."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a YAML file."""

    content: Any
    offset: int = 0
    """Number of lines before its text, for YAML inside YAML."""

    def line(self, holder: Any, key: Any = None) -> int:
        """Line of a key of a mapping or of an item of a list, from 1; of the holder itself without a key."""
        return line_of(holder, key) + self.offset


def _yaml() -> YAML:
    module = require("ruamel.yaml", "setup")
    yaml: YAML = module.YAML()  # round trip
    yaml.Representer = _representer()
    yaml.width = 4096
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=2, offset=0)
    return yaml


@cache
def _representer() -> Any:
    """Writes null as a user's file does, and as kubeadm does."""
    module = require("ruamel.yaml.representer", "setup")
    made = type("Representer", (module.RoundTripRepresenter,), {})
    made.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))  # type: ignore[attr-defined]
    return made


def load(text: str, *, offset: int = 0) -> list[Document]:
    """
    All documents of a YAML text that are not empty. Repeated keys are an error.

    Raises:
        SetupError: It is not YAML; the message has the line.
    """
    if len(text) > MAX_BYTES:
        raise SetupError(f"line 1: more than {MAX_BYTES} characters, which no manifest has")
    error = require("ruamel.yaml.error", "setup").YAMLError
    try:
        found = list(_yaml().load_all(text))
    except error as problem:
        raise SetupError(f"line {_line_of(problem) + offset}: {_words(problem)}") from None
    except (RecursionError, ValueError) as problem:
        raise SetupError(f"line {1 + offset}: {type(problem).__name__} while reading YAML") from None
    return [Document(content, offset) for content in found if content is not None]


def _line_of(problem: Any) -> int:
    mark = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
    return mark.line + 1 if mark else 1


def _words(problem: Any) -> str:
    words = getattr(problem, "problem", None) or getattr(problem, "note", None) or type(problem).__name__
    return " ".join(str(words).split())[:160]


def line_of(holder: Any, key: Any = None) -> int:
    """Line of a key or an item within its text, from 1."""
    place = getattr(holder, "lc", None)
    if place is None:
        return 1
    try:
        found = place.line if key is None else (place.item(key) if isinstance(key, int) else place.key(key))
    except (KeyError, TypeError, AttributeError):
        found = place.line
    return int(found[0] if isinstance(found, tuple) else found or 0) + 1


def dump(content: Any, *, comment: str = "") -> str:
    """YAML text of plain or loaded data, with a comment above it."""
    out = StringIO()
    _yaml().dump(content, out)
    above = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return above + out.getvalue()


@cache
def _scalars() -> Any:
    return require("ruamel.yaml.scalarstring", "setup")


def quoted(text: str) -> Any:
    """A text in quotes, because YAML readers could read it as something else, such as "true"."""
    return _scalars().DoubleQuotedScalarString(text)


def block(text: str) -> Any:
    """A text over several lines, as a literal block."""
    return _scalars().LiteralScalarString(text)


def table(content: Any) -> Any:
    """The mapping that is expected; an empty one if something else is there, which the file's own reader refuses."""
    return content if isinstance(content, Mapping) else {}


def items(content: Any) -> Any:
    """The list that is expected; an empty one if something else is there."""
    return content if isinstance(content, Sequence) and not isinstance(content, (str, bytes)) else []


def rows(content: Any) -> list[Any]:
    """The mappings in the list that is expected."""
    return [row for row in items(content) if isinstance(row, Mapping)]
