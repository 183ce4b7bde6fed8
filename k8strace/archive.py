"""
Joining spans in parts, if they are too many for one join: what each part must know of the others.

    parts of any kind   clock_evidence(part) → summed     couplings(part) → summed → groups of traces
    parts of whole groups                      join(part, clock=sum)      exactly the rows of one join of everything

`k8strace.spark` does it on a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from k8strace import _core
from k8strace.exceptions import expect
from k8strace.selecting import names_of
from k8strace.spans import Spans
from k8strace.tables import Table

__all__ = ["ClockEvidence", "Couplings", "clock_evidence", "couplings"]


class ClockEvidence:
    """
    Clock differences that the calls in some spans show, and the services that are API servers.

    The sum over parts is the evidence of all of them. Frozen and picklable; equal evidence has equal `text`.

    Examples:
        >>> import k8strace
        >>> spans = k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")
        >>> evidence = k8strace.clock_evidence(spans)
        >>> evidence
        ClockEvidence(1413 calls, 59 spans whose caller is missing)
        >>> evidence + k8strace.ClockEvidence() == evidence
        True
    """

    __slots__ = ("_told",)

    def __init__(self, text: str | None = None) -> None:
        self._told = _core.ClockEvidence(text)

    @classmethod
    def _of(cls, core: _core.ClockEvidence) -> ClockEvidence:
        made: ClockEvidence = cls.__new__(cls)
        made._told = core
        return made

    @property
    def text(self) -> str:
        """All of it, as JSON, from which `ClockEvidence(text)` makes an equal one."""
        return self._told.to_json()

    @property
    def calls(self) -> int:
        """Number of calls between processes in it."""
        return self._told.counts()[0]

    @property
    def waiting(self) -> int:
        """
        SERVER spans whose caller never arrived.

        If there are some, the clocks show which call they may belong to: sum up again, with the first sum as `clock=`.
        """
        return self._told.counts()[1]

    def __add__(self, other: object) -> ClockEvidence:
        if not isinstance(other, ClockEvidence):
            return NotImplemented
        return ClockEvidence._of(self._told.merged(other._told))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClockEvidence) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type[ClockEvidence], tuple[Any, ...]]:
        return ClockEvidence, (self.text,)

    def __repr__(self) -> str:
        return f"ClockEvidence({self.calls} calls, {self.waiting} spans whose caller is missing)"


def clock_evidence(
    spans: Spans, *, apiserver: str | Sequence[str] | None = None, clock: ClockEvidence | None = None
) -> ClockEvidence:
    """
    Clock differences between processes, as the calls between them in these spans show.

    `spans` is a part of all spans, in whole traces. `join(…, clock=…)` takes the sum over all parts.

    Args:
        spans: The part.
        apiserver: As for `join`.
        clock: The sum over all parts, if there are spans that wait for their callers (`waiting`).

    Examples:
        >>> import k8strace
        >>> first = k8strace.read("tests/data/k8s-1.27_etcd-3.5.otlp.zst")
        >>> second = k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst")
        >>> k8strace.clock_evidence(first) + k8strace.clock_evidence(second)
        ClockEvidence(2721 calls, 109 spans whose caller is missing)
    """
    expect(spans, Spans, "spans, as read and decode give them")
    known = None if clock is None else clock._told
    return ClockEvidence._of(_core.clock_evidence(spans._columns, names_of(apiserver), known))


class Couplings:
    """
    Which traces must be joined together: those with span links to each other, and the halves of split requests.

    From Kubernetes 1.33 on, a third to a half of all requests come in two traces. The sum over parts is that of all
    spans. Frozen and picklable.
    """

    __slots__ = ("_told",)

    def __init__(self, *parts: Couplings) -> None:
        self._told: _core.Couplings = _core.Couplings.merged([part._told for part in parts])

    @classmethod
    def _of(cls, core: _core.Couplings) -> Couplings:
        made = cls.__new__(cls)
        made._told = core
        return made

    @classmethod
    def _again(cls, *parts: Any) -> Couplings:
        return cls._of(_core.Couplings(*parts))

    @property
    def groups(self) -> Table:
        """For each trace that is coupled with another: `trace_id`, and `group`, the least trace id of its group."""
        return Table(self._told.groups())

    @property
    def links(self) -> Couplings:
        """Only the links, which is all that `couplings(…, of=…)` needs."""
        return Couplings._again(self._told.parts()[0], [])

    @staticmethod
    def crossings(parts: Iterable[Couplings]) -> int:
        """Number of couplings from one of these parts to another: 0 if each part has whole groups."""
        return _core.Couplings.crossings([part._told for part in parts])

    def __add__(self, other: object) -> Couplings:
        return Couplings(self, other) if isinstance(other, Couplings) else NotImplemented

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Couplings) and self._told.parts() == other._told.parts()

    def __hash__(self) -> int:
        return hash(self._told.counts())

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Couplings._again, self._told.parts()

    def __repr__(self) -> str:
        links, meetings = self._told.counts()
        return f"Couplings({links} links, {meetings} places where halves of requests can meet)"


def couplings(spans: Spans, *, of: Couplings | None = None) -> Couplings:
    """
    Which traces of these spans must be joined together.

    Args:
        spans: Any part of all spans; traces need not be whole.
        of: The sum over all parts, or its `links`: then the answer also has the link targets that are here, for
            `Couplings.crossings`.

    Examples:
        >>> import k8strace
        >>> found = k8strace.couplings(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
        >>> found
        Couplings(4 links, 4241 places where halves of requests can meet)
        >>> len(found.groups) > 1000
        True
    """
    expect(spans, Spans, "spans, as read and decode give them")
    return Couplings._of(_core.couplings_of(spans._columns, None if of is None else of._told))
