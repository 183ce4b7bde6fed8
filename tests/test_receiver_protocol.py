"""What OTLP's specification demands of a server: one test per rule, over every transport."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import time
from typing import Any

import pytest
from google.rpc import error_details_pb2
from messages import inside
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from receivers import (
    GRPC_RETRYABLE,
    HTTP_RETRYABLE,
    TRANSPORTS,
    Kept,
    Sender,
    request_of,
    running,
    serving,
    span,
    unavailable,
)
from starlette.applications import Starlette
from starlette.routing import Mount

from k8strace.exceptions import DecodeError
from k8strace.receiver import Limits, Receipt, asgi_app

MALFORMED = b"\x0a\x05\x12"
SMALL = Limits(request_bytes=2_000, in_flight_bytes=1 << 20 << 4)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


def is_http(transport: str) -> bool:
    return transport.startswith("http")


def malformed(transport: str) -> bytes:
    return b'{"resourceSpans": [' if transport == "http/json" else MALFORMED


def refusals(transport: str) -> list[Any]:
    """A refusal of each kind."""
    answers = []
    with serving(transport, Kept(), limits=SMALL) as send:
        answers.append(send(malformed(transport)))
        answers.append(send(request_of(span(name="n" * 3_000))))
    with serving(transport, unavailable()) as send:
        answers.append(send(request_of(span())))
    with serving(transport, Kept(broken)) as send:
        answers.append(send(request_of(span())))
    return answers


def broken(*_: Any) -> Receipt:
    raise RuntimeError("a sink that does not work")


# ── 1 to 4: compression and sizes ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
def test_01_none_and_gzip_are_accepted(transport: str, encoding: str):
    if encoding == "zstd" and not is_http(transport):
        pytest.skip("grpcio has no zstd: a gRPC sender learns that from UNIMPLEMENTED")
    sink = Kept()
    with serving(transport, sink) as send:
        assert send(request_of(span(1), span(2)), encoding=encoding).ok
    assert sink.spans == [span(1), span(2)]


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_02_the_limit_holds_after_decompression_and_is_64_mib(transport: str, encoding: str):
    assert Limits().request_bytes == 64 << 20
    with serving(transport, Kept(), limits=SMALL) as send:
        fits, too_long = request_of(span(name="n" * 1_500)), request_of(span(name="n" * 2_000))
        assert send(fits, encoding=encoding).ok
        assert not send(too_long, encoding=encoding).ok


def test_02_the_limit_holds_to_the_byte(transport: str):
    if transport == "http/json":
        pytest.skip(
            "the limit of a JSON request is that of its text, whose length is no business of the protocol"
        )
    request = request_of(span())
    size = request.ByteSize()
    for limit, ok in ((size, True), (size - 1, False)):
        with serving(transport, Kept(), limits=Limits(request_bytes=limit)) as send:
            assert send(request).ok is ok


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_03_over_the_limit_is_not_to_be_sent_again(transport: str, encoding: str):
    sink = Kept()
    with serving(transport, sink, limits=SMALL) as send:
        answer = send(request_of(span(name="n" * 3_000)), encoding=encoding)
    assert answer.status == (413 if is_http(transport) else "RESOURCE_EXHAUSTED")
    assert answer.retry_s is None
    assert "retry-after" not in answer.headers
    assert sink.batches == []


def test_04_the_response_is_limited_and_its_message_is_shortened_first(transport: str):
    sink = Kept(lambda _, meta: Receipt(0, meta.spans, "é" * 10_000))
    with serving(transport, sink, limits=Limits(response_bytes=400)) as send:
        answer = send(request_of(span()))
    assert answer.ok
    assert answer.rejected == 1
    assert len(answer.response.SerializeToString()) <= 400
    assert answer.message.endswith("é" * 50)


# ── 5 to 8: success ───────────────────────────────────────────────────────────────────────────────


def test_05_an_empty_request_is_a_success(transport: str):
    sink = Kept()
    with serving(transport, sink) as send:
        assert send(ExportTraceServiceRequest()).ok
        assert send(request_of()).ok
    assert sink.batches == []


def test_06_full_success_leaves_partial_success_unset(transport: str):
    with serving(transport, Kept()) as send:
        answer = send(request_of(span()))
    assert answer.ok
    assert not answer.response.HasField("partial_success")
    assert answer.body == (b"{}" if transport == "http/json" else b"")


def test_07_partial_success_counts_what_was_rejected_and_says_why(transport: str):
    sink = Kept()
    with serving(transport, sink) as send:
        answer = send(request_of(span(1), span(2, trace_id=b""), span(3)))
    assert answer.ok
    assert answer.rejected == 1
    assert answer.message == "1 of 3 spans rejected: trace_id 1"
    assert sink.spans == [span(1), span(3)]


def test_07_what_the_sink_rejects_is_added(transport: str):
    sink = Kept(lambda _, meta: Receipt(meta.spans - 1, 1, "too old"))
    with serving(transport, sink) as send:
        answer = send(request_of(span(1), span(2, trace_id=b""), span(3)))
        counts = send.intake.counts()[transport.removesuffix(".aio")]
    assert (answer.rejected, answer.message) == (2, "1 of 3 spans rejected: trace_id 1; too old")
    assert (counts.spans_seen, counts.spans_accepted, counts.spans_rejected) == (3, 1, 2)


def test_08_a_warning_has_a_message_and_rejects_nothing(transport: str):
    attributes = [KeyValue(key=str(number)) for number in range(1_025)]
    sink = Kept()
    with serving(transport, sink) as send:
        answer = send(request_of(span(attributes=attributes)))
    assert answer.ok
    assert answer.response.HasField("partial_success")
    assert (answer.rejected, answer.message) == (0, "cut from spans: attributes 1")
    assert len(sink.spans[0].attributes) == 1_024


# ── 9 to 14: failure ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reason", ["budget", "queue", "storage", "draining", "a word of its own"])
def test_09_what_may_be_taken_later_is_unavailable(transport: str, reason: str):
    with serving(transport, unavailable(reason)) as send:
        answer = send(request_of(span()))
        known = reason if reason != "a word of its own" else "unavailable"
        assert send.intake.rejections[known] == 1
    full = reason in ("budget", "queue")
    assert answer.status == ((429 if full else 503) if is_http(transport) else "UNAVAILABLE")
    assert answer.message == "no room"


def test_10_bad_data_is_refused_with_the_place_in_it(transport: str):
    with serving(transport, Kept()) as send:
        answer = send(malformed(transport))
    assert answer.status == (400 if is_http(transport) else "INVALID_ARGUMENT")
    assert answer.error.code == 3
    (violation,) = answer.detail(error_details_pb2.BadRequest).field_violations
    assert violation.description.startswith("expected ")
    assert answer.retry_s is None


def test_10_bad_data_names_the_field(transport: str):
    if transport == "http/json":
        wire: Any = b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": 1}]}]}]}'
    else:
        wire = inside(b"\x2a\x05abc", 1, 2, 2)
    with serving(transport, Kept()) as send:
        (violation,) = send(wire).detail(error_details_pb2.BadRequest).field_violations
    words = violation.field.replace("resourceSpans", "resource_spans").replace("scopeSpans", "scope_spans")
    assert words.startswith("resource_spans")
    assert words.endswith("name")


def test_10_bad_data_that_only_the_sink_finds(transport: str):
    def accept(*_: Any) -> Receipt:
        raise DecodeError("sense", "nonsense", "resource_spans", 1)

    with serving(transport, Kept(accept)) as send:
        answer = send(request_of(span()))
    assert answer.status == (400 if is_http(transport) else "INVALID_ARGUMENT")


def test_11_only_retryable_codes_are_retryable(transport: str):
    """A sender that keeps to the protocol's table sends again what may be taken later, and nothing else."""
    retryable = HTTP_RETRYABLE if is_http(transport) else GRPC_RETRYABLE
    assert [answer.status in retryable for answer in refusals(transport)] == [False, False, True, False]


def test_12_back_pressure_says_when_to_come_again(transport: str):
    with serving(transport, unavailable(retry_after_s=2.5)) as send:
        answer = send(request_of(span()))
    assert answer.retry_s == 2.5


def test_13_retry_after_is_whole_seconds_and_not_too_early(transport: str):
    if not is_http(transport):
        pytest.skip("a header of HTTP; over gRPC it is RetryInfo")
    for seconds in (0.2, 1.0, 2.5):
        with serving(transport, unavailable(retry_after_s=seconds)) as send:
            assert send(request_of(span())).headers["retry-after"] == str(math.ceil(seconds))


def test_14_a_failure_of_ours_is_told_as_one(transport: str, caplog: pytest.LogCaptureFixture):
    with serving(transport, Kept(broken)) as send:
        answer = send(request_of(span()))
        assert send.intake.rejections["internal"] == 1
    assert answer.status == (500 if is_http(transport) else "INTERNAL")
    assert "does not work" not in answer.message
    assert "does not work" in caplog.text


def test_14_memory_that_cannot_be_had_now_may_be_had_later(transport: str):
    def accept(*_: Any) -> Receipt:
        raise MemoryError

    with serving(transport, Kept(accept)) as send:
        answer = send(request_of(span()))
        assert send.intake.rejections["memory"] == 1
    assert answer.status == (503 if is_http(transport) else "UNAVAILABLE")
    assert answer.retry_s == 1


# ── 15 to 17: HTTP ────────────────────────────────────────────────────────────────────────────────


def test_15_every_refusal_carries_a_status(transport: str):
    for answer in refusals(transport):
        if transport.startswith("grpc") and answer.status == "RESOURCE_EXHAUSTED":
            assert answer.message  # grpcio answers this one itself, with a message and without details
        else:
            assert answer.error.code
            assert answer.error.message


@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/json"])
def test_15_wrong_paths_and_methods_have_one_too(content_type: str):
    headers = {"Content-Type": content_type}
    with serving("http/protobuf", Kept()) as send:
        missing = send.http("POST", "/v1/metrics", b"", headers)
        method = send.http("GET", "/v1/traces", b"", headers)
        assert send.intake.rejections["not_found"] == send.intake.rejections["method"] == 1
    assert (missing.status, method.status) == (404, 405)
    assert method.headers["allow"] == "POST"
    for answer in (missing, method):
        assert answer.headers["content-type"] == content_type
        assert answer.error.message.startswith("expected POST")


def test_15_other_methods_are_unknown_to_grpc(transport: str):
    if is_http(transport):
        pytest.skip("over HTTP it is a path: see above")
    import grpc

    with serving(transport, Kept()) as send, grpc.insecure_channel(f"localhost:{send.port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")(
                b"", timeout=5
            )
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_16_the_answer_has_the_content_type_of_the_request(transport: str):
    if not is_http(transport):
        pytest.skip("gRPC has one content type")
    expected = "application/json" if transport == "http/json" else "application/x-protobuf"
    with serving(transport, Kept()) as send:
        parameters = {"Content-Type": f"{expected.title()}; charset=utf-8"}
        answers = [send(request_of(span()), headers=parameters), *refusals(transport)]
    assert {answer.headers["content-type"] for answer in answers} == {expected}


def test_17_protobuf_and_json_share_a_port(transport: str):
    if not is_http(transport):
        pytest.skip("gRPC has one content type")
    sink = Kept()
    with serving("http/protobuf", sink) as send:
        assert send(request_of(span())).ok
        assert Sender("http/json", send.port, send.intake)(request_of(span())).ok
    assert sink.spans == [span(), span()]
    assert [meta.transport for _, meta in sink.batches] == ["http/protobuf", "http/json"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/grpc"])
def test_17_other_content_types_are_refused(content_type: str | None):
    headers = {"Content-Type": content_type} if content_type else {}
    with serving("http/protobuf", Kept()) as send:
        answer = send.http("POST", "/v1/traces", b"", headers)
        assert send.intake.rejections["content_type"] == 1
    assert answer.status == 415
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert "application/json" in answer.message


@pytest.mark.parametrize("name", ["x-gzip", "GZIP"])
def test_17_gzip_has_an_older_name_too(name: str):
    """RFC 9110, 8.4.1.3: a recipient should consider x-gzip to be equivalent to gzip."""
    sink = Kept()
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": name}
    with serving("http/protobuf", sink) as send:
        body = gzip.compress(request_of(span()).SerializeToString())
        assert send.http("POST", "/v1/traces", body, headers).ok
    assert sink.spans == [span()]


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "gzip,zstd", "snappy"])
def test_17_one_encoding_that_we_know_or_none(encoding: str):
    with serving("http/protobuf", Kept()) as send:
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": encoding}
        assert send.http("POST", "/v1/traces", b"", headers).status == 415
        assert send.intake.rejections["encoding"] == 1


# ── 18 to 22: content ─────────────────────────────────────────────────────────────────────────────


def test_18_json_is_otlp_json(transport: str):
    if transport != "http/json":
        pytest.skip("only for JSON")
    document = {
        "resourceSpans": [
            {
                "unknown": {"deep": [1, None]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": "0AF7651916CD43DD8448EB211C80319C",
                                "spanId": "b7ad6b7169203331",
                                "kind": 2,
                                "startTimeUnixNano": "18446744073709551615",
                                "endTimeUnixNano": 5,
                                "name": "any case, numbers or strings, unknown keys",
                            }
                        ]
                    }
                ],
            }
        ]
    }
    sink = Kept()
    with serving(transport, sink) as send:
        assert send(json.dumps(document).encode()).ok
    (received,) = sink.spans
    assert received.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert (received.kind, received.start_time_unix_nano, received.end_time_unix_nano) == (2, 2**64 - 1, 5)


def test_18_json_that_is_too_deep_is_refused():
    deep = b'{"resourceSpans":' + b"[" * 64 + b"]" * 64 + b"}"
    with serving("http/json", Kept()) as send:
        answer = send(deep)
        assert send(b'{"resourceSpans":[],"unknown":' + b"[" * 63 + b"]" * 63 + b"}").ok
    assert answer.status == 400
    assert answer.message.startswith("expected at most 64 objects and arrays")


def test_19_empty_envelopes_are_let_through_or_ignored(transport: str):
    request = request_of(span())
    request.resource_spans.add().scope_spans.add()
    sink = Kept()
    with serving(transport, sink) as send:
        answer = send(request)
    assert answer.ok
    assert not answer.response.HasField("partial_success")
    assert sink.spans == [span()]


def test_20_duplicates_are_taken_each_time(transport: str):
    """A sender that lost our answer sends again; the join knows equal spans."""
    sink = Kept()
    with serving(transport, sink) as send:
        assert send(request_of(span())).ok
        assert send(request_of(span())).ok
    assert sink.spans == [span(), span()]


def test_21_values_of_any_kind_are_accepted(transport: str):
    values = [
        AnyValue(),
        AnyValue(string_value=""),
        AnyValue(bool_value=False),
        AnyValue(int_value=-1),
        AnyValue(double_value=0.5),
        AnyValue(bytes_value=b"\x00\xff"),
    ]
    array, pairs = AnyValue(), AnyValue()
    array.array_value.values.extend(values)
    pairs.kvlist_value.values.extend(KeyValue(key=str(at), value=value) for at, value in enumerate(values))
    sent = span(attributes=[KeyValue(key="k", value=value) for value in [*values, array, pairs]])
    sink = Kept()
    with serving(transport, sink) as send:
        assert send(request_of(sent)).ok
    assert sink.spans == [sent]


def test_22_fields_that_we_do_not_know_are_no_error(transport: str):
    if transport == "http/json":
        pytest.skip("unknown keys: see rule 18")
    unknown = inside(b"from the future", 900)
    wire = inside(inside(inside(span().SerializeToString() + unknown, 2) + unknown, 2) + unknown, 1) + unknown
    sink = Kept()
    with serving(transport, sink) as send:
        assert send(wire).ok
    assert [batch for batch, _ in sink.batches] == [wire]


# ── Counts ────────────────────────────────────────────────────────────────────────────────────────


def test_counts_add_up(transport: str):
    """Received = accepted + refused, in requests and in spans, over every way to end."""
    ends = iter([None, None, unavailable().accept, None, broken, None])

    def accept(batch: bytes, meta: Any) -> Receipt:
        end = next(ends)
        return end(batch, meta) if end else Receipt(meta.spans)

    with serving(transport, Kept(accept)) as send:
        for _ in range(6):
            send(request_of(span(1), span(2, trace_id=b"")))
        send(malformed(transport))
        send(ExportTraceServiceRequest())
        counts = send.intake.counts()[transport.removesuffix(".aio")]
        rejections = send.intake.rejections.counts()
        assert send.intake.budget.used_bytes == 0
    assert (counts.requests_received, counts.requests_accepted, counts.requests_refused) == (8, 5, 3)
    seen = counts.spans_accepted + counts.spans_rejected + counts.spans_refused
    assert (counts.spans_seen, seen) == (12, 12)
    assert (counts.spans_accepted, counts.spans_rejected, counts.spans_refused) == (4, 4, 4)
    assert {reason: count for reason, count in rejections.items() if count} == {
        "trace_id": 4,
        "queue": 1,
        "internal": 1,
        "malformed": 1,
    }


def test_other_transports_are_not_touched_by_a_count(transport: str):
    with serving(transport, Kept()) as send:
        send(request_of(span()))
        counts = send.intake.counts()
    name = transport.removesuffix(".aio")
    assert {each: counts[each].requests_received for each in counts if counts[each].requests_received} == {
        name: 1
    }


# ── In another application ────────────────────────────────────────────────────────────────────────


def test_the_application_can_be_mounted_under_a_prefix():
    sink = Kept()
    app = Starlette(routes=[Mount("/otlp", app=asgi_app(sink))])
    headers = {"Content-Type": "application/x-protobuf"}
    with running(app) as port:
        send = Sender("http/protobuf", port, None)
        body = request_of(span()).SerializeToString()
        assert send.http("POST", "/otlp/v1/traces", body, headers).status == 200
        answer = send.http("POST", "/otlp/v1/logs", body, headers)
    assert sink.spans == [span()]
    assert (answer.status, answer.message) == (404, "expected POST /otlp/v1/traces")


@pytest.mark.parametrize("path", ["/v1/traces", "/otlp/v1/traces"])
def test_a_root_path_may_be_in_the_path_or_not(path: str):
    """ASGI's servers and frameworks differ, and changed."""
    scope = {"type": "http", "method": "POST", "path": path, "root_path": "/otlp", "headers": []}
    assert asyncio.run(status_of(scope)) == 415


async def status_of(scope: dict[str, Any]) -> int:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    await asgi_app(Kept())(scope, receive, send)
    return sent[0]["status"]


def test_a_websocket_is_closed():
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asgi_app(Kept())({"type": "websocket"}, None, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_a_sink_may_take_its_time(transport: str):
    """Others are served meanwhile: the answer comes only when the sink has the spans."""

    def slow(_: bytes, meta: Any) -> Receipt:
        time.sleep(0.3)
        return Receipt(meta.spans)

    with serving(transport, Kept(slow)) as send:
        from concurrent.futures import ThreadPoolExecutor

        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: send(request_of(span(n))), range(1, 9)))
        took = time.monotonic() - started
    assert all(answer.ok for answer in answers)
    assert 0.3 <= took < 8 * 0.3
