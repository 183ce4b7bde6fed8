"""Results of the rules in the core's form: phases by number, for signatures, events and calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from k8strace import _core
from k8strace.components import (
    CLIENT,
    UNATTRIBUTED,
    Mark,
    Signature,
    Taxonomy,
    below,
    component_of,
    takes_over,
)

__all__ = ["PhaseTable", "phase_table"]

Context: TypeAlias = tuple[str, ...]
"""Components of the calls that a span is below: the innermost, or one that takes over and the first below it."""


class PhaseTable(NamedTuple):
    """The taxonomy's results for one set of signatures."""

    names: tuple[str, ...]
    """Phases in alphabetical order; their numbers are indices in this list."""
    answers: _core.Answers
    """The results in the core's form."""


def phase_table(core: _core.JoinedSpans, taxonomy: Taxonomy) -> PhaseTable:
    """Applies the rules once to each distinct signature."""
    signatures = [Signature._make(row) for row in core.signatures()]
    answers = [taxonomy.resolve(signature) for signature in signatures]
    yields = [taxonomy.yields(signature) for signature in signatures]
    asked = ((s, event, answers[s][1].get(name.casefold())) for s, event, name in core.events())
    marks: list[tuple[int, int, Mark]] = [(s, event, mark) for s, event, mark in asked if mark is not None]
    told = [(s, phase) for s, (phase, _) in enumerate(answers)]
    told += [(s, phase) for s, _, mark in marks for phase in mark if phase]
    changing = {phase for s, phase in told if yields[s]}
    called = _calls(signatures, [phase for phase, _ in answers])
    kinds = ["", *sorted({*called} - {""})]
    contexts = _contexts(kinds[1:])
    become = [{phase: _below(context, phase) for phase in changing} for context in contexts]
    names = sorted({phase for _, phase in told}.union(*(row.values() for row in become)))
    number = {name: at for at, name in enumerate(names)}
    place = {context: at for at, context in enumerate(contexts)}
    return PhaseTable(
        tuple(names),
        core.answers(
            [number[phase] for phase, _ in answers],
            [(s, e, number.get(mark.before or ""), number.get(mark.after or "")) for s, e, mark in marks],
            len(names),
            (
                [kinds.index(call) for call in called],
                [not each for each in yields],
                [[place[_inside(context, call)] for call in kinds] for context in contexts],
                [[number[row.get(name, name)] for name in names] for row in become],
            ),
        ),
    )


def _calls(signatures: Sequence[Signature], phases: Sequence[str]) -> list[str]:
    """The component of every signature that is a call out of the process, or what a node does; empty for the others."""
    return [_call(signature, phase) for signature, phase in zip(signatures, phases, strict=True)]


def _call(signature: Signature, phase: str) -> str:
    component = component_of(phase)
    if component in _IN_PARTS:
        return phase
    return component if signature.kind == CLIENT and component not in _OWN else ""


_OWN: Final = ("apiserver", UNATTRIBUTED)
_IN_PARTS: Final = ("runtime", "cni", "registry")
"""Components of a node; spans below them without a rule of their own get the same phase."""


def _contexts(calls: Sequence[str]) -> list[Context]:
    takers = [call for call in calls if takes_over(call)]
    return [(), *((call,) for call in calls), *((taker, call) for taker in takers for call in calls)]


def _inside(context: Context, call: str) -> Context:
    """The context below a call that is itself in `context`."""
    taken = tuple(each for each in context if takes_over(each))
    if not call or len(taken) == 2:
        return context
    return taken if taken == (call,) else (*taken, call)


def _below(context: Context, phase: str) -> str:
    for call in reversed(context):
        phase = below(call, phase)
    return phase
