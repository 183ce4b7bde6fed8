"""Results of budgets, for people and for CI: text, Markdown, JUnit XML and SARIF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from rich.text import Text

from k8strace import _core
from k8strace.budgets import BROKEN, CANNOT_TELL, KEPT, Checked, worst_of
from k8strace.views.comparison import escaped
from k8strace.views.text import Look, clean, count, wrapped

__all__ = ["budget_lines", "budget_record", "junit", "markdown", "reason", "sarif"]

_STYLES: Final = {KEPT: "green", BROKEN: "bold red", CANNOT_TELL: "yellow"}
_LEVELS: Final = {BROKEN: "error", CANNOT_TELL: "none"}
"""SARIF allows levels other than "none" only for results that failed."""
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LIMIT: Final = 1000


def _counts(checked: Sequence[Checked]) -> str:
    counts = Counter(each.verdict for each in checked)
    told = ", ".join(
        f"{counts[verdict]} {verdict}" for verdict in (KEPT, BROKEN, CANNOT_TELL) if counts[verdict]
    )
    return f"{count(len(checked), 'budget')}: {told}"


def reason(each: Checked) -> str:
    """Detail, the part and the example of a broken budget."""
    part = f" Mostly {each.part}." if each.part and each.verdict != KEPT else ""
    example = (
        f" For example trace {each.example_trace_id}."
        if each.example_trace_id and each.verdict != KEPT
        else ""
    )
    return clean(f"{each.detail}.{part}{example}", _LIMIT)


def budget_lines(checked: Sequence[Checked], look: Look) -> Iterator[Text]:
    """Verdicts for a terminal, the worst first."""
    order = (BROKEN, CANNOT_TELL, KEPT)
    for each in sorted(checked, key=lambda each: order.index(each.verdict)):
        mark = Text(f"{each.verdict:<13}", style=_STYLES[each.verdict])
        yield from wrapped(clean(each.budget.name), look, mark=mark, indent=0, style="bold")
        yield from wrapped(reason(each), look, indent=13)
    yield Text(_counts(checked))


def budget_record(checked: Sequence[Checked]) -> dict[str, Any]:
    """As it stands in JSON."""
    return {"verdict": worst_of(checked), "budgets": [each.record() for each in checked]}


def markdown(checked: Sequence[Checked]) -> str:
    """A table for a comment on a pull request."""
    rows = [
        f"| {each.verdict} | {escaped(clean(each.budget.name))} | {escaped(reason(each))} |"
        for each in checked
    ]
    head = [f"**{_counts(checked)}**", "", "| Verdict | Budget | Why |", "|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def junit(checked: Sequence[Checked]) -> str:
    """A test suite: what cannot be judged is skipped."""
    counts = Counter(each.verdict for each in checked)
    numbers = f'tests="{len(checked)}" failures="{counts[BROKEN]}" errors="0" skipped="{counts[CANNOT_TELL]}"'
    cases = "".join(_case(each) for each in checked)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<testsuites name="k8strace" {numbers}>\n<testsuite name="budgets" {numbers}>\n{cases}'
        "</testsuite>\n</testsuites>\n"
    )


def _case(each: Checked) -> str:
    name = (
        f"<testcase classname={quoteattr(each.budget.metric.name)} name={quoteattr(clean(each.budget.name))}"
    )
    if each.verdict == KEPT:
        return f"{name}/>\n"
    why = reason(each)
    if each.verdict == CANNOT_TELL:
        return f"{name}><skipped message={quoteattr(f'cannot tell: {why}')}/></testcase>\n"
    return f"{name}><failure message={quoteattr(why)}>{escape(why)}</failure></testcase>\n"


def sarif(checked: Sequence[Checked], source: str) -> dict[str, Any]:
    """
    SARIF 2.1.0: a rule for each metric, a result for each budget that is broken or that cannot be judged.

    Args:
        checked: What became of the budgets.
        source: The file of budgets, as results name it.
    """
    rules = sorted({each.budget.metric.name for each in checked})
    driver = {
        "name": "k8strace",
        "version": _core.__version__,
        "rules": [{"id": rule, "shortDescription": {"text": f"Budget for {rule}"}} for rule in rules],
    }
    results = [
        {
            "ruleId": each.budget.metric.name,
            "ruleIndex": rules.index(each.budget.metric.name),
            "level": _LEVELS[each.verdict],
            "kind": "fail" if each.verdict == BROKEN else "review",
            "message": {"text": clean(f"{each.budget.name}: {reason(each)}", _LIMIT)},
            "locations": [_location(source, each.budget.line)],
        }
        for each in checked
        if each.verdict != KEPT
    ]
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _location(source: str, line: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(source)}}
    return {"physicalLocation": {**place, **({"region": {"startLine": line}} if line else {})}}
