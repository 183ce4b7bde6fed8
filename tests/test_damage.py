"""One bad place never costs the rest: whatever stands between sound messages, they are read, and it is told where."""

import json
import struct
import zlib

import hypothesis.strategies as st
import pytest
from hypothesis import given
from test_field import FIELD

import k8strace
from k8strace.formats import Message, messages

DOCUMENTS = [
    line for line in (FIELD / "a4-access-log-between.jsonl").read_bytes().splitlines() if line[:1] == b"{"
]
FRAMES = (FIELD / "b3-mixed-frames.binpb").read_bytes()


def first_frame():
    """The wire of the first frame, which is of traces."""
    (size,) = struct.unpack_from(">I", FRAMES)
    return FRAMES[4 : 4 + size]


def sealed(wire):
    """A frame as the journal of `serve` writes it."""
    tail = bytes.fromhex("fdffffff0f") + struct.pack("<I", zlib.crc32(wire))
    return struct.pack(">I", len(wire) + len(tail)) + wire + tail


def codes(spans):
    return [issue.code for issue in spans.issues]


PRETTY = json.dumps(json.loads(DOCUMENTS[1]), indent=2).encode()

BETWEEN = {
    "a log": (b"I1126 10:00:00.1 server.go:1] started\n", "not_json"),
    "three lines of one": (b"a\n\tat b\nc\n", "not_json"),
    "an error object": (b'{"error":{"code":4,"message":"deadline"}}\n', "not_otlp"),
    "zeros": (bytes(512), "zeros"),
    "a line that breaks off": (DOCUMENTS[0][:700] + b"\n", "not_json"),
    "a line that breaks off, and no newline": (DOCUMENTS[0][:700], "not_json"),
    "a line whose beginning is gone": (DOCUMENTS[0][700:] + b"\n", "not_json"),
    "a document that breaks off": (PRETTY[: PRETTY.rindex(b'"kind"')] + b"\n", "not_json"),
    "a bracket too few": (b'{"resourceSpans":[}\n', "not_json"),
    "a span that is none": (b'{"resourceSpans":[3]}\n', "malformed"),
}


@pytest.mark.parametrize("name", BETWEEN)
@pytest.mark.parametrize("shape", [DOCUMENTS[1], PRETTY], ids=["lines", "pretty"])
def test_what_stands_between_documents_costs_itself_only(name, shape):
    """The spans on both sides are there; one row has the place, the line and the bytes; strict, it is an error."""
    bad, code = BETWEEN[name]
    before = shape + b"\n" + shape + b"\n"
    content = before + bad + shape + b"\n"
    spans = k8strace.read(content)
    assert len(spans) == 12
    (issue,) = spans.issues
    assert (issue.code, issue.offset, issue.line) == (code, len(before), before.count(b"\n") + 1)
    assert issue.lost_bytes in (len(bad), len(bad) - 1)
    with pytest.raises(k8strace.DecodeError):
        k8strace.read(content, strict=True)


@given(
    st.lists(st.sampled_from([*DOCUMENTS, PRETTY]), max_size=4),
    st.sampled_from([b"", b"\n", b" \r\n", b",\n", b"\x1e"]),
    st.integers(1, 4000),
)
def test_values_are_found_however_they_are_separated_and_arrive(documents, between, chunk):
    """With newlines, commas, separators or nothing at all; in an array too; in chunks of any size."""
    for content in (between.join(documents), b"[" + b",".join(documents) + b"]"):
        if not documents:
            continue
        pieces = (content[at : at + chunk] for at in range(0, len(content), chunk))

        class Stream:
            def read(self, _size, pieces=pieces):
                return next(pieces, b"")

        found = list(messages(Stream(), format="json", strict=True))
        assert sum(isinstance(each, Message) for each in found) == len(documents)
        assert k8strace.read(content).issues == ()


@given(st.binary(max_size=40), st.booleans())
def test_any_bytes_between_lines_cost_at_most_one_line_more(bad, newline):
    """Whatever bytes: the first document is there, and the one after the next newline."""
    content = DOCUMENTS[0] + b"\n" + bad + (b"\n" if newline else b"") + DOCUMENTS[1] + b"\n" + DOCUMENTS[0]
    spans = k8strace.read(content, format="json-lines")
    assert len(spans) in (8, 12)
    assert len(spans) == 12 or spans.issues


def test_rotation_by_copying_leaves_zeros_at_the_beginning():
    """A writer that keeps its place in a file that was emptied leaves a hole."""
    spans = k8strace.read(bytes(4096) + DOCUMENTS[0][100:] + b"\n" + DOCUMENTS[0] + b"\n")
    assert (len(spans), codes(spans)) == (4, ["zeros", "not_json"])


def test_a_thousand_bad_lines_do_not_make_a_thousand_rows():
    """A hundred have a row each, one row counts the rest."""
    bad = b'{"resourceSpans":[3]}\n'
    spans = k8strace.read(DOCUMENTS[0] + b"\n" + bad * 1000)
    assert codes(spans) == ["malformed"] * 100 + ["more_damage"]
    assert (spans.issues[-1].affected, spans.issues[-1].lost_bytes) == (900, 900 * (len(bad) - 1))


def test_text_that_is_not_utf_8_is_replaced_and_counted():
    """In JSON as in protobuf."""
    spans = k8strace.read(DOCUMENTS[0].replace(b"kubectl", b"kube\xff\xfectl"))
    assert (len(spans), codes(spans)) == (4, ["replaced_text"])
    assert any("kube\ufffd" in (agent or "") for agent in spans.attributes("user_agent.original").to_pylist())
    protobuf = k8strace.read(FIELD / "e1-bad-utf8-one-value.binpb")
    assert any("\ufffd" in (agent or "") for agent in protobuf.attributes("user_agent.original").to_pylist())
    with pytest.raises(k8strace.DecodeError) as error:
        k8strace.read(FIELD / "e1-bad-utf8-one-value.binpb", strict=True)
    assert error.value.kind == "utf8"


def test_a_frame_that_does_not_fit_its_checksum_is_set_aside():
    """A flipped bit in a value is no error to protobuf; the checksum knows."""
    wire = first_frame()
    flipped = bytearray(sealed(wire))
    at = flipped.index(b"kubectl")
    flipped[at] ^= 1
    content = sealed(wire) + bytes(flipped) + sealed(wire)
    one, spans = k8strace.read(sealed(wire)), k8strace.read(content)
    assert len(spans) == 2 * len(one)
    (issue,) = spans.issues
    assert (issue.code, issue.offset, issue.lost_bytes) == ("checksum", len(sealed(wire)) + 4, len(flipped))
    with pytest.raises(k8strace.DecodeError) as error:
        k8strace.read(content, strict=True)
    assert error.value.kind == "checksum"


@pytest.mark.parametrize("zeros", [16, 509, 4096])
@pytest.mark.parametrize("begin", ["frames", "proto", "gzip", "zstd"])
def test_zeros_at_the_end_are_a_torn_end(begin, zeros):
    """As a file system leaves them when the power is cut: what came before is read."""
    import gzip

    import zstandard

    wire = first_frame()
    content = {
        "frames": sealed(wire),
        "proto": wire,
        "gzip": gzip.compress(sealed(wire)),
        "zstd": zstandard.compress(sealed(wire)),
    }[begin]
    spans = k8strace.read(content + bytes(zeros))
    assert len(spans) == len(k8strace.read(content))
    (issue,) = spans.issues
    assert (issue.code[:5], issue.offset) == ("torn_", len(content))


def test_a_directory_is_its_files_with_rotated_ones_first(tmp_path):
    """Hidden files are not looked at; what is no recording is passed over, and told."""
    for name, document in (("t.json", 1), ("t.json.1", 0), ("t.json.10", 0)):
        (tmp_path / name).write_bytes(DOCUMENTS[document])
    (tmp_path / ".lock").write_bytes(b"7")
    assert [source.path for source in k8strace.read(tmp_path).sources] == [
        str(tmp_path / name) for name in ("t.json.10", "t.json.1", "t.json")
    ]
    (tmp_path / "README").write_bytes(b"hello")
    spans = k8strace.read(str(tmp_path))
    assert (len(spans), codes(spans)) == (12, ["unreadable"])
    with pytest.raises(k8strace.FormatError):
        k8strace.read(tmp_path, strict=True)


NANOS = b"1764160000000000000"


@pytest.mark.parametrize(("time", "unit"), [(NANOS[:-3], "microseconds"), (NANOS[:-6], "milliseconds")])
def test_times_in_another_unit_are_told(time, unit):
    """Nothing is multiplied by itself."""
    document = json.loads(DOCUMENTS[0])
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                span["startTimeUnixNano"] = span["endTimeUnixNano"] = time.decode()
    (issue,) = k8strace.read(json.dumps(document).encode()).issues
    assert issue.code == "time_unit"
    assert unit in issue.message


NAMED = {
    b"PK\x03\x04rest": "unzip",
    b"\xfd7zXZ\x00rest": "xz -d",
    b"BZh91AYrest": "bzip2 -d",
    b"x" * 257 + b"ustar\x0000": "tar -xf",
    b"\xfe\xff\x00{\x00": "UTF-16",
    b"<html>": "HTML",
    b'2026-11-26T10:00:00.1Z stdout F {"resourceSpans":[]}\n': "kubectl logs --timestamps",
    b'[pod/a/b] {"resourceSpans":[]}\n': "sed",
    b'{"log":"no spans","stream":"stdout"}\n': "an OTLP request, as JSON or in base64",
    b'{"traceID":"1","spanID":"1"}': "a span of Jaeger's by itself",
    b'{"traceId":"1","id":"1","localEndpoint":{}}': "a span of Zipkin's by itself",
    b'{"traces":[]}': "a search in Tempo",
    b'{"Name":"a","SpanContext":{}}': "stdout exporter of the Go SDK",
    b'{"resourceSpans":[{"resource":{},"spanz":[]}]}': "the unknown key spanz where spans must be",
}


@pytest.mark.parametrize("content", NAMED)
def test_the_cause_is_named_with_what_to_do(content):
    """Of what is none of ours, and often met."""
    with pytest.raises(k8strace.K8straceError, match=NAMED[content]):
        k8strace.read(content)
