"""What `serve` says on stderr: one line each, as text or as JSON, never more than its reader can take."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from k8strace.views.text import clean

__all__ = ["Log"]

TROUBLES_PER_MINUTE: Final = 20
"""Repeated trouble says nothing new: beyond, it is counted."""

LONGEST: Final = 2_000
"""Characters of one line."""


class Log:
    """
    Lines with a time and a level; from any thread. What comes from the wire cannot end a line or steer a terminal.

    Args:
        form: "text" or "json".
        write: Where lines go.
        now: Seconds since 1970.

    Examples:
        >>> log = Log("text", write=print, now=lambda: 0.0)
        >>> log.tell("ready")
        1970-01-01T00:00:00.000Z info ready
        >>> Log("json", write=print, now=lambda: 0.0).tell("stopped", spans=7)
        {"time": "1970-01-01T00:00:00.000Z", "level": "info", "message": "stopped", "spans": 7}
    """

    def __init__(
        self,
        form: str,
        *,
        write: Callable[[str], object] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.write: Callable[[str], object] = write or _to_stderr
        """May be replaced, while something else has the terminal."""
        self._json = form == "json"
        self._now = now
        self._lock = threading.Lock()
        self._minute = 0
        self._troubles = 0

    def tell(self, message: str, **facts: Any) -> None:
        """What happens. `facts` are for JSON; the text has said them."""
        self._say("info", message, facts)

    def caution(self, message: str) -> None:
        """What somebody should know."""
        self._say("warning", message, {})

    def trouble(self, message: str) -> None:
        """What went wrong, and may go wrong very often."""
        with self._lock:
            minute = int(self._now() // 60)
            unsaid = self._troubles - TROUBLES_PER_MINUTE if minute != self._minute else 0
            self._troubles = 1 if minute != self._minute else self._troubles + 1
            self._minute = minute
            silent = self._troubles > TROUBLES_PER_MINUTE
        if unsaid > 0:
            self._say("error", f"{unsaid} more errors were not said", {})
        if not silent:
            self._say("error", message, {})

    def _say(self, level: str, message: str, facts: dict[str, Any]) -> None:
        at = (
            datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
        if self._json:
            line = json.dumps({"time": at, "level": level, "message": message[:LONGEST], **facts})
        else:
            line = f"{at} {level} {clean(message, LONGEST)}"
        self.write(line)


def _to_stderr(line: str) -> None:
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # who read the log is gone; the spans are still worth receiving
