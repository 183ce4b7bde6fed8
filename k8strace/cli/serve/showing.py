"""What a run shows: a table at a terminal, otherwise a line every ten seconds, or nothing."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from rich.text import Text

from k8strace.cli.serve.logs import LOG, facts
from k8strace.cli.serve.logs import Lines as LogLines
from k8strace.receiver.intake.limits import REASONS, RETRYABLE
from k8strace.receiver.serving import Receiver
from k8strace.views.live import Snapshot, live_lines, log_line
from k8strace.views.text import LEAST_WIDTH, Look

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Watch", "shown", "where"]

LINE_SECONDS: Final = 10.0
RATE_SECONDS: Final = 10.0
"""Rates are averages over this time."""

NAMES: Final = {
    "grpc": "OTLP/gRPC",
    "http": "OTLP/HTTP",
    "metrics": "metrics",
    "query": "Jaeger's API",
    "query-grpc": "Jaeger's storage",
}

INCOMPLETE: Final = {
    "etcd_not_traced": "requests without the spans of their etcd calls",
    "span_lost": "requests with a lost span",
    "dropped": "requests whose sender dropped details",
    "evicted": "requests evicted before they were whole",
}


def where(receiver: Receiver) -> list[str]:
    """Transports with their addresses."""
    return [
        f"{NAMES[kind]} {', '.join(map(str, addresses))}"
        for kind, addresses in receiver.addresses.items()
        if addresses
    ]


@contextmanager
def shown(asked: argparse.Namespace, receiver: Receiver, log: LogLines) -> Iterator[Callable[[], None]]:
    """A function to call every second, and after the end."""
    watch = Watch(receiver)
    if asked.quiet:
        yield lambda: None
    elif asked.json or asked.no_live or not sys.stdout.isatty():
        yield Lines(watch).show
    else:
        with _table(asked, watch, log) as show:
            yield show


class Lines:
    """A line in the log from time to time."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._next = time.monotonic() + LINE_SECONDS

    def show(self) -> None:
        """Writes a line, if one is due."""
        now = time.monotonic()
        snapshot = self._watch.snapshot()
        if now < self._next:
            return
        self._next = now + LINE_SECONDS
        LOG.info(
            log_line(snapshot),
            extra=facts(
                spans=snapshot.spans,
                requests=snapshot.requests,
                spans_per_s=round(snapshot.spans_per_s, 1),
                requests_per_s=round(snapshot.requests_per_s, 2),
                queue_bytes=snapshot.queue_bytes,
                lacks=dict(snapshot.lacks),
            ),
        )


@contextmanager
def _table(asked: argparse.Namespace, watch: Watch, log: LogLines) -> Iterator[Callable[[], None]]:
    from rich.console import Console, Group
    from rich.live import Live

    plain = asked.color == "never" or (asked.color == "auto" and bool(os.environ.get("NO_COLOR")))
    console = Console(no_color=plain, highlight=False, markup=False, emoji=False)
    write = log.write
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        if _is_stdout(sys.stderr):
            log.write = lambda line: console.print(Text(line, style="dim"))

        def show() -> None:
            live.update(Group(*live_lines(watch.snapshot(), _look(console, plain=plain), console.height - 1)))
            live.refresh()

        try:
            yield show
        finally:
            log.write = write


def _is_stdout(stream: TextIO) -> bool:
    """Whether the stream and stdout are the same terminal: text on one must not disturb the table on the other."""
    try:
        one, other = os.fstat(stream.fileno()), os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):
        return False
    return stream.isatty() and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _look(console: Console, *, plain: bool) -> Look:
    return Look(width=max(console.width, LEAST_WIDTH), colour=not plain and console.color_system is not None)


class Watch:
    """Takes snapshots of a receiver."""

    def __init__(self, receiver: Receiver, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._receiver = receiver
        self._clock = clock_s
        self._started = clock_s()
        self._seen: deque[tuple[float, int, int]] = deque([(self._started, 0, 0)])

    def snapshot(self) -> Snapshot:
        """The current facts; rates are over the last ten seconds."""
        receiver, now = self._receiver, self._clock()
        counts, total, recent = (
            receiver.pipeline.counts,
            receiver.summed.total(),
            receiver.summed.recent(),
        )
        spans_per_s, requests_per_s = self._rates(now, counts.spans, total.requests)
        return Snapshot(
            mode=receiver.mode,
            listening=where(receiver),
            uptime_s=now - self._started,
            recent=recent,
            recent_s=min(now - self._started, receiver.summed.recent_s),
            spans_per_s=spans_per_s,
            requests_per_s=requests_per_s,
            spans=counts.spans,
            requests=total.requests,
            inner=total.inner,
            lacks=self._lacks(),
            queue_bytes=counts.queue_bytes,
            held_spans=receiver.pipeline.stream_counts.get("held", 0),
            ready=receiver.ready,
        )

    def _rates(self, now: float, spans: int, requests: int) -> tuple[float, float]:
        self._seen.append((now, spans, requests))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RATE_SECONDS:
            self._seen.popleft()
        then, spans_then, requests_then = self._seen[0]
        took = max(now - then, 1e-3)
        return (spans - spans_then) / took, (requests - requests_then) / took

    def _lacks(self) -> dict[str, int]:
        receiver = self._receiver
        told = {
            INCOMPLETE.get(cause, f"requests incomplete: {cause}"): number
            for cause, number in receiver.summed.total().incomplete.items()
        }
        stream = receiver.pipeline.stream_counts
        told["traces evicted"] = sum(number for name, number in stream.items() if name.startswith("evicted_"))
        for reason, number in receiver.rejections.counts().items():
            refused = reason in RETRYABLE
            told[f"{REASONS[reason]}s {'refused' if refused else 'rejected'}: {reason}"] = number
        for reason, number in receiver.http.ends.items():
            if reason not in ("idle", "room"):
                told[f"HTTP connections ended: {reason}"] = number
        told["batches not joined"] = receiver.pipeline.counts.undecodable
        return told
