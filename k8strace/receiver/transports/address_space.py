"""Address space: threads need much of it, and gRPC's core waits without end for a thread that cannot start."""

from __future__ import annotations

import mmap
from typing import Final

__all__ = ["NEEDED_BYTES", "check_address_space"]

NEEDED_BYTES: Final = 1 << 30
"""For the stacks of some hundred threads, and what is held. It is asked for, not used."""


def check_address_space(needed_bytes: int = NEEDED_BYTES) -> None:
    """
    Whether this process can still get this much. Checked only where there is a limit (`ulimit -v`).

    Raises:
        MemoryError: It does not.

    Examples:
        >>> check_address_space(4096)
    """
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    try:
        mmap.mmap(-1, needed_bytes).close()
    except (OSError, MemoryError):
        raise MemoryError(f"expected {needed_bytes >> 20} MiB of address space, got less") from None
