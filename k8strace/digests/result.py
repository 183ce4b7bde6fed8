"""`Digest`: the result for files of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from k8strace.digests.checkpoint import read_checkpoint
from k8strace.exceptions import DigestError
from k8strace.histograms import Histograms
from k8strace.requests import Ledger

__all__ = ["SLOWEST", "Digest", "Slow", "slowest_of"]

SLOWEST: Final = 10
"""The slowest requests that a digest keeps, at most."""


class Slow(NamedTuple):
    """One of the slowest requests."""

    wall_ns: int
    trace_id: str
    span_id: str
    verb: str | None
    resource: str | None
    http_status: int | None
    start_unix_nano: int


def slowest_of(slow: Sequence[Slow]) -> tuple[Slow, ...]:
    """The slowest of them, slowest first, at most `SLOWEST`."""
    return tuple(sorted(slow, key=lambda each: (-each.wall_ns, each.trace_id, each.span_id))[:SLOWEST])


@dataclass(frozen=True)
class Digest:
    """
    The result for files of any size: exact sums, quantiles within a stated error, and counts of what is uncertain.

    Examples:
        >>> import tempfile
        >>> import k8strace
        >>> folder = tempfile.mkdtemp()
        >>> digest = k8strace.digest("tests/data/k8s-1.36_etcd-3.6.otlp.zst", into=folder)
        >>> digest
        Digest(16766 spans, 1293 requests in 61 groups by verb, resource)
        >>> digest.ledger.spans == sum(digest.ledger.used.values()) + sum(digest.ledger.set_aside.values())
        True
        >>> k8strace.Digest.read(folder) == digest
        True
    """

    into: Path
    """The directory; `requests/hour=…/*.parquet` in it has the rows."""
    files: tuple[str, ...]
    """The files that were read."""
    histograms: Histograms
    """Requests grouped by the columns of the settings."""
    hours: Histograms
    """By hour."""
    counts: dict[str, int]
    """
    `spans` that were read, in `batches`; `requests`; `issues`. Counts of what is uncertain are named as in
    `RequestStream.counts`: `late_traces` came again after they had been counted, `evicted_…` traces exceeded a limit.
    Spans `out_of_order` were further back in their file than the window.
    """
    incomplete: dict[str, int]
    """Cause → number of incomplete requests."""
    ledger: Ledger
    """What became of every span."""
    slowest: tuple[Slow, ...]
    """The slowest requests, slowest first."""
    issues: tuple[str, ...]
    """The first issues of the files, as text."""
    settings: dict[str, Any]
    """The settings it was made with."""
    finished: bool
    """Whether everything was read."""

    @classmethod
    def read(cls, into: str | Path) -> Digest:
        """
        The digest in a directory, up to its last checkpoint.

        Raises:
            DigestError: There is none.
        """
        found = read_checkpoint(Path(into))
        if found is None:
            raise DigestError(f"{into} holds no digest")
        return cls.of(Path(into), *found)

    @classmethod
    def of(cls, into: Path, told: Mapping[str, Any], blobs: Mapping[str, bytes]) -> Digest:
        """From a checkpoint. Raises DigestError if it is not of this version."""
        try:
            return cls(
                into=into,
                files=tuple(name for name, _ in told["files"]),
                histograms=Histograms.from_bytes(blobs["histograms"]),
                hours=Histograms.from_bytes(blobs["hours"]),
                counts=told["counts"],
                incomplete=told["incomplete"],
                ledger=Ledger(*told["ledger"]),
                slowest=tuple(Slow(*each) for each in told["slowest"]),
                issues=tuple(told["issues"]),
                settings=told["settings"],
                finished=told["finished"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DigestError(f"{into} holds no digest of this version: {error!r}") from error

    def __eq__(self, other: object) -> bool:
        # The directory is not part of the value.
        return isinstance(other, Digest) and vars(replace(self, into=Path())) == vars(
            replace(other, into=Path())
        )

    def __hash__(self) -> int:
        return hash((self.files, self.ledger.spans))

    def __repr__(self) -> str:
        histograms = self.histograms
        return (
            f"Digest({self.counts['spans']} spans, {histograms.requests} requests in {len(histograms)} groups by "
            f"{', '.join(histograms.keys)}{'' if self.finished else ', not finished'})"
        )
