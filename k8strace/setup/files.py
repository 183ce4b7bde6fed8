"""A file that `setup render` writes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["File"]


@dataclass(frozen=True, slots=True)
class File:
    """One file to write."""

    text: str
    what: str
    """What it does."""
    place: str
    """Where it is installed; empty for a page to read."""
    secret: bool = False
    """Whether it holds a token, so that only its owner may read it."""
    executable: bool = False

    @property
    def mode(self) -> int:
        """Permission bits."""
        if self.secret:
            return 0o600
        return 0o755 if self.executable else 0o644
