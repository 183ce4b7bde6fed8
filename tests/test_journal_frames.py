"""What a segment looks like to others, and what is believed of a damaged one."""

import random
import subprocess
import sys
import zlib

import pytest
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace
from k8strace.formats import messages
from k8strace.formats.content import MESSAGE_LIMIT_BYTES
from k8strace.receiver import Journal
from k8strace.receiver.journal.frames import Plain, Zstd, layout_of, seal, walk

LAYOUTS = {"plain": Plain, "zstd": Zstd}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]()


@pytest.fixture(scope="module")
def wire(capture_136) -> list[bytes]:
    return [bytes(item.wire) for item in messages(capture_136) if hasattr(item, "wire")]


def segment(layout, groups: list[list[bytes]]) -> bytes:
    return b"".join(layout.encode([seal(batch) for batch in group]) for group in groups)


def batches(content: bytes, layout) -> list[bytes]:
    return [batch for piece in walk(content, layout) for batch in piece.batches]


def damages(content: bytes, layout) -> list[tuple[int, int]]:
    return [(piece.start, piece.end) for piece in walk(content, layout) if piece.damage]


def frames(content: bytes) -> list[bytes]:
    """The u32 framing of the collector's file exporter, by its description."""
    found, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        found.append(content[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def test_the_official_classes_read_what_was_sent(wire):
    """A stored request parses, and holds the resource_spans that came, and an unknown field of nine bytes."""
    for stored, sent in zip(frames(segment(Plain(), [wire])), wire, strict=True):
        message = ExportTraceServiceRequest.FromString(stored)
        assert message.ByteSize() == len(sent) + 9
        message.DiscardUnknownFields()
        assert message == ExportTraceServiceRequest.FromString(sent)


def test_the_checksum_is_the_crc_32_of_what_was_sent(wire):
    """It is the last four bytes, lowest first."""
    for stored, sent in zip(frames(segment(Plain(), [wire])), wire, strict=True):
        assert stored.startswith(sent)
        assert stored[len(sent) :] == bytes.fromhex("fdffffff0f") + zlib.crc32(sent).to_bytes(4, "little")


def test_zstd_and_the_framing_are_all_one_needs_for_a_compressed_segment(wire):
    """The reference library passes over what is ours, across the groups."""
    content = segment(Zstd(), [wire[:3], wire[3:4], wire[4:]])
    with zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True) as reader:
        plain = reader.readall()
    assert plain == segment(Plain(), [wire])


def test_each_group_has_a_checksum_for_zstd_readers_too(wire):
    """Flag 2 of the frame header, and a flipped byte that only it can find."""
    content = Zstd().encode([seal(wire[0])])
    assert zstandard.get_frame_parameters(content[16:]).has_checksum


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_segment_reads_like_the_recording(compression, wire, capture_136, tmp_path):
    """The same spans, requests and ledger, whether a batch was recorded or went through the journal."""
    with Journal(tmp_path, compression=compression) as journal:
        for answer in [journal.submit(batch) for batch in wire]:
            answer.result()
    stored, recorded = k8strace.read(f"{tmp_path}/*.otlp*"), k8strace.read(capture_136)
    assert stored.issues == ()
    for name in (
        "trace_id",
        "span_id",
        "start_time_unix_nano",
        "name",
        "attributes",
        "events",
        "service_name",
    ):
        assert list(stored.column(name)) == list(recorded.column(name)), name
    ours, theirs = k8strace.join(stored), k8strace.join(recorded)
    assert ours.joined.ledger == theirs.joined.ledger
    assert k8strace.attribute(ours).totals == k8strace.attribute(theirs).totals
    assert [each for each in stored.processes if each["attributes"]] == recorded.processes


def test_a_torn_end_is_an_issue_to_readers_and_no_error(layout, wire):
    """Cut anywhere in the last batch: the others are read, and the damage is told."""
    whole = segment(layout, [[batch] for batch in wire[:4]])
    start = len(segment(layout, [[batch] for batch in wire[:3]]))
    spans = sum(len(k8strace.decode(batch)) for batch in wire[:3])
    for cut in (start + 1, start + 20, (start + len(whole)) // 2, len(whole) - 1):
        read = k8strace.read(whole[:cut])
        assert len(read) >= spans
        assert len(read.issues) == 1
        assert batches(whole[:cut], layout) == wire[:3]
        assert damages(whole[:cut], layout) == [(start, cut)]


def test_what_was_sent_comes_back(layout):
    """Any bytes, empty ones and ours among them."""
    rng = random.Random(7)
    sent = [rng.randbytes(rng.randint(0, 400)) for _ in range(60)] + [b"", segment(layout, [[b"inner"]])]
    assert batches(segment(layout, [sent[:20], sent[20:21], sent[21:]]), layout) == sent


def test_every_flipped_bit_is_found(layout):
    """One bit of a stored group is wrong: what is wrong is left out, what is right is not, nothing is made up."""
    sent = [[b"first"], [b"the second, which is damaged"], [b"third"]]
    starts = [len(segment(layout, sent[:count])) for count in range(4)]
    whole = segment(layout, sent)
    for at in range(starts[1], starts[2]):
        for bit in range(8):
            rotten = bytearray(whole)
            rotten[at] ^= 1 << bit
            assert batches(bytes(rotten), layout) == [b"first", b"third"], (at, bit)


def test_damage_that_is_followed_by_something_whole_is_not_at_the_end(layout):
    """Pieces cover the content without gap: whole, damaged, whole."""
    sent = [[b"first"], [b"second"], [b"third"]]
    one, two, three = (len(segment(layout, sent[:count])) for count in (1, 2, 3))
    content = segment(layout, sent)
    rotten = content[: two - 3] + b"!" + content[two - 2 :]
    assert [(piece.start, piece.end, bool(piece.damage)) for piece in walk(rotten, layout)] == [
        (0, one, False),
        (one, two, True),
        (two, three, False),
    ]


@pytest.mark.parametrize(
    "tail",
    [
        b"\x00",
        b"\x00" * 5_000,
        b"\xff" * 40,
        b"\x00\x00\x00\x0d" + b"\x00" * 13,
        bytes.fromhex("502a4d1808000000") + b"\x00" * 8,
        bytes.fromhex("502a4d1808000000") + b"\x00" * 45,
    ],
    ids=["zero", "zeros", "ones", "size", "group", "group and more"],
)
def test_what_a_file_system_leaves_behind_is_damage_to_the_end(layout, tail):
    """Zeros, ones, and a size that came before its data."""
    whole = segment(layout, [[b"first"], [b"second"]])
    assert batches(whole + tail, layout) == [b"first", b"second"]
    for with_batches in (True, False):  # a start looks without, a reader with
        pieces = list(walk(whole + tail, layout, batches=with_batches))
        assert [(piece.start, piece.end) for piece in pieces if piece.damage] == [
            (len(whole), len(whole) + len(tail))
        ]


@pytest.mark.parametrize(
    ("tail", "damage"),
    [
        (b"\0\0", "expected a frame's size in 4 bytes, got 2"),
        (b"\0\0\0\0", "expected a frame of 9 bytes or more, got 0"),
        (b"\0\0\0\x08" + b"." * 8, "expected a frame of 9 bytes or more, got 8"),
        (b"\0\0\0\x0d" + b"." * 13, "expected a checksum at byte 8, got something else"),
        (b"\0\0\0\x0d" + b"." * 12, "expected a frame of 13 bytes, got 12"),
    ],
)
def test_damage_is_told_in_words(tail, damage):
    """What was expected, and what came."""
    assert [str(piece.damage) for piece in walk(tail, Plain())] == [damage]


def test_a_sender_cannot_make_recovery_slow(layout):
    """
    A torn batch of beginnings that each claim all the rest: the search ends early, and nothing is believed torn.

    Looked at in full, the 2 MB would be read some twenty thousand times.
    """
    if isinstance(layout, Plain):
        mark = bytes.fromhex("0a0b1a00fdffffff0f")
        ends = [
            (mark + b"crc!" + (n * 96 - 4).to_bytes(4, "big")).ljust(96, b".") for n in range(20_000, 0, -1)
        ]
    else:
        mark = bytes.fromhex("502a4d1808000000")
        ends = [(mark + (n * 96 - 16).to_bytes(4, "little")).ljust(96, b".") for n in range(20_000, 0, -1)]
    torn = segment(layout, [[b"first"]]) + b"\x7f\xff" + b"".join(ends) + mark + b"crc!"
    pieces = list(walk(torn, layout))
    assert pieces[0].batches == (b"first",)
    assert pieces[1].damage
    assert pieces[-1] == (len(torn), len(torn), (), None), "not known to be the tail"


def test_a_size_in_a_compressed_group_is_not_allocated():
    """A frame that says it inflates to 2 PiB, with a good checksum around it, is damage."""
    bomb = bytes.fromhex("28b52ffd e0 0000000000000800 010000")
    (piece,) = walk(grouped(bomb), Zstd())
    assert "expected a group of at most" in str(piece.damage)


def grouped(packed: bytes) -> bytes:
    """A group around anything, with the checksum that it should have."""
    words = (len(packed), zlib.crc32(packed))
    return b"".join(
        (bytes.fromhex("502a4d1808000000"), *(word.to_bytes(4, "little") for word in words), packed)
    )


@pytest.mark.parametrize(
    ("packed", "damage"),
    [
        (b"", "expected a group of 1 byte or more, got 0"),
        (b"no zstd at all, and of some length", "expected a zstd frame"),
        (zstandard.compress(b"".join(seal(b"batch")))[:-1], "expected a zstd frame"),
        (
            zstandard.compress(b"".join(seal(b"batch"))[:-1]),
            "expected a frame of 14 bytes within a group, got 13",
        ),
        (zstandard.compress(b"no frames"), "bytes within a group, got"),
    ],
)
def test_a_group_with_the_wrong_things_in_it_is_damage(packed, damage):
    """Whatever its checksum says; and the next group is read."""
    content = grouped(packed) + segment(Zstd(), [[b"next"]])
    first, second = walk(content, Zstd())
    assert damage in str(first.damage)
    assert second.batches == (b"next",)


def test_a_batch_no_reader_would_take_is_refused():
    """It is the caller's mistake, found before it is stored."""

    class Huge(bytes):
        def __len__(self):
            return MESSAGE_LIMIT_BYTES - 8

    with pytest.raises(ValueError, match="expected a batch of less than 1073741824 bytes, got 1073741816"):
        seal(Huge())


def test_layouts_are_known_by_the_end_of_the_name():
    assert isinstance(layout_of(".otlp"), Plain)
    assert isinstance(layout_of(".otlp.zst"), Zstd)


@pytest.mark.slow
def test_the_command_line_reads_a_directory(wire, tmp_path):
    """`k8strace report DIR/*.otlp` while the journal is open."""
    with Journal(tmp_path) as journal:
        for batch in wire[:10]:
            journal.append(batch)
        command = [sys.executable, "-m", "k8strace", "report", *map(str, tmp_path.glob("*.otlp"))]
        done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
