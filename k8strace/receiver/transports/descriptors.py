"""File descriptors: each connection needs one, and the system limits them per process."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Final

from k8strace.receiver.intake.limits import Limits

__all__ = ["RESERVE", "allow_open_files", "fit_connections"]

RESERVE: Final = 256
"""For segments, standard streams, probes, and whatever else the process has open."""


def allow_open_files(needed: int) -> int:
    """
    Raises the soft limit of open files to what is needed, as far as the hard one allows. For the whole process.

    Returns:
        How many the process may have open now; `needed` on systems that do not tell.

    Examples:
        >>> allow_open_files(needed=1) >= 1
        True
    """
    try:
        import resource
    except ImportError:  # not a POSIX system
        return needed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return needed
    wanted = needed if hard == unlimited else min(needed, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def fit_connections(limits: Limits, listeners: int) -> Limits:
    """
    The limits with as many connections as there can be open files, which are raised first if need be.

    Args:
        limits: `connections` of them is what each listener may have.
        listeners: How many there are.

    Examples:
        >>> fit_connections(Limits(connections=10), listeners=3).connections
        10
    """
    allowed = allow_open_files(limits.connections * listeners + RESERVE)
    most = max((allowed - RESERVE) // max(listeners, 1), 1)
    return limits if limits.connections <= most else replace(limits, connections=most)
