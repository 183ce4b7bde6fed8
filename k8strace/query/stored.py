"""What a receiver has on disk, joined when it is searched."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from k8strace.components import OWN, Taxonomy
from k8strace.formats import read
from k8strace.query.held import Provider
from k8strace.requests import Requests, join
from k8strace.spans import Spans

__all__ = ["Behind", "Stored"]

MOST_BYTES: Final = 64 << 20
"""About 200,000 spans, joined in half a second."""


class Stored:
    """
    The newest files of a store, without the requests that are held. From any thread; one reads at a time.

    Args:
        directory: The journal's.
        held: What is looked through first. No request is found twice.
        most_bytes: Of files that are read, the newest first.
        taxonomy: Who spent the time, as in `join`.
        apiserver: As in `join`.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from k8strace.query import Held, Stored
        >>> with TemporaryDirectory() as directory:
        ...     Stored(Path(directory), Held()).populations()
        []
    """

    def __init__(
        self,
        directory: Path,
        held: Provider,
        *,
        most_bytes: int = MOST_BYTES,
        taxonomy: Taxonomy = OWN,
        apiserver: str | Sequence[str] | None = None,
    ) -> None:
        self._directory, self._held, self._most_bytes = directory, held, most_bytes
        self._taxonomy, self._apiserver = taxonomy, apiserver
        self._lock = threading.Lock()
        self._seen: list[tuple[str, int]] = []
        self._joined: list[Requests] = []

    def populations(self) -> Sequence[Requests]:
        """What is held, then what is stored."""
        held = self._held.populations()
        known = {trace for each in held for trace in each.column("trace_id")}
        with self._lock:
            stored = self._stored()
        return [*held, *(each.where(trace_id=lambda trace: trace not in known) for each in stored)]

    def _stored(self) -> Sequence[Requests]:
        files = self._newest()
        seen = [(str(file), file.stat().st_size) for file in files]
        if seen != self._seen:
            spans = read(files) if files else None
            self._joined = [] if spans is None else [self._join(spans)]
            self._seen = seen
        return self._joined

    def _join(self, spans: Spans) -> Requests:
        return join(spans, taxonomy=self._taxonomy, apiserver=self._apiserver)

    def _newest(self) -> list[Path]:
        """The newest files up to a number of bytes. Their names begin with their times."""
        files, room = [], self._most_bytes
        for file in sorted(self._directory.glob("k8strace-*"), reverse=True):
            room -= file.stat().st_size
            if room < 0:
                break
            files.append(file)
        return files


class Behind:
    """What a provider has, then populations that do not change. A trace may be in both."""

    def __init__(self, provider: Provider, populations: Sequence[Requests]) -> None:
        self._provider, self._behind = provider, tuple(populations)

    def populations(self) -> Sequence[Requests]:
        """The provider's first."""
        return [*self._provider.populations(), *self._behind]
