"""Decoding keeps all of a message, by protobuf's own rules, and hands it to any Arrow library."""

from __future__ import annotations

import gc
import math
import mmap
import re
import sys
from array import array
from collections.abc import Iterable
from pathlib import Path

import duckdb
import oracle
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute
import pytest
from hypothesis import given
from messages import (
    END,
    FIXED32,
    FIXED64,
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
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData
from strategies import Requests, dirty_batches

import k8strace
from k8strace.exceptions import MissingExtraError

# ── Nothing is lost ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_every_batch_of_a_capture_can_be_made_again_from_the_columns(capture: Path):
    batches = oracle.load(capture)
    assert same(batches, from_columns(k8strace.decode(batches)))


@pytest.mark.slow
@given(dirty_batches(full=True))
def test_defects_are_kept_as_they_came(batches: Requests):
    assert same(batches, from_columns(k8strace.decode(batches)))


@pytest.mark.slow
@given(full_requests)
def test_every_field_of_the_messages_is_in_the_columns(message: ExportTraceServiceRequest):
    assert same([message], from_columns(k8strace.decode(message)))


def test_an_empty_message_is_not_an_absent_one():
    message = ExportTraceServiceRequest()
    for resource, scope, status in [(False, False, False), (True, True, True)]:
        resource_spans = message.resource_spans.add()
        scope_spans = resource_spans.scope_spans.add()
        span = scope_spans.spans.add()
        for parent, field, there in [
            (resource_spans, "resource", resource),
            (scope_spans, "scope", scope),
            (span, "status", status),
        ]:
            if there:
                getattr(parent, field).SetInParent()
    spans = k8strace.decode(message)
    assert spans.resources.column("resource_present").to_pylist() == [False, True]
    assert spans.scopes.column("scope_present").to_pylist() == [False, True]
    assert spans.column("status_code").to_pylist() == [None, 0]
    assert same([message], from_columns(spans))


def test_an_id_of_a_wrong_length_is_null_and_its_bytes_are_beside():
    first = Span(trace_id=bytes(16), span_id=b"abc", parent_span_id=b"ninebytes")
    first.links.add(trace_id=bytes(range(16)), span_id=bytes(8))
    second = Span(trace_id=bytes(15), span_id=bytes(8))
    second.links.add(trace_id=bytes(16), span_id=bytes(8))
    second.links.add(trace_id=b"x", span_id=b"y")
    spans = k8strace.decode(_request(first, second))
    assert spans.column("trace_id").to_pylist() == ["0" * 32, None]
    assert spans.column("span_id").to_pylist() == [None, "0" * 16]
    assert spans.column("parent_span_id").to_pylist() == [None, None]
    assert [
        {"span": 0, "link": None, "field": "span_id", "value": b"abc"},
        {"span": 0, "link": None, "field": "parent_span_id", "value": b"ninebytes"},
        {"span": 1, "link": None, "field": "trace_id", "value": bytes(15)},
        {"span": 1, "link": 1, "field": "trace_id", "value": b"x"},
        {"span": 1, "link": 1, "field": "span_id", "value": b"y"},
    ] == list(spans.odd_ids)


# ── Protobuf's own rules ──────────────────────────────────────────────────────────────────────────

SPAN = (1, 2, 2)
VALUE = (*SPAN, 9, 2)


def text(number: int, value: str) -> bytes:
    """A length-delimited field."""
    return inside(value.encode(), number)


def number(field: int, value: int, padding: int = 0) -> bytes:
    """A varint field."""
    return tag(field, VARINT) + varint(value, padding)


ONE, TWO = inside(number(3, 1), 1), inside(number(3, 2), 1)
PAIR_A, PAIR_B = inside(text(1, "a"), 1), inside(text(1, "b"), 1)
RULES = {
    "nothing at all": b"",
    "the last of a repeated text wins": inside(text(5, "first") + text(5, "last"), *SPAN),
    "even if it is empty": inside(text(5, "first") + text(5, ""), *SPAN),
    "the last of a repeated id wins": inside(text(1, "x" * 16) + text(1, "y" * 16), *SPAN),
    "even if it is of a wrong length": inside(text(1, "x" * 16) + text(1, "y"), *SPAN),
    "even if it takes an odd id away": inside(text(1, "y") + text(1, ""), *SPAN),
    "the last of a repeated number wins": inside(number(6, 1) + number(6, 2), *SPAN),
    "two resources are one": inside(inside(text(1, ""), 1) + inside(PAIR_A + number(2, 5), 1), 1),
    "two scopes are one": inside(inside(text(1, "name"), 1) + inside(text(2, "1.0"), 1), 1, 2),
    "two statuses are one": inside(inside(number(3, 2), 15) + inside(text(2, "no"), 15), *SPAN),
    "a second empty status changes nothing": inside(inside(number(3, 2), 15) + inside(b"", 15), *SPAN),
    "two values of a key: the last wins": inside(text(1, "a") + inside(number(3, 4), 2) * 2, *SPAN, 9),
    "two values of a key: the empty one loses": inside(inside(number(3, 4), 2) + inside(b"", 2), *SPAN, 9),
    "two arrays of a value are one": inside(inside(ONE, 5) + inside(TWO, 5), *VALUE),
    "three arrays of a value are one": inside(inside(ONE, 5) + inside(TWO, 5) + inside(ONE, 5), *VALUE),
    "two arrays in two values of a key are one": inside(inside(ONE, 2, 5) + inside(TWO, 2, 5), *SPAN, 9),
    "two key-value lists are one": inside(inside(PAIR_A, 6) + inside(PAIR_B, 6), *VALUE),
    "unless a text stands between them": inside(inside(ONE, 5) + text(1, "x") + inside(TWO, 5), *VALUE),
    "unless another list stands between them": inside(
        inside(ONE, 5) + inside(PAIR_A, 6) + inside(TWO, 5), *VALUE
    ),
    "arrays inside an array merge too": inside(inside(inside(ONE, 5) + inside(TWO, 5), 1), *VALUE, 5),
    "a key after its value": inside(inside(number(3, 4), 2) + text(1, "a"), *SPAN, 9),
    "a repeated index of a key": inside(number(3, 4) + number(3, 0), *SPAN, 9),
    "a scope after its spans": inside(inside(text(5, "span"), 2) + inside(text(1, "scope"), 1), 1, 2),
    "a resource after its scopes": inside(inside(text(5, "span"), 2, 2) + inside(PAIR_A, 1), 1),
    "a name after the attributes": inside(inside(text(1, "a"), 9) + text(5, "name"), *SPAN),
    "a text sent as a number is unknown": inside(number(5, 7) + tag(5, FIXED32) + bytes(4), *SPAN),
    "a number sent as bytes is unknown": inside(text(6, "\x02") + text(7, "x" * 8), *SPAN),
    "a time sent as a varint is unknown": inside(number(7, 7) + number(8, 8), *SPAN),
    "flags of eight bytes are unknown": inside(tag(16, FIXED64) + bytes(range(8)), *SPAN),
    "a span sent as a group is unknown": inside(tag(2, GROUP) + text(5, "name") + tag(2, END), 1, 2),
    "a value sent as a fixed number is unknown": inside(tag(3, FIXED64) + bytes(8), *VALUE),
    "unknown fields of every type": inside(
        number(99, 5) + tag(99, FIXED64) + bytes(8) + tag(99, FIXED32) + bytes(4) + inside(b"\xff", 99), *SPAN
    ),
    "unknown groups, nested": inside(groups(50) + text(5, "name") + groups(1, 2**29 - 1), *SPAN),
    "the highest field number": number(2**29 - 1, 1),
    "tags of five bytes": inside(varint(6 << 3, 4) + b"\x02", *SPAN),
    "lengths of five bytes": inside(tag(5, LEN) + varint(1, 4) + b"a", *SPAN),
    "numbers of ten bytes": inside(number(6, 2, 9), *SPAN),
    "numbers of more than 64 bits lose the rest": inside(tag(3, VARINT) + b"\xff" * 9 + b"\x7f", *VALUE),
    "a kind of more than 32 bits": inside(number(6, 2**32 + 2), *SPAN),
    "a count of more than 32 bits": inside(number(10, 2**40 + 7), *SPAN),
    "a truth of two": inside(number(2, 2), *VALUE),
    "a truth of 2 ** 63": inside(number(2, 2**63), *VALUE),
    "messages one after the other are one": inside(text(5, "a"), *SPAN) + inside(text(5, "b"), *SPAN),
}


@pytest.mark.parametrize("rule", RULES)
def test_repeats_strangers_and_order_mean_what_they_mean_to_the_official_classes(rule: str):
    expected = official(RULES[rule])
    assert expected is not None
    assert same([expected], from_columns(k8strace.decode(RULES[rule])))


@pytest.mark.slow
@given(wires())
def test_any_valid_wire_means_what_it_means_to_the_official_classes(wire: bytes):
    expected = official(wire)
    assert expected is not None
    assert same([expected], from_columns(k8strace.decode(wire)))


def test_a_list_of_many_parts_is_merged_in_memory_that_grows_with_its_length():
    """64 KiB, and 10,000 parts that add nothing: a copy of the whole for each would take 640 MB."""
    big = inside(inside(b"x" * 2**16, 7), 1)
    wire = inside(inside(big, 5) + inside(ONE, 5) + inside(b"", 5) * 10_000, *VALUE)
    spans = k8strace.decode(wire)
    assert sum(spans.nbytes) < 3 * len(wire)
    assert same([official(wire)], from_columns(spans))


# ── What decode takes ─────────────────────────────────────────────────────────────────────────────

MESSAGE = ExportTraceServiceRequest()
MESSAGE.resource_spans.add().scope_spans.add().spans.add(name="Get")
WIRE = MESSAGE.SerializeToString()
STRIDED = memoryview(bytes(byte for pair in zip(WIRE, WIRE, strict=True) for byte in pair))[::2]


@pytest.mark.parametrize(
    "data",
    [
        WIRE,
        bytearray(WIRE),
        memoryview(WIRE),
        memoryview(WIRE).cast("b"),
        STRIDED,
        array("B", WIRE),
        MESSAGE,
        TracesData(resource_spans=MESSAGE.resource_spans),
        [WIRE],
        (bytearray(WIRE),),
        [MESSAGE],
        iter([memoryview(WIRE)]),
    ],
    ids=lambda data: type(data).__name__,
)
def test_decode_takes_buffers_messages_and_series_of_them(data: object):
    spans = k8strace.decode(data)  # type: ignore[arg-type]
    assert spans.column("name").to_pylist() == ["Get"]
    assert spans.counts["batches"] == 1


def test_decode_takes_a_mapped_file(tmp_path: Path):
    path = tmp_path / "batch.otlp"
    path.write_bytes(WIRE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        spans = k8strace.decode(mapped)
    assert spans.column("name").to_pylist() == ["Get"]


def test_decode_takes_the_message_that_files_hold():
    """`TracesData` and `ExportTraceServiceRequest` have the same fields."""
    assert k8strace.decode(TracesData.FromString(WIRE)).column("name").to_pylist() == ["Get"]


def test_decode_of_a_series_counts_its_batches_and_of_one_buffer_counts_one():
    assert k8strace.decode(part for part in (WIRE, MESSAGE, b"")).counts["batches"] == 3
    assert k8strace.decode(WIRE + WIRE).counts["batches"] == 1
    assert k8strace.decode([]).counts["batches"] == 0


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("text", "str"),
        ("", "str"),
        (5, "int"),
        (None, "NoneType"),
        (["text"], "str"),
        ([WIRE, None], "NoneType"),
        (Span(name="Get"), "Span"),
    ],
)
def test_decode_says_what_it_cannot_take(data: object, kind: str):
    with pytest.raises(TypeError, match=f"expected bytes, another buffer or an Export.*, got {kind}$"):
        k8strace.decode(data)  # type: ignore[arg-type]


def test_changing_a_buffer_after_decode_changes_nothing():
    data = bytearray(WIRE)
    spans = k8strace.decode(data)
    data[:] = bytes(len(data))
    assert spans.column("name").to_pylist() == ["Get"]


def test_an_error_in_a_series_says_which_part_and_where_in_it():
    with pytest.raises(k8strace.DecodeError) as caught:
        k8strace.decode([WIRE, WIRE[:-1]])
    assert caught.value.path == "[1]"
    assert caught.value.offset == 1


# ── Attributes ────────────────────────────────────────────────────────────────────────────────────


def _request(*spans: Span) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    message.resource_spans.add().scope_spans.add().spans.extend(spans)
    return message


def _with_values(*values: AnyValue | None) -> k8strace.Spans:
    """One span per value of the attribute "key"; None is a span without it."""
    spans = [Span() if v is None else Span(attributes=[KeyValue(key="key", value=v)]) for v in values]
    return k8strace.decode(_request(*spans))


LIST = AnyValue(
    array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(bytes_value=b"\xff"), AnyValue()])
)
MAP = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(string_value='"'))]))


@pytest.mark.parametrize(
    ("values", "type_name", "expected"),
    [
        ([None, None], "Utf8View", [None, None]),
        ([AnyValue(string_value="a"), None], "Utf8View", ["a", None]),
        ([AnyValue(int_value=-(2**63))], "Int64", [-(2**63)]),
        ([AnyValue(double_value=math.inf)], "Float64", [math.inf]),
        ([AnyValue(bool_value=False)], "Boolean", [False]),
        ([AnyValue(bytes_value=b"\x00\xff")], "BinaryView", [b"\x00\xff"]),
        ([AnyValue(int_value=1), AnyValue()], "Int64", [1, None]),
        ([AnyValue(int_value=1), AnyValue(string_value="a")], "Utf8", ["1", "a"]),
        ([AnyValue(bool_value=True), AnyValue(double_value=0.5)], "Utf8", ["true", "0.5"]),
        ([LIST, MAP], "Utf8", ['[1,"ff",null]', '{"k":"\\""}']),
        ([AnyValue(string_value_strindex=3)], "Utf8", ["3"]),
    ],
)
def test_an_attribute_column_is_of_its_values_type_or_text(
    values: list[AnyValue | None], type_name: str, expected: list[object]
):
    column = _with_values(*values).attributes("key")
    assert type_name == column.type_name
    assert expected == column.to_pylist() == pa.array(column).to_pylist()


def test_the_last_value_of_a_repeated_key_counts():
    twice = [KeyValue(key="key", value=AnyValue(int_value=value)) for value in (1, 2)]
    assert k8strace.decode(_request(Span(attributes=twice))).attributes("key").to_pylist() == [2]


def test_an_attribute_column_of_a_capture_has_what_the_messages_say(capture_131: Path):
    batches = oracle.load(capture_131)
    expected = [
        next((a.value.string_value for a in reversed(span.attributes) if a.key == "http.target"), None)
        for span in _spans(batches)
    ]
    assert expected == k8strace.decode(batches).attributes("http.target").to_pylist()


# ── Arrow ─────────────────────────────────────────────────────────────────────────────────────────


def _spans(batches: Requests) -> list[Span]:
    return [
        span
        for batch in batches
        for resource_spans in batch.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


@pytest.fixture(scope="module")
def batches() -> Requests:
    data = Path(__file__).parent / "data" / "k8s-1.36_etcd-3.6.otlp.zst"
    return oracle.load(data)[:3]


@pytest.fixture
def spans(batches: Requests) -> k8strace.Spans:
    return k8strace.decode(batches)


FIELDS = ["name", "trace_id", "kind", "start_time_unix_nano", "flags", "trace_state"]


def _expected(batches: Requests) -> list[tuple[object, ...]]:
    def value(span: Span, field: str) -> object:
        return span.trace_id.hex() if field == "trace_id" else getattr(span, field)

    return [tuple(value(span, field) for field in FIELDS) for span in _spans(batches)]


def test_pyarrow_takes_spans_as_a_table(spans: k8strace.Spans, batches: Requests):
    for table in (pa.table(spans), spans.to_arrow()):
        assert table.validate(full=True) is None
        assert list(spans.column_names) == table.column_names
        assert _expected(batches) == list(zip(*(table[field].to_pylist() for field in FIELDS), strict=True))


def test_polars_takes_spans_as_a_frame(spans: k8strace.Spans, batches: Requests):
    for frame in (pl.DataFrame(spans), spans.to_polars()):
        assert _expected(batches) == frame.select(FIELDS).rows()
    events = pl.DataFrame(spans)["events"].explode(empty_as_null=False).struct.field("name").to_list()
    assert [event.name for span in _spans(batches) for event in span.events] == events


def test_pandas_takes_spans_as_a_frame(spans: k8strace.Spans, batches: Requests):
    frame = spans.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert _expected(batches) == list(frame[FIELDS].itertuples(index=False, name=None))


def test_duckdb_takes_spans_as_a_relation(
    spans: k8strace.Spans,  # noqa: ARG001 - DuckDB finds it by its name
    batches: Requests,
):
    assert [(len(_spans(batches)),)] == duckdb.sql("select count(*) from spans").fetchall()
    assert _expected(batches) == duckdb.sql(f"select {', '.join(FIELDS)} from spans").fetchall()
    unnested = duckdb.sql("select a.key from (select unnest(attributes) as a from spans)").fetchall()
    assert [(pair.key,) for span in _spans(batches) for pair in span.attributes] == unnested


def test_every_other_table_is_taken_too(spans: k8strace.Spans):
    for table in (spans.scopes, spans.resources, spans.odd_ids):
        assert len(table) == pl.DataFrame(table).height == table.to_arrow().num_rows
        assert list(table) == pa.table(table).to_pylist()


def test_one_column_can_be_taken_alone(spans: k8strace.Spans):
    for name in spans.column_names:
        assert pa.table(spans)[name].to_pylist() == pa.array(spans.column(name)).to_pylist()
        taken = pa.array(spans.column(name))
        if pa.types.is_timestamp(taken.type):  # Python has no nanoseconds
            taken = pa.compute.floor_temporal(taken, unit="microsecond").cast(pa.timestamp("us", "UTC"))
        assert taken.to_pylist() == spans.column(name).to_pylist()


def test_null_is_what_was_not_sent_and_empty_text_is_empty():
    message = _request(Span(), Span(trace_id=bytes(16), span_id=bytes(8), status=Status()))
    message.resource_spans[0].resource.attributes.add(key="service.name").value.int_value = 1
    first, second = pa.table(k8strace.decode(message)).to_pylist()
    nulls = {"trace_id", "span_id", "parent_span_id", "start_time", "end_time", "status_code", "service_name"}
    assert nulls == {name for name, value in first.items() if value is None}
    assert nulls - {"trace_id", "span_id", "status_code"} == {
        name for name, value in second.items() if value is None
    }
    assert (first["name"], first["trace_state"], first["status_message"]) == ("", "", "")


def test_no_spans_make_an_empty_table_of_the_same_schema(spans: k8strace.Spans):
    empty = k8strace.decode(b"")
    assert pa.table(spans).schema == pa.table(empty).schema
    assert 0 == pl.DataFrame(empty).height == len(empty.to_pandas()) == duckdb.sql("from empty").shape[0]


def test_an_unknown_column_lists_the_known_ones(spans: k8strace.Spans):
    for get in (spans.column, spans.__getitem__, spans.scopes.column):
        with pytest.raises(KeyError, match=r"no column 'verbs'.* but \w+, "):
            get("verbs")


def _listed(heading: str) -> list[tuple[str, str]]:
    """Name and type of every column in one table of the reference."""
    page = Path(__file__).parents[1] / "docs" / "reference" / "columns.md"
    section = re.split(
        r"^#+ ", page.read_text(encoding="utf-8").split(f"# {heading}\n")[1], flags=re.MULTILINE
    )[0]
    return re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, flags=re.MULTILINE)


def _has(schema: Iterable[pa.Field]) -> list[tuple[str, str]]:
    return [(field.name, str(field.type).partition("<")[0]) for field in schema]


def test_the_reference_lists_every_column_with_its_type(spans: k8strace.Spans):
    table = pa.table(spans)
    assert _listed("Spans") == _has(table.schema)
    for heading, other in [
        ("Scopes", spans.scopes),
        ("Resources", spans.resources),
        ("Odd ids", spans.odd_ids),
    ]:
        assert _listed(heading) == _has(pa.table(other).schema)
    for heading in ("Attributes", "Events", "Links"):
        assert _listed(heading) == _has(table.schema.field(heading.lower()).type.value_type)


def test_a_slice_keeps_the_bytes_that_it_shows(batches: Requests):
    spans = k8strace.decode(batches)
    frames = [pa.table(spans).slice(5, 20), pl.DataFrame(spans)[5:25]]
    targets = pa.array(spans.attributes("http.target")).slice(5, 20)
    expected = [dict(_texts(span)) for span in _spans(batches)[5:25]]
    del spans
    gc.collect()
    pressure = [bytes(2**20) for _ in range(64)]
    for attributes in (frames[0]["attributes"].to_pylist(), frames[1]["attributes"].to_list()):
        assert expected == [{pair["key"]: pair["string_value"] for pair in row} for row in attributes]
    assert [texts.get("http.target") for texts in expected] == targets.to_pylist()
    assert len(pressure) == 64


def _texts(span: Span) -> list[tuple[str, str | None]]:
    return [
        (a.key, a.value.string_value if a.value.HasField("string_value") else None) for a in span.attributes
    ]


@pytest.mark.parametrize(
    ("method", "missing", "extra"),
    [
        ("to_arrow", "pyarrow", "arrow"),
        ("to_polars", "polars", "polars"),
        ("to_pandas", "pandas", "pandas"),
        ("to_pandas", "pyarrow", "pandas"),
    ],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, method: str, missing: str, extra: str
):
    monkeypatch.setitem(sys.modules, missing, None)
    spans = k8strace.decode(b"")
    with pytest.raises(MissingExtraError, match=rf"{missing}.*k8strace\[{extra}\]"):
        getattr(spans, method)()
