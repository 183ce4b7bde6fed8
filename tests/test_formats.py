"""Every format means the same spans, damage at the end is survived, and nothing is guessed twice."""

import base64
import contextlib
import gzip
import io
import itertools
import json
import random
import struct
import subprocess
import sys

import hypothesis.strategies as st
import pytest
import strategies
import zstandard
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace
from k8strace import formats
from k8strace.formats import Issue, Message, Source, messages
from k8strace.formats.content import Content

# ---- other people's encoders ----------------------------------------------------------------------


def hex_ids(value):
    """The official JSON with OTLP's one change: ids in hexadecimal."""
    if isinstance(value, list):
        return [hex_ids(each) for each in value]
    if not isinstance(value, dict):
        return value
    ids = {"traceId", "spanId", "parentSpanId"}
    return {key: decoded(each) if key in ids else hex_ids(each) for key, each in value.items()}


def decoded(text):
    return base64.b64decode(text).hex()


def otlp_json(request, **options):
    """OTLP JSON of a request, by the official classes and `hex_ids`."""
    return json.dumps(hex_ids(MessageToDict(request, use_integers_for_enums=True)), **options).encode()


def frames(payloads):
    return b"".join(struct.pack(">I", len(payload)) + payload for payload in payloads)


def zstd(data):
    return zstandard.ZstdCompressor(1, write_checksum=True).compress(data)


def lines(documents):
    return b"".join(document + b"\n" for document in documents)


WRAPPINGS = {"": lambda data: data, "+gzip": lambda data: gzip.compress(data, 1), "+zstd": zstd}


@pytest.fixture(scope="session")
def requests(capture_136):
    """The first requests of a real capture, read without our code."""
    data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(capture_136.read_bytes())).read()
    found, at = [], 0
    while at < len(data) and len(found) < 7:
        (size,) = struct.unpack_from(">I", data, at)
        found.append(ExportTraceServiceRequest.FromString(data[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


@pytest.fixture(scope="session")
def wires(requests):
    return [request.SerializeToString() for request in requests]


@pytest.fixture(scope="session")
def contents(requests, wires):
    """By format: a content, and how many batches it holds."""
    documents = [otlp_json(request) for request in requests]
    merged = ExportTraceServiceRequest.FromString(b"".join(wires))
    wrapped = [b'{"result":' + document + b"}" for document in documents]
    return {
        "proto-frames": (frames(wires), len(wires)),
        "proto": (b"".join(wires), 1),
        "json": (otlp_json(merged, indent=1), 1),
        "json-lines": (lines(documents), len(wires)),
        "zstd-frames": (frames(zstd(wire) for wire in wires), len(wires)),
        "zstd-frames of JSON": (frames(zstd(document) for document in documents), len(wires)),
        "json-lines of Jaeger": (lines(wrapped), len(wires)),
    }


CONTENTS = [
    "proto-frames",
    "proto",
    "json",
    "json-lines",
    "zstd-frames",
    "zstd-frames of JSON",
    "json-lines of Jaeger",
]


def found(source, **options):
    """What `messages` gives: official requests, sources, issues."""
    items = list(messages(source, **options))
    parsed = [
        ExportTraceServiceRequest.FromString(bytes(item.wire)) for item in items if isinstance(item, Message)
    ]
    return parsed, [item for item in items if isinstance(item, Source)], issues_of(items)


def issues_of(items):
    return [item for item in items if isinstance(item, Issue)]


def merged(requests):
    """All requests as one: what they hold, however they are split."""
    return ExportTraceServiceRequest(
        resource_spans=itertools.chain(*(each.resource_spans for each in requests))
    )


def span_count(requests):
    return sum(
        len(scope.spans) for each in requests for res in each.resource_spans for scope in res.scope_spans
    )


def columns(spans):
    """The span table as Python values, without the envelope's row numbers, which count batches."""
    arrow = pytest.importorskip("pyarrow")
    return arrow.table(spans).drop_columns(["scope_spans"]).to_pylist()


# ---- the same spans from every format -------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_holds_the_same_requests(name, wrapping, contents, requests):
    """Sniffed without a hint, named as what it is, counted to the byte."""
    content, batches = contents[name]
    parsed, _, issues = found(WRAPPINGS[wrapping](content))
    assert merged(parsed) == merged(requests)
    assert not issues
    spans = k8strace.read(WRAPPINGS[wrapping](content))
    assert spans.sources == (Source("<bytes>", name.split()[0] + wrapping, len(content), batches),)
    assert len(spans) == span_count(requests)


@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_equal_columns(name, contents, wires):
    """Column by column what the plain requests give."""
    assert columns(k8strace.read(contents[name][0])) == columns(k8strace.decode(wires))


@pytest.mark.parametrize("name", CONTENTS)
def test_a_format_that_is_named_is_not_guessed(name, contents, requests):
    """The reported name is one that `format=` takes."""
    content, _ = contents[name]
    for wrapping, wrap in WRAPPINGS.items():
        parsed, (source, *_), _ = found(wrap(content), format=name.split()[0] + wrapping)
        assert merged(parsed) == merged(requests)
        assert source.format == name.split()[0] + wrapping


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("batch_bytes", [1, 300_000, 1 << 30])
def test_scan_and_read_come_to_the_same_answer(name, batch_bytes, contents, tmp_path):
    """Same rows in the same order, sources that add up, whatever the size of a piece."""
    path = tmp_path / "capture.gz"
    path.write_bytes(gzip.compress(contents[name][0], 1) * 2 if name != "json" else contents[name][0])
    whole, parts = k8strace.read(path), list(k8strace.scan(path, batch_bytes=batch_bytes))
    assert [row for part in parts for row in columns(part)] == columns(whole)
    rows = [row for part in parts for row in part.sources]
    assert {row[:2] for row in rows} == {row[:2] for row in whole.sources}
    assert [sum(row[at] for row in rows) for at in (2, 3)] == list(whole.sources[0][2:])
    assert all(len(part) for part in parts)


@pytest.mark.slow
@given(strategies.dirty_batches(full=True))
def test_json_means_what_protobuf_means(batches):
    """Any request, through OTLP JSON and our reader, is the same message for the official classes."""
    parsed, _, _ = found(lines(otlp_json(request) for request in batches), format="json-lines")
    # As text, because JSON has but one NaN, and text compares it.
    assert list(map(str, parsed)) == list(map(str, batches))


def test_the_sdk_s_own_json_file_is_read(tmp_path):
    """The Python SDK's file exporter writes what we read."""
    exporters = pytest.importorskip("opentelemetry.exporter.otlp.json.file.trace_exporter")
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    path = tmp_path / "spans.jsonl"
    processor = trace.export.SimpleSpanProcessor(exporters.FileSpanExporter(path))
    provider = trace.TracerProvider()
    provider.add_span_processor(processor)
    with provider.get_tracer("here").start_as_current_span("a", attributes={"n": 1, "x": [1.5, 2.5]}) as span:
        context = span.get_span_context()
    provider.shutdown()
    (request,), (source,), _ = found(path)
    (written,) = request.resource_spans[0].scope_spans[0].spans
    assert source.format == "json-lines"
    assert written.trace_id == context.trace_id.to_bytes(16, "big")
    assert written.span_id == context.span_id.to_bytes(8, "big")
    assert [value.double_value for value in written.attributes[1].value.array_value.values] == [1.5, 2.5]


# ---- sources --------------------------------------------------------------------------------------


def test_every_kind_of_source_is_read(contents, wires, tmp_path):
    """Path, text, pattern, bytes and their kin, file, stream, pipe, several at once."""
    content, _ = contents["proto-frames"]
    for name in ("a[1].otlp", "b.otlp"):
        (tmp_path / name).write_bytes(content)
    path = tmp_path / "b.otlp"
    buffers = [bytearray(content), memoryview(content), io.BytesIO(content)]
    with path.open("rb") as file, subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as pipe:
        for source in [path, str(path), str(tmp_path / "a[1].otlp"), *buffers, file, pipe.stdout]:
            assert merged(found(source)[0]) == merged(found(content)[0])
    assert [row.path for row in found(str(tmp_path / "*.otlp"))[1]] == [
        str(tmp_path / "a[1].otlp"),
        str(path),
    ]
    both = found(each for each in (path, wires[0]))
    assert [row.path for row in both[1]] == [str(path), "<bytes>"]


def test_names_that_lead_nowhere_are_the_system_s_errors(tmp_path):
    """No file, no match, a folder, text instead of bytes."""
    for missing in (tmp_path / "none", str(tmp_path / "*.none")):
        with pytest.raises(FileNotFoundError):
            k8strace.read(missing)
    with pytest.raises(FileNotFoundError, match="expected files in the directory"):
        k8strace.read(tmp_path)
    with pytest.raises(TypeError, match="binary mode"):
        k8strace.read(io.StringIO("{}"))


@pytest.mark.parametrize(
    "blank",
    [
        b"",
        b" \r\n\t\n",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\r\n",
        gzip.compress(b"", mtime=0),
        zstandard.compress(b""),
    ],
)
def test_nothing_is_zero_batches(blank):
    """An empty source is no error, and is reported."""
    spans = k8strace.read(blank)
    assert (len(spans), [source.batches for source in spans.sources], spans.issues) == (0, [0], ())
    (part,) = k8strace.scan([blank, blank])
    assert len(part.sources) == 2


def test_scanning_begins_only_with_the_first_piece(tmp_path, contents):
    """A broken second file does not cost the first one's spans."""
    (tmp_path / "1").write_bytes(contents["proto-frames"][0])
    (tmp_path / "2").write_bytes(b"neither")
    pieces = k8strace.scan(str(tmp_path / "*"), batch_bytes=1)
    assert len(next(pieces)) > 0
    with pytest.raises(k8strace.FormatError):
        list(pieces)


# ---- sniffing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"hello, world",
        b"\nhello, world",
        b"\x00\x00\x00\x00" * 1000,
        b"\x00" * 100_000,
        b"\x00\x00\x00\x05hello",
        b"\x12\x03abc",
        b"{hello}",
        b'{"\x00"}',
        b"\xff\xfe{\x00",
        gzip.compress(gzip.compress(b'{"resourceSpans":[]}', mtime=0), mtime=0),
    ],
)
def test_what_fits_nothing_is_refused_with_advice(content):
    """The error says what was seen and what to write."""
    with pytest.raises(
        k8strace.FormatError, match=r"begins with .* fits no format .* format=, one of proto-frames"
    ):
        k8strace.read(content)


def test_what_fits_twice_is_refused_with_both_names():
    """
    A first frame of 168 MiB whose bytes are also one long ResourceSpans.

        0a 83 80 01 │ 0a 30 │ 0a 2e …    frame of 0x0a838001 bytes: a ResourceSpans of 48: its resource of 46
        0a│83 80 01 │ 0a 30 │ 0a 2e …    a ResourceSpans of 16387 bytes: its resource of 48
    """
    content = bytes.fromhex("0a838001 0a30 0a2e") + bytes(10)
    with pytest.raises(k8strace.FormatError, match="fits proto-frames and proto;"):
        k8strace.read(content)
    assert k8strace.read(content, format="proto").issues[0].code == "torn_message"
    assert k8strace.read(content, format="proto-frames").issues[0].code == "torn_message"


def test_a_bare_request_of_16_kib_and_more_is_not_taken_for_a_frame(wires):
    """Its first bytes may be a frame's length, its resource a frame's ResourceSpans; what follows is not."""
    for wire in wires:
        assert found(wire)[1][0].format == "proto"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"resourceSpans":[]}', "json-lines"),
        (b'\xef\xbb\xbf {"resourceSpans":[]}\n\n {"resourceSpans":[]}', "json-lines"),
        (b'{\n"resourceSpans":[]}', "json"),
        (b"{}", "json-lines"),
        (b"\x0a\x00", "proto"),
        (b"\x00\x00\x00\x02\x0a\x00", "proto-frames"),
        (b"\x00\x00\x00\x00\x00\x00\x00\x02\x0a\x00", "proto-frames"),
    ],
)
def test_the_smallest_of_each_kind(content, expected):
    """Sniffing needs no minimum size."""
    assert k8strace.read(content).sources[0].format == expected


@pytest.mark.parametrize("name", ["csv", "proto+lz4", "zstd", ""])
def test_an_unknown_format_is_refused_at_once(name):
    """Before anything is opened, and with the names that exist."""
    with pytest.raises(k8strace.FormatError, match="json-lines"):
        k8strace.scan(b"", format=name)
    with pytest.raises(k8strace.FormatError, match="expected <bytes> in gzip"):
        k8strace.read(b"{}", format="json+gzip")


def test_a_part_of_other_people_s_json_is_refused_with_what_it_is():
    """What is whole is read, see `test_other_formats.py`."""
    for document, got in [(b'{"traceID":"7"}', "Jaeger"), (b'{"localEndpoint":{}}', "Zipkin")]:
        with pytest.raises(k8strace.DecodeError, match=f"resourceSpans or result .*, got .*{got}"):
            k8strace.read(document)


# ---- torn ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["proto-frames", "zstd-frames", "json-lines", "proto"])
def test_a_torn_end_keeps_what_came_before_it(name, contents, requests):
    """Cut anywhere in the last message: all others are kept, the loss is one issue at its start."""
    content, _ = contents[name]
    rows = [item for item in messages(content) if isinstance(item, Message)]
    last = rows[-1].offset - (4 if name.endswith("frames") else 0)
    if name == "proto":
        last = len(content) - len(requests[-1].SerializeToString())
    for cut in [last + 1, last + 3, last + 5, (last + len(content)) // 2, len(content) - 2]:
        parsed, (source,), (issue,) = found(content[:cut])
        assert merged(parsed) == merged(requests[:-1])
        assert issue[:3] == ("torn_message", "<bytes>", last)
        assert issue.lost_bytes == cut - last
        assert source.format == name
        spans = k8strace.read(content[:cut])
        assert (len(spans), spans.issues) == (span_count(requests[:-1]), (issue,))
        assert spans.sources[0].bytes == cut
        with pytest.raises(k8strace.DecodeError) as error:
            k8strace.read(content[:cut], strict=True)
        assert (error.value.offset, error.value.path) == (last, "<bytes>")
    assert found(content[:last])[2] == []


@pytest.mark.parametrize("wrapping", ["+gzip", "+zstd"])
@pytest.mark.parametrize("name", CONTENTS)
def test_a_torn_compressed_stream_keeps_what_came_out(name, wrapping, contents, requests):
    """Cut at a third, it gives the first whole messages and one issue at the cut."""
    stored = WRAPPINGS[wrapping](contents[name][0])
    cut = len(stored) // 3
    parsed, _, (issue,) = found(stored[:cut])
    assert issue[:3] == ("torn_compression", "<bytes>", cut)
    whole = merged(requests).resource_spans
    assert list(merged(parsed).resource_spans) == list(whole)[: len(merged(parsed).resource_spans)]
    with pytest.raises(k8strace.DecodeError, match="rest of the compressed data"):
        k8strace.read(stored[:cut], strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", CONTENTS)
def test_any_cut_is_survived(name, wrapping, contents):
    """Truncation at random offsets gives a prefix of the messages, or says that it cannot tell the format."""
    stored = WRAPPINGS[wrapping](contents[name][0])
    whole = [bytes(item.wire) for item in messages(stored) if isinstance(item, Message)]
    for cut in [*range(12), *(random.Random(cut).randrange(len(stored)) for cut in range(25))]:
        try:
            items = list(messages(stored[:cut]))
        except k8strace.FormatError:
            assert cut < 12
            continue
        kept = [bytes(item.wire) for item in items if isinstance(item, Message)]
        if name != "proto":
            assert kept == whole[: len(kept)]
        assert len(issues_of(items)) <= 1


def test_damage_before_the_end_is_set_aside_with_its_place(wires, requests, tmp_path):
    """A broken request between sound ones: the file, the field, the byte in the file. Strict, it is an error."""
    path = tmp_path / "capture"
    for broken, rest in [(b"\x0a\x02\x12\x05", 2), (b"\x0a\x00\x07", 2)]:
        path.write_bytes(frames([wires[0], broken, wires[1]]))
        spans = k8strace.read(path, format="proto-frames")
        assert len(spans) == span_count(requests[:2])
        start = 4 + len(wires[0]) + 4
        (issue,) = spans.issues
        assert issue[:3] == ("malformed", str(path), start)
        assert issue.lost_bytes == 4 + len(broken)
        with pytest.raises(k8strace.DecodeError) as error:
            k8strace.read(path, format="proto-frames", strict=True)
        assert start + rest <= error.value.offset <= start + len(broken)
        assert error.value.path.startswith(str(path))


def test_damaged_lines_are_set_aside_with_their_place():
    """Each costs itself; alone it is an error, as it is when strict."""
    good = b'{"resourceSpans":[]}\n'
    for bad, code in ((b'{"resourceSpans":3}\n' + good, "malformed"), (b"{]\n", "not_json")):
        spans = k8strace.read(good + bad)
        (issue,) = spans.issues
        assert (issue.code, issue.offset, issue.line) == (code, len(good), 2)
        assert spans.sources[0].batches == (good + bad).count(good)
        for content, strict in ((good + bad, True), (bad.removesuffix(good), False)):
            with pytest.raises(k8strace.DecodeError) as error:
                k8strace.read(content, format="json-lines", strict=strict)
            assert error.value.kind == code.removeprefix("not_")
    bad = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_SERVANT"}]}]}]}'
    with pytest.raises(k8strace.DecodeError, match="name of an enum") as error:
        k8strace.read(good + bad + b"\n", strict=True)
    assert error.value.path == "<bytes>: resourceSpans.scopeSpans.spans.kind"


@pytest.mark.parametrize(("wrapping", "checksum_bytes"), [("+gzip", 8), ("+zstd", 4)])
def test_corrupt_compression_ends_the_content_with_its_place(wrapping, checksum_bytes, contents):
    """All but the last 64 KiB before it is read; strict, it is an error. The offset is in the stored bytes."""
    content = contents["proto-frames"][0]
    stored = WRAPPINGS[wrapping](content)
    broken = stored[:-checksum_bytes] + bytes(0xFF ^ byte for byte in stored[-checksum_bytes:])
    spans = k8strace.read(broken)
    assert len(content) - (64 << 10) <= spans.sources[0].bytes <= len(content)
    assert 0 < len(spans) <= len(k8strace.read(content))
    (issue,) = spans.issues
    assert (issue.code, issue.severity) == ("torn_compression", "error")
    assert 0 < issue.offset <= len(stored)
    with pytest.raises(k8strace.DecodeError, match=f"sound {wrapping[1:]} stream") as error:
        k8strace.read(broken, strict=True)
    assert error.value.offset == issue.offset
    assert error.value.path == "<bytes>"


# ---- limits ---------------------------------------------------------------------------------------


def bomb(kind):
    """1 GiB of zeros in 64 members or frames."""
    zeros = bytes(1 << 24)
    return (gzip.compress(zeros, 1) if kind == "gzip" else zstandard.compress(zeros, 1)) * 64


READ_BOMB = """
import resource, sys
import k8strace
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for options in ({}, {"format": "json", "limit_bytes": 1 << 26}, {"format": "proto", "limit_bytes": 1 << 26}):
    try:
        k8strace.read(sys.argv[1], **options)
    except (k8strace.FormatError, k8strace.DecodeError) as error:
        print(type(error).__name__)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_refused_within_memory(kind, tmp_path):
    """1 GiB of zeros never becomes 1 GiB of memory: a process of its own says how many KiB it took."""
    path = tmp_path / "bomb"
    path.write_bytes(bomb(kind))
    command = [sys.executable, "-W", "ignore", "-c", READ_BOMB, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    *refused, kib = run.stdout.split()
    assert refused == ["FormatError", "DecodeError", "DecodeError"]
    assert int(kib) < 300 * 1024


@pytest.mark.parametrize("name", ["proto-frames", "zstd-frames", "json-lines"])
def test_the_limit_is_for_all_sources_together(name, contents):
    """Every inflated byte counts: enough is enough, one byte less is not."""
    content, _ = contents[name]
    stored = [gzip.compress(content), content, zstd(content)]
    inflated = 2 * len(content)
    if name == "zstd-frames":
        inflated += 3 * sum(len(item.wire) for item in messages(content) if isinstance(item, Message))
    assert not issues_of(messages(stored, limit_bytes=inflated))
    with pytest.raises(k8strace.DecodeError, match="bytes once inflated"):
        list(messages(stored, limit_bytes=inflated - 1))


def test_a_length_is_believed_only_when_its_bytes_are_there(monkeypatch):
    """A frame of 1 GiB in a file of 9 bytes is torn; one above the limit is malformed."""
    assert k8strace.read(b"\x40\x00\x00\x00\x0a\x02\x12\x00\x0a").issues[0].code == "torn_message"
    with pytest.raises(k8strace.DecodeError, match="at most 1073741824 bytes, got a frame of 1073741825"):
        k8strace.read(b"\x40\x00\x00\x01\x0a", format="proto-frames")
    monkeypatch.setattr("k8strace.formats.content.MESSAGE_LIMIT_BYTES", 10)
    for name in ("proto", "json", "json-lines"):
        with pytest.raises(k8strace.DecodeError, match="a message of at most 10 bytes, got more"):
            k8strace.read(b'{"resourceSpans":[]}', format=name)


@given(st.lists(st.binary(max_size=9), max_size=5), st.lists(st.integers(0, 12), max_size=9))
def test_content_is_handed_out_whole_whatever_its_chunks(chunks, sizes):
    """Slices of any size, across any chunks, add up to the content."""
    whole = b"".join(chunks)
    content = Content(iter(chunks))
    assert content.peek(3) == whole[:3]
    taken = [bytes(content.take(size)) for size in sizes] + [bytes(content.take_rest())]
    assert b"".join(taken) == whole
    assert content.offset == len(whole)


@pytest.mark.slow
@given(strategies.damaged_bytes())
def test_any_bytes_are_survived(data):
    """Nothing but our own errors comes out, whatever goes in and whatever it is called."""
    for name in ("auto", *formats.FORMATS):
        with contextlib.suppress(k8strace.K8straceError):
            list(messages(data, format=name))


# ---- progress -------------------------------------------------------------------------------------


def test_progress_counts_stored_bytes_up_to_the_total(contents, tmp_path):
    """Of all files together; without a total when a stream is among them."""
    path = tmp_path / "capture"
    path.write_bytes(zstd(contents["proto-frames"][0]))
    size, heard = path.stat().st_size, []
    k8strace.read([path, path], progress=lambda done, total: heard.append((done, total)))
    assert heard == [(size, 2 * size), (2 * size, 2 * size)]
    heard.clear()
    k8strace.read(io.BytesIO(path.read_bytes()), progress=lambda done, total: heard.append((done, total)))
    assert heard == [(size, None)]


def test_progress_without_tqdm_says_what_to_install(monkeypatch):
    """The message names the extra."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ModuleNotFoundError, match=r"k8strace\[progress\]"):
        k8strace.read(b"", progress=True)


def test_progress_with_tqdm_reads_the_same(contents):
    """The bar changes nothing."""
    pytest.importorskip("tqdm")
    content, _ = contents["proto-frames"]
    assert len(k8strace.read(content, progress=True)) == len(k8strace.read(content, progress=False))
