"""Notifications to systemd, and signals."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
from collections.abc import Iterator
from types import FrameType

from k8strace.cli.exits import INTERRUPTED

__all__ = ["Stop", "notify", "stop_signals"]


def notify(state: str) -> bool:
    """
    Sends a state such as "READY=1" to systemd, if the unit has `Type=notify`.

    Returns:
        Whether it was sent.

    Examples:
        >>> notify("READY=1")
        False
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaking:
        try:
            speaking.connect("\0" + address[1:] if address.startswith("@") else address)
            speaking.sendall(state.encode())
        except OSError:
            return False
    return True


class Stop:
    """
    A request to stop, for one thread that waits for it. A signal handler may set it.

    A handler must not set a `threading.Event`: the same thread may hold its lock in `wait`, which would deadlock.

    Examples:
        >>> stop = Stop()
        >>> stop.wait(0)
        False
        >>> stop.set()
        >>> stop.is_set(), stop.wait(5), stop.wait(5)
        (True, True, True)
    """

    def __init__(self) -> None:
        self._is_set = False
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()  # its `put` may interrupt its `get`

    def set(self) -> None:
        """Requests to stop."""
        self._is_set = True
        self._told.put(None)

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Waits until it is set, at most for this time. Returns whether it is set."""
        if not self._is_set:
            with contextlib.suppress(queue.Empty):
                self._told.get(timeout=timeout_s)
        return self._is_set


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """
    A `Stop` that SIGTERM, SIGINT or SIGHUP sets. A second signal ends the process at once, with exit code 130.

    Examples:
        >>> import os, signal
        >>> with stop_signals() as stop:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     stop.wait(5)
        True
    """
    stop = Stop()

    def heard(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            with contextlib.suppress(OSError):
                os.write(1, b"\x1b[?25h" if os.isatty(1) else b"")  # the live table hides the cursor
            os._exit(INTERRUPTED)
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, heard) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
