"""A bounded pool of threads that take requests, and a watchdog for those that wait for a sender."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

from k8strace.receiver.intake.limits import Limits
from k8strace.receiver.intake.visit import not_now

__all__ = ["Gate", "Watchdog", "Workers", "in_thread"]

P = ParamSpec("P")
R = TypeVar("R")

IDLE_S: Final = 60.0
"""How long a watchdog stays without anything to watch."""


class Workers(ThreadPoolExecutor):
    """A pool that knows how many calls wait for a thread of it; of `limits.workers` threads, unless told otherwise."""

    def __init__(self, limits: Limits, threads: int = 0) -> None:
        super().__init__(threads or limits.workers, thread_name_prefix="k8strace-receiver")
        self._most = limits.waiting_requests
        self._waiting = 0
        self._counting = threading.Lock()

    def check(self) -> None:
        """
        To be asked before a call is submitted.

        Raises:
            RefusedError: The pool is full; the sender is to try again.
        """
        if self.full:
            raise not_now("busy", "too many requests are waiting")

    @property
    def full(self) -> bool:
        """Whether the queue of calls is full."""
        return self._waiting >= self._most

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As in `ThreadPoolExecutor`."""
        self._count(1)
        try:
            return super().submit(self._start, fn, *args, **kwargs)
        except RuntimeError:
            self._count(-1)
            raise

    def _start(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._count(-1)
        return fn(*args, **kwargs)

    def _count(self, more: int) -> None:
        with self._counting:
            self._waiting += more


class Gate:
    """Lets N threads through at once, lets M more wait, and refuses the others."""

    def __init__(self, limits: Limits) -> None:
        self._free = threading.Semaphore(limits.workers)
        self._most = limits.waiting_requests
        self._waiting = 0
        self._counting = threading.Lock()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """
        Is inside for as long as the block lasts.

        Raises:
            RefusedError: Too many wait already; the sender is to try again.
        """
        if not self._free.acquire(blocking=False):
            self._wait()
        try:
            yield
        finally:
            self._free.release()

    def _wait(self) -> None:
        with self._counting:
            if self._waiting >= self._most:
                raise not_now("busy", "too many requests are waiting")
            self._waiting += 1
        self._free.acquire()
        with self._counting:
            self._waiting -= 1


class Watchdog:
    """
    Calls back for what takes longer than it may: one thread for all of them, as all may take equally long.

    The thread looks ten times in that span, at least once a second, and is not woken in between: that would cost
    each request more than its work does. It ends when there was nothing to watch for a while.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tick_s = min(1.0, seconds / 10)
        self._open: OrderedDict[object, tuple[float, Callable[[], object]]] = OrderedDict()
        self._lock = threading.Lock()
        self._running = False

    def start(self, late: Callable[[], object]) -> object:
        """From now on; the key is for `stop`."""
        key = object()
        with self._lock:
            self._open[key] = (time.monotonic() + self._seconds, late)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="k8strace-watchdog", daemon=True).start()
        return key

    def stop(self, key: object) -> bool:
        """Was it in time?"""
        with self._lock:
            return self._open.pop(key, None) is not None

    def _run(self) -> None:
        idle_s = 0.0
        while idle_s < IDLE_S or not self._end():
            time.sleep(self._tick_s)
            idle_s = 0.0 if self._open else idle_s + self._tick_s
            for late in self._overdue():
                late()

    def _overdue(self) -> list[Callable[[], object]]:
        now, found = time.monotonic(), []
        with self._lock:
            while self._open and next(iter(self._open.values()))[0] <= now:
                found.append(self._open.popitem(last=False)[1][1])
        return found

    def _end(self) -> bool:
        with self._lock:
            self._running = bool(self._open)
            return not self._running


async def in_thread(workers: Workers, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a call in a thread, to its end: if the caller is cancelled, that takes effect afterwards."""
    future = asyncio.wrap_future(workers.submit(call, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
