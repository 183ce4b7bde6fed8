"""
One request over any transport: counted, checked (cheap checks first), and handed on.

    visit ─ admit ─ expect ─ receive ─┬─ inflate ─ JSON → wire ─ screen ─→ sink.accept ─→ verdict
            who?    size in  bytes as │  └───────── each step charged before it ─────────┘
                    header   they come└ in-flight budget

Requests received = accepted + refused + those still here; of the spans that were seen, all are accepted, rejected or
refused. A span is rejected for good; a refused one is in a request that was not taken, and may come again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import astuple, dataclass, fields
from operator import add
from types import TracebackType
from typing import Final, Literal, Self

from k8strace import _core
from k8strace.exceptions import DecodeError, is_out_of_memory
from k8strace.receiver.intake.answers import Outcome, Verdict
from k8strace.receiver.intake.identity import Identity
from k8strace.receiver.intake.limits import REASONS, Limits, Rejections
from k8strace.receiver.intake.sink import Meta, Receipt, Sink, UnavailableError

__all__ = ["TRANSPORTS", "Counts", "Intake", "RefusedError", "Visit", "as_intake"]

TRANSPORTS: Final = ("grpc", "http/protobuf", "http/json", "sdk")
RETRY_S: Final = 1.0
"""When a sender should try again after a refusal of ours: senders add their own growing pauses."""

PIECE_BYTES: Final = (8 << 20) + (64 << 10)
"""Bytes that are inflated at once, at most."""

Encoding = Literal["", "gzip", "zstd"]
_NONE: Final = Verdict(Outcome.INTERNAL, "internal", "the request was left without a verdict")
_log = logging.getLogger("k8strace.receiver")


class RefusedError(Exception):
    """Ends a visit with a verdict that is not OK."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


def refusal(outcome: Outcome, reason: str, message: str, *, field: str = "") -> RefusedError:
    """Tells a sender not to send this again."""
    return RefusedError(Verdict(outcome, reason, message, field=field))


def not_now(reason: str, message: str, retry_after_s: float = RETRY_S) -> RefusedError:
    """Tells a sender to send the same again: over HTTP 429 if the receiver is full, 503 if it is broken."""
    full = reason in ("budget", "busy", "queue")
    outcome = Outcome.OVERLOADED if full else Outcome.UNAVAILABLE
    return RefusedError(Verdict(outcome, reason, message, retry_after_s=retry_after_s))


def not_in_time() -> RefusedError:
    """Tells a slow sender to send the same again: the network or this machine may be slow, and the data is valid."""
    message = "the request took too long to arrive"
    return RefusedError(Verdict(Outcome.SLOW, "slow", message, retry_after_s=RETRY_S))


# ---- counts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one transport, since the start."""

    requests_received: int = 0
    requests_accepted: int = 0
    requests_refused: int = 0
    spans_seen: int = 0
    """Spans in requests whose content was read."""
    spans_accepted: int = 0
    spans_rejected: int = 0
    spans_refused: int = 0
    """Spans seen in requests that were refused after all."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(*map(add, astuple(self), astuple(other)))


class Budget:
    """Bytes that may be worked on at once."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._lock = threading.Lock()

    def charge(self, size: int) -> bool:
        """Takes this many bytes; False if fewer are left."""
        with self._lock:
            if self.used_bytes + size > self.limit_bytes:
                return False
            self.used_bytes += size
            return True

    def give_back(self, size: int) -> None:
        """Gives back what was charged."""
        with self._lock:
            self.used_bytes -= size


# ---- the intake -----------------------------------------------------------------------------------


class Intake:
    """
    Takes requests for a sink, from any number of transports and threads.

    Args:
        sink: Who keeps the spans.
        limits: How much is taken.
        identity: Who may send; None lets everybody in.
        rejections: Counters to use, if they are to be shared.

    Examples:
        >>> from k8strace.receiver import Intake, Receipt
        >>> class Kept(list):
        ...     def accept(self, batch, meta):
        ...         self.append(batch)
        ...         return Receipt(accepted=meta.spans)
        >>> intake = Intake(Kept())
        >>> with intake.visit("http/protobuf") as visit:
        ...     visit.admit(None)
        ...     visit.take(bytes.fromhex("0a0612041202 0a00"))  # one span, without ids
        >>> visit.verdict.outcome.name, visit.verdict.rejected, visit.verdict.message
        ('OK', 1, '1 of 1 spans rejected: trace_id 1')
        >>> intake.counts()["http/protobuf"].spans_rejected, intake.rejections["trace_id"]
        (1, 1)
    """

    def __init__(
        self,
        sink: Sink,
        *,
        limits: Limits | None = None,
        identity: Identity | None = None,
        rejections: Rejections | None = None,
    ) -> None:
        self.sink = sink
        self.limits = limits or Limits()
        self.identity = identity or Identity()
        self.rejections = rejections or Rejections()
        self.budget = Budget(self.limits.in_flight_bytes)
        self._lock = threading.Lock()
        self._counts = {transport: [0] * len(fields(Counts)) for transport in TRANSPORTS}

    def visit(self, transport: str, peer: str = "") -> Visit:
        """One request from now until its verdict: to be used as a `with` block."""
        return Visit(self, Meta(transport, peer))

    def counts(self) -> dict[str, Counts]:
        """Counts by transport, of one moment."""
        with self._lock:
            return {transport: Counts(*counts) for transport, counts in self._counts.items()}

    def count(self, transport: str, *more: int) -> None:
        """Adds to a transport's counts, in the order of `Counts`."""
        with self._lock:
            counts = self._counts[transport]
            for at, each in enumerate(more):
                counts[at] += each


def as_intake(sink: Sink | Intake, limits: Limits | None, identity: Identity | None) -> Intake:
    """
    The intake itself, or a new one for a sink.

    Raises:
        TypeError: An intake and settings, which it has already.
    """
    if not isinstance(sink, Intake):
        return Intake(sink, limits=limits, identity=identity)
    if limits is not None or identity is not None:
        raise TypeError("expected limits and identity where the Intake is made, got them here")
    return sink


class Visit:
    """
    One request. Methods raise `RefusedError`, which ends the block; then `verdict` says what to answer.

    Attributes:
        verdict: What became of it, once the block has ended.
    """

    def __init__(self, intake: Intake, meta: Meta) -> None:
        self.verdict = _NONE
        self._intake = intake
        self._meta = meta
        self._charged = 0
        self._received = 0
        self._seen = 0

    def __enter__(self) -> Self:
        self._intake.count(self._meta.transport, 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._intake.budget.give_back(self._charged)
        if isinstance(error, RefusedError):
            self.verdict = error.verdict
        elif is_out_of_memory(error):
            _log.error(
                "a request over %s was refused: there was not enough memory for it", self._meta.transport
            )
            self.verdict = not_now("memory", "there is not enough memory now").verdict
        elif isinstance(error, Exception):
            _log.error("a request over %s failed", self._meta.transport, exc_info=error)
            self.verdict = Verdict(Outcome.INTERNAL, "internal", "the receiver failed: see its log")
        elif error is not None and self.verdict is _NONE:
            self.verdict = Verdict(Outcome.SLOW, "disconnected", "the request was cancelled")
        self._count()
        return isinstance(error, Exception)

    def _count(self) -> None:
        verdict, seen = self.verdict, self._seen
        more: tuple[int, ...]
        if verdict.ok:
            more = (0, 1, 0, seen, verdict.accepted, verdict.rejected)
        else:
            more = (0, 0, 1, seen, 0, 0, seen)
            self._intake.rejections.add(verdict.reason)
        self._intake.count(self._meta.transport, *more)

    # ---- before the body is read ----

    def admit(self, authorization: str | bytes | None, names: Collection[str] = ()) -> None:
        """Whether the sender may send, by the `Authorization` header and the certificate's names."""
        if not self._intake.identity.admits(authorization, names):
            raise refusal(Outcome.UNAUTHENTICATED, "unauthenticated", "who sends this is not known here")

    def expect(self, size: int) -> None:
        """The length that the header announces."""
        if size > self._intake.limits.request_bytes:
            raise self._too_large()

    # ---- while it is read ----

    def receive(self, size: int) -> None:
        """Counts bytes of the body that arrived, or are about to."""
        self._received += size
        self.expect(self._received)
        self.charge(size)

    def charge(self, size: int) -> None:
        """Counts bytes that are about to be held."""
        if not self._intake.budget.charge(size):
            raise not_now("budget", "too many bytes are being worked on")
        self._charged += size

    def _too_large(self) -> RefusedError:
        limit = self._intake.limits.request_bytes
        return refusal(Outcome.TOO_LARGE, "size", f"expected a request of at most {limit} bytes, got more")

    # ---- once it is here ----

    def take(self, body: bytes, *, encoding: Encoding = "", json: bool = False) -> None:
        """
        Inflates, reads and screens a body that was received, and hands it to the sink; then there is a verdict.

        Returns when the sink has the spans: it may take as long as a write to disk.
        """
        content = self._inflated(body, encoding) if encoding else body
        del body
        wire = self._from_json(content) if json else content
        del content
        try:
            wire, spans, cut = _core.screen(wire, self._intake.limits)
        except DecodeError as error:
            raise _malformed(error) from None
        whole = {reason: count for reason, count in cut if REASONS[reason] == "span"}
        self._seen = spans + sum(whole.values())
        receipt = self._hand_over(wire, spans) if spans else Receipt(0)
        for reason, count in cut:
            self._intake.rejections.add(reason, count)
        if receipt.rejected:
            self._intake.rejections.add("sink", receipt.rejected)
        message = "; ".join(filter(None, [_partial(self._seen, whole, dict(cut)), receipt.reason]))
        rejected = self._seen - spans + receipt.rejected
        self.verdict = Verdict(Outcome.OK, "", message, self._seen - rejected, rejected)

    def _inflated(self, body: bytes, encoding: Encoding) -> bytes:
        limits = self._intake.limits
        inflater = _core.Inflater(encoding, 1 << 62, limits.zstd_window_bytes)
        pieces: list[bytes] = []
        size, chunk = 0, body
        # A small budget must let one piece pass; what comes beyond it is charged once it is known.
        ahead = min(PIECE_BYTES, self._intake.budget.limit_bytes // 4)
        while chunk or inflater.pending:
            self.charge(ahead)
            try:
                pieces.append(inflater.feed(chunk))
            except DecodeError as error:
                raise refusal(Outcome.INVALID, "inflate", str(error)) from None
            chunk = b""
            size += len(pieces[-1])
            if len(pieces[-1]) > ahead:
                self.charge(len(pieces[-1]) - ahead)
            else:
                self._refund(ahead - len(pieces[-1]))
            if size > limits.request_bytes:
                raise self._too_large()
        if not inflater.finish():
            raise refusal(
                Outcome.INVALID, "inflate", f"expected the rest of the {encoding} data, got its end"
            )
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _refund(self, size: int) -> None:
        self._intake.budget.give_back(size)
        self._charged -= size

    def _from_json(self, text: bytes) -> bytes:
        limit = self._intake.limits.json_depth
        offset = _core.json_too_deep(text, limit)
        if offset is not None:
            message = (
                f"expected at most {limit} objects and arrays within one another, got more (byte {offset})"
            )
            raise refusal(Outcome.INVALID, "malformed", message)
        most = 2 * len(text)  # `{},` is six bytes of wire, and nothing else grows more
        self.charge(most)
        try:
            wire = _core.json_to_wire_within(text, self._intake.limits.request_bytes)
        except DecodeError as error:
            raise _malformed(error) from None
        if wire is None:
            raise self._too_large()
        self._refund(most - len(wire))
        return wire

    def _hand_over(self, wire: bytes, spans: int) -> Receipt:
        meta = Meta(self._meta.transport, self._meta.peer, spans, is_screened=True)
        try:
            receipt = self._intake.sink.accept(wire, meta)
        except UnavailableError as error:
            reason = error.reason if error.reason in _OF_SINKS else "unavailable"
            raise not_now(reason, str(error), error.retry_after_s) from None
        except DecodeError as error:
            raise _malformed(error) from None
        if receipt.accepted + receipt.rejected != spans:
            raise ValueError(f"expected a receipt for {spans} spans, got {receipt}")
        return receipt


_OF_SINKS: Final = frozenset({"budget", "queue", "storage", "draining"})


def _malformed(error: DecodeError) -> RefusedError:
    return refusal(Outcome.INVALID, "malformed", str(error), field=error.path)


def _partial(spans: int, rejected: dict[str, int], cut: dict[str, int]) -> str:
    """The message to a sender about spans that were rejected, and about what was cut from others."""
    parts = {reason: count for reason, count in cut.items() if reason not in rejected}
    texts = []
    if rejected:
        texts.append(f"{sum(rejected.values())} of {spans} spans rejected: {_listed(rejected)}")
    if parts:
        texts.append(f"cut from spans: {_listed(parts)}")
    return "; ".join(texts)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.items())
