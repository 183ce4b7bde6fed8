"""Parts that know of each other give the rows of one join of everything."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import builder
import oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from strategies import dirty_batches

import k8strace
from k8strace import ClockEvidence, Couplings
from k8strace.archive import clock_evidence, couplings
from k8strace.spark import attribution_rows, request_rows

DATA = Path(__file__).parent / "data"
CAPTURES = sorted(path for path in DATA.rglob("*.otlp.zst"))


def rows(*joined: k8strace.Requests) -> list[str]:
    """All rows of requests and of their parts, in one order."""
    tables = [make(each).to_pylist() for each in joined for make in (request_rows, attribution_rows)]
    return sorted(repr(row) for table in tables for row in table)


def in_parts(spans: k8strace.Spans, pieces: Sequence[k8strace.Spans], count: int) -> list[k8strace.Requests]:
    """The spans in `count` parts of whole groups; what couples them was found in other pieces."""
    coupled = Couplings(*map(couplings, pieces))
    group = dict(zip(*(coupled.groups[name].to_pylist() for name in ("trace_id", "group")), strict=True))
    parts: list[list[bytes]] = [[] for _ in range(count)]
    for row in spans.to_otlp(split="trace_id").to_arrow().to_pylist():
        parts[hash(group.get(row["trace_id"], row["trace_id"])) % count].append(row["otlp"])
    decoded = [k8strace.decode(b"".join(part)) for part in parts]
    assert Couplings.crossings([couplings(part, of=coupled) for part in decoded]) == 0
    clock = sum(map(clock_evidence, decoded), ClockEvidence())
    clock = sum((clock_evidence(part, clock=clock) for part in decoded), ClockEvidence())
    clock = pickle.loads(pickle.dumps(clock))
    return [k8strace.join(part, clock=clock) for part in decoded]


def ledger(joined: Sequence[k8strace.Requests]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for each in joined:
        for name, count in [*each.joined.ledger.used.items(), *each.joined.ledger.set_aside.items()]:
            sums[name] = sums.get(name, 0) + count
    return sums


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name.partition(".otlp")[0])
def test_parts_give_the_rows_of_the_whole(path: Path, count: int) -> None:
    spans = k8strace.read(path)
    whole = k8strace.join(spans)
    parts = in_parts(spans, list(k8strace.scan(path, batch_bytes=1 << 18)), count)
    assert rows(*parts) == rows(whole)
    assert ledger(parts) == ledger([whole])
    offsets = {tuple(sorted(row.items(), key=str)) for part in parts for row in part.joined.clock_offsets}
    assert offsets <= {tuple(sorted(row.items(), key=str)) for row in whole.joined.clock_offsets}


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(messages=dirty_batches(), count=st.integers(1, 3))
def test_parts_of_any_spans_give_the_rows_of_the_whole(
    messages: list[ExportTraceServiceRequest], count: int
) -> None:
    spans = k8strace.decode(messages)
    parts = in_parts(spans, [k8strace.decode(message) for message in messages], count)
    whole = k8strace.join(spans)
    assert rows(*parts) == rows(whole)
    assert ledger(parts) == ledger([whole])


def trace_of(number: int, below_get: builder.Span, parent: bytes | None = None) -> list[bytes]:
    """A request whose `Get` has etcd's spans below it; etcd's SERVER span can have another parent."""
    get = builder.verb_span("Get", 10_000, 90_000, below_get)
    root = builder.apiserver_request("1.31", "GET", "/api/v1/pods/a", 0, 100_000, [get])
    messages = builder.trace(root, trace_id=number).batches()
    for span, scope, _ in (each for message in messages for each in _spans(message)):
        if parent and span.kind == builder.SERVER and scope.name == builder.GRPC:
            span.parent_span_id = parent
    return [message.SerializeToString() for message in messages]


@pytest.mark.parametrize("told_by", ["nothing", "an orphan"])
def test_clocks_are_those_of_the_whole_in_a_trace_that_has_no_call_between_them(told_by: str) -> None:
    """etcd's clock is 500 µs ahead, as another trace tells; here its span has no caller, or one found by the clocks."""
    answer = builder.etcd_server("KV/Range", 530_000, 550_000)
    call = builder.etcd_client("KV/Range", 20_000, 60_000, answer)
    told = trace_of(1, call)
    silent = trace_of(2, answer) if told_by == "nothing" else trace_of(2, call, parent=b"nowhere!")
    whole = k8strace.join(k8strace.decode(told + silent))
    assert [row["verdict"] for row in whole.joined.clock_offsets] == ["offset"]
    assert "orphan" not in {name for name, count in whole.joined.ledger.set_aside.items() if count}
    parts = [k8strace.decode(part) for part in (told, silent)]
    clock = sum(map(clock_evidence, parts), ClockEvidence())
    clock = sum((clock_evidence(part, clock=clock) for part in parts), ClockEvidence())
    assert rows(*(k8strace.join(part, clock=clock) for part in parts)) == rows(whole)


@pytest.mark.slow
def test_parts_by_trace_alone_are_caught() -> None:
    path = DATA / "k8s-1.36_etcd-3.6.otlp.zst"
    spans = k8strace.read(path)
    coupled = couplings(spans)
    messages = spans.to_otlp(split="trace_id").to_arrow()["otlp"].to_pylist()
    parts = [k8strace.decode(b"".join(messages[at::2])) for at in range(2)]
    assert Couplings.crossings([couplings(part, of=coupled) for part in parts]) > 100


def test_a_message_per_trace_holds_what_was_sent() -> None:
    """Span by span as the official classes read them, with their scopes and resources."""
    sent = oracle.load(DATA / "k8s-1.36_etcd-3.6.otlp.zst")[:6]
    split = k8strace.decode(sent).to_otlp(split="trace_id")
    ids = split["trace_id"].to_pylist()
    assert ids == sorted(set(ids))
    again = []
    for row in split:
        message = ExportTraceServiceRequest.FromString(row["otlp"])
        found = list(_spans(message))
        assert {span.trace_id.hex() for span, *_ in found} == {row["trace_id"]}
        assert len(found) == row["spans"]
        assert row["start_unix_nano"] == min(span.start_time_unix_nano for span, *_ in found)
        assert row["end_unix_nano"] == max(span.end_time_unix_nano for span, *_ in found)
        again += found
    expected = [each for message in sent for each in _spans(message)]

    def key(each: tuple[Any, ...]) -> list[bytes]:
        return [part.SerializeToString(deterministic=True) for part in each]

    assert sorted(map(key, again)) == sorted(map(key, expected))


def _spans(message: ExportTraceServiceRequest) -> Iterator[tuple[Any, ...]]:
    for around in message.resource_spans:
        for inside in around.scope_spans:
            yield from ((span, inside.scope, around.resource) for span in inside.spans)


def test_evidence_that_is_none_is_refused() -> None:
    for text in ("", "{}", "[]", '{"calls": [[1, 2, 3]], "adopted": [], "services": {}, "waiting": 0}'):
        with pytest.raises(ValueError, match="clock evidence"):
            ClockEvidence(text)


def test_sums_do_not_depend_on_the_order() -> None:
    path = DATA / "k8s-1.36_etcd-3.6.otlp.zst"
    pieces = list(k8strace.scan(path, batch_bytes=1 << 18))
    assert len(pieces) > 3
    said = [clock_evidence(piece) for piece in pieces]
    assert sum(said, ClockEvidence()) == sum(reversed(said), ClockEvidence())
    found = [couplings(piece) for piece in pieces]
    assert Couplings(*found) == Couplings(*reversed(found)) == pickle.loads(pickle.dumps(Couplings(*found)))
