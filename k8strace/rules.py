"""Rules in a TOML file, with the fields of `Rule`, for users who do not write Python."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from k8strace.components import CLIENT, INTERNAL, OWN, SERVER, Mark, Rule, Taxonomy
from k8strace.exceptions import RulesError

__all__ = ["parse_rules", "read_rules"]

_KINDS: Final = {"internal": INTERNAL, "server": SERVER, "client": CLIENT}

Path_ = tuple[str | int, ...]
"""Path of a value: keys and list indices, outermost first."""


def read_rules(*files: str | os.PathLike[str]) -> Taxonomy:
    r"""
    The default taxonomy, preceded by the rules in TOML files, in their order.

    Raises:
        RulesError: A file is not TOML, or has something that is not a rule. The error has the line and the column.
        OSError: A file cannot be read.

    Examples:
        >>> import tempfile, k8strace
        >>> with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        ...     _ = file.write('[[rule]]\nphase = "mesh.sidecar"\nservice = "envoy"')
        ...     file.flush()
        ...     k8strace.read_rules(file.name).rules[0].phase
        'mesh.sidecar'
    """
    rules = [rule for file in files for rule in parse_rules(Path(file).read_bytes(), source=os.fspath(file))]
    return Taxonomy((*rules, *OWN.rules)) if rules else OWN


def parse_rules(text: bytes | str, source: str = "rules") -> list[Rule]:
    """
    The rules in a TOML document: a list `rule` of tables, whose keys are the fields of `Rule`.

    Args:
        text: The document, in UTF-8.
        source: Its name in errors.

    Raises:
        RulesError: It is not TOML, or has something that is not a rule.

    Examples:
        >>> from k8strace.rules import parse_rules
        >>> parse_rules('''
        ... [[rule]]
        ... phase = "mesh.sidecar"
        ... service = "envoy"
        ... ''')[0].phase
        'mesh.sidecar'
    """
    return _Document(text, source).rules()


class _Document:
    def __init__(self, text: bytes | str, source: str) -> None:
        self.source = source
        try:
            # TOML has one line ending, so line numbers are those of an editor.
            self.text = text if isinstance(text, str) else text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n")
            column = error.start - error.object.rfind(b"\n", 0, error.start)
            raise RulesError(source, line + 1, column, "expected UTF-8") from None

    def rules(self) -> list[Rule]:
        document = self._parse()
        for key in document:
            if key != "rule":
                raise self._error((key,), f"expected tables [[rule]], got the key {key!r}")
        rules = document.get("rule", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise self._error(("rule",), "expected tables [[rule]]")
        return [self._rule(rule, ("rule", at)) for at, rule in enumerate(rules)]

    def _parse(self) -> dict[str, Any]:
        import tomllib  # takes time to import

        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            told = re.fullmatch(
                r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL
            )
            message, line, column = told.groups() if told else (str(error), None, None)
            lines = self.text.split("\n")
            place = (int(line), int(column)) if line and column else (len(lines), len(lines[-1]) + 1)
            raise RulesError(self.source, *place, message[:1].lower() + message[1:]) from None

    def _rule(self, table: Mapping[str, Any], at: Path_) -> Rule:
        known = {field.name for field in fields(Rule)}
        for key in table:
            if key not in known:
                raise self._error((*at, key), f"expected one of {', '.join(sorted(known))}; got {key!r}")
        if "phase" not in table:
            raise self._error(at, 'expected a phase, such as phase = "mesh.sidecar"')
        given = {key: _VALUES.get(key, _text)(value) for key, value in table.items() if key != "events"}
        for key, value in given.items():
            if value is None:
                expected = _EXPECTED.get(key, "a text that is not empty")
                raise self._error((*at, key), f"expected {expected}, got {table[key]!r}")
        return Rule(**given, events=self._events(table.get("events", {}), (*at, "events")))

    def _events(self, table: object, at: Path_) -> dict[str, Mark]:
        if not isinstance(table, dict):
            raise self._error(at, f"expected a table of events, got {table!r}")
        return {name: self._mark(mark, (*at, name)) for name, mark in table.items()}

    def _mark(self, mark: object, at: Path_) -> Mark:
        if not isinstance(mark, dict) or not all(isinstance(phase, str) and phase for phase in mark.values()):
            raise self._error(at, f'expected phases, such as {{ after = "webhook.patch" }}, got {mark!r}')
        for key in mark:
            if key not in Mark._fields:
                raise self._error((*at, key), f"expected before or after, got {key!r}")
        return Mark(**mark)

    def _error(self, at: Path_, message: str) -> RulesError:
        return RulesError(self.source, *self._place(at), message)

    def _place(self, at: Path_) -> tuple[int, int]:
        """Line and column of a key: of the first line up to which the document, read alone, has the key."""
        import tomllib

        lines = self.text.split("\n")
        for number in range(1, len(lines) + 1):
            try:
                if not _holds(tomllib.loads("\n".join(lines[:number])), at):
                    continue
            except tomllib.TOMLDecodeError:
                continue  # in the middle of a value of several lines
            # A value of several lines: its key is where the document was last valid before.
            first = number
            while first > 1 and not _is_whole("\n".join(lines[: first - 1])):
                first -= 1
            key = str(at[-1] if isinstance(at[-1], str) else "[[")
            column = lines[first - 1].find(key)
            indent = len(lines[first - 1]) - len(lines[first - 1].lstrip())
            return first, (column if column >= 0 else indent) + 1
        return 1, 1


def _is_whole(text: str) -> bool:
    import tomllib

    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _holds(value: Any, at: Path_) -> bool:
    for step in at:
        if isinstance(step, int):
            if not isinstance(value, list) or len(value) <= step:
                return False
        elif not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _kind(value: object) -> int | None:
    if isinstance(value, str):
        return _KINDS.get(value.lower())
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 5 else None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


_VALUES: Final[Mapping[str, Callable[[object], Any]]] = {"kind": _kind, "leaf": _truth}
_EXPECTED: Final = {"kind": "internal, server, client or a number from 0 to 5", "leaf": "true or false"}
