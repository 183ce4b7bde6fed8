"""
The log of `serve` on stderr: the standard library's logging, one line a record, as text or as JSON.

It includes records of libraries, warnings, and errors that end a thread.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from k8strace.exceptions import is_out_of_memory
from k8strace.views.text import clean

__all__ = ["LOG", "JsonLines", "Lines", "TextLines", "logging_to_stderr"]

LOG: Final = logging.getLogger("k8strace.serve")
"""The log of a run. Facts for JSON are given as `extra=facts(name=value)`; the text has them too."""

TROUBLES_PER_MINUTE: Final = 20
"""Warnings and errors a minute, at most; further ones are counted."""

LONGEST: Final = 2_000
"""Characters of one message, at most."""

DEEPEST: Final = 40
"""Lines of a traceback, at most: the last ones."""


def facts(**values: Any) -> dict[str, Any]:
    """Facts that a JSON line has beside the message."""
    return {"facts": values}


def _time_of(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z")


def _traceback_of(record: logging.LogRecord) -> list[str]:
    if not record.exc_info or is_out_of_memory(record.exc_info[1]):
        return []  # the traceback of a MemoryError does not help
    return logging.Formatter().formatException(record.exc_info).splitlines()[-DEEPEST:]


class TextLines(logging.Formatter):
    """
    A time, a level, the message. Input from the wire cannot end a line or control a terminal.

    Examples:
        >>> record = logging.makeLogRecord({"msg": "ready", "levelname": "INFO", "created": 0})
        >>> print(TextLines().format(record))
        1970-01-01T00:00:00.000Z info ready
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line, followed by those of a traceback."""
        said = f"{_time_of(record)} {record.levelname.lower()} {clean(record.getMessage(), LONGEST)}"
        return "\n    ".join([said, *(clean(line, LONGEST) for line in _traceback_of(record))])


class JsonLines(logging.Formatter):
    """
    One object: `time`, `level`, `message`, the facts of the message, and `traceback` if there is one.

    Examples:
        >>> record = logging.makeLogRecord({"msg": "stopped", "levelname": "INFO", "created": 0, **facts(spans=7)})
        >>> print(JsonLines().format(record))
        {"time": "1970-01-01T00:00:00.000Z", "level": "info", "message": "stopped", "spans": 7}
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "message": record.getMessage()[:LONGEST],
            **getattr(record, "facts", {}),
        }
        traceback = _traceback_of(record)
        return json.dumps(told | ({"traceback": "\n".join(traceback)} if traceback else {}), default=str)


class Lines(logging.Handler):
    """
    Writes lines, one after the other, from any thread; warnings and errors only up to a limit per minute.

    Args:
        form: "text" or "json".
        write: Called with each line.
    """

    def __init__(self, form: str, write: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self.write: Callable[[str], object] = write or _to_stderr
        """May be replaced, while something else has the terminal."""
        self.setFormatter(JsonLines() if form == "json" else TextLines())
        self._minute = 0
        self._troubles = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record, unless the limit of this minute is reached."""
        if record.levelno >= logging.WARNING and not self._counted(int(record.created // 60)):
            return
        self.write(self.format(record))

    def _counted(self, minute: int) -> bool:
        """Whether the limit is not reached. After a minute it also writes how many records were left out."""
        if minute != self._minute:
            self._tell_unsaid()
            self._minute, self._troubles = minute, 0
        self._troubles += 1
        return self._troubles <= TROUBLES_PER_MINUTE

    def _tell_unsaid(self) -> None:
        unsaid, self._troubles = self._troubles - TROUBLES_PER_MINUTE, 0
        if unsaid > 0:
            said = {
                "msg": f"{unsaid} more errors were left out",
                "levelno": logging.ERROR,
                "levelname": "ERROR",
            }
            self.write(self.format(logging.makeLogRecord(said)))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """A line that cannot be made or written must not stop the thread that logs it."""

    def close(self) -> None:
        """Writes what is left."""
        self._tell_unsaid()
        super().close()


@contextmanager
def logging_to_stderr(form: str) -> Iterator[Lines]:
    """Everything that is logged, warned or raised without being caught, as lines, until the block ends."""
    lines, root, ours, theirs = (
        Lines(form),
        logging.getLogger(),
        logging.getLogger("k8strace"),
        logging.getLogger("k8strace.http"),
    )
    before = root.handlers, ours.level, theirs.level, threading.excepthook, sys.unraisablehook
    root.handlers = [lines]
    ours.setLevel(logging.INFO)
    theirs.setLevel(logging.WARNING)
    threading.excepthook = _tell_thread
    sys.unraisablehook = _tell_unraisable
    logging.captureWarnings(True)  # noqa: FBT003 - the library's signature
    try:
        yield lines
    finally:
        logging.captureWarnings(False)  # noqa: FBT003
        root.handlers, ours.level, theirs.level, threading.excepthook, sys.unraisablehook = before
        lines.close()


def _tell_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is SystemExit or ended.exc_value is None:
        return
    name = ended.thread.name if ended.thread else "that has ended"
    LOG.error("the thread %s failed: %s", name, ended.exc_value, exc_info=ended.exc_value)


def _tell_unraisable(ended: sys.UnraisableHookArgs) -> None:
    LOG.error("%s: %s", ended.err_msg or "an uncaught error", ended.exc_value, exc_info=ended.exc_value)


def _to_stderr(line: str) -> None:
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # the reader of the log is gone; receiving goes on
