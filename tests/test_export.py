"""What goes out is read by the target's own reader, sums to the library's totals, and comes back as it was."""

import csv
import functools
import gzip
import io
import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import pytest
from browsing import chromium
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace
from k8strace.export import FORMATS, export
from k8strace.export.otlp import otlp_requests
from k8strace.formats import messages

DATA = Path(__file__).parent / "data"
CAPTURE = DATA / "k8s-1.31_etcd-3.5.otlp.zst"


@pytest.fixture(scope="module")
def sent():
    """The first messages of the recording: enough for every kind of repair."""
    wires = (each.wire for each in messages(CAPTURE) if hasattr(each, "wire"))
    return [bytes(wire) for wire in islice(wires, 8)]


@pytest.fixture(scope="module")
def requests(sent):
    return k8strace.join(k8strace.decode(sent))


@pytest.fixture(scope="module")
def totals(requests):
    return k8strace.attribute(requests).totals


def by_phase(stacks):
    """Sums of weights by the innermost frame."""
    sums = Counter()
    for frames, ns in stacks:
        sums[frames[-1]] += ns
    return dict(sums)


# ---- stacks ----


def test_folded_stacks_sum_to_the_totals(requests, totals, tmp_path):
    """By flamegraph.pl's grammar: what is before the last space, split at `;`."""
    lines = requests.to_folded(tmp_path / "x").read_text().splitlines()
    parsed = [re.fullmatch(r"(.+) (\d+)", line).groups() for line in lines]
    assert by_phase((stack.split(";"), int(ns)) for stack, ns in parsed) == totals


def test_speedscope_sums_to_the_totals(requests, totals, tmp_path):
    """Weights by sample, in ns; the profile is as long as their sum."""
    document = json.loads(requests.to_speedscope(tmp_path / "x").read_text())
    (profile,) = document["profiles"]
    frames = [frame["name"] for frame in document["shared"]["frames"]]
    samples = [[frames[at] for at in sample] for sample in profile["samples"]]
    assert by_phase(zip(samples, profile["weights"], strict=True)) == totals
    assert (profile["startValue"], profile["endValue"]) == (0, sum(profile["weights"]))


@pytest.fixture(scope="session")
def speedscope(tmp_path_factory):
    """The folder of speedscope's own page, out of its package."""
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("npm is not here")
    folder = tmp_path_factory.mktemp("speedscope")
    fetched = subprocess.run(
        [npm, "pack", "speedscope@1.25.0"], cwd=folder, capture_output=True, timeout=60, check=False
    )
    if fetched.returncode:
        pytest.skip("speedscope's package cannot be had from npm")
    shutil.unpack_archive(next(folder.glob("*.tgz")), folder)
    return folder / "package/dist/release"


def test_speedscopes_own_schema_accepts_it(requests, speedscope, tmp_path):
    """By the JSON schema in its npm package."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((speedscope / "file-format-schema.json").read_text())
    jsonschema.validate(json.loads(requests.to_speedscope(tmp_path / "x").read_text()), schema)


ROW = re.compile(r"^\S+ \(\S+\)\n\t(\S+) \(\S+\)\n\t(.+)$", re.MULTILINE)
"""Total, self and name, as the page shows them."""


def shown_ns(text: str) -> float:
    """`49:21`, `11.84s`, `611.20ms`, `3.10µs`."""
    minutes, colon, seconds = text.partition(":")
    if colon:
        return (60 * int(minutes) + int(seconds)) * 1e9
    number, unit = re.fullmatch(r"([\d.]+)(s|ms|µs|ns)", text).groups()
    return float(number) * {"s": 1e9, "ms": 1e6, "µs": 1e3, "ns": 1}[unit]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_speedscope_itself_shows_the_totals(requests, totals, speedscope):
    """Its page imports the file, and its own sums of self time are ours, as far as it shows digits."""
    requests.to_speedscope(speedscope / "ours.speedscope.json")
    serve = functools.partial(QuietFiles, directory=str(speedscope))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server, chromium() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        page = browser.new_page(viewport={"width": 1200, "height": 4000})
        page.goto(f"{root}/index.html#profileURL={quote(root, safe='')}/ours.speedscope.json&view=sandwich")
        page.wait_for_function("document.body.innerText.includes('Symbol Name')", timeout=60_000)
        found = {name: shown_ns(text) for text, name in ROW.findall(page.inner_text("body"))}
        page.close()
        server.shutdown()
    largest = [name for name, ns in totals.items() if ns > 1_000_000]
    assert len(largest) > 10
    for name in largest:
        assert found[name] == pytest.approx(totals[name], rel=0.01), name


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_go_reads_the_profile_and_sees_the_totals(requests, totals, tmp_path):
    """`go tool pprof`: the flat value of each phase, and the total."""
    go = shutil.which("go")
    if not go:
        pytest.skip("go is not here")
    path = requests.to_pprof(tmp_path / "x.pb.gz")
    shown = subprocess.run(
        [
            go,
            "tool",
            "pprof",
            "-top",
            "-nodecount=100000",
            "-nodefraction=0",
            "-unit=ns",
            "-sample_index=wall",
            str(path),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    rows = re.findall(r"^\s*(\d+)ns\s+\S+\s+\S+\s+\S+\s+\S+\s+(.+)$", shown.stdout, re.MULTILINE)
    assert {name: int(ns) for ns, name in rows if int(ns)} == totals


def test_a_stack_that_is_too_deep_keeps_its_weight(tmp_path):
    """A chain of 3,000 spans: as many frames as are allowed, and all of the time."""
    batch = ExportTraceServiceRequest()
    resource_spans = batch.resource_spans.add()
    name = resource_spans.resource.attributes.add(key="service.name")
    name.value.string_value = "apiserver"
    scope = resource_spans.scope_spans.add()
    scope.scope.name = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
    for at in range(3000):
        scope.spans.add(
            trace_id=b"t" * 16,
            span_id=(at + 1).to_bytes(8, "big"),
            parent_span_id=at.to_bytes(8, "big") if at else b"",
            name="HTTP GET;x\ny",
            kind=2 if not at else 1,
            start_time_unix_nano=1_000_000 + at,
            end_time_unix_nano=2_000_000 - at,
        )
    deep = k8strace.join(k8strace.decode(batch))
    assert len(deep) == 1
    lines = deep.to_folded(tmp_path / "x").read_text().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == deep[0].wall_ns
    assert max(line.count(";") for line in lines) < 510
    assert any("HTTP GET,x y" in line for line in lines)


# ---- Perfetto ----


@pytest.mark.slow
def test_perfettos_own_classes_read_the_trace(requests, totals, tmp_path):
    """Slices nest on every track; those of the critical path sum to the totals; every span of a request is one."""
    trace_pb2 = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    trace = trace_pb2.Trace.FromString(requests.to_perfetto(tmp_path / "x").read_bytes())
    named = {packet.track_descriptor.uuid for packet in trace.packet if packet.HasField("track_descriptor")}
    open_slices, critical, spans, last = {}, Counter(), 0, {}
    for packet in trace.packet:
        if not packet.HasField("track_event"):
            continue
        event, track = packet.track_event, packet.track_event.track_uuid
        assert track in named
        assert packet.timestamp >= last.get(track, 0)
        last[track] = packet.timestamp
        stack = open_slices.setdefault(track, [])
        if event.type == event.TYPE_SLICE_BEGIN:
            stack.append((packet.timestamp, event.name, event.categories[0]))
        else:
            start, name, category = stack.pop()
            critical[name] += (packet.timestamp - start) * (category == "critical")
            spans += category == "span"
    assert not any(open_slices.values())
    assert {name: ns for name, ns in critical.items() if ns} == totals
    assert spans == requests.joined.ledger.used["request"]


# ---- OTLP and Jaeger ----


def test_otlp_is_what_was_sent_to_the_last_field(requests, sent):
    """Without what is added: the official classes see the same messages, span by span."""
    there = [ExportTraceServiceRequest.FromString(wire) for wire in sent]
    back = [ExportTraceServiceRequest.FromString(wire) for wire in otlp_requests(requests, annotated=False)]

    def spans(batches):
        return [
            (of.resource, of.schema_url, within.scope, within.schema_url, span)
            for batch in batches
            for of in batch.resource_spans
            for within in of.scope_spans
            for span in within.spans
        ]

    assert spans(there) == spans(back)


@pytest.mark.parametrize("to", ["otlp", "otlp-json", "jaeger"])
def test_what_goes_out_comes_back_with_the_same_answers(requests, totals, to, tmp_path):
    """The same requests and parts, up to the µs of Jaeger's; what was told of each span beside it."""
    (path,) = export(requests, to, tmp_path / "x")
    back = k8strace.join(k8strace.read(path))
    assert (len(back), len(back.spans)) == (len(requests), len(requests.spans))
    again = k8strace.attribute(back).totals
    if to == "jaeger":
        for phase in totals | again:
            assert abs(totals.get(phase, 0) - again.get(phase, 0)) <= 2000 * len(requests.spans)
    else:
        assert again == totals
    told = back.spans.attributes("k8strace.critical_ns").to_pylist()
    inner = [row for row in requests if row.outer_request is None]
    assert sum(ns or 0 for ns in told) == sum(row.wall_ns for row in inner)
    assert set(back.spans.attributes("k8strace.component").to_pylist()) >= {"apiserver", "etcd"}


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [  # types of Jaeger's model.KeyValue; numbers that JavaScript has not are texts
        ({"string_value": 'a "b"\u00e9\n'}, "string", 'a "b"\u00e9\n'),
        ({"bool_value": True}, "bool", True),
        ({"int_value": -(2**53) + 1}, "int64", -(2**53) + 1),
        ({"int_value": 2**53}, "int64", str(2**53)),
        ({"double_value": 0.1}, "float64", 0.1),
        ({"double_value": float("inf")}, "string", "inf"),
        ({"bytes_value": b"\xff\x00"}, "binary", "/wA="),
        ({}, "string", ""),
    ],
)
def test_jaeger_gets_every_kind_of_value(value, kind, shown, tmp_path):
    """In tags of the process, the span and its events; what OTLP has in fields is in tags and references."""
    wire = ExportTraceServiceRequest()
    of = wire.resource_spans.add()
    of.resource.attributes.add(key="service.name").value.string_value = "s"
    within = of.scope_spans.add(scope={"name": "scope", "version": "1"})
    ids = {"trace_id": b"\1" * 16, "span_id": b"\2" * 8, "parent_span_id": b"\3" * 8}
    times = {"start_time_unix_nano": 1_999, "end_time_unix_nano": 5_000}
    span = within.spans.add(name="n", kind=2, trace_state="a=b", **ids, **times)
    span.status.code, span.status.message = 2, "bad"
    span.links.add(trace_id=b"\4" * 16, span_id=b"\5" * 8)
    event = span.events.add(name="e", time_unix_nano=3_000)
    for owner in (of.resource, span, event):
        attribute = owner.attributes.add(key="k")
        if value:
            setattr(attribute.value, *next(iter(value.items())))
    within.spans.add(trace_id=b"\1" * 16)  # without an id
    requests = k8strace.join(k8strace.decode(wire))
    (trace,) = json.loads(requests.to_jaeger(tmp_path / "j").read_text())["data"]
    tag = {"key": "k", "type": kind, "value": shown}
    texts = {
        "otel.scope.name": "scope",
        "otel.scope.version": "1",
        "span.kind": "server",
        "otel.status_code": "ERROR",
        "otel.status_description": "bad",
        "w3c.tracestate": "a=b",
    }
    assert trace == {
        "traceID": "01" * 16,
        "spans": [
            {
                "traceID": "01" * 16,
                "spanID": "02" * 8,
                "operationName": "n",
                "references": [
                    {"refType": "CHILD_OF", "traceID": "01" * 16, "spanID": "03" * 8},
                    {"refType": "FOLLOWS_FROM", "traceID": "04" * 16, "spanID": "05" * 8},
                ],
                "startTime": 1,
                "duration": 4,
                "tags": [
                    *({"key": key, "type": "string", "value": text} for key, text in texts.items()),
                    {"key": "error", "type": "bool", "value": True},
                    tag,
                ],
                "logs": [{"timestamp": 3, "fields": [{"key": "event", "type": "string", "value": "e"}, tag]}],
                "processID": "p1",
                "warnings": None,
            }
        ],
        "processes": {"p1": {"serviceName": "s", "tags": [tag]}},
        "warnings": None,
    }


@pytest.mark.slow
def test_repairs_are_attributes_and_warnings(requests, tmp_path):
    """Of the spans that were repaired, and of no others."""
    expected = {(row["trace_id"], row["span_id"]) for row in requests.repairs if row["request"] is not None}
    traces = json.loads(requests.to_jaeger(tmp_path / "j").read_text())["data"]
    warned = {
        (span["traceID"], span["spanID"]) for trace in traces for span in trace["spans"] if span["warnings"]
    }
    assert warned
    assert warned <= expected | {(row["trace_id"], row["span_id"]) for row in requests.repairs}
    spans = k8strace.read(requests.to_otlp(tmp_path / "o"))
    told = sum(each is not None for each in spans.attributes("k8strace.repairs").to_pylist())
    assert told == len(warned)


def test_a_selection_takes_the_spans_of_its_trees(requests, tmp_path):
    """And nothing else."""
    chosen = requests.where(verb="list").slowest(3)
    back = k8strace.join(k8strace.read(chosen.to_otlp(tmp_path / "x")))
    assert len(back.spans) == sum(request.spans for request in chosen)
    assert {request.span_id for request in back} >= {request.span_id for request in chosen}


# ---- tables ----


def test_a_parquet_file_of_spans_is_a_recording(requests, totals, tmp_path):
    """`read` takes it back with nothing lost."""
    pytest.importorskip("pyarrow")
    spans = k8strace.read(requests.to_parquet(tmp_path / "spans.parquet"))
    assert spans.sources[0].format == "parquet"
    there, back = requests.spans.to_arrow(), spans.to_arrow()
    assert back.drop_columns("scope_spans") == there.drop_columns("scope_spans")
    assert k8strace.attribute(k8strace.join(spans)).totals == totals


@pytest.mark.slow
def test_polars_pandas_and_duckdb_read_the_tables(requests, tmp_path):
    """Row counts, types and sums, by three readers; the version of the schema is in the file."""
    for name in ("polars", "pandas", "duckdb", "pyarrow"):
        pytest.importorskip(name)
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow.parquet as pq

    paths = {path.stem: path for path in export(requests, "parquet", tmp_path)}
    assert set(paths) == {"spans", "requests", "attribution"}
    for name, path in paths.items():
        metadata = pq.read_schema(path).metadata
        assert (metadata[b"k8strace.schema_version"], metadata[b"k8strace.table"]) == (b"1", name.encode())
    assert pl.read_parquet(paths["spans"]).height == len(requests.spans)
    assert len(pd.read_parquet(paths["requests"])) == len(requests)
    rows = duckdb.sql(
        f"select phase, sum(ns)::bigint from '{paths['attribution']}' group by phase"
    ).fetchall()
    everything = k8strace.attribute(requests)
    expected = Counter()
    for request in requests:
        expected.update(everything[request].phases)
    assert dict(rows) == dict(expected)
    ((critical,),) = duckdb.sql(f"select sum(critical_ns)::bigint from '{paths['spans']}'").fetchall()
    assert critical == sum(row.wall_ns for row in requests if row.outer_request is None)


def test_arrow_files_are_read_without_copying(requests, tmp_path):
    """By pyarrow and polars."""
    pyarrow = pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    path = requests.to_arrow_file(tmp_path / "requests.arrow", table="requests")
    assert pyarrow.ipc.open_file(path).read_all().num_rows == len(requests)
    assert polars.read_ipc(path).height == len(requests)


@pytest.mark.slow
def test_csv_is_read_back_and_holds_no_formulas(requests, tmp_path):
    """By the standard library; a text that begins as a formula does is a text."""
    pytest.importorskip("pyarrow")
    for path in export(requests, "csv", tmp_path):
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode())))
        assert len(rows) == {"spans": len(requests.spans), "requests": len(requests)}.get(
            path.stem, len(rows)
        )
        if path.stem == "requests":
            assert [int(row["wall_ns"]) for row in rows] == requests.column("wall_ns").to_pylist()
        assert not any(cell and cell[0] in "=+@\t\r" for row in rows for cell in row.values())


def test_a_formula_in_a_name_is_guarded(tmp_path):
    """What a client writes into its user agent is not run by who opens the table."""
    batch = ExportTraceServiceRequest()
    for resource_spans in load_first().resource_spans:
        batch.resource_spans.append(resource_spans)
    for resource_spans in batch.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                for attribute in span.attributes:
                    if attribute.key in ("http.user_agent", "user_agent.original"):
                        attribute.value.string_value = "=cmd|' /C calc'!A0"
    requests = k8strace.join(k8strace.decode(batch))
    text = requests.to_csv(tmp_path / "x.csv").read_text()
    assert "'=cmd|" in text
    assert ",=cmd" not in text


def load_first() -> ExportTraceServiceRequest:
    """The first requests of the capture, in one."""
    wires = [bytes(each.wire) for each in messages(CAPTURE) if hasattr(each, "wire")]
    return ExportTraceServiceRequest.FromString(b"".join(wires[:6]))


# ---- the command ----


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_the_command_writes_every_format(to, tmp_path):
    """One line on stderr for each file; exit code 0."""
    if to in ("parquet", "arrow"):
        pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "k8strace",
            "export",
            CAPTURE,
            "--where",
            "verb=list",
            "--to",
            to,
            "--out",
            out,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("wrote") == (3 if to in ("parquet", "arrow", "csv") else 1)
    assert not list(tmp_path.rglob(".*partial"))


def test_a_file_that_is_not_whole_is_not_left(requests, tmp_path, monkeypatch):
    """An error while writing leaves what was there before."""
    from k8strace.export import writing

    def breaks(_):
        yield b"half"
        raise OSError("no space")

    (tmp_path / "x").write_text("before")
    monkeypatch.setitem(writing._STREAMS, "folded", breaks)
    with pytest.raises(OSError, match="no space"):
        requests.to_folded(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "before"


@pytest.mark.parametrize("to", FORMATS)
def test_an_error_names_the_file_that_was_asked_for(requests, to, tmp_path):
    """Not the one that is written first."""
    if to in ("parquet", "arrow"):
        pytest.importorskip("pyarrow")
    out = tmp_path / "nowhere" / f"x.{to}"
    with pytest.raises(FileNotFoundError) as told:
        export(requests, to, out)
    assert told.value.filename == str(out)


@pytest.mark.parametrize("to", ["parquet", "arrow", "csv"])
def test_tables_do_not_go_to_standard_output(requests, to):
    """They went into a directory named so."""
    with pytest.raises(k8strace.FormatError, match="tables do not go to standard output"):
        export(requests, to, "-")


def test_pprof_is_the_same_bytes_each_time(requests, tmp_path):
    """No times of the writing in it."""
    first, second = (requests.to_pprof(tmp_path / name).read_bytes() for name in "ab")
    assert first == second
    assert gzip.decompress(first)
