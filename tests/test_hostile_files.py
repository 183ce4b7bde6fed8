"""No file takes more memory or time than its size allows: a corpus made by seed, each file read in a child process."""

import gzip
import random
import subprocess
import sys
import time

import pytest
import zstandard

MIB = 1 << 20
SMALL = MIB // 2
"""Inflated size of most files. The peak has 64 MiB for free, so what multiplies must multiply a lot to be seen."""
SEED = 20261126

CHILD = """
import re, sys
import k8strace
from k8strace.__main__ import main

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10

way, path, *form = sys.argv[1:]
open("/proc/self/clear_refs", "w").write("5")
before = peak()
try:
    if way == "report":
        main(["report", path])
    else:
        print(len(k8strace.read(path, **({"format": form[0]} if form else {}))), "spans")
except (k8strace.K8straceError, MemoryError) as error:
    print(type(error).__name__, str(error)[:200])
except SystemExit as error:
    print("exit", error.code)
print("PEAK", peak() - before)
"""


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def frame(payload):
    return len(payload).to_bytes(4, "big") + payload


def filled(piece, size=SMALL, before=b"", after=b""):
    return before + piece * (size // len(piece)) + after


def request(spans):
    """One request of one scope with these bytes in it."""
    return field(1, field(2, spans))


SPAN = field(2, field(1, bytes(range(16))) + field(2, bytes(range(8))))


def in_span(piece, size=SMALL):
    return request(field(2, field(1, bytes(16)) + filled(piece, max(size, len(piece)))))


def nested_value(depth):
    value = field(1, b"x")
    for _ in range(depth):
        value = field(5, field(1, value))
    return field(9, field(1, b"k") + field(2, value))


def different(count, make, seed=SEED):
    chosen = random.Random(seed)
    return b"".join(make(b"%012x" % chosen.getrandbits(48)) for _ in range(count))


PROTO = {
    "empty resources": lambda: filled(b"\x0a\x00"),
    "empty scopes": lambda: field(1, filled(b"\x12\x00")),
    "empty spans": lambda: request(filled(b"\x12\x00")),
    "spans of ids": lambda: request(filled(SPAN)),
    "empty attributes": lambda: in_span(b"\x4a\x00"),
    "empty events": lambda: in_span(b"\x5a\x00"),
    "empty links": lambda: in_span(b"\x6a\x00"),
    "events with empty attributes": lambda: in_span(field(11, b"\x1a\x00" * 3)),
    "empty resource attributes": lambda: field(1, field(1, filled(b"\x0a\x00"))),
    "empty scope attributes": lambda: field(1, field(2, field(1, filled(b"\x1a\x00")))),
    "empty entity references": lambda: field(1, field(1, filled(b"\x1a\x00"))),
    "short ids": lambda: request(filled(field(2, b"\x0a\x01\x07\x12\x01\x07"))),
    "every name another": lambda: request(different(20_000, lambda name: field(2, field(5, name)))),
    "every key another": lambda: in_span(different(20_000, lambda key: field(9, field(1, key)))),
    "every resource another": lambda: different(
        10_000,
        lambda text: field(1, field(1, field(1, field(1, b"service.name") + field(2, field(1, text))))),
    ),
    "text that is not UTF-8": lambda: request(filled(field(2, field(5, b"\xff\xfe")))),
    "one long text": lambda: request(field(2, field(5, b"x" * MIB))),
    "values in values": lambda: in_span(nested_value(40)),
    "values too deep": lambda: in_span(nested_value(400)),
    "groups in groups": lambda: b"\x0a\x02\x12\x00" + b"\x0b" * SMALL,
    "unknown fields": lambda: b"\x0a\x02\x12\x00" + filled(b"\x78\x01"),
    "lengths beyond the end": lambda: b"\x0a\x02\x12\x00\x0a\xff\xff\xff\xff\x07" + bytes(SMALL),
    "merged resources": lambda: field(1, filled(field(1, field(1, field(1, b"k"))))),
}
FRAMES = {
    "tiny frames": lambda: filled(frame(b"\x0a\x00"), 4 * MIB),
    "frames of a checksum": lambda: filled(frame(bytes.fromhex("fdffffff0f00000000")), 4 * MIB),
    "frames of a wrong checksum": lambda: filled(frame(bytes.fromhex("fdffffff0f01000000")), 4 * MIB),
    "frames that are not sound": lambda: filled(frame(b"\x07"), 4 * MIB),
    "empty frames": lambda: filled(frame(b"\x0a\x00") + bytes(8), 4 * MIB),
    "a frame's length of 1 GiB": lambda: frame(b"\x0a\x00") + b"\x3f\xff\xff\xff" + bytes([7]) * SMALL,
    "zeros": lambda: frame(b"\x0a\x00") + bytes(16 * MIB),
}
TEXT = {
    "empty documents in lines": lambda: filled(b"{}\n", 4 * MIB),
    "empty documents in a row": lambda: filled(b"{}", 4 * MIB),
    "documents of nothing": lambda: filled(b'{"resourceSpans":[]}\n', 4 * MIB),
    "documents and other text in turn": lambda: filled(b"{}\nx\n", 4 * MIB),
    "documents that are not OTLP": lambda: filled(b'{"a":1}\n', 4 * MIB, b"{}\n"),
    "empty spans in JSON": lambda: filled(
        b"{},", SMALL, b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"{}]}]}]}"
    ),
    "empty attributes in JSON": lambda: filled(
        b"{},", SMALL, b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[', b"{}]}]}]}]}"
    ),
    "nested JSON": lambda: b'{"resourceSpans":' + b"[" * SMALL,
    "nested objects": lambda: filled(b'{"a":', SMALL),
    "an object that never ends": lambda: b'{"resourceSpans":[' + b" " * (8 * MIB),
    "a string that never ends": lambda: b'{"resourceSpans":"' + b"x" * (8 * MIB),
    "unknown keys": lambda: b"{" + different(20_000, lambda key: b'"%s":0,' % key) + b'"resourceSpans":[]}',
}
LARGE = 64 * MIB
BOMBS = {
    "gzip of empty scopes": lambda: gzip.compress(field(1, filled(b"\x12\x00", LARGE))),
    "zstd of empty spans": lambda: zstandard.compress(request(filled(b"\x12\x00", LARGE))),
    "zstd of empty attributes": lambda: zstandard.compress(in_span(b"\x4a\x00", LARGE)),
    "gzip of empty documents": lambda: gzip.compress(filled(b"{}\n", LARGE // 4)),
    "zstd of spans of ids": lambda: zstandard.compress(request(filled(SPAN, LARGE))),
    "zstd of tiny frames": lambda: zstandard.compress(filled(frame(b"\x0a\x00"), LARGE // 4)),
    "zstd of zeros": lambda: zstandard.compress(frame(b"\x0a\x00") + bytes(LARGE)),
    "zstd of lines of other text": lambda: zstandard.compress(filled(b"x\n", LARGE, b"{}\n")),
}
CORPUS = {
    **{name: (make, "proto") for name, make in PROTO.items()},
    **{name: (make, "proto-frames") for name, make in FRAMES.items()},
    **{name: (make, None) for name, make in (TEXT | BOMBS).items()},
}


def inflated_size(stored):
    if stored.startswith(b"\x1f\x8b"):
        return len(gzip.decompress(stored))
    if stored.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.frame_content_size(stored)
    return len(stored)


def run(way, path, form=None):
    """What a process of its own says, its peak above an interpreter with k8strace, and its seconds."""
    begun = time.monotonic()
    arguments = [sys.executable, "-c", CHILD, way, str(path), *([form] if form else [])]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said, _, peak = done.stdout.rpartition("PEAK ")
    assert "Traceback" not in done.stderr
    return said, int(peak), time.monotonic() - begun


def test_the_corpus_has_forty_files_and_more():
    """Each is made of another idea."""
    assert len(CORPUS) >= 40


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_file_takes_four_times_its_size_and_64_mib(name, tmp_path):
    """Peak memory above the interpreter's own, which `-s` shows; and a file of a few MiB is read in seconds."""
    make, form = CORPUS[name]
    path = tmp_path / "hostile"
    path.write_bytes(stored := make())
    _, peak, seconds = run("read", path, form)
    size = inflated_size(stored)
    print(f"{len(stored):,} bytes, {size / MIB:.1f} MiB inflated: {peak / MIB:.1f} MiB in {seconds:.1f} s")  # noqa: T201 - for -s
    assert peak <= 4 * size + 64 * MIB
    assert seconds < 15 + size / MIB


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize("name", ["empty documents in lines", *BOMBS])
def test_report_on_a_hostile_file_keeps_the_same_bound(name, tmp_path):
    """Joining and drawing take no more than reading."""
    path = tmp_path / "hostile"
    path.write_bytes(stored := CORPUS[name][0]())
    _, peak, _ = run("report", path)
    assert peak <= 4 * inflated_size(stored) + 64 * MIB
