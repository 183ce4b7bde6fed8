"""
Files larger than memory: one stream over all of them, summed up in total and by the hour.

    files ─ merged by time ─ RequestStream ─ attribute ─ Histograms, exact sums
                                                       └ rows of requests, Parquet by the hour
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from k8strace.components import OWN, Rule, Taxonomy
from k8strace.digests.checkpoint import read_checkpoint
from k8strace.digests.merging import Merged, Tell
from k8strace.digests.result import Digest, Slow
from k8strace.digests.running import DigestSettings, Running
from k8strace.exceptions import DigestError, PartsError
from k8strace.formats.content import matching
from k8strace.selecting import names_of
from k8strace.tables import require

__all__ = ["Digest", "DigestSettings", "Slow", "digest"]


def digest(
    source: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    into: str | PathLike[str],
    settings: DigestSettings | None = None,
    taxonomy: Taxonomy | None = None,
    apiserver: str | Sequence[str] | None = None,
    format: str = "auto",  # noqa: A002
    progress: Tell | None = None,
) -> Digest:
    """
    Sums up files of any size in bounded memory, and resumes after an interruption.

    Files are read once, merged by the times in them, so each process may have its own file. Each request is counted
    once, when no span of its trace has come for the window.

    Args:
        source: Paths of files or directories, or patterns of names.
        into: A directory for checkpoints. Called again, it resumes from the last one, and the result is the same as
            without an interruption. If the digest is finished, it is only read.
        settings: Window, limits and groups.
        taxonomy: Components and phases; None for k8strace's own rules.
        apiserver: `service.name` of the API servers, as for `join`.
        format: As for `read`.
        progress: Called with the stored bytes read so far, and their total.

    Raises:
        DigestError: The directory holds a digest of other files, or with other settings or rules.
        PartsError: The ledger does not add up to the spans that were read, which would be a bug.
        DecodeError: Malformed content, as for `read`.
        MissingExtraError: pyarrow is not installed, and rows are wanted.
        OSError: A file cannot be read or written, or none fits a pattern.
    """
    settings = settings or DigestSettings()
    if settings.rows:
        require("pyarrow", "arrow")
    folder = Path(into)
    folder.mkdir(parents=True, exist_ok=True)
    sources = [source] if isinstance(source, (str, PathLike)) else source
    paths = [path for each in sources for name in matching(fspath(each)) for path in _files(Path(name))]
    told = {
        "files": [[str(path), path.stat().st_size] for path in paths],
        "apiserver": names_of(apiserver),
        "rules": _rules_of(taxonomy or OWN),
    }
    found = read_checkpoint(folder)
    if found is not None:
        _check_same(folder, found[0], told, settings)
        if found[0]["finished"]:
            return Digest.of(folder, *found)
    running = Running(folder, settings, taxonomy, apiserver)
    taken: Sequence[int | None] = [0] * len(paths)
    if found is not None:
        running.resume(*found)
        taken = found[0]["taken"]
    merged = Merged(paths, taken, format=format, tell=progress)
    running.feed(iter(merged), told, merged.taken)
    made = Digest.read(folder)
    ledger = made.ledger
    accounted = sum(ledger.used.values()) + sum(ledger.set_aside.values()) + made.counts["discarded"]
    if made.counts["spans"] != accounted:
        raise PartsError(f"{made.counts['spans']:,} spans were read, but the ledger has {ledger}")
    return made


def _files(path: Path) -> list[Path]:
    """The file, or those of a directory, without hidden ones."""
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))


def _rules_of(taxonomy: Taxonomy) -> str:
    """A digest of the rules; those that are functions are told by their names."""
    names = [
        repr(rule) if isinstance(rule, Rule) else f"{rule.__module__}.{rule.__qualname__}"
        for rule in taxonomy.rules
    ]
    return sha256("\n".join(names).encode()).hexdigest()


def _check_same(folder: Path, found: dict[str, Any], told: dict[str, Any], settings: DigestSettings) -> None:
    """Raises DigestError if the digest was begun with other files, settings or rules."""
    if found["files"] != told["files"]:
        raise DigestError(
            f"{folder} holds a digest of other files, or they changed: {', '.join(n for n, _ in found['files'])}"
        )
    if found["apiserver"] != told["apiserver"]:
        raise DigestError(
            f"{folder} holds a digest with apiserver {found['apiserver']}, expected {told['apiserver']}"
        )
    if found.get("rules") != told["rules"]:
        raise DigestError(f"{folder} holds a digest with other rules of components and phases")
    for name, value in found["settings"].items():
        wanted = getattr(settings, name, None)
        if wanted != (tuple(value) if isinstance(value, list) else value):
            raise DigestError(f"{folder} holds a digest with {name} {value!r}, expected {wanted!r}")
