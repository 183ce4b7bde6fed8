"""What a receiver cuts out of a request, and that it leaves the rest alone.

Expected values come from `screened`, which does the same to the official protobuf objects, with no regard to speed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import from_columns, full_requests, groups, inside, official, same, tag, varint, wires
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from strategies import damaged_bytes, payloads

import k8strace
from k8strace import _core
from k8strace.receiver import REASONS, Limits

TIGHT = Limits(
    attributes=2, events=1, links=1, value_bytes=12, value_depth=2, span_bytes=150, spans_per_request=2
)
IDS = {"trace_id": bytes(15) + b"\1", "span_id": bytes(7) + b"\1"}
U32 = 2**32 - 1


# ── The official objects, screened ────────────────────────────────────────────────────────────────


def depth(value: AnyValue) -> int:
    """Values within one another."""
    below = [
        *value.array_value.values,
        *(pair.value for pair in value.kvlist_value.values if pair.HasField("value")),
    ]
    return 1 + max(map(depth, below), default=0)


def flaw_of_pair(pair: KeyValue, limits: Limits) -> str:
    if len(pair.key.encode()) > limits.value_bytes or pair.value.ByteSize() > limits.value_bytes:
        return "value_bytes"
    return "value_depth" if pair.HasField("value") and depth(pair.value) > limits.value_depth else ""


def cut_attributes(owner: Any, limits: Limits, cut: Counter[str]) -> None:
    kept: list[KeyValue] = []
    for pair in owner.attributes:
        reason = "attributes" if len(kept) >= limits.attributes else flaw_of_pair(pair, limits)
        if reason:
            cut[reason] += 1
            owner.dropped_attributes_count = min(owner.dropped_attributes_count + 1, U32)
        else:
            kept.append(pair)
    del owner.attributes[:]
    owner.attributes.extend(kept)


def flaw_of_span(span: Span, limits: Limits, accepted: int) -> str:
    if accepted >= limits.spans_per_request:
        return "spans"
    if span.ByteSize() > limits.span_bytes:
        return "span_bytes"
    for name, length in (("trace_id", 16), ("span_id", 8)):
        if len(getattr(span, name)) != length or not any(getattr(span, name)):
            return name
    return ""


def cut_span(span: Span, limits: Limits, cut: Counter[str]) -> None:
    for name in ("events", "links"):
        parts, most = getattr(span, name), getattr(limits, name)
        beyond = len(parts) - most
        if beyond > 0:
            cut[name] += beyond
            dropped = f"dropped_{name}_count"
            setattr(span, dropped, min(getattr(span, dropped) + beyond, U32))
            del parts[most:]
    for owner in (span, *span.events, *span.links):
        cut_attributes(owner, limits, cut)


def screened(request: ExportTraceServiceRequest, limits: Limits) -> tuple[int, Counter[str]]:
    """Screens in place; spans that are left, and what was cut."""
    cut: Counter[str] = Counter()
    accepted = 0
    for resource_spans in list(request.resource_spans):
        before = resource_spans.SerializeToString()
        cut_attributes(resource_spans.resource, limits, cut) if resource_spans.HasField("resource") else None
        kept = 0
        for scope_spans in list(resource_spans.scope_spans):
            left = screened_scope(scope_spans, limits, cut, accepted)
            accepted, kept = accepted + (left or 0), kept + (left or 0)
            if left is None:
                resource_spans.scope_spans.remove(scope_spans)
        if not kept and resource_spans.SerializeToString() != before:
            request.resource_spans.remove(resource_spans)
    return accepted, cut


def screened_scope(scope_spans: Any, limits: Limits, cut: Counter[str], accepted: int) -> int | None:
    """Spans that are left; None if the message has no business any more."""
    before = scope_spans.SerializeToString()
    if scope_spans.HasField("scope"):
        cut_attributes(scope_spans.scope, limits, cut)
    left = []
    for span in scope_spans.spans:
        reason = flaw_of_span(span, limits, accepted + len(left))
        if reason:
            cut[reason] += 1
        else:
            cut_span(span, limits, cut)
            left.append(span)
    copies = [Span.FromString(span.SerializeToString()) for span in left]
    del scope_spans.spans[:]
    scope_spans.spans.extend(copies)
    return len(left) if left or scope_spans.SerializeToString() == before else None


def by_value(request: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """`remove` of protobuf compares by value: make equal messages tell-tale by their place."""
    return ExportTraceServiceRequest.FromString(request.SerializeToString())


def with_ids(request: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """The same with proper ids in most spans, so that something is left."""
    for number, span in enumerate(spans_of(request)):
        if number % 4 != 3:
            span.trace_id, span.span_id = IDS["trace_id"], IDS["span_id"]
    return request


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    return [s for rs in request.resource_spans for ss in rs.scope_spans for s in ss.spans]


def check(request: ExportTraceServiceRequest, limits: Limits) -> None:
    wire = request.SerializeToString()
    expected = by_value(request)
    accepted, cut = screened(expected, limits)
    out, count, counts = _core.screen(wire, limits)
    assert (accepted, dict(cut)) == (count, dict(counts))
    assert same([expected], [official(out)])
    assert (out is wire) == (not cut)


# ── Laws ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@given(full_requests.map(with_ids))
def test_what_is_over_a_limit_is_cut_and_the_rest_is_kept(request_):
    check(request_, TIGHT)


@pytest.mark.slow
@given(full_requests.map(with_ids))
def test_at_the_defaults_only_spans_without_ids_are_cut(request_):
    check(request_, Limits())


@pytest.mark.slow
@given(st.lists(full_requests, min_size=2, max_size=4), st.sampled_from([TIGHT, Limits()]))
def test_requests_behind_one_another_are_one(requests, limits):
    """Concatenated requests are one request to protobuf, and to us."""
    joined = ExportTraceServiceRequest.FromString(b"".join(each.SerializeToString() for each in requests))
    check(with_ids(joined), limits)


@pytest.mark.slow
@given(st.one_of(wires(), damaged_bytes(st.one_of(wires(), payloads))), st.sampled_from([TIGHT, Limits()]))
def test_whatever_is_let_through_the_decoder_takes(wire, limits):
    """It holds the spans that were counted; nothing more is cut the second time; what is untouched reads the same."""
    try:
        out, accepted, cut = _core.screen(wire, limits)
    except k8strace.DecodeError:
        assert official(wire) is None
        return
    decoded = k8strace.decode(out)
    assert len(decoded) == accepted
    again = _core.screen(out, limits)
    assert again[0] is out
    assert again[1:] == (accepted, [])
    assert set(dict(cut)) <= set(REASONS)
    if not cut and out is wire:
        assert same([official(wire)], from_columns(decoded))


@given(st.binary(max_size=60))
def test_any_bytes_are_survived(data):
    for wire in (data, inside(data, 1), inside(data, 1, 2), inside(data, 1, 2, 2), inside(data, 1, 2, 2, 9)):
        try:
            out, accepted, _ = _core.screen(wire, TIGHT)
        except k8strace.DecodeError:
            assert official(wire) is None
        else:
            assert len(k8strace.decode(out)) == accepted


def test_real_batches_pass_as_they_are(capture: Path):
    for batch in oracle.load(capture):
        wire = batch.SerializeToString()
        out, accepted, cut = _core.screen(wire, Limits())
        assert out is wire
        assert (accepted, cut) == (len(spans_of(batch)), [])


# ── One limit at a time ───────────────────────────────────────────────────────────────────────────


def one(span: Span, *others: Span) -> bytes:
    """A request of these spans."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.extend([span, *others])
    return request.SerializeToString()


def good(**fields: Any) -> Span:
    return Span(**{**IDS, "name": "Get", **fields})


def outcome(wire: bytes, limits: Limits | None = None) -> tuple[list[Span], dict[str, int]]:
    """The spans that are left, by the official classes, and what was cut."""
    out, accepted, cut = _core.screen(wire, limits or Limits())
    spans = spans_of(official(out))
    assert len(spans) == accepted
    return spans, dict(cut)


@pytest.mark.parametrize("field", ["trace_id", "span_id"])
@pytest.mark.parametrize("size", ["absent", "short", "long", "zero"])
def test_a_span_without_a_proper_id_is_rejected_and_its_neighbours_are_kept(field, size):
    length = len(IDS[field])
    bad = {"absent": b"", "short": b"\1" * (length - 1), "long": b"\1" * (length + 1), "zero": bytes(length)}[
        size
    ]
    wire = one(good(name="before"), good(**{field: bad}), good(name="behind"))
    spans, cut = outcome(wire)
    assert [span.name for span in spans] == ["before", "behind"]
    assert cut == {field: 1}


def test_the_last_of_several_ids_counts():
    """As protobuf says."""
    trace, span = IDS["trace_id"], IDS["span_id"]
    proper, odd = inside(trace, 1) + inside(span, 2), inside(b"short", 1)
    assert outcome(inside(odd + proper, 1, 2, 2))[1] == {}
    assert outcome(inside(proper + odd, 1, 2, 2))[1] == {"trace_id": 1}


def test_a_parent_id_of_a_wrong_length_is_left_to_the_join():
    assert outcome(one(good(parent_span_id=b"123")))[1] == {}


BROKEN = b"\xff"
TEXTS_OF_SPAN = {
    "trace_state": (3,),
    "name": (5,),
    "attribute key": (9, 1),
    "attribute value": (9, 2, 1),
    "in an array": (9, 2, 5, 1, 1),
    "in a list": (9, 2, 6, 1, 1),
    "event name": (11, 2),
    "event attribute": (11, 3, 1),
    "link trace_state": (13, 3),
    "link attribute": (13, 4, 2, 1),
    "status message": (15, 2),
}


@pytest.mark.parametrize("where", TEXTS_OF_SPAN)
def test_a_span_with_text_that_is_not_utf8_is_rejected_and_its_neighbours_are_kept(where):
    spoiled = good().SerializeToString() + inside(BROKEN, *TEXTS_OF_SPAN[where])
    neighbour = good(name="sound").SerializeToString()
    wire = inside(inside(neighbour, 2) + inside(spoiled, 2) + inside(spoiled, 2) + inside(neighbour, 2), 1, 2)
    assert official(wire) is None
    spans, cut = outcome(wire)
    assert [span.name for span in spans] == ["sound", "sound"]
    assert cut == {"utf8": 2}


ENVELOPES = {
    "resource attribute": (1, 1, 1),
    "entity": (1, 3, 2),
    "resource schema": (3,),
    "scope name": (2, 1, 1),
    "scope version": (2, 1, 2),
    "scope attribute": (2, 1, 3, 2, 1),
    "scope schema": (2, 3),
}


@pytest.mark.parametrize("where", ENVELOPES)
@pytest.mark.parametrize("first", [True, False])
def test_spans_below_text_that_is_not_utf8_are_rejected(where, first):
    """The spans of that resource or scope, and no others."""
    number, *rest = ENVELOPES[where]
    spans = inside(good(name="below").SerializeToString(), 2)
    bad = inside(BROKEN, *rest) if rest else BROKEN
    if number == 2:
        within = inside(bad + spans if first else spans + bad, 2)
    else:
        within = inside(bad, number) + inside(spans, 2) if first else inside(spans, 2) + inside(bad, number)
    wire = inside(within, 1) + one(good(name="elsewhere"))
    assert official(wire) is None
    spans, cut = outcome(wire)
    assert [span.name for span in spans] == ["elsewhere"]
    assert cut == {"utf8": 1}


@pytest.mark.parametrize("kind", ["attributes", "events", "links"])
def test_a_thousand_and_twenty_four_of_each_are_kept(kind):
    def span(count: int) -> Span:
        made = good()
        for number in range(count):
            getattr(made, kind).add(**({"key": str(number)} if kind == "attributes" else {}))
        return made

    assert outcome(one(span(1_024)))[1] == {}
    (left,), cut = outcome(one(span(1_030)))
    assert len(getattr(left, kind)) == 1_024
    assert cut == {kind: 6}
    assert getattr(left, f"dropped_{kind}_count") == 6


def test_what_is_cut_is_added_to_what_the_sender_dropped():
    span = good(dropped_attributes_count=5, dropped_events_count=U32)
    span.attributes.extend(KeyValue(key=str(number)) for number in range(4))
    span.events.add()
    span.events.add()
    (left,), _ = outcome(one(span), TIGHT)
    assert (left.dropped_attributes_count, left.dropped_events_count, left.dropped_links_count) == (7, U32, 0)


def test_a_value_of_64_kib_is_kept_and_a_longer_one_is_cut():
    def span(length: int) -> Span:
        value = AnyValue(string_value="v" * length)
        return good(attributes=[KeyValue(key="long", value=value), KeyValue(key="short")])

    overhead = 4  # tag and length of string_value
    assert outcome(one(span((64 << 10) - overhead)))[1] == {}
    (left,), cut = outcome(one(span((64 << 10) - overhead + 1)))
    assert cut == {"value_bytes": 1}
    assert [pair.key for pair in left.attributes] == ["short"]


def test_a_value_in_parts_is_measured_whole():
    """Repeated values of one attribute are merged by protobuf: many short arrays would be one long one."""
    part = inside(b"".join([inside(inside(b"x" * 100, 1), 1)] * 300), 2, 5)
    wire = inside(good().SerializeToString() + inside(part * 3, 9), 1, 2, 2)
    assert len(part) < 64 << 10 < 3 * len(part)
    assert outcome(wire)[1] == {"value_bytes": 1}


def test_a_long_key_is_cut():
    assert outcome(one(good(attributes=[KeyValue(key="k" * 65_537)])))[1] == {"value_bytes": 1}


def nested(levels: int, field: int) -> AnyValue:
    value = AnyValue(int_value=1)
    for _ in range(levels - 1):
        outer = AnyValue()
        if field == 5:
            outer.array_value.values.append(value)
        else:
            outer.kvlist_value.values.add(key="k").value.CopyFrom(value)
        value = outer
    return value


@pytest.mark.parametrize("field", [5, 6], ids=["arrays", "lists"])
def test_thirty_two_values_within_one_another_are_kept(field):
    span = good(attributes=[KeyValue(key="deep", value=nested(32, field)), KeyValue(key="flat")])
    assert outcome(one(span))[1] == {}
    span.attributes[0].value.CopyFrom(nested(33, field))
    (left,), cut = outcome(one(span))
    assert cut == {"value_depth": 1}
    assert [pair.key for pair in left.attributes] == ["flat"]
    assert left.dropped_attributes_count == 1


def chain(levels: int) -> bytes:
    """Arrays and values in turn, so deep that only a loop can write it: lengths first, from the innermost on."""
    sizes = [0]
    for _ in range(levels):
        sizes.append(sizes[-1] + 1 + len(varint(sizes[-1])))
    return b"".join(
        tag(5 if (levels - level) % 2 else 1, 2) + varint(sizes[level]) for level in reversed(range(levels))
    )


@pytest.mark.parametrize("levels", [64, 100, 30_000])
def test_one_deep_attribute_costs_its_span_nothing_else(levels):
    """The official classes refuse the whole batch."""
    neighbours = [good(name=str(number)) for number in range(511)]
    deep = inside(good(name="deep").SerializeToString() + inside(inside(chain(levels), 2), 9), 1, 2, 2)
    assert (official(deep) is None) == (levels > 64)
    spans, cut = outcome(deep + one(*neighbours), Limits(value_bytes=1 << 20))
    assert len(spans) == 512
    assert cut == {"value_depth": 1}


def test_a_span_of_a_mebibyte_is_kept_and_a_longer_one_rejected():
    exact = good(name="n" * ((1 << 20) - good(name="").ByteSize() - 4))
    assert exact.ByteSize() == 1 << 20
    assert outcome(one(exact))[1] == {}
    exact.name += "n"
    spans, cut = outcome(one(exact, good(name="neighbour")))
    assert ([span.name for span in spans], cut) == (["neighbour"], {"span_bytes": 1})


def test_spans_beyond_65536_are_rejected():
    span = inside(good().SerializeToString(), 2)
    wire = inside(span * 65_540, 1, 2)
    out, accepted, cut = _core.screen(wire, Limits())
    assert (accepted, cut) == (65_536, [("spans", 4)])
    assert len(k8strace.decode(out)) == 65_536


def test_a_span_with_cuts_all_over_is_rejected():
    """One cut next to another costs nothing; sixty-five apart from each other would cost more than the span."""
    excess, between = inside(b"", 9), tag(6, 0) + b"\1"

    def wire(cuts: int) -> bytes:
        return inside(good().SerializeToString() + excess * 2 + (excess + between) * cuts, 1, 2, 2)

    limits = Limits(attributes=2)
    assert outcome(wire(64), limits)[1] == {"attributes": 64}
    assert outcome(wire(65), limits)[1] == {"scattered": 1}


def test_attributes_of_resources_and_scopes_are_cut_too():
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    scope_spans = resource_spans.scope_spans.add(spans=[good()])
    for owner in (resource_spans.resource, scope_spans.scope):
        owner.attributes.extend(KeyValue(key=str(number)) for number in range(1_026))
    out, accepted, cut = _core.screen(request.SerializeToString(), Limits())
    left = official(out).resource_spans[0]
    assert (accepted, cut) == (1, [("attributes", 4)])
    for owner in (left.resource, left.scope_spans[0].scope):
        assert (len(owner.attributes), owner.dropped_attributes_count) == (1_024, 2)


def test_a_resource_in_parts_has_one_count():
    """Protobuf merges repeated resources; a thousand parts of a thousand attributes are a million attributes."""
    part = inside(inside(b"", 1) * 600, 1)
    wire = inside(part * 3 + inside(inside(good().SerializeToString(), 2), 2), 1)
    out, _, cut = _core.screen(wire, Limits())
    assert cut == [("attributes", 776)]
    (left,) = official(out).resource_spans
    assert (len(left.resource.attributes), left.resource.dropped_attributes_count) == (1_024, 776)


# ── Memory of columns ─────────────────────────────────────────────────────────────────────────────


def test_spans_that_need_too_much_memory_are_rejected():
    """Attributes of two bytes need thirteen in columns."""
    span = good()
    span.attributes.extend(KeyValue() for _ in range(1_024))
    wire = inside(inside(span.SerializeToString(), 2) * 4_000, 1, 2)
    out, accepted, cut = _core.screen(wire, Limits())
    assert 0 < accepted < 4_000
    assert cut == [("columns", 4_000 - accepted)]
    columns, _ = k8strace.decode(out).nbytes
    assert columns <= 2 * len(wire) + (16 << 20)
    assert _core.screen(wire, Limits(columns_per_byte=8))[1] == 4_000


HOSTILE = {
    "names": lambda number: good(name=f"{number:x}"),
    "keys": lambda number: good(attributes=[KeyValue(key=f"{number:x}{more}") for more in range(9)]),
    "events": lambda number: good(events=[Span.Event(name=f"{number:x}{more}") for more in range(99)]),
    "links": lambda _: good(links=[Span.Link()] * 999),
    "odd ids": lambda _: good(parent_span_id=b"1", links=[Span.Link(trace_id=b"1", span_id=b"1")] * 99),
    "string indices": lambda _: good(attributes=[KeyValue(key_strindex=1)] * 999),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
def test_columns_never_need_more_than_was_reckoned(kind):
    """A flood of distinct texts, and every kind of row that is longer in columns than on the wire."""
    spans = b"".join(inside(HOSTILE[kind](number).SerializeToString(), 2) for number in range(5_000))
    wire = inside(spans, 1, 2)
    limits = Limits(columns_free_bytes=256 << 10)
    out, accepted, _ = _core.screen(wire, limits)
    assert accepted > 100
    columns, _ = k8strace.decode(out).nbytes
    assert columns <= 2 * len(wire) + (256 << 10)


def test_envelopes_that_need_too_much_memory_are_refused():
    """Two bytes are a whole resource, which needs twenty-four in columns."""
    empty = inside(b"", 1)
    assert _core.screen(empty * 1_000, Limits())[1:] == (0, [])
    with pytest.raises(k8strace.DecodeError, match="resources and scopes that need at most"):
        _core.screen(empty * 1_000_000, Limits())
    with pytest.raises(k8strace.DecodeError, match="resources and scopes"):
        _core.screen(inside(inside(b"", 2) * 1_000_000, 1), Limits())


# ── Malformed wire ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "wire",
    [
        b"\x02\x00",
        tag(1, 6),
        tag(1, 7),
        tag(99, 3),
        tag(99, 4),
        b"\x80",
        varint(1 << 35),
        tag(1, 2) + varint(1, 5) + b"x",
        tag(1, 2) + varint(2**31),
        groups(101),
        inside(groups(98), 1, 2, 2),
        inside(tag(6, 0) + b"\x80" * 10 + b"\x00", 1, 2, 2),
        inside(b"\x0a\x10123", 1, 2, 2),
        inside(tag(7, 1) + bytes(7), 1, 2, 2),
        inside(b"\x0a\x09", 1, 2, 2, 9, 2, 5),
    ],
    ids=repr,
)
def test_malformed_wire_is_refused_as_the_official_classes_do(wire):
    assert official(wire) is None
    with pytest.raises(k8strace.DecodeError):
        _core.screen(one(good()) + wire, Limits())


def test_a_batch_cut_at_every_byte_has_the_official_verdict(capture_136: Path):
    wire = min((batch.SerializeToString() for batch in oracle.load(capture_136)), key=len)
    for end in range(len(wire)):
        if official(wire[:end]) is None:
            with pytest.raises(k8strace.DecodeError):
                _core.screen(wire[:end], Limits())
        else:
            _core.screen(wire[:end], Limits())


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "limit", "where"),
    [
        (b"[[]]", 2, None),
        (b"[[]]", 1, 1),
        (b'{"[[[[": "]"}', 1, None),
        (rb'["\"[[[", []]', 2, None),
        (rb'["\"[[[", []]', 1, 10),
        (b"[][][][]", 1, None),
        (b']]]][{"a":1}', 2, None),
        (b'"[[[', 0, None),
        (b'"\\', 0, None),
        (b"", 0, None),
    ],
)
def test_json_depth_counts_brackets_outside_of_strings(text, limit, where):
    assert _core.json_too_deep(text, limit) == where
