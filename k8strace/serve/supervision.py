"""What the process that started us wants to know: systemd's notifications, and signals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["notify", "stop_signals"]

INTERRUPTED = 130


def notify(state: str) -> bool:
    """
    Tells systemd a state such as "READY=1", if it asked to be told (`Type=notify`).

    Returns:
        Whether it was told.

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


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """
    An event that SIGTERM or SIGINT sets. A second one ends the process at once, with exit code 130.

    Examples:
        >>> import os, signal
        >>> with stop_signals() as stop:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     stop.wait(5)
        True
    """
    stop = threading.Event()

    def heard(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            with contextlib.suppress(OSError):
                os.write(1, b"\x1b[?25h" if os.isatty(1) else b"")  # the live table hides the cursor
            os._exit(INTERRUPTED)
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, heard) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
