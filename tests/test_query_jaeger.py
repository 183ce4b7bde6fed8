"""
Jaeger's API and its remote storage over what `serve` holds.

What is right is said by a released Jaeger that was given the same recording: it answers from its own memory store, and
once more from us, as its remote storage.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaegers import REMOTE, Api, jaeger, jaeger_program
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from serving import EXPORT, batches_of, serving
from strategies import dirty_batches

import k8strace
from k8strace.query.jaeger import query_app
from k8strace.query.jaeger.parameters import END, ParameterError, Parameters, duration_ns, trace_id_of
from k8strace.query.jaeger.storage import FIELDS, messages
from k8strace.query.traces import SpanQuery, Traces

NOW = 1_800_000_000_000_000_000
TOKEN = "a-token-of-32-letters-or-a-bit-more"


def parameters(query: str) -> Parameters:
    return Parameters(query.encode(), NOW)


# ── Parameters: the table is that of Jaeger's own tests (query_parser_test.go, http_gateway_test.go) ──────────────────


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (
            "service=s&start=0&end=0",
            {"start_unix_nano": 0, "end_unix_nano": 0, "limit": 100, "least_ns": 0, "most_ns": END},
        ),
        ("service=s", {"start_unix_nano": NOW - 48 * 3600 * 10**9, "end_unix_nano": NOW}),
        ("service=s&limit=200", {"limit": 200}),
        ("service=s&start=1&end=2", {"start_unix_nano": 1_000, "end_unix_nano": 2_000}),
        ("service=s&minDuration=10s&maxDuration=20s", {"least_ns": 10**10, "most_ns": 2 * 10**10}),
        ("service=s&operation=o&tag=k:v", {"operation": "o", "attributes": {"k": "v"}}),
        ("service=s&tag=k:v&tag=x:y:z", {"attributes": {"k": "v", "x": "y:z"}}),
        ('service=s&tags={"k":"v"}&tag=x:y', {"attributes": {"k": "v", "x": "y"}}),
        (
            'service=s&tags={"error":"true","span.kind":"server"}',
            {"error": True, "kind": 2, "attributes": {}},
        ),
        ("service=%C3%A9&operation=a%2Fb", {"service": "é", "operation": "a/b"}),
    ],
)
def test_a_search_is_read_as_jaeger_reads_it(query, wanted):
    found = parameters(query).search()
    assert {name: getattr(found, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    "query",
    [
        "",
        "service=s&start=string",
        "service=s&end=string",
        "service=s&limit=string",
        "service=s&limit=0",
        "service=s&minDuration=string",
        "service=s&maxDuration=string",
        "service=s&minDuration=30s&maxDuration=10s",
        "service=s&tag=k",
        'service=s&tags={"k":1}',
        'service=s&tags="kv"',
        "service=s&tags=[",
        "service=s&tags=" + "[" * 5_000,
        "service=%ff",
        "&".join(f"tag=k{at}:v" for at in range(101)),
    ],
)
def test_what_cannot_be_read_is_refused(query):
    with pytest.raises(ParameterError):
        parameters(query).search()


@pytest.mark.parametrize(
    ("text", "ns"),
    [  # from the tests of Go's time.ParseDuration
        ("0", 0),
        ("5s", 5 * 10**9),
        ("1478s", 1478 * 10**9),
        ("+5s", 5 * 10**9),
        ("-5s", -5 * 10**9),
        ("5.6s", 5_600_000_000),
        ("5.s", 5 * 10**9),
        (".5s", 500_000_000),
        ("1.004s", 1_004_000_000),
        ("10ns", 10),
        ("12µs", 12_000),
        ("12μs", 12_000),
        ("3h30m", 12_600 * 10**9),
        ("10.5s4m", 250_500_000_000),
        ("39h9m14.425s", 140_954_425_000_000),
        ("52763797000ns", 52_763_797_000),
        ("0.3333333333333333333h"[:20] + "h", 1_199_999_999_999),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text, ns):
    assert abs(duration_ns(text) - ns) <= 1


@pytest.mark.parametrize(
    "text", ["", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "9999999999999999h", "1 s"]
)
def test_no_duration(text):
    with pytest.raises(ParameterError):
        duration_ns(text)


@pytest.mark.parametrize("text", ["", "g", "0" * 33, "0x1", "zzzz", "!" * 24])
def test_no_trace_id(text):
    with pytest.raises(ParameterError):
        trace_id_of(text)


def test_a_search_of_the_third_api():
    """Both spellings; Grafana leaves the `+` of a zone as it is, which is a space then."""
    new = parameters(
        "query.serviceName=s&query.startTimeMin=2026-11-27T10:00:00.000000001Z"
        "&query.startTimeMax=2026-11-27T12:00:00Z&query.searchDepth=7&query.durationMin=1ms"
    ).search_v3()
    old = parameters(
        "query.service_name=s&query.start_time_min=2026-11-27T11:00:00.000000001+01:00"
        "&query.start_time_max=2026-11-27T13:00:00+01:00&query.num_traces=7&query.duration_min=1ms"
    ).search_v3()
    assert new == old
    assert new.start_unix_nano == 1_795_773_600_000_000_001
    assert (new.limit, new.least_ns) == (7, 1_000_000)
    for bad in (
        "",
        "query.startTimeMin=2026-11-27T10:00:00Z",
        "query.startTimeMin=x&query.startTimeMax=y",
        "query.startTimeMin=2026-11-27T10:00:00Z&query.startTimeMax=2026-11-27T10:00:00Z",
        "query.startTimeMin=2026-13-27T10:00:00Z&query.startTimeMax=2027-11-27T10:00:00Z",
    ):
        with pytest.raises(ParameterError):
            parameters(bad).search_v3()


# ── Looking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Populations:
    """Recordings, each a population."""

    def __init__(self, *spans: k8strace.Spans) -> None:
        self._joined = [k8strace.join(each) for each in spans]

    def populations(self) -> list[k8strace.Requests]:
        return self._joined


@cache
def recorded(path: Path) -> list[dict[str, Any]]:
    """Every span of a recording, read by the official classes alone."""
    found = []
    for batch in batches_of(path):
        for resource in TracesData.FromString(batch).resource_spans:
            own = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                found += [
                    {
                        "trace": span.trace_id.hex(),
                        "service": own.get("service.name", ""),
                        "name": span.name,
                        "kind": span.kind,
                        "start": span.start_time_unix_nano,
                        "ns": span.end_time_unix_nano - span.start_time_unix_nano,
                        "error": span.status.code == 2,
                        "attributes": own | {each.key: _text(each.value) for each in span.attributes},
                    }
                    for span in scope.spans
                ]
    return found


def _text(value: Any) -> str:
    plain = getattr(value, value.WhichOneof("value"))
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


def expected(spans: list[dict[str, Any]], fits: Any, limit: int) -> list[str]:
    """Ids of the traces with a span that fits, latest first, by the plainest loop that there is."""
    latest: dict[str, int] = {}
    for span in filter(fits, spans):
        latest[span["trace"]] = max(latest.get(span["trace"], 0), span["start"])
    return [trace for _, trace in sorted(((at, trace) for trace, at in latest.items()), reverse=True)][:limit]


QUERIES = [
    (SpanQuery(service="apiserver", limit=20), lambda span: span["service"] == "apiserver"),
    (
        SpanQuery(service="etcd", kind=2, limit=1_500),
        lambda span: span["service"] == "etcd" and span["kind"] == 2,
    ),
    (SpanQuery(operation="Create etcd3", limit=50), lambda span: span["name"] == "Create etcd3"),
    (SpanQuery(least_ns=10**8, most_ns=10**9), lambda span: 10**8 <= span["ns"] <= 10**9),
    (
        SpanQuery(service="apiserver", attributes={"k8s.resource.name": "pods"}),
        lambda span: span["service"] == "apiserver" and span["attributes"].get("k8s.resource.name") == "pods",
    ),
    (
        SpanQuery(attributes={"http.response.status_code": "404"}, limit=1_500),
        lambda span: span["attributes"].get("http.response.status_code") == "404",
    ),
    (SpanQuery(error=True), lambda span: span["error"]),
    (SpanQuery(attributes={"no.such.key": "x"}), lambda _: False),
    (SpanQuery(service="nobody"), lambda _: False),
]


@pytest.mark.parametrize(("query", "fits"), QUERIES)
def test_the_traces_that_are_found_are_those_of_a_plain_loop(query, fits, capture_136):
    """In one population and in three, whose traces are torn apart."""
    spans = recorded(capture_136)
    batches = batches_of(capture_136)
    whole = Traces(Populations(k8strace.decode(batches)))
    torn = Traces(Populations(*(k8strace.decode(batches[at::3]) for at in range(3))))
    wanted = expected(spans, fits, query.limit)
    for traces in (whole, torn):
        found = traces.find(query)
        assert [each.trace_id for each in found] == wanted
        counts: dict[str, int] = {}
        for span in spans:
            counts[span["trace"]] = counts.get(span["trace"], 0) + 1
        assert [each.spans for each in found] == [counts[trace] for trace in wanted]


def test_what_came_twice_is_there_once(capture_136):
    spans = k8strace.read(capture_136)
    once, twice = Traces(Populations(spans)), Traces(Populations(spans, spans))
    query = SpanQuery(service="apiserver", limit=30)
    assert [each.spans for each in twice.find(query)] == [each.spans for each in once.find(query)]
    assert twice.dependencies(0, END) == once.dependencies(0, END)


def test_a_large_trace_is_cut_and_says_so(monkeypatch, capture_136):
    monkeypatch.setattr("k8strace.query.traces.MOST_SPANS", 5)
    from k8strace.query.jaeger.answers import trace_documents

    traces = Traces(Populations(k8strace.read(capture_136)))
    (whole,) = expected(recorded(capture_136), lambda span: span["name"] == "Create etcd3", 1)
    (document,) = map(json.loads, trace_documents(traces.get([whole])))
    count = sum(span["trace"] == whole for span in recorded(capture_136))
    assert len(document["spans"]) == 5
    assert document["warnings"] == [f"{count - 5} more spans are not shown"]


def asked(app: Any, path: str, query: bytes = b"", method: str = "GET") -> tuple[int, bytes]:
    """What an application answers."""
    sent: list[Any] = []

    async def send_event(event: Any) -> None:
        sent.append(event)

    raw = path.encode("utf-8", "surrogateescape")
    scope = {"type": "http", "method": method, "path": path, "raw_path": raw, "headers": []}
    asyncio.run(app(scope | {"query_string": query}, None, send_event))
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(dirty_batches(full=True))
def test_any_dirty_trace_is_answered(batches_of_it):
    """In JSON that any parser takes, by every path that shows it."""
    spans = k8strace.decode([message.SerializeToString() for message in batches_of_it])
    app = query_app(Traces(Populations(spans)))
    ever = b"query.startTimeMin=1970-01-01T00:00:00Z&query.startTimeMax=2200-01-01T00:00:00Z"
    targets = [
        ("/api/services", b""),
        ("/api/v3/services", b""),
        ("/api/dependencies", b"endTs=9999999999999"),
    ]
    targets += [("/api/v3/traces", ever), ("/api/v3/trace-summaries", ever)]
    for trace_id in {each for each in spans.column("trace_id").to_pylist() if each}:
        targets += [(f"/api/traces/{trace_id}", b""), (f"/api/v3/traces/{trace_id}", b"")]
    for path, query in targets:
        status, body = asked(app, path, query)
        assert status in (200, 404), (path, body)
        json.loads(body, parse_constant=pytest.fail)


@given(st.text(max_size=30), st.binary(max_size=60), st.sampled_from(["GET", "HEAD", "POST", "BREW"]))
def test_any_request_is_answered(path, query, method):
    app = query_app(Traces(Populations()))
    for begin in ("/", "/api/traces/", "/api/v3/", "/api/services/"):
        status, _ = asked(app, begin + path, query, method)
        assert status in (200, 400, 404, 405)


# ── Serving ───────────────────────────────────────────────────────────────────────────────────────────────────────────

READ = ("--query", "127.0.0.1:0", "--query-grpc", "127.0.0.1:0", "--window", "1s")


def send(address: str, path: Path) -> None:
    with grpc.insecure_channel(address) as channel:
        for batch in batches_of(path):
            channel.unary_unary(EXPORT)(batch, timeout=60, wait_for_ready=True)


def settle(api: Api, spans: int) -> None:
    """Until so many spans can be found."""
    deadline = time.monotonic() + 60
    while True:
        found = api.get("/api/v3/trace-summaries", **EVER, **{"query.searchDepth": 1_500})[1]
        found_spans = sum(each["spanCount"] for each in found["summaries"])
        if found_spans >= spans:
            return
        assert time.monotonic() < deadline, f"{found_spans} spans of {spans}"
        time.sleep(0.3)


EVER = {"query.startTimeMin": "2020-01-01T00:00:00Z", "query.startTimeMax": "2100-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A thousand spans of whole traces."""
    path = Path(__file__).parent / "data" / "k8s-1.36_etcd-3.6.otlp.zst"
    spans = recorded(path)
    chosen = set(
        expected(spans, lambda span: span["name"] in ("Create etcd3", "Update", "List etcd3", "Get"), 90)
    )
    data = TracesData()
    for batch in batches_of(path):
        for resource in TracesData.FromString(batch).resource_spans:
            for scope in resource.scope_spans:
                kept = [span for span in scope.spans if span.trace_id.hex() in chosen]
                if kept:
                    del scope.spans[:]
                    scope.spans.extend(kept)
                else:
                    scope.Clear()
            data.resource_spans.append(resource)
    found = tmp_path_factory.mktemp("small") / "small.otlp"
    found.write_bytes(data.SerializeToString())
    return found


@pytest.fixture(scope="module")
def held(small) -> Iterator[SimpleNamespace]:
    """`serve` that holds them."""
    with serving(*READ) as process:
        api = Api(process.address("query"))
        send(process.address("grpc"), small)
        settle(api, len(recorded(small)))
        yield SimpleNamespace(api=api, storage=process.address("query-grpc"), otlp=process.address("grpc"))


def test_services_and_operations(held, small):
    spans = recorded(small)
    services = sorted({span["service"] for span in spans})
    assert held.api.get("/api/services") == (
        200,
        {"data": services, "total": len(services), "limit": 0, "offset": 0, "errors": None},
    )
    assert held.api.get("/api/v3/services")[1] == {"services": services}
    for service in services:
        names = sorted({span["name"] for span in spans if span["service"] == service})
        assert held.api.get(f"/api/services/{service}/operations")[1]["data"] == names
        assert (
            sorted(
                {
                    each["name"]
                    for each in held.api.get("/api/v3/operations", service=service)[1]["operations"]
                }
            )
            == names
        )
    assert held.api.get("/api/services/nobody/operations")[1]["data"] == []
    assert held.api.get("/api/operations", service="etcd", spanKind="client")[1]["data"] == []


def test_a_trace_has_what_k8strace_says_of_it(held, small):
    """Components and critical ns of the library, as tags; parts of a request sum to its wall time."""
    requests = k8strace.join(k8strace.read(small))
    by_id = {request.trace_id: request for request in requests.outermost()}
    one = requests.slowest(1)[0]
    status, answer = held.api.get(f"/api/traces/{one.trace_id}")
    assert status == 200
    tags = [{tag["key"]: tag["value"] for tag in span["tags"]} for span in answer["data"][0]["spans"]]
    assert sum(each.get("k8strace.critical_ns", 0) for each in tags) == by_id[one.trace_id].wall_ns
    assert {each["k8strace.component"] for each in tags if "k8strace.component" in each} >= {
        "apiserver",
        "etcd",
    }
    assert held.api.get(f"/api/traces/{one.trace_id.upper()}") == (status, answer)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/traces/00000000000000000000000000000001", 404),
        ("/api/traces/x", 400),
        ("/api/traces", 400),
        ("/api/traces?service=s&limit=x", 400),
        ("/api/operations", 400),
        ("/api/v3/traces", 400),
        ("/api/v3/traces/00000000000000000000000000000001", 404),
        ("/api/nothing", 404),
        ("/", 404),
        ("/api/traces/%ff", 400),
        ("/api/traces?" + "a=b&" * 200, 400),
    ],
)
def test_refusals_are_json_with_a_status(held, target, status):
    code, answer = held.api.get_raw(target)
    assert code == status
    if target.startswith("/api/v3"):
        assert answer["error"]["httpCode"] == status
    else:
        assert answer["errors"][0]["code"] == status


GRAFANA = {
    "data": [
        {
            "traceID": str,
            "warnings": [str],
            "processes": {"": {"serviceName": str, "tags": [{"key": str, "type": str, "value": object}]}},
            "spans": [
                {
                    "traceID": str,
                    "spanID": str,
                    "processID": str,
                    "operationName": str,
                    "startTime": int,
                    "duration": int,
                    "logs": [{"timestamp": int, "fields": [{"key": str, "type": str, "value": object}]}],
                    "references": [{"refType": str, "spanID": str, "traceID": str}],
                    "tags": [{"key": str, "type": str, "value": object}],
                    "warnings": [str],
                }
            ],
        }
    ],
    "limit": int,
    "offset": int,
    "total": int,
    "errors": object,
}
"""The fields of Grafana's client, `pkg/tsdb/jaeger/types/types.go`, and their types; null is any slice."""


def fits(value: Any, shape: Any) -> bool:
    """Would Go's decoder take this value for this type?"""
    if isinstance(shape, list):
        return value is None or (isinstance(value, list) and all(fits(each, shape[0]) for each in value))
    if isinstance(shape, dict) and "" in shape:
        return isinstance(value, dict) and all(fits(each, shape[""]) for each in value.values())
    if isinstance(shape, dict):
        return (
            isinstance(value, dict)
            and set(value) == set(shape)
            and all(fits(value[key], shape[key]) for key in shape)
        )
    return isinstance(value, shape) and (shape is not int or not isinstance(value, bool))


def test_grafanas_client_reads_the_answers(held):
    """Its search sends no times: nothing of a recording of the past is found, and the frame is right all the same."""
    code, answer = held.api.get("/api/traces", service="apiserver", start=1, end=4 * 10**15, limit=1_500)
    assert code == 200
    assert answer["data"]
    assert fits(answer, GRAFANA)
    code, empty = held.api.get("/api/traces", service="apiserver", limit=20, start=1, end=2)
    assert (code, empty["data"]) == (200, [])
    trace_id = answer["data"][0]["traceID"]
    assert held.api.get(f"/api/traces/{trace_id}", start=1, end=2)[1]["data"] == answer["data"][:1]
    names = {"data": [str], "limit": int, "offset": int, "total": int, "errors": object}
    for path in ("/api/services", "/api/services/apiserver/operations"):
        code, answer = held.api.get(path)
        assert code == 200
        assert answer["data"]
        assert fits(answer, names)
    links = held.api.get("/api/dependencies", endTs=4 * 10**12, lookback=4 * 10**12)[1]["data"]
    assert links
    assert fits(links, [{"parent": str, "child": str, "callCount": int}])


@pytest.mark.slow
def test_a_reader_needs_the_token(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    with serving(*READ, "--query-token-file", str(tokens)) as process:
        address = process.address("query")
        assert Api(address).get("/api/services")[0] == 401
        assert Api(address, token="another-token-of-32-letters-or-more").get("/api/services")[0] == 401
        assert Api(address, token=TOKEN).get("/api/services")[0] == 200
        with grpc.insecure_channel(process.address("query-grpc")) as channel:
            services = channel.unary_unary("/jaeger.storage.v2.TraceReader/GetServices")
            with pytest.raises(grpc.RpcError) as refused:
                services(b"", timeout=20)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert services(b"", timeout=20, metadata=[("authorization", f"Bearer {TOKEN}")]) == b""


@pytest.mark.slow
def test_what_the_store_has_from_before_the_start_is_found(small, tmp_path):
    """Each span once, though some of it is joined again at the start."""
    with serving("--store", str(tmp_path)) as process:
        send(process.address("grpc"), small)
        process.stop()
    spans = recorded(small)
    (trace_id, *_) = expected(spans, lambda span: span["name"] == "Create etcd3", 1)
    with serving(*READ, "--store", str(tmp_path)) as process:
        api = Api(process.address("query"))
        status, answer = api.get(f"/api/traces/{trace_id}")
        assert status == 200
        assert len(answer["data"][0]["spans"]) == sum(span["trace"] == trace_id for span in spans)
        found = api.get("/api/traces", service="apiserver", limit=1_500, start=1, end=4 * 10**15)[1]["data"]
    assert sorted(trace["traceID"] for trace in found) == sorted(
        expected(spans, lambda span: span["service"] == "apiserver", 1_500)
    )


def test_beyond_this_machine_a_token_is_asked_for(capsys):
    from k8strace.cli import main

    for options in (["--query", "0.0.0.0:0"], ["--query-grpc", "0.0.0.0:0"]):
        assert main(["serve", *options, "--insecure-network"]) == 2
        assert "expected --query-token-file" in capsys.readouterr().err
    assert main(["serve", "--query", "0.0.0.0:0"]) == 2
    assert main(["serve", "--hold-spans", "5"]) == 2


def test_the_page_and_the_queries_hold_spans_once(monkeypatch):
    """One listener keeps them, whoever looks."""
    from k8strace.cli.commands import parser
    from k8strace.cli.serve import running, settings

    monkeypatch.setattr(running, "Receiver", lambda *_, **given: given)
    read = ["--page", "--query", "--query-grpc", "--hold-spans=5"]
    for some in (read, read[:1], read[1:2]):
        asked = parser().parse_args(["serve", *some])
        held = settings.held_of(asked)
        assert held is not None
        assert running._made(asked, held, [])["listeners"] == [held]
    assert settings.held_of(parser().parse_args(["serve"])) is None


# ── Remote storage ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_storage_has_the_traces(held, small):
    """By messages of our own table; that the table is Jaeger's, Jaeger says below."""
    with grpc.insecure_channel(held.storage) as channel:
        found = channel.unary_stream(
            "/jaeger.storage.v2.TraceReader/FindTraces",
            request_serializer=messages()["FindTracesRequest"].SerializeToString,
            response_deserializer=TracesData.FromString,
        )
        query = messages()["FindTracesRequest"](query={"service_name": "apiserver", "search_depth": 1_500})
        chunks = list(found(query, timeout=60))
    ids = [
        {
            span.trace_id.hex()
            for resource in chunk.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }
        for chunk in chunks
    ]
    assert all(len(each) == 1 for each in ids)
    wanted = expected(recorded(small), lambda span: span["service"] == "apiserver", 1_500)
    assert [each.pop() for each in ids] == wanted


PROTOS = ("trace_storage.proto", "dependency_storage.proto")


def test_the_table_of_messages_is_that_of_the_published_protos():
    """Field for field, where Go's module cache has them."""
    import re
    import subprocess

    folder = subprocess.run(
        ["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=False
    ).stdout.strip()
    files = (
        sorted(Path(folder).glob("github.com/jaegertracing/jaeger-idl@*/proto/storage/v2/*.proto"))
        if folder
        else []
    )
    if not files:
        pytest.skip("Jaeger's protos are not in Go's module cache")
    found = {}
    for file in files:
        text = re.sub(r"//[^\n]*", "", file.read_text())
        for name, body in re.findall(r"message (\w+) \{([^{}]*)\}", text):
            fields = re.findall(r"(repeated )?([\w.]+) (\w+) = (\d+);", body)
            found[name] = tuple(
                f"{field}: {repeated}{kind}"
                for repeated, kind, field, _ in sorted(fields, key=lambda each: int(each[3]))
            )
    shortened = {
        name: tuple(
            re.sub(
                r"\.google\.protobuf|\.opentelemetry\.proto\.common\.v1\.",
                lambda m: "google.protobuf" if "google" in m[0] else "",
                field,
            )
            for field in fields
        )
        for name, fields in FIELDS.items()
    }
    assert {name: found[name] for name in shortened} == shortened


# ── Jaeger itself ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def program() -> Path:
    return jaeger_program()


@pytest.fixture(scope="module")
def three(program, held, small, tmp_path_factory) -> Iterator[dict[str, Api]]:
    """Jaeger that has the recording in its own memory; Jaeger that has us as its storage; and we ourselves."""
    folder = tmp_path_factory.mktemp("jaeger")
    with (
        jaeger(program, folder) as (own, otlp),
        jaeger(program, folder, REMOTE.format(address=held.storage)) as (remote, _),
    ):
        send(otlp, small)
        yield {"own": own, "remote": remote, "ours": held.api}


TIMES = {"start": 1_600_000_000_000_000, "end": 4_000_000_000_000_000}

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/api/services", {}),
    ("/api/services/apiserver/operations", {}),
    ("/api/services/etcd/operations", {}),
    ("/api/services/nobody/operations", {}),
    ("/api/operations", {"service": "apiserver"}),
    ("/api/operations", {"service": "apiserver", "spanKind": "client"}),
    ("/api/dependencies", {"endTs": 4_000_000_000_000, "lookback": 3_000_000_000_000}),
    ("/api/traces", {"service": "apiserver", "limit": 1_500, **TIMES}),
    ("/api/traces", {"service": "etcd", "limit": 1_500, **TIMES}),
    ("/api/traces", {"service": "apiserver", "operation": "Create etcd3", "limit": 1_500, **TIMES}),
    ("/api/traces", {"service": "apiserver", "minDuration": "20ms", "limit": 1_500, **TIMES}),
    ("/api/traces", {"service": "apiserver", "maxDuration": "2ms", "limit": 1_500, **TIMES}),
    (
        "/api/traces",
        {"service": "etcd", "minDuration": "1ms", "maxDuration": "10ms", "limit": 1_500, **TIMES},
    ),
    (
        "/api/traces",
        {"service": "apiserver", "tags": '{"http.request.method":"POST"}', "limit": 1_500, **TIMES},
    ),
    (
        "/api/traces",
        {"service": "apiserver", "tag": "http.response.status_code:404", "limit": 1_500, **TIMES},
    ),
    ("/api/traces", {"service": "apiserver", "limit": 1_500, "start": 1, "end": 2}),
]


def _sorted(value: Any) -> Any:
    """The same with no order in it, without what k8strace adds, and without Jaeger's own notes."""
    if isinstance(value, list):
        return sorted(
            (_sorted(each) for each in value if not _is_ours(each)),
            key=lambda each: json.dumps(each, sort_keys=True),
        )
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in value.items()}
    return value


def _is_ours(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("key", "")).startswith("k8strace.")


def durations(answer: Any) -> dict[tuple[str, str], int]:
    traces = [trace for trace in answer["data"] or () if isinstance(trace, dict)]
    return {
        (span["traceID"], span["spanID"]): span["duration"]
        for trace in traces
        for span in trace.get("spans", ())
    }


def as_jaeger_cuts(answer: Any, own: Any) -> Any:
    """
    Our spans with Jaeger's durations, where they are a µs apart.

    We cut start and end, so that no child ends after its parent by that alone; Jaeger cuts start and duration.
    """
    theirs = durations(own)
    for trace in answer["data"] or ():
        for span in trace.get("spans", ()) if isinstance(trace, dict) else ():
            cut = theirs.get((span["traceID"], span["spanID"]), -9)
            span["duration"] = cut if 0 <= span["duration"] - cut <= 1 else span["duration"]
    return answer


def plain(answer: Any) -> Any:
    """
    Spans with their processes in them, whatever those are numbered; warnings left out, for ours are repairs.

    Where Jaeger has nothing it says null now and an empty list then; to its page and to Grafana both are none.
    """
    answer["data"] = answer["data"] or []
    if isinstance(answer["data"], list):
        for trace in answer["data"]:
            if isinstance(trace, dict) and "spans" in trace:
                trace.pop("warnings")
                for span in trace["spans"]:
                    span["process"] = trace["processes"][span.pop("processID")]
                    span["warnings"] = None
                trace["processes"] = None
    return _sorted(answer["data"])


@pytest.mark.slow
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize(("path", "asked"), ASKED, ids=lambda each: str(each)[:80])
def test_jaeger_and_we_answer_alike(three, path, asked):
    """Its own memory, its remote storage that we are, and our API: the same traces, spans, tags and counts."""
    answers = {name: api.get(path, **asked) for name, api in three.items()}
    assert {name: status for name, (status, _) in answers.items()} == dict.fromkeys(three, 200)
    as_jaeger_cuts(answers["ours"][1], answers["own"][1])
    own, remote, ours = (plain(answers[name][1]) for name in ("own", "remote", "ours"))
    assert ours == own
    assert remote == own


@pytest.mark.slow
@pytest.mark.timeout(2_400)
def test_a_trace_of_jaegers_is_ours(three, small):
    (trace_id, *_) = expected(recorded(small), lambda span: span["name"] == "Create etcd3", 1)
    answers = {name: api.get(f"/api/traces/{trace_id}") for name, api in three.items()}
    assert {status for status, _ in answers.values()} == {200}
    as_jaeger_cuts(answers["ours"][1], answers["own"][1])
    own, remote, ours = (plain(answers[name][1]) for name in ("own", "remote", "ours"))
    assert own == remote == ours
    told = [
        tag
        for span in three["remote"].get(f"/api/traces/{trace_id}")[1]["data"][0]["spans"]
        for tag in span["tags"]
    ]
    assert {tag["value"] for tag in told if tag["key"] == "k8strace.component"} >= {"apiserver", "etcd"}


@pytest.mark.slow
@pytest.mark.timeout(2_400)
def test_the_third_api_is_jaegers(three, small):
    (trace_id, *_) = expected(recorded(small), lambda span: span["name"] == "Create etcd3", 1)
    own, ours = (three[name].get(f"/api/v3/traces/{trace_id}")[1]["result"] for name in ("own", "ours"))
    kept = ("traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano")

    def spans(result: Any) -> Any:
        found = [
            {key: str(span[key]) for key in kept if span.get(key)}
            for resource in result["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
        return _sorted(found)

    assert spans(ours) == spans(own)
    assert (
        three["own"].get("/api/v3/services")[1]["services"].sort()
        == three["ours"].get("/api/v3/services")[1]["services"].sort()
    )


@pytest.mark.slow
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize(
    "target",
    [
        "/api/traces?service=s&limit=x",
        "/api/traces?service=s&start=x",
        "/api/traces?service=s&minDuration=5",
        "/api/traces?service=s&minDuration=5s&maxDuration=1s",
        "/api/traces?service=s&tag=x",
        "/api/traces?service=s&tags=x",
        "/api/traces",
        "/api/operations",
        "/api/traces/xyz",
        "/api/traces/00000000000000000000000000000001",
        "/api/dependencies?endTs=x",
    ],
)
def test_jaeger_refuses_what_we_refuse(three, target):
    answers = {name: three[name].get_raw(target) for name in ("own", "ours")}
    assert answers["own"][0] == answers["ours"][0]
    assert answers["own"][1]["errors"][0]["code"] == answers["ours"][1]["errors"][0]["code"]
