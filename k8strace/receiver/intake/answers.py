"""
What a sender is told: one verdict, as gRPC status or as HTTP response.

    verdict   OK ─ UNAUTHENTICATED ─ INVALID ─ TOO_LARGE ─ UNAVAILABLE ─ …
                         │
              OUTCOMES: gRPC code, HTTP status
                         │
              google.rpc.Status, with BadRequest or RetryInfo where the protocol asks for them
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from k8strace.exceptions import extra

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.rpc.status_pb2 import Status

__all__ = ["Outcome", "Verdict", "http_answer", "require_answers", "response", "status"]

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
MESSAGE_CHARACTERS: Final = 1_000
"""Bytes of the reason of a refusal, at most. That of a partial success is bounded by `Limits.response_bytes`."""


class _Codes(NamedTuple):
    grpc: int
    http: int


class Outcome(Enum):
    """How a request ended: its gRPC status code, by number, and its HTTP status."""

    OK = _Codes(0, 200)
    UNAUTHENTICATED = _Codes(16, 401)
    FORBIDDEN = _Codes(7, 403)
    NOT_FOUND = _Codes(12, 404)
    METHOD = _Codes(12, 405)
    SLOW = _Codes(1, 503)
    TOO_LARGE = _Codes(8, 413)
    UNSUPPORTED = _Codes(3, 415)
    INVALID = _Codes(3, 400)
    HEADER = _Codes(3, 431)
    OVERLOADED = _Codes(14, 429)
    UNAVAILABLE = _Codes(14, 503)
    INTERNAL = _Codes(13, 500)
    HTTP_VERSION = _Codes(12, 505)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a request. Accepted and rejected spans add up to the spans in it, if it was accepted."""

    outcome: Outcome
    reason: str = ""
    """A word of `limits.REASONS`; empty for OK."""
    message: str = ""
    """English text for the sender; empty if there is nothing to say."""
    accepted: int = 0
    rejected: int = 0
    field: str = ""
    """The field that is malformed, by its name in the `.proto`."""
    retry_after_s: float | None = None
    """When the same request may be taken; None for never."""

    @property
    def ok(self) -> bool:
        """The request was taken, though perhaps not all its spans."""
        return self.outcome is Outcome.OK


def require_answers() -> None:
    """
    Imports what answers are made of, so that its absence is known before the first error.

    Raises:
        MissingExtraError: googleapis-common-protos is not installed.
    """
    with extra("serve", "receiving OTLP", "googleapis-common-protos"):
        import google.rpc.error_details_pb2
        import google.rpc.status_pb2  # noqa: F401


# ---- success --------------------------------------------------------------------------------------


def response(verdict: Verdict, limit_bytes: int) -> Message | None:
    """
    The `ExportTraceServiceResponse` of a request that was taken; its message is cut to fit `limit_bytes`.

    Without rejected spans and without a message `partial_success` is not set, and the answer is None: no bytes.
    """
    if not verdict.rejected and not verdict.message:
        return None
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    answer = trace_service_pb2.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = verdict.rejected
    answer.partial_success.error_message = _cut(verdict.message, limit_bytes - 64)
    return answer


def _cut(text: str, limit_bytes: int) -> str:
    return text.encode("utf-8", "replace")[: max(limit_bytes, 0)].decode("utf-8", "ignore")


# ---- refusal --------------------------------------------------------------------------------------


def status(verdict: Verdict) -> Status:
    """
    The `google.rpc.Status` of a refusal.

    Retryable ones carry `RetryInfo`, malformed requests `BadRequest`; nothing else does.
    """
    from google.rpc import error_details_pb2, status_pb2

    answer = status_pb2.Status(
        code=verdict.outcome.value.grpc, message=_cut(verdict.message, MESSAGE_CHARACTERS)
    )
    if verdict.retry_after_s is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(round(verdict.retry_after_s * 1000))
        answer.details.add().Pack(info)
    elif verdict.outcome is Outcome.INVALID:
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=verdict.field, description=answer.message)
        answer.details.add().Pack(bad)
    return answer


class HttpAnswer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def http_answer(verdict: Verdict, content_type: str, limit_bytes: int, *, close: bool = False) -> HttpAnswer:
    """
    The response in the request's content type, `PROTOBUF` or `JSON`; protobuf for any other.

    `close` is for HTTP/1: a connection on which the request was not read to its end is of no use any more.
    """
    as_json = content_type == JSON
    message: Any = response(verdict, limit_bytes) if verdict.ok else status(verdict)
    body = _encode(message, as_json=as_json)
    headers = [
        (b"content-type", (JSON if as_json else PROTOBUF).encode()),
        (b"content-length", str(len(body)).encode()),
        *_extra_headers(verdict),
        *([(b"connection", b"close")] if close else []),
    ]
    return HttpAnswer(verdict.outcome.value.http, headers, body)


def _encode(message: Message | None, *, as_json: bool) -> bytes:
    if message is None:
        return b"{}" if as_json else b""
    if not as_json:
        return message.SerializeToString()
    from google.protobuf import json_format

    return json_format.MessageToJson(message, indent=None).encode()


def _extra_headers(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    if verdict.retry_after_s is not None:
        return [(b"retry-after", str(max(1, math.ceil(verdict.retry_after_s))).encode())]
    match verdict.outcome:
        case Outcome.UNAUTHENTICATED:
            return [(b"www-authenticate", b'Bearer realm="k8strace"')]
        case Outcome.METHOD:
            return [(b"allow", b"POST")]
        case _:
            return []
