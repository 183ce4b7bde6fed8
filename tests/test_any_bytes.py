"""No bytes crash the decoder; it accepts what the official classes accept, and reads the same out of it.

Differences from the official classes (upb), each by intention:

- Limits of the columns: one text, bytes or nested value of 256 MiB or more, 64 GiB in one call, 2**32 rows of one
  kind. All three are refused with a `DecodeError`; they are too large to be met here, the core's tests have the first.

There are no others: depth, groups, tags, lengths, UTF-8 and truncation have the same verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import oracle
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st
from messages import (
    END,
    GROUP,
    LEN,
    VARINT,
    from_columns,
    full_requests,
    groups,
    inside,
    official,
    same,
    tag,
    varint,
    wires,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from strategies import damaged_bytes, payloads

import k8strace


def decoded(data: bytes) -> k8strace.Spans | k8strace.DecodeError:
    """The spans, or why there are none. Any other exception fails the test."""
    try:
        return k8strace.decode(data)
    except k8strace.DecodeError as error:
        return error


def check(data: bytes) -> k8strace.DecodeError | None:
    """Same verdict, same content, and an error that says where; the error, if the bytes are refused."""
    expected, got = official(data), decoded(data)
    if isinstance(got, k8strace.DecodeError):
        assert expected is None, f"only we refuse: {got}"
        assert 0 <= got.offset <= len(data)
        assert set(got.path.split(".")) <= WORDS
        assert got.expected
        assert got.got
        return got
    assert expected is not None, "only we accept"
    assert same([expected], from_columns(got))
    return None


def fields(
    descriptor: Descriptor = ExportTraceServiceRequest.DESCRIPTOR,
) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Every field of every message, with the fields on the way to it; lists inside lists are left out."""
    for field in descriptor.fields:
        yield (field,)
        if field.message_type and field.message_type.name not in ("ArrayValue", "KeyValueList"):
            yield from ((field, *rest) for rest in fields(field.message_type))


SPAN = "resource_spans.scope_spans.spans"
FIELDS = list(fields())
WORDS = {"", *(path[-1].name for path in FIELDS)}


def numbers(path: tuple[FieldDescriptor, ...]) -> tuple[int, ...]:
    """The field numbers of a path."""
    return tuple(field.number for field in path)


def dotted(path: tuple[FieldDescriptor, ...]) -> str:
    """The path as errors write it."""
    return ".".join(field.name for field in path)


MESSAGES = {dotted(path): numbers(path) for path in FIELDS if path[-1].message_type}
TEXTS = {dotted(path): numbers(path) for path in FIELDS if path[-1].type == FieldDescriptor.TYPE_STRING}

# ── Any bytes ─────────────────────────────────────────────────────────────────────────────────────

tags = [tag(number, wire_type) for number in (1, 2, 3, 5, 9, 15) for wire_type in range(6)]
plausible = st.lists(st.sampled_from([*tags, b"\x00", b"\x01", b"\x7f", b"\xff"])).map(b"".join)


@given(st.one_of(st.binary(), plausible))
def test_any_bytes_have_the_official_verdict(data: bytes):
    check(data)


@given(st.sampled_from(sorted(MESSAGES)), st.one_of(st.binary(max_size=30), plausible))
def test_any_bytes_in_any_message_have_the_official_verdict(path: str, data: bytes):
    check(inside(data, *MESSAGES[path]))


@pytest.mark.slow
@given(damaged_bytes(st.one_of(wires(), full_requests.map(ExportTraceServiceRequest.SerializeToString))))
def test_damaged_messages_have_the_official_verdict(data: bytes):
    check(data)


@pytest.mark.slow
@given(damaged_bytes(payloads))
def test_damaged_batches_have_the_official_verdict(data: bytes):
    check(data)


@pytest.mark.slow
@given(wires(), st.data())
def test_a_message_cut_anywhere_has_the_official_verdict(wire: bytes, data: st.DataObject):
    check(wire[: data.draw(st.integers(0, len(wire)))])


# ── Damaged captures ──────────────────────────────────────────────────────────────────────────────


def batches(capture: Path) -> list[bytes]:
    """The batches of a capture, shortest first; the shortest have 500 bytes to 4 kB."""
    return sorted((batch.SerializeToString() for batch in oracle.load(capture)), key=len)


def test_a_batch_cut_at_every_byte_has_the_official_verdict(capture: Path):
    data = batches(capture)[0]
    assert len(data) < 4_000
    refused = [check(data[:end]) is not None for end in range(len(data))]
    assert 0 < sum(refused) < len(data)


def test_a_batch_cut_at_every_byte_of_its_spans_says_so(capture: Path):
    """The lengths around the cut are put right, so that only the innermost message is short."""
    message = oracle.load(capture)[0].resource_spans[0].scope_spans[0]
    for span in message.spans[:3]:
        data = span.SerializeToString()
        for end in range(len(data)):
            error = check(inside(data[:end], 1, 2, 2))
            assert error is None or error.path.startswith(SPAN)


def test_long_batches_cut_here_and_there_have_the_official_verdict(capture: Path):
    for number, data in enumerate(batches(capture)[1:]):
        for end in range(number, len(data), len(data) // 7):
            check(data[:end])


@pytest.mark.slow
def test_a_batch_with_any_bit_flipped_has_the_official_verdict(capture: Path):
    """Each bit of the first 64 bytes, and one bit of every byte up to 1,200, which is all of the 1.36 batch."""
    data = batches(capture)[0]
    flips = [(at, bit) for at in range(min(len(data), 1_200)) for bit in (range(8) if at < 64 else [at % 8])]
    refused = 0
    for at, bit in flips:
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit
        refused += check(bytes(flipped)) is not None
    assert 0 < refused < len(flips)


# ── Limits ────────────────────────────────────────────────────────────────────────────────────────

VALUES = {path: numbers for path, numbers in MESSAGES.items() if path.endswith("attributes.value")}


def arrays(depth: int) -> bytes:
    """What a value holds: arrays and values in turn, this many messages."""
    data = b""
    for level in range(depth):
        data = inside(data, 5 if (depth - level) % 2 else 1)
    return data


def key_value_lists(depth: int) -> bytes:
    """What a value holds: lists, pairs and values in turn, this many messages."""
    data = b""
    for level in range(depth):
        data = inside(data, [1, 2, 6][(depth - level + 1) % 3])
    return data


@pytest.mark.parametrize("path", VALUES)
@pytest.mark.parametrize("chain", [arrays, key_value_lists, groups])
def test_a_chain_of_values_is_followed_to_the_official_depth(path: str, chain):
    """A hundred messages below the request, wherever the value is."""
    deepest = 100 - len(VALUES[path])
    assert check(inside(chain(deepest), *VALUES[path])) is None
    error = check(inside(chain(deepest + 1), *VALUES[path]))
    assert error is not None
    assert error.expected == "at most 100 nested messages"


@pytest.mark.parametrize("path", MESSAGES)
def test_groups_are_skipped_to_the_official_depth(path: str):
    deepest = 100 - len(MESSAGES[path])
    assert check(inside(groups(deepest), *MESSAGES[path])) is None
    assert check(inside(groups(deepest + 1), *MESSAGES[path])) is not None


def test_groups_inside_the_deepest_value_count_too():
    path = (1, 2, 2, 9, 2)
    for depth in range(90, 96):
        for more in range(4):
            check(inside(groups(more), *path, *[5 if level % 2 == 0 else 1 for level in range(depth)]))


def test_a_million_levels_are_refused_and_not_followed():
    for data in (
        groups(1_000_000),
        tag(99, GROUP) * 1_000_000,
        inside(tag(99, GROUP) * 1_000_000, 1, 2, 2, 9, 2, 5),
    ):
        assert check(data) is not None


@pytest.mark.parametrize("path", TEXTS)
@pytest.mark.parametrize(
    "broken", [b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"a" * 40 + b"\xf5\x80\x80\x80"]
)
def test_text_that_is_not_utf8_is_refused_in_every_field(path: str, broken: bytes):
    data = inside(broken, *TEXTS[path])
    error = check(data)
    assert error is not None
    assert error.expected == "UTF-8 text"
    assert path.startswith(error.path)
    assert "resource_spans" in error.path
    assert len(data) - len(broken) <= error.offset < len(data)


REFUSED = {
    "a field with number 0": (b"\x02\x00", "", 0),
    "wire type 6": (tag(1, 6), "", 0),
    "wire type 7": (inside(tag(1, 7), 1, 2), "resource_spans.scope_spans", 4),
    "a tag of six bytes": (varint(99 << 3, 4) + b"\x01", "", 0),
    "a tag above 32 bits": (varint(1 << 35), "", 0),
    "a length of six bytes": (tag(99, LEN) + varint(1, 5) + b"x", "", 2),
    "a length of 2 GiB": (tag(99, LEN) + varint(2**31), "", 2),
    "a length of 2 ** 64 - 1": (tag(1, LEN) + varint(2**64 - 1), "", 1),
    "a varint of eleven bytes": (inside(tag(6, VARINT) + b"\x80" * 10 + b"\x00", 1, 2, 2), SPAN + ".kind", 7),
    "an id that is cut": (inside(b"\x0a\x10123", 1, 2, 2), SPAN + ".trace_id", 7),
    "a time that is cut": (inside(tag(7, 1) + bytes(7), 1, 2, 2), SPAN + ".start_time_unix_nano", 14),
    "the end of a group that never began": (inside(tag(5, END), 1, 2), "resource_spans.scope_spans", 5),
    "the end of another group": (tag(99, GROUP) + tag(98, END), "", 2),
    "a group without end": (tag(99, GROUP), "", 2),
    "a tag that is cut": (b"\x80", "", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_says_where(name: str):
    data, path, offset = REFUSED[name]
    error = check(data)
    assert error is not None
    assert (path, offset) == (error.path, error.offset)
