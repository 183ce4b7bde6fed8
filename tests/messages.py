"""Messages with every field set in every way, as objects and as wire bytes; and messages made again from columns.

full_requests    objects, as a sender's library would make them
wires            bytes that parsers must accept: fields in any order, repeated, unknown, of another wire type
from_columns     Spans → the messages they came from, by their tables alone
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    EntityRef,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from k8strace import Spans

# ── Objects ───────────────────────────────────────────────────────────────────────────────────────

texts = st.one_of(st.just(""), st.text(max_size=5), st.text(min_size=13, max_size=20))
u32s = st.one_of(st.sampled_from([0, 1, 2**32 - 1]), st.integers(0, 2**32 - 1))
i32s = st.one_of(st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]), st.integers(0, 7))
u64s = st.one_of(st.sampled_from([0, 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
i64s = st.one_of(st.sampled_from([0, -1, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1))
blobs = st.one_of(st.just(b""), st.binary(max_size=20))
trace_ids = st.one_of(st.binary(min_size=16, max_size=16), blobs)
span_ids = st.one_of(st.binary(min_size=8, max_size=8), blobs)

scalars = st.one_of(
    st.just(AnyValue()),
    st.builds(AnyValue, string_value=texts),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=i64s),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bytes_value=blobs),
    st.builds(AnyValue, string_value_strindex=i32s),
)


def pairs(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    """Attributes in which nothing is distinct and a value may be absent."""
    absent = st.none()
    pair = st.builds(KeyValue, key=texts, value=st.one_of(absent, values, values), key_strindex=i32s)
    return st.lists(pair, max_size=3)


def nested(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
    """Arrays and key-value lists of these values."""
    arrays = st.builds(ArrayValue, values=st.lists(values, max_size=3))
    lists = st.builds(KeyValueList, values=pairs(values))
    return st.one_of(st.builds(AnyValue, array_value=arrays), st.builds(AnyValue, kvlist_value=lists))


attributes = pairs(st.recursive(scalars, nested, max_leaves=5))
events = st.builds(
    Span.Event, time_unix_nano=u64s, name=texts, attributes=attributes, dropped_attributes_count=u32s
)
links = st.builds(
    Span.Link,
    trace_id=trace_ids,
    span_id=span_ids,
    trace_state=texts,
    attributes=attributes,
    dropped_attributes_count=u32s,
    flags=u32s,
)
spans = st.builds(
    Span,
    trace_id=trace_ids,
    span_id=span_ids,
    trace_state=texts,
    parent_span_id=span_ids,
    flags=u32s,
    name=texts,
    kind=i32s,
    start_time_unix_nano=u64s,
    end_time_unix_nano=u64s,
    attributes=attributes,
    dropped_attributes_count=u32s,
    events=st.lists(events, max_size=2),
    dropped_events_count=u32s,
    links=st.lists(links, max_size=2),
    dropped_links_count=u32s,
    status=st.one_of(st.none(), st.just(Status()), st.builds(Status, code=i32s, message=texts)),
)
scopes = st.builds(
    InstrumentationScope, name=texts, version=texts, attributes=attributes, dropped_attributes_count=u32s
)
scope_spans = st.builds(
    ScopeSpans,
    scope=st.one_of(st.none(), st.just(InstrumentationScope()), scopes),
    spans=st.lists(spans, max_size=2),
    schema_url=texts,
)
entity_refs = st.builds(
    EntityRef,
    schema_url=texts,
    type=texts,
    id_keys=st.lists(texts, max_size=2),
    description_keys=st.lists(texts, max_size=2),
)
resources = st.builds(
    Resource,
    attributes=attributes,
    dropped_attributes_count=u32s,
    entity_refs=st.lists(entity_refs, max_size=2),
)
resource_spans = st.builds(
    ResourceSpans,
    resource=st.one_of(st.none(), st.just(Resource()), resources),
    scope_spans=st.lists(scope_spans, max_size=2),
    schema_url=texts,
)
full_requests = st.builds(ExportTraceServiceRequest, resource_spans=st.lists(resource_spans, max_size=2))

# ── Wire bytes ────────────────────────────────────────────────────────────────────────────────────

VARINT, FIXED64, LEN, GROUP, END, FIXED32 = range(6)
WIRE_TYPES = {
    FieldDescriptor.TYPE_DOUBLE: FIXED64,
    FieldDescriptor.TYPE_FIXED64: FIXED64,
    FieldDescriptor.TYPE_FIXED32: FIXED32,
    FieldDescriptor.TYPE_STRING: LEN,
    FieldDescriptor.TYPE_BYTES: LEN,
    FieldDescriptor.TYPE_MESSAGE: LEN,
}


def varint(value: int, padding: int = 0) -> bytes:
    """A varint; padding makes it that many bytes longer than it need be."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if padding:
        out[-1] |= 0x80
        out += b"\x80" * (padding - 1) + b"\x00"
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    """What stands before a field's payload."""
    return varint(number << 3 | wire_type)


def inside(payload: bytes, *path: int) -> bytes:
    """The payload as a field of a message that is a field of a message, and so on: outermost number first."""
    for number in reversed(path):
        payload = tag(number, LEN) + varint(len(payload)) + payload
    return payload


def groups(depth: int, number: int = 99) -> bytes:
    """Groups inside groups, with nothing in the innermost."""
    return tag(number, GROUP) * depth + tag(number, END) * depth


@st.composite
def wires(
    draw: st.DrawFn, descriptor: Descriptor = ExportTraceServiceRequest.DESCRIPTOR, depth: int = 0
) -> bytes:
    """A message of this type as no library would write it, but every parser must read it."""
    known = [field for field in descriptor.fields for _ in range(3 if field.message_type else 1)]
    count = draw(st.integers(1 if depth < 4 else 0, max(5 - depth // 2, 1)))
    out = b""
    for field in draw(st.lists(st.sampled_from(known), min_size=count, max_size=count)):
        how = draw(st.sampled_from(["right"] * 8 + ["another type", "unknown"]))
        if how == "right" and not (field.message_type and depth > 9):
            out += _right(draw, field, depth)
        elif how == "another type":
            other = draw(
                st.sampled_from([t for t in (VARINT, FIXED64, FIXED32, GROUP) if t != _wire_type(field)])
            )
            out += _unknown(draw, field.number, other)
        else:
            out += _unknown(
                draw, draw(st.sampled_from([17, 99, 2**29 - 1])), draw(st.sampled_from([0, 1, 2, 3, 5]))
            )
    return out


def _wire_type(field: FieldDescriptor) -> int:
    return WIRE_TYPES.get(field.type, VARINT)


def _right(draw: st.DrawFn, field: FieldDescriptor, depth: int) -> bytes:
    if field.message_type:
        payload = draw(wires(field.message_type, depth + 1))
    elif field.type == FieldDescriptor.TYPE_STRING:
        payload = draw(texts).encode()
    elif field.type == FieldDescriptor.TYPE_BYTES:
        payload = draw(st.one_of(trace_ids, span_ids))
    else:
        return _unknown(draw, field.number, _wire_type(field))
    return tag(field.number, LEN) + _padded(draw, len(payload), 5) + payload


def _padded(draw: st.DrawFn, value: int, limit: int) -> bytes:
    room = limit - len(varint(value))
    return varint(value, draw(st.integers(0, room)) if draw(st.integers(0, 3)) == 0 else 0)


def _unknown(draw: st.DrawFn, number: int, wire_type: int) -> bytes:
    """A payload that needs no knowledge of the field."""
    start = tag(number, wire_type)
    if wire_type == VARINT:
        return start + _padded(draw, draw(u64s), 10)
    if wire_type == GROUP:
        return (
            start
            + draw(st.one_of(st.just(b""), st.just(groups(2)), st.just(inside(b"\xff", 5))))
            + tag(number, END)
        )
    if wire_type == LEN:
        return inside(draw(blobs), number)
    size = 8 if wire_type == FIXED64 else 4
    return start + draw(st.binary(min_size=size, max_size=size))


# ── The official verdict ──────────────────────────────────────────────────────────────────────────


def official(wire: bytes) -> ExportTraceServiceRequest | None:
    """What the official classes make of these bytes, without unknown fields; None when they refuse them."""
    try:
        message = ExportTraceServiceRequest.FromString(wire)
    except DecodeError:
        return None
    message.DiscardUnknownFields()
    return message


def same(expected: Iterable[ExportTraceServiceRequest], got: Iterable[ExportTraceServiceRequest]) -> bool:
    """Equal to the last bit: NaN is NaN, and -0.0 is not 0.0."""
    return [m.SerializeToString(deterministic=True) for m in expected] == [
        m.SerializeToString(deterministic=True) for m in got
    ]


# ── From columns ──────────────────────────────────────────────────────────────────────────────────


def from_columns(decoded: Spans) -> list[ExportTraceServiceRequest]:
    """The messages that these spans came from, made from their tables and the number of batches alone."""
    requests = [ExportTraceServiceRequest() for _ in range(decoded.counts["batches"])]
    of_resource = []
    for row in pa.table(decoded.resources).to_pylist():
        message = requests[row["batch"]].resource_spans.add(schema_url=row["schema_url"])
        if row["resource_present"]:
            message.resource.CopyFrom(_resource(row))
        of_resource.append(message)
    of_scope = []
    for row in pa.table(decoded.scopes).to_pylist():
        message = of_resource[row["resource_spans"]].scope_spans.add(schema_url=row["schema_url"])
        if row["scope_present"]:
            message.scope.CopyFrom(_scope(row))
        of_scope.append(message)
    odd = {
        (row["span"], row["link"], row["field"]): row["value"]
        for row in pa.table(decoded.odd_ids).to_pylist()
    }
    spans = pa.table(decoded).drop_columns(["start_time", "end_time"])
    for number, row in enumerate(spans.to_pylist()):
        _fill_span(of_scope[row["scope_spans"]].spans.add(), number, row, odd)
    for request in requests:
        request.DiscardUnknownFields()  # nested values are kept as they came
    return requests


def _resource(row: dict[str, Any]) -> Resource:
    return Resource(
        attributes=_pairs(row),
        dropped_attributes_count=row["dropped_attributes_count"],
        entity_refs=[EntityRef.FromString(wire) for wire in row["entity_refs"]],
    )


def _scope(row: dict[str, Any]) -> InstrumentationScope:
    fields = ("name", "version", "dropped_attributes_count")
    return InstrumentationScope(attributes=_pairs(row), **{field: row[field] for field in fields})


def _fill_span(span: Span, number: int, row: dict[str, Any], odd: dict[Any, bytes]) -> None:
    for field in ("trace_id", "span_id", "parent_span_id"):
        setattr(span, field, _id(row[field]) or odd.get((number, None, field), b""))
    for field in (
        "trace_state",
        "flags",
        "name",
        "kind",
        "start_time_unix_nano",
        "end_time_unix_nano",
        "dropped_attributes_count",
        "dropped_events_count",
        "dropped_links_count",
    ):
        setattr(span, field, _sent(field, row[field]))
    span.attributes.extend(_pairs(row))
    for event in row["events"]:
        fields = ("time_unix_nano", "name", "dropped_attributes_count")
        span.events.add(attributes=_pairs(event), **{field: _sent(field, event[field]) for field in fields})
    for position, link in enumerate(row["links"]):
        ids = {
            field: _id(link[field]) or odd.get((number, position, field), b"")
            for field in ("trace_id", "span_id")
        }
        fields = ("trace_state", "dropped_attributes_count", "flags")
        span.links.add(attributes=_pairs(link), **ids, **{field: link[field] for field in fields})
    if row["status_code"] is not None:
        span.status.CopyFrom(Status(code=row["status_code"], message=row["status_message"]))


def _id(text: str | None) -> bytes:
    return bytes.fromhex(text or "")


def _sent(field: str, value: Any) -> Any:
    """Times are signed in the columns, with the bits that were sent."""
    return value % 2**64 if field.endswith("_unix_nano") else value


def _pairs(row: dict[str, Any]) -> list[KeyValue]:
    return [_pair(attribute) for attribute in row["attributes"]]


MEMBERS = {
    1: "string_value",
    2: "bool_value",
    3: "int_value",
    4: "double_value",
    7: "bytes_value",
    8: "string_value_strindex",
}
LISTS = {5: ("array_value", ArrayValue), 6: ("kvlist_value", KeyValueList)}


def _pair(row: dict[str, Any]) -> KeyValue:
    pair = KeyValue(key=row["key"], key_strindex=row["key_strindex"] or 0)
    kind = row["type"]
    if kind in MEMBERS:
        setattr(pair.value, MEMBERS[kind], row[MEMBERS[kind]])
    elif kind in LISTS:
        member, message = LISTS[kind]
        getattr(pair.value, member).CopyFrom(message.FromString(row["bytes_value"]))
    elif kind == 0:
        pair.value.SetInParent()
    return pair
