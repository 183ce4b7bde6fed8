"""One run of `serve`: start, live table, stop."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from k8strace.attribution import attribute
from k8strace.cli.exits import FAILED, OK, PIPE_CLOSED, USAGE, UsageError, complain
from k8strace.cli.serve import settings
from k8strace.cli.serve.logs import LOG, Lines, facts, logging_to_stderr
from k8strace.cli.serve.paging import LivePage
from k8strace.cli.serve.showing import shown, where
from k8strace.cli.serve.supervision import Stop, notify, stop_signals
from k8strace.exceptions import OUT_OF_MEMORY, K8straceError, is_out_of_memory
from k8strace.receiver.journal.recovery import Recovered
from k8strace.receiver.metrics.pushing import MetricsPush
from k8strace.receiver.pipeline import Listener
from k8strace.receiver.serving import Receiver
from k8strace.receiver.transports.address_space import check_address_space
from k8strace.receiver.transports.descriptors import fit_connections
from k8strace.requests import Requests
from k8strace.views.records import request_records
from k8strace.views.text import count

if TYPE_CHECKING:
    from k8strace.query import Held

__all__ = ["run"]

DRAIN_SECONDS: Final = 10.0
TICK_SECONDS: Final = 1.0
SWITCH_SECONDS: Final = 0.0005
"""How long a thread may keep the others from Python: those that answer senders need it often, and only for a moment."""


def run(asked: argparse.Namespace) -> int:
    """Serves until a signal comes. Returns the exit code."""
    sys.setswitchinterval(SWITCH_SECONDS)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core writes to stderr, not to the log
    with logging_to_stderr(asked.log_format) as lines:
        try:
            with stop_signals() as stop:
                return _run(asked, lines, stop)
        except UsageError as error:
            return _complain(asked, f"{error} (see k8strace serve --help)", USAGE)
        except (K8straceError, OSError) as error:
            return _complain(asked, str(error), FAILED)
        except Exception as error:  # noqa: BLE001 - any error belongs in the log
            if is_out_of_memory(error):
                return _complain(asked, f"{OUT_OF_MEMORY} ({error})" if str(error) else OUT_OF_MEMORY, FAILED)
            LOG.critical("k8strace failed: %s: %s", type(error).__name__, error, exc_info=error)
            return FAILED


def _complain(asked: argparse.Namespace, message: str, code: int) -> int:
    """Writes an error as other commands do, or to the log if that is JSON."""
    if asked.log_format == "json":
        LOG.error(message)
    else:
        complain(message)
    return code


def _run(asked: argparse.Namespace, lines: Lines, stop: Stop) -> int:
    records, held = JsonLines(stop), settings.held_of(asked)
    page = LivePage(asked, held) if asked.page and held is not None else None
    receiver = _made(asked, held, [records.write] if asked.json else [])
    stopped = drained = False
    try:
        receiver.start()
        with shown(asked, receiver, lines) as show:
            _greet(receiver)
            if page is not None:
                page.start(receiver)
            while not stop.wait(TICK_SECONDS) and receiver.pipeline.failure is None:
                show()
            notify("STOPPING=1")
            LOG.info("stopping: no new requests; accepted ones are joined")
            drained, stopped = receiver.stop(DRAIN_SECONDS), True
            show()
        _part(receiver, drained=drained)
    finally:
        if page is not None:
            page.stop()
        if not stopped:
            receiver.stop(1)
    return PIPE_CLOSED if records.closed else OK if drained else FAILED


def _made(asked: argparse.Namespace, held: Held | None, listeners: list[Listener]) -> Receiver:
    """The receiver; nothing is opened before all arguments are checked."""
    places, trust = settings.places_of(asked), settings.trust_of(asked)
    limits, stream = settings.limits_of(asked), settings.stream_of(asked)
    windows = settings.windows_of(asked, held)
    for warning in settings.warnings_of(asked, places, trust):
        LOG.warning(warning)
    check_address_space()
    asked_for = limits.connections
    limits = fit_connections(limits, len(places.grpc) + 1)
    if limits.connections < asked_for:
        LOG.warning(
            f"at most {limits.connections} connections to each address instead of {asked_for}: "
            "the system allows no more open files (ulimit -n)"
        )
    journal = settings.journal_of(asked, _tell_trouble)
    try:
        return Receiver(
            stream,
            places,
            journal=journal,
            limits=limits,
            trust=trust,
            listeners=listeners if held is None else [*listeners, held],
            windows=windows,
            push=None if asked.metrics_to is None else MetricsPush(asked.metrics_to, report=LOG.warning),
            backlog=settings.backlog_of(journal, stream, _tell_damage),
            report=LOG.error,
        )
    except BaseException:
        if journal is not None:
            journal.close()
        raise


# ── Messages ──────────────────────────────────────────────────────────────────────────────────────


def _tell_trouble(trouble: str) -> None:
    if trouble:
        LOG.error("nothing is accepted: %s", trouble)
    else:
        LOG.info("the store can be written again")


def _tell_damage(found: Recovered) -> None:
    LOG.warning("a part of the store cannot be read: %s, %s", found.file, found.reason)


def _greet(receiver: Receiver) -> None:
    for found in receiver.journal.recovered if receiver.journal else []:
        LOG.warning(
            f"the store was not closed in order: {found.file}, {count(found.cut_bytes, 'byte')} cut: {found.reason}"
        )
    if receiver.pipeline.read_back:
        LOG.info("joined again: %s of the store", count(receiver.pipeline.read_back, "batch"))
    addresses = {kind: [str(each) for each in places] for kind, places in receiver.addresses.items()}
    LOG.info(
        f"listening: {'; '.join(where(receiver))}. {receiver.mode}",
        extra=facts(listening=addresses, mode=receiver.mode),
    )
    notify("READY=1")


def _part(receiver: Receiver, *, drained: bool) -> None:
    counts, tally = receiver.pipeline.counts, receiver.summed.total()
    whole = tally.total()
    told = [
        f"{count(counts.batches, 'batch')} with {count(counts.spans, 'span')} acknowledged",
        f"{count(tally.requests, 'request')} joined",
    ]
    if not drained:
        rest = "they are in the store" if receiver.journal else "they are lost"
        told.append(f"{count(counts.waiting, 'batch')} not joined in time: {rest}")
    LOG.info(
        f"stopped: {', '.join(told)}",
        extra=facts(
            batches=counts.batches,
            spans=counts.spans,
            requests=tally.requests,
            updates=tally.updates,
            wall_ns=whole.wall.total_ns,
            components=dict(whole.components),
            drained=drained,
        ),
    )


class JsonLines:
    """Writes finished requests to stdout. Ends the run if the reader is gone."""

    def __init__(self, stop: Stop) -> None:
        self.closed = False
        self._stop = stop

    def write(self, requests: Requests) -> None:
        """
        Writes a line for each, as `k8strace requests --json` does. The last of several lines with equal ids counts.

        For a request that late spans removed the last line has its ids and `withdrawn`.
        """
        if self.closed:
            return
        records = [*request_records(attribute(requests)), *_withdrawn(requests)]
        lines = [json.dumps(record, check_circular=False) for record in records]
        try:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
        except OSError:
            self.closed = True
            self._stop.set()


def _withdrawn(requests: Requests) -> list[dict[str, Any]]:
    again = set(zip(requests.column("trace_id"), requests.column("span_id"), strict=True))
    replaced = [(row["trace_id"], row["span_id"]) for row in getattr(requests, "replaced", ())]
    return [
        {"trace_id": trace, "span_id": span, "withdrawn": True}
        for trace, span in replaced
        if (trace, span) not in again
    ]
