"""A finding: a sentence that says what is wrong, and its cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from k8strace import _core
from k8strace.tables import Table

__all__ = ["SEVERITIES", "Finding", "Findings", "Severity", "in_order", "table_of"]

Severity: TypeAlias = Literal["info", "warning", "error"]

SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "info")
"""
The worst first. "info": worth knowing, and normal. "warning": it costs enough to look into.
"error": a process or the data is broken.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, in words, with its cost."""

    code: str
    """What kind it is, such as "refused_requests": a word of the reference, "Findings"."""
    severity: Severity
    sentence: str
    """What happens, how much of all time it takes, and when."""
    fix: str
    """What to do, in a sentence."""
    requests: int
    """How many requests it concerns."""
    ns: int
    """The part of their time that it concerns, on critical paths. Different findings may concern the same time."""
    share: float
    """`ns` divided by the wall time of all requests that were looked at; 0 if there are none."""
    start_unix_nano: int
    """When the first of its requests began."""
    end_unix_nano: int
    """When the last of them ended."""
    where: tuple[str, ...] = ()
    """Conditions on columns of requests that select them, such as "http_status=403"."""
    example_trace_id: str | None = None
    """Trace of the request with the greatest part of `ns`."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """Numbers that the sentence is based on."""


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst severity first; within one severity the most costly."""
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), -f.ns, f.code, f.where))


class Findings(Table):
    """
    What is wrong, the worst first: one row per finding, the columns are those of `Finding`.

    Iterating gives one dictionary per row, with `where` as a list and `evidence` as a dictionary. As columns these two
    are JSON.
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({**row, **{name: json.loads(row[name]) for name in _NESTED}} for row in super().__iter__())


_NESTED: Final = ("where", "evidence")

_COLUMNS: Final = {
    "code": "text",
    "severity": "text",
    "sentence": "text",
    "fix": "text",
    "requests": "int",
    "ns": "int",
    "share": "float",
    "start_unix_nano": "int",
    "end_unix_nano": "int",
    "start_time": "instant",
    "end_time": "instant",
    "where": "text",
    "example_trace_id": "text",
    "evidence": "text",
}


_TIMES: Final = {"start_time": "start_unix_nano", "end_time": "end_unix_nano"}


def table_of(findings: Iterable[Finding]) -> Findings:
    """The findings as a table, in their order."""
    rows = [_plain(finding) for finding in findings]
    return Findings(
        _core.make_table([(name, kind, [row[name] for row in rows]) for name, kind in _COLUMNS.items()])
    )


def _plain(finding: Finding) -> dict[str, Any]:
    values = {name: getattr(finding, _TIMES.get(name, name)) for name in _COLUMNS}
    nested = {"where": list(finding.where), "evidence": dict(finding.evidence)}
    return {**values, **{name: json.dumps(value, ensure_ascii=False) for name, value in nested.items()}}
