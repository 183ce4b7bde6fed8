"""What other tools write gives the same columns and answers, up to the µs where that is all there is."""

import json
from pathlib import Path

import foreign
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from oracle.rows import load

import k8strace

DATA = Path(__file__).parent / "data"
PEERS = (
    Path("/work/shared/peers")
    if Path("/work/shared/peers").exists()
    else Path(__file__).parents[2] / "shared" / "peers"
)
CAPTURES = sorted(DATA.glob("*.otlp.zst"))
peers = pytest.mark.skipif(not PEERS.exists(), reason="the peers' data is not here")

EXACT = {
    "protobuf's own JSON": foreign.protojson,
    "the same in snake_case": lambda batches: foreign.protojson(batches, snake_case=True),
    "Tempo's first API": foreign.tempo_v1,
    "Tempo's second API": foreign.tempo_v2,
    "Kafka, as text": foreign.kafka,
    "Kafka, in base64": foreign.kafka_rest,
}
MICROS = {
    "Jaeger": foreign.jaeger,
    "Zipkin": foreign.zipkin,
    "Zipkin, shared ids": lambda batches: foreign.zipkin(batches, shared=True),
}


def joined(content: bytes) -> k8strace.Requests:
    return k8strace.join(k8strace.read(content))


def part_of(capture: Path) -> list[ExportTraceServiceRequest]:
    """Some of its requests, whole traces not needed."""
    return load(capture)[:8]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name[:8])
def test_what_has_nanoseconds_gives_the_same_columns(capture, name):
    """Every column, every request, every repair."""
    batches = part_of(capture)
    there, back = k8strace.decode(batches), k8strace.read(EXACT[name](batches))
    assert back.to_arrow().drop_columns("scope_spans") == there.to_arrow().drop_columns("scope_spans")
    assert back.issues == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", MICROS)
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name[:8])
def test_what_has_microseconds_gives_the_same_answers_up_to_them(capture, name):
    """The same requests; each time off by less than 2 µs; each component by as much for each span of the request."""
    batches = load(capture)
    there, back = k8strace.join(k8strace.decode(batches)), joined(MICROS[name](batches))
    assert {issue.code for issue in back.spans.issues} == {"microseconds"}
    assert len(there) == len(back)
    by_id = {(row.trace_id, row.span_id): row for row in back}
    if "shared" not in name:
        assert set(by_id) == {(row.trace_id, row.span_id) for row in there}
    parts, parts_back = k8strace.attribute(there), k8strace.attribute(back)
    for row in there:
        twin = by_id.get((row.trace_id, row.span_id))
        if twin is None:
            continue
        assert abs(row.wall_ns - twin.wall_ns) <= 2000
        for field in (
            "verb",
            "resource",
            "http_status",
            "instance",
            "spans",
            "etcd_call_count",
            "long_running",
        ):
            assert getattr(row, field) == getattr(twin, field), field
        was, now = parts[row].components, parts_back[twin].components
        for component in was | now:
            assert abs(was.get(component, 0) - now.get(component, 0)) <= 2000 * row.spans


def span(start: int, end: int, id_: str, parent: str = "") -> dict:
    """One of Jaeger's spans, in µs."""
    references = [{"refType": "CHILD_OF", "traceID": "7", "spanID": parent}] if parent else []
    return {
        "traceID": "7",
        "spanID": id_,
        "operationName": id_,
        "references": references,
        "startTime": start,
        "duration": end - start,
        "processID": "p",
    }


def jaeger(*spans: dict) -> bytes:
    return json.dumps(
        {"data": [{"traceID": "7", "spans": spans, "processes": {"p": {"serviceName": "s"}}}]}
    ).encode()


#  a |--------| 10 → 11          a |--------| 10          a  |---------| 10
#  b  |-------| 10 → 11          b  |--------| 12         b  |---------| 10
#  c    |------| 11
@pytest.mark.parametrize(
    ("ends", "widened"),
    [
        ([10, 10, 11], {"a", "b"}),
        ([10, 12], set()),
        ([10, 10], set()),
        ([10, 11, 12], {"a", "b"}),
        ([10, 11, 11], {"a"}),
    ],
)
def test_parents_are_widened_by_one_microsecond_and_no_more(ends, widened):
    """A drawing: each is the child of the one before it."""
    chain = [span(at + 1, end, "abc"[at], "abc"[at - 1] if at else "") for at, end in enumerate(ends)]
    requests = joined(jaeger(*chain))
    rows = [row for row in requests.repairs if row["kind"] == "microseconds"]
    assert {row["name"] for row in rows} == widened
    assert all(int(row["after"]) - int(row["before"]) == 1000 for row in rows)


def test_times_in_nanoseconds_are_never_widened():
    """The same shape, one ns off."""
    batch = ExportTraceServiceRequest()
    spans = batch.resource_spans.add().scope_spans.add().spans
    times = {"start_time_unix_nano": 1001, "trace_id": b"t" * 16}
    spans.add(span_id=b"a" * 8, end_time_unix_nano=10_000, **times)
    spans.add(span_id=b"b" * 8, parent_span_id=b"a" * 8, end_time_unix_nano=11_000, **times)
    assert len(k8strace.join(k8strace.decode(batch)).repairs) == 0


def test_jaegers_fields_become_otlps():
    """Tags of every type, a log, references, leading zeros that were left out."""
    one = span(5, 9, "1f", "2") | {
        "references": [
            {"refType": "FOLLOWS_FROM", "traceID": "9", "spanID": "3"},
            {"refType": "CHILD_OF", "traceID": "7", "spanID": "2"},
        ],
        "tags": [
            {"key": "span.kind", "type": "string", "value": "server"},
            {"key": "n", "type": "int64", "value": "12"},
            {"key": "x", "type": "float64", "value": 1},
            {"key": "b", "type": "bool", "value": "true"},
            {"key": "raw", "type": "binary", "value": "AAE="},
            {"key": "error", "type": "bool", "value": True},
            {"key": "otel.status_description", "value": "no"},
            {"key": "otel.scope.name", "value": "lib"},
        ],
        "logs": [{"timestamp": 6.5, "fields": [{"key": "event", "value": "e"}, {"key": "k", "value": "v"}]}],
    }
    spans = k8strace.read(jaeger(one))
    row = {name: spans.column(name)[0] for name in spans.column_names}
    assert row["trace_id"] == "7".rjust(32, "0")
    assert (row["span_id"], row["parent_span_id"]) == ("1f".rjust(16, "0"), "2".rjust(16, "0"))
    assert (row["kind"], row["status_code"], row["status_message"], row["scope_name"]) == (2, 2, "no", "lib")
    assert (row["start_time_unix_nano"], row["end_time_unix_nano"]) == (5000, 9000)
    values = {key: spans.attributes(key)[0] for key in ("n", "x", "b", "raw")}
    assert values == {"n": 12, "x": 1.0, "b": True, "raw": b"\x00\x01"}
    (event,) = row["events"]
    assert (event["time_unix_nano"], event["name"], event["attributes"][0]["key"]) == (6500, "e", "k")
    (link,) = row["links"]
    assert (link["trace_id"], link["span_id"]) == ("9".rjust(32, "0"), "3".rjust(16, "0"))


def test_a_trace_of_jaegers_that_is_broken_costs_no_other():
    """The place of the bad one, and the others whole, in a file and in pieces of it."""
    good = {"traceID": "7", "spans": [span(1, 2, "a")], "processes": {}}
    bad = {"traceID": "8", "spans": [span(1, 2, "b") | {"startTime": "yesterday"}], "processes": {}}
    content = json.dumps({"data": [good, bad, good | {"spans": [span(1, 2, "c")]}], "errors": None}).encode()
    spans = k8strace.read(content)
    assert spans.column("name").to_pylist() == ["a", "c"]
    (issue,) = (issue for issue in spans.issues if issue.code != "microseconds")
    assert issue.code == "malformed"
    assert "startTime in µs" in issue.message
    assert content[issue.offset :].startswith(b'{"traceID": "8"')
    torn = k8strace.read(content[: content.index(b'"c"')])
    assert torn.column("name").to_pylist() == ["a"]
    assert "torn_message" in {issue.code for issue in torn.issues}


@pytest.mark.parametrize(
    "answer",
    [
        b'{"data":null,"total":0,"errors":[{"code":404,"msg":"trace not found"}]}',
        b'{"data":[],"errors":[{"code":500,"msg":"x"}]}',
        b'{"traces":[{"traceID":"7"}]}',
        b'{"value":"no request"}',
        b'{"payload":1}',
        b'{"value":{"level":"info"}}',
    ],
)
def test_an_answer_without_spans_is_told_from_one(answer):
    """Servers' errors, searches, other messages."""
    if b'"data":[]' in answer:
        assert len(k8strace.read(answer)) == 0
        return
    with pytest.raises(
        k8strace.K8straceError, match=r"error that a server|search|OTLP request|unknown key level"
    ):
        k8strace.read(answer)


def test_both_sides_of_zipkins_shared_id_are_kept():
    """
    A drawing.

        client a  id 1 |==========|
        server b  id 1   |======|      shared
        child  b  id 2     |==|        its parent is 1: the server's side
    """
    sides = [
        {
            "traceId": "5",
            "id": "1",
            "kind": "CLIENT",
            "timestamp": 10,
            "duration": 90,
            "localEndpoint": {"serviceName": "a"},
        },
        {
            "traceId": "5",
            "id": "1",
            "kind": "SERVER",
            "shared": True,
            "timestamp": 20,
            "duration": 70,
            "localEndpoint": {"serviceName": "b"},
        },
        {
            "traceId": "5",
            "id": "2",
            "parentId": "1",
            "timestamp": 30,
            "duration": 10,
            "localEndpoint": {"serviceName": "b"},
        },
    ]
    requests = joined(json.dumps(sides).encode())
    assert (
        requests.joined.ledger.set_aside[
            "conflict" if "conflict" in requests.joined.ledger.set_aside else "duplicate"
        ]
        == 0
    )
    rows = [
        *zip(
            *(
                requests.spans.column(name).to_pylist()
                for name in ("service_name", "span_id", "parent_span_id")
            ),
            strict=True,
        )
    ]
    by_kind = {kind: at for at, kind in enumerate(requests.spans.column("kind").to_pylist())}
    client, server, child = (rows[by_kind[kind]] for kind in (3, 2, 1))
    assert server[2] == client[1] != server[1]
    assert child[2] == server[1]


def zipkin_span(id_: str, **more: object) -> dict:
    """One of Zipkin's spans."""
    return {"traceId": "5", "id": id_, "name": id_, "timestamp": 10, "duration": 5, **more}


def test_a_span_of_zipkins_that_is_broken_costs_no_other():
    """Neither does an end that is missing. What follows the array is read as ever."""
    broken = json.dumps([zipkin_span("1"), zipkin_span("2", timestamp="noon"), zipkin_span("3")]).encode()
    spans = k8strace.read(broken + b"\n" + json.dumps([zipkin_span("4")]).encode())
    assert spans.column("name").to_pylist() == ["1", "3", "4"]
    (issue,) = (issue for issue in spans.issues if issue.code != "microseconds")
    assert (issue.code, issue.offset) == ("malformed", broken.index(b'{"traceId": "5", "id": "2"'))
    torn = k8strace.read(json.dumps([zipkin_span("1"), zipkin_span("2"), zipkin_span("3")]).encode()[:-20])
    assert torn.column("name").to_pylist() == ["1", "2"]
    assert "torn_message" in {issue.code for issue in torn.issues}


@peers
@pytest.mark.parametrize(
    "path",
    sorted(PEERS.glob("crisp/*.json")) + sorted(PEERS.glob("zipkin/*.json")),
    ids=lambda path: path.stem,
)
def test_peers_traces_are_read_whole(path):
    """As many spans as there are in the file, each under its own id."""
    content = json.loads(path.read_text())
    count = sum(len(trace["spans"]) for trace in content["data"]) if "data" in content else len(content)
    requests = joined(path.read_bytes())
    assert len(requests.spans) == count
    assert requests.joined.ledger.set_aside.get("invalid_id", 0) == 0


@peers
@pytest.mark.parametrize(
    "path",
    sorted(PEERS.glob("jaeger/fixtures/*_trace*.json")) + sorted(PEERS.glob("jaeger/snapshots/*Traces.json")),
    ids=lambda path: path.stem,
)
def test_jaegers_own_fixtures_are_read(path):
    """They are protobuf's JSON, or the third API's answers."""
    content = json.loads(path.read_text())
    answer = content.get("result", content)
    spans = [
        span
        for resource_spans in answer.get("resourceSpans", ())
        for scope_spans in resource_spans["scopeSpans"]
        for span in scope_spans["spans"]
    ]
    assert len(k8strace.read(path)) == len(spans) > 0
